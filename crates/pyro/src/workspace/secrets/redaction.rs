//! Taking the values of a workspace's secrets out of what comes out of its guest beside its streams, and out of what is recorded.

use super::{SecretError, SecretValues};
use crate::PyroError;
use crate::engine::blocking;
use crate::network::HostName;
use crate::store::{Event, Record};
use crate::workspace::{WorkspaceDirectory, WorkspaceError};
use bytes::Bytes;
use pyro_protocol::error::{Diagnostic, chain};
use pyro_redact::{Redactor, Secrets};
use pyro_tree::Rewrite;
use std::borrow::Cow;

/// How many times longer than a value its longest form is, and room for the line ends in it.
const LONGEST_FORM: usize = 7;

/// The secrets of a workspace, to be looked for. Without any, everything passes as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction {
    known: Option<Secrets>,
    /// The same, as they are in names of hosts.
    lower: Option<Secrets>,
    margin: u64,
}

impl Redaction {
    /// For a workspace. Its file is read only where it has secrets.
    pub(crate) async fn load(record: &Record, directory: &WorkspaceDirectory) -> Result<Self, PyroError> {
        if record.origin.secrets.is_empty() {
            return Ok(Self::default());
        }
        let (id, directory) = (record.id.clone(), directory.clone());
        blocking(move || Ok(Self::new(&SecretValues::load(&id, &directory)?)?)).await
    }

    fn new(values: &SecretValues) -> Result<Self, SecretError> {
        let margin = (values.longest() * LONGEST_FORM) as u64;
        Ok(Self { known: Some(values.known()?), lower: Some(values.lower()?), margin })
    }

    /// How much more of a text than is to be shown has to be read, so that a value at its end is seen as a whole.
    pub(crate) fn margin(&self) -> u64 {
        self.margin
    }

    /// The first `most` bytes of a text that begins with `bytes`, or is them, and whether that cuts it. An end that may be the
    /// beginning of a value is left out where the text goes on.
    pub(crate) fn beginning<'a>(
        &self,
        bytes: &'a [u8],
        is_whole: bool,
        most: usize,
    ) -> (Cow<'a, [u8]>, bool) {
        let Some(known) = &self.known else {
            return (Cow::Borrowed(&bytes[..bytes.len().min(most)]), bytes.len() > most);
        };
        let mut out = Vec::with_capacity(bytes.len());
        let mut redactor = Redactor::new(known);
        redactor.push(bytes, &mut out);
        if is_whole {
            redactor.flush(&mut out);
        }
        let is_cut = out.len() > most;
        out.truncate(most);
        (Cow::Owned(out), is_cut)
    }

    /// The name of a host, or another one in the place of one that holds a value.
    pub(crate) fn host_name(&self, name: HostName) -> HostName {
        let shows = |known: &Secrets| known.redact(name.as_str().as_bytes()) != name.as_str().as_bytes();
        if self.lower.as_ref().is_some_and(shows) { HostName::redacted() } else { name }
    }

    /// A content.
    pub(crate) fn bytes(&self, bytes: Bytes) -> Bytes {
        let Some(known) = &self.known else { return bytes };
        match known.redact(&bytes) {
            Cow::Borrowed(_) => bytes,
            Cow::Owned(redacted) => redacted.into(),
        }
    }

    /// A text.
    pub(crate) fn text(&self, text: String) -> String {
        let Some(known) = &self.known else { return text };
        match known.redact(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => String::from_utf8_lossy(&redacted).into_owned(),
        }
    }

    /// The words of a command.
    pub(crate) fn words(&self, words: &[String]) -> Vec<String> {
        words.iter().map(|word| self.text(word.clone())).collect()
    }

    /// What was done, with its paths.
    pub(crate) fn event(&self, event: Event) -> Event {
        match event {
            Event::FileWritten { path, bytes } => Event::FileWritten { path: self.text(path), bytes },
            Event::Synced { source, dest, entries, bytes } => {
                Event::Synced { source: self.text(source), dest: self.text(dest), entries, bytes }
            }
            Event::Exported { path, output, artifact_type, entries, bytes } => {
                let (path, output) = (self.text(path), self.text(output));
                Event::Exported { path, output, artifact_type, entries, bytes }
            }
            Event::PatchApplied { .. } | Event::SnapshotCreated { .. } | Event::SnapshotDeleted { .. } => {
                event
            }
        }
    }

    /// An error: as it is, unless its words show a value.
    pub(crate) fn error(&self, error: PyroError) -> PyroError {
        if self.known.is_none() {
            return error;
        }
        let (message, hint, log) = (chain(&error), error.hint(), error.log().map(ToOwned::to_owned));
        let said = (message.clone(), hint.clone(), log.clone());
        let (message, hint, log) =
            (self.text(message), hint.map(|hint| self.text(hint)), log.map(|log| self.text(log)));
        if said == (message.clone(), hint.clone(), log.clone()) {
            return error;
        }
        WorkspaceError::Redacted { kind: error.kind(), message, hint, log }.into()
    }

    /// For the files of an export.
    pub(crate) fn rewrite(&self) -> Option<Box<dyn Rewrite>> {
        let known = self.known.as_ref()?;
        Some(Box::new(RedactedFiles(Redactor::new(known))))
    }
}

