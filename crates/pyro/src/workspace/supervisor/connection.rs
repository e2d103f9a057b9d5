//! One connection to a published port, carried into the guest.
//!
//! Each direction holds one piece at most, and ends by itself. Only when both have ended in order is the connection closed in
//! order; otherwise it is reset, as it was on the other side.

use pyro_protocol::v1::FailureKind;
use pyro_vmm::guest::{DialReceiver, DialSender};
use pyro_vmm::{Guest, VmmError};
use rustix::net::{Shutdown, shutdown};
use std::future::pending;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::{Instant, sleep, timeout};

/// What is read at once. There is no buffer where there is nothing to read.
const PIECE_BYTES: usize = 16 * 1024;
/// How long a connection may wait for the service to accept it: as long as a client's kernel usually does.
const ACCEPT_PATIENCE: Duration = Duration::from_mins(2);
/// Between two tries to be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// How long nothing may move in either direction.
const IDLE_DEADLINE: Duration = Duration::from_hours(1);

/// A client of a published port. Its connection is reset when this is dropped before it is over.
pub(super) struct Visitor {
    stream: TcpStream,
    is_over: bool,
}

impl Visitor {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Without it small pieces are late.
        let _slower = stream.set_nodelay(true);
        Self { stream, is_over: false }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if !self.is_over {
            // Without it the client sees an orderly end.
            let _orderly = self.stream.set_zero_linger();
        }
    }
}

/// How long nothing may move once the client has ended its side: it may be gone, which a service that says nothing never finds out.
const ENDED_IDLE_DEADLINE: Duration = Duration::from_mins(2);
/// How often it is looked whether nothing has moved for too long.
const LOOK: Duration = Duration::from_secs(15);

/// When something last moved, and how long that may last.
struct LastMove(Mutex<(Instant, Duration)>);

impl LastMove {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), IDLE_DEADLINE)))
    }

    fn note(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now();
    }

    /// The client has ended its side.
    fn note_end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), ENDED_IDLE_DEADLINE);
    }

    /// Returns when nothing has moved for too long.
    async fn is_long_ago(&self) {
        loop {
            let (last, patience) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= patience {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// Connects to the guest's port and carries bytes both ways until both directions have ended, or either end is gone.
pub(super) async fn carry(guest: &Guest, mut visitor: Visitor, port: u16) {
    let client = &visitor.stream;
    let Some((sender, receiver)) = dial(guest, client, port).await else { return };
    let last = LastMove::new();
    visitor.is_over = select! {
        biased;
        ended = back(receiver, client, &last) => ended.is_ok(),
        () = forward(client, sender, &last) => false,
        () = last.is_long_ago() => false,
    };
}

/// Connects, and tries again while the service is only too busy to accept.
async fn dial(guest: &Guest, client: &TcpStream, port: u16) -> Option<(DialSender, DialReceiver)> {
    let connecting = async {
        loop {
            match guest.dial(port).await {
                Err(VmmError::Refused { kind: FailureKind::Exhausted, .. }) => sleep(PAUSE).await,
                connected => return connected.ok(),
            }
        }
    };
    select! {
        connected = timeout(ACCEPT_PATIENCE, connecting) => connected.ok().flatten(),
        () = aborted(client) => None,
    }
}

/// Carries what the client sends. Returns when the client has reset the connection; that the guest takes no more is told by the
/// other direction, behind what the guest has still sent.
async fn forward(client: &TcpStream, mut sender: DialSender, last: &LastMove) {
    while let Ok(piece) = read(client).await {
        last.note();
        let is_end = piece.is_empty();
        if is_end {
            last.note_end();
        }
        let sending = async { if is_end { sender.end().await } else { sender.send(piece.into()).await } };
        let is_sent = select! {
            sent = sending => sent.is_ok(),
            () = aborted(client) => return,
        };
        if is_end || !is_sent {
            return aborted(client).await;
        }
    }
}

/// Carries what the guest sends, ends that direction, and waits for the end of the other one.
async fn back(mut receiver: DialReceiver, client: &TcpStream, last: &LastMove) -> Result<(), VmmError> {
    let failed = |source| VmmError::Host { action: "write to a connection".to_owned(), source };
    while let Some(piece) = receiver.next().await? {
        write_all(client, &piece).await.map_err(failed)?;
        last.note();
    }
    // One that was reset is noticed elsewhere.
    let _reset = shutdown(client, Shutdown::Write);
    receiver.finish().await
}

/// Reads a piece; an empty one is the end.
async fn read(client: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        client.readable().await?;
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match client.try_read_buf(&mut piece) {
            Ok(_) => return Ok(piece),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_all(client: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        client.writable().await?;
        match client.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the client has reset the connection, also while something that it sent is not read.
async fn aborted(client: &TcpStream) {
    if client.ready(Interest::ERROR).await.is_err() {
        pending::<()>().await;
    }
}
