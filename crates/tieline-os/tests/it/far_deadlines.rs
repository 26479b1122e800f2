//! Deadlines so far away that a clock, a C type or a kernel call cannot hold them: each wait takes them as "long", none
//! panics, ends at once or is refused.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tieline_os::epoll::{Epoll, Events};
use tieline_os::eventfd::EventFd;
use tieline_os::futex::{Futex, Waited};
use tieline_os::lock::{FileLock, LockKind};
use tieline_os::mapping::Mapping;
use tieline_os::pipe::pipe;
use tieline_os::poll::Interest;
use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::UnnamedSemaphore;
use tieline_os::pthread::{Mutex, MutexOptions, RwLock};
use tieline_os::sysv::msg::{Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::{Key, RemoveOnDrop, msg};
use tieline_os::timerfd::{Clock, Schedule, TimerFd};
use tieline_os::{Access, Mode, tcp, unix};
use tieline_testkit::{eventually, sleeps, unique_number};

use crate::memory::place_at;

/// Beyond every clock; the last second the kernel's type holds after now; the last an `i32` of seconds, and of
/// milliseconds, holds.
const FAR: [Duration; 4] = [
    Duration::MAX,
    Duration::from_secs(i64::MAX as u64 - (1 << 40)),
    Duration::from_secs(i32::MAX as u64 + 1),
    Duration::from_millis(i32::MAX as u64 + 1),
];

/// Waits on another thread with each of the far deadlines, and helps it when it sleeps.
fn each<T: Send>(what: &str, wait: impl Fn(Duration) -> T + Sync, mut help: impl FnMut()) -> Vec<T> {
    each_against(what, || (), wait, |()| help())
}

/// As [`each`], against something that is taken before each wait and given back as the help.
fn each_against<T: Send, U>(
    what: &str,
    mut prepare: impl FnMut() -> U,
    wait: impl Fn(Duration) -> T + Sync,
    mut help: impl FnMut(U),
) -> Vec<T> {
    let one = |far: Duration| {
        let prepared = prepare();
        let tid = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                tid.store(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), Ordering::Release);
                wait(far)
            });
            eventually(what, || {
                let tid = tid.load(Ordering::Acquire);
                assert!(!waiter.is_finished(), "{what} ended by itself, given {far:?}");
                tid != 0 && sleeps(tid)
            });
            help(prepared);
            waiter.join().unwrap()
        })
    };
    FAR.map(one).into()
}

#[test]
fn descriptors_wait_long() {
    let (reader, writer) = pipe().unwrap();
    each(
        "a read of a pipe",
        |far| reader.read_timeout(&mut [0], far).unwrap(),
        || assert_eq!(writer.write(b"x").unwrap(), 1),
    );

    let counter = EventFd::new(0).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&counter, 1, Interest::READABLE).unwrap();
    let wait = |far| {
        epoll.wait_timeout(&mut Events::with_capacity(1), far).unwrap();
        counter.read().unwrap()
    };
    each("a wait for events", wait, || counter.add(1).unwrap());

    let (here, there) = unix::Stream::pair().unwrap();
    each("a receive", |far| here.recv_timeout(&mut [0], far).unwrap(), || assert_eq!(there.send(b"x").unwrap(), 1));
}

#[test]
fn timers_take_any_time() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    for far in FAR {
        for schedule in [Schedule::after(far), Schedule::at(far), Schedule::after(Duration::ZERO).every(far)] {
            timer.set(schedule).unwrap();
            assert!(timer.remaining().unwrap().is_some(), "{schedule:?}");
        }
    }
}

#[test]
fn shared_words_and_locks_wait_long() {
    let memory = Mapping::anonymous(4096).unwrap();
    let word = Futex::in_region(&memory, 0).unwrap();
    let woken = each("a futex", |far| word.wait_timeout(0, far).unwrap(), || assert_eq!(word.wake(1).unwrap(), 1));
    assert!(woken.iter().all(|waited| *waited == Waited::Woken));

    let semaphore = UnnamedSemaphore::init(&memory, 64, 0).unwrap();
    each("a semaphore", |far| semaphore.wait_timeout(far).unwrap(), || semaphore.post().unwrap());

    for (place, options) in [(128, MutexOptions::new()), (256, MutexOptions::new().inherit_priority(true))] {
        let mutex = Mutex::create(place_at(&memory, place), options).unwrap();
        for far in FAR {
            drop(mutex.lock_timeout(far).unwrap());
        }
        each_against("a mutex", || mutex.lock().unwrap(), |far| drop(mutex.lock_timeout(far).unwrap()), drop);
    }
    let lock = RwLock::create(place_at(&memory, 512)).unwrap();
    for far in FAR {
        drop(lock.read_timeout(far).unwrap());
        drop(lock.write_timeout(far).unwrap());
    }
}

#[test]
fn system_v_waits_long() {
    let set = RemoveOnDrop::new(SemaphoreSet::create(Key::PRIVATE, 1, Mode::OWNER).unwrap());
    let take = |far| set.operate_timeout(&[Operation::new(0, -1)], far).unwrap();
    each("a semaphore set", take, || set.operate(&[Operation::new(0, 1)]).unwrap());

    let queue = RemoveOnDrop::new(msg::MessageQueue::create(Key::PRIVATE, Mode::OWNER).unwrap());
    let receive = |far| queue.receive_timeout(Selector::Oldest, Oversized::Cut, &mut [0; 8], far).unwrap().len;
    each("a message queue", receive, || queue.send(1, b"x").unwrap());
}

#[test]
fn posix_queues_and_file_locks_wait_long() {
    let name = format!("/tieline-far-{}", unique_number());
    let size = Attributes { capacity: 1, message_size: 8 };
    match MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER) {
        Ok(queue) => {
            MessageQueue::unlink(&name).unwrap();
            let receive = |far| queue.receive_timeout(&mut [0; 8], far).unwrap().len;
            each("a message queue", receive, || queue.send(b"x", 0).unwrap());
        }
        Err(error) => println!("no message queues here: {error}"),
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let (one, other) = (file.reopen().unwrap(), file.reopen().unwrap());
    let lock = || FileLock::lock(&one, LockKind::Exclusive).unwrap();
    let wait = |far| drop(FileLock::lock_timeout(&other, LockKind::Exclusive, far).unwrap());
    each_against("a file lock", lock, wait, drop);
}

/// Options that are times: too long a one is set as the longest or refused by a sentence, never a panic.
#[test]
fn socket_options_take_or_refuse_any_time() {
    let listener = tcp::Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_address().unwrap();
    for far in FAR {
        let stream = tcp::Stream::connect_timeout(address, far).unwrap();
        listener.accept_timeout(far).unwrap();
        let _ = stream.set_linger(Some(far));
        let _ = stream.set_user_timeout(Some(far));
        let _ = stream.set_keepalive(Some(tcp::Keepalive { idle: far, interval: far, probes: u8::MAX }));
        stream.set_linger(None).unwrap();
        assert!(stream.as_fd().try_clone_to_owned().is_ok());
    }
}
