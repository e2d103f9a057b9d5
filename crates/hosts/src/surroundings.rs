//! Where the programs and files of hosts are, told from the environment once.
//!
//! Variables that are read: `PATH`, `HOME`, `XDG_CONFIG_HOME`, and those by which hosts are told where their files are:
//! `CLAUDE_CONFIG_DIR`, `CODEX_HOME`, `OPENCODE_CONFIG`. One that is empty counts as not set.

use crate::child::{self, Call};
use crate::{Host, HostError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The names of Claude Code's and Codex's configuration files. OpenCode's may have any other.
const CLAUDE_FILE: &str = ".claude.json";
const CODEX_FILE: &str = "config.toml";

/// For how long Claude Code waits for a server that it looks at, in ms: less than we wait for Claude Code.
const SERVER_DEADLINE_MS: &str = "10000";

/// The environment of a call.
#[derive(Debug, Clone)]
pub struct Surroundings {
    directory: PathBuf,
    path: Option<OsString>,
    home: Option<PathBuf>,
    config_home: Option<PathBuf>,
    claude_directory: Option<PathBuf>,
    codex_home: Option<PathBuf>,
    opencode_config: Option<PathBuf>,
    given: Option<(Host, PathBuf)>,
}

impl Surroundings {
    /// Those of this process.
    pub fn from_env() -> Result<Self, HostError> {
        let directory = std::env::current_dir().map_err(|source| HostError::NoDirectory { source })?;
        Ok(Self::new(directory, &|name| std::env::var_os(name)))
    }

    /// Those of a process in `directory`, with these variables.
    pub fn new(directory: PathBuf, lookup: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let given = |name: &str| set(name).map(|value| directory.join(value));
        let absolute = |name: &str| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            path: set("PATH"),
            home: absolute("HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            claude_directory: given("CLAUDE_CONFIG_DIR"),
            codex_home: given("CODEX_HOME"),
            opencode_config: given("OPENCODE_CONFIG"),
            given: None,
            directory,
        }
    }

    /// The same, where a host has its configuration in `path`. Which host that is is told by the file's name: Claude Code's
    /// and Codex's have only one, and any other is OpenCode's.
    #[must_use]
    pub fn with_config_path(mut self, path: &Path) -> Self {
        let path = self.directory.join(path);
        self.given = Some((owner_of(&path), path));
        self
    }

    /// The same for a host that is known; fails when it cannot have its configuration in a file of this name.
    pub fn with_config_path_of(self, host: Host, path: &Path) -> Result<Self, HostError> {
        if owner_of(path) != host {
            return Err(HostError::NotItsFile { host, path: path.to_owned() });
        }
        Ok(self.with_config_path(path))
    }

    /// The directory that hosts are started in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The host's configuration file, where it has no choice, or was given one.
    pub(crate) fn file_of(&self, host: Host) -> Result<Option<PathBuf>, HostError> {
        if let Some((_, path)) = self.given.as_ref().filter(|(owner, _)| *owner == host) {
            return Ok(Some(path.clone()));
        }
        let home = || self.home.clone().ok_or(HostError::NoHome { host });
        Ok(match host {
            Host::ClaudeCode => match &self.claude_directory {
                Some(directory) => Some(directory.join(CLAUDE_FILE)),
                None => Some(home()?.join(CLAUDE_FILE)),
            },
            Host::Codex => match &self.codex_home {
                Some(directory) => Some(directory.join(CODEX_FILE)),
                None => Some(home()?.join(".codex").join(CODEX_FILE)),
            },
            Host::OpenCode => self.opencode_config.clone(),
        })
    }

    /// The directory of OpenCode's own configuration files.
    pub(crate) fn opencode_directory(&self) -> Result<PathBuf, HostError> {
        let home = || self.home.as_ref().map(|home| home.join(".config"));
        let config = self.config_home.clone().or_else(home);
        Ok(config.ok_or(HostError::NoHome { host: Host::OpenCode })?.join("opencode"))
    }

    /// The host's program.
    pub(crate) fn program_of(&self, host: Host) -> Option<PathBuf> {
        child::find(host.program(), self.path.as_deref())
    }

    /// A call of the host's program, of which it has to read the configuration file that we mean.
    pub(crate) fn call(&self, host: Host) -> Result<Call, HostError> {
        let program = self.program_of(host).ok_or(HostError::NotInstalled { host })?;
        let mut environment: Vec<(&'static str, OsString)> = Vec::new();
        let directory_of =
            |path: &Path| path.parent().unwrap_or_else(|| Path::new("/")).as_os_str().to_owned();
        match (host, self.given.as_ref().filter(|(owner, _)| *owner == host)) {
            (Host::ClaudeCode, Some((_, path))) => {
                environment.push(("CLAUDE_CONFIG_DIR", directory_of(path)));
            }
            (Host::Codex, Some((_, path))) => environment.push(("CODEX_HOME", directory_of(path))),
            _ => {}
        }
        if host == Host::ClaudeCode {
            environment.push(("MCP_TIMEOUT", SERVER_DEADLINE_MS.into()));
        }
        Ok(Call { program, arguments: Vec::new(), environment, directory: self.directory.clone() })
    }

    /// The file that a command runs whose first word is `program`, without links.
    pub(crate) fn resolve(&self, program: &str) -> Option<PathBuf> {
        let path = if program.contains('/') {
            self.directory.join(program)
        } else {
            child::find(program, self.path.as_deref())?
        };
        path.canonicalize().ok()
    }
}

fn owner_of(path: &Path) -> Host {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(CLAUDE_FILE) => Host::ClaudeCode,
        Some(CODEX_FILE) => Host::Codex,
        _ => Host::OpenCode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn surroundings(variables: Variables) -> Surroundings {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Surroundings::new("/p".into(), &lookup)
    }

    #[test]
    fn files_are_where_hosts_look_for_them() {
        let home = ("HOME", "/h");
        let cases: [(Variables, Host, &str); 8] = [
            (&[home], Host::ClaudeCode, "/h/.claude.json"),
            (&[home, ("CLAUDE_CONFIG_DIR", "/c")], Host::ClaudeCode, "/c/.claude.json"),
            (&[home, ("CLAUDE_CONFIG_DIR", "")], Host::ClaudeCode, "/h/.claude.json"),
            (&[home], Host::Codex, "/h/.codex/config.toml"),
            (&[("CODEX_HOME", "x")], Host::Codex, "/p/x/config.toml"),
            (&[home, ("OPENCODE_CONFIG", "/o.json")], Host::OpenCode, "/o.json"),
            (&[home], Host::OpenCode, "/h/.config/opencode"),
            (&[home, ("XDG_CONFIG_HOME", "/x")], Host::OpenCode, "/x/opencode"),
        ];
        for (variables, host, expected) in cases {
            let surroundings = surroundings(variables);
            let file = surroundings.file_of(host).unwrap();
            let file = file.unwrap_or_else(|| surroundings.opencode_directory().unwrap());
            assert_eq!(file, Path::new(expected), "{variables:?}");
        }
        for host in [Host::ClaudeCode, Host::Codex] {
            assert!(matches!(surroundings(&[]).file_of(host), Err(HostError::NoHome { .. })));
        }
        assert!(matches!(surroundings(&[("HOME", "h")]).opencode_directory(), Err(HostError::NoHome { .. })));
    }

    #[test]
    fn a_file_that_is_given_is_that_of_the_host_that_has_such_files() {
        let cases = [
            ("x/.claude.json", Host::ClaudeCode),
            ("/x/config.toml", Host::Codex),
            ("opencode.jsonc", Host::OpenCode),
            ("/x/any.json", Host::OpenCode),
        ];
        for (path, owner) in cases {
            let given = surroundings(&[]).with_config_path(Path::new(path));
            assert_eq!(given.file_of(owner).unwrap(), Some(Path::new("/p").join(path)));
            for host in Host::ALL {
                let result = surroundings(&[]).with_config_path_of(host, Path::new(path));
                assert_eq!(result.is_ok(), host == owner, "{path} for {host}");
            }
        }
    }
}
