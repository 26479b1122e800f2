//! Lines 54 to 64: POSIX message queues.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use tieline_os::posix::mq::{self, Attributes, MessageQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::signal::{Flag, Signal};
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{PATIENCE, Peer, Role, eventually, pause, role, test_name, until};

use crate::posix::{SMALL, ScratchName, scratch_queue};

/// The queue a peer was told of.
fn told(me: &Role) -> MessageQueue {
    MessageQueue::open(me.env("QUEUE"), Access::ReadWrite).unwrap()
}

fn peer(test: String, role: &str, name: &ScratchName) -> Peer {
    Peer::of(test).role(role).env("QUEUE", name.as_str()).spawn()
}

/// Given messages of several priorities, when they are received, then the highest priority comes first and the oldest
/// first within one.
#[test]
fn line054_highest_priority_first_then_oldest() {
    let name = ScratchName::new();
    let size = Attributes { capacity: 8, message_size: 8 };
    let queue = MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER).unwrap();
    for (text, priority) in [("low 1", 0), ("mid 1", 5), ("top 1", 32767), ("mid 2", 5), ("low 2", 0), ("top 2", 32767)]
    {
        queue.send(text.as_bytes(), priority).unwrap();
    }
    let mut buffer = [0; 8];
    for (text, priority) in [("top 1", 32767), ("top 2", 32767), ("mid 1", 5), ("mid 2", 5), ("low 1", 0), ("low 2", 0)]
    {
        let received = queue.try_receive(&mut buffer).unwrap();
        assert_eq!((&buffer[..received.len], received.priority), (text.as_bytes(), priority));
    }
}

/// Given a message of one byte, when the buffer is one byte shorter than the queue's messages may be, then the answer
/// is `EMSGSIZE` though the message would fit, and the message stays.
#[test]
fn line055_a_buffer_must_hold_the_largest_message() {
    let (_name, queue) = scratch_queue();
    queue.send(b"x", 0).unwrap();
    let error = queue.try_receive(&mut [0; 31]).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, Some(libc::EMSGSIZE)));
    assert!(error.to_string().contains("31 bytes and needs 32"), "{error}");
    assert_eq!(queue.depth().unwrap(), 1);
    assert_eq!(queue.try_receive(&mut [0; 32]).unwrap().len, 1);
}

/// Given a queue, when it is opened or created again with another size, then it keeps its own. (That `mq_setattr`
/// changes only `O_NONBLOCK` needs no care here: this crate does not call it.)
#[test]
fn line056_an_existing_queue_keeps_its_size() {
    let (name, queue) = scratch_queue();
    let other = Attributes { capacity: 7, message_size: 99 };
    let again = MessageQueue::open_or_create(&name, other, Access::ReadWrite, Mode::ANYONE).unwrap();
    assert_eq!((again.attributes(), queue.attributes()), (SMALL, SMALL));
    again.send(b"same queue", 0).unwrap();
    assert_eq!(queue.depth().unwrap(), 1);
    // Even a size beyond all limits does not matter to a queue that exists.
    let beyond = Attributes { capacity: 1 << 20, message_size: 1 << 30 };
    assert_eq!(
        MessageQueue::open_or_create(&name, beyond, Access::ReadWrite, Mode::OWNER).unwrap().attributes(),
        SMALL
    );
}

/// Given a name without a leading slash (the kernel's `EINVAL`) or with a second one (`EACCES`), when a queue is
/// created, opened or unlinked, then both are refused alike with the reason, before the kernel is asked.
#[test]
fn line057_a_name_has_one_slash_in_front() {
    for (name, why) in
        [("none", "must begin with a slash"), ("/one/two", "no slash but the first"), ("/", "must follow")]
    {
        for error in [
            MessageQueue::create(name, SMALL, Access::ReadWrite, Mode::OWNER).unwrap_err(),
            MessageQueue::open(name, Access::ReadWrite).unwrap_err(),
            MessageQueue::unlink(name).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None));
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}

