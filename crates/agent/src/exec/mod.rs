//! Exec: one command, without a shell, in a process group of its own.
//!
//! 1. The request becomes a [`Plan`], or is refused.
//! 2. The command is spawned; `Started` is sent.
//! 3. Output is relayed as it comes, input is fed, until the command ends or its time is up.
//! 4. Output that is left in the pipes is sent; processes left over that keep a pipe open are waited for only so long.
//!
//! The group is killed when its time is up and when the call is cancelled. After a normal end it is left alone: what
//! the command started in the background may stay.

mod env;
mod interpreter;
mod lookup;
mod output;
mod plan;
mod spawn;

use std::rc::Rc;
use std::time::{Duration, Instant};

use pyro_protocol::limits::OUTPUT_LINGER;
use pyro_protocol::v1::{Exec, Exited, OutputStream, Started, input, reply};
use rustix::process::{Signal, WaitStatus};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio::{pin, select, try_join};

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use output::relay;
pub use plan::Plan;
pub use spawn::{Group, Running, enter, not_spawned, program, spawn};

/// What `timeout(1)` exits with.
const TIMED_OUT_EXIT_CODE: i32 = 124;

/// Runs the command to its end and returns the last reply.
pub async fn run(agent: &Rc<Agent>, call: &Call, request: Exec) -> Result<Exited, Fail> {
    let plan = Plan::new(agent, &request)?;
    let started = Instant::now();
    let running = spawn(agent, &plan)?;
    let pid = running.group.leader().as_raw_nonzero().get().unsigned_abs();
    call.send(reply::Reply::Started(Started { pid })).await?;
    supervise(agent, call, running, plan.timeout, started).await
}

async fn supervise(
    agent: &Agent,
    call: &Call,
    running: Running,
    limit: Option<Duration>,
    started: Instant,
) -> Result<Exited, Fail> {
    let Running { group, mut exit, stdin, stdout, stderr } = running;
    let (cut_off, cut) = watch::channel(false);
    let outputs = async {
        try_join!(
            relay(call, OutputStream::Stdout, agent.secrets.filter(), stdout, cut.clone()),
            relay(call, OutputStream::Stderr, agent.secrets.filter(), stderr, cut.clone()),
        )
        .map(|(stdout, stderr)| stdout || stderr)
    };
    let inputs = feed(call, &group, stdin);
    let time_up = async {
        match limit {
            Some(limit) => sleep(limit.saturating_sub(started.elapsed())).await,
            None => std::future::pending().await,
        }
    };
    pin!(outputs, inputs, time_up);

    let mut timed_out = false;
    let mut output_cut = None;
    let status = loop {
        select! {
            biased;
            status = &mut exit => break status.map_err(|_| Fail::host_gone())?,
            () = &mut time_up, if !timed_out => {
                timed_out = true;
                group.signal(Signal::KILL);
            }
            result = &mut outputs, if output_cut.is_none() => output_cut = Some(result?),
            fail = &mut inputs => return Err(fail),
        }
    };
    let duration = started.elapsed();
    let output_cut = match output_cut {
        Some(output_cut) => output_cut,
        None => {
            if let Ok(result) = timeout(OUTPUT_LINGER, &mut outputs).await {
                result?
            } else {
                cut_off.send_replace(true);
                outputs.await?
            }
        }
    };
    Ok(exited(status, timed_out, duration, output_cut))
}

/// How a command has ended.
pub fn exited(status: WaitStatus, timed_out: bool, duration: Duration, output_cut: bool) -> Exited {
    let signal = status.terminating_signal().unwrap_or(0);
    let exit_code =
        if timed_out { TIMED_OUT_EXIT_CODE } else { status.exit_status().unwrap_or(128 + signal) };
    Exited {
        exit_code,
        signal,
        timed_out,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        output_cut,
    }
}

/// Passes on what the host sends, until that fails. A command that closed its input just does not get the rest.
async fn feed(call: &Call, group: &Group, mut stdin: Option<pipe::Sender>) -> Fail {
    loop {
        match call.input().await {
            Ok(input::Input::Data(data)) => {
                let Some(pipe) = &mut stdin else { continue };
                if pipe.write_all(&data.data).await.is_err() {
                    stdin = None;
                }
            }
            Ok(input::Input::End(_)) => stdin = None,
            Ok(input::Input::Signal(signal)) => match Signal::from_named_raw(signal.number) {
                Some(signal) => group.signal(signal),
                None => return Fail::invalid(format!("{} is not the number of a signal", signal.number)),
            },
            Ok(input::Input::File(_)) => return Fail::invalid("a file for a command"),
            Err(fail) => return fail,
        }
    }
}
