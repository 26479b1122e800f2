//! Meeting points: nobody goes on before everyone has come.
//!
//! The invariant: nobody waits for the dead. `words` is the protocol, `meet` what users hold.

#[cfg(not(model))]
mod meet;
#[cfg(all(test, model))]
mod model;
mod words;

#[cfg(not(model))]
pub use meet::{Barrier, MAX_PARTICIPANTS, Participant};
