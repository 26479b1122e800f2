//! Segments of `tieline-shm` as JSON, in the forms of `docs/formats/json.md`.

use serde_json::{Value, json};
use tieline_shm::inspect::{CallRing, Live, Lock, LockUse, Policy};

use crate::model::{Member, Segment};

/// What only a segment has.
pub(super) fn detail(segment: &Segment) -> Value {
    let told = segment.told.as_ref();
    json!({
        "size_bytes": segment.memory.size_bytes,
        "allocated_bytes": segment.memory.allocated_bytes,
        "seals": segment.memory.seals,
        "read": told.is_some(),
        "damage": segment.damage,
        "path": segment.path,
        "host": segment.host,
        "layout": told.map(|told| &told.layout),
        "layout_hash": told.map(|told| format!("{:016x}", told.layout_hash)),
        "creator": told.map(|told| told.creator),
        "cut": told.is_some_and(|told| told.is_cut),
        "members": segment.members().iter().map(member).collect::<Vec<_>>(),
        "live": told.map_or_else(|| json!({}), |told| live(&told.live)),
    })
}

fn member(member: &Member) -> Value {
    let reading = member.reading.as_ref();
    json!({
        "number": member.number,
        "pid": member.pid,
        "seen": member.is_seen,
        "alive": member.is_alive,
        "lag": reading.map(|reading| reading.lag),
        "held_loans": reading.map(|reading| reading.held),
        "received": reading.map(|reading| reading.received),
        "lost": reading.map(|reading| reading.lost),
        "policy": reading.map(|reading| policy(reading.policy)),
        "taken_items": member.items.0,
        "writing_items": member.items.1,
        "writer": member.is_writer,
    })
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Block => "block",
        Policy::DropOldest => "drop-oldest",
        Policy::DropNewest => "drop-newest",
        Policy::SkipToLatest => "skip-to-latest",
        Policy::Disconnect => "disconnect",
        _ => "unknown",
    }
}

fn live(live: &Live) -> Value {
    match live {
        Live::Log(log) => json!({
            "slots": log.slots,
            "published": log.published,
            "history": log.history,
            "bucket_bytes": log.bucket_bytes,
            "buckets": log.buckets,
            "buckets_committed": log.buckets_committed,
        }),
        Live::Roster(roster) => json!({
            "entries": roster.entries,
            "held_most": roster.held_most,
            "publisher_sleeps": roster.publisher_sleeps,
            "subscriber_sleeps": roster.subscriber_sleeps,
        }),
        Live::Queue(queue) => json!({
            "slots": queue.slots,
            "ready": queue.ready,
            "redelivered": queue.redelivered,
            "skipped": queue.skipped,
            "orphaned": queue.orphaned,
            "requeued": queue.requeued,
            "rejected": queue.rejected,
            "consumer_sleeps": queue.consumer_sleeps,
            "producer_sleeps": queue.producer_sleeps,
        }),
        Live::Stream(stream) => json!({
            "directions": stream.rings.iter().map(|ring| json!({
                "waiting_bytes": ring.waiting,
                "capacity_bytes": ring.capacity,
                "written_bytes": ring.written,
                "writer_closed": ring.writer_closed,
                "reader_closed": ring.reader_closed,
            })).collect::<Vec<_>>(),
        }),
        Live::OwnLog(own) => json!({ "slots": own.slots, "given": own.given, "dropped": own.dropped }),
        Live::Calls(calls) => json!({
            "in_flight": calls.in_flight(),
            "in_work": calls.in_work,
            "requests": ring(&calls.requests),
            "responses": ring(&calls.responses),
            "client_sleeps": calls.client_sleeps,
            "server_sleeps": calls.server_sleeps,
        }),
        Live::Latest(latest) => json!({ "version": latest.version, "writer": latest.writer }),
        Live::Event(event) => json!({
            "ids": event.ids,
            "notifications": event.total,
            "listener_sleeps": event.listener_sleeps,
        }),
        Live::Locks(locks) => json!({ "locks": locks.iter().map(lock).collect::<Vec<_>>() }),
        Live::Arena(arena) => json!({
            "used_bytes": arena.used_bytes,
            "heap_bytes": arena.heap_bytes,
            "changing": arena.is_changing,
            "recoveries": arena.recoveries,
        }),
        _ => json!({}),
    }
}

fn ring(ring: &CallRing) -> Value {
    json!({
        "entries": ring.entries,
        "waiting": ring.waiting,
        "received": ring.received,
        "areas": ring.areas,
        "held_areas": ring.held,
        "sender_sleeps": ring.sender_sleeps,
    })
}

fn lock(lock: &Lock) -> Value {
    json!({
        "what": match lock.what {
            LockUse::Mutex => "mutex",
            LockUse::Writer => "writer",
            LockUse::Reader => "reader",
            LockUse::Permit => "permit",
            LockUse::Waiter => "waiter",
            LockUse::Participant => "participant",
            _ => "unknown",
        },
        "index": lock.index,
        "offset": lock.offset,
        "thread": lock.owner,
        "waiters": lock.has_waiters,
        "owner_died": lock.owner_died,
        "given_up": lock.is_given_up,
    })
}
