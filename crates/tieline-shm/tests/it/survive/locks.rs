//! Locks: nobody inside beside another, nobody waits for the dead, and who comes next is told.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::sync::{
    Barrier, Condvar, LockError, Mutex, MutexGuard, MutexOptions, RwLock, RwLockKind, RwLockOptions, Semaphore,
    WriteGuard,
};

use super::conduct::{End, Place};
use super::{Subject, given};

type Pair = [u64; 2];

const SHORT: Duration = Duration::from_millis(50);
/// Who has waited so long looks without a signal; no signal may go astray for half as long.
const LONG: Duration = Duration::from_secs(20);

pub(super) struct Mutexes<const INHERIT: bool> {
    lock: Mutex<Pair>,
}

/// Steps that no victim need pass; the last only where the kernel does the waiting. Who comes late need not wait.
const NOT_BY_INHERITING: &[(&str, &str)] = &[
    ("mutex:giving-up", "sync::mutex::model"),
    ("mutex:given-up", "sync::mutex::model"),
    ("mutex:marked", "sync::mutex_death"),
    ("mutex:woken", "sync::mutex_death"),
    ("mutex:woke", "sync::mutex_death"),
    ("mutex:unmarking", "the ordinary kind"),
];
const NOT_BY_ANY: usize = 5;

/// The lock, repaired if need be; `None` if its holder is stopped.
fn sound(lock: &Mutex<Pair>) -> Option<MutexGuard<'_, Pair>> {
    match lock.lock_timeout(SHORT) {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half done, and nobody said so");
            Some(pair)
        }
        Err(LockError::OwnerDied(mut pair)) => {
            pair[1] = pair[0];
            pair.mark_consistent();
            Some(pair)
        }
        Err(LockError::Failed(error)) => {
            assert!(error.is_timeout(), "{error}");
            None
        }
    }
}

fn raise(pair: &mut Pair) {
    pair[0] += 1;
    std::hint::black_box(&mut *pair);
    pair[1] += 1;
}

/// Until the dead one is dead, and once more: answers when that went.
fn until_it_goes_again(end: &End, mut attempt: impl FnMut() -> bool) -> Option<Instant> {
    while !end.is_dead() {
        attempt();
    }
    while !attempt() {
        end.is_dead();
    }
    let told = Instant::now();
    while !end.is_reaped() {
        attempt();
    }
    for _ in 0..10 {
        while !attempt() {
            end.is_dead();
        }
    }
    Some(told).filter(|_| end.was_ready())
}

impl<const INHERIT: bool> Subject for Mutexes<INHERIT> {
    const ROLES: &'static [&'static str] = &["worker"];
    const STEPS: &'static [&'static str] = &["mutex"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] =
        if INHERIT { NOT_BY_INHERITING } else { NOT_BY_INHERITING.split_at(NOT_BY_ANY).0 };
    const BYSTANDER: Option<&'static str> = Some("worker");

    fn start(_: &Place) -> Self {
        Self { lock: Mutex::anonymous([0, 0], &MutexOptions::new().inherit_priority(INHERIT)).expect("a lock") }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LOCK", self.lock.as_fd())]
    }

    fn victim(_: &str, place: &Place) {
        let lock = Mutex::<Pair>::from_fd(given("LOCK")).expect("the lock");
        place.ready();
        // Two threads, so that they wait for each other as well.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        if let Some(mut pair) = sound(&lock) {
                            raise(&mut pair);
                        }
                    }
                });
            }
        });
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        until_it_goes_again(end, || sound(&self.lock).map(|mut pair| raise(&mut pair)).is_some())
    }
}

pub(super) struct RwLocks<const FAIR: bool> {
    lock: RwLock<Pair>,
}

fn sound_to_write(lock: &RwLock<Pair>) -> Option<WriteGuard<'_, Pair>> {
    match lock.write_timeout(SHORT) {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half done, and nobody said so");
            Some(pair)
        }
        Err(LockError::OwnerDied(mut pair)) => {
            pair[1] = pair[0];
            pair.mark_consistent();
            Some(pair)
        }
        Err(LockError::Failed(error)) => {
            assert!(error.is_timeout(), "{error}");
            None
        }
    }
}

