//! Shells: interactive programs that go on between calls, each at a terminal and in a session of its own.
//!
//! What a shell prints is read as it comes and its end is kept ([`Tail`]), whether or not anybody asks for it: a flood costs the
//! guest its own time and a bounded part of its memory. A shell that has ended stays, for its last words to be read, until it is
//! closed.

mod session;
mod terminal;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyro_protocol::limits::{
    MAX_SHELL_WAIT, MAX_SHELLS, OUTPUT_LINGER, SHELL_BUFFER_BYTES, SHELL_WRITE_DEADLINE,
};
use pyro_protocol::v1::{
    Exec, Exited, FailureKind, OpenShell, ReadShell, ResizeShell, ShellOutput, ShellState, Shells,
    SignalShell, Started, WriteShell, reply,
};
use rustix::process::{Pid, Signal, WaitStatus};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::timeout;
use tokio::{pin, select};

use crate::agent::Agent;
use crate::call::Call;
use crate::exec::{Plan, exited};
use crate::fail::Fail;
use crate::tail::Tail;
use terminal::{Size, Terminal, seat};

/// Longest id.
const MAX_ID_BYTES: usize = 64;
/// How long a shell that was hung up may take to end.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);
/// What is read at once; a terminal gives no more.
const READ_BYTES: usize = 4096;

/// The shells of a guest, by id.
#[derive(Debug, Default)]
pub struct Registry {
    shells: RefCell<BTreeMap<String, Rc<Shell>>>,
    opened: Cell<u64>,
}

/// One shell.
#[derive(Debug)]
struct Shell {
    id: String,
    /// How many were opened before it.
    order: u64,
    leader: Pid,
    /// `None` once it was hung up.
    terminal: RefCell<Option<Rc<Terminal>>>,
    size: Cell<Size>,
    printed: RefCell<Tail>,
    exited: Cell<Option<Exited>>,
    /// Changes with every output, and with the end.
    changed: watch::Sender<Instant>,
    reading: RefCell<Option<JoinHandle<()>>>,
}

/// Opens a shell.
pub fn open(agent: &Rc<Agent>, request: OpenShell) -> Result<Started, Fail> {
    let registry = &agent.shells;
    check_id(&request.id)?;
    if registry.shells.borrow().contains_key(&request.id) {
        return Err(Fail::new(FailureKind::AlreadyExists, "there is a shell of that id"));
    }
    if registry.shells.borrow().len() >= MAX_SHELLS {
        return Err(Fail::new(FailureKind::Exhausted, format!("there are {MAX_SHELLS} shells already")));
    }
    let size = Size::new(request.columns, request.rows)?;
    let mut argv = request.argv;
    if argv.is_empty() {
        argv.push(Bytes::from_static(terminal::default_shell().as_encoded_bytes()));
    }
    let command =
        Exec { argv, cwd: request.cwd, env: request.env, secrets: request.secrets, ..Exec::default() };
    let mut plan = Plan::new(agent, &command)?;
    // What exec says is for pipes. Whoever asks for another terminal gets it.
    if plan.env.get(OsStr::new("TERM")).is_some_and(|term| term == "dumb") {
        plan.env.insert("TERM".into(), "xterm-256color".into());
    }
    let seated = seat(agent, &plan, size)?;
    let shell = Rc::new(Shell {
        id: request.id.clone(),
        order: registry.opened.replace(registry.opened.get() + 1),
        leader: seated.leader,
        terminal: RefCell::new(Some(Rc::new(seated.terminal))),
        size: Cell::new(size),
        printed: RefCell::new(Tail::new(SHELL_BUFFER_BYTES, agent.secrets.filter())),
        exited: Cell::new(None),
        changed: watch::Sender::new(Instant::now()),
        reading: RefCell::new(None),
    });
    let reading = spawn_local(keep(Rc::clone(&shell), seated.exit));
    shell.reading.replace(Some(reading));
    let pid = shell.leader.as_raw_nonzero().get().unsigned_abs();
    registry.shells.borrow_mut().insert(request.id, shell);
    Ok(Started { pid })
}

fn check_id(id: &str) -> Result<(), Fail> {
    let is_sound = !id.is_empty()
        && id.len() <= MAX_ID_BYTES
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_sound { Ok(()) } else { Err(Fail::invalid("an id has 1 to 64 letters, digits and hyphens")) }
}

/// Keeps what a shell prints until nobody has its terminal open, and notes its end.
async fn keep(shell: Rc<Shell>, mut exit: oneshot::Receiver<WaitStatus>) {
    let started = Instant::now();
    let printing = keep_printed(&shell);
    pin!(printing);
    let (status, is_printing) = select! {
        biased;
        status = &mut exit => (status, true),
        () = &mut printing => (exit.await, false),
    };
    let duration = started.elapsed();
    // Its last words may not have been read yet. Others may go on at its terminal.
    let is_printing = is_printing && timeout(OUTPUT_LINGER, &mut printing).await.is_err();
    // The reaper has nothing to send only when the agent ends.
    shell.exited.set(status.ok().map(|status| exited(status, false, duration, false)));
    shell.changed.send_replace(Instant::now());
    if is_printing {
        printing.await;
    }
}

async fn keep_printed(shell: &Shell) {
    let terminal = shell.terminal.borrow().clone();
    let Some(terminal) = terminal else { return };
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = terminal.read(&mut buffer).await;
        if count == 0 {
            return shell.printed.borrow_mut().finish();
        }
        shell.printed.borrow_mut().append(&buffer[..count]);
        shell.changed.send_replace(Instant::now());
        // A flood must not keep the others waiting.
        yield_now().await;
    }
}

