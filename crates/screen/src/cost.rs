//! What the functions of the emulated terminal cost at most, in cells written.
//!
//! A cell is about 20 bytes of memory that are filled. Printing a character costs as much as a few of them, moving a row
//! as well, allocating one as much as many.

use avt::parser::{DecMode, EdScope, Function};

const CHAR: u64 = 8;
const ROW: u64 = 4;
const NEW_ROW: u64 = 64;

/// The screen and where the cursor is on it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub cols: usize,
    pub rows: usize,
    pub col: usize,
    /// Whether what is printed moves the rest of its row.
    pub inserting: bool,
}

impl Place {
    pub fn area(self) -> u64 {
        self.cols as u64 * self.rows as u64
    }

    /// One row more on the screen, and another that becomes text.
    fn scroll(self) -> u64 {
        2 * self.cols as u64 + ROW * self.rows as u64
    }

    /// A new screen.
    fn screen(self) -> u64 {
        self.area() + NEW_ROW * self.rows as u64
    }

    /// Printing `count` characters.
    fn print(self, count: u64) -> u64 {
        let each = CHAR + if self.inserting { self.cols as u64 } else { 0 };
        // A wide character may need the next row one column earlier.
        let wraps = (self.col as u64 + 2 * count) / self.cols as u64;
        count * each + wraps * self.scroll()
    }
}

/// What `function` costs in `place`.
pub fn cost(function: &Function, place: Place) -> u64 {
    let rows = |count: u16| {
        place.scroll() * u64::from(count.max(1)).min(place.rows as u64) + ROW * place.rows as u64
    };
    match function {
        Function::Print(_) => place.print(1),
        Function::Rep(count) => place.print(u64::from((*count).max(1))),
        Function::Lf | Function::Nel | Function::Ri => place.scroll(),
        Function::Il(count) | Function::Dl(count) | Function::Su(count) | Function::Sd(count) => rows(*count),
        Function::Ed(EdScope::All) => 2 * place.screen(),
        Function::Ed(_) => place.area(),
        Function::Decaln => CHAR * place.area(),
        Function::Ris => 4 * place.screen(),
        Function::Decset(modes) | Function::Decrst(modes) => {
            let switches = modes.as_slice().iter().filter(|mode| switches_screen(**mode)).count();
            CHAR + place.screen() * switches as u64
        }
        // Within the row, tabs included.
        _ => CHAR + place.cols as u64 / 4,
    }
}

/// Whether the mode is the alternate screen.
pub fn switches_screen(mode: DecMode) -> bool {
    matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer)
}
