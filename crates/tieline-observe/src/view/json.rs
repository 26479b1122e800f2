//! The views as JSON, in the forms of `docs/formats/json.md`.
//!
//! Names from outside keep the escaped form of [`Text`]: a reader that wants the bytes undoes `\\`, `\n`, `\t`, `\r`,
//! `\xNN` and `\u{…}`; nothing is lost, and nothing that a terminal would obey remains.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clean::{Outcome, Step};
use crate::model::{
    Access, Detail, Evidence, Fill, Hold, How, LinkKind, Lock, LockKind, Object, ObjectRef, Owner, Process, ProcessRef,
    ProcessState, Role, Scope, Text, Unit, Unseen, Wait,
};

use super::sentence::reason;
use super::{Answer, Leak, LimitRow, LockSet, Selection, Subject, View};

/// A document: its form, and what it says.
#[derive(Debug, Serialize)]
pub struct Document<'a, T> {
    schema: &'static str,
    /// When the machine was looked at, in seconds since the epoch.
    at: f64,
    viewer: Viewer,
    #[serde(flatten)]
    body: T,
    unseen: &'a [Unseen],
}

#[derive(Debug, Serialize)]
struct Viewer {
    pid: u32,
    uid: u32,
}

/// The body of `tieline.ls/1`.
#[derive(Debug, Serialize)]
pub struct ListBody<'a> {
    objects: Vec<ObjectForm<'a>>,
    processes: Vec<ProcessForm<'a>>,
    namespaces: Vec<NamespaceForm>,
    folded: usize,
}

/// The body of `tieline.who/1`.
#[derive(Debug, Serialize)]
pub struct WhoBody<'a> {
    query: Text,
    answers: Vec<AnswerForm<'a>>,
    objects: Vec<ObjectForm<'a>>,
    processes: Vec<ProcessForm<'a>>,
    waits: Vec<WaitForm<'a>>,
}

/// The body of `tieline.leaks/1`.
#[derive(Debug, Serialize)]
pub struct LeaksBody<'a> {
    findings: Vec<FindingForm<'a>>,
    objects: Vec<ObjectForm<'a>>,
}

/// The body of `tieline.limits/1`.
#[derive(Debug, Serialize)]
pub struct LimitsBody<'a> {
    limits: Vec<LimitForm<'a>>,
}

/// The body of `tieline.locks/1`.
#[derive(Debug, Serialize)]
pub struct LocksBody<'a> {
    locks: Vec<LockSetForm<'a>>,
}

/// The body of `tieline.clean/1`.
#[derive(Debug, Serialize)]
pub struct CleanBody<'a> {
    dry_run: bool,
    steps: Vec<StepForm<'a>>,
}

#[derive(Debug, Serialize)]
struct StepForm<'a> {
    kind: &'static str,
    name: Text,
    finding: crate::model::FindingKind,
    call: String,
    evidence: Vec<EvidenceForm>,
    outcome: &'static str,
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ObjectForm<'a> {
    id: String,
    kind: &'static str,
    name: Option<&'a Text>,
    namespace: Option<u64>,
    owner: Option<Owner>,
    mode: Option<String>,
    fill: Option<Fill>,
    changed: Option<i64>,
    detail: Map<String, Value>,
    holders: Vec<HolderForm<'a>>,
    links: Vec<LinkForm>,
}

#[derive(Debug, Serialize)]
struct HolderForm<'a> {
    pid: u32,
    name: &'a Text,
    how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<LockForm>,
}

#[derive(Debug, Serialize)]
struct LockForm {
    kind: LockKind,
    exclusive: bool,
    start: u64,
    end: Option<u64>,
    number: u64,
    waiting: bool,
}

#[derive(Debug, Serialize)]
struct LinkForm {
    kind: LinkKind,
    to: String,
    incoming: bool,
}

