//! What goes wrong at the border, for every channel: each case its own kind of error, or its own rule, as
//! `docs/shm-errors.md` lists them. What is special to one channel is tested beside it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::sync::{Mutex, MutexOptions};
use tieline_shm::topic::Topic;
use tieline_shm::{Error, ErrorKind, SegmentOptions};
use tieline_testkit::{Forked, PATIENCE, Peer, role, skip, test_name};

const NOBODY: u32 = 65534;

fn place() -> (TempDir, impl Fn(&str) -> String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    (directory, move |name: &str| format!("{}/{name}", path.display()))
}

#[track_caller]
fn refused<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it is not refused"),
        Err(error) => error.kind(),
    }
}

/// What can be joined.
const CHANNELS: [&str; 6] = ["topic", "queue", "stream", "reqres", "latest", "event"];

/// Joins what is so called under `text`, and leaves it.
fn join(channel: &str, text: &str) -> Result<(), Error> {
    match channel {
        "topic" => Topic::<u64>::open(text).and_then(|topic| topic.subscriber()).map(drop),
        "queue" => Queue::<u64>::open(text).map(drop),
        "stream" => Stream::connect(text).map(drop),
        "reqres" => Client::<u64, u64>::connect(text).map(drop),
        "latest" => Latest::<u64>::at(text).and_then(Latest::reader).map(drop),
        "event" => Event::open(text).map(drop),
        _ => panic!("{channel} is no channel"),
    }
}

/// Everything that can be joined under `text`, tried; each with a sentence that tells which.
fn join_all(text: &str) -> Vec<(&'static str, Result<(), Error>)> {
    CHANNELS.iter().map(|channel| (*channel, join(channel, text))).collect()
}

/// All descriptors that this process may have, up to a limit of 96.
struct Hoard(Vec<std::fs::File>);

impl Hoard {
    fn new() -> Self {
        let limit = rustix::process::Rlimit { current: Some(96), maximum: Some(96) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        Self(Vec::new())
    }

    fn fill(&mut self) {
        self.0.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
    }

    fn give_up(&mut self, count: usize) {
        let rest = self.0.len().checked_sub(count).expect("room at last");
        self.0.truncate(rest);
    }
}

#[test]
fn a_name_that_nobody_offers_any_more_is_not_found() {
    let (_place, at) = place();
    for (what, refused) in join_all(&at("never")) {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound, "{what}");
    }
    if let Some(me) = role() {
        let _queue = Queue::<u64>::create(me.env("NAME")).unwrap();
        me.say("there");
        me.wait_for("never");
    }
    let mut peer = Peer::of(test_name!()).role("dead").env("NAME", at("dead")).spawn();
    peer.wait_for("there");
    peer.kill();
    for (what, refused) in join_all(&at("dead")) {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound, "{what} of a dead process");
    }
    // The stale files are nobody's: the name can be taken.
    Queue::<u64>::create(at("dead")).unwrap();
}

#[test]
fn another_kind_of_object_and_another_layout_are_told_apart() {
    let (_place, at) = place();
    let text = at("one");
    let _queue = Queue::<[u32; 2]>::create(&text).unwrap();
    for (what, refused) in join_all(&text) {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{what}: {error}");
        let sentence = error.to_string();
        if what == "queue" {
            assert!(sentence.contains("u32") && sentence.contains("u64"), "both layouts: {sentence}");
        } else {
            assert!(sentence.contains("queue"), "{what}, but it is a queue: {sentence}");
        }
    }
    let _latest = Latest::<u32>::at(at("latest")).unwrap().writer().unwrap();
    assert_eq!(refused(Latest::<u64>::at(at("latest")).unwrap().reader()), ErrorKind::Mismatch);
    let _server = Server::<u64, u32>::bind(at("server")).unwrap();
    assert_eq!(refused(Client::<u64, u64>::connect(at("server"))), ErrorKind::Mismatch);
}

