//! Processes that come, go, hide and lie about their names.

use std::process::Command;

use tieline_observe::model::{NamespaceKind, ProcessState, UnseenWhat, UnseenWhy};
use tieline_testkit::{Isolation, Namespace, Peer, can_run_as, role, skip, test_name};

use super::{look, namespace, namespace_of};

/// Nobody, by custom.
const NOBODY: u32 = 65_534;

#[test]
fn a_process_may_be_called_like_the_line_that_tells_of_it() {
    const NAME: &str = "a) R 1\n2 (b";
    if let Some(me) = role() {
        std::fs::write("/proc/self/comm", NAME).unwrap();
        me.say("renamed");
        me.wait_for("end");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("liar").spawn();
    peer.wait_for("renamed");
    let snapshot = look();
    let process = snapshot.process_with_pid(peer.id()).expect("it lives");
    assert_eq!(process.name.as_bytes(), NAME.as_bytes());
    assert_eq!(process.parent, std::process::id());
    assert_eq!(process.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(process.command.get(1).map(ToString::to_string), Some(test_name!()));
    assert!(!process.is_kernel_thread && process.start_ticks > 0 && process.state != ProcessState::Zombie);
    assert_eq!(process.namespaces.ipc, Some(namespace_of(peer.id(), "ipc")));
    assert_eq!(process.namespaces.user, Some(namespace_of(peer.id(), "user")));
}

#[test]
fn a_long_command_line_is_cut() {
    let mut child = Command::new("sleep").arg("60").arg("1".repeat(100_000)).env_clear().spawn().unwrap();
    // The program is what was asked for only after its start.
    tieline_testkit::eventually("sleep runs", || {
        let snapshot = look();
        let process = snapshot.process_with_pid(child.id());
        process.is_some_and(|process| {
            let length: usize = process.command.iter().map(|word| word.as_bytes().len() + 1).sum();
            process.command.first().is_some_and(|word| word.as_bytes() == b"sleep") && length > 4000 && length <= 4097
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_zombie_is_a_process_that_holds_nothing() {
    let mut child = Command::new("true").spawn().unwrap();
    tieline_testkit::eventually("it ends", || {
        let snapshot = look();
        let process = snapshot.process_with_pid(child.id()).expect("nobody has waited for it");
        process.state == ProcessState::Zombie && process.command.is_empty() && process.descriptors.is_none()
    });
    child.wait().unwrap();
    assert!(look().process_with_pid(child.id()).is_none());
}

#[test]
fn processes_that_come_and_go_break_no_scan() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = Command::new("true").status();
            }
        });
        for _ in 0..30 {
            let snapshot = look();
            assert!(snapshot.process_with_pid(std::process::id()).is_some());
            assert!(snapshot.processes().is_sorted_by_key(|process| process.pid));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn namespaces_are_listed_with_those_who_live_in_them() {
    let snapshot = look();
    for (kind, name) in [
        (NamespaceKind::Ipc, "ipc"),
        (NamespaceKind::Net, "net"),
        (NamespaceKind::Mnt, "mnt"),
        (NamespaceKind::Pid, "pid"),
        (NamespaceKind::User, "user"),
    ] {
        let own = namespace(&snapshot, kind, namespace_of(std::process::id(), name));
        assert!(own.is_own && own.is_listed && own.processes >= 1 && own.named_after.is_some(), "{own:?}");
    }
}

#[test]
fn another_users_processes_are_counted_as_unseen() {
    if let Some(me) = role() {
        let snapshot = look();
        let unseen = |what| {
            let mut all = snapshot.unseen().iter();
            all.find(|one| one.what == what && one.why == UnseenWhy::NoPermission).map_or(0, |one| one.count)
        };
        assert!(unseen(UnseenWhat::Descriptors) > 0 && unseen(UnseenWhat::Mappings) > 0, "{:?}", snapshot.unseen());
        let own = snapshot.process_with_pid(std::process::id()).expect("it lives");
        assert!(own.descriptors.is_some() && snapshot.held_by(own.reference).count() > 0, "its own it sees");
        let parent = snapshot.process_with_pid(own.parent).expect("it lives");
        assert!(parent.descriptors.is_none() && parent.uid.is_some() && !parent.name.is_empty());
        me.say("seen");
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("only root can become another user, who must be able to run this test");
    }
    let mut peer = Peer::of(test_name!()).role("nobody").user(NOBODY).spawn();
    peer.wait_for("seen");
    peer.succeeds();
}

#[test]
fn processes_hidden_by_hidepid_are_counted() {
    if let Some(me) = role() {
        let snapshot = look();
        let hidden = snapshot.unseen().iter().find(|one| one.what == UnseenWhat::Processes);
        me.say(&format!("{} {}", snapshot.processes().len(), hidden.map_or(0, |one| one.count)));
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("only root can become another user, who must be able to run this test");
    }
    if Namespace::enter(&[Namespace::Mount, Namespace::Pid], &test_name!()) == Isolation::Done {
        return;
    }
    let mounted = Command::new("mount").args(["-t", "proc", "-o", "hidepid=2", "proc", "/proc"]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip!("this machine does not let us mount a procfs");
    }
    let mut peer = Peer::of(test_name!()).role("nobody").user(NOBODY).spawn();
    let said = peer.hear();
    let (seen, hidden) = said.split_once(' ').expect("two numbers");
    assert_eq!(seen, "1", "it sees only itself");
    // This process, and all those outside of its pid namespace.
    assert!(hidden.parse::<u64>().unwrap() >= 2, "{said}");
    peer.succeeds();
}
