//! Locks of the C library shared between processes: lines 75 to 83, 87 to 89 and 109.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_os::ErrorKind;
use tieline_os::futex::{PiFutex, PiLocked};
use tieline_os::mapping::Mapping;
use tieline_os::pthread::{Barrier, Condvar, HEADER_LEN, Locked, Mutex, MutexGuard, MutexKind, MutexOptions, RwLock};
use tieline_testkit::{Isolation, Namespace, Peer, Role, eventually, pause, role, sleeps, test_name, until};

use crate::memory::{self, Memory, place_at};

const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(100);

/// Where the tests put things: the mutex first, then the condition variable, then plain words.
const CONDVAR: usize = 128;
const WORD: usize = 1024;

fn mutex(memory: &Mapping) -> Mutex<'_> {
    Mutex::attach(place_at(memory, 0)).unwrap()
}

fn clean(locked: Locked<'_>) -> MutexGuard<'_> {
    match locked {
        Locked::Clean(guard) => guard,
        Locked::OwnerDied(_) => panic!("nobody died"),
    }
}

fn word(memory: &Mapping) -> &AtomicU32 {
    memory.atomic_u32(WORD).unwrap()
}

/// Takes the mutex, says so, and never lets go.
fn hold_for_ever(me: &Role, memory: &Mapping) {
    let mutex = mutex(memory);
    let _guard = clean(mutex.lock().unwrap());
    me.say("held");
    me.wait_for("never said");
}

fn spawn(memory: &Memory, test: &str, role: &str) -> Peer {
    memory.peer(test, role).spawn()
}

/// Given a mutex that is not robust, when its owner is killed, then those who wait go on waiting, and so does every
/// next one.
#[test]
fn line075_a_mutex_that_is_not_robust_stays_locked_when_its_owner_is_killed() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        if me.name() == "waiter" {
            me.say("waiting");
            drop(mutex(&memory).lock());
            me.say("got it");
        } else {
            hold_for_ever(&me, &memory);
        }
        return;
    }
    for kind in [MutexKind::Normal, MutexKind::Recursive, MutexKind::ErrorChecking] {
        let memory = Memory::new();
        let options = MutexOptions::new().robust(false).kind(kind);
        let mutex = Mutex::create(place_at(&memory.mapping, 0), options).unwrap();
        let mut owner = spawn(&memory, &test_name!(), "owner");
        owner.wait_for("held");
        let mut waiter = spawn(&memory, &test_name!(), "waiter");
        waiter.wait_for("waiting");
        waiter.sleeps();
        owner.kill();
        assert!(mutex.lock_timeout(3 * SHORT).unwrap_err().is_timeout());
        assert!(mutex.try_lock().unwrap_err().is_would_block());
        waiter.sleeps();
        waiter.kill();
    }
}

/// Given a robust mutex, with or without priority inheritance, when its owner is killed, then the next to lock is
/// told so *and owns it*, whether it waited already or comes later; once it is marked consistent, the one after
/// gets it clean.
#[test]
fn line076_the_next_locker_inherits_a_robust_mutex() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        match me.name() {
            "waiter" => {
                me.say("waiting");
                let mutex = mutex(&memory);
                let Locked::OwnerDied(guard) = mutex.lock().unwrap() else { panic!("the owner was killed") };
                me.say("inherited");
                me.wait_for("repair");
                drop(guard.mark_consistent().unwrap());
                me.say("repaired");
            }
            _ => hold_for_ever(&me, &memory),
        }
        return;
    }
    for options in [MutexOptions::new(), MutexOptions::new().inherit_priority(true)] {
        let memory = Memory::new();
        let mutex = Mutex::create(place_at(&memory.mapping, 0), options).unwrap();
        let mut owner = spawn(&memory, &test_name!(), "owner");
        owner.wait_for("held");
        let mut waiter = spawn(&memory, &test_name!(), "waiter");
        waiter.wait_for("waiting");
        waiter.sleeps();
        owner.kill();
        waiter.wait_for("inherited");
        assert!(mutex.try_lock().unwrap_err().is_would_block(), "the heir owns it");
        waiter.say("repair");
        waiter.wait_for("repaired");
        drop(clean(mutex.lock().unwrap()));

        let mut owner = spawn(&memory, &test_name!(), "owner");
        owner.wait_for("held");
        owner.kill();
        let Locked::OwnerDied(guard) = mutex.lock().unwrap() else { panic!("the owner was killed") };
        drop(guard.mark_consistent().unwrap());
        drop(clean(mutex.lock().unwrap()));
        waiter.succeeds();
    }
}

