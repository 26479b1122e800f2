//! Signals (lines 91, 92, 94 to 100) and the parent-death signal (112).
//!
//! Dispositions and limits belong to a process, so each test runs in a process of its own. The thread that spawns a
//! peer blocks what the peer shall have blocked: every thread of the peer, the test runner's too, inherits that.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::NanosleepRelativeResult;
use tieline_os::ErrorKind;
use tieline_os::process::{self, Changes, Children, Pid, SpawnExt, WaitStatus};
use tieline_os::signal::{self, Blocked, Cause, Flag, Pipe, Presence, Signal, SignalSet};
use tieline_os::signalfd::SignalFd;
use tieline_testkit::{Peer, can_run_as, eventually, role, skipped, sleeps, test_name, until};

/// Runs the rest of the test in a process of its own, all of whose threads block `signals`.
fn alone(test: String, signals: impl Into<SignalSet>) {
    let _inherited = Blocked::new(signals).unwrap();
    let peer = Peer::of(test).role("alone").spawn();
    peer.succeeds();
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Given `SIGUSR1` is blocked, when it is sent five times, then it is received once.
#[test]
fn line091_five_pending_standard_signals_are_one() {
    if role().is_none() {
        return alone(test_name!(), Signal::USR1);
    }
    for _ in 0..5 {
        signal::send(process::current(), Signal::USR1).unwrap();
    }
    assert!(signal::pending().unwrap().contains(Signal::USR1));
    let info = signal::wait(Signal::USR1).unwrap();
    assert_eq!((info.signal(), info.cause(), info.pid()), (Signal::USR1, Cause::Sent, Some(process::current())));
    assert!(signal::try_wait(Signal::USR1).unwrap_err().is_would_block());
}

/// Given real-time signals queued in any order, when they are received, then the lowest number comes first, and
/// within one number the oldest, each with its value; beyond `RLIMIT_SIGPENDING` queueing is refused, while a plain
/// standard signal still gets through.
#[test]
fn line092_realtime_signals_are_queued_in_order_up_to_a_limit() {
    let low = Signal::realtime(1).unwrap();
    let high = Signal::realtime(2).unwrap();
    let all = SignalSet::from([low, high, Signal::USR1]);
    if role().is_none() {
        return alone(test_name!(), all);
    }
    let me = process::current();
    for (signal, value) in [(high, 1), (high, i32::MIN), (low, 3), (low, -4)] {
        signal::queue(me, signal, value).unwrap();
    }
    let received: Vec<_> = std::iter::from_fn(|| signal::try_wait(all).ok())
        .map(|info| (info.signal(), info.value().unwrap(), info.cause()))
        .collect();
    assert_eq!(
        received,
        [(low, 3, Cause::Queued), (low, -4, Cause::Queued), (high, 1, Cause::Queued), (high, i32::MIN, Cause::Queued)]
    );

    // The limit counts the signals of all processes of this user, so fewer than 16 may be ours.
    let maximum = getrlimit(Resource::Sigpending).maximum;
    setrlimit(Resource::Sigpending, Rlimit { current: Some(16), maximum }).unwrap();
    let refusal = (0..17).find_map(|value| signal::queue(me, low, value).err()).expect("one past the limit");
    assert_eq!((refusal.kind(), refusal.errno()), (ErrorKind::LimitReached, Some(libc::EAGAIN)));
    assert!(refusal.to_string().contains("RLIMIT_SIGPENDING"), "{refusal}");
    signal::send(me, Signal::USR1).unwrap();
    assert_eq!(signal::try_wait(Signal::USR1).unwrap().signal(), Signal::USR1);
}

/// Given a thread that waits for a signal another thread does not block, when the signal is sent to the process, then
/// the other thread gets it; a thread that does not block it itself is refused the wait and the descriptor.
#[test]
fn line094_waiting_for_signals_needs_them_blocked_in_every_thread() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    for refusal in [
        signal::wait(Signal::USR1).unwrap_err(),
        signal::try_wait([Signal::USR1, Signal::USR2]).unwrap_err(),
        signal::wait(SignalSet::EMPTY).unwrap_err(),
        SignalFd::new(Signal::USR1).unwrap_err(),
    ] {
        assert_eq!(refusal.kind(), ErrorKind::InvalidInput, "{refusal}");
    }

    let _here = Blocked::new(Signal::USR1).unwrap();
    // The runner's main thread does not block it (but for the moment in which it starts a thread), and ours does.
    let open = || signal::threads_not_blocking(Signal::USR1).unwrap();
    eventually("the main thread is found", || open().contains(&process::current()));
    assert!(!open().contains(&process::current_thread()));
    let taken_elsewhere = Flag::new(Signal::USR1).unwrap();
    let descriptor = SignalFd::new(Signal::USR1).unwrap();
    signal::send(process::current(), Signal::USR1).unwrap();
    eventually("the other thread has the signal", || taken_elsewhere.is_raised());
    assert!(signal::try_wait(Signal::USR1).unwrap_err().is_would_block());
    assert!(descriptor.try_receive().unwrap_err().is_would_block());
    // Sent to this thread alone it stays here.
    signal::raise(Signal::USR1).unwrap();
    assert_eq!(descriptor.receive().unwrap().cause(), Cause::SentToThread);
}

