//! Whether a service is ready: one look at a time, each with a deadline.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use pyro_protocol::limits::MAX_PATH_BYTES;
use pyro_protocol::v1::{Endpoint, Exec, HttpEndpoint, Readiness, StartService, readiness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::connect::connect;
use crate::exec::{Plan, spawn};
use crate::fail::Fail;

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// Looks that cost next to nothing are repeated at least so often.
const CHEAP_INTERVAL: Duration = Duration::from_millis(50);
/// What has not ended by then has not ended at once.
const SETTLING: Duration = Duration::from_millis(200);
/// As much of an answer as holds its status.
const STATUS_LINE_BYTES: u64 = 64;

/// What makes a service ready, checked.
#[derive(Debug)]
pub enum Probe {
    /// That it has not ended at once.
    None,
    File(PathBuf),
    Tcp(String, u16),
    Http(String, u16, String),
    Command(Plan),
}

impl Probe {
    /// Fails when what the request says of readiness is malformed. `plan` is the service's.
    pub fn new(agent: &Agent, request: &StartService, plan: &Plan) -> Result<Self, Fail> {
        let Some(Readiness { probe }) = &request.readiness else { return Ok(Self::None) };
        match probe {
            None => Err(Fail::invalid("a probe of an unknown kind")),
            Some(readiness::Probe::File(path)) => {
                if path.is_empty() || path.len() >= MAX_PATH_BYTES || path.contains(&0) {
                    return Err(Fail::invalid("the path of the file that says ready is malformed"));
                }
                Ok(Self::File(plan.cwd.join(Path::new(std::ffi::OsStr::from_bytes(path)))))
            }
            Some(readiness::Probe::Tcp(endpoint)) => {
                let (host, port) = checked(Some(endpoint))?;
                Ok(Self::Tcp(host, port))
            }
            Some(readiness::Probe::Http(HttpEndpoint { endpoint, path })) => {
                let (host, port) = checked(endpoint.as_ref())?;
                let is_sound = |character: char| character.is_ascii_graphic();
                if !path.starts_with('/') || path.len() >= MAX_PATH_BYTES || !path.chars().all(is_sound) {
                    return Err(Fail::invalid("the path to be asked for is malformed"));
                }
                Ok(Self::Http(host, port, path.clone()))
            }
            Some(readiness::Probe::Command(command)) => {
                let service = exec_of(request);
                let command = Exec { argv: command.argv.clone(), ..service };
                Ok(Self::Command(Plan::new(agent, &command)?))
            }
        }
    }

    /// How often to look, where at most every `asked`.
    pub fn interval(&self, asked: Duration) -> Duration {
        match self {
            Self::File(_) | Self::Tcp(..) => asked.min(CHEAP_INTERVAL),
            _ => asked,
        }
    }

    /// Looks once.
    pub async fn look(&self, agent: &Rc<Agent>) -> bool {
        let look = async {
            match self {
                Self::None => {
                    sleep(SETTLING).await;
                    true
                }
                Self::File(path) => path.symlink_metadata().is_ok(),
                Self::Tcp(host, port) => connect((host.as_str(), *port)).await.is_ok(),
                Self::Http(host, port, path) => answers(host, *port, path).await.unwrap_or(false),
                Self::Command(plan) => succeeds(agent, plan).await,
            }
        };
        timeout(LOOK, look).await.unwrap_or(false)
    }
}

/// The command that a service is.
pub fn exec_of(request: &StartService) -> Exec {
    let StartService { argv, cwd, env, secrets, .. } = request.clone();
    Exec { argv, cwd, env, secrets, ..Exec::default() }
}

fn checked(endpoint: Option<&Endpoint>) -> Result<(String, u16), Fail> {
    let malformed = || Fail::invalid("an endpoint has a host and a port from 1 to 65535");
    let endpoint = endpoint.ok_or_else(malformed)?;
    let port = u16::try_from(endpoint.port).ok().filter(|port| *port > 0).ok_or_else(malformed)?;
    let is_sound = |character: char| character.is_ascii_graphic() && character != '/';
    if endpoint.host.is_empty() || endpoint.host.len() > 253 || !endpoint.host.chars().all(is_sound) {
        return Err(malformed());
    }
    Ok((endpoint.host.clone(), port))
}

async fn answers(host: &str, port: u16, path: &str) -> std::io::Result<bool> {
    let mut connection = connect((host, port)).await?;
    let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut beginning = connection.take(STATUS_LINE_BYTES);
    while !answer.contains(&b'\n') && beginning.read_buf(&mut answer).await? > 0 {}
    Ok(status(&answer).is_some_and(|status| (200..400).contains(&status)))
}

/// The status in the first line of an answer, as in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r' || *byte == b'\n').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

async fn succeeds(agent: &Rc<Agent>, plan: &Plan) -> bool {
    // The outputs are closed with it.
    let Ok(mut running) = spawn(agent, plan) else { return false };
    (&mut running.exit).await.is_ok_and(|status| status.exit_status() == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_second_word() {
        let cases: [(&[u8], Option<u16>); 6] = [
            (b"HTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.0 404\r\n", Some(404)),
            (b"HTTP/1.1 204 No Content", Some(204)),
            (b"SSH-2.0-OpenSSH\r\n", None),
            (b"HTTP/1.1\r\n", None),
            (b"", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(status(answer), expected);
        }
    }
}
