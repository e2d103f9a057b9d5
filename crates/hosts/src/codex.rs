//! Codex: registered with `codex mcp`, in its `config.toml`.
//!
//! - **Reading.** `codex mcp get --json` tells the entry in force. It may be one of a `.codex/config.toml` of the project,
//!   once the user has trusted that: it belongs to whoever shares the file, and is only reported.
//! - **Writing.** `codex mcp add` replaces an older entry by itself. But it writes the tables of *all* servers anew, without
//!   their comments and without the fields that this version of Codex does not know, and drops the timeouts and variables
//!   of the older entry. What it lost is put back: the file becomes what it was, with the new command in this entry.

use crate::entry::{Change, Entry, Place};
use crate::files::Text;
use crate::{Host, HostError, SERVER_NAME, Surroundings, files, json, project, toml};
use serde_json::Value;
use std::path::{Path, PathBuf};

const HOST: Host = Host::Codex;
/// A project's own file.
const PROJECT_FILE: &str = ".codex/config.toml";
/// What is printed where there is no entry.
const NONE: &str = "No MCP server named";

/// The entry in force, if there is one.
pub async fn read(surroundings: &Surroundings) -> Result<Option<Entry>, HostError> {
    let file = file(surroundings)?;
    let text = text(&file)?;
    let outcome = surroundings.call(HOST)?.args(["mcp", "get", SERVER_NAME, "--json"]).run().await?;
    if !outcome.is_success() {
        return if outcome.said().contains(NONE) { Ok(None) } else { Err(outcome.failure()) };
    }
    let shown: Value =
        serde_json::from_str(&outcome.stdout).map_err(|error| outcome.not_understood(&error))?;
    let words = words_of(&shown);
    let place = place_of(file, text.as_ref(), words.as_deref(), surroundings.directory());
    let is_enabled = shown.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    Ok(Some(Entry { words, is_precise: true, is_enabled, connects: None, remark: None, place }))
}

/// Registers the command, in the place of an older entry of the user's.
pub async fn register(surroundings: &Surroundings, words: &[String]) -> Result<Change, HostError> {
    let file = file(surroundings)?;
    let old = text(&file)?;
    let change = Change { backup: files::back_up(&file)? };
    let call = surroundings.call(HOST)?.args(["mcp", "add", SERVER_NAME, "--"]);
    call.args(words).run().await?.expect_success()?;
    if let Some(old) = old {
        put_back(&file, &old, words)?;
    }
    Ok(change)
}

/// Codex's own file.
pub fn file(surroundings: &Surroundings) -> Result<PathBuf, HostError> {
    surroundings.file_of(HOST)?.ok_or(HostError::NoHome { host: HOST })
}

/// What is in it, which has to make sense.
fn text(file: &Path) -> Result<Option<Text>, HostError> {
    let text = files::read(file)?;
    if let Some(text) = &text {
        toml::check(&text.text, SERVER_NAME).map_err(|reason| malformed(file, reason))?;
    }
    Ok(text)
}

fn malformed(path: &Path, reason: String) -> HostError {
    HostError::Malformed { path: path.to_owned(), reason }
}

/// Makes the file what it was before, with this command in the entry. Where somebody has changed more of it meanwhile, it is
/// left as Codex wrote it.
fn put_back(file: &Path, old: &Text, words: &[String]) -> Result<(), HostError> {
    let wanted = toml::write(&old.text, SERVER_NAME, words).map_err(|reason| malformed(file, reason))?;
    let now = text(file)?;
    let Some(now) = now.filter(|now| now.text != wanted) else { return Ok(()) };
    if toml::besides_servers(&now.text) != toml::besides_servers(&old.text) {
        return Ok(());
    }
    files::replace(file, &wanted, Some(&now))
}

fn words_of(shown: &Value) -> Option<Vec<String>> {
    let transport = shown.get("transport")?;
    let mut words = vec![transport.get("command")?.as_str()?.to_owned()];
    if let Some(arguments) = transport.get("args").filter(|arguments| !arguments.is_null()) {
        words.extend(json::as_words(arguments)?);
    }
    Some(words)
}

