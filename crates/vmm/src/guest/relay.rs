//! A call of another process, carried from its connection to the guest byte for byte.
//!
//! The client's end of the connection stands for the host's end of the stream: when it goes away, the stream is dropped,
//! which cancels the call. What the guest sent before it ended its side still reaches the client.

use super::stream::Stream;
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::select;

/// How often it is looked whether a client is still there, while the guest takes none of what it sent.
const HANGUP_POLL: Duration = Duration::from_millis(100);

/// Copies both ways until the guest has ended its side or the client is gone.
pub(super) async fn relay(client: &UnixStream, guest: Stream) {
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    select! {
        () = forward(client, &mut to_guest) => {}
        () = back(&mut from_guest, client) => {}
    }
}

/// Ends when the client is gone; a guest that takes no more may still have something to say.
async fn forward(client: &UnixStream, guest: &mut (impl tokio::io::AsyncWrite + Unpin)) {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    while let Ok(count @ 1..) = read(client, &mut buffer).await {
        let written = async {
            guest.write_all(&buffer[..count]).await?;
            guest.flush().await
        };
        let taken = select! {
            written = written => written.is_ok(),
            () = hung_up(client) => return,
        };
        if !taken {
            return hung_up(client).await;
        }
    }
}

/// Ends when the guest has ended its side, or the client takes no more.
async fn back(guest: &mut (impl tokio::io::AsyncRead + Unpin), client: &UnixStream) {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    while let Ok(count @ 1..) = guest.read(&mut buffer).await {
        if write_all(client, &buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn read(client: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        client.readable().await?;
        match client.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write_all(client: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        client.writable().await?;
        match client.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the client has closed its end, also while something it sent is not read: readiness alone does not tell, so it
/// is looked at from time to time.
async fn hung_up(client: &UnixStream) {
    while client.ready(Interest::READABLE).await.is_ok_and(|ready| !ready.is_read_closed()) {
        tokio::time::sleep(HANGUP_POLL).await;
    }
}
