//! One doubt is enough to keep an object.

use std::time::{Duration, SystemTime};

use crate::model::{
    Access, Builder, Detail, Evidence, Fill, FindingKind, How, Identity, Kind, Memory, Namespaces, ObjectRef, Owner,
    Process, ProcessRef, Semaphore, Snapshot, SocketState, SysvMq, SysvSem, SysvShm, Taken, Text, Unit, UnixSocket,
    UnseenWhat, UnseenWhy, Viewer,
};
use crate::{Engine, Scan};

const NOW: u64 = 1_000_000;
const HOUR: u64 = 3600;
const IPC: u64 = 77;

/// A machine that started an hour before the snapshot.
struct Machine(Builder);

impl Machine {
    fn new() -> Self {
        let namespaces = Namespaces { ipc: Some(IPC), ..Namespaces::default() };
        Self(Builder::new(Viewer { pid: 1, uid: 0, namespaces }))
    }

    fn process(&mut self, pid: u32, uid: u32, began: u64) -> ProcessRef {
        self.0.process(Process {
            start_ticks: (began - (NOW - HOUR)) * rustix::param::clock_ticks_per_second(),
            uid: Some(uid),
            namespaces: Namespaces { ipc: Some(IPC), ..Namespaces::default() },
            ..Process::example(pid)
        })
    }

    fn system_v(&mut self, kind: Kind, owner: u32, detail: Detail) -> ObjectRef {
        let object = self.0.object(Identity::SystemV { kind, namespace: IPC, id: 5 }, kind);
        let entry = self.0.object_mut(object);
        entry.owner = Some(Owner { uid: owner, gid: owner });
        entry.mode = Some(0o600);
        entry.namespace = Some(IPC);
        entry.detail = detail;
        object
    }

    fn shared_memory(&mut self, owner: u32) -> ObjectRef {
        let object = self.0.object(Identity::File { device: 1, inode: 2 }, Kind::PosixShm);
        let entry = self.0.object_mut(object);
        entry.name = Some(Text::from("/memory"));
        entry.owner = Some(Owner { uid: owner, gid: owner });
        entry.changed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW - 1000));
        entry.detail = Detail::Memory(Memory {
            size_bytes: Some(4096),
            allocated_bytes: Some(0),
            seals: None,
            is_unlinked: false,
        });
        object
    }

    fn look(self, scan: Scan) -> Snapshot {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        let booted = at - Duration::from_secs(HOUR);
        let taken = Taken { at, wall: Duration::ZERO, cpu: Duration::ZERO, engine: Engine::Proc, scan, booted };
        self.0.finish(taken, super::find)
    }

    fn findings(self) -> Vec<(FindingKind, Vec<Evidence>)> {
        let snapshot = self.look(Scan::new().waits(true));
        snapshot.findings().iter().map(|finding| (finding.kind, finding.evidence.clone())).collect()
    }

    fn kinds(self) -> Vec<FindingKind> {
        self.findings().into_iter().map(|(kind, _)| kind).collect()
    }
}

fn seconds(at: u64) -> i64 {
    i64::try_from(at).expect("a date of this test")
}

/// A segment made by process 50 and last used by 60, both 500 seconds ago.
fn segment() -> SysvShm {
    SysvShm {
        key: 1,
        size_bytes: 4096,
        attached: 0,
        creator: 50,
        last: 60,
        is_removed: false,
        is_locked: false,
        attached_at: seconds(NOW - 500),
        detached_at: seconds(NOW - 500),
        changed_at: seconds(NOW - 500),
    }
}

fn set(last: u32) -> SysvSem {
    let semaphore = Semaphore { value: 0, waiting_for_increase: 0, waiting_for_zero: 0, last };
    SysvSem {
        key: 1,
        count: 1,
        semaphores: vec![semaphore],
        operated_at: seconds(NOW - 500),
        changed_at: seconds(NOW - 600),
    }
}

