//! Chores of the project: `cargo xtask generate [--check]`, `cargo xtask bench [SERIES…] [--runs N]`.

#[cfg(feature = "bench")]
mod bench;
mod generate;

use anyhow::{Context, Result, bail};
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        #[cfg(feature = "bench")]
        ["bench", arguments @ ..] => bench::bench(arguments),
        _ => bail!("usage: {}", usage()),
    }
}

fn usage() -> String {
    let generate = "cargo xtask generate [--check]";
    #[cfg(feature = "bench")]
    return format!("{generate}\n       {}", bench::usage());
    #[cfg(not(feature = "bench"))]
    return generate.to_owned();
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")
}
