//! Blocks of the disk, as they are once the journal is taken into account.

use super::superblock::BLOCK;
use crate::DiskError;
use crate::budget::Budget;
use crate::error::damaged;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Blocks of metadata that are kept, until there are so many.
const KEPT: usize = 1024;

/// Where the newest content of a block is that has not been written to its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journalled {
    pub(super) at: u64,
    /// Its first bytes were replaced, since they look like those of the journal itself.
    pub(super) is_escaped: bool,
}

pub(super) struct Blocks {
    file: File,
    count: u64,
    newest: HashMap<u64, Journalled>,
    kept: RefCell<HashMap<u64, Rc<Vec<u8>>>>,
    budget: Rc<Budget>,
}

impl Blocks {
    pub(super) fn new(file: File, budget: Rc<Budget>) -> Self {
        Self { file, count: 1, newest: HashMap::new(), kept: RefCell::default(), budget }
    }

    /// How many there are.
    pub(super) fn set_count(&mut self, count: u64) -> Result<(), DiskError> {
        let held = self.file.metadata().map_err(DiskError::read)?.len() / BLOCK as u64;
        if count > held {
            return damaged("it is larger than its disk");
        }
        self.count = count;
        Ok(())
    }

    /// From here on, these are the newest contents.
    pub(super) fn replay(&mut self, newest: HashMap<u64, Journalled>) {
        self.newest = newest;
        self.kept.take();
    }

    /// A block of metadata.
    pub(super) fn get(&self, block: u64) -> Result<Rc<Vec<u8>>, DiskError> {
        self.budget.check()?;
        if let Some(kept) = self.kept.borrow().get(&block) {
            return Ok(Rc::clone(kept));
        }
        let mut content = vec![0; BLOCK];
        self.read(block, 0, &mut content)?;
        let content = Rc::new(content);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(block, Rc::clone(&content));
        Ok(content)
    }

    /// Fills `buffer` from inside of one block.
    pub(super) fn read(&self, block: u64, within: usize, buffer: &mut [u8]) -> Result<(), DiskError> {
        /// What the journal's own blocks begin with.
        const MARK: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();
        self.budget.pay()?;
        if block >= self.count || within + buffer.len() > BLOCK {
            return damaged("a block is beyond its end");
        }
        let newest = self.newest.get(&block).copied();
        let at = newest.map_or(block, |newest| newest.at);
        let offset = at.checked_mul(BLOCK as u64).map(|start| start + within as u64);
        let offset = offset.map_or_else(|| damaged("a block is beyond its end"), Ok)?;
        self.file.read_exact_at(buffer, offset).map_err(DiskError::read)?;
        if newest.is_some_and(|newest| newest.is_escaped) {
            for (byte, mark) in buffer.iter_mut().zip(MARK.iter().skip(within)) {
                *byte = *mark;
            }
        }
        Ok(())
    }
}
