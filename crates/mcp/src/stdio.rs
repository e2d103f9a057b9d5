//! MCP on standard input and output.

use crate::Server;
use crate::server::MAX_MESSAGE_BYTES;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use pyro::{Diagnostic, ErrorKind};
use rmcp::model::{ErrorData, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage};
use rmcp::transport::async_rw::JsonRpcMessageCodec;
use rmcp::transport::{StdioReader, StdioWriter, Transport, stdio_pipes};
use rmcp::{RoleServer, ServiceExt};
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, Decoder, FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

const TOO_LONG: &str = "the line is longer than 8 MiB";

/// Why a server ended other than because its client went away.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client did not begin as the protocol says.
    #[error("the client did not begin the session as MCP says: {why}")]
    Handshake {
        /// What it did.
        why: String,
    },
    /// The task that serves has failed.
    #[error("the session broke off")]
    Task(#[source] tokio::task::JoinError),
}

impl Diagnostic for ServeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Handshake { .. } => ErrorKind::InvalidInput,
            Self::Task(_) => ErrorKind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Handshake { .. } => {
                Some("chat hosts start this command: `pyro host connect` tells them how".to_owned())
            }
            Self::Task(_) => None,
        }
    }
}

/// Serves one client until it goes away.
pub async fn serve_stdio(server: Server) -> Result<(), ServeError> {
    let lines = Lines::new(stdio_pipes());
    let running = server.serve(lines).await.map_err(|error| ServeError::Handshake {
        why: match error {
            // Its own words are the whole message, in the form of this program's sources.
            ServerInitializeError::ExpectedInitializeRequest(_) => {
                "its first message was another one".to_owned()
            }
            other => other.to_string(),
        },
    })?;
    running.waiting().await.map_err(ServeError::Task)?;
    Ok(())
}

type Received = RxJsonRpcMessage<RoleServer>;
type Sent = TxJsonRpcMessage<RoleServer>;
type Writer = FramedWrite<StdioWriter, JsonRpcMessageCodec<Sent>>;

/// Messages, each a line. One that cannot be understood is answered with an error: rmcp's own transport passes it over, and a
/// client that waits for an answer would wait for ever.
struct Lines {
    reader: FramedRead<StdioReader, BoundedLines>,
    /// None when it has been closed.
    writer: Arc<Mutex<Option<Writer>>>,
    /// The answer to a line that was no message, while it is being sent. Nothing is read meanwhile: a client that reads no
    /// answers cannot pile them up.
    answering: Option<JoinHandle<io::Result<()>>>,
    /// Nobody reads what is sent any more: the session is over.
    unread: CancellationToken,
}

impl Lines {
    fn new((reader, writer): (StdioReader, StdioWriter)) -> Self {
        let writer = FramedWrite::new(writer, JsonRpcMessageCodec::default());
        Self {
            reader: FramedRead::new(reader, BoundedLines::new(MAX_MESSAGE_BYTES)),
            writer: Arc::new(Mutex::new(Some(writer))),
            answering: None,
            unread: CancellationToken::new(),
        }
    }
}

impl Transport<RoleServer> for Lines {
    type Error = io::Error;

    fn send(&mut self, message: Sent) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (writer, unread) = (Arc::clone(&self.writer), self.unread.clone());
        async move {
            let mut writer = writer.lock().await;
            let writer = writer.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            writer.send(message).await.map_err(io::Error::from).inspect_err(|_| unread.cancel())
        }
    }

    /// May be given up at any time without losing anything.
    async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some(answering) = &mut self.answering {
                let sent = answering.await;
                self.answering = None;
                sent.ok()?.ok()?;
            }
            let line = tokio::select! {
                () = self.unread.cancelled() => return None,
                line = self.reader.next() => line,
            };
            let refused = match line?.ok()? {
                Line::Whole(line) => match understood(&line) {
                    Ok(Some(message)) => return Some(message),
                    Ok(None) => continue,
                    Err(refused) => refused,
                },
                Line::TooLong => Refused { error: ErrorData::invalid_request(TOO_LONG, None), id: None },
            };
            self.answering = Some(tokio::spawn(self.send(Sent::error(refused.error, refused.id))));
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        drop(self.writer.lock().await.take());
        Ok(())
    }
}

