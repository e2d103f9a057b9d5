//! The entry for a person to paste, or in a file that is given.

use crate::{Host, HostError, Registration, claude_code, files, opencode, toml};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What came of writing the entry to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The host whose entry it is.
    pub host: Host,
    /// The file.
    pub output_path: PathBuf,
    /// Whether it is another now.
    pub changed: bool,
    /// The file as it was before, where there was one and it was changed.
    pub backup_path: Option<PathBuf>,
}

/// A whole configuration file with nothing but the entry: JSON as in OpenCode's `opencode.json` and in a `.mcp.json` of Claude
/// Code, TOML as in Codex's `config.toml`.
pub fn render(host: Host, registration: &Registration) -> Result<String, HostError> {
    merge(host, "", &registration.words()?).map_err(|reason| malformed(Path::new(host.as_str()), reason))
}

/// Puts the entry into the file at `path`, which keeps everything else that it has.
///
/// Fails with [`HostError::Malformed`] when the file cannot be understood.
pub fn write(host: Host, registration: &Registration, path: &Path) -> Result<Written, HostError> {
    let old = files::read(path)?;
    let text = old.as_ref().map_or("", |old| &old.text);
    let new = merge(host, text, &registration.words()?).map_err(|reason| malformed(path, reason))?;
    let changed = old.as_ref().is_none_or(|old| old.text != new);
    let mut written = Written { host, output_path: path.to_owned(), changed, backup_path: None };
    if changed {
        written.backup_path = files::back_up(path)?;
        files::replace(path, &new, old.as_ref())?;
    }
    Ok(written)
}

fn merge(host: Host, text: &str, words: &[String]) -> Result<String, String> {
    match host {
        Host::ClaudeCode => claude_code::SLOT.write(text, &claude_code::fields(words)),
        Host::Codex => toml::write(text, crate::SERVER_NAME, words),
        Host::OpenCode => opencode::SLOT.write(text, &opencode::fields(words)),
    }
}

fn malformed(path: &Path, reason: String) -> HostError {
    HostError::Malformed { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn registration() -> Registration {
        Registration::new(["/a b/pyro", "mcp", "serve", "--mode", "inspect"].map(Into::into).into())
    }

    #[test]
    fn the_entry_is_as_each_host_reads_it() {
        let json = "{\n  \"mcpServers\": {\n    \"pyro\": {\n      \"type\": \"stdio\",\n      \"command\": \"/a b/pyro\",\n      \
            \"args\": [\"mcp\", \"serve\", \"--mode\", \"inspect\"]\n    }\n  }\n}\n";
        let toml = "[mcp_servers.pyro]\ncommand = \"/a b/pyro\"\nargs = [\"mcp\", \"serve\", \"--mode\", \"inspect\"]\n";
        let jsonc = "{\n  \"mcp\": {\n    \"pyro\": {\n      \"type\": \"local\",\n      \"command\": [\"/a b/pyro\", \"mcp\", \
            \"serve\", \"--mode\", \"inspect\"],\n      \"enabled\": true\n    }\n  }\n}\n";
        for (host, expected) in Host::ALL.into_iter().zip([json, toml, jsonc]) {
            assert_eq!(render(host, &registration()).unwrap(), expected);
        }
    }

    #[test]
    fn a_file_keeps_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        for (host, kept) in [
            (Host::ClaudeCode, "{\"mcpServers\": {\"b\": {\"command\": \"c\"}}}"),
            (Host::Codex, "# x\n[mcp_servers.b]\nurl = 'u' # y\n"),
            (Host::OpenCode, "{ // x\n  \"theme\": \"y\",\n}"),
        ] {
            let path = directory.path().join(host.as_str());
            fs::write(&path, kept).unwrap();
            let written = write(host, &registration(), &path).unwrap();
            assert_eq!(fs::read_to_string(written.backup_path.unwrap()).unwrap(), kept);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("/a b/pyro") && text.len() > kept.len(), "{text}");
            let again = write(host, &registration(), &path).unwrap();
            assert_eq!((again.changed, again.backup_path), (false, None));
            fs::write(&path, "{ = ").unwrap();
            assert!(matches!(write(host, &registration(), &path), Err(HostError::Malformed { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), "{ = ");
        }
    }
}
