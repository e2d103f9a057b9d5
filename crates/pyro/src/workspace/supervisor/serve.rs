//! The supervisor's own side.

use super::messages::{receive, send};
use super::network::{Flush, record as record_network};
use super::publish::Publisher;
use super::relay::{listen, relay};
use super::{Control, ControlAnswer, Order, Report};
use crate::boxed;
use crate::engine::{blocking, on_thread};
use crate::network::{EVENT_QUEUE, NetEvent, NetworkPlan};
use crate::store::{Record, Started, WorkspaceState};
use crate::vm::{MachinePlan, Running, Shape};
use crate::workspace::{SecretValues, SeedMode, WorkspaceDirectory, WorkspaceError, WorkspaceId};
use crate::{FetchOptions, Pyro, PyroError, Settings};
use jiff::Timestamp;
use pyro_protocol::error::{Diagnostic, chain};
use pyro_runtime::Silent;
use pyro_runtime::fs::{FsError, create_dir_all, remove_all, set_mode};
use pyro_runtime::lock::FileLock;
use pyro_vmm::{ExitReport, Guest, VmmError};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// How long the supervisor before may take to let go.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// How long a guest may take to say that it is there.
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// Between TERM and KILL for the guest's processes when it is stopped.
const GRACE: Duration = Duration::from_secs(3);
/// How long a guest may take to flush its disks and power off.
const POWER_OFF_DEADLINE: Duration = Duration::from_mins(1);
/// How long recording what the network did may take.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// The clock may be set, or the host be asleep: the time is looked at so often.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// Until a connection that could not be accepted is tried again.
pub(super) const BREATHER: Duration = Duration::from_millis(50);
/// Until what has expired is tried to be removed again.
const EXPIRY_RETRY: Duration = Duration::from_secs(5);

/// Supervises one workspace, as whoever is at the other end of standard input says, until it is ended or its time is up.
/// For the hidden command `pyro supervise`; needs a process of its own.
#[boxed]
pub async fn supervise() -> Result<(), PyroError> {
    let failed = |source| WorkspaceError::Supervisor { action: "started", source };
    let (mut reader, writer) = standard_input().map_err(failed)?;
    let order: Order = receive(&mut reader).await.map_err(failed)?;
    let (mut client, id) = (Client { reader, writer }, order.workspace_id.clone());
    let started = tokio::select! {
        started = Supervisor::start(order) => started,
        // Nobody waits for the guest any more.
        () = client.gone() => return Ok(()),
    };
    match started {
        Ok((supervisor, started)) => {
            client.report(&Report::Ready(started)).await;
            drop(client);
            supervisor.serve().await
        }
        Err(error) => {
            client.report(&failure(&id, &error)).await;
            Err(error)
        }
    }
}

fn failure(id: &WorkspaceId, error: &PyroError) -> Report {
    // What sets a guest up fails because of what is on the disk, which is the workspace's own.
    let by_disk = matches!(
        error,
        PyroError::Vmm(VmmError::Refused { call: "configure" | "put_secrets" | "tunnel", .. })
    );
    let hint = if by_disk {
        let way_out = format!("go back with `pyro workspace reset {id}`");
        Some(format!("what was done to its disk keeps the guest from coming up: {way_out}"))
    } else {
        error.hint()
    };
    Report::Failed {
        code: error.kind().code().to_owned(),
        message: chain(error),
        hint,
        log: error.log().map(ToOwned::to_owned),
    }
}

fn standard_input() -> io::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
    let socket = StdStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    Ok((BufReader::new(reader), writer))
}

/// Whoever started this process, until the guest is ready.
struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Returns when nobody is at the other end any more. Nothing is said from there once the order was given.
    async fn gone(&mut self) {
        let mut rest = [0; 64];
        while self.reader.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }

    async fn report(&mut self, report: &Report) {
        // A client that is gone has ended this process, or will.
        let _unheard = send(&mut self.writer, report).await;
    }
}

/// A workspace's guest, once up.
struct Supervisor {
    pyro: Pyro,
    record: Record,
    shape: Shape,
    directory: WorkspaceDirectory,
    generation: i64,
    running: Option<Running>,
    guests: watch::Sender<Option<Guest>>,
    publisher: Publisher,
    control: UnixListener,
    /// Has what the guest's network did recorded.
    flushes: mpsc::Sender<Flush>,
    /// Held to the last moment.
    _alive: FileLock,
}

