//! What to look for.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::forms;
use crate::index::Index;
use crate::pattern::Pattern;
use crate::{MAX_SECRETS, MAX_VALUE_BYTES, MIN_VALUE_BYTES, Redactor, SecretsError};

/// Values that must not show, ready to be looked for. Cloning shares them.
///
/// Memory is some 10 KiB, and of each value ten times its length when it is letters and digits, up to 70 times when all
/// of it has to be escaped.
#[derive(Clone)]
pub struct Secrets(Arc<Patterns>);

/// The forms of all values.
pub struct Patterns {
    pub all: Vec<Pattern>,
    /// Where they begin.
    pub index: Index,
    /// Length of the longest one that line ends may be inside.
    pub longest_folded: usize,
}

impl Secrets {
    /// The secrets with these names and values. Names are for errors only.
    ///
    /// A value has [`MIN_VALUE_BYTES`] to [`MAX_VALUE_BYTES`] bytes, the first without one line end at its end; there
    /// are at most [`MAX_SECRETS`]. Values may be equal or parts of each other.
    pub fn new<N, V>(secrets: impl IntoIterator<Item = (N, V)>) -> Result<Self, SecretsError>
    where
        N: Into<String>,
        V: AsRef<[u8]>,
    {
        let mut forms = Vec::new();
        for (count, (name, value)) in secrets.into_iter().enumerate() {
            let value = value.as_ref();
            let core = forms::core(value);
            if count == MAX_SECRETS {
                return Err(SecretsError::TooMany);
            }
            if value.len() > MAX_VALUE_BYTES {
                return Err(SecretsError::TooLong { name: name.into(), len: value.len() });
            }
            if core.len() < MIN_VALUE_BYTES {
                return Err(SecretsError::TooShort { name: name.into(), len: core.len() });
            }
            forms::add(&mut forms, core);
        }
        let all: Vec<_> = forms.into_iter().map(Pattern::new).collect();
        let longest_folded =
            all.iter().filter(|pattern| pattern.folds()).map(|pattern| pattern.bytes.len()).max();
        let index = Index::new(&all);
        Ok(Self(Arc::new(Patterns { all, index, longest_folded: longest_folded.unwrap_or(0) })))
    }

    /// Whether there are none, so that every stream stays as it is.
    pub fn is_empty(&self) -> bool {
        self.0.all.is_empty()
    }

    /// `bytes` as a whole stream, with marks in the place of secrets.
    pub fn redact<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut redactor = Redactor::new(self);
        let mut out = Vec::new();
        redactor.push(bytes, &mut out);
        redactor.flush(&mut out);
        if redactor.marks() == 0 { Cow::Borrowed(bytes) } else { Cow::Owned(out) }
    }

    pub(crate) fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.0)
    }
}

/// The number of forms: nothing of the values.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} forms)", self.0.all.len())
    }
}
