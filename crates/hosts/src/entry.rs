//! What a host has registered under pyro's name.

use std::path::PathBuf;

/// An entry, as a host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Program and arguments; none where it is not a server that is started by a command.
    pub words: Option<Vec<String>>,
    /// Whether the words are known one by one. Otherwise they were printed with spaces between them.
    pub is_precise: bool,
    /// Whether the host uses it.
    pub is_enabled: bool,
    /// Whether the host reached the server just now, where it tells.
    pub connects: Option<bool>,
    /// What the host says of it, where that is something a person should know.
    pub remark: Option<String>,
    /// Where it is.
    pub place: Place,
}

/// The file with the entry that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One of the user's.
    User(PathBuf),
    /// One of the project's, which others may share: it is not changed.
    Project(PathBuf),
}

impl Place {
    /// The file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::User(path) | Self::Project(path) => path,
        }
    }
}

impl Entry {
    /// Whether it is this command, and in use.
    pub fn is(&self, words: &[String]) -> bool {
        let same = |own: &Vec<String>| {
            if self.is_precise { own == words } else { own.join(" ") == words.join(" ") }
        };
        self.is_enabled && self.words.as_ref().is_some_and(same)
    }
}

/// What changing a configuration left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The configuration as it was.
    pub backup: Option<PathBuf>,
}
