//! `ls`, `who`, `locks` and `leaks` of channels and locks in shared memory that real peers use.

use std::os::fd::AsFd;

use serde_json::Value;
use tieline_shm::queue::Queue;
use tieline_shm::sync::{MutexOptions, RawMutex};
use tieline_shm::topic::Topic;
use tieline_testkit::{Peer, pause, role, skip, test_name, until};

use crate::support::{may_look_inside, run, unique};

/// Large enough to lie in the pool, so that a sample of it is a loan.
type Frame = [u64; 512];

fn json(arguments: &[&str]) -> Value {
    let said = run(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
    serde_json::from_slice(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The one answer's lines.
fn said(arguments: &[&str]) -> String {
    let said = run(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
    String::from_utf8(said.out).expect("text")
}

fn as_peer() -> bool {
    let Some(me) = role() else { return false };
    match me.name() {
        "subscriber" => {
            let mut subscriber = Topic::<Frame>::open(&me.env("NAME")).unwrap().subscriber().unwrap();
            me.say("subscribed");
            let _held = subscriber.recv().unwrap();
            me.say("holds");
            pause(tieline_testkit::PATIENCE);
        }
        "worker" => {
            let queue = Queue::<u64>::open(me.env("NAME")).unwrap();
            let _taken = queue.recv().unwrap();
            me.say("taken");
            pause(tieline_testkit::PATIENCE);
        }
        "locker" => {
            let mutex = RawMutex::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
            let _guard = mutex.lock().unwrap();
            me.say("locked");
            pause(tieline_testkit::PATIENCE);
        }
        other => panic!("{other}"),
    }
    true
}

#[test]
fn who_names_the_slow_subscriber_of_a_topic() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let short = unique("cli-frames");
    let (name, query) = (format!("{}/{short}", directory.path().display()), format!("shm:{short}"));
    let topic = Topic::<Frame>::create(&name).unwrap();
    let publisher = topic.publisher().unwrap();
    let mut subscriber = Peer::of(test_name!()).role("subscriber").env("NAME", &name).spawn();
    subscriber.wait_for("subscribed");
    for number in 0..4 {
        publisher.publish(&[number; 512]).unwrap();
    }
    subscriber.wait_for("holds");
    let me = std::process::id();
    let text = said(&["who", &query]);
    assert!(text.contains(&format!("{me} publishes to the topic {short}, 4 messages so far")), "{text}");
    assert!(text.contains("by 3 messages") && text.contains("holds 1 loan"), "{text}");
    let row = text.lines().find(|line| line.contains("subscribes, 3 behind")).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains(&subscriber.id().to_string()) && row.contains("is waited for"), "{row}");
    let listed = said(&["ls", "shm-topic"]);
    let row = listed.lines().find(|line| line.contains(&short)).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains("3/"), "its fill is how far behind the slowest is: {row}");
    assert!(said(&["ls", "shm"]).contains(&short));
    assert!(said(&["who", &subscriber.id().to_string()]).contains(&short));

    let document = json(&["who", &query, "--json"]);
    let object = document["objects"].as_array().unwrap().iter().find(|one| one["kind"] == "shm-topic").unwrap();
    let member = &object["detail"]["members"][0];
    let figures = ["pid", "lag", "held_loans", "received", "lost"].map(|field| member[field].as_u64());
    assert_eq!(figures, [Some(subscriber.id().into()), Some(3), Some(1), Some(1), Some(0)], "{object}");
    assert_eq!((&member["policy"], &object["fill"]["used"]), (&"block".into(), &3.into()));
    let failed = run(&["who", "shm:cli-nothing"]);
    assert_eq!(failed.code, 3, "{}", failed.err);
    assert!(failed.err.contains("`tieline ls shm` lists those there are"), "{}", failed.err);
    subscriber.kill();
}

#[test]
fn the_files_of_a_name_whose_last_user_was_killed_are_found() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    // Where they are looked for, whatever `TMPDIR` says.
    let directory = tempfile::tempdir_in("/tmp").expect("a directory");
    let short = unique("cli-jobs");
    let name = format!("{}/{short}", directory.path().canonicalize().expect("its path").display());
    let queue = Queue::<u64>::create(&name).unwrap();
    queue.send(&1).unwrap();
    let mut worker = Peer::of(test_name!()).role("worker").env("NAME", &name).spawn();
    worker.wait_for("taken");
    assert!(said(&["who", &format!("shm:{short}")]).contains("has taken 1 item."));
    drop(queue);
    assert!(!said(&["leaks"]).contains(&name), "it is in use");
    worker.kill();
    let text = said(&["leaks"]);
    let row = text.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{text}"));
    assert!(row.starts_with("dead name"), "{row}");
    let document = json(&["leaks", "--json"]);
    let is_it =
        |finding: &&Value| finding["kind"] == "dead-name" && finding["sentence"].as_str().unwrap().contains(&name);
    assert!(document["findings"].as_array().unwrap().iter().any(|finding| is_it(&finding)), "{document}");
}

#[test]
fn locks_in_shared_memory_stand_with_the_others() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    // Others may run the same test at the same time.
    let name = unique("cli-books");
    let query = format!("shm:{name}");
    let mutex = RawMutex::anonymous(&MutexOptions::new().name(&name)).unwrap();
    let guard = mutex.lock().unwrap();
    let fd = mutex.as_fd().unwrap().try_clone_to_owned().unwrap();
    let mut waiter = Peer::of(test_name!()).role("locker").stdin(fd).spawn();
    let text = until("it waits", || {
        let text = said(&["locks", &query]);
        text.contains("waits for").then_some(text)
    });
    let row = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{text}"));
    assert!(row("holds").contains(&std::process::id().to_string()), "{text}");
    assert!(row("waits for").contains(&waiter.id().to_string()), "{text}");
    assert!(row("waits for").trim_end().ends_with(&std::process::id().to_string()), "behind us: {text}");
    drop(guard);
    waiter.wait_for("locked");
    let document = json(&["locks", &query, "--json"]);
    let [lock] = &document["locks"].as_array().unwrap()[..] else { panic!("{document}") };
    assert_eq!((&lock["lock"]["kind"], lock["pid"].as_u64()), (&"shm".into(), Some(waiter.id().into())));
    waiter.kill();
}
