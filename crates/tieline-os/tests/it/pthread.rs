//! The C library's locks between threads, between processes, and when their owners are killed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::pthread::{ALIGN, Barrier, Condvar, Locked, Mutex, MutexGuard, MutexKind, MutexOptions, RwLock};
use tieline_os::sysv::Key;
use tieline_os::sysv::shm::Segment;
use tieline_os::transfer::Pages;
use tieline_os::{Access, ErrorKind, Mode, Region};
use tieline_testkit::{Peer, eventually, role, test_name};

use crate::memory::{self, Memory, place_at};

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(60);

const CONDVAR: usize = 128;
const RWLOCK: usize = 256;
const WORD: usize = 1024;

fn every_kind() -> impl Iterator<Item = MutexOptions> {
    let kinds = [MutexKind::Normal, MutexKind::Recursive, MutexKind::ErrorChecking];
    kinds.into_iter().flat_map(|kind| {
        [false, true].into_iter().flat_map(move |robust| {
            [false, true].map(|inherit| MutexOptions::new().kind(kind).robust(robust).inherit_priority(inherit))
        })
    })
}

fn clean(locked: Locked<'_>) -> MutexGuard<'_> {
    match locked {
        Locked::Clean(guard) => guard,
        Locked::OwnerDied(_) => panic!("nobody died"),
    }
}

fn mutex_in(memory: &Region, options: MutexOptions) -> Mutex<'_> {
    Mutex::create(place_at(memory, 0), options).unwrap()
}

/// The figures our documentation and `docs/formats/pthread.md` name.
#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn the_layout_is_as_documented() {
    use tieline_os::pthread::HEADER_LEN;

    let lens = [Mutex::LEN, RwLock::LEN, Condvar::LEN, Barrier::LEN, HEADER_LEN, ALIGN];
    assert_eq!(lens, [64, 80, 72, 56, 24, 8]);
    let memory = Mapping::anonymous(4096).unwrap();
    let _mutex = mutex_in(&memory, MutexOptions::new());
    let mut header = [0; HEADER_LEN];
    memory.read(0, &mut header).unwrap();
    assert_eq!(&header[..4], b"tlpt");
    assert_eq!((header[4], header[5], header[6], header[7], header[8], header[9]), (1, 1, 40, 0, 1, 8));
    assert_eq!(u32::from_le_bytes(header[12..16].try_into().unwrap()), 0x102, "robust, error-checking");
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let inode = u64::from_le_bytes(header[16..].try_into().unwrap());
    assert_eq!(namespace.to_str().unwrap(), format!("pid:[{inode}]"));
}

#[test]
fn every_kind_of_mutex_excludes_keeps_deadlines_and_is_found_again_as_it_was_made() {
    for options in every_kind() {
        let memory = Mapping::anonymous(4096).unwrap();
        let made = mutex_in(&memory, options);
        let mutex = Mutex::attach(place_at(&memory, 0)).unwrap();
        assert_eq!((mutex.options(), made.options()), (options, options));
        let guard = clean(mutex.lock().unwrap());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let refused = made.try_lock().unwrap_err();
                assert!(refused.is_would_block(), "{options:?}: {refused}");
                let begun = Instant::now();
                let refused = made.lock_timeout(SHORT).unwrap_err();
                assert!(refused.is_timeout(), "{options:?}: {refused}");
                assert!((SHORT..LONG).contains(&begun.elapsed()), "{options:?}: {:?}", begun.elapsed());
                assert!(made.lock_timeout(Duration::ZERO).unwrap_err().is_timeout());
            });
            other.join().unwrap();
            let heir = scope.spawn(|| drop(clean(made.lock_timeout(Duration::MAX).unwrap())));
            drop(guard);
            heir.join().unwrap();
        });
        drop(clean(mutex.try_lock().unwrap()));
        drop(clean(mutex.lock_timeout(Duration::ZERO).unwrap()));
    }
}

