//! Serves one host end: handshake, yamux, and a task for each call.
//!
//! The connection is driven by this one task, which never waits for a call; calls wait for the connection. When the
//! host end is gone every call that is still running is dropped, and with it the process group it started.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use pyro_protocol::GENERATION;
use pyro_protocol::limits::{MAX_CONNECTION_WINDOW_BYTES, MAX_STREAMS};
use pyro_protocol::v1::request::Call as Requested;
use pyro_protocol::v1::{Done, FailureKind, Ping, Pong, Request, reply};
use rustix::time::{ClockId, clock_gettime};
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::agent::{Agent, Life};
use crate::call::Call;
use crate::channel::{Channel, shake_hands};
use crate::fail::Fail;
use crate::{archive, configure, dial, diff, exec, files, freeze, secrets, services, shells, tunnel};

/// How long a new stream may take to send its request.
const REQUEST_DEADLINE: Duration = Duration::from_mins(1);

/// How long the last reply before a power-off may take to leave.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Why serving a host end is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    HostGone,
    PowerOff { grace: Duration },
}

/// Serves the host end that is open on `channel` until it goes away or asks the agent to end.
pub async fn serve(agent: &Rc<Agent>, channel: Channel) -> io::Result<Ended> {
    let Some(channel) = shake_hands(channel).await? else {
        return Ok(Ended::HostGone);
    };
    let mut connection = yamux::Connection::new(channel.compat(), settings(), yamux::Mode::Server);
    let mut calls = JoinSet::new();
    let ended = loop {
        select! {
            inbound = poll_fn(|cx| connection.poll_next_inbound(cx)) => match inbound {
                Some(Ok(stream)) => {
                    calls.spawn_local(answer(Rc::clone(agent), stream));
                }
                Some(Err(_)) | None => break Ended::HostGone,
            },
            Some(_) = calls.join_next() => {}
            grace = agent.power_off_requested() => {
                // Closing the connection writes out what the calls have handed over, so the host has its reply.
                let _ = timeout(FLUSH_DEADLINE, poll_fn(|cx| connection.poll_close(cx))).await;
                break Ended::PowerOff { grace };
            }
        }
    };
    calls.shutdown().await;
    Ok(ended)
}

fn settings() -> yamux::Config {
    let mut settings = yamux::Config::default();
    settings
        .set_max_num_streams(MAX_STREAMS)
        .set_max_connection_receive_window(Some(MAX_CONNECTION_WINDOW_BYTES));
    settings
}

async fn answer(agent: Rc<Agent>, stream: yamux::Stream) {
    let Ok(Some((call, request))) = timeout(REQUEST_DEADLINE, Call::accept(stream)).await else {
        return;
    };
    let answered = async {
        let (last, grace) = match perform(&agent, &call, request).await {
            Ok(Answer::Reply(reply)) => (reply, None),
            Ok(Answer::PowerOff { grace }) => (reply::Reply::Done(Done {}), Some(grace)),
            Err(fail) => (agent.secrets.clean(fail).into_reply(), None),
        };
        let _ = call.send(last).await;
        if let Some(grace) = grace {
            agent.request_power_off(grace);
        }
    };
    select! {
        biased;
        () = answered => {}
        () = call.closed() => {}
    }
}

enum Answer {
    Reply(reply::Reply),
    PowerOff { grace: Duration },
}

/// Fails unless the call is legal in the agent's present state.
fn require_legal(agent: &Agent, requested: &Requested) -> Result<(), Fail> {
    let needs_root = !matches!(
        requested,
        Requested::Ping(_)
            | Requested::Stage(_)
            | Requested::Seal(_)
            | Requested::Freeze(_)
            | Requested::Configure(_)
            | Requested::Sync(_)
            | Requested::Shutdown(_)
    );
    if needs_root {
        agent.require_root()?;
    }
    let needs_workspace = matches!(
        requested,
        Requested::List(_)
            | Requested::Replace(_)
            | Requested::Diff(_)
            | Requested::OpenShell(_)
            | Requested::StartService(_)
            | Requested::PutSecrets(_)
            | Requested::Tunnel(_)
    );
    if needs_workspace {
        agent.require_configured()?;
    }
    Ok(())
}

