//! Subscribers that keep the oldest messages and lose the newest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tieline_shm::topic::{Policy, Subscriber, Topic};
use tieline_shm::{Access, Allowed, ErrorKind};
use tieline_testkit::{PATIENCE, Peer, role, test_name, until};

use super::{place, whole};

fn newest<const N: usize>(topic: &Topic<[u64; N]>, depth: usize) -> Subscriber<[u64; N]> {
    topic.subscriber_options().policy(Policy::DropNewest).depth(depth).open().unwrap()
}

fn take<const N: usize>(subscriber: &mut Subscriber<[u64; N]>) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.try_recv().ok().map(|sample| whole(&*sample))).collect()
}

#[test]
fn the_oldest_small_messages_are_received_and_the_newest_counted() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 4]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(16).open().unwrap();
    let mut kept = newest(&topic, 5);
    let mut oldest = topic.subscriber_options().policy(Policy::DropOldest).open().unwrap();
    for value in 0..100 {
        publisher.try_publish(&[value; 4]).expect("nobody is waited for");
    }
    assert_eq!(take(&mut kept), [0, 1, 2, 3, 4]);
    assert_eq!((kept.counters().received, kept.counters().lost), (5, 95));
    assert_eq!(take(&mut oldest).last(), Some(&99), "others are not concerned");
    publisher.publish_many(&[[100; 4], [101; 4], [102; 4], [103; 4], [104; 4], [105; 4], [106; 4]]).unwrap();
    assert_eq!(take(&mut kept), [100, 101, 102, 103, 104], "there is room again");
    assert_eq!(kept.counters().lost, 97);
}

#[test]
fn large_messages_stay_where_they_are_until_received_and_others_are_not_kept_waiting() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(4).max_loans(1).max_payloads(9).open().unwrap();
    let mut kept = newest(&topic, 4);
    let mut blocking = topic.subscriber().unwrap();
    for value in 0..50 {
        publisher.try_publish(&[value; 1000]).expect("the subscriber that is waited for has read all");
        assert_eq!(whole(&*blocking.recv().unwrap()), value);
    }
    let first = kept.recv().unwrap();
    for value in 50..100 {
        publisher.try_publish(&[value; 1000]).unwrap();
        assert_eq!(whole(&*blocking.recv().unwrap()), value);
    }
    assert_eq!(whole(&*first), 0, "held all the while");
    // Three were left, and one took the place of the one that was received, if a place could be kept for it.
    assert_eq!(take(&mut kept)[..3], [1, 2, 3]);
    let counters = kept.counters();
    assert_eq!(counters.received + counters.lost, 100);
    assert!(publisher.committed_payloads() <= 9);
}

#[test]
fn a_publisher_with_few_places_never_waits_for_who_keeps_the_oldest() {
    for places in 1..=4 {
        let (_place, name) = place();
        let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
        let publisher = topic.publisher_options().max_loans(1).max_payloads(places).open().unwrap();
        let mut kept: Vec<_> = (0..3).map(|_| newest(&topic, 4)).collect();
        for value in 0..20 {
            publisher.try_publish(&[value; 1000]).unwrap_or_else(|error| panic!("{places} places: {error}"));
        }
        let received: Vec<_> = kept.iter_mut().flat_map(take).collect();
        assert!(received.len() <= places / 2, "{places} places: {received:?}");
        assert_eq!(received.is_empty(), places < 2);
    }
}

#[test]
fn history_is_there_for_who_comes_later_though_the_publisher_rests() {
    let (_place, name) = place();
    for large in [false, true] {
        let topic = Topic::<[u64]>::open_or_create(&format!("{name}-{large}")).unwrap();
        let publisher = topic.publisher_options().depth(8).history(4).open().unwrap();
        let len = if large { 700 } else { 3 };
        for value in 0..20 {
            publisher.publish(&vec![value; len]).unwrap();
        }
        let late = topic.subscriber_options().policy(Policy::DropNewest).depth(3).history(4);
        let mut late = late.open().unwrap();
        let mut next = || late.try_recv().map(|sample| whole(&sample));
        assert_eq!(
            (next().unwrap(), next().unwrap(), next().unwrap()),
            (16, 17, 18),
            "19 is newer than it has room for"
        );
        assert_eq!(next().unwrap_err().kind(), ErrorKind::WouldBlock);
        publisher.publish(&vec![20; len]).unwrap();
        assert_eq!(late.try_recv().map(|sample| whole(&sample)).unwrap(), 20);
        assert_eq!(late.counters().lost, 1);
    }
}

