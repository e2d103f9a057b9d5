//! OpenCode: an entry in its configuration file.
//!
//! - **Files.** OpenCode merges `config.json`, `opencode.json` and `opencode.jsonc` of its directory, the last one strongest,
//!   all of them with comments and trailing commas. pyro writes to the strongest with an entry, else to the strongest that
//!   there is, else to a new `opencode.json`. Where `OPENCODE_CONFIG` names a file, it is that one, which is stronger.
//! - **A project's own** `opencode.json`, `opencode.jsonc` or `.opencode/` are stronger still. They belong to whoever shares
//!   them: an entry there is only reported.
//! - OpenCode has a command to add a server, but none to remove one or to print one for programs to read, and it adds a
//!   `$schema` to whatever file it reads. So the file is edited here, and OpenCode is only asked for its version.

use crate::entry::{Change, Entry, Place};
use crate::files::Text;
use crate::json::{self, Dialect, Slot};
use crate::{Host, HostError, SERVER_NAME, Surroundings, files, project};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const HOST: Host = Host::OpenCode;
/// The names of OpenCode's files, strongest first.
const NAMES: [&str; 3] = ["opencode.jsonc", "opencode.json", "config.json"];
/// The one that is made where there is none.
const NEW: &str = "opencode.json";
/// Those of a project, likewise.
const PROJECT_NAMES: [&str; 4] =
    [".opencode/opencode.jsonc", ".opencode/opencode.json", "opencode.jsonc", "opencode.json"];

/// The entry in a file of OpenCode's.
pub const SLOT: Slot = Slot {
    dialect: Dialect::Jsonc,
    section: "mcp",
    name: SERVER_NAME,
    kind: "local",
    kind_is_implied: false,
};

/// The fields that pyro sets.
pub fn fields(words: &[String]) -> Vec<(&'static str, Value)> {
    vec![("type", json!(SLOT.kind)), ("command", json::words(words)), ("enabled", json!(true))]
}

/// The entry in force, if there is one.
pub fn read(surroundings: &Surroundings) -> Result<Option<Entry>, HostError> {
    let file = file(surroundings)?;
    for path in project::files(surroundings.directory(), &PROJECT_NAMES) {
        if path != file
            && let Some(entry) = entry_in(&path)?
        {
            return Ok(Some(told(&entry, Place::Project(path))));
        }
    }
    Ok(entry_in(&file)?.map(|entry| told(&entry, Place::User(file))))
}

/// Registers the command, in the place of an older entry of the user's.
pub fn register(surroundings: &Surroundings, words: &[String]) -> Result<Change, HostError> {
    let file = file(surroundings)?;
    let old = files::read(&file)?;
    let text = old.as_ref().map_or("", |old| &old.text);
    let new = SLOT.write(text, &fields(words)).map_err(|reason| malformed(&file, reason))?;
    if old.as_ref().is_some_and(|old| old.text == new) {
        return Ok(Change::default());
    }
    let change = Change { backup: files::back_up(&file)? };
    files::replace(&file, &new, old.as_ref())?;
    Ok(change)
}

/// The file of the user's that has the entry, or should have it.
pub fn file(surroundings: &Surroundings) -> Result<PathBuf, HostError> {
    if let Some(given) = surroundings.file_of(HOST)? {
        return Ok(given);
    }
    let directory = surroundings.opencode_directory()?;
    let mut strongest = None;
    for path in NAMES.map(|name| directory.join(name)) {
        let Some(text) = files::read(&path)? else { continue };
        if entry_of(&path, &text)?.is_some() {
            return Ok(path);
        }
        strongest = strongest.or(Some(path));
    }
    Ok(strongest.unwrap_or_else(|| directory.join(NEW)))
}

fn entry_in(path: &Path) -> Result<Option<Value>, HostError> {
    files::read(path)?.map_or(Ok(None), |text| entry_of(path, &text))
}

fn entry_of(path: &Path, text: &Text) -> Result<Option<Value>, HostError> {
    SLOT.read(&text.text).map_err(|reason| malformed(path, reason))
}

fn malformed(path: &Path, reason: String) -> HostError {
    HostError::Malformed { path: path.to_owned(), reason }
}

