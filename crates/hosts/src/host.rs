//! The chat hosts that pyro can be registered with.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How alike a mistyped name has to be.
const NEAR: f64 = 0.7;

/// A chat host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
    /// OpenCode.
    OpenCode,
}

/// A name that is no host's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no chat host `{name}`: {advice}")]
pub struct UnknownHost {
    name: String,
    advice: String,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClaudeCode, Self::Codex, Self::OpenCode];

    /// Its name in commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
        }
    }

    /// Its name in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::OpenCode => "OpenCode",
        }
    }

    /// Its program, as it is looked up in `PATH`.
    pub fn program(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
        }
    }

    /// One command that installs it.
    pub fn install_command(self) -> &'static str {
        match self {
            Self::ClaudeCode => "npm install --global @anthropic-ai/claude-code",
            Self::Codex => "npm install --global @openai/codex",
            Self::OpenCode => "npm install --global opencode-ai",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for Host {
    type Err = UnknownHost;

    fn from_str(text: &str) -> Result<Self, UnknownHost> {
        if let Some(host) = Self::ALL.into_iter().find(|host| host.as_str() == text) {
            return Ok(host);
        }
        let score = |host: &Self| {
            let near_program = strsim::jaro_winkler(text, host.program());
            strsim::jaro_winkler(text, host.as_str()).max(near_program)
        };
        let nearest = Self::ALL.into_iter().max_by(|one, other| score(one).total_cmp(&score(other)));
        let advice = match nearest.filter(|host| score(host) > NEAR) {
            Some(host) => format!("did you mean {host}?"),
            None => format!("use one of {}", Self::ALL.map(Self::as_str).join(", ")),
        };
        Err(UnknownHost { name: text.to_owned(), advice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_a_mistyped_one_is_answered_with_the_near_one() {
        for host in Host::ALL {
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        let cases = [
            ("claude", "did you mean claude-code?"),
            ("claud-code", "did you mean claude-code?"),
            ("codx", "did you mean codex?"),
            ("open-code", "did you mean opencode?"),
            ("zzz", "use one of claude-code, codex, opencode"),
            ("", "use one of claude-code, codex, opencode"),
        ];
        for (given, advice) in cases {
            let error = Host::from_str(given).unwrap_err().to_string();
            assert!(error.ends_with(advice), "{given}: {error}");
        }
    }
}
