//! The structure against a plain oracle, among threads, and among processes that die or stop at each step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use rustix::process::Signal;
use tieline_os::Access;
use tieline_testkit::{PATIENCE, Peer, test_name};

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

/// One operation of the oracle test.
#[derive(Clone, Copy, Debug)]
enum Op {
    Claim { member: u32 },
    Commit { nth: usize },
    Abandon { nth: usize },
    Take { member: u32 },
    Finish { nth: usize },
    Requeue { nth: usize },
    Depart { member: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let member = 0..3_u32;
    let nth = 0..8_usize;
    prop_oneof![
        4 => member.clone().prop_map(|member| Op::Claim { member }),
        4 => nth.clone().prop_map(|nth| Op::Commit { nth }),
        1 => nth.clone().prop_map(|nth| Op::Abandon { nth }),
        4 => member.clone().prop_map(|member| Op::Take { member }),
        3 => nth.clone().prop_map(|nth| Op::Finish { nth }),
        1 => nth.prop_map(|nth| Op::Requeue { nth }),
        1 => member.prop_map(|member| Op::Depart { member }),
    ]
}

/// A queue that keeps everything in lists.
#[derive(Default)]
struct Oracle {
    /// Claimed, by number, with the member, the position, and whether the item was gone past.
    writing: BTreeMap<u64, (u32, u64, bool)>,
    /// Ready in turn, with the position.
    ready: BTreeMap<u64, u64>,
    /// Ready out of turn, with the number of attempts.
    behind: HashMap<u64, u8>,
    taken: BTreeMap<u64, (u32, u8)>,
}

/// Where consumers meet what was claimed at `position`: it loses its place to others once they are a lap further.
fn turn(position: u64, slots: u32, queue: &WorkQueue) -> u64 {
    let oldest = queue.control.tail.value.load(Ordering::Relaxed).saturating_sub(u64::from(slots));
    let missed_laps = oldest.saturating_sub(position).div_ceil(u64::from(slots));
    position + missed_laps * u64::from(slots)
}

impl Oracle {
    fn held(&self) -> usize {
        self.writing.len() + self.ready.len() + self.behind.len() + self.taken.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_list_of_operations_does_what_the_oracle_says(slots in 0..4_u32, ops in prop::collection::vec(op(), 1..200)) {
        let slots = 1 << slots;
        let queue = queue(slots, 8);
        let mut oracle = Oracle::default();
        let mut claims: HashMap<u64, Claimed> = HashMap::new();
        let mut holdings: HashMap<u64, Taken> = HashMap::new();
        let mut generations = [1, 1, 1];
        let mut next = 0_u64;
        for op in ops {
            match op {
                Op::Claim { member } => {
                    let owner = Owner::new(member, generations[member as usize]).unwrap();
                    match queue.claim(owner, next as u8) {
                        Ok(claimed) => {
                            prop_assert!(oracle.held() < slots as usize);
                            queue.cells().copy_in(claimed.item_offset(queue.geometry()), &next.to_ne_bytes());
                            claims.insert(next, claimed);
                            oracle.writing.insert(next, (member, claimed.position, false));
                            next += 1;
                        }
                        Err(error) => {
                            prop_assert_eq!(error.kind(), ErrorKind::Full);
                            let in_turn = !oracle.ready.is_empty();
                            prop_assert!(in_turn || oracle.held() == slots as usize);
                        }
                    }
                }
                Op::Commit { nth } => {
                    let Some(&number) = oracle.writing.keys().nth(nth) else { continue };
                    let (_, position, is_passed) = oracle.writing.remove(&number).unwrap();
                    queue.commit(claims.remove(&number).unwrap(), 8).unwrap();
                    if is_passed { oracle.behind.insert(number, 0); } else { oracle.ready.insert(number, position); }
                }
                Op::Abandon { nth } => {
                    let Some(&number) = oracle.writing.keys().nth(nth) else { continue };
                    oracle.writing.remove(&number);
                    queue.abandon(claims.remove(&number).unwrap()).unwrap();
                }
                Op::Take { member } => {
                    let owner = Owner::new(member, generations[member as usize]).unwrap();
                    match take(&queue, owner) {
                        Ok((number, taken)) => {
                            let attempts = if let Some(attempts) = oracle.behind.remove(&number) {
                                attempts
                            } else {
                                prop_assert!(oracle.behind.is_empty(), "what is behind comes first");
                                let now = |position| turn(position, slots, &queue);
                                let first = oracle.ready.values().copied().map(now).min().unwrap();
                                let position = now(oracle.ready.remove(&number).unwrap());
                                prop_assert_eq!(position, first, "in order");
                                for (_, writing, is_passed) in oracle.writing.values_mut() {
                                    *is_passed |= now(*writing) < position;
                                }
                                0
                            };
                            prop_assert_eq!(taken.attempts, attempts);
                            holdings.insert(number, taken);
                            oracle.taken.insert(number, (member, attempts));
                        }
                        Err(error) => {
                            prop_assert!(error.is_would_block());
                            prop_assert!(oracle.ready.is_empty() && oracle.behind.is_empty());
                        }
                    }
                }
                Op::Finish { nth } => {
                    let Some(&number) = oracle.taken.keys().nth(nth) else { continue };
                    oracle.taken.remove(&number);
                    queue.finish(holdings.remove(&number).unwrap()).unwrap();
                }
                Op::Requeue { nth } => {
                    let Some(&number) = oracle.taken.keys().nth(nth) else { continue };
                    let (_, attempts) = oracle.taken.remove(&number).unwrap();
                    queue.requeue(holdings.remove(&number).unwrap()).unwrap();
                    oracle.behind.insert(number, (attempts + 1).min(word::ATTEMPTS_MAX));
                }
                Op::Depart { member } => {
                    let generation = &mut generations[member as usize];
                    queue.departed(Owner::new(member, *generation).unwrap()).unwrap();
                    *generation += 1;
                    let lost: Vec<u64> = oracle.writing.iter().filter(|(_, w)| w.0 == member).map(|(n, _)| *n).collect();
                    for number in lost {
                        oracle.writing.remove(&number);
                        let refused = queue.commit(claims.remove(&number).unwrap(), 8).unwrap_err();
                        prop_assert_eq!(refused.kind(), ErrorKind::OwnerDied);
                    }
                    let lost: Vec<u64> = oracle.taken.iter().filter(|(_, t)| t.0 == member).map(|(n, _)| *n).collect();
                    for number in lost {
                        let (_, attempts) = oracle.taken.remove(&number).unwrap();
                        let refused = queue.finish(holdings.remove(&number).unwrap()).unwrap_err();
                        prop_assert_eq!(refused.kind(), ErrorKind::OwnerDied);
                        oracle.behind.insert(number, (attempts + 1).min(word::ATTEMPTS_MAX));
                    }
                }
            }
        }
    }

    /// Whatever lies in the memory, every operation ends, and with an answer.
    #[test]
    fn garbage_in_the_memory_is_survived(seed in prop::collection::vec(any::<u64>(), 1..64), flips in prop::collection::vec((0..512_usize, any::<u64>()), 0..32)) {
        let queue = queue(8, 48);
        for (index, value) in seed.iter().cycle().take(64).enumerate() {
            queue.cells.word(index * 8).store(*value, Ordering::Relaxed);
        }
        queue.control.tail.value.store(seed[0], Ordering::Relaxed);
        queue.control.head.value.store(seed[seed.len() / 2], Ordering::Relaxed);
        queue.control.behind.store(seed[seed.len() - 1], Ordering::Relaxed);
        for (place, value) in flips {
            let _ = put(&queue, owner(0), value);
            queue.cells.word(place & !7).store(value, Ordering::Relaxed);
            if let Ok(taken) = queue.take(owner(1)) {
                prop_assert!(taken.len_bytes <= 48);
                let _ = queue.finish(taken);
            }
            queue.departed(owner(2)).unwrap();
        }
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

/// The part of a peer process: produces or consumes for ever, as the owner it is told.
fn play(role: &tieline_testkit::Role) {
    let fd: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let segment = Segment::accept(fd, Kind::Queue, 0, Access::ReadWrite).unwrap();
    let queue = open(&segment, Geometry::new(4, 8).unwrap());
    let me = owner(role.env("MEMBER").parse().unwrap());
    role.say("ready");
    match role.name() {
        "producer" => {
            for index in 0.. {
                put_waiting(&queue, me, 1 << 32 | index).unwrap_or_else(|_| leave(role));
            }
        }
        _ => loop {
            let taken = take_waiting(&queue, me, Until::Forever).unwrap_or_else(|_| leave(role));
            if queue.finish(taken).is_err() {
                leave(role);
            }
            queue.room_changed();
        },
    }
}

/// Those believed dead, when they learn of it.
fn leave(role: &tieline_testkit::Role) -> ! {
    role.say("was taken for dead");
    std::process::exit(0)
}

fn peer(test: String, role: &str, segment: &Segment, step: &str) -> Peer {
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    Peer::of(test).role(role).env("MEMBER", "1").env("TIELINE_STEP", step).stdin(fd).spawn()
}

/// Sends and receives as the survivor until `enough` own items came back; every one must, and in bounded time.
fn work_on(queue: &WorkQueue, enough: u64) -> HashSet<u64> {
    let deadline = Until::At(tieline_os::futex::Deadline::after(PATIENCE));
    let mut from_peer = HashSet::new();
    for number in 0..enough {
        let start = Instant::now();
        loop {
            match put(queue, owner(0), number) {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Full),
            }
            let taken = take_waiting(queue, owner(0), deadline).unwrap();
            from_peer.insert(number_in(queue, taken));
            finish(queue, taken).unwrap();
            assert!(start.elapsed() < PATIENCE, "the queue stays full");
        }
        loop {
            let taken = take_waiting(queue, owner(0), deadline).unwrap();
            let got = number_in(queue, taken);
            finish(queue, taken).unwrap();
            if got == number {
                break;
            }
            from_peer.insert(got);
        }
    }
    from_peer
}

const PRODUCER_STEPS: [&str; 4] = ["work:claimed", "work:tail-raised", "work:written", "work:committed"];
const CONSUMER_STEPS: [&str; 4] = ["work:taken", "work:head-raised", "work:finishing", "work:finished"];

#[test]
fn a_peer_killed_at_any_step_loses_nothing_that_was_sent() {
    if let Some(role) = tieline_testkit::role() {
        return play(&role);
    }
    for step in PRODUCER_STEPS {
        for nth in [1, 7] {
            let geometry = Geometry::new(4, 8).unwrap();
            let segment = segment_for(geometry);
            let queue = open(&segment, geometry);
            let mut peer = peer(test_name!(), "producer", &segment, &format!("kill:{step}:{nth}"));
            peer.wait_for("ready");
            let mut got = HashSet::new();
            let committed = if step == "work:committed" { nth } else { nth - 1 };
            while got.len() < committed {
                let until = Until::At(tieline_os::futex::Deadline::after(PATIENCE));
                // What the dead one put in without telling is found on recovery.
                if got.len() + 1 == nth {
                    peer.exit_status();
                    queue.departed(owner(1)).unwrap();
                }
                let taken = take_waiting(&queue, owner(0), until).unwrap();
                got.insert(number_in(&queue, taken));
                finish(&queue, taken).unwrap();
            }
            peer.exit_status();
            queue.departed(owner(1)).unwrap();
            queue.departed(owner(1)).unwrap();
            assert_eq!(got.len(), committed, "{step} {nth}");
            assert!(work_on(&queue, 50).is_empty(), "{step} {nth}");
            assert_eq!(queue.counters().skipped, u64::from(step != "work:committed"), "{step} {nth}");
        }
    }
    for step in CONSUMER_STEPS {
        for nth in [1, 7] {
            let geometry = Geometry::new(4, 8).unwrap();
            let segment = segment_for(geometry);
            let queue = open(&segment, geometry);
            let mut peer = peer(test_name!(), "consumer", &segment, &format!("kill:{step}:{nth}"));
            peer.wait_for("ready");
            for number in 0..nth {
                put_waiting(&queue, owner(0), 1 << 40 | number).unwrap();
            }
            peer.exit_status();
            queue.departed(owner(1)).unwrap();
            queue.departed(owner(1)).unwrap();
            let lost = step != "work:finished";
            assert_eq!(queue.counters().orphaned, u64::from(lost), "{step} {nth}");
            if lost {
                let taken = queue.take(owner(0)).unwrap();
                assert_eq!((number_in(&queue, taken), taken.attempts), (1 << 40 | (nth - 1), 1), "{step} {nth}");
                finish(&queue, taken).unwrap();
            }
            assert!(work_on(&queue, 50).is_empty(), "{step} {nth}");
        }
    }
}

#[test]
fn a_peer_frozen_at_any_step_stops_nobody_and_changes_nothing_when_thawed() {
    if let Some(role) = tieline_testkit::role() {
        return play(&role);
    }
    let steps = PRODUCER_STEPS.map(|step| ("producer", step)).into_iter();
    for (role, step) in steps.chain(CONSUMER_STEPS.map(|step| ("consumer", step))) {
        let geometry = Geometry::new(4, 8).unwrap();
        let segment = segment_for(geometry);
        let queue = open(&segment, geometry);
        let mut peer = peer(test_name!(), role, &segment, &format!("stop:{step}:1"));
        peer.wait_for("ready");
        if role == "consumer" {
            put(&queue, owner(0), 1 << 40).unwrap();
        }
        let stat = format!("/proc/{}/stat", peer.id());
        tieline_testkit::eventually("the peer stops", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        // Nobody knows yet; the others go on.
        let early = work_on(&queue, 50);
        // Wrongly taken for dead.
        queue.departed(owner(1)).unwrap();
        let late = work_on(&queue, 50);
        let came: HashSet<u64> = early.union(&late).copied().collect();
        let expected = match (role, step) {
            ("producer", "work:committed") | ("consumer", "work:taken" | "work:head-raised" | "work:finishing") => 1,
            _ => 0,
        };
        assert_eq!(came.len(), expected, "{step}");
        peer.signal(Signal::CONT);
        if !matches!(step, "work:committed" | "work:finished") {
            peer.wait_for("was taken for dead");
        }
        peer.kill();
        queue.departed(owner(1)).unwrap();
        while let Ok(taken) = queue.take(owner(0)) {
            finish(&queue, taken).unwrap();
        }
        assert!(work_on(&queue, 50).is_empty(), "{step}");
    }
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
