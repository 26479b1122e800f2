//! The gate: no program of a pipeline starts before the whole pipeline is ready and has the terminal.
//!
//! A program that reads too early is stopped by `SIGTTIN`, together with its whole group. If one of the group is at
//! that moment between fork and exec, the parent hangs: `Command::spawn` returns only after the exec. Ctrl-Z does the
//! same to those who hand over the terminal early. So the child first executes this shell again, with the stop signals
//! blocked, as [`ARGUMENT`]; there it waits for [`OPENS`], takes back the mask, and executes the program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use tieline::os::Result;
use tieline::os::process::{self, Pid};
use tieline::os::signal::{self, Blocked, Signal, SignalSet};

use crate::say;

/// Marks a shell that is only the gate; the process id of its parent, the mask, and the command line follow.
pub(crate) const ARGUMENT: &str = "--gate";

/// Opens the gate. Blocked before the child exists, it is never early.
const OPENS: Signal = Signal::USR1;

/// What shells answer when a command is not found, and when it cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Blocks what nobody behind the gate may get; children spawned while it lives inherit that.
pub(crate) fn closed() -> Result<Blocked> {
    Blocked::new([OPENS, Signal::TSTP, Signal::TTIN, Signal::TTOU])
}

/// The command that waits at the gate and then becomes the program `words[0]`.
pub(crate) fn command(words: &[String], closed: &Blocked) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let mask = closed.before().bits();
    command.args([ARGUMENT, &process::current().to_string(), &mask.to_string()]).args(words);
    Ok(command)
}

/// Lets every process of `group` start its program.
pub(crate) fn open(group: Pid) -> Result<()> {
    signal::send_to_group(group, OPENS)
}

/// Waits at the gate, and becomes the program.
pub(crate) fn wait(parent: &str, mask: &str, words: &[&str]) -> ExitCode {
    let [program, arguments @ ..] = words else { return ExitCode::from(NOT_EXECUTABLE) };
    if let Err(error) = pass(parent, mask) {
        say(format_args!("jobs: {program}: {error}"));
        return ExitCode::from(NOT_EXECUTABLE);
    }
    let error = Command::new(program).args(arguments).exec();
    if error.kind() == io::ErrorKind::NotFound {
        say(format_args!("jobs: {program}: command not found"));
        ExitCode::from(NOT_FOUND)
    } else {
        say(format_args!("jobs: {program}: {error}"));
        ExitCode::from(NOT_EXECUTABLE)
    }
}

fn pass(parent: &str, mask: &str) -> std::result::Result<(), String> {
    let mask = mask.parse().map(SignalSet::from_bits).map_err(|_| format!("{mask} is no signal mask"))?;
    // A shell that dies leaves nobody waiting at its gate.
    let waited = process::set_parent_death_signal(Some(Signal::KILL)).and_then(|()| {
        if process::parent().is_some_and(|pid| pid.to_string() == parent) {
            signal::wait(OPENS)?;
        }
        process::set_parent_death_signal(None)?;
        signal::set_mask(mask)
    });
    waited.map(drop).map_err(|error| error.to_string())
}
