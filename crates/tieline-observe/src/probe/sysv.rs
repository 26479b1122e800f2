//! System V segments, queues and semaphore sets of every IPC namespace.

use std::time::{Duration, SystemTime};

use tieline_os::ErrorKind;
use tieline_os::sysv::{Permissions, msg, sem, shm};

use super::elsewhere::{Place, places};
use super::remembered::Memory;
use crate::model::{
    Builder, Detail, Fill, Identity, Kind, NamespaceKind, ObjectRef, Owner, Role, Semaphore, SysvMq, SysvSem, SysvShm,
    Unit, UnseenWhat, UnseenWhy,
};

/// Of how many semaphores one scan asks who waits and who changed it last: three calls each, so that a set of the 32,000
/// that the kernel allows would cost more than everything else. Of the rest only the values are told.
const SEMAPHORES_ASKED_MAX: usize = 4096;

/// Of how many semaphores one scan tells the values. A namespace may have a thousand million, and other people's.
const SEMAPHORES_TOLD_MAX: usize = 1 << 20;

pub(crate) fn look(builder: &mut Builder) {
    let memory = Memory::now();
    let mut budget = Budget { asked: SEMAPHORES_ASKED_MAX, told: SEMAPHORES_TOLD_MAX };
    for place in places(builder, NamespaceKind::Ipc) {
        match place.run(NamespaceKind::Ipc, || Found::here(&mut budget)) {
            Ok(found) => {
                place.listed(builder, NamespaceKind::Ipc);
                found.add(builder, &place, &memory);
            }
            Err(reason) => {
                place.not_listed(builder, NamespaceKind::Ipc);
                builder.unseen(UnseenWhat::IpcNamespaces, reason, 1);
            }
        }
    }
}

/// How many semaphores may still be looked at.
struct Budget {
    asked: usize,
    told: usize,
}

/// What one IPC namespace has.
#[derive(Default)]
struct Found {
    segments: Vec<shm::SegmentStat>,
    queues: Vec<msg::QueueStat>,
    sets: Vec<(sem::SetStat, Vec<Semaphore>)>,
    /// Objects that a security module hides, and sets whose values may not be read.
    hidden: u64,
    /// Sets of which only the values were asked, or not even those.
    too_many: u64,
    /// Families that could not be asked at all.
    failed: u64,
}

impl Found {
    /// Walks the calling thread's namespace.
    fn here(budget: &mut Budget) -> Self {
        let mut found = Self::default();
        match shm::segments() {
            Ok(walk) => found.segments = found.seen(walk),
            Err(error) => found.count_failure(&error),
        }
        match msg::queues() {
            Ok(walk) => found.queues = found.seen(walk),
            Err(error) => found.count_failure(&error),
        }
        match sem::sets() {
            Ok(walk) => {
                for set in found.seen(walk) {
                    let semaphores = found.semaphores(&set, budget);
                    found.sets.push((set, semaphores));
                }
            }
            Err(error) => found.count_failure(&error),
        }
        found
    }

    /// A kernel built without System V IPC has no objects, which is no failure.
    fn count_failure(&mut self, error: &tieline_os::Error) {
        if !error.is_unsupported() {
            self.failed += 1;
        }
    }

    fn seen<T>(&mut self, walk: impl Iterator<Item = tieline_os::Result<T>>) -> Vec<T> {
        let mut seen = Vec::new();
        for item in walk {
            match item {
                Ok(item) => seen.push(item),
                Err(_) => self.hidden += 1,
            }
        }
        seen
    }

    fn semaphores(&mut self, set: &sem::SetStat, budget: &mut Budget) -> Vec<Semaphore> {
        if set.semaphores > budget.told {
            self.too_many += 1;
            return Vec::new();
        }
        let handle = sem::SemaphoreSet::from_id(set.id);
        let values = match handle.values() {
            Ok(values) => values,
            Err(error) => {
                // One that was removed meanwhile is not hidden.
                self.hidden += u64::from(error.kind() == ErrorKind::PermissionDenied);
                return Vec::new();
            }
        };
        budget.told = budget.told.saturating_sub(values.len());
        let is_asked = values.len() <= budget.asked;
        if is_asked {
            budget.asked -= values.len();
        } else {
            self.too_many += 1;
        }
        (0_u16..)
            .zip(values)
            .map(|(index, value)| {
                let waiters = |asked: tieline_os::Result<usize>| {
                    asked.ok().and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
                };
                let mut semaphore =
                    Semaphore { value: value.into(), waiting_for_increase: 0, waiting_for_zero: 0, last: 0 };
                if is_asked {
                    semaphore.waiting_for_increase = waiters(handle.waiters_for_increase(index));
                    semaphore.waiting_for_zero = waiters(handle.waiters_for_zero(index));
                    semaphore.last = handle.last_operator(index).ok().flatten().unwrap_or_default();
                }
                semaphore
            })
            .collect()
    }

