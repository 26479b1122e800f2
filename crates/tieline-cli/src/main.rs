//! The command `tieline`: parse, call the room that does it, print, and answer with an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

mod cmd;
mod exit;
mod flags;
mod name;
mod output;
mod transfer;

fn main() -> ExitCode {
    let command = flags::Command::parse();
    let as_json = command.verb.wants_json();
    match cmd::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}
