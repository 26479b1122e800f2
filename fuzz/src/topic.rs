//! A topic's log as its reader sees it, written by a publisher that may write anything, anywhere, at any time.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use tieline_shm::testing::Stranger;
use tieline_shm::topic::{Policy, Sample, Subscriber};
use tieline_shm::{Error, ErrorKind, Payload, WaitSet};

use crate::Choices;

/// A publisher's log and the roster of its subscribers. The input is what is carried and how, the measures and what is
/// wrong with them, and what both do then, a byte for each deed and a few more for what it needs.
///
/// As long as the publisher has written nothing but messages, they all arrive as they were written. After that each call
/// still answers, with a value of the type or an error that says what is wrong.
pub fn topic_log(data: &[u8]) {
    let mut choices = Choices(data);
    match choices.byte() % 3 {
        0 => converse::<u64>(choices),
        1 => converse::<[u32; 40]>(choices),
        _ => converse::<[char]>(choices),
    }
}

const POLICIES: [Policy; 5] =
    [Policy::Block, Policy::DropOldest, Policy::DropNewest, Policy::SkipToLatest, Policy::Disconnect];

/// Where what lies, as `docs/formats/shm-topic.md` says.
const HEAD: usize = 128;
const ROSTER_MEASURES: usize = 256;
const SLOTS: usize = 512;
const PAGE: usize = 4096;
const POOLED: u64 = 0x80;

/// What a topic carries here.
trait Told: Payload {
    /// The bytes of the message of that number.
    fn written(number: u64) -> Vec<u8>;

    /// The bytes of one that came; each item is looked at.
    fn read(&self) -> Vec<u8>;
}

impl Told for u64 {
    fn written(number: u64) -> Vec<u8> {
        number.to_ne_bytes().to_vec()
    }

    fn read(&self) -> Vec<u8> {
        self.to_ne_bytes().to_vec()
    }
}

impl Told for [u32; 40] {
    fn written(number: u64) -> Vec<u8> {
        [(number as u32).to_ne_bytes(); 40].concat()
    }

    fn read(&self) -> Vec<u8> {
        self.map(u32::to_ne_bytes).concat()
    }
}

impl Told for [char] {
    fn written(number: u64) -> Vec<u8> {
        let text = "αβγδεζηθικλμνξοπρστυφχψω".chars().cycle().skip(number as usize % 24).take(number as usize % 40);
        text.flat_map(|letter| u32::from(letter).to_ne_bytes()).collect()
    }

    fn read(&self) -> Vec<u8> {
        let number = |letter: &char| black_box(u32::from(*letter));
        assert!(self.iter().map(number).all(|number| char::from_u32(number).is_some()), "a letter that is none");
        self.iter().flat_map(|letter| number(letter).to_ne_bytes()).collect()
    }
}

/// What a publisher says of its log and of its roster.
#[derive(Clone, Copy, Debug)]
struct Measures {
    slots: usize,
    stride: usize,
    buckets: usize,
    entries: usize,
    held: usize,
}

impl Measures {
    fn new(choices: &mut Choices<'_>) -> Self {
        let (log, roster) = (choices.byte(), choices.byte());
        Self {
            slots: 2 << (log % 4),
            stride: [4, 8, 10, 16][usize::from(log >> 2) % 4],
            buckets: usize::from(log >> 4) % 4,
            entries: 1 + usize::from(roster) % 3,
            held: usize::from(roster >> 2) % 12,
        }
    }

    fn pool(&self) -> usize {
        (SLOTS + self.slots * self.stride * 8).next_multiple_of(PAGE)
    }

    /// Of the three memories.
    fn lens(&self) -> [usize; 3] {
        let entry_words = (24 + self.held.saturating_sub(7)).next_multiple_of(16);
        [self.pool() + self.buckets * PAGE, 512 + self.entries * entry_words * 8, self.pool()]
    }
}

struct Scene<T: Told + ?Sized> {
    measures: Measures,
    policy: Policy,
    stranger: Stranger,
    subscriber: Subscriber<T>,
    /// The number of the next honest message.
    next: u64,
    /// What was published and not received, until the first lie.
    expected: Option<VecDeque<Vec<u8>>>,
    /// How often they were introduced.
    met: u32,
    is_gone: bool,
    /// The subscriber's user knows that.
    is_told: bool,
    held: Vec<Sample<T>>,
    received: u64,
    failed: u64,
}

