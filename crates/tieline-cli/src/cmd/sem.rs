//! `tieline sem`: semaphores for shell scripts.

use std::time::{Duration, Instant};

use serde::Serialize;
use tieline_os::ErrorKind;
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::signal::{Flag, HandlerFlags, Signal};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};

use crate::exit::{self, Code, Failure, Outcome};
use crate::flags::{Sem, SemAction};
use crate::name::{Handle, Named};
use crate::output;

/// What was done, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Done {
    schema: &'static str,
    action: &'static str,
    semaphore: String,
    count: u16,
    value: u32,
    waiters: u64,
}

/// One semaphore, and the text that names it.
struct Opened {
    name: String,
    semaphore: Semaphore,
}

enum Semaphore {
    Posix(NamedSemaphore),
    Sysv(SemaphoreSet, u16),
}

pub(crate) fn run(flags: Sem) -> Outcome {
    let (action, opened, count) = match flags.action {
        SemAction::Wait { semaphore, timeout, count } => {
            let opened = Opened::parse(&semaphore)?;
            opened.wait(count, timeout)?;
            ("wait", opened, count)
        }
        SemAction::Post { semaphore, count } => {
            let opened = Opened::parse(&semaphore)?;
            opened.post(count)?;
            ("post", opened, count)
        }
        SemAction::Get { semaphore } => ("get", Opened::parse(&semaphore)?, 0),
    };
    if flags.json {
        let (value, waiters) = (opened.value()?, opened.waiters()?);
        let schema = "tieline.sem/1";
        output::json(&Done { schema, action, semaphore: opened.name, count, value, waiters })
    } else if action == "get" {
        output::text(&format!("{}\n", opened.value()?))
    } else {
        Ok(())
    }
}

impl Opened {
    /// `/name`, `sem:/name`, `sysv-sem:KEY`, `sysv-sem:id:N`, the last two perhaps with `#INDEX`.
    fn parse(text: &str) -> Outcome<Self> {
        if text.starts_with('/') {
            return Self::open(&Named::Sem(text.into()), 0);
        }
        let (name, index) = match text.strip_prefix("sysv-sem:").and_then(|rest| rest.split_once('#')) {
            None => (text, 0),
            Some((handle, index)) => {
                let refused = |_| Failure::usage(format_args!("{index:?} is no number of a semaphore in its set"));
                (&text[.."sysv-sem:".len() + handle.len()], index.parse().map_err(refused)?)
            }
        };
        let is_semaphore = name.starts_with("sem:") || name.starts_with("sysv-sem:");
        if !is_semaphore {
            let how = "write /name, sysv-sem:KEY or sysv-sem:id:N, the last two with #INDEX if the set has several";
            return Err(Failure::usage(format_args!("{text:?} names no semaphore; {how}")));
        }
        Self::open(&Named::parse(name)?, index)
    }

    fn open(named: &Named, index: u16) -> Outcome<Self> {
        let refused = |error: tieline_os::Error| {
            Failure::from(error)
                .advised(Code::NotFound, format_args!("{} makes it", named.making()))
                .advised(Code::PermissionDenied, "its owner and mode decide who may use it")
        };
        let semaphore = match named {
            Named::SysvSem(Handle::Key(key)) => Semaphore::Sysv(SemaphoreSet::open(*key).map_err(refused)?, index),
            Named::SysvSem(Handle::Id(id)) => Semaphore::Sysv(SemaphoreSet::from_id(*id), index),
            Named::Sem(name) => Semaphore::Posix(NamedSemaphore::open(name).map_err(refused)?),
            other => return Err(Failure::usage(format_args!("{other} is not a semaphore"))),
        };
        let name = match &semaphore {
            Semaphore::Sysv(..) => format!("{named}#{index}"),
            Semaphore::Posix(_) => named.to_string(),
        };
        Ok(Self { name, semaphore })
    }

    fn value(&self) -> Outcome<u32> {
        Ok(match &self.semaphore {
            Semaphore::Posix(semaphore) => semaphore.value(),
            Semaphore::Sysv(set, index) => set.value(*index)?.into(),
        })
    }

    fn waiters(&self) -> Outcome<u64> {
        Ok(match &self.semaphore {
            Semaphore::Posix(semaphore) => semaphore.waiters().into(),
            Semaphore::Sysv(set, index) => set.waiters_for_increase(*index)? as u64,
        })
    }

