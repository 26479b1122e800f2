//! Models of joining while the publisher runs, and of a log of a subscriber's own; see `models`.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use tieline_testkit::test_name;

use super::Length;
use super::models::{Log, await_next, get, holds_but_for, put, reuse, view};
use super::{Bug, Geometry, LogHeader, Overflow, Reader, Room, SideLog, Slots, Tag, Writer, release};
use crate::raw::View;
use crate::raw::atomic::AtomicU64;

impl Log {
    /// Joins with a log of its own, of `depth` messages.
    fn join_aside(&self, depth: u64) -> Reader {
        // A few.
        let geometry = Geometry::new(depth as usize, 16);
        let header = View::leak(Box::new(LogHeader::zeroed()));
        let words = (0..geometry.slot_words()).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        let slots = Slots::new(View::leak(words), &geometry);
        let entry = self.entry();
        let side = SideLog::new(1, header.clone(), slots.clone(), &geometry, depth, entry.clone(), 1);
        let start = self.gates.admit_aside(&self.joiner(&entry), side, &self.header, &self.slots);
        Reader::new(header, slots, geometry, self.roster.clone(), entry, Overflow::DropNewest, start)
    }
}

#[test]
fn model_who_joins_a_running_publisher_loses_nothing() {
    holds_but_for(&test_name!(), 4, &[Bug::HeadBeforeLimit, Bug::NoBarrierAtJoin], || {
        let (log, mut writer) = Log::new();
        let publisher = thread::spawn(move || {
            let mut value = 1;
            for _ in 0..4 {
                if put(&mut writer, value) == Room::Free {
                    value += 1;
                }
            }
            value
        });
        let mut reader = log.join(Overflow::Gated);
        let first = reader.next();
        let mut next = first;
        for _ in 0..2 {
            if let Some(value) = get(&mut reader) {
                assert_eq!(value, next, "another than the one that was promised");
                next += 1;
            }
        }
        let published = publisher.join().unwrap();
        while let Some(value) = get(&mut reader) {
            assert_eq!(value, next);
            next += 1;
        }
        assert_eq!(reader.lost(), 0);
        assert_eq!(next, published.max(first), "all that was published since");
    });
}

#[test]
fn model_who_joins_while_buckets_are_looked_for_is_waited_for() {
    holds_but_for(&test_name!(), 5, &[Bug::StaleLimit], || {
        let (log, mut writer) = Log::new();
        let publisher = thread::spawn(move || {
            let mut value = 1;
            for _ in 0..4 {
                if put(&mut writer, value) == Room::Free {
                    value += 1;
                }
                // As for a bucket: learns who there is, and asks nobody for room.
                writer.survey();
            }
            value
        });
        let mut reader = log.join(Overflow::Gated);
        let first = reader.next();
        let published = publisher.join().unwrap();
        let mut next = first;
        while let Some(value) = get(&mut reader) {
            assert_eq!(value, next);
            next += 1;
        }
        assert_eq!((next, reader.lost()), (published.max(first), 0));
    });
}

#[test]
fn model_who_joins_with_history_gets_all_of_it() {
    holds_but_for(&test_name!(), 5, &[Bug::HeadBeforeLimit, Bug::NoBarrierAtJoin], || {
        let (log, mut writer) = Log::new();
        let publisher = thread::spawn(move || {
            let mut value = 1;
            for _ in 0..4 {
                if put(&mut writer, value) == Room::Free {
                    value += 1;
                }
            }
            value
        });
        let mut reader = log.join_as(1, Overflow::Gated, 1);
        let first = reader.next();
        let mut next = first;
        if let Some(value) = get(&mut reader) {
            assert_eq!(value, next);
            next += 1;
        }
        let published = publisher.join().unwrap();
        while let Some(value) = get(&mut reader) {
            assert_eq!(value, next, "another than was promised");
            next += 1;
        }
        assert_eq!((next, reader.lost()), (published.max(first), 0));
    });
}

#[test]
fn model_who_joins_while_a_message_is_written_is_woken_for_it() {
    holds_but_for(&test_name!(), 3, &[Bug::LateRoster], || {
        let (log, mut writer) = Log::new();
        let publisher = thread::spawn(move || {
            assert_eq!(put(&mut writer, 1), Room::Free);
            assert_eq!(put(&mut writer, 2), Room::Free);
        });
        let mut reader = log.join(Overflow::Gated);
        // What is still to come is slept for.
        for value in reader.next()..=2 {
            assert_eq!(await_next(&mut reader), value);
        }
        publisher.join().unwrap();
    });
}

#[test]
fn model_who_loses_the_newest_keeps_the_oldest() {
    holds_but_for(&test_name!(), 5, &[Bug::NoRoomAside], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join_aside(2);
        let publisher = thread::spawn(move || {
            for value in 1..=4 {
                assert_eq!(put(&mut writer, value), Room::Free, "nobody is waited for");
            }
        });
        let (mut last, mut count) = (0, 0);
        let mut take = |reader: &mut Reader| {
            let value = get(reader)?;
            assert!(value > last, "{value} after {last}");
            if count < 2 {
                assert_eq!(value, count + 1, "there was room for the first two");
            }
            (last, count) = (value, count + 1);
            Some(count)
        };
        for _ in 0..3 {
            take(&mut reader);
        }
        publisher.join().unwrap();
        while take(&mut reader).is_some() {}
        assert_eq!(count + reader.lost(), 4, "received or counted");
    });
}

#[test]
fn model_who_joins_with_a_log_of_its_own_gets_all_that_follows() {
    holds_but_for(&test_name!(), 5, &[Bug::NoBarrierAtJoin, Bug::HeadBeforeLimit], || {
        let (log, mut writer) = Log::new();
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                assert_eq!(put(&mut writer, value), Room::Free);
            }
            writer
        });
        let mut reader = log.join_aside(4);
        let mut next = get(&mut reader).map(|first| first + 1);
        let mut writer = publisher.join().unwrap();
        // By the next message at the latest it is noticed.
        assert_eq!(put(&mut writer, 4), Room::Free);
        while let Some(value) = get(&mut reader) {
            assert!(next.is_none_or(|next| value == next), "a gap");
            next = Some(value + 1);
        }
        assert_eq!((next, reader.lost()), (Some(5), 0), "there was room for all of them");
    });
}

#[test]
fn model_a_payload_that_a_side_log_names_is_not_reused() {
    holds_but_for(&test_name!(), 6, &[Bug::NoPin, Bug::RelaxedRelease, Bug::CursorBeforeHazard], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join_aside(2);
        let bucket = Arc::new(UnsafeCell::new(1));
        let shared = Arc::clone(&bucket);
        let publisher = thread::spawn(move || {
            publish_pooled(&mut writer);
            let survey = writer.survey();
            assert!(survey.passed > 1, "it is asked for nothing else");
            reuse(&shared, &survey);
        });
        let mut bytes = [0; 16];
        if reader.peek(&mut bytes, Length::Room).expect("no error").is_some() {
            if super::planted(Bug::CursorBeforeHazard) {
                reader.entry().cursor().store(2, crate::raw::atomic::Ordering::Release);
            }
            let hazard = reader.hold().expect("one is free").expect("it is kept");
            reader.advance(true);
            assert_eq!(view(&bucket), 1, "a payload that was reused");
            release(reader.roster(), reader.entry(), hazard);
        }
        publisher.join().unwrap();
    });
}

fn publish_pooled(writer: &mut Writer) {
    assert_eq!(writer.try_publish(Tag::POOLED, &[0; 16]), Room::Free);
}
