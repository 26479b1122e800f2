//! What processes have in common in memory.

use std::os::fd::AsFd;

use tieline_observe::Snapshot;
use tieline_observe::model::{Access, Detail, How, Identity, Kind, Object};
use tieline_os::Mode;
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::Memfd;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::Key;
use tieline_os::sysv::shm::Segment;
use tieline_testkit::{Isolation, Namespace, Peer, alone, role, test_name};

use super::{look, namespace_of, object};

fn file(fd: impl AsFd) -> Identity {
    let stat = rustix::fs::fstat(fd).unwrap();
    Identity::File { device: stat.st_dev, inode: stat.st_ino }
}

/// Who maps an object: process, access, bytes.
fn mappings(snapshot: &Snapshot, object: &Object) -> Vec<(u32, Access, u64)> {
    let of = |how: &How| if let How::Mapping { access, bytes } = how { Some((*access, *bytes)) } else { None };
    let pid = |process| snapshot.process(process).pid;
    let holds = snapshot.holders(object.reference);
    let mut all: Vec<_> =
        holds.filter_map(|hold| of(&hold.how).map(|(how, len)| (pid(hold.process), how, len))).collect();
    all.sort_unstable();
    all
}

#[test]
fn memory_is_one_object_for_all_who_map_it() {
    if let Some(me) = role() {
        // Standard input is the memory.
        let memory =
            Memfd::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap(), tieline_os::memfd::Seals::empty());
        let memory = memory.unwrap();
        let _mapping = memory.map(&MapOptions::new().access(tieline_os::Access::ReadOnly)).unwrap();
        me.say("mapped");
        tieline_testkit::pause(tieline_testkit::PATIENCE);
        return;
    }
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let memory = Memfd::fixed("frame", 16384).unwrap();
    let identity = file(&memory);
    let first = memory.map(&MapOptions::new()).unwrap();
    let second = memory.map(&MapOptions::new()).unwrap();
    let mut peer = Peer::of(test_name!()).role("reader").stdin(memory.as_fd().try_clone_to_owned().unwrap()).spawn();
    peer.wait_for("mapped");
    // What is mapped needs no descriptor.
    drop(memory);
    let snapshot = look();
    let told = object(&snapshot, identity);
    assert_eq!((told.kind, told.name.as_ref().map(ToString::to_string).as_deref()), (Kind::Memfd, Some("frame")));
    let mut both = [(std::process::id(), Access::BOTH, 32768), (peer.id(), Access::READ, 16384)];
    both.sort_unstable();
    assert_eq!(mappings(&snapshot, told), both);
    let Detail::Memory(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!(detail.size_bytes, Some(16384));
    drop((first, second));
    peer.kill();
}

#[test]
fn shared_memory_without_a_name_is_seen() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let before = look();
    let _mapping = Mapping::anonymous(3 << 20).unwrap();
    let after = look();
    let me = std::process::id();
    let is_new = |object: &&Object| {
        let is_mine = mappings(&after, object).contains(&(me, Access::BOTH, 3 << 20));
        object.kind == Kind::AnonymousShm && is_mine && before.object_with(object.identity).is_none()
    };
    let found: Vec<&Object> = after.objects().iter().filter(is_new).collect();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_file_counts_when_somebody_writes_to_it_by_mapping() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(4096).unwrap();
        file
    };
    let (written, read, private) = (make("written (deleted)"), make("read"), make("private"));
    let _reader = Mapping::of(&written, &MapOptions::new().access(tieline_os::Access::ReadOnly)).unwrap();
    let _writer = Mapping::of(&written, &MapOptions::new()).unwrap();
    let _read = Mapping::of(&read, &MapOptions::new().access(tieline_os::Access::ReadOnly)).unwrap();
    let _private = Mapping::of(&private, &MapOptions::new().private()).unwrap();
    let snapshot = look();
    let told = object(&snapshot, file(&written));
    assert_eq!(told.kind, Kind::File);
    let path = folder.path().join("written (deleted)");
    assert_eq!(
        told.name.as_ref().map(tieline_observe::model::Text::as_bytes),
        Some(path.as_os_str().as_encoded_bytes())
    );
    let me = std::process::id();
    assert_eq!(mappings(&snapshot, told), [(me, Access::READ, 4096), (me, Access::BOTH, 4096)]);
    for other in [read, private] {
        assert!(snapshot.object_with(file(&other)).is_none());
    }
}

