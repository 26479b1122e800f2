//! Lines 41 to 44, 52 and 53: what all three families share.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tieline_os::signal::{Flag, Signal};
use tieline_os::sysv::msg::{self, MessageQueue, Oversized, Selector};
use tieline_os::sysv::sem::{self, Operation, SemaphoreSet};
use tieline_os::sysv::shm::{self, Segment};
use tieline_os::sysv::{Id, Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{Isolation, Namespace, Peer, can_run_as, eventually, role, skip, test_name, until};

use crate::sysv::{Blocked, STRANGER, ends_by_signal, fresh_key, goes_on_after_signals, queue, set};

/// Given a process in `operate`, waiting for a rise or for zero, when the set is removed then EIDRM at once.
#[test]
fn line041_removing_a_set_wakes_who_waits_at_it() {
    let set = set(&[0, 1]);
    let waited_at = *set;
    let waiters = [Operation::new(0, -1), Operation::wait_for_zero(1)]
        .map(|wish| Blocked::on(move || waited_at.operate(&[wish])));
    eventually("both wait", || (set.waiters_for_increase(0).unwrap(), set.waiters_for_zero(1).unwrap()) == (1, 1));
    drop(set);
    for waiter in waiters {
        let error = waiter.result().unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Removed, Some(43)), "{error}");
    }
}