/// Files, one after the other.
#[derive(Debug)]
struct RedactedFiles(Redactor);

impl Rewrite for RedactedFiles {
    fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        self.0.push(content, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.flush(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewSecret, SecretName, SecretSource};
    use super::*;
    use pyro_protocol::error::ErrorKind;

    fn redaction() -> Redaction {
        let source = SecretSource::Literal("hunter2".to_owned().into());
        let secret = NewSecret { name: SecretName::parse("A").unwrap(), source };
        Redaction::new(&SecretValues::read(vec![secret]).unwrap()).unwrap()
    }

    #[test]
    fn a_value_at_the_cut_does_not_show() {
        let text = b"see hunter2 there";
        let redaction = redaction();
        let cases = [
            (17, true, 100, "see [REDACTED] there"),
            (17, true, 9, "see [REDA"),
            (9, false, 9, "see "),
            (5, false, 5, "see "),
            (9, true, 9, "see hunte"),
        ];
        for (len, is_whole, most, expected) in cases {
            let (seen, is_cut) = redaction.beginning(&text[..len], is_whole, most);
            assert_eq!(is_cut, seen.len() == most && most == 9 && len == 17, "{len} {is_whole}");
            assert_eq!(String::from_utf8_lossy(&seen), expected, "{len} {is_whole}");
        }
        let (seen, is_cut) = Redaction::default().beginning(text, false, 7);
        assert_eq!((&*seen, is_cut), (&b"see hun"[..], true));
    }

    #[test]
    fn an_error_is_what_it_was_without_the_value() {
        let redaction = redaction();
        let error = |path: &str| PyroError::from(WorkspaceError::NotText { path: path.to_owned() });
        let untouched = redaction.error(error("/workspace/a"));
        assert!(matches!(untouched, PyroError::Workspace(WorkspaceError::NotText { .. })));
        let redacted = redaction.error(error("/workspace/hunter2"));
        assert_eq!(redacted.to_string(), "`/workspace/[REDACTED]` is not a UTF-8 text");
        assert_eq!((redacted.kind(), redacted.hint()), (ErrorKind::InvalidInput, error("").hint()));
    }

    #[test]
    fn words_and_paths_are_redacted_encoded_or_not() {
        let redaction = redaction();
        let words = ["echo", "hunter2", "aHVudGVyMg=="].map(ToOwned::to_owned);
        assert_eq!(redaction.words(&words), ["echo", "[REDACTED]", "[REDACTED]"]);
        let event = redaction.event(Event::FileWritten { path: "/workspace/hunter2".to_owned(), bytes: 1 });
        assert_eq!(event, Event::FileWritten { path: "/workspace/[REDACTED]".to_owned(), bytes: 1 });
    }
}
