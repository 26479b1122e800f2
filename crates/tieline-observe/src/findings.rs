//! What follows from a snapshot: what was left behind, what is full, who is nearly at a limit.
//!
//! Pure: a snapshot in, findings out. **The invariant: [`Orphan`](FindingKind::Orphan) is said only where every doubt was
//! met by something seen**; one doubt left makes it [`Unused`](FindingKind::Unused), with the doubt among the evidence.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::model::{
    Detail, Evidence, Finding, FindingKind, How, Kind, LimitRef, Object, ObjectRef, ProcessState, Snapshot,
    SocketState, SysvMq, SysvSem, SysvShm, Text, Unit, UnseenWhat,
};

/// Younger than this, an object may be on its way to a first user.
const YOUNG: Duration = Duration::from_secs(60);
/// From this part of a limit on, it is near.
const NEAR: f64 = 0.8;
/// The kernel keeps the times of System V objects in whole seconds.
const GRAIN: Duration = Duration::from_secs(1);
/// The key of a System V object that has none.
const IPC_PRIVATE: i32 = 0;
/// The inode numbers that the kernel gives to its first namespaces, whatever the machine (`PROC_*_INIT_INO`).
const FIRST_IPC_NAMESPACE: u64 = 0xefff_ffff;
pub(crate) const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

pub(crate) fn find(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let census = Census::of(snapshot);
    for object in snapshot.objects() {
        findings.extend(left_behind(snapshot, &census, object));
        findings.extend(dead_socket_file(snapshot, object));
        findings.extend(removed_but_held(snapshot, object));
        findings.extend(held_by_stopped(snapshot, object));
        findings.extend(full(object));
        findings.extend(one_ended(snapshot, object).filter(|_| census.in_flight == 0));
        findings.extend(world_writable(object));
    }
    findings.extend(paths_taken(snapshot));
    findings.extend(near_limits(snapshot));
    findings
}

fn about(kind: FindingKind, object: ObjectRef, evidence: Vec<Evidence>) -> Finding {
    Finding { kind, object: Some(object), process: None, limit: None, evidence }
}

/// What is asked of many objects, counted once: anybody may make tens of thousands of them.
struct Census {
    waited_for: HashSet<ObjectRef>,
    /// For each user when their processes began, the first first; under `None` those of users that are not known.
    began: HashMap<Option<u32>, Vec<SystemTime>>,
    /// Descriptors that were sent and not yet received. They are in nobody's table, and may be of anything.
    in_flight: u64,
}

impl Census {
    fn of(snapshot: &Snapshot) -> Self {
        let mut began: HashMap<Option<u32>, Vec<SystemTime>> = HashMap::new();
        for process in snapshot.processes() {
            if !process.is_kernel_thread && process.pid != snapshot.viewer().pid {
                began.entry(process.uid).or_default().push(snapshot.started_at(process.reference));
            }
        }
        began.values_mut().for_each(|began| began.sort_unstable());
        let in_flight = |object: &Object| match &object.detail {
            Detail::Unix(socket) => u64::from(socket.in_flight),
            _ => 0,
        };
        Self {
            waited_for: snapshot.waits().iter().filter_map(|wait| wait.object).collect(),
            began,
            in_flight: snapshot.objects().iter().map(in_flight).sum(),
        }
    }

    /// How many processes may be that user's and began by that time; by now, without one.
    fn processes_of(&self, uid: u32, by: Option<SystemTime>) -> usize {
        let count = |began: &Vec<SystemTime>| by.map_or(began.len(), |by| began.partition_point(|&began| began <= by));
        [Some(uid), None].iter().filter_map(|uid| self.began.get(uid)).map(count).sum()
    }
}

/// An object that outlives its users, without any.
fn left_behind(snapshot: &Snapshot, census: &Census, object: &Object) -> Option<Finding> {
    if !object.kind.outlives_its_users()
        || snapshot.holders(object.reference).any(|hold| hold.how.is_use())
        || census.waited_for.contains(&object.reference)
    {
        return None;
    }
    let mut case = Case { snapshot, census, object, evidence: Vec::new(), doubts: 0 };
    if object.namespace == Some(FIRST_IPC_NAMESPACE) && snapshot.viewer().namespaces.pid != Some(FIRST_PID_NAMESPACE) {
        case.doubt(Evidence::ProcessesOutside);
    }
    match &object.detail {
        Detail::SysvShm(segment) => case.segment(segment)?,
        Detail::SysvMq(queue) => case.queue(queue),
        Detail::SysvSem(set) => case.set(set)?,
        _ => case.file(),
    }
    case.age();
    let kind = if case.doubts == 0 { FindingKind::Orphan } else { FindingKind::Unused };
    Some(about(kind, object.reference, case.evidence))
}

