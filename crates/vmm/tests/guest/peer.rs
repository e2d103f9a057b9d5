//! Something that answers on a socket as a guest's supervisor does.

use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use pyro_protocol::frame::FrameCodec;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{
    Data, Entries, Entry, FileKind, Input, Reply, Request, Stamp, Transferred, input, request,
};
use pyro_vmm::Guest;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

/// One call, from the guest's side.
pub struct Caller {
    frames: Framed<UnixStream, FrameCodec<Reply, Input>>,
    pub request: request::Call,
}

impl Caller {
    async fn accept(stream: UnixStream) -> Self {
        let mut frames = Framed::new(stream, FrameCodec::<Reply, Request>::default());
        let request = frames.next().await.unwrap().unwrap().call.unwrap();
        Self { frames: frames.map_codec(|_| FrameCodec::default()), request }
    }

    /// Sends a reply; `false` when the host has gone.
    pub async fn send(&mut self, reply: Answer) -> bool {
        self.frames.send(Reply { reply: Some(reply) }).await.is_ok()
    }

    /// The next input; `None` when the host has gone.
    pub async fn input(&mut self) -> Option<input::Input> {
        self.frames.next().await?.unwrap().input
    }

    pub fn stream(&mut self) -> &mut UnixStream {
        self.frames.get_mut()
    }
}

/// A socket, and what answers on it for as long as this lives.
pub struct Peer {
    home: TempDir,
    task: JoinHandle<()>,
}

impl Peer {
    /// Answers each call with `answer`, one after the other.
    pub fn start<F>(mut answer: impl FnMut(Caller) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        Self::listen(|listener| async move {
            loop {
                answer(Caller::accept(listener.accept().await.unwrap().0).await).await;
            }
        })
    }

    /// Carries each connection to `guest`, all at the same time.
    pub fn relaying(guest: Guest) -> Self {
        Self::listen(|listener| async move {
            loop {
                let (client, guest) = (listener.accept().await.unwrap().0, guest.clone());
                tokio::spawn(async move { guest.relay(client).await });
            }
        })
    }

    fn listen<F>(serve: impl FnOnce(UnixListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("socket")).unwrap();
        Self { home, task: tokio::spawn(serve(listener)) }
    }

    /// Answers each call with the same replies.
    pub fn saying(replies: Vec<Answer>) -> Self {
        Self::start(move |mut caller| {
            let replies = replies.clone();
            async move {
                for reply in replies {
                    if !caller.send(reply).await {
                        return;
                    }
                }
                // Until the host goes: it is not to learn of the end of the stream instead.
                while caller.input().await.is_some() {}
            }
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    pub fn guest(&self) -> Guest {
        Guest::at(self.socket())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn data(bytes: &'static [u8]) -> Answer {
    Answer::Data(Data { data: Bytes::from_static(bytes) })
}

pub fn entry(path: &'static [u8]) -> Entry {
    Entry { path: Bytes::from_static(path), kind: FileKind::File.into(), ..Entry::default() }
}

pub fn entries<const N: usize>(entries: [Entry; N]) -> Answer {
    Answer::Entries(Entries { entries: entries.into() })
}

/// The end of any transfer.
pub fn transferred() -> Answer {
    Answer::Transferred(Transferred {
        mode: 0o644,
        stamp: Some(Stamp { inode: 7, ..Stamp::default() }),
        ..Transferred::default()
    })
}