#[test]
fn a_direction_that_is_taken_is_refused() {
    let (_place, at) = place();
    let _listener = Listener::bind(at("stream")).unwrap();
    assert_eq!(refused(Listener::bind(at("stream"))), ErrorKind::AlreadyExists);
    let _server = Server::<u64, u64>::bind(at("server")).unwrap();
    assert_eq!(refused(Server::<u64, u64>::bind(at("server"))), ErrorKind::AlreadyExists);
    let _writer = Latest::<u64>::at(at("latest")).unwrap().writer().unwrap();
    let second = Latest::<u64>::at(at("latest")).unwrap().join_timeout(Duration::from_millis(300)).writer();
    assert_eq!(refused(second), ErrorKind::AlreadyExists);
}

#[test]
fn another_user_is_refused_by_every_channel() {
    if let Some(me) = role() {
        for what in ["topic", "queue", "stream", "reqres", "latest", "event"] {
            let text = format!("{}-{what}?owner=0", me.env("NAME"));
            let (_, result) = join_all(&text).into_iter().find(|(kind, _)| *kind == what).unwrap();
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
        }
        return;
    }
    if !tieline_testkit::can_run_as(NOBODY) {
        skip!("needs root, to run a peer as another user");
    }
    let (place, at) = place();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let _topic = Topic::<u64>::create(&at("x-topic")).unwrap().publisher().unwrap();
    let _queue = Queue::<u64>::create(at("x-queue")).unwrap();
    let _listener = Listener::bind(at("x-stream")).unwrap();
    let _server = Server::<u64, u64>::bind(at("x-reqres")).unwrap();
    let _writer = Latest::<u64>::at(at("x-latest")).unwrap().writer().unwrap();
    let _event = Event::create(at("x-event")).unwrap();
    Peer::of(test_name!()).role("stranger").env("NAME", at("x")).user(NOBODY).spawn().succeeds();
}