/// Given a umask of 027, when a queue, a semaphore and shared memory are created with mode 0666, then each has 0640.
/// In a process of its own, because the umask is the whole process's.
#[test]
fn line058_the_umask_applies_to_all_three() {
    use std::os::unix::fs::MetadataExt;
    if let Some(me) = role() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        let name = me.env("QUEUE");
        let queue = MessageQueue::create(&name, SMALL, Access::ReadWrite, Mode::ANYONE).unwrap();
        NamedSemaphore::create(&name, 0, Mode::ANYONE).unwrap();
        SharedMemory::create(&name, 1, Mode::ANYONE).unwrap();
        let mode = std::fs::File::from(OwnedFd::from(queue)).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
        for listed in [NamedSemaphore::list().unwrap(), SharedMemory::list().unwrap()] {
            let entry = listed.into_iter().find(|entry| entry.name == *name).unwrap();
            assert_eq!(entry.mode.bits(), 0o640);
        }
        return;
    }
    let name = ScratchName::new();
    peer(test_name!(), "creator", &name).succeeds();
}

/// Given a queue's descriptor, then it is closed on exec, shows up in `poll`, and when it is shared (as a child made by
/// `fork` shares it), then `O_NONBLOCK` set through one is seen through the other.
#[test]
fn line059_a_queue_is_a_descriptor_with_shared_flags() {
    use rustix::event::{PollFd, PollFlags};
    if role().is_some() {
        // Standard input is the parent's queue: the same open description, as after a fork.
        let queue = MessageQueue::from_fd(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).unwrap()).unwrap();
        assert!(queue.try_receive(&mut [0; 32]).unwrap_err().is_would_block());
        let flags = rustix::fs::fcntl_getfl(&queue).unwrap();
        rustix::fs::fcntl_setfl(&queue, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        queue.send(b"poll me", 0).unwrap();
        return;
    }
    let (_name, queue) = scratch_queue();
    for fd in [queue.as_fd(), queue.try_clone().unwrap().as_fd()] {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
    let nonblock = || rustix::fs::fcntl_getfl(&queue).unwrap().contains(rustix::fs::OFlags::NONBLOCK);
    assert!(!nonblock());
    let shared = OwnedFd::from(queue.try_clone().unwrap());
    Peer::of(test_name!()).role("sharer").stdin(shared).spawn().succeeds();
    assert!(nonblock());
    let mut fds = [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None).unwrap(), 1);
    assert_eq!(queue.try_receive(&mut [0; 32]).unwrap().len, 7);
}

/// Given a registration for a signal, then a second registrant gets `EBUSY`; when messages arrive, then only the step
/// from empty to not empty signals, and only once; a registration made while messages are there hears of the next
/// arrival only after the queue was emptied, which is why one registers again before draining.
#[test]
fn line060_notification_is_one_shot_and_on_the_edge() {
    if let Some(me) = role() {
        let signals = Flag::new(Signal::USR1).unwrap();
        let queue = told(&me);
        let mut buffer = [0; 32];
        let arrived = || eventually("the signal comes", || signals.take() == 1);
        let silent = || {
            pause(Duration::from_millis(30));
            assert!(!signals.is_raised());
        };
        queue.notify_signal(Signal::USR1, 7).unwrap();
        assert_eq!(
            queue.notify_signal(Signal::USR1, 7).unwrap_err().kind(),
            ErrorKind::Busy,
            "not even ourselves twice"
        );
        me.say("registered");
        me.wait_for("tried");
        queue.send(b"1", 0).unwrap();
        arrived();
        // One shot: emptied and filled again, nothing comes.
        let _ = queue.try_receive(&mut buffer).unwrap();
        queue.send(b"2", 0).unwrap();
        silent();
        // Registered too late: the message is there already, and one more makes no edge.
        queue.notify_signal(Signal::USR1, 7).unwrap();
        queue.send(b"3", 0).unwrap();
        silent();
        // Registered, then drained: the next arrival is the edge.
        while queue.try_receive(&mut buffer).is_ok() {}
        queue.send(b"4", 0).unwrap();
        arrived();
        // A cancelled registration is silent, and leaves the place to others.
        let _ = queue.try_receive(&mut buffer).unwrap();
        queue.notify_signal(Signal::USR1, 7).unwrap();
        queue.cancel_notify().unwrap();
        queue.send(b"5", 0).unwrap();
        silent();
        me.say("done");
        return;
    }
    let (name, queue) = scratch_queue();
    let mut registrant = peer(test_name!(), "registrant", &name);
    registrant.wait_for("registered");
    let error = queue.notify_signal(Signal::USR1, 0).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Busy, Some(libc::EBUSY)));
    registrant.say("tried");
    registrant.wait_for("done");
    registrant.succeeds();
}

