//! The stack's link: packets of one flow in, packets to the guest out.
//!
//! Nothing that the stack emits is lost, because its retransmission would take a second: where the channel to the guest is
//! full, it is told that it cannot send, and the flow waits for its turn. The exception are answers to bad segments, of
//! which one is kept: a guest that sends more has asked for it.

use crate::addressing::MTU;
use bytes::Bytes;
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc::{self, OwnedPermit, Permit, error::SendError};

type Reservation = Pin<Box<dyn Future<Output = Result<OwnedPermit<Bytes>, SendError<()>>> + Send>>;

pub(super) struct Device {
    received: VecDeque<Bytes>,
    to_guest: mpsc::Sender<Bytes>,
    /// Kept while the flow waits for other things too, so that it keeps its place in the line.
    reservation: Option<Reservation>,
    granted: Option<OwnedPermit<Bytes>>,
    reply: Option<Bytes>,
    blocked: bool,
}

impl Device {
    pub(super) fn new(to_guest: mpsc::Sender<Bytes>) -> Self {
        Self {
            received: VecDeque::new(),
            to_guest,
            reservation: None,
            granted: None,
            reply: None,
            blocked: false,
        }
    }

    /// Hands a packet to the next poll. The caller bounds how many there are between two.
    pub(super) fn push(&mut self, packet: Bytes) {
        self.received.push_back(packet);
    }

    /// Whether something could not be sent since [`Device::begin`].
    pub(super) fn blocked(&self) -> bool {
        self.blocked || self.reply.is_some()
    }

    /// Begins a round of polls: sends what was kept.
    pub(super) fn begin(&mut self) {
        self.blocked = false;
        if let Some(reply) = self.reply.take() {
            if let Some(permit) = self.granted.take() {
                permit.send(reply);
            } else if let Err(mpsc::error::TrySendError::Full(reply)) = self.to_guest.try_send(reply) {
                self.reply = Some(reply);
            }
        }
    }

    /// Gives up its place in the line and what it was given there. A place that nobody waits at is one that all others
    /// wait for.
    pub(super) fn release(&mut self) {
        self.reservation = None;
        self.granted = None;
    }

    /// Waits until one packet can be sent; fails when the guest is gone. Nothing is lost when this is dropped.
    pub(super) async fn turn(&mut self) -> Result<(), SendError<()>> {
        let reservation =
            self.reservation.get_or_insert_with(|| Box::pin(self.to_guest.clone().reserve_owned()));
        let permit = reservation.await;
        self.reservation = None;
        self.granted = Some(permit?);
        Ok(())
    }
}

impl phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Transmit<'_>)> {
        let packet = self.received.pop_front()?;
        let transmit = match self.to_guest.try_reserve() {
            Ok(permit) => Transmit::Now(permit),
            Err(_) => Transmit::Later(&mut self.reply),
        };
        Some((Received(packet), transmit))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        if let Some(permit) = self.granted.take() {
            return Some(Transmit::Granted(permit));
        }
        if let Ok(permit) = self.to_guest.try_reserve() {
            return Some(Transmit::Now(permit));
        }
        self.blocked = true;
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // The channel keeps packets whole, so only what goes out needs its checksums.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.icmpv4 = Checksum::Tx;
        capabilities.checksum.icmpv6 = Checksum::Tx;
        capabilities
    }
}

pub(super) struct Received(Bytes);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) enum Transmit<'a> {
    Now(Permit<'a, Bytes>),
    Granted(OwnedPermit<Bytes>),
    Later(&'a mut Option<Bytes>),
}

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        match self {
            Self::Now(permit) => permit.send(packet.into()),
            Self::Granted(permit) => drop(permit.send(packet.into())),
            Self::Later(kept) => drop(kept.get_or_insert_with(|| packet.into())),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::{Device as _, TxToken as _};
    use std::time::Duration;
    use tokio::time::timeout;

    /// A device whose channel holds one packet, and holds it.
    fn full() -> (Device, mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
        let (to_guest, guest) = mpsc::channel(1);
        to_guest.try_send(Bytes::from_static(b"first")).unwrap();
        (Device::new(to_guest.clone()), to_guest, guest)
    }

    #[tokio::test]
    async fn what_finds_no_room_waits_for_its_turn() {
        let (mut device, _, mut guest) = full();
        assert!(device.transmit(Instant::ZERO).is_none() && device.blocked());
        assert!(timeout(Duration::from_millis(1), device.turn()).await.is_err());
        guest.recv().await.unwrap();
        device.turn().await.unwrap();
        device.transmit(Instant::ZERO).unwrap().consume(6, |packet| packet.copy_from_slice(b"second"));
        assert_eq!(guest.recv().await.unwrap(), "second");
    }

    #[tokio::test]
    async fn a_place_that_is_given_up_is_free() {
        let (mut device, to_guest, mut guest) = full();
        assert!(timeout(Duration::from_millis(1), device.turn()).await.is_err());
        guest.recv().await.unwrap();
        assert!(to_guest.try_reserve().is_err(), "it is this device's turn");
        device.release();
        assert!(to_guest.try_reserve().is_ok());
    }

    #[tokio::test]
    async fn one_answer_is_kept() {
        let (mut device, _, mut guest) = full();
        for answer in [b"one", b"two"] {
            device.push(Bytes::from_static(b"bad"));
            let (_, transmit) = device.receive(Instant::ZERO).unwrap();
            transmit.consume(3, |packet| packet.copy_from_slice(answer));
        }
        assert!(device.blocked());
        assert_eq!(guest.recv().await.unwrap(), "first");
        device.begin();
        assert_eq!(guest.recv().await.unwrap(), "one");
        assert!(!device.blocked() && guest.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_guest_that_is_gone_is_noticed() {
        let (mut device, _, guest) = full();
        drop(guest);
        assert!(device.turn().await.is_err());
    }
}
