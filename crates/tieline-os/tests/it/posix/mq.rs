//! Message queues.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tieline_os::posix::mq::{Attributes, Listed, MessageQueue, PRIORITY_MAX};
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{Isolation, Namespace, PATIENCE, Peer, role, test_name};

use super::{SMALL, ScratchName, scratch_queue};

#[test]
fn a_queue_is_made_once_and_found_by_name() {
    let (name, queue) = scratch_queue();
    let again = MessageQueue::create(&name, SMALL, Access::ReadWrite, Mode::OWNER).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert!(again.to_string().contains(name.as_str()), "{again}");
    assert_eq!((queue.capacity(), queue.message_size(), queue.depth().unwrap()), (3, 32, 0));
    let sender = MessageQueue::open(&name, Access::WriteOnly).unwrap();
    sender.send(b"over there", 3).unwrap();
    assert_eq!(queue.depth().unwrap(), 1);
    let mut buffer = [0; 32];
    let received = queue.receive(&mut buffer).unwrap();
    assert_eq!((&buffer[..received.len], received.priority), (&b"over there"[..], 3));
    MessageQueue::unlink(&name).unwrap();
    assert_eq!(MessageQueue::unlink(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(MessageQueue::open(&name, Access::ReadOnly).unwrap_err().kind(), ErrorKind::NotFound);
    sender.send(b"still works", 0).unwrap();
}

/// The size nobody asked for is the namespace's default, cut to what it allows at most.
#[test]
fn a_queue_of_default_size_has_the_namespaces_default() {
    let name = ScratchName::new();
    let queue = MessageQueue::open_or_create_default(&name, Access::ReadWrite, Mode::OWNER).unwrap();
    let sysctl = |file: &str| -> usize {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{file}")).unwrap();
        text.trim().parse().unwrap()
    };
    let expected = Attributes {
        capacity: sysctl("msg_default").min(sysctl("msg_max")),
        message_size: sysctl("msgsize_default").min(sysctl("msgsize_max")),
    };
    assert_eq!(queue.attributes(), expected);
    queue.send(b"kept", 0).unwrap();
    let again = MessageQueue::open_or_create_default(&name, Access::ReadOnly, Mode::OWNER).unwrap();
    assert_eq!(again.depth().unwrap(), 1);
}

#[test]
fn full_and_empty_are_would_block_or_a_deadline() {
    let (_name, queue) = scratch_queue();
    let mut buffer = [0; 32];
    let short = Duration::from_millis(30);
    assert!(queue.try_receive(&mut buffer).unwrap_err().is_would_block());
    let begin = Instant::now();
    assert!(queue.receive_timeout(&mut buffer, short).unwrap_err().is_timeout());
    assert!(begin.elapsed() >= short);
    for _ in 0..3 {
        queue.try_send(b"fill", 0).unwrap();
    }
    assert!(queue.try_send(b"one more", 0).unwrap_err().is_would_block());
    let begin = Instant::now();
    assert!(queue.send_timeout(b"one more", 0, short).unwrap_err().is_timeout());
    assert!(begin.elapsed() >= short);
    assert_eq!(queue.depth().unwrap(), 3);
    let _ = queue.receive_timeout(&mut buffer, Duration::MAX).unwrap();
    queue.send_timeout(b"fits", 0, Duration::MAX).unwrap();
}

/// A peer that empties and fills lets our waits end, whichever of the two forms of waiting is used.
#[test]
fn a_peer_ends_a_wait() {
    let name = |suffix: &str, me: &tieline_testkit::Role| format!("{}-{suffix}", me.env("OBJECT"));
    if let Some(me) = role() {
        let requests = MessageQueue::open(name("a", &me), Access::ReadOnly).unwrap();
        let answers = MessageQueue::open(name("b", &me), Access::WriteOnly).unwrap();
        let mut buffer = [0; 32];
        for _ in 0..200 {
            let received = requests.receive(&mut buffer).unwrap();
            answers.send_timeout(&buffer[..received.len], received.priority, PATIENCE).unwrap();
        }
        return;
    }
    let base = ScratchName::new();
    struct Both(String);
    impl Drop for Both {
        fn drop(&mut self) {
            for suffix in ["a", "b"] {
                let _ = MessageQueue::unlink(format!("{}-{suffix}", self.0));
            }
        }
    }
    let both = Both(base.as_str().to_owned());
    let make = |suffix| MessageQueue::create(format!("{}-{suffix}", both.0), SMALL, Access::ReadWrite, Mode::OWNER);
    let (requests, answers) = (make("a").unwrap(), make("b").unwrap());
    let peer = Peer::of(test_name!()).role("echo").env("OBJECT", base.as_str()).spawn();
    let mut buffer = [0; 32];
    for round in 0..200_u32 {
        requests.send_timeout(&round.to_ne_bytes(), round, PATIENCE).unwrap();
        let received = answers.receive_timeout(&mut buffer, PATIENCE).unwrap();
        assert_eq!((&buffer[..received.len], received.priority), (&round.to_ne_bytes()[..], round));
    }
    peer.succeeds();
}

/// Messages outlive the one who sent them.
#[test]
fn a_killed_sender_leaves_its_messages() {
    if let Some(me) = role() {
        MessageQueue::open(me.env("OBJECT"), Access::WriteOnly).unwrap().send(b"last words", 0).unwrap();
        me.say("sent");
        me.wait_for("never");
        return;
    }
    let (name, queue) = scratch_queue();
    let mut peer = Peer::of(test_name!()).role("sender").env("OBJECT", name.as_str()).spawn();
    peer.wait_for("sent");
    peer.kill();
    let mut buffer = [0; 32];
    assert_eq!(queue.try_receive(&mut buffer).unwrap().len, 10);
}

#[test]
fn sizes_and_priorities_are_checked() {
    let (name, queue) = scratch_queue();
    queue.send(&[1; 32], PRIORITY_MAX).unwrap();
    queue.send(&[], 0).unwrap();
    let error = queue.send(&[1; 33], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("33 bytes do not fit into its messages of 32"), "{error}");
    assert_eq!(queue.send(b"", PRIORITY_MAX + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut buffer = [0; 32];
    assert_eq!(queue.receive(&mut buffer).unwrap().priority, PRIORITY_MAX);
    assert_eq!(queue.receive(&mut buffer).unwrap().len, 0);

    let other = ScratchName::new();
    let sizes = [(0, 32), (3, 0), (usize::MAX, 32), (3, usize::MAX)];
    for (capacity, message_size) in sizes {
        let size = Attributes { capacity, message_size };
        let error = MessageQueue::create(&other, size, Access::ReadWrite, Mode::OWNER).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None), "{size:?}: {error}");
    }
    let reader = MessageQueue::open(&name, Access::ReadOnly).unwrap();
    assert_eq!(reader.try_send(b"", 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let writer = MessageQueue::open(&name, Access::WriteOnly).unwrap();
    let error = writer.try_receive(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("open for writing only"), "{error}");
}

/// `O_NONBLOCK` on a shared descriptor is left as it is, and a wait waits all the same.
#[test]
fn the_shared_flag_is_neither_used_nor_obeyed() {
    let (_name, queue) = scratch_queue();
    let flags = || rustix::fs::fcntl_getfl(&queue).unwrap();
    let before = flags();
    queue.try_receive(&mut [0; 32]).unwrap_err();
    queue.receive_timeout(&mut [0; 32], Duration::from_millis(1)).unwrap_err();
    assert_eq!(flags(), before);

    rustix::fs::fcntl_setfl(&queue, before | rustix::fs::OFlags::NONBLOCK).unwrap();
    let other = queue.try_clone().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| other.receive(&mut [0; 32]).unwrap().len);
        queue.send(b"four", 0).unwrap();
        assert_eq!(receiver.join().unwrap(), 4);
    });
    assert!(flags().contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn a_received_descriptor_is_checked() {
    let (_name, queue) = scratch_queue();
    queue.send(b"kept", 0).unwrap();
    let received = MessageQueue::from_fd(OwnedFd::from(queue)).unwrap();
    assert_eq!((received.attributes(), received.depth().unwrap()), (SMALL, 1));
    let (pipe, _writer) = std::io::pipe().unwrap();
    let error = MessageQueue::from_fd(pipe.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn it_polls_like_any_descriptor() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let (_name, queue) = scratch_queue();
    let shows = || {
        let mut fds = [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN | PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        fds[0].revents()
    };
    assert_eq!(shows(), PollFlags::OUT);
    queue.send(b"", 0).unwrap();
    assert_eq!(shows(), PollFlags::IN | PollFlags::OUT);
    queue.send(b"", 0).unwrap();
    queue.send(b"", 0).unwrap();
    assert_eq!(shows(), PollFlags::IN);
}

#[test]
fn queues_are_listed_from_their_file_system() {
    if let Some(me) = role() {
        return hold_a_queue(&me);
    }
    let unmounted = tempfile::tempdir().unwrap();
    let error = MessageQueue::list_at(unmounted.path()).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("mount -t mqueue"), "{error}");
    assert_eq!(MessageQueue::list_at(unmounted.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);

    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let mounted = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount").args(["-t", "mqueue", "none"]).arg(mounted.path()).status();
    if !mount.is_ok_and(|status| status.success()) {
        tieline_testkit::skip!("mqueuefs cannot be mounted here");
    }
    assert_eq!(MessageQueue::list_at(mounted.path()).unwrap(), []);
    check_a_held_queue(Peer::of(test_name!()), || MessageQueue::list_at(mounted.path()).unwrap());
    let _ = std::process::Command::new("umount").arg(mounted.path()).status();
}

/// Given no mount of the queues' file system, then they are listed all the same, and no mount is left anywhere.
#[test]
fn queues_are_listed_without_a_mount() {
    if let Some(me) = role() {
        return hold_a_queue(&me);
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let mounts = || std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let before = mounts();
    let empty = match MessageQueue::list_unmounted() {
        Err(error) if error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied => {
            tieline_testkit::skip!("{error}")
        }
        listed => listed.unwrap(),
    };
    assert_eq!(empty, []);
    check_a_held_queue(Peer::of(test_name!()), || MessageQueue::list_unmounted().unwrap());
    assert_eq!(mounts(), before);
}

/// The part of another process, which has a queue with two messages and asks to be notified.
fn hold_a_queue(me: &tieline_testkit::Role) {
    let (name, queue) = scratch_queue();
    queue.send(b"12345", 1).unwrap();
    queue.send(b"678", 2).unwrap();
    queue.notify_signal(tieline_os::signal::Signal::USR2, 0).unwrap();
    let stat = rustix::fs::fstat(&queue).unwrap();
    me.say(&format!("{} {} {}", name.as_str(), stat.st_dev, stat.st_ino));
    me.wait_for("quiet");
    queue.cancel_notify().unwrap();
    me.say("quiet");
    me.wait_for("end");
    assert_eq!(queue.depth().unwrap(), 2, "looking took nothing");
}

fn check_a_held_queue(peer: tieline_testkit::PeerBuilder, list: impl Fn() -> Vec<Listed>) {
    let mut peer = peer.role("holder").spawn();
    let said = peer.hear();
    let [name, device, inode] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
    let [listed] = &list()[..] else { panic!("one queue") };
    let status = listed.status.unwrap();
    assert_eq!((listed.name.to_str(), listed.mode), (Some(name), Mode::OWNER));
    assert_eq!((listed.device.to_string(), listed.inode.to_string()), (device.to_owned(), inode.to_owned()));
    assert_eq!((status.queued_bytes, status.notify_signal), (8, Some(12)));
    assert_eq!(status.notified_pid, Some(peer.id()));
    assert_eq!((listed.attributes, listed.depth), (Some(SMALL), Some(2)));
    assert!(listed.used_at.elapsed().unwrap() < Duration::from_secs(60));
    peer.say("quiet");
    peer.wait_for("quiet");
    assert_eq!(list()[0].status.unwrap().notified_pid, None);
    peer.say("end");
    peer.succeeds();
}

/// Closing any descriptor of a queue ends the notification that the process has asked for, so a queue that the lister
/// has open itself is listed without being opened.
#[test]
fn listing_leaves_the_notification_of_the_one_who_lists() {
    use tieline_os::signal::{self, Signal};
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    signal::block(Signal::USR2).unwrap();
    let (name, queue) = scratch_queue();
    queue.notify_signal(Signal::USR2, 0).unwrap();
    let Ok(listed) = MessageQueue::list_unmounted() else { tieline_testkit::skip!("it takes the privilege to mount") };
    let [listed] = &listed[..] else { panic!("one queue") };
    assert_eq!((listed.name.to_str(), listed.status, listed.depth), (Some(name.as_str()), None, None));
    // Nobody may be notified twice, so a refusal says that the first one holds.
    assert_eq!(queue.notify_signal(Signal::USR2, 0).unwrap_err().kind(), ErrorKind::Busy);
}
