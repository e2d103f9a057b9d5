//! A guest that lies: every call is answered by the test, in the agent's place.
//!
//! Each call has to end within bounded time and memory, without a trace outside of what was asked for.

mod commands;
mod contents;
mod diffs;
mod exports;
mod line;
mod listings;
mod silence;

use line::Line;
use pyro_protocol::v1::request::Call;
use pyro_testkit::{Home, Run, Workspace};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// No call takes longer, on a busy host either, but one that waits for a guest that says nothing. The longest unpacks a million
/// entries before it refuses the next one, which takes a quarter of a minute on a quiet host.
const DEADLINE: Duration = Duration::from_mins(2);
/// What the process that is lied to may take at most.
const MEMORY_KIB: u64 = 200 << 10;

type Lie = Arc<dyn Fn(&mut Line, &Call) -> io::Result<()> + Send + Sync>;

/// A workspace whose guest is the test.
pub(super) struct Impostor<'home> {
    home: &'home Home,
    pub(super) workspace: Workspace<'home>,
    directory: PathBuf,
    answer: Arc<Mutex<Lie>>,
}

impl<'home> Impostor<'home> {
    pub(super) fn new(home: &'home Home) -> Self {
        let workspace = home.workspace();
        let directory = home.workspace_directory(workspace.id());
        fs::rename(directory.join("guest.sock"), directory.join("guest.real")).unwrap();
        // The path is longer than a socket's address can be.
        let open = File::open(&directory).unwrap();
        let short = format!("/proc/self/fd/{}/guest.sock", open.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        let answer: Arc<Mutex<Lie>> = Arc::new(Mutex::new(Arc::new(|_, _| Ok(()))));
        let told = Arc::clone(&answer);
        // It ends with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&told.lock().unwrap());
                thread::spawn(move || Line::serve(stream, &answer));
            }
        });
        Self { home, workspace, directory, answer }
    }

    pub(super) fn lies(&self, lie: impl Fn(&mut Line, &Call) -> io::Result<()> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(lie);
    }

    /// Makes a call that has to fail with this code, within the limits.
    #[track_caller]
    fn refused(&self, command: &str, arguments: &[&str], code: &str, what: &str) {
        let run = self.bounded(command, arguments, what);
        assert_ne!(run.code, Some(0), "{what} was believed");
        let error = run.json()["error"].clone();
        assert!(error["code"] == code && error["message"].is_string(), "{what}: {error:#}");
    }

    /// Makes a call that has to end within the limits.
    #[track_caller]
    pub(super) fn bounded(&self, command: &str, arguments: &[&str], what: &str) -> Run {
        let run = self.workspace.call(command, &["--json"]).args(arguments).deadline(DEADLINE).run();
        assert!(run.peak_memory_kib < MEMORY_KIB, "{what}: {} KiB", run.peak_memory_kib);
        run
    }
}

impl Drop for Impostor<'_> {
    fn drop(&mut self) {
        let _restored = fs::rename(self.directory.join("guest.real"), self.directory.join("guest.sock"));
    }
}
