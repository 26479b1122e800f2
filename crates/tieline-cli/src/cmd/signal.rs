//! `tieline signal`: sends a signal, waits for the receivers to end, or waits for a signal.

use std::time::{Duration, Instant};

use serde::Serialize;
use tieline_os::pidfd::PidFd;
use tieline_os::process::{self, Pid};
use tieline_os::signal::{self, Action, Cause, Presence, Signal, SignalInfo, SignalSet};

use crate::exit::{self, Code, Failure, Fault, Outcome};
use crate::flags;
use crate::output;

/// The answers, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Sent<'a> {
    schema: &'static str,
    signal: Option<Named>,
    value: Option<i32>,
    group: bool,
    processes: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    pid: i32,
    outcome: &'static str,
    error: Option<Fault<'a>>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    number: i32,
}

#[derive(Serialize)]
struct Came {
    schema: &'static str,
    signal: Named,
    cause: &'static str,
    pid: Option<i32>,
    uid: Option<u32>,
    value: Option<i32>,
}

#[derive(Serialize)]
struct List {
    schema: &'static str,
    signals: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    number: i32,
    action: &'static str,
    description: &'static str,
}

pub(crate) fn run(flags: flags::Signal) -> Outcome {
    if flags.list {
        list(flags.json)
    } else if flags.wait.is_empty() {
        send(&flags)
    } else {
        wait(&flags)
    }
}

fn list(as_json: bool) -> Outcome {
    if as_json {
        let entry = |signal: Signal| Entry {
            name: signal.to_string(),
            number: signal.number(),
            action: action(signal),
            description: signal.description(),
        };
        return output::json(&List { schema: "tieline.signal.list/1", signals: Signal::all().map(entry).collect() });
    }
    let line = |signal: Signal| {
        format!("{:>2}  {:<14} {:<10} {}\n", signal.number(), signal.to_string(), action(signal), signal.description())
    };
    output::text(&Signal::all().map(line).collect::<String>())
}

/// What a signal does to a process that does not handle it.
fn action(signal: Signal) -> &'static str {
    match signal.default_action() {
        Action::Terminate => "terminate",
        Action::Dump => "dump",
        Action::Ignore => "ignore",
        Action::Stop => "stop",
        Action::Continue => "continue",
    }
}

/// A signal by the user's word, `None` for 0.
fn read(word: &str) -> Outcome<Option<Signal>> {
    if word == "0" {
        return Ok(None);
    }
    let refused = |error| Failure::usage(format_args!("{error}; `tieline signal --list` shows them all"));
    word.parse().map(Some).map_err(refused)
}

fn send(flags: &flags::Signal) -> Outcome {
    let signal = read(flags.signal.as_deref().unwrap_or_default())?;
    if signal.is_none() && flags.value.is_some() {
        return Err(Failure::usage("signal 0 only asks whether a process exists and carries no value"));
    }
    let deadline = flags.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // All of them are found before the first gets a signal, so that no end of one can make another's number free.
    let targets: Vec<_> = flags.processes.iter().map(|pid| Target::find(*pid, flags)).collect();
    let sent = targets.into_iter().map(|target| target.and_then(|target| target.send(signal, flags.value)));
    let sent: Vec<Outcome<Target>> = sent.collect();
    let wait = |target: Outcome<Target>| target.and_then(|target| target.ended(deadline));
    let answers: Vec<Outcome<&'static str>> = sent.into_iter().map(wait).collect();

    let failed = answers.iter().find_map(|answer| answer.as_ref().err().map(Failure::code));
    if flags.json {
        let told = |(pid, answer): (&Pid, &'_ Outcome<&'static str>)| {
            (pid.as_raw(), answer.as_ref().map_or("failed", |word| word))
        };
        let processes = flags.processes.iter().zip(&answers).map(|pair| {
            let (pid, outcome) = told(pair);
            Told { pid, outcome, error: pair.1.as_ref().err().map(Failure::fault) }
        });
        output::json(&Sent {
            schema: "tieline.signal.send/1",
            signal: signal.map(named),
            value: flags.value,
            group: flags.group,
            processes: processes.collect(),
        })?;
    } else {
        answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|failure| failure.tell(false));
    }
    failed.map_or(Ok(()), |code| Err(Failure::told(code)))
}

/// A receiver: a process held by descriptor, so that a stranger who gets its number later is never hit.
enum Target {
    Process(Pid, PidFd),
    Group(Pid),
}

