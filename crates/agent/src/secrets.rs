//! Secrets: values that commands may have and that nothing may show.
//!
//! The host gives them once, before anything of the user's runs. Each becomes a file in a directory in memory, for programs that
//! read files; calls name those that become variables. From then on a mark stands in the place of each value in everything that
//! commands, shells and services print, and in the words of failures.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::{MAX_SECRETS, MAX_SECRETS_BYTES};
use pyro_protocol::v1::{FailureKind, PutSecrets, SecretEnv};
use pyro_redact::Redactor;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fchmod, fstatfs, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::agent::{Agent, Mode as AgentMode};
use crate::fail::Fail;

/// Where the files of a guest are.
const DIRECTORY: &str = "/run/pyro-secrets";
/// Longest name.
const MAX_NAME_BYTES: usize = 64;
/// Types of file systems that are in memory alone.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The secrets of a guest, once it was given them.
#[derive(Debug, Default)]
pub struct Vault {
    put: OnceCell<Put>,
}

struct Put {
    values: BTreeMap<String, Bytes>,
    known: pyro_redact::Secrets,
}

/// Names: nothing of the values.
impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Takes the secrets.
pub fn put(agent: &Agent, request: PutSecrets) -> Result<(), Fail> {
    if agent.secrets.put.get().is_some() {
        return Err(Fail::wrong_state("the guest has its secrets already"));
    }
    let put = Put::new(request)?;
    let directory = match &agent.mode {
        AgentMode::Init => in_memory()?,
        AgentMode::Process { secrets: Some(directory), .. } => make(directory)?,
        AgentMode::Process { secrets: None, .. } => {
            let message = "an agent that is an ordinary process has no place for secrets";
            return Err(Fail::new(FailureKind::Unsupported, message));
        }
    };
    for (name, value) in &put.values {
        write(&directory, name, value)?;
    }
    // Nothing was awaited since it was looked at.
    let _ = agent.secrets.put.set(put);
    Ok(())
}

impl Put {
    fn new(request: PutSecrets) -> Result<Self, Fail> {
        let secrets = request.secrets;
        let bytes: usize = secrets.iter().map(|secret| secret.value.len()).sum();
        if secrets.len() > MAX_SECRETS || bytes > MAX_SECRETS_BYTES {
            return Err(Fail::invalid("there are too many secrets, or they are too long together"));
        }
        let known = secrets.iter().map(|secret| (secret.name.as_str(), &secret.value));
        let known = pyro_redact::Secrets::new(known).map_err(|error| Fail::invalid(error.to_string()))?;
        let mut values = BTreeMap::new();
        for secret in secrets {
            if !is_name(&secret.name) {
                return Err(Fail::invalid("the name of a secret is malformed"));
            }
            if values.contains_key(&secret.name) {
                return Err(Fail::invalid(format!("the secret {} is given twice", secret.name)));
            }
            values.insert(secret.name, secret.value);
        }
        Ok(Self { values, known })
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The directory of a guest, on a file system in memory: the one that is there, or one of its own.
fn in_memory() -> Result<OwnedFd, Fail> {
    const OPTIONS: &CStr = c"mode=0700";
    let directory = make(Path::new(DIRECTORY))?;
    if is_in_memory(&directory)? {
        return Ok(directory);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", DIRECTORY, "tmpfs", flags, Some(OPTIONS))
        .map_err(|error| Fail::os("mount the file system of secrets", error))?;
    let directory = make(Path::new(DIRECTORY))?;
    if is_in_memory(&directory)? {
        return Ok(directory);
    }
    Err(Fail::new(FailureKind::Io, "there is no file system in memory for secrets"))
}

fn is_in_memory(directory: &OwnedFd) -> Result<bool, Fail> {
    let stat = fstatfs(directory).map_err(|error| Fail::os("look at the file system of secrets", error))?;
    Ok(u64::try_from(stat.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)))
}

/// Opens a directory that nobody else may enter; makes it where it is missing.
fn make(path: &Path) -> Result<OwnedFd, Fail> {
    let failed = |error: Errno| Fail::os("make the directory of secrets", error);
    match mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
    fchmod(&directory, Mode::RWXU).map_err(failed)?;
    Ok(directory)
}

fn write(directory: &OwnedFd, name: &str, value: &[u8]) -> Result<(), Fail> {
    let failed = |error| Fail::os(&format!("write the secret {name}"), error);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::RUSR).map_err(|error| failed(error.into()))?;
    File::from(file).write_all(value).map_err(failed)
}

impl Vault {
    /// What an output passes through.
    pub fn filter(&self) -> Filter {
        let put = self.put.get().filter(|put| !put.known.is_empty());
        Filter(put.map(|put| Box::new(Redactor::new(&put.known))))
    }

    /// `fail` without the values in its words.
    pub fn clean(&self, fail: Fail) -> Fail {
        match self.put.get() {
            Some(put) if !put.known.is_empty() => {
                fail.map_words(|words| put.known.redact(words).into_owned())
            }
            _ => fail,
        }
    }

