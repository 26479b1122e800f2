//! Many processes at once.

use tieline_shm::topic::{Policy, Topic};
use tieline_testkit::{Peer, role, test_name};

use super::place;

const MESSAGES: u64 = 30_000;

/// Who published, which message it is, and the two mixed, so that a torn message shows.
fn message(publisher: u64, number: u64) -> [u64; 9] {
    let mut message = [publisher ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15); 9];
    (message[0], message[8]) = (publisher, number);
    message
}

#[test]
fn two_publishers_and_three_subscribers_lose_tear_and_reorder_nothing() {
    if let Some(me) = role() {
        let topic = Topic::<[u64; 9]>::open_or_create(&me.env("NAME")).unwrap();
        match me.name() {
            "publisher" => {
                let number: u64 = me.env("NUMBER").parse().unwrap();
                let publisher = topic.publisher_options().depth(64).open().unwrap();
                me.say("ready");
                me.wait_for("go");
                for batch in 0..MESSAGES / 10 {
                    let values: Vec<_> = (0..10).map(|index| message(number, batch * 10 + index)).collect();
                    if batch % 2 == 0 {
                        publisher.publish_many(&values).unwrap();
                    } else {
                        values.iter().for_each(|value| publisher.publish(value).unwrap());
                    }
                }
            }
            policy => {
                let policy = if policy == "all" { Policy::Block } else { Policy::DropOldest };
                let mut subscriber = topic.subscriber_options().policy(policy).open().unwrap();
                me.say("ready");
                let mut next = [0; 2];
                let mut check = |value: &[u64; 9]| {
                    let (publisher, number) = (value[0], value[8]);
                    assert_eq!(*value, message(publisher, number));
                    let next = &mut next[publisher as usize];
                    assert!(number == *next || (policy == Policy::DropOldest && number > *next), "{number} {next}");
                    *next = number + 1;
                };
                let mut rounds = 0;
                loop {
                    rounds += 1;
                    let outcome = match rounds % 3 {
                        0 => subscriber.recv_many(50, &mut check).map(|_| ()),
                        _ => subscriber.recv().map(|value| check(&value)),
                    };
                    match outcome {
                        Ok(()) => {}
                        Err(error) if error.is_peer_dead() => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                let counters = subscriber.counters();
                assert_eq!(counters.received + counters.lost, 2 * MESSAGES);
                assert!(policy == Policy::DropOldest || counters.lost == 0);
            }
        }
        return;
    }
    let (_place, name) = place();
    let peer = |role: &str, number: &str| {
        let mut peer = Peer::of(test_name!()).role(role).env("NAME", &name).env("NUMBER", number).spawn();
        peer.wait_for("ready");
        peer
    };
    let subscribers = ["all", "all", "some"].map(|policy| peer(policy, ""));
    let mut publishers = ["0", "1"].map(|number| peer("publisher", number));
    publishers.iter_mut().for_each(|publisher| publisher.say("go"));
    publishers.into_iter().for_each(Peer::succeeds);
    subscribers.into_iter().for_each(Peer::succeeds);
}
