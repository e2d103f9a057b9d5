//! The demultiplexer: one loop that takes the guest's packets apart and hands each to the task it belongs to.
//!
//! It waits for nothing but packets, for the end of tasks, and, for a moment, for a flow that has its queue full. So a guest
//! whose packets are not taken is slowed down, and memory is that of bounded queues.

use crate::addresses::Addresses;
use crate::addressing::is_gateway;
use crate::dns::{Hosts, Resolver, name_servers};
use crate::event::{CounterReader, Log, NetEvent, count};
use crate::limits::Limits;
use crate::packet::{Packet, echo_reply, parse};
use crate::policy::Policy;
use crate::proxy::{ProxyError, ProxySettings};
use crate::route::Context;
use crate::tcp::TcpFlows;
use crate::udp::{Datagram, UdpFlows};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::select;
use tokio::sync::mpsc;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a network is made of.
#[derive(Debug, Clone, Default)]
pub struct NetworkConfig {
    /// What the guest may reach.
    pub policy: Policy,
    /// The host's proxy.
    pub proxy: ProxySettings,
    /// What the guest may hold.
    pub limits: Limits,
    /// Who knows the addresses of names.
    pub hosts: Hosts,
    /// Who answers questions for other records than addresses.
    pub name_servers: Vec<SocketAddr>,
    /// Whether names are answered with IPv6 addresses.
    pub ipv6: bool,
}

impl NetworkConfig {
    /// That of this host, with the proxy of `environment`. Fails when that names a proxy that cannot be used.
    pub fn of_host(policy: Policy, environment: &HashMap<String, String>) -> Result<Self, ProxyError> {
        let resolv_conf = std::fs::read_to_string(Path::new(RESOLV_CONF)).unwrap_or_default();
        Ok(Self {
            policy,
            proxy: ProxySettings::from_environment(environment)?,
            limits: Limits::default(),
            hosts: Hosts::System,
            name_servers: name_servers(&resolv_conf),
            ipv6: host_has_ipv6(),
        })
    }
}

/// Whether the host has a way to the IPv6 world. Connecting a UDP socket asks the routing table, and sends nothing.
pub fn host_has_ipv6() -> bool {
    // Any global address does; this range is in use.
    let somewhere = Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 1);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect((somewhere, 53))).is_ok()
}

/// A guest's network, which does nothing until it is run.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    log: Log,
}

impl Network {
    /// A network that tells `events` what happens. A full channel loses events, which is counted.
    pub fn new(config: NetworkConfig, events: mpsc::Sender<NetEvent>) -> Self {
        Self { config, log: Log::new(events) }
    }

    /// Reads the counters, also while the network runs and after it.
    pub fn counters(&self) -> CounterReader {
        self.log.reader()
    }

    /// Carries packets until the guest's channel is closed on either side. Ends every connection when it ends or is dropped.
    ///
    /// `to_guest` bounds what waits for the guest: that many packets of up to [`crate::MTU`] bytes.
    pub async fn run(self, mut from_guest: mpsc::Receiver<Bytes>, to_guest: mpsc::Sender<Bytes>) {
        let NetworkConfig { policy, proxy, limits, hosts, name_servers, ipv6 } = self.config;
        let context = Arc::new(Context {
            policy,
            proxy,
            limits,
            resolver: Resolver::new(hosts, name_servers, ipv6),
            log: self.log,
            to_guest,
            addresses: Mutex::new(Addresses::default()),
        });
        let mut tcp = TcpFlows::new(Arc::clone(&context));
        let mut udp = UdpFlows::new(Arc::clone(&context));
        loop {
            select! {
                packet = from_guest.recv() => match packet {
                    Some(packet) => handle(&context, &mut tcp, &mut udp, packet).await,
                    None => return,
                },
                () = tcp.ended() => {}
                () = udp.ended() => {}
                () = context.log.limits_due() => {}
                () = context.to_guest.closed() => return,
            }
        }
    }
}

async fn handle(context: &Context, tcp: &mut TcpFlows, udp: &mut UdpFlows, packet: Bytes) {
    let counts = context.log.counts();
    count(&counts.packets_from_guest, 1);
    match parse(&packet) {
        Some(Packet::Tcp { key, control }) => tcp.segment(key, control, packet).await,
        Some(Packet::Udp { key, payload }) => udp.datagram(key, Datagram { content: payload, packet }),
        // The gateway is this network, and so may say that it is there; it does not say so for the rest of the world.
        Some(Packet::Echo { destination, ident, sequence, data }) if is_gateway(destination) => {
            let sent = echo_reply(destination, ident, sequence, &data)
                .is_some_and(|reply| context.to_guest.try_send(reply).is_ok());
            count(&counts.packets_dropped, u64::from(!sent));
        }
        Some(Packet::Echo { .. }) | None => count(&counts.packets_ignored, 1),
    }
}
