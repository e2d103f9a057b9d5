//! `pyro check-arguments`: whether a command line is one that pyro takes. The tests of the documents ask.

use anyhow::Result;
use clap::Parser;

/// Fail unless the arguments are those of a command, without running it
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The command, without the name of the program
    #[arg(last = true)]
    words: Vec<String>,
}

pub fn run(arguments: Arguments) -> Result<u8> {
    let words = std::iter::once("pyro".to_owned()).chain(arguments.words);
    match super::Arguments::try_parse_from(words) {
        Ok(_) => Ok(0),
        Err(error) if !error.use_stderr() => Ok(0),
        Err(error) => Err(error.into()),
    }
}