/// Given a handler installed with `SA_RESTART` when it runs in the middle of receive, send or operate then the kernel
/// says EINTR all the same: the interruptible forms report it, the plain and timed forms go on.
#[test]
fn line042_a_handler_interrupts_despite_sa_restart() {
    if role().is_none() {
        // The disposition of a signal is the whole process's.
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let handled = Flag::new(Signal::USR1).expect("a handler with SA_RESTART");
    let (inbox, outbox, semaphores) = (queue(), queue(), set(&[0]));
    outbox.set_capacity(1).unwrap();
    outbox.send(1, b"x").unwrap();
    let (receive, send, operate) = (*inbox, *outbox, *semaphores);
    let take = [Operation::new(0, -1)];
    let (any, refuse) = (Selector::Oldest, Oversized::Refuse);

    let interrupted = [
        ends_by_signal(Blocked::on(move || receive.receive_interruptible(any, refuse, &mut []).map(drop))),
        ends_by_signal(Blocked::on(move || send.send_interruptible(1, b"y"))),
        ends_by_signal(Blocked::on(move || operate.operate_interruptible(&take))),
    ];
    for error in interrupted.map(Result::unwrap_err) {
        assert_eq!((error.is_interrupted(), error.errno()), (true, Some(4)), "{error}");
    }

    let receiver = Blocked::on(move || receive.receive(any, refuse, &mut [0; 8]).map(|message| message.message_type));
    let sender = Blocked::on(move || send.send(2, b"y").map(|()| 2));
    let patience = tieline_testkit::PATIENCE;
    let operators = [
        Blocked::on(move || operate.operate(&take).map(|()| 3)),
        Blocked::on(move || operate.operate_timeout(&take, patience).map(|()| 3)),
    ];
    for blocked in [&receiver, &sender].into_iter().chain(&operators) {
        goes_on_after_signals(blocked, &handled);
    }
    inbox.send(1, b"at last").unwrap();
    let _ = outbox.receive(any, refuse, &mut [0; 1]).unwrap();
    semaphores.operate(&[Operation::new(0, 2)]).unwrap();
    assert_eq!((receiver.result().unwrap(), sender.result().unwrap()), (1, 2));
    assert!(operators.into_iter().all(|operator| operator.result().unwrap() == 3));
}

/// Given objects whose creator has exited then they are still there; given an object removed and another made in its
/// slot then the id differs, and the old one is refused instead of meeting the new object. (A slot is used again only
/// after 64 newer ones, and both before and after that the kernel's word is EINVAL; EIDRM is for those who were inside
/// at the moment of removal.)
#[test]
fn line043_objects_outlive_their_creator_and_ids_do_not_come_again() {
    if let Some(me) = role() {
        let queue = MessageQueue::create(Key::PRIVATE, Mode::OWNER).unwrap();
        queue.send(1, b"left behind").unwrap();
        let set = SemaphoreSet::create_initialised(Key::PRIVATE, &[9], Mode::OWNER).unwrap();
        let segment = Segment::create(Key::PRIVATE, 3, Mode::OWNER).unwrap();
        segment.attach().unwrap().write(0, b"abc").unwrap();
        me.say(&format!("{} {} {}", queue.id(), set.id(), segment.id()));
        return;
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let mut creator = Peer::of(test_name!()).role("creator").spawn();
    let ids: Vec<_> = creator.hear().split(' ').map(|id| Id::new(id.parse().unwrap())).collect();
    creator.succeeds();
    let old_queue = RemoveOnDrop::new(MessageQueue::from_id(ids[0]));
    let old_set = RemoveOnDrop::new(SemaphoreSet::from_id(ids[1]));
    let old_segment = RemoveOnDrop::new(Segment::from_id(ids[2]));
    assert_eq!(old_queue.stat().unwrap().messages, 1);
    assert_eq!(old_set.values().unwrap(), [9]);
    let mut bytes = [0; 3];
    old_segment.attach().unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abc");

    let errors = || {
        [
            old_queue.try_send(1, b"").unwrap_err(),
            old_set.try_operate(&[Operation::new(0, 1)]).unwrap_err(),
            old_segment.attach().unwrap_err(),
        ]
        .map(|error| (error.kind(), error.errno()))
    };
    old_queue.remove().unwrap();
    old_set.remove().unwrap();
    old_segment.remove().unwrap();
    assert_eq!(errors(), [(ErrorKind::Removed, Some(22)); 3]);
    let queue = in_slot_of(ids[0], queue, |queue| queue.id());
    let set = in_slot_of(ids[1], || set(&[1]), |set| set.id());
    let segment = in_slot_of(ids[2], || crate::sysv::segment(1), |segment| segment.id());
    assert!(queue.id() > ids[0] && set.id() > ids[1] && segment.id() > ids[2], "the sequence number rises");
    assert_eq!(errors(), [(ErrorKind::Removed, Some(22)); 3]);
    assert_eq!((queue.stat().unwrap().messages, set.values().unwrap()), (0, vec![1]));
}

/// Makes and removes objects until one is in the slot that `old` was in.
fn in_slot_of<T>(old: Id, make: impl Fn() -> T, id: impl Fn(&T) -> Id) -> T {
    let slot = |id: Id| id.number() & 0x7fff;
    (0..1000).map(|_| make()).find(|made| slot(id(made)) == slot(old)).expect("slots come again")
}

/// Given two different files whose inode numbers agree in their lower sixteen bits, on one device, then `ftok` gives
/// the same key for both.
#[test]
fn line044_two_files_can_have_one_key() {
    // A tmpfs hands out inode numbers one after the other, so that the twin of one comes 65,536 files later.
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { skip!("no /dev/shm to make files in") };
    let path = folder.path().join("first");
    let inode = File::create(&path).unwrap().metadata().unwrap().ino();
    let twin = (0..400_000).find_map(|_| {
        let other = folder.path().join("other");
        let found = File::create(&other).unwrap().metadata().unwrap().ino();
        if found & 0xffff == inode & 0xffff {
            return Some((other, found));
        }
        fs::remove_file(other).unwrap();
        None
    });
    let Some((other, found)) = twin else { skip!("this file system does not number its files in sequence") };
    assert_ne!(found, inode);
    let key = |path, project| Key::from_path(path, project).unwrap();
    assert_eq!(key(&path, b'a'), key(&other, b'a'));
    assert_ne!(key(&path, b'a'), key(&other, b'b'));
    assert_eq!(key(&path, b'a').number() & 0xffff, (inode & 0xffff) as i32);
}

/// Given another IPC namespace then no object of ours is visible there and its objects are not visible here, under the
/// same key; a thread gets in by setns to /proc/PID/ns/ipc.
#[test]
fn line052_an_ipc_namespace_hides_everything() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let key = fresh_key();
    let ours = RemoveOnDrop::new(MessageQueue::create(key, Mode::OWNER).unwrap());
    ours.send(1, b"ours").unwrap();
    let mut other = Command::new("unshare").args(["--ipc", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let door = format!("/proc/{}/ns/ipc", other.id());
    let here = fs::read_link("/proc/self/ns/ipc").unwrap();
    until("the other is in its namespace", || fs::read_link(&door).ok().filter(|there| *there != here));

    let door = File::open(&door).unwrap();
    let inside = std::thread::spawn(move || {
        use std::os::fd::AsFd;
        move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::InterProcessCommunication)).unwrap();
        let before = (MessageQueue::open(key).map_err(|error| error.kind()), msg::queues().unwrap().count());
        let theirs = MessageQueue::create(key, Mode::OWNER).unwrap();
        theirs.send(1, b"theirs").unwrap();
        (before, theirs.stat().unwrap().bytes)
    });
    assert_eq!(inside.join().unwrap(), ((Err(ErrorKind::NotFound), 0), 6));
    assert_eq!((MessageQueue::open(key).unwrap(), ours.stat().unwrap().bytes), (*ours, 4));
    // The last process of a namespace takes all its objects with it.
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Given objects that the caller may not read when walked over then all are seen with their ids, which are not the
/// slots; reading or using them stays forbidden.
#[test]
fn line053_a_walk_needs_no_read_permission() {
    if let Some(me) = role() {
        let id = |name: &str| Id::new(me.env(name).parse().unwrap());
        let (queue, set, segment) = (id("QUEUE"), id("SET"), id("SEGMENT"));
        let seen = msg::queues().unwrap().find_map(|stat| stat.ok().filter(|stat| stat.id == queue)).unwrap();
        assert_eq!((seen.messages, seen.bytes, seen.permissions.mode), (1, 6, Mode::OWNER));
        let seen = sem::sets().unwrap().find_map(|stat| stat.ok().filter(|stat| stat.id == set)).unwrap();
        assert_eq!((seen.semaphores, seen.operated_at.is_some()), (2, true));
        let seen = shm::segments().unwrap().find_map(|stat| stat.ok().filter(|stat| stat.id == segment)).unwrap();
        assert_eq!(seen.len, 777);
        // One object at a time as well, by way of its slot.
        assert_eq!(MessageQueue::from_id(queue).stat().unwrap().messages, 1);
        assert_eq!(SemaphoreSet::from_id(set).stat().unwrap().semaphores, 2);
        assert_eq!(Segment::from_id(segment).stat().unwrap(), seen);
        let refusals = [
            MessageQueue::from_id(queue).peek(0, &mut [0; 9]).map(drop),
            SemaphoreSet::from_id(set).values().map(drop),
            Segment::from_id(segment).attach_read_only().map(drop),
        ];
        assert!(refusals.iter().all(|refusal| refusal.as_ref().unwrap_err().kind() == ErrorKind::PermissionDenied));
        return;
    }
    if !can_run_as(STRANGER) {
        skip!("no right to start a process of another user");
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    // Slots used before have a sequence number in their ids.
    let zero = Id::new(0);
    drop((queue(), set(&[0]), crate::sysv::segment(1)));
    let queue = in_slot_of(zero, queue, |queue| queue.id());
    let set = in_slot_of(zero, || set(&[0, 0]), |set| set.id());
    let segment = in_slot_of(zero, || crate::sysv::segment(777), |segment| segment.id());
    queue.send(1, b"secret").unwrap();
    assert!([queue.id(), set.id(), segment.id()].iter().all(|id| id.number() > 0x7fff), "ids are not slots");
    let stranger = Peer::of(test_name!())
        .role("stranger")
        .user(STRANGER)
        .env("QUEUE", queue.id().to_string())
        .env("SET", set.id().to_string())
        .env("SEGMENT", segment.id().to_string());
    stranger.spawn().succeeds();
}