#[test]
fn another_user_may_keep_the_oldest_too() {
    const NOBODY: u32 = 65534;
    if let Some(me) = role() {
        let topic = Topic::<[u64; 1000]>::open(&format!("{}?owner=0", me.env("NAME"))).unwrap();
        let mut kept = newest(&topic, 2);
        me.say("ready");
        me.wait_for("published");
        assert_eq!(take(&mut kept), [0, 1]);
        assert_eq!(kept.counters().lost, 8);
        return;
    }
    if !tieline_testkit::can_run_as(NOBODY) {
        tieline_testkit::skip!("needs root, to run a peer as another user");
    }
    let (place, name) = place();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let access = Access::owner().subscribe(Allowed::Users(vec![NOBODY]));
    let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap().access(access);
    let publisher = topic.publisher().unwrap();
    let mut peer = Peer::of(test_name!()).role("stranger").env("NAME", &name).user(NOBODY).spawn();
    peer.wait_for("ready");
    for value in 0..10 {
        publisher.try_publish(&[value; 1000]).unwrap();
    }
    peer.say("published");
    peer.succeeds();
}

#[test]
fn all_is_received_or_counted_while_processes_run() {
    const MESSAGES: u64 = 60_000;
    if let Some(me) = role() {
        let topic = Topic::<[u64]>::open_or_create(&me.env("NAME")).unwrap();
        let mut kept = topic.subscriber_options().policy(Policy::DropNewest).depth(64).open().unwrap();
        me.say("ready");
        let mut last = 0;
        loop {
            match kept.recv() {
                Ok(sample) => {
                    let value = whole(&sample);
                    assert!(value > last, "{value} after {last}");
                    last = value;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::PeerGone);
                    break;
                }
            }
        }
        let counters = kept.counters();
        assert_eq!(counters.received + counters.lost, MESSAGES, "{counters:?}");
        return;
    }
    let (_place, name) = place();
    let topic = Topic::<[u64]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(64).open().unwrap();
    let mut peers: Vec<_> = (0..2).map(|_| Peer::of(test_name!()).role("kept").env("NAME", &name).spawn()).collect();
    peers.iter_mut().for_each(|peer| peer.wait_for("ready"));
    for value in 1..=MESSAGES {
        let len = [3, 14, 200][usize::try_from(value % 3).unwrap()];
        publisher.try_publish(&vec![value; len]).unwrap();
    }
    drop(publisher);
    peers.into_iter().for_each(Peer::succeeds);
}

