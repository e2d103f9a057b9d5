//! A template in the making.

use super::key::TemplateKey;
use super::parts::{KINDS, Parts};
use super::store::{Template, TemplateStore};
use pyro_protocol::error::chain;
use pyro_runtime::fs::{FsError, create_dir_all, remove_all, set_mode};
use pyro_runtime::lock::FileLock;
use std::path::PathBuf;

const BEING_MADE: &str = "the template is being made, or whoever was making it was killed";

/// The files of a template that is not finished, and the right to make it. Dropping it removes them.
pub(super) struct Building {
    store: TemplateStore,
    key: TemplateKey,
    directory: PathBuf,
    /// What stands in the place of a template meanwhile, where there is none, also if this process is killed: nobody is to
    /// try it again and again without being asked.
    noted: bool,
    _lock: FileLock,
}

impl Building {
    pub(super) fn begin(store: TemplateStore, key: TemplateKey, lock: FileLock) -> Result<Self, FsError> {
        let directory = store.build_directory(&key);
        let mut building = Self { noted: false, directory, store, key, _lock: lock };
        remove_all(&building.directory)?;
        create_dir_all(&building.directory)?;
        set_mode(&building.directory, 0o700)?;
        if building.store.open(&building.key).is_err() {
            building.store.note(&building.key, BEING_MADE.to_owned())?;
            building.noted = true;
        }
        Ok(building)
    }

    /// Where the files go. They do not exist yet.
    pub(super) fn files(&self) -> Parts<PathBuf> {
        KINDS.map(|kind| self.directory.join(kind))
    }

    /// Makes the finished files the template; the one before is removed.
    pub(super) fn finish(mut self) -> Result<Template, FsError> {
        match self.store.install(&self.key, &self.files()) {
            Ok(template) => {
                self.noted = false;
                Ok(template)
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Gives up, and records why there is no template, where there is none.
    pub(super) fn fail(mut self, error: &(dyn std::error::Error + 'static)) {
        let why = format!("the template could not be made: {}", chain(error));
        // A full disk may be why, and then there is room for a note only now.
        let _left = remove_all(&self.directory);
        // Where it cannot be written even so, the next start tries it again.
        if self.noted && self.store.note(&self.key, why).is_ok() {
            self.noted = false;
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build.
        let _left = remove_all(&self.directory);
        if self.noted {
            let _left = self.store.forget_note(&self.key);
        }
    }
}
