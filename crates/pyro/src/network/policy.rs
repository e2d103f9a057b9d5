//! What a guest's network is, as its user asks for it.

use crate::PyroError;
use pyro_net::{NamePattern, Policy};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a guest can reach, and what can reach it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum NetworkPolicy {
    /// Nothing: it has no interface but its own loopback.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// It connects to the world; the host's own networks are refused.
    #[serde(rename = "egress")]
    Egress,
    /// That, and its services may be published on the host's loopback.
    #[serde(rename = "egress+published-ports")]
    EgressAndPublishedPorts,
}

impl NetworkPolicy {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Off, Self::Egress, Self::EgressAndPublishedPorts];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Egress => "egress",
            Self::EgressAndPublishedPorts => "egress+published-ports",
        }
    }

    /// The guest has a way out.
    pub fn allows_egress(self) -> bool {
        self != Self::Off
    }

    /// Services may be published.
    pub fn allows_publishing(self) -> bool {
        self == Self::EgressAndPublishedPorts
    }
}

impl FromStr for NetworkPolicy {
    type Err = PyroError;

    fn from_str(text: &str) -> Result<Self, PyroError> {
        let named = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        named.ok_or_else(|| PyroError::UnknownNetworkPolicy { given: text.chars().take(80).collect() })
    }
}

impl fmt::Display for NetworkPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A policy with what narrows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRules {
    /// The policy.
    pub policy: NetworkPolicy,
    /// The only names that may be reached; none of them means every name.
    pub allow_hosts: Vec<NamePattern>,
}

impl NetworkRules {
    /// Fails when it names hosts that could not be reached anyway.
    pub(crate) fn check(&self) -> Result<(), PyroError> {
        if !self.allow_hosts.is_empty() && !self.policy.allows_egress() {
            return Err(PyroError::AllowHostWithoutNetwork);
        }
        Ok(())
    }

    /// What that means for the guest's packets.
    pub(super) fn net_policy(&self) -> Policy {
        if self.allow_hosts.is_empty() { Policy::open() } else { Policy::only(self.allow_hosts.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_serialise_to() {
        for policy in NetworkPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
            assert_eq!(policy.as_str().parse::<NetworkPolicy>().unwrap(), policy);
        }
        "on".parse::<NetworkPolicy>().unwrap_err();
    }

    #[test]
    fn names_are_allowed_only_where_there_is_a_network() {
        let allow_hosts = vec!["example.org".parse().unwrap()];
        let off = NetworkRules { policy: NetworkPolicy::Off, allow_hosts: allow_hosts.clone() };
        off.check().unwrap_err();
        let egress = NetworkRules { policy: NetworkPolicy::Egress, allow_hosts };
        egress.check().unwrap();
        assert!(egress.net_policy().limits_names());
    }
}