/// Why a line is no message, and whose it is where that can be told.
#[derive(Debug)]
struct Refused {
    error: ErrorData,
    id: Option<RequestId>,
}

/// The message in a line: None where there is nothing to answer, an empty line or a notification that nobody knows.
fn understood(line: &[u8]) -> Result<Option<Received>, Refused> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Err(Refused {
            error: ErrorData::parse_error(format!("the line is no JSON: {error}"), None),
            id: None,
        });
    };
    if value.get("id").is_none() && value.get("method").is_some_and(Value::is_string) {
        return Ok(None);
    }
    let id = value.get("id").and_then(|id| RequestId::deserialize(id).ok());
    Err(Refused { error: ErrorData::invalid_request("the line is no message of JSON-RPC 2.0", None), id })
}

enum Line {
    Whole(Bytes),
    /// It is longer than is accepted, and is not kept.
    TooLong,
}

/// Lines, of which one that is too long is no error: a reader that has failed does not go on with what it has in its buffer.
struct BoundedLines(AnyDelimiterCodec);

impl BoundedLines {
    fn new(max_bytes: usize) -> Self {
        Self(AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), b"\n".to_vec(), max_bytes))
    }
}

impl Decoder for BoundedLines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        line(self.0.decode(buffer))
    }

    /// The last line may have no end.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        line(self.0.decode_eof(buffer))
    }
}

fn line(decoded: Result<Option<Bytes>, AnyDelimiterCodecError>) -> io::Result<Option<Line>> {
    match decoded {
        Ok(line) => Ok(line.map(Line::Whole)),
        Err(AnyDelimiterCodecError::MaxChunkLengthExceeded) => Ok(Some(Line::TooLong)),
        Err(AnyDelimiterCodecError::Io(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(line: &str) -> Option<Value> {
        let refused = understood(line.as_bytes()).err()?;
        Some(serde_json::to_value(Sent::error(refused.error, refused.id)).unwrap())
    }

    #[test]
    fn what_is_no_message_is_answered() {
        for line in ["{", "nonsense", "{}{}", "\u{0}"] {
            let answer = answer(line).unwrap();
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32700), &Value::Null), "{answer}");
        }
        for line in ["1", "null", "[]", "{}", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#] {
            let answer = answer(line).unwrap();
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &Value::Null), "{answer}");
        }
        let answer = answer(r#"{"jsonrpc":"1.0","id":7,"method":"tools/list"}"#).unwrap();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &json!(7)));
    }

    #[test]
    fn what_needs_no_answer_gets_none() {
        for line in ["", " \r", r#"{"jsonrpc":"3.0","method":"notifications/whatever"}"#] {
            assert!(matches!(understood(line.as_bytes()), Ok(None)), "{line}");
        }
        let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert!(matches!(understood(ping), Ok(Some(_))));
    }

    #[test]
    fn a_line_that_is_too_long_does_not_take_the_next_with_it() {
        let mut lines = BoundedLines::new(4);
        let mut buffer = BytesMut::from("1234\n12345678\n12\n");
        let mut next = || lines.decode(&mut buffer).unwrap();
        assert!(matches!(next(), Some(Line::Whole(line)) if line == "1234"));
        assert!(matches!(next(), Some(Line::TooLong)));
        assert!(matches!(next(), Some(Line::Whole(line)) if line == "12"));
        assert!(next().is_none());
        let mut last = BytesMut::from("end");
        assert!(matches!(lines.decode_eof(&mut last), Ok(Some(Line::Whole(line))) if line == "end"));
    }
}
