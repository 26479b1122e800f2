//! How long a new publisher or subscriber waits for those that are there already.
//!
//! The invariant: who runs, however slowly, is waited for as long as joining may take; who is stopped, for a moment
//! only: it answers when it goes on, and is connected then.

use std::time::{Duration, Instant};

use super::JOIN_TIMEOUT;

/// How long before it is asked why somebody does not answer.
const MOMENT: Duration = Duration::from_millis(200);

pub(super) struct Patience {
    /// When to look next, and when not any more.
    look: Instant,
    end: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { look: now + MOMENT, end: now + JOIN_TIMEOUT }
    }

    /// How long to wait for the processes that have not answered before asking again; `None` if in vain. A process whose
    /// number is not known here, or is another's here, is taken for one that runs.
    pub(super) fn rest(&mut self, silent: impl IntoIterator<Item = u32>) -> Option<Duration> {
        let now = Instant::now();
        if now >= self.look {
            if now >= self.end || silent.into_iter().all(is_stopped) {
                return None;
            }
            self.look = (now + MOMENT).min(self.end);
        }
        Some(self.look - now)
    }
}

/// By a signal or a debugger.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name before it may have anything in it.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}
