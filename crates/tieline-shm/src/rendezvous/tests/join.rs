//! Who finds whom, and what of a name is left.

use tieline_testkit::{eventually, test_name};

use super::actor::{
    Actor, Diary, TIMEOUT, Told, answers, ask, directory, files, is_connected, is_disconnected, is_received, name_in,
    offer, peer, play,
};
use crate::error::ErrorKind;
use crate::rendezvous::{Condition, Role, create, look, open, open_or_create};

#[test]
fn a_name_is_created_once_and_opened_only_while_somebody_uses_it() {
    let directory = directory();
    let name = name_in(directory.path(), "once");
    assert_eq!(open(&name, offer(Role::Consumer), TIMEOUT).unwrap_err().kind(), ErrorKind::NotFound);
    let first = Actor::create(&name, Role::Producer);
    assert!(first.membership.is_host());
    assert_eq!(create(&name, offer(Role::Producer), TIMEOUT).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let second = open_or_create(&name, offer(Role::Consumer), TIMEOUT).unwrap();
    assert!(!second.is_created());
    assert_eq!(second.config(), b"configuration", "the creator's");
    drop(second);
    drop(first);
    assert_eq!(files(directory.path()), Vec::<std::path::PathBuf>::new(), "the last one leaves nothing");
    assert_eq!(open(&name, offer(Role::Consumer), TIMEOUT).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(open_or_create(&name, offer(Role::Consumer), TIMEOUT).unwrap().is_created());
}

#[test]
fn who_only_asks_is_told_and_joins_nothing() {
    let directory = directory();
    let name = name_in(directory.path(), "asked");
    assert_eq!(look(&name, TIMEOUT).unwrap_err().kind(), ErrorKind::NotFound);
    let host = Actor::create(&name, Role::Producer);
    let seen = look(&name, TIMEOUT).unwrap();
    let described = offer(Role::Consumer);
    assert_eq!(
        (seen.kind, seen.layout_hash, seen.layout_text),
        (described.kind, described.layout_hash, described.layout_text)
    );
    assert_eq!(seen.members, 1);
    let guest = Actor::open(&name, Role::Consumer);
    for _ in 0..100 {
        assert_eq!(look(&name, TIMEOUT).unwrap().members, 2, "who asks is not counted");
    }
    drop(guest);
    drop(host);
    assert_eq!(look(&name, TIMEOUT).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(files(directory.path()), Vec::<std::path::PathBuf>::new(), "asking leaves nothing");
}

#[test]
fn what_a_host_sends_at_once_is_there_when_the_joiner_has_started() {
    let directory = directory();
    let name = name_in(directory.path(), "greeted");
    let joined = create(&name, offer(Role::Producer), TIMEOUT).unwrap();
    let host = Actor::start(joined, Diary::greeting("welcome"));
    let guest = Actor::open(&name, Role::Consumer);
    let told = guest.diary.all();
    let id = host.membership.id();
    assert_eq!(told, [Told::Connected(id), Told::Received(id, b"welcome".to_vec(), 0)]);
    guest.diary.links()[0].send(b"thanks", &[]).unwrap();
    host.diary.wait("thanks", 1, |told| matches!(told, Told::Received(_, text, 0) if text == b"thanks"));
    drop(guest);
    host.diary.wait("the guest left", 1, is_disconnected);
}

#[test]
fn producers_meet_consumers_and_nobody_else_across_processes() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "many");
    let host = Actor::create(&name, Role::Producer);
    let mut consumers: Vec<_> = (0..3).map(|_| peer(test_name!(), &name, Role::Consumer, "open").spawn()).collect();
    consumers.iter_mut().for_each(|consumer| consumer.wait_for("joined"));
    let mut producer = peer(test_name!(), &name, Role::Producer, "open").spawn();
    producer.wait_for("joined");
    assert_eq!(ask(&mut producer, "links"), "3");
    host.diary.wait("three consumers", 3, is_connected);
    assert_eq!(host.membership.links().len(), 3);
    for consumer in &mut consumers {
        answers(consumer, "links", "2");
        answers(consumer, "received", "1");
    }
    host.diary.wait("three greetings", 3, is_received);
    assert_eq!(ask(&mut producer, "send"), "3");
    for consumer in &mut consumers {
        answers(consumer, "received", "2");
    }
    producer.say("leave");
    producer.succeeds();
    for consumer in &mut consumers {
        answers(consumer, "links", "1");
    }
}

#[test]
fn sharers_get_the_core_segment_and_numbers_and_readers_get_it_to_read() {
    let directory = directory();
    let name = name_in(directory.path(), "shared");
    let first = create(&name, offer(Role::Sharer), TIMEOUT).unwrap();
    assert_eq!(first.member(), Some(0));
    let first = Actor::start(first, Diary::default());
    let second = open(&name, offer(Role::Sharer), TIMEOUT).unwrap();
    assert_eq!(second.member(), Some(1));
    let reader = open(&name, offer(Role::Reader), TIMEOUT).unwrap();
    assert_eq!(reader.member(), None);
    assert!(reader.core().is_some());
    assert_eq!(reader.members().unwrap().condition(1), Condition::Alive);
    drop(second);
    assert_eq!(reader.members().unwrap().condition(1), Condition::Free);
    drop((reader, first));
    assert!(files(directory.path()).is_empty());
}

#[test]
fn many_processes_race_for_one_name_and_all_meet() {
    if play() {
        return;
    }
    let directory = directory();
    for round in 0..4 {
        let name = name_in(directory.path(), &format!("race{round}"));
        let mut peers: Vec<_> =
            (0..6).map(|_| peer(test_name!(), &name, Role::Sharer, "open_or_create").spawn()).collect();
        let created = peers.iter_mut().map(tieline_testkit::Peer::hear).filter(|word| word == "created").count();
        assert_eq!(created, 1, "one creates and all others join");
        let mut numbers: Vec<_> = peers.iter_mut().map(|peer| ask(peer, "member")).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 6, "each has a number of its own: {numbers:?}");
        peers.iter_mut().for_each(|peer| peer.say("leave"));
        peers.into_iter().for_each(tieline_testkit::Peer::succeeds);
        eventually("no file is left", || files(directory.path()).is_empty());
    }
}

