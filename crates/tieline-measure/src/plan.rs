//! What to measure, on which processors, for how long.

use std::fmt;
use std::time::Duration;

use rustix::thread::sched_getaffinity;
use serde::Serialize;

use crate::control::PlayerCommand;

/// Where the two ends run. Crossing processors or sharing one is the largest single difference in any IPC figure, so
/// every figure says which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Each end is pinned to a processor of its own.
    TwoCpus,
    /// Both ends are pinned to the same processor.
    OneCpu,
}

impl Placement {
    /// The processors of the two ends, out of those this process may use; `None` if there are too few.
    pub(crate) fn cpus(self) -> Option<[usize; 2]> {
        let allowed = allowed_cpus();
        match self {
            Self::TwoCpus => Some([*allowed.first()?, *allowed.get(1)?]),
            Self::OneCpu => Some([*allowed.first()?; 2]),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwoCpus => "two cpus",
            Self::OneCpu => "one cpu",
        })
    }
}

/// The processors this process may run on, lowest first.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// What [`run`](crate::run) measures.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start a player.
    pub player: PlayerCommand,
    /// Only mechanisms whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// Where the ends run.
    pub placements: Vec<Placement>,
    /// Payload sizes in bytes for round trips; at least 8, because a message carries its sequence number.
    pub round_trip_bytes: Vec<usize>,
    /// Payload sizes in bytes for one-way throughput; at least 8.
    pub throughput_bytes: Vec<usize>,
    /// Numbers of processes for the token ring; none leaves it out.
    pub ring_processes: Vec<usize>,
    /// How long each single figure is measured.
    pub window: Duration,
    /// How often the whole list is gone through; each figure is the median of its repeats.
    pub repeats: usize,
}

impl Plan {
    /// Every mechanism, in a minute and a half on two processors.
    #[must_use]
    pub fn full(player: PlayerCommand) -> Self {
        Self {
            player,
            only: Vec::new(),
            placements: vec![Placement::TwoCpus, Placement::OneCpu],
            round_trip_bytes: vec![64, 4096, 65536],
            throughput_bytes: vec![64, 4096, 65536, 1 << 20],
            ring_processes: vec![2, 4, 8, 16, 32, 64],
            window: Duration::from_millis(60),
            repeats: 3,
        }
    }

    /// The same list measured once and briefly: for a first look, and for tests.
    #[must_use]
    pub fn quick(player: PlayerCommand) -> Self {
        Self { window: Duration::from_millis(20), repeats: 1, ring_processes: vec![2, 16, 64], ..Self::full(player) }
    }
}
