//! A guest that lies: every call is answered by the test, in the agent's place.
//!
//! Each call has to end within bounded time and memory, without a trace outside of what was asked for.

use super::live::{Live, text};
use super::transfers::{entry, names};
use prost::Message;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::request::Call;
use pyro_protocol::v1::{
    Change, ChangeKind, Data, Done, Entries, Entry, Exited, Failure, FailureKind, FileKind, Output,
    OutputStream, Reply, Request, Side, Stamp, Started, Transferred,
};
use pyro_testkit::{Run, Signal};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tar::EntryType;

/// No call takes longer, but one that waits for a guest that says nothing.
const DEADLINE: Duration = Duration::from_secs(30);
/// As long as a guest may say nothing in the middle of a transfer, and some more.
const SILENCE_DEADLINE: Duration = Duration::from_secs(80);
/// What the process that is lied to may take at most.
const MEMORY_KIB: u64 = 200 << 10;

type Lie = Arc<dyn Fn(&mut Line, &Call) -> io::Result<()> + Send + Sync>;

/// A workspace whose guest is the test.
struct Impostor {
    live: Live,
    directory: PathBuf,
    answer: Arc<Mutex<Lie>>,
}

impl Impostor {
    fn new() -> Self {
        let live = Live::empty();
        let directory = live.home.path().join("data/pyro/workspaces").join(&live.id);
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
        Self { live, directory, answer }
    }

    fn lies(&self, lie: impl Fn(&mut Line, &Call) -> io::Result<()> + Send + Sync + 'static) {
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
    fn bounded(&self, command: &str, arguments: &[&str], what: &str) -> Run {
        let run = self.live.call(command, &["--json"]).args(arguments).deadline(DEADLINE).run();
        assert!(run.peak_memory_kib < MEMORY_KIB, "{what}: {} KiB", run.peak_memory_kib);
        run
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _restored = fs::rename(self.directory.join("guest.real"), self.directory.join("guest.sock"));
    }
}

/// One call, seen from the guest.
struct Line {
    stream: UnixStream,
    /// Takes and ignores what the host sends, until it hangs up.
    input: Option<JoinHandle<io::Result<u64>>>,
}

impl Line {
    fn serve(mut stream: UnixStream, answer: &Lie) -> io::Result<()> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request)?;
        let call = Request::decode(&*request).ok().and_then(|request| request.call);
        let mut input = stream.try_clone()?;
        let input = Some(thread::spawn(move || io::copy(&mut input, &mut io::sink())));
        let mut line = Self { stream, input };
        if let Some(call) = call {
            // The host hangs up once it knows better.
            let _heard_out = answer(&mut line, &call);
        }
        line.stream.shutdown(Shutdown::Both)
    }

    fn send(&mut self, answer: Answer) -> io::Result<()> {
        self.stream.write_all(&frame(answer))
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(Answer::Data(Data { data: bytes.to_vec().into() }))
    }

    /// Sends the same until the host hangs up.
    fn endless(&mut self, answer: Answer) -> io::Result<()> {
        let frames = frame(answer);
        let frames = frames.repeat((64 << 10) / frames.len() + 1);
        loop {
            self.stream.write_all(&frames)?;
        }
    }

    /// Says nothing until the host hangs up.
    fn silence(&mut self) {
        self.input.take().map(JoinHandle::join);
    }

    fn archive(&mut self, archive: &[u8]) -> io::Result<()> {
        for chunk in archive.chunks(64 << 10) {
            self.data(chunk)?;
        }
        self.transferred()
    }

    fn transferred(&mut self) -> io::Result<()> {
        self.send(Answer::Transferred(Transferred::default()))
    }
}

