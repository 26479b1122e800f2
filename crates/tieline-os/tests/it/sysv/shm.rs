//! Shared memory beyond the corner list.

use std::fs;
use std::sync::atomic::Ordering;

use tieline_os::sysv::shm::{self, Attachment, HugePage, Segment, SegmentOptions};
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode, Result};
use tieline_testkit::{Isolation, Namespace, Peer, eventually, role, skip, skipped, test_name};

use super::{fresh_key, id_from, segment, set_limit};

#[test]
fn open_create_and_open_or_create_differ_as_they_say() {
    let key = fresh_key();
    assert_eq!(Segment::open(key).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Segment::open(Key::PRIVATE).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Segment::create(key, 0, Mode::OWNER).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Segment::create(key, usize::MAX, Mode::OWNER).unwrap_err().kind(), ErrorKind::InvalidInput);
    let made = RemoveOnDrop::new(Segment::open_or_create(key, 5000, Mode::GROUP).unwrap());
    assert_eq!(Segment::open(key).unwrap(), *made);
    assert_eq!(Segment::open_or_create(key, 1, Mode::OWNER).unwrap(), *made);
    let error = Segment::open_or_create(key, 5001, Mode::OWNER).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("smaller than 5001"), "{error}");
    assert_eq!(Segment::create(key, 5000, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let stat = made.stat().unwrap();
    assert_eq!((stat.permissions.key, stat.permissions.mode, stat.len), (key, Mode::GROUP, 5000));
    assert_eq!((stat.creator, stat.last_user, stat.attached_at), (Some(std::process::id()), None, None));
}

/// The length is the segment's to the byte, although the mapping has whole pages and the opener may believe otherwise.
#[test]
fn an_attachment_is_as_long_as_its_segment() {
    let key = fresh_key();
    let made = RemoveOnDrop::new(Segment::create(key, 5000, Mode::OWNER).unwrap());
    let believed_smaller = Segment::open_or_create(key, 10, Mode::OWNER).unwrap();
    let memory = believed_smaller.attach().unwrap();
    assert_eq!((memory.len(), memory.segment()), (5000, *made));
    memory.write(4990, &[7; 10]).unwrap();
    assert_eq!(memory.write(4991, &[7; 10]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn two_processes_see_one_memory_and_death_ends_an_attachment() {
    if let Some(me) = role() {
        let memory = Segment::from_id(id_from(&me)).attach().unwrap();
        let word = memory.atomic_u32(0).unwrap();
        assert_eq!(word.load(Ordering::Acquire), 41);
        word.store(42, Ordering::Release);
        me.say("written");
        return me.wait_for("never said");
    }
    let segment = segment(1 << 20);
    let memory = segment.attach().unwrap();
    memory.atomic_u32(0).unwrap().store(41, Ordering::Release);
    let mut peer = Peer::of(test_name!()).role("writer").env("ID", segment.id().to_string()).spawn();
    peer.wait_for("written");
    assert_eq!(memory.load_u32(0, Ordering::Acquire).unwrap(), 42);
    let stat = segment.stat().unwrap();
    assert_eq!((stat.attachments, stat.last_user), (2, Some(peer.id())));
    assert!(stat.attached_at.is_some() && stat.detached_at.is_none());
    peer.kill();
    eventually("the kernel detaches the dead", || segment.stat().unwrap().attachments == 1);
    assert!(segment.stat().unwrap().detached_at.is_some());
}

#[test]
fn a_read_only_attachment_refuses_to_write() {
    let segment = segment(100);
    segment.attach().unwrap().write(0, b"x").unwrap();
    let memory = segment.attach_read_only().unwrap();
    assert!(!memory.is_writable());
    assert_eq!(memory.write(0, b"y").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(memory.atomic_u32(0).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let mut byte = [0];
    memory.read(0, &mut byte).unwrap();
    assert_eq!(&byte, b"x");
    // The mapping itself is read-only, not only our word for it.
    let range = format!("{:x}-", memory.as_ptr().addr());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.trim_start_matches('0').starts_with(&range)).unwrap();
    assert!(line.contains(" r--s "), "{line}");
}

#[test]
fn every_attachment_is_one_and_ends_once() {
    let segment = segment(4096);
    let many: Vec<Attachment> = (0..10).map(|_| segment.attach().unwrap()).collect();
    assert_eq!(segment.stat().unwrap().attachments, 10);
    many[3].write(0, b"same").unwrap();
    let mut bytes = [0; 4];
    many[7].read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"same");
    assert!(many[3].as_ptr() != many[7].as_ptr());
    std::thread::spawn(move || drop(many)).join().unwrap();
    assert_eq!(segment.stat().unwrap().attachments, 0);
    segment.attach().unwrap().detach().unwrap();
    assert_eq!(segment.stat().unwrap().attachments, 0);
}

#[test]
fn locking_shows_in_the_state() {
    let segment = segment(4096);
    match segment.lock() {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::OutOfMemory) => {
            skip!("the user may not lock memory: {error}")
        }
        locked => locked.unwrap(),
    }
    assert!(segment.stat().unwrap().locked);
    // The flag beside the mode is no part of it.
    assert_eq!(segment.stat().unwrap().permissions.mode, Mode::OWNER);
    segment.set_mode(Mode::GROUP).unwrap();
    assert!(segment.stat().unwrap().locked);
    segment.unlock().unwrap();
    assert!(!segment.stat().unwrap().locked);
}

#[test]
fn owner_and_mode_can_be_changed() {
    let segment = segment(1);
    segment.set_mode("604".parse().unwrap()).unwrap();
    assert_eq!(segment.stat().unwrap().permissions.mode.bits(), 0o604);
    assert_eq!(segment.set_owner(Some(u32::MAX), None).unwrap_err().kind(), ErrorKind::InvalidInput);
    if rustix::process::geteuid().is_root() {
        match segment.set_owner(Some(99), Some(98)) {
            // Some sandboxes are user namespaces of one user.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                skipped(&test_name!(), &format!("there is no user 99 here: {error}"));
                return segment.remove().unwrap();
            }
            done => done.unwrap(),
        }
        let given = segment.stat().unwrap().permissions;
        assert_eq!((given.uid, given.gid, given.creator_uid), (99, 98, 0));
    }
    segment.remove().unwrap();
    for gone in [segment.set_mode(Mode::OWNER), segment.lock(), segment.unlock(), segment.remove()] {
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::Removed);
    }
}

#[test]
fn huge_pages_are_used_or_the_lack_of_them_is_said() {
    let size = 2 << 20;
    let folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let number = |file: &str| fs::read_to_string(format!("{folder}/{file}")).ok()?.trim().parse::<u64>().ok();
    let (Some(free), Some(overcommit)) = (number("free_hugepages"), number("nr_overcommit_hugepages")) else {
        skip!("this system has no huge pages of 2 MiB");
    };
    // Others may have reserved them without using them yet, or take them at any moment.
    let reserved = number("resv_hugepages").unwrap_or_default();
    let segment = SegmentOptions::new(size).huge_pages(HugePage::Bytes(size)).create(Key::PRIVATE);
    let segment = match segment {
        Ok(segment) => RemoveOnDrop::new(segment),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            skip!("the user may not use huge pages: {error}")
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(error.to_string().contains("nr_hugepages"), "{error}");
            skip!(
                "none of the huge pages of 2 MiB is to be had: only the refusal was tested, with {free} free, {reserved} \
                 reserved and {overcommit} to overcommit"
            );
        }
    };
    let memory = segment.attach().unwrap();
    assert_eq!((memory.len(), memory.as_ptr().addr() % size), (size, 0));
    memory.fill(0, size, 9).unwrap();
}

