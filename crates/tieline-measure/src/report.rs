//! What a run found: plain data, serialised as the JSON of `docs/formats/json.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::Placement;

/// The name and version of the JSON form of a [`Report`].
pub const SCHEMA: &str = "tieline.bench.os/1";

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// What single steps cost that every mechanism is made of.
    pub facts: Vec<Fact>,
    /// One row for each mechanism and placement, in the order of the list.
    pub rows: Vec<Row>,
    /// The token ring: what one hop costs as the number of processes grows.
    pub ring: Vec<ScalingPoint>,
    /// What is often said of IPC, with this machine's figures.
    pub claims: Vec<Claim>,
}

/// The machine a report is about.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The operating system's name and release.
    pub system: String,
    /// The architecture, as the kernel names it.
    pub architecture: String,
    /// The processor's own name, if the system tells it.
    pub processor: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// Each figure's time of measurement, in milliseconds.
    pub window_ms: u64,
    /// How many measurements each figure is the median of.
    pub repeats: usize,
    /// The system's load average of the minute before the run, if it tells: how many processes wanted to run.
    pub load_average: Option<f64>,
    /// How many processors the load is shared by.
    pub processors: usize,
    /// How many figures were measured.
    pub figures: usize,
    /// How many of them came out more than half as large again in one repeat as in another.
    pub unsteady_figures: usize,
}

impl Machine {
    /// Why the figures say less of the machine than of what else it did meanwhile, if they do: a sentence.
    #[must_use]
    pub fn disturbance(&self) -> Option<String> {
        // A measurement wants two processors for itself.
        let spare = (self.processors as f64 - 1.5).max(0.5);
        let load = self.load_average.filter(|load| *load > spare).map(|load| {
            let plural = if self.processors == 1 { "" } else { "s" };
            format!("the load was {load:.1} on {} processor{plural} before the run", self.processors)
        });
        let unsteady = (self.unsteady_figures * 4 > self.figures).then(|| {
            format!("{} of {} figures differ by half or more between repeats", self.unsteady_figures, self.figures)
        });
        let reasons: Vec<String> = [load, unsteady].into_iter().flatten().collect();
        (!reasons.is_empty())
            .then(|| format!("{}; a quiet machine is faster than these figures", reasons.join(" and ")))
    }
}

/// The cost of one step.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Fact {
    /// What is done.
    pub name: &'static str,
    /// What it costs at best, in nanoseconds; or a rate in bytes per second, as `unit` says.
    pub value: f64,
    /// `ns` or `bytes_per_second`.
    pub unit: &'static str,
}

/// One mechanism in one placement.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The mechanism's name.
    pub mechanism: &'static str,
    /// The kind of mechanism, for grouping.
    pub family: &'static str,
    /// Where its ends ran.
    pub placement: Placement,
    /// Round trips, one entry for each payload size that the mechanism can carry.
    pub round_trips: Vec<RoundTrips>,
    /// One-way throughput, likewise.
    pub throughput: Vec<Throughput>,
    /// Why figures are missing, if they are.
    pub missing: Vec<String>,
}

/// Times of round trips: a message there and an equal one back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoundTrips {
    /// The payload of each message.
    pub payload_bytes: usize,
    /// How many were timed.
    pub count: u64,
    /// The median, in nanoseconds.
    pub p50_ns: u64,
    /// The 99th percentile, in nanoseconds.
    pub p99_ns: u64,
    /// The fastest, in nanoseconds.
    pub min_ns: u64,
    /// How often the timing process was switched off its processor, for each round trip.
    pub switches: f64,
}

/// A flood of messages one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Throughput {
    /// The payload of each message.
    pub payload_bytes: usize,
    /// Messages received, each second.
    pub messages_per_second: f64,
    /// Payload received, in bytes each second.
    pub bytes_per_second: f64,
    /// The part that never arrived, from 0 to 1; more than 0 only for mechanisms that may lose messages.
    pub lost: f64,
}

/// One point of the token ring.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ScalingPoint {
    /// The mechanism that joins neighbours.
    pub mechanism: &'static str,
    /// How many processes stand in the ring.
    pub processes: usize,
    /// What one hop from process to process costs, in nanoseconds (median).
    pub hop_ns: f64,
}

/// A common statement about IPC and what this run says of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Claim {
    /// The statement.
    pub claim: &'static str,
    /// The figures, as a sentence.
    pub here: String,
    /// What follows from them.
    pub verdict: Verdict,
}

/// What the figures of a run say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is so on this machine.
    TrueHere,
    /// It is not so on this machine.
    FalseHere,
    /// It is so in one respect and not in another, or the difference is too small to tell.
    Depends,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrueHere => "true here",
            Self::FalseHere => "false here",
            Self::Depends => "depends",
        })
    }
}

/// The median of the values, which must not be empty.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_measurement_says_so() {
        let quiet = Machine {
            system: String::new(),
            architecture: String::new(),
            processor: String::new(),
            cpus: 2,
            window_ms: 60,
            repeats: 3,
            load_average: Some(0.3),
            processors: 2,
            figures: 100,
            unsteady_figures: 10,
        };
        assert_eq!(quiet.disturbance(), None);
        let loaded = Machine { load_average: Some(5.27), ..quiet.clone() };
        assert!(loaded.disturbance().unwrap().starts_with("the load was 5.3 on 2 processors before the run; "));
        let unsteady = Machine { unsteady_figures: 30, load_average: None, ..quiet.clone() };
        assert!(unsteady.disturbance().unwrap().starts_with("30 of 100 figures differ"));
        assert_eq!(Machine { processors: 64, load_average: Some(5.0), ..quiet }.disturbance(), None);
    }
}