#[test]
fn the_owner_who_locks_again_gets_what_the_kind_says() {
    for options in every_kind() {
        let memory = Mapping::anonymous(4096).unwrap();
        let mutex = mutex_in(&memory, options);
        let first = clean(mutex.lock().unwrap());
        match format!("{options:?}") {
            text if text.contains("Recursive") => {
                let again =
                    [mutex.lock(), mutex.try_lock(), mutex.lock_timeout(SHORT)].map(|again| clean(again.unwrap()));
                drop(first);
                let held = || std::thread::scope(|scope| scope.spawn(|| mutex.try_lock().is_err()).join().unwrap());
                for guard in again {
                    assert!(held(), "{options:?}: still locked once");
                    drop(guard);
                }
                assert!(!held(), "{options:?}");
                continue;
            }
            text if text.contains("ErrorChecking") => {
                let refused = mutex.lock().unwrap_err();
                assert_eq!((refused.kind(), refused.errno()), (ErrorKind::Deadlock, Some(35)), "{refused}");
                assert_eq!(mutex.lock_timeout(SHORT).unwrap_err().kind(), ErrorKind::Deadlock);
            }
            _ => assert!(mutex.lock_timeout(SHORT).is_err(), "{options:?}: it waits for itself"),
        }
        assert!(mutex.try_lock().unwrap_err().is_would_block(), "{options:?}");
        drop(first);
        drop(clean(mutex.lock().unwrap()));
    }
}

/// A plain counter, read and written in two steps, by several processes: exact only if the lock excludes.
#[test]
fn processes_exclude_each_other() {
    const ROUNDS: u64 = 20_000;
    fn count(memory: &Mapping, by_rwlock: bool) {
        let mutex = Mutex::attach(place_at(memory, 0)).unwrap();
        let lock = RwLock::attach(place_at(memory, RWLOCK)).unwrap();
        for _ in 0..ROUNDS {
            let _mutex = (!by_rwlock).then(|| clean(mutex.lock().unwrap()));
            let _lock = by_rwlock.then(|| lock.write().unwrap());
            let mut bytes = [0; 8];
            memory.read(WORD, &mut bytes).unwrap();
            memory.write(WORD, &(u64::from_ne_bytes(bytes) + 1).to_ne_bytes()).unwrap();
        }
    }
    if let Some(me) = role() {
        return count(&memory::of(&me), me.name() == "rwlock");
    }
    for (options, role) in every_kind().map(|options| (options, "mutex")).chain([(MutexOptions::new(), "rwlock")]) {
        let memory = Memory::new();
        let _mutex = mutex_in(&memory.mapping, options);
        let place = place_at(&memory.mapping, RWLOCK);
        // Which musl has not.
        let _lock = RwLock::create_preferring_writers(place).or_else(|_| RwLock::create(place)).unwrap();
        let peer = memory.peer(&test_name!(), role).spawn();
        count(&memory.mapping, role == "rwlock");
        peer.succeeds();
        assert_eq!(memory.mapping.load_u64(WORD, Ordering::Relaxed).unwrap(), 2 * ROUNDS, "{role} {options:?}");
    }
}

/// Twenty times each: the owner is killed before it locks, while it holds, while it holds and others wait, after it
/// has unlocked. The survivor is told exactly when the owner held, and always gets the lock.
#[test]
fn a_kill_at_every_step_is_told_exactly_when_the_lock_was_held() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let mutex = Mutex::attach(place_at(&memory, 0)).unwrap();
        if me.name() != "before" {
            let guard = mutex.lock().unwrap().or_repair(|| Ok(())).unwrap();
            if me.name() == "after" {
                drop(guard);
            } else {
                std::mem::forget(guard);
            }
        }
        me.say("here");
        me.wait_for("never said");
    }
    for options in [MutexOptions::new(), MutexOptions::new().inherit_priority(true)] {
        let memory = Memory::new();
        let mutex = mutex_in(&memory.mapping, options);
        for step in ["before", "holding", "holding, awaited", "after"] {
            for round in 0..20 {
                let mut owner = memory.peer(&test_name!(), step).spawn();
                owner.wait_for("here");
                let told = if step == "holding, awaited" {
                    let id = AtomicU32::new(0);
                    std::thread::scope(|scope| {
                        let heir = scope.spawn(|| {
                            id.store(rustix::thread::gettid().as_raw_pid().unsigned_abs(), Ordering::Relaxed);
                            let locked = mutex.lock_timeout(LONG).unwrap();
                            let told = locked.owner_died();
                            drop(locked.or_repair(|| Ok(())).unwrap());
                            told
                        });
                        eventually("the heir waits", || {
                            let id = id.load(Ordering::Relaxed);
                            id != 0 && tieline_testkit::sleeps(id)
                        });
                        owner.kill();
                        heir.join().unwrap()
                    })
                } else {
                    owner.kill();
                    let locked = mutex.lock_timeout(LONG).unwrap();
                    let told = locked.owner_died();
                    drop(locked.or_repair(|| Ok(())).unwrap());
                    told
                };
                assert_eq!(told, step.starts_with("holding"), "{step}, round {round}, {options:?}");
            }
        }
    }
}

