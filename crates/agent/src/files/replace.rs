//! Replace: several files beneath a directory, all of them or none.
//!
//! 1. Stage: each new content is written beside its place, under a name of its own.
//! 2. Check: everything new is on the disk; then each file must be in the state that the host expects.
//! 3. Commit: files change places with what was staged, so that what was there lies beside now, and is looked at again. A
//!    process that was faster is noticed here.
//! 4. Finish: the directories are flushed, and what lies beside is removed.
//!
//! Until the last step any failure, and a host that goes away, undoes everything.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use pyro_protocol::limits::{MAX_REPLACE_BYTES, MAX_REPLACE_FILES};
use pyro_protocol::v1::{FailureKind, FileChange, Replace, Stamp, Transferred};
use pyro_tree::{Tree, absolute, refuse_parent, relative, split};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, fsync, mkdirat, renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;

use super::new_file::{NewFile, name_beside, replaceable, sync_directory};
use super::{bytes, stamp};
use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::receive;

/// From this many files on, flushing the whole file system at once is faster than one file after the other.
const FLUSH_ALL_FROM: usize = 8;

/// What parents get that have to be created, before the umask.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);

/// Changes the files that the host names and sends.
pub async fn replace(agent: &Agent, call: &Call, request: Replace) -> Result<Transferred, Fail> {
    receive(agent, call, move |input| {
        let mut transaction = Transaction::new(Tree::open(&absolute(&request.root)?)?);
        while let Some(change) = input.next_file()? {
            transaction.stage(&change, input).map_err(|fail| fail.at(&change.path[..]))?;
        }
        transaction.apply()
    })
    .await
}

/// What happens to a file when its step is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What was staged takes a place that is free.
    Create,
    /// What was staged changes places with what is there.
    Replace,
    /// What is there is put beside.
    Remove,
}

struct Step {
    path: PathBuf,
    kind: Kind,
    expected: Option<Stamp>,
    /// Name of what lies beside the file.
    beside: OsString,
    committed: bool,
}

/// The changes so far. Dropping them undoes them, unless they were finished.
struct Transaction {
    tree: Tree,
    steps: Vec<Step>,
    paths: HashSet<PathBuf>,
    /// Directories that were created, parents first.
    created: Vec<PathBuf>,
    bytes: u64,
    finished: bool,
}

impl Transaction {
    fn new(tree: Tree) -> Self {
        Self {
            tree,
            steps: Vec::new(),
            paths: HashSet::new(),
            created: Vec::new(),
            bytes: 0,
            finished: false,
        }
    }

    fn stage(&mut self, change: &FileChange, input: &mut impl Read) -> Result<(), Fail> {
        let path = relative(&change.path)?;
        let (parent, name) = split(&path).ok_or_else(|| Fail::invalid("the path names no file"))?;
        self.bytes = self.bytes.saturating_add(change.bytes);
        if self.steps.len() >= MAX_REPLACE_FILES || self.bytes > MAX_REPLACE_BYTES {
            return Err(Fail::new(FailureKind::Exhausted, "more files or content than one replace may have"));
        }
        if !self.paths.insert(path.clone()) {
            return Err(Fail::invalid("the path is named twice"));
        }
        let (kind, beside) = match (change.remove, &change.expected) {
            (true, Some(_)) if change.bytes == 0 => (Kind::Remove, name_beside()),
            (true, _) => return Err(Fail::invalid("what is removed must be expected, and has no content")),
            (false, expected) => {
                let kind = if expected.is_some() { Kind::Replace } else { Kind::Create };
                let directory =
                    self.make_directory(parent).map_err(|error| refuse_parent(error, &change.path))?;
                (kind, write_beside(directory, name, change, input)?)
            }
        };
        self.steps.push(Step { path, kind, expected: change.expected, beside, committed: false });
        Ok(())
    }

