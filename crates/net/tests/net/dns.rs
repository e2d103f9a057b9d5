//! The resolver, by UDP and TCP.

use crate::guest::{Guest, config, local};
use crate::udp::{content, datagram};
use pyro_net::{
    EventKind, GATEWAY_V4, GATEWAY_V6, HostName, Hosts, Limit, NetworkConfig, Policy, Protocol, RangeKind,
    Refusal,
};
use simple_dns::rdata::{A, NULL, OPT, RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

pub fn hosts(names: &[(&str, &[&str])]) -> Hosts {
    let parsed = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
    Hosts::Fixed(names.iter().map(|(name, addresses)| (name.parse().unwrap(), parsed(addresses))).collect())
}

fn with_hosts(policy: Policy) -> NetworkConfig {
    let many: Vec<String> = (0..40).map(|index| format!("203.0.113.{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let hosts = hosts(&[
        ("both.test", &["203.0.113.7", "2001:db8::7"]),
        ("four.test", &["203.0.113.8"]),
        ("many.test", &many),
        ("private.test", &["10.1.2.3", "fd00::1"]),
        ("mixed.test", &["10.1.2.3", "203.0.113.9"]),
        ("local.test", &["127.0.0.1"]),
    ]);
    NetworkConfig { hosts, ..config(policy) }
}

fn question(name: &str, kind: impl Into<QTYPE>) -> Vec<u8> {
    let mut packet = Packet::new_query(77);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).unwrap(), kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

async fn ask_raw(guest: &Guest, message: &[u8]) -> Vec<u8> {
    let port = guest.next_port();
    guest.send(datagram(port, (GATEWAY_V4, 53).into(), message)).await;
    let (from, to, answer) = content(&guest.other().await);
    assert_eq!((from, to), ((GATEWAY_V4, 53).into(), port));
    answer
}

/// The code and the addresses that the resolver gives.
pub async fn ask(guest: &Guest, name: &str, kind: TYPE) -> (RCODE, Vec<IpAddr>) {
    let bytes = ask_raw(guest, &question(name, kind)).await;
    let answer = Packet::parse(&bytes).unwrap();
    assert_eq!((answer.id(), answer.has_flags(PacketFlag::RESPONSE)), (77, true));
    assert_eq!(answer.questions[0].qname.to_string(), name);
    let addresses = answer.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(data) => Some(IpAddr::V4(data.address.into())),
        RData::AAAA(data) => Some(IpAddr::V6(data.address.into())),
        _ => None,
    });
    (answer.rcode(), addresses.collect())
}

#[tokio::test]
async fn addresses_are_answered() {
    let guest = Guest::start(with_hosts(Policy::open()));
    let cases: [(&str, TYPE, RCODE, &[&str]); 9] = [
        ("both.test", TYPE::A, RCODE::NoError, &["203.0.113.7"]),
        ("BOTH.Test", TYPE::AAAA, RCODE::NoError, &["2001:db8::7"]),
        ("four.test", TYPE::AAAA, RCODE::NoError, &[]),
        ("none.test", TYPE::A, RCODE::NameError, &[]),
        ("mixed.test", TYPE::A, RCODE::NoError, &["203.0.113.9"]),
        ("private.test", TYPE::A, RCODE::NameError, &[]),
        ("localhost", TYPE::A, RCODE::NameError, &[]),
        ("127.0.0.1", TYPE::A, RCODE::NameError, &[]),
        ("both.test", TYPE::HTTPS, RCODE::NoError, &[]),
    ];
    for (name, kind, code, addresses) in cases {
        let expected = addresses.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(ask(&guest, name, kind).await, (code, expected), "{name} {kind:?}");
    }
    let answered = guest.event(|event| event.protocol == Protocol::Dns).await;
    assert_eq!(answered.kind, EventKind::DnsAnswered { addresses: 2 });
    assert_eq!(answered.name.as_ref().map(HostName::as_str), Some("both.test"));
    let refused =
        guest.event(|event| event.name.as_ref().is_some_and(|name| name.as_str() == "private.test")).await;
    assert_eq!(refused.kind, EventKind::DnsRefused { reason: Refusal::Range { range: RangeKind::Private } });
}

#[tokio::test]
async fn a_host_without_ipv6_gives_none() {
    let guest = Guest::start(NetworkConfig { ipv6: false, ..with_hosts(Policy::open()) });
    assert_eq!(ask(&guest, "both.test", TYPE::AAAA).await, (RCODE::NoError, vec![]));
}

#[tokio::test]
async fn names_that_are_not_on_the_list_do_not_exist() {
    let guest = Guest::start(with_hosts(Policy::only(vec!["both.test".parse().unwrap()])));
    assert_eq!(ask(&guest, "four.test", TYPE::A).await.0, RCODE::NameError);
    assert_eq!(ask(&guest, "four.test", TYPE::TXT).await.0, RCODE::NameError);
    assert_eq!(ask(&guest, "both.test", TYPE::A).await.1.len(), 1);
    let refusal = guest.refusal().await;
    assert_eq!(refusal.kind, EventKind::DnsRefused { reason: Refusal::NotAllowed });
    assert_eq!(refusal.name.as_ref().map(HostName::as_str), Some("four.test"));
}

