//! Claude Code: registered with `claude mcp`, at user scope.
//!
//! - **Scope.** `claude mcp add` by itself registers for one project (`local`). Claude Code starts a server in the directory
//!   that it was started in, and pyro takes the project from there, so one entry at `user` scope serves every project. An
//!   entry at local scope takes precedence over it and is replaced along with it; one in a project's `.mcp.json` belongs to
//!   whoever shares that file, and is only reported.
//! - **Reading.** `claude mcp get` tells which entry is in force and whether the server answers, but not where one argument
//!   ends and the next begins. That is taken from the file, where it agrees with what was printed.
//! - **The file first.** Any `claude mcp` command silently replaces a `~/.claude.json` that is malformed by an empty one, so
//!   none is run before the file has been read. It makes notes of its own in the file whenever it runs.
//! - **Writing.** `add` refuses a name that is there already, so an older entry is removed first, and put back when the new
//!   one is not taken. Its environment and other fields are kept.

use crate::entry::{Change, Entry, Place};
use crate::json::{self, Dialect, Slot};
use crate::{Host, HostError, SERVER_NAME, Surroundings, files, project};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const HOST: Host = Host::ClaudeCode;
const SERVERS: &str = "mcpServers";
/// What is printed where there is no entry.
const NONE: &str = "No MCP server named";

/// The entry in a file of Claude Code's.
pub const SLOT: Slot = Slot {
    dialect: Dialect::Json,
    section: SERVERS,
    name: SERVER_NAME,
    kind: "stdio",
    kind_is_implied: true,
};

/// Where an entry is registered, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Local,
    Project,
    User,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// The fields that pyro sets.
pub fn fields(words: &[String]) -> Vec<(&'static str, Value)> {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    vec![("type", json!("stdio")), ("command", json!(program)), ("args", json::words(arguments))]
}

/// The entry in force, if there is one.
pub async fn read(surroundings: &Surroundings) -> Result<Option<Entry>, HostError> {
    let file = file(surroundings)?;
    let document = document(&file)?;
    let outcome = surroundings.call(HOST)?.args(["mcp", "get", SERVER_NAME]).run().await?;
    if !outcome.is_success() {
        if !outcome.said().contains(NONE) {
            return Err(outcome.failure());
        }
        return Ok(has_any(&document, surroundings.directory()).then(|| unusable(file)));
    }
    let shown = Shown::parse(&outcome.stdout).ok_or_else(|| outcome.not_understood(&"it names no scope"))?;
    let (place, entry) = match shown.scope {
        Scope::User => (Place::User(file), user_entry(&document).cloned()),
        Scope::Local => (Place::User(file), local_entry(&document, surroundings.directory()).cloned()),
        Scope::Project => project_entry(surroundings.directory())?,
    };
    let precise = entry.as_ref().and_then(words_of).filter(|words| shown.agrees_with(words));
    Ok(Some(Entry {
        is_precise: precise.is_some(),
        words: precise.or_else(|| shown.words()),
        is_enabled: true,
        connects: shown.connects(),
        remark: shown.remark(),
        place,
    }))
}

/// Registers the command, in the place of older entries of the user's.
pub async fn register(surroundings: &Surroundings, words: &[String]) -> Result<Change, HostError> {
    let file = file(surroundings)?;
    let document = document(&file)?;
    let local = local_entry(&document, surroundings.directory()).cloned();
    let user = user_entry(&document).cloned();
    let new = Value::Object(merged(local.as_ref().or(user.as_ref()), words));
    files::require_writable(&file)?;
    let change = Change { backup: files::back_up(&file)? };
    let mut removed = Vec::new();
    let outcome = async {
        for (scope, old) in [(Scope::Local, local), (Scope::User, user)] {
            if let Some(old) = old
                && remove(surroundings, scope).await?
            {
                removed.push((scope, old));
            }
        }
        add(surroundings, Scope::User, &new).await
    };
    let Err(error) = outcome.await else { return Ok(change) };
    for (scope, old) in removed {
        if add(surroundings, scope, &old).await.is_err() {
            return Err(HostError::NotRestored { backup: change.backup, source: error.into() });
        }
    }
    Err(error)
}

async fn add(surroundings: &Surroundings, scope: Scope, entry: &Value) -> Result<(), HostError> {
    let call = surroundings.call(HOST)?.args(["mcp", "add-json", "--scope", scope.as_str(), SERVER_NAME]);
    call.args([entry.to_string()]).run().await?.expect_success().map(drop)
}

