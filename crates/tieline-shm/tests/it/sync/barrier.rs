//! Meetings among real processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::sync::{Barrier, MAX_PARTICIPANTS, Participant};
use tieline_testkit::{PATIENCE, Peer, eventually, pause, role, soon, test_name};

use super::{Chance, peer, rounds, segment};

const LONG: Duration = PATIENCE;
const SHORT: Duration = Duration::from_millis(30);

/// Meets the others, however many are left.
fn meet(me: &Participant<'_>) -> bool {
    loop {
        match me.wait_timeout(LONG) {
            Ok(leads) => return leads,
            Err(error) => assert_eq!(error.kind(), ErrorKind::PeerGone, "{error}"),
        }
    }
}

#[test]
fn nobody_passes_before_all_have_come() {
    let barrier = Barrier::anonymous("steps", 2).unwrap();
    let has_come = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let me = barrier.join().unwrap();
        assert_eq!(me.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(me.wait_timeout(SHORT).unwrap_err().kind(), ErrorKind::TimedOut, "the other has not joined");
        let other = scope.spawn(|| {
            let other = barrier.join().unwrap();
            assert_eq!(barrier.join().map(drop).unwrap_err().kind(), ErrorKind::LimitReached);
            let leads = other.wait().unwrap();
            pause(SHORT);
            has_come.store(true, Ordering::SeqCst);
            leads != other.wait().unwrap()
        });
        meet(&me);
        meet(&me);
        assert!(has_come.load(Ordering::SeqCst), "the other had not come");
        other.join().unwrap();
    });
    assert_eq!(barrier.meetings(), 2);
    for participants in [0, MAX_PARTICIPANTS + 1] {
        assert_eq!(Barrier::anonymous("steps", participants).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

/// The one before had arrived in this meeting; the one who took its place has not.
#[test]
fn who_takes_the_place_of_one_that_had_come_is_waited_for() {
    let barrier = Barrier::anonymous("steps", 2).unwrap();
    let me = barrier.join().unwrap();
    let turn = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| barrier.join().unwrap().try_wait().unwrap_err().kind());
        assert_eq!(early.join().unwrap(), ErrorKind::WouldBlock);
        let late = scope.spawn(|| {
            let late = barrier.join().unwrap();
            turn.wait();
            turn.wait();
            meet(&late)
        });
        turn.wait();
        let alone = me.try_wait();
        turn.wait();
        assert_eq!(alone.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_ne!(meet(&me), late.join().unwrap());
    });
    assert_eq!(barrier.meetings(), 1);
}

#[test]
fn who_leaves_is_not_waited_for_and_may_be_replaced() {
    let barrier = Barrier::anonymous("steps", 2).unwrap();
    let stays = barrier.join().unwrap();
    std::thread::scope(|scope| {
        let leaves = || {
            let other = barrier.join().unwrap();
            meet(&other);
            pause(SHORT);
        };
        let first = scope.spawn(leaves);
        meet(&stays);
        assert!(stays.wait_timeout(LONG).unwrap(), "the other left without a word");
        first.join().unwrap();
        assert!(stays.wait().unwrap(), "alone");
        let (said, says) = std::sync::mpsc::channel();
        let barrier = &barrier;
        let second = scope.spawn(move || {
            let other = barrier.join().unwrap();
            said.send(()).unwrap();
            meet(&other);
        });
        says.recv().unwrap();
        meet(&stays);
        second.join().unwrap();
    });
}

/// Eight processes walk in step; nobody is ever more than one meeting ahead.
#[test]
fn eight_processes_walk_in_step() {
    if let Some(_me) = role() {
        let barrier = Barrier::from_fd(segment()).unwrap();
        let me = barrier.join().unwrap();
        for step in 0..300 {
            meet(&me);
            let meetings = barrier.meetings();
            assert!(meetings == step + 1 || meetings == step + 2, "{meetings} meetings after step {step}");
        }
        return;
    }
    let barrier = Barrier::anonymous("steps", 8).unwrap();
    let peers: Vec<_> = (0..8).map(|_| peer(&test_name!(), "walker", barrier.as_fd()).spawn()).collect();
    peers.into_iter().for_each(Peer::succeeds);
    assert_eq!(barrier.meetings(), 300);
}

#[test]
fn everyone_is_told_of_a_death_once_and_goes_on() {
    if let Some(me) = role() {
        let barrier = Barrier::from_fd(segment()).unwrap();
        let place = barrier.join().unwrap();
        me.say("joined");
        if me.name() == "victim" {
            me.wait_for("never");
        }
        let told = place.wait_timeout(LONG).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::PeerGone);
        me.say("told");
        place.wait_timeout(LONG).expect("told once");
        place.wait_timeout(LONG).expect("told once");
        return;
    }
    soon("a death", Duration::from_millis(10), || {
        let barrier = Barrier::anonymous("steps", 4).unwrap();
        let mut victim = peer(&test_name!(), "victim", barrier.as_fd()).spawn();
        victim.wait_for("joined");
        let mut others: Vec<_> = (0..3).map(|_| peer(&test_name!(), "other", barrier.as_fd()).spawn()).collect();
        for other in &mut others {
            other.wait_for("joined");
            other.sleeps();
        }
        let killed = Instant::now();
        victim.kill();
        for other in &mut others {
            other.wait_for("told");
        }
        let told = killed.elapsed();
        others.into_iter().for_each(Peer::succeeds);
        assert_eq!(barrier.meetings(), 2);
        told
    });
}

