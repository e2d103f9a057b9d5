//! What a supervisor and its clients say to each other: one JSON document a line.

use crate::EngineChoice;
use crate::store::Started;
use crate::template::TemplatePolicy;
use crate::workspace::{PublishPort, PublishedPort, WorkspaceId};
use pyro_runtime::{Dirs, FirecrackerSource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest line. A console that is reported is far shorter.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What a supervisor is started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) dirs: Dirs,
    pub(crate) templates: TemplatePolicy,
    pub(crate) engine: EngineChoice,
    pub(crate) firecracker: FirecrackerSource,
    pub(crate) workspace_id: WorkspaceId,
}

/// What a supervisor reports to whoever started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The guest is up.
    Ready(Started),
    /// It is not, and the supervisor ends.
    Failed { code: String, message: String, hint: Option<String>, log: Option<String> },
}

/// What a supervisor can be told, at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Control {
    /// Ask the guest whether it is there.
    Ping,
    /// Record what the guest's network did so far, and tell what went through it.
    Network,
    /// End the guest in an orderly way; what it wrote is on its disk.
    Stop,
    /// End at once, with the guest.
    End,
    /// Listen for a service that is about to be started. It has a conversation of its own.
    Publish { service: String, ports: Vec<PublishPort> },
    /// Say what is published.
    Published,
    /// Answer when nothing of a service that has ended is published any more.
    Unpublished { service: String },
}

/// Whether the ports of a service could be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PublishAnswer {
    /// They are, for as long as the connection is open, or, once confirmed, the service lives.
    Bound { ports: Vec<PublishedPort> },
    /// Services of this workspace cannot be published.
    NotAllowed,
    /// One of that name is published, and has not ended.
    ServiceExists,
    /// There would be more than that.
    TooMany { max: usize },
    /// Somebody else listens at this port.
    PortInUse { port: u16 },
    /// This user may not listen at this port.
    PortForbidden { port: u16 },
    /// The host said no in another way.
    Failed { message: String },
}

/// The service was started, as this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirm {
    pub(crate) pid: u32,
}

/// What comes of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    /// The service lives, and connections are accepted until it does not.
    pub(crate) published: bool,
}

/// What is published of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publication {
    pub(crate) service: String,
    /// Which of that name: the id of its process in the guest.
    pub(crate) pid: u32,
    pub(crate) ports: Vec<PublishedPort>,
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ControlAnswer {
    /// The guest answered (ping), or ended by itself (stop).
    pub(crate) orderly: bool,
}

/// Writes one line.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    message: &(impl Serialize + Sync),
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// Reads one line.
pub(super) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<T> {
    let mut line = String::new();
    from.take(MAX_LINE_BYTES).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