/// Whether there was anything to remove, as Claude Code sees it.
async fn remove(surroundings: &Surroundings, scope: Scope) -> Result<bool, HostError> {
    let call = surroundings.call(HOST)?.args(["mcp", "remove", "--scope", scope.as_str(), SERVER_NAME]);
    let outcome = call.run().await?;
    if !outcome.is_success() && outcome.said().contains(NONE) {
        return Ok(false);
    }
    outcome.expect_success().map(|_| true)
}

/// Claude Code's own file.
pub fn file(surroundings: &Surroundings) -> Result<PathBuf, HostError> {
    surroundings.file_of(HOST)?.ok_or(HostError::NoHome { host: HOST })
}

/// An object, empty where there is no file, or nothing in it.
fn document(file: &Path) -> Result<Map<String, Value>, HostError> {
    let malformed = |reason: String| HostError::Malformed { path: file.to_owned(), reason };
    let Some(text) = files::read(file)? else { return Ok(Map::new()) };
    let document: Map<String, Value> =
        serde_json::from_str(&text.text).map_err(|error| malformed(error.to_string()))?;
    match document.get(SERVERS) {
        None | Some(Value::Object(_)) => Ok(document),
        Some(_) => Err(malformed(format!("`{SERVERS}` is not an object"))),
    }
}

fn user_entry(document: &Map<String, Value>) -> Option<&Value> {
    document.get(SERVERS)?.get(SERVER_NAME)
}

/// The entry for the project of `directory`, which is listed under the root of its checkout.
fn local_entry<'a>(document: &'a Map<String, Value>, directory: &Path) -> Option<&'a Value> {
    let projects = document.get("projects")?;
    let of = |above: &Path| projects.get(above.to_str()?)?.get(SERVERS)?.get(SERVER_NAME);
    project::directories(directory).find_map(of)
}

fn has_any(document: &Map<String, Value>, directory: &Path) -> bool {
    user_entry(document).or_else(|| local_entry(document, directory)).is_some()
}

/// The nearest `.mcp.json` with an entry.
fn project_entry(directory: &Path) -> Result<(Place, Option<Value>), HostError> {
    const FILE: &str = ".mcp.json";
    for path in directory.ancestors().map(|above| above.join(FILE)) {
        let Some(text) = files::read(&path)? else { continue };
        if let Ok(Some(entry)) = SLOT.read(&text.text) {
            return Ok((Place::Project(path), Some(entry)));
        }
    }
    Ok((Place::Project(directory.join(FILE)), None))
}

/// One that is there, and that Claude Code does not take.
fn unusable(file: PathBuf) -> Entry {
    Entry {
        words: None,
        is_precise: true,
        is_enabled: true,
        connects: None,
        remark: Some("Claude Code does not accept the entry".to_owned()),
        place: Place::User(file),
    }
}

/// The older entry with another command; a new one where that is of another kind.
fn merged(old: Option<&Value>, words: &[String]) -> Map<String, Value> {
    let kept = old.and_then(Value::as_object).filter(|old| match old.get("type") {
        Some(kind) => kind == SLOT.kind,
        None => old.get("command").is_some_and(Value::is_string),
    });
    let mut entry = kept.cloned().unwrap_or_default();
    entry.extend(fields(words).into_iter().map(|(name, value)| (name.to_owned(), value)));
    entry
}

fn words_of(entry: &Value) -> Option<Vec<String>> {
    let mut words = vec![entry.get("command")?.as_str()?.to_owned()];
    if let Some(arguments) = entry.get("args") {
        words.extend(json::as_words(arguments)?);
    }
    Some(words)
}

/// What `claude mcp get` prints, by the names before its colons.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    scope: Scope,
    status: Option<String>,
    command: Option<String>,
    arguments: String,
}

