//! What our figures should be, as ratios to others of the same run.

use std::fmt;

use serde::Serialize;

use super::subject::{Subject, Touch, Wait};

/// A bound for a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
}

impl Goal {
    /// Whether the ratio is within the bound.
    #[must_use]
    pub fn admits(&self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => ratio <= *bound,
            Self::AtLeast(bound) => ratio >= *bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

/// What a figure of ours is compared to: a contestant, and its figure for which subject.
pub(super) struct Comparison {
    /// The contestant; ours itself if `None`.
    pub(super) against: Option<&'static str>,
    pub(super) subject: Subject,
    pub(super) goal: Goal,
}

/// What is asked of our figure for a subject, on one processor or on two.
pub(super) fn of(subject: Subject, on_one_cpu: bool) -> Vec<Comparison> {
    use Goal::{AtLeast, AtMost};
    let here = |against, goal| Comparison { against: Some(against), subject, goal };
    let own = |subject, goal| Comparison { against: None, subject, goal };
    let round_trip = |bytes, wait| Subject::RoundTrip { bytes, wait };
    match subject {
        Subject::RoundTrip { bytes: 8 | 64, wait: Wait::Poll } => vec![
            here("bare spin", AtMost(1.3)),
            here("bare spin, number apart", AtMost(1.3)),
            here("ringfire", AtMost(1.0)),
            here("iceoryx2", AtMost(0.25)),
        ],
        Subject::RoundTrip { wait: Wait::Poll, .. } => vec![here("iceoryx2", AtMost(0.5))],
        Subject::RoundTrip { wait: Wait::Block, .. } => {
            vec![here("bare futex", AtMost(1.15)), here("iceoryx2", AtMost(0.6))]
        }
        Subject::RoundTrip { bytes, wait: Wait::Adaptive } if on_one_cpu => {
            vec![own(round_trip(bytes, Wait::Block), AtMost(1.3))]
        }
        Subject::RoundTrip { bytes, wait: Wait::Adaptive } => vec![own(round_trip(bytes, Wait::Poll), AtMost(1.3))],
        Subject::RoundTrip { wait: Wait::Await, .. } => vec![here("tokio Unix socket", AtMost(0.5))],
        Subject::Loan { touch: Touch::Ends, .. } => vec![own(round_trip(64, Wait::Poll), AtMost(1.2))],
        Subject::Loan { touch: Touch::Every, .. } => vec![here("iceoryx2", AtMost(1.0))],
        Subject::Flood { bytes: 64, batch: 1 } => {
            vec![here("bare ring", AtLeast(0.8)), here("iceoryx2", AtLeast(10.0))]
        }
        Subject::Flood { bytes: 64, .. } => vec![
            here("bare ring", AtLeast(0.8)),
            Comparison {
                against: Some("iceoryx2"),
                subject: Subject::Flood { bytes: 64, batch: 1 },
                goal: AtLeast(50.0),
            },
        ],
        Subject::Flood { .. } => vec![here("bare ring", AtLeast(0.9))],
        Subject::Publish { subscribers: 100 } => vec![own(Subject::Publish { subscribers: 1 }, AtMost(1.5))],
        Subject::Lock { contended: false } => vec![here("pthread robust", AtMost(1.0)), here("std Mutex", AtMost(3.0))],
        Subject::Lock { contended: true } => vec![here("pthread robust", AtLeast(1.0))],
        _ => Vec::new(),
    }
}

/// What is asked of a figure of ours by itself.
#[must_use]
pub fn absolute(subject: Subject) -> Option<f64> {
    match subject {
        // Eight buckets.
        Subject::Memory { bytes } => Some(8.0 * bytes as f64),
        Subject::Descriptors | Subject::Mappings => Some(2.0),
        Subject::Join => Some(200_000.0),
        Subject::Idle => Some(0.0),
        _ => None,
    }
}