impl Supervisor {
    async fn start(order: Order) -> Result<(Self, Started), PyroError> {
        let workspace_id = order.workspace_id.clone();
        let pyro = pyro(order);
        let id = workspace_id.clone();
        let record = pyro.read(move |store| Record::find(store, &id)).await?;
        let record = record.ok_or(WorkspaceError::Unknown { id: workspace_id, near: vec![] })?;
        let directory = pyro.workspace_directory(&record.id);
        let taking = directory.clone();
        let (alive, in_use) =
            blocking(move || Ok((taking.become_supervisor(TAKE_OVER)?, taking.use_disk(TAKE_OVER)?))).await?;
        let (guests, at_present) = watch::channel(None);
        let may_publish = record.is_guest() && record.origin.network_policy.allows_publishing();
        let publisher = Publisher::new(at_present.clone(), may_publish);
        tokio::spawn(relay(listen(&directory.guest_socket())?, at_present));
        let control = listen(&directory.control_socket())?;
        let (events, happened) = mpsc::channel(EVENT_QUEUE);
        let machine = pyro.start_workspace_machine(&record, &directory, Arc::new(in_use), events);
        let (running, shape) = machine.await?;
        // Whoever reads that it runs is to reach it.
        guests.send_replace(Some(running.guest.clone()));
        let started = started(&running);
        let state = if record.state == WorkspaceState::Creating {
            WorkspaceState::Creating
        } else {
            WorkspaceState::Running
        };
        let (id, how) = (record.id.clone(), started.clone());
        let generation = pyro.transact(move |store| Record::set_started(store, &id, state, &how)).await?;
        let generation = generation.ok_or(WorkspaceError::Unknown { id: record.id.clone(), near: vec![] })?;
        let (flushes, to_flush) = mpsc::channel(1);
        let redaction = pyro.redaction(&record).await?;
        let of = (record.id.clone(), generation);
        tokio::spawn(record_network(pyro.clone(), of, redaction, happened, to_flush));
        let running = Some(running);
        let supervisor = Self {
            pyro,
            record,
            shape,
            directory,
            generation,
            running,
            guests,
            publisher,
            control,
            flushes,
            _alive: alive,
        };
        Ok((supervisor, started))
    }

