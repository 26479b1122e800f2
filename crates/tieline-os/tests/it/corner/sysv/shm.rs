//! Lines 45 and 46: shared memory.

use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{Peer, can_run_as, role, skip, test_name};

use crate::sysv::{STRANGER, fresh_key, id_from, segment};

/// Given an attached segment when removed then its key is free and makes another segment, and the old one can still be
/// attached by its id until the last attachment ends.
#[test]
fn line045_a_removed_segment_lives_until_its_last_detach() {
    let key = fresh_key();
    let old = RemoveOnDrop::new(Segment::create(key, 100, Mode::OWNER).unwrap());
    let first = old.attach().unwrap();
    first.write(0, b"old").unwrap();
    old.remove().unwrap();
    assert_eq!(Segment::open(key).unwrap_err().kind(), ErrorKind::NotFound);

    let new = RemoveOnDrop::new(Segment::create(key, 200, Mode::OWNER).unwrap());
    assert_ne!(new.id(), old.id());
    let stat = old.stat().unwrap();
    assert!(stat.removed && stat.attachments == 1 && stat.permissions.key == Key::PRIVATE, "{stat:?}");
    assert!(!new.stat().unwrap().removed);

    let second = old.attach().unwrap();
    first.detach().unwrap();
    let mut bytes = [0; 3];
    second.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"old");
    second.detach().unwrap();
    assert_eq!(old.attach().unwrap_err().kind(), ErrorKind::Removed);
}

/// Given a segment of mode 0600 when another user attaches it, even read-only, then EACCES, and changing its owner is
/// EPERM; once the mode lets others read, the read-only attachment works and the writable one does not.
#[test]
fn line046_another_user_is_kept_out_by_the_mode() {
    if let Some(me) = role() {
        let segment = Segment::from_id(id_from(&me));
        let kind = |result: tieline_os::Result<()>| result.unwrap_err().kind();
        let denied = ErrorKind::PermissionDenied;
        assert_eq!(kind(segment.attach_read_only().map(drop)), denied);
        assert_eq!(kind(segment.set_owner(Some(STRANGER), None)), denied);
        assert_eq!(kind(segment.set_mode(Mode::ANYONE)), denied);
        assert_eq!(kind(segment.remove()), denied);
        me.say("kept out");
        me.wait_for("opened");
        let memory = segment.attach_read_only().unwrap();
        assert_eq!(
            (memory.load_u32(0, std::sync::atomic::Ordering::Acquire).unwrap(), memory.is_writable()),
            (7, false)
        );
        assert_eq!(kind(segment.attach().map(drop)), denied);
        return;
    }
    if !can_run_as(STRANGER) {
        skip!("no right to start a process of another user");
    }
    let segment = segment(4096);
    segment.attach().unwrap().atomic_u32(0).unwrap().store(7, std::sync::atomic::Ordering::Release);
    let mut stranger =
        Peer::of(test_name!()).role("stranger").user(STRANGER).env("ID", segment.id().to_string()).spawn();
    stranger.wait_for("kept out");
    segment.set_mode("604".parse().unwrap()).unwrap();
    stranger.say("opened");
    stranger.succeeds();
}
