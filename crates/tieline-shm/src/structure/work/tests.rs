//! The queue step by step, among threads, and under attack.

mod oracle;
mod peers;

use std::collections::HashSet;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::time::Instant;

use tieline_testkit::PATIENCE;

use super::*;
use crate::Waiting;
use crate::segment::{Kind, Purpose, Segment};
use crate::wait::{Bell, Hung, Until};

fn segment_for(geometry: Geometry) -> Segment {
    let purpose = Purpose { kind: Kind::Queue, name: "test", layout_hash: 0 };
    Segment::create(&purpose, size_of::<Control>() + geometry.cells_len_bytes()).unwrap()
}

fn open(segment: &Segment, geometry: Geometry) -> WorkQueue {
    let cells = segment.slice(size_of::<Control>(), geometry.cells_len_bytes() / 8).unwrap();
    WorkQueue::new(segment.view(0).unwrap(), Cells::new(cells), geometry).unwrap()
}

fn queue(slots: u32, item_len_bytes: usize) -> WorkQueue {
    let geometry = Geometry::new(slots, item_len_bytes).unwrap();
    open(&segment_for(geometry), geometry)
}

fn owner(member: u32) -> Owner {
    Owner::new(member, 1).unwrap()
}

fn put(queue: &WorkQueue, owner: Owner, number: u64) -> Result<()> {
    let claimed = queue.claim(owner, 0)?;
    queue.cells().copy_in(claimed.item_offset(queue.geometry()), &number.to_ne_bytes());
    queue.commit(claimed, 8)?;
    queue.item_added();
    Ok(())
}

fn number_in(queue: &WorkQueue, taken: Taken) -> u64 {
    let mut bytes = [0; 8];
    queue.cells().copy_out(taken.item_offset(queue.geometry()), &mut bytes);
    u64::from_ne_bytes(bytes)
}

fn take(queue: &WorkQueue, owner: Owner) -> Result<(u64, Taken)> {
    let taken = queue.take(owner)?;
    Ok((number_in(queue, taken), taken))
}

fn finish(queue: &WorkQueue, taken: Taken) -> Result<()> {
    queue.finish(taken)?;
    queue.room_changed();
    Ok(())
}

fn take_waiting(queue: &WorkQueue, owner: Owner, until: Until) -> Result<Taken> {
    queue.control().items.wait(Waiting::Block, until, RECEIVE, || match queue.take(owner) {
        Err(error) if error.is_would_block() => None,
        answer => Some(answer),
    })?
}

fn put_waiting(queue: &WorkQueue, owner: Owner, number: u64) -> Result<()> {
    queue.control().room.wait(Waiting::Block, Until::Forever, SEND, || match put(queue, owner, number) {
        Err(error) if error.kind() == ErrorKind::Full => None,
        answer => Some(answer),
    })?
}

/// A peer that writes too long a length frees a slot, in the end, for whoever waits for room.
#[test]
fn a_producer_that_waits_is_told_of_the_room_that_a_refused_item_left() {
    let queue = queue(1, 8);
    put(&queue, owner(0), 1).unwrap();
    queue.len(0).store(9, Ordering::Relaxed);
    let bell = Bell::new().unwrap();
    let _hung = Hung::new(&bell, &queue.room_count(), 0);
    queue.room_count().announce_bell(0);
    assert_eq!(queue.take(owner(1)).unwrap_err().kind(), ErrorKind::Corrupted);
    assert!(queue.has_room());
    assert_eq!(bell.counter().try_read().unwrap(), 1);
}

#[test]
fn the_layout_is_that_of_the_format_page() {
    assert_eq!(offset_of!(Control, tail), 0);
    assert_eq!(offset_of!(Control, head), 128);
    assert_eq!(offset_of!(Control, behind), 256);
    assert_eq!(offset_of!(Control, served), 264);
    assert_eq!(offset_of!(Control, skipped), 272);
    assert_eq!(offset_of!(Control, orphaned), 280);
    assert_eq!(offset_of!(Control, requeued), 288);
    assert_eq!(offset_of!(Control, rejected), 296);
    assert_eq!(offset_of!(Control, items), 384);
    assert_eq!(offset_of!(Control, room), 448);
    assert_eq!(size_of::<Control>(), 512);
    let word = Word::writing(0x1122_3344, Owner::new(1, 1).unwrap(), 5);
    assert_eq!(word.0, 0x1122_3344_0004_0229);
    assert_eq!(Geometry::new(5, 48).unwrap().cells_len_bytes(), 8 * 64);
    assert_eq!(Geometry::new(1, 49).unwrap().cells_len_bytes(), 128);
}

