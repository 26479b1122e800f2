//! Kernels that lack what newer ones have, as far as a filter of system calls can pretend: everything works without it,
//! or says which Linux it needs.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_os::poll::Interest;
use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::sync::{Barrier, Condvar, LockError, Mutex, MutexOptions, Semaphore};
use tieline_shm::topic::{Publisher, Subscriber, Topic};
use tieline_shm::{Access, Error, ErrorKind, Name, Pages, SegmentOptions, WaitSet, Waiting};
use tieline_testkit::{Missing, PATIENCE, Peer, pause, pretend_missing, role, skip, test_name};

/// Long enough to be asleep.
const A_WHILE: Duration = Duration::from_millis(10);

/// Runs `body` in a process whose kernel lacks these, with a directory for names.
fn without(missing: &[Missing], test: &str, body: impl FnOnce(&Path)) {
    if let Some(me) = role() {
        me.say(if pretend_missing(missing) { "pretends" } else { "cannot" });
        return body(Path::new(&me.env("PLACE")));
    }
    let place = tempfile::tempdir().unwrap();
    let mut peer = Peer::of(test).role("older").env("PLACE", place.path()).spawn();
    if peer.hear() == "cannot" {
        skip!("this machine does not let us filter system calls");
    }
    peer.succeeds();
}

fn name(place: &Path, of: &str) -> Name {
    Name::new(&format!("{}/{of}", place.display())).unwrap()
}

fn subscriber(topic: &Topic<u64>, waiting: Waiting) -> Subscriber<u64> {
    topic.subscriber_options().waiting(waiting).open().unwrap()
}

/// What one does after a while is seen by another who sleeps until then.
fn seen<R: Send>(sleeper: impl FnOnce() -> R + Send, after_a_while: impl FnOnce()) -> R {
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(sleeper);
        pause(A_WHILE);
        after_a_while();
        sleeper.join().unwrap()
    })
}

fn topics_work(place: &Path) {
    for waiting in [Waiting::Block, Waiting::Adaptive, Waiting::Poll] {
        let topic = Topic::<u64>::open_or_create(name(place, "topic")).unwrap();
        let publishers: Vec<Publisher<u64>> = (0..3).map(|_| topic.publisher().unwrap()).collect();
        let mut subscriber = subscriber(&topic, waiting);
        assert!(subscriber.recv_timeout(A_WHILE).unwrap_err().is_timeout());
        for (value, publisher) in (0..).zip(&publishers) {
            let received = seen(|| *subscriber.recv_timeout(PATIENCE).unwrap(), || publisher.publish(&value).unwrap());
            assert_eq!(received, value, "{waiting:?}");
        }
        let late =
            seen(|| *subscriber.recv_timeout(PATIENCE).unwrap(), || topic.publisher().unwrap().publish(&99).unwrap());
        assert_eq!(late, 99, "of one that comes while the subscriber sleeps");
        let gone = seen(|| subscriber.recv_timeout(PATIENCE).unwrap_err(), || drop(publishers));
        assert_eq!(gone.kind(), ErrorKind::PeerGone);
    }
    // A publisher that waits for room.
    let topic = Topic::<u64>::open_or_create(name(place, "full")).unwrap();
    let publisher = topic.publisher_options().depth(2).waiting(Waiting::Block).open().unwrap();
    let mut slow = subscriber(&topic, Waiting::Block);
    publisher.publish_many(&[1, 2]).unwrap();
    assert!(publisher.publish_timeout(&3, A_WHILE).unwrap_err().is_timeout());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            pause(A_WHILE);
            assert_eq!([(); 3].map(|()| *slow.recv_timeout(PATIENCE).unwrap()), [1, 2, 3]);
        });
        publisher.publish_timeout(&3, PATIENCE).unwrap();
    });
}

fn queues_and_values_and_events_work(place: &Path) {
    let queue =
        Queue::<u64>::options().waiting(Waiting::Block).capacity(1).open_or_create(name(place, "queue")).unwrap();
    assert!(queue.recv_timeout(A_WHILE).unwrap_err().is_timeout());
    assert_eq!(seen(|| *queue.recv_timeout(PATIENCE).unwrap(), || queue.send(&7).unwrap()), 7);

    let mut writer = Latest::<u64>::at(name(place, "latest")).unwrap().writer().unwrap();
    let mut reader = Latest::<u64>::at(name(place, "latest")).unwrap().waiting(Waiting::Block).reader().unwrap();
    assert_eq!(seen(|| reader.changed_timeout(PATIENCE).unwrap(), || writer.write(&5).unwrap()), 5);

    let event = Event::options().open_or_create(name(place, "event")).unwrap();
    let mut listener = event.listener();
    let told = seen(
        || {
            let mut fired = Vec::new();
            listener.wait_timeout(&mut fired, PATIENCE).unwrap();
            fired[0].id
        },
        || event.notify(3).unwrap(),
    );
    assert_eq!(told, 3);
}

