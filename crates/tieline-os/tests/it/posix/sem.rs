//! Semaphores.

use std::time::{Duration, Instant};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::posix::sem::{NamedSemaphore, UnnamedSemaphore, VALUE_MAX};
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{PATIENCE, Peer, eventually, role, test_name};

use super::ScratchName;

#[test]
fn a_count_is_taken_and_given() {
    let memory = Mapping::anonymous(4096).unwrap();
    let semaphore = UnnamedSemaphore::init(&memory, 8, 2).unwrap();
    semaphore.wait().unwrap();
    semaphore.wait_timeout(Duration::ZERO).unwrap();
    assert!(semaphore.try_wait().unwrap_err().is_would_block());
    let begin = Instant::now();
    assert!(semaphore.wait_timeout(Duration::from_millis(30)).unwrap_err().is_timeout());
    assert!(begin.elapsed() >= Duration::from_millis(30));
    assert!(semaphore.wait_timeout(Duration::ZERO).unwrap_err().is_timeout());
    assert_eq!((semaphore.value(), semaphore.waiters()), (0, 0));
    semaphore.post().unwrap();
    assert_eq!(semaphore.value(), 1);
    semaphore.wait_timeout(Duration::MAX).unwrap();
}

#[test]
fn its_place_is_checked() {
    let mut memory = Mapping::anonymous(4096).unwrap();
    UnnamedSemaphore::init(&memory, 4096 - UnnamedSemaphore::SIZE, 1).unwrap();
    for offset in [4, 4096 - UnnamedSemaphore::SIZE + 8, 4096, usize::MAX - 7] {
        assert_eq!(UnnamedSemaphore::init(&memory, offset, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UnnamedSemaphore::attach(&memory, offset).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(UnnamedSemaphore::init(&memory, 0, VALUE_MAX + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    memory.protect(Access::ReadOnly).unwrap();
    assert_eq!(UnnamedSemaphore::attach(&memory, 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Threads that take and give as fast as they can end with the count they began with, and nobody sleeps for ever.
#[test]
fn units_are_neither_lost_nor_made() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 5000;
    let memory = Mapping::anonymous(4096).unwrap();
    let semaphore = UnnamedSemaphore::init(&memory, 0, 2).unwrap();
    let inside = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (semaphore, inside) = (&semaphore, &inside);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if (thread + round) % 3 == 0 {
                        semaphore.wait_timeout(PATIENCE).unwrap();
                    } else {
                        semaphore.wait().unwrap();
                    }
                    assert!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    semaphore.post().unwrap();
                }
            });
        }
    });
    assert_eq!((semaphore.value(), semaphore.waiters()), (2, 0));
}

/// Whatever bytes a hostile peer writes over a semaphore, our calls come back.
#[test]
fn any_bytes_are_some_semaphore() {
    let memory = Mapping::anonymous(4096).unwrap();
    let short = Duration::from_millis(1);
    for word in
        [0, 1, u64::MAX, u64::MAX << 32, 1 << 63, 1 << 31, (1 << 32) | u64::from(VALUE_MAX), 0x8000_0000_8000_0000]
    {
        for byte in [0, 0xFF, 0x80] {
            memory.fill(0, 32, byte).unwrap();
            memory.write(0, &word.to_ne_bytes()).unwrap();
            let semaphore = UnnamedSemaphore::attach(&memory, 0).unwrap();
            let _ = semaphore.post();
            let _ = semaphore.try_wait();
            let _ = semaphore.wait_timeout(short);
            let _ = semaphore.wait_timeout_interruptible(short);
            let _ = (semaphore.value(), semaphore.waiters());
        }
    }
}

#[test]
fn a_named_one_is_found_listed_and_removed() {
    let name = ScratchName::new();
    assert_eq!(NamedSemaphore::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    let made = NamedSemaphore::create(&name, 5, Mode::OWNER).unwrap();
    assert_eq!(NamedSemaphore::create(&name, 5, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let found = NamedSemaphore::open(&name).unwrap();
    found.wait().unwrap();
    assert_eq!(made.value(), 4);
    assert!(NamedSemaphore::list().unwrap().iter().any(|entry| entry.name == name.as_str()));
    assert!(SharedMemory::list().unwrap().iter().all(|entry| entry.name != name.as_str()));
    NamedSemaphore::unlink(&name).unwrap();
    assert_eq!(NamedSemaphore::unlink(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(NamedSemaphore::list().unwrap().iter().all(|entry| entry.name != name.as_str()));
    for wrong in ["", "none", "/a/b", &format!("/{}", "x".repeat(252))] {
        assert_eq!(NamedSemaphore::create(wrong, 0, Mode::OWNER).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let too_much = NamedSemaphore::open_or_create(&name, VALUE_MAX + 1, Mode::OWNER).unwrap_err();
    assert_eq!(too_much.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_file_that_is_no_semaphore_is_refused() {
    let name = ScratchName::new();
    let path = format!("/dev/shm/sem.{}", &name.as_str()[1..]);
    for len in [0, 31, 33, 4096] {
        std::fs::write(&path, vec![0; len]).unwrap();
        let error = NamedSemaphore::open(&name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("a semaphore has 32"), "{error}");
    }
}

/// A peer killed while it waits leaves the semaphore working: later posts reach those who live.
#[test]
fn a_killed_waiter_does_no_harm() {
    if let Some(me) = role() {
        NamedSemaphore::open(me.env("OBJECT")).unwrap().wait().unwrap();
        return;
    }
    let name = ScratchName::new();
    let semaphore = NamedSemaphore::create(&name, 0, Mode::OWNER).unwrap();
    let mut waiter = Peer::of(test_name!()).role("waiter").env("OBJECT", name.as_str()).spawn();
    eventually("the peer waits", || semaphore.waiters() == 1);
    waiter.sleeps();
    waiter.kill();
    assert_eq!(semaphore.waiters(), 1, "nobody takes the dead one off");
    let survivor = Peer::of(test_name!()).role("waiter").env("OBJECT", name.as_str()).spawn();
    eventually("the second peer waits", || semaphore.waiters() == 2);
    semaphore.post().unwrap();
    survivor.succeeds();
    assert_eq!(semaphore.value(), 0);
}

/// A semaphore inside an object that two processes map at different places.
#[test]
fn one_in_shared_memory_wakes_across_processes() {
    if let Some(me) = role() {
        let memory = SharedMemory::open(me.env("OBJECT"), Access::ReadWrite).unwrap();
        let mapping = memory.map(&MapOptions::new()).unwrap();
        let ping = UnnamedSemaphore::attach(&mapping, 0).unwrap();
        let pong = UnnamedSemaphore::attach(&mapping, 64).unwrap();
        for _ in 0..200 {
            ping.wait_timeout(PATIENCE).unwrap();
            pong.post().unwrap();
        }
        return;
    }
    let name = ScratchName::new();
    let memory = SharedMemory::create(&name, 4096, Mode::OWNER).unwrap();
    let mapping = memory.map(&MapOptions::new()).unwrap();
    let ping = UnnamedSemaphore::init(&mapping, 0, 0).unwrap();
    let pong = UnnamedSemaphore::init(&mapping, 64, 0).unwrap();
    let peer = Peer::of(test_name!()).role("echo").env("OBJECT", name.as_str()).spawn();
    for _ in 0..200 {
        ping.post().unwrap();
        pong.wait_timeout(PATIENCE).unwrap();
    }
    peer.succeeds();
}