/// What speaks for and against an object's having been left behind.
struct Case<'a> {
    snapshot: &'a Snapshot,
    census: &'a Census,
    object: &'a Object,
    evidence: Vec<Evidence>,
    doubts: u32,
}

impl Case<'_> {
    fn proof(&mut self, evidence: Evidence) {
        self.evidence.push(evidence);
    }

    fn doubt(&mut self, evidence: Evidence) {
        self.evidence.push(evidence);
        self.doubts += 1;
    }

    /// The kernel counts attachments over the whole machine, so what cannot be seen does not matter here.
    fn segment(&mut self, segment: &SysvShm) -> Option<()> {
        if segment.attached > 0 {
            return None;
        }
        self.proof(Evidence::NoMapping);
        let made = at(segment.changed_at);
        let used = at(segment.attached_at.max(segment.detached_at));
        match segment.creator {
            0 => {
                self.doubt(Evidence::CreatorUnknown);
            }
            pid => match self.fate(pid, made) {
                Fate::Gone => self.proof(Evidence::CreatorGone { pid }),
                Fate::Reused => self.proof(Evidence::CreatorPidReused { pid }),
                Fate::Alive => self.doubt(Evidence::CreatorAlive { pid }),
            },
        }
        self.last_user(segment.last, used);
        self.unseen(&[UnseenWhat::Processes]);
        Some(())
    }

    /// A process keeps no trace of a queue's id, so beside those who used it last, its owner's processes count.
    fn queue(&mut self, queue: &SysvMq) {
        if (queue.last_sender, queue.last_receiver) == (0, 0) {
            // Never used: who made it, or a child of theirs, may be about to, and nobody remembers who that is.
            self.doubt(Evidence::CreatorUnknown);
        }
        self.last_user(queue.last_sender, at(queue.sent_at));
        self.last_user(queue.last_receiver, at(queue.received_at));
        self.owner(Some(queue.key));
        self.waiters();
        if queue.messages > 0 {
            self.proof(Evidence::Holds { amount: queue.messages, unit: Unit::Messages });
        }
    }

    /// As a queue; the kernel itself counts who waits.
    fn set(&mut self, set: &SysvSem) -> Option<()> {
        if set.semaphores.iter().any(|one| one.waiting_for_increase + one.waiting_for_zero > 0) {
            return None;
        }
        let used = at(set.operated_at.max(set.changed_at));
        let mut last: Vec<u32> = set.semaphores.iter().map(|one| one.last).collect();
        last.sort_unstable();
        last.dedup();
        if last.iter().all(|&pid| pid == 0) {
            self.doubt(Evidence::CreatorUnknown);
        }
        for pid in last {
            self.last_user(pid, used);
        }
        self.owner(Some(set.key));
        if self.snapshot.unseen_count(UnseenWhat::SystemV) > 0 {
            // Of some sets neither who waits nor who was the last was asked, and which ones is not told.
            self.doubt(Evidence::WaitersUnknown);
        } else if set.semaphores.len() == set.count as usize {
            self.proof(Evidence::NoWaiter);
        } else {
            self.waiters();
        }
        Some(())
    }

    /// A POSIX object: a file that somebody must have open or mapped to use it.
    fn file(&mut self) {
        self.proof(Evidence::NoDescriptor);
        if self.object.kind != Kind::PosixMq {
            if self.snapshot.taken().scan.mappings {
                self.proof(Evidence::NoMapping);
            } else {
                self.doubts += 1;
            }
        }
        self.unseen(&[UnseenWhat::Processes, UnseenWhat::Descriptors, UnseenWhat::Mappings]);
        if self.census.in_flight > 0 {
            self.doubt(Evidence::DescriptorsInFlight(self.census.in_flight));
        }
        self.owner(None);
        if let Detail::PosixMq(queue) = &self.object.detail
            && queue.bytes > 0
        {
            self.proof(Evidence::Holds { amount: queue.bytes, unit: Unit::Bytes });
        }
    }

    fn last_user(&mut self, pid: u32, used: Option<SystemTime>) {
        if pid == 0 {
            return;
        }
        match self.fate(pid, used) {
            Fate::Gone | Fate::Reused => self.proof(Evidence::LastUserGone { pid }),
            Fate::Alive => self.doubt(Evidence::LastUserAlive { pid }),
        }
    }

    /// Processes of the owner that may come back to the object.
    ///
    /// One that began after it was last used cannot have used it, and cannot know the number of a System V object without
    /// a key. With a key it may have found the object and keep its number, of which nothing is to be seen.
    fn owner(&mut self, key: Option<i32>) {
        let Some(owner) = self.object.owner else { return self.doubt(Evidence::OwnerUnknown) };
        let by = match key {
            None | Some(IPC_PRIVATE) => last_use(self.object).and_then(|used| used.checked_add(GRAIN)),
            Some(_) => None,
        };
        match u32::try_from(self.census.processes_of(owner.uid, by)).unwrap_or(u32::MAX) {
            0 => self.proof(Evidence::OwnerGone { uid: owner.uid }),
            processes => self.doubt(Evidence::OwnerAlive { uid: owner.uid, processes }),
        }
    }

    fn waiters(&mut self) {
        if !self.snapshot.taken().scan.waits {
            return self.doubt(Evidence::WaitersUnknown);
        }
        self.proof(Evidence::NoWaiter);
        self.unseen(&[UnseenWhat::Processes, UnseenWhat::Waits]);
    }

    fn unseen(&mut self, what: &[UnseenWhat]) {
        let count: u64 = what.iter().map(|&what| self.snapshot.unseen_count(what)).sum();
        if count > 0 {
            self.doubt(Evidence::ProcessesUnseen(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    fn age(&mut self) {
        let Some(age) = age(self.snapshot, self.object) else { return };
        if age < YOUNG {
            self.doubt(Evidence::Age(age));
        } else {
            self.proof(Evidence::Age(age));
        }
    }

    fn fate(&self, pid: u32, used: Option<SystemTime>) -> Fate {
        let Some(process) = self.snapshot.process_with_pid(pid) else { return Fate::Gone };
        let began = self.snapshot.started_at(process.reference);
        match used {
            Some(used) if began > used + GRAIN => Fate::Reused,
            _ => Fate::Alive,
        }
    }
}

/// What became of a process that the kernel remembers.
enum Fate {
    Gone,
    /// Another process has its number now: it began after the event.
    Reused,
    Alive,
}

fn at(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// When an object was last used or changed, as far as anybody remembers.
fn last_use(object: &Object) -> Option<SystemTime> {
    let latest = match &object.detail {
        Detail::SysvShm(segment) => at(segment.attached_at.max(segment.detached_at).max(segment.changed_at)),
        Detail::SysvMq(queue) => at(queue.sent_at.max(queue.received_at).max(queue.changed_at)),
        Detail::SysvSem(set) => at(set.operated_at.max(set.changed_at)),
        _ => None,
    };
    latest.max(object.changed)
}

/// How long an object has not been used or changed; `None` if nobody remembers. The clock may have been set back.
pub(crate) fn age(snapshot: &Snapshot, object: &Object) -> Option<Duration> {
    Some(snapshot.taken().at.duration_since(last_use(object)?).unwrap_or_default())
}

fn dead_socket_file(snapshot: &Snapshot, object: &Object) -> Option<Finding> {
    if object.kind != Kind::SocketFile {
        return None;
    }
    let mut evidence: Vec<Evidence> = age(snapshot, object).map(Evidence::Age).into_iter().collect();
    // A name of ours is a socket beside a lock file: while somebody has locked that, only nobody answers right now.
    let Some(lock) = object.lock_file() else {
        return Some(about(FindingKind::DeadSocketFile, object.reference, evidence));
    };
    let is_locked = |file: &Object| snapshot.holders(file.reference).any(|hold| matches!(hold.how, How::Lock(_)));
    if snapshot.object_with(lock).is_some_and(is_locked) {
        return None;
    }
    evidence.push(Evidence::NoLock);
    Some(about(FindingKind::DeadName, object.reference, evidence))
}

/// A segment whose users do not run: nobody will clear it away, and its memory stays.
fn held_by_stopped(snapshot: &Snapshot, object: &Object) -> Option<Finding> {
    if !object.kind.is_segment() {
        return None;
    }
    let mut users: Vec<_> = snapshot.holders(object.reference).filter(|hold| hold.how.is_use()).collect();
    users.dedup_by_key(|hold| hold.process);
    let stopped = |hold: &&crate::model::Hold| {
        let process = snapshot.process(hold.process);
        let is_stopped = matches!(process.state, ProcessState::Stopped | ProcessState::Zombie);
        is_stopped.then_some(Evidence::Stopped { pid: process.pid })
    };
    let evidence: Vec<Evidence> = users.iter().filter_map(stopped).collect();
    let is_all = !users.is_empty() && evidence.len() == users.len();
    is_all.then(|| about(FindingKind::HeldByStopped, object.reference, evidence))
}

/// Memory that has lost its name and lives on in who holds it. A POSIX object is often unlinked on purpose as soon as
/// everybody has it, and a memfd never had a name, so only a segment marked for removal is worth a word.
fn removed_but_held(snapshot: &Snapshot, object: &Object) -> Option<Finding> {
    let Detail::SysvShm(segment) = &object.detail else { return None };
    if !segment.is_removed || segment.attached == 0 {
        return None;
    }
    let mut evidence = vec![Evidence::Attached(segment.attached)];
    evidence.extend(age(snapshot, object).map(Evidence::Age));
    Some(about(FindingKind::RemovedButHeld, object.reference, evidence))
}

fn full(object: &Object) -> Option<Finding> {
    let fill = object.fill?;
    let capacity = fill.capacity?;
    let is_listener = matches!(&object.detail, Detail::Unix(socket) if socket.state == SocketState::Listening)
        || matches!(&object.detail, Detail::Inet(socket) if socket.state == SocketState::Listening);
    // A listener takes one more than it was told to, and may have been told none.
    let (kind, is_full) = if is_listener {
        (FindingKind::BacklogFull, fill.used > capacity)
    } else {
        (FindingKind::Full, capacity > 0 && fill.used >= capacity)
    };
    is_full.then(|| about(kind, object.reference, vec![Evidence::Holds { amount: fill.used, unit: fill.unit }]))
}

/// A pipe of which everybody holds the same end, said only if nobody was left out who might hold the other.
fn one_ended(snapshot: &Snapshot, object: &Object) -> Option<Finding> {
    let unseen = [UnseenWhat::Processes, UnseenWhat::Descriptors];
    if object.kind != Kind::Pipe || unseen.into_iter().any(|what| snapshot.unseen_count(what) > 0) {
        return None;
    }
    let mut reads = false;
    let mut writes = false;
    for hold in snapshot.holders(object.reference) {
        if let How::Descriptor { access, .. } = hold.how {
            reads |= access.read;
            writes |= access.write;
        }
    }
    (reads != writes).then(|| about(FindingKind::OneEnded, object.reference, Vec::new()))
}

/// Whoever may write a queue, segment or semaphore may break those who use it. Sockets and FIFOs that everybody may
/// write are how services are offered, and are left out.
fn world_writable(object: &Object) -> Option<Finding> {
    let mode = object.mode.filter(|mode| mode & 0o002 != 0)?;
    object
        .kind
        .outlives_its_users()
        .then(|| about(FindingKind::WorldWritable, object.reference, vec![Evidence::Mode(mode)]))
}

/// Sockets bound to one path: each bind made a new file in place of the one before, so only the last can be reached.
fn paths_taken(snapshot: &Snapshot) -> Vec<Finding> {
    let mut by_path: HashMap<(&Text, Option<u64>, Kind), Vec<&Object>> = HashMap::new();
    for object in snapshot.objects() {
        let Detail::Unix(socket) = &object.detail else { continue };
        let Some(name) = object.name.as_ref().filter(|name| name.as_bytes().starts_with(b"/")) else { continue };
        // A connection that was accepted has its listener's name, and no peer has one of its own but by binding.
        if socket.state == SocketState::Listening || object.kind == Kind::UnixDatagram {
            by_path.entry((name, object.namespace, object.kind)).or_default().push(object);
        }
    }
    let mut findings: Vec<Finding> = by_path
        .into_values()
        .filter(|sockets| sockets.len() > 1)
        .flatten()
        .map(|object| about(FindingKind::PathTaken, object.reference, Vec::new()))
        .collect();
    findings.sort_by_key(|finding| finding.object);
    findings
}

fn near_limits(snapshot: &Snapshot) -> Vec<Finding> {
    let near = |limit: &crate::model::Limit| limit.ratio().is_some_and(|ratio| ratio >= NEAR);
    let finding = |index| Finding {
        kind: FindingKind::NearLimit,
        object: None,
        process: None,
        limit: Some(LimitRef::at(index)),
        evidence: Vec::new(),
    };
    (0..snapshot.limits().len()).filter(|&index| near(&snapshot.limits()[index])).map(finding).collect()
}

#[cfg(test)]
mod tests;
