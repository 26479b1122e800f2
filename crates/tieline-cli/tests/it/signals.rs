//! `signal`: sent, queued, waited for.

use tieline_testkit::sleeps;

use crate::support::{Job, code_of, run, shell, tieline};

#[test]
fn a_signal_ends_a_process_and_its_end_is_waited_for() {
    let mut sleeper = Job::start(shell("exec sleep 60"));
    let pid = sleeper.id().to_string();
    run(&["signal", "0", &pid]).well();
    // Nobody else reaps it, so it must be told by its descriptor, not by its number's absence.
    run(&["signal", "TERM", &pid, "--timeout", "10s"]).well();
    assert_eq!(code_of(sleeper.wait()), 143);
    run(&["signal", "TERM", &pid]).failed(3, &["process"]);
    run(&["signal", "0", &pid]).failed(3, &[&pid]);
}

#[test]
fn who_does_not_end_is_named() {
    let sleeper = Job::start(shell("trap '' TERM; echo ready >&2; sleep 60; true"));
    let mut sleeper = sleeper;
    sleeper.expect_err("ready");
    let pid = sleeper.id().to_string();
    run(&["signal", "TERM", &pid, "--timeout", "50ms"]).failed(7, &[&pid, "KILL"]);
    run(&["signal", "SIGKILL", &pid, "--timeout", "10s"]).well();
}

#[test]
fn a_queued_signal_carries_its_value() {
    for (signal, value) in [("USR1", "42"), ("RTMIN+1", "-7")] {
        let mut waiter = Job::start(tieline(["signal", "--wait", "USR1,RTMIN+1", "-v", "--timeout", "20s"]));
        let line = waiter.expect_err(" waits for ");
        let pid = waiter.id().to_string();
        assert!(line.contains(&format!("process {pid} waits")), "{line}");
        run(&["signal", signal, &pid, "--value", value]).well();
        let said = waiter.end();
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.text().starts_with(&format!("SIG{signal} from process ")), "{}", said.text());
        assert!(said.text().trim().ends_with(&format!("with value {value}")), "{}", said.text());
    }
}

#[test]
fn a_wait_has_an_end() {
    run(&["signal", "--wait", "USR1", "--timeout", "50ms"]).failed(7, &["SIGUSR1"]);
    run(&["signal", "--wait", "USR1", "--timeout", "0"]).failed(6, &["SIGUSR1"]);
    run(&["signal", "--wait", "KILL"]).failed(2, &["SIGKILL"]);
    run(&["signal", "--wait", "NOPE"]).failed(2, &["\"NOPE\"", "--list"]);
}

#[test]
fn a_group_gets_it_as_a_whole() {
    let mut group = Job::start(shell("setsid sh -c 'echo $$ >&2; sleep 60 & sleep 60'"));
    let leader = tieline_testkit::until("the leader's number", || {
        let line = group.expect_err("");
        line.trim().parse::<u32>().ok()
    });
    tieline_testkit::eventually("it waits for its children", || sleeps(leader));
    run(&["signal", "TERM", &leader.to_string(), "--group"]).well();
    group.wait();
    run(&["signal", "TERM", "999999999", "--group"]).failed(3, &["999999999"]);
}

#[test]
fn the_list_has_every_signal() {
    let said = run(&["signal", "--list"]).well();
    assert!(said.text().lines().any(|line| line.trim_start().starts_with("15") && line.contains("SIGTERM")));
    assert!(said.text().contains("SIGRTMIN+1"));
}

#[test]
fn several_are_all_tried() {
    let sleeper = Job::start(shell("exec sleep 60"));
    let pid = sleeper.id().to_string();
    let said = run(&["signal", "TERM", "999999999", &pid]);
    assert_eq!((said.code, said.err.lines().count()), (3, 1), "{}", said.err);
    assert_eq!(sleeper.end().code, 143);
}
