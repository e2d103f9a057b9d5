//! Why a machine has no template to start from.

use crate::PyroError;
use jiff::Timestamp;
use pyro_protocol::error::chain;
use std::fmt;

/// Why there is no template to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// None was made for this shape.
    Missing,
    /// One was made, for something else.
    Stale { made_for: &'static str, at: Timestamp },
    /// Its files are not what was installed.
    Damaged { how: String },
    /// The machine restored from it did not come up.
    Failed { why: String },
    /// It failed, or could not be made.
    Rejected { why: String, at: Timestamp },
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("there is no template for this environment and machine"),
            Self::Stale { made_for, .. } => write!(formatter, "the template was made for {made_for}"),
            Self::Damaged { how } => write!(formatter, "the template is damaged: {how}"),
            Self::Failed { why } => write!(formatter, "the template failed: {why}"),
            Self::Rejected { why, .. } => formatter.write_str(why),
        }
    }
}

impl Unusable {
    /// Of a template from which a machine did not come up, with what the VMM said last.
    pub(crate) fn failed(error: &PyroError) -> Self {
        let last_words = error.log().and_then(|log| log.trim_end().lines().next_back());
        let why =
            [Some(chain(error).as_str()), last_words].into_iter().flatten().collect::<Vec<_>>().join(": ");
        Self::Failed { why }
    }
}