/// Whether it could be read; one that a dead writer left is repaired first.
fn read(lock: &RwLock<Pair>) -> bool {
    match lock.read_timeout(SHORT) {
        Ok(pair) => {
            let first = pair[0];
            std::hint::spin_loop();
            assert_eq!(first, pair[1], "half done, and nobody said so");
            true
        }
        Err(error) if error.kind() == ErrorKind::OwnerDied => sound_to_write(lock).is_some(),
        Err(error) => {
            assert!(error.is_timeout(), "{error}");
            false
        }
    }
}

impl<const FAIR: bool> Subject for RwLocks<FAIR> {
    const ROLES: &'static [&'static str] = &["writer", "reader"];
    const STEPS: &'static [&'static str] = &["rwlock"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] =
        &[("rwlock:gate-phase", "the fair kind"), ("rwlock:pass-on", "sync::rwlock::model")];
    const BYSTANDER: Option<&'static str> = Some("reader");

    fn start(_: &Place) -> Self {
        let kind = if FAIR { RwLockKind::Fair } else { RwLockKind::WriterPreferring };
        Self { lock: RwLock::anonymous([0, 0], &RwLockOptions::new().kind(kind)).expect("a lock") }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LOCK", self.lock.as_fd())]
    }

    fn victim(role: &str, place: &Place) {
        let lock = RwLock::<Pair>::from_fd(given("LOCK")).expect("the lock");
        place.ready();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        if role == "writer" {
                            if let Some(mut pair) = sound_to_write(&lock) {
                                raise(&mut pair);
                            }
                        } else {
                            read(&lock);
                        }
                    }
                });
            }
        });
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        until_it_goes_again(end, || {
            sound_to_write(&self.lock).map(|mut pair| raise(&mut pair)).is_some() && read(&self.lock)
        })
    }
}

pub(super) struct Permits {
    permits: Semaphore,
}

impl Subject for Permits {
    const ROLES: &'static [&'static str] = &["worker"];
    const STEPS: &'static [&'static str] = &["semaphore"];

    fn start(_: &Place) -> Self {
        Self { permits: Semaphore::anonymous("permits", 3).expect("a semaphore") }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LOCK", self.permits.as_fd())]
    }

    fn victim(_: &str, place: &Place) {
        let permits = Semaphore::from_fd(given("LOCK")).expect("the semaphore");
        place.ready();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let one = permits.acquire().expect("a permit");
                        std::hint::spin_loop();
                        drop(one);
                    }
                });
            }
        });
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        let acquire = || match self.permits.acquire_timeout(SHORT) {
            Ok(permit) => Some(permit),
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                None
            }
        };
        let told = until_it_goes_again(end, || {
            let all = [acquire(), acquire(), acquire()];
            let is_all = all.iter().all(Option::is_some);
            if is_all {
                let fourth = self.permits.try_acquire();
                assert!(fourth.is_err_and(|error| error.is_would_block()), "there are three");
            }
            is_all
        });
        assert_eq!(self.permits.available(), 3);
        told
    }
}

/// Things to take, under a lock, and a condition variable that tells of them.
pub(super) struct Signals {
    count: Mutex<Pair>,
    condition: Condvar,
}

/// Takes one thing, waiting for it.
fn take(count: &Mutex<Pair>, condition: &Condvar) -> bool {
    let mut held = match count.lock_timeout(SHORT) {
        Ok(held) => held,
        Err(LockError::OwnerDied(held)) => {
            held.mark_consistent();
            // Whoever died may have had something to tell.
            condition.notify_all();
            held
        }
        Err(LockError::Failed(error)) => {
            assert!(error.is_timeout(), "{error}");
            return false;
        }
    };
    while held[0] == 0 {
        held = match condition.wait_timeout(held, LONG) {
            Ok((held, _)) if held[0] == 0 => return false,
            Ok((held, _)) => held,
            Err(LockError::OwnerDied((held, _))) => {
                held.mark_consistent();
                condition.notify_all();
                held
            }
            Err(LockError::Failed(error)) => {
                assert!(error.is_timeout(), "{error}");
                return false;
            }
        };
    }
    held[0] -= 1;
    true
}

