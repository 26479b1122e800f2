//! Locks between pid namespaces, where two threads have the same number.

use std::os::fd::BorrowedFd;

use tieline_shm::ErrorKind;
use tieline_shm::sync::{MutexOptions, RawMutex, RwLock, RwLockKind, RwLockOptions};
use tieline_testkit::{Forked, Namespace, Peer, Role, eventually, pause, role, skip, test_name};

use super::{peer, segment};

/// A peer in a pid namespace of its own, which says its thread's number there.
fn stranger(test: &str, name: &str, fd: BorrowedFd<'_>) -> (Peer, String) {
    let mut peer = peer(test, name, fd).spawn();
    let number = peer.hear();
    (peer, number)
}

/// The peer: locks when it is told to, says so, and unlocks when it is told to.
fn lock_and_unlock<G>(me: &Role, lock: impl FnOnce() -> G) {
    me.say(&rustix::thread::gettid().as_raw_nonzero().to_string());
    me.wait_for("lock");
    me.say("waits");
    let guard = lock();
    me.say("has it");
    me.wait_for("unlock");
    drop(guard);
}

/// One thread waits for a lock, another of the same number, in another namespace, gets it; then the first is killed.
/// `is_busy` asks whether the lock is held by a living one.
fn a_waiter_dies_while_its_namesake_holds<G>(
    test: &str,
    fd: BorrowedFd<'_>,
    names: [&str; 2],
    lock: impl Fn() -> G,
    is_busy: impl Fn() -> bool,
) {
    let ours = lock();
    let [(mut waiter, one), (mut holder, other)] = names.map(|name| stranger(test, name, fd));
    assert_eq!(one, other, "the same number in both namespaces");
    waiter.say("lock");
    waiter.wait_for("waits");
    pause(std::time::Duration::from_millis(50));
    holder.say("lock");
    holder.wait_for("waits");
    pause(std::time::Duration::from_millis(50));
    drop(ours);
    // Whoever gets it: the other one waits, and dies.
    let is_as_named = eventually_has_it(&mut [&mut waiter, &mut holder]) == 1;
    let (mut dies, mut lives) = if is_as_named { (waiter, holder) } else { (holder, waiter) };
    dies.kill();
    for _ in 0..20 {
        pause(std::time::Duration::from_millis(10));
        assert!(is_busy(), "a living one's lock was taken for a dead one's");
    }
    lives.say("unlock");
    lives.succeeds();
    drop(lock());
}

/// Which of the peers has the lock.
fn eventually_has_it(peers: &mut [&mut Peer]) -> usize {
    let mut who = 0;
    eventually("somebody has the lock", || {
        who = (who + 1) % 2;
        peers[who].said("has it")
    });
    who
}

fn can_test() -> bool {
    rustix::process::geteuid().is_root() && Namespace::can_make(&[Namespace::Pid])
}

#[test]
fn a_mutex_is_not_taken_from_the_namesake_of_a_dead_waiter() {
    if let Some(me) = role() {
        return Forked::run_in_pid_namespace(|| {
            let lock = RawMutex::from_fd(segment()).unwrap();
            lock_and_unlock(&me, || lock.lock().unwrap());
        })
        .succeeds();
    }
    if !can_test() {
        skip!("only root can make pid namespaces for its children");
    }
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    a_waiter_dies_while_its_namesake_holds(
        &test_name!(),
        lock.as_fd().unwrap(),
        ["first", "second"],
        || lock.lock().unwrap(),
        || lock.try_lock().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
    );
}

#[test]
fn a_reader_writer_lock_is_not_taken_from_the_namesake_of_a_dead_waiter() {
    if let Some(me) = role() {
        return Forked::run_in_pid_namespace(|| {
            let lock = RwLock::<u64>::from_fd(segment()).unwrap();
            lock_and_unlock(&me, || lock.write().unwrap());
        })
        .succeeds();
    }
    if !can_test() {
        skip!("only root can make pid namespaces for its children");
    }
    for kind in [RwLockKind::WriterPreferring, RwLockKind::Fair] {
        let lock = RwLock::anonymous(0_u64, &RwLockOptions::new().kind(kind)).unwrap();
        a_waiter_dies_while_its_namesake_holds(
            &test_name!(),
            lock.as_fd(),
            ["first", "second"],
            || lock.write().unwrap(),
            || lock.try_write().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        );
    }
}

/// The kernel knows the waiters of such a lock by their numbers.
#[test]
fn a_lock_that_inherits_priorities_stays_in_its_namespace() {
    if let Some(me) = role() {
        return Forked::run_in_pid_namespace(|| {
            assert_eq!(RawMutex::from_fd(segment()).unwrap_err().kind(), ErrorKind::Unsupported);
            me.say("refused");
        })
        .succeeds();
    }
    if !can_test() {
        skip!("only root can make pid namespaces for its children");
    }
    let lock = RawMutex::anonymous(&MutexOptions::new().inherit_priority(true)).unwrap();
    let (peer, told) = stranger(&test_name!(), "stranger", lock.as_fd().unwrap());
    assert_eq!(told, "refused");
    peer.succeeds();
    drop(lock.lock().unwrap());
}
