//! Ports of services that are published on the host's loopback.
//!
//! The supervisor listens, and knows what is published; the store has what was, for whoever only glances.

use super::ServiceInfo;
use crate::store::Record;
use crate::workspace::access::Session;
use crate::workspace::supervisor::{self, PublishAnswer, Publishing};
use crate::workspace::{WorkspaceError, WorkspaceId};
use crate::{Pyro, PyroError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::str::FromStr;

/// Most ports of one service.
const MAX_PORTS: usize = 16;

/// A port of a service that is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishPort {
    /// Where on the host; `None` for one that is free.
    pub host_port: Option<u16>,
    /// Where in the guest.
    pub guest_port: u16,
}

/// A port of a service that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishedPort {
    /// Address on the host: `127.0.0.1`.
    pub host: String,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
    /// `tcp`.
    pub protocol: String,
}

impl PublishedPort {
    pub(crate) fn new(host_port: u16, guest_port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), host_port, guest_port, protocol: "tcp".to_owned() }
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{} -> {}", self.host, self.host_port, self.guest_port)
    }
}

impl FromStr for PublishPort {
    type Err = PyroError;

    /// `GUEST` or `HOST:GUEST`.
    fn from_str(text: &str) -> Result<Self, PyroError> {
        let malformed = || WorkspaceError::MalformedPublish { given: super::shortened(text) };
        let port = |text: &str| -> Result<u16, WorkspaceError> {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let port = text.parse().ok().filter(|port| *port > 0 && is_number);
            port.ok_or_else(malformed)
        };
        let (host_port, guest_port) = match text.split_once(':') {
            Some((host, guest)) => (Some(port(host)?), port(guest)?),
            None => (None, port(text)?),
        };
        Ok(Self { host_port, guest_port })
    }
}

/// Fails where a port is asked for twice, or is none, or there are too many.
pub(super) fn check(ports: &[PublishPort]) -> Result<(), WorkspaceError> {
    if ports.len() > MAX_PORTS {
        return Err(WorkspaceError::TooManyPorts { max: MAX_PORTS });
    }
    for (index, port) in ports.iter().enumerate() {
        if port.guest_port == 0 || port.host_port == Some(0) {
            return Err(WorkspaceError::MalformedPublish { given: "0".to_owned() });
        }
        let is_same = |other: &PublishPort| {
            other == port || other.host_port.is_some() && other.host_port == port.host_port
        };
        if ports[..index].iter().any(is_same) {
            return Err(WorkspaceError::PublishedTwice { port: port.host_port.unwrap_or(port.guest_port) });
        }
    }
    Ok(())
}

/// Fails where services cannot be published.
pub(super) fn require_publishing(record: &Record) -> Result<(), PyroError> {
    record.require_guest("publishing a port")?;
    let policy = record.origin.network_policy;
    if policy.allows_publishing() {
        return Ok(());
    }
    Err(WorkspaceError::PublishingNotAllowed { id: record.id.clone(), policy: policy.as_str() }.into())
}

impl Pyro {
    /// Binds the ports of a service that is about to be started.
    pub(super) async fn bind_ports(
        &self,
        session: &Session,
        name: &str,
        ports: &[PublishPort],
    ) -> Result<Option<Publishing>, PyroError> {
        if ports.is_empty() {
            return Ok(None);
        }
        require_publishing(&session.record)?;
        let id = session.record.id.clone();
        let asked = supervisor::publish(&self.workspace_directory(&id), name, ports).await;
        let bound = asked.map_err(|source| WorkspaceError::Supervisor { action: "talked to", source })?;
        Ok(Some(bound.map_err(|refusal| refused(id, name, refusal))?))
    }

    /// Notes in what was asked of a guest what is published of it now.
    pub(super) async fn note_published(&self, record: &Record, services: &mut [ServiceInfo]) {
        // Where nothing can be published, nobody is to be asked.
        let is_up = services.iter().any(ServiceInfo::is_up);
        if !is_up || !record.is_guest() || !record.origin.network_policy.allows_publishing() {
            return;
        }
        // One that does not answer has published what it had before.
        let directory = self.workspace_directory(&record.id);
        let Some(published) = supervisor::published(&directory).await else { return };
        for service in services.iter_mut().filter(|service| service.is_up()) {
            let of_it = published.iter().find(|publication| publication.service == service.service_name);
            service.published_ports = of_it.map(|publication| publication.ports.clone()).unwrap_or_default();
        }
    }

    /// Waits until nothing of a service that has ended is published any more.
    pub(super) async fn unpublish(&self, record: &Record, name: &str) {
        if record.is_guest() && record.origin.network_policy.allows_publishing() {
            supervisor::unpublished(&self.workspace_directory(&record.id), name).await;
        }
    }
}

fn refused(id: WorkspaceId, name: &str, refusal: PublishAnswer) -> WorkspaceError {
    let failed = |message: String| WorkspaceError::Supervisor {
        action: "made to listen",
        source: io::Error::other(message),
    };
    match refusal {
        PublishAnswer::NotAllowed => {
            WorkspaceError::PublishingNotAllowed { id, policy: "as its supervisor knows it" }
        }
        PublishAnswer::ServiceExists => WorkspaceError::ServiceExists { id, name: name.to_owned() },
        PublishAnswer::TooMany { max } => WorkspaceError::TooMany { id, what: "published ports", max },
        PublishAnswer::PortInUse { port } => WorkspaceError::PortInUse { port },
        PublishAnswer::PortForbidden { port } => WorkspaceError::PortForbidden { port },
        PublishAnswer::Failed { message } => failed(message),
        PublishAnswer::Bound { .. } => failed("it answered something else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        let cases = [
            ("80", Some((None, 80))),
            ("8080:80", Some((Some(8080), 80))),
            ("65535:1", Some((Some(65535), 1))),
            ("0", None),
            ("0:80", None),
            ("80:0", None),
            ("65536", None),
            ("+80", None),
            ("80:", None),
            (":80", None),
            ("127.0.0.1:80:80", None),
            ("80/tcp", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(host_port, guest_port)| PublishPort { host_port, guest_port });
            assert_eq!(text.parse::<PublishPort>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn no_port_is_asked_for_twice() {
        let sound = |texts: &[&str]| {
            let ports: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
            check(&ports).is_ok()
        };
        assert!(sound(&["80", "8080:80", "8081:80", "81"]));
        assert!(!sound(&["80", "80"]));
        assert!(!sound(&["8080:80", "8080:81"]));
        assert!(!sound(&["80"; 17]));
        assert!(check(&[PublishPort { host_port: Some(0), guest_port: 80 }]).is_err());
    }

    #[test]
    fn published_ports_are_told_as_agreed() {
        let told = serde_json::to_value(PublishedPort::new(40_000, 80)).unwrap();
        let expected = serde_json::json!({
            "host": "127.0.0.1", "host_port": 40_000, "guest_port": 80, "protocol": "tcp"
        });
        assert_eq!(told, expected);
    }
}
