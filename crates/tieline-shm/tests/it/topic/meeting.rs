//! Who is there when somebody joins, and what it gets: also of publishers that are stopped.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tieline_shm::topic::Topic;
use tieline_testkit::{PATIENCE, Peer, role, test_name, until};

use super::place;

const MESSAGES: u64 = 100;

/// A stopped publisher is not waited for. When it goes on it may publish before it lets us in: that is its history.
#[test]
fn a_stopped_publisher_holds_up_no_joiner_and_what_it_says_first_is_its_history() {
    if let Some(me) = role() {
        let topic = Topic::<u64>::open(&me.env("NAME")).unwrap();
        let publisher = topic.publisher_options().history(128).open().unwrap();
        me.say("publishes");
        me.wait_for("go");
        (0..MESSAGES).for_each(|value| publisher.publish(&value).unwrap());
        me.wait_for("never");
    }
    for history in [0, 128] {
        let (_place, name) = place();
        let topic = Topic::<u64>::open_or_create(&name).unwrap();
        let publisher = topic.publisher().unwrap();
        let mut stopped = Peer::of(test_name!()).role("publisher").env("NAME", &name).spawn();
        stopped.wait_for("publishes");
        stopped.stop();
        let began = Instant::now();
        let mut subscriber = topic.subscriber_options().history(history).open().unwrap();
        // It would be five seconds.
        assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
        publisher.publish(&1_000).unwrap();
        assert_eq!(*subscriber.recv_timeout(PATIENCE).unwrap(), 1_000, "the others' messages come");
        stopped.say("go");
        stopped.signal(Signal::CONT);
        let mut next = match history {
            0 => None,
            _ => Some(0),
        };
        until("it is connected", || {
            while let Ok(sample) = subscriber.try_recv() {
                assert_eq!(*sample, next.unwrap_or(*sample), "from where it was let in, in order and without a gap");
                next = Some(*sample + 1);
            }
            let is_connected = subscriber.counters().publishers == 2;
            (is_connected && (history == 0 || next == Some(MESSAGES))).then_some(())
        });
    }
}

/// All that is published after the opening has returned is received, however busy the publishers are meanwhile.
#[test]
fn what_is_published_after_a_subscriber_has_opened_is_received() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let publishers: Vec<_> = (0..4).map(|_| topic.publisher().unwrap()).collect();
    for round in 0..30 {
        let mut subscriber = topic.subscriber().unwrap();
        for publisher in &publishers {
            publisher.publish(&round).unwrap();
        }
        for _ in &publishers {
            assert_eq!(*subscriber.recv_timeout(PATIENCE).unwrap(), round);
        }
    }
}