#[test]
fn one_peer_too_many_is_refused_and_room_comes_back() {
    let (_place, at) = place();
    let topic = Topic::<u64>::create(&at("topic")).unwrap().members(2);
    let _publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    assert_eq!(refused(topic.subscriber()), ErrorKind::LimitReached);
    drop(subscriber);
    tieline_testkit::eventually("there is room", || topic.subscriber().is_ok());

    let _queue = Queue::<u64>::options().members(2).create(at("queue")).unwrap();
    let second = Queue::<u64>::open(at("queue")).unwrap();
    assert_eq!(refused(Queue::<u64>::open(at("queue"))), ErrorKind::LimitReached);
    drop(second);
    tieline_testkit::eventually("there is room", || Queue::<u64>::open(at("queue")).is_ok());

    let _server = Server::<u64, u64>::options().clients(1).bind(at("server")).unwrap();
    let client = Client::<u64, u64>::connect(at("server")).unwrap();
    let before = Instant::now();
    let error = Client::<u64, u64>::connect(at("server")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
    assert!(error.to_string().contains("the server has as many clients as it may"), "{error}");
    // It would be five seconds.
    assert!(before.elapsed() < Duration::from_millis(4500), "said, not waited for");
    drop(client);
    tieline_testkit::eventually("there is room", || Client::<u64, u64>::connect(at("server")).is_ok());

    let _event = Event::options().members(2).create(at("event")).unwrap();
    let _second = Event::open(at("event")).unwrap();
    assert_eq!(refused(Event::open(at("event"))), ErrorKind::LimitReached);
}

#[test]
fn what_is_full_and_what_is_too_large_are_told_apart() {
    let (_place, at) = place();
    let queue = Queue::<[u8]>::options().capacity(2).payload_max_bytes(100).create(at("queue")).unwrap();
    assert_eq!(refused(queue.try_send(&[0; 101])), ErrorKind::TooLarge);
    while queue.try_send(&[1; 100]).is_ok() {}
    assert_eq!(refused(queue.try_send(&[1; 100])), ErrorKind::Full);
    // A delivery that is never finished keeps its place, and no other.
    let kept = queue.recv().unwrap();
    let capacity = queue.capacity();
    for _ in 1..capacity {
        queue.recv().unwrap().ack().unwrap();
    }
    for _ in 0..10 * capacity {
        queue.send_timeout(&[2; 100], PATIENCE).unwrap();
        queue.recv().unwrap().ack().unwrap();
    }
    kept.ack().unwrap();

    let topic = Topic::<[u8]>::create(&at("topic")).unwrap();
    let publisher = topic.publisher_options().payload_max_bytes(1000).max_payloads(2).open().unwrap();
    let _subscriber = topic.subscriber().unwrap();
    assert_eq!(refused(publisher.publish(&[0; 5000])), ErrorKind::TooLarge);
    publisher.publish(&[0; 1000]).unwrap();
    publisher.publish(&[0; 1000]).unwrap();
    assert_eq!(refused(publisher.try_publish(&[0; 1000])), ErrorKind::Full);

    let server = Server::<[u8], [u8]>::options().payload_max_bytes(1024).bind(at("server")).unwrap();
    let client = Client::<[u8], [u8]>::connect(at("server")).unwrap();
    assert_eq!(refused(client.start(&[0; 1025])), ErrorKind::TooLarge);
    assert_eq!(refused(client.loan(1025)), ErrorKind::TooLarge);
    drop(server);
}

#[test]
fn sizes_that_no_machine_has_are_errors_before_anything_is_made() {
    let (_place, at) = place();
    let impossible = [ErrorKind::TooLarge, ErrorKind::InvalidInput, ErrorKind::OutOfMemory];
    let kind = refused(SegmentOptions::new("x").create(usize::MAX >> 1));
    assert!(impossible.contains(&kind), "{kind:?}");
    let queue = Queue::<[u8]>::options().capacity(u32::MAX).payload_max_bytes(usize::MAX >> 1).create(at("queue"));
    assert!(impossible.contains(&refused(queue)));
    assert_eq!(refused(Listener::options().capacity(usize::MAX).bind(at("stream"))), ErrorKind::InvalidInput);
    assert_eq!(refused(Event::options().ids(u32::MAX).create(at("event"))), ErrorKind::InvalidInput);
    assert_eq!(refused(Server::<u64, u64>::options().clients(1024).bind(at("server"))), ErrorKind::InvalidInput);
    drop(Server::<u64, u64>::options().clients(1023).bind(at("server")).unwrap());
    let topic = Topic::<[u8]>::create(&at("topic")).unwrap();
    assert_eq!(refused(topic.publisher_options().payload_max_bytes(usize::MAX).open()), ErrorKind::TooLarge);
    // More address space than a process has.
    assert_eq!(refused(topic.publisher_options().payload_max_bytes(1 << 40).open()), ErrorKind::OutOfMemory);
    let publisher = topic.publisher_options().depth(8).history(usize::MAX).max_loans(usize::MAX).max_held(usize::MAX);
    drop(publisher.max_subscribers(1).payload_max_bytes(100).open().unwrap());
    // The names are as free as before.
    Queue::<u64>::create(at("queue")).unwrap();
    topic.subscriber().unwrap();
}

#[test]
fn without_memory_each_channel_says_so_and_leaves_the_name_free() {
    const ROOM: u64 = 1 << 30;
    if let Some(me) = role() {
        let at = |name: &str| format!("{}/{name}", me.env("PLACE"));
        let topic = Topic::<[u8]>::create(&at("topic")).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let limit = Some(pages * 4096 + ROOM);
        let limit = rustix::process::Rlimit { current: limit, maximum: limit };
        rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
        let queue = Queue::<[u8]>::options().capacity(1024).payload_max_bytes(1 << 21);
        assert_eq!(refused(queue.create(at("queue"))), ErrorKind::OutOfMemory);
        assert_eq!(refused(topic.publisher_options().payload_max_bytes(1 << 26).open()), ErrorKind::OutOfMemory);
        assert_eq!(refused(SegmentOptions::new("x").create(1 << 31)), ErrorKind::OutOfMemory);
        // What is smaller goes on.
        Queue::<[u8]>::options().capacity(4).payload_max_bytes(100).create(at("queue")).unwrap();
        let publisher = topic.publisher_options().payload_max_bytes(5000).open().unwrap();
        publisher.publish(&[7; 5000]).unwrap();
        assert_eq!(subscriber.recv_timeout(PATIENCE).unwrap()[4999], 7);
        return;
    }
    let (place, _) = place();
    Peer::of(test_name!()).role("limited").env("PLACE", place.path()).spawn().succeeds();
}

#[test]
fn without_descriptors_each_channel_says_so_and_works_again_later() {
    if let Some(me) = role() {
        let at = |name: &str| format!("{}/{name}", me.env("PLACE"));
        let mut hoard = Hoard::new();
        let topic = Topic::<u64>::open_or_create(&at("topic")).unwrap();
        let (publisher, mut subscriber) = (topic.publisher().unwrap(), topic.subscriber().unwrap());
        hoard.fill();
        assert_eq!(refused(Queue::<u64>::open_or_create(at("queue"))), ErrorKind::LimitReached);
        assert_eq!(refused(topic.subscriber()), ErrorKind::LimitReached);
        assert_eq!(refused(Listener::bind(at("stream"))), ErrorKind::LimitReached);
        assert_eq!(refused(Server::<u64, u64>::bind(at("server"))), ErrorKind::LimitReached);
        assert_eq!(refused(Latest::<u64>::at(at("latest")).unwrap().writer()), ErrorKind::LimitReached);
        assert_eq!(refused(Event::create(at("event"))), ErrorKind::LimitReached);
        assert_eq!(refused(Mutex::anonymous(0_u64, &MutexOptions::new())), ErrorKind::LimitReached);
        publisher.publish(&5).unwrap();
        assert_eq!(*subscriber.recv().unwrap(), 5, "who is connected goes on");
        drop(hoard);
        Queue::<u64>::open_or_create(at("queue")).unwrap();
        topic.subscriber().unwrap();
        Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
        me.say("done");
        return;
    }
    let (place, _) = place();
    let mut peer = Peer::of(test_name!()).role("hoarder").env("PLACE", place.path()).spawn();
    peer.wait_for("done");
    peer.succeeds();
}

/// A publisher comes while its subscriber can take no descriptor, or not all of them.
#[test]
fn a_subscriber_without_descriptors_is_told_of_the_publisher_that_it_cannot_hear() {
    if let Some(me) = role() {
        let mut hoard = Hoard::new();
        let topic = Topic::<u64>::open(&me.env("NAME")).unwrap();
        let mut subscriber = topic.subscriber_options().history(1).open().unwrap();
        assert_eq!(*subscriber.recv().unwrap(), 1);
        hoard.fill();
        // The line to it cannot be taken; then its memory.
        for room in [0, 1] {
            hoard.give_up(room);
            me.say("full");
            let error = subscriber.recv_timeout(PATIENCE).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::LimitReached, "{text}");
            assert!(text.contains("RLIMIT_NOFILE") && text.contains("the publisher is process"), "{text}");
            me.say("told");
            assert_eq!(*subscriber.recv().unwrap(), 2, "who is connected goes on");
        }
        drop(hoard);
        me.say("empty");
        assert_eq!(*subscriber.recv().unwrap(), 4);
        me.say("done");
        return;
    }
    let (_place, at) = place();
    let topic = Topic::<u64>::open_or_create(&at("topic")).unwrap();
    let first = topic.publisher_options().history(1).open().unwrap();
    first.publish(&1).unwrap();
    let mut peer = Peer::of(test_name!()).role("hoarder").env("NAME", at("topic")).spawn();
    for _ in 0..2 {
        peer.wait_for("full");
        let unheard = topic.publisher().unwrap();
        peer.wait_for("told");
        unheard.publish(&3).unwrap();
        first.publish(&2).unwrap();
    }
    peer.wait_for("empty");
    let heard = topic.publisher().unwrap();
    heard.publish(&4).unwrap();
    peer.wait_for("done");
    peer.succeeds();
}

