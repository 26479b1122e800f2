//! What happens to a name when its host goes, dies or is stopped.

use std::time::Duration;

use rustix::process::Signal;
use tieline_testkit::{Peer, eventually, pause, test_name};

use super::actor::{
    Actor, TIMEOUT, answers, ask, directory, files, is_connected, is_disconnected, is_received, name_in, offer, peer,
    play,
};
use crate::error::ErrorKind;
use crate::rendezvous::{Role, create, open, open_or_create};

#[test]
fn a_killed_host_has_a_successor_and_the_others_talk_on() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "heir");
    let mut host = peer(test_name!(), &name, Role::Producer, "create").spawn();
    host.wait_for("created");
    let mut producer = peer(test_name!(), &name, Role::Producer, "open").spawn();
    producer.wait_for("joined");
    let consumer = Actor::open(&name, Role::Consumer);
    consumer.diary.wait("both greet", 2, is_received);
    assert_eq!(consumer.diary.count(is_connected), 2);

    host.kill();
    consumer.diary.wait("the host is gone", 1, is_disconnected);
    assert_eq!(ask(&mut producer, "send"), "1", "the pair needs no host");
    consumer.diary.wait("it talks on", 3, is_received);
    eventually("one of the two is the host", || {
        consumer.membership.is_host() != (ask(&mut producer, "host") == "true")
    });

    let late = Actor::open(&name, Role::Consumer);
    late.diary.wait("the producer", 1, is_connected);
    answers(&mut producer, "links", "2");
    let mut late_producer = peer(test_name!(), &name, Role::Producer, "open").spawn();
    late_producer.wait_for("joined");
    answers(&mut late_producer, "links", "2");
    consumer.diary.wait("the late producer", 3, is_connected);
    assert_eq!(consumer.diary.count(is_connected), 3, "who was linked is not introduced again");
    assert_eq!(consumer.diary.count(is_disconnected), 1);
}

#[test]
fn hosts_are_killed_one_after_the_other_and_the_core_segment_stays() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "relay");
    let start = |mode| peer(test_name!(), &name, Role::Sharer, mode).spawn();
    let mut peers: Vec<Peer> = vec![start("create")];
    peers[0].wait_for("created");
    for _ in 0..3 {
        let mut next = start("open");
        next.wait_for("joined");
        peers.push(next);
    }
    for _ in 0..3 {
        let place =
            tieline_testkit::until("somebody hosts", || peers.iter_mut().position(|peer| ask(peer, "host") == "true"));
        peers.remove(place).kill();
        // Its number is free again, and nobody else's.
        let mut next = start("open");
        next.wait_for("joined");
        peers.push(next);
        let mut numbers: Vec<_> = peers.iter_mut().map(|peer| ask(peer, "member")).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 4);
    }
}

#[test]
fn after_all_are_dead_the_name_is_free() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "dead");
    for mode in ["create", "open_or_create"] {
        let mut host = peer(test_name!(), &name, Role::Sharer, mode).spawn();
        host.wait_for("created");
        let mut other = peer(test_name!(), &name, Role::Sharer, "open").spawn();
        other.wait_for("joined");
        other.kill();
        host.kill();
        assert_eq!(files(directory.path()).len(), 2, "kill -9 leaves the two files, and no memory");
    }
    assert_eq!(open(&name, offer(Role::Sharer), TIMEOUT).unwrap_err().kind(), ErrorKind::NotFound);
    let next = Actor::create(&name, Role::Sharer);
    assert_eq!(next.membership.member(), Some(0), "a fresh table");
    drop(next);
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_name_whose_host_was_just_killed_is_still_taken() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "taken");
    for _ in 0..8 {
        let mut host = peer(test_name!(), &name, Role::Producer, "create").spawn();
        host.wait_for("created");
        let member = Actor::open(&name, Role::Producer);
        host.kill();
        // At once: the election may not have begun.
        let refused = create(&name, offer(Role::Producer), TIMEOUT).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        let joined = open(&name, offer(Role::Consumer), TIMEOUT).expect("the name goes on");
        assert_eq!(joined.counterparts(), 1);
        drop((joined, member));
    }
}

