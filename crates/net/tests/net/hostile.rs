//! A guest that sends whatever it likes.

use crate::guest::{Guest, RAW, config, local};
use crate::udp::{datagram, packet};
use proptest::prelude::*;
use pyro_net::{GATEWAY_V4, GUEST_V4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A segment of the guest's that no stack has made.
pub fn segment(
    from: u16,
    to: SocketAddr,
    control: TcpControl,
    sequence: i32,
    acknowledged: Option<i32>,
    payload: &[u8],
) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: from,
        dst_port: to.port(),
        control,
        seq_number: TcpSeqNumber(sequence),
        ack_number: acknowledged.map(TcpSeqNumber),
        window_len: 1_000,
        window_scale: (control == TcpControl::Syn).then_some(3),
        max_seg_size: (control == TcpControl::Syn).then_some(1_460),
        sack_permitted: control == TcpControl::Syn,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload,
    };
    packet(to.ip(), IpProtocol::Tcp, repr.buffer_len(), |bytes| {
        let (source, destination) = (IpAddress::from(GUEST_V4), IpAddress::from(to.ip()));
        repr.emit(
            &mut TcpPacket::new_unchecked(bytes),
            &source,
            &destination,
            &ChecksumCapabilities::default(),
        );
    })
}

/// What a guest may send next.
#[derive(Debug, Clone)]
enum Move {
    Noise(Vec<u8>),
    Segment {
        port: u16,
        control: u8,
        sequence: i32,
        acknowledged: Option<i32>,
        length: usize,
        flips: Vec<(usize, u8)>,
    },
    Datagram {
        port: u16,
        length: usize,
        resolver: bool,
        flips: Vec<(usize, u8)>,
    },
}

fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop_oneof![3 => Just(vec![]), 1 => proptest::collection::vec((0..80_usize, any::<u8>()), 1..4)]
}

fn moves() -> impl Strategy<Value = Move> {
    let near = prop_oneof![4 => Just(0), 4 => 1..3_i32, 2 => -3..5_000_i32, 1 => any::<i32>()];
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(Move::Noise),
        8 => (0..4_u16, 0..5_u8, near.clone(), proptest::option::of(near), 0..3_000_usize, flips()).prop_map(
            |(port, control, sequence, acknowledged, length, flips)| Move::Segment {
                port, control, sequence, acknowledged, length, flips
            }
        ),
        2 => (0..4_u16, 0..600_usize, any::<bool>(), flips()).prop_map(|(port, length, resolver, flips)| {
            Move::Datagram { port, length, resolver, flips }
        }),
    ]
}

fn flipped(mut bytes: Vec<u8>, flips: &[(usize, u8)]) -> Vec<u8> {
    for (at, to) in flips {
        if let Some(byte) = bytes.get_mut(*at) {
            *byte = *to;
        }
    }
    bytes
}

impl Move {
    /// Numbers count from where the connection is, if there is one, so that most segments belong to it.
    fn packet(&self, guest: &Guest, to: SocketAddr) -> Vec<u8> {
        match self {
            Self::Noise(bytes) => bytes.clone(),
            Self::Segment { port, control, sequence, acknowledged, length, flips } => {
                let control =
                    [TcpControl::Syn, TcpControl::Fin, TcpControl::Rst, TcpControl::Psh, TcpControl::None]
                        [usize::from(*control)];
                let (theirs, ours) = guest.heard(RAW + port).unwrap_or_default();
                let sequence = ours.wrapping_add(*sequence);
                let acknowledged = acknowledged.map(|number| theirs.wrapping_add(number));
                flipped(segment(RAW + port, to, control, sequence, acknowledged, &vec![1; *length]), flips)
            }
            Self::Datagram { port, length, resolver, flips } => {
                let to = if *resolver { (GATEWAY_V4, 53).into() } else { to };
                flipped(datagram(RAW + port, to, &vec![0; *length]), flips)
            }
        }
    }
}

/// A connection whose segments are made by hand; the numbers it continues with.
pub async fn open(guest: &Guest, port: u16, to: SocketAddr) -> (i32, i32) {
    guest.send(segment(port, to, TcpControl::Syn, 100, None, &[])).await;
    let (theirs, ours) = loop {
        match guest.heard(port) {
            Some(heard) => break heard,
            None => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    };
    assert_eq!(ours, 101);
    guest.send(segment(port, to, TcpControl::None, ours, Some(theirs.wrapping_add(1)), b"hello")).await;
    (theirs.wrapping_add(1), ours + 5)
}

/// Sends all of it, then sees whether an ordinary connection still works.
async fn survives(moves: &[Move]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let guest = Guest::start(config(local()));
    for port in [RAW, RAW + 1] {
        open(&guest, port, to).await;
    }
    for (index, next) in moves.iter().enumerate() {
        guest.send(next.packet(&guest, to)).await;
        // Answers come back now and then, and are built upon.
        if index % 5 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    let tcp = guest.connect(to).await.expect("an ordinary connection");
    assert!(tcp.write(b"still here").await);
    assert_eq!(tcp.read_exact(10).await, b"still here");
    let counters = guest.counters();
    assert_eq!(counters.faults, 0, "{counters:?}");
    assert!(guest.network_runs());
    server.abort();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_guest_sends_ends_the_network(moves in proptest::collection::vec(moves(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(survives(&moves));
    }
}

/// A connection that really is one, with segments that lie ahead, behind and across its window, and acknowledge at random.
#[tokio::test]
async fn a_flood_of_packets_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let guest = Guest::start(config(local()));
    let (accepted, opened) = tokio::join!(listener.accept(), open(&guest, RAW, to));
    let ((mut server, _), (theirs, ours)) = (accepted.unwrap(), opened);
    server.read_exact(&mut [0; 5]).await.unwrap();
    server.write_all(&vec![3; 100_000]).await.unwrap();
    for index in 0..20_000_i32 {
        let (sequence, acknowledged) =
            (ours + index * 7_919 % 90_000, theirs.wrapping_add(index * 104_729 % 120_000));
        guest.send(segment(RAW, to, TcpControl::None, sequence, Some(acknowledged), &[2; 100])).await;
    }
    guest.until(|counters| counters.packets_from_guest >= 20_002).await;
    let tcp = guest.connect(to).await.unwrap();
    let (mut second, _) = listener.accept().await.unwrap();
    second.write_all(b"on").await.unwrap();
    assert_eq!(tcp.read_exact(2).await, b"on");
    assert_eq!(guest.counters().faults, 0);
}