/// Given an inherited robust mutex, when the heir unlocks without marking it consistent, then everyone else, waiting
/// or coming, gets `ENOTRECOVERABLE`, until the mutex is made anew.
#[test]
fn line077_an_unrepaired_mutex_is_beyond_recovery_until_made_anew() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        match me.name() {
            "waiter" => {
                me.say("waiting");
                let mutex = mutex(&memory);
                me.say(&format!("{:?}", mutex.lock().unwrap_err().kind()));
            }
            _ => hold_for_ever(&me, &memory),
        }
        return;
    }
    for options in [MutexOptions::new(), MutexOptions::new().inherit_priority(true)] {
        let memory = Memory::new();
        let place = place_at(&memory.mapping, 0);
        let mutex = Mutex::create(place, options).unwrap();
        let mut owner = spawn(&memory, &test_name!(), "owner");
        owner.wait_for("held");
        owner.kill();
        let inherited = mutex.lock().unwrap();
        assert!(inherited.owner_died());
        let mut waiter = spawn(&memory, &test_name!(), "waiter");
        waiter.wait_for("waiting");
        waiter.sleeps();
        drop(inherited);
        waiter.wait_for("NotRecoverable");
        waiter.succeeds();
        for refused in [mutex.try_lock(), mutex.lock(), mutex.try_lock(), mutex.lock_timeout(LONG)] {
            let refused = refused.unwrap_err();
            assert_eq!((refused.kind(), refused.errno()), (ErrorKind::NotRecoverable, Some(131)), "{refused}");
        }
        assert_eq!(Mutex::create(place, options).unwrap_err().kind(), ErrorKind::AlreadyExists);

        memory.mapping.fill(0, Mutex::LEN, 0).unwrap();
        let mutex = Mutex::create(place, options).unwrap();
        drop(clean(mutex.lock().unwrap()));
    }
}

/// Given the owner of a robust mutex, when it calls `exec`, then that counts as death although the process lives on.
///
/// With one exception, which this test found: if the owner is not the process's first thread, `exec` gives it the
/// first thread's id *before* the kernel looks for locks held under its id, so it finds none, and the mutex stays
/// locked for ever.
#[test]
fn line078_exec_counts_as_the_death_of_the_owner() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let mutex = mutex(&memory);
        let _guard = clean(mutex.lock().unwrap());
        if me.name() == "first thread" {
            memory::assert_only_thread();
        }
        me.say("held");
        let failed = Command::new("sleep").arg("1000").exec();
        panic!("exec came back: {failed}");
    }
    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let is_sleep = |owner: &Peer| fs::read_to_string(format!("/proc/{}/comm", owner.id())).unwrap() == "sleep\n";
    let mut owner = memory::in_the_only_thread(memory.peer(&test_name!(), "first thread")).spawn();
    owner.wait_for("held");
    let Locked::OwnerDied(guard) = mutex.lock_timeout(LONG).unwrap() else { panic!("exec ended the owner") };
    drop(guard.mark_consistent().unwrap());
    eventually("the process lives, as another program", || is_sleep(&owner));
    owner.kill();
    drop(clean(mutex.lock().unwrap()));

    let mut owner = spawn(&memory, &test_name!(), "later thread");
    owner.wait_for("held");
    eventually("the process is another program", || is_sleep(&owner));
    assert!(mutex.lock_timeout(3 * SHORT).unwrap_err().is_timeout());
    owner.kill();
    assert!(mutex.lock_timeout(3 * SHORT).unwrap_err().is_timeout(), "nobody is left who could unlock it");
}

/// Given a robust mutex whose owner was killed, when the next comes by the "try" or the deadline form, then it too is
/// told and owns the lock, as a guard that unlocks, and not as an error that leaks it.
#[test]
fn line079_the_try_and_deadline_forms_inherit_as_well() {
    if let Some(me) = role() {
        return hold_for_ever(&me, &memory::of(&me));
    }
    for options in [MutexOptions::new(), MutexOptions::new().inherit_priority(true)] {
        for timed in [false, true] {
            let memory = Memory::new();
            let mutex = Mutex::create(place_at(&memory.mapping, 0), options).unwrap();
            let mut owner = spawn(&memory, &test_name!(), "owner");
            owner.wait_for("held");
            assert!(if timed { mutex.lock_timeout(SHORT) } else { mutex.try_lock() }.is_err());
            owner.kill();
            let inherited = if timed { mutex.lock_timeout(LONG) } else { mutex.try_lock() };
            let guard = inherited.unwrap().or_repair(|| Ok(())).unwrap();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| mutex.try_lock().unwrap_err().is_would_block());
                assert!(other.join().unwrap(), "the heir owns it");
            });
            drop(guard);
            drop(clean(mutex.try_lock().unwrap()));
        }
    }
}

