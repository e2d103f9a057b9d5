//! One stream: what of it may be a secret, byte by byte.

use std::fmt;
use std::sync::Arc;

use crate::Secrets;
use crate::breaks::Breaks;
use crate::encode::is_base64;
use crate::forms::Kind;
use crate::held::Held;
use crate::index::KEY;
use crate::pattern::Pattern;
use crate::secrets::Patterns;

/// Input is taken in pieces of this size, so that as much is held at most beside a form.
const PIECE: usize = 16 * 1024;

/// A stream of bytes from which secrets are taken out.
///
/// Whoever owns it calls [`push`](Self::push) with what comes and [`flush`](Self::flush) at the end. A stream that
/// somebody watches may pause with bytes [`pending`](Self::pending) that begin like a secret: when nothing follows for a
/// while, [`give_up`](Self::give_up) shows them.
pub struct Redactor {
    patterns: Arc<Patterns>,
    /// Bytes so far.
    total: u64,
    held: Held,
    /// The last bytes.
    plain: Lane,
    /// The last bytes that end no line, since there were too many line ends in a row.
    folded: Lane,
    breaks: Breaks,
    /// The patterns that the stream is in.
    followed: Vec<Followed>,
    /// By number of the pattern: whether it is followed.
    following: Box<[bool]>,
    /// How many of those go across line ends.
    following_folded: usize,
    /// Where forms begin that have just ended, and count only when no digit of base64 follows.
    alone: Vec<u64>,
    /// What still belongs to the form that has just ended.
    padding: Option<Padding>,
}

#[derive(Clone, Copy, Default)]
struct Lane {
    window: u64,
    /// How many bytes of it have come; no more are counted than are looked at.
    seen: usize,
}

#[derive(Clone, Copy)]
struct Followed {
    number: usize,
    state: usize,
}

#[derive(Clone, Copy)]
struct Padding {
    digit: bool,
    signs: u8,
}

impl Lane {
    /// The key and the byte before it.
    const LOOKED_AT: usize = KEY + 1;

    fn push(&mut self, byte: u8) {
        self.window = self.window << 8 | u64::from(byte);
        self.seen = (self.seen + 1).min(Self::LOOKED_AT);
    }

    /// The last [`KEY`] bytes.
    fn key(&self) -> u32 {
        key(self.window)
    }

    /// Whether what has the key begins where no digit of base64 is before it.
    fn begins_alone(&self) -> bool {
        self.seen == KEY || !is_base64(self.window.to_be_bytes()[7 - KEY])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is the last bytes that are meant")]
fn key(window: u64) -> u32 {
    window as u32
}

impl Redactor {
    /// A stream that has not begun.
    pub fn new(secrets: &Secrets) -> Self {
        let patterns = secrets.patterns();
        let following = vec![false; patterns.all.len()].into_boxed_slice();
        Self {
            patterns,
            total: 0,
            held: Held::default(),
            plain: Lane::default(),
            folded: Lane::default(),
            breaks: Breaks::default(),
            followed: Vec::new(),
            following,
            following_folded: 0,
            alone: Vec::new(),
            padding: None,
        }
    }

    /// Takes `bytes` and appends to `out` what is certain: everything but an end that may be the beginning of a form.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let patterns = Arc::clone(&self.patterns);
        if patterns.all.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        for piece in bytes.chunks(PIECE) {
            self.held.extend(piece);
            let mut rest = piece;
            loop {
                rest = &rest[self.skim(&patterns, rest)..];
                let Some((&byte, behind)) = rest.split_first() else { break };
                self.step(&patterns, byte);
                rest = behind;
            }
            let certain = self.certain();
            self.held.release(certain, out);
        }
    }

    /// The end of the stream: appends what was held. What comes after that is a new stream.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.give_up(out);
        self.plain = Lane::default();
        self.folded = Lane::default();
        self.followed.clear();
        self.following.fill(false);
        self.following_folded = 0;
        self.padding = None;
    }

    /// Bytes that are held back because they may be the beginning of a form.
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    /// Appends what is held, although it may be the beginning of a secret. Should the rest of it follow, that becomes
    /// a mark.
    pub fn give_up(&mut self, out: &mut Vec<u8>) {
        self.close_alone(true);
        self.held.release(self.total, out);
    }

    /// Marks written so far, in all streams of this redactor.
    pub fn marks(&self) -> u64 {
        self.held.marks
    }

    /// Goes over bytes that are in no form and begin none, and says how many. Whatever it stops at is for
    /// [`step`](Self::step).
    fn skim(&mut self, patterns: &Patterns, bytes: &[u8]) -> usize {
        let idle = self.followed.is_empty() && self.alone.is_empty() && self.padding.is_none();
        if !idle || self.folded.seen < KEY || self.folded.key() != self.plain.key() {
            return 0;
        }
        let mut lane = self.plain;
        let mut skimmed = 0;
        for &byte in bytes {
            let window = lane.window << 8 | u64::from(byte);
            if matches!(byte, b'\r' | b'\n') || patterns.index.may_have(key(window)) {
                break;
            }
            lane.window = window;
            skimmed += 1;
        }
        lane.seen = (lane.seen + skimmed).min(Lane::LOOKED_AT);
        self.plain = lane;
        self.folded = lane;
        if skimmed > 0 {
            self.breaks.end();
        }
        self.total += skimmed as u64;
        skimmed
    }

