//! One picture of all inter-process communication on a machine, made by anyone: who talks to whom, through what, and
//! how full it is.
//!
//! A [`Scan`] looks once and gives a [`Snapshot`]: the processes, the objects (pipes, sockets, queues, segments,
//! semaphores, locks), who holds which end of what, what waits, the limits with their use, and the findings that
//! follow. Commands, pages and metrics all print this one value.
//!
//! Three layers, each knowing only the ones before it:
//! * `probe` asks the kernel and turns its bytes into plain facts. It knows files of `/proc`, netlink and system calls,
//!   and nothing of what people ask.
//! * [`model`] is the snapshot: plain values, joined. It asks nobody anything.
//! * [`view`] turns a snapshot into the answers to people's questions: rows, sentences, JSON.
//!
//! **The invariant: looking never changes what is looked at.** No end of another process's pipe is opened, no message is
//! taken, no lock tried, no file of the machine made. And what could not be seen is counted and said
//! ([`Snapshot::unseen`]): an answer without a caveat is complete.
//!
//! ```
//! let snapshot = tieline_observe::Scan::new().take()?;
//! for object in snapshot.objects() {
//!     println!("{} {}", object.kind, snapshot.holders(object.reference).count());
//! }
//! # Ok::<(), tieline_observe::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod clean;
mod error;
mod findings;
mod folder;
pub mod model;
mod probe;
mod scan;
pub mod view;

pub use error::{Error, Result};
pub use model::Snapshot;
pub use scan::{Engine, Scan};