/// Given a registration and a process that blocks in receive, when a message arrives, then the receiver gets it and
/// no signal is sent; the registration stays for the next. A receiver with a deadline waits by `poll` here and does
/// not keep the signal back.
#[test]
fn line061_a_blocked_receiver_comes_before_the_notification() {
    if let Some(me) = role() {
        let queue = told(&me);
        match me.name() {
            "registrant" => {
                let signals = Flag::new(Signal::USR1).unwrap();
                queue.notify_signal(Signal::USR1, 0).unwrap();
                me.say("registered");
                me.wait_for("look");
                assert!(!signals.is_raised(), "the blocked receiver has had it");
                me.say("silent");
                eventually("the signal comes", || signals.take() == 1);
            }
            "receiver" => drop(queue.receive(&mut [0; 32]).unwrap()),
            _ => drop(queue.receive_timeout(&mut [0; 32], PATIENCE).unwrap()),
        }
        return;
    }
    let (name, queue) = scratch_queue();
    let mut registrant = peer(test_name!(), "registrant", &name);
    registrant.wait_for("registered");
    let receiver = peer(test_name!(), "receiver", &name);
    waits_in(&receiver, &[libc::SYS_mq_timedreceive]);
    queue.send(b"for the receiver", 0).unwrap();
    receiver.succeeds();
    registrant.say("look");
    registrant.wait_for("silent");
    let timed = peer(test_name!(), "timed receiver", &name);
    waits_in(&timed, POLLS);
    queue.send(b"for both", 0).unwrap();
    timed.succeeds();
    registrant.succeeds();
}

/// The system calls that wait for descriptors.
#[cfg(target_arch = "x86_64")]
const POLLS: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll];
#[cfg(not(target_arch = "x86_64"))]
const POLLS: &[i64] = &[libc::SYS_ppoll];

/// Waits until a thread of the peer sleeps in one of these system calls; in any, if this machine does not tell us which.
fn waits_in(peer: &Peer, calls: &[i64]) {
    let tasks = format!("/proc/{}/task", peer.id());
    if std::fs::read_to_string(format!("/proc/{}/syscall", peer.id())).is_err() {
        return peer.sleeps();
    }
    until("the peer waits in the kernel", || {
        std::fs::read_dir(&tasks).ok()?.flatten().find_map(|task| {
            let call = std::fs::read_to_string(task.path().join("syscall")).ok()?;
            let number: i64 = call.split(' ').next()?.parse().ok()?;
            calls.contains(&number).then_some(())
        })
    });
}

/// Given a registration, when its process closes its descriptor of the queue, execs another program or dies, then the
/// registration is gone and another process may register.
#[test]
fn line062_closing_and_exec_end_a_registration() {
    if let Some(me) = role() {
        let queue = told(&me);
        queue.notify_signal(Signal::USR1, 0).unwrap();
        me.say("registered");
        me.wait_for("go on");
        match me.name() {
            "closes" => {
                drop(queue);
                me.say("closed");
                me.wait_for("end");
            }
            "execs" => {
                let error = std::process::Command::new("sleep").arg("60").exec();
                panic!("cannot exec: {error}");
            }
            _ => me.wait_for("a kill"),
        }
        return;
    }
    let (name, queue) = scratch_queue();
    let busy = || queue.notify_signal(Signal::USR1, 0).err().map(|error| error.kind());
    for how in ["closes", "execs", "dies"] {
        let mut registrant = peer(test_name!(), how, &name);
        registrant.wait_for("registered");
        assert_eq!(busy(), Some(ErrorKind::Busy));
        registrant.say("go on");
        match how {
            "closes" => registrant.wait_for("closed"),
            "execs" => {}
            _ => registrant.kill(),
        }
        until(&format!("the registrant {how}"), || busy().is_none().then_some(()));
        queue.cancel_notify().unwrap();
    }
}