    /// The next byte, with everything it can mean.
    fn step(&mut self, patterns: &Patterns, byte: u8) {
        self.close_alone(!is_base64(byte));
        self.pad(byte);
        let line_end = matches!(byte, b'\r' | b'\n');
        if line_end {
            let following = if self.following_folded > 0 { patterns.longest_folded } else { 0 };
            if self.breaks.add(self.total, following) {
                self.folded = Lane::default();
                self.follow(patterns, |pattern, state| (!pattern.folds()).then_some(state));
            }
        } else {
            self.breaks.end();
            self.folded.push(byte);
        }
        self.plain.push(byte);
        self.total += 1;
        self.follow(patterns, |pattern, state| {
            if line_end && pattern.folds() { Some(state) } else { pattern.next(state, byte) }
        });
        self.begin(patterns, line_end);
    }

    /// Follows the patterns that begin with the last bytes.
    fn begin(&mut self, patterns: &Patterns, line_end: bool) {
        let index = &patterns.index;
        if self.plain.seen >= KEY && index.may_have(self.plain.key()) {
            let alone = self.plain.begins_alone();
            for number in index.plain.with(self.plain.key()) {
                if alone || patterns.all[number].kind != Kind::Alone {
                    self.begin_one(&patterns.all[number], number);
                }
            }
        }
        if self.folded.seen >= KEY && !line_end && index.may_have(self.folded.key()) {
            for number in index.folded.with(self.folded.key()) {
                self.begin_one(&patterns.all[number], number);
            }
        }
    }

    fn begin_one(&mut self, pattern: &Pattern, number: usize) {
        if self.following[number] {
            return;
        }
        let state = if pattern.bytes.len() == KEY { self.complete(pattern) } else { Some(KEY) };
        if let Some(state) = state {
            self.following[number] = true;
            self.following_folded += usize::from(pattern.folds());
            self.followed.push(Followed { number, state });
        }
    }

    /// Takes each pattern that is followed to the state `next` says, or leaves it.
    fn follow(&mut self, patterns: &Patterns, next: impl Fn(&Pattern, usize) -> Option<usize>) {
        let mut kept = 0;
        for at in 0..self.followed.len() {
            let Followed { number, state } = self.followed[at];
            let pattern = &patterns.all[number];
            let mut state = next(pattern, state);
            if state == Some(pattern.bytes.len()) {
                state = self.complete(pattern);
            }
            if let Some(state) = state {
                self.followed[kept] = Followed { number, state };
                kept += 1;
            } else {
                self.following[number] = false;
                self.following_folded -= usize::from(pattern.folds());
            }
        }
        self.followed.truncate(kept);
    }

    /// All of `pattern` has come. Its state then, where it may have begun again within itself.
    fn complete(&mut self, pattern: &Pattern) -> Option<usize> {
        let len = pattern.bytes.len();
        match pattern.kind {
            Kind::Plain => self.held.cover(self.total - len as u64, self.total),
            Kind::Encoded { mixed } => {
                self.held.cover(self.breaks.start(self.total, len), self.total);
                let digit = mixed || self.padding.is_some_and(|padding| padding.digit);
                self.padding = Some(Padding { digit, signs: 2 });
            }
            Kind::Alone => self.alone.push(self.total - len as u64),
        }
        pattern.shorter(len)
    }

    /// The forms that have just ended and have to stand alone do, or do not.
    fn close_alone(&mut self, alone: bool) {
        for start in self.alone.drain(..).filter(|_| alone) {
            self.held.cover(start, self.total);
            let digit = self.padding.is_some_and(|padding| padding.digit);
            self.padding = Some(Padding { digit, signs: 2 });
        }
    }

    /// Takes `byte` for the end of the form before it, if it belongs there.
    fn pad(&mut self, byte: u8) {
        self.padding = match self.padding {
            Some(Padding { digit: true, signs }) if is_base64(byte) => Some(Padding { digit: false, signs }),
            Some(Padding { signs: signs @ 1.., .. }) if byte == b'=' => {
                Some(Padding { digit: false, signs: signs - 1 })
            }
            _ => None,
        };
        if self.padding.is_some() {
            self.held.cover_next(self.total);
        }
    }

    /// The position before which nothing can become part of a secret any more.
    fn certain(&self) -> u64 {
        let index = &self.patterns.index;
        let begun = self
            .followed
            .iter()
            .map(|&Followed { number, state }| self.start(&self.patterns.all[number], state));
        let plain = self.total - index.plain.prefix(self.plain.key(), self.plain.seen) as u64;
        let folded = match index.folded.prefix(self.folded.key(), self.folded.seen) {
            0 => self.total,
            len => self.breaks.start(self.total, len),
        };
        begun.chain(self.alone.iter().copied()).fold(plain.min(folded), u64::min)
    }

    fn start(&self, pattern: &Pattern, state: usize) -> u64 {
        if pattern.folds() { self.breaks.start(self.total, state) } else { self.total - state as u64 }
    }
}

/// How far it is: nothing of the bytes.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} bytes, {} pending)", self.total, self.pending())
    }
}
