//! The HTTP client: deadlines on everything, the host's certificates, `http_proxy` honoured, names looked up once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// A client that gives `connect` to finding and reaching a server, and `stall` to any wait for bytes after that. Answers
/// of any status are answers, not errors. What a request may take in all is for the request to say.
pub fn agent(connect: Duration, stall: Duration) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("pyro/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .timeout_per_write(Some(stall))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), CachingResolver::default())
}

/// Looks each name up once.
///
/// ureq resolves the name for every request, also when a connection is open already: a bundle would take some 60
/// look-ups, each of which costs five seconds when one datagram is lost.
#[derive(Debug, Default)]
struct CachingResolver {
    system: DefaultResolver,
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

impl CachingResolver {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
            .ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        if let Some(known) = self.known().get(&key) {
            let mut addresses = self.system.empty();
            for address in known {
                addresses.push(*address);
            }
            return Ok(addresses);
        }
        let addresses = self.system.resolve(uri, config, timeout)?;
        self.known().insert(key, addresses.to_vec());
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once() {
        let resolver = CachingResolver::default();
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        resolver.known().insert("mirror.example:80".to_owned(), vec![address]);
        let resolve = |uri: &str| {
            resolver
                .resolve(&uri.parse().unwrap(), &Config::default(), NextTimeout::default())
                .map(|all| all.to_vec())
        };
        assert_eq!(resolve("http://mirror.example/debian").unwrap(), [address]);
        assert_eq!(resolve("http://127.0.0.1:7/x").unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        assert!(resolver.known().contains_key("127.0.0.1:7"));
        assert!(matches!(resolve("/relative"), Err(ureq::Error::BadUri(_))));
    }
}
