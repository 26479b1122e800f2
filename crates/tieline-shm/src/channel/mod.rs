//! What users hold: channels by name, made of a meeting place, segments, a structure and a way to wait.

pub(crate) mod doorbell;
pub mod event;
pub mod latest;
pub(crate) mod payload;
pub mod queue;
pub mod reqres;
pub mod stream;
mod succession;
#[cfg(not(model))]
pub mod topic;
pub mod untyped;
