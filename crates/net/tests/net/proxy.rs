//! Connections through an HTTP proxy.

use crate::dns::{ask, hosts};
use crate::guest::{Guest, PATIENCE, config, local};
use crate::udp::datagram;
use pyro_net::{EventKind, HostName, Limits, NetworkConfig, Policy, ProxySettings, RangeKind, Refusal};
use simple_dns::{RCODE, TYPE};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A proxy that gives `answer` to every request, then echoes. Its requests come out of the channel.
async fn proxy(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (request, requests) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            let request = request.clone();
            tokio::spawn(async move {
                request.send(head(&mut stream).await).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    (address, requests)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn behind(proxy: SocketAddr, no_proxy: &str, policy: Policy) -> NetworkConfig {
    let environment = HashMap::from([
        ("https_proxy".to_owned(), format!("http://user:secret@{proxy}")),
        ("NO_PROXY".to_owned(), no_proxy.to_owned()),
    ]);
    let proxy = ProxySettings::from_environment(&environment).unwrap();
    NetworkConfig { proxy, hosts: hosts(&[("direct.test", &["127.0.0.1"])]), ..config(policy) }
}

/// The virtual address of a name.
async fn resolve(guest: &Guest, name: &str) -> IpAddr {
    let (code, addresses) = ask(guest, name, TYPE::A).await;
    assert_eq!((code, addresses.len()), (RCODE::NoError, 1), "{name}");
    addresses[0]
}

#[tokio::test]
async fn names_go_through_the_proxy_as_names() {
    let (address, mut requests) =
        proxy("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\nfirst").await;
    let guest = Guest::start(behind(address, "", Policy::open()));
    let ip = resolve(&guest, "only.behind.test").await;
    assert!(matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 198));
    assert_eq!(resolve(&guest, "only.behind.test").await, ip);
    assert_eq!(ask(&guest, "only.behind.test", TYPE::AAAA).await, (RCODE::NoError, vec![]));
    for port in [443, 80] {
        let tcp = guest.connect((ip, port).into()).await.unwrap();
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with(&format!("CONNECT only.behind.test:{port} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"));
        assert!(tcp.write(b" and echo").await);
        assert_eq!(tcp.read_exact(14).await, b"first and echo");
    }
    let event = guest.event(|event| event.kind == EventKind::Connected).await;
    assert_eq!(
        (event.name.as_ref().map(HostName::as_str), event.port),
        (Some("only.behind.test"), Some(443))
    );
}

#[tokio::test]
async fn addresses_go_through_it_too_but_refused_ones_do_not() {
    let (address, mut requests) = proxy("HTTP/1.1 200 OK\r\n\r\n").await;
    let guest = Guest::start(behind(address, "", Policy::open()));
    for (to, target) in [("203.0.113.5:8443", "203.0.113.5:8443"), ("[2001:db8::5]:443", "[2001:db8::5]:443")]
    {
        let _tcp = guest.connect(to.parse().unwrap()).await.unwrap();
        assert!(requests.recv().await.unwrap().starts_with(&format!("CONNECT {target} ")));
    }
    assert!(guest.connect("10.0.0.1:443".parse().unwrap()).await.is_none());
    let reason = Refusal::Range { range: RangeKind::Private };
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason });
    for name in ["localhost", "x.localhost", "127.1", "2130706433"] {
        assert_eq!(ask(&guest, name, TYPE::A).await.0, RCODE::NameError, "{name}");
    }
    // A virtual address that is no name's.
    assert!(guest.connect("198.19.1.1:443".parse().unwrap()).await.is_none());
    let unknown = guest.event(|event| matches!(event.kind, EventKind::Refused { .. })).await;
    assert_eq!(unknown.kind, EventKind::Refused { reason: Refusal::UnknownAddress });
    // UDP has no way through.
    guest.send(datagram(4_000, "203.0.113.5:443".parse().unwrap(), b"quic")).await;
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason: Refusal::NotThroughProxy });
}

