//! Sleeping and waking, within the process and across.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tieline_os::ErrorKind;
use tieline_os::futex::{
    AnyWaited, Change, Clock, Condition, Deadline, Futex, MAX_WORDS, PiFutex, PiLocked, Requeued, WaitOnly, Waited,
    wait_any, wait_any_is_supported,
};
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::signal::{self, Flag, HandlerFlags};
use tieline_testkit::{eventually, pause, role, sleeps, test_name};

use crate::memory::{self, Memory};

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(60);

/// Runs `wait` in as many threads, and `then` once all of them sleep; answers what each wait came to.
fn while_asleep<T: Send>(wait: &[&(dyn Fn() -> T + Sync)], then: impl FnOnce()) -> Vec<T> {
    let ids: Vec<AtomicU32> = wait.iter().map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = wait
            .iter()
            .zip(&ids)
            .map(|(wait, id)| {
                scope.spawn(move || {
                    id.store(rustix::thread::gettid().as_raw_pid().unsigned_abs(), Ordering::Relaxed);
                    wait()
                })
            })
            .collect();
        eventually("all sleep", || ids.iter().map(|id| id.load(Ordering::Relaxed)).all(|id| id != 0 && sleeps(id)));
        then();
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    })
}

fn bits(bits: u32) -> NonZeroU32 {
    NonZeroU32::new(bits).unwrap()
}

#[test]
fn deadlines_of_both_clocks_and_of_any_length_are_kept() {
    let word = AtomicU32::new(0);
    let futex = Futex::private(&word);
    let deadlines: [fn() -> Deadline; 5] = [
        || Deadline::after(SHORT),
        || Deadline::after_on(Clock::Monotonic, SHORT),
        || Deadline::after_on(Clock::Realtime, SHORT),
        || Deadline::from(Instant::now() + SHORT),
        || Deadline::at(SystemTime::now() + SHORT),
    ];
    for (which, deadline) in deadlines.into_iter().enumerate() {
        let begun = Instant::now();
        assert_eq!(futex.wait_until(0, deadline()).unwrap(), Waited::TimedOut, "number {which}");
        let took = begun.elapsed();
        // The two clocks need not agree to the microsecond.
        assert!(took + Duration::from_millis(1) >= SHORT && took < LONG, "number {which}: {took:?}");
    }
    for passed in [Deadline::after(Duration::ZERO), Deadline::at(SystemTime::UNIX_EPOCH - LONG)] {
        assert_eq!(futex.wait_until(0, passed).unwrap(), Waited::TimedOut);
    }
    // Beyond every clock: as good as for ever, not an error and not the past.
    let waits: [&(dyn Fn() -> Waited + Sync); 2] = [&|| futex.wait_timeout(0, Duration::MAX).unwrap(), &|| {
        futex.wait_until(0, Deadline::after_on(Clock::Realtime, Duration::MAX)).unwrap()
    }];
    let woken = while_asleep(&waits, || assert_eq!(futex.wake(u32::MAX).unwrap(), 2));
    assert_eq!(woken, [Waited::Woken; 2]);
}

#[test]
fn exactly_as_many_are_woken_as_asked_for_and_none_means_none() {
    let word = AtomicU32::new(0);
    let futex = Futex::private(&word);
    let wait = || futex.wait_timeout(0, LONG).unwrap();
    let woken = while_asleep(&[&wait, &wait, &wait], || {
        assert_eq!(futex.wake(0).unwrap(), 0);
        assert_eq!(futex.wake_bits(0, bits(1)).unwrap(), 0);
        assert_eq!(futex.wake(2).unwrap(), 2);
        assert_eq!(futex.wake(u32::MAX).unwrap(), 1);
        assert_eq!(futex.wake(u32::MAX).unwrap(), 0);
    });
    assert_eq!(woken, [Waited::Woken; 3]);
}

#[test]
fn groups_are_woken_by_bits() {
    let word = AtomicU32::new(0);
    let futex = Futex::private(&word);
    let reader = || futex.wait_bits(0, bits(0b01), Some(Deadline::after(LONG))).unwrap();
    let writer = || futex.wait_bits(0, bits(0b10), Some(Deadline::after(LONG))).unwrap();
    let woken = while_asleep(&[&reader, &reader, &writer], || {
        assert_eq!(futex.wake_bits(u32::MAX, bits(0b100)).unwrap(), 0);
        assert_eq!(futex.wake_bits(u32::MAX, bits(0b10)).unwrap(), 1);
        assert_eq!(futex.wake(u32::MAX).unwrap(), 2, "a plain wake-up is for every group");
    });
    assert_eq!(woken, [Waited::Woken; 3]);
}

