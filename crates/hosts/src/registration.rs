//! What a host is told to start, and what counts as the same.

use crate::HostError;
use std::ffi::OsString;

/// The name under which pyro is registered.
pub const SERVER_NAME: &str = "pyro";

/// A server as a host is told to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The name of the entry.
    pub name: &'static str,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

/// What a host should have registered.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What is registered where there is nothing yet, or nothing that can be kept.
    pub registration: Registration,
    /// Whether only exactly that is right. Otherwise any command of the same program is that `accepts` takes.
    pub exact: bool,
    /// Whether these are arguments with which the program serves.
    pub accepts: fn(&[String]) -> bool,
}

impl Registration {
    /// pyro, started by `command`.
    pub fn new(command: Vec<OsString>) -> Self {
        Self { name: SERVER_NAME, command }
    }

    /// Program and arguments as text: configuration files have no other. Fails where there is no program.
    pub(crate) fn words(&self) -> Result<Vec<String>, HostError> {
        let words = self.command.iter().map(|word| {
            word.to_str()
                .map(ToOwned::to_owned)
                .ok_or_else(|| HostError::NotText { word: word.to_string_lossy().into_owned() })
        });
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.is_empty() { Err(HostError::NoCommand) } else { Ok(words) }
    }
}

impl Expected {
    /// What to register in the place of `found`: its arguments are kept where nothing else was asked for and they are good.
    pub(crate) fn replacing(&self, found: Option<&[String]>) -> Result<Registration, HostError> {
        let mut words = self.registration.words()?;
        if let Some([_, arguments @ ..]) = found.filter(|_| !self.exact)
            && (self.accepts)(arguments)
        {
            words.truncate(1);
            words.extend_from_slice(arguments);
        }
        Ok(Registration::new(words.into_iter().map(OsString::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn arguments_that_are_good_are_kept_when_nothing_else_was_asked_for() {
        let expected = |exact| Expected {
            registration: Registration::new(vec!["/new".into(), "mcp".into(), "serve".into()]),
            exact,
            accepts: |arguments| arguments.first().is_some_and(|first| first == "mcp"),
        };
        let cases: [(bool, &[&str], &[&str]); 4] = [
            (
                false,
                &["/old", "mcp", "serve", "--mode", "inspect"],
                &["/new", "mcp", "serve", "--mode", "inspect"],
            ),
            (false, &["/old", "server"], &["/new", "mcp", "serve"]),
            (true, &["/old", "mcp", "serve", "--mode", "inspect"], &["/new", "mcp", "serve"]),
            (false, &[], &["/new", "mcp", "serve"]),
        ];
        for (exact, found, words) in cases {
            let found: Vec<_> = found.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(expected(exact).replacing(Some(&found)).unwrap().words().unwrap(), words);
        }
    }

    #[test]
    fn what_no_file_can_hold_is_refused() {
        let path = OsString::from_vec(b"/a\xff".to_vec());
        assert!(matches!(Registration::new(vec![path]).words(), Err(HostError::NotText { .. })));
        assert!(matches!(Registration::new(Vec::new()).words(), Err(HostError::NoCommand)));
    }
}