fn streams_and_calls_work(place: &Path) {
    let listener = Listener::bind(name(place, "stream")).unwrap();
    let mut near = Stream::connect(name(place, "stream")).unwrap().waiting(Waiting::Block);
    let mut far = listener.accept_timeout(PATIENCE).unwrap().waiting(Waiting::Block);
    let mut word = [0; 5];
    seen(|| far.read_exact(&mut word).unwrap(), || near.write_all(b"bytes").unwrap());
    assert_eq!(&word, b"bytes");
    let end = seen(|| far.read(&mut [0]).unwrap(), || drop(near));
    assert_eq!(end, 0);

    let server = Server::<u64, u64>::options().waiting(Waiting::Block).bind(name(place, "calls")).unwrap();
    let connect = || Client::<u64, u64>::connect(name(place, "calls")).unwrap().waiting(Waiting::Block);
    let clients = [connect(), connect(), connect()];
    assert!(server.recv_timeout(A_WHILE).unwrap_err().is_timeout());
    for (value, client) in (0..).zip(&clients) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let request = server.recv_timeout(PATIENCE).unwrap();
                let answer = *request + 100;
                pause(A_WHILE);
                request.respond(&answer).unwrap();
            });
            pause(A_WHILE);
            assert_eq!(*client.call_timeout(&value, PATIENCE).unwrap(), value + 100);
        });
    }
}

fn locks_work() {
    let mutex = Mutex::anonymous(1_u64, &MutexOptions::new()).unwrap();
    let guard = mutex.lock().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| *mutex.lock_timeout(PATIENCE).unwrap());
        pause(A_WHILE);
        drop(guard);
        assert_eq!(other.join().unwrap(), 1);
    });
    let semaphore = Semaphore::anonymous("permits", 1).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert_eq!(semaphore.acquire_timeout(A_WHILE).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| drop(semaphore.acquire_timeout(PATIENCE).unwrap()));
        pause(A_WHILE);
        drop(permit);
        other.join().unwrap();
    });
    let barrier = Barrier::anonymous("steps", 2).unwrap();
    let meet = || barrier.join().unwrap().wait_timeout(PATIENCE).unwrap();
    let leaders = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pause(A_WHILE);
            meet()
        });
        u32::from(meet()) + u32::from(other.join().unwrap())
    });
    assert_eq!(leaders, 1);
}

fn needs(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn before_linux_5_16_all_that_waits_waits_for_one_thing_at_a_time_or_by_doorbells() {
    without(&[Missing::FutexWaitv], &test_name!(), |place| {
        topics_work(place);
        queues_and_values_and_events_work(place);
        streams_and_calls_work(place);
        locks_work();
    });
}

/// Publishers of the same user ring by themselves; a queue's users have never met, so a thread must sleep for the set.
#[test]
fn before_linux_5_16_a_wait_set_takes_what_rings_by_itself_and_refuses_what_needs_the_relay() {
    without(&[Missing::FutexWaitv], &test_name!(), |place| {
        let topic = Topic::<u64>::open_or_create(name(place, "topic")).unwrap();
        let (publisher, mut subscriber) = (topic.publisher().unwrap(), topic.subscriber().unwrap());
        let queue = Queue::<u64>::open_or_create(name(place, "queue")).unwrap();
        let (pipe, mut other) = std::io::pipe().unwrap();
        let mut set = WaitSet::new().unwrap();
        set.attach(&subscriber, 1).unwrap();
        needs(&set.attach(&queue, 2).unwrap_err(), "Linux 5.16");
        set.attach_fd(&pipe, Interest::READABLE, 3).unwrap();
        let mut ready = Vec::new();
        let first = |set: &mut WaitSet, ready: &mut Vec<_>| set.wait_timeout(ready, PATIENCE).map(|_| ());
        seen(|| first(&mut set, &mut ready).unwrap(), || publisher.publish(&4).unwrap());
        assert_eq!(ready[0].token, 1);
        assert_eq!(*subscriber.try_recv().unwrap(), 4);
        seen(|| first(&mut set, &mut ready).unwrap(), || other.write_all(b"x").unwrap());
        assert_eq!(ready[0].token, 3);
    });
}

#[test]
fn before_linux_5_16_a_condition_variable_says_what_it_needs_and_the_lock_is_free() {
    without(&[Missing::FutexWaitv], &test_name!(), |_| {
        let mutex = Mutex::anonymous(1_u64, &MutexOptions::new()).unwrap();
        let condvar = Condvar::anonymous().unwrap();
        let Err(LockError::Failed(error)) = condvar.wait_timeout(mutex.lock().unwrap(), A_WHILE) else {
            panic!("it cannot")
        };
        needs(&error, "Linux 5.16");
        drop(mutex.try_lock().unwrap());
    });
}

/// Who has no `membarrier` uses fences, and meets who has one.
#[test]
fn without_membarrier_no_wake_up_is_lost() {
    const ROUNDS: u64 = 3000;
    let (there, back) = ("there", "back");
    if let Some(me) = role() {
        me.say(if pretend_missing(&[Missing::Membarrier]) { "pretends" } else { "cannot" });
        let place = me.env("PLACE");
        let topic = |of| Topic::<u64>::open_or_create(name(Path::new(&place), of)).unwrap();
        let publisher = topic(back).publisher().unwrap();
        let mut subscriber = subscriber(&topic(there), Waiting::Block);
        me.say("ready");
        for _ in 0..ROUNDS {
            let value = *subscriber.recv_timeout(PATIENCE).unwrap();
            publisher.publish(&(value + 1)).unwrap();
        }
        // Admitting somebody while it publishes needs all its threads to pass a barrier.
        me.wait_for("publish");
        let is_enough = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                me.wait_for("enough");
                is_enough.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let mut value = 0;
            while !is_enough.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.publish(&value).unwrap();
                value += 1;
            }
        });
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let topic = |of| Topic::<u64>::open_or_create(name(place.path(), of)).unwrap();
    let publisher = topic(there).publisher().unwrap();
    let mut peer = Peer::of(test_name!()).role("echo").env("PLACE", place.path()).spawn();
    if peer.hear() == "cannot" {
        skip!("this machine does not let us filter system calls");
    }
    peer.wait_for("ready");
    let mut echo = subscriber(&topic(back), Waiting::Block);
    for round in 0..ROUNDS {
        publisher.publish(&round).unwrap();
        assert_eq!(*echo.recv_timeout(PATIENCE).unwrap(), round + 1);
    }
    drop(echo);
    peer.say("publish");
    for _ in 0..30 {
        let mut late = subscriber(&topic(back), Waiting::Block);
        let first = *late.recv_timeout(PATIENCE).unwrap();
        for next in 1..20 {
            assert_eq!(*late.recv_timeout(PATIENCE).unwrap(), first + next, "whole from its start");
        }
    }
    peer.say("enough");
    peer.succeeds();
}