#[test]
fn sleepers_are_moved_to_another_word_without_waking() {
    let (from, to) = (AtomicU32::new(0), AtomicU32::new(9));
    let (source, target) = (Futex::private(&from), Futex::private(&to));
    let wait = || source.wait_timeout(0, LONG).unwrap();
    let woken = while_asleep(&[&wait, &wait, &wait], || {
        assert_eq!(source.requeue(1, 1, u32::MAX, target).unwrap(), Requeued::Changed);
        assert_eq!(source.requeue(0, 1, 1, target).unwrap(), Requeued::Done(2));
        assert_eq!(source.requeue_any(0, u32::MAX, target).unwrap(), 1);
        assert_eq!(source.wake(u32::MAX).unwrap(), 0);
        assert_eq!(target.wake(u32::MAX).unwrap(), 2);
    });
    assert_eq!(woken, [Waited::Woken; 3]);
    for mixed in [
        source.requeue(0, 1, 1, Futex::shared(&to)).unwrap_err(),
        source.requeue_any(1, 1, Futex::shared(&to)).unwrap_err(),
    ] {
        assert_eq!((mixed.kind(), mixed.errno()), (ErrorKind::InvalidInput, None), "{mixed}");
    }
}

#[test]
fn one_call_changes_a_word_and_wakes_on_two() {
    let (one, two) = (AtomicU32::new(0), AtomicU32::new(5));
    let (first, second) = (Futex::private(&one), Futex::private(&two));
    let woken =
        while_asleep(&[&|| first.wait_timeout(0, LONG).unwrap(), &|| second.wait_timeout(5, LONG).unwrap()], || {
            assert_eq!(first.wake_with(1, second, 1, Change::Set(6), Condition::NotEqual(5)).unwrap(), 1);
            assert_eq!(two.load(Ordering::Relaxed), 6);
            assert_eq!(first.wake_with(1, second, 1, Change::Add(1), Condition::Equal(6)).unwrap(), 1);
        });
    assert_eq!((woken.as_slice(), two.load(Ordering::Relaxed)), ([Waited::Woken; 2].as_slice(), 7));

    for (change, after) in [
        (Change::Or(8), 15),
        (Change::AndNot(3), 12),
        (Change::Xor(5), 9),
        (Change::Set(2047), 2047),
        (Change::Set(-1), u32::MAX),
    ] {
        assert_eq!(first.wake_with(1, second, 1, change, Condition::Equal(0)).unwrap(), 0);
        assert_eq!(two.load(Ordering::Relaxed), after);
    }
    // The word is minus one now: the kernel compares it as a signed number.
    let conditions = [
        (Condition::Less(0), true),
        (Condition::Less(-1), false),
        (Condition::LessOrEqual(-1), true),
        (Condition::LessOrEqual(-2), false),
        (Condition::Greater(-2048), true),
        (Condition::Greater(-1), false),
        (Condition::GreaterOrEqual(-1), true),
        (Condition::GreaterOrEqual(0), false),
        (Condition::Equal(-1), true),
        (Condition::NotEqual(-1), false),
    ];
    for (condition, holds) in conditions {
        let _ = while_asleep(&[&|| second.wait_timeout(u32::MAX, LONG).unwrap()], || {
            let woken = first.wake_with(1, second, 1, Change::Or(0), condition).unwrap();
            assert_eq!(woken, usize::from(holds), "{condition:?}");
            second.wake(1).unwrap();
        });
    }
    let refused = [
        first.wake_with(1, second, 1, Change::Set(2048), Condition::Equal(0)),
        first.wake_with(1, second, 1, Change::Set(0), Condition::Equal(-2049)),
        first.wake_with(0, second, 1, Change::Set(0), Condition::Equal(0)),
        first.wake_with(1, second, 0, Change::Set(0), Condition::Equal(0)),
        first.wake_with(1, Futex::shared(&two), 1, Change::Set(0), Condition::Equal(0)),
    ];
    for refused in refused.map(Result::unwrap_err) {
        assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidInput, None), "{refused}");
    }
    assert_eq!(two.load(Ordering::Relaxed), u32::MAX, "a refused call changes nothing");
}

