//! Counts: permits that somebody holds, and tokens that nobody holds.
//!
//! The invariant: what a dead process held comes back, and what it had not taken is not lost. `words` and `tokens` are
//! the protocols, `permit` and `token` what users hold.

#[cfg(all(test, model))]
mod model;
#[cfg(not(model))]
mod permit;
#[cfg(not(model))]
mod token;
mod tokens;
mod words;

#[cfg(not(model))]
pub use permit::{MAX_PERMITS, Permit, Semaphore};
#[cfg(not(model))]
pub use token::Tokens;
