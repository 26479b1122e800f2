//! Channels for tasks, under tokio.

mod parker;

pub mod event;
pub mod latest;
pub mod queue;
pub mod reqres;
pub mod stream;
pub mod topic;

pub(crate) use parker::{Nap, Parker};
