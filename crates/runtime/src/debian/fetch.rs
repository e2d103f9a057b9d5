//! Fetching from a mirror: verified files into the cache, a few at a time.
//!
//! The cache is keyed by digest (`pool/SHA256.deb`, `lists/SHA256.xz`), so it is shared by releases, mirrors and
//! processes, and nothing in it ever goes stale.

mod error;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use ureq::Agent;

pub use error::FetchError;

use super::download::{Patience, Wanted, download};
use super::error::DebianError;
use super::keyring::Keyring;
use super::mirror::{Mirror, SnapshotTime, without_credentials};
use super::packages::{Index, Package};
use super::release::{Expectation, Listed, Release};
use crate::digest::Sha256Digest;
use crate::env_vars;
use crate::fs::{FsError, create_dir_all, remove_all};
use crate::paths::Dirs;
use crate::progress::Progress;

/// Connections at a time: enough to hide latency, few enough for any mirror.
const CONNECTIONS: usize = 4;

/// The largest release file taken: trixie's has 140 KB.
const MAX_RELEASE: u64 = 8 << 20;

/// The index of the one component and architecture used.
const INDEX: &str = "main/binary-amd64/Packages";

/// The largest index taken when the release does not say: trixie's has 57 MB.
const MAX_INDEX: u64 = 1 << 30;

/// What the user can say about where packages come from.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// The archive as it was at this time, rather than as it is.
    pub snapshot: Option<SnapshotTime>,
}

impl FetchOptions {
    /// The mirror that these options, the environment and the host's apt say.
    pub fn mirror(&self) -> Result<Mirror, DebianError> {
        Mirror::select(self.snapshot.as_ref(), &env_vars::process, Path::new("/etc/apt"))
    }
}

/// Downloads from one mirror into the cache.
pub struct Fetcher {
    agent: Agent,
    mirror: Mirror,
    keyring: Keyring,
    cache: PathBuf,
    patience: Patience,
    progress: Arc<dyn Progress>,
}

