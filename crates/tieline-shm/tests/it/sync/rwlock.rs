//! The reader-writer lock among real processes: who may enter, and what deaths leave.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::sync::{LockError, LockResult, MAX_READERS, RwLock, RwLockKind, RwLockOptions, WriteGuard};
use tieline_shm::{Error, ErrorKind};
use tieline_testkit::{Forked, PATIENCE, Peer, eventually, pause, role, skip, soon, test_name};

use super::{Chance, peer, rounds, segment};

type Pair = [u64; 2];

const LONG: Duration = PATIENCE;
const SHORT: Duration = Duration::from_millis(30);
const KINDS: [RwLockKind; 2] = [RwLockKind::WriterPreferring, RwLockKind::Fair];

fn lock(kind: RwLockKind, readers: u32) -> RwLock<Pair> {
    RwLock::anonymous([0, 0], &RwLockOptions::new().kind(kind).readers(readers)).unwrap()
}

/// Repairs what a dead writer left half done.
fn sound(locked: LockResult<WriteGuard<'_, Pair>>) -> WriteGuard<'_, Pair> {
    match locked {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half done, and nobody said so");
            pair
        }
        Err(LockError::OwnerDied(mut pair)) => {
            pair[1] = pair[0];
            pair.mark_consistent();
            pair
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

fn write(lock: &RwLock<Pair>) {
    let mut pair = sound(lock.write_timeout(LONG));
    pair[0] += 1;
    std::hint::black_box(&mut pair);
    pair[1] += 1;
}

/// Reads once; whether a dead writer's work is still to be repaired is an answer.
fn read(lock: &RwLock<Pair>) {
    match lock.read_timeout(LONG) {
        Ok(pair) => assert_eq!(pair[0], pair[1], "a reader sees what a writer has not finished"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::OwnerDied, "{error}"),
    }
}

#[test]
fn readers_share_and_writers_do_not() {
    for kind in KINDS {
        let lock = lock(kind, 4);
        let theirs = RwLock::<Pair>::from_fd(lock.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!((theirs.kind(), theirs.readers()), (kind, 4));
        let first = lock.read().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = theirs.try_read().expect("readers share");
                assert_eq!(lock.reading().len(), 2);
                assert_eq!(lock.writer(), None);
                drop(second);
                assert_eq!(theirs.try_write().map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
                assert_eq!(theirs.write_timeout(SHORT).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
                drop(theirs.try_read().expect("the writer gave up"));
            });
        });
        drop(first);
        let writer = lock.write().unwrap();
        assert!(lock.writer().is_some());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(theirs.try_read().map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
                assert_eq!(theirs.read_timeout(SHORT).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
                assert_eq!(theirs.write_timeout(SHORT).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
            });
        });
        drop(writer);
        assert!(lock.reading().is_empty());
        drop(lock.try_write().unwrap());
    }
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    for kind in KINDS {
        let lock = lock(kind, 4);
        let reads = lock.read().unwrap();
        assert_eq!(lock.write().map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        assert_eq!(lock.read().map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        drop(reads);
        let writes = lock.write().unwrap();
        assert_eq!(lock.write().map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        assert_eq!(lock.read().map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        drop(writes);
        assert!(lock.reading().is_empty());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for readers in [0, MAX_READERS + 1] {
        let options = RwLockOptions::new().readers(readers);
        assert_eq!(RwLock::anonymous(0_u64, &options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let largest = RwLock::anonymous(0_u64, &RwLockOptions::new().readers(MAX_READERS)).unwrap();
    let fd = || largest.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(RwLock::<u32>::from_fd(fd()).unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(RwLock::<u64>::from_fd(fd()).unwrap().readers(), MAX_READERS as usize);
}

#[test]
fn one_reader_more_than_the_lock_was_made_for_reads_and_keeps_later_ones_waiting() {
    for kind in KINDS {
        let lock = lock(kind, 1);
        let first = lock.read().unwrap();
        std::thread::scope(|scope| {
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let (said, says) = std::sync::mpsc::channel();
            let lock = &lock;
            scope.spawn(move || {
                let second = lock.read_timeout(LONG).expect("one more is let in");
                said.send(()).unwrap();
                let _ = gone.recv();
                drop(second);
            });
            says.recv().unwrap();
            let third = scope.spawn(|| lock.read_timeout(LONG).map(drop));
            pause(SHORT);
            assert!(!third.is_finished(), "later readers wait");
            drop(go);
            third.join().unwrap().expect("the second left");
        });
        drop(first);
        drop(lock.try_write().unwrap());
    }
}

/// Who comes next when a writer leaves, with a reader and a writer asleep.
fn order_after_a_writer(kind: RwLockKind) -> Vec<&'static str> {
    let lock = lock(kind, 4);
    let order = std::sync::Mutex::new(Vec::new());
    let held = lock.write().unwrap();
    std::thread::scope(|scope| {
        let asleep = |name: &'static str| {
            let (said, says) = std::sync::mpsc::channel();
            let (lock, order) = (&lock, &order);
            scope.spawn(move || {
                said.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                if name == "writer" {
                    let guard = lock.write_timeout(LONG).unwrap();
                    order.lock().unwrap().push(name);
                    drop(guard);
                } else {
                    let guard = lock.read_timeout(LONG).unwrap();
                    order.lock().unwrap().push(name);
                    drop(guard);
                }
            });
            let thread = says.recv().unwrap().unsigned_abs();
            eventually("it sleeps", || tieline_testkit::sleeps(thread));
        };
        asleep("reader");
        asleep("writer");
        drop(held);
    });
    order.into_inner().unwrap()
}

#[test]
fn a_waiting_writer_goes_first_or_takes_turns() {
    assert_eq!(order_after_a_writer(RwLockKind::WriterPreferring), ["writer", "reader"]);
    assert_eq!(order_after_a_writer(RwLockKind::Fair), ["reader", "writer"]);
}

#[test]
fn fair_readers_are_not_starved_by_a_writer_that_never_pauses() {
    let lock = lock(RwLockKind::Fair, 4);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                write(&lock);
            }
        });
        for _ in 0..2000 {
            read(&lock);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Who leaves is back a thousand times sooner than whoever it woke, and would find the lock free every time.
#[test]
fn who_comes_back_to_a_fair_lock_lets_the_writer_that_it_woke_go_first() {
    const TURNS: u32 = 40;
    let deadline = Instant::now() + PATIENCE;
    let (mut of_each, mut woken_in_time) = (Vec::new(), Vec::new());
    loop {
        let gone_first = goes_first(TURNS);
        of_each.push(gone_first);
        // Not always, where the machine takes longer than a millisecond to wake it.
        if gone_first >= TURNS / 4 {
            return;
        }
        woken_in_time.push(woken_within(TURNS, Duration::from_micros(500)));
        if Instant::now() > deadline {
            woken_in_time.sort_unstable();
            if woken_in_time[woken_in_time.len() / 2] < TURNS * 3 / 4 {
                skip!("this machine takes too long to wake a thread: {woken_in_time:?} of {TURNS} times it was soon");
            }
            panic!("{of_each:?} of {TURNS}");
        }
    }
}

/// How often of so many times a thread that sleeps is awake so soon.
fn woken_within(turns: u32, limit: Duration) -> u32 {
    let soon = |_: &u32| {
        let (tell, told) = std::sync::mpsc::channel();
        let (wake, woken) = std::sync::mpsc::channel::<Instant>();
        let sleeper = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
            woken.recv().unwrap().elapsed()
        });
        let other = told.recv().unwrap();
        eventually("the other sleeps", || tieline_testkit::sleeps(other));
        wake.send(Instant::now()).unwrap();
        sleeper.join().unwrap() < limit
    };
    (0..turns).filter(soon).count().try_into().unwrap()
}

/// How often of so many times the writer that was woken is the next.
fn goes_first(turns: u32) -> u32 {
    let lock = lock(RwLockKind::Fair, 4);
    let mut gone_first = 0;
    for _ in 0..turns {
        let held = sound(lock.write_timeout(LONG));
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let lock = &lock;
            scope.spawn(move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
                write(lock);
            });
            let other = told.recv().unwrap();
            eventually("the other sleeps", || tieline_testkit::sleeps(other));
            let before = held[0];
            drop(held);
            gone_first += u32::from(sound(lock.write_timeout(LONG))[0] > before);
        });
    }
    gone_first
}

#[test]
fn writers_are_not_starved_by_readers_that_never_pause() {
    for kind in KINDS {
        let lock = lock(kind, 4);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let guard = lock.read_timeout(LONG).unwrap();
                        pause(Duration::from_micros(50));
                        drop(guard);
                    }
                });
            }
            for _ in 0..100 {
                write(&lock);
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_thread_that_ends_holding_is_dead_to_the_lock() {
    for kind in KINDS {
        let lock = lock(kind, 2);
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(lock.read().unwrap())).join().unwrap();
            drop(lock.try_write().expect("a dead reader leaves nothing"));
            let end = || {
                let mut pair = lock.write().unwrap();
                pair[0] = 7;
                std::mem::forget(pair);
            };
            scope.spawn(end).join().unwrap();
        });
        assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::OwnerDied);
        assert_eq!(lock.try_read().unwrap_err().kind(), ErrorKind::OwnerDied);
        drop(sound(lock.write()));
        assert_eq!(*lock.read().unwrap(), [7, 7]);
    }
}

