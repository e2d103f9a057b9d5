//! Connections into the guest: a port of its loopback, as a call.
//!
//! In each direction the next piece is read once the one before was handed over, so that who does not read holds up who writes,
//! as on any connection. Each direction ends by itself. A call that is dropped before both have ended resets the connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::DIAL_DEADLINE;
use pyro_protocol::v1::{Data, Dial, Done, FailureKind, input, reply};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio::try_join;

use crate::call::Call;
use crate::fail::Fail;

/// What is read at once.
const PIECE_BYTES: usize = 32 * 1024;
/// Where a queue is full the kernel tries again after 1, 3 and 7 s, with everybody else who waits.
const ATTEMPT: Duration = Duration::from_millis(200);
/// Those who wait are not to come all at once.
const SPREAD_MS: u32 = 100;

/// Connects to a port and carries bytes both ways until both directions have ended.
pub async fn dial(call: &Call, request: Dial) -> Result<Done, Fail> {
    let port = u16::try_from(request.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| Fail::invalid("a port is a number from 1 to 65535"))?;
    let connecting = timeout(DIAL_DEADLINE, connect(port)).await;
    let stream = connecting.unwrap_or_else(|_late| {
        Err(Fail::new(FailureKind::Exhausted, format!("the queue of port {port} is full")))
    })?;
    let mut connection = Connection { stream, is_over: false };
    call.send(reply::Reply::Done(Done {})).await?;
    let ((), unsent) = try_join!(receive(call, &connection.stream), send(call, &connection.stream))?;
    if let Some(fail) = unsent {
        return Err(fail);
    }
    connection.is_over = true;
    Ok(Done {})
}

/// A connection that is reset when it is dropped before it is over.
struct Connection {
    stream: TcpStream,
    is_over: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_over {
            // Without it the other side sees an orderly end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

async fn connect(port: u16) -> Result<TcpStream, Fail> {
    let stream = match attempt((Ipv4Addr::LOCALHOST, port).into()).await {
        Ok(stream) => stream,
        Err(refused) => match attempt((Ipv6Addr::LOCALHOST, port).into()).await {
            Ok(stream) => stream,
            Err(_) => return Err(Fail::os(&format!("connect to port {port}"), refused)),
        },
    };
    stream.set_nodelay(true).map_err(|error| Fail::os("set up a connection", error))?;
    Ok(stream)
}

/// Connects, and tries again for as long as there is no answer.
async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let patience = ATTEMPT + Duration::from_millis((now.subsec_micros() % SPREAD_MS).into());
        if let Ok(connected) = timeout(patience, crate::connect::connect(address)).await {
            return connected;
        }
    }
}

/// Carries what comes from the guest's side until that has ended.
async fn receive(call: &Call, stream: &TcpStream) -> Result<(), Fail> {
    loop {
        let data = read(stream).await.map_err(|error| Fail::os("read from the connection", error))?;
        if data.is_empty() {
            return call.send(reply::Reply::Done(Done {})).await;
        }
        call.send(reply::Reply::Data(Data { data })).await?;
        // A flood must not keep the others waiting.
        yield_now().await;
    }
}

/// Reads a piece; an empty one is the end. There is no buffer where there is nothing to read.
async fn read(stream: &TcpStream) -> io::Result<Bytes> {
    loop {
        stream.ready(Interest::READABLE).await?;
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match stream.try_read_buf(&mut piece) {
            Ok(_) => return Ok(piece.freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Carries what comes from the host until that has ended. Where the guest's side takes no more, it may still have sent
/// something: that is the failure to end with once it was carried over.
async fn send(call: &Call, stream: &TcpStream) -> Result<Option<Fail>, Fail> {
    loop {
        let written = match call.input().await? {
            input::Input::Data(Data { data }) => write_all(stream, &data).await,
            input::Input::End(_) => {
                // One that was reset is told of by the other direction.
                let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
                return Ok(None);
            }
            _ => return Err(Fail::invalid("only data and their end can be sent")),
        };
        if let Err(error) = written {
            return Ok(Some(Fail::os("write to the connection", error)));
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
