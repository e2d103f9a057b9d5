//! What a host has registered, against what it should have.

use crate::entry::{Entry, Place};
use crate::{Expected, Host, HostError, Surroundings, connect, words};
use pyro_protocol::error::chain;
use serde::Serialize;
use std::path::PathBuf;

/// How a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It starts this pyro.
    Ok,
    /// It has an entry, which is not as it should be; or its configuration is malformed.
    Drifted,
    /// It has no entry.
    Missing,
    /// The host is not there, or does not work.
    Unavailable,
}

impl Status {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drifted => "drifted",
            Self::Missing => "missing",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What was found out about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The host.
    pub host: Host,
    /// Whether its program is in `PATH`.
    pub installed: bool,
    /// What it says its version is.
    pub version: Option<String>,
    /// Whether it has an entry of this name.
    pub configured: bool,
    /// How it stands.
    pub status: Status,
    /// Why, in a sentence.
    pub detail: String,
    /// The file with the entry in force, or that should have it.
    pub config_path: Option<PathBuf>,
    /// The command that is registered.
    #[serde(serialize_with = "words::serialize_some")]
    pub registered: Option<Vec<String>>,
    /// The command that a repair would register.
    #[serde(serialize_with = "words::serialize")]
    pub expected: Vec<String>,
    /// What to run, or to do, about it.
    pub repair: Option<String>,
}

/// Looks how `host` stands; no entry is changed, though a host may make notes of its own whenever it runs. `repair` is the command that repairs it.
///
/// Fails only when `expected` makes no sense: what is wrong with the host is the diagnosis.
pub async fn diagnose(
    surroundings: &Surroundings,
    host: Host,
    expected: &Expected,
    repair: &str,
) -> Result<Diagnosis, HostError> {
    let mut diagnosis = Diagnosis {
        host,
        installed: surroundings.program_of(host).is_some(),
        version: None,
        configured: false,
        status: Status::Unavailable,
        detail: String::new(),
        config_path: None,
        registered: None,
        expected: expected.registration.words()?,
        repair: None,
    };
    if !diagnosis.installed {
        diagnosis.detail = format!("there is no `{}` in PATH", host.program());
        diagnosis.repair = Some(host.install_command().to_owned());
        return Ok(diagnosis);
    }
    let version = async { surroundings.call(host)?.args(["--version"]).run().await?.expect_success() };
    let (version, entry) = tokio::join!(version, connect::read(surroundings, host));
    diagnosis.version = version
        .as_ref()
        .ok()
        .and_then(|outcome| outcome.stdout.lines().next())
        .map(|line| line.trim().to_owned());
    let entry = match (version, entry) {
        (Ok(_), Ok(entry)) => entry,
        (_, Err(error)) | (Err(error), _) => {
            describe(&mut diagnosis, &error);
            return Ok(diagnosis);
        }
    };
    diagnosis.configured = entry.is_some();
    diagnosis.config_path = match &entry {
        Some(entry) => Some(entry.place.path().clone()),
        None => connect::file(surroundings, host).ok(),
    };
    diagnosis.registered = entry.as_ref().and_then(|entry| entry.words.clone());
    diagnosis.expected = expected.replacing(diagnosis.registered.as_deref())?.words()?;
    (diagnosis.status, diagnosis.detail) = judge(surroundings, entry.as_ref(), expected)?;
    if diagnosis.status != Status::Ok {
        diagnosis.repair = Some(match entry.map(|entry| entry.place) {
            Some(Place::Project(path)) => format!("change or remove the entry `pyro` in {}", path.display()),
            _ => repair.to_owned(),
        });
    }
    Ok(diagnosis)
}

/// What cannot be read is not as it should be when it is a file, and the host's failure otherwise.
fn describe(diagnosis: &mut Diagnosis, error: &HostError) {
    use pyro_protocol::error::Diagnostic;
    if let HostError::Malformed { path, .. }
    | HostError::Unreadable { path, .. }
    | HostError::TooLarge { path, .. } = error
    {
        diagnosis.status = Status::Drifted;
        diagnosis.config_path = Some(path.clone());
    }
    diagnosis.detail = chain(error);
    diagnosis.repair = error.hint();
}

