//! What `pub`, `sub`, `record` and `replay` have in common: finding the topic, hearing, speaking, and how messages look
//! outside of it.

mod form;
mod hear;
mod speak;

use std::time::{Duration, Instant};

use tieline_os::poll::{Interest, PollSet};
use tieline_os::signal::Signal;
use tieline_shm::untyped::{self, Found};
use tieline_shm::{ErrorKind, Kind, Name};
use tieline_transport::Stop;

pub(crate) use self::form::{Form, Inward, Outward, Read, contents};
pub(crate) use self::hear::{Ear, Heard};
pub(crate) use self::speak::{Voice, VoiceOptions};
use crate::exit::{Code, Failure, Outcome};
use crate::transfer::interrupts;

/// How long nobody looks whether a signal came while the kernel waits for us in memory.
const SLICE: Duration = Duration::from_millis(50);

/// No wait is longer, whatever a recording claims; then the time is looked at again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How often a name that nobody offers is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The name of a topic as the command line has it.
pub(crate) fn name(text: &str) -> Outcome<String> {
    if !text.starts_with("shm:") {
        let sentence = format_args!("cannot use {text} as a topic: topics are in shared memory; write shm:NAME");
        return Err(Failure::usage(sentence));
    }
    Ok(Name::new(text)?.to_string())
}

/// What is at the name; nothing if nobody offers it.
pub(crate) fn look(name: &str) -> Outcome<Option<Found>> {
    match untyped::look(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Refuses what is no topic.
pub(crate) fn demand_topic(name: &str, found: &Found) -> Outcome {
    let how = match found.kind() {
        Kind::Log => return Ok(()),
        Kind::Queue => "; `tieline send` and `tieline recv` use it",
        _ => "",
    };
    Err(Failure::usage(format_args!("cannot use {name} as a topic: it is {}{how}", found.what())))
}

/// The topic at the name; waits for somebody to offer it if so asked.
pub(crate) fn find(name: &str, wait: bool, until: &Until<'_>) -> Outcome<Found> {
    loop {
        if let Some(found) = look(name)? {
            demand_topic(name, &found)?;
            return Ok(found);
        }
        if !wait {
            let sentence =
                format_args!("nobody offers the topic {name}; `tieline pub` makes it, --follow waits for it");
            return Err(Failure::new(Code::NotFound, sentence));
        }
        if let Some(reason) = until.pause(Some(Instant::now() + LOOK_AGAIN)) {
            let sentence = format!("nobody offered the topic {name}");
            return Err(match reason {
                Reason::Stopped => Failure::new(until.stopped_code(), sentence),
                Reason::TimedOut => Failure::new(until.late_code(), format!("{sentence} in time")),
            });
        }
    }
}

/// When to end whatever happens: at a signal, or when the time is up.
pub(crate) struct Until<'a> {
    pub(crate) interrupts: &'a interrupts::Interrupts,
    pub(crate) deadline: Option<Instant>,
    /// Nothing is waited for at all.
    pub(crate) never_waits: bool,
}

/// Why it is time to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Stopped,
    TimedOut,
}

impl<'a> Until<'a> {
    pub(crate) fn new(interrupts: &'a interrupts::Interrupts, timeout: Option<Duration>) -> Self {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { interrupts, deadline, never_waits: timeout == Some(Duration::ZERO) }
    }

    fn stop(&self) -> &Stop {
        &self.interrupts.stop
    }

    /// Whether it is time to end.
    pub(crate) fn is_over(&self) -> Option<Reason> {
        if self.stop().is_requested() {
            Some(Reason::Stopped)
        } else {
            self.deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Reason::TimedOut)
        }
    }

    /// How long to wait at most before asking again.
    fn slice(&self) -> Duration {
        self.deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()).min(SLICE))
    }

    /// Waits until then (for ever without a time), or answers why not.
    pub(crate) fn pause(&self, then: Option<Instant>) -> Option<Reason> {
        loop {
            if let Some(reason) = self.is_over() {
                return Some(reason);
            }
            let next = [then, self.deadline].into_iter().flatten().min();
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                // Either it is then, or the next turn finds the deadline over.
                if then.is_some_and(|then| Instant::now() >= then) {
                    return None;
                }
                continue;
            }
            let mut set = PollSet::new();
            set.add(self.stop(), Interest::READABLE);
            // Woken by the signal, by the time, or for nothing: the next turn sees which.
            let _ = match left {
                Some(left) => set.wait_timeout(left.min(LONGEST_PAUSE)),
                None => set.wait(),
            };
        }
    }

    pub(crate) fn signal(&self) -> Option<Signal> {
        self.interrupts.signal()
    }

    /// The exit code of whoever was ended by a signal.
    pub(crate) fn stopped_code(&self) -> Code {
        self.signal().map_or(Code::Failed, interrupts::code)
    }

    /// The exit code of whoever has no time left.
    pub(crate) fn late_code(&self) -> Code {
        if self.never_waits { Code::WouldBlock } else { Code::TimedOut }
    }

    /// The failure that a reason to end is, after a tale of what was done.
    pub(crate) fn failure(&self, reason: Reason, tale: &str) -> Failure {
        match reason {
            Reason::Stopped => {
                let by = self.signal().map_or_else(|| "a request".to_owned(), |signal| signal.to_string());
                Failure::new(self.stopped_code(), format_args!("ended by {by}: {tale}"))
            }
            Reason::TimedOut if self.never_waits => Failure::new(
                self.late_code(),
                format_args!("there was nothing more, and waiting was ruled out: {tale}"),
            ),
            Reason::TimedOut => Failure::new(self.late_code(), format_args!("the time is up: {tale}")),
        }
    }
}

/// "1 message", "3 messages".
pub(crate) fn messages(count: u64) -> String {
    format!("{count} message{}", if count == 1 { "" } else { "s" })
}
