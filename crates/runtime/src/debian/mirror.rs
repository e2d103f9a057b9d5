//! Which mirror packages come from.
//!
//! In this order: `PYRO_DEBIAN_MIRROR`; the host's own apt sources, since that mirror is near and allowed; a built-in
//! default. A snapshot (`--snapshot TIMESTAMP`) pins the archive to a point in time instead.
//!
//! Of the apt sources only the plain Debian archive counts: security and backports archives are no mirrors of it, and
//! third parties publish repositories whose suites bear Debian's names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use deb822_fast::{Deb822, Paragraph};

use super::error::DebianError;
use crate::env_vars::{EnvVars, Lookup};

/// Where packages come from when neither the user nor the host says.
const DEFAULT_MIRROR: &str = "http://ftp.debian.org/debian";

/// Where the time goes in the URL of a snapshot archive.
const TIMESTAMP: &str = "{timestamp}";

/// Suites and codenames of the main archive, of which any mirror has all.
const SUITES: &[&str] = &[
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// A point in time of the archive, `YYYYMMDDTHHMMSSZ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTime(String);

impl FromStr for SnapshotTime {
    type Err = DebianError;

    fn from_str(text: &str) -> Result<Self, DebianError> {
        let shape = text.len() == 16
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        if shape {
            Ok(Self(text.to_owned()))
        } else {
            Err(DebianError::SnapshotTime { text: text.to_owned() })
        }
    }
}

impl fmt::Display for SnapshotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL as it may be shown: without the credentials that may stand before its host.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host_at);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// Why a mirror was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorOrigin {
    /// The user set `PYRO_DEBIAN_MIRROR`.
    Environment,
    /// The host's apt uses it: the file that says so.
    AptSources(PathBuf),
    /// Nothing said otherwise.
    Default,
    /// A pinned point in time.
    Snapshot(SnapshotTime),
}

/// A Debian mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    base: String,
    origin: MirrorOrigin,
}

impl Mirror {
    /// The mirror at `url`, which has to be http or https.
    pub fn new(url: &str, origin: MirrorOrigin) -> Result<Self, DebianError> {
        let base = url.trim().trim_end_matches('/');
        let rest = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        let usable =
            |rest: &str| !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control());
        if !rest.is_some_and(usable) {
            return Err(DebianError::MirrorUrl { url: url.to_owned() });
        }
        Ok(Self { base: base.to_owned(), origin })
    }

    /// The mirror to use: a snapshot if one is wanted, else as the environment, the host's apt or the default has it.
    pub fn select(
        snapshot: Option<&SnapshotTime>,
        lookup: Lookup<'_>,
        apt: &Path,
    ) -> Result<Self, DebianError> {
        let variable = |name| lookup(name).map(|value| value.to_string_lossy().into_owned());
        if let Some(time) = snapshot {
            // A URL that has no place for the time would give another archive than the one asked for.
            let template = variable(EnvVars::PYRO_DEBIAN_SNAPSHOT_URL).filter(|url| url.contains(TIMESTAMP));
            let url = template.ok_or(DebianError::NoSnapshotUrl)?.replace(TIMESTAMP, &time.0);
            return Self::new(&url, MirrorOrigin::Snapshot(time.clone()));
        }
        if let Some(url) = variable(EnvVars::PYRO_DEBIAN_MIRROR) {
            return Self::new(&url, MirrorOrigin::Environment);
        }
        for file in source_files(apt) {
            // A file of the host's that cannot be read or parsed is apt's matter: the next one may do.
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            let found = if file.extension().is_some_and(|ext| ext == "sources") {
                from_deb822(&text)
            } else {
                from_one_line(&text)
            };
            if let Some(url) = found {
                return Self::new(&url, MirrorOrigin::AptSources(file));
            }
        }
        Self::new(DEFAULT_MIRROR, MirrorOrigin::Default)
    }

    /// The URL of the file at `path` on this mirror.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Its host, and the port that it is reached at.
    pub fn place(&self) -> (String, u16) {
        let url = without_credentials(&self.base);
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        let usual = if scheme == "https" { 443 } else { 80 };
        // The last colon of an address in brackets is not the one before a port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(usual)),
            _ => (authority, usual),
        };
        (host.trim_matches(['[', ']']).to_owned(), port)
    }

    /// The URL paths are below.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Why it is this one.
    pub fn origin(&self) -> &MirrorOrigin {
        &self.origin
    }

    /// Whether this is a pinned point in time, whose release files have expired rightly.
    pub(crate) fn is_snapshot(&self) -> bool {
        matches!(self.origin, MirrorOrigin::Snapshot(_))
    }
}

/// The files apt reads, in a fixed order: the main one first, then those of the directory by name.
fn source_files(apt: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "sources" || ext == "list"))
        .collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    files
}

/// The first fitting URI of a deb822 file; what does not parse is skipped as a whole.
fn from_deb822(text: &str) -> Option<String> {
    let document: Deb822 = text.parse().ok()?;
    document.iter().find_map(from_paragraph)
}

fn from_paragraph(paragraph: &Paragraph) -> Option<String> {
    let words = |name: &str| -> Vec<String> {
        paragraph.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let disabled = paragraph.get("Enabled").is_some_and(|value| {
        matches!(
            value.trim().to_ascii_lowercase().as_str(),
            "no" | "false" | "without" | "off" | "disable" | "0"
        )
    });
    if disabled || !words("Types").iter().any(|word| word == "deb") {
        return None;
    }
    let (suites, components) = (words("Suites"), words("Components"));
    let signed_by = paragraph.get("Signed-By");
    words("URIs")
        .into_iter()
        .find(|uri| suites.iter().any(|suite| is_plain_archive(uri, suite, &components, signed_by)))
}

/// The first fitting URI of a one-line file: `deb [options] URI SUITE COMPONENT…`.
fn from_one_line(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let components: Vec<String> = words.map(str::to_owned).collect();
        is_plain_archive(uri, suite, &components, signed_by).then(|| uri.to_owned())
    })
}

