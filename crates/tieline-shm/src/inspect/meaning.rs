//! What the declared numbers mean, by kind of segment.

use std::collections::BTreeMap;

use super::Source;
use super::facts::Facts;
use super::live::{
    Arena, CallRing, Calls, Event, Latest, Live, Lock, LockUse, Log, Member, OwnLog, Policy, Queue, Roster, Stream,
    StreamRing, Subscriber,
};
use crate::raw::robust::{OWNER, OWNER_DIED, WAITERS};
use crate::segment::{Description, Kind};
use crate::structure::log::{ADMITTED, FIRST, Geometry, RosterGeometry};
use crate::structure::work::Seen;
use crate::wait::EventCount;

pub(super) fn members(facts: &Facts) -> Vec<Member> {
    let alive = facts.row("member alive").iter().enumerate();
    let taken = alive.filter(|(_, word)| **word != 0);
    let half = |name: &str, index: usize| u32::try_from(facts.at(name, index)).unwrap_or(0);
    taken
        .map(|(index, word)| Member {
            number: u32::try_from(index).unwrap_or(u32::MAX),
            pid: half("member pid", index),
            uid: half("member uid", index),
            is_alive: word & u64::from(OWNER_DIED | WAITERS) == 0,
        })
        .collect()
}

pub(super) fn of<S: Source + ?Sized>(source: &S, description: &Description, facts: &Facts) -> Live {
    // Another format's numbers may have the same names.
    if description.body_version != 1 && description.kind != Some(Kind::Arena) {
        return Live::Other;
    }
    match description.kind {
        Some(Kind::Log) if facts.find("dropped").is_some() => Live::OwnLog(own_log(facts)),
        Some(Kind::Log) => Live::Log(log(description, facts)),
        Some(Kind::Calls) => Live::Calls(calls(facts)),
        Some(Kind::Roster) => Live::Roster(roster(source, facts)),
        Some(Kind::Queue) => Live::Queue(queue(facts)),
        Some(Kind::Stream) => Live::Stream(stream(description, facts)),
        Some(Kind::Latest) => Live::Latest(Latest {
            version: u32::try_from(facts.one("version")).unwrap_or(0),
            writer: u32::try_from(facts.one("writer")).ok().and_then(|writer| writer.checked_sub(1)),
        }),
        Some(Kind::Event) => Live::Event(Event {
            ids: facts.row("count").len() as u64,
            total: facts.one("total"),
            listener_sleeps: sleeps(facts, "listeners asleep"),
        }),
        Some(Kind::Locks) => Live::Locks(locks(facts)),
        Some(Kind::Arena) => Live::Arena(Arena {
            used_bytes: facts.one("arena used bytes"),
            heap_bytes: facts.one("arena heap bytes"),
            is_changing: facts.one("arena change owner") != 0,
            recoveries: facts.one("arena recoveries"),
        }),
        _ => Live::Other,
    }
}

/// The locks, where there are any.
pub(super) fn locks_of(description: &Description, facts: &Facts) -> Vec<Lock> {
    match description.kind {
        Some(Kind::Locks) if description.body_version == 1 => locks(facts),
        Some(Kind::Arena) => locks(facts),
        _ => Vec::new(),
    }
}

fn sleeps(facts: &Facts, name: &str) -> bool {
    EventCount::tells_sleepers(facts.one(name))
}

fn log(description: &Description, facts: &Facts) -> Log {
    let (slots, head, bucket_bytes) = (facts.one("slots"), facts.one("head"), facts.one("bucket bytes"));
    let pool = Geometry::pool_offset_of(slots, facts.one("slot words"));
    Log {
        slots,
        published: head.saturating_sub(FIRST),
        head,
        history: facts.one("history"),
        bucket_bytes,
        buckets: facts.one("buckets"),
        buckets_committed: description.committed_bytes.saturating_sub(pool).checked_div(bucket_bytes).unwrap_or(0),
    }
}

fn own_log(facts: &Facts) -> OwnLog {
    OwnLog {
        log_inode: facts.one("log inode"),
        slots: facts.one("slots"),
        given: facts.one("head").saturating_sub(FIRST),
        dropped: facts.one("dropped"),
    }
}

fn calls(facts: &Facts) -> Calls {
    let ring = |[received, stamp, area, asleep]: [&str; 4]| {
        let (received, stamps, areas) = (facts.one(received), facts.row(stamp), facts.row(area));
        CallRing {
            entries: stamps.len() as u64,
            waiting: stamps.iter().filter(|stamp| **stamp > received).count() as u64,
            received,
            areas: areas.len() as u64,
            held: areas.iter().filter(|word| **word >> 32 != 0).count() as u64,
            sender_sleeps: sleeps(facts, asleep),
        }
    };
    Calls {
        requests: ring(["requests received", "request stamp", "request area", "requester asleep"]),
        responses: ring(["responses received", "response stamp", "response area", "responder asleep"]),
        in_work: facts.one("calls in work"),
        client_sleeps: sleeps(facts, "client asleep"),
        server_sleeps: sleeps(facts, "server asleep"),
    }
}

