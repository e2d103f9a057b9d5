//! A guest: a TCP/IP stack of its own at the other end of the packet channels.

use crate::device::Queues;
use bytes::Bytes;
use pyro_net::{
    CounterReader, EventKind, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, NetEvent, Network,
    NetworkConfig, PREFIX_V4, PREFIX_V6, Policy,
};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Packet, TcpPacket};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Ports from here on are those of segments that tests make by hand.
pub const RAW: u16 = 45_000;
const RING: usize = 256 * 1024;

/// A policy that lets tests use this host.
pub fn local() -> Policy {
    Policy::open().allow("127.0.0.0/8".parse().unwrap()).allow("::1".parse().unwrap())
}

pub fn config(policy: Policy) -> NetworkConfig {
    NetworkConfig { policy, ipv6: true, ..NetworkConfig::default() }
}

#[derive(Clone)]
pub struct Guest(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
    progress: watch::Sender<()>,
    others: tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>,
    events: tokio::sync::Mutex<mpsc::Receiver<NetEvent>>,
    counters: CounterReader,
    to_network: mpsc::Sender<Bytes>,
    network: Mutex<Option<JoinHandle<()>>>,
    pump: Mutex<Option<JoinHandle<()>>>,
    port: AtomicU16,
    /// What the network has said last on ports that the guest's stack does not know of.
    heard: Mutex<HashMap<u16, (i32, i32)>>,
}

struct Inner {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    started: std::time::Instant,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in [&self.network, &self.pump] {
            task.lock().unwrap().take().inspect(JoinHandle::abort);
        }
    }
}

impl Guest {
    pub fn start(config: NetworkConfig) -> Self {
        Self::with_channels(config, 64)
    }

    /// A guest whose channels hold `packets`.
    pub fn with_channels(config: NetworkConfig, packets: usize) -> Self {
        let (to_network, from_guest) = mpsc::channel(packets);
        let (to_guest, from_network) = mpsc::channel(packets);
        let (event, events) = mpsc::channel(1_024);
        let network = Network::new(config, event);
        let counters = network.counters();
        let network = tokio::spawn(network.run(from_guest, to_guest));
        let (other, others) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner::new()),
            wake: Notify::new(),
            progress: watch::channel(()).0,
            others: others.into(),
            events: events.into(),
            counters,
            to_network,
            network: Mutex::new(Some(network)),
            pump: Mutex::default(),
            port: AtomicU16::new(20_000),
            heard: Mutex::default(),
        });
        let pump = tokio::spawn(pump(Arc::downgrade(&shared), from_network, other));
        *shared.pump.lock().unwrap() = Some(pump);
        Self(shared)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    pub fn counters(&self) -> pyro_net::NetCounters {
        self.0.counters.read()
    }

    pub fn network_runs(&self) -> bool {
        self.0.network.lock().unwrap().as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Ends the network.
    pub fn stop(&self) {
        self.0.network.lock().unwrap().take().inspect(JoinHandle::abort);
    }

    /// Sends a packet as it is.
    pub async fn send(&self, packet: impl Into<Bytes>) {
        self.0.to_network.send(packet.into()).await.unwrap();
    }

    /// What was said last to a port from [`RAW`] on: a sequence number and an acknowledgement.
    pub fn heard(&self, port: u16) -> Option<(i32, i32)> {
        self.0.heard.lock().unwrap().get(&port).copied()
    }

    /// The next packet that is not TCP.
    pub async fn other(&self) -> Bytes {
        timeout(PATIENCE, async { self.0.others.lock().await.recv().await })
            .await
            .expect("a packet in time")
            .unwrap()
    }

    /// The next event for which `wanted` is true.
    pub async fn event(&self, wanted: impl Fn(&NetEvent) -> bool) -> NetEvent {
        let found = async {
            let mut events = self.0.events.lock().await;
            loop {
                let event = events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("an event in time")
    }

    /// The next refusal.
    pub async fn refusal(&self) -> NetEvent {
        let refusal = |kind| matches!(kind, EventKind::Refused { .. } | EventKind::DnsRefused { .. });
        self.event(|event| refusal(event.kind)).await
    }

    pub async fn until(&self, condition: impl Fn(&pyro_net::NetCounters) -> bool) {
        let holds = async {
            while !condition(&self.counters()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, holds).await.unwrap_or_else(|_| panic!("never came about: {:?}", self.counters()));
    }

    pub fn next_port(&self) -> u16 {
        self.0.port.fetch_add(1, Ordering::Relaxed)
    }

    /// A socket whose SYN is on its way.
    pub fn begin(&self, to: SocketAddr) -> Tcp {
        let port = self.next_port();
        let mut inner = self.inner();
        let ring = || SocketBuffer::new(vec![0; RING]);
        let handle = inner.sockets.add(Socket::new(ring(), ring()));
        let Inner { interface, sockets, .. } = &mut *inner;
        let source: IpAddress = if to.is_ipv4() { GUEST_V4.into() } else { GUEST_V6.into() };
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        socket.set_nagle_enabled(false);
        socket.connect(interface.context(), (IpAddress::from(to.ip()), to.port()), (source, port)).unwrap();
        drop(inner);
        self.0.wake.notify_one();
        Tcp { guest: self.clone(), handle }
    }

    /// A connection, or the state in which the socket ended.
    pub async fn connect(&self, to: SocketAddr) -> Option<Tcp> {
        let tcp = self.begin(to);
        let state = tcp.until(|socket| match socket.state() {
            State::SynSent | State::SynReceived => None,
            state => Some(state),
        });
        (state.await != State::Closed).then_some(tcp)
    }
}

/// A connection of the guest's.
pub struct Tcp {
    guest: Guest,
    handle: SocketHandle,
}

impl Tcp {
    async fn until<T>(&self, mut ready: impl FnMut(&mut Socket<'static>) -> Option<T>) -> T {
        let mut progress = self.guest.0.progress.subscribe();
        let found = async {
            loop {
                progress.borrow_and_update();
                let found = ready(self.guest.inner().sockets.get_mut(self.handle));
                self.guest.0.wake.notify_one();
                match found {
                    Some(found) => return found,
                    None => progress.changed().await.unwrap(),
                }
            }
        };
        timeout(PATIENCE, found).await.expect("a connection that moves")
    }

    /// Writes all of it; false when the connection is gone.
    pub async fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let written = self.until(|socket| match socket.send_slice(bytes) {
                Ok(0) => None,
                Ok(written) => Some(Some(written)),
                Err(_) => Some(None),
            });
            match written.await {
                Some(written) => bytes = &bytes[written..],
                None => return false,
            }
        }
        true
    }

    /// What comes next: bytes, none at the end, an error after a reset.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.until(|socket| match socket.recv_slice(buffer) {
            Ok(0) => None,
            Err(RecvError::Finished) => Some(Ok(0)),
            other => Some(other),
        })
        .await
    }

    pub async fn read_exact(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut at = 0;
        while at < length {
            let read = self.read(&mut bytes[at..]).await.expect("more bytes");
            assert_ne!(read, 0, "more bytes");
            at += read;
        }
        bytes
    }

    pub async fn read_to_end(&self) -> Result<Vec<u8>, RecvError> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
        loop {
            match self.read(&mut buffer).await? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Ends what this side sends.
    pub fn close(&self) {
        self.guest.inner().sockets.get_mut::<Socket<'_>>(self.handle).close();
        self.guest.0.wake.notify_one();
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.guest.inner().sockets.get_mut::<Socket<'_>>(self.handle).abort();
        self.guest.0.wake.notify_one();
    }

    pub async fn state(&self, wanted: State) {
        self.until(|socket| (socket.state() == wanted).then_some(())).await;
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        let mut inner = self.guest.inner();
        inner.sockets.remove(self.handle);
    }
}