/// Given that the kernel's timed calls follow the wall clock, when we wait with a deadline, then the wait is a poll
/// on the monotonic clock, which no step of the wall clock reaches; and given a deadline in the past, when data is
/// ready, then it is had. (The step itself is not made: it would be the whole machine's.)
#[test]
fn line063_deadlines_are_monotonic_and_a_past_one_still_takes_what_is_ready() {
    if let Some(me) = role() {
        let queue = told(&me);
        match me.name() {
            "receives" => drop(queue.receive_timeout(&mut [0; 32], PATIENCE).unwrap()),
            _ => queue.send_timeout(b"room at last", 0, PATIENCE).unwrap(),
        }
        return;
    }
    let (name, queue) = scratch_queue();
    let receiver = peer(test_name!(), "receives", &name);
    waits_in(&receiver, POLLS);
    queue.send(b"now", 0).unwrap();
    receiver.succeeds();
    for _ in 0..SMALL.capacity {
        queue.send_timeout(b"ready", 0, Duration::ZERO).unwrap();
    }
    let sender = peer(test_name!(), "sends", &name);
    waits_in(&sender, POLLS);
    let _ = queue.receive_timeout(&mut [0; 32], Duration::ZERO).unwrap();
    sender.succeeds();
    for _ in 0..SMALL.capacity {
        let _ = queue.receive_timeout(&mut [0; 32], Duration::ZERO).unwrap();
    }
    let begin = Instant::now();
    assert!(queue.receive_timeout(&mut [0; 32], Duration::ZERO).unwrap_err().is_timeout());
    assert!(begin.elapsed() < PATIENCE);
}

/// Given a process without `CAP_SYS_RESOURCE`, when a queue is larger than `msg_max` or `msgsize_max`, then `EINVAL`,
/// and the error names the limit; when a queue does not fit into `RLIMIT_MSGQUEUE` any more, then `EMFILE`. By
/// default that is the ninth of 10 messages of 8192 bytes; here, with a quarter of the default and so as not to
/// starve others, the third, or an earlier one if this user has others.
#[test]
fn line064_limits_are_named_when_they_are_reached() {
    if role().is_none() {
        Peer::of(test_name!()).role("limited").spawn().succeeds();
        return;
    }
    let limits = mq::limits().unwrap();
    let refused = |size| {
        let name = ScratchName::new();
        MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER).unwrap_err()
    };
    if limits.capacity < 65536 && !has_sys_resource() {
        for (size, file) in [
            (Attributes { capacity: limits.capacity + 1, message_size: 1 }, "mqueue/msg_max"),
            (Attributes { capacity: 1, message_size: limits.message_size + 1 }, "mqueue/msgsize_max"),
        ] {
            let error = refused(size);
            assert_eq!((error.kind(), error.errno()), (ErrorKind::LimitReached, Some(libc::EINVAL)));
            assert!(error.to_string().contains(file), "{error}");
        }
    } else {
        tieline_testkit::skipped(&test_name!(), "with CAP_SYS_RESOURCE msg_max and msgsize_max do not bind");
    }

    let quarter = rustix::process::Rlimit { current: Some(819_200 / 4), maximum: limits.bytes };
    if rustix::process::setrlimit(rustix::process::Resource::Msgqueue, quarter).is_err() {
        tieline_testkit::skip!("RLIMIT_MSGQUEUE is {:?} here", limits.bytes);
    }
    let size = Attributes { capacity: 10, message_size: 8192 };
    let names = [(); 3].map(|()| ScratchName::new());
    let made = names.each_ref().map(|name| MessageQueue::create(name, size, Access::ReadWrite, Mode::OWNER));
    let error = made.into_iter().find_map(Result::err).expect("no room for three");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::LimitReached, Some(libc::EMFILE)));
    assert!(error.to_string().contains("RLIMIT_MSGQUEUE (204800)"), "{error}");
}

/// Whether this process may pass the limits: bit 24 of the effective capabilities.
fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 24) != 0
}
