//! The log against plain memory: what one thread does, step by step, and what two do at once.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::{
    Entry, FIRST, Gates, Geometry, Joiner, Length, LogHeader, Overflow, Reader, Room, Roster, RosterGeometry, Slots,
    Tag, Writer,
};
use crate::error::ErrorKind;
use crate::raw::View;
use crate::raw::atomic::Ordering;

pub(in crate::structure) struct Log {
    pub(in crate::structure) header: View<LogHeader>,
    pub(in crate::structure) slots: Slots,
    pub(in crate::structure) geometry: Geometry,
    pub(in crate::structure) gates: std::sync::Arc<Gates>,
    pub(in crate::structure) roster: Roster,
}

impl Log {
    pub(in crate::structure) fn new(slots: usize, inline: usize) -> (Self, Writer) {
        Self::with(Geometry::new(slots, inline))
    }

    pub(in crate::structure) fn with(geometry: Geometry) -> (Self, Writer) {
        Self::with_entries(geometry, 8)
    }

    pub(in crate::structure) fn with_entries(geometry: Geometry, entries: usize) -> (Self, Writer) {
        let header = View::leak(Box::new(LogHeader::zeroed()));
        let slots = Slots::new(aligned(geometry.slot_words()), &geometry);
        let roster_geometry = RosterGeometry { entries, held: 3 };
        let event_count = || View::leak(Box::new(crate::wait::EventCount::new()));
        let words = aligned(roster_geometry.words());
        let roster = Roster::new(event_count(), event_count(), words, roster_geometry);
        let gates = Gates::new();
        let writer = Writer::new(header.clone(), slots.clone(), geometry, gates.clone());
        (Self { header, slots, geometry, gates, roster }, writer)
    }

    pub(in crate::structure) fn entry(&self, index: usize) -> Entry {
        self.roster.entry(index).expect("an entry")
    }

    pub(in crate::structure) fn join(&self, index: usize, overflow: Overflow, history: u64) -> Reader {
        let entry = self.entry(index);
        let depth = (overflow == Overflow::Gated).then_some(u64::MAX);
        let joiner = Joiner { id: index as u64, roster: &self.roster, entry: &entry, policy: 0, process: 0, history };
        let start = self.gates.admit(&joiner, depth, &self.header);
        let (header, slots) = (self.header.clone(), self.slots.clone());
        Reader::new(header, slots, self.geometry, self.roster.clone(), entry, overflow, start)
    }
}

/// Words that begin at a page, as those in a segment do.
pub(in crate::structure) fn aligned(words: usize) -> View<[AtomicU64]> {
    let bytes = (words * 8).next_multiple_of(4096).max(4096);
    let memory = std::sync::Arc::new(tieline_os::mapping::Mapping::anonymous(bytes).expect("memory"));
    View::slice(&memory, 0, words).expect("it is long enough")
}

pub(in crate::structure) fn put(writer: &mut Writer, value: u64) -> bool {
    writer.try_publish(Tag::inline(8), &value.to_ne_bytes()) == Room::Free
}

pub(in crate::structure) fn get(reader: &mut Reader) -> Option<u64> {
    let mut bytes = [0; 8];
    let tag = reader.peek(&mut bytes, Length::Room).expect("not an error")?;
    assert_eq!(tag.inline_len(), Some(8));
    reader.advance(true);
    Some(u64::from_ne_bytes(bytes))
}

#[test]
fn the_publisher_waits_for_the_slowest_of_those_it_waits_for() {
    let (log, mut writer) = Log::new(4, 8);
    let mut fast = log.join(0, Overflow::Gated, 0);
    let mut slow = log.join(1, Overflow::Gated, 0);
    let mut loser = log.join(2, Overflow::SkipOldest, 0);
    assert!((0..4).all(|value| put(&mut writer, value)));
    assert!(!put(&mut writer, 4));
    assert_eq!((0..4).map(|_| get(&mut fast)).collect::<Option<Vec<_>>>(), Some(vec![0, 1, 2, 3]));
    assert!(!put(&mut writer, 4), "the slow one has taken nothing");
    assert_eq!(get(&mut slow), Some(0));
    assert!(put(&mut writer, 4));
    assert!(!put(&mut writer, 5));
    log.gates.dismiss(1);
    assert!(put(&mut writer, 5), "nobody waits for the dead");
    assert_eq!(get(&mut loser).map(|value| value >= 2), Some(true));
    assert!(loser.lost() >= 2);
    assert_eq!(fast.lost(), 0);
}