    async fn serve(mut self) -> Result<(), PyroError> {
        self.learn().await;
        super::footprint::give_back();
        let failed = |source| WorkspaceError::Supervisor { action: "told to end by a signal", source };
        let mut asked_to_end = signal(SignalKind::terminate()).map_err(failed)?;
        loop {
            tokio::select! {
                // As when the host shuts down: what the guest wrote gets to its disk.
                _ = asked_to_end.recv() => {
                    self.stop(Some("its supervisor was asked to end, as when the host shuts down")).await?;
                    return Ok(());
                }
                exit = ended(self.running.as_ref()) => {
                    let reason = self.explain_end(exit).await;
                    if !self.note_end(Some(&reason)).await? {
                        return Ok(());
                    }
                }
                connection = self.control.accept() => {
                    let Ok((client, _)) = connection else {
                        // Too many open files: those who have some will close them.
                        sleep(BREATHER).await;
                        continue;
                    };
                    if self.answer(client).await? {
                        return Ok(());
                    }
                }
                () = self.nap() => {
                    if self.record.is_expired() && self.expire().await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What this start has taught about the host, which nobody is to wait for.
    async fn learn(&self) {
        let Some(running) = &self.running else { return };
        if let Some(unusable) = &running.no_template {
            self.pyro.make_template_later(&self.shape, unusable);
        }
        if running.capabilities.isolated {
            self.pyro.record_proof().await;
        }
    }

    /// Why the guest is gone. What its console said last is kept in the log, without secrets.
    async fn explain_end(&self, (exit, console): (ExitReport, String)) -> String {
        let reason = format!("its guest ended unexpectedly, with {}", exit.status);
        let Ok(redaction) = self.pyro.redaction(&self.record).await else { return reason };
        let (path, console) = (self.directory.log(), redaction.bytes(console.into()));
        if console.is_empty() {
            return reason;
        }
        let log = path.clone();
        let keep = move || File::options().create(true).append(true).open(log)?.write_all(&console);
        match on_thread(keep).await {
            Ok(()) => format!("{reason}; the end of its console is in {}", path.display()),
            Err(_) => reason,
        }
    }

    /// Sleeps until the time to live has passed, or a while.
    async fn nap(&self) {
        let left = self.record.expires_at.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        // What has expired and could not be removed is tried again after a moment.
        let nap = if left.is_zero() && self.running.is_none() { EXPIRY_RETRY } else { left };
        sleep(nap.min(LONGEST_NAP)).await;
    }

    /// Does what a client says; returns whether this is the end.
    async fn answer(&mut self, client: UnixStream) -> Result<bool, PyroError> {
        let mut client = BufReader::new(client);
        // Clients are pyro's own; one that says nothing must not hold up the others for long.
        let Ok(Ok(said)) = timeout(PING_DEADLINE, receive(&mut client)).await else { return Ok(false) };
        match said {
            Control::Ping => {
                let guest = self.running.as_ref().map(|running| running.guest.clone());
                tokio::spawn(async move {
                    let orderly = match guest {
                        Some(guest) => {
                            timeout(PING_DEADLINE, guest.ping()).await.is_ok_and(|pong| pong.is_ok())
                        }
                        None => false,
                    };
                    tell(client, ControlAnswer { orderly }).await;
                });
            }
            Control::Network => {
                let network =
                    self.running.as_ref().and_then(|running| Some(running.network.as_ref()?.state()));
                let flushes = self.flushes.clone();
                tokio::spawn(async move {
                    flush(&flushes).await;
                    tell(client, network).await;
                });
            }
            Control::Stop => tell(client, ControlAnswer { orderly: self.stop(None).await? }).await,
            Control::End => {
                self.end_machine().await;
                self.remove_sockets();
                tell(client, ControlAnswer { orderly: true }).await;
                return Ok(true);
            }
            Control::Publish { service, ports } => {
                tokio::spawn(self.publisher.clone().publish(client, service, ports));
            }
            Control::Published => {
                let published = self.publisher.published();
                tokio::spawn(tell(client, published));
            }
            Control::Unpublished { service } => {
                let publisher = self.publisher.clone();
                tokio::spawn(async move {
                    publisher.unpublished(&service).await;
                    tell(client, ControlAnswer { orderly: true }).await;
                });
            }
        }
        Ok(false)
    }

    /// Ends the guest so that everything it wrote is on its disk. Returns false where it would not, and was killed.
    async fn stop(&mut self, reason: Option<&str>) -> Result<bool, PyroError> {
        let Some(running) = &self.running else { return Ok(true) };
        let powered_off = async {
            running.guest.sync().await?;
            running.guest.shutdown(GRACE).await?;
            Ok::<_, PyroError>(running.machine.wait().await)
        };
        let orderly = timeout(POWER_OFF_DEADLINE, powered_off).await.is_ok_and(|ended| ended.is_ok());
        self.end_machine().await;
        let reason = if orderly { reason } else { Some("its guest did not end when asked, and was killed") };
        self.note_end(reason).await?;
        Ok(orderly)
    }

    async fn end_machine(&mut self) {
        self.guests.send_replace(None);
        if let Some(running) = self.running.take() {
            flush(&self.flushes).await;
            running.end().await;
        }
        self.publisher.settled().await;
    }

    /// The guest is gone: record it, with the reason where nobody asked for it. Returns false where the record is no longer, or
    /// not yet, about this guest: then whoever changes it has to find that nobody supervises it.
    async fn note_end(&mut self, reason: Option<&str>) -> Result<bool, PyroError> {
        self.end_machine().await;
        let (id, generation) = (self.record.id.clone(), self.generation);
        let reason = reason.map(ToOwned::to_owned);
        self.pyro.transact(move |store| Record::set_stopped(store, &id, generation, reason.as_deref())).await
    }

    /// Removes the workspace, whose time has passed. What cannot be removed now is tried again.
    async fn expire(&mut self) -> bool {
        self.end_machine().await;
        let (directory, id) = (self.directory.clone(), self.record.id.clone());
        let removed = async {
            // Whoever has the turn may be waiting for an answer of this very process.
            let _turn = blocking(move || Ok(directory.lock(Duration::ZERO)?)).await?;
            self.pyro.remove_workspace_files(&id).await
        };
        match removed.await {
            Ok(()) => true,
            Err(error) => {
                // Standard error is the workspace's log.
                let _unheard = writeln!(io::stderr(), "cannot remove what has expired: {}", chain(&error));
                !self.directory.path().exists()
            }
        }
    }

    fn remove_sockets(&self) {
        for socket in [self.directory.guest_socket(), self.directory.control_socket()] {
            // One that stays behind is replaced by the next supervisor.
            let _left = remove_all(&socket);
        }
    }
}

/// Has what the guest's network did so far recorded; returns whether it is.
async fn flush(recorder: &mpsc::Sender<Flush>) -> bool {
    let (flush, done) = oneshot::channel();
    recorder.send(flush).await.is_ok() && timeout(FLUSH_DEADLINE, done).await.is_ok_and(|done| done.is_ok())
}

async fn tell(mut client: BufReader<UnixStream>, answer: impl Serialize + Sync) {
    // Whoever does not wait for the answer does not need it.
    let _unheard = send(&mut client, &answer).await;
}

fn pyro(Order { dirs, templates, engine, firecracker, .. }: Order) -> Pyro {
    let program = std::env::current_exe().ok();
    let (progress, source) = (Arc::new(Silent), FetchOptions::default());
    Pyro::new(Settings { dirs, progress, source, templates, engine, firecracker, program })
}

/// How the machine ended, once it has, and what its console said last; never, where there is none.
async fn ended(running: Option<&Running>) -> (ExitReport, String) {
    let Some(running) = running else { return std::future::pending().await };
    (running.machine.wait().await, running.machine.console_tail())
}

fn started(running: &Running) -> Started {
    Started {
        engine: running.capabilities.engine.to_owned(),
        execution_mode: running.capabilities.execution_mode.as_str().to_owned(),
        start: running.capabilities.isolated.then_some(running.start),
        cold_start_reason: running.no_template.as_ref().map(ToString::to_string),
        fallback_reason: running.fallback.clone(),
    }
}

impl Pyro {
    /// Starts the machine of a workspace from its disk.
    async fn start_workspace_machine(
        &self,
        record: &Record,
        directory: &WorkspaceDirectory,
        lock: Arc<OwnedFd>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<(Running, Shape), PyroError> {
        let origin = &record.origin;
        let shape = Shape::new(
            &origin.environment,
            origin.vcpu_count,
            origin.mem_mib,
            origin.allow_host_compat && origin.image_digest.is_none(),
        )?;
        let prepared = self.prepare_start(&shape).await?;
        record.require_image(prepared.image_digest())?;
        let machine = directory.machine();
        let is_guest = origin.image_digest.is_some();
        let place = machine.clone();
        blocking(move || {
            if is_guest {
                remove_all(&place)?;
            }
            create_dir_all(&place)?;
            Ok::<_, FsError>(set_mode(&place, 0o700)?).map_err(PyroError::from)
        })
        .await?;
        let disk = is_guest.then(|| directory.disk());
        // The disk is in use until the last one who writes to it is gone.
        let lock = Some(lock);
        let seed = (is_guest && origin.seed.mode != SeedMode::Empty).then(|| directory.seed());
        let rules = origin.network();
        let network =
            (is_guest && rules.policy.allows_egress()).then_some(NetworkPlan { rules, events: Some(events) });
        let secrets = if origin.secrets.is_empty() {
            SecretValues::default()
        } else {
            let (id, directory) = (record.id.clone(), directory.clone());
            blocking(move || Ok(SecretValues::load(&id, &directory)?)).await?
        };
        let name = record.id.to_string();
        let plan = MachinePlan { name, directory: machine, disk, seed, lock, network, secrets };
        let running = prepared.start(&plan, &shape, self.progress()).await?;
        Ok((running, shape))
    }
}
