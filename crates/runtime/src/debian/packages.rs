//! The package index of a release: `main/binary-amd64/Packages`.
//!
//! Some 70,000 stanzas, 55 MB of text, of which a resolve looks at a few hundred. So the text is parsed in chunks while
//! it is decompressed, and only the fields that resolving and fetching need are kept, in one string.

use std::io::{self, Read};
use std::str::FromStr;

use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParagraphIter};
use serde::{Deserialize, Serialize};

use super::error::DebianError;
use crate::digest::Sha256Digest;

/// How much text is decompressed before it is parsed.
const CHUNK: usize = 1 << 20;

/// The longest stanza: those of packages that provide thousands of names have some 100 KB.
const MAX_STANZA: usize = 16 << 20;

/// How much a package matters to a system, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The system breaks without it.
    Required,
    /// One would be surprised not to find it.
    Important,
    /// A reasonably small text-mode system has it.
    Standard,
    /// Everything else.
    Optional,
}

impl Priority {
    fn parse(text: &str) -> Self {
        match text {
            "required" => Self::Required,
            "important" => Self::Important,
            "standard" => Self::Standard,
            _ => Self::Optional,
        }
    }
}

/// One package of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Whether it may never be removed.
    pub essential: bool,
    /// Its priority.
    pub priority: Priority,
    /// Where on the mirror it is.
    pub filename: String,
    /// Bytes of the file.
    pub size: u64,
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// What it takes once unpacked, as its maintainer estimates, in KiB.
    pub installed_size_kib: u64,
}

/// A piece of the index's text.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

#[derive(Debug)]
struct Entry {
    name: Span,
    version: Span,
    depends: Span,
    pre_depends: Span,
    provides: Span,
    filename: Span,
    size: u64,
    installed_size_kib: u64,
    sha256: Sha256Digest,
    priority: Priority,
    essential: bool,
    all: bool,
}

/// Index of a package in its [`Index`].
pub(crate) type PackageId = usize;

/// The packages of a release, by name and by what they provide.
#[derive(Debug, Default)]
pub(crate) struct Index {
    text: String,
    /// Sorted by name; of equal names in the order of the file.
    entries: Vec<Entry>,
    /// Names of virtual packages and who provides them, sorted.
    provides: Vec<(Span, PackageId)>,
}

impl Index {
    /// Parses the decompressed index. `what` names it in errors; more than `limit` bytes are refused.
    pub(crate) fn parse(reader: &mut dyn Read, limit: u64, what: &str) -> Result<Self, DebianError> {
        let malformed = |problem: String| DebianError::Malformed { what: what.to_owned(), problem };
        let mut index = Self::default();
        let mut pending = Vec::with_capacity(2 * CHUNK);
        let mut total = 0_u64;
        loop {
            let count = read_chunk(reader, &mut pending).map_err(|error| malformed(error.to_string()))?;
            total += count as u64;
            if total > limit {
                return Err(malformed(format!("it is larger than the {limit} bytes announced")));
            }
            // Everything up to the last empty line is whole stanzas.
            let whole = if count == 0 { pending.len() } else { last_stanza_end(&pending) };
            let text =
                std::str::from_utf8(&pending[..whole]).map_err(|error| malformed(error.to_string()))?;
            index.add_all(text).map_err(malformed)?;
            pending.drain(..whole);
            if count == 0 {
                break;
            }
            if pending.len() > MAX_STANZA {
                return Err(malformed(format!("a stanza is longer than {MAX_STANZA} bytes")));
            }
        }
        index.finish();
        Ok(index)
    }

    fn add_all(&mut self, text: &str) -> Result<(), String> {
        for paragraph in BorrowedParagraphIter::new(text) {
            let paragraph = paragraph.map_err(|error| error.to_string())?;
            let architecture = paragraph.get_single("Architecture").unwrap_or_default();
            if architecture == super::ARCHITECTURE || architecture == "all" {
                self.add(&paragraph, architecture == "all")?;
            }
        }
        Ok(())
    }