#[test]
fn a_repair_that_fails_gives_the_lock_up_for_everyone() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        std::mem::forget(Mutex::attach(place_at(&memory, 0)).unwrap().lock());
        return;
    }
    let memory = Memory::new();
    let mutex = mutex_in(&memory.mapping, MutexOptions::new());
    memory.peer(&test_name!(), "owner").spawn().succeeds();
    let failed = mutex.lock().unwrap().or_repair(|| memory.mapping.fill(memory::LEN, 1, 0));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::NotRecoverable);
}

#[test]
fn a_thread_that_ends_with_a_forgotten_guard_counts_as_dead() {
    let memory = Mapping::anonymous(4096).unwrap();
    let mutex = mutex_in(&memory, MutexOptions::new());
    std::thread::scope(|scope| scope.spawn(|| std::mem::forget(mutex.lock())).join().unwrap());
    assert!(mutex.lock_timeout(LONG).unwrap().owner_died());
}

#[test]
fn a_segment_with_a_forgotten_robust_guard_stays_attached() {
    let segment = Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap();
    let attached = segment.attach().unwrap();
    segment.remove().unwrap();
    std::mem::forget(mutex_in(&attached, MutexOptions::new()).lock());
    let refused = attached.detach().unwrap_err();
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::Busy, Some(16)), "{refused}");
    // The list of this thread's locks leads through the segment.
    let other = Mapping::anonymous(4096).unwrap();
    drop(clean(mutex_in(&other, MutexOptions::new()).lock().unwrap()));
}

/// The C library keeps a held robust mutex in a list, by address. Forgetting the guard must not let the memory go:
/// the next lock of this thread would write through that address.
#[test]
fn memory_with_a_forgotten_robust_guard_stays_mapped() {
    let memory = Mapping::anonymous(4096).unwrap();
    let start = memory.as_ptr().addr();
    std::mem::forget(mutex_in(&memory, MutexOptions::new()).lock());
    let mut memory = memory;
    assert_eq!(memory.protect(Access::ReadOnly).unwrap_err().kind(), ErrorKind::Busy);
    drop(memory);
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    // The kernel may have merged it with a neighbour.
    let is_mapped = |address: usize| {
        maps().lines().any(|line| {
            let range = line.split(' ').next().unwrap().split_once('-').unwrap();
            let at = |text| usize::from_str_radix(text, 16).unwrap();
            (at(range.0)..at(range.1)).contains(&address)
        })
    };
    assert!(is_mapped(start));
    let pages = Pages::new(4096).unwrap();
    let pages_start = pages.as_ptr().addr();
    std::mem::forget(mutex_in(&pages, MutexOptions::new()).lock());
    drop(pages.into_gift());
    assert!(is_mapped(pages_start));
    let other = Mapping::anonymous(4096).unwrap();
    let mutex = mutex_in(&other, MutexOptions::new());
    for _ in 0..3 {
        drop(clean(mutex.lock().unwrap()));
    }
    drop(other);
}

