//! `ipcs`, `ipcmk`, `ipcrm` and `lsipc` as util-linux has them: the same output, messages and exit codes, byte for byte,
//! for scripts and hands that know them. `docs/formats/ipcs.md` says what is promised and where it ends.
//!
//! They are reached as `tieline ipcs …` or through a link of that name, and read their command line themselves
//! ([`getopt`]): nothing of it is looked at before, except `--compat` in front.

mod getopt;
mod ipcmk;
mod ipcrm;
mod ipcs;
mod lsipc;
mod names;
mod number;
mod out;
mod posix;
mod program;
mod time;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use program::{Compat, Exit, Program};

/// What a tool does with its command line.
type Run = fn(&mut Program) -> Result<Exit, Exit>;

#[rustfmt::skip]
const TOOLS: &[(&str, Run)] = &[
    ("ipcmk", ipcmk::run),
    ("ipcrm", ipcrm::run),
    ("ipcs", ipcs::run),
    ("lsipc", lsipc::run),
];

/// Which util-linux to be, for those who cannot change the command line.
const COMPAT_VARIABLE: &str = "TIELINE_COMPAT";

/// Runs the tool that this command line asks for, by the name the program was called by or by its first word; `None`
/// if it asks for none of them.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let argv0 = words.next()?;
    if let Some(tool) = Path::new(&argv0).file_name().and_then(tool) {
        return Some(run(tool, argv0, words.collect()));
    }
    let verb = words.next()?;
    Some(run(tool(&verb)?, verb, words.collect()))
}

fn tool(name: &OsStr) -> Option<Run> {
    TOOLS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

fn run(tool: Run, argv0: OsString, mut words: Vec<OsString>) -> ExitCode {
    let compat = compat(&mut words);
    let mut program = Program::new(argv0, words, *compat.as_ref().unwrap_or(&Compat::V2_38));
    let exit = match compat {
        Ok(_) => tool(&mut program).unwrap_or_else(|exit| exit),
        Err(name) => program.errx([b"unknown util-linux version, neither 2.38 nor 2.43: ", name.as_bytes()].concat()),
    };
    ExitCode::from(program.finish(exit).0)
}

/// Which util-linux to be; takes what says so off the front of the command line. The last word counts, and the
/// environment where there is none. An unknown version is the error.
fn compat(words: &mut Vec<OsString>) -> Result<Compat, OsString> {
    let mut name = std::env::var_os(COMPAT_VARIABLE).filter(|name| !name.is_empty());
    while let Some(version) = words.first().and_then(|word| word.as_bytes().strip_prefix(b"--compat=")) {
        name = Some(OsStr::from_bytes(version).to_owned());
        words.remove(0);
    }
    match name {
        None => Ok(Compat::V2_38),
        Some(name) => Compat::named(&name).ok_or(name),
    }
}
