//! The `pyro` command: a thin face over the SDK.
//!
//! One file per command below `commands`; [`settings`] turns the environment into values before any logic runs;
//! [`printer`] owns what is written where: data on standard output, talk on standard error.

mod commands;
mod human;
mod input;
mod printer;
mod progress;
mod reference;
mod server_options;
mod settings;
mod signals;
mod streaming;

use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a cancelled command may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    match runtime(&arguments) {
        Ok(runtime) => {
            let status = runtime.block_on(commands::run(arguments));
            // What a cancelled command does on a blocking thread ends by itself when nobody feeds it any more, and cleans up
            // then; what does not must not hold up the exit.
            runtime.shutdown_timeout(CLEAN_UP);
            status
        }
        Err(error) => {
            printer::talk(&format!("error: cannot start the async runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One thread where the process only waits, for as long as a workspace lives; otherwise enough for output to be copied while
/// something is computed.
fn runtime(arguments: &commands::Arguments) -> std::io::Result<Runtime> {
    if arguments.supervises() {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