impl Shown {
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
        let scope = value("Scope")?;
        let scope = [("Local", Scope::Local), ("Project", Scope::Project), ("User", Scope::User)]
            .into_iter()
            .find_map(|(name, known)| scope.starts_with(name).then_some(known))?;
        Some(Self {
            scope,
            status: value("Status").map(ToOwned::to_owned),
            command: value("Command").map(ToOwned::to_owned),
            arguments: value("Args").unwrap_or_default().to_owned(),
        })
    }

    fn connects(&self) -> Option<bool> {
        let status = self.status.as_deref()?.to_lowercase();
        if status.contains("failed") { Some(false) } else { status.contains("connected").then_some(true) }
    }

    /// The status in words, where it is neither that it connects nor that it does not.
    fn remark(&self) -> Option<String> {
        let status = self.status.as_deref().filter(|_| self.connects().is_none())?;
        Some(status.trim_start_matches(|character: char| !character.is_alphanumeric()).to_owned())
    }

    /// Nothing is printed of the command of an entry without a `type`.
    fn agrees_with(&self, words: &[String]) -> bool {
        let same = |(program, arguments): (&String, &[String])| {
            self.command.as_deref() == Some(program.trim()) && arguments.join(" ").trim() == self.arguments
        };
        self.command.is_none() || words.split_first().is_some_and(same)
    }

    /// As good as spaces tell.
    fn words(&self) -> Option<Vec<String>> {
        let arguments = self.arguments.split_whitespace().map(ToOwned::to_owned);
        Some(self.command.iter().cloned().chain(arguments).collect::<Vec<_>>())
            .filter(|_| self.command.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "pyro:\n  Scope: User config (available in all your projects)\n  Status: ✔ Connected\n  \
        Type: stdio\n  Command: /opt/a b/pyro\n  Args: mcp serve --project-path /x y\n  Environment:\n    A=b\n\n\
        To remove this server, run: claude mcp remove pyro -s user\n";

    #[test]
    fn what_is_printed_is_understood() {
        let shown = Shown::parse(PRINTED).unwrap();
        assert_eq!((shown.scope, shown.connects(), shown.remark()), (Scope::User, Some(true), None));
        let words: Vec<_> =
            ["/opt/a b/pyro", "mcp", "serve", "--project-path", "/x y"].map(ToOwned::to_owned).into();
        assert!(shown.agrees_with(&words) && !shown.agrees_with(&words[..3]));
        assert_eq!(shown.words().unwrap().len(), 6);
        let cases = [
            ("✔ Connected", Some(true), None),
            ("✓ Connected", Some(true), None),
            ("✘ Failed to connect", Some(false), None),
            (
                "⏸ Pending approval (run `claude` to approve)",
                None,
                Some("Pending approval (run `claude` to approve)"),
            ),
            ("! Needs authentication", None, Some("Needs authentication")),
        ];
        for (status, connects, remark) in cases {
            let shown = Shown::parse(&PRINTED.replace("✔ Connected", status)).unwrap();
            assert_eq!((shown.connects(), shown.remark().as_deref()), (connects, remark), "{status}");
        }
        for (name, scope) in [("Local config (private)", Scope::Local), ("Project config", Scope::Project)] {
            let text = PRINTED.replace("User config (available in all your projects)", name);
            assert_eq!(Shown::parse(&text).unwrap().scope, scope);
        }
        let bare = Shown::parse("pyro:\n  Scope: User config\n").unwrap();
        assert_eq!((bare.words(), bare.connects()), (None, None));
        assert!(bare.agrees_with(&words));
        assert_eq!(Shown::parse("something else"), None);
    }

    #[test]
    fn what_the_user_added_to_the_entry_is_kept() {
        let words = ["/p", "mcp", "serve"].map(ToOwned::to_owned);
        let new = json!({"type": "stdio", "command": "/p", "args": ["mcp", "serve"]});
        let with_environment = json!({"type": "stdio", "command": "/p", "args": ["mcp", "serve"], "env": {"A": "b"}, "timeout": 7});
        let cases = [
            (None, &new),
            (Some(json!({"command": "x", "args": ["y"]})), &new),
            (Some(json!({"type": "http", "url": "u", "headers": {}})), &new),
            (Some(json!({"command": 7, "env": {}})), &new),
            (Some(json!({"command": "x", "env": {"A": "b"}, "timeout": 7})), &with_environment),
        ];
        for (old, expected) in cases {
            assert_eq!(Value::Object(merged(old.as_ref(), &words)), *expected, "{old:?}");
        }
    }

    #[test]
    fn the_local_entry_is_that_of_the_checkout() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a");
        std::fs::create_dir_all(root.join("b/c")).unwrap();
        let document = json!({"projects": {root.to_str().unwrap(): {SERVERS: {SERVER_NAME: 1}}}});
        let entry = |at: &Path| local_entry(document.as_object().unwrap(), at).cloned();
        let inner = root.join("b/c");
        assert_eq!((entry(&root), entry(&inner)), (Some(json!(1)), None));
        std::fs::create_dir(root.join(".git")).unwrap();
        assert_eq!((entry(&root), entry(&inner)), (Some(json!(1)), Some(json!(1))));
    }
}