/// How an entry stands, and why.
pub fn judge(
    surroundings: &Surroundings,
    entry: Option<&Entry>,
    expected: &Expected,
) -> Result<(Status, String), HostError> {
    let Some(entry) = entry else { return Ok((Status::Missing, "it has no entry `pyro`".to_owned())) };
    let drifted = |detail: &str| Ok((Status::Drifted, detail.to_owned()));
    let Some(words) = &entry.words else {
        return drifted(entry.remark.as_deref().unwrap_or("the entry does not start a program"));
    };
    if !entry.is_enabled {
        return drifted("the entry is turned off");
    }
    let wanted = expected.registration.words()?;
    if entry.is(&wanted) {
        return Ok((Status::Ok, fine(entry)));
    }
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let Some(file) = surroundings.resolve(program) else {
        return drifted(&format!("it starts `{program}`, which is not there"));
    };
    let is_same = wanted.first().and_then(|wanted| surroundings.resolve(wanted)) == Some(file);
    if expected.exact {
        return drifted("it starts pyro in another way than was asked for");
    }
    if !is_same {
        return drifted(&format!("it starts `{program}`, which is another program than this pyro"));
    }
    if !(expected.accepts)(arguments) {
        return drifted("it starts this pyro with arguments that do not serve MCP");
    }
    Ok((Status::Ok, fine(entry)))
}

/// What there is to say of an entry that is as it should be.
fn fine(entry: &Entry) -> String {
    match (entry.connects, &entry.remark) {
        (Some(true), _) => "the host starts it, and it answers".to_owned(),
        (Some(false), _) => {
            "the entry is as it should be, but the host could not connect: run the registered command by hand"
                .to_owned()
        }
        (None, Some(remark)) => format!("the entry is as it should be; the host says: {remark}"),
        (None, None) => "the entry is as it should be".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registration;

    #[test]
    fn an_entry_is_compared_with_what_was_asked_for() {
        let surroundings = Surroundings::new("/".into(), &|name| (name == "PATH").then(|| "/bin".into()));
        let expected = |exact| Expected {
            registration: Registration::new(vec!["/bin/sh".into(), "mcp".into(), "serve".into()]),
            exact,
            accepts: |arguments| arguments.first().is_some_and(|first| first == "mcp"),
        };
        let entry = |words: &[&str]| Entry {
            words: Some(words.iter().map(|&word| word.to_owned()).collect()),
            is_precise: true,
            is_enabled: true,
            connects: None,
            remark: None,
            place: Place::User("/f".into()),
        };
        let good = entry(&["/bin/sh", "mcp", "serve"]);
        let cases = [
            (None, false, Status::Missing, "no entry"),
            (Some(good.clone()), false, Status::Ok, "as it should be"),
            (Some(good.clone()), true, Status::Ok, "as it should be"),
            (Some(Entry { is_enabled: false, ..good.clone() }), false, Status::Drifted, "turned off"),
            (Some(Entry { words: None, ..good.clone() }), false, Status::Drifted, "does not start a program"),
            (Some(Entry { connects: Some(true), ..good.clone() }), false, Status::Ok, "it answers"),
            (Some(Entry { connects: Some(false), ..good }), false, Status::Ok, "could not connect"),
            (Some(entry(&["sh", "mcp", "serve", "--mode", "x"])), false, Status::Ok, "as it should be"),
            (Some(entry(&["sh", "mcp", "serve", "--mode", "x"])), true, Status::Drifted, "another way"),
            (Some(entry(&["/bin/sh", "serve"])), false, Status::Drifted, "do not serve"),
            (Some(entry(&["/bin/cat", "mcp"])), false, Status::Drifted, "another program"),
            (Some(entry(&["/gone/pyro", "mcp"])), false, Status::Drifted, "not there"),
            (Some(entry(&["no-such-program", "mcp"])), false, Status::Drifted, "not there"),
        ];
        for (entry, exact, status, said) in cases {
            let (found, detail) = judge(&surroundings, entry.as_ref(), &expected(exact)).unwrap();
            assert!(found == status && detail.contains(said), "{entry:?}: {found:?}, {detail}");
        }
    }
}
