//! Proves that guests reach the network: one connects to the mirror that packages come from, by its name.

use super::{NetworkPolicy, NetworkRules};
use crate::vm::{Prepared, Shape, Throwaway};
use crate::{Pyro, PyroError};

/// Connects as the shell does it, so that nothing has to be installed for it.
const CONNECT: &str = r#"exec 3<>"/dev/tcp/$0/$1" && echo connected"#;

impl Pyro {
    /// Fails when no guest can be connected, or the connected one does not reach the mirror.
    pub(crate) async fn prove_network(&self, shape: Shape, prepared: Prepared) -> Result<(), PyroError> {
        self.progress().phase("prove step=network");
        let (host, port) = self.settings.source.mirror()?.place();
        let rules = NetworkRules { policy: NetworkPolicy::Egress, allow_hosts: Vec::new() };
        let machine = Throwaway::of(self, shape, prepared, rules).await?;
        let script = format!("{{ {CONNECT}; }} 2>&1");
        let answered = machine.exec(&["bash", "-c", &script, &host, &port.to_string()]).await;
        let refused = machine.refused();
        machine.delete().await;
        let (exit_code, printed) = answered?;
        if exit_code == 0 && printed == "connected\n" {
            self.record_network_proof().await;
            return Ok(());
        }
        let why = refused.first().map(|refused| refused.reason.clone());
        let why = why.unwrap_or_else(|| printed.trim().chars().take(200).collect());
        Err(PyroError::NetworkNotProven { host, port, why })
    }
}