#[test]
fn items_come_in_order_and_the_queue_says_when_it_is_full() {
    let queue = queue(4, 8);
    for round in 0..10 {
        for index in 0..4 {
            put(&queue, owner(0), round * 4 + index).unwrap();
        }
        assert_eq!(put(&queue, owner(0), 99).unwrap_err().kind(), ErrorKind::Full);
        for index in 0..4 {
            let (number, taken) = take(&queue, owner(1)).unwrap();
            assert_eq!((number, taken.attempts), (round * 4 + index, 0));
            finish(&queue, taken).unwrap();
        }
        assert!(take(&queue, owner(1)).unwrap_err().is_would_block());
    }
}

#[test]
fn a_reservation_or_delivery_that_is_held_for_long_stops_nobody() {
    let queue = queue(4, 8);
    let reserved = queue.claim(owner(0), 0).unwrap();
    put(&queue, owner(1), 1).unwrap();
    let (first, held) = take(&queue, owner(2)).unwrap();
    assert_eq!(first, 1);
    for number in 2..100 {
        put(&queue, owner(1), number).unwrap();
        let (other, taken) = take(&queue, owner(2)).unwrap();
        assert_eq!(other, number);
        finish(&queue, taken).unwrap();
    }
    queue.cells().copy_in(reserved.item_offset(queue.geometry()), &7_u64.to_ne_bytes());
    put(&queue, owner(1), 100).unwrap();
    queue.commit(reserved, 8).unwrap();
    assert_eq!(take(&queue, owner(2)).unwrap().0, 7, "what is behind is served first");
    assert_eq!(take(&queue, owner(2)).unwrap().0, 100);
    finish(&queue, held).unwrap();
}

#[test]
fn what_a_dead_consumer_held_is_delivered_again_and_first() {
    let queue = queue(4, 8);
    for number in 0..3 {
        put(&queue, owner(0), number).unwrap();
    }
    let (_, lost) = take(&queue, owner(1)).unwrap();
    for _ in 0..3 {
        queue.departed(owner(1)).unwrap();
    }
    let (number, taken) = take(&queue, owner(2)).unwrap();
    assert_eq!((number, taken.attempts), (0, 1));
    assert_eq!(queue.finish(lost).unwrap_err().kind(), ErrorKind::OwnerDied, "the zombie is told");
    assert_eq!(queue.requeue(lost).unwrap_err().kind(), ErrorKind::OwnerDied);
    queue.requeue(taken).unwrap();
    let (number, taken) = take(&queue, owner(2)).unwrap();
    assert_eq!((number, taken.attempts), (0, 2));
    finish(&queue, taken).unwrap();
    assert_eq!(queue.counters(), Counters { skipped: 0, orphaned: 1, requeued: 1, rejected: 0 });
}

#[test]
fn what_a_dead_producer_was_writing_is_skipped() {
    let queue = queue(2, 8);
    let lost = queue.claim(owner(0), 0).unwrap();
    put(&queue, owner(1), 1).unwrap();
    assert_eq!(queue.claim(owner(1), 0).unwrap_err().kind(), ErrorKind::Full);
    queue.departed(owner(0)).unwrap();
    assert_eq!(queue.commit(lost, 8).unwrap_err().kind(), ErrorKind::OwnerDied);
    assert_eq!(take(&queue, owner(2)).unwrap().0, 1);
    put(&queue, owner(1), 2).unwrap();
    assert_eq!(queue.commit(lost, 8).unwrap_err().kind(), ErrorKind::OwnerDied);
    assert_eq!(take(&queue, owner(2)).unwrap().0, 2);
    assert_eq!(queue.counters().skipped, 1);
}

