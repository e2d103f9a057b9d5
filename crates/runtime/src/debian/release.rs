//! `InRelease`: the signed list of an archive's indexes.
//!
//! Only the text that a trusted key signed is parsed; what stands before or after it in the file is never looked at.

use std::collections::BTreeMap;
use std::str::FromStr;

use deb822_fast::{Deb822, Paragraph};
use jiff::{SignedDuration, Timestamp};
use pgp::composed::CleartextSignedMessage;
use serde::{Deserialize, Serialize};

use super::error::DebianError;
use super::keyring::Keyring;
use crate::digest::Sha256Digest;

/// How far a host's clock may be behind before a release file counts as from the future.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// Which release it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Such as `stable`.
    pub suite: String,
    /// Such as `trixie`.
    pub codename: String,
    /// Such as `13.1`; testing and unstable have none.
    pub version: Option<String>,
    /// When it was published.
    pub date: Timestamp,
}

/// Size and digest of a file the release names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Digest,
}

/// A verified release file.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) info: ReleaseInfo,
    /// Whether indexes can be had under the name of their digest, which an update in progress cannot change.
    pub(crate) by_hash: bool,
    files: BTreeMap<String, Listed>,
}

/// What a release file is held against.
pub(crate) struct Expectation<'a> {
    /// For messages.
    pub(crate) url: &'a str,
    /// The suite or codename asked for.
    pub(crate) suite: &'a str,
    /// A pinned point in time is rightly past its expiry.
    pub(crate) ignore_expiry: bool,
    pub(crate) now: Timestamp,
}

impl Release {
    /// Verifies and parses an `InRelease` file.
    pub(crate) fn verify(
        armored: &str,
        keyring: &Keyring,
        wanted: &Expectation<'_>,
    ) -> Result<Self, DebianError> {
        let text = signed_text(armored, keyring, wanted.url)?;
        let malformed = |problem: String| DebianError::Malformed { what: wanted.url.to_owned(), problem };
        let document: Deb822 =
            text.parse().map_err(|error: deb822_fast::Error| malformed(error.to_string()))?;
        let paragraph = document.iter().next().ok_or_else(|| malformed("it is empty".to_owned()))?;
        let release = Self {
            info: release_info(paragraph).map_err(malformed)?,
            by_hash: paragraph.get("Acquire-By-Hash").is_some_and(|value| value.trim() == "yes"),
            files: listed_files(paragraph).map_err(malformed)?,
        };
        release.check(paragraph, wanted)?;
        Ok(release)
    }

    fn check(&self, paragraph: &Paragraph, wanted: &Expectation<'_>) -> Result<(), DebianError> {
        let url = || wanted.url.to_owned();
        let ReleaseInfo { suite, codename, date, .. } = &self.info;
        if wanted.suite != suite && wanted.suite != codename {
            let found = format!("{suite} ({codename})");
            return Err(DebianError::WrongSuite { url: url(), wanted: wanted.suite.to_owned(), found });
        }
        if *date > wanted.now.saturating_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX) {
            return Err(DebianError::FromTheFuture { url: url(), date: *date });
        }
        if let Some(text) = paragraph.get("Valid-Until") {
            let valid_until = parse_date("Valid-Until", text)
                .map_err(|problem| DebianError::Malformed { what: url(), problem })?;
            if valid_until < wanted.now && !wanted.ignore_expiry {
                return Err(DebianError::Expired { url: url(), valid_until });
            }
        }
        Ok(())
    }

    /// The file named `name`, relative to the release file.
    pub(crate) fn file(&self, name: &str) -> Option<Listed> {
        self.files.get(name).copied()
    }
}

/// The text under the signature, with Unix line ends; fails unless a trusted key signed it.
fn signed_text(armored: &str, keyring: &Keyring, url: &str) -> Result<String, DebianError> {
    let (message, _) = CleartextSignedMessage::from_string(armored)
        .map_err(|source| DebianError::NotSigned { url: url.to_owned(), source: Box::new(source) })?;
    let text = message.signed_text();
    let mut problems = Vec::new();
    for signature in message.signatures() {
        match keyring.check(signature, text.as_bytes()) {
            Ok(()) => return Ok(text.replace("\r\n", "\n")),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        problems.push("no signature at all".to_owned());
    }
    Err(DebianError::Signature { url: url.to_owned(), problems })
}

fn release_info(paragraph: &Paragraph) -> Result<ReleaseInfo, String> {
    let field = |name: &str| paragraph.get(name).map(|value| value.trim().to_owned());
    let required = |name: &str| field(name).ok_or_else(|| format!("it has no {name}"));
    Ok(ReleaseInfo {
        suite: required("Suite")?,
        codename: required("Codename")?,
        version: field("Version"),
        date: parse_date("Date", &required("Date")?)?,
    })
}

/// Parses `Sat, 12 Sep 2026 07:55:41 UTC`; RFC 2822 proper has a number for the zone.
fn parse_date(field: &str, text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let numeric = text.strip_suffix("UTC").map(|rest| format!("{rest}+0000"));
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(numeric.as_deref().unwrap_or(text))
        .map_err(|error| format!("its {field} is no date: {error}"))
}

fn listed_files(paragraph: &Paragraph) -> Result<BTreeMap<String, Listed>, String> {
    let section = paragraph.get("SHA256").ok_or("it has no SHA256 section")?;
    let mut files = BTreeMap::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let (name, listed) =
            listed_file(line).ok_or_else(|| format!("its SHA256 section has the line {line:?}"))?;
        files.insert(name.to_owned(), listed);
    }
    Ok(files)
}