/// Given a blocked, an ignored and a handled signal, when a program is executed, then the first two are still so and
/// the third has its default action; a spawn may order otherwise.
#[test]
fn line095_mask_and_ignored_signals_survive_exec_and_handlers_do_not() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    let _blocked = Blocked::new(Signal::USR2).unwrap();
    signal::ignore(Signal::HUP).unwrap();
    let _handled = Flag::new(Signal::USR1).unwrap();
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status");
    let sets = |command: &mut Command| {
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        ["SigBlk:", "SigIgn:", "SigCgt:"].map(|name| {
            let bits = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            SignalSet::from_bits(u64::from_str_radix(bits.trim(), 16).unwrap())
        })
    };
    let [blocked, ignored, caught] = sets(&mut cat);
    assert!(blocked.contains(Signal::USR2));
    assert!(ignored.contains(Signal::HUP));
    assert!(caught.is_empty(), "{caught}");

    let [blocked, ignored, _] = sets(cat.signal_mask(Signal::TERM).default_signals(Signal::HUP));
    assert_eq!(blocked, Signal::TERM.into());
    assert!(!ignored.contains(Signal::HUP));
}

/// Given `SIGCHLD` is ignored, when a child ends, then waiting for it finds none; given it is blocked, when three
/// children end, then a signal descriptor gives one record and three children can be reaped.
#[test]
fn line096_one_sigchld_may_stand_for_many_children_and_ignoring_it_loses_them() {
    if role().is_none() {
        return alone(test_name!(), Signal::CHLD);
    }
    assert_eq!(signal::ignore(Signal::CHLD).unwrap(), signal::Disposition::Default);
    let child = Pid::of(&Command::new("true").spawn().unwrap());
    let gone = process::wait(Children::One(child), Changes::EXITED).unwrap_err();
    assert_eq!((gone.kind(), gone.errno()), (ErrorKind::NotFound, Some(libc::ECHILD)));
    assert_eq!(signal::set_default(Signal::CHLD).unwrap(), signal::Disposition::Ignored);

    let signals = SignalFd::new(Signal::CHLD).unwrap();
    let mut children: Vec<_> = (0..3).map(|_| Pid::of(&Command::new("true").spawn().unwrap())).collect();
    eventually("all three are zombies", || children.iter().all(|child| is_zombie(*child)));
    let mut records = Vec::new();
    assert_eq!(signals.try_receive_many(&mut records).unwrap(), 1);
    assert_eq!(records[0].cause(), Cause::Child(WaitStatus::Exited(0)));
    assert!(records[0].pid().is_some_and(|pid| children.contains(&pid)));
    assert!(signals.try_receive().unwrap_err().is_would_block());

    let mut reaped: Vec<_> = std::iter::from_fn(|| process::try_wait(Children::Any, Changes::EXITED).ok())
        .map(|change| change.pid)
        .collect();
    reaped.sort();
    children.sort();
    assert_eq!(reaped, children);
}

/// Given an epoll instance with a signal descriptor, both inherited by a child, when a signal is pending for the
/// child, then epoll does not tell the child of it, though the descriptor reads it; when one is pending for the
/// parent, then epoll tells the parent.
#[test]
fn line097_epoll_watches_the_signals_of_the_process_that_added_the_descriptor() {
    let shown = |epoll: &dyn AsFd| {
        let mut events = Vec::with_capacity(1);
        epoll::wait(epoll.as_fd(), rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default())).unwrap()
    };
    match role().as_ref().map(|role| role.name().to_owned()).as_deref() {
        None => alone(test_name!(), Signal::USR1),
        Some("alone") => {
            let signals = SignalFd::new(Signal::USR1).unwrap();
            let watcher = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            epoll::add(&watcher, &signals, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args([&test_name!(), "--exact", "--nocapture"])
                .env("TIELINE_TEST_ROLE", "heir")
                .stdin(watcher.try_clone().unwrap())
                .stderr(signals.as_fd().try_clone_to_owned().unwrap())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "the child failed: {status}");
            assert_eq!(shown(&watcher), 1);
        }
        Some(_) => {
            let signals = SignalFd::from_fd(std::io::stderr().as_fd().try_clone_to_owned().unwrap()).unwrap();
            signal::send(process::current(), Signal::USR1).unwrap();
            assert_eq!(shown(&std::io::stdin()), 0, "epoll told the child of its own signal");
            assert_eq!(signals.try_receive().unwrap().pid(), Some(process::current()));
            // The parent blocks it as well, and its epoll instance is ours.
            signal::send(process::parent().unwrap(), Signal::USR1).unwrap();
            assert!(signals.try_receive().unwrap_err().is_would_block(), "the parent's signal is not ours to read");
        }
    }
}

