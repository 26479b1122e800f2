//! Sending, masks, handlers, waiting and descriptors, beyond the corner lines. Dispositions belong to a process, so
//! what changes them runs in a process of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use tieline_os::ErrorKind;
use tieline_os::process::{self, Changes, Children, Pid, SpawnExt, WaitStatus};
use tieline_os::signal::{self, Blocked, Cause, Disposition, Flag, HandlerFlags, Pipe, Signal, SignalSet};
use tieline_os::signalfd::SignalFd;
use tieline_testkit::{Peer, eventually, role, test_name};

/// Runs the rest of the test in a process of its own, all of whose threads block `signals`.
fn alone(test: String, signals: impl Into<SignalSet>) {
    let _inherited = Blocked::new(signals).unwrap();
    Peer::of(test).role("alone").spawn().succeeds();
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_pipe_tells_who_sent_what_and_gives_everything_back() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    let realtime = Signal::realtime(0).unwrap();
    signal::ignore(Signal::HUP).unwrap();
    let before = open_descriptors();
    {
        let pipe = Pipe::new([Signal::HUP, Signal::USR1, realtime]).unwrap();
        assert_eq!(pipe.signals(), SignalSet::from([Signal::HUP, Signal::USR1, realtime]));
        assert_eq!(signal::disposition(Signal::HUP).unwrap(), Disposition::Handled);
        assert!(pipe.try_receive().unwrap_err().is_would_block());
        assert!(pipe.receive_timeout(Duration::from_millis(10)).unwrap_err().is_timeout());

        signal::queue(process::current(), realtime, -7).unwrap();
        let info = pipe.receive().unwrap();
        assert_eq!((info.signal(), info.cause(), info.value()), (realtime, Cause::Queued, Some(-7)));
        assert_eq!(info.uid(), Some(process::credentials().unwrap().real_uid));

        let child = Pid::of(&Command::new("sh").args(["-c", "kill -USR1 $PPID"]).spawn().unwrap());
        let info = pipe.receive_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((info.signal(), info.cause(), info.value()), (Signal::USR1, Cause::Sent, None));
        assert_eq!(info.pid(), Some(child));
        process::wait(Children::One(child), Changes::EXITED).unwrap();
        assert_eq!(pipe.lost(), 0);

        // One receiver a signal, and a refusal leaves nothing behind.
        let busy = Flag::new([Signal::USR2, Signal::USR1]).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        assert_eq!(signal::ignore(Signal::USR1).unwrap_err().kind(), ErrorKind::Busy);
        let mut refused = SignalSet::from([Signal::USR2, Signal::USR1]);
        refused.remove(Signal::USR1);
        assert_eq!(signal::disposition(Signal::USR2).unwrap(), Disposition::Default);
        drop(Flag::new(refused).unwrap());
    }
    assert_eq!(signal::disposition(Signal::HUP).unwrap(), Disposition::Ignored);
    assert_eq!(signal::disposition(Signal::USR1).unwrap(), Disposition::Default);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn what_cannot_be_handled_is_refused_with_a_reason() {
    let unhandled = [Signal::KILL, Signal::STOP, Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL];
    let reserved = Signal::new(32).filter(|signal| signal.is_reserved());
    for signal in unhandled.into_iter().chain(reserved) {
        let refusal = Pipe::new(signal).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::InvalidInput, "{refusal}");
        assert!(refusal.to_string().contains(&signal.to_string()) || signal.is_fault(), "{refusal}");
    }
    assert_eq!(signal::ignore(Signal::KILL).unwrap_err().kind(), ErrorKind::InvalidInput);
    let everybody = signal::send_to_group(Pid::new(1).unwrap(), Signal::CONT).unwrap_err();
    assert_eq!(everybody.kind(), ErrorKind::InvalidInput, "{everybody}");
    let nobody = Pid::new(i32::MAX).unwrap();
    assert_eq!(signal::send_to_group(nobody, Signal::TERM).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(signal::queue(nobody, Signal::TERM, 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(signal::probe(nobody).unwrap(), signal::Presence::Absent);
    let wrong_thread = signal::send_to_thread(process::current(), nobody, Signal::CONT).unwrap_err();
    assert_eq!(wrong_thread.kind(), ErrorKind::NotFound);
}

#[test]
fn flags_of_sigchld_choose_what_is_told() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    let sleeper = || Pid::of(&Command::new("sleep").arg("300").spawn().unwrap());
    let pipe = Pipe::new(Signal::CHLD).unwrap();
    let child = sleeper();
    signal::send(child, Signal::STOP).unwrap();
    assert_eq!(pipe.receive().unwrap().cause(), Cause::Child(WaitStatus::Stopped(Signal::STOP)));
    signal::send(child, Signal::CONT).unwrap();
    assert_eq!(pipe.receive().unwrap().cause(), Cause::Child(WaitStatus::Continued));
    signal::send(child, Signal::KILL).unwrap();
    let info = pipe.receive().unwrap();
    let killed = WaitStatus::Killed { signal: Signal::KILL, core_dumped: false };
    assert_eq!((info.cause(), info.pid()), (Cause::Child(killed), Some(child)));
    process::wait(Children::One(child), Changes::EXITED).unwrap();
    drop(pipe);

    let pipe = Pipe::with_flags(Signal::CHLD, HandlerFlags::RESTART | HandlerFlags::NOCLDSTOP).unwrap();
    let child = sleeper();
    signal::send(child, Signal::STOP).unwrap();
    process::wait(Children::One(child), Changes::STOPPED).unwrap();
    signal::send(child, Signal::KILL).unwrap();
    assert_eq!(pipe.receive().unwrap().cause(), Cause::Child(killed), "the stop was told");
    process::wait(Children::One(child), Changes::EXITED).unwrap();
    drop(pipe);

    let pipe = Pipe::with_flags(Signal::CHLD, HandlerFlags::NOCLDWAIT).unwrap();
    let child = sleeper();
    signal::send(child, Signal::KILL).unwrap();
    assert_eq!(pipe.receive().unwrap().pid(), Some(child));
    assert_eq!(process::wait(Children::One(child), Changes::EXITED).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn registrations_come_and_go_under_fire() {
    const ROUNDS: usize = 300;
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    // Between registrations the signal is ignored, or it would end the process.
    signal::ignore(Signal::USR1).unwrap();
    let before = open_descriptors();
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| {
            for round in 0..ROUNDS {
                if round % 2 == 0 {
                    let pipe = Pipe::new(Signal::USR1).unwrap();
                    assert_eq!(pipe.receive().unwrap().signal(), Signal::USR1);
                } else {
                    let flag = Flag::with_flags(Signal::USR1, HandlerFlags::NODEFER).unwrap();
                    eventually("it is raised", || flag.is_raised());
                }
            }
        });
        while !registering.is_finished() {
            signal::send(process::current(), Signal::USR1).unwrap();
            std::thread::yield_now();
        }
    });
    assert_eq!(open_descriptors(), before);
    assert_eq!(signal::disposition(Signal::USR1).unwrap(), Disposition::Ignored);
}

#[test]
fn masks_nest_and_belong_to_the_thread() {
    let before = signal::blocked().unwrap();
    let outer = Blocked::new([Signal::USR1, Signal::KILL]).unwrap();
    assert_eq!(outer.before(), before);
    assert!(!signal::blocked().unwrap().contains(Signal::KILL), "nobody can block that");
    {
        let _inner = Blocked::new(Signal::USR2).unwrap();
        signal::unblock(Signal::USR1).unwrap();
        assert!(!signal::blocked().unwrap().contains(Signal::USR1));
    }
    assert!(signal::blocked().unwrap().contains(Signal::USR1) && !signal::blocked().unwrap().contains(Signal::USR2));
    let elsewhere = std::thread::spawn(|| {
        let inherited = signal::blocked().unwrap();
        signal::set_mask(SignalSet::EMPTY).unwrap();
        inherited
    });
    assert!(elsewhere.join().unwrap().contains(Signal::USR1));
    assert!(signal::blocked().unwrap().contains(Signal::USR1));
    drop(outer);
    assert_eq!(signal::blocked().unwrap(), before);
}

#[test]
fn waits_have_deadlines_and_sleepers_are_woken() {
    let signal = Signal::realtime(5).unwrap();
    let _blocked = Blocked::new(signal).unwrap();
    let start = Instant::now();
    assert!(signal::wait_timeout(signal, Duration::from_millis(30)).unwrap_err().is_timeout());
    assert!(start.elapsed() >= Duration::from_millis(30));
    let descriptor = SignalFd::new(signal).unwrap();
    let start = Instant::now();
    assert!(descriptor.receive_timeout(Duration::from_millis(30)).unwrap_err().is_timeout());
    assert!(start.elapsed() >= Duration::from_millis(30));

    let me = process::current_thread();
    let wake = move || {
        eventually("the thread sleeps", || tieline_testkit::sleeps(me.as_raw().cast_unsigned()));
        signal::send_to_thread(process::current(), me, signal).unwrap();
    };
    for receive in [|signal, _: &SignalFd| signal::wait(signal), |_, descriptor: &SignalFd| descriptor.receive()] {
        let waker = std::thread::spawn(wake);
        assert_eq!(receive(signal, &descriptor).unwrap().pid(), Some(process::current()));
        waker.join().unwrap();
    }
}

#[test]
fn a_descriptor_is_checked_changed_and_closed_on_exec() {
    let (first, second) = (Signal::realtime(6).unwrap(), Signal::realtime(7).unwrap());
    let _blocked = Blocked::new([first, second]).unwrap();
    let descriptor = SignalFd::new(first).unwrap();
    assert!(rustix::io::fcntl_getfd(&descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    signal::raise(second).unwrap();
    assert!(descriptor.try_receive().unwrap_err().is_would_block());
    descriptor.set_signals([first, second]).unwrap();
    signal::raise(first).unwrap();
    let mut both = Vec::new();
    assert_eq!(descriptor.try_receive_many(&mut both).unwrap(), 2);
    assert_eq!(both.iter().map(signal::SignalInfo::signal).collect::<Vec<_>>(), [first, second]);
    let again = SignalFd::from_fd(OwnedFd::from(descriptor)).unwrap();
    signal::raise(second).unwrap();
    assert_eq!(again.receive().unwrap().signal(), second);
    let other = SignalFd::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidInput, "{other}");
    assert_eq!(again.set_signals(Signal::INT).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn children_are_waited_for_by_id_group_and_time() {
    // Which a script in the background has ignored.
    let mut sleep = Command::new("sleep");
    sleep.arg("300").process_group(0).default_signals(Signal::QUIT);
    let child = Pid::of(&sleep.spawn().unwrap());
    assert!(process::try_wait(Children::One(child), Changes::all()).unwrap_err().is_would_block());
    let start = Instant::now();
    assert!(process::wait_timeout(child, Duration::from_millis(30)).unwrap_err().is_timeout());
    assert!(start.elapsed() >= Duration::from_millis(30));
    signal::send_to_group(child, Signal::QUIT).unwrap();
    let end = process::wait(Children::Group(child), Changes::EXITED).unwrap();
    assert_eq!(end.pid, child);
    assert!(matches!(end.status, WaitStatus::Killed { signal: Signal::QUIT, .. }), "{end:?}");
    let gone = process::wait_timeout(child, Duration::ZERO).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    let nothing = process::wait(Children::One(child), Changes::empty()).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidInput);

    let child = Pid::of(&Command::new("sh").args(["-c", "exit 200"]).spawn().unwrap());
    eventually("it has ended", || process::try_peek(Children::One(child), Changes::EXITED).is_ok());
    // Looked at, it is still there.
    assert_eq!(process::wait_timeout(child, Duration::ZERO).unwrap(), WaitStatus::Exited(200));
}

#[test]
fn a_subreaper_inherits_orphans() {
    if role().is_none() {
        return alone(test_name!(), SignalSet::EMPTY);
    }
    assert!(!process::is_child_subreaper().unwrap());
    process::set_child_subreaper(true).unwrap();
    assert!(process::is_child_subreaper().unwrap());
    let middle = Pid::of(&Command::new("sh").args(["-c", "sh -c 'sleep 0.05; exit 9' & exit 1"]).spawn().unwrap());
    assert_eq!(process::wait(Children::One(middle), Changes::EXITED).unwrap().status, WaitStatus::Exited(1));
    let orphan = process::wait(Children::Any, Changes::EXITED).unwrap();
    assert_eq!(orphan.status, WaitStatus::Exited(9));
}

#[test]
fn a_spawned_session_and_a_parent_death_signal_are_seen_from_inside() {
    let pid = Pid::of(&Command::new("sleep").arg("300").new_session(None).unwrap().spawn().unwrap());
    assert_eq!((process::session_of(pid).unwrap(), process::group_of(pid).unwrap()), (pid, pid));
    signal::send(pid, Signal::KILL).unwrap();
    process::wait(Children::One(pid), Changes::EXITED).unwrap();

    std::thread::spawn(|| {
        assert_eq!(process::parent_death_signal().unwrap(), None);
        process::set_parent_death_signal(Some(Signal::WINCH)).unwrap();
        assert_eq!(process::parent_death_signal().unwrap(), Some(Signal::WINCH));
        process::set_parent_death_signal(None).unwrap();
        assert_eq!(process::parent_death_signal().unwrap(), None);
    })
    .join()
    .unwrap();
}

/// Given two threads that take and give back the same signal as fast as they can, when both are done, then the default
/// action is back: none has taken the other's handler for what was there before.
#[test]
fn rivals_for_a_signal_leave_what_was_there_before() {
    use tieline_os::signal::{Disposition, Flag, Signal, disposition};
    let signal = Signal::STKFLT;
    assert_eq!(disposition(signal).unwrap(), Disposition::Default);
    const ROUNDS: usize = 200_000;
    let taken = || (0..ROUNDS).filter(|_| Flag::new(signal).is_ok()).count();
    let both: usize = std::thread::scope(|scope| {
        let rivals = [scope.spawn(taken), scope.spawn(taken)];
        rivals.map(|rival| rival.join().unwrap()).iter().sum()
    });
    assert!(both > 0);
    assert_eq!(disposition(signal).unwrap(), Disposition::Default);
}

/// What the shell did with `SIGPIPE` before the program began, although the runtime has ignored it since.
#[test]
fn whether_the_parent_ignored_sigpipe_is_known() {
    const EXPECTED: &str = "TIELINE_TEST_SIGPIPE";
    if let Ok(expected) = std::env::var(EXPECTED) {
        assert_eq!(process::was_sigpipe_ignored_at_start().to_string(), expected);
        return;
    }
    let test = std::env::current_exe().unwrap();
    for (before, expected) in [("trap '' PIPE; ", "true"), ("", "false")] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before}exec \"$0\" \"$@\"")]).arg(&test);
        shell.args([test_name!(), "--exact".to_owned()]).env(EXPECTED, expected);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{before:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