impl Subject for Signals {
    const ROLES: &'static [&'static str] = &["waiter", "notifier"];
    const STEPS: &'static [&'static str] = &["condvar"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[
        ("condvar:reach-told", "sync::condvar"),
        ("condvar:reach-woken", "sync::condvar"),
        ("condvar:rescued", "sync::condvar"),
        ("condvar:rescuing", "sync::condvar"),
    ];

    fn start(_: &Place) -> Self {
        let count = Mutex::anonymous([0, 0], &MutexOptions::new()).expect("a lock");
        Self { count, condition: Condvar::anonymous().expect("a condition variable") }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LOCK", self.count.as_fd()), ("CONDITION", self.condition.as_fd())]
    }

    fn victim(role: &str, place: &Place) {
        let count = Mutex::<Pair>::from_fd(given("LOCK")).expect("the lock");
        let condition = Condvar::from_fd(given("CONDITION")).expect("the condition variable");
        place.ready();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        if role == "waiter" {
                            take(&count, &condition);
                        } else {
                            put(&count, &condition);
                        }
                    }
                });
            }
        });
    }

    /// One of two waiters dies; each thing that is put is taken by the other in time, though its signal may have gone
    /// to the dead one.
    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        let is_over = AtomicBool::new(false);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    taken.fetch_add(u64::from(take(&self.count, &self.condition)), Ordering::Relaxed);
                }
            });
            let mut after = 0;
            while after < 5 {
                after += u32::from(end.is_reaped());
                let was_reaped = end.is_reaped();
                put(&self.count, &self.condition);
                let begin = Instant::now();
                while left(&self.count) > 0 {
                    // A stopped one may hold the lock, or have the signal.
                    if !end.is_dead() && begin.elapsed() > SHORT {
                        break;
                    }
                    let elapsed = begin.elapsed();
                    assert!(!was_reaped || elapsed < LONG / 2, "a signal went to the dead");
                }
            }
            is_over.store(true, Ordering::Relaxed);
            put(&self.count, &self.condition);
            self.condition.notify_all();
        });
        assert!(taken.load(Ordering::Relaxed) > 0);
        None
    }
}

fn put(count: &Mutex<Pair>, condition: &Condvar) {
    match count.lock_timeout(SHORT) {
        Ok(mut held) => held[0] = 1,
        Err(LockError::OwnerDied(mut held)) => {
            held[0] = 1;
            held.mark_consistent();
            condition.notify_all();
        }
        Err(LockError::Failed(error)) => assert!(error.is_timeout(), "{error}"),
    }
    condition.notify_one();
}

fn left(count: &Mutex<Pair>) -> u64 {
    match count.lock_timeout(SHORT) {
        Ok(held) => held[0],
        Err(LockError::OwnerDied(held)) => {
            held.mark_consistent();
            held[0]
        }
        Err(LockError::Failed(error)) => {
            assert!(error.is_timeout(), "{error}");
            1
        }
    }
}

pub(super) struct Meetings {
    barrier: Barrier,
}

impl Subject for Meetings {
    const ROLES: &'static [&'static str] = &["participant"];
    const STEPS: &'static [&'static str] = &["barrier"];

    fn start(_: &Place) -> Self {
        Self { barrier: Barrier::anonymous("meetings", 2).expect("a barrier") }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LOCK", self.barrier.as_fd())]
    }

    fn victim(_: &str, place: &Place) {
        let barrier = Barrier::from_fd(given("LOCK")).expect("the barrier");
        let mut me = barrier.join().expect("a place");
        place.ready();
        for count in 0.. {
            if let Err(error) = me.wait() {
                // The death of whoever had the place before may be found only now.
                assert_eq!(error.kind(), ErrorKind::PeerGone, "{error}");
            }
            if count % 8 == 7 {
                // Leaves and comes again.
                drop(me);
                me = barrier.join().expect("a place");
            }
        }
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        // A dead one's place may be taken by another.
        let barrier = &self.barrier;
        let me = loop {
            match barrier.join() {
                Ok(me) => break me,
                Err(error) => assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}"),
            }
            end.is_dead();
        };
        let mut meetings = 0;
        loop {
            match me.wait_timeout(SHORT) {
                Ok(_) => {
                    meetings += 1;
                    if end.is_reaped() {
                        // It had left, or not yet come: nobody else is waited for.
                        return None;
                    }
                }
                Err(error) if error.is_timeout() => {
                    if end.is_reaped() {
                        // It never came, or it had left and not come back.
                        return None;
                    }
                }
                Err(error) => {
                    let told = Instant::now();
                    assert_eq!(error.kind(), ErrorKind::PeerGone, "{error}");
                    if meetings == 0 && !end.may_be_dead() {
                        // The same here: the round before.
                        continue;
                    }
                    assert!(end.may_be_dead(), "told of a death that was none, after {meetings}");
                    while !end.is_reaped() {}
                    return Some(told).filter(|_| end.was_ready());
                }
            }
        }
    }
}
