//! The host's side of the protocol, as much of it as the tests need, and an agent to speak it to.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use pyro_protocol::frame::FrameCodec;
use pyro_protocol::preamble::{ANSWER, MAGIC, NONCE_BYTES};
use pyro_protocol::v1::{
    Configure, Data, Done, Exec, Exited, Failure, FailureKind, Input, OutputStream, Reply, Request, Signal,
    Transferred, input, reply, request,
};
use pyro_protocol::{GENERATION, limits};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::Framed;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

/// No step of a test takes this long unless something hangs.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Where in its home the agent puts secrets, once there are some.
pub const SECRETS: &str = "pyro-secrets";

/// Runs `test` against a configured agent, then closes the connection: the agent must end by itself and in order.
pub fn with_agent(test: impl AsyncFnOnce(&Guest)) {
    run(async {
        let guest = Guest::start().await;
        guest.configure().await;
        test(&guest).await;
        assert!(guest.close().await.success());
    });
}

/// Runs `test` on a runtime like the agent's own.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.expect("the test hangs") });
}

/// An agent process, killed at the latest when this is dropped.
pub struct Process {
    child: Child,
    home: TempDir,
}

impl Process {
    /// Starts an agent; returns it with the other end of its channel.
    pub fn start() -> (Self, tokio::net::UnixStream) {
        let home = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        // As standard input: an inherited descriptor that no other process started meanwhile inherits too.
        let child = Command::new(env!("CARGO_BIN_EXE_pyro-agent"))
            .args(["--channel-fd", "0", "--workdir"])
            .arg(home.path())
            .arg("--secrets")
            .arg(home.path().join(SECRETS))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let channel = tokio::net::UnixStream::from_std(ours).unwrap();
        (Self { child, home }, channel)
    }

    /// Waits for the end of the agent.
    pub async fn ended(mut self) -> ExitStatus {
        wait_for("the agent ends", || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer.
pub async fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An agent and a connection to it.
pub struct Guest {
    process: Process,
    opener: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    driver: JoinHandle<()>,
}

impl Guest {
    pub async fn start() -> Self {
        let (process, mut channel) = Process::start();
        let nonce = [7; NONCE_BYTES];
        channel.write_all(&MAGIC).await.unwrap();
        channel.write_all(&nonce).await.unwrap();
        let mut answer = [0; ANSWER.len() + NONCE_BYTES];
        channel.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..ANSWER.len()], ANSWER);
        assert_eq!(answer[ANSWER.len()..], nonce);
        let (opener, requests) = mpsc::channel(1);
        let driver = tokio::task::spawn_local(drive(channel, requests));
        Self { process, opener, driver }
    }

    pub async fn configure(&self) {
        let reply = self.ask(configure()).await;
        assert!(matches!(reply, reply::Reply::Configured(_)), "{reply:?}");
    }

    /// The directory that commands start in.
    pub fn home(&self) -> &Path {
        self.process.home.path()
    }

    /// A path in [`Self::home`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub async fn open(&self) -> Compat<yamux::Stream> {
        let (sender, receiver) = oneshot::channel();
        self.opener.send(sender).await.unwrap();
        receiver.await.unwrap().compat()
    }

    pub async fn call(&self, call: request::Call) -> Conversation {
        self.request(Request { generation: GENERATION, call: Some(call) }).await
    }

    pub async fn request(&self, request: Request) -> Conversation {
        let mut frames = Framed::new(self.open().await, FrameCodec::default());
        frames.send(request).await.unwrap();
        Conversation { frames: frames.map_codec(|_: FrameCodec<Request, Reply>| FrameCodec::default()) }
    }

    /// The first reply to `call`.
    pub async fn ask(&self, call: request::Call) -> reply::Reply {
        self.call(call).await.reply().await
    }

    /// Runs a command to its end.
    pub async fn exec(&self, exec: Exec) -> Outcome {
        self.call(request::Call::Exec(exec)).await.outcome().await
    }

    /// Closes the connection and waits for the end of the agent.
    pub async fn close(self) -> ExitStatus {
        let Self { process, opener, driver } = self;
        drop(opener);
        driver.await.unwrap();
        process.ended().await
    }
}

