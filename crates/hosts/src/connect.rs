//! Registering pyro with a host.

use crate::diagnose::judge;
use crate::entry::{Change, Entry, Place};
use crate::uninterrupted::uninterrupted;
use crate::{
    Expected, Host, HostError, Registration, Status, Surroundings, claude_code, codex, opencode, words,
};
use serde::Serialize;
use std::path::PathBuf;

/// What came of connecting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connected {
    /// The host.
    pub host: Host,
    /// Whether anything was changed: the entry may have been there already.
    pub changed: bool,
    /// What is registered.
    #[serde(serialize_with = "words::serialize")]
    pub command: Vec<String>,
    /// What was registered before, where that was a command.
    #[serde(serialize_with = "words::serialize_some")]
    pub replaced: Option<Vec<String>>,
    /// The host's configuration file.
    pub config_path: PathBuf,
    /// That file as it was before.
    pub backup_path: Option<PathBuf>,
    /// A file of the project's whose own entry is in force here instead.
    pub overridden_by: Option<PathBuf>,
}

/// Registers pyro with `host`, in the place of an older entry of this name. An entry that is the same is left as it is.
///
/// Fails with [`HostError::NotInstalled`] when there is no such host, with [`HostError::Malformed`] when its configuration
/// cannot be understood, and with [`HostError::Failed`] when the host's own program fails; the older entry is there then.
pub async fn connect(
    surroundings: &Surroundings,
    host: Host,
    registration: &Registration,
) -> Result<Connected, HostError> {
    let words = registration.words()?;
    // Where there is no program nothing is touched.
    surroundings.call(host)?;
    let before = read(surroundings, host).await?;
    let config_path = file(surroundings, host)?;
    let replaced = before.as_ref().and_then(|entry| entry.words.clone());
    let mut connected = Connected {
        host,
        changed: false,
        command: words.clone(),
        replaced: None,
        config_path,
        backup_path: None,
        overridden_by: None,
    };
    if before.is_some_and(|entry| entry.is(&words) && matches!(entry.place, Place::User(_))) {
        return Ok(connected);
    }
    let (own, new) = (surroundings.clone(), words.clone());
    let change = uninterrupted(async move { register(&own, host, &new).await })
        .await
        .map_err(|source| HostError::Unwritable { path: connected.config_path.clone(), source })??;
    connected.changed = true;
    connected.replaced = replaced;
    connected.backup_path = change.backup;
    match read(surroundings, host).await? {
        Some(Entry { place: Place::Project(path), .. }) => connected.overridden_by = Some(path),
        Some(entry) if entry.is(&words) => {}
        _ => return Err(HostError::NotTaken { host, path: connected.config_path }),
    }
    Ok(connected)
}

/// Makes the host have what is expected, if it does not yet. Arguments of an older entry that are good are kept, unless it has
/// to be exactly what is expected.
///
/// Fails as [`connect`] does, and with [`HostError::OfProject`] when the entry in force is in a file of the project's.
pub async fn repair(
    surroundings: &Surroundings,
    host: Host,
    expected: &Expected,
) -> Result<Connected, HostError> {
    surroundings.call(host)?;
    let entry = read(surroundings, host).await?;
    let (status, _) = judge(surroundings, entry.as_ref(), expected)?;
    let words = entry.as_ref().and_then(|entry| entry.words.as_deref());
    if let Some(entry) = entry.as_ref().filter(|_| status == Status::Ok) {
        return Ok(Connected {
            host,
            changed: false,
            command: entry.words.clone().unwrap_or_default(),
            replaced: None,
            config_path: entry.place.path().clone(),
            backup_path: None,
            overridden_by: None,
        });
    }
    // An entry of the project's is left alone, and need not be in force once there is one of the user's.
    let connected = connect(surroundings, host, &expected.replacing(words)?).await?;
    match connected.overridden_by {
        Some(path) => Err(HostError::OfProject { path }),
        None => Ok(connected),
    }
}

/// The entry in force.
pub async fn read(surroundings: &Surroundings, host: Host) -> Result<Option<Entry>, HostError> {
    match host {
        Host::ClaudeCode => claude_code::read(surroundings).await,
        Host::Codex => codex::read(surroundings).await,
        Host::OpenCode => opencode::read(surroundings),
    }
}

/// The configuration file of the user's.
pub fn file(surroundings: &Surroundings, host: Host) -> Result<PathBuf, HostError> {
    match host {
        Host::ClaudeCode => claude_code::file(surroundings),
        Host::Codex => codex::file(surroundings),
        Host::OpenCode => opencode::file(surroundings),
    }
}

async fn register(surroundings: &Surroundings, host: Host, words: &[String]) -> Result<Change, HostError> {
    match host {
        Host::ClaudeCode => claude_code::register(surroundings, words).await,
        Host::Codex => codex::register(surroundings, words).await,
        Host::OpenCode => opencode::register(surroundings, words),
    }
}
