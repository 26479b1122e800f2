//! Fork, in the only thread of a process.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicU32, Ordering};

use tieline_os::ErrorKind;
use tieline_os::fork::fork;
use tieline_os::mapping::Mapping;
use tieline_os::process::{self, Changes, Children};
use tieline_os::pthread::{Mutex, MutexOptions};
use tieline_testkit::{Peer, role, test_name};

use crate::memory::{assert_only_thread, in_the_only_thread, place_at};

#[test]
fn a_child_shares_mappings_but_not_variables_and_ends_with_its_number() {
    if role().is_some() {
        assert_only_thread();
        let shared = Mapping::anonymous(4096).unwrap();
        let (word, own) = (shared.atomic_u32(0).unwrap(), AtomicU32::new(1));
        let child = fork(|| {
            own.store(2, Ordering::Relaxed);
            word.store(std::process::id(), Ordering::Relaxed);
            200
        });
        let child = child.unwrap();
        let id = child.id();
        assert_ne!(id, std::process::id());
        assert_eq!(child.wait().unwrap().code(), Some(200));
        assert_eq!((word.load(Ordering::Relaxed), own.load(Ordering::Relaxed)), (id, 1));

        let panicked = fork(|| panic!("in the child")).unwrap();
        assert_eq!(panicked.wait().unwrap().code(), Some(101));
        let killed = fork(|| {
            loop {
                std::thread::park();
            }
        });
        let killed = killed.unwrap();
        let pid = rustix::process::Pid::from_raw(killed.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(killed.wait().unwrap().signal(), Some(9));

        let reaped = fork(|| 0).unwrap();
        process::wait(Children::Any, Changes::EXITED).unwrap();
        let error = reaped.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "as whoever waits second is told elsewhere: {error}");
        return;
    }
    in_the_only_thread(Peer::of(test_name!()).role("forker")).spawn().succeeds();
}

/// The child is another owner: it finds the parent's lock taken, and what it inherits from a dead parent it is told.
#[test]
fn a_child_that_dies_holding_a_lock_is_told_to_the_parent() {
    if role().is_some() {
        assert_only_thread();
        let memory = Mapping::anonymous(4096).unwrap();
        let mutex = Mutex::create(place_at(&memory, 0), MutexOptions::new()).unwrap();
        let child = fork(|| {
            std::mem::forget(mutex.lock());
            0
        });
        assert!(child.unwrap().wait().unwrap().success());
        assert!(mutex.lock().unwrap().owner_died());
        return;
    }
    in_the_only_thread(Peer::of(test_name!()).role("forker")).spawn().succeeds();
}

#[test]
fn a_process_with_threads_is_refused_and_the_body_does_not_run() {
    let ran = AtomicU32::new(0);
    let error = fork(|| {
        ran.store(1, Ordering::Relaxed);
        0
    })
    .unwrap_err();
    assert_eq!((error.kind(), error.errno(), ran.load(Ordering::Relaxed)), (ErrorKind::Busy, None, 0), "{error}");
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Given a body that panics with a payload that panics when dropped, when forked, then the child ends as any that
/// panics, and does not come out of `fork` into the parent's functions.
#[test]
fn a_child_never_unwinds_into_its_parents_functions() {
    if role().is_none() {
        return in_the_only_thread(Peer::of(test_name!()).role("forker")).spawn().succeeds();
    }
    assert_only_thread();
    let us = std::process::id();
    let forked = catch_unwind(AssertUnwindSafe(|| fork(|| panic_any(PanicsWhenDropped))));
    if std::process::id() != us {
        // The child has come back: end it with a code of its own.
        std::process::exit(77);
    }
    let child = forked.expect("the parent does not unwind").expect("forked");
    assert_eq!(child.wait().unwrap().code(), Some(101));
}

/// Given an I/O ring made before a fork, when the child uses it, then it is refused, because the child would write into
/// the queue its parent shares with the kernel; and the parent's operations are not disturbed, not even when the child
/// drops it.
#[cfg(feature = "io-uring")]
#[test]
fn a_child_cannot_touch_its_parents_ring() {
    use std::sync::Arc;
    use tieline_os::ErrorKind::InvalidInput;
    use tieline_os::ring::{Operation, Ring};

    if role().is_none() {
        return in_the_only_thread(Peer::of(test_name!()).role("forker")).spawn().succeeds();
    }
    assert_only_thread();
    let mut ring = match Ring::new(4) {
        Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
        ring => ring.unwrap(),
    };
    let pipe = || std::io::pipe().map(|(reader, writer)| (Arc::new(reader), writer)).unwrap();
    let (reader, writer) = pipe();
    let waiting = ring.push(Operation::read(Arc::clone(&reader), vec![0; 8]), 1).unwrap();
    ring.submit().unwrap();
    let child = fork(|| {
        let refused = [
            ring.push(Operation::read(reader, vec![0; 8]), 2).map(drop).map_err(Into::into),
            ring.submit(),
            ring.cancel(waiting).map(drop),
            ring.try_wait().map(drop),
            ring.wait().map(drop),
        ];
        let is_refused = |answer: tieline_os::Result<()>| answer.is_err_and(|error| error.kind() == InvalidInput);
        u8::from(!refused.map(is_refused).iter().all(|refused| *refused))
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0), "each use is refused");

    let mut dropped = Some(Ring::new(4).unwrap());
    let (second_reader, second_writer) = pipe();
    let second = dropped.as_mut().unwrap();
    second.push(Operation::read(second_reader, vec![0; 8]), 1).unwrap();
    second.submit().unwrap();
    let child = fork(|| {
        drop(dropped.take());
        0
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0));
    let second = dropped.as_mut().unwrap();
    assert!(second.try_wait().unwrap_err().is_would_block(), "the child's drop has not cancelled it");

    for (ring, mut writer) in [(&mut ring, writer), (second, second_writer)] {
        std::io::Write::write_all(&mut writer, b"12345678").unwrap();
        let done = ring.wait_timeout(tieline_testkit::PATIENCE).unwrap();
        assert_eq!((done.token, done.result.unwrap(), &done.buffer[..]), (1, 8, &b"12345678"[..]));
        assert_eq!(ring.in_flight(), 0, "nothing of the child's is in it");
    }
}
