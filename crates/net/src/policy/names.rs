//! Names of hosts and patterns of them, in one normal form: lower case, without the final dot.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A text that is no name of a host, or no pattern of such names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no host name{}", if *pattern { ", nor `*.` and a host name" } else { "" })]
pub struct NameError {
    /// What was written.
    pub text: String,
    /// Whether a pattern was asked for.
    pub pattern: bool,
}

/// The name of a host in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

impl HostName {
    /// What stands in the place of a name that is not to be told.
    pub fn redacted() -> Self {
        Self("redacted".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name means the host itself, or is an address in one of the forms that resolvers take for one
    /// (`127.1`, `0x7f000001`, `2130706433`). Neither has a place in DNS, and a proxy would look at its own host.
    pub fn is_local(&self) -> bool {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        let hexadecimal =
            last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        last == "localhost" || hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        normal(text)
            .map(|name| Self(name.into()))
            .ok_or_else(|| NameError { text: text.to_owned(), pattern: false })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// Underscores are taken: names of services have them.
fn normal(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (text.len() <= MAX_NAME && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

/// `example.org`: that name; `*.example.org`: every name below it, and not the name itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    name: HostName,
    below: bool,
}

impl NamePattern {
    /// Whether `name` is one of these names.
    pub fn matches(&self, name: &HostName) -> bool {
        if !self.below {
            return self.name == *name;
        }
        name.as_str()
            .strip_suffix(self.name.as_str())
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let refused = || NameError { text: text.to_owned(), pattern: true };
        let name: HostName = name.parse().map_err(|_| refused())?;
        // Addresses, and the host itself, have no place in DNS, so that it would match nothing.
        if name.is_local() { Err(refused()) } else { Ok(Self { name, below }) }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl TryFrom<String> for NamePattern {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_subdomains() {
        let cases = [
            ("example.org", "example.org", true),
            ("Example.ORG.", "eXample.org", true),
            ("example.org", "www.example.org", false),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "a.b.example.org.", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "badexample.org", false),
            ("example.org", "example.org.evil.test", false),
        ];
        for (pattern, name, matches) in cases {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&name.parse().unwrap()), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for bad in ["", ".", "a..b", "*", "*.", "a b", "a/b", "*.*.a", "ex*mple.org", "ä.org", long.as_str()]
        {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
        assert!("x".repeat(254).parse::<HostName>().is_err());
        assert!("_sip._tcp.example.org".parse::<HostName>().is_ok());
    }

    #[test]
    fn names_of_the_host_itself_are_known() {
        for local in ["localhost", "a.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "a.0x1"] {
            assert!(local.parse::<HostName>().unwrap().is_local(), "{local}");
        }
        for name in ["localhost.example.org", "1.example", "0xg", "x86"] {
            assert!(!name.parse::<HostName>().unwrap().is_local(), "{name}");
        }
    }
}
