//! Processes by descriptor.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tieline_os::ErrorKind;
use tieline_os::pidfd::PidFd;
use tieline_os::poll::{self, Interest};
use tieline_os::signal::Signal;
use tieline_testkit::{Peer, test_name};

fn shell(script: &str) -> std::process::Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
#[expect(clippy::zombie_processes, reason = "waited for through the descriptor")]
fn an_exit_code_is_told_to_the_parent_once() {
    let child = shell("read line; exit 42");
    let process = PidFd::of_child(&child).unwrap();
    assert_eq!(process.pid().unwrap(), Some(child.id()));
    assert!(!process.has_ended().unwrap());
    assert!(process.try_wait().unwrap_err().is_would_block());
    assert!(process.try_wait_status().unwrap_err().is_would_block());
    let short = Duration::from_millis(10);
    assert!(process.wait_timeout(short).unwrap_err().is_timeout());
    assert!(process.wait_status_timeout(short).unwrap_err().is_timeout());

    drop(child.stdin);
    process.wait().unwrap();
    assert!(process.has_ended().unwrap());
    assert!(poll::try_wait(&process, Interest::READABLE).unwrap().can_read());
    assert!(process.pid().unwrap().is_some(), "a zombie keeps its number");
    process.send_signal(Signal::TERM).unwrap();

    assert_eq!(process.wait_status().unwrap().code(), Some(42));
    assert_eq!(process.wait_status().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(process.pid().unwrap(), None);
    assert_eq!(process.send_signal(Signal::TERM).unwrap_err().kind(), ErrorKind::NotFound);
    // Some sandboxes refuse the call whatever it is asked for.
    let gone = process.duplicate_fd(0).unwrap_err();
    assert!(gone.kind() == ErrorKind::NotFound || gone.kind() == ErrorKind::PermissionDenied, "{gone}");
    process.wait().unwrap();
}

#[test]
#[expect(clippy::zombie_processes, reason = "waited for through the descriptor")]
fn a_death_by_signal_is_told_as_such() {
    for (signal, with_value) in [(Signal::KILL, false), (Signal::TERM, true)] {
        let child = shell("read line");
        let process = PidFd::of_child(&child).unwrap();
        if with_value { process.send_signal_with(signal, 7) } else { process.send_signal(signal) }.unwrap();
        let status = process.wait_status_timeout(tieline_testkit::PATIENCE).unwrap();
        assert_eq!((status.signal(), status.code()), (Some(signal.number()), None));
    }
    let child = shell("read line");
    let process = PidFd::of_child(&child).unwrap();
    process.send_signal(Signal::new(64).unwrap()).unwrap();
    assert_eq!(process.wait_status().unwrap().signal(), Some(64), "real-time signals too");
}

/// A process that is not our child can be waited for, but its status is its parent's.
#[test]
fn a_stranger_can_be_waited_for() {
    if let Some(me) = tieline_testkit::role() {
        let parent = PidFd::open(rustix::process::getppid().unwrap().as_raw_nonzero().get() as u32).unwrap();
        let error = parent.wait_status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("only its parent"), "{error}");

        let mut grandchild = shell("read line");
        me.say(&grandchild.id().to_string());
        me.wait_for("end it");
        drop(grandchild.stdin.take());
        grandchild.wait().unwrap();
        return;
    }
    let mut peer = Peer::of(test_name!()).role("parent of the stranger").spawn();
    let stranger = PidFd::open(peer.hear().parse().unwrap()).unwrap();
    assert!(!stranger.has_ended().unwrap());
    peer.say("end it");
    stranger.wait_timeout(tieline_testkit::PATIENCE).unwrap();
    peer.succeeds();
}

#[test]
fn a_descriptor_is_duplicated_out_of_another_process() {
    if let Some(me) = tieline_testkit::role() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"from inside").unwrap();
        me.say(&reader.as_raw_fd().to_string());
        me.wait_for("done");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("owner").spawn();
    let number = peer.hear().parse().unwrap();
    let process = PidFd::open(peer.id()).unwrap();
    let fd = match process.duplicate_fd(number) {
        Err(error) if error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied => {
            tieline_testkit::skip!("not even the descriptors of a child may be had here: {error}")
        }
        fd => fd.unwrap(),
    };
    assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let mut said = [0; 11];
    std::io::PipeReader::from(fd).read_exact(&mut said).unwrap();
    assert_eq!(&said, b"from inside");
    let error = process.duplicate_fd(9999).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.object(), Some("9999"));
    peer.say("done");
    peer.succeeds();
}

#[test]
fn a_thread_has_a_descriptor_of_its_own() {
    let (sender, tids) = std::sync::mpsc::channel();
    let (ender, end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        sender.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
        let _ = end.recv();
    });
    let tid = tids.recv().unwrap();
    assert_eq!(PidFd::open(tid).unwrap_err().kind(), ErrorKind::InvalidInput, "a thread is not a process");
    match PidFd::open_thread(tid) {
        Ok(process) => {
            assert!(!process.has_ended().unwrap());
            drop(ender);
            process.wait_timeout(tieline_testkit::PATIENCE).unwrap();
            thread.join().unwrap();
        }
        Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn odd_numbers_are_refused() {
    for number in [0, u32::MAX, 1 << 31] {
        assert_eq!(PidFd::open(number).unwrap_err().kind(), ErrorKind::InvalidInput, "{number}");
    }
    // The largest pid the kernel ever gives is below 2^22.
    let error = PidFd::open(i32::MAX as u32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("2147483647"), "{error}");
}

#[test]
fn only_a_process_is_taken_over() {
    let own = PidFd::open(std::process::id()).unwrap();
    let own = PidFd::from_fd(own.into()).unwrap();
    assert_eq!(own.pid().unwrap(), Some(std::process::id()));
    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(PidFd::from_fd(reader.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
