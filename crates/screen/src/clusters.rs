//! Characters with combining marks.
//!
//! The emulated terminal has one code point in a cell, and would give each mark a cell of its own. So a character with
//! its marks is one code point there, which stands for all of them until the text is done. These stand-ins are as wide
//! as the character: private ones of plane 16 for one column, unassigned ones of plane 3 for two. Where they come
//! from outside, they are U+FFFD.

use std::collections::HashMap;

use unicode_width::UnicodeWidthChar;

const NARROW: std::ops::Range<u32> = 0x10_0000..0x10_fffe;
const WIDE: std::ops::Range<u32> = 0x3_a000..0x3_fffe;

/// Most marks on one character; more do not show.
const MAX_MARKS: usize = 16;

/// Whether `char` is shown in the cell of the one before it.
pub fn is_mark(char: char) -> bool {
    char >= '\u{300}' && char.width() == Some(0)
}

/// `char`, unless it is one of the stand-ins.
pub fn from_outside(char: char) -> char {
    if NARROW.contains(&char.into()) || WIDE.contains(&char.into()) {
        char::REPLACEMENT_CHARACTER
    } else {
        char
    }
}

/// A character that may get marks.
pub struct Cluster {
    base: char,
    marks: Vec<char>,
}

impl Cluster {
    pub fn new(base: char) -> Self {
        Self { base, marks: Vec::new() }
    }

    pub fn add(&mut self, mark: char) {
        if self.marks.len() < MAX_MARKS {
            self.marks.push(mark);
        }
    }
}

/// Which code points stand for which clusters.
#[derive(Default)]
pub struct Clusters {
    narrow: Table,
    wide: Table,
}

#[derive(Default)]
struct Table {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Clusters {
    /// The code point for `cluster`. When there are no more of them, its marks do not show.
    pub fn code(&mut self, cluster: &Cluster) -> char {
        if cluster.marks.is_empty() {
            return cluster.base;
        }
        let wide = cluster.base.width() == Some(2);
        let (table, range) = if wide { (&mut self.wide, WIDE) } else { (&mut self.narrow, NARROW) };
        let text: String = std::iter::once(cluster.base).chain(cluster.marks.iter().copied()).collect();
        table
            .number(text, range.end - range.start)
            .and_then(|number| char::from_u32(range.start + number))
            .unwrap_or(cluster.base)
    }

    /// Appends `text` to `out`, with the clusters in the place of what stands for them.
    pub fn expand(&self, text: &str, out: &mut String) {
        for char in text.chars() {
            let code = u32::from(char);
            let cluster = if NARROW.contains(&code) {
                self.narrow.texts.get((code - NARROW.start) as usize)
            } else if WIDE.contains(&code) {
                self.wide.texts.get((code - WIDE.start) as usize)
            } else {
                None
            };
            match cluster {
                Some(cluster) => out.push_str(cluster),
                None => out.push(char),
            }
        }
    }
}

impl Table {
    fn number(&mut self, text: String, limit: u32) -> Option<u32> {
        if let Some(&number) = self.numbers.get(&text) {
            return Some(number);
        }
        let number = u32::try_from(self.texts.len()).ok().filter(|&number| number < limit)?;
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_as_wide() {
        for (range, width) in [(NARROW, 1), (WIDE, 2)] {
            for code in range {
                assert_eq!(char::from_u32(code).and_then(UnicodeWidthChar::width), Some(width), "{code:x}");
            }
        }
    }

    #[test]
    fn clusters_come_back() {
        let mut clusters = Clusters::default();
        let mut text = String::new();
        for (base, marks) in [('e', "\u{301}"), ('👩', "\u{200d}"), ('x', ""), ('e', "\u{301}")] {
            let mut cluster = Cluster::new(base);
            marks.chars().for_each(|mark| cluster.add(mark));
            text.push(clusters.code(&cluster));
        }
        assert_eq!(text.chars().count(), 4);
        let mut out = String::new();
        clusters.expand(&text, &mut out);
        assert_eq!(out, "e\u{301}👩\u{200d}xe\u{301}");
        assert_eq!(from_outside('\u{100000}'), '\u{fffd}');
        assert_eq!(from_outside('\u{f0001}'), '\u{f0001}', "icons of fonts are in plane 15");
    }
}
