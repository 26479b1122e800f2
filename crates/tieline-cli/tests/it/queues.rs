//! Queues and streams in shared memory from the shell, with programs of the library, and with deaths, at the other end.

use std::fs;
use std::io::{Read, Write};

use tieline_shm::queue::Queue;
use tieline_shm::stream::Listener;
use tieline_testkit::{PATIENCE, skip, until};

use crate::support::{
    Job, Place, assert_same, code_of, data, may_look_inside, run, run_out_of_time, run_with, tieline, unique,
};
use crate::topics::{Reading, bare, exists, lines, members, publisher, reading};

#[test]
fn a_stream_carries_bytes_both_ways() {
    let place = Place::new();
    let name = place.at("shm", "line");
    let listening = format!("{name}?listen=yes&capacity=64K");
    let mut receiver = Job::start(tieline(["recv", "-v", &listening]));
    receiver.expect_err("waiting at");
    let bytes = data(3 << 20);
    run_with(&["send", &name], &bytes).well();
    assert_same(&receiver.end().out, &bytes);
    // The program of the library at the other end, and both directions.
    let listener = Listener::bind(bare(&name)).unwrap();
    let joined = Job::start(tieline(["connect", &name, "exec:tr a-z A-Z"]));
    let mut stream = listener.accept_timeout(PATIENCE).unwrap();
    stream.write_all(b"loud\n").unwrap();
    stream.writer().shutdown();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "LOUD\n");
    assert_eq!(joined.end().code, 0);
    drop((stream, listener));
    // Lines are messages where they are asked for, and an idle sender sees that nobody reads any more.
    let mut sender = Job::start(tieline(["send", "-v", "--listen", "--lines", &name]));
    sender.expect_err("waiting at");
    let reader = Job::start(tieline(["recv", "--lines", "--count", "2", &name]));
    sender.write(b"one\ntwo\n");
    assert_eq!(reader.end().text(), "one\ntwo\n");
    assert_eq!(code_of(sender.wait()), 8);
    run(&["recv", &format!("{name}?listen=yes&create=yes")]).failed(2, &["listen is for a stream"]);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_queue_gives_each_item_to_one() {
    let place = Place::new();
    let queue = place.at("shm", "jobs");
    let mut sender = Job::start(tieline(["send", "-v", &queue]));
    sender.write(lines(500).as_bytes());
    exists(&queue);
    sender.close_stdin();
    let receivers = [(); 3].map(|()| Job::start(tieline(["recv", &queue])));
    assert_eq!(sender.end().code, 0, "it stays until its items are taken");
    let written = |receiver: &Job| receiver.out_so_far().lines().count();
    until("all are written", || (receivers.iter().map(written).sum::<usize>() == 500).then_some(()));
    let mut all: Vec<u32> = Vec::new();
    for receiver in receivers {
        receiver.signal("TERM");
        let said = receiver.end();
        all.extend(said.text().lines().map(|line| line.parse::<u32>().unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (1..=500).collect::<Vec<_>>());
    // Who does not want to wait for more ends by itself.
    let kept = Queue::<[u8]>::create(bare(&queue)).unwrap();
    kept.send(b"last").unwrap();
    assert_eq!(run(&["recv", "--idle", "50ms", &queue]).well().text(), "last\n");
}

#[test]
fn items_that_nobody_takes_are_told() {
    let place = Place::new();
    let queue = place.at("shm", "jobs");
    // While it waits for them to be taken, and while more may come.
    for is_over in [true, false] {
        let mut sender = Job::start(tieline(["send", &queue]));
        sender.write(b"1\n2\n3\n");
        if is_over {
            sender.close_stdin();
        }
        exists(&queue);
        let looker = Queue::<[u8]>::open(bare(&queue)).unwrap();
        until("all are in the queue", || (looker.counters().waiting == 3).then_some(()));
        drop(looker);
        sender.signal("INT");
        assert_eq!(code_of(sender.wait()), 130);
        sender.end().failed(130, &["ended by SIGINT", "3 of its items were not taken by anybody"]);
    }
    run_out_of_time("send", &[&queue], b"1\n2\n3\n").failed(7, &["3 of its items were not taken"]);
    run_with(&["send", &format!("{queue}?create=no")], b"1\n").failed(3, &["nobody offers this name"]);
    // A queue is made by whoever receives first, if it says so.
    let receiver = Job::start(tieline(["recv", "--count", "1", &format!("{queue}?create=yes")]));
    exists(&queue);
    run_with(&["send", &queue], b"work\n").well();
    assert_eq!(receiver.end().well().text(), "work\n");
}

#[test]
fn a_queue_of_a_type_takes_its_bytes_and_nothing_else() {
    let place = Place::new();
    let address = place.at("shm", "typed");
    let queue = Queue::<Reading>::create(bare(&address)).unwrap();
    run_with(&["send", "--timeout", "20s", "--whole", &address], b"short").failed(1, &["a value has 16 bytes"]);
    queue.send(&reading(9)).unwrap();
    let said = run(&["recv", "--raw", "--timeout", "0", &address]).well();
    assert_eq!((said.out.len(), said.out[0]), (16, 9));
    let mut sender = Job::start(tieline(["send", "--whole", &address]));
    sender.write(&said.out);
    sender.close_stdin();
    assert_eq!(*queue.recv_timeout(PATIENCE).unwrap(), reading(9));
    sender.end().well();
}

#[test]
fn an_item_of_a_killed_receiver_is_delivered_again() {
    let place = Place::new();
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let name = unique("jobs");
    let (address, query) = (place.at("shm", &name), format!("shm:{name}"));
    let queue = Queue::<[u8]>::create(bare(&address)).unwrap();
    // Its input to the FIFO stays there: nobody reads it, so what it took last is never done with.
    let receiver = Job::start(tieline(["connect", "--one-way", &address, "exec:sleep 60"]));
    members(&address, 2);
    let item = vec![7; 4000];
    for _ in 0..40 {
        let _ = queue.try_send(&item);
    }
    // When its pipe is full it stands still with one item in its hands; who has been stopped does so in any case.
    until("it has an item while it stands still", || {
        receiver.signal("STOP");
        until("it is stopped", || is_stopped(receiver.id()).then_some(()));
        let has_one = run(&["who", &query]).text().contains(&format!("{} has taken 1 item", receiver.id()));
        if !has_one {
            receiver.signal("CONT");
        }
        has_one.then_some(())
    });
    receiver.signal("KILL");
    drop(receiver);
    let again = until("an item comes again", || {
        let item = queue.try_recv().ok()?;
        item.is_redelivered().then_some(item.len())
    });
    assert_eq!(again, 4000);
}

/// Whether all threads of a process are.
fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

#[test]
fn a_queue_and_a_topic_are_joined_to_anything() {
    let place = Place::new();
    let (queue, topic) = (place.at("shm", "queue"), place.at("shm", "topic"));
    let out = format!("{}?create=yes", place.at("file", "out"));
    let _keep = Queue::<[u8]>::create(bare(&queue)).unwrap();
    run_with(&["send", "--timeout", "0", &queue], b"").well();
    let mut publisher = publisher(&["--subscribers", "1"], &topic);
    let bridge = Job::start(tieline(["connect", &topic, &queue]));
    publisher.write(b"through\nboth\n");
    publisher.end().well();
    run(&["connect", "--count", "2", "--timeout", "20s", &queue, &out]).well();
    bridge.end().well();
    assert_eq!(fs::read_to_string(place.path("out")).unwrap(), "through\nboth\n");
}
