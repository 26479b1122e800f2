//! Named shared memory.

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{Peer, role, test_name};

use super::ScratchName;

const PAGE: u64 = 4096;

#[test]
fn an_object_is_made_once_and_found_by_name() {
    let name = ScratchName::new();
    assert_eq!(SharedMemory::open(&name, Access::ReadOnly).unwrap_err().kind(), ErrorKind::NotFound);
    let made = SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap();
    let error = SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains(name.as_str()), "{error}");
    let found = SharedMemory::open_or_create(&name, 17 * PAGE, Mode::ANYONE).unwrap();
    assert_eq!(found.len().unwrap(), PAGE, "an existing object keeps its length");
    made.map(&MapOptions::new()).unwrap().write(9, b"x").unwrap();
    let mut byte = [0];
    found.map(&MapOptions::new().access(Access::ReadOnly)).unwrap().read(9, &mut byte).unwrap();
    assert_eq!(&byte, b"x");

    let entry = SharedMemory::list().unwrap().into_iter().find(|entry| entry.name == name.as_str()).unwrap();
    assert_eq!((entry.len_bytes, entry.allocated_bytes, entry.mode), (PAGE, PAGE, Mode::OWNER));
    assert_eq!(entry.uid, rustix::process::geteuid().as_raw());
    SharedMemory::unlink(&name).unwrap();
    assert_eq!(SharedMemory::unlink(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(SharedMemory::list().unwrap().iter().all(|entry| entry.name != name.as_str()));
}

#[test]
fn names_are_refused_before_the_kernel_is_asked() {
    for name in ["", "/", "no-slash", "/a/b", "/../etc", "/.."] {
        for error in [
            SharedMemory::create(name, PAGE, Mode::OWNER).unwrap_err(),
            SharedMemory::open(name, Access::ReadOnly).unwrap_err(),
            SharedMemory::unlink(name).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None), "{name:?}: {error}");
        }
    }
}

#[test]
fn a_reader_can_neither_write_nor_cut() {
    let name = ScratchName::new();
    SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap();
    let reader = SharedMemory::open(&name, Access::ReadOnly).unwrap();
    assert_eq!(reader.map(&MapOptions::new()).unwrap_err().kind(), ErrorKind::PermissionDenied);
    for refused in [reader.set_len(0), reader.set_len(2 * PAGE), reader.set_len_sparse(0)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(SharedMemory::open(&name, Access::WriteOnly).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn growing_finds_memory_and_shrinking_gives_it_back() {
    let name = ScratchName::new();
    let memory = SharedMemory::create(&name, 0, Mode::OWNER).unwrap();
    let allocated = || {
        let listed = SharedMemory::list().unwrap();
        listed.into_iter().find(|entry| entry.name == name.as_str()).unwrap().allocated_bytes
    };
    assert_eq!((memory.len().unwrap(), allocated()), (0, 0));
    memory.set_len(4 * PAGE).unwrap();
    assert_eq!((memory.len().unwrap(), allocated()), (4 * PAGE, 4 * PAGE));
    memory.set_len(PAGE).unwrap();
    assert_eq!((memory.len().unwrap(), allocated()), (PAGE, PAGE));
    memory.set_len_sparse(1 << 40).unwrap();
    assert_eq!((memory.len().unwrap(), allocated()), (1 << 40, PAGE));
    // More than the machine has is refused here, before the kernel begins to kill processes for it.
    let error = memory.set_len((1 << 40) + (1 << 50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert_eq!(memory.len().unwrap(), 1 << 40);
    assert_eq!(
        SharedMemory::create(ScratchName::new(), 1 << 50, Mode::OWNER).unwrap_err().kind(),
        ErrorKind::OutOfMemory
    );
}

/// A link or a FIFO that somebody else has put in the public directory is not followed and not waited for.
#[test]
fn traps_in_the_public_directory_are_refused() {
    let link = ScratchName::new();
    let path = format!("/dev/shm{}", link.as_str());
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    let error = SharedMemory::open(&link, Access::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(SharedMemory::create(&link, PAGE, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);

    let fifo = ScratchName::new();
    let path = format!("/dev/shm{}", fifo.as_str());
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(SharedMemory::open(&fifo, Access::ReadOnly).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Whoever opens the object while others create and remove it sees its full length.
#[test]
fn an_object_is_never_seen_half_made() {
    let name = ScratchName::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                drop(SharedMemory::open_or_create(&name, PAGE, Mode::OWNER).unwrap());
                let _ = SharedMemory::unlink(&name);
            }
        });
        for _ in 0..300 {
            let found = SharedMemory::open_or_create(&name, PAGE, Mode::OWNER).unwrap();
            assert_eq!(found.len().unwrap(), PAGE);
        }
    });
}

#[test]
fn another_process_maps_the_same_bytes() {
    if let Some(me) = role() {
        let memory = SharedMemory::open(me.env("OBJECT"), Access::ReadWrite).unwrap();
        memory.map(&MapOptions::new()).unwrap().write(100, b"from afar").unwrap();
        return;
    }
    let name = ScratchName::new();
    let memory = SharedMemory::create(&name, PAGE, Mode::OWNER).unwrap();
    let mapping = Mapping::of(&memory, &MapOptions::new().populate()).unwrap();
    Peer::of(test_name!()).role("writer").env("OBJECT", name.as_str()).spawn().succeeds();
    let mut bytes = [0; 9];
    mapping.read(100, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from afar");
}
