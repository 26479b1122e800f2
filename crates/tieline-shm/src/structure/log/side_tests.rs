//! A log of a subscriber's own against a plain queue.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::Length;
use super::tests::{Log, aligned, get, put};
use super::{Geometry, LogHeader, Overflow, Reader, Room, SideLog, Slots, Tag, release};
use crate::raw::View;
use crate::raw::atomic::Ordering;

impl Log {
    fn join_aside(&self, index: usize, depth: u64, history: u64, pins_max: usize) -> Reader {
        self.join_aside_as(index as u64, index, depth, history, pins_max)
    }

    fn join_aside_as(&self, id: u64, index: usize, depth: u64, history: u64, pins_max: usize) -> Reader {
        let geometry = Geometry { slots: 8, ..self.geometry };
        let header = View::leak(Box::new(LogHeader::zeroed()));
        let slots = Slots::new(aligned(geometry.slot_words()), &geometry);
        let entry = self.entry(index);
        let side = SideLog::new(id, header.clone(), slots.clone(), &geometry, depth, entry.clone(), pins_max);
        let joiner = super::Joiner { id, roster: &self.roster, entry: &entry, policy: 3, process: 0, history };
        let start = self.gates.admit_aside(&joiner, side, &self.header, &self.slots);
        Reader::new(header, slots, geometry, self.roster.clone(), entry, Overflow::DropNewest, start)
    }
}

#[test]
fn the_oldest_are_kept_and_the_newest_counted() {
    let (log, mut writer) = Log::new(4, 8);
    let mut reader = log.join_aside(0, 3, 0, 0);
    for value in 0..20 {
        assert!(put(&mut writer, value), "nobody is waited for");
    }
    assert_eq!((get(&mut reader), reader.lost()), (Some(0), 17));
    assert!(put(&mut writer, 20));
    assert!(put(&mut writer, 21));
    let rest: Vec<u64> = std::iter::from_fn(|| get(&mut reader)).collect();
    assert_eq!((rest, reader.lost()), (vec![1, 2, 20], 18));
}

#[test]
fn a_bucket_is_kept_until_it_was_passed_and_released_and_not_beyond_the_share() {
    let (log, mut writer) = Log::new(8, 16);
    let mut reader = log.join_aside(0, 8, 0, 2);
    for _ in 0..4 {
        assert_eq!(writer.try_publish(Tag::POOLED, &[0; 16]), Room::Free);
    }
    assert_eq!((writer.survey().hazards, reader.lost()), (vec![1, 2], 2));
    assert!(reader.peek(&mut [0; 16], Length::Room).unwrap().is_some());
    let hazard = reader.hold().unwrap().unwrap();
    reader.advance(true);
    assert_eq!(writer.survey().hazards, [1, 2], "passed, but held");
    release(reader.roster(), reader.entry(), hazard);
    assert_eq!(writer.survey().hazards, [2]);
    // There is room in the share again; another subscriber gets what is left of it, which is nothing.
    let mut other = log.join_aside(1, 8, 0, 2);
    assert_eq!(writer.try_publish(Tag::POOLED, &[0; 16]), Room::Free);
    let mut hazards = writer.survey().hazards;
    hazards.sort_unstable();
    assert_eq!(hazards, [2, 5]);
    assert!(other.peek(&mut [0; 16], Length::Room).unwrap().is_none());
    assert_eq!(other.lost(), 1);
    log.gates.dismiss(0);
    assert!(writer.survey().hazards.is_empty(), "the dead hold nothing");
}

#[test]
fn a_lying_cursor_gains_nothing() {
    let (log, mut writer) = Log::new(4, 8);
    let mut reader = log.join_aside(0, 4, 0, 0);
    for lie in [u64::MAX, 9, 0, 1 << 56] {
        log.entry(0).cursor().store(lie, Ordering::Relaxed);
        assert!((0..6).all(|value| put(&mut writer, value)));
    }
    assert_eq!((get(&mut reader), reader.lost()), (Some(0), 20));
}

/// What may be done, in any order.
#[derive(Clone, Debug)]
enum Step {
    Publish,
    Batch(usize),
    Take(usize),
    Join(usize, u64, u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Publish),
        2 => (0..6_usize).prop_map(Step::Batch),
        6 => (0..3_usize).prop_map(Step::Take),
        1 => (0..3_usize, 1..9_u64, 0..6_u64).prop_map(|(index, depth, history)| Step::Join(index, depth, history)),
        1 => (0..3_usize).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..200)
}

/// One subscriber, and the queue that it should look like.
struct Pair {
    id: u64,
    reader: Reader,
    depth: u64,
    queue: VecDeque<u64>,
    dropped: u64,
}

impl Pair {
    fn given(&mut self, value: u64) {
        if (self.queue.len() as u64) < self.depth {
            self.queue.push_back(value);
        } else {
            self.dropped += 1;
        }
    }
}

proptest! {
    /// Message `n` carries `n`. The oracle of each subscriber is a queue of bounded length.
    #[test]
    fn a_log_of_ones_own_does_as_a_bounded_queue_would(steps in steps()) {
        let (log, mut writer) = Log::with(Geometry::new(8, 8).with_history(4));
        let mut pairs: [Option<Pair>; 3] = [const { None }; 3];
        let (mut published, mut ids) = (0, 0);
        for step in steps {
            match step {
                Step::Publish => {
                    published += 1;
                    prop_assert!(put(&mut writer, published));
                    pairs.iter_mut().flatten().for_each(|pair| pair.given(published));
                }
                Step::Batch(count) => {
                    let values: Vec<_> = (1..=count as u64).map(|n| (published + n).to_ne_bytes()).collect();
                    let batch = values.iter().map(|value| (Tag::inline(8), &value[..]));
                    let done = writer.try_publish_all(batch) as u64;
                    prop_assert_eq!(done, (count as u64).min(4));
                    for value in published + 1..=published + done {
                        pairs.iter_mut().flatten().for_each(|pair| pair.given(value));
                    }
                    published += done;
                }
                Step::Take(index) => {
                    let Some(pair) = &mut pairs[index] else { continue };
                    prop_assert_eq!(get(&mut pair.reader), pair.queue.pop_front());
                    prop_assert_eq!(pair.reader.lost(), pair.dropped);
                }
                Step::Join(index, depth, history) if pairs[index].is_none() => {
                    let history = history.min(4);
                    ids += 1;
                    let reader = log.join_aside_as(ids, index, depth, history, 0);
                    let mut pair = Pair { id: ids, reader, depth, queue: VecDeque::new(), dropped: 0 };
                    for value in published.saturating_sub(history) + 1..=published {
                        pair.given(value);
                    }
                    pairs[index] = Some(pair);
                }
                Step::Leave(index) => {
                    if let Some(pair) = pairs[index].take() {
                        log.gates.dismiss(pair.id);
                    }
                }
                Step::Join(..) => {}
            }
        }
    }
}
