//! Where a packet's destination leads: decided once for each flow, before anything is opened.

use crate::addresses::{Addresses, is_virtual};
use crate::addressing::{DNS_PORT, is_gateway};
use crate::dns::Resolver;
use crate::event::{Log, Protocol, Refusal, Subject};
use crate::limits::Limits;
use crate::policy::{HostName, Policy};
use crate::proxy::{Proxy, ProxySettings};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// What all flows of a network share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) policy: Policy,
    pub(crate) proxy: ProxySettings,
    pub(crate) limits: Limits,
    pub(crate) resolver: Resolver,
    pub(crate) log: Log,
    pub(crate) to_guest: mpsc::Sender<Bytes>,
    pub(crate) addresses: Mutex<Addresses>,
}

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// By a socket to this address.
    Direct(SocketAddr),
    /// By a tunnel of this proxy to this `name:port`.
    Proxied { proxy: Proxy, target: String },
    /// It is the resolver.
    Resolver,
}

impl Context {
    pub(crate) fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to `destination` and what events about it say.
    pub(crate) fn route(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
    ) -> (Subject, Result<Route, Refusal>) {
        let (name, virtual_address) = self.name(destination.ip());
        let route = self.way(protocol, destination, name.as_ref(), virtual_address);
        (Subject { protocol, destination: Some(destination), name }, route)
    }

    fn way(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
        name: Option<&HostName>,
        virtual_address: bool,
    ) -> Result<Route, Refusal> {
        let (address, port) = (destination.ip(), destination.port());
        if is_gateway(address) {
            return if port == DNS_PORT { Ok(Route::Resolver) } else { Err(Refusal::NoService) };
        }
        if virtual_address {
            let name = name.ok_or(Refusal::UnknownAddress)?;
            self.check_name(name)?;
            return self.through_proxy(protocol, name.as_str(), port);
        }
        if let Some(range) = self.policy.refused_address(address) {
            return Err(Refusal::Range { range });
        }
        if self.policy.limits_names() && !name.is_some_and(|name| self.policy.allows_name(name)) {
            return Err(Refusal::NotAllowed);
        }
        // A name that was answered with a real address is one that goes without the proxy.
        if name.is_none() && self.proxy.takes_address(address) {
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            return self.through_proxy(protocol, &host, port);
        }
        Ok(Route::Direct(destination))
    }

    /// Whether `name` may be reached by name, where the address is the proxy's to find.
    pub(crate) fn check_name(&self, name: &HostName) -> Result<(), Refusal> {
        if name.is_local() {
            Err(Refusal::LocalName)
        } else if self.policy.allows_name(name) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed)
        }
    }

    fn through_proxy(&self, protocol: Protocol, host: &str, port: u16) -> Result<Route, Refusal> {
        match self.proxy.for_port(port) {
            Some(proxy) if protocol == Protocol::Tcp => {
                Ok(Route::Proxied { proxy: proxy.clone(), target: format!("{host}:{port}") })
            }
            _ => Err(Refusal::NotThroughProxy),
        }
    }

    /// The name of `address`, and whether it is a virtual one.
    fn name(&self, address: IpAddr) -> (Option<HostName>, bool) {
        let now = Instant::now();
        match address {
            IpAddr::V4(address) if self.proxy.is_set() && is_virtual(address) => {
                (self.addresses().virtual_name(address, now), true)
            }
            _ => (self.addresses().name(address, now), false),
        }
    }
}