#[test]
fn posix_memory_is_seen_by_its_mappings_after_its_name_has_gone() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let name = format!("/tieline-test-{}", std::process::id());
    let path = format!("/dev/shm{name}");
    // As the C library makes it; our own way to make it has no name until it is whole.
    let memory = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    memory.set_len(4096).unwrap();
    let other = SharedMemory::create(format!("{name}-whole"), 4096, Mode::OWNER).unwrap();
    let _mappings = (Mapping::of(&memory, &MapOptions::new()).unwrap(), other.map(&MapOptions::new()).unwrap());
    let identities = (file(&memory), file(&other));
    std::fs::remove_file(&path).unwrap();
    SharedMemory::unlink(format!("{name}-whole")).unwrap();
    drop((memory, other));
    let snapshot = look();
    let told = object(&snapshot, identities.0);
    assert_eq!((told.kind, told.name.as_ref().map(ToString::to_string)), (Kind::PosixShm, Some(name)));
    assert!(matches!(&told.detail, Detail::Memory(detail) if detail.is_unlinked), "{told:?}");
    assert_eq!(mappings(&snapshot, told), [(std::process::id(), Access::BOTH, 4096)]);
    let told = object(&snapshot, identities.1);
    assert_eq!((told.kind, &told.name), (Kind::PosixShm, &None));
}

#[test]
fn a_system_v_segment_is_held_by_who_has_attached_it() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let segment = Segment::create(Key::PRIVATE, 8192, Mode::OWNER).unwrap();
    let id = segment.id().number();
    let attachment = segment.attach().unwrap();
    let snapshot = look();
    let me = std::process::id();
    let identity = Identity::SystemV { kind: Kind::SysvShm, namespace: namespace_of(me, "ipc"), id };
    let told = object(&snapshot, identity);
    assert_eq!(mappings(&snapshot, told), [(me, Access::BOTH, 8192)]);
    drop(attachment);
    let snapshot = look();
    assert!(mappings(&snapshot, object(&snapshot, identity)).is_empty());
    segment.remove().unwrap();
}

/// A path that is longer than the kernel's answer has room for, which anybody can make, hides nothing else.
#[test]
fn a_file_with_too_long_a_path_hides_no_other_mapping() {
    if let Some(me) = role() {
        let memory = Memfd::fixed("beside", 4096).unwrap();
        let before = memory.map(&MapOptions::new()).unwrap();
        std::env::set_current_dir(me.env("FOLDER")).unwrap();
        let part = "d".repeat(250);
        for _ in 0..20 {
            std::fs::create_dir(&part).unwrap();
            std::env::set_current_dir(&part).unwrap();
        }
        let deep = std::fs::File::options().read(true).write(true).create_new(true).open("deep").unwrap();
        deep.set_len(4096).unwrap();
        let mapping = Mapping::of(&deep, &MapOptions::new()).unwrap();
        let after = memory.map(&MapOptions::new()).unwrap();
        me.say(&rustix::fs::fstat(&memory).unwrap().st_ino.to_string());
        me.wait_for("end");
        drop((before, mapping, after));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::of(test_name!()).role("deep").env("FOLDER", folder.path()).spawn();
    let inode: u64 = peer.hear().parse().unwrap();
    let snapshot = look();
    let told = snapshot.objects().iter().find(|one| {
        one.kind == Kind::Memfd && matches!(one.identity, Identity::File { inode: its, .. } if its == inode)
    });
    assert_eq!(mappings(&snapshot, told.expect("found")), [(peer.id(), Access::BOTH, 8192)]);
    peer.say("end");
    peer.succeeds();
}