/// Whatever is missing at whatever moment of a connection, it is the limit that is told.
#[test]
fn who_has_too_few_descriptors_to_connect_is_told_of_the_limit() {
    if let Some(me) = role() {
        let place = me.env("PLACE");
        let mut hoard = Hoard::new();
        for what in CHANNELS {
            hoard.fill();
            let mut refused = 0;
            while let Err(error) = join(what, &format!("{place}/{what}")) {
                assert_eq!(error.kind(), ErrorKind::LimitReached, "{what}, with room for {refused}: {error}");
                refused += 1;
                hoard.give_up(1);
            }
            assert!(refused > 1, "{what} takes more than one descriptor");
        }
        me.say("done");
        return;
    }
    let (place, at) = place();
    let topic = Topic::<u64>::open_or_create(&at("topic")).unwrap();
    let _publisher = topic.publisher().unwrap();
    let _queue = Queue::<u64>::create(at("queue")).unwrap();
    let _listener = Listener::bind(at("stream")).unwrap();
    let _server = Server::<u64, u64>::bind(at("reqres")).unwrap();
    let _writer = Latest::<u64>::at(at("latest")).unwrap().writer().unwrap();
    let _event = Event::create(at("event")).unwrap();
    let mut peer = Peer::of(test_name!()).role("hoarder").env("PLACE", place.path()).spawn();
    peer.wait_for("done");
    peer.succeeds();
}

