//! Corner list, event counters, epoll and what else is waited for: lines 101 to 103, 107 and 108.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tieline_os::ErrorKind;
use tieline_os::epoll::{Epoll, Events, Options};
use tieline_os::eventfd::EventFd;
use tieline_os::mapping::Mapping;
use tieline_os::poll::Interest;
use tieline_os::process_memory::ProcessMemory;
use tieline_os::spare::SpareDescriptor;
use tieline_testkit::{Peer, eventually, test_name};

fn fires(epoll: &Epoll) -> bool {
    match epoll.try_wait(&mut Events::with_capacity(8)) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_would_block(), "{error}");
            false
        }
    }
}

/// Given an event counter at 2^64 - 2, when one is added, then that waits or would block until somebody reads; when
/// 2^64 - 1 is added to any, then EINVAL. A semaphore is read one at a time. A child shares the counter.
#[test]
fn line101_an_event_counter_ends_below_its_type_and_is_shared_by_children() {
    if tieline_testkit::role().is_some() {
        let counter = EventFd::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(counter.read().unwrap(), 5, "what the parent added");
        counter.add(6).unwrap();
        return;
    }
    let full = EventFd::new(0).unwrap();
    full.add(EventFd::MAX).unwrap();
    assert!(full.try_add(1).unwrap_err().is_would_block());
    assert!(full.add_timeout(1, Duration::from_millis(10)).unwrap_err().is_timeout());
    let refused = full.try_add(u64::MAX).unwrap_err();
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidInput, Some(Errno::INVAL.raw_os_error())));
    std::thread::scope(|scope| {
        let (sender, tid) = std::sync::mpsc::channel();
        let full = &full;
        let adder = scope.spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            full.add(1)
        });
        let tid = tid.recv().unwrap();
        eventually("the adder sleeps", || tieline_testkit::sleeps(tid));
        assert_eq!(full.read().unwrap(), EventFd::MAX);
        adder.join().unwrap().unwrap();
    });
    assert_eq!(full.read().unwrap(), 1);

    let semaphore = EventFd::semaphore(2).unwrap();
    assert_eq!([semaphore.try_read().unwrap(), semaphore.try_read().unwrap()], [1, 1]);
    assert!(semaphore.try_read().unwrap_err().is_would_block());

    let shared = EventFd::new(5).unwrap();
    let copy = shared.as_fd().try_clone_to_owned().unwrap();
    Peer::of(test_name!()).role("child").stdin(copy).spawn().succeeds();
    assert_eq!(shared.try_read().unwrap(), 6, "what the child left");
}

/// Given an edge-triggered registration and a descriptor read only in half, when waited for, then nothing, although
/// data is there; when new data comes, then an event.
#[test]
fn line102_an_edge_is_not_repeated_for_what_was_left_unread() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (edge, level) = (Epoll::new().unwrap(), Epoll::new().unwrap());
    edge.add_with(&reader, 1, Interest::READABLE, Options::EDGE).unwrap();
    level.add(&reader, 1, Interest::READABLE).unwrap();
    writer.write_all(b"four").unwrap();
    assert!(fires(&edge) && fires(&level));
    reader.read_exact(&mut [0; 2]).unwrap();
    assert!(!fires(&edge), "half of it is still there, but that is no news");
    assert!(fires(&level));
    writer.write_all(b"!").unwrap();
    assert!(fires(&edge));
    assert!(!fires(&edge));
}

/// Given a registered descriptor with a duplicate elsewhere, when it is closed, then it stays registered and keeps
/// firing with the old token; only when the last duplicate goes does it end.
#[test]
fn line103_a_closed_descriptor_with_a_duplicate_keeps_firing() {
    let epoll = Epoll::new().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let duplicate = reader.try_clone().unwrap();
    epoll.add(&reader, 7, Interest::READABLE).unwrap();
    drop(reader);
    writer.write_all(b"x").unwrap();
    assert!(fires(&epoll) && fires(&epoll));
    let error = epoll.remove(&duplicate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "the duplicate is another name, it cannot remove the first");
    drop(duplicate);
    assert!(!fires(&epoll));
}

