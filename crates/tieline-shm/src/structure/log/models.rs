//! The protocols of the log in every order that two or three threads can have, checked by loom.
//!
//! Preemptions are bounded (each model says how), all else is exhaustive. Each protocol has a control: with the planted
//! bug the same model must fail. A payload in the pool is a cell in which loom finds every unordered access.
//!
//! `RUSTFLAGS="--cfg model" cargo test --release -p tieline-shm --lib --target-dir target/model model_`

use std::sync::Arc;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::thread;
use tieline_testkit::test_name;

use super::{
    Bug, Entry, Gates, Geometry, Joiner, Length, LogHeader, Overflow, Reader, Room, Roster, RosterGeometry, Slots, Tag,
    Writer, release,
};
use crate::model::{explore, explore_for, must_notice};
use crate::raw::View;
use crate::raw::atomic::AtomicU64;
use crate::wait::{EventCount, Until, Waiting};

/// A log and one subscriber.
pub(super) struct Log {
    pub(super) header: View<LogHeader>,
    pub(super) slots: Slots,
    geometry: Geometry,
    pub(super) gates: Arc<Gates>,
    pub(super) roster: Roster,
}

impl Log {
    pub(super) fn new() -> (Self, Writer) {
        Self::with(Geometry::new(2, 16))
    }

    fn with(geometry: Geometry) -> (Self, Writer) {
        let header = View::leak(Box::new(LogHeader::zeroed()));
        let words = |count: usize| View::leak((0..count).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>());
        let slots = Slots::new(words(geometry.slot_words()), &geometry);
        let rosters = RosterGeometry { entries: 2, held: 1 };
        let event_count = || View::leak(Box::new(EventCount::new()));
        let roster = Roster::new(event_count(), event_count(), words(rosters.words()), rosters);
        let gates = Gates::new();
        let writer = Writer::new(header.clone(), slots.clone(), geometry, Arc::clone(&gates));
        (Self { header, slots, geometry, gates, roster }, writer)
    }

    pub(super) fn joiner<'a>(&'a self, entry: &'a Entry) -> Joiner<'a> {
        Joiner { id: 1, roster: &self.roster, entry, policy: 0, process: 0, history: 0 }
    }

    pub(super) fn entry(&self) -> Entry {
        self.roster.entry(0).expect("an entry")
    }

    pub(super) fn join(&self, overflow: Overflow) -> Reader {
        self.join_as(1, overflow, 0)
    }

    /// Joins with entry and number `id`, 1 or 2, so many messages back.
    pub(super) fn join_as(&self, id: usize, overflow: Overflow, history: u64) -> Reader {
        let depth = (overflow == Overflow::Gated).then_some(u64::MAX >> 1);
        let entry = self.roster.entry(id - 1).expect("an entry");
        let joiner = Joiner { id: id as u64, history, ..self.joiner(&entry) };
        let start = self.gates.admit(&joiner, depth, &self.header);
        let (header, slots, roster) = (self.header.clone(), self.slots.clone(), self.roster.clone());
        Reader::new(header, slots, self.geometry, roster, entry, overflow, start)
    }
}

/// How many preemptions more than a model needs to find its bugs are tried for as long as there is time.
const MORE_PREEMPTIONS: usize = 2;
const TIME: Duration = Duration::from_secs(20);

/// The model of this test holds; with each of `bugs` it does not.
pub(super) fn holds_but_for(
    test: &str,
    preemptions: usize,
    bugs: &[Bug],
    model: impl Fn() + Clone + Send + Sync + 'static,
) {
    explore(test, preemptions, model.clone());
    if crate::raw::planted().is_some() {
        return;
    }
    explore_for(TIME, test, preemptions + MORE_PREEMPTIONS, model);
    for bug in bugs {
        must_notice(test, &bug.name());
    }
}

pub(super) fn put(writer: &mut Writer, value: u64) -> Room {
    let bytes: Vec<u8> = [value.to_ne_bytes(), value.to_ne_bytes()].concat();
    writer.try_publish(Tag::inline(16), &bytes)
}

pub(super) fn get(reader: &mut Reader) -> Option<u64> {
    let mut bytes = [0; 16];
    reader.peek(&mut bytes, Length::Room).expect("no error")?;
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    assert_eq!(words[0], words[1], "a torn message");
    reader.advance(true);
    Some(words[0])
}

#[test]
fn model_messages_are_whole_though_overwritten() {
    holds_but_for(&test_name!(), 3, &[Bug::NoFenceInWrite, Bug::NoGuard, Bug::RelaxedStamp], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::SkipOldest);
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                assert_eq!(put(&mut writer, value), Room::Free);
            }
        });
        let mut last = 0;
        for _ in 0..3 {
            if let Some(value) = get(&mut reader) {
                assert!(value > last);
                assert_eq!(value, reader.next() - 1, "another message than the one of this number");
                last = value;
            }
        }
        publisher.join().unwrap();
    });
}

