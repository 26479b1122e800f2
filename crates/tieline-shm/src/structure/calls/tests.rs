//! The ring of messages against a plain oracle, and against garbage.

use std::collections::VecDeque;
use std::mem::offset_of;

use proptest::prelude::*;
use tieline_testkit::data;

use super::*;
use crate::segment::{Kind, Purpose, Segment};
use crate::structure::cells::Cells;

const ENTRIES: usize = 4;
const AREAS: usize = 2;
const AREA_LEN: usize = 256;

fn ring() -> (Sender, Receiver) {
    let purpose = Purpose { kind: Kind::Calls, name: "test", layout_hash: 0 };
    let entries_at = size_of::<Control>();
    let areas_at = entries_at + ENTRIES * size_of::<Entry>();
    let bell_at = areas_at + 64;
    let cells_at = bell_at + 64;
    let segment = Segment::create(&purpose, cells_at + AREAS * AREA_LEN).unwrap();
    let cells = Cells::new(segment.slice(cells_at, AREAS * AREA_LEN / 8).unwrap());
    let areas = Areas::new(segment.slice(areas_at, AREAS).unwrap(), cells, AREA_LEN).unwrap();
    let ring = Ring::new(segment.view(0).unwrap(), segment.slice(entries_at, ENTRIES).unwrap(), areas).unwrap();
    (ring.clone().sender(segment.view(bell_at).unwrap()), ring.receiver())
}

fn bytes_of(receiver: &Receiver, message: &Message) -> Vec<u8> {
    match message.payload {
        Payload::Inline(inline) => inline.as_bytes().to_vec(),
        Payload::Area(area, len) => {
            let mut bytes = vec![0; len];
            let areas = receiver.ring().areas();
            areas.cells().copy_out(areas.offset(area), &mut bytes);
            bytes
        }
    }
}

#[test]
fn the_layout_is_that_of_the_format_page() {
    assert_eq!(offset_of!(Control, receiver), 0);
    assert_eq!(offset_of!(Control, room), 128);
    assert_eq!(size_of::<Control>(), 256);
    assert_eq!(offset_of!(Entry, stamp), 0);
    assert_eq!(offset_of!(Entry, head), 8);
    assert_eq!(offset_of!(Entry, call), 16);
    assert_eq!(offset_of!(Entry, place), 24);
    assert_eq!(offset_of!(Entry, inline), 32);
    assert_eq!(size_of::<Entry>(), 128);
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Receive,
    Release(usize),
}

proptest! {
    #[test]
    fn any_list_of_operations_does_what_the_oracle_says(ops in prop::collection::vec(prop_oneof![
        (0..300_usize).prop_map(Op::Send),
        Just(Op::Receive),
        (0..2_usize).prop_map(Op::Release),
    ], 1..200)) {
        let (mut sender, mut receiver) = ring();
        let mut oracle = VecDeque::new();
        let mut areas_in_use = 0;
        let mut held = Vec::new();
        for (call, op) in ops.into_iter().enumerate() {
            match op {
                Op::Send(len) => {
                    let head = Head { kind: 3, call: call as u64, extra: 5 };
                    let bytes = data(len);
                    let is_large = len > INLINE_BYTES;
                    let blocked = oracle.len() == ENTRIES || is_large && areas_in_use == AREAS;
                    match sender.try_send(head, &Outgoing::Bytes(&bytes)) {
                        Ok(()) => {
                            prop_assert!(!blocked && len <= AREA_LEN);
                            areas_in_use += usize::from(is_large);
                            oracle.push_back((head, bytes));
                        }
                        Err(error) if blocked && len <= AREA_LEN => prop_assert!(error.is_would_block()),
                        Err(error) if oracle.len() == ENTRIES => prop_assert!(error.is_would_block()),
                        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::TooLarge),
                    }
                }
                Op::Receive => match oracle.pop_front() {
                    Some((head, bytes)) => {
                        let message = receiver.try_receive().unwrap();
                        prop_assert_eq!((message.head.kind, message.head.call), (head.kind, head.call));
                        prop_assert_eq!(bytes_of(&receiver, &message), bytes);
                        match message.payload {
                            Payload::Area(area, _) => held.push(area),
                            Payload::Inline(_) => prop_assert_eq!(message.head.extra, head.extra),
                        }
                    }
                    None => prop_assert!(receiver.try_receive().unwrap_err().is_would_block()),
                },
                Op::Release(nth) => if nth < held.len() {
                    receiver.ring().areas().release(held.remove(nth));
                    areas_in_use -= 1;
                }
            }
        }
    }

    /// Whatever a peer writes, both sides answer.
    #[test]
    fn garbage_in_the_memory_is_survived(places in prop::collection::vec((0..80_usize, any::<u64>()), 1..60)) {
        let (mut sender, mut receiver) = ring();
        for (place, value) in places {
            let _ = sender.try_send(Head { kind: 1, call: 1, extra: 1 }, &Outgoing::Bytes(&data(place * 4)));
            let entry = &receiver.ring.entries[place % ENTRIES];
            match place / 8 {
                0 => receiver.ring.control.receiver.store(value, Ordering::Relaxed),
                1 => entry.stamp.store(receiver.head.wrapping_add(value % 3), Ordering::Relaxed),
                2 => entry.head.store(value, Ordering::Relaxed),
                3 => entry.head.store(value & 0x1f_ffff_ffff, Ordering::Relaxed),
                4 => entry.place.store(value, Ordering::Relaxed),
                5 => entry.place.store((value % 8) | (1 << 32), Ordering::Relaxed),
                _ => {}
            }
            if let Ok(message) = receiver.try_receive() {
                prop_assert!(bytes_of(&receiver, &message).len() <= AREA_LEN);
                if let Payload::Area(area, _) = message.payload && place % 2 == 0 {
                    receiver.ring().areas().release(area);
                }
            }
        }
    }
}

/// An attacker that writes anything into entries and areas, all the time: what was checked is what is used.
#[test]
fn an_attacker_who_keeps_writing_gives_no_odd_lengths() {
    let (mut sender, mut receiver) = ring();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let attacked = receiver.ring.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let entry = &attacked.entries[(random >> 40) as usize % ENTRIES];
                match random >> 62 {
                    0 => entry.head.store(random << 8 | (random >> 32) & 0x1ff, Ordering::Relaxed),
                    1 => entry
                        .head
                        .store((random >> 32) & 0x1ff | ((random >> 50) % 300) << LEN_SHIFT, Ordering::Relaxed),
                    2 => entry.place.store(((random >> 32) % 3) | (1 << 32), Ordering::Relaxed),
                    _ => entry.call.store(random, Ordering::Relaxed),
                }
            }
        });
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(300) {
            let _ = sender.try_send(Head { kind: 1, call: 1, extra: 1 }, &Outgoing::Bytes(&data(200)));
            match receiver.try_receive() {
                Ok(message) => {
                    assert!(bytes_of(&receiver, &message).len() <= AREA_LEN);
                    if let Payload::Area(area, _) = message.payload {
                        receiver.ring().areas().release(area);
                    }
                }
                Err(error) if error.is_would_block() => {}
                // The connection would be closed; here a new one is made in the same memory.
                Err(_) => {
                    attacked.control.receiver.store(0, Ordering::Relaxed);
                    attacked.entries.iter().for_each(|entry| entry.stamp.store(0, Ordering::Relaxed));
                    sender = attacked.clone().sender(sender.bell.clone());
                    receiver = attacked.clone().receiver();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