fn roster<S: Source + ?Sized>(source: &S, facts: &Facts) -> Roster {
    let held_most = facts.one("held most");
    let hazards = RosterGeometry::hazard_bytes(usize::try_from(held_most).unwrap_or(usize::MAX));
    let entry = facts.find("cursor");
    let held = |index: usize| {
        let Some(entry) = entry else { return 0 };
        let start = entry.place(index);
        let count = |range: &std::ops::Range<usize>| {
            // What lies in the entry, however many it claims to hold.
            let end = range.end.min(usize::try_from(entry.stride).unwrap_or(usize::MAX));
            let mut bytes = vec![0; end.saturating_sub(range.start)];
            // What cannot be read is not counted.
            let _ = source.read(start.saturating_add(range.start as u64), &mut bytes);
            bytes.chunks_exact(8).filter(|word| word.iter().any(|byte| *byte != 0)).count()
        };
        u32::try_from(hazards.iter().map(count).sum::<usize>()).unwrap_or(u32::MAX)
    };
    let admitted = facts.row("process").iter().enumerate().filter(|(_, word)| **word & ADMITTED != 0);
    let subscribers = admitted.map(|(index, word)| Subscriber {
        // The upper half is the mark.
        pid: *word as u32,
        cursor: facts.at("cursor", index),
        own_head: Some(facts.at("own head", index)).filter(|head| *head != 0),
        received: facts.at("received", index),
        lost: facts.at("lost", index),
        held: held(index),
        policy: match facts.at("policy", index) {
            1 => Policy::Block,
            2 => Policy::DropOldest,
            3 => Policy::DropNewest,
            4 => Policy::SkipToLatest,
            5 => Policy::Disconnect,
            _ => Policy::Unknown,
        },
    });
    Roster {
        log_inode: facts.one("log inode"),
        subscribers: subscribers.collect(),
        entries: facts.row("process").len() as u64,
        held_most,
        publisher_sleeps: sleeps(facts, "publisher asleep"),
        subscriber_sleeps: sleeps(facts, "subscribers asleep"),
    }
}

fn queue(facts: &Facts) -> Queue {
    let slots = facts.row("slot");
    let mut queue = Queue {
        slots: slots.len() as u64,
        skipped: facts.one("skipped"),
        orphaned: facts.one("orphaned"),
        requeued: facts.one("requeued"),
        rejected: facts.one("rejected"),
        consumer_sleeps: sleeps(facts, "consumers asleep"),
        producer_sleeps: sleeps(facts, "producers asleep"),
        ..Queue::default()
    };
    let mut held: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for word in slots {
        match Seen::of(*word) {
            Seen::Free => {}
            Seen::Ready(attempts) => {
                queue.ready += 1;
                queue.redelivered += u64::from(attempts > 0);
            }
            Seen::Taken(member, _) => held.entry(member).or_default().0 += 1,
            Seen::Writing(member) => held.entry(member).or_default().1 += 1,
        }
    }
    queue.held = held.into_iter().map(|(member, (taken, written))| (member, taken, written)).collect();
    queue
}

fn stream(description: &Description, facts: &Facts) -> Stream {
    // Behind the two control parts, of which each begins a row's stride after the one before, all bytes are the rings'.
    let control = facts.find("written").map_or(0, |values| values.stride);
    let body = description.len_bytes.saturating_sub(Description::LEN_BYTES as u64);
    let capacity = body.saturating_sub(control.saturating_mul(2)) / 2;
    let ring = |index: usize| {
        let written = facts.at("written", index);
        StreamRing {
            waiting: written.wrapping_sub(facts.at("read", index)).min(capacity),
            capacity,
            written,
            writer_closed: facts.at("writer closed", index) != 0,
            reader_closed: facts.at("reader closed", index) != 0,
        }
    };
    Stream { rings: [ring(0), ring(1)] }
}

/// The rows of words that name their owners.
const LOCKS: [(&str, LockUse); 6] = [
    ("mutex", LockUse::Mutex),
    ("rwlock gate", LockUse::Writer),
    ("rwlock reader", LockUse::Reader),
    ("semaphore permit", LockUse::Permit),
    ("condvar waiter", LockUse::Waiter),
    ("barrier place", LockUse::Participant),
];

/// In the upper half of a mutex's word: nobody will take it again.
const MUTEX_GIVEN_UP: u64 = 1 << 63;
/// What the second number of a reader-writer lock says when nobody will enter again.
const RWLOCK_GIVEN_UP: u64 = 2;

/// Whether a row of that name has words that name their owners.
pub(super) fn is_lock(name: &str) -> bool {
    LOCKS.iter().any(|(lock, _)| *lock == name) || name == "semaphore tokens"
}

fn locks(facts: &Facts) -> Vec<Lock> {
    let mut locks = Vec::new();
    let rwlock_given_up = facts.at("rwlock state", 1) == RWLOCK_GIVEN_UP;
    // A monitor has several rows of one name.
    for values in &facts.values {
        let Some((_, what)) = LOCKS.iter().find(|(name, _)| values.name == *name) else { continue };
        for (index, word) in values.values.iter().enumerate() {
            // The lower half is the kernel's word.
            let low = *word as u32;
            let lock = Lock {
                what: *what,
                index: u32::try_from(index).unwrap_or(u32::MAX),
                offset: values.place(index),
                owner: Some(low & OWNER).filter(|owner| *owner != 0),
                has_waiters: low & WAITERS != 0,
                owner_died: low & OWNER_DIED != 0,
                is_given_up: match what {
                    LockUse::Mutex => word & MUTEX_GIVEN_UP != 0,
                    LockUse::Writer => rwlock_given_up && index == 0,
                    _ => false,
                },
            };
            if lock.owner.is_some() || lock.owner_died || lock.is_given_up {
                locks.push(lock);
            }
        }
    }
    locks
}
