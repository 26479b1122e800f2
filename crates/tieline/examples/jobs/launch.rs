//! From a pipeline to processes in one group.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tieline::os::job::Terminal;
use tieline::os::process::{Pid, WaitStatus};

use crate::parse::{Pipeline, Redirection, Stage};
use crate::table::Process;
use crate::{gate, say};

/// What was started of a pipeline.
pub(crate) struct Launched {
    /// None if not one command could be started.
    pub(crate) group: Option<Pid>,
    pub(crate) processes: Vec<Process>,
}

/// Starts every command of `pipeline` in one new process group, up to the gate; [`gate::open`] lets them go on.
///
/// The first command makes the group, in the child before its exec; `spawn` returns after that. The leader cannot be
/// gone when the others join: even if it has ended, nobody reaps it before this function is done. That is why, unlike
/// in C, nothing is left for the parent to do about the group.
pub(crate) fn launch(pipeline: &Pipeline) -> tieline::os::Result<Launched> {
    let closed = gate::closed()?;
    let mut launched = Launched { group: None, processes: Vec::new() };
    let mut input = None;
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let is_last = index + 1 == pipeline.stages.len();
        let outcome = output(is_last).and_then(|(output, next)| {
            let stdin = std::mem::replace(&mut input, next);
            let mut command = gate::command(&stage.words, &closed)?;
            connect(&mut command, stage, stdin, output, pipeline.background)?;
            command.process_group(launched.group.map_or(0, Pid::as_raw)).spawn()
        });
        let process = match outcome {
            Ok(child) => {
                let pid = Pid::of(&child);
                launched.group.get_or_insert(pid);
                Process { pid: Some(pid), last: None }
            }
            Err(error) => {
                say(format_args!("jobs: {}: {error}", stage.words[0]));
                Process { pid: None, last: Some(WaitStatus::Exited(1)) }
            }
        };
        launched.processes.push(process);
    }
    Ok(launched)
}

/// Where a command writes to, and where the next one reads from.
fn output(is_last: bool) -> io::Result<(Stdio, Option<Stdio>)> {
    if is_last {
        return Ok((Stdio::inherit(), None));
    }
    let (reader, writer) = io::pipe()?;
    Ok((writer.into(), Some(reader.into())))
}

/// Gives a command its input and output.
fn connect(
    command: &mut Command,
    stage: &Stage,
    stdin: Option<Stdio>,
    stdout: Stdio,
    background: bool,
) -> io::Result<()> {
    command.stdout(stdout);
    match stdin {
        Some(pipe) => drop(command.stdin(pipe)),
        // Without a terminal nothing would stop a background command from eating the script.
        None if background && Terminal::of(io::stdin()).is_err() => drop(command.stdin(Stdio::null())),
        None => {}
    }
    for redirection in &stage.redirections {
        let file = open(redirection)?;
        match redirection {
            Redirection::From(_) => command.stdin(file),
            Redirection::To(_) | Redirection::Append(_) => command.stdout(file),
        };
    }
    Ok(())
}

/// Opens the file of a redirection; the error names it.
pub(crate) fn open(redirection: &Redirection) -> io::Result<File> {
    let (path, file) = match redirection {
        Redirection::From(path) => (path, File::open(path)),
        Redirection::To(path) => (path, File::create(path)),
        Redirection::Append(path) => (path, OpenOptions::new().append(true).create(true).open(path)),
    };
    file.map_err(|error| io::Error::other(format!("{path}: {error}")))
}
