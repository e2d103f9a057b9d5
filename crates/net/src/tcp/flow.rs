//! A connection that both ends have: bytes from one to the other until both are done.
//!
//! What always holds: bytes wait only in the two rings and in the host's socket, so that a side that does not read stops the
//! other; packets from the guest are taken whatever else cannot go on.
//!
//! Ends: the guest's FIN ends what is sent to the host, the host's end of file becomes a FIN after everything before it;
//! a reset on one side becomes one on the other. The stack waits for nothing when both sides have closed (TIME-WAIT): the
//! last acknowledgement cannot get lost on a channel. What the host has not taken by then is still sent.

use super::host::HostStream;
use super::stack::Stack;
use crate::event::{End, Log, count};
use crate::limits::{FLOW_QUEUE, HANDSHAKE_IDLE, Limits};
use bytes::Bytes;
use smoltcp::socket::tcp::{RecvError, State};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long the last packet, a reset, may wait for its turn.
const LAST_PACKET: Duration = Duration::from_secs(1);

pub(super) struct Flow {
    pub(super) stack: Stack,
    pub(super) host: HostStream,
    pub(super) inbox: mpsc::Receiver<Bytes>,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) moved: Moved,
    /// What a stack that is done has left for the host.
    pub(super) rest: Vec<u8>,
}

/// What went through, and which sides have ended.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) sent: u64,
    pub(super) received: u64,
    guest_ended: bool,
    host_ended: bool,
}

impl Flow {
    /// Runs the connection whose SYN the stack holds, to its end.
    pub(super) async fn run(mut self) -> (End, Moved) {
        let mut last = Instant::now();
        let mut before = 0;
        let end = loop {
            self.stack.receive();
            if let Some(end) = self.exchange().await {
                break end;
            }
            let moved = self.moved.sent + self.moved.received;
            if moved != before {
                (before, last) = (moved, Instant::now());
            }
            match self.wait(last + self.patience()).await {
                Woken::Packets => last = Instant::now(),
                Woken::Ready => {}
                Woken::Idle => break End::Idle,
                Woken::Stopped => break End::Stopped,
            }
        };
        self.finish(end).await;
        let Self { host, moved, .. } = self;
        if end != End::Closed {
            host.reset();
        }
        (end, moved)
    }

    /// Moves bytes both ways as far as they go, and says whether that was all.
    async fn exchange(&mut self) -> Option<End> {
        if self.upload().is_err() || self.download().is_err() {
            return Some(End::HostReset);
        }
        if !self.moved.guest_ended && self.stack.socket().recv(|_| (0, ())) == Err(RecvError::Finished) {
            self.moved.guest_ended = true;
            // A host that is gone already says so at the next read.
            drop(self.host.shutdown().await);
        }
        self.stack.transmit();
        match self.stack.state() {
            State::TimeWait => {
                self.keep_rest();
                Some(End::Closed)
            }
            State::Closed => Some(if self.keep_rest() { End::Closed } else { End::GuestReset }),
            // A reset before the handshake was over.
            State::Listen => Some(End::GuestReset),
            _ => None,
        }
    }

    /// Takes what the host has not got yet out of a stack that is done, and says whether the guest had ended it in order.
    fn keep_rest(&mut self) -> bool {
        let socket = self.stack.socket();
        while let Ok(1..) = socket.recv(|bytes| {
            self.rest.extend_from_slice(bytes);
            (bytes.len(), bytes.len())
        }) {}
        let ended = self.moved.guest_ended || socket.recv(|_| (0, ())) == Err(RecvError::Finished);
        ended && self.moved.host_ended
    }

    fn upload(&mut self) -> io::Result<()> {
        let socket = self.stack.socket();
        while socket.can_recv() {
            let written = socket.recv(|bytes| match self.host.try_write(bytes) {
                Ok(written) => (written, Ok(written)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(written @ 1..)) => {
                    self.moved.sent += written as u64;
                    count(&self.log.counts().bytes_sent, written as u64);
                }
                Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => break,
            }
        }
        Ok(())
    }

    fn download(&mut self) -> io::Result<()> {
        let socket = self.stack.socket();
        while !self.moved.host_ended && socket.can_send() {
            let read = socket.send(|room| match self.host.try_read(room) {
                Ok(read) => (read, Ok(read)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    self.moved.host_ended = true;
                    socket.close();
                }
                Ok(Ok(read)) => {
                    self.moved.received += read as u64;
                    count(&self.log.counts().bytes_received, read as u64);
                }
                Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => break,
            }
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        match self.stack.state() {
            State::SynReceived => HANDSHAKE_IDLE,
            _ if self.moved.guest_ended || self.moved.host_ended => self.limits.half_closed_idle,
            _ => self.limits.tcp_idle,
        }
    }

    /// Waits for whatever lets bytes move again.
    async fn wait(&mut self, deadline: Instant) -> Woken {
        let blocked = self.stack.device.blocked();
        // What is due while the guest's channel is full has to wait for that.
        let delay = if blocked { None } else { self.stack.delay() };
        if !blocked {
            self.stack.device.release();
        }
        let socket = self.stack.socket();
        let readable = (socket.can_send() && !self.moved.host_ended).then_some(Interest::READABLE);
        let writable = socket.can_recv().then_some(Interest::WRITABLE);
        let interest = match (readable, writable) {
            (Some(readable), Some(writable)) => Some(readable | writable),
            (one, other) => one.or(other),
        };
        select! {
            packet = self.inbox.recv() => {
                let Some(packet) = packet else { return Woken::Stopped };
                self.stack.device.push(packet);
                for _ in 1..FLOW_QUEUE {
                    let Ok(packet) = self.inbox.try_recv() else { break };
                    self.stack.device.push(packet);
                }
                Woken::Packets
            }
            turn = self.stack.device.turn(), if blocked => if turn.is_ok() { Woken::Ready } else { Woken::Stopped },
            _ = self.host.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => Woken::Ready,
            () = sleep(delay.unwrap_or_default()), if delay.is_some() => Woken::Ready,
            () = sleep_until(deadline) => Woken::Idle,
        }
    }

    /// Tells both sides how it ended, where they do not know yet.
    async fn finish(&mut self, end: End) {
        // Whatever comes from here on is about another connection of the same ends.
        self.inbox.close();
        match end {
            End::HostReset | End::Idle => {
                self.stack.socket().abort();
                self.stack.device.begin();
                self.stack.transmit();
                if self.stack.device.blocked() && timeout(LAST_PACKET, self.stack.device.turn()).await.is_ok()
                {
                    self.stack.transmit();
                }
            }
            End::Closed if !self.moved.guest_ended => {
                self.stack.device.release();
                self.send_rest().await;
                drop(self.host.shutdown().await);
            }
            _ => {}
        }
    }

    /// Sends what is left to a host that was slower than the guest, as long as it takes any.
    async fn send_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        while !left.is_empty() {
            match self.host.try_write(left) {
                Ok(written) => {
                    left = &left[written..];
                    self.moved.sent += written as u64;
                    count(&self.log.counts().bytes_sent, written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready =
                        timeout(self.limits.half_closed_idle, self.host.ready(Interest::WRITABLE)).await;
                    if !matches!(ready, Ok(Ok(_))) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

enum Woken {
    Packets,
    Ready,
    Idle,
    Stopped,
}
