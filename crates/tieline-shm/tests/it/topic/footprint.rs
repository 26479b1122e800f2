//! What a further subscriber costs in descriptors and mappings, counted where the kernel counts them.

use std::fs;

use tieline_shm::topic::{Policy, Subscriber, Topic};
use tieline_testkit::{Peer, Role, role, test_name, until};

use super::place;

/// The goal, on either side.
const MOST: usize = 2;

/// Descriptors, and mappings of shared memory, of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    mappings: usize,
}

impl Held {
    fn by(process: u32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let is_shared = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.ends_with('s'));
        Self { descriptors, mappings: maps.lines().filter(is_shared).count() }
    }

    fn since(self, before: Self) -> Self {
        Self { descriptors: self.descriptors - before.descriptors, mappings: self.mappings - before.mappings }
    }

    fn is_at_most_the_goal(self) -> bool {
        self.descriptors <= MOST && self.mappings <= MOST
    }
}

fn subscribe(name: &str) -> Subscriber<u64> {
    Topic::open(name).unwrap().subscriber_options().policy(Policy::DropOldest).open().unwrap()
}

fn publish_until_told(me: &Role) {
    let _publisher = Topic::<u64>::open_or_create(&me.env("NAME")).unwrap().members(32).publisher().unwrap();
    me.say("publishes");
    me.wait_for("never");
}

/// Subscribes whenever it is told to.
fn subscribe_again_and_again(me: &Role) {
    let mut subscribers = Vec::new();
    loop {
        subscribers.push(subscribe(&me.env("NAME")));
        me.say("subscribed");
        me.wait_for("again");
    }
}

#[test]
fn a_further_subscriber_costs_two_descriptors_and_two_mappings_at_most() {
    const OTHERS: usize = 4;
    match role().as_ref().map(|me| (me.name(), me)) {
        Some(("publisher", me)) => return publish_until_told(me),
        Some((_, me)) => return subscribe_again_and_again(me),
        None => {}
    }
    let (_place, name) = place();
    let peer = |role: &str| Peer::of(test_name!()).role(role).env("NAME", &name).spawn();
    let mut publisher = peer("publisher");
    publisher.wait_for("publishes");
    let subscriber = || {
        let mut peer = peer("subscriber");
        peer.wait_for("subscribed");
        peer
    };
    // The first of a user has the roster made.
    let mut first = subscriber();
    let before = Held::by(publisher.id());
    let others: Vec<Peer> = (0..OTHERS).map(|_| subscriber()).collect();
    let cost = Held::by(publisher.id()).since(before);
    let alone: Vec<Held> = others.iter().map(|other| Held::by(other.id())).collect();
    println!("{OTHERS} further processes with a subscriber cost the publisher {cost:?}; each holds, in all, {alone:?}");
    assert!(cost.descriptors <= OTHERS * MOST && cost.mappings == 0, "{cost:?}");
    assert!(alone.iter().all(|held| held.mappings <= MOST), "{alone:?}: the log and the roster");
    drop(others);
    let held = || Held::by(publisher.id());
    until("they are forgotten", || (held() == before).then_some(()));

    let first_before = Held::by(first.id());
    first.say("again");
    first.wait_for("subscribed");
    let (theirs, its) = (held().since(before), Held::by(first.id()).since(first_before));
    println!("a further subscriber costs its process {its:?}, and the publisher's {theirs:?}");
    assert!(its.is_at_most_the_goal() && theirs.is_at_most_the_goal(), "{its:?}, {theirs:?}");
    first.kill();
    publisher.kill();
}

/// Members of one process that have the lock file in common are as many candidates as those of several.
#[test]
fn subscribers_of_one_process_find_a_new_host_among_them_when_theirs_dies() {
    if let Some(me) = role() {
        let _publisher = Topic::<u64>::open_or_create(&me.env("NAME")).unwrap().publisher().unwrap();
        me.say("hosts");
        me.wait_for("never");
    }
    let (place, name) = place();
    for _ in 0..5 {
        let mut host = Peer::of(test_name!()).role("host").env("NAME", &name).spawn();
        host.wait_for("hosts");
        let mut subscribers: Vec<_> = (0..5).map(|_| subscribe(&name)).collect();
        host.kill();
        let publisher = until("one of them is the host", || Topic::<u64>::open(&name).ok()?.publisher().ok());
        until("all have found it", || (publisher.subscribers() == 5).then_some(()));
        publisher.publish(&7).unwrap();
        for subscriber in &mut subscribers {
            until("it arrives", || subscriber.try_recv().ok().filter(|sample| **sample == 7).map(drop));
        }
        // Also when the host and others leave one after the other, the name is there for who stays.
        while subscribers.len() > 1 {
            subscribers.remove(0);
            let other = Topic::<u64>::open(&name).unwrap().publisher().unwrap();
            until("it is connected", || (other.subscribers() == subscribers.len()).then_some(()));
        }
        drop((publisher, subscribers));
        let left = || fs::read_dir(place.path()).unwrap().count();
        assert_eq!(left(), 0, "the last has taken the files away");
    }
}