async fn perform(agent: &Rc<Agent>, call: &Call, request: Result<Request, Fail>) -> Result<Answer, Fail> {
    let request = request?;
    if request.generation != GENERATION {
        let message = format!("the host speaks generation {}, this agent {GENERATION}", request.generation);
        return Err(Fail::new(FailureKind::Unsupported, message));
    }
    let unknown = || Fail::new(FailureKind::Unsupported, "the call is not known to this agent");
    let requested = request.call.ok_or_else(unknown)?;
    require_legal(agent, &requested)?;
    let reply = match requested {
        Requested::Ping(ping) => reply::Reply::Pong(pong(agent, ping)),
        Requested::Stage(request) => {
            configure::stage(agent, &request)?;
            reply::Reply::Done(Done {})
        }
        Requested::Seal(request) => {
            configure::seal(agent, &request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::SetClock(request) => {
            configure::set_clock(agent, request)?;
            reply::Reply::Done(Done {})
        }
        Requested::Configure(request) => reply::Reply::Configured(configure::configure(agent, &request)?),
        Requested::Exec(request) => reply::Reply::Exited(exec::run(agent, call, request).await?),
        Requested::Pack(request) => reply::Reply::Transferred(archive::pack(agent, call, request).await?),
        Requested::Unpack(request) => reply::Reply::Transferred(archive::unpack(agent, call, request).await?),
        Requested::ReadFile(request) => reply::Reply::Transferred(files::read(agent, call, request).await?),
        Requested::WriteFile(request) => reply::Reply::Transferred(files::write(agent, call, request).await?),
        Requested::Freeze(request) => {
            freeze::freeze(agent, call, request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::List(request) => reply::Reply::Transferred(files::list(agent, call, request).await?),
        Requested::Replace(request) => reply::Reply::Transferred(files::replace(agent, call, request).await?),
        Requested::Diff(request) => reply::Reply::Transferred(diff::diff(agent, call, request).await?),
        Requested::Sync(_) => {
            configure::flush(agent).await?;
            reply::Reply::Done(Done {})
        }
        Requested::OpenShell(request) => reply::Reply::Started(shells::open(agent, request)?),
        Requested::ReadShell(request) => {
            shells::read(agent, call, request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::WriteShell(request) => {
            shells::write(agent, request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::ResizeShell(request) => {
            shells::resize(agent, &request)?;
            reply::Reply::Done(Done {})
        }
        Requested::SignalShell(request) => {
            shells::signal(agent, &request)?;
            reply::Reply::Done(Done {})
        }
        Requested::CloseShell(request) => reply::Reply::ShellOutput(shells::close(agent, &request.id).await?),
        Requested::StartService(request) => {
            reply::Reply::Services(services::start(agent, call, request).await?)
        }
        Requested::ListServices(_) => reply::Reply::Services(agent.services.list()),
        Requested::ReadServiceLog(request) => {
            services::log(agent, call, &request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::StopService(request) => reply::Reply::Services(services::stop(agent, &request).await?),
        Requested::ListShells(_) => reply::Reply::Shells(agent.shells.list()),
        Requested::PutSecrets(request) => {
            secrets::put(agent, request)?;
            reply::Reply::Done(Done {})
        }
        Requested::Tunnel(request) => {
            tunnel::tunnel(agent, call, &request).await?;
            reply::Reply::Done(Done {})
        }
        Requested::AwaitService(request) => {
            reply::Reply::Services(services::ended(agent, &request.name).await?)
        }
        Requested::Dial(request) => reply::Reply::Done(dial::dial(call, request).await?),
        Requested::Shutdown(request) => {
            let grace = Duration::from_millis(request.grace_ms);
            return Ok(Answer::PowerOff { grace });
        }
    };
    Ok(Answer::Reply(reply))
}

fn pong(agent: &Agent, ping: Ping) -> Pong {
    let uptime = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(uptime.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(uptime.tv_nsec).unwrap_or_default();
    Pong {
        token: ping.token,
        generation: GENERATION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        uptime_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        configured: agent.life() == Life::Configured,
    }
}
