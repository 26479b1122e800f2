//! Event counters.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tieline_os::ErrorKind;
use tieline_os::eventfd::EventFd;
use tieline_os::poll::{self, Interest};

#[test]
fn a_read_takes_all_or_one() {
    let counter = EventFd::new(3).unwrap();
    counter.add(4).unwrap();
    counter.add(0).unwrap();
    assert_eq!(counter.read().unwrap(), 7);
    assert!(counter.try_read().unwrap_err().is_would_block());
    assert!(counter.read_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());

    let semaphore = EventFd::semaphore(1).unwrap();
    semaphore.add(1).unwrap();
    assert_eq!((semaphore.read().unwrap(), semaphore.try_read().unwrap()), (1, 1));
    assert!(semaphore.try_read().unwrap_err().is_would_block());
}

/// Every permit of a semaphore goes to exactly one of many threads.
#[test]
fn permits_are_not_given_twice() {
    let semaphore = EventFd::semaphore(0).unwrap();
    let taken: u64 = std::thread::scope(|scope| {
        let takers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..250).map(|_| semaphore.read().unwrap()).sum::<u64>())).collect();
        for _ in 0..100 {
            semaphore.add(10).unwrap();
        }
        takers.into_iter().map(|taker| taker.join().unwrap()).sum()
    });
    assert_eq!(taken, 1000);
    assert!(semaphore.try_read().unwrap_err().is_would_block());
}

/// There is room for one but not for more: the writer sleeps, it does not spin, and goes on after enough reads.
#[test]
fn an_add_that_needs_more_room_sleeps_until_read() {
    let semaphore = EventFd::semaphore(0).unwrap();
    semaphore.add(EventFd::MAX - 1).unwrap();
    assert!(poll::try_wait(&semaphore, Interest::WRITABLE).is_ok(), "there is room for one");
    std::thread::scope(|scope| {
        let (sender, tid) = std::sync::mpsc::channel();
        let semaphore = &semaphore;
        let writer = scope.spawn(move || {
            sender.send(rustix::thread::gettid()).unwrap();
            semaphore.add(3)
        });
        let tid = tid.recv().unwrap().as_raw_nonzero().get() as u32;
        tieline_testkit::eventually("the writer sleeps", || tieline_testkit::sleeps(tid));
        semaphore.read().unwrap();
        semaphore.read().unwrap();
        writer.join().unwrap().unwrap();
    });
    assert!(semaphore.try_add(1).unwrap_err().is_would_block(), "full to the brim");
}

#[test]
fn only_a_counter_is_taken_over() {
    let counter = EventFd::new(5).unwrap();
    let fd = OwnedFd::from(counter);
    rustix::fs::fcntl_setfl(&fd, rustix::fs::OFlags::empty()).unwrap();
    let counter = EventFd::from_fd(fd).unwrap();
    assert_eq!(counter.read().unwrap(), 5);
    assert!(counter.try_read().unwrap_err().is_would_block(), "made non-blocking");

    let (reader, _writer) = std::io::pipe().unwrap();
    let error = EventFd::from_fd(reader.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("pipe:"), "{error}");
}

#[test]
fn a_descriptor_is_not_inherited() {
    let counter = EventFd::new(0).unwrap();
    assert!(rustix::io::fcntl_getfd(&counter).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}