impl Fetcher {
    /// A fetcher from the mirror that `options`, the environment and the host's apt say.
    pub fn new(
        dirs: &Dirs,
        options: &FetchOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, DebianError> {
        Self::with_parts(options.mirror()?, Keyring::debian()?, dirs.debian(), Patience::default(), progress)
    }

    pub(crate) fn with_parts(
        mirror: Mirror,
        keyring: Keyring,
        cache: PathBuf,
        patience: Patience,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, DebianError> {
        for dir in ["lists", "pool"] {
            create_dir_all(&cache.join(dir))?;
        }
        let agent = crate::http::agent(patience.connect, patience.stall);
        Ok(Self { agent, mirror, keyring, cache, patience, progress })
    }

    /// The mirror in use.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Who is told about phases and bytes.
    pub fn progress(&self) -> &Arc<dyn Progress> {
        &self.progress
    }

    /// Fetches every package that is not in the cache. Returns their files, in the order of `packages`.
    pub fn packages(&self, packages: &[Package]) -> Result<Vec<PathBuf>, DebianError> {
        let wanted: Vec<Wanted> = packages
            .iter()
            .map(|package| Wanted {
                url: self.mirror.url(&package.filename),
                size: package.size,
                sha256: package.sha256,
                target: self.pool_file(package.sha256),
            })
            .collect();
        self.download_all(&wanted)?;
        Ok(wanted.into_iter().map(|wanted| wanted.target).collect())
    }

    /// Removes packages from the cache, when nothing needs their files any more.
    pub fn forget(&self, packages: &[Package]) -> Result<(), DebianError> {
        packages.iter().try_for_each(|package| Ok(remove_all(&self.pool_file(package.sha256))?))
    }

    /// Where a package of this digest is kept.
    pub fn pool_file(&self, sha256: Sha256Digest) -> PathBuf {
        self.cache.join("pool").join(format!("{sha256}.deb"))
    }

    /// Fetches and verifies the release file of `suite`.
    pub(crate) fn release(&self, suite: &str) -> Result<Release, DebianError> {
        let url = self.mirror.url(&format!("dists/{suite}/InRelease"));
        let text = self.text(&url)?;
        let wanted =
            Expectation { url: &url, suite, ignore_expiry: self.mirror.is_snapshot(), now: Timestamp::now() };
        Release::verify(&text, &self.keyring, &wanted)
    }

    /// Fetches (unless the cache has it) and parses the package index of a release.
    pub(crate) fn index(&self, suite: &str, release: &Release) -> Result<Index, DebianError> {
        let name = format!("{INDEX}.xz");
        let listed = release.file(&name).ok_or_else(|| DebianError::Malformed {
            what: self.mirror.url(&format!("dists/{suite}/InRelease")),
            problem: format!("it does not list {name}"),
        })?;
        let path = if release.by_hash {
            format!("dists/{suite}/main/binary-amd64/by-hash/SHA256/{}", listed.sha256)
        } else {
            format!("dists/{suite}/{name}")
        };
        let wanted = self.wanted_index(&path, listed);
        for attempt in 0.. {
            self.download_all(std::slice::from_ref(&wanted))?;
            let packed = std::fs::read(&wanted.target).map_err(FsError::on("read", &wanted.target))?;
            if Sha256Digest::of(&packed) == listed.sha256 {
                let limit = release.file(INDEX).map_or(MAX_INDEX, |plain| plain.size);
                return Index::parse(&mut decompressor(&packed)?, limit, &wanted.url);
            }
            // It was right when it was fetched, so the disk lost it: once more, and only once.
            remove_all(&wanted.target)?;
            if attempt > 0 {
                break;
            }
        }
        Err(DebianError::Malformed {
            what: wanted.target.display().to_string(),
            problem: "it changes".to_owned(),
        })
    }

    fn wanted_index(&self, path: &str, listed: Listed) -> Wanted {
        Wanted {
            url: self.mirror.url(path),
            size: listed.size,
            sha256: listed.sha256,
            target: self.cache.join("lists").join(format!("{}.xz", listed.sha256)),
        }
    }

    /// Downloads what is not present, largest first so that the last connections end together.
    fn download_all(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let mut missing: Vec<&Wanted> = wanted.iter().filter(|wanted| !wanted.is_present()).collect();
        missing.sort_by_key(|wanted| std::cmp::Reverse(wanted.size));
        missing.dedup_by_key(|wanted| wanted.sha256);
        self.progress.total(missing.iter().map(|wanted| wanted.size).sum());
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS.min(missing.len()) {
                scope.spawn(|| self.work(&missing, &next, &failure));
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// One connection: takes files until there are none, or another connection failed.
    fn work(&self, missing: &[&Wanted], next: &AtomicUsize, failure: &Mutex<Option<FetchError>>) {
        while let Some(wanted) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = download(&self.agent, wanted, &self.patience, &*self.progress) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(missing.len(), Ordering::Relaxed);
            }
        }
    }

    /// Fetches a small text file of unknown size, with the same patience as any other.
    fn text(&self, url: &str) -> Result<String, FetchError> {
        let mut attempt = 0;
        loop {
            std::thread::sleep(self.patience.before_attempt(attempt));
            attempt += 1;
            match self.text_once(url) {
                Err(error) if error.is_transient() && attempt < self.patience.attempts => {}
                result => return result,
            }
        }
    }

    fn text_once(&self, url: &str) -> Result<String, FetchError> {
        let request = self.agent.get(url).config().timeout_global(Some(self.patience.total)).build();
        let mut response = request.call().map_err(|source| FetchError::Unreachable {
            url: without_credentials(url),
            source: Box::new(source),
        })?;
        if !response.status().is_success() {
            return Err(FetchError::Status {
                url: without_credentials(url),
                status: response.status().as_u16(),
            });
        }
        let size = response.body().content_length().unwrap_or(0);
        if size > MAX_RELEASE {
            return Err(FetchError::Oversize { url: without_credentials(url), size: MAX_RELEASE });
        }
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(MAX_RELEASE + 1).read_to_end(&mut bytes);
        let received = bytes.len() as u64;
        read.map_err(|source| FetchError::Interrupted {
            url: without_credentials(url),
            received,
            size,
            source,
        })?;
        if received > MAX_RELEASE {
            return Err(FetchError::Oversize { url: without_credentials(url), size: MAX_RELEASE });
        }
        // Whatever is not UTF-8 is not a release file; the signature check says so.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn decompressor(packed: &[u8]) -> Result<impl Read + '_, DebianError> {
    super::deb::xz_decoder(packed)
        .map_err(|error| DebianError::Malformed { what: format!("{INDEX}.xz"), problem: error.to_string() })
}

#[cfg(test)]
mod tests;