/// Subscribers of two users wake the publisher at two rosters, and it sleeps at one: that of whoever holds it up.
#[test]
fn the_publisher_sleeps_where_the_one_it_waits_for_wakes_it() {
    let (log, mut writer) = Log::new(8, 8);
    let mut lagging = log.join(0, Overflow::Gated, 0); // as far behind as the log allows
    let (elsewhere, _) = Log::new(8, 8);
    let entry = elsewhere.entry(0);
    let joiner = Joiner { id: 1, roster: &elsewhere.roster, entry: &entry, policy: 0, process: 0, history: 0 };
    let start = log.gates.admit(&joiner, Some(4), &log.header);
    let (header, slots, roster) = (log.header.clone(), log.slots.clone(), elsewhere.roster.clone());
    let mut prompt = Reader::new(header, slots, log.geometry, roster, entry, Overflow::Gated, start);
    for value in 0..8 {
        assert!(put(&mut writer, value));
        assert_eq!(get(&mut prompt), Some(value));
    }
    assert!(!put(&mut writer, 8), "the lagging one has taken nothing");
    assert_eq!(writer.slowest().map(|(id, _)| id), Some(0));
    assert_eq!(get(&mut lagging), Some(0));
    assert!(put(&mut writer, 8));
}

#[test]
fn in_a_stream_the_publisher_is_told_late_by_a_part_of_the_depth() {
    for (depth, late_max) in [(1024, 31), (256, 15), (16, 0), (4, 0)] {
        let (log, mut writer) = Log::new(1024, 8);
        let mut reader = log.join(0, Overflow::Gated, 0).with_depth(depth);
        let lateness = |reader: &Reader| reader.next() - log.entry(0).cursor().load(Ordering::Relaxed);
        let mut latest = 0;
        for value in 0..100 {
            assert!(put(&mut writer, value));
        }
        for value in 0..100 {
            assert_eq!(get(&mut reader), Some(value));
            assert_eq!(reader.position().load(Ordering::Relaxed), reader.next());
            latest = latest.max(lateness(&reader));
        }
        assert_eq!(latest, late_max, "depth {depth}");
        assert_eq!(get(&mut reader), None);
        reader.pause();
        assert_eq!(lateness(&reader), 0);
        // The stream is over: the next one is told at once.
        assert!(put(&mut writer, 100));
        assert_eq!((get(&mut reader), lateness(&reader)), (Some(100), 0));
    }
}

#[test]
fn who_is_not_waited_for_any_more_looks_whether_it_was_overtaken() {
    let (log, mut writer) = Log::new(4, 64);
    let mut reader = log.join(0, Overflow::Gated, 0);
    assert!(put(&mut writer, 0));
    log.gates.dismiss(0);
    // The publisher is in the middle of the message that overwrites it: guard and payload are new, the stamp is old.
    let words = log.geometry.stride_words;
    let first = usize::try_from(FIRST).unwrap();
    log.slots.word(first * words + words - 1).store(FIRST + 4, Ordering::Relaxed);
    reader.distrust();
    assert_ne!(reader.peek(&mut [0; 64], Length::Room).unwrap().and_then(Tag::inline_len), Some(8));
    assert!(reader.lost() > 0);
}

