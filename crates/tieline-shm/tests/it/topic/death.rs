//! `kill -9` and SIGSTOP at every step, on either side. How soon who waits is told of a death is measured in
//! `survive::told`.

use std::time::Duration;

use rustix::process::Signal;
use tieline_shm::ErrorKind;
use tieline_shm::topic::{Policy, Subscriber, Topic};
use tieline_testkit::{Peer, Role, role, test_name, until};

use super::{place, whole};

/// The steps of a publisher, and those of a subscriber; see `step` in the sources.
const PUBLISHER_STEPS: [&str; 6] =
    ["log:guard", "log:words", "log:published", "log:batch", "pool:filled", "topic:admitted"];
const SUBSCRIBER_STEPS: [&str; 2] = ["log:held", "log:taken"];

/// In a peer: subscribes as it was told to.
fn subscribe(me: &Role) -> Subscriber<[u64; 1000]> {
    let topic = Topic::open_or_create(&me.env("NAME")).unwrap();
    let policy = if me.env("POLICY") == "block" { Policy::Block } else { Policy::DropOldest };
    let subscriber = topic.subscriber_options().policy(policy).open().unwrap();
    me.say("ready");
    subscriber
}

/// A peer that has subscribed, and is killed or stopped at a step.
fn subscriber(test: &str, name: &str, policy: &str, step: &str) -> Peer {
    let peer = Peer::of(test).role("subscriber").env("NAME", name).env("POLICY", policy);
    let mut peer = peer.env("TIELINE_STEP", step).spawn();
    peer.wait_for("ready");
    peer
}

