//! What `pub`, `sub`, `record` and `replay` have in common: finding the topic, hearing, speaking, and how messages look
//! outside of it.

mod form;
mod hear;
mod speak;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use tieline_os::poll::{Interest, PollSet};
use tieline_os::signal::Signal;
use tieline_shm::untyped::{self, Found, News};
use tieline_shm::{ErrorKind, Kind, Name};
use tieline_transport::Stop;

pub(crate) use self::form::{Form, Inward, Outward, Read, contents};
pub(crate) use self::hear::{Ear, Heard};
pub(crate) use self::speak::{Voice, VoiceOptions};
use crate::exit::{Code, Failure, Outcome};
use crate::flags::TopicOffer;
use crate::transfer::interrupts;

/// No wait is longer, whatever a recording claims; then the time is looked at again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How often a name that nobody offers is looked at if its directory cannot be watched: one that may be entered but not
/// listed.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
        Err(error) if error.kind() == ErrorKind::NotFound && !lies_nowhere(name) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Whether the name has a directory that is not there.
fn lies_nowhere(name: &str) -> bool {
    Name::new(name).is_ok_and(|name| name.directory().is_some_and(|directory| !directory.exists()))
}

/// What can be published to and subscribed to; only a topic can be recorded, and played again.
pub(crate) const SPOKEN: &[Kind] = &[Kind::Log, Kind::Latest, Kind::Event];
pub(crate) const TOPIC: &[Kind] = &[Kind::Log];

/// Refuses what is none of these kinds, and says what uses it.
pub(crate) fn demand(name: &str, found: &Found, kinds: &[Kind]) -> Outcome {
    if kinds.contains(&found.kind()) {
        return Ok(());
    }
    let how = match found.kind() {
        Kind::Log | Kind::Latest | Kind::Event => "`tieline pub` and `tieline sub` use it",
        Kind::Queue => "`tieline send` and `tieline recv` use it",
        Kind::Stream => "`tieline send`, `recv` and `connect` use it",
        Kind::Calls => "calls are made by programs, and `tieline who` shows those in flight",
        _ => "`tieline who` and `tieline locks` show how it is",
    };
    Err(Failure::usage(format_args!("cannot use {name} as a topic: it is {}; {how}", found.what())))
}

/// Refuses a mode for what somebody offers already.
pub(crate) fn refuse_mode(name: &str, offer: &TopicOffer) -> Outcome {
    if offer.mode.is_none() {
        return Ok(());
    }
    let why = "and who offered it first has decided who may take part; without --mode it is used as it is";
    Err(Failure::new(Code::AlreadyExists, format_args!("cannot set the mode of {name}: it is offered already, {why}")))
}

/// What is at the name and of one of these kinds; waits for somebody to offer it if so asked.
pub(crate) fn find(name: &str, kinds: &[Kind], wait: bool, until: &Until<'_>) -> Outcome<Found> {
    let mut news = None;
    loop {
        if wait && news.is_none() {
            // Before looking, so that nobody comes unseen in between.
            news = match untyped::news(name) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
                news => Some(news?),
            };
        }
        if let Some(found) = look(name)? {
            demand(name, &found, kinds)?;
            return Ok(found);
        }
        if !wait {
            let sentence =
                format_args!("nobody offers the topic {name}; `tieline pub` makes it, --follow waits for it");
            return Err(Failure::new(Code::NotFound, sentence));
        }
        if let Some(reason) = await_news(&mut news, until)? {
            let sentence = format!("nobody offered the topic {name}");
            return Err(match reason {
                Reason::Stopped => Failure::new(until.stopped_code(), sentence),
                Reason::TimedOut => Failure::new(until.late_code(), format!("{sentence} in time")),
            });
        }
    }
}

/// Waits until another look is worth while, or says why not.
fn await_news(news: &mut Option<News>, until: &Until<'_>) -> Outcome<Option<Reason>> {
    let Some(watch) = news else { return Ok(until.pause(Some(Instant::now() + LOOK_AGAIN))) };
    loop {
        if let Some(reason) = until.pause_or(None, Some(watch.as_fd())) {
            return Ok(Some(reason));
        }
        match watch.take() {
            Ok(false) => {}
            Ok(true) => return Ok(None),
            // The directory was removed: the one that is there now is watched.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *news = None;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
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

    pub(crate) fn stop(&self) -> &Stop {
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

    /// How much time is left, if it is limited.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until then (for ever without a time), or answers why not.
    pub(crate) fn pause(&self, then: Option<Instant>) -> Option<Reason> {
        self.pause_or(then, None)
    }

    /// The same; also ends when the descriptor is readable.
    fn pause_or(&self, then: Option<Instant>, news: Option<BorrowedFd<'_>>) -> Option<Reason> {
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
            if let Some(news) = &news {
                set.add(news, Interest::READABLE);
            }
            // Woken by the signal, by the time, or for nothing: the next turn sees which.
            let _ = match left {
                Some(left) => set.wait_timeout(left.min(LONGEST_PAUSE)),
                None => set.wait(),
            };
            if news.is_some() && !set.readiness(1).is_empty() {
                return self.is_over();
            }
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
