//! An output of the binary, read as it comes so that the binary never blocks on it.

use crate::poll_until;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Both outputs end with the process, as nothing else may hold them.
const DEADLINE: Duration = Duration::from_secs(5);

/// How much of an output is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appetite {
    /// Bytes kept; more is counted.
    pub(crate) keep: usize,
    /// After so many bytes the reading end is closed.
    pub(crate) close_after: u64,
}

impl Default for Appetite {
    fn default() -> Self {
        Self { keep: usize::MAX, close_after: u64::MAX }
    }
}

/// One output and the thread that reads it.
#[derive(Debug)]
pub(crate) struct Output {
    received: Arc<Mutex<Received>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Received {
    kept: Vec<u8>,
    total: u64,
}

impl Output {
    pub(crate) fn read(pipe: Option<impl Read + Send + 'static>, appetite: Appetite) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let sink = Arc::clone(&received);
        let reader = pipe.map(|pipe| std::thread::spawn(move || drain(pipe, appetite, &sink)));
        Self { received, reader }
    }

    /// Whether everything that will come has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end, which follows that of the process.
    pub(crate) fn finish(&self, name: &str) {
        let ended = poll_until(DEADLINE, || self.has_ended().then_some(()));
        assert!(ended.is_some(), "{name} is still held open after the end");
    }

    pub(crate) fn total(&self) -> u64 {
        lock(&self.received).total
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.received).kept).into_owned()
    }

    /// What was kept, once.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.received).kept)
    }
}

fn drain(mut pipe: impl Read, appetite: Appetite, sink: &Mutex<Received>) {
    let mut buffer = vec![0; 64 * 1024];
    while lock(sink).total < appetite.close_after {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => lock(sink).push(&buffer[..count], appetite.keep),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Received {
    fn push(&mut self, data: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
        self.total += data.len() as u64;
    }
}