    /// The directory `path`; what has to be created of it is remembered.
    fn make_directory(&mut self, path: &Path) -> rustix::io::Result<OwnedFd> {
        match self.tree.directory(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut made = PathBuf::new();
        for name in path.components() {
            let parent = self.tree.directory(&made)?;
            made.push(name);
            match mkdirat(parent, name.as_os_str(), PARENT_MODE) {
                Ok(()) => self.created.push(made.clone()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        self.tree.directory(path)
    }

    fn apply(mut self) -> Result<Transferred, Fail> {
        self.flush_staged()?;
        self.check_all()?;
        self.commit_all()?;
        self.flush_directories()?;
        self.finished = true;
        for step in self.steps.iter().filter(|step| step.kind != Kind::Create) {
            let _ = self.remove_beside(step);
        }
        // What was put in place is on the disk; what was beside it should not come back either.
        let _ = self.flush_directories();
        Ok(Transferred { bytes: self.bytes, entries: self.steps.len() as u64, ..Transferred::default() })
    }

    fn flush_staged(&self) -> Result<(), Fail> {
        let failed = |error| Fail::os("flush the new files", error);
        if self.steps.len() >= FLUSH_ALL_FROM {
            // What fails here fails again below, where it is told which file.
            let _ = self.tree.readable_directory(Path::new("")).and_then(syncfs);
        }
        for step in self.steps.iter().filter(|step| step.kind != Kind::Remove) {
            let beside = step.path.with_file_name(&step.beside);
            let file = self.tree.open_file(&beside, OFlags::WRONLY | OFlags::NONBLOCK);
            file.and_then(fsync).map_err(failed)?;
        }
        Ok(())
    }

    fn check_all(&self) -> Result<(), Fail> {
        let mut steps = self.steps.iter();
        steps.try_for_each(|step| self.check(step).map_err(|fail| fail.at(bytes(&step.path))))
    }

    fn commit_all(&mut self) -> Result<(), Fail> {
        for index in 0..self.steps.len() {
            self.commit(index).map_err(|fail| fail.at(bytes(&self.steps[index].path)))?;
        }
        Ok(())
    }

    /// Fails unless the file is in the state that is expected.
    fn check(&self, step: &Step) -> Result<(), Fail> {
        let found = match self.tree.stat(&step.path) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(refuse_parent(error, bytes(&step.path)).into()),
        };
        match (&step.expected, found) {
            (None, None) => Ok(()),
            (Some(expected), Some(found))
                if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
                    && stamp(&found) == *expected =>
            {
                Ok(())
            }
            _ => Err(changed_meanwhile()),
        }
    }

    fn commit(&mut self, index: usize) -> Result<(), Fail> {
        let step = &self.steps[index];
        let renamed = self.rename(step, false);
        renamed.map_err(|error| match error {
            Errno::EXIST | Errno::NOENT => changed_meanwhile(),
            other => Fail::os("put the file in its place", other),
        })?;
        self.steps[index].committed = true;
        let step = &self.steps[index];
        let Some(expected) = &step.expected else {
            return Ok(());
        };
        // Moving it may have changed its inode, on an overlay, and when it was last touched, anywhere.
        let beside = self.tree.stat(&step.path.with_file_name(&step.beside));
        let found = beside.map_err(|error| Fail::os("look at the file", error))?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let found = stamp(&found);
        if !is_file || (found.bytes, found.mtime_ns) != (expected.bytes, expected.mtime_ns) {
            return Err(changed_meanwhile());
        }
        Ok(())
    }

    /// Commits a step, or takes it `back`.
    fn rename(&self, step: &Step, back: bool) -> rustix::io::Result<()> {
        let (parent, name) = split(&step.path).ok_or(Errno::INVAL)?;
        let directory = self.tree.directory(parent)?;
        let flags = match step.kind {
            Kind::Replace => RenameFlags::EXCHANGE,
            Kind::Create | Kind::Remove => RenameFlags::NOREPLACE,
        };
        let (from, to): (&OsStr, &OsStr) =
            if (step.kind == Kind::Remove) == back { (&step.beside, name) } else { (name, &step.beside) };
        renameat_with(&directory, from, &directory, to, flags)
    }

    fn remove_beside(&self, step: &Step) -> rustix::io::Result<()> {
        let (parent, _) = split(&step.path).ok_or(Errno::INVAL)?;
        unlinkat(self.tree.directory(parent)?, &step.beside, AtFlags::empty())
    }

    fn flush_directories(&self) -> Result<(), Fail> {
        let parents: BTreeSet<_> = self.steps.iter().filter_map(|step| step.path.parent()).collect();
        for parent in parents {
            let directory = self.tree.directory(parent);
            let directory = directory.map_err(|error| Fail::os("flush the directory", error))?;
            sync_directory(&directory).map_err(|fail| fail.at(bytes(parent)))?;
        }
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for step in self.steps.iter().rev() {
            // What cannot be put back stays beside: it may be all that is left of a file.
            if !step.committed || self.rename(step, true).is_ok() {
                let _ = match (step.kind, step.committed) {
                    // Back in its place, or never moved.
                    (Kind::Remove, _) => Ok(()),
                    _ => self.remove_beside(step),
                };
            }
        }
        for path in self.created.iter().rev() {
            if let Some((parent, name)) = split(path)
                && let Ok(parent) = self.tree.directory(parent)
            {
                let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
            }
        }
    }
}

/// Writes the announced content beside `name`; returns under which name.
fn write_beside(
    directory: OwnedFd,
    name: &OsStr,
    change: &FileChange,
    input: &mut impl Read,
) -> Result<OsString, Fail> {
    let replaced = match &change.expected {
        Some(_) => Some(replaceable(&directory, name)?.ok_or_else(changed_meanwhile)?),
        None => None,
    };
    let mut new = NewFile::create(directory)?;
    if new.fill(&mut input.take(change.bytes))? != change.bytes {
        return Err(Fail::invalid("less content than announced"));
    }
    new.adopt(replaced.as_ref(), change.mode)?;
    Ok(new.keep())
}

fn changed_meanwhile() -> Fail {
    Fail::wrong_state("the file has changed meanwhile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn staged(home: &Path) -> Transaction {
        for name in ["replaced", "removed", "last"] {
            fs::write(home.join(name), name).unwrap();
        }
        let tree = || Tree::open(home).unwrap();
        let expected = |name: &str| Some(stamp(&tree().stat(Path::new(name)).unwrap()));
        let change = |path: &'static str, expected| FileChange {
            path: path.into(),
            bytes: 3,
            mode: 0o644,
            expected,
            ..FileChange::default()
        };
        let mut transaction = Transaction::new(tree());
        let removed = FileChange { remove: true, bytes: 0, ..change("removed", expected("removed")) };
        let changes = [
            change("replaced", expected("replaced")),
            removed,
            change("new/file", None),
            change("last", expected("last")),
        ];
        for change in changes {
            transaction.stage(&change, &mut &b"new"[..]).unwrap();
        }
        transaction.flush_staged().unwrap();
        transaction.check_all().unwrap();
        transaction
    }

    fn files(home: &Path) -> Vec<(OsString, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(home)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap_or_default()))
            .collect();
        files.sort();
        files
    }