    fn add(self, builder: &mut Builder, place: &Place, memory: &Memory) {
        builder.unseen(UnseenWhat::SystemV, UnseenWhy::NoPermission, self.hidden);
        builder.unseen(UnseenWhat::SystemV, UnseenWhy::TooMany, self.too_many);
        builder.unseen(UnseenWhat::SystemV, UnseenWhy::Failed, self.failed);
        for segment in self.segments {
            add_segment(builder, place.inode, &segment, memory);
        }
        for queue in self.queues {
            add_queue(builder, place.inode, &queue, memory);
        }
        for (set, semaphores) in self.sets {
            add_set(builder, place.inode, &set, semaphores, memory);
        }
    }
}

fn object(builder: &mut Builder, kind: Kind, namespace: u64, id: i32, permissions: &Permissions) -> ObjectRef {
    let reference = builder.object(Identity::SystemV { kind, namespace, id }, kind);
    let object = builder.object_mut(reference);
    object.namespace = Some(namespace);
    object.owner = Some(Owner { uid: permissions.uid, gid: permissions.gid });
    object.mode = Some(permissions.mode.bits().into());
    reference
}

fn add_segment(builder: &mut Builder, namespace: u64, told: &shm::SegmentStat, memory: &Memory) {
    let reference = object(builder, Kind::SysvShm, namespace, told.id.number(), &told.permissions);
    let object = builder.object_mut(reference);
    object.changed = told.changed_at;
    object.detail = Detail::SysvShm(SysvShm {
        key: told.permissions.key.number(),
        size_bytes: told.len as u64,
        attached: told.attachments,
        creator: told.creator.unwrap_or_default(),
        last: told.last_user.unwrap_or_default(),
        is_removed: told.removed,
        is_locked: told.locked,
        attached_at: seconds(told.attached_at),
        detached_at: seconds(told.detached_at),
        changed_at: seconds(told.changed_at),
    });
    memory.tie(builder, reference, Role::Creator, told.creator, told.changed_at);
    memory.tie(builder, reference, Role::LastAttached, told.last_user, told.attached_at.max(told.detached_at));
}

fn add_queue(builder: &mut Builder, namespace: u64, told: &msg::QueueStat, memory: &Memory) {
    let reference = object(builder, Kind::SysvMq, namespace, told.id.number(), &told.permissions);
    let object = builder.object_mut(reference);
    object.changed = told.changed_at;
    object.fill = Some(Fill { used: told.bytes, capacity: Some(told.capacity_bytes), unit: Unit::Bytes });
    object.detail = Detail::SysvMq(SysvMq {
        key: told.permissions.key.number(),
        messages: told.messages,
        bytes: told.bytes,
        capacity_bytes: told.capacity_bytes,
        last_sender: told.last_sender.unwrap_or_default(),
        last_receiver: told.last_receiver.unwrap_or_default(),
        sent_at: seconds(told.sent_at),
        received_at: seconds(told.received_at),
        changed_at: seconds(told.changed_at),
    });
    memory.tie(builder, reference, Role::LastSender, told.last_sender, told.sent_at);
    memory.tie(builder, reference, Role::LastReceiver, told.last_receiver, told.received_at);
}

fn add_set(builder: &mut Builder, namespace: u64, told: &sem::SetStat, semaphores: Vec<Semaphore>, memory: &Memory) {
    let reference = object(builder, Kind::SysvSem, namespace, told.id.number(), &told.permissions);
    // Operations set the one time, `SETVAL` and `SETALL` the other; the kernel keeps no time for each semaphore.
    let last_use = told.operated_at.max(told.changed_at);
    let mut last: Vec<u32> = semaphores.iter().map(|semaphore| semaphore.last).filter(|&pid| pid != 0).collect();
    last.sort_unstable();
    last.dedup();
    for pid in last {
        memory.tie(builder, reference, Role::LastOperator, Some(pid), last_use);
    }
    let object = builder.object_mut(reference);
    object.changed = told.changed_at;
    object.detail = Detail::SysvSem(SysvSem {
        key: told.permissions.key.number(),
        count: u32::try_from(told.semaphores).unwrap_or(u32::MAX),
        semaphores,
        operated_at: seconds(told.operated_at),
        changed_at: seconds(told.changed_at),
    });
}

/// Seconds since the epoch; 0 for never.
fn seconds(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
    since.as_secs().try_into().unwrap_or(i64::MAX)
}
