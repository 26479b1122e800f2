//! Lines 37 to 41: message queues.

use tieline_os::ErrorKind;
use tieline_os::sysv::msg::{MessageQueue, MessageType, Oversized, Selector};

use crate::sysv::{Blocked, queue};

/// The type of the next message that `selector` takes, if any.
fn take(queue: &MessageQueue, selector: Selector) -> Option<MessageType> {
    let mut buffer = [0; 16];
    match queue.try_receive(selector, Oversized::Refuse, &mut buffer) {
        Ok(message) => {
            assert_eq!(buffer[..message.len], message.message_type.to_ne_bytes(), "text and type belong together");
            Some(message.message_type)
        }
        Err(error) => {
            assert!(error.is_would_block(), "{error}");
            None
        }
    }
}

fn put(queue: &MessageQueue, types: &[MessageType]) {
    for message_type in types {
        queue.try_send(*message_type, &message_type.to_ne_bytes()).unwrap();
    }
}

/// Given messages of types 5, 3, 4, 3 when received then `Oldest` takes the first of all, `Type` the first of that
/// type, `UpToType` the lowest type not above the number, `Except` the first of another type.
#[test]
fn line037_the_selector_decides_which_message_comes() {
    let queue = queue();
    put(&queue, &[5, 3, 4, 3]);
    assert_eq!(take(&queue, Selector::Oldest), Some(5));
    assert_eq!(take(&queue, Selector::Type(4)), Some(4));
    assert_eq!(take(&queue, Selector::Type(4)), None);
    assert_eq!(take(&queue, Selector::Except(3)), None);
    put(&queue, &[2, 7, 1]);
    assert_eq!(take(&queue, Selector::Except(3)), Some(2));
    assert_eq!(take(&queue, Selector::UpToType(7)), Some(1));
    assert_eq!(take(&queue, Selector::UpToType(2)), None);
    assert_eq!(take(&queue, Selector::UpToType(6)), Some(3));
    assert_eq!(take(&queue, Selector::UpToType(MessageType::MAX)), Some(3));
    assert_eq!(take(&queue, Selector::Oldest), Some(7));
    assert_eq!(take(&queue, Selector::Oldest), None);
}

/// Given a message longer than the buffer when received then it is refused and stays; when received with `Cut` then
/// the buffer is filled and the tail is lost.
#[test]
fn line038_a_message_longer_than_the_buffer_stays_or_is_cut() {
    let queue = queue();
    queue.send(1, b"twelve bytes").unwrap();
    let mut buffer = [0; 6];
    let error = queue.receive(Selector::Oldest, Oversized::Refuse, &mut buffer).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, Some(7)), "{error}");
    assert_eq!(queue.stat().unwrap().messages, 1);

    let message = queue.receive(Selector::Oldest, Oversized::Cut, &mut buffer).unwrap();
    assert_eq!((message.len, &buffer), (6, b"twelve"));
    assert_eq!(queue.stat().unwrap().messages, 0);
}

/// Given a type of zero or below when sent then EINVAL, and the sentence says why.
#[test]
fn line039_a_type_must_be_above_zero() {
    let queue = queue();
    for wrong in [0, -1, MessageType::MIN] {
        let error = queue.send(wrong, b"").unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, Some(22)));
        assert!(error.to_string().contains("above zero"), "{error}");
    }
    queue.send(MessageType::MAX, b"").unwrap();
}

/// Given an empty queue when messages without text are sent then exactly as many fit as the queue has bytes, although
/// they use none.
#[test]
fn line040_empty_messages_are_bounded_by_the_capacity_in_bytes() {
    let queue = queue();
    let capacity = queue.stat().unwrap().capacity_bytes;
    let sent = (0..).take_while(|_| queue.try_send(1, b"").is_ok()).count() as u64;
    let full = queue.stat().unwrap();
    assert_eq!((sent, full.messages, full.bytes), (capacity, capacity, 0));
    assert!(queue.try_send(1, b"").unwrap_err().is_would_block());
}

/// Given a process in `receive`, or in `send` at a full queue, when the queue is removed then it gets `Removed`
/// (EIDRM) at once. (`operate` likewise: see the semaphores' part of this line.)
#[test]
fn line041_removing_a_queue_wakes_who_waits_at_it() {
    let (empty, full) = (queue(), queue());
    full.set_capacity(1).unwrap();
    full.send(1, b"x").unwrap();
    let (receiving, sending) = (*empty, *full);
    let receiver = Blocked::on(move || receiving.receive(Selector::Oldest, Oversized::Refuse, &mut []));
    let sender = Blocked::on(move || sending.send(1, b"y"));
    drop((empty, full));
    for error in [receiver.result().unwrap_err(), sender.result().unwrap_err()] {
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Removed, Some(43)), "{error}");
    }
}
