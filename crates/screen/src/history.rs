//! The text: lines that have left the screen, and in the end those that are on it.

use std::collections::VecDeque;

use avt::observer::{Observation, Observer};
use avt::parser::Function;
use avt::{Line, Operation};

use crate::MAX_TEXT_BYTES;

/// Lines as programs ended them.
#[derive(Default)]
pub struct History {
    lines: VecDeque<String>,
    /// Length of all lines with their ends, in bytes.
    bytes: usize,
    /// The line that has not ended.
    open: String,
}

impl History {
    /// A row of a screen, which ends the line unless it goes on in the next row.
    fn row(&mut self, row: &Line) {
        self.open.extend(row.chars());
        if !row.is_wrapped() || self.open.len() > MAX_TEXT_BYTES {
            self.end_line();
        }
    }

    /// A character of a line, without an emulation.
    pub fn char(&mut self, char: char) {
        self.open.push(char);
        if self.open.len() > MAX_TEXT_BYTES {
            self.end_line();
        }
    }

    /// The end of a line. Lines that are too much go, the oldest first.
    pub fn end_line(&mut self) {
        let line = self.open.trim_end().to_owned();
        self.open.clear();
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > MAX_TEXT_BYTES && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + 1);
        }
    }

    /// A whole screen, without the empty rows at its end.
    pub fn screen<'a>(&mut self, rows: impl Iterator<Item = &'a Line>) {
        let before = self.lines.len();
        for row in rows {
            self.row(row);
        }
        if !self.open.is_empty() {
            self.end_line();
        }
        while self.lines.len() > before && self.lines.pop_back_if(|line| line.is_empty()).is_some() {
            self.bytes -= 1;
        }
    }

    /// All lines, without empty ones at the end.
    pub fn finish(mut self) -> VecDeque<String> {
        if !self.open.is_empty() {
            self.end_line();
        }
        while self.lines.pop_back_if(|line| line.is_empty()).is_some() {}
        self.lines
    }
}

/// Collects what leaves the primary screen at its top, or with it when the terminal is reset.
impl Observer for History {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        if matches!(operation, Operation::Function(Function::Ris)) {
            self.screen(context.terminal().primary_screen().all_lines());
        }
    }

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        self.row(line);
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}