#[test]
fn nothing_is_left_of_a_membership() {
    if let Some(me) = tieline_testkit::role() {
        // Alone in its process: other tests have descriptors and threads, too.
        let name = me.env("NAME").parse().unwrap();
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("memfd:tieline").count();
        let round = || {
            let one = Actor::create(&name, Role::Producer);
            let other = Actor::open(&name, Role::Consumer);
            one.diary.wait("connected", 1, is_connected);
            drop((one, other));
            let one = Actor::create(&name, Role::Sharer);
            drop(Actor::open(&name, Role::Sharer));
            drop(one);
        };
        round();
        let before = (count("fd"), count("task"), maps());
        (0..10).for_each(|_| round());
        assert_eq!((count("fd"), count("task"), maps()), before, "descriptors, threads, mappings");
        assert_eq!(before.2, 0);
        me.say("done");
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "leak").to_string();
    let mut peer = tieline_testkit::Peer::of(test_name!()).role("alone").env("NAME", name).spawn();
    peer.wait_for("done");
    peer.succeeds();
    assert!(files(directory.path()).is_empty());
}

/// The last member leaves the files to who is about to join, and who finds nobody takes them away: else another user could
/// not have the name.
#[test]
fn who_was_about_to_join_when_the_last_one_left_leaves_nothing_either() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "late");
    let last = Actor::create(&name, Role::Producer);
    let mut late = peer(test_name!(), &name, Role::Consumer, "open").env("TIELINE_STEP", "stop:meet:joining").spawn();
    late.until_stopped();
    drop(last);
    assert_eq!(files(directory.path()).len(), 2, "it is about to join");
    late.signal(rustix::process::Signal::CONT);
    late.wait_for("failed NotFound");
    eventually("no file is left", || files(directory.path()).is_empty());
}

/// Who looks for a name again and again takes files away, and makes nobody believe that the name is in use.
#[test]
fn a_name_can_be_made_and_left_while_others_look_for_it() {
    let directory = directory();
    let name = name_in(directory.path(), "wanted");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Never let in, so that the name is nobody's when its maker leaves.
                let other = || crate::rendezvous::Offer { layout_hash: 8, ..offer(Role::Consumer) };
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let error = open(&name, other(), TIMEOUT).unwrap_err();
                    assert!([ErrorKind::NotFound, ErrorKind::Mismatch].contains(&error.kind()), "{error}");
                }
            });
        }
        let made = std::panic::catch_unwind(|| {
            for _ in 0..300 {
                drop(create(&name, offer(Role::Producer), TIMEOUT).expect("nobody has it"));
            }
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        made.unwrap();
    });
    assert!(files(directory.path()).is_empty());
}
