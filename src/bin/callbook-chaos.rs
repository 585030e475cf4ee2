//! `callbook-chaos --rounds 50`: what is lost when callbook and its PostgreSQL are killed under load? See
//! [`callbook::chaos`].

use std::process::ExitCode;

use callbook::chaos::{self, Args};
use callbook::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    // What is killed is this program again, as the callbook that it was built with.
    let mut arguments = std::env::args_os();
    let result = match (arguments.next(), arguments.next()) {
        (_, Some(first)) if first == chaos::AS_CALLBOOK => {
            cli::run(Cli::parse_from(std::iter::once(first).chain(arguments)))
        }
        _ => chaos::run(Args::parse()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callbook-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