#[test]
fn a_huge_page_size_the_system_lacks_is_refused() {
    let error = SegmentOptions::new(1).huge_pages(HugePage::Bytes(8192)).create(Key::PRIVATE).unwrap_err();
    assert!(error.errno() == Some(22) && error.to_string().contains("no huge pages of this size"), "{error}");
}

#[test]
fn without_reservation_more_than_the_machine_has_can_be_created() {
    let options = SegmentOptions::new(1 << 44).mode(Mode::GROUP).no_reserve(true);
    let segment = match options.create(Key::PRIVATE) {
        // With strict accounting of memory nothing goes unreserved, and a machine may have lower limits.
        Err(error) if matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::InvalidInput) => skip!("{error}"),
        segment => RemoveOnDrop::new(segment.unwrap()),
    };
    assert_eq!((segment.stat().unwrap().len, segment.stat().unwrap().permissions.mode), (1 << 44, Mode::GROUP));
    segment.attach().unwrap().write((1 << 44) - 1, b"z").unwrap();
}

/// Alone in a namespace, the limits are what the files in /proc say, can be reached, and one past is refused.
#[test]
fn limits_and_usage_are_the_namespaces_own() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    for (file, value) in [("shmmax", "16384"), ("shmmni", "2"), ("shmall", "5")] {
        if let Err(why) = set_limit(file, value) {
            skip!("{why}");
        }
    }
    let limits = shm::limits().unwrap();
    assert_eq!((limits.segment_min_bytes, limits.segment_max_bytes), (1, 16_384));
    assert_eq!((limits.segments_max, limits.pages_max), (2, 5));
    let kind = |len| Segment::create(Key::PRIVATE, len, Mode::OWNER).unwrap_err().kind();
    assert_eq!(kind(16_385), ErrorKind::InvalidInput);
    let first = segment(16_384);
    assert_eq!(kind(8192), ErrorKind::LimitReached);
    let second = segment(1);
    assert_eq!(kind(1), ErrorKind::LimitReached);
    first.attach().unwrap().fill(0, 8192, 1).unwrap();
    let usage = shm::usage().unwrap();
    assert_eq!((usage.segments, usage.pages, usage.resident_pages, usage.swapped_pages), (2, 5, 2, 0));
    let all: Vec<_> = shm::segments().unwrap().map(Result::unwrap).collect();
    assert_eq!(all, [first.stat().unwrap(), second.stat().unwrap()]);
}

#[test]
fn an_attachment_crosses_threads() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<Attachment>();
}