impl Registry {
    fn find(&self, id: &str) -> Result<Rc<Shell>, Fail> {
        let missing = || Fail::new(FailureKind::NotFound, "there is no such shell");
        self.shells.borrow().get(id).cloned().ok_or_else(missing)
    }

    /// All of them, in the order in which they were opened.
    pub fn list(&self) -> Shells {
        let mut shells: Vec<_> = self.shells.borrow().values().cloned().collect();
        shells.sort_unstable_by_key(|shell| shell.order);
        Shells { shells: shells.iter().map(|shell| shell.state()).collect() }
    }
}

impl Shell {
    fn state(&self) -> ShellState {
        let (size, printed) = (self.size.get(), self.printed.borrow());
        ShellState {
            id: self.id.clone(),
            columns: size.columns(),
            rows: size.rows(),
            begin: printed.begin(),
            end: printed.end(),
            exited: self.exited.get(),
        }
    }

    /// Its terminal; fails when it has ended.
    fn terminal(&self) -> Result<Rc<Terminal>, Fail> {
        let terminal = self.terminal.borrow().clone().filter(|_| self.exited.get().is_none());
        terminal.ok_or_else(|| Fail::wrong_state("the shell has ended"))
    }

    /// Waits until nothing was printed for `idle`, and, where `follow` says so, until there is something beyond `cursor` or the
    /// shell has ended.
    async fn settle(&self, cursor: u64, idle: Duration, follow: bool) {
        let begun = Instant::now();
        let mut changed = self.changed.subscribe();
        loop {
            let last = *changed.borrow_and_update();
            let has_ended = self.exited.get().is_some();
            let waits = follow && !has_ended && self.printed.borrow().end() <= cursor;
            let quiet = last.max(begun).elapsed();
            if !waits && (quiet >= idle || has_ended) {
                return;
            }
            let left = if waits { MAX_SHELL_WAIT } else { idle.saturating_sub(quiet) };
            // The sender lives as long as the shell, which this call holds.
            let _ = timeout(left, changed.changed()).await;
        }
    }
}

/// Sends what a shell has printed.
pub async fn read(agent: &Agent, call: &Call, request: ReadShell) -> Result<(), Fail> {
    let shell = agent.shells.find(&request.id)?;
    let end = shell.printed.borrow().end();
    if request.cursor > end {
        let message = format!("the cursor {} is beyond the end, {end}", request.cursor);
        return Err(Fail::invalid(message));
    }
    let [idle, limit] = [request.idle_ms, request.limit_ms].map(|ms| Duration::from_millis(ms.into()));
    // What is printed without end is read when the time is up.
    let _ = timeout(limit.min(MAX_SHELL_WAIT), shell.settle(request.cursor, idle, request.follow)).await;
    let (first, bytes) = shell.printed.borrow().read(request.cursor, request.max_bytes);
    let announced = ShellOutput { first, bytes: bytes.len() as u64, state: Some(shell.state()) };
    call.send(reply::Reply::ShellOutput(announced)).await?;
    call.send_data(bytes).await
}

/// Types into a shell.
pub async fn write(agent: &Agent, request: WriteShell) -> Result<(), Fail> {
    let terminal = agent.shells.find(&request.id)?.terminal()?;
    match timeout(SHELL_WRITE_DEADLINE, terminal.write(&request.data)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Fail::os("write to the terminal", error)),
        Err(_late) => Err(Fail::new(FailureKind::Exhausted, "nothing in the shell reads what is typed")),
    }
}

/// Gives a shell's terminal another size.
pub fn resize(agent: &Agent, request: &ResizeShell) -> Result<(), Fail> {
    let shell = agent.shells.find(&request.id)?;
    let size = Size::new(request.columns, request.rows)?;
    shell.terminal()?.resize(size)?;
    shell.size.set(size);
    Ok(())
}

/// Signals what is in the foreground of a shell.
pub fn signal(agent: &Agent, request: &SignalShell) -> Result<(), Fail> {
    let shell = agent.shells.find(&request.id)?;
    let signal = Signal::from_named_raw(request.number)
        .ok_or_else(|| Fail::invalid(format!("{} is not the number of a signal", request.number)))?;
    shell.terminal()?.signal(signal, shell.leader)
}

/// Ends a shell and everything in its session, and forgets it.
pub async fn close(agent: &Agent, id: &str) -> Result<ShellOutput, Fail> {
    let shell = agent.shells.find(id)?;
    agent.reaper.kill_group(shell.leader, Signal::HUP);
    // A stopped one would not see it.
    agent.reaper.kill_group(shell.leader, Signal::CONT);
    let grace = async {
        let mut changed = shell.changed.subscribe();
        while shell.exited.get().is_none() && changed.changed().await.is_ok() {}
    };
    let _ = timeout(HANG_UP_GRACE, grace).await;
    session::kill(shell.leader);
    let mut ending = shell.changed.subscribe();
    while shell.exited.get().is_none() {
        // What was killed ends, unless the kernel holds it.
        if timeout(HANG_UP_GRACE, ending.changed()).await.is_err() {
            break;
        }
    }
    if let Some(reading) = shell.reading.take() {
        reading.abort();
    }
    shell.terminal.replace(None);
    agent.shells.shells.borrow_mut().remove(id);
    let state = shell.state();
    Ok(ShellOutput { first: state.end, bytes: 0, state: Some(state) })
}
