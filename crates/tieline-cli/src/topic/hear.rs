//! Subscribing: to a topic, a latest value or events. A message, a signal, the end of the time or of the reader of
//! standard output ends a wait; nothing is asked again and again.

use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;

use tieline_os::poll::Interest;
use tieline_shm::event::{Event, Fired, Listener};
use tieline_shm::latest::{Latest, LatestReader};
use tieline_shm::topic::{Counters, Origin, Policy, Sample, Subscriber, Topic};
use tieline_shm::untyped::Found;
use tieline_shm::{ErrorKind, Kind, Ready, WaitSet};

use super::{Reason, Until};
use crate::exit::{Code, Failure, Outcome};
use crate::flags::{Listening, Slow, Start};

/// A subscriber.
pub(crate) struct Ear {
    name: String,
    source: Source,
    follow: bool,
    set: WaitSet,
    ready: Vec<Ready>,
}

enum Source {
    Topic(Box<Subscriber<[u8]>>),
    Latest(Box<LatestReader<[u8]>>),
    Event(Box<Events>),
}

/// The listener, and what it was told of and nobody has heard yet.
struct Events {
    listener: Listener,
    fired: Vec<Fired>,
    waiting: VecDeque<Fired>,
    as_json: bool,
}

/// What it hears.
pub(crate) enum Heard {
    Message(Message, Origin),
    /// Nothing now; whoever has something else to do does it, and asks again.
    Nothing,
    /// The last publisher has gone.
    Gone,
    /// It was too slow for its policy.
    Lagged,
    Over(Reason),
}

/// A message, where it lies or copied.
pub(crate) enum Message {
    Sample(Box<Sample<[u8]>>),
    Copy(Vec<u8>),
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Sample(sample) => sample,
            Self::Copy(bytes) => bytes,
        }
    }
}

/// What is in the set.
const MESSAGES: u64 = 0;
const STOP: u64 = 1;
const READER: u64 = 2;

impl Ear {
    /// Subscribes to what was found at the name; events are told as JSON or as `ID TIMES`.
    pub(crate) fn open(
        name: &str,
        found: &Found,
        flags: &Listening,
        as_json: bool,
        until: &Until<'_>,
    ) -> Outcome<Self> {
        let mut set = WaitSet::new()?;
        let source = match found.kind() {
            Kind::Latest => {
                let reader = Latest::carrying(name, &found.carried())?.reader()?;
                set.attach(&reader, MESSAGES)?;
                Source::Latest(Box::new(reader))
            }
            Kind::Event => {
                let listener = Event::open(name)?.listener();
                set.attach(&listener, MESSAGES)?;
                let (fired, waiting) = (Vec::new(), VecDeque::new());
                Source::Event(Box::new(Events { listener, fired, waiting, as_json }))
            }
            _ => {
                let subscriber = subscribe(name, found, flags).map_err(|error| refused(error, name))?;
                set.attach(&subscriber, MESSAGES)?;
                Source::Topic(Box::new(subscriber))
            }
        };
        set.attach_fd(until.stop(), Interest::READABLE, STOP)?;
        Ok(Self { name: name.to_owned(), source, follow: flags.follow, set, ready: Vec::new() })
    }

    /// Has waits end also when nobody reads standard output any more.
    pub(crate) fn mind_the_reader(&mut self) -> Outcome {
        match self.set.attach_fd(io::stdout().as_fd(), Interest::empty(), READER) {
            // A file has no reader that could go.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            attached => Ok(attached?),
        }
    }

    /// The next message, if it is there.
    pub(crate) fn next_now(&mut self, until: &Until<'_>) -> Outcome<Heard> {
        match until.is_over() {
            // Whoever does not wait takes what is there.
            Some(Reason::TimedOut) if until.never_waits => {}
            Some(reason) => return Ok(Heard::Over(reason)),
            None => {}
        }
        self.receive()
    }

    /// The next message; waits until there may be one, or until it is time to end.
    pub(crate) fn next(&mut self, until: &Until<'_>) -> Outcome<Heard> {
        if let Some(reason) = until.is_over() {
            return Ok(Heard::Over(reason));
        }
        let waited = match until.left() {
            Some(left) => self.set.wait_timeout(&mut self.ready, left),
            None => self.set.wait(&mut self.ready),
        };
        match waited {
            Err(error) if error.is_timeout() => Ok(Heard::Nothing),
            waited => {
                waited?;
                self.receive()
            }
        }
    }

    fn receive(&mut self) -> Outcome<Heard> {
        let answer = match &mut self.source {
            Source::Topic(subscriber) => subscriber.try_recv().map(|sample| {
                let origin = subscriber.origin().unwrap_or_default();
                Heard::Message(Message::Sample(Box::new(sample)), origin)
            }),
            Source::Latest(reader) => {
                reader.try_changed_bytes().map(|bytes| Heard::Message(Message::Copy(bytes.to_vec()), Origin::default()))
            }
            Source::Event(events) => events.next().map(|text| Heard::Message(Message::Copy(text), Origin::default())),
        };
        match answer {
            Err(error) if error.is_would_block() => Ok(Heard::Nothing),
            Err(error) if error.kind() == ErrorKind::PeerGone && self.follow => Ok(Heard::Nothing),
            Err(error) if error.kind() == ErrorKind::PeerGone => Ok(Heard::Gone),
            Err(error) if error.kind() == ErrorKind::Lagged => Ok(Heard::Lagged),
            answer => Ok(answer.map_err(|error| refused(error, &self.name))?),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        match &self.source {
            Source::Topic(subscriber) => subscriber.counters(),
            Source::Latest(_) | Source::Event(_) => Counters::default(),
        }
    }
}

impl Events {
    fn next(&mut self) -> tieline_shm::Result<Vec<u8>> {
        if self.waiting.is_empty() {
            self.listener.try_wait(&mut self.fired)?;
            self.waiting.extend(self.fired.drain(..));
        }
        let Some(Fired { id, times, .. }) = self.waiting.pop_front() else { return Ok(Vec::new()) };
        Ok(match self.as_json {
            true => format!("{{\"id\":{id},\"times\":{times}}}"),
            false => format!("{id} {times}"),
        }
        .into_bytes())
    }
}

/// A refusal to wait for us, with what to do about it on a command line: the library tells programs.
fn refused(error: tieline_shm::Error, name: &str) -> Failure {
    if error.kind() == ErrorKind::PermissionDenied && error.to_string().contains("Policy::Block") {
        let why = "a publisher does not wait for subscribers of this user";
        let how = "with --slow drop-oldest, or any other than block, it need not";
        return Failure::new(Code::PermissionDenied, format_args!("cannot listen to {name}: {why}; {how}"));
    }
    error.into()
}

fn subscribe(name: &str, found: &Found, flags: &Listening) -> tieline_shm::Result<Subscriber<[u8]>> {
    let policy = match flags.slow {
        Slow::Block => Policy::Block,
        Slow::DropOldest => Policy::DropOldest,
        Slow::DropNewest => Policy::DropNewest,
        Slow::Latest => Policy::SkipToLatest,
        Slow::Disconnect => Policy::Disconnect,
    };
    let history = match flags.from {
        Start::Oldest => usize::MAX,
        Start::Newest => 0,
    };
    let topic = Topic::<[u8]>::open(name)?.carrying(found.carried());
    topic.subscriber_options().policy(policy).history(history).open()
}
