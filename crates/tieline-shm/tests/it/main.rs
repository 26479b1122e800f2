//! What the crate promises, between real processes.

mod arena;
mod layout;
mod segment;
#[cfg(feature = "tokio")]
mod aio;
mod event;
mod latest;
mod layout;
mod waiting;
mod waitset;
mod queue;
mod stream;
mod sync;