    fn post(&self, count: u16) -> Outcome {
        match &self.semaphore {
            Semaphore::Sysv(set, index) => Ok(set.operate(&[Operation::new(*index, delta(count))])?),
            Semaphore::Posix(semaphore) => {
                for given in 0..count {
                    semaphore.post().map_err(|error| self.partly(&error, given, count, "given"))?;
                }
                Ok(())
            }
        }
    }

    fn wait(&self, count: u16, timeout: Option<Duration>) -> Outcome {
        match &self.semaphore {
            Semaphore::Sysv(set, index) => {
                let operation = [Operation::new(*index, -delta(count))];
                let answer = match timeout {
                    None => set.operate(&operation),
                    Some(Duration::ZERO) => set.try_operate(&operation),
                    Some(timeout) => set.operate_timeout(&operation, timeout),
                };
                answer.map_err(|error| self.in_vain(error))
            }
            Semaphore::Posix(semaphore) => {
                let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                let never = timeout == Some(Duration::ZERO);
                // With one permit there is nothing to give back, and a signal may simply end us.
                let signals = if count > 1 { Some(Flags::new()?) } else { None };
                for taken in 0..count {
                    if let Err(failure) = self.take(semaphore, never, deadline, signals.as_ref()) {
                        for _ in 0..taken {
                            semaphore.post()?;
                        }
                        return Err(failure);
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes one permit.
    fn take(
        &self,
        semaphore: &NamedSemaphore,
        never: bool,
        deadline: Option<Instant>,
        signals: Option<&Flags>,
    ) -> Outcome {
        if never {
            return semaphore.try_wait().map_err(|error| self.in_vain(error));
        }
        loop {
            if let Some(signal) = signals.and_then(Flags::raised) {
                let sentence = format_args!("{} came while waiting for {}; nothing was taken", signal, self.name);
                return Err(Failure::new(Code::Signalled(signal.number().unsigned_abs() as u8), sentence));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let answer = match (left, signals) {
                (None, None) => semaphore.wait(),
                (Some(left), None) => semaphore.wait_timeout(left),
                // A signal between the look above and the wait below is noticed one slice later.
                (left, Some(_)) => {
                    let slice = left.map_or(SLICE, |left| left.min(SLICE));
                    match semaphore.wait_timeout_interruptible(slice) {
                        Err(error) if error.is_interrupted() => continue,
                        Err(error) if error.is_timeout() && left.is_none_or(|left| left > slice) => continue,
                        answer => answer,
                    }
                }
            };
            return answer.map_err(|error| self.in_vain(error));
        }
    }

    fn in_vain(&self, error: tieline_os::Error) -> Failure {
        let name = &self.name;
        match error.kind() {
            ErrorKind::WouldBlock => Failure::new(
                Code::WouldBlock,
                format_args!("{name} has no permit now; a larger --timeout waits for one"),
            ),
            ErrorKind::TimedOut => {
                let sentence = format_args!("no permit of {name} came in time; `tieline sem post` gives one");
                Failure::new(Code::TimedOut, sentence)
            }
            _ => error.into(),
        }
    }

    fn partly(&self, error: &tieline_os::Error, done: u16, count: u16, verb: &str) -> Failure {
        let code = exit::code_of(error.kind());
        Failure::new(code, format_args!("{error}; {done} of {count} permits of {} were {verb}", self.name))
    }
}

/// How late a signal is noticed at most.
const SLICE: Duration = Duration::from_millis(100);

/// The signals that ask a command to end, noted instead of obeyed.
struct Flags(Vec<Flag>);

impl Flags {
    fn new() -> Outcome<Self> {
        let flag = |signal| Flag::with_flags(signal, HandlerFlags::empty());
        let flags = [Signal::INT, Signal::TERM, Signal::HUP].map(flag);
        Ok(Self(flags.into_iter().collect::<tieline_os::Result<_>>()?))
    }

    fn raised(&self) -> Option<Signal> {
        self.0.iter().find(|flag| flag.is_raised()).and_then(|flag| flag.signals().iter().next())
    }
}

fn delta(count: u16) -> i16 {
    // The flag's range ends at 32767.
    i16::try_from(count).unwrap_or(i16::MAX)
}
