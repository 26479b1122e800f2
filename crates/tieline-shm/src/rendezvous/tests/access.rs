//! Who may join, as other users.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tieline_testkit::{can_run_as, eventually, skip, test_name};

use super::actor::{
    Actor, Diary, TIMEOUT, answers, ask, directory, is_connected, is_disconnected, is_received, name_in, offer, peer,
    play,
};
use crate::error::ErrorKind;
use crate::rendezvous::{Access, Allowed, Name, Role, create, open};

const OTHER: u32 = 65_531;

fn open_to_all(directory: &Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn start(name: &Name, role: Role, access: Access) -> Actor {
    let mut offer = offer(role);
    offer.access = access;
    Actor::start(create(name, offer, TIMEOUT).unwrap(), Diary::greeting("hello"))
}

#[test]
fn the_rule_decides_which_other_users_join_and_on_which_side() {
    if play() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    let cases = [
        ("nobody", Access::owner(), "failed PermissionDenied", "failed PermissionDenied"),
        ("readers", Access::owner().subscribe(Allowed::Anyone), "joined", "failed PermissionDenied"),
        ("writers", Access::owner().publish(Allowed::Users(vec![OTHER])), "failed PermissionDenied", "joined"),
        ("group", Access::owner().subscribe(Allowed::Group(OTHER)), "joined", "failed PermissionDenied"),
        (
            "listed",
            Access::owner().subscribe(Allowed::Users(vec![OTHER + 1])),
            "failed PermissionDenied",
            "failed PermissionDenied",
        ),
    ];
    for (text, access, subscribes, publishes) in cases {
        let name = name_in(directory.path(), text);
        let _consumer = start(&name, Role::Consumer, access);
        for (role, answer) in [(Role::Consumer, subscribes), (Role::Producer, publishes)] {
            let mut other = peer(test_name!(), &name, role, "open").user(OTHER).spawn();
            assert_eq!(other.hear(), answer, "{text}, as {role:?}");
        }
    }
}

#[test]
fn another_users_member_is_known_by_its_uid_and_its_death_is_told() {
    if play() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    let name = name_in(directory.path(), "foreign");
    let host = start(&name, Role::Producer, Access::owner().subscribe(Allowed::Anyone));
    let mut other = peer(test_name!(), &name, Role::Consumer, "open").user(OTHER).spawn();
    other.wait_for("joined");
    host.diary.wait("it speaks", 1, is_received);
    let link = host.diary.links().remove(0);
    assert_eq!((link.peer().uid, link.peer().gid, link.peer().pid), (OTHER, OTHER, other.id()));
    other.kill();
    host.diary.wait("disconnected", 1, is_disconnected);
}

#[test]
fn another_users_member_outlives_the_host_but_does_not_become_it() {
    if play() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    let name = name_in(directory.path(), "outlives");
    let mut host = peer(test_name!(), &name, Role::Producer, "create").env("ACTOR_FOR_ALL", "1").spawn();
    host.wait_for("created");
    let own = Actor::open(&name, Role::Consumer);
    let mut other = peer(test_name!(), &name, Role::Consumer, "open").user(OTHER).spawn();
    other.wait_for("joined");
    answers(&mut other, "received", "1");
    host.kill();
    eventually("ours hosts", || own.membership.is_host());
    let publisher = Actor::open(&name, Role::Producer);
    publisher.diary.wait("both", 2, is_connected);
    assert_eq!(ask(&mut other, "host"), "false");
}

#[test]
fn another_users_reader_cannot_write_the_core_segment() {
    if let Some(me) = tieline_testkit::role() {
        let joined = open(&me.env("NAME").parse().unwrap(), offer(Role::Reader), TIMEOUT).expect("may read");
        let core = joined.core().unwrap();
        let writable = tieline_os::memfd::Memfd::from_fd(
            core.as_fd().try_clone_to_owned().unwrap(),
            tieline_os::memfd::Seals::empty(),
        )
        .and_then(|memfd| memfd.map(&tieline_os::mapping::MapOptions::new()));
        assert!(writable.is_err(), "its descriptor is read-only");
        let refused = open(&me.env("NAME").parse().unwrap(), offer(Role::Sharer), TIMEOUT).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        me.say("read");
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    let name = name_in(directory.path(), "readonly");
    let _host = start(&name, Role::Sharer, Access::owner().subscribe(Allowed::Anyone));
    let mut other =
        tieline_testkit::Peer::of(test_name!()).role("reader").env("NAME", name.to_string()).user(OTHER).spawn();
    other.wait_for("read");
    other.succeeds();
}

#[test]
fn a_host_that_nobody_asked_for_is_refused_unless_the_name_says_so() {
    if play() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    // As /tmp: everybody makes names, and nobody removes another's.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let name = name_in(directory.path(), "squatted");
    let mut squatter =
        peer(test_name!(), &name, Role::Producer, "create").env("ACTOR_FOR_ALL", "1").user(OTHER).spawn();
    squatter.wait_for("created");
    let error = open(&name, offer(Role::Consumer), TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(&format!("?owner={OTHER}")), "{error}");
    let named: Name = format!("{name}?owner={OTHER}").parse().unwrap();
    let joined = open(&named, offer(Role::Consumer), TIMEOUT).expect("that is whom I mean");
    assert_eq!(joined.owner(), OTHER);
}
