//! What a segment is and how it is doing, read from outside: without being a peer, and without changing anything.
//!
//! [`describe`] reads the first page of a segment, the numbers that its structure declares there, and makes of them what
//! people ask for: who takes part, how far each is behind, what is held, what was lost, who holds a lock. The bytes come
//! from a [`Source`]: the memory of another process that maps the segment, or a [`Segment`] of one's own.
//!
//! The invariant: any bytes give an answer or an error, in bounded time and memory. What is read is a claim of whoever may
//! write the segment, taken while others change it: figures need not be of one moment, and names and numbers of
//! processes are those that the processes gave.
//!
//! It must not know where bytes come from. The numbers are listed in `docs/formats/shm-facts.md`.

mod facts;
mod live;
mod meaning;
#[cfg(test)]
mod tests;

use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::segment::{Description, Segment};

use facts::Facts;
pub use facts::Values;
pub use live::{
    Arena, CallRing, Calls, Event, Latest, Live, Lock, LockUse, Log, Member, OwnLog, Policy, Queue, Roster, Stream,
    StreamRing, Subscriber,
};

/// Where the bytes of a segment are read from.
pub trait Source {
    /// Copies bytes from `offset` on, counted from the start of the segment, until `buffer` is full.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl<F: Fn(u64, &mut [u8]) -> io::Result<()>> Source for F {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self(offset, buffer)
    }
}

impl Source for [u8] {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for Segment {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.look(offset, buffer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// What [`describe`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// What the first page says.
    pub description: Description,
    /// Who shares the segment, where it has a table of members: only the numbers that are taken.
    pub members: Vec<Member>,
    /// What its kind has to say.
    pub live: Live,
    /// The locks in it: those of [`Live::Locks`], and that of an arena whose users share one.
    pub locks: Vec<Lock>,
    /// Every number that was declared and could be read, under the names of `docs/formats/shm-facts.md`.
    pub facts: Vec<Values>,
    /// Whether numbers were left out because they are too many, or could not be read.
    pub is_cut: bool,
}

/// For what a thread waits that sleeps on a word of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitsFor {
    /// A message, item, byte, event or change.
    Something,
    /// Room to write.
    Room,
    /// A lock, or that somebody lets go of one.
    Lock,
}

impl State {
    /// For what a thread waits that sleeps on the 32-bit word at this offset; `None` for a word that is none of those
    /// where threads of this library sleep.
    #[must_use]
    pub fn waits_for(&self, offset: u64) -> Option<WaitsFor> {
        /// A place to sleep at has so many bytes, the word among them.
        const SLEEPERS_BYTES: u64 = 64;
        /// A word of a lock and what belongs to it.
        const LOCK_BYTES: u64 = 40;
        self.facts.iter().find_map(|values| {
            let is_within = |bytes: u64| {
                let beyond = offset.checked_sub(values.offset)?;
                let last = (values.values.len() as u64).checked_sub(1)?;
                let index = beyond.checked_div(values.stride).unwrap_or(0).min(last);
                (beyond - index * values.stride < bytes).then_some(())
            };
            let (bytes, meaning) = match values.name.as_str() {
                "publisher asleep" | "producers asleep" | "writer asleep" | "requester asleep" | "responder asleep" => {
                    (SLEEPERS_BYTES, WaitsFor::Room)
                }
                name if name.ends_with(" asleep") => (SLEEPERS_BYTES, WaitsFor::Something),
                "version" => (4, WaitsFor::Something),
                name if meaning::is_lock(name) => (LOCK_BYTES, WaitsFor::Lock),
                _ => return None,
            };
            is_within(bytes).map(|()| meaning)
        })
    }
}

/// Reads a segment.
///
/// Takes one read for the first page and some more for each number that is declared there: microseconds usually; at most
/// some ten thousand reads and 12 MiB. It never reads where the segment says that no memory is.
///
/// ```
/// use tieline_shm::inspect::{self, Live};
/// use tieline_shm::SegmentOptions;
///
/// let segment = SegmentOptions::new("example").create(4096)?;
/// let state = inspect::describe(&segment)?;
/// assert_eq!(state.description.name, "example");
/// assert!(matches!(state.live, Live::Other), "plain memory tells no more");
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Errors
/// `Corrupted` if it is no segment; `Mismatch` for one of another version; `System` if its first page cannot be read.
pub fn describe<S: Source + ?Sized>(source: &S) -> Result<State> {
    let mut page = Box::new([0; Description::LEN_BYTES]);
    let refused = |error: io::Error| Error::new("look at a segment", ErrorKind::System).because(error.to_string());
    source.read(0, &mut *page).map_err(refused)?;
    let description = Description::parse(&page)?;
    let facts = Facts::read(source, &description);
    Ok(State {
        members: meaning::members(&facts),
        live: meaning::of(source, &description, &facts),
        locks: meaning::locks_of(&description, &facts),
        is_cut: facts.is_cut,
        facts: facts.values,
        description,
    })
}
