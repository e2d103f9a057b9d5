//! Relays one output pipe of a command to the host, a chunk at a time and without secrets.

use bytes::{BufMut, Bytes, BytesMut};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{Output, OutputStream, reply};
use rustix::io::{Errno, ioctl_fionread};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::select;
use tokio::sync::watch;

use crate::call::Call;
use crate::fail::Fail;
use crate::secrets::Filter;

/// Sends what comes out of `pipe` until its end, or until `cut_off` turns true; returns whether it was cut off.
///
/// One chunk is read only when the one before is handed to the connection, so a command runs as fast as the host
/// reads. What lies in the pipe when `cut_off` turns true is still sent: it may be the command's own last words.
pub async fn relay(
    call: &Call,
    stream: OutputStream,
    mut filter: Filter,
    pipe: pipe::Receiver,
    cut_off: watch::Receiver<bool>,
) -> Result<bool, Fail> {
    let is_cut_off = relay_all(call, stream, &mut filter, pipe, cut_off).await?;
    send(call, stream, filter.end().into()).await?;
    Ok(is_cut_off)
}

async fn relay_all(
    call: &Call,
    stream: OutputStream,
    filter: &mut Filter,
    mut pipe: pipe::Receiver,
    mut cut_off: watch::Receiver<bool>,
) -> Result<bool, Fail> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(MAX_CHUNK_BYTES);
        let mut chunk = (&mut buffer).limit(MAX_CHUNK_BYTES);
        let read = select! {
            biased;
            _ = cut_off.wait_for(|cut_off| *cut_off) => break,
            read = pipe.read_buf(&mut chunk) => read,
        };
        match read {
            Ok(0) | Err(_) => return Ok(false),
            Ok(_) => send(call, stream, filter.take(&mut buffer)).await?,
        }
    }
    let mut left = ioctl_fionread(&pipe).unwrap_or(0);
    loop {
        // One byte more than nothing tells the end of the pipe from one that is still open.
        let room = usize::try_from(left).unwrap_or(MAX_CHUNK_BYTES).clamp(1, MAX_CHUNK_BYTES);
        buffer.resize(room, 0);
        match rustix::io::read(&pipe, &mut buffer[..]) {
            Ok(0) => return Ok(false),
            Ok(count) if left > 0 => {
                left = left.saturating_sub(count as u64);
                buffer.truncate(count);
                send(call, stream, filter.take(&mut buffer)).await?;
            }
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return Ok(true),
        }
    }
}

/// Sends `bytes` in chunks: marks are longer than some of what they stand for.
async fn send(call: &Call, stream: OutputStream, mut bytes: Bytes) -> Result<(), Fail> {
    while !bytes.is_empty() {
        let data = bytes.split_to(bytes.len().min(MAX_CHUNK_BYTES));
        call.send(reply::Reply::Output(Output { stream: stream.into(), data })).await?;
    }
    Ok(())
}
