//! The resolver at the gateway's address.
//!
//! 1. A message that is no question is dropped or told so ([`message`]).
//! 2. The name has to be one that the guest may reach; otherwise there is no such name, and an event says why.
//! 3. Addresses: a virtual one for a name that goes through the proxy, else what the host's resolver finds, without those
//!    in refused ranges. They are remembered: a guest that is limited to names may connect to them and to no others.
//! 4. HTTPS and SVCB: no data, since their hints would go round step 3. PTR: from memory; nothing for refused ranges.
//! 5. Everything else goes to the host's name servers, and its answer back.
//!
//! Refused names get NXDOMAIN, not REFUSED, which resolvers take for a reason to ask again.

mod forward;
mod lookup;
mod message;
mod reverse;
#[cfg(test)]
mod tests;

pub use forward::name_servers;
pub use lookup::Hosts;
pub(crate) use message::Transport;

use crate::event::{EventKind, Refusal, Subject, count};
use crate::limits::{DNS_TCP_IDLE, DNS_TCP_QUERIES, MAX_ADDRESSES, MAX_DNS_QUERY};
use crate::policy::HostName;
use crate::route::Context;
use lookup::{Found, Lookups};
use message::{Parsed, Query};
use simple_dns::{QTYPE, RCODE, TYPE};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Who is asked.
#[derive(Debug)]
pub(crate) struct Resolver {
    lookups: Lookups,
    name_servers: Vec<SocketAddr>,
    v6: bool,
}

impl Resolver {
    /// `v6`: whether guests get IPv6 addresses.
    pub(crate) fn new(hosts: Hosts, name_servers: Vec<SocketAddr>, v6: bool) -> Self {
        Self { lookups: Lookups::new(hosts), name_servers, v6 }
    }

    /// Where the host's own `host` is, a name or an address; nowhere when it is not found. No policy is asked.
    pub(crate) async fn places(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        if let Ok(address) = host.parse() {
            return vec![SocketAddr::new(address, port)];
        }
        let Ok(name) = host.parse::<HostName>() else { return Vec::new() };
        match self.lookups.find(&name).await.0 {
            Found::Addresses(found) => found.iter().map(|address| SocketAddr::new(*address, port)).collect(),
            Found::NoName | Found::Failed => Vec::new(),
        }
    }
}

/// The answer to `message`; none for what is no question.
pub(crate) async fn answer(context: &Context, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = match message::parse(message, transport) {
        Parsed::Query(query) => query,
        Parsed::Bad(answer) => return Some(answer),
        Parsed::Nothing => return None,
    };
    count(&context.log.counts().dns_queries, 1);
    Some(match query.kind {
        QTYPE::TYPE(TYPE::PTR) => pointer(context, &query).await,
        QTYPE::TYPE(kind) => {
            if let Err(answer) = check(context, &query) {
                return Some(answer);
            }
            match kind {
                TYPE::A | TYPE::AAAA => addresses(context, &query, kind == TYPE::AAAA).await,
                TYPE::HTTPS | TYPE::SVCB => query.empty(RCODE::NoError),
                _ => forwarded(context, &query).await,
            }
        }
        // Transfers and ANY.
        _ => refused(context, &query, Refusal::QueryType, RCODE::Refused),
    })
}

/// Whether the name may be asked for; if not, the answer that says so.
fn check(context: &Context, query: &Query) -> Result<(), Vec<u8>> {
    let verdict = match &query.name {
        Some(name) => context.check_name(name),
        None if context.policy.limits_names() => Err(Refusal::NotAllowed),
        None => Ok(()),
    };
    verdict.map_err(|reason| refused(context, query, reason, RCODE::NameError))
}

fn refused(context: &Context, query: &Query, reason: Refusal, code: RCODE) -> Vec<u8> {
    if let Some(name) = &query.name {
        context.log.say(&Subject::dns(name.clone()), EventKind::DnsRefused { reason });
    } else {
        count(&context.log.counts().dns_refused, 1);
    }
    query.empty(code)
}

async fn addresses(context: &Context, query: &Query, v6: bool) -> Vec<u8> {
    let Some(name) = &query.name else { return query.empty(RCODE::NameError) };
    if context.proxy.takes_name(name) {
        return through_proxy(context, query, name, v6);
    }
    let (found, first) = context.resolver.lookups.find(name).await;
    let found = match found {
        Found::Addresses(found) => found,
        Found::NoName if first => return refused(context, query, Refusal::NoSuchName, RCODE::NameError),
        Found::NoName => return query.empty(RCODE::NameError),
        Found::Failed if first => return refused(context, query, Refusal::NoAnswer, RCODE::ServerFailure),
        Found::Failed => return query.empty(RCODE::ServerFailure),
    };
    let allowed: Vec<IpAddr> = found
        .iter()
        .copied()
        .filter(|address| context.policy.refused_address(*address).is_none())
        .take(MAX_ADDRESSES)
        .collect();
    if allowed.is_empty()
        && let Some(range) = found.iter().find_map(|address| context.policy.refused_address(*address))
    {
        return refused(context, query, Refusal::Range { range }, RCODE::NameError);
    }
    let now = Instant::now();
    for address in &allowed {
        context.addresses().remember(*address, name.clone(), now);
    }
    if first {
        context.log.say(&Subject::dns(name.clone()), EventKind::DnsAnswered { addresses: allowed.len() });
    }
    let wanted =
        |address: &IpAddr| if v6 { address.is_ipv6() && context.resolver.v6 } else { address.is_ipv4() };
    query.addresses(&allowed.into_iter().filter(wanted).collect::<Vec<_>>())
}

/// The name's virtual address, which is IPv4 only: the proxy's side may be anything.
fn through_proxy(context: &Context, query: &Query, name: &HostName, v6: bool) -> Vec<u8> {
    if v6 {
        return query.addresses(&[]);
    }
    let address = context.addresses().virtual_address(name, Instant::now());
    context.log.say(&Subject::dns(name.clone()), EventKind::DnsAnswered { addresses: 1 });
    query.addresses(&[address.into()])
}

async fn pointer(context: &Context, query: &Query) -> Vec<u8> {
    let address = query.name.as_ref().and_then(reverse::address);
    if let Some(address) = address {
        let known = context.addresses().name(address, Instant::now());
        if let Some(name) = known {
            return query.pointer(&name);
        }
        if context.policy.refused_address(address).is_some() {
            return query.empty(RCODE::NameError);
        }
    }
    if context.policy.limits_names() {
        return query.empty(RCODE::NameError);
    }
    forwarded(context, query).await
}

async fn forwarded(context: &Context, query: &Query) -> Vec<u8> {
    let Some((bytes, id)) = forward::forward(&context.resolver.name_servers, query).await else {
        return refused(context, query, Refusal::NoAnswer, RCODE::ServerFailure);
    };
    match message::answer(&bytes, query, id) {
        Some(answer) => query.forwarded(answer, |address| context.policy.refused_address(address).is_some()),
        None => query.empty(RCODE::ServerFailure),
    }
}

/// Answers the questions of one connection: each with its length before it, one after the other.
pub(crate) async fn serve(context: &Context, mut stream: UnixStream) {
    for _ in 0..DNS_TCP_QUERIES {
        let Ok(Ok(message)) = timeout(DNS_TCP_IDLE, read(&mut stream)).await else { return };
        let Some(message) = message else { return };
        let Some(answer) = answer(context, &message, Transport::Tcp).await else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        if !matches!(timeout(DNS_TCP_IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// One message; none when it is longer than any question.
async fn read(stream: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_DNS_QUERY {
        return Ok(None);
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
