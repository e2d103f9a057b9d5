//! The values of a workspace's secrets: read once, kept in one file that nobody else can read.

use super::{NewSecret, SecretError, SecretName, SecretSource, SecretValue};
use crate::PyroError;
use crate::workspace::{WorkspaceDirectory, WorkspaceId};
use pyro_protocol::limits::{MAX_SECRET_BYTES, MAX_SECRETS_BYTES};
use pyro_runtime::fs::{FsError, write_private};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const _: () = assert!(MAX_SECRET_BYTES == pyro_redact::MAX_VALUE_BYTES);

/// The secrets of one workspace, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecretValues(Vec<(SecretName, SecretValue)>);

/// A secret in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: SecretName,
    value: Vec<u8>,
}

impl SecretValues {
    /// Takes what is given and reads what is in files. Fails when anything about them cannot be.
    pub(crate) fn read(secrets: Vec<NewSecret>) -> Result<Self, SecretError> {
        let mut values: Vec<(SecretName, SecretValue)> = Vec::with_capacity(secrets.len());
        for NewSecret { name, source } in secrets {
            if values.iter().any(|(present, _)| *present == name) {
                return Err(SecretError::Duplicate { name });
            }
            let value = match source {
                SecretSource::Literal(value) => value,
                SecretSource::File(path) => in_file(&name, &path)?,
            };
            values.push((name, value));
        }
        let values = Self(values);
        // Whatever cannot be redacted cannot be a secret.
        values.known()?;
        let bytes = values.0.iter().map(|(_, value)| value.as_bytes().len()).sum();
        if bytes > MAX_SECRETS_BYTES {
            return Err(SecretError::TooLarge { bytes, max: MAX_SECRETS_BYTES });
        }
        Ok(values)
    }

    /// Keeps them in a workspace's directory.
    pub(crate) fn save(&self, directory: &WorkspaceDirectory) -> Result<(), PyroError> {
        let kept =
            |(name, value): &(SecretName, SecretValue)| Kept { name: name.clone(), value: value.0.clone() };
        let kept: Vec<_> = self.0.iter().map(kept).collect();
        let path = directory.secrets();
        let failed = |error| FsError::on("write", &path)(io::Error::from(error));
        let document = serde_json::to_vec(&kept).map_err(failed)?;
        Ok(write_private(&path, &document)?)
    }

    /// Those that a workspace was created with.
    pub(crate) fn load(id: &WorkspaceId, directory: &WorkspaceDirectory) -> Result<Self, SecretError> {
        let kept = fs::read(directory.secrets())
            .and_then(|document| Ok(serde_json::from_slice::<Vec<Kept>>(&document)?))
            .map_err(|source| SecretError::Lost { id: id.clone(), source })?;
        Ok(Self(kept.into_iter().map(|Kept { name, value }| (name, value.into())).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, for a guest.
    pub(crate) fn pairs(&self) -> Vec<(&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    /// What to look for.
    pub(super) fn known(&self) -> Result<pyro_redact::Secrets, SecretError> {
        Ok(pyro_redact::Secrets::new(self.pairs())?)
    }

    /// What to look for in names of hosts, which have no upper case.
    pub(super) fn lower(&self) -> Result<pyro_redact::Secrets, SecretError> {
        let lower: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes().to_ascii_lowercase()))
            .collect();
        Ok(pyro_redact::Secrets::new(lower.iter().map(|(name, value)| (*name, value)))?)
    }

    /// Bytes of the longest one.
    pub(super) fn longest(&self) -> usize {
        self.0.iter().map(|(_, value)| value.as_bytes().len()).max().unwrap_or_default()
    }
}

/// What a regular file holds; one byte more than can be accepted tells that it is too long.
fn in_file(name: &SecretName, path: &Path) -> Result<SecretValue, SecretError> {
    let unreadable = |source| SecretError::Unreadable { name: name.clone(), path: path.to_owned(), source };
    // A pipe that nobody writes to would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(SecretError::NoFile { name: name.clone(), path: path.to_owned() });
    }
    let mut value = Vec::new();
    file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut value).map_err(unreadable)?;
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_protocol::error::{Diagnostic, ErrorKind};
    use std::os::unix::fs::PermissionsExt;

    fn literal(name: &str, value: &str) -> NewSecret {
        NewSecret {
            name: SecretName::parse(name).unwrap(),
            source: SecretSource::Literal(value.to_owned().into()),
        }
    }

    fn file(name: &str, path: &Path) -> NewSecret {
        NewSecret { name: SecretName::parse(name).unwrap(), source: SecretSource::File(path.to_owned()) }
    }

    #[test]
    fn what_is_kept_is_what_was_given_and_nobody_else_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        fs::write(&path, b"from \0 a file\xff\n").unwrap();
        let values = SecretValues::read(vec![literal("A", "hunter2"), file("B", &path)]).unwrap();
        fs::remove_file(path).unwrap();
        let id = WorkspaceId::parse("ws-1");
        let directory = WorkspaceDirectory::new(home.path(), &id);
        directory.create().unwrap();
        let lost = SecretValues::load(&id, &directory).unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Integrity);
        values.save(&directory).unwrap();
        let mode = fs::metadata(directory.secrets()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let loaded = SecretValues::load(&id, &directory).unwrap();
        assert_eq!(loaded.pairs(), [("A", &b"hunter2"[..]), ("B", b"from \0 a file\xff\n")]);
        assert!(!format!("{loaded:?}").contains("104"), "{loaded:?}");
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_by_name() {
        let home = tempfile::tempdir().unwrap();
        let long = home.path().join("long");
        fs::write(&long, "x".repeat(MAX_SECRET_BYTES + 5)).unwrap();
        let most = "x".repeat(MAX_SECRET_BYTES);
        let many: Vec<_> = (0..65).map(|number| literal(&format!("S{number}"), "hunter2")).collect();
        let cases = [
            (vec![literal("A", "hun\n")], ErrorKind::InvalidInput, "secret A has 3 bytes"),
            (
                vec![literal("A", "hunter2"), literal("A", "hunter3")],
                ErrorKind::InvalidInput,
                "A is given twice",
            ),
            (
                vec![file("A", &home.path().join("none"))],
                ErrorKind::NotFound,
                "none`, which holds the secret A",
            ),
            (vec![file("A", home.path())], ErrorKind::InvalidInput, "no regular file"),
            (vec![file("A", &long)], ErrorKind::InvalidInput, "the limit is 65536"),
            (many, ErrorKind::InvalidInput, "more than 64"),
            (
                ["A", "B", "C", "D"].map(|name| literal(name, &most)).into(),
                ErrorKind::InvalidInput,
                "together",
            ),
        ];
        for (secrets, kind, said) in cases {
            let refused = SecretValues::read(secrets).unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused}");
            assert!(
                refused.to_string().contains(said) && !refused.to_string().contains("hunter"),
                "{refused}"
            );
        }
    }
}