#[test]
fn model_who_is_waited_for_loses_nothing() {
    holds_but_for(&test_name!(), 5, &[Bug::NoGate, Bug::RelaxedStamp, Bug::NoNumber], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Gated);
        let publisher = thread::spawn(move || {
            let mut value = 1;
            for _ in 0..4 {
                if put(&mut writer, value) == Room::Free {
                    value += 1;
                }
            }
        });
        let mut next = 1;
        for _ in 0..3 {
            if let Some(value) = get(&mut reader) {
                assert_eq!(value, next);
                next += 1;
            }
        }
        publisher.join().unwrap();
        assert_eq!(reader.lost(), 0);
    });
}

#[test]
fn model_a_batch_is_seen_whole() {
    holds_but_for(&test_name!(), 6, &[Bug::FirstOfBatchFirst], || {
        let geometry = Geometry::new(4, 16);
        let (log, mut writer) = Log::with(geometry);
        let mut reader = log.join(Overflow::Gated);
        let publisher = thread::spawn(move || {
            let bytes = [1_u64.to_ne_bytes(), 1_u64.to_ne_bytes()].concat();
            let batch = [&bytes[..]; 2];
            assert_eq!(writer.try_publish_all(batch.iter().map(|bytes| (Tag::inline(16), *bytes))), 2);
        });
        if get(&mut reader).is_some() {
            assert!(get(&mut reader).is_some(), "half a batch");
        }
        publisher.join().unwrap();
    });
}

/// Reuses the bucket of message 1 if the survey allows it.
pub(super) fn reuse(bucket: &UnsafeCell<u64>, survey: &super::Survey) {
    if !survey.hazards.contains(&1) {
        bucket.with_mut(|value| {
            // SAFETY: the claim under test; loom reports it if it is wrong.
            unsafe { *value = 2 };
        });
    }
}

pub(super) fn view(bucket: &UnsafeCell<u64>) -> u64 {
    bucket.with(|value| {
        // SAFETY: the claim under test; loom reports it if it is wrong.
        unsafe { *value }
    })
}

#[test]
fn model_a_payload_given_up_is_not_reused_while_held() {
    let bugs = [Bug::NoFenceInHold, Bug::NoRecheck, Bug::NoFenceInGiveUp];
    holds_but_for(&test_name!(), 6, &bugs, || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::SkipOldest);
        let bucket = Arc::new(UnsafeCell::new(1));
        let shared = Arc::clone(&bucket);
        let publisher = thread::spawn(move || {
            assert_eq!(put(&mut writer, 1), Room::Free);
            let survey = writer.give_up(2);
            reuse(&shared, &survey);
        });
        let mut bytes = [0; 16];
        if reader.peek(&mut bytes, Length::Room).expect("no error").is_some()
            && let Some(hazard) = reader.hold().expect("one is free")
        {
            reader.advance(true);
            assert_eq!(view(&bucket), 1, "a payload that was reused");
            release(reader.roster(), reader.entry(), hazard);
        }
        publisher.join().unwrap();
    });
}

#[test]
fn model_a_payload_that_was_passed_is_not_reused_while_held() {
    holds_but_for(&test_name!(), 6, &[Bug::CursorBeforeHazard, Bug::RelaxedRelease], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Gated);
        let bucket = Arc::new(UnsafeCell::new(1));
        let shared = Arc::clone(&bucket);
        assert_eq!(put(&mut writer, 1), Room::Free);
        let publisher = thread::spawn(move || {
            let survey = writer.survey();
            if survey.passed > 1 {
                reuse(&shared, &survey);
            }
        });
        let mut bytes = [0; 16];
        assert!(reader.peek(&mut bytes, Length::Room).expect("no error").is_some());
        if super::planted(Bug::CursorBeforeHazard) {
            reader.entry().cursor().store(2, crate::raw::atomic::Ordering::Release);
        }
        let hazard = reader.hold().expect("one is free").expect("it is waited for");
        reader.advance(true);
        assert_eq!(view(&bucket), 1, "a payload that was reused");
        release(reader.roster(), reader.entry(), hazard);
        publisher.join().unwrap();
    });
}

#[test]
fn model_neither_side_oversleeps() {
    // Its controls are the models of `wait`: a lost wake-up is a deadlock.
    holds_but_for(&test_name!(), 2, &[], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Gated);
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                while put(&mut writer, value) == Room::None {
                    writer.wait_for_room(Waiting::Block, Until::Forever).expect("room");
                }
            }
        });
        for value in 1..=3 {
            let roster = reader.roster().clone();
            let got = roster.sleepers().wait(Waiting::Block, Until::Forever, "receive", || get(&mut reader));
            assert_eq!(got.expect("a message"), value);
        }
        publisher.join().unwrap();
    });
}

