//! One pair of UDP sockets: a host's socket that only knows the one other end.

use super::Datagram;
use crate::addressing::{DNS_PORT, MTU};
use crate::event::{End, EventKind, Refusal, Subject, count};
use crate::limits::UDP_DNS_IDLE;
use crate::packet::{FlowKey, Unreachable, udp_in_place, udp_payload_offset, unreachable};
use crate::route::Context;
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a datagram may wait for room on the other side.
const SEND: Duration = Duration::from_secs(1);

/// Datagrams in the two directions, and their bytes.
#[derive(Default)]
struct Traffic {
    out: u64,
    back: u64,
    sent: u64,
    received: u64,
}

/// Carries datagrams both ways until there are none for some time.
pub(super) async fn run(
    context: &Context,
    key: FlowKey,
    subject: Subject,
    mut inbox: mpsc::Receiver<Datagram>,
) {
    let socket = match open(&key).await {
        Ok(socket) => socket,
        Err(error) => {
            let exhausted = matches!(error.raw_os_error(), Some(23 | 24));
            let reason = if exhausted { Refusal::HostExhausted } else { Refusal::Unreachable };
            context.log.say(&subject, EventKind::Refused { reason });
            if let Some(datagram) = inbox.recv().await {
                answer(context, unreachable(&datagram.packet, Unreachable::Host));
            }
            return;
        }
    };
    context.log.say(&subject, EventKind::Connected);
    let mut traffic = Traffic::default();
    let end = carry(context, &key, &socket, &mut inbox, &mut traffic).await;
    context.log.closed(&subject, end, traffic.sent, traffic.received);
}

async fn open(key: &FlowKey) -> io::Result<UdpSocket> {
    let any = if key.destination.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(key.destination).await?;
    Ok(socket)
}

async fn carry(
    context: &Context,
    key: &FlowKey,
    socket: &UdpSocket,
    inbox: &mut mpsc::Receiver<Datagram>,
    traffic: &mut Traffic,
) -> End {
    let mut last = Instant::now();
    let mut latest = Bytes::new();
    loop {
        let idle = patience(context, key, traffic);
        let error = select! {
            datagram = inbox.recv() => {
                let Some(datagram) = datagram else { return End::Stopped };
                latest = datagram.packet;
                send(context, socket, &datagram.content, traffic).await
            }
            ready = socket.ready(Interest::READABLE | Interest::ERROR) => match ready {
                Ok(ready) if ready.is_error() => reported(socket),
                Ok(_) => receive(context, key, socket, traffic).await,
                Err(error) => Err(error),
            },
            () = sleep_until(last + idle) => return End::Idle,
        };
        match error {
            Ok(()) => last = Instant::now(),
            // What the other host said about an earlier datagram; the guest's socket hears it as its own would.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                answer(context, unreachable(&latest, Unreachable::Port));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => answer(context, unreachable(&latest, Unreachable::Host)),
        }
    }
}

fn patience(context: &Context, key: &FlowKey, traffic: &Traffic) -> Duration {
    let answered = traffic.out == 1 && traffic.back == 1;
    if key.destination.port() == DNS_PORT && answered { UDP_DNS_IDLE } else { context.limits.udp_idle }
}

async fn send(
    context: &Context,
    socket: &UdpSocket,
    payload: &[u8],
    traffic: &mut Traffic,
) -> io::Result<()> {
    let sent =
        timeout(SEND, socket.send(payload)).await.unwrap_or(Err(io::ErrorKind::WouldBlock.into()))? as u64;
    traffic.out += 1;
    traffic.sent += sent;
    count(&context.log.counts().bytes_sent, sent);
    Ok(())
}

/// Takes what the other host has reported. It does not make a socket readable.
fn reported(socket: &UdpSocket) -> io::Result<()> {
    // Only what would block marks the report as taken.
    socket.try_io(Interest::ERROR, || {
        Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
    })
}

/// Takes one datagram, into the packet that it becomes, when the guest has room for it; until then it waits in the host's
/// socket. One that is larger than a packet is dropped.
async fn receive(
    context: &Context,
    key: &FlowKey,
    socket: &UdpSocket,
    traffic: &mut Traffic,
) -> io::Result<()> {
    let Ok(Ok(room)) = timeout(SEND, context.to_guest.reserve()).await else { return Ok(()) };
    let start = udp_payload_offset(key);
    let mut buffer = vec![0; MTU + 1];
    let received = socket.try_recv(&mut buffer[start..])?;
    buffer.truncate(start + received);
    buffer.shrink_to_fit();
    traffic.back += 1;
    traffic.received += received as u64;
    count(&context.log.counts().bytes_received, received as u64);
    match udp_in_place(buffer, key) {
        Some(packet) => room.send(packet),
        None => count(&context.log.counts().packets_dropped, 1),
    }
    Ok(())
}

fn answer(context: &Context, packet: Option<Bytes>) {
    let sent = packet.is_some_and(|packet| context.to_guest.try_send(packet).is_ok());
    count(&context.log.counts().packets_dropped, u64::from(!sent));
}
