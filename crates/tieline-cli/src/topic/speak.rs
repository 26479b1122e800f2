//! Publishing, so that a signal or the time ends it.

use std::time::{Duration, Instant};

use tieline_shm::topic::{Publisher, Topic};
use tieline_shm::untyped::{Carried, Contents};

use super::{Reason, Until};
use crate::exit::Outcome;
use crate::flags::Presence;

/// A publisher.
pub(crate) struct Voice {
    publisher: Publisher<[u8]>,
}

/// What a publisher must know before it is made.
pub(crate) struct VoiceOptions {
    pub(crate) history: usize,
    /// For messages of any length.
    pub(crate) max_message: usize,
}

/// How many messages are kept for subscribers that fall behind.
const DEPTH: usize = 256;

/// How often subscribers are counted while they are waited for.
const COUNT_AGAIN: Duration = Duration::from_millis(10);

impl Voice {
    /// Publishes to the topic, which is created if nobody offers it.
    pub(crate) fn open(name: &str, carried: Carried, contents: &Contents, options: &VoiceOptions) -> Outcome<Self> {
        let topic = Topic::<[u8]>::open_or_create(name)?.carrying(carried);
        let publish = topic.publisher_options().depth(DEPTH.max(options.history * 2)).history(options.history);
        let publisher = publish.payload_max_bytes(contents.len_bytes().unwrap_or(options.max_message)).open()?;
        Ok(Self { publisher })
    }

    /// Waits for subscribers, if so asked.
    pub(crate) fn await_subscribers(&self, presence: &Presence, until: &Until<'_>) -> Option<Reason> {
        while self.subscribers() < presence.subscribers {
            if let Some(reason) = until.pause(Some(Instant::now() + COUNT_AGAIN)) {
                return Some(reason);
            }
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
    pub(crate) fn say(&self, message: &[u8], until: &Until<'_>) -> Outcome<Option<Reason>> {
        match self.publisher.try_publish(message) {
            Err(error) if error.is_would_block() => {}
            answer => return Ok(answer.map(|()| None)?),
        }
        loop {
            if let Some(reason) = until.is_over() {
                return Ok(Some(reason));
            }
            match self.publisher.publish_timeout(message, until.slice()) {
                Err(error) if error.is_timeout() || error.is_would_block() => {}
                answer => return Ok(answer.map(|()| None)?),
            }
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.publisher.subscribers()
    }
}