/// Publishes 1 to `last`, waiting for room.
fn publish_up_to(writer: &mut Writer, last: u64) {
    for value in 1..=last {
        while put(writer, value) == Room::None {
            writer.wait_for_room(Waiting::Block, Until::Forever).expect("room");
        }
    }
}

/// The next message, slept for.
pub(super) fn await_next(reader: &mut Reader) -> u64 {
    let roster = reader.roster().clone();
    let got = roster.sleepers().wait(Waiting::Block, Until::Forever, "receive", || get(reader));
    got.expect("a message")
}

#[test]
fn model_who_tells_late_is_not_waited_for_in_vain() {
    holds_but_for(&test_name!(), 2, &[Bug::ToldTooLate], || {
        let (log, mut writer) = Log::new();
        // Told of every second message, where the publisher may be two ahead.
        let mut reader = log.join(Overflow::Gated).with_depth(2);
        let publisher = thread::spawn(move || publish_up_to(&mut writer, 4));
        for value in 1..=4 {
            assert_eq!(await_next(&mut reader), value);
        }
        publisher.join().unwrap();
    });
}

#[test]
fn model_who_leaves_is_not_waited_for() {
    holds_but_for(&test_name!(), 3, &[Bug::RetireUnheard], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Gated);
        let publisher = thread::spawn(move || publish_up_to(&mut writer, 4));
        if let Some(value) = get(&mut reader) {
            assert_eq!(value, 1);
        }
        reader.retire();
        publisher.join().unwrap();
    });
}

#[test]
fn model_who_dies_is_not_waited_for() {
    holds_but_for(&test_name!(), 3, &[Bug::DismissUnheard], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Gated);
        let publisher = thread::spawn(move || publish_up_to(&mut writer, 4));
        if let Some(value) = get(&mut reader) {
            assert_eq!(value, 1);
        }
        log.gates.dismiss(1);
        publisher.join().unwrap();
    });
}

#[test]
fn model_the_slower_of_two_is_waited_for() {
    holds_but_for(&test_name!(), 4, &[Bug::NoGate, Bug::NoNumber], || {
        let (log, mut writer) = Log::new();
        let mut readers = [1, 2].map(|id| log.join_as(id, Overflow::Gated, 0));
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                if put(&mut writer, value) == Room::None {
                    return value - 1;
                }
            }
            3
        });
        let (fast, slow) = readers.split_at_mut(1);
        let fast = &mut fast[0];
        for value in 1..=2 {
            if let Some(got) = get(fast) {
                assert!(got <= value);
            }
        }
        let first = get(&mut slow[0]);
        assert!(first.is_none_or(|value| value == 1));
        let published = publisher.join().unwrap();
        for reader in &mut readers {
            while get(reader).is_some() {}
            assert_eq!((reader.next() - 1, reader.lost()), (published, 0));
        }
    });
}

#[test]
fn model_who_skips_ends_with_the_newest() {
    holds_but_for(&test_name!(), 3, &[Bug::NoFenceInWrite, Bug::NoGuard, Bug::RelaxedStamp], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::SkipToLatest);
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                assert_eq!(put(&mut writer, value), Room::Free);
            }
        });
        let mut last = 0;
        for _ in 0..2 {
            if let Some(value) = get(&mut reader) {
                assert!(value > last, "{value} after {last}");
                last = value;
            }
        }
        publisher.join().unwrap();
        assert_eq!(get(&mut reader).unwrap_or(last), 3);
        assert_eq!(reader.received() + reader.lost(), 3);
    });
}

#[test]
fn model_who_is_disconnected_misses_nothing_before() {
    holds_but_for(&test_name!(), 3, &[Bug::NoFenceInWrite, Bug::NoGuard, Bug::RelaxedStamp], || {
        let (log, mut writer) = Log::new();
        let mut reader = log.join(Overflow::Disconnect);
        let publisher = thread::spawn(move || {
            for value in 1..=3 {
                assert_eq!(put(&mut writer, value), Room::Free);
            }
        });
        let mut next = 1;
        let mut take = |reader: &mut Reader| {
            let mut bytes = [0; 16];
            let taken = reader.peek(&mut bytes, Length::Room)?;
            if taken.is_some() {
                assert_eq!(bytes, [next; 2].map(u64::to_ne_bytes).as_flattened(), "another message, or a torn one");
                reader.advance(true);
                next += 1;
            }
            Ok::<_, crate::error::Error>(taken.is_some())
        };
        let mut lagged = false;
        for _ in 0..3 {
            match take(&mut reader) {
                Ok(_) => assert!(!lagged, "a message after the end"),
                Err(error) => {
                    assert_eq!(error.kind(), crate::error::ErrorKind::Lagged);
                    lagged = true;
                }
            }
        }
        publisher.join().unwrap();
    });
}