#[derive(Debug, Serialize)]
struct ProcessForm<'a> {
    pid: u32,
    parent: u32,
    name: &'a Text,
    command: &'a [Text],
    uid: Option<u32>,
    user: Option<String>,
    state: ProcessState,
    start_ticks: u64,
    container: Option<&'a Text>,
    descriptors: Option<u32>,
}

#[derive(Debug, Serialize)]
struct NamespaceForm {
    kind: crate::model::NamespaceKind,
    number: u64,
    own: bool,
    listed: bool,
    processes: u32,
    named_after: Option<u32>,
}

#[derive(Debug, Serialize)]
struct AnswerForm<'a> {
    pid: Option<u32>,
    object: Option<String>,
    sentences: &'a [String],
    objects: Vec<String>,
}

#[derive(Debug, Serialize)]
struct WaitForm<'a> {
    pid: u32,
    name: &'a Text,
    thread: u32,
    object: Option<String>,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct FindingForm<'a> {
    kind: crate::model::FindingKind,
    object: Option<String>,
    pid: Option<u32>,
    limit: Option<&'static str>,
    sentence: &'a str,
    evidence: Vec<EvidenceForm>,
}

#[derive(Debug, Serialize)]
struct EvidenceForm {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct LimitForm<'a> {
    name: &'static str,
    meaning: &'static str,
    scope: &'static str,
    of: String,
    uid: Option<u32>,
    pid: Option<u32>,
    namespace: Option<u64>,
    object: Option<String>,
    used: Option<u64>,
    maximum: Option<u64>,
    ratio: Option<f64>,
    unit: Unit,
    symptom: &'a str,
    raise: &'a str,
}

#[derive(Debug, Serialize)]
struct LockSetForm<'a> {
    object: String,
    file: Option<&'a Text>,
    pid: u32,
    name: &'a Text,
    lock: LockForm,
    behind: Vec<u32>,
}

