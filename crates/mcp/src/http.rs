//! MCP over streamable HTTP, on the host's loopback alone.
//!
//! Whoever wants in needs the bearer token: other users of the host reach its loopback as well. A browser is kept out by the
//! checks of `Host` and `Origin`, whatever page it shows.

use crate::Server;
use crate::server::MAX_MESSAGE_BYTES;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pyro::{Diagnostic, EnvVars, ErrorKind};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The one path that there is.
const PATH: &str = "/mcp";
/// Most connections at once. A client keeps one open for what the server has to say, and one for each call under way.
const MAX_CONNECTIONS: usize = 256;
/// Shortest token that is taken.
const MIN_TOKEN_BYTES: usize = 16;
/// How long a client may take to send its headers, and how long for the rest of its request.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// A session in which nothing happens for so long is closed. Longer than most commands run.
const SESSION_IDLE: Duration = Duration::from_hours(4);

type Service = StreamableHttpService<Server, LocalSessionManager>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A listener on the loopback, and the token that it asks for.
pub struct HttpListener {
    listener: TcpListener,
    address: SocketAddr,
    token: String,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is taken, or may not be used.
    #[error("cannot listen at port {port} of 127.0.0.1")]
    Port {
        /// The port.
        port: u16,
        /// What the host says.
        #[source]
        source: io::Error,
    },
    /// A token that can be guessed.
    #[error(
        "the token in {} has fewer than {MIN_TOKEN_BYTES} characters, or some that no header can carry",
        EnvVars::PYRO_MCP_TOKEN
    )]
    Token,
    /// The host has no random bytes.
    #[error("cannot make a token")]
    Random(#[source] getrandom::Error),
}

impl Diagnostic for ListenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Port { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::PermissionDenied
            }
            Self::Port { .. } | Self::Random(_) => ErrorKind::Host,
            Self::Token => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Port { .. } => {
                Some("give `--http-port 0` for a free port, or another one above 1023".to_owned())
            }
            Self::Token => Some(format!("unset {} to have a token made and shown", EnvVars::PYRO_MCP_TOKEN)),
            Self::Random(_) => None,
        }
    }
}

impl HttpListener {
    /// Listens at `port`, or at a free one where that is 0. Without a token one is made.
    pub async fn bind(port: u16, token: Option<OsString>) -> Result<Self, ListenError> {
        let token = match token {
            Some(token) => checked(token)?,
            None => random_token().map_err(ListenError::Random)?,
        };
        let failed = |source| ListenError::Port { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, token })
    }

    /// What clients have to show.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where clients find the server.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves any number of clients until it is dropped, and everything that they have under way with it.
    pub async fn serve(self, server: Server) -> Infallible {
        let ended = CancellationToken::new();
        let _ends_sessions = ended.clone().drop_guard();
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(["127.0.0.1", "localhost"])
            .enforce_origin_validation()
            .with_max_request_body_bytes(MAX_MESSAGE_BYTES)
            .with_cancellation_token(ended);
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(SESSION_IDLE);
        let service = Service::new(move || Ok(server.clone()), Arc::new(sessions), config);
        let token: Arc<str> = self.token.into();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // A connection beyond those that are allowed waits in the listener's queue.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { continue };
            let (service, token) = (service.clone(), Arc::clone(&token));
            match self.listener.accept().await {
                Ok((connection, _)) => {
                    connections.spawn(async move {
                        serve_connection(connection, service, token).await;
                        drop(slot);
                    });
                }
                // One client that went away, or no descriptor left: others can still be served.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn serve_connection(connection: TcpStream, service: Service, token: Arc<str>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, token) = (service.clone(), Arc::clone(&token));
        async move { Ok::<Answer, Infallible>(answer(request, &service, &token).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    // How a connection ends is its client's affair.
    let _ended = http.serve_connection(TokioIo::new(connection), answer).await;
}

async fn answer(request: Request<Incoming>, service: &Service, token: &str) -> Answer {
    if !is_authorized(request.headers(), token) {
        let mut refused = plain(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong\n");
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return closing(refused);
    }
    if request.uri().path() != PATH {
        return closing(plain(StatusCode::NOT_FOUND, "MCP is at /mcp\n"));
    }
    let (head, body) = request.into_parts();
    match timeout(BODY_PATIENCE, Limited::new(body, MAX_MESSAGE_BYTES).collect()).await {
        Ok(Ok(body)) => service.handle(Request::from_parts(head, Full::new(body.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            closing(plain(StatusCode::PAYLOAD_TOO_LARGE, "a request has 8 MiB at most\n"))
        }
        Ok(Err(_)) => closing(plain(StatusCode::BAD_REQUEST, "the request broke off\n")),
        Err(_) => closing(plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n")),
    }
}

/// An answer that ends its connection: who is refused does not keep a place.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn checked(token: OsString) -> Result<String, ListenError> {
    let token = token.into_string().map_err(|_| ListenError::Token)?;
    let is_sound = token.len() >= MIN_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sound { Ok(token) } else { Err(ListenError::Token) }
}

fn random_token() -> Result<String, getrandom::Error> {
    let [a, b, c, d] = [getrandom::u64()?, getrandom::u64()?, getrandom::u64()?, getrandom::u64()?];
    Ok(format!("{a:016x}{b:016x}{c:016x}{d:016x}"))
}

fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && same(given.trim(), token))
}

/// Whether two texts are the same, in a time that says nothing about where they differ.
fn same(given: &str, token: &str) -> bool {
    let differing = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && differing == 0
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}
