//! Corner list, processes by number and by descriptor: line 93.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tieline_os::ErrorKind;
use tieline_os::pidfd::PidFd;
use tieline_testkit::{Isolation, Namespace, test_name};

/// Given the number of a process that has ended, and which a new process now has, when a signal is sent by number,
/// then it hits the stranger; by descriptor, with or without a value, then it is refused (ESRCH) and hits nobody.
#[test]
fn line093_a_reused_number_hits_a_stranger_and_a_pidfd_does_not() {
    if Namespace::enter(&[Namespace::Pid], &test_name!()) == Isolation::Done {
        return;
    }
    let mut first = sleeper();
    let number = first.id();
    let process = PidFd::of_child(&first).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();

    let Some(mut stranger) = reuse(number) else {
        tieline_testkit::skip!("this machine does not let us choose the next process number");
    };
    let refused = process.send_signal(tieline_os::signal::Signal::TERM).unwrap_err();
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::NotFound, Some(rustix::io::Errno::SRCH.raw_os_error())));
    assert_eq!(process.send_signal_with(tieline_os::signal::Signal::TERM, 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(process.has_ended().unwrap());
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives on");

    kill_process(Pid::from_raw(number as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(stranger.wait().unwrap().signal(), Some(Signal::TERM.as_raw()), "by number, the stranger was hit");
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap()
}

/// A new process with this number, by telling the kernel which number it gave last.
fn reuse(number: u32) -> Option<Child> {
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).ok()?;
        let mut child = sleeper();
        if child.id() == number {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}
