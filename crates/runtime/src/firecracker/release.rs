//! The pinned release, fetched and unpacked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::{FirecrackerError, Version};
use crate::debian::download::{Patience, Wanted, download};
use crate::digest::Sha256Digest;
use crate::fs::{FsError, create_dir_all, write_program};
use crate::http;
use crate::progress::Progress;

const MAX_PROGRAM_BYTES: u64 = 64 << 20;

/// An official release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release<'a> {
    pub(super) version: Version,
    url: &'a str,
    archive_bytes: u64,
    archive_sha256: &'a str,
    /// The program's path in the archive.
    member: &'a str,
    program_sha256: &'a str,
}

pub(super) const PINNED: Release<'static> = Release {
    version: Version(1, 16, 1),
    url: "https://github.com/firecracker-microvm/firecracker/releases/download/v1.16.1/firecracker-v1.16.1-x86_64.tgz",
    archive_bytes: 7_486_686,
    archive_sha256: "382a02a869e4d6d5cb14c40577f9545e8458021ea8b0b2d3fc10ec14d9c242e6",
    member: "release-v1.16.1-x86_64/firecracker-v1.16.1-x86_64",
    program_sha256: "2fd0171309af7e24cf8dafc8a6f921c1434c49b5f9349bb996b7ed0a4deb8aa7",
};

pub(super) fn fetch(
    release: &Release<'_>,
    target: &Path,
    patience: &Patience,
    progress: &dyn Progress,
) -> Result<(), FirecrackerError> {
    let wrong = |what: &str| FirecrackerError::Archive { what: what.to_owned() };
    let digest = |hex: &str| hex.parse::<Sha256Digest>().map_err(|_| wrong("is pinned by no sha256"));
    let directory = target.parent().ok_or_else(|| wrong("has no place"))?;
    create_dir_all(directory)?;
    progress.phase(&format!("download firecracker={}", release.version));
    progress.total(release.archive_bytes);
    let archive = Wanted {
        url: release.url.to_owned(),
        size: release.archive_bytes,
        sha256: digest(release.archive_sha256)?,
        target: directory.join("release.tgz"),
    };
    let agent = http::agent(patience.connect, patience.stall);
    download(&agent, &archive, patience, progress).map_err(FirecrackerError::Fetch)?;
    let program = member(&archive.target, release.member)
        .map_err(FsError::on("unpack", &archive.target))?
        .ok_or_else(|| wrong("has no program in it"))?;
    if Sha256Digest::of(&program) != digest(release.program_sha256)? {
        return Err(wrong("has a program in it with another sha256"));
    }
    write_program(target, &program)?;
    Ok(fs::remove_file(&archive.target).map_err(FsError::on("remove", &archive.target))?)
}

/// The content of a file in an archive.
fn member(archive: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()?.as_ref() == Path::new(name) {
            let mut content = Vec::new();
            entry.take(MAX_PROGRAM_BYTES).read_to_end(&mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::Firecracker;
    use super::*;
    use crate::debian::testing::TestMirror;
    use crate::progress::Silent;
    use flate2::write::GzEncoder;

    #[test]
    fn a_release_is_installed_only_when_it_is_the_pinned_one() {
        const MEMBER: &str = "release/firecracker";
        let program = b"#!/bin/sh\necho Firecracker v1.16.1\n";
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len() as u64);
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        tar.append_data(&mut header, MEMBER, program.as_slice()).unwrap();
        let archive = tar.into_inner().unwrap().finish().unwrap();
        let mirror = TestMirror::new();
        mirror.put("firecracker.tgz", &archive);
        let url = mirror.url() + "/firecracker.tgz";
        let (archive_sha256, program_sha256) =
            (Sha256Digest::of(&archive).to_string(), Sha256Digest::of(program).to_string());
        let release = Release {
            version: Version(1, 16, 1),
            url: &url,
            archive_bytes: archive.len() as u64,
            archive_sha256: &archive_sha256,
            member: MEMBER,
            program_sha256: &program_sha256,
        };
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("cache/firecracker");
        let patience = Patience { attempts: 1, ..Patience::default() };
        let install = |release: &Release<'_>| fetch(release, &target, &patience, &Silent);

        let other = Release { program_sha256: &archive_sha256, ..release };
        assert!(
            install(&other).unwrap_err().to_string().ends_with("has a program in it with another sha256")
        );
        let other = Release { member: "elsewhere", ..release };
        assert!(install(&other).unwrap_err().to_string().ends_with("has no program in it"));
        assert!(!target.exists());
        install(&release).unwrap();
        assert_eq!(Firecracker::asked(&target).unwrap().version(), Version(1, 16, 1));
        let left: Vec<_> =
            fs::read_dir(target.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["firecracker"]);
        fs::remove_file(&target).unwrap();
        let other = Release { archive_sha256: &program_sha256, ..release };
        assert!(matches!(install(&other), Err(FirecrackerError::Fetch(_))));
        assert!(!target.exists());
    }
}