#[test]
fn who_joins_before_buckets_are_looked_for_is_waited_for() {
    let (log, mut writer) = Log::new(4, 8);
    assert!(put(&mut writer, 0), "for nobody");
    let mut reader = log.join(0, Overflow::Gated, 0);
    assert_eq!(writer.survey().gate, reader.next());
    let published = (1..=10).take_while(|value| put(&mut writer, *value)).count();
    assert_eq!(published, 4);
    assert_eq!(std::iter::from_fn(|| get(&mut reader)).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn who_comes_back_under_its_number_starts_anew() {
    let (log, mut writer) = Log::with(Geometry::new(8, 8).with_history(4));
    let mut first = log.join(0, Overflow::Gated, 0);
    for value in 0..6 {
        assert!(put(&mut writer, value));
        assert_eq!(get(&mut first), Some(value));
    }
    assert_eq!(writer.survey().gate, first.next());
    log.gates.dismiss(0);
    let mut again = log.join(0, Overflow::Gated, 4);
    let published = (6..20).take_while(|value| put(&mut writer, *value)).count();
    assert_eq!(published, 4, "four of eight places are promised");
    assert_eq!(std::iter::from_fn(|| get(&mut again)).collect::<Vec<_>>(), (2..10).collect::<Vec<_>>());
}

#[test]
fn who_is_disconnected_rather_than_lose_a_message_is_so_too_when_its_payload_is_given_up() {
    let (log, mut writer) = Log::new(4, 16);
    let mut reader = log.join(0, Overflow::Disconnect, 0);
    assert_eq!(writer.try_publish(Tag::POOLED, &[0; 16]), Room::Free);
    assert!(reader.peek(&mut [0; 16], Length::Room).unwrap().is_some());
    writer.give_up(FIRST + 1);
    assert_eq!(reader.hold().unwrap_err().kind(), ErrorKind::Lagged);
    assert!(put(&mut writer, 1));
    assert!(reader.peek(&mut [0; 16], Length::Room).unwrap().is_some(), "it still lies there");
    assert_eq!(reader.hold().unwrap_err().kind(), ErrorKind::Lagged);
}

#[test]
fn policies_lose_what_they_say() {
    let (log, mut writer) = Log::new(8, 8);
    let mut oldest = log.join(0, Overflow::SkipOldest, 0);
    let mut latest = log.join(1, Overflow::SkipToLatest, 0);
    let mut disconnect = log.join(2, Overflow::Disconnect, 0);
    assert!(put(&mut writer, 0));
    assert_eq!((get(&mut oldest), get(&mut latest), get(&mut disconnect)), (Some(0), Some(0), Some(0)));
    for value in 1..=20 {
        assert!(put(&mut writer, value));
    }
    assert_eq!((get(&mut latest), get(&mut latest), latest.lost()), (Some(20), None, 19));
    let rest: Vec<u64> = std::iter::from_fn(|| get(&mut oldest)).collect();
    assert_eq!(rest, (14..=20).collect::<Vec<_>>());
    assert_eq!(oldest.lost(), 13);
    assert_eq!(disconnect.peek(&mut [0; 8], Length::Room).unwrap_err().kind(), ErrorKind::Lagged);
    assert!(put(&mut writer, 21));
    assert_eq!(disconnect.peek(&mut [0; 8], Length::Room).unwrap_err().kind(), ErrorKind::Lagged);
}

#[test]
fn a_batch_is_there_whole_or_not_at_all_and_stops_at_the_limit() {
    let (log, mut writer) = Log::new(16, 8);
    let mut reader = log.join(0, Overflow::Gated, 0);
    let values: Vec<[u8; 8]> = (0..40_u64).map(u64::to_ne_bytes).collect();
    let batch = |from: usize| values[from..].iter().map(|value| (Tag::inline(8), &value[..]));
    assert_eq!(writer.try_publish_all(batch(0)), 8);
    assert_eq!(writer.try_publish_all(batch(8)), 8);
    assert_eq!(writer.try_publish_all(batch(16)), 0);
    assert_eq!((0..3).map(|_| get(&mut reader)).collect::<Option<Vec<_>>>(), Some(vec![0, 1, 2]));
    assert_eq!(writer.try_publish_all(batch(16)), 3);
    assert_eq!(std::iter::from_fn(|| get(&mut reader)).collect::<Vec<_>>(), (3..19).collect::<Vec<_>>());
}

#[test]
fn a_late_joiner_starts_as_far_back_as_there_is_history() {
    let (log, mut writer) = Log::new(16, 8);
    for value in 0..5 {
        assert!(put(&mut writer, value));
    }
    let mut all = log.join(0, Overflow::Gated, 100);
    let mut two = log.join(1, Overflow::Gated, 2);
    let mut none = log.join(2, Overflow::Gated, 0);
    assert_eq!(std::iter::from_fn(|| get(&mut all)).collect::<Vec<_>>(), vec![0, 1, 2, 3, 4]);
    assert_eq!(std::iter::from_fn(|| get(&mut two)).collect::<Vec<_>>(), vec![3, 4]);
    assert_eq!(get(&mut none), None);
}

#[test]
fn a_cursor_that_lies_neither_frees_nor_blocks_more_than_its_own_messages() {
    use std::sync::atomic::Ordering;
    let (log, mut writer) = Log::new(4, 8);
    let mut honest = log.join(0, Overflow::Gated, 0);
    let _liar = log.join(1, Overflow::Gated, 0);
    for lie in [u64::MAX, 1 << 56, 100, 0] {
        log.entry(1).cursor().store(lie, Ordering::Relaxed);
        let _ = writer.look();
    }
    assert!((0..4).all(|value| put(&mut writer, value)));
    assert!(!put(&mut writer, 4));
    log.entry(1).cursor().store(5, Ordering::Relaxed);
    assert!(!put(&mut writer, 4), "the honest one has taken nothing");
    assert_eq!(get(&mut honest), Some(0));
    assert!(put(&mut writer, 4));
}

#[test]
fn messages_are_whole_while_the_publisher_overwrites() {
    for inline in [8, 48, 64, 112] {
        let (log, mut writer) = Log::new(4, inline);
        let mut readers = [log.join(0, Overflow::SkipOldest, 0), log.join(1, Overflow::SkipToLatest, 0)];
        let words = inline / 8;
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(move || {
                    let mut bytes = vec![0; inline];
                    let mut last = 0;
                    while last < 200_000 {
                        let Some(tag) = reader.peek(&mut bytes, Length::Room).expect("no error") else { continue };
                        assert_eq!(tag.inline_len(), Some(inline));
                        let values: Vec<_> = bytes.as_chunks::<8>().0.iter().map(|w| u64::from_ne_bytes(*w)).collect();
                        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
                        assert!(values[0] > last);
                        last = values[0];
                        reader.advance(true);
                        assert_eq!(reader.received() + reader.lost() + 1, reader.next());
                    }
                });
            }
            for value in 1..=200_000_u64 {
                let payload = value.to_ne_bytes().repeat(words);
                let _ = writer.try_publish(Tag::inline(inline), &payload);
            }
        });
    }
}