fn frame(answer: Answer) -> Vec<u8> {
    let message = Reply { reply: Some(answer) }.encode_to_vec();
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

fn zeros(count: usize) -> Answer {
    Answer::Data(Data { data: vec![0; count].into() })
}

/// A directory to export to, beside something that must not be touched.
fn destination(live: &Live) -> PathBuf {
    let root = live.home.path().join("out");
    fs::create_dir_all(&root).unwrap();
    fs::write(live.home.path().join("mine"), "mine").unwrap();
    root
}

/// Exports, which has to fail and to leave nothing.
#[track_caller]
fn refuses_export(impostor: &Impostor, code: &str, what: &str) {
    let out = destination(&impostor.live);
    impostor.refused("export", &["x", "--output", text(&out.join("new"))], code, what);
    assert_nothing_left(&out, what);
}

#[track_caller]
fn assert_nothing_left(out: &Path, what: &str) {
    assert_eq!(names(out), [""; 0], "{what}");
    let home = out.parent().unwrap();
    assert_eq!(fs::read_to_string(home.join("mine")).unwrap(), "mine", "{what}");
    assert!(!home.join("evil").exists() && !Path::new("/tmp/pyro-evil").exists(), "{what} came out");
}

#[test]
fn an_archive_that_lies_leaves_nothing() {
    let impostor = Impostor::new();
    let home = text(impostor.live.home.path()).to_owned();
    let end = vec![0; 1024];
    let file = |name: &str| entry(EntryType::Regular, name, "", b"evil");
    let link = |kind, name: &str, target: &str| entry(kind, name, target, b"");
    let huge = |size: u64| {
        let mut bytes = file("huge");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_size(size);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    let long = {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 30);
        header.set_cksum();
        [&header.as_bytes()[..], &vec![b'x'; 4 << 20]].concat()
    };
    let evil = "../evil";
    let outside = format!("{home}/evil");
    let through = [link(EntryType::Symlink, "l", &home), file("l/evil"), end.clone()].concat();
    let beside = [link(EntryType::Symlink, "l", "../.."), file("l/evil"), end.clone()].concat();
    let replaced = [file("d/x"), link(EntryType::Symlink, "d", &home), file("d/evil"), end.clone()].concat();
    let swapped =
        [link(EntryType::Symlink, "a", ".."), link(EntryType::Symlink, "b", "a/.."), end.clone()].concat();
    let hard_to_link =
        [link(EntryType::Symlink, "l", "/etc/passwd"), link(EntryType::Link, "h", "l"), end.clone()].concat();
    let cases: [(&str, Vec<u8>, &str); 20] = [
        ("dots", [file(evil), end.clone()].concat(), "invalid_input"),
        ("dots within", [file("a/../../evil"), end.clone()].concat(), "invalid_input"),
        ("an absolute name", [file("/tmp/pyro-evil"), end.clone()].concat(), "invalid_input"),
        ("an absolute name of the host's", [file(&outside), end.clone()].concat(), "invalid_input"),
        ("a write through an absolute link", through, "invalid_input"),
        ("a write through a relative link", beside, "invalid_input"),
        ("a directory replaced by a link", replaced, "already_exists"),
        ("links that lead out together", swapped, "invalid_input"),
        ("a second name of a link that leads out", hard_to_link, "invalid_input"),
        (
            "a hard link out",
            [link(EntryType::Link, "h", "../../mine"), end.clone()].concat(),
            "invalid_input",
        ),
        (
            "an absolute hard link",
            [link(EntryType::Link, "h", "/etc/passwd"), end.clone()].concat(),
            "invalid_input",
        ),
        (
            "a hard link to nothing",
            [link(EntryType::Link, "h", "nothing"), end.clone()].concat(),
            "not_found",
        ),
        ("a device", [link(EntryType::Char, "null", ""), end.clone()].concat(), "invalid_input"),
        ("a pipe", [link(EntryType::Fifo, "pipe", ""), end.clone()].concat(), "invalid_input"),
        (
            "a link in place of all",
            [link(EntryType::Symlink, ".", "/etc"), end.clone()].concat(),
            "invalid_input",
        ),
        ("nothing", end.clone(), "invalid_input"),
        ("garbage", vec![b'x'; 1 << 20], "invalid_input"),
        ("a header of a huge file", huge(1 << 60), "exhausted"),
        ("a file that is shorter than announced", huge(1 << 20), "invalid_input"),
        ("a name of a gibibyte", long, "invalid_input"),
    ];
    for (what, archive, code) in cases {
        impostor.lies(move |line, _| line.archive(&archive));
        refuses_export(&impostor, code, what);
    }
    let whole = [file("x"), end].concat();
    for (what, announced, frame) in [
        ("a frame of four gibibytes", u32::MAX, vec![0; 1 << 20]),
        ("a frame that is no message", 1024, vec![0xff; 1024]),
        ("an empty frame", 0, vec![]),
    ] {
        impostor
            .lies(move |line, _| line.stream.write_all(&[&u32::to_be_bytes(announced), &frame[..]].concat()));
        refuses_export(&impostor, "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.send(Answer::Done(Done {})));
    refuses_export(&impostor, "guest_misbehaved", "another answer");
    // Whole as it is, nobody said so.
    impostor.lies(move |line, _| line.data(&whole));
    refuses_export(&impostor, "guest_unavailable", "an end before the end");
    impostor.lies(|_, _| Ok(()));
    refuses_export(&impostor, "guest_unavailable", "no answer at all");
}

#[test]
fn an_archive_of_too_many_entries_is_refused() {
    let impostor = Impostor::new();
    let directories = entry(EntryType::Directory, &"d".repeat(90), "", b"").repeat(128);
    let links = entry(EntryType::Symlink, "link", "nowhere", b"").repeat(128);
    for (what, entries) in [("a million directories", directories), ("a million links", links)] {
        impostor.lies(move |line, _| line.endless(Answer::Data(Data { data: entries.clone().into() })));
        refuses_export(&impostor, "exhausted", what);
    }
}

#[test]
fn what_follows_an_archive_does_not_go_on_for_ever() {
    let impostor = Impostor::new();
    let whole = [entry(EntryType::Regular, "x", "", b"evil"), vec![0; 1024]].concat();
    impostor.lies(move |line, _| line.data(&whole).and_then(|()| line.endless(zeros(64 << 10))));
    refuses_export(&impostor, "exhausted", "endless padding");
}

#[test]
fn an_archive_of_nothing_does_not_go_on_for_ever() {
    let impostor = Impostor::new();
    impostor.lies(|line, _| line.endless(zeros(0)));
    refuses_export(&impostor, "guest_misbehaved", "endless data without a byte");
}

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let impostor = Impostor::new();
    let beginning = entry(EntryType::Regular, "x", "", b"evil");
    impostor.lies(move |line, _| {
        line.data(&beginning)?;
        line.silence();
        Ok(())
    });
    let out = destination(&impostor.live);
    let exporting = impostor.live.call("export", &["x", "--output", text(&out.join("new"))]).spawn();
    let begun = pyro_testkit::poll_until(DEADLINE, || (!names(&out).is_empty()).then_some(()));
    assert!(begun.is_some(), "nothing was begun");
    exporting.signal(Signal::INT);
    exporting.wait().expect(130).text();
    assert_nothing_left(&out, "an interrupt");
}

#[test]
fn a_guest_that_says_nothing_is_given_up() {
    let impostor = Impostor::new();
    let evil = entry(EntryType::Regular, "../evil", "", b"evil");
    impostor.lies(move |line, call| {
        if let Call::Pack(_) = call {
            line.data(&evil)?;
        }
        line.silence();
        Ok(())
    });
    let out = destination(&impostor.live);
    let target = out.join("new");
    let calls: [(&str, &[&str], &str); 2] = [
        ("file read", &["x", "--json"], "timed_out"),
        // Why it is refused is known long before.
        ("export", &["x", "--output", text(&target), "--json"], "invalid_input"),
    ];
    let runs = calls.map(|(command, arguments, code)| {
        (command, impostor.live.call(command, arguments).deadline(SILENCE_DEADLINE).spawn(), code)
    });
    for (command, running, code) in runs {
        let run = running.wait();
        assert_eq!(run.json()["error"]["code"], code, "{command}");
    }
    assert_nothing_left(&out, "silence");
}

fn listed(path: &str) -> Entry {
    Entry { path: path.to_owned().into(), kind: FileKind::File.into(), mode: 0o644, ..Entry::default() }
}

#[test]
fn a_listing_that_lies_is_refused() {
    let impostor = Impostor::new();
    let link = |target: &str| Entry {
        kind: FileKind::Symlink.into(),
        link_target: target.to_owned().into(),
        ..listed("d/l")
    };
    for (what, entries) in [
        ("dots", vec![listed("d/../../x")]),
        ("an absolute path", vec![listed("/etc/passwd")]),
        ("a path that is not in normal form", vec![listed("d//x")]),
        ("another directory", vec![listed("e/x")]),
        ("a directory with the same beginning", vec![listed("dd/x")]),
        ("what is deeper", vec![listed("d/x/y")]),
        ("NUL", vec![listed("d/\0")]),
        ("a long path", vec![listed(&format!("d/{}", "x".repeat(4096)))]),
        ("a path twice", vec![listed("d/x"), listed("d/x")]),
        ("no entries", vec![]),
        ("an unknown kind", vec![Entry { kind: 77, ..listed("d/x") }]),
        ("a file with a target", vec![Entry { link_target: "x".into(), ..listed("d/x") }]),
        ("a link without a target", vec![link("")]),
        ("a link with a target that is too long", vec![link(&"x".repeat(5000))]),
        ("a mode that is none", vec![Entry { mode: 0o10_0644, ..listed("d/x") }]),
    ] {
        impostor.lies(move |line, _| {
            line.send(Answer::Entries(Entries { entries: entries.clone() }))?;
            line.transferred()
        });
        impostor.refused("file list", &["d"], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.endless(Answer::Entries(Entries { entries: vec![listed("d/x"); 1000] })));
    impostor.refused("file list", &["d"], "guest_misbehaved", "endless entries");
    impostor.lies(|line, _| line.endless(zeros(100)));
    impostor.refused("file list", &["d"], "guest_misbehaved", "another answer");
}

#[test]
fn the_longest_listing_takes_bounded_memory() {
    let impostor = Impostor::new();
    // Each byte takes six in a document.
    impostor.lies(|line, _| {
        for number in 0..16_000 {
            let path = format!("d/{number:05}{}", "\u{1}".repeat(4000));
            line.send(Answer::Entries(Entries { entries: vec![listed(&path)] }))?;
        }
        line.transferred()
    });
    let run = impostor.bounded("file list", &["d"], "the longest listing");
    assert!(run.code == Some(0) || run.json()["error"]["code"] == "guest_misbehaved", "{}", run.stderr);
}

#[test]
fn a_file_that_lies_is_refused() {
    let impostor = Impostor::new();
    let stamp = Some(Stamp { inode: 1, bytes: 4, mtime_ns: 0, ctime_ns: 0 });
    let honest = Transferred { bytes: 4, total_bytes: 4, mode: 0o644, stamp, entries: 0 };
    for (what, data, end) in [
        ("more than was asked for", &b"12345"[..], Transferred { total_bytes: 5, ..honest }),
        ("nothing as data", b"", honest),
        ("a mode that is none", b"1234", Transferred { mode: 0o10_0644, ..honest }),
        ("no stamp", b"1234", Transferred { stamp: None, ..honest }),
    ] {
        impostor.lies(move |line, _| {
            line.data(data)?;
            line.send(Answer::Transferred(end))
        });
        impostor.refused("file read", &["x", "--max-bytes", "4"], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.endless(zeros(100)));
    impostor.refused("file read", &["x", "--max-bytes", "1048576"], "guest_misbehaved", "endless content");
    impostor.lies(|line, _| line.endless(zeros(0)));
    impostor.refused("file read", &["x"], "guest_misbehaved", "endless nothing");
    let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";
    impostor.lies(|line, _| line.endless(zeros(64 << 10)));
    impostor.refused(
        "patch apply",
        &["--patch", patch],
        "guest_misbehaved",
        "a file without an end to patch",
    );
    impostor.lies(|line, _| line.send(Answer::Done(Done {})).map(|()| line.silence()));
    impostor.refused("file write", &["x", "--text", "x"], "guest_misbehaved", "another end");
    impostor.lies(|_, _| Ok(()));
    impostor.refused("file write", &["x", "--text", "x"], "guest_unavailable", "no end");
    let source = impostor.live.home.path().join("source");
    fs::create_dir(&source).and_then(|()| fs::write(source.join("x"), vec![7; 8 << 20])).unwrap();
    for (what, answer, code) in [
        ("data for data", zeros(10), "guest_misbehaved"),
        (
            "a failure midway",
            Answer::Failure(Failure { kind: FailureKind::Io.into(), ..Failure::default() }),
            "guest_misbehaved",
        ),
        (
            "an unknown failure",
            Answer::Failure(Failure { kind: 99, ..Failure::default() }),
            "guest_misbehaved",
        ),
    ] {
        impostor.lies(move |line, _| line.send(answer.clone()).map(|()| line.silence()));
        impostor.refused("sync push", &[text(&source)], code, what);
    }
}

#[test]
fn a_failure_in_the_guests_words_drives_no_terminal() {
    let impostor = Impostor::new();
    let message = "\x1b[2J\u{202e}\n".repeat(10_000);
    let path = "\x1b]0;evil\x07".repeat(100);
    impostor.lies(move |line, _| {
        let (message, path) = (message.clone(), path.clone().into());
        line.send(Answer::Failure(Failure { kind: FailureKind::NotFound.into(), message, path }))
    });
    let run = impostor.bounded("file list", &[], "a failure in many words");
    assert!(
        run.json()["error"]["code"] == "not_found" && run.stdout.len() < 64 << 10,
        "{} bytes",
        run.stdout.len()
    );
    let driving = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
    assert!(!run.stderr.contains(driving), "{:?}", &run.stderr[..run.stderr.len().min(500)]);
}

fn added(path: String, size: u64, has_content: bool) -> Change {
    let after = Side { size, mode: 0o644, has_content, content_bytes: size, ..side(FileKind::File) };
    Change { path: path.into(), kind: ChangeKind::Added.into(), before: None, after: Some(after) }
}

fn side(kind: FileKind) -> Side {
    Side { kind: kind.into(), mode: 0o644, ..Side::default() }
}

#[test]
fn a_diff_that_lies_is_refused() {
    let impostor = Impostor::new();
    let plain = |path: &str| added(path.to_owned(), 0, false);
    let kinds = |kind: ChangeKind, before, after| Change { kind: kind.into(), before, after, ..plain("x") };
    let (file, directory) = (side(FileKind::File), side(FileKind::Directory));
    for (what, changes) in [
        ("dots", vec![plain("../x")]),
        ("an absolute path", vec![plain("/etc/passwd")]),
        ("no path", vec![plain("")]),
        ("a path twice", vec![plain("a"), plain("a")]),
        ("changes out of order", vec![plain("b"), plain("a")]),
        (
            "an addition of what was there",
            vec![kinds(ChangeKind::Added, Some(file.clone()), Some(file.clone()))],
        ),
        (
            "a change of type without one",
            vec![kinds(ChangeKind::TypeChanged, Some(file.clone()), Some(file.clone()))],
        ),
        ("a modification of type", vec![kinds(ChangeKind::Modified, Some(file.clone()), Some(directory))]),
        ("a change of nothing", vec![kinds(ChangeKind::Modified, None, None)]),
        ("an unknown kind", vec![Change { kind: 99, ..plain("x") }]),
        ("content over the limit", vec![added("x".to_owned(), (1 << 20) + 1, true)]),
        ("content without an end", vec![added("x".to_owned(), u64::MAX, true)]),
        ("content that breaks off", vec![added("x".to_owned(), 10, true), plain("y")]),
    ] {
        impostor.lies(move |line, _| {
            for change in &changes {
                line.send(Answer::Change(change.clone()))?;
            }
            line.transferred()
        });
        impostor.refused("diff", &[], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| {
        line.send(Answer::Change(added("x".to_owned(), 10, true)))?;
        line.endless(zeros(0))
    });
    impostor.refused("diff", &[], "guest_misbehaved", "content of nothing");
    impostor.lies(|line, _| {
        for number in 0_u32.. {
            line.send(Answer::Change(added(format!("{number:09}"), 1 << 20, true)))?;
            for _ in 0..16 {
                line.send(zeros(64 << 10))?;
            }
        }
        Ok(())
    });
    impostor.refused("diff", &[], "guest_misbehaved", "more content than asked for");
    impostor.lies(|line, _| {
        (0_u32..).try_for_each(|number| line.send(Answer::Change(added(format!("{number:09}"), 0, false))))
    });
    impostor.refused("diff", &[], "guest_misbehaved", "endless changes");
}

#[test]
fn the_longest_diff_takes_bounded_memory() {
    let impostor = Impostor::new();
    impostor.lies(|line, _| {
        for number in 0..40_000_u32 {
            let link =
                |target: &str| Side { link_target: target.repeat(4000).into(), ..side(FileKind::Symlink) };
            let kind = ChangeKind::Modified.into();
            let path = format!("{number:09}{}", "x".repeat(4000)).into();
            let change = Change { path, kind, before: Some(link("a")), after: Some(link("b")) };
            line.send(Answer::Change(change))?;
        }
        line.transferred()
    });
    let run = impostor.bounded("diff", &[], "the longest diff");
    assert!(run.code == Some(0) || run.json()["error"]["code"] == "guest_misbehaved", "{}", run.stderr);
}

#[test]
fn a_command_that_lies_ends_in_time() {
    let impostor = Impostor::new();
    let output = |stream: OutputStream, bytes: usize| {
        Answer::Output(Output { stream: stream.into(), data: vec![b'x'; bytes].into() })
    };
    let command = ["--timeout-seconds", "3", "--", "true"];
    let refused = |what: &'static str, code: &str, started: bool, then: Option<Answer>, endless: bool| {
        impostor.lies(move |line, call| {
            if !matches!(call, Call::Exec(_)) {
                return line.send(Answer::Done(Done {}));
            }
            if started {
                line.send(Answer::Started(Started { pid: 1 }))?;
            }
            match then.clone() {
                Some(answer) if endless => line.endless(answer),
                Some(answer) => line.send(answer),
                None => {
                    line.silence();
                    Ok(())
                }
            }
        });
        let run = impostor.bounded("exec", &command, what);
        if code == "timed_out" {
            // As with a command that takes too long.
            assert_eq!(run.expect(124).json()["timed_out"], true, "{what}");
        } else {
            assert_eq!(run.expect(125).json()["error"]["code"], code, "{what}");
        }
    };
    let (stdout, unknown) = (OutputStream::Stdout, OutputStream::Unspecified);
    let exited = Answer::Exited(Exited::default());
    refused("an end before the start", "guest_misbehaved", false, Some(exited), false);
    refused("output before the start", "guest_misbehaved", false, Some(output(stdout, 5)), false);
    refused("output of nowhere", "guest_misbehaved", true, Some(output(unknown, 5)), false);
    refused("another answer", "guest_misbehaved", true, Some(zeros(5)), false);
    refused("no end", "timed_out", true, None, false);
    refused("output without an end", "timed_out", true, Some(output(stdout, 64 << 10)), true);
    refused("output of nothing", "timed_out", true, Some(output(stdout, 0)), true);
    let logs = impostor.live.json("logs", &[]);
    let states: Vec<_> = logs["entries"].as_array().unwrap().iter().map(|entry| &entry["state"]).collect();
    assert_eq!(states, [["interrupted"; 4].as_slice(), &["exited"; 3]].concat());
}
