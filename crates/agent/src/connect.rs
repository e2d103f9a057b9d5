//! Connecting within the guest.

use std::io;

use tokio::net::{TcpStream, ToSocketAddrs};

/// Connects. Where nobody listens at a port that connections take by themselves, one may meet itself: that is refused, too.
pub async fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        // Its port is free again at once.
        let _ = stream.set_zero_linger();
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
