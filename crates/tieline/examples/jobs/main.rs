//! A small job-control shell: what process groups, terminals and signals are for.
//!
//! ```text
//! cargo run -p tieline --example jobs                    # at a terminal
//! cargo run -p tieline --example jobs -- -c 'ls | wc -l' # one line
//! cargo run -p tieline --example jobs < script           # a script
//! ```
//!
//! It knows pipelines (`a | b`), the background (`a &`), sequences (`a; b`), `<`, `>` and `>>`, quotes, comments, and
//! the commands `cd`, `exit`, `jobs`, `fg`, `bg`, `wait` and `kill`. Ctrl-C interrupts and Ctrl-Z stops the pipeline in
//! the foreground, and never the shell.
//!
//! `parse` makes pipelines of a line, `launch` makes processes of a pipeline, `gate` holds them until all is ready,
//! `table` remembers them as jobs, `shell` hands the terminal to and fro, `builtin` holds the shell's own commands,
//! `input` reads lines.

mod builtin;
mod gate;
mod input;
mod launch;
mod parse;
mod shell;
mod table;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use input::Input;
use shell::Shell;
use tieline::os::signal::{self, Signal};

/// What shells answer when they do not understand.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    // If whoever started us ignored it, the ends of our children would be lost to us.
    if let Err(error) = signal::set_default(Signal::CHLD) {
        say(format_args!("jobs: {error}"));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] if std::io::stdin().is_terminal() => Shell::interactive().and_then(|shell| {
            let input = Input::keyboard()?;
            run(shell, input)
        }),
        [] => Shell::batch().and_then(|shell| run(shell, Input::script())),
        [gate::ARGUMENT, parent, mask, ref words @ ..] => return gate::wait(parent, mask, words),
        ["-c", text] => Shell::batch().and_then(|shell| run(shell, Input::text(text))),
        _ => {
            say("usage: jobs [-c LINES]");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    outcome.unwrap_or_else(|error| {
        say(format_args!("jobs: {error}"));
        ExitCode::FAILURE
    })
}

fn run(mut shell: Shell, mut input: Input) -> tieline::os::Result<ExitCode> {
    while !shell.is_over() {
        shell.report_changes();
        match input.next_line() {
            Ok(Some(line)) => shell.run_line(&line),
            Ok(None) => shell.end_of_input(),
            Err(error) => {
                say(format_args!("jobs: cannot read: {error}"));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::from(shell.status().to_le_bytes()[0]))
}

/// Says a line to the user in one write: in pieces, what a background job writes could come between them.
fn say(line: impl Display) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
