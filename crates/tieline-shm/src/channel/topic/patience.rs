//! How long a new publisher or subscriber waits for those that are there already.
//!
//! The invariant: who runs, however slowly, is waited for as long as joining may take; who is stopped, for a moment
//! only: it answers when it goes on, and is connected then. Another user's process, which may be silent on purpose, can
//! hold up nobody for more than a second.

use std::time::{Duration, Instant};

use super::JOIN_TIMEOUT;
use crate::rendezvous::Peer;

/// How long before it is asked why somebody does not answer.
const MOMENT: Duration = Duration::from_millis(200);

/// How long another user's process is waited for.
const FOREIGN: Duration = Duration::from_secs(1);

pub(super) struct Patience {
    /// When to look next, and when not any more.
    look: Instant,
    end_of_foreign: Instant,
    end: Instant,
    uid: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let uid = rustix::process::geteuid().as_raw();
        Self { look: now + MOMENT, end_of_foreign: now + FOREIGN, end: now + JOIN_TIMEOUT, uid }
    }

    /// How long to wait for those who have not answered before asking again; `None` if in vain. A process whose number is
    /// not known here, or is another's here, is taken for one that runs.
    pub(super) fn rest(&mut self, silent: &[Peer]) -> Option<Duration> {
        let now = Instant::now();
        if now >= self.look {
            let is_given_up = |peer: &Peer| peer.uid != self.uid && now >= self.end_of_foreign || is_stopped(peer.pid);
            if now >= self.end || silent.iter().all(is_given_up) {
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
