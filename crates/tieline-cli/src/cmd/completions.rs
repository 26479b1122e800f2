//! `tieline completions`: what a shell needs to complete our command lines.

use clap::CommandFactory;

use crate::exit::Outcome;
use crate::flags::{Command, Completions};
use crate::output;

pub(crate) fn run(flags: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Command::command(), "tieline", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