#[test]
fn who_does_not_repair_makes_the_lock_unusable() {
    for kind in KINDS {
        let lock = lock(kind, 2);
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(lock.write().unwrap())).join().unwrap();
        });
        let inherited = match lock.write() {
            Err(LockError::OwnerDied(guard)) => guard,
            other => panic!("{other:?}"),
        };
        assert!(inherited.is_inherited());
        let told = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for at in 0..4 {
                let (lock, told) = (&lock, &told);
                scope.spawn(move || {
                    let refused = if at % 2 == 0 {
                        lock.read_timeout(LONG).map(drop).unwrap_err()
                    } else {
                        Error::from(lock.write_timeout(LONG).map(drop).unwrap_err())
                    };
                    assert_eq!(refused.kind(), ErrorKind::NotRecoverable);
                    told.fetch_add(1, Ordering::Relaxed);
                });
            }
            pause(SHORT);
            assert_eq!(told.load(Ordering::Relaxed), 0, "it is still being repaired");
            drop(inherited);
        });
        assert_eq!(told.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn a_child_made_by_fork_holds_nothing() {
    if let Some(me) = role() {
        let lock = RwLock::<Pair>::from_fd(segment()).unwrap();
        let reads = dropped_in_a_child(lock.read().unwrap());
        assert_eq!(lock.reading().len(), 1, "the child gave the parent's lock back");
        drop(reads);
        let writes = dropped_in_a_child(lock.write().unwrap());
        assert!(lock.writer().is_some(), "the child gave the parent's lock back");
        drop(writes);
        me.say("done");
        return;
    }
    for kind in KINDS {
        let lock = lock(kind, 2);
        let mut forker = peer(&test_name!(), "forker", lock.as_fd()).spawn();
        forker.wait_for("done");
        forker.succeeds();
        write(&lock);
    }
}

const STEPS: [&str; 24] = [
    "rwlock:read-begun",
    "rwlock:read-taken",
    "rwlock:read-claimed",
    "rwlock:read-claimed:300",
    "rwlock:read-waits",
    "rwlock:read-sleeps",
    "rwlock:read-leaving",
    "rwlock:read-left",
    "rwlock:read-left:300",
    "rwlock:gate-free",
    "rwlock:gate-taken",
    "rwlock:gate-taken:300",
    "rwlock:gate-sleeps",
    "rwlock:gate-sleeps:3",
    "rwlock:drain-sleeps",
    "rwlock:write-gate",
    "rwlock:write-drained",
    "rwlock:write-inside",
    "rwlock:write-inside:300",
    "rwlock:write-leaving",
    "rwlock:write-whole",
    "rwlock:gate-opening",
    "rwlock:gate-open",
    "rwlock:gate-open:300",
];

#[test]
fn a_death_at_any_step_leaves_a_lock_that_works() {
    if let Some(me) = role() {
        let lock = RwLock::<Pair>::from_fd(segment()).unwrap();
        me.say("ready");
        loop {
            read(&lock);
            write(&lock);
        }
    }
    for kind in KINDS {
        let extra: &[&str] = if kind == RwLockKind::Fair { &["rwlock:gate-phase"] } else { &[] };
        for step in STEPS.iter().chain(extra) {
            let lock = lock(kind, 2);
            let mut survivor = peer(&test_name!(), "survivor", lock.as_fd()).spawn();
            survivor.wait_for("ready");
            let mut victim =
                peer(&test_name!(), "victim", lock.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
            // Who contends from here makes the victim wait, so that every step is passed.
            let is_dead = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_dead.load(Ordering::Relaxed) {
                        let pair = sound(lock.write_timeout(LONG));
                        pause(Duration::from_micros(20));
                        drop(pair);
                        if let Ok(pair) = lock.read_timeout(LONG) {
                            pause(Duration::from_micros(20));
                            drop(pair);
                        }
                    }
                });
                let status = victim.exit_status();
                is_dead.store(true, Ordering::Relaxed);
                assert!(!status.success(), "{step}: the victim was to die");
            });
            let before = sound(lock.write_timeout(LONG))[0];
            eventually("the survivor goes on", || {
                write(&lock);
                sound(lock.write_timeout(LONG))[0] > before + 200
            });
            survivor.kill();
            drop(sound(lock.write_timeout(LONG)));
        }
    }
}

