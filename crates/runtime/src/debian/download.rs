//! One file from a mirror to its place, resumable and verified.
//!
//! Invariants: the final name appears only when size and sha256 are right; until then the bytes are in `NAME.part`,
//! which a later call (of any process) continues; two processes wanting the same file take turns. A server never gets
//! more bytes onto the disk than were announced by the signed index.
//!
//! No `If-Range` is sent: what a resumed file is made of is decided by its sha256, so a validator would add nothing.
//! A resumed file whose sha256 is wrong is fetched once more from the start before that counts as a failure.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::fetch::FetchError;
use super::mirror::without_credentials;
use crate::digest::{Hasher, Sha256Digest};
use crate::fs::{FsError, set_mode};
use crate::lock;
use crate::progress::Progress;

/// How long another process may take to fetch the file we want.
const OTHER_PROCESS_PATIENCE: Duration = Duration::from_mins(15);

/// How patient downloads are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    /// Until the first byte of an answer, and from one byte to the next.
    pub(crate) stall: Duration,
    /// For any file, however small; larger ones get more, at [`Patience::SLOWEST`].
    pub(crate) total: Duration,
    /// Before the second attempt; twice as long before each further one.
    pub(crate) backoff: Duration,
    pub(crate) attempts: u32,
}

impl Patience {
    /// Bytes a second below which a mirror counts as unusable.
    const SLOWEST: u64 = 32 * 1024;

    /// What any download may take in all.
    pub(crate) fn total_for(&self, size: u64) -> Duration {
        self.total + Duration::from_secs(size / Self::SLOWEST)
    }

    pub(crate) fn before_attempt(&self, attempt: u32) -> Duration {
        if attempt == 0 { Duration::ZERO } else { self.backoff * 2_u32.saturating_pow(attempt - 1) }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(20),
            total: Duration::from_mins(2),
            backoff: Duration::from_millis(500),
            attempts: 3,
        }
    }
}

/// A file to fetch.
pub(crate) struct Wanted {
    pub(crate) url: String,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Digest,
    /// Its final name.
    pub(crate) target: PathBuf,
}

impl Wanted {
    /// Whether the final name is there, with the right size: it only ever appears after verification.
    pub(crate) fn is_present(&self) -> bool {
        fs::metadata(&self.target).is_ok_and(|found| found.is_file() && found.len() == self.size)
    }

    fn part(&self) -> PathBuf {
        let mut name = self.target.clone().into_os_string();
        name.push(".part");
        name.into()
    }
}

