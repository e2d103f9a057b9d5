//! Secrets: values that the commands of a workspace may have, and that nothing shows.
//!
//! They are read once, when the workspace is created, and kept in one file of its directory ([`kept`]), from which its supervisor
//! gives them to each new guest. Calls name them. The agent keeps them out of what commands, shells and services print; what comes
//! out of a guest in other ways, and what is recorded of calls, is redacted here ([`redaction`]). The record has the names.

mod error;
mod kept;
mod redaction;

pub use error::SecretError;
pub(crate) use kept::SecretValues;
pub(crate) use redaction::Redaction;

use crate::PyroError;
use crate::store::Record;
use pyro_vmm::guest::SecretVariable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Most characters of a secret's name.
pub const MAX_SECRET_NAME_CHARS: usize = 64;
/// Most characters of a variable's name.
const MAX_VARIABLE_CHARS: usize = 256;

/// Name of a secret: letters, digits and `_`, not beginning with a digit, so that it can be a variable's as well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SecretName(String);

impl SecretName {
    /// Fails when the name has other characters, or more than [`MAX_SECRET_NAME_CHARS`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if is_identifier(text, MAX_SECRET_NAME_CHARS) {
            return Ok(Self(text.to_owned()));
        }
        Err(SecretError::MalformedName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_identifier(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A value. It shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// The value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(value: Vec<u8>) -> Self {
        Self(value)
    }
}

impl From<String> for SecretValue {
    fn from(value: String) -> Self {
        Self(value.into_bytes())
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue(..)")
    }
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It is given.
    Literal(SecretValue),
    /// It is what a regular file of the host's holds when the workspace is created.
    File(PathBuf),
}

/// A secret for a new workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// Its name.
    pub name: SecretName,
    /// Its value: 4 bytes to 64 KiB.
    pub source: SecretSource,
}

/// Where the value of a secret came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SecretSourceKind {
    /// It was given.
    Literal,
    /// It was in a file.
    File,
}

/// What is known of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SecretInfo {
    /// Its name.
    pub name: SecretName,
    /// Where its value came from.
    pub source_kind: SecretSourceKind,
}

impl SecretInfo {
    /// Those of a new workspace, by name.
    pub(crate) fn all(secrets: &[NewSecret]) -> Vec<Self> {
        let info = |secret: &NewSecret| {
            let source_kind = match secret.source {
                SecretSource::Literal(_) => SecretSourceKind::Literal,
                SecretSource::File(_) => SecretSourceKind::File,
            };
            Self { name: secret.name.clone(), source_kind }
        };
        let mut all: Vec<_> = secrets.iter().map(info).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// A variable of one command, shell or service whose value is a secret, without one line end at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEnv {
    secret: SecretName,
    variable: String,
}

impl SecretEnv {
    /// The secret as a variable of that name, or of its own. Fails when one of the names is malformed.
    pub fn new(secret: &str, variable: Option<&str>) -> Result<Self, SecretError> {
        let secret = SecretName::parse(secret)?;
        let variable = variable.unwrap_or(secret.as_str());
        if !is_identifier(variable, MAX_VARIABLE_CHARS) {
            return Err(SecretError::MalformedVariable { secret });
        }
        let variable = variable.to_owned();
        Ok(Self { secret, variable })
    }
}

impl Record {
    /// The variables of a call, for its guest. Fails where commands run on the host, when the workspace has no such secret, and when
    /// a variable is there twice.
    pub(crate) fn secret_variables(&self, wanted: &[SecretEnv]) -> Result<Vec<SecretVariable>, PyroError> {
        if !wanted.is_empty() {
            self.require_guest("passing secrets")?;
        }
        let known = &self.origin.secrets;
        for (index, SecretEnv { secret, variable }) in wanted.iter().enumerate() {
            if known.iter().all(|known| known.name != *secret) {
                let existing = known.iter().map(|known| known.name.to_string()).collect();
                return Err(
                    SecretError::Unknown { id: self.id.clone(), name: secret.clone(), existing }.into()
                );
            }
            if wanted[..index].iter().any(|before| before.variable == *variable) {
                return Err(SecretError::DuplicateVariable { variable: variable.clone() }.into());
            }
        }
        let variable = |SecretEnv { secret, variable }: &SecretEnv| SecretVariable {
            secret: secret.to_string(),
            variable: variable.clone().into_bytes(),
        };
        Ok(wanted.iter().map(variable).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_variables() {
        let long = "x".repeat(65);
        for (given, sound) in [
            ("TOKEN", true),
            ("_a1", true),
            ("", false),
            ("1A", false),
            ("A-B", false),
            ("Ä", false),
            (&long, false),
        ] {
            assert_eq!(SecretName::parse(given).is_ok(), sound, "{given}");
        }
        let pair = |secret, variable| {
            SecretEnv::new(secret, variable).map(|env| (env.secret.to_string(), env.variable)).ok()
        };
        assert_eq!(pair("A", None), Some(("A".to_owned(), "A".to_owned())));
        assert_eq!(pair("A", Some("b2")), Some(("A".to_owned(), "b2".to_owned())));
        assert_eq!(pair("A", Some("a b")), None);
        assert_eq!(pair("A", Some("")), None);
    }

    #[test]
    fn values_do_not_show() {
        let source = SecretSource::Literal("hunter2".to_owned().into());
        let secret = NewSecret { name: SecretName::parse("A").unwrap(), source };
        assert_eq!(
            format!("{secret:?}"),
            r#"NewSecret { name: SecretName("A"), source: Literal(SecretValue(..)) }"#
        );
    }
}
