//! The protocols of the log in every order that two or three threads can have, checked by loom.
//!
//! Preemptions are bounded (each model says how), all else is exhaustive. Each protocol has a control: with the planted
//! bug the same model must fail. A payload in the pool is a cell in which loom finds every unordered access.
//!
//! `RUSTFLAGS="--cfg model" cargo test --release -p tieline-shm --lib --target-dir target/model model_`

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering as CountOrdering};

use loom::cell::UnsafeCell;
use loom::thread;

use super::planted::PLANTED;
use super::{
    Bug, Entry, Gates, Geometry, Joiner, Length, LogHeader, Overflow, Reader, Room, Roster, RosterGeometry, Slots, Tag,
    Writer, release,
};
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
        let rosters = RosterGeometry { entries: 1, held: 1 };
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
        let depth = (overflow == Overflow::Gated).then_some(u64::MAX >> 1);
        let entry = self.entry();
        let start = self.gates.admit(&self.joiner(&entry), depth, &self.header);
        let (header, slots, roster) = (self.header.clone(), self.slots.clone(), self.roster.clone());
        Reader::new(header, slots, self.geometry, roster, entry, overflow, start)
    }
}

/// Runs `model` in all orders with at most `preemptions`; answers how many there were.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> u64 {
    let count = Arc::new(Count::new(0));
    let counted = Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, CountOrdering::Relaxed);
        model();
    });
    count.load(CountOrdering::Relaxed)
}

/// `model` holds; with each of `bugs` it does not.
pub(super) fn holds_but_for(
    name: &str,
    preemptions: usize,
    bugs: &[Bug],
    model: impl Fn() + Clone + Send + Sync + 'static,
) {
    PLANTED.set(None);
    let count = explore(preemptions, model.clone());
    println!("{name}: {count} executions, {preemptions} preemptions");
    for bug in bugs {
        PLANTED.set(Some(*bug));
        let found = catch_unwind(AssertUnwindSafe(|| explore(preemptions, model.clone())));
        PLANTED.set(None);
        assert!(found.is_err(), "{name} does not notice {bug:?}");
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
    holds_but_for("overwrite", 3, &[Bug::NoFenceInWrite, Bug::NoGuard], || {
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
    holds_but_for("gate", 3, &[Bug::NoGate], || {
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
    holds_but_for("batch", 3, &[Bug::FirstOfBatchFirst], || {
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
    holds_but_for("give up", 3, &bugs, || {
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
    holds_but_for("pass", 3, &[Bug::CursorBeforeHazard, Bug::RelaxedRelease], || {
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
    holds_but_for("sleep", 2, &[], || {
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
