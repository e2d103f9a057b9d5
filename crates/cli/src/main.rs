//! The `pyro` command: a thin face over the SDK.
//!
//! One file per command below `commands`; [`settings`] turns the environment into values before any logic runs;
//! [`printer`] owns what is written where: data on standard output, talk on standard error.

mod commands;
mod printer;
mod progress;
mod reference;
mod settings;
mod signals;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(commands::run(arguments));
            // Whatever a cancelled command still does on a blocking thread must not hold up the exit.
            runtime.shutdown_background();
            status
        }
        Err(error) => {
            printer::talk(&format!("error: cannot start the async runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}