#[test]
fn one_wait_covers_many_words_private_and_shared() {
    if !wait_any_is_supported() {
        tieline_testkit::skip!("no futex_waitv: Linux 5.16 has it");
    }
    let memory = Mapping::anonymous(4096).unwrap();
    let own = AtomicU32::new(0);
    let mut words: Vec<(Futex<'_>, u32)> =
        (0..MAX_WORDS - 1).map(|index| (Futex::in_region(&memory, index * 4).unwrap(), 0)).collect();
    words.push((Futex::private(&own), 0));
    for (index, (word, _)) in words.iter().enumerate().step_by(MAX_WORDS - 1) {
        let wait = || wait_any(&words, Some(Deadline::after(LONG))).unwrap();
        let woken = while_asleep(&[&wait], || assert_eq!(word.wake(1).unwrap(), 1));
        assert_eq!(woken, [AnyWaited::Woken(index)]);
    }
    for clock in [Clock::Monotonic, Clock::Realtime] {
        let begun = Instant::now();
        assert_eq!(wait_any(&words, Some(Deadline::after_on(clock, SHORT))).unwrap(), AnyWaited::TimedOut);
        assert!(begun.elapsed() + Duration::from_millis(1) >= SHORT);
    }
    own.store(1, Ordering::Relaxed);
    assert_eq!(wait_any(&words, None).unwrap(), AnyWaited::Changed);
    words.push(words[0]);
    for wrong in [&words[..], &[]] {
        let refused = wait_any(wrong, None).unwrap_err();
        assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidInput, None), "{refused}");
    }
}

#[test]
fn a_reader_of_read_only_memory_is_woken_by_the_writer() {
    if let Some(me) = role() {
        let file = std::fs::File::open(me.env("TIELINE_TEST_MEMORY")).unwrap();
        let memory = Mapping::of(file, &MapOptions::new().access(tieline_os::Access::ReadOnly)).unwrap();
        let word = WaitOnly::in_region(&memory, 8).unwrap();
        assert_eq!(word.wait_timeout(0, SHORT).unwrap(), Waited::TimedOut);
        me.say("waiting");
        while word.load(Ordering::Acquire) == 0 {
            let _ = word.wait_until(0, Deadline::after(LONG)).unwrap();
        }
        assert_eq!(word.wait(0).unwrap(), Waited::Changed);
        assert!(WaitOnly::in_region(&memory, memory::LEN).is_err() && WaitOnly::in_region(&memory, 9).is_err());
        me.say("seen");
        return;
    }
    let memory = Memory::new();
    let mut reader = memory.peer(&test_name!(), "reader").spawn();
    reader.wait_for("waiting");
    reader.sleeps();
    let word = Futex::in_region(&memory.mapping, 8).unwrap();
    word.word().store(1, Ordering::Release);
    assert_eq!(word.wake(1).unwrap(), 1);
    reader.wait_for("seen");
    reader.succeeds();
}

#[test]
fn a_killed_sleeper_is_forgotten() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        me.say("waiting");
        let _ = Futex::in_region(&memory, 0).unwrap().wait(0);
        return;
    }
    let memory = Memory::new();
    let futex = Futex::in_region(&memory.mapping, 0).unwrap();
    for _ in 0..3 {
        let mut sleeper = memory.peer(&test_name!(), "sleeper").spawn();
        sleeper.wait_for("waiting");
        sleeper.sleeps();
        sleeper.kill();
        assert_eq!(futex.wake(u32::MAX).unwrap(), 0);
    }
}

#[test]
fn a_priority_inheritance_lock_changes_hands_and_keeps_deadlines() {
    let word = AtomicU32::new(0);
    let lock = PiFutex::private(&word);
    assert_eq!(lock.try_lock().unwrap(), PiLocked::Clean);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(lock.try_lock().unwrap_err().is_would_block());
            for clock in [Clock::Monotonic, Clock::Realtime] {
                let (begun, deadline) = (Instant::now(), Deadline::after_on(clock, SHORT));
                assert_eq!(lock.lock_until(deadline).unwrap(), PiLocked::TimedOut);
                let took = begun.elapsed();
                assert!(took + Duration::from_millis(1) >= SHORT && took < LONG, "{deadline:?}: {took:?}");
            }
            assert_eq!(lock.unlock().unwrap_err().kind(), ErrorKind::PermissionDenied);
        });
        other.join().unwrap();
        let heir = scope.spawn(|| {
            assert_eq!(lock.lock().unwrap(), PiLocked::Clean);
            lock.unlock().unwrap();
        });
        eventually("somebody waits", || word.load(Ordering::Relaxed) >> 31 == 1);
        lock.unlock().unwrap();
        heir.join().unwrap();
    });
    assert_eq!(lock.owner(), None);
}

