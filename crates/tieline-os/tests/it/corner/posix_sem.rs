//! Lines 65 to 69: POSIX semaphores.

use std::time::Duration;

use tieline_os::mapping::Mapping;
use tieline_os::posix::sem::{NamedSemaphore, UnnamedSemaphore, VALUE_MAX};
use tieline_os::process::Pid;
use tieline_os::signal::{self, Flag, HandlerFlags, Signal};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{PATIENCE, Peer, eventually, role, test_name};

use crate::posix::ScratchName;

/// Given a semaphore, when it is opened or created again with another value and mode, then both are ignored.
#[test]
fn line065_an_existing_semaphore_keeps_value_and_mode() {
    let name = ScratchName::new();
    let first = NamedSemaphore::create(&name, 3, Mode::OWNER).unwrap();
    let second = NamedSemaphore::open_or_create(&name, 99, Mode::ANYONE).unwrap();
    assert_eq!((first.value(), second.value()), (3, 3));
    let listed = NamedSemaphore::list().unwrap();
    assert_eq!(listed.iter().find(|entry| entry.name == name.as_str()).unwrap().mode, Mode::OWNER);
}

/// Given a process that has taken one, when it is killed, then the value is not given back.
#[test]
fn line066_a_dead_holder_gives_nothing_back() {
    if let Some(me) = role() {
        NamedSemaphore::open(me.env("SEMAPHORE")).unwrap().wait().unwrap();
        me.say("taken");
        me.wait_for("never");
        return;
    }
    let name = ScratchName::new();
    let semaphore = NamedSemaphore::create(&name, 1, Mode::OWNER).unwrap();
    let mut holder = Peer::of(test_name!()).role("holder").env("SEMAPHORE", name.as_str()).spawn();
    holder.wait_for("taken");
    holder.kill();
    assert_eq!(semaphore.value(), 0);
    assert!(semaphore.wait_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
}

/// Given a semaphore at its largest value, when it is posted, then `EOVERFLOW` and the value stays; posting neither
/// blocks nor allocates, takes no lock, and so may be done in a signal handler.
#[test]
fn line067_posting_past_the_largest_value_is_refused() {
    let memory = Mapping::anonymous(4096).unwrap();
    let semaphore = UnnamedSemaphore::init(&memory, 0, VALUE_MAX).unwrap();
    for _ in 0..3 {
        let error = semaphore.post().unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, Some(libc::EOVERFLOW)));
    }
    assert_eq!(semaphore.value(), VALUE_MAX);
    semaphore.try_wait().unwrap();
    semaphore.post().unwrap();
    assert_eq!(semaphore.value(), VALUE_MAX);
}

/// Given a semaphore that processes hold, when it is unlinked, then they go on with it, and the next to create the name
/// makes another.
#[test]
fn line068_holders_go_on_after_unlink() {
    if let Some(me) = role() {
        let old = NamedSemaphore::open(me.env("SEMAPHORE")).unwrap();
        me.say("open");
        old.wait_timeout(PATIENCE).unwrap();
        return;
    }
    let name = ScratchName::new();
    let old = NamedSemaphore::create(&name, 0, Mode::OWNER).unwrap();
    let mut holder = Peer::of(test_name!()).role("holder").env("SEMAPHORE", name.as_str()).spawn();
    holder.wait_for("open");
    NamedSemaphore::unlink(&name).unwrap();
    assert_eq!(NamedSemaphore::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    let new = NamedSemaphore::create(&name, 0, Mode::OWNER).unwrap();
    new.post().unwrap();
    eventually("the holder waits on the old one", || old.waiters() == 1);
    old.post().unwrap();
    holder.succeeds();
    assert_eq!((old.value(), new.value()), (0, 1));
}

/// Given a process that waits interruptibly, when a handler without `SA_RESTART` runs, then `EINTR`; with
/// `SA_RESTART` the wait goes on (unlike `semop`), unless it has a deadline: then `EINTR` all the same. The plain
/// forms go on in every case.
#[test]
fn line069_only_a_handler_that_does_not_restart_interrupts() {
    if let Some(me) = role() {
        let not_restarting = Flag::with_flags(Signal::USR1, HandlerFlags::empty()).unwrap();
        let restarting = Flag::new(Signal::USR2).unwrap();
        let semaphore = NamedSemaphore::open(me.env("SEMAPHORE")).unwrap();
        let interrupted = |result: tieline_os::Result<()>| result.unwrap_err().is_interrupted();
        match me.name() {
            "not restarting" => assert!(interrupted(semaphore.wait_interruptible())),
            "restarting" => semaphore.wait_interruptible().unwrap(),
            "restarting with a deadline" => assert!(interrupted(semaphore.wait_timeout_interruptible(PATIENCE))),
            "plain" => semaphore.wait().unwrap(),
            "plain with a deadline" => semaphore.wait_timeout(PATIENCE).unwrap(),
            other => panic!("no such role: {other}"),
        }
        assert_eq!(not_restarting.take() + restarting.take(), 1, "the handler ran");
        return;
    }
    for (how, signal, ends) in [
        ("not restarting", Signal::USR1, true),
        ("restarting", Signal::USR2, false),
        ("restarting with a deadline", Signal::USR2, true),
        ("plain", Signal::USR1, false),
        ("plain with a deadline", Signal::USR1, false),
    ] {
        let name = ScratchName::new();
        let semaphore = NamedSemaphore::create(&name, 0, Mode::OWNER).unwrap();
        let waiter = Peer::of(test_name!()).role(how).env("SEMAPHORE", name.as_str()).spawn();
        eventually("the peer waits", || semaphore.waiters() == 1);
        waiter.sleeps();
        waiter_gets(&waiter, signal);
        if !ends {
            // Still there, after the handler has run.
            waiter.sleeps();
            assert_eq!(semaphore.waiters(), 1, "{how}");
            semaphore.post().unwrap();
        }
        waiter.succeeds();
        assert_eq!((semaphore.value(), semaphore.waiters()), (0, 0), "{how}");
    }
}

/// Sends the signal to the thread that waits and to no other: one that is sent to the process may be taken by the runner's
/// own thread, if that is still busy with the start of the test.
fn waiter_gets(peer: &Peer, signal: Signal) {
    let pid = |number: u32| Pid::new(number.cast_signed()).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", peer.id())).unwrap().flatten();
    let threads = tasks.map(|task| task.file_name().to_str().unwrap().parse().unwrap());
    let waiter = threads.into_iter().find(|thread| *thread != peer.id()).expect("a thread waits");
    signal::send_to_thread(pid(peer.id()), pid(waiter), signal).unwrap();
}
