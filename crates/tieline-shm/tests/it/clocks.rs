//! Clocks that are set, and clocks that differ: every deadline is a span of this process's monotonic clock.

use std::process::Command;
use std::time::{Duration, Instant};

use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::sync::{Barrier, Condvar, Mutex, MutexOptions, Once, RwLock, RwLockOptions, Semaphore, WaitOutcome};
use tieline_shm::topic::Topic;
use tieline_shm::{ErrorKind, WaitSet};
use tieline_testkit::{Namespace, PATIENCE, Peer, role, skip, test_name};

const TIMEOUT: Duration = Duration::from_millis(30);

/// One wait for what does not come, of each kind there is, with the name of each.
fn wait_for_everything(at: &dyn Fn(&str) -> String, mut check: impl FnMut(&str, &mut dyn FnMut() -> bool)) {
    let timed_out = |kind: ErrorKind| kind == ErrorKind::TimedOut;

    let topic = Topic::<u64>::create(&at("topic")).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    check("a topic", &mut || timed_out(subscriber.recv_timeout(TIMEOUT).unwrap_err().kind()));
    let publisher = topic.publisher_options().depth(2).open().unwrap();
    while publisher.try_publish(&1).is_ok() {}
    check("room in a topic", &mut || timed_out(publisher.publish_timeout(&1, TIMEOUT).unwrap_err().kind()));
    while subscriber.try_recv().is_ok() {}
    // Two at once, which is another call of the kernel.
    let _second = topic.publisher().unwrap();
    check("two publishers", &mut || timed_out(subscriber.recv_timeout(TIMEOUT).unwrap_err().kind()));
    let mut set = WaitSet::new().unwrap();
    set.attach(&subscriber, 1).unwrap();
    check("a wait set", &mut || timed_out(set.wait_timeout(&mut Vec::new(), TIMEOUT).unwrap_err().kind()));

    let queue = Queue::<u64>::options().capacity(1).create(at("queue")).unwrap();
    check("a queue", &mut || timed_out(queue.recv_timeout(TIMEOUT).unwrap_err().kind()));
    while queue.try_send(&1).is_ok() {}
    check("room in a queue", &mut || timed_out(queue.send_timeout(&1, TIMEOUT).unwrap_err().kind()));

    let listener = Listener::bind(at("stream")).unwrap();
    check("a connection", &mut || timed_out(listener.accept_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
    let mut stream = Stream::connect(at("stream")).unwrap();
    check("bytes", &mut || timed_out(stream.reader().read_timeout(&mut [0], TIMEOUT).unwrap_err().kind()));

    let server = Server::<u64, u64>::bind(at("server")).unwrap();
    check("a request", &mut || timed_out(server.recv_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
    let client = Client::<u64, u64>::connect(at("server")).unwrap();
    check("a response", &mut || timed_out(client.call_timeout(&1, TIMEOUT).map(drop).unwrap_err().kind()));

    let event = Event::create(at("event")).unwrap();
    let mut bell = event.listener();
    check("an event", &mut || timed_out(bell.wait_timeout(&mut Vec::new(), TIMEOUT).unwrap_err().kind()));
    let mut writer = Latest::<u64>::at(at("latest")).unwrap().writer().unwrap();
    writer.write(&1).unwrap();
    let mut reader = Latest::<u64>::at(at("latest")).unwrap().reader().unwrap();
    let _ = reader.read().unwrap();
    check("a change", &mut || timed_out(reader.changed_timeout(TIMEOUT).unwrap_err().kind()));

    for inherit in [false, true] {
        let mutex = Mutex::anonymous(0_u64, &MutexOptions::new().inherit_priority(inherit)).unwrap();
        let held = mutex.lock().unwrap();
        check("a mutex", &mut || {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| timed_out(mutex.lock_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
                other.join().unwrap()
            })
        });
        drop(held);
    }
    let condition = Condvar::anonymous().unwrap();
    let mutex = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
    check("a signal", &mut || {
        let answer = condition.wait_timeout(mutex.lock().unwrap(), TIMEOUT);
        answer.unwrap().1 == WaitOutcome::TimedOut
    });
    let table = RwLock::anonymous(0_u64, &RwLockOptions::new()).unwrap();
    let reading = table.read().unwrap();
    check("a lock to write", &mut || {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| timed_out(table.write_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
            other.join().unwrap()
        })
    });
    drop(reading);
    let writing = table.write().unwrap();
    check("a lock to read", &mut || {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| timed_out(table.read_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
            other.join().unwrap()
        })
    });
    drop(writing);
    let permits = Semaphore::anonymous("none", 1).unwrap();
    let _permit = permits.acquire().unwrap();
    check("a permit", &mut || timed_out(permits.acquire_timeout(TIMEOUT).map(drop).unwrap_err().kind()));
    let barrier = Barrier::anonymous("two", 2).unwrap();
    let place = barrier.join().unwrap();
    check("a barrier", &mut || timed_out(place.wait_timeout(TIMEOUT).unwrap_err().kind()));
    let once = Once::anonymous().unwrap();
    once.call_once(|| {
        check("a once", &mut || {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| timed_out(once.call_once_timeout(TIMEOUT, || ()).unwrap_err().kind()));
                other.join().unwrap()
            })
        });
    })
    .unwrap();
}