#[test]
fn a_segment_whose_makers_have_ended_is_an_orphan() {
    let mut machine = Machine::new();
    machine.process(70, 1000, NOW - 2000);
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(segment()));
    let findings = machine.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].0, FindingKind::Orphan);
    assert!(findings[0].1.contains(&Evidence::CreatorGone { pid: 50 }), "{findings:?}");
    assert!(findings[0].1.contains(&Evidence::LastUserGone { pid: 60 }), "{findings:?}");
    assert!(findings[0].1.contains(&Evidence::NoMapping), "{findings:?}");
}

#[test]
fn a_segment_whose_creator_lives_is_kept() {
    let mut machine = Machine::new();
    machine.process(50, 1000, NOW - 2000);
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(segment()));
    assert_eq!(machine.kinds(), [FindingKind::Unused]);
}

#[test]
fn a_process_that_began_after_the_segment_was_made_did_not_make_it() {
    let mut machine = Machine::new();
    machine.process(50, 1000, NOW - 100);
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(segment()));
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Orphan);
    assert!(findings[0].1.contains(&Evidence::CreatorPidReused { pid: 50 }), "{findings:?}");
}

#[test]
fn an_attached_segment_is_no_finding_and_a_removed_one_is_held() {
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(SysvShm { attached: 1, ..segment() }));
    assert_eq!(machine.kinds(), []);
    let mut machine = Machine::new();
    let removed = SysvShm { attached: 1, is_removed: true, ..segment() };
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(removed));
    assert_eq!(machine.kinds(), [FindingKind::RemovedButHeld]);
}

#[test]
fn a_segment_is_kept_while_it_is_young_or_processes_are_hidden() {
    let mut machine = Machine::new();
    let young = SysvShm { detached_at: seconds(NOW - 3), ..segment() };
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(young));
    assert_eq!(machine.kinds(), [FindingKind::Unused]);
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(segment()));
    machine.0.unseen(UnseenWhat::Processes, UnseenWhy::NoPermission, 1);
    assert_eq!(machine.kinds(), [FindingKind::Unused]);
}

#[test]
fn semaphores_are_kept_while_a_process_of_their_owner_may_come_back_to_them() {
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(set(60)));
    machine.process(80, 1000, NOW - 2000);
    machine.process(81, 33, NOW - 100);
    assert_eq!(machine.kinds(), [FindingKind::Unused], "a process that began later may have found it by its key");
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(SysvSem { key: 0, ..set(60) }));
    machine.process(81, 33, NOW - 100);
    assert_eq!(machine.kinds(), [FindingKind::Orphan], "without a key a process that began later never used it");
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(set(0)));
    assert_eq!(machine.kinds(), [FindingKind::Unused], "nobody remembers who made a set that was never used");
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(set(60)));
    machine.0.unseen(UnseenWhat::SystemV, UnseenWhy::TooMany, 1);
    assert_eq!(machine.kinds(), [FindingKind::Unused], "who waits for it may not have been asked");
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(set(60)));
    machine.process(80, 33, NOW - 2000);
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Unused);
    assert!(findings[0].1.contains(&Evidence::OwnerAlive { uid: 33, processes: 1 }), "{findings:?}");
}

#[test]
fn a_semaphore_that_is_waited_for_is_no_finding() {
    let mut waited = set(60);
    waited.semaphores[0].waiting_for_increase = 1;
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvSem, 33, Detail::SysvSem(waited));
    assert_eq!(machine.kinds(), []);
}

#[test]
fn a_queue_is_kept_if_nobody_looked_who_waits() {
    let queue = SysvMq {
        key: 1,
        messages: 3,
        bytes: 30,
        capacity_bytes: 100,
        last_sender: 60,
        last_receiver: 0,
        sent_at: seconds(NOW - 500),
        received_at: 0,
        changed_at: seconds(NOW - 600),
    };
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvMq, 33, Detail::SysvMq(queue.clone()));
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Orphan);
    assert!(findings[0].1.contains(&Evidence::Holds { amount: 3, unit: Unit::Messages }), "{findings:?}");
    let mut machine = Machine::new();
    machine.system_v(Kind::SysvMq, 33, Detail::SysvMq(queue));
    let snapshot = machine.look(Scan::new());
    assert_eq!(snapshot.findings()[0].kind, FindingKind::Unused);
    assert!(snapshot.findings()[0].evidence.contains(&Evidence::WaitersUnknown));
}

