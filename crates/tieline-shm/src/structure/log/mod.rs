//! A publisher's log: a ring of numbered slots that one writes and any number read.
//!
//! ```text
//!   log segment (written by the publisher alone)         roster segment (one per user of subscribers)
//!   ┌──────────┬──────────┬──────────┬──────── ─ ─        ┌───────────────┬─────────┬─────────┬─── ─ ─
//!   │ header   │ slot     │ slot     │                    │ header        │ entry 0 │ entry 1 │
//!   │ head     │ stamp    │ stamp    │                    │ sleepers      │ cursor  │ cursor  │
//!   │ oldest   │ words    │ words    │   then the pool    │ room          │ hazards │ hazards │
//!   └──────────┴─ guard ──┴─ guard ──┴──────── ─ ─        └───────────────┴─────────┴─────────┴─── ─ ─
//! ```
//!
//! Publishing writes one slot, whatever the number of readers: guard, words, stamp ([`slot`]). A reader polls the
//! stamp of the slot it waits for, and so gets the announcement and the payload in one transfer of a cache line. The
//! invariant: a reader that found the stamp it expects before, and the guard it expects after copying, has copied
//! exactly the message of that number.
//!
//! Whether a slot may be overwritten is the publisher's decision: [`Writer`] keeps one number, the limit, and looks at
//! the readers' cursors ([`roster`]) only when it gets there. Readers that would rather lose messages than be waited
//! for have no part in the limit; they find out by the guard. A subscriber that would keep the oldest messages and lose
//! the newest reads a second, private log ([`side`]).
//!
//! Sources: the slot is a sequence lock per slot (Boehm, "Can seqlocks get along with programming language memory
//! models?", 2012; ringfire `spmc.rs` has stamp and payload side by side), the cached limit is LMAX Disruptor's cached
//! gating sequence, hazards are Michael's hazard pointers (2004) with the store-load pair only where the publisher
//! does not wait.
//!
//! The bytes are described in `docs/formats/shm-topic.md`.

mod gates;
mod layout;
mod reader;
pub(crate) mod roster;
mod side;
mod slot;
mod writer;

#[cfg(all(test, model))]
mod models;
mod planted;
#[cfg(all(test, model))]
mod side_models;
#[cfg(all(test, not(model)))]
mod side_tests;
#[cfg(all(test, not(model)))]
pub(in crate::structure) mod tests;

use planted::{Bug, planted};

pub(crate) use gates::{Gates, Joiner};
pub(crate) use layout::{BUCKET_MAX_BYTES, PAGE_BYTES, SLOTS_MAX, SLOTS_OFFSET};
pub(crate) use layout::{Geometry, INLINE_MAX_BYTES, LogHeader};
pub(crate) use reader::{Overflow, Reader, release};
#[cfg(not(model))]
pub(crate) use roster::ADMITTED;
pub(crate) use roster::{ENTRIES_OFFSET, Entry, HELD_MAX, Roster, RosterGeometry, RosterHeader};
pub(crate) use side::SideLog;
pub(crate) use slot::{FIRST, Length, Slots, Tag, prefetch, prefetch_to_write};
pub(crate) use writer::{Room, Survey, Writer};
