//! Fork, in the only thread of a process.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU32, Ordering};

use tieline_os::ErrorKind;
use tieline_os::fork::fork;
use tieline_os::mapping::Mapping;
use tieline_os::pthread::{Mutex, MutexOptions, Place};
use tieline_testkit::{Peer, role, test_name};

use crate::memory::{assert_only_thread, in_the_only_thread};

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
        let mutex = Mutex::create(Place::trusting(&memory, 0), MutexOptions::new()).unwrap();
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
