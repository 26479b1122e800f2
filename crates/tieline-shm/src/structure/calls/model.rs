//! The ring of messages under loom. Each model states its bound of preemptions.

use loom::thread;
use tieline_testkit::test_name;

use super::*;
use crate::Waiting;
use crate::model::{explore, must_fail};
use crate::structure::cells::Cells;
use crate::wait::Until;

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// Two entries, one area of one word.
fn ring() -> (Sender, Receiver, View<EventCount>) {
    let entry = || Entry {
        stamp: AtomicU64::new(0),
        head: AtomicU64::new(0),
        call: AtomicU64::new(0),
        place: AtomicU64::new(0),
        inline: zeros(),
    };
    let (receiver, in_work) = (AtomicU64::new(0), AtomicU64::new(0));
    let control = Control { receiver, in_work, _rest: zeros(), room: EventCount::new(), _reserved: zeros() };
    let cells = Cells::new(View::leak(Box::new(zeros::<13>())));
    let areas = Areas::new(View::leak(Box::new(zeros::<1>())), cells, 13 * 8).unwrap();
    let entries: Box<[Entry]> = Box::new([entry(), entry()]);
    let ring = Ring::new(View::leak(Box::new(control)), View::leak(entries), areas).unwrap();
    let bell = View::leak(Box::new(EventCount::new()));
    (ring.clone().sender(bell.clone()), ring.receiver(), bell)
}

fn wait<R>(count: &EventCount, mut attempt: impl FnMut() -> Result<R>) -> R {
    let ready = || match attempt() {
        Err(error) if error.is_would_block() => None,
        answer => Some(answer.unwrap()),
    };
    count.wait(Waiting::Block, Until::Forever, RECEIVE, ready).unwrap()
}

/// Three messages of one word through two entries.
fn three_small_messages() {
    let (mut sender, mut receiver, bell) = ring();
    let sending = thread::spawn(move || {
        let control = sender.ring().control().clone();
        for call in 1..4_u64 {
            let head = Head { kind: 1, call, extra: 9 };
            wait(&control.room, || sender.try_send(head, &Outgoing::Bytes(&call.to_ne_bytes())));
        }
    });
    for call in 1..4_u64 {
        let message = wait(&bell, || receiver.try_receive());
        assert_eq!(message.head, Head { kind: 1, call, extra: 9 });
        let Payload::Inline(inline) = message.payload else { panic!("it is small") };
        assert_eq!(inline.as_bytes(), call.to_ne_bytes());
    }
    sending.join().unwrap();
}

/// Two messages, one after the other in the same area.
fn two_large_messages() {
    let (mut sender, mut receiver, bell) = ring();
    let sending = thread::spawn(move || {
        let control = sender.ring().control().clone();
        for call in 1..3_u8 {
            let bytes = [call; 13 * 8];
            let head = Head { kind: 1, call: 1, extra: 0 };
            wait(&control.room, || sender.try_send(head, &Outgoing::Bytes(&bytes)));
        }
    });
    for call in 1..3_u8 {
        let message = wait(&bell, || receiver.try_receive());
        let Payload::Area(area, len) = message.payload else { panic!("it is large") };
        let areas = receiver.ring().areas().clone();
        let mut bytes = [0; 13 * 8];
        areas.cells().copy_out(areas.offset(area), &mut bytes[..len]);
        assert_eq!(bytes, [call; 13 * 8]);
        areas.release(area);
        receiver.ring().control().room.notify();
    }
    sending.join().unwrap();
}

#[test]
fn model_three_small_messages() {
    explore("calls: three small messages", 3, three_small_messages);
}

#[test]
fn model_small_messages_need_the_stamp_last() {
    must_fail(&test_name!(), &Bug::StampBeforeWords.name(), || explore("planted", 3, three_small_messages));
}

#[test]
fn model_small_messages_need_to_be_told() {
    must_fail(&test_name!(), &Bug::NoNotify.name(), || explore("planted", 3, three_small_messages));
}

#[test]
fn model_two_large_messages() {
    explore("calls: two large messages", 2, two_large_messages);
}