#[test]
fn a_host_that_leaves_hands_the_name_over() {
    let directory = directory();
    let name = name_in(directory.path(), "handed");
    let first = Actor::create(&name, Role::Producer);
    let second = Actor::open(&name, Role::Consumer);
    drop(first);
    eventually("the second hosts", || second.membership.is_host());
    let third = open_or_create(&name, offer(Role::Producer), TIMEOUT).unwrap();
    assert!(!third.is_created());
    drop((third, second));
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_stopped_host_stops_no_pair_and_is_named_to_joiners() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "stopped");
    let mut host = peer(test_name!(), &name, Role::Consumer, "create").spawn();
    host.wait_for("created");
    let producer = Actor::open(&name, Role::Producer);
    let consumer = Actor::open(&name, Role::Consumer);
    consumer.diary.wait("the producer", 1, is_connected);
    producer.diary.wait("both consumers", 2, is_connected);
    host.stop();
    let link = producer.diary.links().into_iter().find(|link| link.peer().id == consumer.membership.id()).unwrap();
    link.send(b"still", &[]).unwrap();
    consumer.diary.wait("it arrives", 1, is_received);
    let error = open(&name, offer(Role::Consumer), Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains(&format!("process {}", host.id())), "{error}");
    let error = open_or_create(&name, offer(Role::Consumer), Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "a stopped host keeps its name");
    assert_eq!(create(&name, offer(Role::Consumer), TIMEOUT).unwrap_err().kind(), ErrorKind::AlreadyExists);
    host.signal(Signal::CONT);
    let late = Actor::open(&name, Role::Consumer);
    late.diary.wait("the producer", 1, is_connected);
    drop(late);
    answers(&mut host, "links", "1");
}

#[test]
fn a_stopped_member_takes_part_in_the_election_when_it_goes_on() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "late");
    let mut host = peer(test_name!(), &name, Role::Consumer, "create").spawn();
    host.wait_for("created");
    let mut sleeper = peer(test_name!(), &name, Role::Producer, "open").spawn();
    sleeper.wait_for("joined");
    let consumer = Actor::open(&name, Role::Consumer);
    consumer.diary.wait("the producer", 1, is_connected);
    sleeper.stop();
    host.kill();
    eventually("the other hosts", || consumer.membership.is_host());
    let late = Actor::open(&name, Role::Consumer);
    assert_eq!(late.diary.count(is_connected), 0, "the sleeper has not registered yet");
    sleeper.signal(Signal::CONT);
    late.diary.wait("the sleeper is introduced", 1, is_connected);
    answers(&mut sleeper, "links", "2");
    assert_eq!(consumer.diary.count(is_connected), 1, "once");
}

/// Kills a process at each named point of meeting; the others must come to terms, and the name must go on.
#[test]
fn dying_at_any_point_of_meeting_leaves_a_name_that_works() {
    if play() {
        return;
    }
    let directory = directory();
    let (mut died, points) = (
        0,
        [
            ("meet:locked", "create"),
            ("meet:bound", "create"),
            ("meet:named", "create"),
            ("members:claimed", "create"),
            ("alive:taken", "create"),
            ("meet:joined", "open"),
            ("alive:taken", "open"),
            ("members:claimed", "open"),
            ("members:leaving", "open"),
            ("alive:unlisted", "open"),
            ("meet:introducing", "create"),
            ("meet:admitted", "create"),
        ],
    );
    for (point, mode) in points {
        let name = name_in(directory.path(), &point.replace(':', "-"));
        let keeps = (mode == "open").then(|| Actor::create(&name, Role::Sharer));
        let mut victim =
            peer(test_name!(), &name, Role::Sharer, mode).env("TIELINE_STEP", format!("kill:{point}")).spawn();
        let at_join = victim_dies_alone(point);
        let joined = (!at_join).then(|| {
            let _ = victim.hear();
            if mode == "open" {
                victim.say("leave");
                None
            } else {
                // The host dies in answering us; we find the name free, and take it.
                Some(open_or_create(&name, offer(Role::Sharer), TIMEOUT).expect("joined in the end"))
            }
        });
        let status = victim.exit_status();
        died += usize::from(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9));
        if joined.flatten().is_none() {
            let after = open_or_create(&name, offer(Role::Sharer), TIMEOUT).expect("the name works");
            let members = after.members().unwrap().clone();
            eventually("no dead member is left", || (0..8).all(|number| !members.is_dead(number)));
        }
        drop(keeps);
    }
    assert_eq!(died, points.len(), "every point was reached");
}