#[test]
fn readers_share_and_writers_do_not() {
    let memory = Mapping::anonymous(4096).unwrap();
    let lock = RwLock::create(place_at(&memory, RWLOCK)).unwrap();
    let elsewhere = |ask: &(dyn Fn() -> bool + Sync)| std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
    let reading = lock.read().unwrap();
    assert!(elsewhere(&|| lock.try_read().is_ok() && lock.read_timeout(SHORT).is_ok()));
    assert!(elsewhere(&|| lock.try_write().unwrap_err().is_would_block()));
    let begun = Instant::now();
    assert!(elsewhere(&|| lock.write_timeout(SHORT).unwrap_err().is_timeout()));
    assert!((SHORT..LONG).contains(&begun.elapsed()));
    drop(reading);
    let writing = lock.write_timeout(SHORT).unwrap();
    // With musl the thread waits for itself.
    if cfg!(target_env = "gnu") {
        assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Deadlock);
        assert_eq!(lock.write().unwrap_err().kind(), ErrorKind::Deadlock);
    }
    assert!(lock.try_write().unwrap_err().is_would_block() && lock.try_read().unwrap_err().is_would_block());
    assert!(elsewhere(&|| lock.read_timeout(SHORT).unwrap_err().is_timeout()));
    drop(writing);
    drop(lock.try_write().unwrap());
}

/// With a writer waiting, a new reader is let in by the one kind and kept out by the other.
#[test]
#[cfg(target_env = "gnu")]
fn a_waiting_writer_is_passed_by_new_readers_unless_preferred() {
    for prefer in [false, true] {
        let memory = Mapping::anonymous(4096).unwrap();
        let place = place_at(&memory, RWLOCK);
        let lock = if prefer { RwLock::create_preferring_writers(place) } else { RwLock::create(place) }.unwrap();
        let id = AtomicU32::new(0);
        let reading = lock.read().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                id.store(rustix::thread::gettid().as_raw_pid().unsigned_abs(), Ordering::Relaxed);
                drop(lock.write_timeout(LONG).unwrap());
            });
            eventually("the writer waits", || {
                let id = id.load(Ordering::Relaxed);
                id != 0 && tieline_testkit::sleeps(id)
            });
            let passed = scope.spawn(|| lock.try_read().is_ok()).join().unwrap();
            assert_eq!(passed, !prefer);
            drop(reading);
        });
    }
}

/// The owner dies while we wait on the condition: locking again tells it, and a mutex beyond recovery is an error
/// after which nothing is held.
#[test]
fn a_condition_variable_hands_on_the_death_of_the_mutex_owner() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let mutex = Mutex::attach(place_at(&memory, 0)).unwrap();
        let condvar = Condvar::attach(place_at(&memory, CONDVAR)).unwrap();
        if me.name() == "waiter" {
            let guard = clean(mutex.lock().unwrap());
            me.say("waiting");
            let again = condvar.wait_while(guard, || true);
            me.say(&format!("{:?}", again.map(drop).map_err(|error| error.kind())));
            return;
        }
        std::mem::forget(mutex.lock());
        condvar.notify_all().unwrap();
        me.say("held");
        me.wait_for("never said");
    }
    let memory = Memory::new();
    let mutex = mutex_in(&memory.mapping, MutexOptions::new());
    let condvar = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    let mut owner: Option<Peer> = None;
    let guard = clean(mutex.lock().unwrap());
    let waiting = AtomicU32::new(0);
    let waited = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            eventually("the other thread waits", || waiting.load(Ordering::Relaxed) == 1);
            let mut peer = memory.peer(&test_name!(), "owner").spawn();
            peer.wait_for("held");
            peer.kill();
        });
        let waited = condvar.wait_while(guard, || {
            waiting.store(1, Ordering::Relaxed);
            true
        });
        killer.join().unwrap();
        waited
    });
    let Locked::OwnerDied(guard) = waited.unwrap() else { panic!("the owner was killed") };
    drop(guard.mark_consistent().unwrap());

    // Two wait; the first to lock again does not repair, so that the second can never lock.
    let mut waiters: Vec<Peer> = (0..2).map(|_| memory.peer(&test_name!(), "waiter").spawn()).collect();
    waiters.iter_mut().for_each(|waiter| waiter.wait_for("waiting"));
    drop(clean(mutex.lock().unwrap()));
    waiters.iter().for_each(Peer::sleeps);
    owner.insert(memory.peer(&test_name!(), "owner").spawn()).wait_for("held");
    drop(owner);
    let mut said: Vec<String> = waiters.iter_mut().map(Peer::hear).collect();
    said.sort();
    assert_eq!(said, ["Err(NotRecoverable)", "Ok(())"]);
    waiters.into_iter().for_each(Peer::succeeds);
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::NotRecoverable);
}

