//! Firecracker's API: HTTP/1.1 on a Unix socket, one request at a time on one connection.

use super::requests::Request;
use crate::VmmError;
use crate::process::KeptProcess;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long the socket may take to appear: the program only has to start.
const APPEARANCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(1);
/// For a request that does not move memory.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

pub(super) struct Api {
    sender: SendRequest<Full<Bytes>>,
}

/// What a refusal carries. Whatever else a version adds to it is of no interest.
#[derive(Debug, Deserialize)]
struct Refusal {
    fault_message: String,
}

impl Api {
    /// Connects, as soon as `process` listens. Fails when it ends before.
    pub(super) async fn open(socket: &Path, process: &KeptProcess) -> Result<Self, VmmError> {
        const STEP: &str = "connect to Firecracker's API";
        let connecting = async {
            loop {
                match crate::socket::connect(socket).await {
                    Err(error) if is_not_there(&error) => tokio::time::sleep(POLL).await,
                    connected => return connected.map_err(|error| VmmError::host(STEP, error)),
                }
            }
        };
        let stream = tokio::select! {
            connected = tokio::time::timeout(APPEARANCE, connecting) => {
                connected.unwrap_or(Err(VmmError::CallTimeout { call: STEP, waited: APPEARANCE }))?
            }
            exit = process.wait() => {
                return Err(VmmError::DiedEarly { status: exit.status, console: process.output() });
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| VmmError::host(STEP, io::Error::other(error)))?;
        // It ends by itself when Firecracker does, or when the sender is gone.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Fails with [`VmmError::Api`] in Firecracker's own words when it refuses.
    pub(super) async fn call(&mut self, request: Request, deadline: Duration) -> Result<(), VmmError> {
        let what = format!("{} {}", request.method, request.path);
        let failed = |message: String| VmmError::Api { request: what.clone(), message };
        match tokio::time::timeout(deadline, self.exchange(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(failed(message)),
            Err(_) => Err(failed(format!("it did not answer within {} s", deadline.as_secs()))),
        }
    }

    async fn exchange(&mut self, Request { method, path, body }: Request) -> Result<(), String> {
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        let request = hyper::Request::builder().method(method).uri(path);
        let request = request.header(HOST, "localhost").header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if status.is_success() { Ok(()) } else { Err(refusal(status.as_u16(), &body)) }
    }
}

fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn refusal(status: u16, body: &[u8]) -> String {
    let said = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.fault_message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let said: String = said.chars().filter(|character| !character.is_control()).take(1000).collect();
    if said.is_empty() { format!("status {status}") } else { said }
}

#[cfg(test)]
mod tests {
    use super::super::requests::Body;
    use super::*;
    use std::process::Command;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let cases: [(&[u8], &str); 4] = [
            (br#"{"fault_message":"Invalid path"}"#, "Invalid path"),
            (br#"{"fault_message":"two\nlines","code":7}"#, "twolines"),
            (b"plain", "plain"),
            (b"", "status 400"),
        ];
        for (body, expected) in cases {
            assert_eq!(refusal(400, body), expected);
        }
    }

    async fn process(script: &str) -> KeptProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        pyro_runtime::child::attach(&mut command);
        KeptProcess::start(command, None, Vec::new()).await.unwrap()
    }

    /// Answers one request after the other; returns what was asked.
    async fn serve(listener: UnixListener, answers: &[&str]) -> Vec<String> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            asked.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    fn action() -> Request {
        Request::put("/actions", Body::Action { action_type: "InstanceStart" })
    }

    #[tokio::test]
    async fn requests_go_over_one_connection_and_refusals_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let process = process("exec sleep 60").await;
        let refused =
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 31\r\n\r\n{\"fault_message\":\"no such CPU\"}";
        let answers = ["HTTP/1.1 204 No Content\r\n\r\n", refused];
        let asking = async {
            let mut api = Api::open(&socket, &process).await.unwrap();
            api.call(action(), DEADLINE).await.unwrap();
            api.call(action(), DEADLINE).await.unwrap_err()
        };
        let (asked, error) = tokio::join!(serve(listener, &answers), asking);
        assert_eq!(error.to_string(), "Firecracker refused PUT /actions: no such CPU");
        assert!(asked[0].starts_with("PUT /actions HTTP/1.1\r\n"), "{}", asked[0]);
        assert!(asked[0].ends_with("\r\n\r\n{\"action_type\":\"InstanceStart\"}"), "{}", asked[0]);
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_listens_is_told_with_its_words() {
        let directory = tempfile::tempdir().unwrap();
        let process = process("echo no such device; exit 3").await;
        let error = Api::open(&directory.path().join("api.sock"), &process).await.err().unwrap();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert_eq!(error.console(), Some("no such device\n"));
    }

    #[tokio::test]
    async fn one_that_says_nothing_any_more_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let process = process("exec sleep 60").await;
        let asking = async {
            let mut api = Api::open(&socket, &process).await.unwrap();
            api.call(action(), Duration::from_millis(50)).await.unwrap_err()
        };
        let (kept, error) = tokio::join!(listener.accept(), asking);
        assert!(kept.is_ok() && error.to_string().contains("did not answer"), "{error}");
    }
}
