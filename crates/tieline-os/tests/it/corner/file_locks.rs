//! Corner lines of file locks.

use std::fs::File;
use std::io::stdin;
use std::os::fd::AsFd;

use tieline_os::lock::{FileLock, LockKind, RangeLock, range_holder};
use tieline_testkit::{Peer, eventually, role, test_name};

/// Given a classic record lock of a process and a lock of an open file description / when any descriptor of the file
/// is opened and closed in that process / then the process's lock is gone and the description's is not.
#[test]
fn line110_a_record_lock_is_dropped_by_closing_any_descriptor_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || File::options().read(true).write(true).open(file.path()).unwrap();
    let (classic, modern, observer) = (open(), open(), open());
    let _classic = RangeLock::try_lock_as_process(&classic, LockKind::Exclusive, 0..10).unwrap();
    let _modern = RangeLock::try_lock(&modern, LockKind::Exclusive, 10..20).unwrap();
    let holder = range_holder(&observer, LockKind::Shared, 0..10).unwrap().expect("locked");
    assert_eq!((holder.pid, holder.start, holder.end), (Some(std::process::id()), 0, Some(10)));

    drop(open());

    assert_eq!(range_holder(&observer, LockKind::Shared, 0..10).unwrap(), None, "the classic lock is lost");
    let holder = range_holder(&observer, LockKind::Shared, 10..20).unwrap().expect("still locked");
    assert_eq!((holder.pid, holder.kind), (None, LockKind::Exclusive));
}

/// Given a flock whose descriptor a child inherited / when the child closes it / then it is still held; when a child
/// unlocks it / then it is free, though the parent never unlocked.
#[test]
fn line111_an_inherited_flock_is_shared_not_duplicated() {
    if let Some(me) = role() {
        match me.name() {
            "closer" => {}
            "unlocker" => {
                // The same open description, so this is the parent's own lock.
                let inherited = FileLock::try_lock(stdin(), LockKind::Exclusive).unwrap();
                inherited.unlock().unwrap();
            }
            other => panic!("no role {other}"),
        }
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let mine = FileLock::try_lock(file.as_file(), LockKind::Exclusive).unwrap();
    let other = File::open(file.path()).unwrap();
    let is_free = || FileLock::try_lock(&other, LockKind::Shared).is_ok();
    let child = |role: &str| {
        let inherited = file.as_file().as_fd().try_clone_to_owned().unwrap();
        Peer::of(test_name!()).role(role).stdin(inherited).spawn().succeeds();
    };

    child("closer");
    assert!(!is_free(), "the child's closing and death changed nothing");
    child("unlocker");
    eventually("the child's unlock freed the parent's lock", is_free);
    drop(mine);
}