/// Given a server out of descriptors and a waiting client, when it waits and accepts, then it spins: always ready,
/// always EMFILE. With a spare descriptor it refuses the client, who is told at once, and the loop is quiet again.
#[test]
fn line107_a_spare_descriptor_ends_the_emfile_loop() {
    let Some(_) = tieline_testkit::role() else {
        return Peer::of(test_name!()).role("server").spawn().succeeds();
    };
    let directory = tieline_testkit::directory();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&listener, 1, Interest::READABLE).unwrap();
    let mut spare = SpareDescriptor::new().unwrap();
    let mut clients = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];

    let mut hoard: Vec<OwnedFd> = Vec::new();
    let old = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: old.maximum }).unwrap();
    while let Ok(fd) = epoll.as_fd().try_clone_to_owned() {
        hoard.push(fd);
    }
    for _ in 0..3 {
        assert!(fires(&epoll), "ready");
        let error = listener.accept().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE), "and not to be had");
    }
    for client in &mut clients {
        spare.refuse_one(&listener).unwrap();
        assert!(spare.is_held());
        client.set_read_timeout(Some(tieline_testkit::PATIENCE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "told at once");
    }
    assert!(!fires(&epoll), "the loop may sleep");
    assert!(spare.refuse_one(&listener).unwrap_err().is_would_block());
    setrlimit(Resource::Nofile, old).unwrap();
}

/// Given another process's memory, when a range runs into a page that is not there, then the bytes before it come
/// and are counted; when it begins there, then EFAULT.
#[test]
fn line108_a_read_of_another_process_stops_at_a_bad_page() {
    if let Some(me) = tieline_testkit::role() {
        let mut memory = Mapping::anonymous(3 * 4096).unwrap();
        memory.shrink(4096).unwrap();
        me.say(&(memory.as_ptr().addr() + 4096).to_string());
        me.wait_for("done");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("read").spawn();
    let end: usize = peer.hear().parse().unwrap();
    let memory = crate::process_memory::open_or_skip!(peer.id());
    let mut buffer = vec![0xEE; 3 * 4096];
    assert_eq!(memory.read(end - 4096, &mut buffer[..8192]).unwrap(), 4096);
    assert_eq!(memory.read(end - 100, &mut buffer).unwrap(), 100);
    let (first, rest) = buffer.split_at_mut(50);
    let (second, third) = rest.split_at_mut(50);
    let mut ranges = [(end - 50, &mut *first), (end, &mut *second), (end - 100, &mut third[..50])];
    assert_eq!(memory.read_ranges(&mut ranges).unwrap(), 50, "nothing after the bad range");
    let refused = memory.read(end, &mut buffer).unwrap_err();
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidInput, Some(Errno::FAULT.raw_os_error())));
    assert!(memory.read_exact(end - 4096, &mut buffer[..8192]).is_err());
    peer.say("done");
    peer.succeeds();
}

static FIRST: AtomicU64 = AtomicU64::new(0);
static SECOND: AtomicU64 = AtomicU64::new(0);

/// Given a peer that keeps two words equal, one after the other, when both are read in one call while it runs, then
/// they differ sooner or later: a read is no snapshot.
#[test]
fn line108_a_read_of_a_running_process_is_no_snapshot() {
    if let Some(me) = tieline_testkit::role() {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 1.. {
                    FIRST.store(value, Ordering::Relaxed);
                    SECOND.store(value, Ordering::Relaxed);
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            let addresses = [FIRST.as_ptr() as usize, SECOND.as_ptr() as usize];
            me.say(&format!("{} {}", addresses[0], addresses[1]));
            me.wait_for("done");
            done.store(true, Ordering::Relaxed);
        });
        return;
    }
    let mut peer = Peer::of(test_name!()).role("writer").spawn();
    let said = peer.hear();
    let (first, second) = said.split_once(' ').unwrap();
    let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
    let memory = crate::process_memory::open_or_skip!(peer.id());
    eventually("a read is torn", || {
        let (mut a, mut b) = ([0; 8], [0; 8]);
        assert_eq!(memory.read_ranges(&mut [(first, &mut a[..]), (second, &mut b[..])]).unwrap(), 16);
        a != b
    });
    peer.say("done");
    peer.succeeds();
}

/// Given a process of another user, when its memory is read without the right to trace it, then EPERM, with a hint.
#[test]
fn line108_a_read_needs_the_right_to_trace() {
    let target = std::process::id();
    if let Some(me) = tieline_testkit::role() {
        let target = me.env("TARGET").parse().unwrap();
        let nobody = rustix::process::Uid::from_raw(65_534);
        // This thread alone changes its user; the test ends with it.
        if let Err(errno) = rustix::thread::set_thread_res_uid(nobody, nobody, nobody) {
            tieline_testkit::skip!("root cannot become another user here: {errno}");
        }
        let refused = ProcessMemory::open(target).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
        assert!(refused.to_string().contains("trace"), "{refused}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        let uid = |process: &str| std::fs::metadata(process).map(|process| process.uid()).ok();
        if uid("/proc/1").is_none_or(|first| Some(first) == uid("/proc/self")) {
            tieline_testkit::skip!("process 1 is ours, so there is no process of another user to ask for");
        }
        let refused = ProcessMemory::open(1).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
        return;
    }
    Peer::of(test_name!()).role("nobody").env("TARGET", target.to_string()).spawn().succeeds();
}