fn listed_file(line: &str) -> Option<(&str, Listed)> {
    let mut words = line.split_whitespace();
    let sha256 = Sha256Digest::from_str(words.next()?).ok()?;
    let size = words.next()?.parse().ok()?;
    let name = words.next()?;
    words.next().is_none().then_some((name, Listed { size, sha256 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::testing::{Signer, release_text};
    use pyro_protocol::error::{Diagnostic, ErrorKind};

    fn verify(
        armored: &str,
        keyring: &Keyring,
        suite: &str,
        ignore_expiry: bool,
    ) -> Result<Release, DebianError> {
        let now = "2026-09-20T00:00:00Z".parse().unwrap();
        Release::verify(
            armored,
            keyring,
            &Expectation { url: "http://m.example/InRelease", suite, ignore_expiry, now },
        )
    }

    #[test]
    fn a_signed_release_is_read() {
        let signer = Signer::new();
        let text = release_text("Valid-Until: Sat, 26 Sep 2026 07:55:41 UTC\n", b"index");
        for armored in [signer.sign(&text), signer.sign_with_subkey(&text)] {
            for suite in ["stable", "trixie"] {
                let release = verify(&armored, &signer.keyring(), suite, false).unwrap();
                assert_eq!(release.info.codename, "trixie");
                assert_eq!(release.info.version.as_deref(), Some("13.7"));
                assert_eq!(release.info.date.to_string(), "2026-09-12T07:55:41Z");
                let listed = release.file("main/binary-amd64/Packages.xz").unwrap();
                assert_eq!(listed, Listed { size: 5, sha256: Sha256Digest::of(b"index") });
                assert!(release.by_hash && release.file("main/binary-i386/Packages.xz").is_none());
            }
        }
    }

    #[test]
    fn what_is_not_signed_by_a_trusted_key_is_refused() {
        let (signer, stranger) = (Signer::new(), Signer::new());
        let text = release_text("", b"index");
        let armored = signer.sign(&text);
        let cases = [
            ("another's key", stranger.sign(&text)),
            ("changed text", armored.replace("13.7", "13.8")),
            ("no signature", armored.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_owned()),
            ("plain text", text.clone()),
            (
                "text before",
                format!("Codename: sid\n\n{}", armored.replace("Hash: SHA512", "Hash: SHA512\nX: y")),
            ),
            ("empty", String::new()),
        ];
        for (what, armored) in cases {
            let error = verify(&armored, &signer.keyring(), "trixie", false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Integrity, "{what}: {error}");
            assert!(error.to_string().contains("http://m.example/InRelease"), "{what}: {error}");
        }
        let debian = verify(&armored, &Keyring::debian().unwrap(), "trixie", false).unwrap_err();
        assert!(matches!(debian, DebianError::Signature { .. }), "{debian}");
    }

    #[test]
    fn expired_and_revoked_keys_do_not_count() {
        let text = release_text("", b"index");
        for signer in [Signer::expired(), Signer::revoked()] {
            let error = verify(&signer.sign(&text), &signer.keyring(), "trixie", false).unwrap_err();
            assert!(matches!(&error, DebianError::Signature { .. }), "{error}");
        }
    }

    #[test]
    fn old_future_and_other_releases_are_refused() {
        let signer = Signer::new();
        let expired = signer.sign(&release_text("Valid-Until: Sat, 19 Sep 2026 00:00:00 UTC\n", b"index"));
        let error = verify(&expired, &signer.keyring(), "trixie", false).unwrap_err();
        assert!(matches!(error, DebianError::Expired { .. }));
        verify(&expired, &signer.keyring(), "trixie", true).unwrap();
        let future =
            signer.sign(&release_text("", b"index").replace("12 Sep", "24 Sep").replace("Sat", "Thu"));
        let error = verify(&future, &signer.keyring(), "trixie", false).unwrap_err();
        assert!(matches!(error, DebianError::FromTheFuture { .. }), "{error}");
        let error = verify(&expired, &signer.keyring(), "bookworm", true).unwrap_err();
        assert_eq!(error.to_string(), "http://m.example/InRelease is for stable (trixie), not for bookworm");
    }

    #[test]
    fn malformed_releases_are_refused() {
        let signer = Signer::new();
        let good = release_text("", b"index");
        for (from, to) in [
            ("Codename: trixie\n", ""),
            ("Date: Sat, 12 Sep", "Date: Sat, 32 Sep"),
            ("SHA256:", "SHA1:"),
            (" 5 main", " five main"),
            (" 5 main", " 5 x main"),
        ] {
            let armored = signer.sign(&good.replace(from, to));
            let error = verify(&armored, &signer.keyring(), "trixie", false).unwrap_err();
            assert!(matches!(error, DebianError::Malformed { .. }), "{from}: {error}");
        }
    }
}
