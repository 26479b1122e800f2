//! Whose subscribers may hold up a publisher.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tieline_shm::topic::{Policy, Topic};
use tieline_shm::{Access, Allowed, ErrorKind};
use tieline_testkit::{PATIENCE, Peer, eventually, role, skip, test_name};

use super::place;

const NOBODY: u32 = 65534;
const LONG: Duration = PATIENCE;

/// A place that others can enter.
fn open_place() -> (tempfile::TempDir, String) {
    let (place, name) = place();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    (place, name)
}

fn readable() -> Access {
    Access::owner().subscribe(Allowed::Users(vec![NOBODY]))
}

#[test]
fn another_user_is_not_waited_for_unless_the_publisher_says_so() {
    if let Some(me) = role() {
        let topic = Topic::<u64>::open(&format!("{}?owner=0", me.env("NAME"))).unwrap();
        if me.name() == "refused" {
            let error = topic.subscriber().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.to_string().contains("a policy other than Policy::Block"), "{error}");
            let mut subscriber = topic.subscriber_options().policy(Policy::DropOldest).open().unwrap();
            me.say("ready");
            assert!(subscriber.recv_timeout(LONG).is_ok());
            return;
        }
        let mut subscriber = topic.subscriber().unwrap();
        me.say("ready");
        me.wait_for("full");
        assert_eq!(*subscriber.recv_timeout(LONG).unwrap(), 0);
        return;
    }
    if !tieline_testkit::can_run_as(NOBODY) {
        skip!("needs root, to run a peer as another user");
    }
    for role in ["refused", "allowed"] {
        let (_place, name) = open_place();
        let topic = Topic::<u64>::open_or_create(&name).unwrap().access(readable());
        let options = topic.publisher_options().depth(8);
        let options = if role == "allowed" { options.waits_for(Allowed::Users(vec![NOBODY])) } else { options };
        let publisher = options.open().unwrap();
        let mut peer = Peer::of(test_name!()).role(role).env("NAME", &name).user(NOBODY).spawn();
        peer.wait_for("ready");
        let published = (0..100).take_while(|value| publisher.try_publish(value).is_ok()).count();
        if role == "refused" {
            assert_eq!(published, 100, "it is waited for");
        } else {
            assert_eq!(published, 8, "it is not waited for");
            assert!(publisher.try_publish(&0).unwrap_err().is_would_block());
            peer.say("full");
        }
        peer.succeeds();
    }
}

#[test]
fn a_publisher_can_refuse_to_wait_for_anybody() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().waits_for_nobody().open().unwrap();
    assert_eq!(topic.subscriber().unwrap_err().kind(), ErrorKind::PermissionDenied);
    let mut subscriber = topic.subscriber_options().policy(Policy::DropNewest).open().unwrap();
    publisher.publish(&5).unwrap();
    assert_eq!(*subscriber.recv_timeout(LONG).unwrap(), 5);
}

#[test]
fn who_subscribed_before_is_told_of_a_refusal_when_it_receives_and_hears_others() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let refusing = topic.publisher_options().waits_for_nobody().open().unwrap();
    refusing.publish(&1).unwrap();
    let error = subscriber.recv_timeout(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("waits_for"), "{error}");
    assert!(subscriber.try_recv().unwrap_err().is_would_block(), "once");
    let publisher = topic.publisher().unwrap();
    publisher.publish(&2).unwrap();
    assert_eq!(*subscriber.recv_timeout(LONG).unwrap(), 2);
}

/// They hold all they may, for ever, and the publisher does not run out of memory for messages.
#[test]
fn guests_cannot_use_up_the_memory_for_payloads() {
    if let Some(me) = role() {
        let topic = Topic::<[u64; 100]>::open(&format!("{}?owner=0", me.env("NAME"))).unwrap();
        let guest = || topic.subscriber_options().policy(Policy::DropOldest).open();
        let mut guests = [guest().unwrap(), guest().unwrap()];
        let error = guest().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
        me.say("ready");
        let mut held = Vec::new();
        for _ in 0..2 {
            for guest in &mut guests {
                held.push(guest.recv_timeout(LONG).unwrap());
            }
        }
        me.say("held");
        me.wait_for("done");
        assert!(held.iter().all(|sample| sample.iter().all(|word| *word == sample[0])));
        return;
    }
    if !tieline_testkit::can_run_as(NOBODY) {
        skip!("needs root, to run a peer as another user");
    }
    let (_place, name) = open_place();
    let topic = Topic::<[u64; 100]>::open_or_create(&name).unwrap().access(readable());
    let publisher = topic.publisher_options().max_payloads(16).open().unwrap();
    let mut peer = Peer::of(test_name!()).role("guests").env("NAME", &name).user(NOBODY).spawn();
    peer.wait_for("ready");
    for value in 0..4 {
        publisher.try_publish(&[value; 100]).unwrap();
    }
    peer.wait_for("held");
    for value in 0..1000 {
        publisher.try_publish(&[value; 100]).unwrap();
    }
    // Of the publisher's own user there may be more.
    let own: Vec<_> = (0..5).map(|_| topic.subscriber().unwrap()).collect();
    eventually("all are there", || publisher.subscribers() == 7);
    drop(own);
    peer.say("done");
    peer.succeeds();
}
