//! Whom a jailed process can speak to.

use super::{Host, Outcomes, refused};
use crate::jail::{Jail, Sockets};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[tokio::test]
async fn it_reaches_no_network_and_no_socket_of_the_host() {
    let host = Host::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let abstract_name = format!("pyro-jail-{}", host.scratch.path().display());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(abstract_name.as_bytes()).unwrap()).unwrap();
    let path = host.path("home/socket");
    let _named = UnixListener::bind(&path).unwrap();
    let script = format!(
        "attempt('tcp', lambda: socket.create_connection(('127.0.0.1', {tcp})).close())
attempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp})))
attempt('listen', lambda: socket.create_server(('127.0.0.1', 0)))
attempt('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\\0{abstract_name}'))
",
        tcp = tcp.local_addr().unwrap().port(),
        udp = udp.local_addr().unwrap().port(),
    );
    let named =
        format!("attempt('named', lambda: socket.socket(socket.AF_UNIX).connect('{}'))\n", path.display());
    let in_namespaces = refused(&script, &host, host.jail()).await.in_namespaces();
    // No sockets at all.
    refused(&named, &host, host.jail()).await;
    // Unix sockets, and nothing of the host's to connect them to.
    refused(&script, &host, host.jail_with_directory()).await;
    if in_namespaces {
        refused(&named, &host, host.jail_with_directory()).await;
    }
}

#[tokio::test]
async fn it_makes_the_sockets_that_it_is_for() {
    let host = Host::new();
    let script = "attempt('unix', lambda: socket.socket(socket.AF_UNIX))
attempt('pair', lambda: socket.socketpair())
";
    let unix = Jail { sockets: Sockets::Unix, ..host.jail() };
    assert_eq!(Outcomes::of(script, &host, Some(unix), vec![]).await.outcome("unix"), "done");
    let none = Outcomes::of(script, &host, Some(host.jail()), vec![]).await;
    assert_eq!(none.outcome("unix"), "EPERM");
    assert_eq!(none.outcome("pair"), "done");
}