    fn file(name: &str, content: &str) -> (OsString, Vec<u8>) {
        (name.into(), content.into())
    }

    #[test]
    fn a_file_that_changes_after_the_check_undoes_what_was_put_in_place() {
        let home = tempfile::tempdir().unwrap();
        let mut transaction = staged(home.path());
        fs::write(home.path().join("last"), "changed").unwrap();
        let fail = transaction.commit_all().unwrap_err();
        assert_eq!(fail.kind, FailureKind::WrongState);
        assert!(home.path().join("new/file").exists() && !home.path().join("removed").exists());
        drop(transaction);
        let expected = [file("last", "changed"), file("removed", "removed"), file("replaced", "replaced")];
        assert_eq!(files(home.path()), expected);
    }

    #[test]
    fn what_takes_a_free_place_first_is_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let mut transaction = staged(home.path());
        fs::write(home.path().join("new/file"), "theirs").unwrap();
        assert_eq!(transaction.commit_all().unwrap_err().kind, FailureKind::WrongState);
        drop(transaction);
        assert_eq!(fs::read(home.path().join("new/file")).unwrap(), b"theirs");
        let expected = ["last", "new", "removed", "replaced"].map(OsString::from);
        assert_eq!(files(home.path()).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_cannot_be_put_back_is_not_lost() {
        let home = tempfile::tempdir().unwrap();
        let mut transaction = staged(home.path());
        transaction.commit_all().unwrap();
        fs::write(home.path().join("removed"), "theirs").unwrap();
        drop(transaction);
        let contents: Vec<_> = files(home.path()).into_iter().map(|(_, content)| content).collect();
        assert!(contents.contains(&b"removed".to_vec()) && contents.contains(&b"theirs".to_vec()));
    }
}
