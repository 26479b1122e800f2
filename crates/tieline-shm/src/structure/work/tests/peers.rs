//! Among processes that die or stop at each step.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Signal;
use tieline_os::Access;
use tieline_testkit::{Peer, test_name};

use super::*;

/// The part of a peer process: produces or consumes for ever, as the owner it is told.
fn play(role: &tieline_testkit::Role) {
    let fd: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let segment = Segment::accept(fd, Kind::Queue, 0, Access::ReadWrite).unwrap();
    let queue = open(&segment, Geometry::new(4, 8).unwrap());
    let me = owner(role.env("MEMBER").parse().unwrap());
    role.say("ready");
    match role.name() {
        "producer" => {
            for index in 0.. {
                put_waiting(&queue, me, 1 << 32 | index).unwrap_or_else(|_| leave(role));
            }
        }
        _ => loop {
            let taken = take_waiting(&queue, me, Until::Forever).unwrap_or_else(|_| leave(role));
            if queue.finish(taken).is_err() {
                leave(role);
            }
            queue.room_changed();
        },
    }
}

/// Those believed dead, when they learn of it.
fn leave(role: &tieline_testkit::Role) -> ! {
    role.say("was taken for dead");
    std::process::exit(0)
}

fn peer(test: String, role: &str, segment: &Segment, step: &str) -> Peer {
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    Peer::of(test).role(role).env("MEMBER", "1").env("TIELINE_STEP", step).stdin(fd).spawn()
}

/// Sends and receives as the survivor until `enough` own items came back; every one must, and in bounded time.
fn work_on(queue: &WorkQueue, enough: u64) -> HashSet<u64> {
    let deadline = Until::At(tieline_os::futex::Deadline::after(PATIENCE));
    let mut from_peer = HashSet::new();
    for number in 0..enough {
        let start = Instant::now();
        loop {
            match put(queue, owner(0), number) {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Full),
            }
            let taken = take_waiting(queue, owner(0), deadline).unwrap();
            from_peer.insert(number_in(queue, taken));
            finish(queue, taken).unwrap();
            assert!(start.elapsed() < PATIENCE, "the queue stays full");
        }
        loop {
            let taken = take_waiting(queue, owner(0), deadline).unwrap();
            let got = number_in(queue, taken);
            finish(queue, taken).unwrap();
            if got == number {
                break;
            }
            from_peer.insert(got);
        }
    }
    from_peer
}

const PRODUCER_STEPS: [&str; 4] = ["work:claimed", "work:tail-raised", "work:written", "work:committed"];
const CONSUMER_STEPS: [&str; 4] = ["work:taken", "work:head-raised", "work:finishing", "work:finished"];

#[test]
fn a_peer_killed_at_any_step_loses_nothing_that_was_sent() {
    if let Some(role) = tieline_testkit::role() {
        return play(&role);
    }
    for step in PRODUCER_STEPS {
        for nth in [1, 7] {
            let geometry = Geometry::new(4, 8).unwrap();
            let segment = segment_for(geometry);
            let queue = open(&segment, geometry);
            let mut peer = peer(test_name!(), "producer", &segment, &format!("kill:{step}:{nth}"));
            peer.wait_for("ready");
            let mut got = HashSet::new();
            let committed = if step == "work:committed" { nth } else { nth - 1 };
            while got.len() < committed {
                let until = Until::At(tieline_os::futex::Deadline::after(PATIENCE));
                // What the dead one put in without telling is found on recovery.
                if got.len() + 1 == nth {
                    peer.exit_status();
                    queue.departed(owner(1)).unwrap();
                }
                let taken = take_waiting(&queue, owner(0), until).unwrap();
                got.insert(number_in(&queue, taken));
                finish(&queue, taken).unwrap();
            }
            peer.exit_status();
            queue.departed(owner(1)).unwrap();
            queue.departed(owner(1)).unwrap();
            assert_eq!(got.len(), committed, "{step} {nth}");
            assert!(work_on(&queue, 50).is_empty(), "{step} {nth}");
            assert_eq!(queue.counters().skipped, u64::from(step != "work:committed"), "{step} {nth}");
        }
    }
    for step in CONSUMER_STEPS {
        for nth in [1, 7] {
            let geometry = Geometry::new(4, 8).unwrap();
            let segment = segment_for(geometry);
            let queue = open(&segment, geometry);
            let mut peer = peer(test_name!(), "consumer", &segment, &format!("kill:{step}:{nth}"));
            peer.wait_for("ready");
            for number in 0..nth {
                put_waiting(&queue, owner(0), 1 << 40 | number).unwrap();
            }
            peer.exit_status();
            queue.departed(owner(1)).unwrap();
            queue.departed(owner(1)).unwrap();
            let lost = step != "work:finished";
            assert_eq!(queue.counters().orphaned, u64::from(lost), "{step} {nth}");
            if lost {
                let taken = queue.take(owner(0)).unwrap();
                assert_eq!((number_in(&queue, taken), taken.attempts), (1 << 40 | (nth - 1), 1), "{step} {nth}");
                finish(&queue, taken).unwrap();
            }
            assert!(work_on(&queue, 50).is_empty(), "{step} {nth}");
        }
    }
}

#[test]
fn a_peer_frozen_at_any_step_stops_nobody_and_changes_nothing_when_thawed() {
    if let Some(role) = tieline_testkit::role() {
        return play(&role);
    }
    let steps = PRODUCER_STEPS.map(|step| ("producer", step)).into_iter();
    for (role, step) in steps.chain(CONSUMER_STEPS.map(|step| ("consumer", step))) {
        let geometry = Geometry::new(4, 8).unwrap();
        let segment = segment_for(geometry);
        let queue = open(&segment, geometry);
        let mut peer = peer(test_name!(), role, &segment, &format!("stop:{step}:1"));
        peer.wait_for("ready");
        if role == "consumer" {
            put(&queue, owner(0), 1 << 40).unwrap();
        }
        let stat = format!("/proc/{}/stat", peer.id());
        tieline_testkit::eventually("the peer stops", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        // Nobody knows yet; the others go on.
        let early = work_on(&queue, 50);
        // Wrongly taken for dead.
        queue.departed(owner(1)).unwrap();
        let late = work_on(&queue, 50);
        let came: HashSet<u64> = early.union(&late).copied().collect();
        let expected = match (role, step) {
            ("producer", "work:committed") | ("consumer", "work:taken" | "work:head-raised" | "work:finishing") => 1,
            _ => 0,
        };
        assert_eq!(came.len(), expected, "{step}");
        peer.signal(Signal::CONT);
        if !matches!(step, "work:committed" | "work:finished") {
            peer.wait_for("was taken for dead");
        }
        peer.kill();
        queue.departed(owner(1)).unwrap();
        while let Ok(taken) = queue.take(owner(0)) {
            finish(&queue, taken).unwrap();
        }
        assert!(work_on(&queue, 50).is_empty(), "{step}");
    }
}
