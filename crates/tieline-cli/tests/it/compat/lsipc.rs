//! `lsipc` beside util-linux's: the same bytes on both streams, and the same exit code.
//!
//! The objects and the command lines are random; a third as many as to a pipe go to terminals of random widths. The
//! seed and the number of rounds are set as for the other tools.

mod golden;
mod world;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tieline_testkit::{Isolation, Namespace, Pty, role, skip, test_name};

use super::{Dice, rounds};
use crate::support::{Place, TIELINE, code_of};
use world::World;

/// Command lines to a pipe in each round.
const RUNS: u64 = 40;

#[test]
fn lists_are_those_of_the_installed_util_linux() {
    if let Some(role) = role() {
        return world::act(&role);
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let reference = PathBuf::from("/usr/bin");
    let version = version_of(&reference);
    if !version.contains("util-linux 2.38") {
        skip!("the installed lsipc is not util-linux 2.38: {version:?}");
    }
    Comparison::new(reference, false).run(&test_name!());
}

#[test]
fn lists_are_those_of_a_newer_util_linux() {
    if let Some(role) = role() {
        return world::act(&role);
    }
    let Some(reference) = std::env::var_os("TIELINE_UTIL_LINUX_NEW").map(PathBuf::from) else {
        skip!("TIELINE_UTIL_LINUX_NEW names no directory with the tools of util-linux 2.43");
    };
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let version = version_of(&reference);
    if !version.contains("util-linux 2.43") {
        skip!("the lsipc in {} is not util-linux 2.43: {version:?}", reference.display());
    }
    world::mount_places_for_posix_objects();
    Comparison::new(reference, true).run(&test_name!());
}

fn version_of(directory: &Path) -> String {
    let out = Command::new(directory.join("lsipc")).arg("--version").output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default()
}

/// A reference, and ours under the same name.
struct Comparison {
    reference: PathBuf,
    ours: Place,
    new: bool,
}

/// A command line with its surroundings.
#[derive(Debug)]
struct Case {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, &'static str)>,
    /// One object in lines, whose command line a terminal would obey: the one place where the two differ on purpose.
    dangerous: bool,
}

impl Comparison {
    fn new(reference: PathBuf, new: bool) -> Self {
        let ours = Place::new();
        std::os::unix::fs::symlink(TIELINE, ours.path("lsipc")).expect("a link");
        Self { reference, ours, new }
    }

    fn run(&self, test: &str) {
        let runs = rounds() * RUNS;
        let mut dice = Dice::new(test);
        let worlds = 3;
        for _ in 0..worlds {
            let world = World::make(&mut dice, test, self.new);
            for _ in 0..runs / worlds {
                self.to_a_pipe(&world.case(&mut dice));
            }
            for _ in 0..runs / worlds / 3 {
                let case = world.case(&mut dice);
                if !case.dangerous {
                    let columns = *dice.pick(&[0, 1, 20, 40, 60, 80, 80, 100, 120, 132, 200, 400]);
                    let columns = if columns > 1 && dice.one_in(2) { dice.below(160) as u16 + 1 } else { columns };
                    self.to_a_terminal(&case, columns);
                }
            }
        }
        for end in ["", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-"] {
            for arguments in ["", "-m", "--help", "--bogus", "-J", "-m -i 123456789"] {
                self.to_an_end(arguments, end);
            }
        }
        for arguments in ["", "-m", "--help", "--bogus"] {
            self.to_nobody(arguments);
        }
    }

    /// The command line of one side: found by name, because the name is part of what it says.
    fn command(&self, case: &Case, ours: bool) -> Command {
        let mut command = Command::new("lsipc");
        command.args(&case.arguments).envs(case.environment.iter().copied()).env("TERM", "xterm");
        self.name(&mut command, ours);
        command
    }

    /// Has programs find the one side by its name.
    fn name(&self, command: &mut Command, ours: bool) {
        let first = if ours { self.ours.path("") } else { self.reference.clone() };
        command.env("PATH", format!("{}:/usr/bin:/bin", first.display()));
        if ours && self.new {
            command.env("TIELINE_COMPAT", "2.43");
        }
    }

    fn to_a_pipe(&self, case: &Case) {
        let json = case.arguments.iter().any(|word| word == "-J" || word == "--json");
        same(case, |ours| {
            let mut seen = Seen::of(&self.command(case, ours).output().expect("it starts"));
            // What is not UTF-8 is never passed on in JSON by ours.
            if json {
                seen.out = String::from_utf8_lossy(&seen.out).into_owned().into_bytes();
            }
            seen
        });
    }

    fn to_a_terminal(&self, case: &Case, columns: u16) {
        same(&(case, columns), |ours| {
            let mut terminal = Pty::spawn_sized(self.command(case, ours), 24, columns);
            let code = code_of(terminal.exit_status());
            Seen { out: terminal.output().into_bytes(), err: Vec::new(), code }
        });
    }

    /// To a pipe whose reader has gone.
    fn to_nobody(&self, arguments: &str) {
        same(&arguments, |ours| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut command = Command::new("lsipc");
            command.args(arguments.split_ascii_whitespace()).stdout(writer);
            self.name(&mut command, ours);
            Seen::of(&command.output().expect("it starts"))
        });
    }

    /// With standard streams that are closed or full.
    fn to_an_end(&self, arguments: &str, end: &str) {
        let line = format!("exec 3>&1; {{ lsipc {arguments}; echo \"$?\" >&3; }} {end} 3>&3");
        same(&line, |ours| {
            let mut command = Command::new("sh");
            command.args(["-c", &line]);
            self.name(&mut command, ours);
            Seen::of(&command.output().expect("it starts"))
        });
    }
}

/// What a run showed.
#[derive(PartialEq)]
struct Seen {
    out: Vec<u8>,
    err: Vec<u8>,
    code: i32,
}

impl Seen {
    fn of(output: &Output) -> Self {
        Self { out: output.stdout.clone(), err: output.stderr.clone(), code: code_of(output.status) }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {}", self.code)?;
        let lines = [&self.out, &self.err].into_iter().flat_map(|stream| stream.split_inclusive(|byte| *byte == b'\n'));
        lines.into_iter().try_for_each(|line| writeln!(f, "    {}", line.escape_ascii()))
    }
}

/// Exit codes of programs that the C library or the kernel ended because of their own mistakes.
const CRASHES: [i32; 2] = [134, 139];

/// Compares the reference's run with ours; once more if they differ, because the minute may have ended between them.
/// Where the reference crashes, there is nothing to compare with (2.43-devel does when two columns show one name).
fn same(case: &impl fmt::Debug, run: impl Fn(bool) -> Seen) {
    let reference = run(false);
    if !CRASHES.contains(&reference.code) && reference != run(true) {
        let (reference, ours) = (run(false), run(true));
        assert!(reference == ours, "{case:?}\nreference: {reference}ours: {ours}");
    }
}

/// Whether a terminal would obey any of it, or not understand it.
fn is_dangerous(name: &OsString) -> bool {
    !name.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))
}
