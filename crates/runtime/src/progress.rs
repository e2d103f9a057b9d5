//! How long work tells what it is doing.

/// Receives the progress of long work. Called from several threads.
pub trait Progress: Send + Sync {
    /// A new phase began, such as `resolve` or `download`.
    fn phase(&self, name: &str);

    /// How many bytes the present phase will move in all.
    fn total(&self, bytes: u64);

    /// So many more bytes of the present phase are done.
    fn advance(&self, bytes: u64);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str) {}

    fn total(&self, _bytes: u64) {}

    fn advance(&self, _bytes: u64) {}
}
