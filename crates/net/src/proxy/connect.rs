//! One tunnel through an HTTP proxy.
//!
//! 1. Connect to the proxy, at the first of its addresses that answers.
//! 2. Send `CONNECT name:port` and the credentials, if there are any.
//! 3. Read the answer to its blank line: 2xx makes the connection a tunnel, and everything after that line is the other
//!    end's.
//!
//! The caller sets the deadline.

use super::Proxy;
use crate::limits::MAX_PROXY_ANSWER;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the proxy could not be spoken to")]
    Io(#[from] io::Error),
    #[error("the proxy answered with status {0}")]
    Status(u16),
    #[error("what the proxy answered is no HTTP")]
    Answer,
}

/// A tunnel through `proxy`, which is at one of `places`, to `target`, which is `name:port` or `address:port`.
pub(crate) async fn tunnel(
    proxy: &Proxy,
    places: &[SocketAddr],
    target: &str,
) -> Result<TcpStream, ConnectError> {
    let mut stream = TcpStream::connect(places).await?;
    stream.set_nodelay(true)?;
    let authorization = proxy.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let authorization = authorization.unwrap_or_default();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await?;
    match status(&head(&mut stream).await?) {
        Some(200..=299) => Ok(stream),
        Some(status) => Err(ConnectError::Status(status)),
        None => Err(ConnectError::Answer),
    }
}

/// The answer without its content. Byte by byte: what follows belongs to the tunnel.
async fn head(stream: &mut TcpStream) -> Result<Vec<u8>, ConnectError> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() >= MAX_PROXY_ANSWER {
            return Err(ConnectError::Answer);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The status of an answer that begins as HTTP/1.0 or 1.1 says.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let (digits, after) = (rest.get(2..5)?, rest.get(5)?);
    let framed = matches!(rest, [b'0' | b'1', b' ', ..]) && matches!(after, b' ' | b'\r' | b'\n');
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (framed && status >= 100).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_strictly() {
        let cases: [(&str, Option<u16>); 9] = [
            ("HTTP/1.1 200 OK\r\n\r\n", Some(200)),
            ("HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", Some(407)),
            ("HTTP/1.1 403\r\n\r\n", Some(403)),
            ("HTTP/2 200\r\n\r\n", None),
            ("HTTP/1.1  200\r\n\r\n", None),
            ("HTTP/1.1 2000\r\n\r\n", None),
            ("HTTP/1.1 +20 \r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("", None),
        ];
        for (head, expected) in cases {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