    fn add(&mut self, paragraph: &BorrowedParagraph<'_>, all: bool) -> Result<(), String> {
        let name = paragraph.get_single("Package").ok_or("a stanza has no Package")?.trim();
        let required = |field: &str| {
            paragraph.get_single(field).map(str::trim).ok_or_else(|| format!("{name} has no {field}"))
        };
        let optional = |field: &str| paragraph.get_field(field).map(|value| value.lines().join(" "));
        let bad = |field: &str| format!("{name} has a bad {field}");
        let filename = required("Filename")?;
        if !filename.starts_with("pool/") || filename.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(bad("Filename"));
        }
        let (size, version) = (required("Size")?.parse().map_err(|_| bad("Size"))?, required("Version")?);
        let sha256 = Sha256Digest::from_str(required("SHA256")?).map_err(|_| bad("SHA256"))?;
        let entry = Entry {
            name: self.keep(name)?,
            version: self.keep(version)?,
            depends: self.keep(&optional("Depends").unwrap_or_default())?,
            pre_depends: self.keep(&optional("Pre-Depends").unwrap_or_default())?,
            provides: self.keep(&optional("Provides").unwrap_or_default())?,
            filename: self.keep(filename)?,
            size,
            installed_size_kib: required("Installed-Size")
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            sha256,
            priority: Priority::parse(required("Priority").unwrap_or_default()),
            essential: required("Essential").is_ok_and(|value| value == "yes"),
            all,
        };
        self.entries.push(entry);
        Ok(())
    }

    fn keep(&mut self, text: &str) -> Result<Span, String> {
        let too_large = |_| "it is too large".to_owned();
        let start = u32::try_from(self.text.len()).map_err(too_large)?;
        let len = u32::try_from(text.len()).map_err(too_large)?;
        self.text.push_str(text);
        Ok(Span { start, len })
    }

    fn finish(&mut self) {
        self.text.shrink_to_fit();
        let text = &self.text;
        self.entries.sort_by(|a, b| slice(text, a.name).cmp(slice(text, b.name)));
        let mut provides = Vec::new();
        for (id, entry) in self.entries.iter().enumerate() {
            let mut at = entry.provides.start;
            for provided in slice(text, entry.provides).split(',') {
                let padding = provided.len() - provided.trim_start().len();
                let len = provided.trim_start().find([' ', '(', ':']).unwrap_or(provided.trim_start().len());
                // Lengths within a span fit, since the span's own does.
                let (start, len) =
                    (at + u32::try_from(padding).unwrap_or(0), u32::try_from(len).unwrap_or(0));
                if len > 0 {
                    provides.push((Span { start, len }, id));
                }
                at += u32::try_from(provided.len()).unwrap_or(0) + 1;
            }
        }
        provides.sort_by(|a, b| slice(text, a.0).cmp(slice(text, b.0)).then(a.1.cmp(&b.1)));
        self.provides = provides;
    }

    /// The packages of this name: usually one, several when the archive keeps more than one version.
    pub(crate) fn named(&self, name: &str) -> std::ops::Range<PackageId> {
        let start = self.entries.partition_point(|entry| slice(&self.text, entry.name) < name);
        let len = self.entries[start..].partition_point(|entry| slice(&self.text, entry.name) == name);
        start..start + len
    }

    /// The packages that say they provide this name.
    pub(crate) fn providers(&self, name: &str) -> impl Iterator<Item = PackageId> + '_ {
        let start = self.provides.partition_point(|(span, _)| slice(&self.text, *span) < name);
        let len = self.provides[start..].partition_point(|(span, _)| slice(&self.text, *span) == name);
        self.provides[start..start + len].iter().map(|(_, id)| *id)
    }

    /// Every package.
    pub(crate) fn all(&self) -> std::ops::Range<PackageId> {
        0..self.entries.len()
    }

    pub(crate) fn name(&self, id: PackageId) -> &str {
        slice(&self.text, self.entries[id].name)
    }

    pub(crate) fn version(&self, id: PackageId) -> &str {
        slice(&self.text, self.entries[id].version)
    }

    /// The relation fields that have to hold: `Pre-Depends`, then `Depends`.
    pub(crate) fn dependencies(&self, id: PackageId) -> [&str; 2] {
        let entry = &self.entries[id];
        [slice(&self.text, entry.pre_depends), slice(&self.text, entry.depends)]
    }

    pub(crate) fn provides(&self, id: PackageId) -> &str {
        slice(&self.text, self.entries[id].provides)
    }

    pub(crate) fn priority(&self, id: PackageId) -> Priority {
        self.entries[id].priority
    }

    pub(crate) fn essential(&self, id: PackageId) -> bool {
        self.entries[id].essential
    }

    /// The package as callers get it.
    pub(crate) fn package(&self, id: PackageId) -> Package {
        let entry = &self.entries[id];
        Package {
            name: self.name(id).to_owned(),
            version: self.version(id).to_owned(),
            architecture: if entry.all { "all" } else { super::ARCHITECTURE }.to_owned(),
            essential: entry.essential,
            priority: entry.priority,
            filename: slice(&self.text, entry.filename).to_owned(),
            size: entry.size,
            sha256: entry.sha256,
            installed_size_kib: entry.installed_size_kib,
        }
    }
}

