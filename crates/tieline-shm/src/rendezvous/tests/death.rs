//! How a death is told.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tieline_testkit::{eventually, test_name};

use super::actor::{Actor, ask, directory, is_connected, is_departed, is_disconnected, name_in, peer, play, stop};
use crate::rendezvous::{Condition, Role};

/// What the issue promises.
const TOLD_WITHIN: Duration = Duration::from_millis(10);

/// The shortest of several tries: what is measured is the way of the news, not the machine's other work.
fn fastest(what: &str, mut once: impl FnMut() -> Duration) {
    let times: Vec<_> = (0..5).map(|_| once()).collect();
    let best = times.iter().min().unwrap();
    println!("{what}: {times:?}");
    assert!(*best < TOLD_WITHIN, "{what} took {times:?}");
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
    fastest("the death of a counterpart", || {
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
    fastest("the death of a sharer", || {
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
fn a_sharer_killed_beside_a_stopped_host_is_seen_by_a_load_and_can_be_recovered() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "beside");
    let mut host = peer(test_name!(), &name, Role::Sharer, "create").spawn();
    host.wait_for("created");
    let mut victim = peer(test_name!(), &name, Role::Sharer, "open").spawn();
    victim.wait_for("joined");
    assert_eq!(ask(&mut victim, "member"), "Some(1)");
    let witness = Actor::open(&name, Role::Sharer);
    let members = witness.membership.members().unwrap();
    stop(&host);
    victim.kill();
    assert_eq!(members.condition(1), Condition::Dead, "the kernel says so, when it is reaped at the latest");
    assert!(!members.is_dead(0), "who is stopped is not dead");
    assert_eq!(witness.diary.count(is_departed), 0);
    witness.membership.recover(&*witness.diary).unwrap();
    assert_eq!(witness.diary.count(is_departed), 1);
    assert_eq!(members.condition(1), Condition::Free);
    host.signal(Signal::CONT);
    assert_eq!(ask(&mut host, "departed"), "0", "once");
}

#[test]
fn who_dies_while_undoing_what_a_dead_one_held_is_followed_by_another() {
    if play() {
        return;
    }
    let directory = directory();
    for point in ["members:recovering", "members:recovered"] {
        let name = name_in(directory.path(), &point.replace(':', "-"));
        let mut host =
            peer(test_name!(), &name, Role::Sharer, "create").env("TIELINE_STEP", format!("kill:{point}")).spawn();
        host.wait_for("created");
        let witness = Actor::open(&name, Role::Sharer);
        let mut victim = peer(test_name!(), &name, Role::Sharer, "open").spawn();
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
    let mut victim = tieline_testkit::Peer::of(test_name!()).role("exec").env("NAME", name.to_string()).spawn();
    victim.wait_for("joined");
    victim.say("exec");
    host.diary.wait("departed", 1, is_departed);
    let members = host.membership.members().unwrap();
    eventually("its number is free", || members.condition(1) == Condition::Free);
}
