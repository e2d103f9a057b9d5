//! Finds the file that `argv[0]` names, as `execvp` would, but says exactly why there is none.
//!
//! A name with a slash is a path, relative to the working directory; any other is looked for in each directory of
//! `PATH`. The first regular file that may be executed wins.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_protocol::v1::FailureKind;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use crate::fail::Fail;

/// The absolute path of `program`, found from `cwd` or in the directories of `path`.
pub fn find(program: &OsStr, path: &OsStr, cwd: &Path) -> Result<PathBuf, Fail> {
    let describe = |reason: &str| format!("{}: {reason}", program.display());
    if program.as_bytes().contains(&b'/') {
        let candidate = cwd.join(program);
        return match check(&candidate) {
            Verdict::Executable => Ok(candidate),
            Verdict::Absent => Err(not_found(describe("no such file"), program)),
            Verdict::Unusable(reason) => Err(not_executable(describe(reason), program)),
        };
    }
    let mut unusable = None;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the working directory, as it has always been.
        let candidate = cwd.join(OsStr::from_bytes(directory)).join(program);
        match check(&candidate) {
            Verdict::Executable => return Ok(candidate),
            Verdict::Absent => {}
            Verdict::Unusable(reason) => {
                unusable.get_or_insert_with(|| {
                    not_executable(format!("{}: {reason}", candidate.display()), program)
                });
            }
        }
    }
    Err(unusable.unwrap_or_else(|| not_found(describe("no such program in PATH"), program)))
}

enum Verdict {
    Executable,
    Absent,
    Unusable(&'static str),
}

fn check(candidate: &Path) -> Verdict {
    match stat(candidate) {
        Err(Errno::NOENT | Errno::NOTDIR) => Verdict::Absent,
        Err(Errno::LOOP) => Verdict::Unusable("too many symbolic links"),
        Err(Errno::NAMETOOLONG) => Verdict::Unusable("the name is too long"),
        Err(_) => Verdict::Unusable("cannot be reached"),
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Verdict::Unusable("is a directory"),
            FileType::RegularFile if accessat(CWD, candidate, Access::EXEC_OK, AtFlags::EACCESS).is_ok() => {
                Verdict::Executable
            }
            FileType::RegularFile => Verdict::Unusable("is not executable"),
            _ => Verdict::Unusable("is not a regular file"),
        },
    }
}

fn not_found(message: String, program: &OsStr) -> Fail {
    Fail::new(FailureKind::NotFound, message).at(program.as_bytes())
}

fn not_executable(message: String, program: &OsStr) -> Fail {
    Fail::new(FailureKind::NotExecutable, message).at(program.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("b/plain", 0o600), ("here", 0o700)] {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(tree.path().join("a/folder")).unwrap();
        std::os::unix::fs::symlink("loop", tree.path().join("a/loop")).unwrap();
        tree
    }

    #[test]
    fn names_are_found_or_refused_for_their_reason() {
        let tree = tree();
        let (missing, unusable) = (FailureKind::NotFound, FailureKind::NotExecutable);
        let cases: [(&str, &str, Result<&str, FailureKind>); 13] = [
            ("tool", "a:b", Ok("b/tool")),
            ("tool", "/nowhere:b", Ok("b/tool")),
            ("tool", "a", Err(unusable)),
            ("plain", "a:b", Err(unusable)),
            ("folder", "a", Err(unusable)),
            ("loop", "a", Err(unusable)),
            ("absent", "a:b", Err(missing)),
            ("here", "a:", Ok("here")),
            ("here", "a", Err(missing)),
            ("./here", "", Ok("./here")),
            ("b/tool", "a", Ok("b/tool")),
            ("here/tool", "", Err(missing)),
            ("a/", "", Err(unusable)),
        ];
        for (program, path, expected) in cases {
            let found = find(OsStr::new(program), OsStr::new(path), tree.path()).map_err(|fail| fail.kind);
            assert_eq!(found, expected.map(|path| tree.path().join(path)), "{program} in {path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_found_is_an_absolute_path_to_that_name(
            directories in prop::collection::vec("[a-c./]{0,6}", 0..5),
            program in "[a-z]{1,6}",
        ) {
            let tree = tree();
            let path = directories.join(":");
            if let Ok(found) = find(OsStr::new(&program), OsStr::new(&path), tree.path()) {
                prop_assert!(found.is_absolute());
                prop_assert_eq!(found.file_name(), Some(OsStr::new(&program)));
            }
        }
    }
}