#[test]
fn a_forked_child_has_no_handles_and_takes_nothing_from_its_parent() {
    if let Some(me) = role() {
        let at = |name: &str| format!("{}/{name}", me.env("PLACE"));
        let topic = Topic::<u64>::open_or_create(&at("topic")).unwrap();
        let (publisher, mut subscriber) = (topic.publisher().unwrap(), topic.subscriber().unwrap());
        let queue = Queue::<u64>::create(at("queue")).unwrap();
        queue.send(&1).unwrap();
        let server = Server::<u64, u64>::bind(at("server")).unwrap();
        let client = Client::<u64, u64>::connect(at("server")).unwrap();
        let listener = Listener::bind(at("stream")).unwrap();
        let mut writer = Latest::<u64>::at(at("latest")).unwrap().writer().unwrap();
        let event = Event::create(at("event")).unwrap();
        let mutex = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
        let mut held = Some(mutex.lock().unwrap());
        **held.as_mut().unwrap() = 7;
        let mut delivery = Some(queue.recv().unwrap());
        // What is held in place: more than fits into a slot.
        let large = Topic::<[u64]>::open_or_create(&at("large")).unwrap();
        let loans = large.publisher_options().depth(2).open().unwrap();
        let mut reader = large.subscriber().unwrap();
        loans.publish(&[1; 100]).unwrap();
        let mut sample = Some(reader.recv().unwrap());
        assert!(sample.as_ref().unwrap().is_held());
        let call = client.start(&3).unwrap();
        let mut request = Some(server.recv().unwrap());
        let child = Forked::run(|| {
            // Copies of what the parent holds: nothing that is done to them is done to it.
            assert_eq!(refused(delivery.take().unwrap().ack()), ErrorKind::Forked);
            assert_eq!(refused(request.take().unwrap().respond(&9)), ErrorKind::Forked);
            drop(sample.take());
            // A copy of a guard shows the memory, and does not hold the lock.
            assert_eq!(**held.as_ref().unwrap(), 7);
            drop(held.take());
            assert_eq!(refused(publisher.publish(&9)), ErrorKind::Forked);
            assert_eq!(refused(subscriber.try_recv()), ErrorKind::Forked);
            assert_eq!(refused(queue.try_send(&9)), ErrorKind::Forked);
            assert_eq!(refused(queue.try_recv()), ErrorKind::Forked);
            assert_eq!(refused(client.start(&9)), ErrorKind::Forked);
            assert_eq!(refused(server.try_recv()), ErrorKind::Forked);
            assert_eq!(refused(listener.try_accept()), ErrorKind::Forked);
            assert_eq!(refused(writer.write(&9)), ErrorKind::Forked);
            assert_eq!(refused(event.notify(0)), ErrorKind::Forked);
            // The parent's thread holds it, and goes on doing so.
            assert_eq!(mutex.try_lock().map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
            // On its own account it may take part.
            let own = Topic::<u64>::open(&at("topic")).unwrap();
            drop(own.subscriber().unwrap());
        });
        child.succeeds();
        publisher.publish(&5).unwrap();
        assert_eq!(*subscriber.recv().unwrap(), 5);
        let delivery = delivery.unwrap();
        assert_eq!(*delivery, 1, "the item is still ours");
        delivery.ack().unwrap();
        assert_eq!(queue.counters().waiting, 0);
        // Every other place is used again, and that of the sample is not.
        for number in 2..50 {
            loans.publish(&[number; 100]).unwrap();
            assert_eq!(reader.recv().unwrap()[99], number);
        }
        assert_eq!(**sample.as_ref().unwrap(), [1; 100], "the sample is still ours");
        request.unwrap().respond(&4).unwrap();
        assert_eq!(*call.wait().unwrap(), 4);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| mutex.try_lock().map(drop).unwrap_err().kind());
            assert_eq!(other.join().unwrap(), ErrorKind::WouldBlock, "the lock is still ours");
        });
        drop(held);
        drop(mutex.try_lock().unwrap());
        me.say("done");
        return;
    }
    let (place, _) = place();
    let mut peer = Peer::of(test_name!()).role("parent").env("PLACE", place.path()).spawn();
    peer.wait_for("done");
    peer.succeeds();
}