/// The same for the one who is being elected: while it dies, there is somebody left, or nobody.
#[test]
fn dying_at_any_point_of_an_election_leaves_it_to_the_others() {
    if play() {
        return;
    }
    let directory = directory();
    for point in ["meet:host-lost", "meet:elected", "meet:bound", "meet:named"] {
        for with_witness in [false, true] {
            let name = name_in(directory.path(), &format!("{}-{with_witness}", point.replace(':', "-")));
            let mut host = peer(test_name!(), &name, Role::Producer, "create").spawn();
            host.wait_for("created");
            let kill = format!("kill:{point}");
            let mut victim = peer(test_name!(), &name, Role::Producer, "open").env("TIELINE_STEP", kill).spawn();
            victim.wait_for("joined");
            let witness = with_witness.then(|| Actor::open(&name, Role::Consumer));
            host.kill();
            if let Some(_witness) = witness {
                let late = Actor::open(&name, Role::Producer);
                late.diary.wait("the witness", 1, is_connected);
            } else {
                assert!(!victim.exit_status().success());
                assert!(open_or_create(&name, offer(Role::Producer), TIMEOUT).unwrap().is_created());
            }
        }
    }
}

/// Stopped in the middle of becoming the host, it is waited for, by pairs that talk on; then it is the host.
#[test]
fn one_that_is_stopped_while_it_is_elected_is_the_host_when_it_goes_on() {
    if play() {
        return;
    }
    let directory = directory();
    for point in ["meet:elected", "meet:bound", "meet:named"] {
        let name = name_in(directory.path(), &point.replace(':', "-"));
        let mut host = peer(test_name!(), &name, Role::Consumer, "create").spawn();
        host.wait_for("created");
        let slow = format!("stop:{point}");
        let mut elected = peer(test_name!(), &name, Role::Producer, "open").env("TIELINE_STEP", slow).spawn();
        elected.wait_for("joined");
        host.kill();
        elected.until_stopped();
        let error = open(&name, offer(Role::Consumer), Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{point}: {error}");
        assert_eq!(create(&name, offer(Role::Consumer), TIMEOUT).unwrap_err().kind(), ErrorKind::AlreadyExists);
        elected.signal(Signal::CONT);
        let late = Actor::open(&name, Role::Consumer);
        late.diary.wait("it is introduced", 1, is_connected);
        assert_eq!(ask(&mut elected, "host"), "true");
    }
}

fn victim_dies_alone(point: &str) -> bool {
    !matches!(point, "members:leaving" | "alive:unlisted" | "meet:introducing" | "meet:admitted")
}

#[test]
fn names_survive_random_killing() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "storm");
    let start = || peer(test_name!(), &name, Role::Sharer, "open_or_create").spawn();
    let mut peers: Vec<Peer> = (0..4).map(|_| start()).collect();
    // Without waiting for their word: some die while they join, some as the host.
    for round in 0..30_usize {
        let victim = (round * 7 + 3) % peers.len();
        pause(Duration::from_millis((round % 5) as u64));
        peers[victim].kill();
        peers[victim] = start();
    }
    for peer in &mut peers {
        let word = peer.hear();
        assert!(word == "joined" || word == "created", "{word}");
    }
    let mut numbers: Vec<_> = peers.iter_mut().map(|peer| ask(peer, "member")).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "all are in one object");
    eventually("one hosts", || {
        peers.iter_mut().filter_map(|peer| (ask(peer, "host") == "true").then_some(())).count() == 1
    });
}
