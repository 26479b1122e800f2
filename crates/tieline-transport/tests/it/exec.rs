//! Commands as endpoints: their streams, their status, and that none stays behind.

use std::time::{Duration, Instant};

use tieline_testkit::{eventually, until};
use tieline_transport::endpoint::Direction;

use crate::support::{Place, address, byte_source, open, receive, send};

#[test]
fn a_filter_filters_and_its_status_is_told() {
    let mut filter = open(&address("exec:tr a-z A-Z; exit 7"), Direction::Both);
    let (mut sender, mut receiver) = (filter.sender().unwrap(), filter.receiver().unwrap());
    sender.send(b"quiet").unwrap();
    sender.finish().unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&b"QUIET"[..]));
    assert_eq!(receiver.recv().unwrap(), None);
    assert_eq!(filter.running().unwrap().wait().unwrap().code(), Some(7));
    assert_eq!(filter.running().unwrap().wait().unwrap().code(), Some(7), "asked twice, answered twice");
}

#[test]
fn the_side_that_is_not_connected_is_empty() {
    let mut from = receive("exec:wc -c");
    assert_eq!(from.receiver().unwrap().recv().unwrap().map(<[u8]>::trim_ascii), Some(&b"0"[..]));
    assert!(from.sender().is_err());
    let place = Place::new();
    let mut to = send(&format!("exec:cat >{}", place.path("out").display()));
    to.sender().unwrap().send(b"written").unwrap();
    assert!(to.running().unwrap().wait_timeout(Duration::from_secs(20)).unwrap().success());
    assert_eq!(std::fs::read_to_string(place.path("out")).unwrap(), "written\n");
}

fn is_gone(pid: u32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn dropping_ends_and_reaps_the_child() {
    let mut sleeper = open(&address("exec:exec sleep 1000"), Direction::Both);
    let pid = sleeper.running().unwrap().id();
    assert!(sleeper.running().unwrap().wait_timeout(Duration::from_millis(10)).unwrap_err().is_timeout());
    drop(sleeper);
    assert!(is_gone(pid), "neither running nor a zombie");
}

#[test]
fn a_child_that_ignores_the_request_is_killed() {
    let mut stubborn = open(
        &address("exec:trap '' TERM; echo ready; while :; do sleep 1 </dev/null >/dev/null; done"),
        Direction::Both,
    );
    let pid = stubborn.running().unwrap().id();
    let mut source = byte_source(&mut stubborn);
    let mut word = [0; 6];
    std::io::Read::read_exact(&mut source, &mut word).unwrap();
    let begun = Instant::now();
    let status = stubborn.running().unwrap().terminate().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(is_gone(pid));
}

#[test]
fn a_command_that_does_not_exist_is_the_shells_to_tell() {
    let mut none = receive("exec:/no/such/program 2>/dev/null");
    assert_eq!(none.receiver().unwrap().recv().unwrap(), None);
    let status = until("it ends", || none.running().unwrap().wait_timeout(Duration::from_secs(1)).ok());
    assert_eq!(status.code(), Some(127));
    eventually("it is reaped", || is_gone(none.running().unwrap().id()));
}

/// Given a shell that has started others, one of which does not heed SIGTERM, when the endpoint is dropped, then none
/// of them is left.
#[test]
fn what_a_command_has_started_ends_with_it() {
    let place = Place::new();
    let pids = place.path("pids");
    let command = format!(
        "exec:sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 600; :' & echo $$ >> {0}; sleep 600; :",
        pids.display()
    );
    let endpoint = receive(&command);
    let started = until("both have written their numbers", || {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    });
    drop(endpoint);
    for pid in started {
        let pid = tieline_os::process::Pid::new(pid).unwrap();
        eventually("it is gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
}