    /// The value of the variable that `wanted` names, without one line end at its end, as a shell would have it.
    pub fn variable(&self, wanted: &SecretEnv) -> Result<OsString, Fail> {
        let name = &wanted.secret;
        let value = self.put.get().and_then(|put| put.values.get(name)).ok_or_else(|| {
            Fail::new(FailureKind::NotFound, format!("there is no secret {name}")).at(name.as_bytes())
        })?;
        if value.contains(&0) {
            let message = format!(
                "the secret {name} contains a NUL byte, which no variable can hold; read it from {DIRECTORY}/{name}"
            );
            return Err(Fail::invalid(message));
        }
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        Ok(OsString::from_vec(value.to_vec()))
    }
}

/// One output, out of which secrets are taken. Without secrets it costs nothing.
///
/// What may be the beginning of a secret is held back until that is decided, however long it takes: a secret that is typed one
/// character at a time would show otherwise.
#[derive(Debug, Default)]
pub struct Filter(Option<Box<Redactor>>);

impl Filter {
    /// Takes all of `buffer`; returns what is certain.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Bytes {
        if self.0.is_none() {
            return buffer.split().freeze();
        }
        let mut certain = Vec::new();
        self.push(buffer, |bytes| certain.extend_from_slice(bytes));
        buffer.clear();
        certain.into()
    }

    /// Takes `bytes`, and passes on what is certain.
    pub fn push(&mut self, bytes: &[u8], pass: impl FnOnce(&[u8])) {
        let Some(redactor) = &mut self.0 else { return pass(bytes) };
        let mut certain = Vec::with_capacity(bytes.len());
        redactor.push(bytes, &mut certain);
        pass(&certain);
    }

    /// The end of the output: what was held back.
    pub fn end(&mut self) -> Vec<u8> {
        let mut held = Vec::new();
        if let Some(redactor) = &mut self.0 {
            redactor.flush(&mut held);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_protocol::v1::Secret;
    use std::os::unix::fs::PermissionsExt;

    fn request(secrets: &[(&str, &'static [u8])]) -> PutSecrets {
        let secret = |(name, value): &(&str, &'static [u8])| Secret {
            name: (*name).to_owned(),
            value: Bytes::from_static(value),
        };
        PutSecrets { secrets: secrets.iter().map(secret).collect() }
    }

    fn agent(directory: Option<&Path>) -> Agent {
        let secrets = directory.map(Path::to_owned);
        Agent::new(AgentMode::Process { workdir: "/".into(), secrets })
    }

    #[test]
    fn secrets_become_files_that_only_root_reads_and_are_given_once() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("secrets");
        let agent = agent(Some(&directory));
        put(&agent, request(&[("TOKEN", b"hunter2\n"), ("_k", b"\0\xffraw")])).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&directory), mode(&directory.join("TOKEN"))), (0o700, 0o400));
        assert_eq!(std::fs::read(directory.join("_k")).unwrap(), b"\0\xffraw");
        let again = put(&agent, request(&[("OTHER", b"another one")])).unwrap_err();
        assert_eq!(again.kind, FailureKind::WrongState);
        assert_eq!(format!("{:?}", agent.secrets), r#"Vault { put: OnceCell({"TOKEN", "_k"}) }"#);
        assert_eq!(agent.secrets.clean(Fail::invalid("no hunter2 here")).to_string(), "no [REDACTED] here");
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_showing_it() {
        let (long, home) = ("x".repeat(65), tempfile::tempdir().unwrap());
        let cases: [&[(&str, &'static [u8])]; 6] = [
            &[("", b"hunter2")],
            &[("1A", b"hunter2")],
            &[("../A", b"hunter2")],
            &[(&long, b"hunter2")],
            &[("A", b"hunter2"), ("A", b"hunter3")],
            &[("A", b"hun")],
        ];
        for secrets in cases {
            let refused = put(&agent(Some(&home.path().join("secrets"))), request(secrets)).unwrap_err();
            assert_eq!(refused.kind, FailureKind::Invalid, "{refused}");
            assert!(!refused.to_string().contains("hun"), "{refused}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let nowhere = put(&agent(None), request(&[("A", b"hunter2")])).unwrap_err();
        assert_eq!(nowhere.kind, FailureKind::Unsupported);
    }

    #[test]
    fn variables_are_found_by_the_secrets_name() {
        let home = tempfile::tempdir().unwrap();
        let agent = agent(Some(&home.path().join("secrets")));
        put(&agent, request(&[("A", b"hunter2\n"), ("NUL", b"a\0bcd")])).unwrap();
        let variable = |secret: &str| {
            let wanted = SecretEnv { secret: secret.to_owned(), variable: "V".into() };
            agent.secrets.variable(&wanted).map_err(|fail| fail.kind)
        };
        assert_eq!(variable("A"), Ok("hunter2".into()));
        assert_eq!(variable("B"), Err(FailureKind::NotFound));
        assert_eq!(variable("NUL"), Err(FailureKind::Invalid));
    }
}