#[test]
fn every_wait_ends_in_time() {
    let place = tempfile::tempdir().unwrap();
    wait_for_everything(&|name| format!("{}/{name}", place.path().display()), |what, wait| {
        let before = Instant::now();
        assert!(wait(), "{what}");
        let waited = before.elapsed();
        assert!((TIMEOUT..PATIENCE / 2).contains(&waited), "{what}: {waited:?}");
    });
}

/// What the kernel is asked, by its own account: a deadline on the clock that people set would be seen here.
#[test]
fn no_deadline_that_reaches_the_kernel_is_on_a_clock_that_can_be_set() {
    if let Some(me) = role() {
        let place = me.env("PLACE");
        return wait_for_everything(&|name| format!("{place}/{name}"), |what, wait| assert!(wait(), "{what}"));
    }
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("trace");
    let strace = || {
        let calls = "trace=futex,futex_waitv,clock_nanosleep,timerfd_create,timerfd_settime";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", calls, "-o"]).arg(&trace).stdout(std::process::Stdio::null());
        strace
    };
    if !strace().arg("true").status().is_ok_and(|status| status.success()) {
        skip!("needs strace, and to be allowed to trace");
    }
    let mut waiter = strace();
    waiter.env("TIELINE_TEST_ROLE", "waiter").env("PLACE", place.path());
    waiter.arg(std::env::current_exe().unwrap()).arg(test_name!()).args(["--exact", "--nocapture"]);
    let done = waiter.status().unwrap();
    assert!(done.success(), "{done}");
    let trace = std::fs::read_to_string(&trace).unwrap();
    let mut deadlines = 0;
    for line in trace.lines().filter(|line| line.contains("tv_sec=") || line.contains("timerfd_create")) {
        deadlines += 1;
        assert!(!line.contains("CLOCK_REALTIME"), "{line}");
        // This one, of old, takes its deadline on the clock of the day without saying so.
        assert!(!line.contains("FUTEX_LOCK_PI,") && !line.contains("FUTEX_LOCK_PI_PRIVATE,"), "{line}");
    }
    assert!(deadlines >= 15, "only {deadlines} deadlines were seen:\n{trace}");
}

fn seconds() -> u64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec.cast_unsigned()
}

/// As two containers may have them: no time that one process reads means anything to another.
#[test]
fn processes_whose_clocks_differ_talk_and_wait_for_each_other() {
    if let Some(me) = role() {
        let at = |name: &str| format!("{}/{name}", me.env("PLACE"));
        let (jobs, done) = (Queue::<u64>::open(at("jobs")).unwrap(), Queue::<u64>::open(at("done")).unwrap());
        let lock = Mutex::<u64>::open(at("lock")).unwrap();
        me.say(&seconds().to_string());
        loop {
            let job = jobs.recv_timeout(PATIENCE).unwrap();
            *lock.lock_timeout(PATIENCE).unwrap() += 1;
            assert!(jobs.recv_timeout(TIMEOUT).is_err_and(|error| error.is_timeout()));
            done.send_timeout(&job, PATIENCE).unwrap();
        }
    }
    if Namespace::renames_us() {
        skip!("an ordinary user is root inside, and there not known as the owner of what is outside");
    }
    if !Namespace::can_make(&[Namespace::Time]) {
        skip!("this machine does not let us make time namespaces");
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", place.path().display());
    let (jobs, done) = (Queue::<u64>::create(at("jobs")).unwrap(), Queue::<u64>::create(at("done")).unwrap());
    let lock = Mutex::create(at("lock"), 0_u64).unwrap();
    let there = Peer::of(test_name!()).role("there").env("PLACE", place.path());
    let mut there = there.namespaces(&[Namespace::Time]).spawn();
    let clock: u64 = there.hear().parse().unwrap();
    if clock < seconds() + 500_000 {
        skip!("this kernel gives a program no time namespace of its own (before Linux 6.1)");
    }
    for number in 1..=5 {
        let held = lock.lock().unwrap();
        jobs.send(&number).unwrap();
        // It waits for the lock meanwhile.
        assert!(done.recv_timeout(TIMEOUT).is_err_and(|error| error.is_timeout()));
        drop(held);
        assert_eq!(*done.recv_timeout(PATIENCE).unwrap(), number);
    }
    assert_eq!(*lock.lock().unwrap(), 5);
}
