//! Containers that share nothing but the directory.

use tieline_testkit::{Isolation, Namespace, Peer, skip, test_name};

use super::actor::{
    Actor, Diary, TIMEOUT, answers, directory, is_connected, is_departed, is_disconnected, is_received, name_in, offer,
    peer, play,
};
use crate::rendezvous::{Condition, Name, Role, create};

#[test]
fn members_meet_across_ipc_mount_and_network_namespaces() {
    if play() {
        return;
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    let kinds = [Namespace::Ipc, Namespace::Mount, Namespace::Net];
    if !Namespace::can_make(&kinds) {
        skip!("this machine does not let us make {kinds:?} namespaces");
    }
    let directory = directory();
    let pairs = name_in(directory.path(), "pairs");
    let host = Actor::start(create(&pairs, offer(Role::Producer), TIMEOUT).unwrap(), Diary::greeting("hello"));
    let mut other = peer(test_name!(), &pairs, Role::Consumer, "open").namespaces(&kinds).spawn();
    other.wait_for("joined");
    host.diary.wait("it speaks", 1, is_received);
    answers(&mut other, "received", "1");
    drop(host);
    answers(&mut other, "host", "true");
    other.kill();
}

#[test]
fn members_meet_across_user_namespaces() {
    if play() {
        return;
    }
    if !Namespace::can_make(&[Namespace::User]) {
        skip!("this machine does not let us make user namespaces");
    }
    let directory = directory();
    let name = name_in(directory.path(), "users");
    let host = Actor::create(&name, Role::Sharer);
    let uid = rustix::process::geteuid().as_raw();
    if Namespace::renames_us() {
        let mut stranger = peer(test_name!(), &name, Role::Sharer, "open").namespaces(&[Namespace::User]).spawn();
        stranger.wait_for("failed Corrupted");
    }
    // Who is somebody else inside says whom it means.
    let inside: Name = format!("{name}?owner={uid}").parse().unwrap();
    let mut other = peer(test_name!(), &inside, Role::Sharer, "open").namespaces(&[Namespace::User]).spawn();
    other.wait_for("joined");
    assert_eq!(super::actor::ask(&mut other, "member"), "Some(1)");
    other.kill();
    host.diary.wait("departed", 1, is_departed);
}

/// Inside a process namespace of its own, a member is another number to itself than to us, or none at all.
#[test]
fn members_meet_across_process_namespaces_and_deaths_are_seen() {
    if let Ok(name) = std::env::var("PAIRS") {
        // Runs again, inside: as a peer that cannot say its outer id.
        if Namespace::enter(&[Namespace::Pid], &test_name!()) == Isolation::Done {
            return;
        }
        let pairs: Name = name.parse().unwrap();
        let shared: Name = std::env::var("SHARED").unwrap().parse().unwrap();
        let consumer = Actor::open(&pairs, Role::Consumer);
        let sharer = Actor::open(&shared, Role::Sharer);
        consumer.diary.wait("connected", 1, is_connected);
        assert_eq!(consumer.diary.links()[0].peer().uid, rustix::process::geteuid().as_raw());
        tieline_testkit::pause(std::time::Duration::from_secs(30));
        drop((consumer, sharer));
        return;
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    if !Namespace::can_make(&[Namespace::Pid]) {
        skip!("this machine does not let us make process namespaces");
    }
    let directory = directory();
    let (pairs, shared) = (name_in(directory.path(), "pairs"), name_in(directory.path(), "shared"));
    let producer = Actor::create(&pairs, Role::Producer);
    let sharer = Actor::create(&shared, Role::Sharer);
    let mut other = Peer::of(test_name!()).env("PAIRS", pairs.to_string()).env("SHARED", shared.to_string()).spawn();
    producer.diary.wait("connected", 1, is_connected);
    let members = sharer.membership.members().unwrap();
    tieline_testkit::eventually("it shares", || members.condition(1) == Condition::Alive);
    assert_ne!(producer.diary.links()[0].peer().pid, other.id(), "its id in our namespace is the inner process's");
    // The namespace's first process dies with its `unshare` (--kill-child), and takes all inside along.
    other.kill();
    let inner = producer.diary.links().first().map_or(0, |link| link.peer().pid);
    if let Some(inner) = i32::try_from(inner).ok().filter(|pid| *pid > 1).and_then(rustix::process::Pid::from_raw) {
        // Started by this test, two processes down.
        let _ = rustix::process::kill_process(inner, rustix::process::Signal::KILL);
    }
    producer.diary.wait("disconnected", 1, is_disconnected);
    sharer.diary.wait("departed", 1, is_departed);
    tieline_testkit::eventually("its number is free", || members.condition(1) == Condition::Free);
}
