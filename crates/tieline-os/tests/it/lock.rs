//! File locks: exclusion, waiting, conversion, death of the holder.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tieline_os::ErrorKind;
use tieline_os::lock::LockKind::{Exclusive, Shared};
use tieline_os::lock::{FileLock, RangeLock, range_holder};
use tieline_testkit::{Peer, eventually, role, test_name};

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

fn open(file: &NamedTempFile) -> File {
    File::options().read(true).write(true).open(file.path()).unwrap()
}

#[test]
fn shared_excludes_exclusive_and_exclusive_excludes_all() {
    let file = NamedTempFile::new().unwrap();
    let (one, other) = (open(&file), open(&file));
    let shared = RangeLock::try_lock(&one, Shared, ..10).unwrap();
    assert!(RangeLock::try_lock(&other, Shared, ..).is_ok());
    assert!(RangeLock::try_lock(&other, Exclusive, 9..).unwrap_err().is_would_block());
    assert!(RangeLock::try_lock(&other, Exclusive, 10..).is_ok());
    let holder = range_holder(&other, Exclusive, ..).unwrap().unwrap();
    assert_eq!((holder.kind, holder.start, holder.end, holder.pid), (Shared, 0, Some(10), None));
    shared.unlock().unwrap();
    assert_eq!(range_holder(&other, Exclusive, ..).unwrap(), None);

    let _exclusive = RangeLock::try_lock(&one, Exclusive, ..).unwrap();
    assert!(RangeLock::try_lock(&other, Shared, 1 << 40..1 << 41).unwrap_err().is_would_block());
    let endless = range_holder(&other, Shared, 5..6).unwrap().unwrap();
    assert_eq!((endless.start, endless.end), (0, None));
}

#[test]
fn a_plain_lock_waits_and_a_timed_one_gives_up_or_gets_it() {
    let file = NamedTempFile::new().unwrap();
    let (one, other) = (open(&file), open(&file));
    let held = RangeLock::lock(&one, Exclusive, 3..=3).unwrap();
    let start = Instant::now();
    assert!(RangeLock::lock_timeout(&other, Shared, .., SOON).unwrap_err().is_timeout());
    assert!(start.elapsed() >= SOON);

    let released = AtomicBool::new(false);
    thread::scope(|scope| {
        let patient = scope.spawn(|| {
            drop(RangeLock::lock(&other, Exclusive, ..).unwrap());
            assert!(released.load(Ordering::SeqCst), "it did not wait");
        });
        let third = open(&file);
        let bounded = scope.spawn(|| {
            drop(RangeLock::lock_timeout(third, Shared, .., LONG).unwrap());
            assert!(released.load(Ordering::SeqCst), "it did not wait");
        });
        released.store(true, Ordering::SeqCst);
        held.unlock().unwrap();
        patient.join().unwrap();
        bounded.join().unwrap();
    });
}

#[test]
fn conversion_is_refused_without_losing_the_lock() {
    let file = NamedTempFile::new().unwrap();
    let (one, other) = (open(&file), open(&file));
    let mut mine = RangeLock::try_lock(&one, Shared, ..).unwrap();
    let theirs = RangeLock::try_lock(&other, Shared, ..).unwrap();
    assert!(mine.try_convert(Exclusive).unwrap_err().is_would_block());
    assert_eq!(mine.kind(), Shared);
    assert!(range_holder(&other, Exclusive, ..).unwrap().is_some(), "the shared lock is still there");
    drop(theirs);
    mine.try_convert(Exclusive).unwrap();
    assert!(RangeLock::try_lock(&other, Shared, ..).is_err());
}

#[test]
fn a_refused_flock_conversion_leaves_nothing() {
    let file = NamedTempFile::new().unwrap();
    let (one, other, third) = (open(&file), open(&file), open(&file));
    let mine = FileLock::try_lock(&one, Shared).unwrap();
    let theirs = FileLock::try_lock(&other, Shared).unwrap();
    assert!(mine.try_convert(Exclusive).unwrap_err().is_would_block());
    drop(theirs);
    let all = FileLock::try_lock(&third, Exclusive).unwrap();
    assert_eq!(all.try_convert(Shared).unwrap().kind(), Shared);
}

#[test]
fn flock_waits_times_out_and_ignores_range_locks() {
    let file = NamedTempFile::new().unwrap();
    let (one, other) = (open(&file), open(&file));
    let _range = RangeLock::try_lock(&other, Exclusive, ..).unwrap();
    let held = FileLock::lock(&one, Exclusive).unwrap();
    assert!(FileLock::lock_timeout(&other, Shared, SOON).unwrap_err().is_timeout());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(FileLock::lock(&other, Exclusive).unwrap()));
        held.unlock().unwrap();
        waiting.join().unwrap();
    });
    // An unlocked guard does not unlock again when dropped.
    let first = FileLock::try_lock(&one, Exclusive).unwrap();
    first.unlock().unwrap();
    let _again = FileLock::try_lock(&other, Exclusive).unwrap();
    assert!(FileLock::try_lock(&one, Shared).is_err());
}

#[test]
fn a_killed_holder_frees_its_locks() {
    if let Some(me) = role() {
        let file = File::options().read(true).write(true).open(me.env("FILE")).unwrap();
        let _range = RangeLock::try_lock(&file, Exclusive, ..).unwrap();
        let _whole = FileLock::try_lock(&file, Exclusive).unwrap();
        me.say("locked");
        me.wait_for("the end of the world");
        return;
    }
    let file = NamedTempFile::new().unwrap();
    let mut peer = Peer::of(test_name!()).role("holder").env("FILE", file.path()).spawn();
    peer.wait_for("locked");
    let mine = open(&file);
    assert!(RangeLock::try_lock(&mine, Shared, ..).unwrap_err().is_would_block());
    assert!(FileLock::try_lock(&mine, Shared).unwrap_err().is_would_block());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(RangeLock::lock(&mine, Exclusive, ..).unwrap()));
        peer.kill();
        waiting.join().unwrap();
    });
    eventually("the whole file is free", || FileLock::try_lock(&mine, Exclusive).is_ok());
}

#[test]
fn two_processes_locking_crosswise_are_told_of_the_deadlock() {
    if let Some(me) = role() {
        let file = File::options().read(true).write(true).open(me.env("FILE")).unwrap();
        let _second = RangeLock::try_lock_as_process(&file, Exclusive, 1..2).unwrap();
        me.say("holds the second");
        let _first = RangeLock::lock_as_process(&file, Exclusive, 0..1).unwrap();
        me.say("has both");
        return;
    }
    let file = NamedTempFile::new().unwrap();
    let mine = open(&file);
    let first = RangeLock::try_lock_as_process(&mine, Exclusive, 0..1).unwrap();
    let mut peer = Peer::of(test_name!()).role("other").env("FILE", file.path()).spawn();
    peer.wait_for("holds the second");
    peer.sleeps();
    let error = RangeLock::lock_as_process(&mine, Exclusive, 1..2).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Deadlock, Some(libc::EDEADLK)));
    drop(first);
    peer.wait_for("has both");
    peer.succeeds();
}

#[test]
fn a_file_open_in_the_wrong_direction_is_refused_with_a_remedy() {
    let file = NamedTempFile::new().unwrap();
    let read_only = File::open(file.path()).unwrap();
    let error = RangeLock::try_lock(&read_only, Exclusive, ..).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EBADF));
    assert!(error.to_string().contains("for writing"), "{error}");
    assert!(FileLock::try_lock(&read_only, Exclusive).is_ok());
}