/// A new memory control group below ours with this limit, if we may make one.
fn memory_group(limit_bytes: u64) -> Option<PathBuf> {
    let (versions, name) = (["/sys/fs/cgroup/memory", "/sys/fs/cgroup"], format!("tieline-{}", std::process::id()));
    let group = versions.iter().map(|version| Path::new(version).join(&name)).find(|group| {
        // Of an older or of the newer sort; a directory that is no group is none of ours.
        std::fs::create_dir(group).is_ok()
            && (std::fs::write(group.join("memory.limit_in_bytes"), limit_bytes.to_string()).is_ok()
                || std::fs::write(group.join("memory.max"), limit_bytes.to_string()).is_ok()
                || std::fs::remove_dir(group).is_err())
    })?;
    group.join("cgroup.procs").exists().then_some(group)
}

#[test]
fn a_group_without_memory_loses_its_own_process_and_nobody_else() {
    if let Some(me) = role() {
        std::fs::write(me.env("GROUP"), std::process::id().to_string()).unwrap();
        let queue = Queue::<u64>::open(me.env("NAME")).unwrap();
        let item = queue.recv().unwrap();
        me.say("holds");
        me.wait_for("go");
        let refused = SegmentOptions::new("large").create(1 << 28).map(drop);
        unreachable!("{refused:?}, with {}", *item);
    }
    let Some(group) = memory_group(32 << 20) else { skip!("needs a memory control group of its own") };
    let (_place, at) = place();
    let queue = Queue::<u64>::create(at("queue")).unwrap();
    queue.send(&7).unwrap();
    let mut peer =
        Peer::of(test_name!()).role("poor").env("NAME", at("queue")).env("GROUP", group.join("cgroup.procs")).spawn();
    peer.wait_for("holds");
    peer.say("go");
    let status = peer.exit_status();
    let item = queue.recv_timeout(PATIENCE).unwrap();
    tieline_testkit::eventually("the group is empty", || std::fs::remove_dir(&group).is_ok());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    assert_eq!((*item, item.attempts()), (7, 1), "to the others it is a killed peer");
}

/// Each row of the page has its tests.
#[test]
fn the_page_of_errors_names_tests_that_there_are() {
    fn sources(directory: &Path, all: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&std::fs::read_to_string(path).expect("a source"));
            }
        }
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&here.join("src"), &mut all);
    sources(&here.join("tests"), &mut all);
    let page = std::fs::read_to_string(here.join("../../docs/shm-errors.md")).expect("the page");
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().expect("a row has columns");
        let names = || tests.split('`').skip(1).step_by(2);
        assert!(names().count() > 0, "no test is named for: {row}");
        for name in names().filter_map(|name| name.rsplit_once("::")).map(|(_, name)| name) {
            assert!(all.contains(&format!("fn {name}()")), "{name} is no test");
        }
        rows += 1;
    }
    assert!(rows > 20, "the page was not understood");
}
