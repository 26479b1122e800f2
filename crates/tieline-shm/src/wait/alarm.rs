//! Having something ring when a count is notified: a bell, and the ways in which notifiers reach it.
//!
//! The invariant: an alarm that was armed before the last look rings for every notification after it. What rings in vain
//! costs a look, no more.

use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::time::Instant;

use super::bell::{Bell, Hung};
use super::event_count::EventCount;
use super::relay::Relayed;
use crate::error::Result;
use crate::raw::View;
use crate::raw::atomic::AtomicU32;

/// One count whose notifications shall ring a bell.
#[derive(Debug)]
pub(crate) struct Alarm {
    place: Place,
    way: Way,
}

#[derive(Debug)]
enum Place {
    Count(View<EventCount>),
    /// A word that is woken on after each change, whether or not anybody sleeps.
    Word,
}

#[derive(Debug)]
enum Way {
    /// Notifiers have copies of the bell, under this number.
    Lines { number: u32, _here: Hung },
    /// This process's relay rings it.
    Relay { _entry: Relayed },
}

impl Alarm {
    /// Rung by the notifiers themselves, each of which has hung a copy of `bell` under `number`, or will have before its
    /// first notification.
    pub(crate) fn by_lines(bell: &Bell, count: &View<EventCount>, number: u32) -> Self {
        let here = Hung::new(bell, count, number);
        Self { place: Place::Count(count.clone()), way: Way::Lines { number, _here: here } }
    }

    /// Rung by this process's relay, for counts whose notifiers have no copy.
    ///
    /// # Errors
    /// `Unsupported` before Linux 5.16; `System` if no thread can be started.
    pub(crate) fn by_relay(bell: &Bell, count: &View<EventCount>) -> Result<Self> {
        let entry = Relayed::new(count.part(EventCount::relay_turn), bell)?;
        Ok(Self { place: Place::Count(count.clone()), way: Way::Relay { _entry: entry } })
    }

    /// Rung by this process's relay for each change of a word, which is woken on after each.
    ///
    /// # Errors
    /// As [`by_relay`](Self::by_relay).
    pub(crate) fn by_word(bell: &Bell, word: View<AtomicU32>) -> Result<Self> {
        Ok(Self { place: Place::Word, way: Way::Relay { _entry: Relayed::new(word, bell)? } })
    }

    fn arm(&self) {
        match (&self.place, &self.way) {
            (Place::Count(count), Way::Lines { number, .. }) => count.announce_bell(*number),
            (Place::Count(count), Way::Relay { .. }) => count.announce_relay(),
            (Place::Word, _) => {}
        }
    }
}

/// All that may wake one handle: its bell, and the counts that ring it.
#[derive(Debug)]
pub(crate) struct Alarms {
    bell: Bell,
    list: Mutex<Vec<(u64, Alarm)>>,
}

impl Alarms {
    /// With a new bell and no counts yet.
    ///
    /// # Errors
    /// `LimitReached` if there is no descriptor left.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { bell: Bell::new()?, list: Mutex::default() })
    }

    /// The bell, to make alarms with and to send to peers.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Adds a count under a key of the channel's own; rings, for whoever sleeps without having announced there.
    pub(crate) fn add(&self, key: u64, alarm: Alarm) {
        self.list().push((key, alarm));
        self.bell.ring();
    }

    /// Whether anything was added under `key`.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.list().iter().any(|(of, _)| *of == key)
    }

    /// Removes what was added under `key`; rings, for whoever ought to notice.
    pub(crate) fn remove(&self, key: u64) {
        self.list().retain(|(of, _)| *of != key);
        self.bell.ring();
    }

    /// Announces at all counts; look again afterwards, then wait for the bell.
    pub(crate) fn arm(&self) {
        for (_, alarm) in self.list().iter() {
            alarm.arm();
        }
    }

    /// Looks for a while where that may help; if in vain, says until when it looked, if it did. Where several counts are
    /// waited for, one notifier that runs here is reason enough not to.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_a_while<R>(&self, ready: &mut impl FnMut() -> Option<R>) -> Result<R, Option<Instant>> {
        let is_here = self.list().iter().any(|(_, alarm)| match &alarm.place {
            Place::Count(count) => count.notifier_is_here(),
            Place::Word => false,
        });
        let count = self.last_count().filter(|_| !is_here).ok_or(None)?;
        count.look_a_while(ready)
    }

    /// A waiter had to sleep after it had looked until then.
    #[cfg(feature = "tokio")]
    pub(crate) fn slept(&self, looked_until: Instant) {
        if let Some(count) = self.last_count() {
            count.slept(looked_until);
        }
    }

    /// Which stands for all of them where a guess will do.
    #[cfg(feature = "tokio")]
    fn last_count(&self) -> Option<View<EventCount>> {
        self.list().iter().rev().find_map(|(_, alarm)| match &alarm.place {
            Place::Count(count) => Some(count.clone()),
            Place::Word => None,
        })
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u64, Alarm)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a channel shows of itself to be waited for.
pub(crate) trait Source: Send + Sync {
    /// Whether the next call would not wait: something is there, or an error such as the peer's death.
    fn is_ready(&self) -> bool;

    /// What rings when that may have changed; made, and told to the peers, at the first call.
    ///
    /// # Errors
    /// As [`Alarms::new`] and [`Alarm::by_relay`].
    fn alarms(&self) -> Result<&Alarms>;
}