/// Given a reader-writer lock, when a reader is killed, then writers wait for ever, and when a writer is killed,
/// everyone does: POSIX has no robust form. Given a condition variable, when a waiter is killed, then with glibc
/// before 2.41 one who signals later can hang; the deadline forms of the lock are the only way out.
#[test]
fn line080_there_is_no_robust_reader_writer_lock_or_condition_variable() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        match me.name() {
            "condvar waiter" => {
                let (mutex, condvar) = (mutex(&memory), Condvar::attach(place_at(&memory, CONDVAR)).unwrap());
                let guard = clean(mutex.lock().unwrap());
                me.say("waiting");
                drop(condvar.wait(guard));
            }
            "signaller" => {
                Condvar::attach(place_at(&memory, CONDVAR)).unwrap().notify_one().unwrap();
                me.say("done");
            }
            kind => {
                let lock = RwLock::attach(place_at(&memory, 0)).unwrap();
                let _read = (kind == "reader").then(|| lock.read().unwrap());
                let _written = (kind == "writer").then(|| lock.write().unwrap());
                me.say("held");
                me.wait_for("never said");
            }
        }
        return;
    }
    for holder in ["reader", "writer"] {
        let memory = Memory::new();
        let lock = RwLock::create(place_at(&memory.mapping, 0)).unwrap();
        let mut peer = spawn(&memory, &test_name!(), holder);
        peer.wait_for("held");
        peer.kill();
        assert!(lock.write_timeout(3 * SHORT).unwrap_err().is_timeout());
        assert!(lock.try_write().unwrap_err().is_would_block());
        if holder == "reader" {
            drop(lock.read_timeout(LONG).unwrap());
        } else {
            assert!(lock.read_timeout(3 * SHORT).unwrap_err().is_timeout());
            assert!(lock.try_read().unwrap_err().is_would_block());
        }
    }

    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let condvar = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    let wait = || {
        let mut waiter = spawn(&memory, &test_name!(), "condvar waiter");
        waiter.wait_for("waiting");
        // It has let go of the mutex, so it waits.
        drop(mutex.lock().unwrap());
        waiter.sleeps();
        waiter
    };
    wait().kill();
    // This one goes to the dead, and closes its group of waiters. The next to wait form a new group, and who signals
    // them first waits until the old group is empty, which it will never be.
    condvar.notify_one().unwrap();
    let _living = wait();
    let mut signaller = spawn(&memory, &test_name!(), "signaller");
    if glibc_before(2, 41) {
        eventually("the one who signals hangs in the kernel's futex", || {
            in_system_call(signaller.id(), FUTEX) && {
                pause(SHORT);
                in_system_call(signaller.id(), FUTEX)
            }
        });
        signaller.kill();
    } else {
        // Newer versions may or may not; what matters is that nothing else breaks.
        pause(SHORT);
    }
}

/// The number of `futex` on this machine, as `/proc/PID/task/TID/syscall` shows it.
const FUTEX: &str = if cfg!(target_arch = "x86_64") { "202" } else { "98" };

/// Whether a thread of the process, other than the runner's own, is inside this system call, or asleep in any, if this
/// machine does not tell us in which.
fn in_system_call(pid: u32, number: &str) -> bool {
    let is_told = fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the peer lives");
    tasks.flatten().filter(|task| *task.file_name() != *pid.to_string()).any(|task| {
        match fs::read_to_string(task.path().join("syscall")) {
            Ok(call) => call.split(' ').next() == Some(number),
            Err(_) => !is_told && task.file_name().to_str().and_then(|tid| tid.parse().ok()).is_some_and(sleeps),
        }
    })
}

fn glibc_before(major: u32, minor: u32) -> bool {
    // The command speaks of the machine's library, which need not be the one this program is linked with.
    if !cfg!(target_env = "gnu") {
        return false;
    }
    let Ok(output) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(version) = text.trim().strip_prefix("glibc ") else { return false };
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < (major, minor)
}

