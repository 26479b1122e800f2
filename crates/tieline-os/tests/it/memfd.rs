//! Memory files and their seals, against the real kernel.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use tieline_os::mapping::{HugePages, MapOptions};
use tieline_os::memfd::{Memfd, MemfdOptions, Seals, SecretMemfd};
use tieline_os::{Access, ErrorKind};
use tieline_testkit::{Peer, role, test_name};

const PAGE: u64 = 4096;

#[test]
fn a_fixed_memfd_keeps_its_length_and_cannot_be_run() {
    let memfd = Memfd::fixed("tieline fixed", 3 * PAGE).unwrap();
    assert_eq!(memfd.len().unwrap(), 3 * PAGE);
    for len in [0, 3 * PAGE - 1, 3 * PAGE + 1] {
        assert_eq!(memfd.set_len(len).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    let seals = memfd.seals().unwrap();
    assert!(seals.contains(Seals::SHRINK | Seals::GROW), "{seals:?}");
    assert!(!seals.contains(Seals::SEAL), "more seals may follow");
    let file = File::from(OwnedFd::from(memfd.try_clone().unwrap()));
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    if seals.contains(Seals::EXEC) {
        assert_eq!(mode & 0o111, 0, "no execute bit");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        assert!(file.set_permissions(executable).is_err(), "and none can be set");
    }
    // All its memory is there, in huge pages if the administrator wants that: blocks are counted in units of 512 bytes.
    assert!(std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512 >= 3 * PAGE);
}

#[test]
fn a_sparse_one_takes_memory_when_reserved() {
    let memfd = Memfd::create("tieline sparse", &MemfdOptions::new()).unwrap();
    memfd.reserve().unwrap();
    memfd.set_len(2 * PAGE).unwrap();
    let file = File::from(OwnedFd::from(memfd.try_clone().unwrap()));
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
    assert_eq!(blocks(), 0);
    memfd.reserve().unwrap();
    assert!(blocks() * 512 >= 2 * PAGE);
}

/// The kernel would not refuse: it would kill processes until the memory is found. If our check ever breaks, the peer
/// offers itself as the one to be killed.
#[test]
fn claiming_more_memory_than_the_machine_has_is_refused_not_tried() {
    if role().is_none() {
        Peer::of(test_name!()).role("victim").spawn().succeeds();
        return;
    }
    std::fs::write("/proc/self/oom_score_adj", "1000").unwrap();
    let memfd = Memfd::create("tieline impossible", &MemfdOptions::new()).unwrap();
    memfd.set_len(1 << 50).unwrap();
    let error = memfd.reserve().unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::OutOfMemory, None), "{error}");
    let error = memfd.map(&MapOptions::new().len(1 << 45).populate()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::OutOfMemory, None), "{error}");
    assert_eq!(Memfd::fixed("tieline impossible", 1 << 50).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(memfd.set_len(u64::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn names_are_checked() {
    let options = MemfdOptions::new();
    Memfd::create(&"n".repeat(249), &options).unwrap();
    for name in ["n".repeat(250), "a\0b".to_owned()] {
        assert_eq!(Memfd::create(&name, &options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn its_descriptor_is_closed_on_exec() {
    let memfd = Memfd::create("tieline cloexec", &MemfdOptions::new()).unwrap();
    for fd in [memfd.as_fd(), memfd.try_clone().unwrap().as_fd(), memfd.read_only().unwrap().as_fd()] {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn a_received_descriptor_is_checked() {
    let memfd = Memfd::create("tieline received", &MemfdOptions::new()).unwrap();
    let as_fd = |memfd: &Memfd| OwnedFd::from(memfd.try_clone().unwrap());
    let error = Memfd::from_fd(as_fd(&memfd), Seals::SHRINK | Seals::GROW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("SHRINK, GROW"), "{error}");
    memfd.add_seals(Seals::SHRINK).unwrap();
    let error = Memfd::from_fd(as_fd(&memfd), Seals::SHRINK | Seals::GROW).unwrap_err();
    assert!(!error.to_string().contains("SHRINK"), "{error}");
    memfd.add_seals(Seals::GROW).unwrap();
    Memfd::from_fd(as_fd(&memfd), Seals::SHRINK | Seals::GROW).unwrap();
    Memfd::from_fd(as_fd(&memfd), Seals::empty()).unwrap();

    let unsealable = Memfd::create("tieline unsealable", &MemfdOptions::new().sealable(false)).unwrap();
    assert!(unsealable.seals().unwrap().contains(Seals::SEAL));
    assert_eq!(unsealable.add_seals(Seals::SHRINK).unwrap_err().kind(), ErrorKind::PermissionDenied);
    Memfd::from_fd(as_fd(&unsealable), Seals::empty()).unwrap();

    let (pipe, _writer) = std::io::pipe().unwrap();
    let on_disk = tempfile::tempfile().unwrap();
    let mut strangers: Vec<OwnedFd> = vec![pipe.into(), on_disk.into()];
    if let Ok(on_tmpfs) = tempfile::tempfile_in("/dev/shm") {
        strangers.push(on_tmpfs.into());
    }
    for stranger in strangers {
        let error = Memfd::from_fd(stranger, Seals::empty()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_refused_descriptor_is_closed() {
    let (pipe, writer) = std::io::pipe().unwrap();
    Memfd::from_fd(pipe.into(), Seals::empty()).unwrap_err();
    // With no reader left, the pipe shows an error to its writer.
    tieline_testkit::eventually("the pipe has no reader", || {
        let mut fds = [rustix::event::PollFd::new(&writer, rustix::event::PollFlags::OUT)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        fds[0].revents().contains(rustix::event::PollFlags::ERR)
    });
}

#[test]
fn a_read_only_handle_cannot_write_or_map_for_writing() {
    let memfd = Memfd::fixed("tieline reader", PAGE).unwrap();
    memfd.map(&MapOptions::new()).unwrap().write(0, &7_u32.to_ne_bytes()).unwrap();
    let reader = memfd.read_only().unwrap();
    assert_eq!(reader.map(&MapOptions::new()).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let mut view = reader.map(&MapOptions::new().access(Access::ReadOnly)).unwrap();
    assert_eq!(view.load_u32(0, Ordering::Acquire).unwrap(), 7);
    assert_eq!(view.protect(Access::ReadWrite).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(reader.add_seals(Seals::SEAL).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let file = File::from(OwnedFd::from(reader));
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600, "nobody else may reopen it for writing");
}

/// The peer gets the memfd as its standard input, checks the seals and writes.
#[test]
fn it_is_shared_with_another_process() {
    if role().is_some() {
        let stdin = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).unwrap();
        let memfd = Memfd::from_fd(stdin, Seals::SHRINK | Seals::GROW).unwrap();
        memfd.map(&MapOptions::new()).unwrap().atomic_u32(0).unwrap().store(42, Ordering::Release);
        return;
    }
    let memfd = Memfd::fixed("tieline shared", PAGE).unwrap();
    let mapping = memfd.map(&MapOptions::new().populate()).unwrap();
    Peer::of(test_name!()).role("writer").stdin(memfd.into()).spawn().succeeds();
    assert_eq!(mapping.load_u32(0, Ordering::Acquire).unwrap(), 42);
}

#[test]
fn secret_memory_is_hidden_from_the_kernel_too() {
    assert_eq!(SecretMemfd::create(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let secret = match SecretMemfd::create(PAGE) {
        Ok(secret) => secret,
        Err(error) if error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied => {
            tieline_testkit::skip!("{error}")
        }
        Err(error) => panic!("{error}"),
    };
    let mapping = secret.map().unwrap();
    mapping.write(0, b"key").unwrap();
    let mut key = [0; 3];
    mapping.read(0, &mut key).unwrap();
    assert_eq!(&key, b"key");
    assert_eq!(mapping.read_checked(0, &mut key).unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(mapping.populate(..).unwrap_err().kind(), ErrorKind::Unsupported);
    let fd = OwnedFd::from(secret);
    assert!(rustix::io::read(&fd, &mut key).is_err());
    assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(Memfd::from_fd(fd, Seals::empty()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn huge_pages_are_whole_or_refused() {
    let options = MemfdOptions::new().huge_pages(HugePages::Mib2);
    let memfd = match Memfd::create("tieline huge", &options) {
        Ok(memfd) => memfd,
        Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
        Err(error) => panic!("{error}"),
    };
    let page = HugePages::Mib2.size();
    assert_eq!(memfd.set_len(PAGE).unwrap_err().kind(), ErrorKind::InvalidInput);
    memfd.set_len(2 * page as u64).unwrap();
    for options in [MapOptions::new().len(PAGE as usize), MapOptions::new().offset(PAGE).len(page)] {
        let error = memfd.map(&options).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None), "{error}");
    }
    // Whether the administrator reserved any or not: they are there, or it is an error now.
    match memfd.map(&MapOptions::new().populate()) {
        Ok(mapping) => mapping.write(page, b"huge").unwrap(),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::LimitReached), "{error}"),
    }
}

/// A thousand rounds of making, mapping, refusing and dropping leave as many descriptors as before. In a process of
/// its own, because other tests open and close theirs.
#[test]
fn no_descriptor_leaks() {
    if role().is_none() {
        Peer::of(test_name!()).role("alone").spawn().succeeds();
        return;
    }
    let highest = || std::io::pipe().unwrap().1.as_raw_fd();
    let before = highest();
    for _ in 0..1000 {
        let memfd = Memfd::fixed("tieline leak", PAGE).unwrap();
        let mapping = memfd.map(&MapOptions::new()).unwrap();
        let reader = memfd.read_only().unwrap();
        Memfd::from_fd(reader.into(), Seals::WRITE).unwrap_err();
        drop(mapping);
    }
    assert_eq!(highest(), before);
}
