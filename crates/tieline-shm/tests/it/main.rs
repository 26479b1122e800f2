//! What the crate promises, between real processes.

#[cfg(feature = "tokio")]
mod aio;
mod arena;
mod event;
mod hostile;
mod latest;
mod layout;
mod queue;
mod segment;
mod reqres;
mod stream;
mod survive;
mod sync;
mod waiting;
mod waitset;
mod topic;
