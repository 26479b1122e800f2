//! Publishing: to a topic, as the writer of a latest value, or as who tells of events; so that a signal or the time
//! ends it.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tieline_shm::event::Event;
use tieline_shm::latest::{Latest, LatestWriter};
use tieline_shm::topic::{Publisher, Topic};
use tieline_shm::untyped::{Carried, Contents};
use tieline_shm::{ErrorKind, Kind};

use super::{Reason, Until};
use crate::exit::{Code, Failure, Outcome};
use crate::flags::{Presence, TopicOffer};

/// A publisher.
pub(crate) struct Voice(Sink);

enum Sink {
    Topic(Box<Publisher<[u8]>>),
    Latest(LatestWriter<[u8]>),
    Event(Event),
}

/// What a publisher must know before it is made.
pub(crate) struct VoiceOptions<'a> {
    pub(crate) offer: &'a TopicOffer,
    /// For messages of any length.
    pub(crate) max_message: usize,
}

/// How many messages are kept for subscribers that fall behind.
const DEPTH: usize = 256;

/// Of subscribers that come nobody tells: they are counted, the less often the longer it takes.
const COUNT_AGAIN: Duration = Duration::from_millis(5);
const COUNT_SELDOM: Duration = Duration::from_millis(250);

/// How long a slow subscriber is waited for before the wait is one that a signal ends.
const BRIEFLY: Duration = Duration::from_millis(2);
/// The same where there are no such waits, before Linux 5.16: how long nobody looks whether a signal came.
const SLICE: Duration = Duration::from_millis(100);

/// An event as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    id: u32,
    #[serde(default = "once")]
    times: u64,
}

fn once() -> u64 {
    1
}

impl Voice {
    /// Publishes to the topic, which is created if nobody offers it.
    pub(crate) fn open(name: &str, carried: Carried, contents: &Contents, options: &VoiceOptions<'_>) -> Outcome<Self> {
        let access = options.offer.mode.clone().unwrap_or_default();
        let topic = Topic::<[u8]>::open_or_create(name)?.carrying(carried).access(access);
        let history = options.offer.history as usize;
        let publish = topic.publisher_options().depth(DEPTH.max(history * 2)).history(history);
        let publisher = publish.payload_max_bytes(contents.len_bytes().unwrap_or(options.max_message)).open()?;
        Ok(Self(Sink::Topic(Box::new(publisher))))
    }

    /// Becomes the writer of a latest value that somebody offers, or tells of its events.
    pub(crate) fn open_other(name: &str, kind: Kind, carried: &Carried) -> Outcome<Self> {
        Ok(Self(match kind {
            Kind::Event => Sink::Event(Event::open(name)?),
            _ => match Latest::carrying(name, carried)?.writer() {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let sentence = format_args!("cannot write {name}: it has a writer, and can have but one");
                    return Err(Failure::new(Code::AlreadyExists, sentence));
                }
                writer => Sink::Latest(writer?),
            },
        }))
    }

    /// Waits for subscribers, if so asked.
    pub(crate) fn await_subscribers(&self, presence: &Presence, until: &Until<'_>) -> Option<Reason> {
        let mut pause = COUNT_AGAIN;
        while self.subscribers() < presence.subscribers {
            if let Some(reason) = until.pause(Some(Instant::now() + pause)) {
                return Some(reason);
            }
            pause = (pause * 5 / 4).min(COUNT_SELDOM);
        }
        None
    }

    /// Stays for those who come late.
    pub(crate) fn linger(&self, presence: &Presence, until: &Until<'_>) -> Option<Reason> {
        if presence.linger.is_zero() {
            return None;
        }
        until.pause(Instant::now().checked_add(presence.linger))
    }

    /// Publishes; waits for subscribers that must be waited for.
    pub(crate) fn say(&mut self, message: &[u8], until: &Until<'_>) -> Outcome<Option<Reason>> {
        match &mut self.0 {
            Sink::Topic(publisher) => publish(publisher, message, until),
            Sink::Latest(writer) => Ok(writer.write_bytes(message).map(|()| None)?),
            Sink::Event(event) => notify(event, message).map(|()| None),
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        match &self.0 {
            Sink::Topic(publisher) => publisher.subscribers(),
            Sink::Latest(_) | Sink::Event(_) => 0,
        }
    }
}

fn publish(publisher: &Publisher<[u8]>, message: &[u8], until: &Until<'_>) -> Outcome<Option<Reason>> {
    let is_full = |error: &tieline_shm::Error| error.is_would_block() || error.kind() == ErrorKind::Full;
    match publisher.try_publish(message) {
        Err(error) if is_full(&error) => {}
        answer => return Ok(answer.map(|()| None)?),
    }
    let mut slice = BRIEFLY;
    loop {
        if let Some(reason) = until.is_over() {
            return Ok(Some(reason));
        }
        // Most often there is room soon, and who waits in the log itself is told first.
        match publisher.publish_timeout(message, until.left().map_or(slice, |left| left.min(slice))) {
            Err(error) if error.is_timeout() => {}
            answer => return Ok(answer.map(|()| None)?),
        }
        match publisher.publish_unless(message, until.stop(), until.left()) {
            Ok(true) => return Ok(None),
            // The kernel is too old for it.
            Err(error) if error.kind() == ErrorKind::Unsupported => slice = SLICE,
            Err(error) if !error.is_timeout() => return Err(error.into()),
            _ => {}
        }
    }
}

/// `ID`, `ID TIMES` or `{"id": ID, "times": TIMES}`.
fn notify(event: &Event, message: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(message);
    let refused = |why: String| Failure::new(Code::Failed, format_args!("{:?} is no event: {why}", text.trim()));
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().map_err(|_| refused(format!("{word:?} is no number")));
    let told = match words[..] {
        [] => return Ok(()),
        [first, ..] if first.starts_with('{') => {
            serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?
        }
        [id] => Told { id: narrow(number(id)?), times: 1 },
        [id, times] => Told { id: narrow(number(id)?), times: number(times)? },
        _ => return Err(refused("write the event's number, and how often behind it".to_owned())),
    };
    let ids = event.ids();
    if told.id >= ids {
        return Err(refused(format!("there are {ids}, from 0 on")));
    }
    Ok(event.notify_times(told.id, told.times)?)
}

/// No object has so many events.
fn narrow(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}
