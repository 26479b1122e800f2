//! How a death is told.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tieline_testkit::{Peer, eventually, soon, test_name};

use super::actor::{
    Actor, Diary, TIMEOUT, answers, ask, directory, is_connected, is_departed, is_disconnected, locks, name_in, peer,
    play,
};
use crate::rendezvous::{Condition, Role, open};

/// What is promised. What is measured is the way of the news, not the machine's other work.
fn told_soon(what: &str, once: impl FnMut() -> Duration) {
    println!("{what}: {:?}", soon(what, Duration::from_millis(10), once));
}

#[test]
fn a_killed_counterpart_is_told_at_once() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "told");
    let host = Actor::create(&name, Role::Producer);
    let mut count = 0;
    told_soon("the death of a counterpart", || {
        let mut victim = peer(test_name!(), &name, Role::Consumer, "open").spawn();
        victim.wait_for("joined");
        count += 1;
        host.diary.wait("connected", count, is_connected);
        let killed = Instant::now();
        victim.signal(Signal::KILL);
        host.diary.wait("disconnected", count, is_disconnected).duration_since(killed)
    });
}

#[test]
fn a_killed_sharer_is_seen_in_the_table_and_told_to_the_host() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "departed");
    let host = Actor::create(&name, Role::Sharer);
    let members = host.membership.members().unwrap().clone();
    let mut count = 0;
    told_soon("the death of a sharer", || {
        let mut victim = peer(test_name!(), &name, Role::Sharer, "open").spawn();
        victim.wait_for("joined");
        assert_eq!(members.condition(1), Condition::Alive);
        let killed = Instant::now();
        victim.signal(Signal::KILL);
        count += 1;
        let told = host.diary.wait("departed", count, is_departed).duration_since(killed);
        eventually("its number is free", || members.condition(1) == Condition::Free);
        told
    });
}

#[test]
fn sharers_killed_beside_a_stopped_host_are_recovered_by_the_others() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "beside");
    let mut host = peer(test_name!(), &name, Role::Sharer, "create").spawn();
    host.wait_for("created");
    let mut others: Vec<Peer> = (0..3)
        .map(|_| {
            let mut other = peer(test_name!(), &name, Role::Sharer, "open").spawn();
            other.wait_for("joined");
            other
        })
        .collect();
    let witness = Actor::open(&name, Role::Sharer);
    eventually("each has witnesses", || witness.membership.links().len() >= 2 && others.iter_mut().all(has_witnesses));
    let members = witness.membership.members().unwrap();
    host.stop();
    // Who dies next may have lost one of its two, and has the other.
    for count in 1..=2 {
        let mut victim = others.remove(0);
        victim.kill();
        // While the host is stopped.
        eventually("the number of the dead is free", || {
            (1..4).filter(|number| members.condition(*number) == Condition::Free).count() == count
        });
    }
    assert!(!members.is_dead(0), "who is stopped is not dead");
    // The second to die may have recovered the first.
    let by_other: usize = ask(&mut others[0], "departed").parse().unwrap();
    assert!((1..=2).contains(&(witness.diary.count(is_departed) + by_other)), "no dead one twice");
    host.signal(Signal::CONT);
    answers(&mut host, "departed", "0");
}

/// Whether it has as many as the host looks for.
fn has_witnesses(peer: &mut Peer) -> bool {
    ask(peer, "links").parse::<usize>().expect("a number") >= 2
}

#[test]
fn who_loses_a_witness_is_given_another() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "woven");
    let _host = Actor::create(&name, Role::Sharer);
    let mut others: Vec<Peer> = Vec::new();
    for _ in 0..5 {
        let mut other = peer(test_name!(), &name, Role::Sharer, "open").spawn();
        other.wait_for("joined");
        others.push(other);
    }
    while others.len() > 3 {
        others.remove(1).kill();
        for other in &mut others {
            eventually("it has two again", || has_witnesses(other));
        }
    }
}

#[test]
fn who_dies_while_undoing_what_a_dead_one_held_is_followed_by_another() {
    if play() {
        return;
    }
    let directory = directory();
    for point in ["members:recovering", "members:recovered"] {
        let name = name_in(directory.path(), &point.replace(':', "-"));
        // Locks: here it is the host that undoes, unless it dies.
        let sharer = |mode| peer(test_name!(), &name, Role::Sharer, mode).env("ACTOR_LOCKS", "1");
        let mut host = sharer("create").env("TIELINE_STEP", format!("kill:{point}")).spawn();
        host.wait_for("created");
        let witness = Actor::start(open(&name, locks(Role::Sharer), TIMEOUT).unwrap(), Diary::default());
        let mut victim = sharer("open").spawn();
        victim.wait_for("joined");
        victim.kill();
        let status = host.exit_status();
        assert!(!status.success(), "killed while it recovered the victim");
        witness.diary.wait("both departed", 2, is_departed);
        let members = witness.membership.members().unwrap();
        eventually("both numbers are free", || {
            members.condition(0) == Condition::Free && members.condition(2) == Condition::Free
        });
    }
}

/// A process that dies by itself, by a signal's default action, or by `exec` is as dead as one that is killed.
#[test]
fn exec_is_a_death() {
    if let Some(me) = tieline_testkit::role().filter(|me| me.name() == "exec") {
        let name = me.env("NAME").parse().unwrap();
        let _sharer = Actor::open(&name, Role::Sharer);
        me.say("joined");
        me.wait_for("exec");
        let error = std::os::unix::process::CommandExt::exec(std::process::Command::new("sleep").arg("20"));
        panic!("not executed: {error}");
    }
    let directory = directory();
    let name = name_in(directory.path(), "exec");
    let host = Actor::create(&name, Role::Sharer);
    let mut victim = Peer::of(test_name!()).role("exec").env("NAME", name.to_string()).spawn();
    victim.wait_for("joined");
    victim.say("exec");
    host.diary.wait("departed", 1, is_departed);
    let members = host.membership.members().unwrap();
    eventually("its number is free", || members.condition(1) == Condition::Free);
}
