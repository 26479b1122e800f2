//! Shared memory between processes: channels without copies, locks that survive a crash.

#![deny(unsafe_code)]
#![allow(dead_code, reason = "the crate is being put together")]

#[cfg(all(feature = "tokio", not(model)))]
pub mod aio;
mod arena;
#[cfg(not(model))]
mod channel;
mod error;
mod layout;
#[allow(unsafe_code, reason = "memory that other processes map is reached through pointers, argued there")]
mod raw;
#[cfg(not(model))]
mod rendezvous;
mod segment;
#[allow(unsafe_code, reason = "structures in shared memory")]
mod structure;
#[allow(unsafe_code, reason = "locks in shared memory")]
pub mod sync;
#[cfg(all(feature = "steps", not(model)))]
#[doc(hidden)]
pub mod testing;
mod wait;

pub use arena::{
    Arena, ArenaOptions, ArenaUsage, Change, Container, Handle, Recovered, ShmBox, ShmMap, ShmMapIter, ShmString,
    ShmVec,
};
#[cfg(not(model))]
pub use arena::{ArenaReadGuard, ArenaWriteGuard, SharedArena, SharedArenaOptions};
#[cfg(not(model))]
pub use channel::{event, latest, queue, reqres, stream, topic};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "json")]
pub use layout::JsonError;
pub use layout::{
    Field, Invalid, Layout, Mismatch, Padding, Primitive, Schema, SchemaError, SchemaField, SchemaShape, Shape,
    ShmSafe, Variant,
};
#[cfg(not(model))]
pub use rendezvous::{Access, Allowed, IntoName, Name};
pub use segment::{Description, FactPlace, Kind, Obtained, Opened, Pages, PersistentSegment, Segment, SegmentOptions};
#[cfg(feature = "derive")]
pub use tieline_macros::ShmSafe;
/// The derive for those who know this crate as `tieline::shm`.
#[cfg(feature = "derive")]
#[doc(hidden)]
pub use tieline_macros::ShmSafeOfFacade;
pub use tieline_os::mapping::HugePages;
pub use wait::Waiting;
#[cfg(not(model))]
pub use wait::{Ready, WaitSet, Waitable, Watch};
