//! Futexes: lines 84 to 86.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_os::futex::{Clock, Deadline, Futex, PiFutex, PiLocked, WaitOnly, Waited};
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::{Access, ErrorKind};
use tieline_testkit::{eventually, has_command, role, test_name};

use crate::memory::{self, Memory};

const LONG: Duration = Duration::from_secs(15);

fn tid() -> u32 {
    rustix::thread::gettid().as_raw_pid().unsigned_abs()
}

/// Given a word in memory that two processes map, when one sleeps on it as private, then no wake-up of the other
/// finds it, private or shared; when it sleeps on it as shared, a shared wake-up does.
#[test]
fn line084_a_private_sleeper_is_not_found_from_another_process() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let word = memory.atomic_u32(0).unwrap();
        let futex = if me.name() == "private" { Futex::private(word) } else { Futex::shared(word) };
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| futex.wait(0).unwrap());
            me.say("waiting");
            if me.name() == "private" {
                me.wait_for("wake it from within");
                eventually("it is woken from within", || futex.wake(1).unwrap() == 1);
            }
            me.say(&format!("{:?}", sleeper.join().unwrap()));
        });
        return;
    }
    let memory = Memory::new();
    let word = memory.mapping.atomic_u32(0).unwrap();
    let mut sleeper = memory.peer(&test_name!(), "private").spawn();
    sleeper.wait_for("waiting");
    sleeper.sleeps();
    assert_eq!(Futex::shared(word).wake(u32::MAX).unwrap(), 0);
    assert_eq!(Futex::private(word).wake(u32::MAX).unwrap(), 0);
    sleeper.say("wake it from within");
    sleeper.wait_for("Woken");
    sleeper.succeeds();

    let mut sleeper = memory.peer(&test_name!(), "shared").spawn();
    sleeper.wait_for("waiting");
    eventually("the shared wake-up finds it", || {
        assert_eq!(Futex::private(word).wake(u32::MAX).unwrap(), 0);
        Futex::shared(word).wake(u32::MAX).unwrap() == 1
    });
    sleeper.wait_for("Woken");
    sleeper.succeeds();
}

/// Given a word that differs from what is expected, when waited on, then the answer is "changed" at once, even past
/// the deadline. A misaligned word cannot be named. Given a word whose file was cut away, when waited on or woken as
/// shared, then the kernel's `EFAULT` is an error, not a crash; when woken as private, nobody is woken, silently,
/// because a private word is an address and nothing is looked up.
#[test]
fn line085_what_a_futex_answers_when_it_cannot_sleep() {
    let memory = Memory::new();
    let word = memory.mapping.atomic_u32(64).unwrap();
    word.store(5, Ordering::Relaxed);
    let futex = Futex::in_region(&memory.mapping, 64).unwrap();
    assert_eq!(futex.wait(4).unwrap(), Waited::Changed);
    for clock in [Clock::Monotonic, Clock::Realtime] {
        let passed = Deadline::after_on(clock, Duration::ZERO);
        assert_eq!(futex.wait_until(4, passed).unwrap(), Waited::Changed);
        assert_eq!(futex.wait_until(5, passed).unwrap(), Waited::TimedOut);
    }

    let misaligned = Futex::in_region(&memory.mapping, 66).unwrap_err();
    assert_eq!((misaligned.kind(), misaligned.errno()), (ErrorKind::InvalidInput, None));

    let read_only = std::fs::File::open(memory.path()).unwrap();
    let read_only = Mapping::of(read_only, &MapOptions::new().access(Access::ReadOnly)).unwrap();
    let watched = WaitOnly::in_region(&read_only, 64).unwrap();
    assert_eq!(Futex::in_region(&read_only, 64).unwrap_err().kind(), ErrorKind::PermissionDenied);

    std::fs::File::options().write(true).open(memory.path()).unwrap().set_len(0).unwrap();
    let gone = [futex.wait(5), futex.wait_timeout(5, LONG), watched.wait(5)];
    for error in gone.map(Result::unwrap_err) {
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, Some(14)), "{error}");
    }
    assert_eq!(futex.wake(1).unwrap_err().errno(), Some(14));
    assert_eq!(Futex::private(word).wake(1).unwrap(), 0);
}