/// Given a handler with `SA_RESTART`, when it interrupts a read, then the read goes on; when it interrupts `poll`,
/// `epoll_wait` or a sleep, then they end with EINTR. Our own waits go on with the time that is left. (`msgrcv`,
/// `msgsnd` and `semop` are line 42.)
#[test]
fn line098_sa_restart_does_not_restart_waiting_calls() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    let count = Flag::new(Signal::USR1).unwrap();
    let never = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let watcher = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&watcher, &never, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    let long = Timespec { tv_sec: 60, tv_nsec: 0 };

    let interrupted = disturbed(&count, || poll(&mut [PollFd::new(&never, PollFlags::IN)], Some(&long)).map(drop));
    assert_eq!(interrupted, Err(rustix::io::Errno::INTR), "poll");
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
    let interrupted =
        disturbed(&count, || epoll::wait(&watcher, rustix::buffer::spare_capacity(&mut events), Some(&long)).map(drop));
    assert_eq!(interrupted, Err(rustix::io::Errno::INTR), "epoll_wait");
    let interrupted = disturbed(&count, || rustix::thread::nanosleep(&long));
    assert!(matches!(interrupted, NanosleepRelativeResult::Interrupted(_)), "nanosleep");

    // The control: a read is restarted, and ends only by what is written.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut byte = [0];
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let tid = process::current_thread();
            let helper = scope.spawn(move || disturb(tid));
            let answer = rustix::io::read(&reader, &mut byte);
            helper.join().unwrap();
            answer
        });
        eventually("the handler has run in the read", || count.is_raised());
        writer.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap(), Ok(1), "read");
    });

    // Ours: interrupted as well, and no shorter for it.
    let _blocked = Blocked::new(Signal::USR2).unwrap();
    let timeout = Duration::from_millis(150);
    assert!(count.take() > 0);
    let start = Instant::now();
    let error = disturbed(&count, || signal::wait_timeout(Signal::USR2, timeout).unwrap_err());
    assert!(error.is_timeout() && start.elapsed() >= timeout, "{error} after {:?}", start.elapsed());
}

/// Sends `SIGUSR1` to the thread `tid` once it sleeps.
fn disturb(tid: Pid) {
    eventually("the thread sleeps", || sleeps(tid.as_raw().cast_unsigned()));
    signal::send_to_thread(process::current(), tid, Signal::USR1).unwrap();
}

/// Runs `call`, which sleeps, and sends this thread `SIGUSR1` meanwhile.
fn disturbed<T>(count: &Flag, call: impl FnOnce() -> T) -> T {
    let _ = count.take();
    let tid = process::current_thread();
    std::thread::scope(|scope| {
        let helper = scope.spawn(move || disturb(tid));
        let answer = call();
        helper.join().unwrap();
        assert_eq!(count.take(), 1, "the handler did not run");
        answer
    })
}

/// Given a process of another user, when asked for, then it is there but forbidden; given a zombie, then it is there;
/// given a reaped child, then it is not.
#[test]
fn line099_eperm_means_alive_and_so_does_a_zombie() {
    const NOBODY: u32 = 65534;
    if role().is_some() {
        return forbidden_but_alive();
    }
    let pid = Pid::of(&Command::new("true").spawn().unwrap());
    eventually("the child is a zombie", || is_zombie(pid));
    assert_eq!(signal::probe(pid).unwrap(), Presence::Reachable);
    signal::send(pid, Signal::KILL).unwrap();
    process::wait(Children::One(pid), Changes::EXITED).unwrap();
    assert_eq!(signal::probe(pid).unwrap(), Presence::Absent);
    assert_eq!(signal::send(pid, Signal::TERM).unwrap_err().kind(), ErrorKind::NotFound);

    if can_run_as(NOBODY) {
        // In a process of its own: one thread as another user makes the memory of the whole process inaccessible.
        Peer::of(test_name!()).role("nobody").user(NOBODY).spawn().succeeds();
    } else if rustix::process::geteuid().is_root() {
        skipped(&test_name!(), "this machine lets no other user run the test");
    } else if signal::probe(Pid::new(1).unwrap()).unwrap() == Presence::Reachable {
        skipped(&test_name!(), "process 1 is ours, so there is no process of another user to ask for");
    } else {
        forbidden_but_alive();
    }
}