/// Given three processes that pass a token round by a condition variable, when they do so thousands of times, then
/// every round ends.
///
/// glibc before 2.41 can lose a wake-up (bug 25847), in an interleaving of several waiters too rare to be shown at
/// will. So each waits in slices and looks at the condition after each slice, which is what our documentation asks
/// for; a wake-up that is lost then costs a slice and not the program.
#[test]
fn line081_a_lost_wake_up_costs_one_slice_if_waited_for_in_slices() {
    const PLAYERS: u32 = 3;
    const ROUNDS: u32 = 3000;
    fn play(memory: &Mapping, me: u32) {
        let (mutex, condvar) = (mutex(memory), Condvar::attach(place_at(memory, CONDVAR)).unwrap());
        let token = word(memory);
        for round in 0..ROUNDS {
            let mut guard = clean(mutex.lock().unwrap());
            while token.load(Ordering::Relaxed) != round * PLAYERS + me {
                guard = clean(condvar.wait_timeout(guard, SHORT).unwrap().lock);
            }
            token.fetch_add(1, Ordering::Relaxed);
            drop(guard);
            condvar.notify_all().unwrap();
        }
    }
    if let Some(me) = role() {
        return play(&memory::of(&me), me.name().parse().unwrap());
    }
    let memory = Memory::new();
    let _mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let _condvar = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    let peers: Vec<Peer> = (1..PLAYERS).map(|me| spawn(&memory, &test_name!(), &me.to_string())).collect();
    play(&memory.mapping, 0);
    peers.into_iter().for_each(Peer::succeeds);
    assert_eq!(word(&memory.mapping).load(Ordering::Relaxed), PLAYERS * ROUNDS);
}

/// Given a condition variable, made by us, when waited on with a deadline, then the time runs on the monotonic clock.
///
/// The proof: what we pass is a moment of the monotonic clock, the seconds since the machine started. Were the
/// object's clock the default, the time of day, that moment would lie in 1970, and the wait would end at once.
#[test]
fn line082_deadlines_of_our_condition_variables_are_monotonic() {
    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let made = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    let attached = Condvar::attach(place_at(&memory.mapping, CONDVAR)).unwrap();
    for condvar in [made, attached] {
        let guard = clean(mutex.lock().unwrap());
        let begun = Instant::now();
        let waited = condvar.wait_while_timeout(guard, SHORT, || true).unwrap();
        assert!(waited.timed_out && begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < LONG);
    }
}

/// Given a waiter, when signalled by one who does not hold the mutex, then it wakes. Given nobody who waits, when
/// signalled, then the signal is forgotten. Given a waiter whose condition is still false, when signalled, then it
/// must look again: one wake-up proves nothing.
#[test]
fn line083_signals_need_no_mutex_are_not_remembered_and_prove_nothing() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let (mutex, condvar) = (mutex(&memory), Condvar::attach(place_at(&memory, CONDVAR)).unwrap());
        let guard = clean(mutex.lock().unwrap());
        me.say("waiting");
        let mut looks = 0;
        let locked = condvar.wait_while(guard, || {
            looks += 1;
            word(&memory).store(looks, Ordering::Relaxed);
            memory.load_u32(WORD + 4, Ordering::Relaxed).unwrap() == 0
        });
        drop(clean(locked.unwrap()));
        me.say("true");
        return;
    }
    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let condvar = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    condvar.notify_one().unwrap();
    condvar.notify_all().unwrap();
    let waited = condvar.wait_timeout(clean(mutex.lock().unwrap()), SHORT).unwrap();
    assert!(waited.timed_out, "signals without a waiter are forgotten");
    drop(waited);

    let mut waiter = spawn(&memory, &test_name!(), "waiter");
    waiter.wait_for("waiting");
    let looks = || word(&memory.mapping).load(Ordering::Relaxed);
    // Having got the mutex, we know that the waiter waits. We do not hold it when we signal.
    drop(mutex.lock().unwrap());
    assert_eq!(looks(), 1);
    condvar.notify_one().unwrap();
    eventually("it looks again and waits again", || looks() == 2);
    waiter.sleeps();
    memory.mapping.atomic_u32(WORD + 4).unwrap().store(1, Ordering::Relaxed);
    drop(mutex.lock().unwrap());
    condvar.notify_one().unwrap();
    waiter.wait_for("true");
    assert_eq!(looks(), 3);
    waiter.succeeds();
}

