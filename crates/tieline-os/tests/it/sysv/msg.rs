//! Message queues beyond the corner list.

use std::time::{Duration, Instant, SystemTime};

use tieline_os::sysv::msg::{self, MessageQueue, Oversized, Received, Selector};
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode, Result};
use tieline_testkit::{Isolation, Namespace, PATIENCE, Peer, role, skip, test_name};

use super::{Blocked, fresh_key, id_from, queue, set_limit};

fn take(queue: &MessageQueue, buffer: &mut [u8]) -> Result<Received> {
    queue.try_receive(Selector::Oldest, Oversized::Refuse, buffer)
}

#[test]
fn open_create_and_open_or_create_differ_as_they_say() {
    let key = fresh_key();
    let missing = MessageQueue::open(key).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains(&key.to_string()), "{missing}");
    let made = RemoveOnDrop::new(MessageQueue::open_or_create(key, "640".parse().unwrap()).unwrap());
    assert_eq!(MessageQueue::open(key).unwrap(), *made);
    assert_eq!(MessageQueue::open_or_create(key, Mode::OWNER).unwrap(), *made);
    assert_eq!(MessageQueue::create(key, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let permissions = made.stat().unwrap().permissions;
    assert_eq!((permissions.key, permissions.mode.to_string()), (key, "0640".to_owned()));
    made.remove().unwrap();
    assert_eq!(made.remove().unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(MessageQueue::open(key).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn two_processes_exchange_messages_and_the_stat_names_them() {
    if let Some(me) = role() {
        let queue = MessageQueue::from_id(id_from(&me));
        let mut buffer = [0; 64];
        let request = queue.receive(Selector::Type(1), Oversized::Refuse, &mut buffer).unwrap();
        let answer: Vec<u8> = buffer[..request.len].iter().rev().copied().collect();
        queue.send(2, &answer).unwrap();
        me.say("answered");
        me.wait_for("done");
        return;
    }
    let begun = SystemTime::now() - Duration::from_secs(2);
    let queue = queue();
    let fresh = queue.stat().unwrap();
    assert_eq!((fresh.sent_at, fresh.last_sender, fresh.last_receiver), (None, None, None));
    assert!(fresh.changed_at.unwrap() > begun);

    let mut echo = Peer::of(test_name!()).role("echo").env("ID", queue.id().to_string()).spawn();
    queue.send(1, b"stressed").unwrap();
    let mut buffer = [0; 64];
    let answer = queue.receive(Selector::Type(2), Oversized::Refuse, &mut buffer).unwrap();
    assert_eq!((answer.message_type, &buffer[..answer.len]), (2, &b"desserts"[..]));
    echo.wait_for("answered");
    let stat = queue.stat().unwrap();
    assert_eq!(stat.last_sender, Some(echo.id()));
    // Of a receiver that slept the kernel notes the thread, of another the process.
    let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    assert!([std::process::id(), thread].contains(&stat.last_receiver.unwrap()), "{stat:?}");
    assert!(stat.sent_at.unwrap() > begun && stat.received_at.unwrap() > begun);
    echo.say("done");
    echo.succeeds();
}

#[test]
fn a_killed_receiver_takes_nothing_with_it() {
    if let Some(me) = role() {
        let queue = MessageQueue::from_id(id_from(&me));
        me.say("waiting");
        let _ = queue.receive(Selector::Type(2), Oversized::Refuse, &mut [0; 8]);
        return;
    }
    let queue = queue();
    let mut receiver = Peer::of(test_name!()).role("receiver").env("ID", queue.id().to_string()).spawn();
    receiver.wait_for("waiting");
    receiver.sleeps();
    receiver.kill();
    queue.send(2, b"kept").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(take(&queue, &mut buffer).unwrap().len, 4);
}

#[test]
fn deadlines_are_kept_on_both_sides() {
    let queue = queue();
    queue.set_capacity(3).unwrap();
    let limit = Duration::from_millis(40);
    let begun = Instant::now();
    let error = queue.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut [], limit).unwrap_err();
    assert!(error.is_timeout() && begun.elapsed() >= limit, "{error}");
    queue.send(1, b"abc").unwrap();
    let begun = Instant::now();
    assert!(queue.send_timeout(1, b"d", limit).unwrap_err().is_timeout() && begun.elapsed() >= limit);
    // Zero is a deadline that has passed: what is possible is still done.
    let mut buffer = [0; 8];
    let got = queue.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut buffer, Duration::ZERO).unwrap();
    assert_eq!(got, Received { message_type: 1, len: 3 });
    let never = queue.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut buffer, Duration::ZERO);
    assert!(never.unwrap_err().is_timeout());
}

#[test]
fn the_timed_forms_see_what_comes_while_they_wait() {
    let (inbox, outbox) = (queue(), queue());
    outbox.set_capacity(1).unwrap();
    outbox.send(1, b"x").unwrap();
    let (receiving, sending) = (*inbox, *outbox);
    let receiver = Blocked::on(move || {
        receiving.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut [0; 8], PATIENCE).map(|got| got.len)
    });
    let sender = Blocked::on(move || sending.send_timeout(1, b"y", PATIENCE));
    inbox.send(1, b"four").unwrap();
    assert_eq!(receiver.result().unwrap(), 4);
    assert_eq!(take(&outbox, &mut [0; 8]).unwrap().len, 1);
    sender.result().unwrap();
    assert_eq!(take(&outbox, &mut [0; 8]).unwrap().len, 1);

    // A wait too long for the clock waits in the kernel.
    let receiver = Blocked::on(move || {
        receiving.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut [0; 8], Duration::MAX).map(|got| got.len)
    });
    inbox.send(1, b"no").unwrap();
    assert_eq!(receiver.result().unwrap(), 2);

    // Removal is seen between two questions, too.
    let receiver =
        Blocked::on(move || receiving.receive_timeout(Selector::Oldest, Oversized::Refuse, &mut [], PATIENCE));
    drop(inbox);
    assert_eq!(receiver.result().unwrap_err().kind(), ErrorKind::Removed);
}