#[test]
fn a_wait_ends_by_the_condition_or_by_the_deadline() {
    let memory = Mapping::anonymous(4096).unwrap();
    let mutex = mutex_in(&memory, MutexOptions::new().kind(MutexKind::Normal).robust(false));
    let condvar = Condvar::create(place_at(&memory, CONDVAR)).unwrap();
    let word = memory.atomic_u32(WORD).unwrap();
    let guard = clean(mutex.lock().unwrap());
    let waited = condvar.wait_while_timeout(guard, Duration::MAX, || false).unwrap();
    assert!(!waited.timed_out);
    let waited = condvar.wait_while_timeout(clean(waited.lock), Duration::ZERO, || true).unwrap();
    assert!(waited.timed_out);
    let guard = clean(waited.lock);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = mutex.lock().unwrap();
            word.store(1, Ordering::Relaxed);
            drop(guard);
            condvar.notify_one().unwrap();
        });
        let waited = condvar.wait_while_timeout(guard, LONG, || word.load(Ordering::Relaxed) == 0).unwrap();
        assert!(!waited.timed_out && word.load(Ordering::Relaxed) == 1);
    });
    condvar.destroy().unwrap();
    let refused = Condvar::attach(place_at(&memory, CONDVAR)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

#[test]
fn places_that_cannot_hold_an_object_are_refused() {
    let memory = Memory::new();
    let mapping = &memory.mapping;
    let create = |offset| Mutex::create(place_at(mapping, offset), MutexOptions::new()).map(drop);
    for wrong in [1, 4, memory::LEN, memory::LEN - Mutex::LEN + ALIGN, usize::MAX, usize::MAX - 7] {
        let refused = create(wrong).unwrap_err();
        assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidInput, None), "{refused}");
        assert_eq!(Mutex::attach(place_at(mapping, wrong)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    create(memory::LEN - Mutex::LEN).unwrap();
    assert_eq!(create(memory::LEN - Mutex::LEN).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(Mutex::attach(place_at(mapping, 0)).unwrap_err().kind(), ErrorKind::NotFound);
    // As left by a maker that was killed half-way.
    mapping.atomic_u32(0).unwrap().store(1, Ordering::Relaxed);
    assert_eq!(create(0).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(Mutex::attach(place_at(mapping, 0)).unwrap_err().kind(), ErrorKind::Busy);

    for count in [0, u32::MAX] {
        let refused = Barrier::create(place_at(mapping, 512), count).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert_eq!(mapping.load_u32(512, Ordering::Relaxed).unwrap(), 0, "the place stays empty");
    }
    let file = std::fs::File::open(memory.path()).unwrap();
    let read_only = Mapping::of(file, &MapOptions::new().access(Access::ReadOnly)).unwrap();
    assert_eq!(Mutex::attach(place_at(&read_only, 0)).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Many create in one place at once: exactly one does, and all others find its object whole.
#[test]
fn one_of_many_creators_wins() {
    for _ in 0..200 {
        let memory = Mapping::anonymous(4096).unwrap();
        let place = place_at(&memory, 0);
        let winners: u32 = std::thread::scope(|scope| {
            let creators: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| match Mutex::create(place, MutexOptions::new()) {
                        Ok(_) => 1,
                        Err(error) => {
                            assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Busy), "{error}");
                            let mutex = tieline_testkit::until("it is made", || Mutex::attach(place).ok());
                            drop(clean(mutex.lock().unwrap()));
                            0
                        }
                    })
                })
                .collect();
            creators.into_iter().map(|creator| creator.join().unwrap()).sum()
        });
        assert_eq!(winners, 1);
    }
}

/// Handles may go to other threads; what is held may not (see the compile-fail examples in the documentation).
#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Mutex<'_>>();
    check::<RwLock<'_>>();
    check::<Condvar<'_>>();
    check::<Barrier<'_>>();
    check::<tieline_os::pthread::Place<'_>>();
}
