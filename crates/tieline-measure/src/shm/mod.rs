//! What shared memory costs: our channels and locks against the least that the machine needs for the same.
//!
//! A [`Contestant`] plays both parts of a [`Subject`] in two fresh processes; the conductor goes round all of them
//! several times and compares what was measured in the same round. The floors and ours are here; the `bench/`
//! workspace adds what others made, and runs the same conductor.

mod conductor;
mod contestant;
mod floor;
mod footprint;
mod goal;
mod memory;
mod ours;
mod report;
mod stage;
mod subject;

pub use conductor::{Plan, run};
pub use contestant::{Contestant, Rank};
pub use floor::play_lock;
pub use footprint::{Footprint, idle};
pub use goal::{Goal, absolute};
pub use report::{Entry, Ratio, Report, Row, SCHEMA};
pub use stage::{Exchange, Figure, LAST, Message, Part, Stage, events, flood, number_of, rate, round_trips, steps};
pub use subject::{IDLE_WINDOW, Subject, Touch, Unit, Wait};

/// The floors and ours.
#[must_use]
pub fn contestants() -> Vec<&'static dyn Contestant> {
    floor::all().into_iter().chain(ours::all()).collect()
}