fn converse<T: Told + ?Sized>(mut choices: Choices<'_>)
where
    Sample<T>: Debug,
{
    let choice = choices.byte();
    let policy = POLICIES[usize::from(choice % 5)];
    let measures = Measures::new(&mut choices);
    let depth = u64::from(choices.byte());
    let stranger = Stranger::new::<T>(choice & 0x80 != 0, measures.lens()).expect("memory");
    let subscriber = Stranger::subscriber::<T>(policy, depth).expect("a subscriber");
    let mut scene = Scene {
        measures,
        policy,
        stranger,
        subscriber,
        next: 1,
        expected: Some(VecDeque::new()),
        met: 0,
        is_gone: false,
        is_told: false,
        held: Vec::new(),
        received: 0,
        failed: 0,
    };
    scene.announce();
    for _ in 0..choices.byte() % 4 {
        scene.lie(&mut choices);
    }
    scene.admit(&mut choices);
    // More than enough to go around the log several times.
    for _ in 0..256 {
        if choices.is_empty() {
            break;
        }
        scene.act(&mut choices);
    }
    scene.receive_all();
    scene.count();
}

impl<T: Told + ?Sized> Scene<T>
where
    Sample<T>: Debug,
{
    fn write(&self, memory: usize, offset: usize, bytes: &[u8]) {
        self.stranger.memory()[memory].write(offset, bytes).expect("it is its own");
    }

    fn put(&self, memory: usize, offset: usize, word: u64) {
        self.write(memory, offset, &word.to_ne_bytes());
    }

    /// Says honestly what it has.
    fn announce(&self) {
        let Measures { slots, stride, buckets, entries, held } = self.measures;
        for (memory, buckets) in [(0, buckets), (2, 0)] {
            let bucket_bytes = if buckets > 0 { PAGE } else { 0 };
            for (index, measure) in [slots, stride, bucket_bytes, buckets, 0].into_iter().enumerate() {
                self.put(memory, index * 8, measure as u64);
            }
            self.put(memory, HEAD, 1);
        }
        for (index, measure) in [entries, held].into_iter().enumerate() {
            self.put(1, ROSTER_MEASURES + index * 8, measure as u64);
        }
    }

    fn admit(&mut self, choices: &mut Choices<'_>) {
        self.stranger.meet(&self.subscriber).expect("the subscriber is there");
        self.met += 1;
        self.is_gone = false;
        let choice = choices.byte();
        let mut message = [0; 24];
        message[0] = 2;
        message[4] = choice % 4;
        let start = if choice & 0x80 == 0 { 1 } else { number(choices) };
        message[8..16].copy_from_slice(&start.to_le_bytes());
        if choice & 0x40 != 0 {
            message[usize::from(choices.byte()) % 24] = choices.byte();
        }
        let memories = if choice & 0x20 == 0 { 3 } else { usize::from(choices.byte()) % 4 };
        let is_honest = start == 1 && usize::from(choice % 4) < self.measures.entries && choice & 0x60 == 0;
        let answer = self.stranger.say(&self.subscriber, &message, memories);
        if !is_honest {
            self.expected = None;
        }
        if let Err(error) = answer {
            assert!(self.expected.is_none(), "an honest publisher is refused: {error}");
            self.plausible(&error);
            self.is_gone = true;
        }
    }

    fn act(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 16 {
            0..=3 => self.publish(),
            4..=6 => self.receive(false),
            7 => self.receive(true),
            8 => self.drain(choices),
            9 if !self.held.is_empty() => drop(self.held.swap_remove(usize::from(choices.byte()) % self.held.len())),
            10 => self.count(),
            11 if choices.byte().is_multiple_of(8) => self.watch(),
            12 if choices.byte().is_multiple_of(8) => self.leave_or_return(choices),
            13 if choices.byte().is_multiple_of(8) => self.talk(choices),
            _ => self.lie(choices),
        }
    }

    /// What no publisher writes.
    fn lie(&mut self, choices: &mut Choices<'_>) {
        self.expected = None;
        let choice = choices.byte();
        let memory = [0, 0, 0, 1, 1, 2][usize::from(choice) % 6];
        let words = self.measures.lens()[memory] / 8;
        let word = match choice >> 6 {
            // One of a header.
            0 => usize::from(choices.byte()) % 64,
            // Of a log, a stamp, a guard, or the first words of a payload.
            1 => {
                let within = [0, 1, 2, self.measures.stride - 1][usize::from(choices.byte()) % 4];
                SLOTS / 8 + usize::from(choices.byte()) % self.measures.slots * self.measures.stride + within
            }
            _ => usize::from(choices.word()),
        };
        let value = if choice & 0x20 == 0 {
            // About where both are.
            let near = self.next.wrapping_add(u64::from(choices.byte() % 32)).wrapping_sub(16);
            [near, near << 8 | u64::from(choices.byte())][usize::from(choice >> 4) % 2]
        } else {
            number(choices)
        };
        self.put(memory, word % words * 8, value);
    }

    /// As an honest publisher does, if there is room.
    fn publish(&mut self) {
        let Measures { slots, stride, buckets, .. } = self.measures;
        let log = if self.policy == Policy::DropNewest { 2 } else { 0 };
        let bytes = T::written(self.next);
        let waiting = self.expected.as_ref().map_or(0, VecDeque::len);
        if waiting == slots || self.is_gone {
            return;
        }
        let slot = SLOTS + self.next as usize % slots * stride * 8;
        let is_pooled = bytes.len() > (stride - 2) * 8;
        if is_pooled {
            // One at a time will do.
            self.held.clear();
            if buckets == 0 || waiting > 0 {
                return;
            }
            let bucket = self.next % buckets as u64;
            self.write(0, self.measures.pool() + bucket as usize * PAGE, &bytes);
            self.put(log, slot + 8, bucket);
            self.put(log, slot + 16, bytes.len() as u64);
        } else {
            let mut words = bytes.clone();
            words.resize(bytes.len().next_multiple_of(8), 0);
            self.write(log, slot + 8, &words);
        }
        self.put(log, slot + (stride - 1) * 8, self.next);
        let tag = if is_pooled { POOLED } else { bytes.len() as u64 };
        self.put(log, slot, self.next << 8 | tag);
        self.next = self.next.wrapping_add(1);
        self.put(log, HEAD, self.next);
        if let Some(expected) = &mut self.expected {
            expected.push_back(bytes);
        }
    }

    fn receive(&mut self, waits: bool) {
        let answer = if waits { self.subscriber.recv_timeout(Duration::ZERO) } else { self.subscriber.try_recv() };
        match answer {
            Ok(sample) => {
                self.came(&sample.read());
                assert!(self.subscriber.origin().is_some());
                self.held.push(sample);
                if self.held.len() > 16 {
                    self.held.clear();
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn came(&mut self, bytes: &[u8]) {
        self.received += 1;
        let Some(expected) = &mut self.expected else { return };
        if self.policy == Policy::SkipToLatest {
            expected.drain(..expected.len().saturating_sub(1));
        }
        assert_eq!(expected.pop_front().as_deref(), Some(bytes));
    }

    fn failed(&mut self, error: &Error) {
        self.plausible(error);
        self.failed += 1;
        let counters = self.subscriber.counters();
        if error.kind() == ErrorKind::Corrupted {
            // Of one that came again what it left may be heard beside it.
            assert!(counters.publishers == 0 || self.met > 1, "who is cut off is not connected");
        }
        let Some(expected) = &self.expected else { return };
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => assert!(expected.is_empty(), "{expected:?} did not come"),
            ErrorKind::PeerGone => {
                assert!(expected.is_empty() && self.is_gone && !self.is_told);
                self.is_told = true;
            }
            ErrorKind::LimitReached => assert!(self.held.len() >= self.measures.held),
            _ => panic!("of an honest publisher: {error}"),
        }
    }

    fn plausible(&self, error: &Error) {
        use ErrorKind::{
            Corrupted, Lagged, LimitReached, Mismatch, OutOfMemory, PeerGone, PermissionDenied, System, TimedOut,
            WouldBlock,
        };
        assert!(!error.to_string().is_empty());
        match error.kind() {
            Lagged => assert_eq!(self.policy, Policy::Disconnect),
            WouldBlock | TimedOut | PeerGone | LimitReached | Corrupted | Mismatch => {}
            PermissionDenied | OutOfMemory | System => assert!(self.expected.is_none()),
            _ => panic!("{error}"),
        }
    }

    fn drain(&mut self, choices: &mut Choices<'_>) {
        let mut came = Vec::new();
        let most = usize::from(choices.byte());
        let answer = if most < 128 {
            self.subscriber.drain(|message| came.push(message.read()))
        } else if self.expected.as_ref().is_some_and(VecDeque::is_empty) || self.expected.is_none() {
            // It would wait.
            return;
        } else {
            self.subscriber.recv_many(most - 127, |message| came.push(message.read()))
        };
        came.iter().for_each(|bytes| self.came(bytes));
        match answer {
            Ok(count) => {
                assert_eq!(count, came.len());
                assert!(count <= self.measures.lens()[0] / 32, "more than there is room for");
            }
            Err(error) => self.failed(&error),
        }
    }

    fn receive_all(&mut self) {
        self.held.clear();
        for _ in 0..self.measures.slots + 2 {
            self.receive(false);
            self.held.clear();
        }
        if let Some(expected) = &self.expected {
            assert!(expected.is_empty() || self.measures.held == 0, "{expected:?} did not come");
        }
    }

    fn count(&self) {
        let counters = self.subscriber.counters();
        assert!(counters.received >= self.received, "{counters:?}");
        // What was no message is counted, and told of with the next call.
        assert!(counters.received <= self.received + self.failed + u64::from(self.met), "{counters:?}");
        assert!(counters.publishers <= 1, "{counters:?}");
        // Of who has come since the last call nothing is counted yet.
        let is_known = counters.publishers == 1 && self.policy != Policy::SkipToLatest;
        if let Some(expected) = self.expected.as_ref().filter(|_| is_known) {
            assert_eq!((counters.lost, counters.lag), (0, expected.len() as u64));
        }
    }

    /// Waits for it among others, which there are none.
    fn watch(&mut self) {
        let mut set = WaitSet::new().expect("a descriptor");
        set.attach(&self.subscriber, 7).expect("it can be waited for");
        let mut ready = Vec::new();
        let is_ready = set.wait_timeout(&mut ready, Duration::ZERO).is_ok();
        if let Some(expected) = &self.expected {
            assert_eq!(is_ready, !expected.is_empty() || self.is_gone && !self.is_told, "{expected:?}");
        }
        if !is_ready {
            match self.subscriber.try_recv() {
                Ok(_) => panic!("there is a message of which the set knows nothing"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Lagged), "{error}");
                    self.failed(&error);
                }
            }
        }
    }

    fn leave_or_return(&mut self, choices: &mut Choices<'_>) {
        if self.is_gone {
            // What it left there is not as it was when it came first.
            self.expected = None;
            self.admit(choices);
        } else {
            self.is_gone = true;
            self.stranger.leave(&self.subscriber);
        }
    }

    /// Says something more, which is too much.
    fn talk(&mut self, choices: &mut Choices<'_>) {
        if self.is_gone {
            return;
        }
        let message = choices.take(24);
        if let Err(error) = self.stranger.say(&self.subscriber, message, 3) {
            assert_eq!(error.kind(), ErrorKind::Corrupted);
            self.is_gone = true;
        }
    }
}

/// A number that is odd in some way.
fn number(choices: &mut Choices<'_>) -> u64 {
    let choice = choices.byte();
    let byte = u64::from(choices.byte());
    match choice % 8 {
        0 => byte,
        1 => byte << 8 | POOLED,
        2 => u64::MAX - byte,
        3 => 1 << (byte % 64),
        4 => (1 << (byte % 64)) - 1,
        5 => (1 << 56) - byte,
        6 => u64::from_le_bytes([byte as u8; 8]),
        _ => u64::from(choices.word()) << (byte % 64),
    }
}
