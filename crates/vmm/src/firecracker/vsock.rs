//! The host's end of the guest's virtio socket: a Unix socket of Firecracker's, on which `CONNECT PORT` leads to a port in the
//! guest, and `OK …` says that somebody listens there.

use crate::VmmError;
use crate::tail::Tail;
use pyro_protocol::{CHANNEL_VSOCK_PORT, WAITING_LINE};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a restored guest's kernel may take to answer. It only has to look for who listens.
pub(super) const RESTORE_DEADLINE: Duration = Duration::from_secs(2);
/// Between two looks at whether the agent is there.
const POLL: Duration = Duration::from_millis(2);
/// After which a connection is tried whether or not the console says that somebody waits.
const PATIENCE: Duration = Duration::from_millis(500);
const MAX_ANSWER_BYTES: usize = 32;

/// Connects to the agent of a guest that boots: once it says on the console that it waits, so that the guest is not kept busy
/// with connections that nobody takes.
pub(super) async fn once_booted(socket: &Path, console: &Tail) -> Result<UnixStream, VmmError> {
    loop {
        let begun = Instant::now();
        while !console.contains(WAITING_LINE) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(POLL).await;
        }
        match tokio::time::timeout(PATIENCE, connect(socket)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if is_final(&error) => return Err(failed(error)),
            Ok(Err(_)) => tokio::time::sleep(POLL).await,
            Err(_) => {}
        }
    }
}

/// Connects to the agent of a guest that was restored, where it waited.
pub(super) async fn once_restored(socket: &Path) -> Result<UnixStream, VmmError> {
    let answered = async {
        loop {
            match connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if is_final(&error) => return Err(failed(error)),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    };
    let dead = Err(VmmError::VsockDead { waited: RESTORE_DEADLINE });
    tokio::time::timeout(RESTORE_DEADLINE, answered).await.unwrap_or(dead)
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = crate::socket::connect(socket).await?;
    stream.write_all(format!("CONNECT {CHANNEL_VSOCK_PORT}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the line is the agent's.
    while !answer.ends_with(b"\n") {
        if answer.len() >= MAX_ANSWER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        answer.push(stream.read_u8().await?);
    }
    if answer.starts_with(b"OK ") { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether another try is in vain. That nobody listens shows as the end of the connection; that Firecracker is gone, as a socket
/// without anybody.
fn is_final(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
    )
}

fn failed(error: io::Error) -> VmmError {
    VmmError::host("connect to the guest's virtio socket", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;

    /// Firecracker's end of the socket: closes the first connections, as for a port at which nobody listens yet, then answers one
    /// as `answers` says.
    async fn firecracker(listener: UnixListener, refused: usize, answers: &str) {
        for _ in 0..refused {
            drop(listener.accept().await.unwrap());
        }
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut asked = String::new();
        stream.read_line(&mut asked).await.unwrap();
        assert_eq!(asked, "CONNECT 1024\n");
        stream.write_all(answers.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn a_guest_that_listens_at_last_is_reached_and_keeps_its_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vsock.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let console = Tail::default();
        console.push(WAITING_LINE.as_bytes());
        tokio::select! {
            () = firecracker(listener, 3, "OK 1073741824\nthe agent's") => {}
            stream = once_booted(&socket, &console) => {
                let mut bytes = [0; 11];
                stream.unwrap().read_exact(&mut bytes).await.unwrap();
                assert_eq!(&bytes, b"the agent's");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restored_guest_that_does_not_answer_is_given_up_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vsock.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let begun = tokio::time::Instant::now();
        tokio::select! {
            () = firecracker(listener, 0, "") => {}
            stream = once_restored(&socket) => {
                let error = stream.unwrap_err();
                assert!(matches!(error, VmmError::VsockDead { waited } if waited == RESTORE_DEADLINE), "{error}");
            }
        }
        assert_eq!(begun.elapsed(), RESTORE_DEADLINE);
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_not_waited_for() {
        for answer in ["NO\n", "OKAY\n", &"x".repeat(100)] {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("vsock.sock");
            let listener = UnixListener::bind(&socket).unwrap();
            tokio::select! {
                () = firecracker(listener, 0, answer) => {}
                stream = once_restored(&socket) => {
                    assert!(stream.unwrap_err().to_string().contains("virtio socket"), "{answer}");
                }
            }
        }
    }
}
