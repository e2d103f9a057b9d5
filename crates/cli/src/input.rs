//! Texts and names that the user gives: on the command line, in a file of the host's, on standard input.

use pyro::network::NamePattern;
use pyro::workspace::{
    MAX_TEXT_BYTES, NewSecret, SecretEnv, SecretError, SecretName, SecretSource, ShellId, WorkspaceError,
    WorkspaceId,
};
use pyro::{Diagnostic, ErrorKind, PyroError};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The names that a guest may reach.
#[derive(Debug, clap::Args)]
pub struct AllowedHosts {
    /// With a network: reach only hosts of this name, or, with `*.` before it, below it; may be given several times
    #[arg(long = "allow-host", value_name = "PATTERN")]
    pub allow_hosts: Vec<NamePattern>,
}

/// Stands for standard input where a file is expected.
const STDIN: &str = "-";

/// A text that cannot be taken from where the user says it is.
#[derive(Debug)]
pub enum InputError {
    /// It cannot be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// It is not UTF-8.
    NotText { path: PathBuf },
    /// It would be typed at a terminal, and there is none.
    NoTerminal,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(formatter, "cannot read {}", named(path)),
            Self::NotText { path } => write!(formatter, "{} is not a UTF-8 text", named(path)),
            Self::NoTerminal => write!(formatter, "standard input and output are no terminal"),
        }
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::NotText { .. } | Self::NoTerminal => None,
        }
    }
}

impl Diagnostic for InputError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Host,
            },
            Self::NotText { .. } | Self::NoTerminal => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => {
                "give the path of a file that you can read, or `-` for standard input".to_owned()
            }
            Self::NotText { .. } => {
                "bring binary files into the workspace with `pyro workspace sync push`".to_owned()
            }
            Self::NoTerminal => "use `pyro workspace shell read` and `pyro workspace shell write`".to_owned(),
        })
    }
}

fn named(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".to_owned() } else { format!("`{}`", path.display()) }
}

/// The text that is given itself, or is in a file of the host's. The command line has one of them.
pub async fn text_or_file(
    text: Option<String>,
    file: Option<PathBuf>,
    what: &'static str,
) -> anyhow::Result<String> {
    match (text, file) {
        (Some(text), _) => Ok(text),
        (None, file) => text_in(file.unwrap_or_else(|| STDIN.into()), what).await,
    }
}

/// Reads the text in `path`, or on standard input where that is `-`. At most one byte more than is accepted is read; `what`
/// names the text where it is too long.
async fn text_in(path: PathBuf, what: &'static str) -> anyhow::Result<String> {
    // A pipe may take its time, which must not hold up anything else.
    tokio::task::spawn_blocking(move || read_text(path, what)).await?
}

fn read_text(path: PathBuf, what: &'static str) -> anyhow::Result<String> {
    let bytes = match read_bounded(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(InputError::Unreadable { path, source }.into()),
    };
    let length = bytes.len() as u64;
    if length > MAX_TEXT_BYTES {
        let too_large = WorkspaceError::TooLarge { what, bytes: length, max: MAX_TEXT_BYTES };
        return Err(PyroError::from(too_large).into());
    }
    String::from_utf8(bytes).map_err(|_| InputError::NotText { path }.into())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        io::stdin().lock().take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The id of a workspace; whether there is such a one is told by the operation.
#[expect(clippy::unnecessary_wraps, reason = "the signature is clap's")]
pub fn workspace_id(text: &str) -> Result<WorkspaceId, Infallible> {
    Ok(WorkspaceId::parse(text))
}

/// The id of a shell, likewise.
#[expect(clippy::unnecessary_wraps, reason = "the signature is clap's")]
pub fn shell_id(text: &str) -> Result<ShellId, Infallible> {
    Ok(ShellId::parse(text))
}

/// A label, split at its first `=`.
pub fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some(("", _)) => Err("there is no key before the `=`"),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("a label is KEY=VALUE"),
    }
}

/// Secrets as `create` is given them, each split at its first `=`. No error shows what was given: it may be a value.
pub fn new_secrets(literals: Vec<String>, files: Vec<String>) -> Result<Vec<NewSecret>, PyroError> {
    let split = |text: &str| match text.split_once('=') {
        Some((name, rest)) => Ok((SecretName::parse(name)?, rest.to_owned())),
        None => Err(SecretError::MalformedName),
    };
    let mut secrets = Vec::with_capacity(literals.len() + files.len());
    for text in literals {
        let (name, value) = split(&text)?;
        secrets.push(NewSecret { name, source: SecretSource::Literal(value.into()) });
    }
    for text in files {
        let (name, path) = split(&text)?;
        secrets.push(NewSecret { name, source: SecretSource::File(path.into()) });
    }
    Ok(secrets)
}

/// Secrets as calls name them.
pub fn secret_env(given: &[String]) -> Result<Vec<SecretEnv>, PyroError> {
    let parse = |text: &String| match text.split_once('=') {
        Some((secret, variable)) => SecretEnv::new(secret, Some(variable)),
        None => SecretEnv::new(text, None),
    };
    Ok(given.iter().map(parse).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_split_at_the_first_sign() {
        let cases = [
            ("a=b", Some(("a", "b"))),
            ("a=", Some(("a", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            ("team/ci=x y", Some(("team/ci", "x y"))),
            ("a", None),
            ("=b", None),
            ("", None),
        ];
        for (given, expected) in cases {
            let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(label(given).ok(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_malformed_secret_is_not_shown() {
        let secret = |text: &str| new_secrets(vec![text.to_owned()], Vec::new());
        let given = secret("A=b=c").unwrap();
        assert_eq!(given[0].source, SecretSource::Literal("b=c".to_owned().into()));
        for text in ["hunter2-", "hunter2-=", "=hunter2"] {
            let refused = secret(text).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
        let refused = secret_env(&["TOKEN=hunter2-".to_owned()]).unwrap_err();
        assert!(
            refused.to_string().contains("TOKEN") && !refused.to_string().contains("hunter2"),
            "{refused}"
        );
    }

    #[test]
    fn a_file_that_is_no_text_is_named() {
        let error = read_text("/nowhere/at-all".into(), "the text").unwrap_err();
        assert_eq!(format!("{error}"), "cannot read `/nowhere/at-all`");
        assert_eq!(error.downcast_ref::<InputError>().map(Diagnostic::kind), Some(ErrorKind::NotFound));
        let endless = read_text("/dev/zero".into(), "the text").unwrap_err();
        assert!(format!("{endless}").starts_with("the text has 1048577 bytes"), "{endless}");
    }
}
