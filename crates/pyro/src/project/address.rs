//! The address of a repository, and what of it: checked once, before `git` sees either.

use super::ProjectError;
use std::fmt;
use std::path::Path;

/// Longest address and longest reference, in bytes.
const MAX_ADDRESS_BYTES: usize = 4096;
const MAX_REFERENCE_BYTES: usize = 512;
/// Characters of a reference that an error shows.
const SHOWN_CHARS: usize = 60;
/// What `git` is allowed to speak, and no helper of another name with it.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Where a repository is: a URL, `host:path`, or an absolute path. Its text forms never show a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RepoUrl {
    /// What `git` is given: without credentials, where they can be handed over otherwise.
    address: String,
    credentials: Option<Credentials>,
    is_local: bool,
}

/// What a URL says about who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Scheme, host and port, as the configuration of `git` names them.
    pub(super) scope: String,
    /// As in the URL, encoded.
    pub(super) user: String,
    /// As in the URL, encoded.
    pub(super) password: Option<String>,
}

impl RepoUrl {
    /// Checks an address. A relative path begins at `cwd`.
    ///
    /// Fails with [`ProjectError::BadUrl`] for what is none, for schemes that are not allowed, and for what begins with `-`.
    pub fn parse(given: &str, cwd: &Path) -> Result<Self, ProjectError> {
        let bad = |why| Err(ProjectError::BadUrl { why });
        if given.is_empty() {
            return bad("it is empty");
        }
        if given.len() > MAX_ADDRESS_BYTES || given.chars().any(char::is_control) {
            return bad("it is too long, or has control characters");
        }
        if given.starts_with('-') {
            return bad("it begins with `-`");
        }
        if let Some((scheme, rest)) = given.split_once("://") {
            return Self::url(scheme, rest);
        }
        let (before, slash) = (given.split(':').next().unwrap_or_default(), given.find('/'));
        if before.len() == given.len() || slash.is_some_and(|slash| slash < before.len()) {
            let path = cwd.join(given);
            let Some(address) = path.to_str() else { return bad("its path is not UTF-8") };
            return Ok(Self { address: address.to_owned(), credentials: None, is_local: true });
        }
        let after = &given[before.len() + 1..];
        if after.starts_with(':') {
            return bad("programs that fetch in their own way (`NAME::ADDRESS`) are not allowed");
        }
        if !before.contains('@') && after.contains('@') {
            return bad("only http and https URLs may have a password");
        }
        let host = before.rsplit('@').next().unwrap_or_default();
        if host.is_empty() || host.starts_with('-') || after.is_empty() || after.starts_with('-') {
            return bad("it is neither a URL nor host:path");
        }
        Ok(Self { address: given.to_owned(), credentials: None, is_local: false })
    }

    fn url(scheme: &str, rest: &str) -> Result<Self, ProjectError> {
        let bad = |why| Err(ProjectError::BadUrl { why });
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            return bad("its scheme is not one of https, http, ssh, git and file");
        }
        if scheme == "file" {
            if !rest.starts_with('/') {
                return bad("a file URL has three slashes and no host");
            }
            return Ok(Self { address: format!("file://{rest}"), credentials: None, is_local: true });
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (who, host) = match authority.rsplit_once('@') {
            Some((who, host)) => (Some(who), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with('-') || host.starts_with(':') {
            return bad("it has no host");
        }
        if path.contains(['?', '#']) {
            return bad("it has a query or a fragment; say with --repo-ref what to take");
        }
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            Some((user, "")) => (Some(user.to_owned()), None),
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
            None => (None, None),
        };
        let plain = format!("{scheme}://{host}{path}");
        let (address, credentials) = match (scheme.as_str(), user) {
            (_, None) => (plain, None),
            ("http" | "https", Some(user)) => {
                (plain, Some(Credentials { scope: format!("{scheme}://{host}"), user, password }))
            }
            // The user of a machine, which is no secret; programs that log in by ssh take no password from an address.
            ("ssh", Some(user)) if password.is_none() && !user.starts_with('-') => {
                (format!("ssh://{user}@{host}{path}"), None)
            }
            (_, Some(_)) => return bad("only http and https URLs may have a password"),
        };
        Ok(Self { address, credentials, is_local: false })
    }

    /// What `git` is given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether it is on this host's file system.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Its path, where it has one that is not encoded.
    pub(super) fn local_path(&self) -> Option<&Path> {
        let path = match self.address.strip_prefix("file://") {
            Some(encoded) if encoded.contains('%') => return None,
            Some(path) => path,
            None => &self.address,
        };
        self.is_local.then(|| Path::new(path))
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RepoUrl").field(&self.address).finish()
    }
}

/// A branch, a tag, or a commit in full or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRef(String);

impl RepoRef {
    /// Checks a reference. Fails with [`ProjectError::BadReference`] for what can name none.
    pub fn parse(given: &str) -> Result<Self, ProjectError> {
        let why = if given.is_empty() {
            "it is empty"
        } else if given.len() > MAX_REFERENCE_BYTES {
            "it is too long"
        } else if given.starts_with(['-', '+', '/'])
            || given.ends_with(['/', '.'])
            || given.strip_suffix(".lock").is_some()
        {
            "no reference begins or ends so"
        } else if given.chars().any(|character| {
            character.is_control() || character.is_whitespace() || r"~^:?*[\".contains(character)
        }) || ["..", "@{", "//"].iter().any(|part| given.contains(part))
        {
            "it has characters that no reference has"
        } else {
            return Ok(Self(given.to_owned()));
        };
        Err(ProjectError::BadReference { given: given.chars().take(SHOWN_CHARS).collect(), why })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may be the id of a commit, in full or in part.
    pub(super) fn may_be_commit(&self) -> bool {
        (4..=64).contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl fmt::Display for RepoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