#[tokio::test]
async fn exceptions_go_directly() {
    let (address, _requests) = proxy("HTTP/1.1 500 Broken\r\n\r\n").await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guest = Guest::start(behind(address, "direct.test", local()));
    let ip = resolve(&guest, "direct.test").await;
    assert_eq!(ip, IpAddr::from([127, 0, 0, 1]));
    let tcp = guest.connect((ip, server.local_addr().unwrap().port()).into()).await.unwrap();
    timeout(PATIENCE, server.accept()).await.unwrap().unwrap().0.write_all(b"direct").await.unwrap();
    assert_eq!(tcp.read_exact(6).await, b"direct");
}

#[tokio::test]
async fn the_list_of_names_holds_behind_a_proxy() {
    let (address, mut requests) = proxy("HTTP/1.1 200 OK\r\n\r\n").await;
    let guest = Guest::start(behind(address, "", Policy::only(vec!["*.good.test".parse().unwrap()])));
    assert_eq!(ask(&guest, "bad.test", TYPE::A).await.0, RCODE::NameError);
    assert!(guest.connect("203.0.113.5:443".parse().unwrap()).await.is_none());
    let ip = resolve(&guest, "www.good.test").await;
    let _tcp = guest.connect((ip, 443).into()).await.unwrap();
    assert!(requests.recv().await.unwrap().starts_with("CONNECT www.good.test:443 "));
}

#[tokio::test]
async fn what_a_proxy_refuses_is_refused() {
    let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"X: y\r\n".repeat(3_000);
    let cases: [(&'static str, Refusal); 4] = [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Refusal::ProxyRefused { status: 403 }),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Refusal::ProxyRefused { status: 407 }),
        ("220 mail.test ESMTP\r\n\r\n", Refusal::ProxyFailed),
        (endless.leak(), Refusal::ProxyFailed),
    ];
    for (answer, reason) in cases {
        let (address, _requests) = proxy(answer).await;
        let guest = Guest::start(behind(address, "", Policy::open()));
        let ip = resolve(&guest, "a.test").await;
        let tcp = guest.begin((ip, 443).into());
        let refusal = guest.refusal().await;
        assert_eq!(refusal.kind, EventKind::Refused { reason });
        assert!(!serde_json::to_string(&refusal).unwrap().contains("secret"));
        // A failure of the proxy's shows as an unreachable host, which this guest's stack does not listen to.
        if reason == Refusal::ProxyFailed {
            assert_eq!(guest.other().await[20..22], [3, 1]);
        } else {
            tcp.state(smoltcp::socket::tcp::State::Closed).await;
        }
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_is_unreachable() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() };
    let config = behind(hanging.local_addr().unwrap(), "", Policy::open());
    let guest = Guest::start(NetworkConfig { limits, ..config });
    let ip = resolve(&guest, "a.test").await;
    let _tcp = guest.begin((ip, 443).into());
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason: Refusal::Unreachable });
    assert_eq!(guest.other().await[20..22], [3, 1]);
    guest.until(|counters| counters.tcp_open == 0).await;
}

/// The proxy's own name is the host's matter, and no guest's.
#[tokio::test]
async fn a_proxy_may_have_a_name() {
    let (address, mut requests) = proxy("HTTP/1.1 200 OK\r\n\r\n").await;
    let url = format!("http://proxy.test:{}", address.port());
    let environment = HashMap::from([("HTTPS_PROXY".to_owned(), url)]);
    let proxy = ProxySettings::from_environment(&environment).unwrap();
    let hosts = hosts(&[("proxy.test", &["127.0.0.1"])]);
    let guest = Guest::start(NetworkConfig { proxy, hosts, ..config(Policy::open()) });
    let ip = resolve(&guest, "a.test").await;
    let _tcp = guest.connect((ip, 443).into()).await.unwrap();
    assert!(requests.recv().await.unwrap().starts_with("CONNECT a.test:443 "));
}