const STEPS: [&str; 12] = [
    "barrier:joining",
    "barrier:place-taken",
    "barrier:joined",
    "barrier:arriving",
    "barrier:arriving:30",
    "barrier:arrived",
    "barrier:sleeps",
    "barrier:sleeps:30",
    "barrier:complete",
    "barrier:complete:30",
    "barrier:finished",
    "barrier:finished:30",
];

#[test]
fn a_death_at_any_step_stops_nobody() {
    if let Some(me) = role() {
        let barrier = Barrier::from_fd(segment()).unwrap();
        let place = barrier.join().unwrap();
        me.say("joined");
        loop {
            meet(&place);
        }
    }
    for step in STEPS {
        let barrier = Barrier::anonymous("steps", 4).unwrap();
        let mut others: Vec<_> = (0..2).map(|_| peer(&test_name!(), "other", barrier.as_fd()).spawn()).collect();
        for other in &mut others {
            other.wait_for("joined");
        }
        let mut victim =
            peer(&test_name!(), "victim", barrier.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        if step == "barrier:joining" {
            // It dies before it has a place, so another comes instead.
            assert!(!victim.exit_status().success());
            victim = peer(&test_name!(), "other", barrier.as_fd()).spawn();
            victim.wait_for("joined");
        }
        let me = barrier.join().unwrap();
        for _ in 0..100 {
            meet(&me);
        }
        if step != "barrier:joining" {
            std::thread::scope(|scope| {
                // The walk goes on until the victim has passed its step.
                let walk = scope.spawn(|| assert!(!victim.exit_status().success(), "{step}: the victim was to die"));
                while !walk.is_finished() {
                    meet(&me);
                }
                walk.join().unwrap();
            });
        }
        for _ in 0..100 {
            meet(&me);
        }
    }
}

/// One that takes a dead one's place is stopped in it: whoever joins then is not told of that death later, nor are others
/// told twice.
#[test]
fn who_joins_after_a_death_is_not_told_of_it() {
    if let Some(me) = role() {
        let barrier = Barrier::from_fd(segment()).unwrap();
        let place = barrier.join().unwrap();
        me.say("joined");
        if me.name() == "victim" {
            me.wait_for("never");
        }
        place.wait_timeout(LONG).expect("it came after the death");
        return;
    }
    let barrier = Barrier::anonymous("steps", 3).unwrap();
    let mut victim = peer(&test_name!(), "victim", barrier.as_fd()).spawn();
    victim.wait_for("joined");
    let me = barrier.join().unwrap();
    let leaves = barrier.join().unwrap();
    victim.kill();
    assert_eq!(me.try_wait().unwrap_err().kind(), ErrorKind::PeerGone);
    let stop = |step: &str| {
        let heir = peer(&test_name!(), "heir", barrier.as_fd()).env("TIELINE_STEP", format!("stop:{step}")).spawn();
        heir.until_stopped();
        heir
    };
    let mut heir = stop("barrier:place-taken");
    drop(leaves);
    let mut late = peer(&test_name!(), "late", barrier.as_fd()).spawn();
    late.wait_for("joined");
    heir.signal(rustix::process::Signal::CONT);
    heir.wait_for("joined");
    me.wait_timeout(LONG).expect("told once");
    late.succeeds();
    heir.succeeds();
}

#[test]
fn deaths_at_random_instants_stop_nobody() {
    if let Some(me) = role() {
        let barrier = Barrier::from_fd(segment()).unwrap();
        let place = barrier.join().unwrap();
        me.say("joined");
        loop {
            meet(&place);
        }
    }
    let barrier = Barrier::anonymous("steps", 5).unwrap();
    let mut chance = Chance(0xba);
    let start = || peer(&test_name!(), "victim", barrier.as_fd()).spawn();
    let mut victims: Vec<Peer> = (0..4).map(|_| start()).collect();
    let me = barrier.join().unwrap();
    for _ in 0..rounds(100) {
        for _ in 0..chance.below(20) {
            meet(&me);
        }
        victims.swap_remove(chance.below(4) as usize).kill();
        let mut victim = start();
        victim.wait_for("joined");
        victims.push(victim);
        meet(&me);
    }
    let stopped = &victims[0];
    stopped.signal(rustix::process::Signal::STOP);
    eventually("a stopped one is waited for", || {
        me.wait_timeout(SHORT).is_err_and(|error| error.kind() == ErrorKind::TimedOut)
    });
    stopped.signal(rustix::process::Signal::CONT);
    meet(&me);
}

#[test]
fn every_byte_flipped_by_another_process_gives_an_answer() {
    super::hostile(
        &test_name!(),
        || {
            let barrier = Barrier::anonymous("steps", 2).unwrap();
            (barrier.as_fd().try_clone_to_owned().unwrap(), barrier)
        },
        |barrier| {
            let timeout = Duration::from_millis(2);
            if let Ok(me) = barrier.join() {
                let _ = me.wait_timeout(timeout);
                let _ = me.wait_timeout(timeout);
            }
        },
    );
}
