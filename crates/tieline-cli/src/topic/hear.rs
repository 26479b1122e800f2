//! Subscribing, so that a signal or the time ends it.

use std::time::Duration;

use tieline_shm::ErrorKind;
use tieline_shm::topic::{Counters, Origin, Policy, Sample, Subscriber, Topic};
use tieline_shm::untyped::Carried;

use super::{Reason, Until};
use crate::exit::Outcome;
use crate::flags::{Listening, Slow, Start};

/// A subscriber.
pub(crate) struct Ear {
    subscriber: Subscriber<[u8]>,
    follow: bool,
}

/// What it hears.
pub(crate) enum Heard {
    Message(Box<Sample<[u8]>>, Origin),
    /// Nothing now; whoever has something else to do does it, and asks again.
    Nothing,
    /// The last publisher has gone.
    Gone,
    /// It was too slow for its policy.
    Lagged,
    Over(Reason),
}

impl Ear {
    pub(crate) fn open(name: &str, carried: Carried, flags: &Listening) -> Outcome<Self> {
        let policy = match flags.slow {
            Slow::Block => Policy::Block,
            Slow::DropOldest => Policy::DropOldest,
            Slow::Latest => Policy::SkipToLatest,
            Slow::Disconnect => Policy::Disconnect,
        };
        let history = match flags.from {
            Start::Oldest => usize::MAX,
            Start::Newest => 0,
        };
        let topic = Topic::<[u8]>::open(name)?.carrying(carried);
        let subscriber = topic.subscriber_options().policy(policy).history(history).open()?;
        Ok(Self { subscriber, follow: flags.follow })
    }

    /// The next message, if it is there.
    pub(crate) fn next_now(&mut self, until: &Until<'_>) -> Outcome<Heard> {
        match until.is_over() {
            // Whoever does not wait takes what is there.
            Some(Reason::TimedOut) if until.never_waits => {}
            Some(reason) => return Ok(Heard::Over(reason)),
            None => {}
        }
        self.receive(Duration::ZERO)
    }

    /// The next message; waits for it for a while.
    pub(crate) fn next(&mut self, until: &Until<'_>) -> Outcome<Heard> {
        match until.is_over() {
            Some(reason) => Ok(Heard::Over(reason)),
            None => self.receive(until.slice()),
        }
    }

    fn receive(&mut self, timeout: Duration) -> Outcome<Heard> {
        let answer = match timeout {
            Duration::ZERO => self.subscriber.try_recv(),
            timeout => self.subscriber.recv_timeout(timeout),
        };
        match answer {
            Ok(sample) => {
                let origin = self.subscriber.origin().unwrap_or_default();
                Ok(Heard::Message(Box::new(sample), origin))
            }
            Err(error) if error.is_would_block() || error.is_timeout() => Ok(Heard::Nothing),
            Err(error) if error.kind() == ErrorKind::PeerGone && self.follow => Ok(Heard::Nothing),
            Err(error) if error.kind() == ErrorKind::PeerGone => Ok(Heard::Gone),
            Err(error) if error.kind() == ErrorKind::Lagged => Ok(Heard::Lagged),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.subscriber.counters()
    }
}
