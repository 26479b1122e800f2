//! Topics across containers, programs and forks.

use std::os::unix::fs::PermissionsExt;

use tieline_shm::ErrorKind;
use tieline_shm::topic::Topic;
use tieline_testkit::{Forked, Isolation, Namespace, PATIENCE, Peer, Role, role, skip, test_name, until};

use super::place;

/// Takes one large message and publishes its first word, doubled.
fn echo(me: &Role) {
    let topic = Topic::<[u64; 800]>::open(&me.env("NAME")).unwrap();
    let answers = Topic::<u64>::open(&format!("{}-answers", me.env("NAME"))).unwrap();
    let publisher = answers.publisher().unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let sample = subscriber.recv_timeout(PATIENCE).unwrap();
    publisher.publish(&(sample[799] * 2)).unwrap();
    me.wait_for("never");
}

#[test]
fn publishers_and_subscribers_meet_across_namespaces_and_see_each_other_die() {
    if let Some(me) = role() {
        return echo(&me);
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    let containers: [&[Namespace]; 3] = [
        &[Namespace::Ipc, Namespace::Mount, Namespace::Net],
        &[Namespace::User],
        &[Namespace::User, Namespace::Ipc, Namespace::Mount, Namespace::Net],
    ];
    for kinds in containers {
        if !Namespace::can_make(kinds) {
            skip!("this machine does not let us make {kinds:?} namespaces");
        }
        let (_place, name) = place();
        let topic = Topic::<[u64; 800]>::open_or_create(&name).unwrap();
        let publisher = topic.publisher().unwrap();
        let mut answers = Topic::<u64>::open_or_create(&format!("{name}-answers")).unwrap().subscriber().unwrap();
        let mut peer = Peer::of(test_name!()).role("echo").env("NAME", &name).namespaces(kinds).spawn();
        until("it is connected", || (publisher.subscribers() == 1).then_some(()));
        publisher.publish(&[21; 800]).unwrap();
        assert_eq!(*answers.recv_timeout(PATIENCE).unwrap(), 42, "{kinds:?}");
        peer.kill();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap_err().kind(), ErrorKind::PeerGone);
        until("it is forgotten", || (publisher.subscribers() == 0).then_some(()));
    }
}

/// Inside a process namespace its number is another to itself than to us.
#[test]
fn a_topic_crosses_process_namespaces() {
    if let Ok(name) = std::env::var("TOPIC") {
        if Namespace::enter(&[Namespace::Pid], &test_name!()) == Isolation::Done {
            return;
        }
        let topic = Topic::<u64>::open(&name).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        assert_eq!(*subscriber.recv_timeout(PATIENCE).unwrap(), 7);
        // It ends, and with it its place.
        return;
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    if !Namespace::can_make(&[Namespace::Pid]) {
        skip!("this machine does not let us make process namespaces");
    }
    let (_place, name) = place();
    let publisher = Topic::<u64>::open_or_create(&name).unwrap().publisher().unwrap();
    let peer = Peer::of(test_name!()).env("TOPIC", &name).spawn();
    until("it is connected", || (publisher.subscribers() == 1).then_some(()));
    publisher.publish(&7).unwrap();
    until("it has left", || (publisher.subscribers() == 0).then_some(()));
    peer.succeeds();
}

#[test]
fn a_runtime_directory_that_cannot_be_written_is_a_clear_error() {
    if let Some(me) = role() {
        let error = Topic::<u64>::open_or_create(&me.env("NAME")).unwrap().publisher().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let error = Topic::<u64>::open(&me.env("NAME")).unwrap().subscriber().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound), "{error}");
        return;
    }
    const NOBODY: u32 = 65534;
    if !tieline_testkit::can_run_as(NOBODY) {
        skip!("needs root, to run a peer as another user");
    }
    let (place, name) = place();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o555)).unwrap();
    Peer::of(test_name!()).role("guest").env("NAME", &name).user(NOBODY).spawn().succeeds();
}

#[test]
fn a_child_of_fork_has_no_part_in_a_topic_and_keeps_none_of_it() {
    if let Some(me) = role() {
        let topic = Topic::<[u64; 800]>::open_or_create(&me.env("NAME")).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        let publisher = topic.publisher().unwrap();
        publisher.publish(&[1; 800]).unwrap();
        let sample = subscriber.recv().unwrap();
        let loan = publisher.loan().unwrap();
        Forked::run(|| {
            assert_eq!(subscriber.recv().unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(publisher.publish(&[9; 800]).unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(publisher.loan().map(drop).unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(loan.send().unwrap_err().kind(), ErrorKind::Forked);
        })
        .succeeds();
        assert_eq!(sample[799], 1, "held by the parent still");
        publisher.publish(&[2; 800]).unwrap();
        assert_eq!(subscriber.recv().unwrap()[0], 2);
        // A child that lives on does not keep its parent's places.
        let child = Forked::run(|| tieline_testkit::pause(PATIENCE * 10));
        me.say(&child.id().to_string());
        me.wait_for("never");
    }
    let (_place, name) = place();
    let mut peer = Peer::of(test_name!()).role("parent").env("NAME", &name).spawn();
    let child: i32 = peer.hear().parse().expect("the child's number");
    let topic = Topic::<[u64; 800]>::open(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let publisher = topic.publisher().unwrap();
    until("its subscriber is connected", || (publisher.subscribers() == 2).then_some(()));
    peer.kill();
    until("it is forgotten", || (publisher.subscribers() == 1).then_some(()));
    until("its publisher is gone", || {
        let _ = subscriber.try_recv();
        (subscriber.counters().publishers == 1).then_some(())
    });
    let child = rustix::process::Pid::from_raw(child).expect("a number");
    rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("the child lives");
}

/// A new program has neither the descriptors nor the memory of the one before.
#[test]
fn a_program_started_by_exec_inherits_no_descriptor_of_a_topic() {
    let open = || {
        let output = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let sockets = |open: &str| open.matches("socket:").count();
    // Whoever started us may have left some to all its descendants.
    let before = open();
    let (_place, name) = place();
    let topic = Topic::<[u64; 800]>::open_or_create(&name).unwrap();
    let (_publisher, _subscriber) = (topic.publisher().unwrap(), topic.subscriber().unwrap());
    let open = open();
    assert!(!open.contains("tieline") && sockets(&open) == sockets(&before), "{before} and then {open}");
}
