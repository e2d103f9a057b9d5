//! The emulated terminal.

use avt::parser::{AnsiMode, DecMode, DecModes, Function};
use avt::{Parser, ScreenKind};

use crate::clusters::{Cluster, Clusters, from_outside, is_mark};
use crate::cost::{Place, cost, switches_screen};
use crate::history::History;
use crate::{MAX_COLS, MAX_ROWS, MIN_SIZE, Rendered};

/// A terminal, and the text that it has shown.
pub struct Terminal {
    parser: Parser,
    /// Nothing when the budget is used up: from then on only lines are taken.
    emulated: Option<avt::Terminal>,
    history: History,
    clusters: Clusters,
    /// The last character, which may get marks.
    last: Option<Cluster>,
    inserting: bool,
    /// What may still be spent, in cells.
    budget: u64,
}

impl Terminal {
    /// An empty terminal.
    pub fn new(cols: u16, rows: u16, budget: u64) -> Self {
        let (cols, rows) = clamped(cols, rows);
        Self {
            parser: Parser::new(),
            // Sizes of zero are the only ones that fail. What scrolls out goes to the history at once.
            emulated: avt::Terminal::with_scrollback(cols, rows, Some(0)).ok(),
            history: History::default(),
            clusters: Clusters::default(),
            last: None,
            inserting: false,
            budget,
        }
    }

    /// Takes the next character of the output.
    pub fn feed(&mut self, char: char) {
        match self.parser.feed(char) {
            Some(Function::Print(char)) => self.print(from_outside(char)),
            // Colours, titles and sizes that programs ask for.
            None | Some(Function::Sgr(_) | Function::Osc(_) | Function::Xtwinops(_)) => {}
            Some(function) => {
                self.settle();
                self.execute(function);
            }
        }
    }

    /// The person has changed the size of the terminal.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.settle();
        let (cols, rows) = clamped(cols, rows);
        let old = self.place().map_or(0, Place::area);
        self.spend(4 * (old + cols as u64 * rows as u64));
        if let Some(emulated) = &mut self.emulated {
            emulated.resize_with(cols, rows, &mut self.history);
        }
    }

    /// What is to be seen in the end.
    pub fn finish(mut self) -> Rendered {
        self.settle();
        let mut alternate_screen = false;
        if let Some(emulated) = &self.emulated {
            self.history.screen(emulated.primary_screen().all_lines());
            alternate_screen = emulated.active_screen_kind() == ScreenKind::Alternate;
            if alternate_screen {
                self.history.screen(emulated.screen().all_lines());
            }
        }
        let mut text = String::new();
        for (number, line) in self.history.finish().iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            self.clusters.expand(line, &mut text);
        }
        Rendered { text, alternate_screen, simplified: self.emulated.is_none() }
    }

    fn print(&mut self, char: char) {
        match &mut self.last {
            Some(last) if is_mark(char) => last.add(char),
            _ => {
                self.settle();
                self.last = Some(Cluster::new(char));
            }
        }
    }

    /// Prints the last character: no more marks can follow it.
    fn settle(&mut self) {
        if let Some(last) = self.last.take() {
            let code = self.clusters.code(&last);
            self.execute(Function::Print(code));
        }
    }

    fn execute(&mut self, function: Function) {
        let Some(place) = self.place() else { return self.execute_plainly(&function) };
        let function = match function {
            // A screen full of them: more would only push each other out.
            Function::Rep(count) => Function::Rep(count.min(u16::try_from(place.area()).unwrap_or(u16::MAX))),
            Function::Decrst(modes) => Function::Decrst(self.without_idle_switches(modes)),
            function => function,
        };
        match &function {
            Function::Sm(modes) if modes.as_slice().contains(&AnsiMode::Insert) => self.inserting = true,
            Function::Rm(modes) if modes.as_slice().contains(&AnsiMode::Insert) => self.inserting = false,
            _ => {}
        }
        self.spend(cost(&function, place));
        match &mut self.emulated {
            Some(emulated) => emulated.execute_with(function, &mut self.history),
            None => self.execute_plainly(&function),
        }
    }

    fn execute_plainly(&mut self, function: &Function) {
        match function {
            Function::Print(char) => self.history.char(*char),
            Function::Ht => self.history.char('\t'),
            Function::Lf | Function::Nel => self.history.end_line(),
            _ => {}
        }
    }

    /// Modes to leave, without the alternate screen where it is not shown: the output of a full-screen program that
    /// began before the range would otherwise be overwritten from the top by what follows its end.
    fn without_idle_switches(&self, modes: DecModes) -> DecModes {
        let primary = |emulated: &avt::Terminal| emulated.active_screen_kind() == ScreenKind::Primary;
        if !self.emulated.as_ref().is_some_and(primary) {
            return modes;
        }
        modes
            .as_slice()
            .iter()
            .copied()
            .filter(|&mode| !switches_screen(mode))
            .collect::<Vec<DecMode>>()
            .into()
    }

    fn place(&self) -> Option<Place> {
        let emulated = self.emulated.as_ref()?;
        let (cols, rows) = emulated.size();
        Some(Place { cols, rows, col: emulated.cursor().col, inserting: self.inserting })
    }

    /// Takes `cells` from the budget. When there are not as many, the emulation ends: its text is kept.
    fn spend(&mut self, cells: u64) {
        if let Some(left) = self.budget.checked_sub(cells) {
            self.budget = left;
        } else if let Some(emulated) = self.emulated.take() {
            self.history.screen(emulated.primary_screen().all_lines());
        }
    }
}

fn clamped(cols: u16, rows: u16) -> (usize, usize) {
    (cols.clamp(MIN_SIZE, MAX_COLS).into(), rows.clamp(MIN_SIZE, MAX_ROWS).into())
}