#[test]
fn peeking_leaves_everything_where_it_is() {
    let queue = queue();
    let mut buffer = [0; 8];
    assert_eq!(queue.peek(0, &mut buffer).unwrap(), None);
    queue.send(9, b"first").unwrap();
    queue.send(4, b"2").unwrap();
    let second = queue.peek(1, &mut buffer).unwrap().unwrap();
    assert_eq!((second, &buffer[..1]), (Received { message_type: 4, len: 1 }, &b"2"[..]));
    let first = queue.peek(0, &mut buffer).unwrap().unwrap();
    assert_eq!((first.message_type, &buffer[..first.len]), (9, &b"first"[..]));
    assert_eq!((queue.peek(2, &mut buffer).unwrap(), queue.peek(usize::MAX, &mut buffer).unwrap()), (None, None));
    assert_eq!(queue.peek(0, &mut buffer[..4]).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(queue.stat().unwrap().messages, 2);
    assert_eq!(take(&queue, &mut buffer).unwrap().message_type, 9);
}

#[test]
fn a_message_one_byte_too_long_is_refused_with_the_limit() {
    let queue = queue();
    let limit = msg::limits().unwrap().message_max_bytes;
    queue.send(1, &vec![7; limit]).unwrap();
    let error = queue.send(1, &vec![7; limit + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
    let mut buffer = vec![0; limit];
    assert_eq!(take(&queue, &mut buffer).unwrap().len, limit);
    assert!(buffer.iter().all(|byte| *byte == 7));
    queue.remove().unwrap();
    // The same errno means another thing now.
    assert_eq!(queue.send(1, b"").unwrap_err().kind(), ErrorKind::Removed);
}

#[test]
fn owner_mode_and_capacity_can_be_changed_one_by_one() {
    let queue = queue();
    let before = queue.stat().unwrap();
    queue.set_mode(Mode::GROUP).unwrap();
    queue.set_capacity(100).unwrap();
    queue.set_owner(None, None).unwrap();
    let after = queue.stat().unwrap();
    assert_eq!((after.permissions.mode, after.capacity_bytes), (Mode::GROUP, 100));
    assert_eq!((after.permissions.uid, after.permissions.gid), (before.permissions.uid, before.permissions.gid));
    queue.send(1, &[0; 100]).unwrap();
    assert!(queue.try_send(1, b"1").unwrap_err().is_would_block());

    let error = queue.set_owner(Some(u32::MAX), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    if rustix::process::geteuid().is_root() {
        match queue.set_owner(Some(123), Some(456)) {
            // Some sandboxes are user namespaces of one user.
            Err(error) if error.kind() == ErrorKind::InvalidInput => skip!("there is no user 123 here: {error}"),
            done => done.unwrap(),
        }
        let given = queue.stat().unwrap().permissions;
        assert_eq!((given.uid, given.gid, given.creator_uid), (123, 456, before.permissions.creator_uid));
    }
}

/// Alone in a namespace, the limits are what the files in /proc say, can be reached, and one past is refused.
#[test]
fn limits_and_usage_are_the_namespaces_own() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    for (file, value) in [("msgmni", "2"), ("msgmax", "300000"), ("msgmnb", "400000")] {
        if let Err(why) = set_limit(file, value) {
            skip!("{why}");
        }
    }
    let limits = msg::limits().unwrap();
    assert_eq!((limits.queues_max, limits.message_max_bytes, limits.capacity_max_bytes), (2, 300_000, 400_000));
    assert_eq!((msg::usage().unwrap().queues, msg::queues().unwrap().count()), (0, 0));

    let (first, second) = (queue(), queue());
    let error = MessageQueue::create(Key::PRIVATE, Mode::OWNER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    assert!(error.to_string().contains("msgmni"), "{error}");

    // Beyond the stack's size a message passes by the heap, at every alignment of its end.
    for len in [8191, 8192, 8193, 8200, 299_999, 300_000] {
        let text: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
        first.send(3, &text).unwrap();
        let mut back = vec![0; len];
        assert_eq!(first.peek(0, &mut back).unwrap(), Some(Received { message_type: 3, len }));
        assert_eq!(back, text);
        back.fill(0);
        assert_eq!(take(&first, &mut back).unwrap().len, len);
        assert_eq!(back, text);
    }
    second.send(1, b"12345").unwrap();
    second.send(1, b"6").unwrap();
    let usage = msg::usage().unwrap();
    assert_eq!((usage.queues, usage.messages, usage.bytes), (2, 2, 6));
    let all: Vec<_> = msg::queues().unwrap().map(Result::unwrap).collect();
    assert_eq!(all, [first.stat().unwrap(), second.stat().unwrap()]);
}

#[test]
fn a_handle_holds_no_descriptor_and_crosses_threads() {
    fn sendable<T: Copy + Send + Sync + 'static>() {}
    sendable::<MessageQueue>();
    assert_eq!(size_of::<MessageQueue>(), 4);
}
