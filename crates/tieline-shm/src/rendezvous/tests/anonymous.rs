//! Objects without a name.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tieline_testkit::{Peer, test_name};

use super::actor::{
    Actor, Diary, TIMEOUT, directory, is_connected, is_departed, is_disconnected, is_received, offer, offer_of,
};
use crate::error::{ErrorKind, Result};
use crate::rendezvous::{Anonymous, Joined, Role, meet, pair};
use crate::segment::Kind;

fn both(one: Role, other: Role, creates: (bool, bool)) -> (Result<Joined>, Result<Joined>) {
    let (here, there) = pair().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(move || meet(there, offer(other), creates.1, TIMEOUT));
        (meet(here, offer(one), creates.0, TIMEOUT), other.join().unwrap())
    })
}

#[test]
fn two_ends_meet_if_they_fit() {
    let (producer, consumer) = both(Role::Producer, Role::Consumer, (true, false));
    let producer = Actor::start(producer.unwrap(), Diary::greeting("hello"));
    let consumer = Actor::start(consumer.unwrap(), Diary::default());
    consumer.diary.wait("hello", 1, is_received);
    drop(producer);
    consumer.diary.wait("the end", 1, is_disconnected);

    let (one, other) = both(Role::Sharer, Role::Sharer, (true, false));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.member(), other.member()), (Some(0), Some(1)));

    for (one, other, creates) in [
        (Role::Producer, Role::Producer, (true, false)),
        (Role::Producer, Role::Consumer, (true, true)),
        (Role::Producer, Role::Consumer, (false, false)),
    ] {
        let (one, other) = both(one, other, creates);
        assert_eq!(one.unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
    }
    let (here, there) = pair().unwrap();
    let late = meet(here, offer_of(Kind::Log, Role::Producer, 2), true, Duration::from_millis(20)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    drop(there);
    assert!(Anonymous::from_fd(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    drop(directory());
}

#[test]
fn an_end_that_a_child_inherits_shares_memory_and_its_death_is_told() {
    if let Some(me) = tieline_testkit::role() {
        let end: OwnedFd = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap();
        let joined = meet(Anonymous::from_fd(end).unwrap(), offer(Role::Sharer), false, TIMEOUT).unwrap();
        assert_eq!(joined.member(), Some(1));
        let _actor = Actor::start(joined, Diary::default());
        me.say("met");
        tieline_testkit::pause(Duration::from_secs(30));
        return;
    }
    let (here, there) = pair().unwrap();
    let mut child = Peer::of(test_name!()).role("child").stdin(there.into()).spawn();
    let joined = meet(here, offer(Role::Sharer), true, TIMEOUT).unwrap();
    child.wait_for("met");
    let parent = Actor::start(joined, Diary::default());
    parent.diary.wait("connected", 1, is_connected);
    child.kill();
    parent.diary.wait("departed", 1, is_departed);
    parent.diary.wait("disconnected", 1, is_disconnected);
}
