//! Processes that have nothing in common but the runtime directory share queues and locks, and see each other die.

use std::path::Path;

use tieline_shm::Name;
use tieline_shm::queue::Queue;
use tieline_shm::sync::{LockError, Mutex};
use tieline_testkit::{Isolation, Namespace, PATIENCE, Peer, skip, test_name};

fn name(place: &Path, of: &str) -> Name {
    Name::new(&format!("{}/{of}", place.display())).unwrap()
}

fn queue(place: &Path) -> Queue<u64> {
    Queue::open_or_create(name(place, "queue")).unwrap()
}

fn lock(place: &Path) -> Mutex<u64> {
    Mutex::open_or_create(name(place, "lock"), 1).unwrap()
}

/// Takes an item and a lock, and ends without giving either back.
fn hold_and_die(place: &Path) -> ! {
    let (queue, lock) = (queue(place), lock(place));
    let item = queue.recv_timeout(PATIENCE).unwrap();
    let mut guard = lock.lock_timeout(PATIENCE).unwrap();
    *guard = *item;
    std::mem::forget((item, guard));
    std::process::exit(0);
}

/// What it held comes to us, as from any other that died.
fn inherit(place: &Path, item: u64, kinds: &[Namespace]) {
    let again = queue(place).recv_timeout(PATIENCE).unwrap();
    assert_eq!((*again, again.attempts()), (item, 1), "{kinds:?}");
    again.ack().unwrap();
    match lock(place).lock_timeout(PATIENCE) {
        Err(LockError::OwnerDied(guard)) => {
            assert_eq!(*guard, item, "{kinds:?}");
            guard.mark_consistent();
        }
        Ok(_) => panic!("{kinds:?}: nobody was told that the holder died"),
        Err(LockError::Failed(error)) => panic!("{kinds:?}: {error}"),
    }
}

#[test]
fn what_one_in_a_container_held_comes_back_when_it_dies() {
    if let Some(me) = tieline_testkit::role() {
        hold_and_die(me.env("PLACE").as_ref());
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    let containers: [&[Namespace]; 4] = [
        &[Namespace::Ipc],
        &[Namespace::Mount, Namespace::Net],
        &[Namespace::User],
        &[Namespace::User, Namespace::Ipc, Namespace::Mount, Namespace::Net],
    ];
    let place = tempfile::tempdir().unwrap();
    let (queue, _lock) = (queue(place.path()), lock(place.path()));
    for (item, kinds) in (10..).zip(containers) {
        if !Namespace::can_make(kinds) {
            skip!("this machine does not let us make {kinds:?} namespaces");
        }
        queue.send(&item).unwrap();
        Peer::of(test_name!()).role("holder").env("PLACE", place.path()).namespaces(kinds).spawn().succeeds();
        inherit(place.path(), item, kinds);
    }
}

/// There its threads have other numbers than here, and ours may be somebody else's there.
#[test]
fn what_one_in_a_process_namespace_held_comes_back_when_it_dies() {
    const KINDS: [Namespace; 1] = [Namespace::Pid];
    if let Some(place) = std::env::var_os("HELD_IN") {
        if Namespace::enter(&KINDS, &test_name!()) == Isolation::Done {
            return;
        }
        hold_and_die(place.as_ref());
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    if !Namespace::can_make(&KINDS) {
        skip!("this machine does not let us make process namespaces");
    }
    let place = tempfile::tempdir().unwrap();
    let (queue, _lock) = (queue(place.path()), lock(place.path()));
    queue.send(&7).unwrap();
    Peer::of(test_name!()).env("HELD_IN", place.path()).spawn().succeeds();
    inherit(place.path(), 7, &KINDS);
}
