//! Secrets: given to a guest once, named by calls.

use super::Guest;
use crate::VmmError;
use pyro_protocol::v1::{self, request};
use std::time::Duration;

/// They are written to files in memory.
const DEADLINE: Duration = Duration::from_secs(30);

/// A variable whose value is a secret of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVariable {
    /// Name of the secret.
    pub secret: String,
    /// Name of the variable.
    pub variable: Vec<u8>,
}

pub(super) fn variables(variables: Vec<SecretVariable>) -> Vec<v1::SecretEnv> {
    let variable = |SecretVariable { secret, variable }| v1::SecretEnv { secret, variable: variable.into() };
    variables.into_iter().map(variable).collect()
}

impl Guest {
    /// Gives the guest its secrets, by name, before anything of the user's runs: up to 64 of 64 KiB, 192 KiB together. Legal once,
    /// after [`Self::configure`]. From then on the agent keeps the values out of what commands, shells and services print.
    pub async fn put_secrets(&self, secrets: &[(&str, &[u8])]) -> Result<(), VmmError> {
        let secret = |(name, value): &(&str, &[u8])| v1::Secret {
            name: (*name).to_owned(),
            value: value.to_vec().into(),
        };
        let put = v1::PutSecrets { secrets: secrets.iter().map(secret).collect() };
        self.ask_done("put_secrets", DEADLINE, request::Call::PutSecrets(put)).await
    }
}