#[test]
fn laps_and_positions_wrap_around() {
    let queue = queue(2, 8);
    let start = u64::MAX - 2 * (1 << 3);
    queue.control.tail.value.store(start, Ordering::Relaxed);
    queue.control.head.value.store(start, Ordering::Relaxed);
    for index in 0..2 {
        let offset = queue.geometry.slot_offset(index);
        queue.cells.word(offset).store(Word::free(queue.geometry.lap(start)).0, Ordering::Relaxed);
    }
    for number in 0..100 {
        put(&queue, owner(0), number).unwrap();
        let (other, taken) = take(&queue, owner(1)).unwrap();
        assert_eq!(other, number);
        finish(&queue, taken).unwrap();
    }
}

#[test]
fn many_threads_deliver_each_item_once() {
    const ITEMS: u64 = 20_000;
    let queue = queue(8, 8);
    let finished = Count::new(0);
    let seen: Vec<Count> = (0..3 * ITEMS).map(|_| Count::new(0)).collect();
    std::thread::scope(|scope| {
        for producer in 0..3 {
            let queue = &queue;
            scope.spawn(move || {
                for index in 0..ITEMS {
                    if index % 97 == 0
                        && let Ok(claimed) = queue.claim(owner(producer), 0)
                    {
                        queue.abandon(claimed).unwrap();
                        queue.room_changed();
                    }
                    put_waiting(queue, owner(producer), u64::from(producer) * ITEMS + index).unwrap();
                }
            });
        }
        for consumer in 10..13 {
            let (queue, seen, finished) = (&queue, &seen, &finished);
            scope.spawn(move || {
                while finished.load(Ordering::Relaxed) < 3 * ITEMS {
                    let until_next =
                        Until::At(tieline_os::futex::Deadline::after(std::time::Duration::from_millis(50)));
                    let taken = match take_waiting(queue, owner(consumer), until_next) {
                        Ok(taken) => taken,
                        Err(error) if error.is_timeout() => continue,
                        Err(error) => panic!("{error}"),
                    };
                    let number = number_in(queue, taken);
                    if number.is_multiple_of(101) && taken.attempts == 0 {
                        queue.requeue(taken).unwrap();
                        queue.item_added();
                    } else {
                        assert_eq!(seen[number as usize].fetch_add(1, Ordering::Relaxed), 0);
                        finish(queue, taken).unwrap();
                        finished.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    assert!(queue.counters().requeued > 0);
}

/// An attacker that writes anything anywhere, all the time: every operation ends, with an answer.
#[test]
fn an_attacker_who_keeps_writing_stops_nobody() {
    let queue = queue(8, 48);
    let stop = Count::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 1_u64;
            while stop.load(Ordering::Relaxed) == 0 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let control = &queue.control;
                let words = [&control.tail.value, &control.head.value, &control.behind, &control.served];
                match random >> 60 {
                    place @ 0..4 => words[place as usize].store(random, Ordering::Relaxed),
                    4..8 => queue.cells.word((random >> 32) as usize % 64 * 8).store(random, Ordering::Relaxed),
                    // What an attacker who knows the format would write: plausible words.
                    place => {
                        let word = Word(random & 0xff | u64::from(queue.geometry.lap(place)) << 32);
                        queue.cells.word(queue.geometry.slot_offset(place)).store(word.0, Ordering::Relaxed);
                    }
                }
            }
        });
        let start = Instant::now();
        let mut longest = std::time::Duration::ZERO;
        while start.elapsed() < std::time::Duration::from_millis(500) {
            let before = Instant::now();
            let _ = put(&queue, owner(0), 7);
            if let Ok(taken) = queue.take(owner(1)) {
                assert!(taken.len_bytes <= 48);
                let _ = number_in(&queue, taken);
                let _ = queue.requeue(taken);
            }
            let _ = queue.departed(owner(2));
            longest = longest.max(before.elapsed());
        }
        stop.store(1, Ordering::Relaxed);
        assert!(longest < PATIENCE / 4, "{longest:?}");
    });
}
