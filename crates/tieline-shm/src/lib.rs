//! Shared memory between processes: channels without copies, locks that survive a crash.

#![deny(unsafe_code)]
#![allow(dead_code, reason = "the crate is being put together")]

#[cfg(all(feature = "tokio", not(model)))]
mod aio;
mod channel;
mod error;
mod layout;
#[allow(unsafe_code, reason = "structures in shared memory")]
mod queue;
#[allow(unsafe_code, reason = "memory that other processes map is reached through pointers, argued there")]
mod raw;
mod rendezvous;
mod segment;
#[allow(unsafe_code, reason = "locks in shared memory")]
pub mod sync;
mod wait;

#[cfg(not(model))]
pub use channel::topic;
pub use error::{Error, ErrorKind, Result};
pub use layout::{Field, Invalid, Layout, Mismatch, Padding, Shape, ShmSafe, Variant};
pub use rendezvous::{Access, Allowed, Name};
pub use segment::{Description, FactPlace, Kind, Obtained, Opened, Pages, PersistentSegment, Segment, SegmentOptions};
#[cfg(feature = "derive")]
pub use tieline_macros::ShmSafe;
pub use tieline_os::mapping::HugePages;
pub use wait::Waiting;
#[cfg(not(model))]
pub use wait::{Ready, WaitSet, Waitable, Watch};