/// Eight processes and two kinds of users each; one of them is killed again and again, another stopped and continued.
#[test]
fn deaths_and_stops_at_random_instants_leave_a_lock_that_works() {
    if let Some(me) = role() {
        let lock = RwLock::<Pair>::from_fd(segment()).unwrap();
        me.say("ready");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    write(&lock);
                }
            });
            loop {
                read(&lock);
            }
        });
        return;
    }
    let mut chance = Chance(0x0dd5_eed5);
    for kind in KINDS {
        let lock = lock(kind, 4);
        let mut victims: Vec<Peer> = Vec::new();
        for round in 0..rounds(100) / 2 {
            while victims.len() < 8 {
                let mut victim = peer(&test_name!(), "victim", lock.as_fd()).spawn();
                victim.wait_for("ready");
                victims.push(victim);
            }
            let stopped = &victims[chance.below(8) as usize];
            stopped.signal(rustix::process::Signal::STOP);
            pause(Duration::from_micros(chance.below(500)));
            stopped.signal(rustix::process::Signal::CONT);
            pause(Duration::from_micros(chance.below(2000)));
            victims.swap_remove(chance.below(8) as usize).kill();
            let before = Instant::now();
            write(&lock);
            read(&lock);
            assert!(before.elapsed() < LONG, "round {round}");
        }
        // Nobody of those who are left sleeps for ever.
        let done = sound(lock.write())[0];
        eventually("the others go on", || sound(lock.write())[0] > done + 1000);
    }
}