#[test]
fn shared_memory_that_is_open_or_may_be_is_kept() {
    let mut machine = Machine::new();
    machine.shared_memory(33);
    assert_eq!(machine.kinds(), [FindingKind::Orphan]);
    let mut machine = Machine::new();
    machine.shared_memory(33);
    machine.0.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 4);
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Unused);
    assert!(findings[0].1.contains(&Evidence::ProcessesUnseen(4)), "{findings:?}");
    let mut machine = Machine::new();
    let memory = machine.shared_memory(33);
    let holder = machine.process(80, 1000, NOW - 2000);
    machine.0.hold(holder, memory, How::Mapping { access: Access::BOTH, bytes: 4096 });
    assert_eq!(machine.kinds(), []);
}

#[test]
fn an_object_of_the_machine_is_kept_by_who_sees_only_a_container() {
    let mut machine = Machine::new();
    let object = machine.system_v(Kind::SysvShm, 1000, Detail::SysvShm(segment()));
    machine.0.object_mut(object).namespace = Some(super::FIRST_IPC_NAMESPACE);
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Unused);
    assert!(findings[0].1.contains(&Evidence::ProcessesOutside), "{findings:?}");
}

#[test]
fn shared_memory_is_kept_while_a_descriptor_of_it_may_be_on_its_way() {
    let mut machine = Machine::new();
    machine.shared_memory(33);
    let socket = machine.0.object(Identity::Socket { inode: 8 }, Kind::UnixStream);
    machine.0.object_mut(socket).detail = Detail::Unix(UnixSocket {
        state: SocketState::Connected,
        file: None,
        peer: None,
        receive_queue: 1,
        send_queue: 0,
        backlog: None,
        in_flight: 2,
        shut: (false, false),
    });
    let findings = machine.findings();
    assert_eq!(findings[0].0, FindingKind::Unused);
    assert!(findings[0].1.contains(&Evidence::DescriptorsInFlight(2)), "{findings:?}");
}

#[test]
fn two_listeners_with_one_path_are_both_told() {
    let mut machine = Machine::new();
    for inode in [8, 9] {
        let socket = machine.0.object(Identity::Socket { inode }, Kind::UnixStream);
        let entry = machine.0.object_mut(socket);
        entry.name = Some(Text::from("/run/server"));
        entry.fill = Some(Fill { used: 2, capacity: Some(1), unit: Unit::Connections });
        entry.detail = Detail::Unix(UnixSocket {
            state: SocketState::Listening,
            file: Some((1, inode)),
            peer: None,
            receive_queue: 0,
            send_queue: 0,
            backlog: Some((2, 1)),
            in_flight: 0,
            shut: (false, false),
        });
    }
    let full = FindingKind::BacklogFull;
    assert_eq!(machine.kinds(), [full, full, FindingKind::PathTaken, FindingKind::PathTaken]);
}

#[test]
fn a_pipe_with_one_end_is_told_only_if_all_could_be_seen() {
    let one_ended = || {
        let mut machine = Machine::new();
        let pipe = machine.0.object(Identity::Pipe { inode: 8 }, Kind::Pipe);
        let reader = machine.process(80, 1000, NOW - 2000);
        machine.0.hold(reader, pipe, How::Descriptor { fd: 0, access: Access::READ });
        machine
    };
    assert_eq!(one_ended().kinds(), [FindingKind::OneEnded]);
    let mut machine = one_ended();
    machine.0.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 1);
    assert_eq!(machine.kinds(), []);
    // The other end may lie in a socket's queue.
    let mut machine = one_ended();
    let socket = machine.0.object(Identity::Socket { inode: 9 }, Kind::UnixStream);
    machine.0.object_mut(socket).detail = Detail::Unix(UnixSocket {
        state: SocketState::Connected,
        file: None,
        peer: None,
        receive_queue: 1,
        send_queue: 0,
        backlog: None,
        in_flight: 1,
        shut: (false, false),
    });
    assert_eq!(machine.kinds(), []);
}
