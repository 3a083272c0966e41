//! The one binary: `serve` and `dev` run a server, every other command is a client of one.

mod commands;
mod environment;
mod exit;
mod output;
mod settings;

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// It wastes less memory on millions of small allocations than the C library (docs/decisions/0004-fast.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let command = match environment::parse::<commands::Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return exit::of_usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(exit::run(commands::run(command))),
        Err(error) => exit::failed(&anyhow::Error::new(error)),
    };
    keyreeve_server::log::flush();
    code
}