#[test]
fn a_stopped_holder_is_waited_for_and_goes_on_when_it_is_continued() {
    if let Some(me) = role() {
        let lock = RwLock::<Pair>::from_fd(segment()).unwrap();
        if me.name() == "reader" {
            let guard = lock.read().unwrap();
            me.say("in");
            me.wait_for("out");
            drop(guard);
        } else {
            let mut guard = lock.write().unwrap();
            guard[0] = 1;
            me.say("in");
            me.wait_for("out");
            guard[1] = 1;
            drop(guard);
        }
        me.say("out");
        return;
    }
    for kind in KINDS {
        for name in ["reader", "writer"] {
            let lock = lock(kind, 2);
            let mut holder = peer(&test_name!(), name, lock.as_fd()).spawn();
            holder.wait_for("in");
            holder.stop();
            holder.say("out");
            assert_eq!(lock.write_timeout(SHORT).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
            holder.signal(rustix::process::Signal::CONT);
            holder.wait_for("out");
            let pair = lock.write_timeout(LONG).expect("it left in order");
            assert_eq!(pair[0], pair[1]);
            drop(pair);
            holder.succeeds();
        }
    }
}

#[test]
fn a_survivor_is_told_within_ten_milliseconds() {
    if let Some(me) = role() {
        let lock = RwLock::<Pair>::from_fd(segment()).unwrap();
        let writes = (me.name() == "writer").then(|| lock.write().unwrap());
        let reads = (me.name() == "reader").then(|| lock.read().unwrap());
        me.say("locked");
        me.wait_for("never");
        drop((writes, reads));
        return;
    }
    for (name, answer) in [("writer", Some(ErrorKind::OwnerDied)), ("reader", None)] {
        soon(name, Duration::from_millis(10), || {
            let lock = lock(RwLockKind::default(), 2);
            let mut holder = peer(&test_name!(), name, lock.as_fd()).spawn();
            holder.wait_for("locked");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let answer = lock.write_timeout(LONG).map(drop).map_err(|error| error.kind());
                    (answer.err(), Instant::now())
                });
                pause(Duration::from_millis(5));
                let killed = Instant::now();
                holder.kill();
                let (told, at) = waiter.join().unwrap();
                assert_eq!(told, answer);
                at.saturating_duration_since(killed)
            })
        });
    }
}

