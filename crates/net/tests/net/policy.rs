//! What a guest may not reach.

use crate::dns::{ask, hosts};
use crate::guest::{Guest, PATIENCE, config, local};
use pyro_net::{EventKind, GUEST_V4, HostName, NetworkConfig, Policy, Protocol, RangeKind, Refusal};
use simple_dns::{RCODE, TYPE};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

#[tokio::test]
async fn refused_ranges_are_refused_at_connect() {
    let guest = Guest::start(config(Policy::open()));
    let cases = [
        ("127.0.0.1", RangeKind::Loopback),
        ("127.9.9.9", RangeKind::Loopback),
        ("10.0.0.1", RangeKind::Private),
        ("172.20.0.1", RangeKind::Private),
        ("192.168.1.1", RangeKind::Private),
        ("100.64.0.1", RangeKind::Shared),
        ("169.254.169.254", RangeKind::LinkLocal),
        ("240.0.0.1", RangeKind::Reserved),
        ("0.0.0.1", RangeKind::Unspecified),
        ("::1", RangeKind::Loopback),
        ("::ffff:127.0.0.1", RangeKind::Loopback),
        ("64:ff9b::7f00:1", RangeKind::Loopback),
        ("2002:7f00:1::", RangeKind::Loopback),
        ("fe80::1", RangeKind::LinkLocal),
        ("fd00::1", RangeKind::Private),
    ];
    for (address, range) in cases {
        let to = SocketAddr::new(address.parse().unwrap(), 22);
        assert!(guest.connect(to).await.is_none(), "{address}");
        let refusal = guest.refusal().await;
        assert_eq!(refusal.kind, EventKind::Refused { reason: Refusal::Range { range } }, "{address}");
        assert_eq!(
            (refusal.protocol, refusal.address, refusal.port),
            (Protocol::Tcp, Some(to.ip()), Some(22))
        );
    }
    // Neither is the guest's own address a way round.
    assert!(guest.connect((GUEST_V4, 22).into()).await.is_none());
}

#[tokio::test]
async fn what_is_denied_is_refused_whatever_allows_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guest = Guest::start(config(local().deny("127.0.0.1".parse().unwrap())));
    assert!(guest.connect(listener.local_addr().unwrap()).await.is_none());
    let reason = Refusal::Range { range: RangeKind::Denied };
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason });
}

fn only(names: &[&str]) -> NetworkConfig {
    let patterns = names.iter().map(|name| name.parse().unwrap()).collect();
    let policy = Policy::only(patterns).allow("127.0.0.0/8".parse().unwrap());
    let hosts =
        hosts(&[("a.test", &["127.0.0.1"]), ("www.b.test", &["127.0.0.2"]), ("c.test", &["127.0.0.3"])]);
    NetworkConfig { hosts, ..config(policy) }
}

#[tokio::test]
async fn only_addresses_of_allowed_names_are_reached() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guest = Guest::start(only(&["a.test", "*.b.test"]));
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
    // Before it was asked for, nobody knows that this address is that name's.
    assert!(guest.connect(at(1)).await.is_none());
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason: Refusal::NotAllowed });
    for (last, name, code, reached) in [
        (1, "a.test", RCODE::NoError, true),
        (2, "www.b.test", RCODE::NoError, true),
        (3, "c.test", RCODE::NameError, false),
    ] {
        assert_eq!(ask(&guest, name, TYPE::A).await.0, code);
        let tcp = guest.connect(at(last)).await;
        assert_eq!(tcp.is_some(), reached, "{name}");
        if reached {
            timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().0.write_all(b"x").await.unwrap();
            let event = guest.event(|event| event.kind == EventKind::Connected).await;
            assert_eq!(event.name.as_ref().map(HostName::as_str), Some(name));
        }
    }
    let wanted = |event: &pyro_net::NetEvent| {
        event.protocol == Protocol::Tcp && matches!(event.kind, EventKind::Refused { .. })
    };
    assert_eq!(guest.event(wanted).await.kind, EventKind::Refused { reason: Refusal::NotAllowed });
}

/// A name on the list whose owner points it at the host: neither its answer nor the address itself helps.
#[tokio::test]
async fn rebinding_leads_nowhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hosts = hosts(&[("evil.test", &["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])]);
    for policy in [Policy::open(), Policy::only(vec!["evil.test".parse().unwrap()])] {
        let guest = Guest::start(NetworkConfig { hosts: hosts.clone(), ..config(policy) });
        for kind in [TYPE::A, TYPE::AAAA] {
            assert_eq!(ask(&guest, "evil.test", kind).await, (RCODE::NameError, vec![]));
        }
        let reason = Refusal::Range { range: RangeKind::Loopback };
        assert_eq!(guest.refusal().await.kind, EventKind::DnsRefused { reason });
        assert!(guest.connect(listener.local_addr().unwrap()).await.is_none());
        let at_connect = guest.event(|event| event.protocol == Protocol::Tcp).await;
        assert_eq!(at_connect.kind, EventKind::Refused { reason });
    }
}
