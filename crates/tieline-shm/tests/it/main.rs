//! What the crate promises, between real processes.

#[cfg(feature = "tokio")]
mod aio;
mod event;
mod latest;
mod layout;
mod waiting;
mod waitset;
