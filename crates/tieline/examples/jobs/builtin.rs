//! The commands that the shell itself runs, because they change it or ask it.

use std::io::Write;

use tieline::os::job;
use tieline::os::process::Pid;
use tieline::os::signal::{self, Signal};

use crate::say;
use crate::shell::Shell;
use crate::table::State;

const NAMES: [&str; 7] = ["bg", "cd", "exit", "fg", "jobs", "kill", "wait"];

pub(crate) fn is_one(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Runs the command `words[0]` and returns its exit status.
pub(crate) fn run(shell: &mut Shell, words: &[String], out: &mut dyn Write) -> i32 {
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let outcome = match (words[0].as_str(), &arguments[..]) {
        ("cd", &[]) => home().and_then(|home| cd(&home)),
        ("cd", &[directory]) => cd(directory),
        ("exit", &[]) => exit(shell, shell.status()),
        ("exit", &[code]) => {
            code.parse().map_err(|_| format!("{code} is not a number")).and_then(|code| exit(shell, code))
        }
        ("jobs", &[]) => jobs(shell, out),
        ("fg", &[] | &[_]) => fg(shell, arguments.first().copied(), out),
        ("bg", &[] | &[_]) => bg(shell, arguments.first().copied(), out),
        ("wait", &[] | &[_]) => wait(shell, arguments.first().copied()),
        ("kill", &[target]) => kill(shell, Signal::TERM, target),
        ("kill", &[option, target]) => match option.strip_prefix('-').map(str::parse) {
            Some(Ok(signal)) => kill(shell, signal, target),
            Some(Err(error)) => Err(format!("{error}")),
            None => Err(format!("{option} is not a signal, as in -TERM")),
        },
        _ => Err("wrong number of arguments".to_owned()),
    };
    outcome.unwrap_or_else(|reason| {
        say(format_args!("jobs: {}: {reason}", words[0]));
        1
    })
}

type Outcome = Result<i32, String>;

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn home() -> Result<String, String> {
    std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())
}

fn cd(directory: &str) -> Outcome {
    std::env::set_current_dir(directory).map(|()| 0).map_err(|error| format!("{directory}: {error}"))
}

fn exit(shell: &mut Shell, code: i32) -> Outcome {
    shell.exit(code);
    Ok(code)
}

fn jobs(shell: &mut Shell, out: &mut dyn Write) -> Outcome {
    shell.look();
    let listed = shell.table.iter().try_for_each(|job| writeln!(out, "{job}"));
    // Whoever has read the list needs no further notice.
    let _ = shell.table.take_news();
    listed.map(|()| 0).map_err(text)
}

fn fg(shell: &mut Shell, name: Option<&str>, out: &mut dyn Write) -> Outcome {
    let job = shell.table.find(name)?;
    let number = job.number;
    writeln!(out, "{}", job.text).and_then(|()| out.flush()).map_err(text)?;
    shell.foreground(number).map_err(text)
}

fn bg(shell: &mut Shell, name: Option<&str>, out: &mut dyn Write) -> Outcome {
    shell.look();
    let job = shell.table.find(name)?;
    job.goes_on();
    job::resume(job.group).map_err(text)?;
    writeln!(out, "[{}]  {} &", job.number, job.text).map(|()| 0).map_err(text)
}

fn wait(shell: &mut Shell, name: Option<&str>) -> Outcome {
    let numbers: Vec<usize> = match name {
        Some(name) => vec![shell.table.find(Some(name))?.number],
        None => shell.table.iter().map(|job| job.number).collect(),
    };
    let mut status = 0;
    for number in numbers {
        status = match shell.wait_for(number) {
            State::Ended(end) => end.shell_code(),
            State::Running | State::Stopped => 128 + Signal::STOP.number(),
        };
    }
    Ok(status)
}

fn kill(shell: &mut Shell, signal: Signal, target: &str) -> Outcome {
    if !target.starts_with('%') {
        let pid: Pid = target.parse().map_err(text)?;
        return signal::send(pid, signal).map(|()| 0).map_err(text);
    }
    shell.look();
    let job = shell.table.find(Some(target))?;
    if let State::Ended(_) = job.state() {
        return Err(format!("{target} has ended"));
    }
    signal::send_to_group(job.group, signal).map_err(text)?;
    // A stopped process takes note of a request to end only when it goes on.
    if job.state() == State::Stopped && matches!(signal, Signal::TERM | Signal::HUP) {
        job::resume(job.group).map_err(text)?;
    }
    if matches!(signal, Signal::TERM | Signal::HUP | Signal::CONT) {
        job.goes_on();
    }
    Ok(0)
}
