//! A release of the archive: verified, indexed, ready to be asked.

use super::error::DebianError;
use super::fetch::Fetcher;
use super::packages::{Index, Package, Priority};
use super::release::ReleaseInfo;
use super::resolve;

/// The packages of one release.
#[derive(Debug)]
pub struct Archive {
    info: ReleaseInfo,
    index: Index,
}

impl Archive {
    /// Fetches and verifies the release `suite` (a suite or a codename) and its package index. Of what the cache has
    /// already only the release file is fetched again.
    pub fn open(suite: &str, fetcher: &Fetcher) -> Result<Self, DebianError> {
        let release = fetcher.release(suite)?;
        let index = fetcher.index(suite, &release)?;
        Ok(Self { info: release.info, index })
    }

    /// Which release it is.
    pub fn info(&self) -> &ReleaseInfo {
        &self.info
    }

    /// `roots` and everything they need, sorted by name. Packages named in `exclude` count as present: neither they nor
    /// what only they need is in the result.
    pub fn resolve(&self, roots: &[&str], exclude: &[&str]) -> Result<Vec<Package>, DebianError> {
        let ids = resolve::resolve(&self.index, &self.info.codename, roots, exclude)?;
        Ok(ids.into_iter().map(|id| self.index.package(id)).collect())
    }

    /// The newest version of one package, without what it needs.
    pub fn package(&self, name: &str) -> Result<Package, DebianError> {
        let id = resolve::root(&self.index, &self.info.codename, name)?;
        Ok(self.index.package(id))
    }

    /// The packages no system may lack, sorted by name.
    pub fn essential(&self) -> Vec<Package> {
        self.select(|id| self.index.essential(id))
    }

    /// The packages of this priority, sorted by name.
    pub fn with_priority(&self, priority: Priority) -> Vec<Package> {
        self.select(|id| self.index.priority(id) == priority)
    }

    fn select(&self, wanted: impl Fn(usize) -> bool) -> Vec<Package> {
        self.index.all().filter(|id| wanted(*id)).map(|id| self.index.package(id)).collect()
    }
}