impl View<'_> {
    /// A document of that form.
    fn document<T>(&self, schema: &'static str, body: T) -> Document<'_, T> {
        Document {
            schema,
            at: self.snapshot.taken().at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            viewer: Viewer { pid: self.snapshot.viewer().pid, uid: self.snapshot.viewer().uid },
            body,
            unseen: self.snapshot.unseen(),
        }
    }

    /// What [`list`](Self::list) shows, as `tieline.ls/1`.
    #[must_use]
    pub fn list_json(&self, selection: &Selection) -> Document<'_, ListBody<'_>> {
        let selected = self.select(selection);
        let namespaces = self.snapshot.namespaces().iter().map(|namespace| NamespaceForm {
            kind: namespace.kind,
            number: namespace.inode,
            own: namespace.is_own,
            listed: namespace.is_listed,
            processes: namespace.processes,
            named_after: namespace.named_after.map(|process| self.snapshot.process(process).pid),
        });
        let body = ListBody {
            processes: self.process_forms(&selected.objects, &[]),
            objects: self.object_forms(&selected.objects),
            namespaces: namespaces.collect(),
            folded: selected.folded,
        };
        self.document("tieline.ls/1", body)
    }

    /// What [`who`](Self::who) says, as `tieline.who/1`.
    #[must_use]
    pub fn who_json<'b>(&'b self, query: &Text, answers: &'b [Answer]) -> Document<'b, WhoBody<'b>> {
        let objects: BTreeSet<ObjectRef> = answers.iter().flat_map(|answer| answer.objects.iter().copied()).collect();
        let objects: Vec<ObjectRef> = objects.into_iter().collect();
        let subjects: Vec<ProcessRef> = answers
            .iter()
            .filter_map(|answer| match answer.subject {
                Subject::Process(process) => Some(process),
                Subject::Object(_) => None,
            })
            .collect();
        let waits = self.snapshot.waits().iter().filter(|wait| {
            wait.object.is_some_and(|object| objects.binary_search(&object).is_ok()) || subjects.contains(&wait.process)
        });
        let body = WhoBody {
            query: query.clone(),
            answers: answers.iter().map(|answer| self.answer_form(answer)).collect(),
            processes: self.process_forms(&objects, &subjects),
            waits: waits.map(|wait| self.wait_form(wait)).collect(),
            objects: self.object_forms(&objects),
        };
        self.document("tieline.who/1", body)
    }

    /// What [`leaks`](Self::leaks) found, as `tieline.leaks/1`.
    #[must_use]
    pub fn leaks_json<'b>(&'b self, leaks: &'b [Leak<'b>]) -> Document<'b, LeaksBody<'b>> {
        let findings = leaks.iter().map(|leak| FindingForm {
            kind: leak.finding.kind,
            object: leak.finding.object.map(|object| self.id(self.snapshot.object(object))),
            pid: leak.finding.process.map(|process| self.snapshot.process(process).pid),
            limit: leak.finding.limit.map(|limit| self.snapshot.limit(limit).name),
            sentence: &leak.sentence,
            evidence: leak.finding.evidence.iter().map(|evidence| self.evidence_json(evidence)).collect(),
        });
        let objects: BTreeSet<ObjectRef> = leaks.iter().filter_map(|leak| leak.finding.object).collect();
        let objects: Vec<ObjectRef> = objects.into_iter().collect();
        let body = LeaksBody { findings: findings.collect(), objects: self.object_forms(&objects) };
        self.document("tieline.leaks/1", body)
    }

    /// What may be removed, and what became of it if it was tried, as `tieline.clean/1`. `errors` has one text for each
    /// step, empty but for those that failed.
    #[must_use]
    pub fn clean_json<'b>(
        &'b self,
        steps: &'b [Step],
        outcomes: Option<&[Outcome]>,
        errors: &'b [String],
    ) -> Document<'b, CleanBody<'b>> {
        let steps = steps.iter().enumerate().map(|(index, step)| StepForm {
            kind: step.kind().name(),
            name: step.name(),
            finding: step.finding(),
            call: step.call(),
            evidence: step.evidence().iter().map(|evidence| self.evidence_json(evidence)).collect(),
            outcome: match outcomes.and_then(|outcomes| outcomes.get(index)) {
                None => "would-remove",
                Some(Outcome::Removed) => "removed",
                Some(Outcome::Gone) => "gone",
                Some(Outcome::Changed) => "changed",
                Some(Outcome::Failed(_)) => "failed",
            },
            error: errors.get(index).map(String::as_str).filter(|error| !error.is_empty()),
        });
        self.document("tieline.clean/1", CleanBody { dry_run: outcomes.is_none(), steps: steps.collect() })
    }

    /// Limits, as `tieline.limits/1`.
    #[must_use]
    pub fn limits_json<'b>(&'b self, rows: &[LimitRow<'b>]) -> Document<'b, LimitsBody<'b>> {
        let limits = rows.iter().map(|row| self.limit_form(row)).collect();
        self.document("tieline.limits/1", LimitsBody { limits })
    }

    /// Locks, as `tieline.locks/1`.
    #[must_use]
    pub fn locks_json<'b>(&'b self, locks: &[LockSet<'b>]) -> Document<'b, LocksBody<'b>> {
        let locks = locks.iter().map(|set| {
            let (process, object) = (self.snapshot.process(set.process), self.snapshot.object(set.object));
            LockSetForm {
                object: self.id(object),
                file: object.name.as_ref(),
                pid: process.pid,
                name: &process.name,
                lock: lock_form(set.lock),
                behind: set.behind.iter().map(|process| self.snapshot.process(*process).pid).collect(),
            }
        });
        self.document("tieline.locks/1", LocksBody { locks: locks.collect() })
    }

    /// A piece of evidence, as documents hold it.
    fn evidence_json(&self, evidence: &Evidence) -> EvidenceForm {
        let mut form = EvidenceForm {
            kind: "",
            pid: None,
            uid: None,
            seconds: None,
            count: None,
            unit: None,
            mode: None,
            sentence: self.evidence(evidence),
        };
        form.kind = match evidence {
            Evidence::CreatorGone { pid } => of_process(&mut form, *pid, "creator-gone"),
            Evidence::CreatorAlive { pid } => of_process(&mut form, *pid, "creator-alive"),
            Evidence::CreatorPidReused { pid } => of_process(&mut form, *pid, "creator-pid-reused"),
            Evidence::CreatorUnknown => "creator-unknown",
            Evidence::LastUserGone { pid } => of_process(&mut form, *pid, "last-user-gone"),
            Evidence::LastUserAlive { pid } => of_process(&mut form, *pid, "last-user-alive"),
            Evidence::OwnerGone { uid } => {
                form.uid = Some(*uid);
                "owner-gone"
            }
            Evidence::OwnerAlive { uid, processes } => {
                (form.uid, form.count) = (Some(*uid), Some(u64::from(*processes)));
                "owner-alive"
            }
            Evidence::OwnerUnknown => "owner-unknown",
            Evidence::WaitersUnknown => "waiters-unknown",
            Evidence::Attached(count) => {
                form.count = Some(*count);
                "attached"
            }
            Evidence::ProcessesOutside => "processes-outside",
            Evidence::DescriptorsInFlight(count) => {
                form.count = Some(*count);
                "descriptors-in-flight"
            }
            Evidence::NoMapping => "no-mapping",
            Evidence::NoDescriptor => "no-descriptor",
            Evidence::Stopped { pid } => of_process(&mut form, *pid, "stopped"),
            Evidence::NoLock => "no-lock",
            Evidence::NoWaiter => "no-waiter",
            Evidence::Age(age) => {
                form.seconds = Some(age.as_secs());
                "age"
            }
            Evidence::ProcessesUnseen(count) => {
                form.count = Some(u64::from(*count));
                "processes-unseen"
            }
            Evidence::Holds { amount, unit } => {
                (form.count, form.unit) = (Some(*amount), Some(*unit));
                "holds"
            }
            Evidence::Mode(mode) => {
                form.mode = Some(format!("{mode:04o}"));
                "mode"
            }
        };
        form
    }

    fn object_forms(&self, objects: &[ObjectRef]) -> Vec<ObjectForm<'_>> {
        objects.iter().map(|object| self.object_form(self.snapshot.object(*object))).collect()
    }

    fn object_form<'b>(&'b self, object: &'b Object) -> ObjectForm<'b> {
        let links = self.snapshot.linked(object.reference).map(|(link, other)| LinkForm {
            kind: link.kind,
            to: self.id(self.snapshot.object(other)),
            incoming: link.kind != LinkKind::Peer && link.to == object.reference,
        });
        ObjectForm {
            id: self.id(object),
            kind: object.kind.name(),
            name: object.name.as_ref(),
            namespace: object.namespace,
            owner: object.owner,
            mode: object.mode.map(|mode| format!("{mode:04o}")),
            fill: object.fill,
            changed: object.changed.map(seconds),
            detail: detail(&object.detail),
            holders: self.snapshot.holders(object.reference).map(|hold| self.holder_form(hold)).collect(),
            links: links.collect(),
        }
    }

    fn holder_form(&self, hold: &Hold) -> HolderForm<'_> {
        let process = self.snapshot.process(hold.process);
        let mut form = HolderForm {
            pid: process.pid,
            name: &process.name,
            how: "descriptor",
            fd: None,
            access: None,
            bytes: None,
            role: None,
            lock: None,
        };
        match &hold.how {
            How::Descriptor { fd, access } => (form.fd, form.access) = (Some(*fd), Some(Access::letters(*access))),
            How::Mapping { access, bytes } => {
                form.how = "mapping";
                (form.access, form.bytes) = (Some(Access::letters(*access)), Some(*bytes));
            }
            How::Lock(lock) => (form.how, form.lock) = ("lock", Some(lock_form(lock))),
            How::Remembered(role) => (form.how, form.role) = ("remembered", Some(*role)),
            How::Notified => form.how = "notified",
        }
        form
    }

    /// Those who hold any of the objects, and those that are asked for themselves.
    fn process_forms(&self, objects: &[ObjectRef], others: &[ProcessRef]) -> Vec<ProcessForm<'_>> {
        let holders = objects.iter().flat_map(|object| self.snapshot.holders(*object)).map(|hold| hold.process);
        let processes: BTreeSet<ProcessRef> = holders.chain(others.iter().copied()).collect();
        processes.into_iter().map(|process| self.process_form(self.snapshot.process(process))).collect()
    }

    fn process_form<'b>(&self, process: &'b Process) -> ProcessForm<'b> {
        ProcessForm {
            pid: process.pid,
            parent: process.parent,
            name: &process.name,
            command: &process.command,
            uid: process.uid,
            user: process.uid.map(|uid| self.users.name(uid).into_owned()),
            state: process.state,
            start_ticks: process.start_ticks,
            container: process.container.as_ref(),
            descriptors: process.descriptors,
        }
    }

    fn answer_form<'b>(&self, answer: &'b Answer) -> AnswerForm<'b> {
        let (pid, object) = match answer.subject {
            Subject::Process(process) => (Some(self.snapshot.process(process).pid), None),
            Subject::Object(object) => (None, Some(self.id(self.snapshot.object(object)))),
        };
        let objects = answer.objects.iter().map(|object| self.id(self.snapshot.object(*object)));
        AnswerForm { pid, object, sentences: &answer.sentences, objects: objects.collect() }
    }

    fn wait_form(&self, wait: &Wait) -> WaitForm<'_> {
        let process = self.snapshot.process(wait.process);
        WaitForm {
            pid: process.pid,
            name: &process.name,
            thread: wait.thread,
            object: wait.object.map(|object| self.id(self.snapshot.object(object))),
            sentence: format!("waits {}", reason(&wait.reason)),
        }
    }

    fn limit_form<'b>(&self, row: &LimitRow<'b>) -> LimitForm<'b> {
        let limit = row.limit;
        let mut form = LimitForm {
            name: limit.name,
            meaning: limit.meaning,
            scope: "machine",
            of: self.scope(limit.scope),
            uid: None,
            pid: None,
            namespace: None,
            object: None,
            used: limit.used,
            maximum: limit.maximum,
            ratio: row.ratio,
            unit: limit.unit,
            symptom: limit.symptom,
            raise: limit.raise,
        };
        match limit.scope {
            Scope::Machine => {}
            Scope::Namespace(inode) => (form.scope, form.namespace) = ("namespace", Some(inode)),
            Scope::User(uid) => (form.scope, form.uid) = ("user", Some(uid)),
            Scope::Process(process) => {
                (form.scope, form.pid) = ("process", Some(self.snapshot.process(process).pid));
            }
            Scope::Object(object) => {
                (form.scope, form.object) = ("object", Some(self.id(self.snapshot.object(object))));
            }
        }
        form
    }
}