/// Fetches `wanted` unless it is present.
pub(crate) fn download(
    agent: &Agent,
    wanted: &Wanted,
    patience: &Patience,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let mut meter = Meter { progress, reported: 0 };
    let mut attempt = 0;
    loop {
        std::thread::sleep(patience.before_attempt(attempt));
        attempt += 1;
        match try_once(agent, wanted, patience, &mut meter) {
            Ok(()) => {
                meter.reached(wanted.size);
                return Ok(());
            }
            Err(error) if error.is_transient() && attempt < patience.attempts => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tells the progress how far a file is, once for each byte, whatever is fetched twice.
struct Meter<'a> {
    progress: &'a dyn Progress,
    reported: u64,
}

impl Meter<'_> {
    fn reached(&mut self, position: u64) {
        if position > self.reported {
            self.progress.advance(position - self.reported);
            self.reported = position;
        }
    }
}

fn try_once(
    agent: &Agent,
    wanted: &Wanted,
    patience: &Patience,
    meter: &mut Meter<'_>,
) -> Result<(), FetchError> {
    let Some(mut part) = Part::open(wanted)? else {
        return Ok(());
    };
    let resumed = part.hasher_len > 0;
    let outcome = part.fill(agent, wanted, patience, meter);
    match outcome {
        Ok(()) => {}
        Err(error) => {
            // Room for others, when that is what is missing; and no byte is kept of a server that lies about sizes.
            if matches!(&error, FetchError::Fs(_) | FetchError::Oversize { .. }) {
                part.discard();
            }
            return Err(error);
        }
    }
    let actual = part.hasher.finish();
    if actual != wanted.sha256 {
        part.discard();
        return Err(FetchError::Mismatch {
            url: without_credentials(&wanted.url),
            file: file_name(&wanted.url),
            expected: wanted.sha256,
            actual,
            resumed,
        });
    }
    set_mode(&part.path, 0o644)?;
    fs::rename(&part.path, &wanted.target).map_err(FsError::on("create", &wanted.target))?;
    Ok(())
}

/// The file under construction, locked.
struct Part {
    file: File,
    path: PathBuf,
    /// Of what the file holds.
    hasher: Hasher,
    hasher_len: u64,
}

impl Part {
    /// Opens and locks the part; `None` when the file turned out to be complete meanwhile.
    fn open(wanted: &Wanted) -> Result<Option<Self>, FetchError> {
        let path = wanted.part();
        loop {
            if wanted.is_present() {
                return Ok(None);
            }
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(FsError::on("create", &path))?;
            lock::lock_file(&file, OTHER_PROCESS_PATIENCE, &|| {}).map_err(FsError::on("lock", &path))?;
            // Who held the lock may have renamed or removed the file we opened.
            if !is_same(&file, &path) {
                continue;
            }
            let mut part = Self { file, path, hasher: Hasher::default(), hasher_len: 0 };
            part.take_stock(wanted.size).map_err(FsError::on("read", &part.path))?;
            return Ok(Some(part));
        }
    }

    /// Hashes what an earlier attempt left, so that the file can be continued.
    fn take_stock(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            return self.restart();
        }
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.hasher_len += count as u64;
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::default();
        self.hasher_len = 0;
        Ok(())
    }

    fn discard(&self) {
        // What caused it is being reported; a part that stays is verified before it is used.
        let _ = fs::remove_file(&self.path);
    }

    /// Fetches what is missing.
    fn fill(
        &mut self,
        agent: &Agent,
        wanted: &Wanted,
        patience: &Patience,
        meter: &mut Meter<'_>,
    ) -> Result<(), FetchError> {
        if self.hasher_len == wanted.size {
            return Ok(());
        }
        let mut request =
            agent.get(&wanted.url).config().timeout_global(Some(patience.total_for(wanted.size))).build();
        if self.hasher_len > 0 {
            request = request.header("Range", format!("bytes={}-", self.hasher_len));
        }
        let response = request.call().map_err(|source| FetchError::Unreachable {
            url: without_credentials(&wanted.url),
            source: Box::new(source),
        })?;
        self.prepare(&response, wanted)?;
        meter.reached(self.hasher_len);
        self.receive(response, wanted, meter)
    }

    /// Brings the file to where the answer's body goes on.
    fn prepare(&mut self, response: &Response<ureq::Body>, wanted: &Wanted) -> Result<(), FetchError> {
        let status = response.status();
        match status {
            StatusCode::PARTIAL_CONTENT if range_start(response) == Some(self.hasher_len) => {}
            // The server has no ranges, or gives another one: from the start.
            StatusCode::OK => self.restart().map_err(FsError::on("write", &self.path))?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart().map_err(FsError::on("write", &self.path))?;
                return Err(interrupted(wanted, 0, io::ErrorKind::InvalidData.into()));
            }
            _ => {
                return Err(FetchError::Status {
                    url: without_credentials(&wanted.url),
                    status: status.as_u16(),
                });
            }
        }
        let announced = response.body().content_length();
        if announced.is_some_and(|length| length > wanted.size - self.hasher_len) {
            return Err(FetchError::Oversize { url: without_credentials(&wanted.url), size: wanted.size });
        }
        Ok(())
    }

    fn receive(
        &mut self,
        response: Response<ureq::Body>,
        wanted: &Wanted,
        meter: &mut Meter<'_>,
    ) -> Result<(), FetchError> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count =
                body.read(&mut buffer).map_err(|source| interrupted(wanted, self.hasher_len, source))?;
            if count == 0 {
                break;
            }
            if self.hasher_len + count as u64 > wanted.size {
                return Err(FetchError::Oversize {
                    url: without_credentials(&wanted.url),
                    size: wanted.size,
                });
            }
            self.file.write_all(&buffer[..count]).map_err(FsError::on("write", &self.path))?;
            self.hasher.update(&buffer[..count]);
            self.hasher_len += count as u64;
            meter.reached(self.hasher_len);
        }
        if self.hasher_len < wanted.size {
            return Err(interrupted(wanted, self.hasher_len, io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn interrupted(wanted: &Wanted, received: u64, source: io::Error) -> FetchError {
    FetchError::Interrupted { url: without_credentials(&wanted.url), received, size: wanted.size, source }
}

/// Where a partial answer begins: `Content-Range: bytes START-END/ALL`.
fn range_start(response: &Response<ureq::Body>) -> Option<u64> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    value.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => ours.ino() == named.ino() && ours.dev() == named.dev(),
        _ => false,
    }
}

fn file_name(url: &str) -> String {
    url.rsplit('/').next().unwrap_or(url).to_owned()
}