#[test]
fn a_publisher_killed_at_any_step_leaves_whole_messages_and_is_told_of() {
    if let Some(me) = role() {
        let topic = Topic::<[u64]>::open_or_create(&me.env("NAME")).unwrap();
        let publisher = topic.publisher_options().depth(16).open().unwrap();
        for value in 1.. {
            // In the slot, in the pool, and lent.
            publisher.publish(&[value; 5]).unwrap();
            publisher.publish(&[value; 500]).unwrap();
            let mut loan = publisher.loan_slice(600).unwrap();
            loan.fill(value);
            loan.send().unwrap();
        }
    }
    for step in PUBLISHER_STEPS.into_iter().filter(|step| *step != "log:batch") {
        let (_place, name) = place();
        let topic = Topic::<[u64]>::open_or_create(&name).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        let kill = format!("kill:{step}:{}", if step == "topic:admitted" { 1 } else { 100 });
        let publisher = Peer::of(test_name!()).role("publisher").env("NAME", &name).env("TIELINE_STEP", kill).spawn();
        if step == "topic:admitted" {
            // It dies before it publishes anything; whether its memory had arrived is a matter of luck.
            drop(publisher);
            match subscriber.recv_timeout(Duration::from_millis(50)) {
                Err(error) => assert!(error.is_timeout() || error.is_peer_dead(), "{error}"),
                Ok(sample) => panic!("{:?}", &*sample),
            }
            continue;
        }
        let (mut count, mut last) = (0, 0);
        let gone = loop {
            match subscriber.recv() {
                Ok(sample) => {
                    let value = whole(&sample);
                    assert!(value == last || value == last + 1);
                    (last, count) = (value, count + 1);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(gone.kind(), ErrorKind::PeerGone, "{step}");
        assert!(count > 30, "{step}: {count}");
        drop(publisher);
        // The name, the subscriber, and the next publisher are as good as before.
        let next = topic.publisher().unwrap();
        next.publish(&[7; 3]).unwrap();
        assert_eq!(*subscriber.recv().unwrap(), [7; 3]);
    }
}

#[test]
fn a_publisher_killed_in_a_batch_has_published_none_of_it() {
    if let Some(me) = role() {
        let publisher = Topic::<u64>::open_or_create(&me.env("NAME")).unwrap().publisher().unwrap();
        publisher.publish_many(&[1, 2, 3]).unwrap();
        publisher.publish_many(&[4, 5, 6]).unwrap();
        unreachable!("killed in the second batch");
    }
    let (_place, name) = place();
    let mut subscriber = Topic::<u64>::open_or_create(&name).unwrap().subscriber().unwrap();
    let step = "kill:log:batch:2";
    let _peer = Peer::of(test_name!()).role("publisher").env("NAME", &name).env("TIELINE_STEP", step).spawn();
    assert_eq!((0..3).map(|_| *subscriber.recv().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(subscriber.recv().unwrap_err().kind(), ErrorKind::PeerGone);
}

#[test]
fn a_subscriber_killed_at_any_step_neither_stops_the_publisher_nor_keeps_its_memory() {
    if let Some(me) = role() {
        let mut subscriber = subscribe(&me);
        let mut held = Vec::new();
        loop {
            held.push(subscriber.recv().unwrap());
            if held.len() > 1 {
                held.remove(0);
            }
        }
    }
    for policy in ["block", "drop"] {
        for step in SUBSCRIBER_STEPS {
            let (_place, name) = place();
            let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
            let publisher = topic.publisher_options().max_payloads(6).open().unwrap();
            let mut peer = subscriber(&test_name!(), &name, policy, &format!("kill:{step}:20"));
            let mut survivor = topic.subscriber().unwrap();
            let mut value = 0;
            until("it is killed and forgotten", || {
                for _ in 0..50 {
                    publisher.publish(&[value; 1000]).unwrap();
                    assert_eq!(whole(&*survivor.recv().unwrap()), value);
                    value += 1;
                }
                (publisher.subscribers() == 1).then_some(())
            });
            assert!(!peer.exit_status().success());
            // Every place is there again: as many loans as there are places can go out in turn.
            for value in 0..20 {
                publisher.try_publish(&[value; 1000]).unwrap();
                assert_eq!(whole(&*survivor.recv().unwrap()), value);
            }
            assert!(publisher.committed_payloads() <= 6);
        }
    }
}

#[test]
fn a_stopped_subscriber_is_waited_for_with_a_deadline_and_harms_nobody_when_it_goes_on() {
    if let Some(me) = role() {
        let mut subscriber = subscribe(&me);
        let mut last = 0;
        loop {
            let value = whole(&*subscriber.recv().unwrap());
            assert!(value > last);
            last = value;
            if value == 1000 {
                break;
            }
        }
        me.say("done");
        return;
    }
    for policy in ["block", "drop"] {
        for step in SUBSCRIBER_STEPS {
            let (_place, name) = place();
            let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
            let publisher = topic.publisher().unwrap();
            let mut peer = subscriber(&test_name!(), &name, policy, &format!("stop:{step}:3"));
            let mut value = 0;
            let stuck = loop {
                value += 1;
                match publisher.publish_timeout(&[value; 1000], Duration::from_millis(100)) {
                    Ok(()) if value == 500 => break false,
                    Ok(()) => {}
                    Err(error) => {
                        assert!(error.is_timeout(), "{error}");
                        break true;
                    }
                }
            };
            assert_eq!(stuck, policy == "block", "{step}");
            peer.until_stopped();
            peer.signal(Signal::CONT);
            publisher.publish(&[999; 1000]).unwrap();
            publisher.publish(&[1000; 1000]).unwrap();
            peer.wait_for("done");
            peer.succeeds();
        }
    }
}

#[test]
fn a_stopped_publisher_delays_only_its_own_messages() {
    if let Some(me) = role() {
        let publisher = Topic::<[u64; 9]>::open_or_create(&me.env("NAME")).unwrap().publisher().unwrap();
        for value in 1..=1000 {
            publisher.publish(&[value; 9]).unwrap();
        }
        return;
    }
    for step in ["log:guard", "log:words", "log:published"] {
        let (_place, name) = place();
        let topic = Topic::<[u64; 9]>::open_or_create(&name).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        let other = topic.publisher().unwrap();
        let stop = format!("stop:{step}:500");
        let peer = Peer::of(test_name!()).role("publisher").env("NAME", &name).env("TIELINE_STEP", stop).spawn();
        let mut last = 0;
        while last < 499 {
            last = whole(&*subscriber.recv().unwrap());
        }
        if step == "log:published" {
            assert_eq!(whole(&*subscriber.recv().unwrap()), 500);
            last = 500;
        }
        for value in 0..100 {
            other.publish(&[5000 + value; 9]).unwrap();
            assert_eq!(whole(&*subscriber.recv().unwrap()), 5000 + value);
        }
        peer.until_stopped();
        peer.signal(Signal::CONT);
        while last < 1000 {
            let value = whole(&*subscriber.recv().unwrap());
            assert_eq!(value, last + 1);
            last = value;
        }
        peer.succeeds();
    }
}
