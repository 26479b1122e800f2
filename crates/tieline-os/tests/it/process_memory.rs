//! The memory of another process.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tieline_os::ErrorKind;
use tieline_os::process_memory::ProcessMemory;
use tieline_testkit::{Peer, test_name};

/// Its memory, unless this sandbox lets nobody ask for that of another process.
macro_rules! open_or_skip {
    ($pid:expr) => {
        match ProcessMemory::open($pid) {
            Err(error) if crate::process_memory::is_forbidden(&error) => tieline_testkit::skip!("{error}"),
            memory => memory.unwrap(),
        }
    };
}

pub(crate) fn is_forbidden(error: &tieline_os::Error) -> bool {
    error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied
}

pub(crate) use open_or_skip;

static WORDS: [AtomicU64; 3] = [AtomicU64::new(11), AtomicU64::new(22), AtomicU64::new(33)];

/// Bytes go there and come back, whole and scattered, and the other process sees them.
#[test]
fn bytes_go_and_come() {
    if let Some(me) = tieline_testkit::role() {
        me.say(&(WORDS.as_ptr() as usize).to_string());
        me.wait_for("look");
        assert_eq!(WORDS.each_ref().map(|word| word.load(Ordering::Relaxed)), [44, 22, 55]);
        me.say("seen");
        me.wait_for("done");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("owner").spawn();
    let address: usize = peer.hear().parse().unwrap();
    let memory = open_or_skip!(peer.id());
    let mut words = [0; 24];
    memory.read_exact(address, &mut words).unwrap();
    assert_eq!(words.chunks_exact(8).map(|word| word[0]).collect::<Vec<_>>(), [11, 22, 33]);
    let (mut last, mut first) = ([0; 8], [0; 8]);
    let count = memory.read_ranges(&mut [(address + 16, &mut last[..]), (address, &mut first[..])]).unwrap();
    assert_eq!((count, last[0], first[0]), (16, 33, 11));

    assert_eq!(memory.write(address, &44_u64.to_ne_bytes()).unwrap(), 8);
    assert_eq!(memory.write_ranges(&[(address + 16, &[55]), (address + 17, &[0; 7])]).unwrap(), 8);
    peer.say("look");
    peer.wait_for("seen");

    assert_eq!(memory.read(address, &mut []).unwrap(), 0);
    assert_eq!(memory.write(address, &[]).unwrap(), 0);
    for bad in [0, 8, usize::MAX - 4096] {
        assert_eq!(memory.read(bad, &mut [0; 8]).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:#x}");
        assert_eq!(memory.write(bad, &[0; 8]).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:#x}");
    }
    let stopped = memory.write_ranges(&[(address, &44_u64.to_ne_bytes()), (8, &[1]), (address + 8, &[1])]);
    assert_eq!(stopped.unwrap(), 8, "nothing after the bad range");
    peer.say("done");
    peer.succeeds();
}

#[test]
fn one_range_past_the_limit_is_refused() {
    if let Some(me) = tieline_testkit::role() {
        me.say(&(WORDS.as_ptr() as usize).to_string());
        me.wait_for("done");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("owner").spawn();
    let address: usize = peer.hear().parse().unwrap();
    let memory = open_or_skip!(peer.id());
    let mut bytes = [0; ProcessMemory::MAX_RANGES + 1];
    let mut ranges: Vec<_> = bytes.chunks_mut(1).map(|byte| (address, byte)).collect();
    let error = memory.read_ranges(&mut ranges).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1024"), "{error}");
    ranges.pop();
    assert_eq!(memory.read_ranges(&mut ranges).unwrap(), ProcessMemory::MAX_RANGES);
    let ranges = [(address, &[11_u8][..]); ProcessMemory::MAX_RANGES + 1];
    assert_eq!(memory.write_ranges(&ranges).unwrap_err().kind(), ErrorKind::InvalidInput);
    peer.say("done");
    peer.succeeds();
}

/// Our own memory, by the process's number or a thread's, is not opened: writing it would break Rust's rules.
#[test]
fn our_own_memory_is_refused() {
    let error = ProcessMemory::open(std::process::id()).unwrap_err();
    if is_forbidden(&error) {
        tieline_testkit::skip!("{error}");
    }
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("own memory"), "{error}");
    let thread = std::thread::spawn(|| {
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        ProcessMemory::open(tid).unwrap_err().kind()
    });
    assert_eq!(thread.join().unwrap(), ErrorKind::InvalidInput);
}

#[test]
fn a_dead_process_has_no_memory() {
    if let Some(me) = tieline_testkit::role() {
        me.say(&(WORDS.as_ptr() as usize).to_string());
        me.wait_for("never");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("victim").spawn();
    let address: usize = peer.hear().parse().unwrap();
    let memory = open_or_skip!(peer.id());
    memory.read_exact(address, &mut [0; 8]).unwrap();
    peer.kill();
    memory.process().wait_timeout(tieline_testkit::PATIENCE).unwrap();
    assert_eq!(memory.read(address, &mut [0; 8]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(memory.write(address, &[0; 8]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ProcessMemory::open(peer.id()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ProcessMemory::open(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Writes are bound to the program that was opened, not to the number it had.
#[test]
fn another_program_under_the_same_number_is_not_written() {
    let mut shell = Command::new("sh")
        .args(["-c", "read line; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let name = format!("/proc/{}/comm", shell.id());
    let program = || std::fs::read_to_string(&name).unwrap();
    // Before that its memory is being laid out, and words of it change.
    tieline_testkit::eventually("the shell reads", || program().trim() == "sh" && tieline_testkit::sleeps(shell.id()));
    let memory = ProcessMemory::open(shell.id());
    if let Some(error) = memory.as_ref().err().filter(|error| is_forbidden(error)) {
        shell.kill().unwrap();
        shell.wait().unwrap();
        tieline_testkit::skip!("{error}");
    }
    let memory = memory.unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", shell.id())).unwrap();
    let writable = maps.lines().find(|line| line.contains(" rw")).unwrap();
    let address = usize::from_str_radix(writable.split_once('-').unwrap().0, 16).unwrap();
    let mut byte = [0];
    memory.read_exact(address, &mut byte).unwrap();
    assert_eq!(memory.write(address, &byte).unwrap(), 1);

    shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    tieline_testkit::eventually("it has executed cat", || program().trim() == "cat");
    assert_eq!(memory.write(address, &byte).unwrap_err().kind(), ErrorKind::NotFound);
    drop(shell.stdin.take());
    shell.wait().unwrap();
}
