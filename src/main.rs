//! The one binary: the server, and the commands that people run beside it.

use std::process::ExitCode;

use callbook::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    match callbook::cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callbook: {error:#}");
            ExitCode::FAILURE
        }
    }
}
