//! What is made or done once among all processes.
//!
//! The invariant: nobody sees a value that is not whole, and nobody makes one where one is. `core` is the protocol,
//! `public` what users hold.

pub(crate) mod core;
#[cfg(all(test, model))]
mod model;
#[cfg(not(model))]
mod public;

#[cfg(not(model))]
pub use public::{Once, OnceCell};
