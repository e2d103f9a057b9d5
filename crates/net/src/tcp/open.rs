//! From a SYN to a connection.
//!
//! 1. The SYN is held. Nothing is allocated for the connection but a queue.
//! 2. The host connects, with a deadline. The guest repeats its SYN meanwhile, which changes nothing, or gives up.
//! 3. Refused: a reset, which the guest reports as such at once. Not reached: an ICMP error, likewise.
//! 4. Connected: a stack takes the SYN and answers it. Only now the guest's program is connected, so what it sees is what
//!    the other end did.

use super::flow::{Flow, Moved};
use super::host::HostStream;
use super::stack::{Stack, reset};
use crate::dns;
use crate::event::{End, EventKind, Refusal, Subject};
use crate::limits::Rings;
use crate::packet::{Control, FlowKey, Packet, Unreachable, parse, unreachable};
use crate::proxy::{ConnectError, tunnel};
use crate::route::{Context, Route};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// How long an answer that refuses may wait for its turn.
const ANSWER: Duration = Duration::from_secs(1);

/// A connection that the guest wants.
pub(super) struct Opening {
    pub(super) key: FlowKey,
    pub(super) syn: Bytes,
    pub(super) inbox: mpsc::Receiver<Bytes>,
    pub(super) route: Route,
    pub(super) subject: Subject,
    pub(super) rings: Rings,
    /// Its place among those that are being made, or among those to the resolver.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Opens the connection and runs it to its end.
pub(super) async fn run(context: Arc<Context>, mut opening: Opening) {
    if opening.route == Route::Resolver {
        return resolver(&context, opening).await;
    }
    let connected = select! {
        connected = timeout(context.limits.connect_timeout, connect(&context, &opening.route)) => {
            connected.unwrap_or(Err(Refusal::Unreachable))
        }
        () = given_up(&mut opening.inbox) => return,
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(reason) => {
            context.log.say(&opening.subject, EventKind::Refused { reason });
            opening.inbox.close();
            return refuse(&context, opening.syn, reason).await;
        }
    };
    context.log.say(&opening.subject, EventKind::Connected);
    opening.place = None;
    let subject = opening.subject.clone();
    let (end, moved) = relay(&context, opening, HostStream::Tcp(stream)).await;
    context.log.closed(&subject, end, moved.sent, moved.received);
}

async fn connect(context: &Context, route: &Route) -> Result<TcpStream, Refusal> {
    match route {
        Route::Direct(address) => {
            let stream = TcpStream::connect(address).await.map_err(|error| refusal(&error))?;
            // The guest's stack has decided already what goes together.
            drop(stream.set_nodelay(true));
            Ok(stream)
        }
        Route::Proxied { proxy, target } => {
            let places = context.resolver.places(&proxy.host, proxy.port).await;
            tunnel(proxy, &places, target).await.map_err(|error| match error {
                ConnectError::Status(status) => Refusal::ProxyRefused { status },
                ConnectError::Io(_) | ConnectError::Answer => Refusal::ProxyFailed,
            })
        }
        Route::Resolver => Err(Refusal::NoService),
    }
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Refusal::HostRefused,
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Refusal::HostExhausted,
        // Too many open files, of the process and of the host.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => Refusal::HostExhausted,
        _ => Refusal::Unreachable,
    }
}

/// Ends when the guest resets what it has not got yet. Everything else it sends now is a repetition.
async fn given_up(inbox: &mut mpsc::Receiver<Bytes>) {
    while let Some(packet) = inbox.recv().await {
        if let Some(Packet::Tcp { control: Control::Reset, .. }) = parse(&packet) {
            return;
        }
    }
}

/// Answers a SYN in the way that `reason` is best understood.
async fn refuse(context: &Context, syn: Bytes, reason: Refusal) {
    let answer = match reason {
        Refusal::Unreachable | Refusal::ProxyFailed => unreachable(&syn, Unreachable::Host),
        _ => reset(syn),
    };
    if let Some(answer) = answer {
        drop(context.to_guest.send_timeout(answer, ANSWER).await);
    }
}

async fn relay(context: &Context, opening: Opening, host: HostStream) -> (End, Moved) {
    let Some(mut stack) = Stack::listening(&opening.key, opening.rings, context.to_guest.clone()) else {
        refuse(context, opening.syn, Refusal::HostExhausted).await;
        return (End::HostReset, Moved::default());
    };
    stack.device.push(opening.syn);
    let (limits, log) = (context.limits, context.log.clone());
    Flow { stack, host, inbox: opening.inbox, limits, log, moved: Moved::default(), rest: Vec::new() }
        .run()
        .await
}

/// A connection to the resolver, which is in this process.
async fn resolver(context: &Context, mut opening: Opening) {
    let _place = opening.place.take();
    let Ok((host, served)) = UnixStream::pair() else {
        return refuse(context, opening.syn, Refusal::HostExhausted).await;
    };
    let serve = async {
        dns::serve(context, served).await;
        // The connection outlives its last answer.
        std::future::pending::<()>().await;
    };
    select! {
        _ = relay(context, opening, HostStream::Local(host)) => {}
        () = serve => {}
    }
}