/// With somebody waiting, the death of the owner is told; without, the dead owner's number stays and nobody is found.
#[test]
fn the_death_of_a_priority_inheritance_owner() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        assert_eq!(PiFutex::in_region(&memory, 0).unwrap().lock().unwrap(), PiLocked::Clean);
        me.say("held");
        me.wait_for("never said");
    }
    let memory = Memory::new();
    let lock = PiFutex::in_region(&memory.mapping, 0).unwrap();
    let mut owner = memory.peer(&test_name!(), "owner").spawn();
    owner.wait_for("held");
    std::thread::scope(|scope| {
        let heir = scope.spawn(|| {
            let locked = lock.lock_timeout(LONG).unwrap();
            lock.unlock().unwrap();
            locked
        });
        eventually("somebody waits", || lock.word().load(Ordering::Relaxed) >> 31 == 1);
        owner.kill();
        assert_eq!(heir.join().unwrap(), PiLocked::OwnerDied);
    });

    lock.word().store(0, Ordering::Relaxed);
    let mut owner = memory.peer(&test_name!(), "owner").spawn();
    owner.wait_for("held");
    owner.kill();
    assert_eq!(lock.lock().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lock.try_lock().unwrap_err().kind(), ErrorKind::NotFound);
}

/// A ping-pong of two processes that would stop at the first lost wake-up.
#[test]
fn no_wake_up_is_lost_between_two_processes() {
    const ROUNDS: u32 = 20_000;
    fn play(memory: &Mapping, me: u32) {
        let ball = Futex::in_region(memory, 0).unwrap();
        for round in 0..ROUNDS {
            let mine = round * 2 + me;
            loop {
                let seen = ball.word().load(Ordering::Acquire);
                if seen == mine {
                    break;
                }
                assert_ne!(ball.wait_timeout(seen, LONG).unwrap(), Waited::TimedOut, "lost in round {round}");
            }
            ball.word().store(mine + 1, Ordering::Release);
            ball.wake(1).unwrap();
        }
    }
    if let Some(me) = role() {
        return play(&memory::of(&me), 1);
    }
    let memory = Memory::new();
    let peer = memory.peer(&test_name!(), "second").spawn();
    play(&memory.mapping, 0);
    peer.succeeds();
}

/// A handler runs three times in the middle of each sort of wait. Only the interruptible one ends by it.
#[test]
fn only_the_interruptible_form_is_ended_by_a_signal_handler() {
    if let Some(me) = role() {
        memory::assert_only_thread();
        let interruptions = Flag::with_flags(signal::Signal::USR1, HandlerFlags::empty()).unwrap();
        let memory = memory::of(&me);
        let futex = Futex::in_region(&memory, 0).unwrap();
        let deadline = Deadline::after(LONG);
        me.say("waiting");
        let answer = match me.name() {
            "wait" => format!("{:?}", futex.wait(0).unwrap()),
            "wait until" => format!("{:?}", futex.wait_until(0, deadline).unwrap()),
            "wait any" => format!("{:?}", wait_any(&[(futex, 0)], Some(deadline)).unwrap()),
            "lock" => format!("{:?}", PiFutex::in_region(&memory, 4).unwrap().lock_until(deadline).unwrap()),
            "interruptible" => format!("{:?}", futex.wait_interruptible(0, Some(deadline)).unwrap_err().kind()),
            _ => format!("{:?}", futex.wait_interruptible(0, None).unwrap_err().kind()),
        };
        assert!(interruptions.is_raised(), "the handler ran");
        me.say(&answer);
        return;
    }
    let waits = [
        ("wait", "Woken"),
        ("wait until", "Woken"),
        ("wait any", "Woken(0)"),
        ("lock", "Clean"),
        ("interruptible", "Interrupted"),
        ("interruptible, for ever", "Interrupted"),
    ];
    for (wait, answer) in waits {
        if wait == "wait any" && !wait_any_is_supported() {
            continue;
        }
        let memory = Memory::new();
        let futex = Futex::in_region(&memory.mapping, 0).unwrap();
        let lock = PiFutex::in_region(&memory.mapping, 4).unwrap();
        assert_eq!(lock.lock().unwrap(), PiLocked::Clean);
        let mut sleeper = memory::in_the_only_thread(memory.peer(&test_name!(), wait)).spawn();
        sleeper.wait_for("waiting");
        for _ in 0..if answer == "Interrupted" { 1 } else { 3 } {
            eventually("it sleeps", || sleeps(sleeper.id()));
            sleeper.signal(Signal::USR1);
            pause(Duration::from_millis(5));
        }
        if answer != "Interrupted" {
            eventually("it sleeps again", || sleeps(sleeper.id()));
            lock.unlock().unwrap();
            assert_eq!(futex.wake(1).unwrap(), usize::from(wait != "lock"));
        }
        sleeper.wait_for(answer);
        sleeper.succeeds();
    }
}
