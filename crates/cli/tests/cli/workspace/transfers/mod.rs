//! Seed, sync push and export: trees into a workspace and out of it.

mod exports;
mod hostile_archives;
mod imports;
mod many_files;
mod meanwhile;
mod seeds;