fn forbidden_but_alive() {
    let first = Pid::new(1).unwrap();
    let presence = signal::probe(first).unwrap();
    assert_eq!(presence, Presence::Forbidden);
    assert!(presence.exists());
    assert_eq!(signal::send(first, Signal::TERM).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Given a thread that allocates, holds the lock of the standard output and looks at errno, when signals interrupt it
/// thousands of times, then nothing deadlocks, errno stays, and every signal is received or counted as lost.
#[test]
fn line100_handlers_only_do_what_is_safe_at_any_instruction() {
    const COUNT: i32 = 5000;
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    let signal = Signal::realtime(0).unwrap();
    let pipe = Pipe::new(signal).unwrap();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let tid = process::current_thread();
            let sender = scope.spawn(move || {
                for _ in 0..COUNT {
                    // Refused while this user has too many signals queued.
                    until("the queue has room", || signal::send_to_thread(process::current(), tid, signal).ok());
                }
            });
            let mut kept = Vec::new();
            while !sender.is_finished() {
                let mut out = std::io::stdout().lock();
                kept.push(vec![7_u8; kept.len() % 3000]);
                let _ = out.flush();
                if kept.len() > 100 {
                    kept.clear();
                }
                // Sets this thread's errno to ENOENT, which the handler's failed writes (EAGAIN) must not touch.
                std::fs::metadata("/no/such/file").unwrap_err();
                std::hint::black_box((0..200).fold(0_u32, |sum, x| sum ^ std::hint::black_box(x)));
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
            }
            sender.join().unwrap();
        });
        busy.join().unwrap();
    });
    let received = std::iter::from_fn(|| pipe.try_receive().ok()).inspect(|info| assert_eq!(info.signal(), signal));
    let received = received.count() as u64;
    assert_eq!(received + pipe.lost(), COUNT as u64);
    assert!(received > 0 && pipe.lost() > 0, "{received} received, {} lost: the pipe was to overflow", pipe.lost());
}

/// Given a child that shall die with its parent, when the thread that spawned it ends while the process lives on,
/// then the child gets the signal; when the child has executed a set-user-id program, then it does not.
#[test]
fn line112_the_parent_death_signal_is_for_the_thread_and_cleared_by_a_setuid_exec() {
    let spawn = |mut command: Command| {
        let child = std::thread::spawn(move || command.die_with_parent(Signal::TERM).spawn().unwrap()).join();
        Pid::of(&child.unwrap())
    };
    let mut sleep = Command::new("sleep");
    sleep.arg("60");
    let end = process::wait_timeout(spawn(sleep), Duration::from_secs(20)).unwrap();
    assert_eq!(end, WaitStatus::Killed { signal: Signal::TERM, core_dumped: false });

    let directory = tempfile::tempdir().unwrap();
    let Some(program) = setuid_sleep(directory.path()) else {
        return skipped(&test_name!(), "only root can make a set-user-id program of another user, on a suitable mount");
    };
    let mut sleep = Command::new(program);
    sleep.arg("60");
    let survivor = spawn(sleep);
    // The thread is gone. The signal would have come with its end, as it did above.
    tieline_testkit::pause(Duration::from_millis(100));
    assert!(process::try_wait(Children::One(survivor), Changes::EXITED).unwrap_err().is_would_block());
    signal::send(survivor, Signal::KILL).unwrap();
    process::wait(Children::One(survivor), Changes::EXITED).unwrap();
}

/// A copy of `sleep` that runs as another user than ours, if such a thing can be made here.
fn setuid_sleep(directory: &std::path::Path) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::{PermissionsExt, chown};
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().as_raw() == NOBODY {
        return None;
    }
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| std::path::Path::new(path).exists())?;
    let copy = directory.join("sleep");
    // By another process: a program that is open for writing is not executed, and whatever another test starts at this
    // moment would have our descriptor open until it runs its program.
    Command::new("cp").arg(sleep).arg(&copy).status().ok().filter(std::process::ExitStatus::success)?;
    chown(&copy, Some(NOBODY), None).ok()?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).ok()?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).ok()?;
    let mount = rustix::fs::statvfs(directory).ok()?;
    // With which no program changes who it is.
    if rustix::thread::no_new_privs().ok()? {
        return None;
    }
    (!mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID)).then_some(copy)
}
