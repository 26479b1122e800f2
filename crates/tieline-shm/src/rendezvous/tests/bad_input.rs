//! Offers that do not fit, and limits that are reached: each an error of its own.

use tieline_testkit::test_name;

use super::actor::{Actor, Diary, TIMEOUT, directory, is_connected, name_in, offer, offer_of};
use crate::error::ErrorKind;
use crate::rendezvous::{Access, Allowed, MEMBERS_MAX, Role, create, open, open_or_create};
use crate::segment::Kind;

#[test]
fn what_does_not_fit_is_told_apart() {
    let directory = directory();
    let name = name_in(directory.path(), "fits");
    let _host = Actor::create(&name, Role::Producer);
    let refused = |offer| {
        let error = open(&name, offer, TIMEOUT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        error.to_string()
    };
    let text = refused(offer_of(Kind::Calls, Role::Consumer, 8));
    assert!(text.contains("it is a topic, not a service"), "{text}");
    let text = refused(offer_of(Kind::Log, Role::Sharer, 8));
    assert!(text.contains("do not meet in that direction"), "{text}");
    let mut other = offer(Role::Consumer);
    other.layout_hash = 8;
    other.layout_text = "struct Payload { y: u32 }".to_owned();
    let text = refused(other);
    assert!(text.contains("struct Payload { x: u64 }") && text.contains("struct Payload { y: u32 }"), "{text}");
}

#[test]
fn one_member_too_many_is_refused() {
    let directory = directory();
    for (text, role) in [("sharers", Role::Sharer), ("pairs", Role::Producer)] {
        let name = name_in(directory.path(), text);
        let _host = Actor::start(create(&name, offer_of(Kind::Queue, role, 3), TIMEOUT).unwrap(), Diary::default());
        let other = if role.shares() { role } else { Role::Consumer };
        let join = || open(&name, offer_of(Kind::Queue, other, 3), TIMEOUT);
        let members = [join().unwrap(), join().unwrap()];
        let error = join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached);
        assert!(error.to_string().contains("made for 3 members"), "{error}");
        drop(members);
        tieline_testkit::eventually("there is room again", || join().is_ok());
    }
}

#[test]
fn offers_without_meaning_are_refused_before_anything_is_done() {
    let directory = directory();
    let name = name_in(directory.path(), "meaning");
    let refused = |offer| open_or_create(&name, offer, TIMEOUT).unwrap_err().kind();
    assert_eq!(refused(offer_of(Kind::Queue, Role::Sharer, 0)), ErrorKind::InvalidInput);
    assert_eq!(refused(offer_of(Kind::Queue, Role::Sharer, MEMBERS_MAX + 1)), ErrorKind::InvalidInput);
    let mut long = offer(Role::Producer);
    long.config = vec![0; 4097];
    assert_eq!(refused(long), ErrorKind::InvalidInput);
    let mut listed = offer(Role::Producer);
    listed.access = Access::owner().publish(Allowed::Users(vec![1; Access::USERS_MAX + 1]));
    assert_eq!(refused(listed), ErrorKind::InvalidInput);
    let mut reader = offer(Role::Reader);
    reader.core = None;
    assert_eq!(refused(reader), ErrorKind::InvalidInput);
    let mut closed = offer(Role::Producer);
    closed.access = Access::owner().subscribe(Allowed::Anyone);
    assert_eq!(refused(closed), ErrorKind::InvalidInput, "nobody else can enter a temporary directory");
}

#[test]
fn a_core_that_cannot_be_made_leaves_the_name_free() {
    let directory = directory();
    let name = name_in(directory.path(), "failed");
    let mut failing = offer(Role::Sharer);
    failing.core = Some(Box::new(|| Err(crate::Error::new("make it", ErrorKind::OutOfMemory))));
    assert_eq!(create(&name, failing, TIMEOUT).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert!(create(&name, offer(Role::Sharer), TIMEOUT).is_ok());
}

#[test]
fn without_descriptors_joining_fails_and_those_who_are_there_go_on() {
    if let Some(me) = tieline_testkit::role() {
        let name = me.env("NAME").parse().unwrap();
        let limit = rustix::process::Rlimit { current: Some(128), maximum: Some(128) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let host = Actor::create(&name, Role::Producer);
        let guest = Actor::open(&name, Role::Consumer);
        host.diary.wait("connected", 1, is_connected);
        // For the program's own use of descriptors when it fails.
        let spare = std::fs::File::open("/dev/null").unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        drop(spare);
        // How many descriptors joining takes at once depends on how soon the keeper closes those of the last attempt.
        let mut refused = 0;
        while let Err(error) = open(&name, offer(Role::Consumer), TIMEOUT) {
            assert_eq!(error.kind(), ErrorKind::LimitReached, "with room for {refused}: {error}");
            refused += 1;
            hoard.pop().expect("room at last");
        }
        assert!(refused > 2, "a connection takes more than two descriptors");
        guest.diary.links()[0].send(b"still here", &[]).unwrap();
        host.diary.wait("received", 1, super::actor::is_received);
        drop(hoard);
        assert!(open(&name, offer(Role::Consumer), TIMEOUT).is_ok());
        me.say("done");
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "nofile").to_string();
    let limited = tieline_testkit::Peer::of(test_name!()).role("hoarder").env("NAME", name);
    let mut peer = limited.spawn();
    peer.wait_for("done");
    peer.succeeds();
}
