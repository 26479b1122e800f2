//! What is refused, and how.

use tieline_shm::topic::{Policy, Publisher, Topic};
use tieline_shm::{Access, Allowed, ErrorKind, ShmSafe};
use tieline_testkit::{Peer, role, test_name};

use super::place;

#[test]
fn another_layout_is_refused_with_both_in_the_text() {
    let (_place, name) = place();
    let topic = Topic::<[u32; 3]>::open_or_create(&name).unwrap();
    let _publisher = topic.publisher().unwrap();
    let error = Topic::<[i32; 3]>::open_or_create(&name).unwrap().subscriber().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let text = error.to_string();
    assert!(text.contains("u32") && text.contains("i32"), "{text}");
    let error = Topic::<[[u32; 3]]>::open_or_create(&name).unwrap().subscriber().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "a slice of it is something else");
}

#[test]
fn names_are_there_or_not_as_demanded() {
    let (_place, name) = place();
    assert_eq!(Topic::<u8>::open(&name).unwrap().subscriber().unwrap_err().kind(), ErrorKind::NotFound);
    let topic = Topic::<u8>::create(&name).unwrap();
    let publisher = topic.publisher().unwrap();
    let _second = topic.subscriber().unwrap();
    assert_eq!(Topic::<u8>::create(&name).unwrap().publisher().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(Topic::<u8>::open(&name).unwrap().subscriber().is_ok());
    drop(publisher);
    assert_eq!(Topic::<u8>::open("no spaces please").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn one_subscriber_too_many_is_refused() {
    let (_place, name) = place();
    let topic = Topic::<u8>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().max_subscribers(2).open().unwrap();
    let subscribers = [topic.subscriber().unwrap(), topic.subscriber().unwrap()];
    let error = topic.subscriber().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
    drop(subscribers);
    tieline_testkit::eventually("both are forgotten", || publisher.subscribers() == 0);
    assert!(topic.subscriber().is_ok());
}

#[test]
fn loans_are_limited_and_come_back_when_dropped() {
    let (_place, name) = place();
    let topic = Topic::<[u8; 5000]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().max_loans(2).open().unwrap();
    let loans = [publisher.loan().unwrap(), publisher.loan().unwrap()];
    assert_eq!(publisher.loan().map(drop).unwrap_err().kind(), ErrorKind::LimitReached);
    drop(loans);
    assert!(publisher.loan().is_ok());
}

#[test]
fn a_loan_that_is_never_returned_fills_the_pool_and_no_more() {
    let (_place, name) = place();
    let topic = Topic::<[u8; 5000]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().max_payloads(3).max_held(8).open().unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let mut kept = Vec::new();
    for value in 0..3 {
        publisher.publish(&[value; 5000]).unwrap();
        kept.push(subscriber.recv().unwrap());
    }
    let error = publisher.try_publish(&[3; 5000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    kept.remove(1);
    publisher.try_publish(&[3; 5000]).unwrap();
    assert_eq!((kept[0][0], kept[1][4999]), (0, 2));
}

/// A type of which zeros are no value.
#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Odd {
    never_zero: std::num::NonZero<u64>,
    rest: [u64; 100],
}

#[test]
fn a_loan_is_a_value_of_its_type_from_the_start() {
    let (_place, name) = place();
    let topic = Topic::<Odd>::open_or_create(&name).unwrap();
    let publisher = topic.publisher().unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    assert_eq!(publisher.loan().map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
    let odd = Odd { never_zero: std::num::NonZero::new(7).unwrap(), rest: [9; 100] };
    publisher.loan_uninit().unwrap().write(odd).send().unwrap();
    assert_eq!(*subscriber.recv().unwrap(), odd);
}

#[test]
fn who_may_not_subscribe_is_refused() {
    const NOBODY: u32 = 65534;
    if let Some(me) = role() {
        let name = format!("{}?owner=0", me.env("NAME"));
        let kind = |refused: Result<_, tieline_shm::Error>| refused.map(|_: ()| ()).unwrap_err().kind();
        let topic = Topic::<u8>::open(&name).unwrap();
        assert_eq!(kind(topic.publisher().map(drop)), ErrorKind::PermissionDenied);
        match me.name() {
            "reader" => {
                let mut subscriber = topic.subscriber_options().policy(Policy::DropOldest).open().unwrap();
                me.say("ready");
                assert_eq!(*subscriber.recv().unwrap(), 5);
            }
            _ => assert_eq!(kind(topic.subscriber().map(drop)), ErrorKind::PermissionDenied),
        }
        return;
    }
    if !tieline_testkit::can_run_as(NOBODY) {
        tieline_testkit::skip!("needs root, to run a peer as another user");
    }
    for (access, reads) in [(Access::owner(), false), (Access::owner().subscribe(Allowed::Users(vec![NOBODY])), true)] {
        let (place, name) = place();
        std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let topic = Topic::<u8>::open_or_create(&name).unwrap().access(access);
        let publisher: Publisher<u8> = topic.publisher().unwrap();
        let role = if reads { "reader" } else { "stranger" };
        let mut peer = Peer::of(test_name!()).role(role).env("NAME", &name).user(NOBODY).spawn();
        if reads {
            peer.wait_for("ready");
            publisher.publish(&5).unwrap();
        }
        peer.succeeds();
    }
}
