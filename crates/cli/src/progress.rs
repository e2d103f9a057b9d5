//! Progress of long work: a bar on a terminal, plain phase lines elsewhere.

use crate::printer::talk;
use indicatif::{ProgressBar, ProgressStyle};
use pyro::Progress;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

/// What standard error can show.
pub fn reporter(label: &'static str) -> Arc<dyn Progress> {
    if std::io::stderr().is_terminal() { Arc::new(Bar::new(label)) } else { Arc::new(Lines { label }) }
}

struct Lines {
    label: &'static str,
}

impl Progress for Lines {
    fn phase(&self, name: &str) {
        talk(&format!("[{}] phase={name}", self.label));
    }

    fn total(&self, _bytes: u64) {}

    fn advance(&self, _bytes: u64) {}
}

struct Bar {
    label: &'static str,
    bar: ProgressBar,
}

impl Bar {
    fn new(label: &'static str) -> Self {
        Self { label, bar: ProgressBar::hidden() }
    }

    fn style(&self, template: &str) {
        // The templates are constants of this file, so that they parse is a matter of its tests.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

const SPINNER: &str = "{spinner} {msg} {elapsed}";
const BYTES: &str = "{spinner} {msg} {bytes}/{total_bytes} {bytes_per_sec} {wide_bar}";

impl Progress for Bar {
    fn phase(&self, name: &str) {
        // The command's own output follows: the terminal is its.
        if name.starts_with("execute") {
            self.bar.finish_and_clear();
            return;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        self.bar.reset();
        self.style(SPINNER);
        self.bar.set_message(format!("[{}] {name}", self.label));
    }

    fn total(&self, bytes: u64) {
        self.style(BYTES);
        self.bar.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        assert!(ProgressStyle::with_template(SPINNER).is_ok() && ProgressStyle::with_template(BYTES).is_ok());
    }
}
