//! Questions that the host's resolver has no call for, put to the name servers it uses.
//!
//! Each question goes out under a random id from a socket of its own, and only an answer to it counts. Over UDP first; what
//! comes truncated is asked again over TCP.

use super::message::{Query, answer, ask};
use crate::limits::{FORWARD_TIMEOUT, FORWARD_TRIES, MAX_DNS_UDP_ANSWER};
use simple_dns::PacketFlag;
use simple_dns::header_buffer::has_flags;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Name servers that are asked, as in the host's own resolver.
const SERVERS: usize = 3;

/// The name servers of a `resolv.conf`.
pub fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    resolv_conf.lines().filter_map(server).take(SERVERS).map(|address| SocketAddr::new(address, 53)).collect()
}

/// The first good answer to `query`, as bytes and with its id.
pub(super) async fn forward(servers: &[SocketAddr], query: &Query) -> Option<(Vec<u8>, u16)> {
    for server in servers.iter().cycle().take(servers.len().min(SERVERS) * FORWARD_TRIES) {
        let mut id = [0; 2];
        getrandom::fill(&mut id).ok()?;
        let id = u16::from_ne_bytes(id);
        let question = ask(query, id)?;
        let Ok(Ok(bytes)) = timeout(FORWARD_TIMEOUT, by_udp(*server, &question, query, id)).await else {
            continue;
        };
        if has_flags(&bytes, PacketFlag::TRUNCATION) != Ok(true) {
            return Some((bytes, id));
        }
        if let Ok(Ok(bytes)) = timeout(FORWARD_TIMEOUT, by_tcp(*server, &question)).await
            && answer(&bytes, query, id).is_some()
        {
            return Some((bytes, id));
        }
    }
    None
}

/// Waits for an answer to this question; others are passed over.
async fn by_udp(server: SocketAddr, question: &[u8], query: &Query, id: u16) -> io::Result<Vec<u8>> {
    let any =
        if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_DNS_UDP_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answer(&buffer[..length], query, id).is_some() {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# x\nsearch a.test\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 # y\nnameserver x\n";
        let servers: Vec<SocketAddr> =
            vec!["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()];
        assert_eq!(name_servers(text), servers);
    }
}
