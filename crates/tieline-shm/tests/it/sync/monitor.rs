//! The bounded buffer, as a monitor, with its producer killed in the middle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tieline_shm::ErrorKind;
use tieline_shm::sync::{LockError, Monitor, MonitorGuard, MutexOptions};
use tieline_testkit::{PATIENCE, role, test_name};

use super::{peer, segment};

const NOT_EMPTY: usize = 0;
const NOT_FULL: usize = 1;
const ROOM: u64 = 4;
const LONG: Duration = PATIENCE;

/// How many were put, and how many taken.
type Buffer = Monitor<[u64; 2], 2>;

fn sound<'a>(
    locked: Result<MonitorGuard<'a, [u64; 2], 2>, LockError<MonitorGuard<'a, [u64; 2], 2>>>,
) -> Option<MonitorGuard<'a, [u64; 2], 2>> {
    match locked {
        Ok(guard) => Some(guard),
        Err(LockError::OwnerDied(guard)) => {
            guard.mark_consistent();
            None
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

fn put(buffer: &Buffer) {
    loop {
        let guard = buffer.when_timeout(NOT_FULL, LONG, |[put, taken]| put - taken < ROOM);
        if let Some(mut counts) = sound(guard) {
            counts[0] += 1;
            counts.notify_one(NOT_EMPTY);
            return;
        }
    }
}

fn take(buffer: &Buffer) {
    loop {
        let guard = buffer.when_timeout(NOT_EMPTY, LONG, |[put, taken]| put > taken);
        if let Some(mut counts) = sound(guard) {
            counts[1] += 1;
            counts.notify_one(NOT_FULL);
            return;
        }
    }
}

#[test]
fn producers_and_consumers_share_a_bounded_buffer() {
    const EACH: u64 = 2000;
    if let Some(me) = role() {
        let buffer = Buffer::from_fd(segment()).unwrap();
        (0..EACH).for_each(|_| if me.name() == "producer" { put(&buffer) } else { take(&buffer) });
        return;
    }
    let buffer = Buffer::anonymous([0, 0], &MutexOptions::new()).unwrap();
    let peers: Vec<_> = ["producer", "consumer", "producer", "consumer"]
        .map(|role| peer(&test_name!(), role, buffer.as_fd()).spawn())
        .into_iter()
        .collect();
    peers.into_iter().for_each(tieline_testkit::Peer::succeeds);
    assert_eq!(*buffer.lock().unwrap(), [2 * EACH, 2 * EACH]);
}

#[test]
fn a_producer_that_dies_inside_stops_nobody() {
    if role().is_some() {
        let buffer = Buffer::from_fd(segment()).unwrap();
        (0..1000).for_each(|_| put(&buffer));
        return;
    }
    let buffer = Buffer::anonymous([0, 0], &MutexOptions::new()).unwrap();
    for step in ["mutex:linked:20", "condvar:signalled:3", "condvar:woken:2", "condvar:leaving:2"] {
        let mut producer =
            peer(&test_name!(), "producer", buffer.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    take(&buffer);
                }
            });
            producer.exit_status();
            (0..100).for_each(|_| put(&buffer));
            is_over.store(true, Ordering::Relaxed);
            // It may have left already, so there may never be room again; if it waits, there is.
            let mut counts = buffer.lock().unwrap();
            if counts[0] - counts[1] < ROOM {
                counts[0] += 1;
                counts.notify_one(NOT_EMPTY);
            }
            drop(counts);
            consumer.join().unwrap();
        });
    }
}

#[test]
fn a_predicate_that_never_holds_times_out() {
    let buffer = Buffer::anonymous([0, 0], &MutexOptions::new()).unwrap();
    let refused = buffer.when_timeout(NOT_EMPTY, Duration::from_millis(20), |_| false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    let refused = buffer.lock().unwrap().wait(2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(buffer.lock().is_ok());
}
