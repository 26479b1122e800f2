//! What the crate promises, between real processes.

#[cfg(feature = "tokio")]
mod aio;
mod alone;
mod arena;
mod bad_input;
mod clocks;
mod containers;
mod event;
mod hostile;
mod latest;
mod layout;
mod older_kernels;
mod queue;
mod reqres;
mod segment;
mod stream;
mod survive;
mod sync;
mod topic;
mod waiting;
mod waitset;