async fn drive(
    channel: tokio::net::UnixStream,
    mut requests: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
) {
    let mut settings = yamux::Config::default();
    settings.set_max_num_streams(limits::MAX_STREAMS);
    let mut connection = yamux::Connection::new(channel.compat(), settings, yamux::Mode::Client);
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { break };
                if let Ok(stream) = poll_fn(|cx| connection.poll_new_outbound(cx)).await {
                    let _ = request.send(stream);
                }
            }
            inbound = poll_fn(|cx| connection.poll_next_inbound(cx)) => match inbound {
                Some(Ok(_)) => panic!("the agent opens no streams"),
                Some(Err(_)) | None => break,
            },
        }
    }
}

pub fn configure() -> request::Call {
    request::Call::Configure(Configure {
        entropy: Bytes::from_static(&[1; 64]),
        unix_time_ns: 1,
        hostname: "test".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        root: None,
        seed_serial: String::new(),
    })
}

/// A command.
pub fn command<const N: usize>(argv: [&str; N]) -> Exec {
    Exec {
        argv: argv.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect(),
        ..Exec::default()
    }
}

/// A shell script.
pub fn shell(script: &str) -> Exec {
    command(["/bin/sh", "-c", script])
}

/// One call, from the host's side.
pub struct Conversation {
    frames: Framed<Compat<yamux::Stream>, FrameCodec<Input, Reply>>,
}

impl Conversation {
    /// The next reply; `None` when the agent has closed the stream.
    pub async fn next(&mut self) -> Option<reply::Reply> {
        match self.frames.next().await {
            Some(Ok(reply)) => reply.reply,
            Some(Err(error)) => panic!("{error}"),
            None => None,
        }
    }

    pub async fn reply(&mut self) -> reply::Reply {
        self.next().await.expect("a reply")
    }

    pub async fn failure(&mut self) -> Failure {
        match self.reply().await {
            reply::Reply::Failure(failure) => failure,
            other => panic!("not a failure: {other:?}"),
        }
    }

    pub async fn started(&mut self) -> u32 {
        match self.reply().await {
            reply::Reply::Started(started) => started.pid,
            other => panic!("not started: {other:?}"),
        }
    }

    /// Sends an input; `false` when the agent has closed the stream.
    pub async fn send(&mut self, input: input::Input) -> bool {
        self.frames.send(Input { input: Some(input) }).await.is_ok()
    }

    pub async fn data(&mut self, data: &[u8]) -> bool {
        for chunk in data.chunks(limits::MAX_CHUNK_BYTES) {
            let data = Bytes::copy_from_slice(chunk);
            if !self.send(input::Input::Data(Data { data })).await {
                return false;
            }
        }
        true
    }

    pub async fn end(&mut self) {
        self.send(input::Input::End(Done {})).await;
    }

    pub async fn signal(&mut self, number: i32) {
        assert!(self.send(input::Input::Signal(Signal { number })).await);
    }

    /// Reads an exec to its end.
    pub async fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            match self.reply().await {
                reply::Reply::Started(started) => outcome.pid = started.pid,
                reply::Reply::Output(output) if output.stream() == OutputStream::Stdout => {
                    outcome.stdout.extend_from_slice(&output.data);
                }
                reply::Reply::Output(output) => outcome.stderr.extend_from_slice(&output.data),
                reply::Reply::Exited(exited) => {
                    outcome.exited = exited;
                    return outcome;
                }
                other => panic!("not part of an exec: {other:?}"),
            }
        }
    }

    /// Reads a transfer to its end.
    pub async fn transferred(&mut self) -> Result<(Vec<u8>, Transferred), Failure> {
        let mut bytes = Vec::new();
        loop {
            match self.reply().await {
                reply::Reply::Data(data) => bytes.extend_from_slice(&data.data),
                reply::Reply::Transferred(transferred) => return Ok((bytes, transferred)),
                reply::Reply::Failure(failure) => return Err(failure),
                other => panic!("not part of a transfer: {other:?}"),
            }
        }
    }
}

/// What became of a command.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pid: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Exited,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// Asserts the kind of a failure and that its message holds `part`.
pub fn assert_failure(failure: &Failure, kind: FailureKind, part: &str) {
    assert_eq!(failure.kind(), kind, "{failure:?}");
    assert!(failure.message.contains(part), "{failure:?}");
}

/// Whether the process `pid` exists and is not just waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit_once(')').unwrap().1.starts_with(" Z"),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        // A process that ends while it is being read.
        Err(_) => false,
    }
}

/// Waits until the process `pid` is gone.
pub async fn gone(pid: u32) {
    wait_for("a process ends", || (!is_alive(pid)).then_some(())).await;
}