#[test]
fn a_publisher_killed_while_it_copies_leaves_whole_messages_and_is_told_of() {
    if let Some(me) = role() {
        let publisher = Topic::<[u64]>::open_or_create(&me.env("NAME")).unwrap().publisher().unwrap();
        for value in 1.. {
            publisher.publish(&[value; 5]).unwrap();
            publisher.publish(&[value; 500]).unwrap();
        }
    }
    for step in ["side:copied", "log:guard", "log:words", "log:published"] {
        let (_place, name) = place();
        let topic = Topic::<[u64]>::open_or_create(&name).unwrap();
        let mut kept = topic.subscriber_options().policy(Policy::DropNewest).open().unwrap();
        let kill = format!("kill:{step}:100");
        let peer = Peer::of(test_name!()).role("publisher").env("NAME", &name).env("TIELINE_STEP", kill).spawn();
        let (mut count, mut last) = (0, 0);
        let gone = loop {
            match kept.recv() {
                Ok(sample) => {
                    let value = whole(&sample);
                    assert!(value >= last);
                    (last, count) = (value, count + 1);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(gone.kind(), ErrorKind::PeerGone, "{step}");
        assert!(count > 30, "{step}: {count}");
        drop(peer);
        topic.publisher().unwrap().publish(&[7; 3]).unwrap();
        assert_eq!(whole(&kept.recv().unwrap()), 7);
    }
}

/// Receives, holding a little, until killed or told the end.
fn hold_and_receive(me: &tieline_testkit::Role) {
    let topic = Topic::<[u64; 1000]>::open_or_create(&me.env("NAME")).unwrap();
    let mut kept = newest(&topic, 3);
    me.say("ready");
    let (mut held, mut last) = (Vec::new(), 0);
    while last < END {
        let sample = kept.recv().unwrap();
        assert!(whole(&*sample) > last);
        last = whole(&*sample);
        held.push(sample);
        if held.len() > 1 {
            held.remove(0);
        }
        held.iter().for_each(|sample| assert_eq!(whole(&**sample), last, "changed while it was held"));
    }
    me.say("done");
}

/// Messages from here on are published when the subscriber may end.
const END: u64 = 1 << 40;

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn a_subscriber_killed_at_any_step_keeps_nothing() {
    if let Some(me) = role() {
        return hold_and_receive(&me);
    }
    for step in ["log:held", "log:taken"] {
        let (_place, name) = place();
        let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
        let publisher = topic.publisher_options().max_payloads(6).open().unwrap();
        let kill = format!("kill:{step}:20");
        let mut peer = Peer::of(test_name!()).role("kept").env("NAME", &name).env("TIELINE_STEP", kill).spawn();
        peer.wait_for("ready");
        let mut value = 0;
        until("it is killed and forgotten", || {
            for _ in 0..50 {
                value += 1;
                publisher.try_publish(&[value; 1000]).expect("nobody is waited for");
            }
            (publisher.subscribers() == 0).then_some(())
        });
        assert!(!peer.exit_status().success());
        // Every place is there again.
        let mut survivor = topic.subscriber().unwrap();
        for value in 0..20 {
            publisher.try_publish(&[value; 1000]).unwrap();
            assert_eq!(whole(&*survivor.recv().unwrap()), value);
        }
        assert!(publisher.committed_payloads() <= 6);
    }
}

#[test]
fn a_stopped_subscriber_is_not_waited_for_and_receives_whole_messages_when_it_goes_on() {
    if let Some(me) = role() {
        return hold_and_receive(&me);
    }
    for step in ["log:held", "log:taken"] {
        let (_place, name) = place();
        let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
        let publisher = topic.publisher_options().max_payloads(6).open().unwrap();
        let stop = format!("stop:{step}:20");
        let mut peer = Peer::of(test_name!()).role("kept").env("NAME", &name).env("TIELINE_STEP", stop).spawn();
        peer.wait_for("ready");
        let (is_done, from) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (is_done, from) = (&is_done, &from);
            scope.spawn(move || {
                for value in 1.. {
                    let value = from.load(Ordering::Relaxed) + value;
                    publisher.try_publish(&[value; 1000]).expect("nobody is waited for");
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            // Also if the peer fails: or else the thread would go on for ever.
            let _end = OnDrop(|| is_done.store(true, Ordering::Relaxed));
            peer.until_stopped();
            peer.signal(Signal::CONT);
            from.store(END, Ordering::Relaxed);
            peer.wait_for("done");
        });
        peer.succeeds();
    }
}

#[test]
fn who_keeps_the_oldest_can_be_waited_for_among_others() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 4]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher().unwrap();
    let mut kept = newest(&topic, 2);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let first = whole(&*kept.recv_timeout(PATIENCE).unwrap());
            (first, whole(&*kept.recv_timeout(PATIENCE).unwrap()))
        });
        tieline_testkit::pause(Duration::from_millis(30));
        publisher.publish(&[1; 4]).unwrap();
        tieline_testkit::pause(Duration::from_millis(30));
        publisher.publish(&[2; 4]).unwrap();
        assert_eq!(sleeper.join().unwrap(), (1, 2));
    });
    let mut set = tieline_shm::WaitSet::new().unwrap();
    set.attach(&kept, 7).unwrap();
    let mut ready = Vec::new();
    assert!(set.try_wait(&mut ready).unwrap_err().is_would_block());
    publisher.publish(&[3; 4]).unwrap();
    set.wait_timeout(&mut ready, PATIENCE).unwrap();
    assert_eq!(ready[0].token, 7);
    assert_eq!(whole(&*kept.try_recv().unwrap()), 3);
}
