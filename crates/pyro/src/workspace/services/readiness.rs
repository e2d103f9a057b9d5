//! What makes a service ready, as users write it.

use crate::workspace::WorkspaceError;
use pyro_vmm::guest::Readiness;

/// What makes a service ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceReadiness {
    /// Something is at this path: absolute, or relative to the service's directory.
    File(String),
    /// A connection to `HOST:PORT`, or a port of the guest's own, is accepted.
    Tcp(String),
    /// A GET of this `http://` address is answered with a status of 200 to 399.
    Http(String),
    /// This line of shell ends with status 0.
    Command(String),
}

/// As text, for people.
pub(super) fn described(readiness: &ServiceReadiness) -> String {
    match readiness {
        ServiceReadiness::File(path) => format!("file {path}"),
        ServiceReadiness::Tcp(endpoint) => format!("tcp {endpoint}"),
        ServiceReadiness::Http(url) => format!("http {url}"),
        ServiceReadiness::Command(line) => format!("command {line}"),
    }
}

/// What the guest is asked to look at.
pub(super) fn parsed(readiness: &ServiceReadiness) -> Result<Readiness, WorkspaceError> {
    let refused = |given: &str, expected| WorkspaceError::MalformedReadiness {
        given: super::shortened(given),
        expected,
    };
    Ok(match readiness {
        ServiceReadiness::File(path) => Readiness::File(path.clone().into_bytes()),
        ServiceReadiness::Tcp(given) => {
            let (host, port) = endpoint(given, None).ok_or_else(|| refused(given, "PORT or HOST:PORT"))?;
            Readiness::Tcp(host, port)
        }
        ServiceReadiness::Http(given) => {
            let rest = given.strip_prefix("http://");
            let (authority, path) =
                rest.map_or(("", ""), |rest| rest.split_at(rest.find('/').unwrap_or(rest.len())));
            let (host, port) =
                endpoint(authority, Some(80)).ok_or_else(|| refused(given, "http://HOST[:PORT][/PATH]"))?;
            Readiness::Http(host, port, if path.is_empty() { "/".to_owned() } else { path.to_owned() })
        }
        ServiceReadiness::Command(line) => {
            Readiness::Command(["/bin/sh", "-c", line].map(|word| word.as_bytes().to_vec()).to_vec())
        }
    })
}

/// Host and port of `PORT`, `HOST:PORT`, `[V6]:PORT`, and of a host alone where there is a `default`.
fn endpoint(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    if default.is_none()
        && let Ok(port) = text.parse()
    {
        return (port > 0).then(|| ("127.0.0.1".to_owned(), port));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => default?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let cases = [
            ("80", None, Some(("127.0.0.1", 80))),
            ("0", None, None),
            ("localhost:8000", None, Some(("localhost", 8000))),
            ("[::1]:80", None, Some(("::1", 80))),
            ("[::1]", None, None),
            ("host", None, None),
            ("host", Some(80), Some(("host", 80))),
            ("host:99999", None, None),
            (":80", None, None),
            ("", Some(80), None),
        ];
        for (text, default, expected) in cases {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(endpoint(text, default), expected, "{text}");
        }
        let http = |given: &str| parsed(&ServiceReadiness::Http(given.to_owned())).ok();
        let expected = Readiness::Http("localhost".to_owned(), 80, "/".to_owned());
        assert_eq!(http("http://localhost"), Some(expected));
        let expected = Readiness::Http("::1".to_owned(), 8080, "/a?b".to_owned());
        assert_eq!(http("http://[::1]:8080/a?b"), Some(expected));
        assert_eq!(http("https://localhost"), None);
    }
}