impl Inner {
    fn new() -> Self {
        let mut device = Queues::default();
        let mut configuration = Config::new(HardwareAddress::Ip);
        configuration.random_seed = 7;
        let mut interface = Interface::new(configuration, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST_V4.into(), PREFIX_V4)).unwrap();
            addresses.push(IpCidr::new(GUEST_V6.into(), PREFIX_V6)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(GATEWAY_V4).unwrap();
        interface.routes_mut().add_default_ipv6_route(GATEWAY_V6).unwrap();
        let sockets = SocketSet::new(Vec::new());
        Self { interface, device, sockets, started: std::time::Instant::now() }
    }

    fn poll(&mut self) -> (Vec<Bytes>, Option<Duration>) {
        let now = Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap());
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        let delay = self.interface.poll_delay(now, &self.sockets);
        (self.device.sent.drain(..).collect(), delay.map(|delay| Duration::from_micros(delay.total_micros())))
    }
}

async fn pump(
    guest: std::sync::Weak<Shared>,
    mut from_network: mpsc::Receiver<Bytes>,
    others: mpsc::UnboundedSender<Bytes>,
) {
    loop {
        let Some(shared) = guest.upgrade() else { return };
        let (packets, delay) = shared.inner.lock().unwrap().poll();
        shared.progress.send_replace(());
        for packet in packets {
            if shared.to_network.send(packet).await.is_err() {
                return;
            }
        }
        let delay = delay.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1));
        let packet = tokio::select! {
            packet = from_network.recv() => match packet {
                Some(packet) => Some(packet),
                None => return,
            },
            () = shared.wake.notified() => None,
            () = tokio::time::sleep(delay) => None,
        };
        let mut next = packet;
        for _ in 0..64 {
            let Some(packet) = next.take() else { break };
            assert!(packet.len() <= MTU, "a packet of {} bytes", packet.len());
            let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
            let raw = raw_segment(&packet).filter(|_| protocol == 6);
            if let Some((port, sequence, acknowledged)) = raw {
                shared.heard.lock().unwrap().insert(port, (sequence, acknowledged));
            } else if protocol == 6 {
                shared.inner.lock().unwrap().device.received.push_back(packet);
            } else {
                others.send(packet).ok();
            }
            next = from_network.try_recv().ok();
        }
    }
}

/// The port, the sequence number and the acknowledgement of an IPv4 segment that is not for the guest's stack.
fn raw_segment(packet: &[u8]) -> Option<(u16, i32, i32)> {
    let packet = Ipv4Packet::new_checked(packet).ok().filter(|packet| packet.version() == 4)?;
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let numbers = (segment.seq_number().0, segment.ack_number().0);
    (segment.dst_port() >= RAW).then_some((segment.dst_port(), numbers.0, numbers.1))
}
