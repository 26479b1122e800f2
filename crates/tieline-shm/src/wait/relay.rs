//! Doorbells for who has no line to the notifiers: one thread of this process sleeps on their behalf.
//!
//! Members of one segment that never met (the users of a queue, an event, a latest value) hold no copies of each
//! other's bells. The relay sleeps on the relay turns of all those counts at once, and rings the bell of each whose turn has
//! moved. One thread serves [`SERVED`] counts; it ends with the last of them.
//!
//! The invariant: a turn that moves after an entry was made is answered by a ring after the move. A turn that a liar
//! moves rings in vain.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::{PerProcess, View, futex};

/// How many counts one thread can sleep on, beside the word that tells it of new ones.
const SERVED: usize = futex::MAX_WORDS - 1;

/// A bell that is rung whenever a word changes, until this is dropped.
#[derive(Debug)]
pub(super) struct Relayed {
    relay: Arc<Relay>,
    id: u64,
    /// Those of the process whose relay it is.
    relays: &'static Relays,
}

#[derive(Debug)]
struct Relay {
    /// Moves when the entries change; private to this process.
    changes: AtomicU32,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    /// The thread has seen an empty list and does not look again.
    ended: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    word: View<AtomicU32>,
    bell: Bell,
    seen: u32,
}

type Relays = Mutex<Vec<Arc<Relay>>>;

/// Those of this process: a forked child has the entries of its parent's, but not the threads.
static RELAYS: PerProcess<Relays> = PerProcess::new(Mutex::new(Vec::new()));

impl Relayed {
    /// `word` must be woken on after each change, as the relay turn of an event count is.
    ///
    /// # Errors
    /// `Unsupported` before Linux 5.16; `System` if no thread can be started.
    pub(super) fn new(word: View<AtomicU32>, bell: &Bell) -> Result<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        // Relaxed: unique numbers, no more.
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        // Acquire: as a sleeper reads it before announcing.
        let seen = word.load(Ordering::Acquire);
        let entry = Entry { id, word, bell: bell.clone(), seen };

        let relays = RELAYS.get();
        let mut list = relays.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|relay| !relay.entries().ended);
        if let Some(relay) = list.iter().find(|relay| relay.take(&entry)) {
            return Ok(Self { relay: Arc::clone(relay), id, relays });
        }
        let relay = Relay::start(entry)?;
        list.push(Arc::clone(&relay));
        Ok(Self { relay, id, relays })
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if std::ptr::eq(self.relays, RELAYS.get()) {
            self.relay.entries().list.retain(|entry| entry.id != self.id);
            self.relay.changed();
        } else if let Ok(mut entries) = self.relay.entries.try_lock() {
            // A forked child, whose parent's threads may have had them; no thread sleeps on this copy.
            entries.list.retain(|entry| entry.id != self.id);
        }
    }
}

impl Relay {
    fn start(first: Entry) -> Result<Arc<Self>> {
        const START: &str = "start the thread that rings doorbells";
        if !tieline_os::futex::wait_any_is_supported() {
            return Err(Error::new(START, ErrorKind::Unsupported).because("it needs futex_waitv (Linux 5.16)"));
        }
        let relay = Arc::new(Self {
            changes: AtomicU32::new(0),
            entries: Mutex::new(Entries { list: vec![first], ended: false }),
        });
        let run = Arc::clone(&relay);
        let thread = std::thread::Builder::new().name("tieline-bells".to_owned());
        thread
            .spawn(move || run.run())
            .map_err(|error| Error::new(START, ErrorKind::System).because(error.to_string()))?;
        Ok(relay)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the entry if there is room.
    fn take(&self, entry: &Entry) -> bool {
        let mut entries = self.entries();
        if entries.ended || entries.list.len() >= SERVED {
            return false;
        }
        entries.list.push(entry.clone());
        drop(entries);
        self.changed();
        true
    }

    fn changed(&self) {
        // Release: partner is the acquire in `run`, which then locks and sees the entries.
        self.changes.fetch_add(1, Ordering::Release);
        futex::wake(&self.changes, 1);
    }

    fn run(&self) {
        let mut changes = self.changes.load(Ordering::Acquire);
        let Some(mut entries) = self.current(Vec::new()) else { return };
        loop {
            let mut words = Vec::with_capacity(entries.len() + 1);
            words.push((&self.changes, changes));
            words.extend(entries.iter().map(|entry| (&*entry.word, entry.seen)));
            // However it ends, all words are looked at.
            let _ = futex::wait_any(&words, None);
            for entry in &mut entries {
                // Acquire: partner is the release in `EventCount::ring`.
                let turn = entry.word.load(Ordering::Acquire);
                if turn != entry.seen {
                    entry.seen = turn;
                    entry.bell.ring();
                }
            }
            let now = self.changes.load(Ordering::Acquire);
            if now != changes {
                changes = now;
                match self.current(entries) {
                    Some(list) => entries = list,
                    None => return,
                }
            }
        }
    }

    /// The entries as they are now, with the turns that were seen before; `None` if none is left.
    fn current(&self, before: Vec<Entry>) -> Option<Vec<Entry>> {
        let mut entries = self.entries();
        if entries.list.is_empty() {
            entries.ended = true;
            return None;
        }
        let list = entries.list.iter().map(|entry| {
            let known = before.iter().find(|known| known.id == entry.id);
            known.unwrap_or(entry).clone()
        });
        Some(list.collect())
    }
}

#[cfg(test)]
mod tests {
    use tieline_testkit::{Forked, Peer, role, test_name};

    use super::*;
    use crate::wait::EventCount;

    /// The parent forks while one of its threads starts a relay, and the relay looks at its entries.
    #[test]
    fn a_forked_child_has_relays_of_its_own_whatever_its_parents_threads_did() {
        if role().is_none() {
            return Peer::of(test_name!()).role("parent").spawn().succeeds();
        }
        let count = View::leak(Box::new(EventCount::new()));
        let relayed = |bell: &Bell| Relayed::new(count.part(EventCount::relay_turn), bell).unwrap();
        let bell = Bell::new().unwrap();
        let mut inherited = Some(relayed(&bell));
        let relay = Arc::clone(&inherited.as_ref().unwrap().relay);
        let (relays, entries) = (RELAYS.get().lock().unwrap(), relay.entries());
        let child = Forked::run(|| {
            drop(inherited.take());
            let own = Bell::new().unwrap();
            let _own = relayed(&own);
            count.announce_relay();
            count.notify();
            tieline_testkit::until("the child's relay rings", || own.counter().try_read().ok());
        });
        drop((relays, entries));
        child.succeeds();
    }
}
