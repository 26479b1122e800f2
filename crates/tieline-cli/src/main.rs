//! The command `tieline`: parse, call the room that does it, print, and answer with an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

mod cmd;
mod compat;
mod exit;
mod flags;
mod grid;
mod look;
mod name;
mod output;
mod table;
mod topic;
mod transfer;

fn main() -> ExitCode {
    if let Some(code) = compat::run_if_asked() {
        return code;
    }
    let command = match parse() {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    let as_json = command.verb.wants_json();
    match cmd::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}

fn parse() -> Result<flags::Command, clap::Error> {
    let mut command = flags::Command::command();
    command.build();
    let matches = flags::lenient(command).try_get_matches()?;
    flags::Command::from_arg_matches(&matches)
}

/// What the parser says: help and versions as they are, refusals as JSON where JSON was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let as_json = std::env::args_os().any(|word| word == "--json");
    if !as_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    exit::Failure::usage(sentence).report(true)
}
