//! What a run found: plain data, serialised as the JSON of `docs/formats/json.md`.

use serde::Serialize;

use super::contestant::Rank;
use super::goal::Goal;
use super::subject::{Subject, Unit};
use crate::plan::Placement;
use crate::report::{Machine, median};

/// The name and version of the JSON form of a [`Report`].
pub const SCHEMA: &str = "tieline.bench.shm/1";

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// One row for each subject and placement.
    pub rows: Vec<Row>,
}

/// One subject in one placement.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// What was measured.
    pub subject: Subject,
    /// The same in words.
    pub title: String,
    /// Where the two processes ran.
    pub placement: Placement,
    /// Of all figures of the row.
    pub unit: Unit,
    /// Who was measured.
    pub entries: Vec<Entry>,
    /// Ours against others, in the same rounds.
    pub ratios: Vec<Ratio>,
}

/// One contestant in one row.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is to us.
    pub rank: Rank,
    /// The figure of each round, in the order of the rounds; absent where it failed.
    pub rounds: Vec<Option<f64>>,
    /// The median of the rounds.
    pub median: Option<f64>,
    /// The best of the rounds.
    pub best: Option<f64>,
    /// The median of the 99th percentiles of the rounds, where single events were timed.
    pub p99: Option<f64>,
    /// Why rounds failed, each reason once.
    pub failures: Vec<String>,
}

/// Ours divided by another figure, round by round; or, where ours is compared with another of ours, the same of a floor.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Ratio {
    /// Which of our contestants, or which floor.
    pub ours: &'static str,
    /// Which other contestant, or the same.
    pub against: &'static str,
    /// What of the other, if it is not the subject of the row.
    pub against_title: Option<String>,
    /// The median over the rounds.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// What the ratio should be, if there is a goal.
    pub goal: Option<Goal>,
    /// Whether the median reaches it.
    pub reached: Option<bool>,
}

impl Entry {
    /// From the rounds of figures with their 99th percentiles.
    pub(super) fn of(
        name: &'static str,
        rank: Rank,
        unit: Unit,
        rounds: &[Result<(f64, Option<f64>), String>],
    ) -> Self {
        let values: Vec<f64> = rounds.iter().flatten().map(|(value, _)| *value).collect();
        let p99: Vec<f64> = rounds.iter().flatten().filter_map(|(_, p99)| *p99).collect();
        let mut failures: Vec<String> = rounds.iter().filter_map(|round| round.as_ref().err().cloned()).collect();
        failures.sort();
        failures.dedup();
        let best = match unit {
            Unit::PerSecond => values.iter().copied().reduce(f64::max),
            _ => values.iter().copied().reduce(f64::min),
        };
        Self {
            name,
            rank,
            rounds: rounds.iter().map(|round| round.as_ref().ok().map(|(value, _)| *value)).collect(),
            median: (!values.is_empty()).then(|| median(values)),
            best,
            p99: (!p99.is_empty()).then(|| median(p99)),
            failures,
        }
    }
}

impl Ratio {
    /// Of figures of the same rounds; `None` if there is no round that has both.
    pub(super) fn of(ours: &Entry, other: &Entry, other_title: Option<String>, goal: Option<Goal>) -> Option<Self> {
        let pairs = ours.rounds.iter().zip(&other.rounds).filter_map(|(ours, other)| Some((*ours)? / (*other)?));
        let ratios: Vec<f64> = pairs.filter(|ratio| ratio.is_finite()).collect();
        let least = ratios.iter().copied().reduce(f64::min)?;
        let greatest = ratios.iter().copied().reduce(f64::max)?;
        let median = median(ratios);
        let reached = goal.as_ref().map(|goal| goal.admits(median));
        Some(Self {
            ours: ours.name,
            against: other.name,
            against_title: other_title,
            median,
            least,
            greatest,
            goal,
            reached,
        })
    }
}
