//! The one binary: `serve` and `dev` run a server, everything else talks to one.

mod commands;
mod exit;
mod output;
mod settings;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::of_usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(exit::run(commands::run(command))),
        Err(error) => exit::failed(&anyhow::Error::new(error)),
    }
}
