//! Locks among real processes.

mod condvar;
mod monitor;
mod mutex;
mod mutex_death;
mod once;
mod order;
mod robust;

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tieline_testkit::{Peer, PeerBuilder};

/// A peer that can open the lock's segment.
fn peer(test: &str, role: &str, fd: BorrowedFd<'_>) -> PeerBuilder {
    with_segment(Peer::of(test).role(role), "LOCK", fd)
}

/// The same with another segment.
fn with_segment(peer: PeerBuilder, name: &str, fd: BorrowedFd<'_>) -> PeerBuilder {
    peer.env(name, format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()))
}

/// The segment, in the peer.
fn segment() -> OwnedFd {
    segment_of("LOCK")
}

fn segment_of(name: &str) -> OwnedFd {
    let path = std::env::var(name).expect("the parent names the segment");
    OpenOptions::new().read(true).write(true).open(path).expect("the parent lives").into()
}

/// How many rounds a test of chance runs: more in the long suite.
fn rounds(fewest: u32) -> u32 {
    std::env::var("TIELINE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(fewest)
}

/// Numbers from a seed, for choices that a failure must be able to repeat.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