#[tokio::test]
async fn reverse_names_come_from_memory() {
    let guest = Guest::start(with_hosts(Policy::open()));
    ask(&guest, "four.test", TYPE::A).await;
    let bytes = ask_raw(&guest, &question("8.113.0.203.in-addr.arpa", TYPE::PTR)).await;
    let answer = Packet::parse(&bytes).unwrap();
    assert!(matches!(&answer.answers[0].rdata, RData::PTR(name) if name.to_string() == "four.test"));
    let bytes = ask_raw(&guest, &question("1.0.0.10.in-addr.arpa", TYPE::PTR)).await;
    assert_eq!(Packet::parse(&bytes).unwrap().rcode(), RCODE::NameError);
}

#[tokio::test]
async fn what_is_no_question_is_told_so_or_dropped() {
    let guest = Guest::start(with_hosts(Policy::open()));
    let good = question("both.test", TYPE::A);
    let with = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cases = [
        ("a status request", with(2, 0x10), RCODE::NotImplemented),
        ("two questions", with(5, 2), RCODE::FormatError),
        ("65,281 answers", with(6, 0xff), RCODE::FormatError),
        ("65,281 additional records", with(10, 0xff), RCODE::FormatError),
        ("half a question", good[..20].to_vec(), RCODE::FormatError),
        ("a name that points at itself", [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(), RCODE::FormatError),
        ("an unknown type", [&good[..good.len() - 4], &[0xfe, 0xfe, 0, 1]].concat(), RCODE::NotImplemented),
        ("another class", with(good.len() - 1, 3), RCODE::Refused),
        ("a transfer", [&good[..good.len() - 4], &[0, 252, 0, 1]].concat(), RCODE::Refused),
        ("everything", [&good[..good.len() - 4], &[0, 255, 0, 1]].concat(), RCODE::Refused),
        ("an oversized one", [&good[..], &[0; 4_000]].concat(), RCODE::FormatError),
    ];
    for (what, message, code) in cases {
        let answer = ask_raw(&guest, &message).await;
        assert_eq!((&answer[..2], answer[3] & 0xf), (&good[..2], code as u8), "{what}");
    }
    // An answer and a fragment of a header have no answer; what comes next does.
    guest.send(datagram(1_000, (GATEWAY_V4, 53).into(), &with(2, 0x80))).await;
    guest.send(datagram(1_000, (GATEWAY_V4, 53).into(), &good[..11])).await;
    assert_eq!(ask(&guest, "both.test", TYPE::A).await.0, RCODE::NoError);
}

/// What [`name_server`] answers.
fn reply(bytes: &[u8], size: usize, udp: bool) -> Vec<u8> {
    let query = Packet::parse(bytes).unwrap();
    let mut reply = Packet::new_reply(query.id());
    let name = query.questions[0].qname.clone();
    reply.questions.push(query.questions[0].clone());
    if udp && size > 1_000 {
        reply.set_flags(PacketFlag::TRUNCATION);
        return reply.build_bytes_vec().unwrap();
    }
    for _ in 0..size.div_ceil(200) {
        let text = "x".repeat(200);
        let text = TXT::new().with_char_string(text.as_str().try_into().unwrap()).into_owned();
        reply.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::TXT(text)));
    }
    reply.answers.push(ResourceRecord::new(
        name.clone(),
        CLASS::IN,
        60,
        RData::NULL(999, NULL::new(b"odd").unwrap()),
    ));
    for address in [0x0a00_0001, 0xcb00_7101] {
        reply.additional_records.push(ResourceRecord::new(
            name.clone(),
            CLASS::IN,
            60,
            RData::A(A { address }),
        ));
    }
    reply.build_bytes_vec().unwrap()
}