/// Given priority-inheritance locks, when the owner locks again, or two would wait for each other, then `EDEADLK`;
/// when the word names a thread that does not exist, `ESRCH`. When a real-time thread waits for a lock whose owner,
/// in another process, waits for one of a third process, then that third runs at the waiter's priority.
#[test]
fn line086_priority_is_lent_along_a_chain_of_processes_and_deadlock_is_found() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let (first, second) = (PiFutex::in_region(&memory, 0).unwrap(), PiFutex::in_region(&memory, 4).unwrap());
        match me.name() {
            "end" => {
                assert_eq!(first.lock().unwrap(), PiLocked::Clean);
                me.say(&tid().to_string());
                me.wait_for("unlock");
                first.unlock().unwrap();
            }
            "middle" => {
                assert_eq!(second.lock().unwrap(), PiLocked::Clean);
                me.say(&tid().to_string());
                // Our own lock is asked for by the owner of the one we wait for: one of the two is told.
                assert_eq!(first.lock().unwrap(), PiLocked::Clean);
                first.unlock().unwrap();
                second.unlock().unwrap();
            }
            "cycle" => {
                assert_eq!(first.lock().unwrap(), PiLocked::Clean);
                me.say("held");
                me.wait_for("close the cycle");
                assert_eq!(second.lock().unwrap_err().kind(), ErrorKind::Deadlock);
                me.say("told");
                me.wait_for("unlock");
                first.unlock().unwrap();
            }
            other => unreachable!("{other}"),
        }
        return;
    }

    let memory = Memory::new();
    let (first, second) =
        (PiFutex::in_region(&memory.mapping, 0).unwrap(), PiFutex::in_region(&memory.mapping, 4).unwrap());
    assert_eq!(first.lock().unwrap(), PiLocked::Clean);
    assert_eq!(first.owner(), Some(tid()));
    assert_eq!(first.lock().unwrap_err().kind(), ErrorKind::Deadlock);
    first.unlock().unwrap();
    assert_eq!((first.owner(), first.unlock().unwrap_err().kind()), (None, ErrorKind::PermissionDenied));

    let mut cycle = memory.peer(&test_name!(), "cycle").spawn();
    cycle.wait_for("held");
    std::thread::scope(|scope| {
        let me = scope.spawn(|| {
            assert_eq!(second.lock().unwrap(), PiLocked::Clean);
            assert_eq!(first.lock().unwrap(), PiLocked::Clean);
            first.unlock().unwrap();
            second.unlock().unwrap();
        });
        // Bit 31: somebody waits.
        eventually("we wait for the peer's lock", || first.word().load(Ordering::Relaxed) >> 31 == 1);
        cycle.say("close the cycle");
        cycle.wait_for("told");
        cycle.say("unlock");
        me.join().unwrap();
    });
    cycle.succeeds();

    // 4194304 is the highest limit of process ids; no thread has this one.
    first.word().store(4_194_304 + 1, Ordering::Relaxed);
    let nobody = first.lock().unwrap_err();
    assert_eq!((nobody.kind(), nobody.errno()), (ErrorKind::NotFound, Some(3)), "{nobody}");
    first.word().store(0, Ordering::Relaxed);

    if !has_command("chrt") {
        tieline_testkit::skip!("no chrt here: lending of priority was not tested; EDEADLK and ESRCH were");
    }
    let mut end = memory.peer(&test_name!(), "end").spawn();
    let end_tid: u32 = end.hear().parse().unwrap();
    let mut middle = memory.peer(&test_name!(), "middle").spawn();
    let middle_tid: u32 = middle.hear().parse().unwrap();
    eventually("the middle waits for the end", || first.word().load(Ordering::Relaxed) >> 31 == 1);
    assert!(priority(end_tid) >= 0, "an ordinary thread");
    let real_time = std::thread::scope(|scope| {
        let urgent = scope.spawn(|| {
            let chrt = Command::new("chrt").args(["--fifo", "--pid", "10", &tid().to_string()]).output().unwrap();
            if !chrt.status.success() {
                return false;
            }
            assert_eq!(second.lock_timeout(LONG).unwrap(), PiLocked::Clean);
            second.unlock().unwrap();
            true
        });
        eventually("the priority has come through, or may not be raised", || {
            urgent.is_finished() || (priority(middle_tid) == -11 && priority(end_tid) == -11)
        });
        end.say("unlock");
        urgent.join().unwrap()
    });
    middle.succeeds();
    end.succeeds();
    if !real_time {
        tieline_testkit::skip!("SCHED_FIFO is not allowed: lending of priority was not tested; EDEADLK and ESRCH were");
    }
}

/// The kernel's priority of a thread, as in proc(5): below zero is real-time, -1 minus the real-time priority.
fn priority(tid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).expect("the thread lives");
    let (_, fields) = stat.rsplit_once(") ").expect("the name ends");
    fields.split(' ').nth(15).and_then(|field| field.parse().ok()).expect("field 18")
}