/// Whether this is the plain Debian archive: its suite, its component, and either its key or its customary path.
fn is_plain_archive(uri: &str, suite: &str, components: &[String], signed_by: Option<&str>) -> bool {
    let http = uri.starts_with("http://") || uri.starts_with("https://");
    let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let ours = match signed_by {
        Some(keys) => keys.contains("debian-archive-"),
        None => last == "debian",
    };
    http && ours
        && !last.contains("security")
        && !last.contains("backports")
        && SUITES.contains(&suite)
        && components.iter().any(|component| component == "main")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    const KEYS: &str = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";

    fn select(
        files: &[(&str, &str)],
        vars: &[(&str, &str)],
        snapshot: Option<&str>,
    ) -> Result<Mirror, DebianError> {
        let apt = tempfile::tempdir().unwrap();
        std::fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(apt.path().join(name), text).unwrap();
        }
        let snapshot = snapshot.map(|text| text.parse().unwrap());
        let lookup =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Mirror::select(snapshot.as_ref(), &lookup, apt.path())
    }

    const FOUND: Option<&str> = Some("http://m.example/debian");

    /// Which mirror is taken when `file` has `text`.
    fn check(file: &str, text: &str, expected: Option<&str>) {
        let mirror = select(&[(file, text)], &[], None).unwrap();
        assert_eq!(mirror.base(), expected.unwrap_or(DEFAULT_MIRROR), "{file}:\n{text}");
        assert_eq!(*mirror.origin() == MirrorOrigin::Default, expected.is_none());
    }

    #[test]
    fn credentials_are_not_shown() {
        for (url, shown) in [
            ("http://mirror.example/debian", "http://mirror.example/debian"),
            ("https://me:secret@mirror.example:8080/a@b", "https://mirror.example:8080/a@b"),
            ("https://me@mirror.example", "https://mirror.example"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn deb822_sources_name_the_mirror() {
        let plain = "# mirror\nTypes: deb deb-src\nURIs: http://m.example/debian/\nSuites: bookworm bookworm-updates\n\
                     Components: main\n";
        let disabled = format!("{plain}Enabled: no\n");
        let cases = [
            (plain.to_owned(), FOUND),
            (format!("{plain}{KEYS}"), FOUND),
            (disabled.clone(), None),
            (format!("{plain}Enabled: yes\n"), FOUND),
            (format!("{plain}Signed-By: /etc/apt/keyrings/other.gpg\n"), None),
            (plain.replace("deb deb-src", "deb-src"), None),
            (plain.replace("main", "contrib"), None),
            (plain.replace("bookworm", "noble"), None),
            (plain.replace("http:", "cdrom:"), None),
            (plain.replace("/debian/", "/debian-security"), None),
            (format!("{disabled}\n{plain}"), FOUND),
        ];
        for (text, expected) in cases {
            check("sources.list.d/a.sources", &text, expected);
        }
    }

    #[test]
    fn one_line_sources_name_the_mirror() {
        let cases = [
            ("deb http://m.example/debian bookworm main contrib\n", FOUND),
            ("deb [arch=amd64] http://m.example/debian/ sid main # mirror\n", FOUND),
            ("# deb http://m.example/debian bookworm main\n", None),
            ("deb-src http://m.example/debian bookworm main\n", None),
            ("deb http://m.example/debian bookworm-backports main\n", None),
            ("deb http://m.example/debian-security bookworm main\n", None),
            ("deb [signed-by=/k/x.gpg] http://m.example/debian bookworm main\n", None),
            ("deb http://vendor.example/apt stable main\n", None),
        ];
        for (text, expected) in cases {
            check("sources.list", text, expected);
            check("sources.list.d/b.list", text, expected);
            check("sources.list.d/b.txt", text, None);
        }
    }

    #[test]
    fn the_environment_comes_first() {
        let apt = [("sources.list", "deb http://m.example/debian bookworm main\n")];
        let mirror = select(&apt, &[("PYRO_DEBIAN_MIRROR", "https://mine.example/d/")], None).unwrap();
        assert_eq!((mirror.base(), mirror.origin()), ("https://mine.example/d", &MirrorOrigin::Environment));
        assert_eq!(mirror.url("dists/x"), "https://mine.example/d/dists/x");
        for bad in ["ftp://mine.example/d", "http://", "mine.example", "http://a b/"] {
            assert!(matches!(
                select(&apt, &[("PYRO_DEBIAN_MIRROR", bad)], None),
                Err(DebianError::MirrorUrl { .. })
            ));
        }
    }

    #[test]
    fn snapshots_fill_their_template() {
        let vars = [
            ("PYRO_DEBIAN_SNAPSHOT_URL", "http://s.example/{timestamp}/debian"),
            ("PYRO_DEBIAN_MIRROR", "x"),
        ];
        let mirror = select(&[], &vars, Some("20260912T000000Z")).unwrap();
        assert_eq!(mirror.base(), "http://s.example/20260912T000000Z/debian");
        assert!(mirror.is_snapshot());
        for vars in [&[][..], &[("PYRO_DEBIAN_SNAPSHOT_URL", "http://s.example/debian")]] {
            let error = select(&[], vars, Some("20260912T000000Z")).unwrap_err();
            assert!(matches!(error, DebianError::NoSnapshotUrl), "{error}");
        }
        for bad in ["", "2026", "20260912t000000Z", "20260912T000000Z/..", "2026091AT000000Z"] {
            assert!(bad.parse::<SnapshotTime>().is_err(), "{bad}");
        }
    }
}