/// Given a lock that keeps thread ids, when a process of another pid namespace attaches, then it is refused: the ids
/// name nobody there, or a stranger. A condition variable keeps none and works across. Given a bare
/// priority-inheritance futex held outside, when locked inside, then the kernel finds no such thread: `ESRCH`.
///
/// The kernel's robust list itself would work, because it compares the id with the dying thread's own name for
/// itself; what breaks is all that compares ids of two threads.
#[test]
fn line087_thread_ids_of_another_pid_namespace_name_nobody() {
    // How far the process inside has come. Its words do not reach us, so it writes them into the memory.
    const STAGE: usize = WORD + 64;
    const REFUSED: u32 = 1;
    const NOBODY: u32 = 2;
    const NO_NAMESPACE: u32 = 9;
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let stage = memory.atomic_u32(STAGE).unwrap();
        let condvar = Condvar::attach(place_at(&memory, CONDVAR)).unwrap();
        if Namespace::enter(&[Namespace::Pid], &test_name!()) == Isolation::Done {
            let _ = stage.compare_exchange(0, NO_NAMESPACE, Ordering::Relaxed, Ordering::Relaxed);
            return condvar.notify_all().unwrap();
        }
        for refused in [Mutex::attach(place_at(&memory, 0)).map(drop), RwLock::attach(place_at(&memory, 512)).map(drop)]
        {
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
            assert!(refused.to_string().contains("pid namespace"), "{refused}");
        }
        stage.store(REFUSED, Ordering::Relaxed);
        condvar.notify_one().unwrap();
        // The number in the word is high, and nobody has it in this young namespace.
        let error = PiFutex::in_region(&memory, WORD).unwrap().lock_timeout(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        stage.store(NOBODY, Ordering::Relaxed);
        return;
    }
    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let condvar = Condvar::create(place_at(&memory.mapping, CONDVAR)).unwrap();
    let _lock = RwLock::create(place_at(&memory.mapping, 512)).unwrap();
    let stage = memory.mapping.atomic_u32(STAGE).unwrap();
    let bare = PiFutex::in_region(&memory.mapping, WORD).unwrap();
    assert_eq!(bare.lock().unwrap(), PiLocked::Clean);
    if bare.owner() < Some(100) {
        tieline_testkit::skip!("so few processes have run here that thread {:?} may exist inside too", bare.owner());
    }
    let guard = clean(mutex.lock().unwrap());
    let inside = spawn(&memory, &test_name!(), "inside");
    let waited = condvar.wait_while_timeout(guard, LONG, || stage.load(Ordering::Relaxed) == 0).unwrap();
    assert!(!waited.timed_out, "the condition variable works across");
    inside.succeeds();
    bare.unlock().unwrap();
    match stage.load(Ordering::Relaxed) {
        NOBODY => {}
        NO_NAMESPACE => tieline_testkit::skip!("no pid namespaces here"),
        stage => panic!("the process inside came to stage {stage} only"),
    }
}

/// Given a barrier, when it is destroyed as soon as one thread leaves it, then destroying waits for the last to
/// leave, and the place is free. Given a barrier for three, when one of three processes is killed before it comes,
/// then the others wait for ever.
#[test]
fn line088_a_death_at_a_barrier_hangs_the_rest() {
    const COUNT: u32 = 3;
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let barrier = Barrier::attach(place_at(&memory, 0)).unwrap();
        assert_eq!(barrier.count(), COUNT);
        if me.name() == "late" {
            me.say("here");
            me.wait_for("never said");
        }
        me.say("coming");
        let leads = barrier.wait().unwrap();
        me.say(if leads { "leads" } else { "follows" });
        return;
    }
    let memory = Memory::new();
    let place = place_at(&memory.mapping, 0);
    for _ in 0..20 {
        let barrier = Barrier::create(place, COUNT).unwrap();
        let leaders: u32 = std::thread::scope(|scope| {
            let come = || {
                let barrier = Barrier::attach(place).unwrap();
                u32::from(barrier.wait().unwrap())
            };
            let others = [scope.spawn(come), scope.spawn(come)];
            let mine = u32::from(barrier.wait().unwrap());
            barrier.destroy().unwrap();
            assert_eq!(Barrier::attach(place).unwrap_err().kind(), ErrorKind::NotFound);
            mine + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>()
        });
        assert_eq!(leaders, 1);
    }

    let barrier = Barrier::create(place, COUNT).unwrap();
    let mut peers: Vec<Peer> = (1..COUNT).map(|_| spawn(&memory, &test_name!(), "punctual")).collect();
    peers.iter_mut().for_each(|peer| peer.wait_for("coming"));
    let leads = barrier.wait().unwrap();
    let said: Vec<String> = peers.iter_mut().map(Peer::hear).collect();
    assert_eq!(said.iter().filter(|word| *word == "leads").count() + usize::from(leads), 1, "{said:?}");
    peers.into_iter().for_each(Peer::succeeds);

    let mut late = spawn(&memory, &test_name!(), "late");
    late.wait_for("here");
    let mut peers: Vec<Peer> = (1..COUNT).map(|_| spawn(&memory, &test_name!(), "punctual")).collect();
    peers.iter_mut().for_each(|peer| peer.wait_for("coming"));
    late.kill();
    pause(3 * SHORT);
    for peer in &mut peers {
        eventually("it waits at the barrier", || in_system_call(peer.id(), FUTEX));
        peer.kill();
    }
}