fn slice(text: &str, span: Span) -> &str {
    &text[span.start as usize..][..span.len as usize]
}

/// Reads up to a chunk more; 0 only at the end.
fn read_chunk(reader: &mut dyn Read, pending: &mut Vec<u8>) -> io::Result<usize> {
    reader.take(CHUNK as u64).read_to_end(pending)
}

fn last_stanza_end(text: &[u8]) -> usize {
    text.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::testing::stanza;

    fn parse(text: &str) -> Result<Index, DebianError> {
        Index::parse(&mut text.as_bytes(), 1 << 30, "Packages")
    }

    #[test]
    fn packages_are_found_by_name_and_by_what_they_provide() {
        let extra =
            "Provides: mail-agent, libx (= 2),\n liby\nDepends: a, b (>= 1) |\n c\nPriority: important\n";
        let text =
            [stanza("b", b"B", "Essential: yes\n"), stanza("a", b"A", extra), stanza("c", b"C", "")].concat();
        let index = parse(&text).unwrap();
        let names: Vec<_> = index.all().map(|id| index.name(id)).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(index.named("b"), 1..2);
        assert!(index.named("bb").is_empty());
        for provided in ["mail-agent", "libx", "liby"] {
            assert_eq!(index.providers(provided).collect::<Vec<_>>(), [0], "{provided}");
        }
        assert_eq!(index.providers("lib").count(), 0);
        assert_eq!(index.dependencies(0), ["", "a, b (>= 1) | c"]);
        let package = index.package(0);
        assert_eq!((package.size, package.sha256), (1, Sha256Digest::of(b"A")));
        assert_eq!(
            (package.filename.as_str(), package.priority),
            ("pool/main/a_1.0-1_amd64.deb", Priority::Important)
        );
        assert_eq!((package.architecture.as_str(), package.installed_size_kib), ("amd64", 12));
        assert!(index.essential(1) && !index.essential(0));
    }

    #[test]
    fn chunks_do_not_split_stanzas() {
        let text: String = (0..6000).map(|n| stanza(&format!("p{n:05}"), b"x", "Depends: libc6\n")).collect();
        assert!(text.len() > CHUNK);
        let index = parse(&text).unwrap();
        assert_eq!(index.all().len(), 6000);
        assert_eq!(index.name(5999), "p05999");
    }

    #[test]
    fn foreign_architectures_are_left_out() {
        let text =
            [stanza("a", b"A", ""), stanza("b", b"B", "").replace("amd64\nInst", "i386\nInst")].concat();
        assert_eq!(parse(&text).unwrap().all().len(), 1);
    }

    #[test]
    fn malformed_indexes_are_refused() {
        let good = stanza("a", b"A", "");
        for (from, to) in [
            ("Filename: pool/", "Filename: ../"),
            ("main/a_", "main/../../a_"),
            ("Size: 1\n", "Size: one\n"),
            ("SHA256: ", "SHA256: x"),
            ("Version: 1.0-1\n", ""),
            ("Package: a", "no field"),
        ] {
            let error = parse(&good.replace(from, to)).unwrap_err();
            assert!(matches!(error, DebianError::Malformed { .. }), "{from}: {error}");
        }
        let error = Index::parse(&mut good.as_bytes(), 10, "Packages").unwrap_err();
        assert!(error.to_string().contains("larger than the 10 bytes"), "{error}");
    }
}