fn told(entry: &Value, place: Place) -> Entry {
    let is_local = entry.get("type").is_some_and(|kind| kind == SLOT.kind);
    let words = entry.get("command").filter(|_| is_local).and_then(json::as_words);
    Entry {
        words: words.filter(|words| !words.is_empty()),
        is_precise: true,
        is_enabled: entry.get("enabled").and_then(Value::as_bool).unwrap_or(true),
        connects: None,
        remark: None,
        place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Case {
        directory: tempfile::TempDir,
    }

    impl Case {
        fn new(files: &[(&str, &str)]) -> Self {
            let case = Self { directory: tempfile::tempdir().unwrap() };
            fs::create_dir_all(case.path("project/.git")).unwrap();
            for (name, text) in files {
                let path = case.path(name);
                fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(path, text)).unwrap();
            }
            case
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn surroundings(&self) -> Surroundings {
            let home = self.directory.path().as_os_str().to_owned();
            Surroundings::new(self.path("project"), &move |name| (name == "HOME").then(|| home.clone()))
        }
    }

    const MINE: &str = r#"{"mcp": {"pyro": {"type": "local", "command": ["p"]}}}"#;
    const OTHER: &str = r#"{"mcp": {"a": {"type": "local", "command": ["a"]}}} // x"#;

    #[test]
    fn the_file_that_counts_is_changed() {
        let at = |name: &str| format!(".config/opencode/{name}");
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[], "opencode.json"),
            (&[("opencode.json", OTHER), ("config.json", OTHER)], "opencode.json"),
            (&[("opencode.json", OTHER), ("opencode.jsonc", OTHER)], "opencode.jsonc"),
            (&[("opencode.json", MINE), ("opencode.jsonc", OTHER)], "opencode.json"),
            (&[("config.json", MINE), ("opencode.json", MINE)], "opencode.json"),
        ];
        for (files, expected) in cases {
            let names: Vec<_> = files.iter().map(|(name, _)| at(name)).collect();
            let case = Case::new(
                &names.iter().map(String::as_str).zip(files.iter().map(|file| file.1)).collect::<Vec<_>>(),
            );
            assert_eq!(file(&case.surroundings()).unwrap(), case.path(&at(expected)), "{files:?}");
        }
    }

    #[test]
    fn an_entry_of_the_projects_is_in_force_and_left_alone() {
        let case = Case::new(&[
            (".config/opencode/opencode.json", OTHER),
            ("project/.opencode/opencode.json", MINE),
        ]);
        let surroundings = case.surroundings();
        let place = Place::Project(case.path("project/.opencode/opencode.json"));
        assert_eq!(read(&surroundings).unwrap().unwrap().place, place);
        let change = register(&surroundings, &["q".to_owned()]).unwrap();
        assert_eq!(fs::read_to_string(change.backup.unwrap()).unwrap(), OTHER);
        assert_eq!(read(&surroundings).unwrap().unwrap().words, Some(vec!["p".to_owned()]));
        assert_eq!(fs::read_to_string(place.path()).unwrap(), MINE);
        let file = fs::read_to_string(case.path(".config/opencode/opencode.json")).unwrap();
        assert!(
            file.contains(r#""a": {"type": "local", "command": ["a"]}"#) && file.contains("// x"),
            "{file}"
        );
    }

    #[test]
    fn entries_are_read_as_opencode_does() {
        let cases = [
            (r#"{"type": "local", "command": ["p", "a"]}"#, Some(&["p", "a"][..]), true),
            (r#"{"type": "local", "command": ["p"], "enabled": false}"#, Some(&["p"]), false),
            (r#"{"type": "remote", "url": "u"}"#, None, true),
            (r#"{"type": "local", "command": []}"#, None, true),
            (r#"{"type": "local", "command": "p"}"#, None, true),
            ("7", None, true),
        ];
        for (entry, words, is_enabled) in cases {
            let text = format!("{{\"mcp\": {{\"pyro\": {entry}}}}}");
            let case = Case::new(&[(".config/opencode/opencode.jsonc", &text)]);
            let entry = read(&case.surroundings()).unwrap().unwrap();
            let words = words.map(|words| words.iter().map(|&word| word.to_owned()).collect());
            assert_eq!((entry.words, entry.is_enabled), (words, is_enabled), "{text}");
        }
    }

    #[test]
    fn a_malformed_file_is_reported_and_left() {
        let case = Case::new(&[(".config/opencode/opencode.json", "{")]);
        for result in [read(&case.surroundings()).map(drop), register(&case.surroundings(), &[]).map(drop)] {
            assert!(matches!(result, Err(HostError::Malformed { .. })), "{result:?}");
        }
        assert_eq!(fs::read_dir(case.path(".config/opencode")).unwrap().count(), 1);
    }
}