#[test]
fn without_what_came_between_linux_4_13_and_6_16_everything_works() {
    let missing = [
        Missing::FutexWaitv,
        Missing::Membarrier,
        Missing::EpollPwait2,
        Missing::Populate,
        Missing::NoexecSeal,
        Missing::PassRights,
        Missing::PeerGroups,
        Missing::Openat2,
        Missing::Pidfd,
        Missing::MemoryPolicy,
    ];
    without(&missing, &test_name!(), |place| {
        topics_work(place);
        queues_and_values_and_events_work(place);
        streams_and_calls_work(place);
        locks_work();
        let segment = SegmentOptions::new("wishes").numa_node(0).create(4096).unwrap();
        assert_eq!((segment.obtained().numa_node, segment.obtained().pages), (None, Pages::Usual));
        segment.write(4095, b"x").unwrap();
    });
}

/// What only its creator may write cannot be promised without the seal; all else goes on.
#[test]
fn before_linux_5_1_a_publisher_says_what_it_needs() {
    without(&[Missing::FutureWriteSeal], &test_name!(), |place| {
        let topic = Topic::<u64>::open_or_create(name(place, "topic")).unwrap();
        needs(&topic.publisher().unwrap_err(), "Linux 5.1");
        queues_and_values_and_events_work(place);
        streams_and_calls_work(place);
    });
}

/// Sandboxes refuse robust lists: then nobody could see a death by a load, so nobody shares.
#[test]
fn without_robust_lists_what_needs_them_says_so_and_topics_work() {
    without(&[Missing::RobustLists], &test_name!(), |place| {
        needs(&Queue::<u64>::open_or_create(name(place, "queue")).unwrap_err(), "robust");
        let mutex = Mutex::anonymous(1_u64, &MutexOptions::new()).unwrap();
        let Err(LockError::Failed(error)) = mutex.lock() else { panic!("it cannot") };
        needs(&error, "list of held locks");
        topics_work(place);
        streams_and_calls_work(place);
    });
}

/// Nothing sleeps for a fixed time where a call of the kernel is there.
#[test]
fn the_pretence_is_needed_to_wait_in_naps() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::<u64, u64>::options()
        .access(Access::owner())
        .waiting(Waiting::Block)
        .bind(name(place.path(), "calls"))
        .unwrap();
    let _clients: Vec<_> = (0..3).map(|_| Client::<u64, u64>::connect(name(place.path(), "calls")).unwrap()).collect();
    let switches = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let (before, began) = (switches(), Instant::now());
    assert!(server.recv_timeout(Duration::from_millis(200)).unwrap_err().is_timeout());
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(switches() - before < 20, "it would be 100 in naps");
}
