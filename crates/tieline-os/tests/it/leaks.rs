//! No facility leaves a descriptor behind, neither when it works nor when it fails.

use std::time::Duration;

use tieline_os::epoll::{Epoll, Events, Options, Registration};
use tieline_os::eventfd::EventFd;
use tieline_os::inotify::{Inotify, What};
use tieline_os::namespace::{Kind, Namespace};
use tieline_os::pidfd::PidFd;
use tieline_os::poll::Interest;
use tieline_os::posix::mq::MessageQueue;
use tieline_os::process_memory::ProcessMemory;
use tieline_os::sock_diag::Monitor;
use tieline_os::spare::SpareDescriptor;
use tieline_os::timerfd::{Clock, Schedule, TimerFd};
use tieline_testkit::{Peer, test_name};

/// In a process of its own, because other tests of this one open and close descriptors all the time.
#[test]
fn descriptors_are_closed() {
    if tieline_testkit::role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get() as u32;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    use_everything(parent);
    let before = open();
    for _ in 0..10 {
        use_everything(parent);
    }
    assert_eq!(open(), before);
}

fn use_everything(parent: u32) {
    let epoll = Epoll::new().unwrap();
    let counter = EventFd::new(1).unwrap();
    let registered = Registration::new(&epoll, counter, 1, Interest::READABLE, Options::empty()).unwrap();
    epoll.wait(&mut Events::with_capacity(1)).unwrap();
    let counter = registered.into_source();
    // The slow path of an add makes an epoll of its own.
    counter.read().unwrap();
    counter.add(EventFd::MAX).unwrap();
    assert!(counter.add_timeout(1, Duration::from_millis(1)).unwrap_err().is_timeout());

    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    timer.set(Schedule::after(Duration::ZERO)).unwrap();
    timer.read().unwrap();
    let process = PidFd::open(parent).unwrap();
    assert!(PidFd::open(0).is_err());
    assert!(EventFd::from_fd(process.into()).is_err(), "refused and closed");
    let own = Namespace::own(Kind::Net).unwrap();
    if let Ok(mut monitor) = own.run(Monitor::open).unwrap() {
        drop(monitor.unix());
    }
    assert!(Namespace::of_process(parent, Kind::Ipc).is_ok());
    drop(MessageQueue::list_unmounted());
    let inotify = Inotify::new().unwrap();
    inotify.watch("/", What::CREATED).unwrap();
    assert!(ProcessMemory::open(std::process::id()).is_err());
    drop(ProcessMemory::open(parent));
    drop(SpareDescriptor::new().unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    SpareDescriptor::new().unwrap().refuse_one(&listener).unwrap();
}
