//! Lines 70 to 74 and 90: shared memory.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, MemfdOptions, Seals};
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{Isolation, Namespace, Peer, role, test_name};

use crate::posix::ScratchName;

const PAGE: u64 = 4096;

/// Given an object of size zero, as bare `shm_open` leaves it, when it is mapped, then that is refused instead of a
/// later `SIGBUS`. Given a mapped object that another process cuts shorter, when a reader touches what is gone, then
/// it dies of `SIGBUS`; read with the kernel's help it is an error.
#[test]
fn line070_memory_that_is_not_there_raises_sigbus_or_is_refused() {
    if let Some(me) = role() {
        let memory = SharedMemory::open(me.env("OBJECT"), Access::ReadOnly).unwrap();
        let mapping = memory.map(&MapOptions::new().access(Access::ReadOnly)).unwrap();
        let mut byte = [0];
        mapping.read(PAGE as usize, &mut byte).unwrap();
        assert_eq!(byte, [1]);
        me.say("mapped");
        me.wait_for("cut");
        let error = mapping.read_checked(PAGE as usize, &mut byte).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Removed);
        me.say("warned");
        mapping.read(PAGE as usize, &mut byte).unwrap();
        me.say("alive");
        return;
    }
    let name = ScratchName::new();
    let empty = SharedMemory::create(&name, 0, Mode::OWNER).unwrap();
    for options in [MapOptions::new(), MapOptions::new().len(1)] {
        assert_eq!(empty.map(&options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    empty.set_len(2 * PAGE).unwrap();
    empty.map(&MapOptions::new()).unwrap().write(PAGE as usize, &[1]).unwrap();

    let mut reader = Peer::of(test_name!()).role("reader").env("OBJECT", name.as_str()).spawn();
    reader.wait_for("mapped");
    empty.set_len(PAGE).unwrap();
    reader.say("cut");
    reader.wait_for("warned");
    assert_eq!(reader.exit_status().signal(), Some(libc::SIGBUS));
}

/// Given a full `/dev/shm`, when an object is made longer by `ftruncate` alone, then that succeeds and the first
/// touch raises `SIGBUS`; when the length is set with its memory or the object created, then the lack is an error at
/// once and nothing is left.
#[test]
fn line071_a_full_file_system_is_found_at_creation() {
    if Namespace::enter(&[Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if let Some(me) = role() {
        let memory = SharedMemory::open(me.env("OBJECT"), Access::ReadWrite).unwrap();
        let mapping = memory.map(&MapOptions::new()).unwrap();
        let error = mapping.write_checked(0, &vec![1; mapping.len()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Removed);
        assert_eq!(mapping.populate(..).unwrap_err().kind(), ErrorKind::LimitReached);
        me.say("warned");
        mapping.fill(0, mapping.len(), 1).unwrap();
        me.say("alive");
        return;
    }
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none", "/dev/shm"]).status();
    if !mount.is_ok_and(|status| status.success()) {
        tieline_testkit::skip!("a tmpfs cannot be mounted here");
    }
    let too_long = 1 << 20;
    let name = ScratchName::new();
    let error = SharedMemory::create(&name, too_long, Mode::OWNER).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::LimitReached, Some(libc::ENOSPC)), "{error}");
    assert_eq!(SharedMemory::list().unwrap(), []);

    let memory = SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap();
    assert_eq!(memory.set_len(too_long).unwrap_err().kind(), ErrorKind::LimitReached);
    assert_eq!(memory.len().unwrap(), PAGE);
    memory.set_len_sparse(too_long).unwrap();
    let error = memory.map(&MapOptions::new().populate()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    let mut toucher = Peer::of(test_name!()).role("toucher").env("OBJECT", name.as_str()).spawn();
    toucher.wait_for("warned");
    assert_eq!(toucher.exit_status().signal(), Some(libc::SIGBUS));
}

/// Given a writable shared mapping, when the memfd is sealed against writing, then `EBUSY`; sealed against future
/// writing, the mapping stays writable and new ones are refused; and a reader is safe from `SIGBUS` only after it has
/// seen `SHRINK`.
#[test]
fn line072_seals_bind_everyone_and_must_be_looked_for() {
    let memfd = Memfd::create("tieline line 72", &MemfdOptions::new()).unwrap();
    memfd.set_len(PAGE).unwrap();
    let mut mapping = memfd.map(&MapOptions::new()).unwrap();
    let error = memfd.add_seals(Seals::WRITE).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Busy, Some(libc::EBUSY)));

    memfd.add_seals(Seals::FUTURE_WRITE).unwrap();
    mapping.write(0, b"still").unwrap();
    let error = memfd.map(&MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("sealed"), "{error}");
    let mut reader = memfd.map(&MapOptions::new().access(Access::ReadOnly)).unwrap();
    assert_eq!(reader.protect(Access::ReadWrite).unwrap_err().kind(), ErrorKind::PermissionDenied);
    // Our own mapping may be made read-only and writable again.
    mapping.protect(Access::ReadOnly).unwrap();
    mapping.protect(Access::ReadWrite).unwrap();

    // Without SHRINK a reader is not safe: whoever wants to be refuses it.
    let received = || memfd.try_clone().unwrap().into();
    assert_eq!(Memfd::from_fd(received(), Seals::SHRINK).unwrap_err().kind(), ErrorKind::PermissionDenied);
    memfd.set_len(0).unwrap();
    assert_eq!(reader.read_checked(0, &mut [0]).unwrap_err().kind(), ErrorKind::Removed);
    memfd.set_len(PAGE).unwrap();
    memfd.add_seals(Seals::SHRINK).unwrap();
    Memfd::from_fd(received(), Seals::SHRINK).unwrap();
    assert_eq!(memfd.set_len(0).unwrap_err().kind(), ErrorKind::PermissionDenied);

    // With every writable mapping gone, the last seal fits.
    drop(mapping);
    memfd.add_seals(Seals::WRITE | Seals::SEAL).unwrap();
    assert_eq!(memfd.add_seals(Seals::GROW).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Given an object whose maker and last user are dead, then it is still there, bytes and all, until it is unlinked:
/// there is no hook at the last close.
#[test]
fn line073_an_object_outlives_everyone() {
    if let Some(me) = role() {
        let memory = SharedMemory::create(me.env("OBJECT"), PAGE, Mode::OWNER).unwrap();
        memory.map(&MapOptions::new()).unwrap().write(0, b"left behind").unwrap();
        return;
    }
    let name = ScratchName::new();
    Peer::of(test_name!()).role("maker").env("OBJECT", name.as_str()).spawn().succeeds();
    assert!(SharedMemory::list().unwrap().iter().any(|entry| entry.name == name.as_str()));
    let mut bytes = [0; 11];
    let memory = SharedMemory::open(&name, Access::ReadOnly).unwrap();
    memory.map(&MapOptions::new().access(Access::ReadOnly)).unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"left behind");
    SharedMemory::unlink(&name).unwrap();
    assert_eq!(SharedMemory::open(&name, Access::ReadOnly).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Given junk where a `bool` should be, when it is read, then it is a byte to be checked and never a `bool`; given a
/// peer that changes it between two reads, then only a copy, once checked, stays what it was.
#[test]
fn line074_untrusted_bytes_are_copied_then_checked() {
    let memfd = Memfd::fixed("tieline line 74", PAGE).unwrap();
    let ours = memfd.map(&MapOptions::new()).unwrap();
    let peers = memfd.map(&MapOptions::new()).unwrap();
    let as_bool = |byte: u8| match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let mut copy = [0];
    for (written, meant) in [(0, Some(false)), (1, Some(true)), (2, None), (0xFF, None)] {
        peers.write(0, &[written]).unwrap();
        ours.read(0, &mut copy).unwrap();
        peers.write(0, &[written ^ 1]).unwrap();
        assert_eq!(as_bool(copy[0]), meant, "the copy does not change under us");
        assert_eq!(ours.atomic_u8(0).unwrap().load(Ordering::Relaxed), written ^ 1, "a second look does");
    }
}

/// Given one object mapped twice, then it has two addresses, and a peer finds it at a third: only offsets mean the
/// same to everyone.
#[test]
fn line090_only_offsets_mean_the_same_everywhere() {
    let offset_of_target = 0;
    if let Some(me) = role() {
        let memory = SharedMemory::open(me.env("OBJECT"), Access::ReadWrite).unwrap();
        let mapping = memory.map(&MapOptions::new()).unwrap();
        let target = mapping.load_u64(offset_of_target, Ordering::Acquire).unwrap();
        let mut bytes = [0; 6];
        mapping.read(usize::try_from(target).unwrap(), &mut bytes).unwrap();
        assert_eq!(&bytes, b"target");
        // An address from elsewhere is no offset of ours: it is refused, not followed.
        let foreign = me.env("ADDRESS").parse::<usize>().unwrap();
        assert_eq!(mapping.read(foreign, &mut bytes).unwrap_err().kind(), ErrorKind::InvalidInput);
        return;
    }
    let name = ScratchName::new();
    let memory = SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap();
    let one = memory.map(&MapOptions::new()).unwrap();
    let two = Mapping::of(&memory, &MapOptions::new()).unwrap();
    assert_ne!(one.as_ptr(), two.as_ptr());
    one.write(1000, b"target").unwrap();
    one.atomic_u64(offset_of_target).unwrap().store(1000, Ordering::Release);
    let address = one.as_ptr().addr().to_string();
    Peer::of(test_name!()).role("reader").env("OBJECT", name.as_str()).env("ADDRESS", address).spawn().succeeds();
}
