//! One call, seen from the guest.

use super::Lie;
use prost::Message;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Data, Reply, Request, Transferred};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

/// One call, seen from the guest.
pub struct Line {
    stream: UnixStream,
    /// Takes and ignores what the host sends, until it hangs up.
    input: Option<JoinHandle<io::Result<u64>>>,
}

impl Line {
    pub(super) fn serve(mut stream: UnixStream, answer: &Lie) -> io::Result<()> {
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

    pub fn send(&mut self, answer: Answer) -> io::Result<()> {
        self.raw(&frame(answer))
    }

    /// Sends what may be no answer at all.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(Answer::Data(Data { data: bytes.to_vec().into() }))
    }

    /// Sends the same until the host hangs up.
    pub fn endless(&mut self, answer: Answer) -> io::Result<()> {
        let frames = frame(answer);
        let frames = frames.repeat((64 << 10) / frames.len() + 1);
        loop {
            self.stream.write_all(&frames)?;
        }
    }

    /// Says nothing until the host hangs up.
    pub fn silence(&mut self) {
        self.input.take().map(JoinHandle::join);
    }

    pub fn archive(&mut self, archive: &[u8]) -> io::Result<()> {
        for chunk in archive.chunks(64 << 10) {
            self.data(chunk)?;
        }
        self.transferred()
    }

    pub fn transferred(&mut self) -> io::Result<()> {
        self.send(Answer::Transferred(Transferred::default()))
    }
}

fn frame(answer: Answer) -> Vec<u8> {
    let message = Reply { reply: Some(answer) }.encode_to_vec();
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

pub(super) fn zeros(count: usize) -> Answer {
    Answer::Data(Data { data: vec![0; count].into() })
}
