//! What each inter-process communication mechanism of this machine costs.
//!
//! A measurement runs between **real processes**: the caller (the *conductor*) makes the kernel objects, starts fresh
//! copies of its own executable (the *players*), hands them descriptors and names, pins them to processors and asks
//! for figures. The conductor itself never waits on the mechanism under test, only on a control socket with a
//! deadline, so a mechanism that hangs costs one row of the report, not the run.
//!
//! Every message carries a sequence number that the receiver checks, every payload is copied out of the sender's
//! memory and into the receiver's, and what a mechanism cannot do (a megabyte in a datagram, a payload in a signal)
//! is left out rather than emulated.
//!
//! ```no_run
//! use tieline_measure::{Plan, PlayerCommand};
//!
//! // `my-bench player` must call tieline_measure::play().
//! let plan = Plan::quick(PlayerCommand::this_executable(["player"]).unwrap());
//! let report = tieline_measure::run(&plan, &mut |progress| eprintln!("{progress}")).unwrap();
//! println!("{}", serde_json::to_string_pretty(&report).unwrap());
//! ```

#![deny(unsafe_code)]

mod chart;
mod claims;
mod conductor;
mod control;
mod facts;
mod link;
mod mechanism;
mod plan;
mod player;
mod report;
pub mod shm;

pub use chart::chart;
pub use conductor::{Progress, run};
pub use control::PlayerCommand;
pub use mechanism::{Description, mechanisms};
pub use plan::{Placement, Plan};
pub use player::{play, play_with};
pub use report::{Claim, Fact, Machine, Report, RoundTrips, Row, SCHEMA, ScalingPoint, Throughput, Verdict};
