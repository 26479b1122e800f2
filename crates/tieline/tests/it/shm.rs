//! The examples of shared memory: each kills one of its processes and tells how the others fared.

use std::process::Command;

use tieline::os::pidfd::PidFd;
use tieline_testkit::{PATIENCE, skip, until};

/// What the example prints, when it has ended well and left nothing behind.
fn output_of(example: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::example(example));
    let output = command.env("TIELINE_RUNTIME_DIR", directory.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && complaints.is_empty(), "{said}{complaints}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    println!("{said}");
    said
}

/// The number before the words.
fn number_before(said: &str, words: &str) -> u64 {
    let before = &said[..said.find(words).unwrap_or_else(|| panic!("no {words:?} in {said}"))];
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[start..].parse().unwrap_or_else(|_| panic!("no number before {words:?} in {said}"))
}

#[test]
fn a_camera_goes_on_when_one_who_watches_is_killed() {
    let said = output_of("shm_camera");
    assert!(said.starts_with("8 MiB images to 3 processes:"), "{said}");
    // Four that it keeps, the next, and one in the hands of each who watches.
    assert!(number_before(&said, " images in all") <= 4 + 1 + 3, "{said}");
    let published = number_before(&said, " images published");
    let recorder = said.lines().find(|line| line.contains("recorder saw")).unwrap();
    assert_eq!(number_before(recorder, " whole images"), published, "the camera waits for it");
    assert!(said.contains("display  saw"));
}

#[test]
fn every_job_is_done_though_a_worker_is_killed() {
    let said = output_of("shm_workers");
    assert!(said.contains("then was killed"), "{said}");
    assert_eq!(number_before(&said, " jobs are done"), 300);
    let again = number_before(&said, " delivered again\n");
    assert!(again <= 1, "it held one job at most");
    assert_eq!(said.matches("was delivered again, and done").count() as u64, again);
}

#[test]
fn a_map_is_whole_though_a_writer_is_killed() {
    let said = output_of("shm_map");
    assert!(said.contains("unfinished changes taken back: 1"), "{said}");
    assert!(said.ends_with("the sum is 100000\n"));
}

/// Nobody is left behind when the process that the user started is killed.
#[test]
fn an_example_that_is_killed_takes_its_processes_along() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::example("shm_camera"));
    let mut example = command.env("TIELINE_RUNTIME_DIR", directory.path()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", example.id());
    if !std::path::Path::new(&children).exists() {
        example.kill().unwrap();
        example.wait().unwrap();
        skip!("this kernel does not list the children of a process");
    }
    // By descriptor, because their numbers are free for others as soon as they have ended.
    let watchers = until("three watch", || {
        let children = std::fs::read_to_string(&children).ok()?;
        let children: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        (children.len() == 3).then_some(children)
    });
    let watchers: Vec<PidFd> = watchers.into_iter().map(|pid| PidFd::open(pid).unwrap()).collect();
    example.kill().unwrap();
    example.wait().unwrap();
    for watcher in watchers {
        watcher.wait_timeout(PATIENCE).expect("it ends");
    }
}
