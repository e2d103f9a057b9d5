//! One connection as the guest sees it: a stack of its own with a single socket.
//!
//! The stack looks at all of its sockets for each packet. With one socket each, packets cost the same however many
//! connections there are, and a fault in one is no fault in another.

use super::device::Device;
use crate::limits::Rings;
use crate::packet::FlowKey;
use bytes::Bytes;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpListenEndpoint};
use std::time::Duration;
use tokio::sync::mpsc;

pub(super) struct Stack {
    pub(super) device: Device,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    started: std::time::Instant,
}

impl Stack {
    /// A stack whose socket waits for the SYN of `key`; none when there are no random bytes for its sequence numbers.
    pub(super) fn listening(key: &FlowKey, rings: Rings, to_guest: mpsc::Sender<Bytes>) -> Option<Self> {
        let (mut device, started) = (Device::new(to_guest), std::time::Instant::now());
        let interface = interface(&mut device)?;
        let ring = |size| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(ring(rings.receive), ring(rings.send));
        // Both ends are streams already: holding back the end of one, or an acknowledgement, only costs time.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let endpoint =
            IpListenEndpoint { addr: Some(key.destination.ip().into()), port: key.destination.port() };
        socket.listen(endpoint).ok()?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Some(Self { device, interface, sockets, handle, started })
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(super) fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Takes every packet that was pushed.
    pub(super) fn receive(&mut self) {
        let now = self.now();
        self.device.begin();
        while self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
    }

    /// Sends what there is to send, as far as the guest's channel takes it.
    pub(super) fn transmit(&mut self) {
        let now = self.now();
        while self.interface.poll_egress(now, &mut self.device, &mut self.sockets) != PollResult::None {}
    }

    /// When to transmit again if nothing else happens. Never at once: what could be sent at once has been.
    pub(super) fn delay(&mut self) -> Option<Duration> {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        Some(Duration::from_micros(delay.total_micros()).max(Duration::from_millis(1)))
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

fn interface(device: &mut Device) -> Option<Interface> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).ok()?;
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = u64::from_ne_bytes(seed);
    let mut interface = Interface::new(config, device, Instant::ZERO);
    // Every destination is this stack's.
    interface.set_any_ip(true);
    Some(interface)
}

/// The reset that answers `segment`, from a stack that knows no connection; none when there is none to send.
pub(super) fn reset(segment: Bytes) -> Option<Bytes> {
    let (to_guest, mut sent) = mpsc::channel(1);
    let mut device = Device::new(to_guest);
    let mut interface = interface(&mut device)?;
    let mut sockets = SocketSet::new(Vec::new());
    device.push(segment);
    interface.poll_ingress_single(Instant::ZERO, &mut device, &mut sockets);
    sent.try_recv().ok()
}