/// A hostile peer flips every byte of the lock. What the victim is answered does not matter, but it is answered.
#[test]
fn every_byte_flipped_by_another_process_gives_an_answer() {
    super::hostile(
        &test_name!(),
        || {
            let lock = RwLock::anonymous([0_u64; 2], &RwLockOptions::new().readers(2)).unwrap();
            let fd = lock.as_fd().try_clone_to_owned().unwrap();
            (fd, lock)
        },
        |lock| {
            let timeout = Duration::from_millis(2);
            drop(lock.read_timeout(timeout));
            drop(lock.write_timeout(timeout));
            drop(lock.try_read());
            drop(lock.try_write());
        },
    );
}

/// What a worker thread is told to do, without waiting.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Write,
    Leave,
    /// Ends the thread with what it holds; another one begins.
    Die,
}

/// What is to be seen of a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Holds {
    Nothing,
    Read,
    Write,
}

/// Does the steps until it dies, and answers each by whether it worked, or why not.
fn worker(
    lock: &RwLock<Pair>,
    steps: &std::sync::mpsc::Receiver<Step>,
    answers: &std::sync::mpsc::Sender<Option<ErrorKind>>,
) {
    let (mut reads, mut writes) = (None, None);
    for step in steps {
        let answer = match step {
            Step::Read => lock.try_read().map(|guard| reads = Some(guard)).err().map(|error| error.kind()),
            Step::Write => match lock.try_write() {
                Ok(guard) => {
                    writes = Some(guard);
                    None
                }
                Err(LockError::OwnerDied(guard)) => {
                    guard.mark_consistent();
                    writes = Some(guard);
                    Some(ErrorKind::OwnerDied)
                }
                Err(LockError::Failed(error)) => Some(error.kind()),
            },
            Step::Leave => {
                (reads, writes) = (None, None);
                None
            }
            Step::Die => {
                std::mem::forget((reads, writes));
                return;
            }
        };
        answers.send(answer).unwrap();
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Any list of operations by three threads does what it does to a plain description of the lock.
    #[test]
    fn operations_do_what_they_do_to_a_plain_description(
        fair in proptest::bool::ANY,
        operations in proptest::collection::vec((0..3_usize, 0..7_u8), 0..40),
    ) {
        let lock = lock(KINDS[usize::from(fair)], 3);
        let mut holds = [Holds::Nothing; 3];
        let mut is_inherited = false;
        std::thread::scope(|scope| {
            let start = || {
                let (tell, steps) = std::sync::mpsc::channel();
                let (answers, told) = std::sync::mpsc::channel();
                let lock = &lock;
                (tell, told, scope.spawn(move || worker(lock, &steps, &answers)))
            };
            let mut workers = [start(), start(), start()];
            for (who, what) in operations {
                let step = match what {
                    0..=1 => Step::Read,
                    2..=3 => Step::Write,
                    4..=5 => Step::Leave,
                    _ => Step::Die,
                };
                if matches!(step, Step::Read | Step::Write) && holds[who] != Holds::Nothing {
                    continue;
                }
                workers[who].0.send(step).unwrap();
                if matches!(step, Step::Die) {
                    let (_, _, dead) = std::mem::replace(&mut workers[who], start());
                    dead.join().unwrap();
                    is_inherited |= holds[who] == Holds::Write;
                    holds[who] = Holds::Nothing;
                    continue;
                }
                let answer = workers[who].1.recv().unwrap();
                let somebody = |what| holds.contains(&what);
                let expected = match step {
                    Step::Read if somebody(Holds::Write) => Some(ErrorKind::WouldBlock),
                    Step::Read if is_inherited => Some(ErrorKind::OwnerDied),
                    Step::Write if somebody(Holds::Write) || somebody(Holds::Read) => Some(ErrorKind::WouldBlock),
                    Step::Write if is_inherited => Some(ErrorKind::OwnerDied),
                    _ => None,
                };
                assert_eq!(answer, expected, "{step:?} by {who} while {holds:?}, inherited: {is_inherited}");
                match step {
                    Step::Read if answer.is_none() => holds[who] = Holds::Read,
                    Step::Write if answer != Some(ErrorKind::WouldBlock) => {
                        holds[who] = Holds::Write;
                        is_inherited = false;
                    }
                    Step::Leave => holds[who] = Holds::Nothing,
                    _ => {}
                }
            }
            // Their senders go, so the workers end.
            for (tell, _, _) in workers {
                drop(tell);
            }
        });
    }
}

/// Drops the copy of `guard` that a forked child has.
fn dropped_in_a_child<G>(guard: G) -> G {
    let mut guard = Some(guard);
    Forked::run(|| drop(guard.take())).succeeds();
    guard.expect("the child took its own copy")
}
