//! What a forked child has of its parent's memberships: nothing.

use tieline_testkit::{Forked, PATIENCE, Peer, pause, test_name};

use super::actor::{Actor, TIMEOUT, directory, is_connected, is_departed, is_disconnected, name_in, offer};
use crate::error::ErrorKind;
use crate::rendezvous::{Role, create};

/// Runs `child` in a forked child of this process, which has threads.
#[test]
fn a_childs_handles_say_so_and_disturb_nobody() {
    if let Some(me) = tieline_testkit::role() {
        let name = me.env("NAME").parse().unwrap();
        let fresh = me.env("FRESH").parse().unwrap();
        let host = Actor::create(&name, Role::Producer);
        let guest = Actor::open(&name, Role::Consumer);
        let shared = Actor::create(&me.env("SHARED").parse().unwrap(), Role::Sharer);
        host.diary.wait("connected", 1, is_connected);
        let link = host.diary.links().remove(0);
        let mut all = Some((host, guest, shared));
        let child = Forked::run(|| {
            let (host, ..) = all.as_ref().unwrap();
            assert_eq!(host.membership.check().unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(link.send(b"x", &[]).unwrap_err().kind(), ErrorKind::Forked);
            link.close();
            // A child may take part on its own account.
            let own = create(&fresh, offer(Role::Sharer), TIMEOUT).unwrap();
            assert_eq!(own.member(), Some(0));
            drop(Actor::start(own, super::actor::Diary::default()));
            drop(all.take());
        });
        let (host, guest, shared) = all.unwrap();
        child.succeeds();
        host.membership.check().unwrap();
        link.send(b"x", &[]).unwrap();
        guest.diary.wait("the line is as it was", 1, super::actor::is_received);
        assert_eq!(guest.diary.count(is_disconnected), 0);
        assert_eq!(shared.membership.members().unwrap().condition(0), crate::rendezvous::Condition::Alive);
        drop(Actor::open(&name, Role::Consumer));
        me.say("done");
        return;
    }
    let directory = directory();
    let name = |text| name_in(directory.path(), text).to_string();
    let mut peer = Peer::of(test_name!())
        .role("parent")
        .env("NAME", name("parent"))
        .env("SHARED", name("shared"))
        .env("FRESH", name("fresh"))
        .spawn();
    peer.wait_for("done");
    peer.succeeds();
}

#[test]
fn the_parents_death_is_seen_at_once_though_a_child_lives() {
    if let Some(me) = tieline_testkit::role() {
        let pairs = Actor::open(&me.env("PAIRS").parse().unwrap(), Role::Consumer);
        let shared = Actor::open(&me.env("SHARED").parse().unwrap(), Role::Sharer);
        pairs.diary.wait("connected", 1, is_connected);
        let child = Forked::run(|| pause(PATIENCE * 10));
        me.say(&child.id().to_string());
        me.wait_for("never");
        drop((pairs, shared));
        return;
    }
    let directory = directory();
    let (pairs, shared) = (name_in(directory.path(), "pairs"), name_in(directory.path(), "shared"));
    let producer = Actor::create(&pairs, Role::Producer);
    let sharer = Actor::create(&shared, Role::Sharer);
    let mut parent =
        Peer::of(test_name!()).role("parent").env("PAIRS", pairs.to_string()).env("SHARED", shared.to_string()).spawn();
    let child: i32 = parent.hear().parse().expect("the child's id");
    parent.kill();
    producer.diary.wait("disconnected", 1, is_disconnected);
    sharer.diary.wait("departed", 1, is_departed);
    let child = rustix::process::Pid::from_raw(child).unwrap();
    // Before its end. The child is nobody's now; it was started by a process of this test, and still sleeps.
    rustix::process::test_kill_process(child).expect("the child lives");
    rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("the child lives");
}
