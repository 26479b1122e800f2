//! Threads that sleep, and what they sleep for.

use std::process::{Child, Command, Stdio};

use tieline_observe::model::WaitReason;
use tieline_observe::{Scan, Snapshot};
use tieline_testkit::{skip, until};

use super::may_look_inside;

/// A child that ends with the test.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn opens(snapshot: &Snapshot, pid: u32) -> Option<String> {
    let wait = snapshot.waits().iter().find(|wait| snapshot.process(wait.process).pid == pid)?;
    let WaitReason::Open(name) = &wait.reason else { return None };
    let fifo = snapshot.object(wait.object?);
    Some(format!("{} {name}", fifo.kind))
}

#[test]
fn who_sleeps_in_opening_a_fifo_is_seen_by_either_sort_of_path() {
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().canonicalize().expect("its path").join("fifo");
    make_fifo(&fifo);
    for path in ["fifo", fifo.to_str().expect("plain")] {
        let sleeper = Command::new("sh")
            .args(["-c", "exec < \"$1\"", "sh", path])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .spawn();
        let sleeper = Sleeper(sleeper.expect("sh"));
        let told = until("the shell sleeps in opening it", || {
            opens(&Scan::new().waits(true).take().expect("a look"), sleeper.0.id())
        });
        assert_eq!(told, format!("fifo {path}"));
    }
}

fn make_fifo(path: &std::path::Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}