/// A name server that answers TXT with `size` bytes, A records on top, and nothing else.
async fn name_server(size: usize) -> SocketAddr {
    // A port that is free for both.
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => {
                    let (length, from) = received.unwrap();
                    // A wrong answer first, which must not count.
                    let mut wrong = reply(&buffer[..length], 1, true);
                    wrong[0] ^= 0xff;
                    socket.send_to(&wrong, from).await.unwrap();
                    socket.send_to(&reply(&buffer[..length], size, true), from).await.unwrap();
                }
                accepted = listener.accept() => {
                    let mut stream = accepted.unwrap().0;
                    let length = usize::from(stream.read_u16().await.unwrap());
                    stream.read_exact(&mut buffer[..length]).await.unwrap();
                    let answer = reply(&buffer[..length], size, false);
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn other_records_are_forwarded() {
    let name_servers = vec![name_server(100).await];
    let guest = Guest::start(NetworkConfig { name_servers, ..with_hosts(Policy::open()) });
    let bytes = ask_raw(&guest, &question("Any.test", TYPE::TXT)).await;
    let answer = Packet::parse(&bytes).unwrap();
    assert_eq!((answer.id(), answer.questions[0].qname.to_string().as_str()), (77, "Any.test"));
    assert_eq!(answer.answers.len(), 2);
    let [record] = answer.additional_records.as_slice() else {
        panic!("the private address is left out: {answer:?}")
    };
    assert_eq!(record.rdata, RData::A(A { address: 0xcb00_7101 }));
}

#[tokio::test]
async fn long_answers_come_by_tcp() {
    let name_servers = vec![name_server(30_000).await];
    let guest = Guest::start(NetworkConfig { name_servers, ..with_hosts(Policy::open()) });
    // Too long for UDP, also for a client that takes more than most.
    let plain = question("long.test", TYPE::TXT);
    let mut extended = Packet::parse(&plain).unwrap();
    *extended.opt_mut() = Some(OPT { opt_codes: vec![], udp_packet_size: 65_535, version: 0 });
    for message in [plain.clone(), extended.build_bytes_vec().unwrap()] {
        let bytes = ask_raw(&guest, &message).await;
        let answer = Packet::parse(&bytes).unwrap();
        assert!(answer.has_flags(PacketFlag::TRUNCATION) && answer.answers.is_empty());
    }
    for to in [SocketAddr::from((GATEWAY_V4, 53)), (GATEWAY_V6, 53).into()] {
        let tcp = guest.connect(to).await.unwrap();
        for (name, records) in [("long.test", 151), ("long.test", 151)] {
            let message = question(name, TYPE::TXT);
            assert!(tcp.write(&u16::try_from(message.len()).unwrap().to_be_bytes()).await);
            assert!(tcp.write(&message).await);
            let length = tcp.read_exact(2).await;
            let bytes = tcp.read_exact(u16::from_be_bytes([length[0], length[1]]).into()).await;
            assert_eq!(Packet::parse(&bytes).unwrap().answers.len(), records);
        }
        tcp.close();
        assert!(tcp.read_to_end().await.unwrap().is_empty());
    }
    guest.until(|counters| counters.tcp_open == 0).await;
}

#[tokio::test]
async fn many_addresses_fit_or_are_left_out_whole() {
    let guest = Guest::start(with_hosts(Policy::open()));
    assert_eq!(ask(&guest, "many.test", TYPE::A).await.1.len(), 16);
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_a_failure() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let name_servers = vec![silent.local_addr().unwrap()];
    let guest = Guest::start(NetworkConfig { name_servers, ..with_hosts(Policy::open()) });
    let bytes = ask_raw(&guest, &question("any.test", TYPE::MX)).await;
    assert_eq!(Packet::parse(&bytes).unwrap().rcode(), RCODE::ServerFailure);
    assert_eq!(guest.refusal().await.kind, EventKind::DnsRefused { reason: Refusal::NoAnswer });
}

#[tokio::test]
async fn other_ports_of_the_gateway_are_closed() {
    let guest = Guest::start(with_hosts(local()));
    assert!(guest.connect((GATEWAY_V4, 80).into()).await.is_none());
    assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason: Refusal::NoService });
}

#[tokio::test]
async fn there_are_only_so_many_questions() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let name_servers = vec![silent.local_addr().unwrap()];
    let guest = Guest::start(NetworkConfig { name_servers, ..with_hosts(Policy::open()) });
    for port in 1..=200 {
        guest.send(datagram(port, (GATEWAY_V4, 53).into(), &question("any.test", TYPE::MX))).await;
    }
    guest.until(|counters| counters.packets_from_guest == 200).await;
    guest.until(|counters| counters.dns_queries == 64).await;
    assert_eq!(guest.counters().refused, 136);
    let limit = guest.event(|event| matches!(event.kind, EventKind::Limit { .. })).await;
    assert_eq!(limit.kind, EventKind::Limit { limit: Limit::DnsQueries, count: 1 });
}

#[tokio::test]
async fn there_are_only_so_many_connections_to_the_resolver() {
    let guest = Guest::start(with_hosts(Policy::open()));
    let mut open = Vec::new();
    while let Some(tcp) = guest.connect((GATEWAY_V4, 53).into()).await {
        open.push(tcp);
        assert!(open.len() <= 16);
    }
    assert_eq!(open.len(), 16);
    open[0].abort();
    guest.until(|counters| counters.tcp_open == 15).await;
    assert!(guest.connect((GATEWAY_V4, 53).into()).await.is_some());
    let limit = guest.event(|event| matches!(event.kind, EventKind::Limit { .. })).await;
    assert_eq!(limit.kind, EventKind::Limit { limit: Limit::DnsConnections, count: 1 });
}