/// Where the entry comes from that Codex shows: a project's file counts as soon as it says something else than the user's.
fn place_of(file: PathBuf, text: Option<&Text>, shown: Option<&[String]>, directory: &Path) -> Place {
    let own = text.filter(|text| toml::has(&text.text, SERVER_NAME));
    let is_own = own.is_some_and(|text| toml::words(&text.text, SERVER_NAME).as_deref() == shown);
    if is_own {
        return Place::User(file);
    }
    let is_in = |path: &PathBuf| matches!(files::read(path), Ok(Some(text)) if toml::words(&text.text, SERVER_NAME).as_deref() == shown);
    match project::files(directory, &[PROJECT_FILE]).into_iter().find(is_in) {
        Some(path) => Place::Project(path),
        None => Place::User(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn what_is_printed_is_understood() {
        let cases = [
            (
                json!({"transport": {"type": "stdio", "command": "p", "args": ["a b"]}}),
                Some(&["p", "a b"][..]),
            ),
            (json!({"transport": {"type": "stdio", "command": "p", "args": null}}), Some(&["p"])),
            (json!({"transport": {"type": "stdio", "command": "p"}}), Some(&["p"])),
            (json!({"transport": {"type": "streamable_http", "url": "u"}}), None),
            (json!({"name": "pyro"}), None),
            (json!({"transport": {"command": "p", "args": [7]}}), None),
        ];
        for (shown, words) in cases {
            let words = words.map(|words| words.iter().map(|&word| word.to_owned()).collect());
            assert_eq!(words_of(&shown), words, "{shown}");
        }
    }

    #[test]
    fn what_codex_loses_is_put_back_unless_others_have_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let words = ["p".to_owned(), "mcp".to_owned()];
        let old = "# mine\nmodel = 'm'\n[mcp_servers.a] # note\nunknown = 1\n[z]\n";
        let lossy = "# mine\nmodel = 'm'\n\n[mcp_servers.a]\n\n[mcp_servers.pyro]\ncommand = \"p\"\nargs = [\"mcp\"]\n\n[z]\n";
        fs::write(&file, old).unwrap();
        let read = || text(&file).unwrap().unwrap();
        let old = read();
        fs::write(&file, lossy).unwrap();
        put_back(&file, &old, &words).unwrap();
        assert!(read().text.contains("[mcp_servers.a] # note\nunknown = 1\n"), "{}", read().text);
        let theirs = lossy.replace("'m'", "'n'");
        fs::write(&file, &theirs).unwrap();
        put_back(&file, &old, &words).unwrap();
        assert_eq!(read().text, theirs);
    }

    #[test]
    fn an_entry_of_the_projects_is_told_from_the_users() {
        let directory = tempfile::tempdir().unwrap();
        let (root, file) = (directory.path(), directory.path().join("user.toml"));
        let entry = |program: &str| format!("[mcp_servers.pyro]\ncommand = \"{program}\"\n");
        fs::create_dir_all(root.join(".git")).and_then(|()| fs::create_dir_all(root.join(".codex"))).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join(PROJECT_FILE), entry("theirs")).unwrap();
        fs::write(&file, entry("mine")).unwrap();
        let text = files::read(&file).unwrap();
        let place = |text: Option<&Text>, shown: &str| {
            place_of(file.clone(), text, Some(&[shown.to_owned()]), &root.join("sub"))
        };
        assert_eq!(place(text.as_ref(), "mine"), Place::User(file.clone()));
        assert_eq!(place(text.as_ref(), "theirs"), Place::Project(root.join(PROJECT_FILE)));
        assert_eq!(place(None, "theirs"), Place::Project(root.join(PROJECT_FILE)));
        assert_eq!(place(None, "elsewhere"), Place::User(file.clone()));
    }
}