impl Target {
    fn find(pid: Pid, flags: &flags::Signal) -> Outcome<Self> {
        if flags.group {
            return Ok(Self::Group(pid));
        }
        let process = PidFd::open(pid.as_raw().unsigned_abs());
        let process =
            process.map_err(|error| Failure::from(error).advised(Code::NotFound, "it has ended, or never was"));
        Ok(Self::Process(pid, process?))
    }

    fn send(self, signal: Option<Signal>, value: Option<i32>) -> Outcome<Self> {
        // A descriptor does not know which number its process had.
        let name = |pid: &Pid, error: tieline_os::Error| {
            let sentence = error.to_string().replacen("to a process", &format!("to process {pid}"), 1);
            Failure::new(exit::code_of(error.kind()), sentence)
        };
        match (&self, signal, value) {
            (Self::Process(pid, _), None, _) => match signal::probe(*pid)? {
                Presence::Reachable => {}
                Presence::Forbidden => {
                    let sentence = format_args!("process {pid} exists, and belongs to somebody else");
                    return Err(Failure::new(Code::PermissionDenied, sentence));
                }
                Presence::Absent => {
                    return Err(Failure::new(Code::NotFound, format_args!("there is no process {pid}")));
                }
            },
            (Self::Process(pid, process), Some(signal), None) => {
                process.send_signal(signal).map_err(|error| name(pid, error))?;
            }
            (Self::Process(pid, process), Some(signal), Some(value)) => {
                process.send_signal_with(signal, value).map_err(|error| name(pid, error))?;
            }
            (Self::Group(group), Some(signal), _) => signal::send_to_group(*group, signal)?,
            (Self::Group(_), None, _) => {
                return Err(Failure::usage("signal 0 asks for single processes, not for groups"));
            }
        }
        Ok(self)
    }

    /// Waits for its end, if there is a deadline; the word is that of the JSON form.
    fn ended(self, deadline: Option<Instant>) -> Outcome<&'static str> {
        let (Self::Process(pid, process), Some(deadline)) = (self, deadline) else { return Ok("sent") };
        match process.wait_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(error) if error.is_timeout() => {
                let sentence = format_args!("process {pid} still runs; KILL ends it whether it likes or not");
                Err(Failure::new(Code::TimedOut, sentence))
            }
            answer => Ok(answer.map(|()| "ended")?),
        }
    }
}

fn wait(flags: &flags::Signal) -> Outcome {
    let mut set = SignalSet::EMPTY;
    for word in &flags.wait {
        let signal = read(word)?.ok_or_else(|| Failure::usage("signal 0 never comes: there is nothing to wait for"))?;
        if signal == Signal::KILL || signal == Signal::STOP {
            return Err(Failure::usage(format_args!("{signal} cannot be waited for: it always does its work")));
        }
        set.insert(signal);
    }
    signal::block(set)?;
    if flags.verbose {
        output::say(&format!("process {} waits for {set}", process::current()));
    }
    let answer = match flags.timeout {
        None => signal::wait(set),
        Some(Duration::ZERO) => signal::try_wait(set),
        Some(timeout) => signal::wait_timeout(set, timeout),
    };
    let info = answer.map_err(|error| match Failure::from(error) {
        failure if failure.code() == Code::TimedOut => {
            Failure::new(Code::TimedOut, format_args!("none of {set} came in time"))
        }
        failure if failure.code() == Code::WouldBlock => {
            Failure::new(Code::WouldBlock, format_args!("none of {set} has come"))
        }
        failure => failure,
    })?;
    if flags.json {
        return output::json(&Came {
            schema: "tieline.signal.wait/1",
            signal: named(info.signal()),
            cause: cause(&info),
            pid: info.pid().map(Pid::as_raw),
            uid: info.uid(),
            value: info.value(),
        });
    }
    let part =
        |word: &str, number: Option<String>| number.map(|number| format!(" {word} {number}")).unwrap_or_default();
    let from = part("from process", info.pid().map(|pid| pid.to_string()));
    let of = part("of user", info.uid().map(|uid| uid.to_string()));
    let with = part("with value", info.value().map(|value| value.to_string()));
    output::text(&format!("{}{from}{of}{with}\n", info.signal()))
}

fn named(signal: Signal) -> Named {
    Named { name: signal.to_string(), number: signal.number() }
}

fn cause(info: &SignalInfo) -> &'static str {
    match info.cause() {
        Cause::Sent => "sent",
        Cause::SentToThread => "sent-to-thread",
        Cause::Queued => "queued",
        Cause::MessageQueue => "message-queue",
        Cause::Timer { .. } => "timer",
        Cause::Child(_) => "child",
        Cause::Kernel => "kernel",
        _ => "other",
    }
}