/// Given an object, when a process attaches that has another C library, another version of it or another word size,
/// or expects another sort of object, then it is refused with a sentence that says so; nothing of the C library runs
/// on the bytes.
#[test]
fn line089_objects_of_another_c_library_or_word_size_are_refused() {
    let memory = Memory::new();
    let place = place_at(&memory.mapping, 0);
    Mutex::create(place, MutexOptions::new()).unwrap();
    let wrong_sort =
        [RwLock::attach(place).map(drop), Condvar::attach(place).map(drop), Barrier::attach(place).map(drop)];
    for refused in wrong_sort.map(Result::unwrap_err) {
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().ends_with("the object there is a mutex"), "{refused}");
    }
    // Which byte of the header, what to make of it, and what the refusal must then name.
    let ours = size_of::<usize>() as u8;
    let other_library = if cfg!(target_env = "musl") { (8, 1, "glibc") } else { (8, 2, "musl") };
    let strangers: [(usize, u8, &str); 9] = [
        (0, 1, "bytes there are something else"),
        (4, 9, "version 9"),
        (5, 77, "unknown sort"),
        (6, 24, "24 bytes"),
        other_library,
        (8, 200, "unknown C library"),
        (9, 12 - ours, "-bit program"),
        (11, 17, ".17"),
        (13, 0x80, "options"),
    ];
    let mut header = [0; HEADER_LEN];
    memory.mapping.read(0, &mut header).unwrap();
    for (at, value, named) in strangers {
        let mut changed = header;
        changed[at] = value;
        memory.mapping.write(0, &changed).unwrap();
        let refused = Mutex::attach(place).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains(named), "byte {at}: {refused}");
        assert!(Mutex::create(place, MutexOptions::new()).is_err(), "never made over something");
    }
    memory.mapping.write(0, &header).unwrap();
    let attached = Mutex::attach(place).unwrap();
    assert_eq!(attached.options(), MutexOptions::new());
    drop(clean(attached.lock().unwrap()));
}

/// Given a process with several threads, when it forks, then it is refused, because the child would have one thread
/// and everybody's locks. Given one with a single thread, when it forks, then the child finds the locks of others,
/// its parent's included, locked, cannot unlock them, and cannot take a guard along.
///
/// That a fork with threads indeed leaves the others' locks locked is shown beside the code, because no safe call
/// does it.
#[test]
fn line109_a_fork_keeps_one_thread_and_every_lock() {
    if let Some(me) = role() {
        let memory = memory::of(&me);
        let mutex = mutex(&memory);
        let guard = clean(mutex.lock().unwrap());
        let answer = tieline_os::fork::fork(|| match mutex.try_lock() {
            Err(error) if error.is_would_block() => 42,
            _ => 1,
        });
        match answer {
            Ok(child) => me.say(&format!("forked: {}", child.wait().unwrap())),
            Err(error) => me.say(&format!("{:?}: {error}", error.kind())),
        }
        drop(guard);
        return;
    }
    let memory = Memory::new();
    let mutex = Mutex::create(place_at(&memory.mapping, 0), MutexOptions::new()).unwrap();
    let mut peer = spawn(&memory, &test_name!(), "threads");
    let refused = peer.hear();
    assert!(refused.starts_with("Busy: cannot fork: 2 threads run"), "{refused}");
    peer.succeeds();
    let mut peer = memory::in_the_only_thread(memory.peer(&test_name!(), "one thread")).spawn();
    peer.wait_for("forked: exit status: 42");
    peer.succeeds();

    drop(clean(until("the lock is free", || mutex.try_lock().ok())));
}