/// What may be done to a log, in any order.
#[derive(Clone, Debug)]
enum Step {
    Publish,
    Batch(usize),
    Take(usize),
    Join(usize, u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Publish),
        2 => (0..6_usize).prop_map(Step::Batch),
        8 => (0..4_usize).prop_map(Step::Take),
        1 => ((0..4_usize), (0..6_u64)).prop_map(|(index, history)| Step::Join(index, history)),
        1 => (0..4_usize).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..200)
}

const OVERFLOWS: [Overflow; 4] = [Overflow::Gated, Overflow::SkipOldest, Overflow::SkipToLatest, Overflow::Gated];

proptest! {
    /// Message `n` carries `n`. The oracle is the list of who has read how far.
    #[test]
    fn a_log_does_as_a_list_of_messages_would(steps in steps()) {
        let (log, mut writer) = Log::with(Geometry::new(8, 8).with_history(4));
        let mut readers: [Option<Reader>; 4] = [const { None }; 4];
        let mut published = 0;
        let room = |readers: &[Option<Reader>; 4], published: u64| {
            let gated = readers.iter().flatten().filter(|reader| reader.is_gated());
            gated.map(|reader| reader.next() + 8 - (published + 1)).min().unwrap_or(u64::MAX)
        };
        for step in steps {
            match step {
                Step::Publish => {
                    let fits = room(&readers, published) > 0;
                    prop_assert_eq!(put(&mut writer, published + 1), fits);
                    published += u64::from(fits);
                }
                Step::Batch(count) => {
                    let values: Vec<_> = (1..=count as u64).map(|n| (published + n).to_ne_bytes()).collect();
                    let fits = (count as u64).min(4).min(room(&readers, published));
                    let batch = values.iter().map(|value| (Tag::inline(8), &value[..]));
                    prop_assert_eq!(writer.try_publish_all(batch) as u64, fits);
                    published += fits;
                }
                Step::Take(index) => {
                    let Some(reader) = &mut readers[index] else { continue };
                    let (before, lost) = (reader.next(), reader.lost());
                    let got = get(reader);
                    prop_assert_eq!(got.is_some(), before <= published);
                    if let Some(value) = got {
                        prop_assert_eq!(value + 1, reader.next());
                        prop_assert_eq!(value - before, reader.lost() - lost);
                        prop_assert!(OVERFLOWS[index] != Overflow::Gated || value == before);
                        prop_assert!(OVERFLOWS[index] != Overflow::SkipToLatest || value == published);
                        prop_assert!(value + 8 > published);
                    }
                }
                Step::Join(index, history) if readers[index].is_none() => {
                    // Beyond what the log keeps nothing may be asked for; the channel sees to that.
                    let reader = log.join(index, OVERFLOWS[index], history.min(4));
                    prop_assert_eq!(reader.next(), (published + 1).saturating_sub(history.min(4)).max(1));
                    readers[index] = Some(reader);
                }
                Step::Leave(index) if readers[index].take().is_some() => log.gates.dismiss(index as u64),
                Step::Join(..) | Step::Leave(_) => {}
            }
        }
    }

    /// A publisher that writes anything anywhere costs a subscriber its messages, in bounded time, and nothing else.
    #[test]
    fn garbage_in_a_log_neither_panics_nor_hangs(
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0..64_u32), 1..60),
        overflow in 0..3_usize,
    ) {
        use std::sync::atomic::Ordering;
        let (log, mut writer) = Log::new(8, 16);
        let mut reader = log.join(0, OVERFLOWS[overflow], 0);
        for (at, word, shift) in words {
            let _ = put(&mut writer, word);
            match at.index(10) {
                0 => log.header.head().store(word >> shift, Ordering::Relaxed),
                1 => log.header.oldest().store(word >> shift, Ordering::Relaxed),
                _ => log.slots.word(at.index(log.geometry.slot_words())).store(word >> shift, Ordering::Relaxed),
            }
            for _ in 0..4 {
                match reader.peek(&mut [0; 16], Length::Room) {
                    Ok(Some(_)) => {
                        if let Ok(Some(hazard)) = reader.hold() {
                            super::release(reader.roster(), reader.entry(), hazard);
                        }
                        reader.advance(true);
                    }
                    Ok(None) => {}
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupted),
                }
            }
        }
    }

    /// A subscriber that writes anything in its entry holds up those that wait for it, and frees nothing of others'.
    #[test]
    fn garbage_in_an_entry_does_not_let_others_lose_messages(
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0..64_u32), 1..60),
    ) {
        use std::sync::atomic::Ordering;
        let (log, mut writer) = Log::new(8, 8);
        let mut honest = log.join(0, Overflow::Gated, 0);
        let _liar = log.join(1, Overflow::Gated, 0);
        let (mut published, mut taken) = (0, 0);
        for (at, word, shift) in words {
            log.entry(1).word(at.index(24)).store(word >> shift, Ordering::Relaxed);
            published += u64::from(put(&mut writer, published + 1));
            prop_assert!(writer.survey().passed <= honest.next());
            if at.index(2) == 0
                && let Some(value) = get(&mut honest)
            {
                taken += 1;
                prop_assert_eq!(value, taken);
            }
        }
        prop_assert_eq!(honest.lost(), 0);
    }
}