fn of_process(form: &mut EvidenceForm, pid: u32, kind: &'static str) -> &'static str {
    form.pid = Some(pid);
    kind
}

fn lock_form(lock: &Lock) -> LockForm {
    LockForm {
        kind: lock.kind,
        exclusive: lock.is_exclusive,
        start: lock.start,
        end: lock.end,
        number: lock.number,
        waiting: lock.is_waiting,
    }
}

/// Whole seconds since the epoch; 0 for a time before it.
fn seconds(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// What only one kind of object has, under the names of the page.
fn detail(detail: &Detail) -> Map<String, Value> {
    let key = |key: i32| (key != 0).then(|| format!("{:#010x}", key.cast_unsigned()));
    let value = match detail {
        Detail::None => json!({}),
        Detail::Unix(socket) => json!({
            "state": socket.state,
            "file_inode": socket.file.map(|(_, inode)| inode),
            "receive_queue_bytes": socket.receive_queue,
            "send_queue_bytes": socket.send_queue,
            "pending": socket.backlog.map(|(pending, _)| pending),
            "backlog": socket.backlog.map(|(_, most)| most),
            "in_flight_descriptors": socket.in_flight,
            "shut_reading": socket.shut.0,
            "shut_writing": socket.shut.1,
        }),
        Detail::Inet(socket) => json!({
            "state": socket.state,
            "local": socket.local.to_string(),
            "remote": socket.remote.map(|remote| remote.to_string()),
            "receive_queue_bytes": socket.receive_queue,
            "send_queue_bytes": socket.send_queue,
            "acknowledged_bytes": socket.acknowledged_bytes,
            "received_bytes": socket.received_bytes,
            "rtt_us": socket.rtt_us,
        }),
        Detail::SocketFile { lock } => json!({ "lock_inode": lock.map(|(_, inode)| inode) }),
        Detail::Socket(socket) => json!({ "protocol": socket.protocol }),
        Detail::SysvShm(segment) => json!({
            "key": key(segment.key),
            "size_bytes": segment.size_bytes,
            "attached": segment.attached,
            "creator": segment.creator,
            "last_attached": segment.last,
            "removed": segment.is_removed,
            "locked": segment.is_locked,
            "attached_at": segment.attached_at,
            "detached_at": segment.detached_at,
            "changed_at": segment.changed_at,
        }),
        Detail::SysvMq(queue) => json!({
            "key": key(queue.key),
            "messages": queue.messages,
            "bytes": queue.bytes,
            "capacity_bytes": queue.capacity_bytes,
            "last_sender": queue.last_sender,
            "last_receiver": queue.last_receiver,
            "sent_at": queue.sent_at,
            "received_at": queue.received_at,
            "changed_at": queue.changed_at,
        }),
        Detail::SysvSem(set) => json!({
            "key": key(set.key),
            "semaphores": set.semaphores.iter().map(|semaphore| json!({
                "value": semaphore.value,
                "waiting_for_increase": semaphore.waiting_for_increase,
                "waiting_for_zero": semaphore.waiting_for_zero,
                "last_operator": semaphore.last,
            })).collect::<Vec<_>>(),
            "count": set.count,
            "operated_at": set.operated_at,
            "changed_at": set.changed_at,
        }),
        Detail::PosixMq(queue) => json!({
            "bytes": queue.bytes,
            "messages": queue.messages,
            "capacity_messages": queue.capacity,
            "message_size_bytes": queue.message_size,
            "notify_pid": queue.notify.map(|(pid, _)| pid),
            "notify_signal": queue.notify.map(|(_, signal)| signal),
        }),
        Detail::PosixSem(semaphore) => json!({ "value": semaphore.value, "waiters": semaphore.waiters }),
        Detail::Memory(memory) => json!({
            "size_bytes": memory.size_bytes,
            "allocated_bytes": memory.allocated_bytes,
            "seals": memory.seals,
            "unlinked": memory.is_unlinked,
        }),
        Detail::Segment(segment) => super::segment_json::detail(segment),
        Detail::EventFd(event) => json!({ "count": event.count, "semaphore": event.is_semaphore }),
        Detail::Epoll(epoll) => json!({ "watched": epoll.watched }),
        Detail::SignalFd { signals } => json!({
            "signals": (1..=64).filter(|number| signals & (1 << (number - 1)) != 0).collect::<Vec<u32>>(),
        }),
        Detail::TimerFd { clock, remaining } => json!({
            "clock": clock,
            "remaining_ns": u64::try_from(remaining.as_nanos()).unwrap_or(u64::MAX),
        }),
        Detail::PidFd { pid } => json!({ "pid": pid }),
        Detail::Inotify { watches } => json!({ "watches": watches }),
        Detail::IoUring(ring) => json!({
            "submissions_pending": ring.submissions_pending,
            "completions_pending": ring.completions_pending,
            "submission_entries": ring.submission_entries,
            "completion_entries": ring.completion_entries,
        }),
        Detail::Anonymous { name } => json!({ "anonymous": name }),
    };
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
