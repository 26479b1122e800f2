//! Locks among real processes.

mod barrier;
mod classics;
mod condvar;
mod monitor;
mod mutex;
mod mutex_death;
mod named;
mod namespaces;
mod once;
mod oracle;
mod order;
mod priority;
mod robust;
mod rwlock;
mod semaphore;

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_testkit::{PATIENCE, Peer, PeerBuilder};

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
    std::env::var("TIELINE_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(fewest)
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

/// Another process flips bytes of a lock's body one after the other, again and again, while this one uses the lock: each
/// use ends in time, whatever it answers.
fn hostile<L>(test: &str, make: impl Fn() -> (OwnedFd, L), use_it: impl Fn(&L)) {
    const HEADER: usize = 4096;
    if let Some(me) = tieline_testkit::role() {
        let fd = segment();
        let memory = Mapping::of(&fd, &MapOptions::new()).unwrap();
        let len = memory.len().min(HEADER + 1024);
        me.say("ready");
        loop {
            for at in HEADER..len {
                let mut byte = [0];
                memory.read(at, &mut byte).unwrap();
                for bits in [0xff, 0x01, 0x80] {
                    memory.write(at, &[byte[0] ^ bits]).unwrap();
                    std::hint::spin_loop();
                }
                memory.write(at, &byte).unwrap();
            }
        }
    }
    let (fd, lock) = make();
    let mut attacker = peer(test, "attacker", fd.as_fd()).spawn();
    attacker.wait_for("ready");
    let until = Instant::now() + Duration::from_millis(500);
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        let before = Instant::now();
        use_it(&lock);
        longest = longest.max(before.elapsed());
    }
    attacker.kill();
    // The uses wait for some milliseconds; a loaded machine may add its share.
    assert!(longest < PATIENCE / 2, "{longest:?}");
    std::mem::forget(lock);
}
