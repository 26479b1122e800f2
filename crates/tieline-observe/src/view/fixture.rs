//! Snapshots made by hand: every kind of object, every way to hold one, names that want to be obeyed.

use std::time::{Duration, SystemTime};

use crate::model::{
    Access, Builder, Detail, Epoll, EventFd, Evidence, Fill, Finding, FindingKind, How, Identity, InetSocket, IoUring,
    Kind, Limit, LinkKind, Lock, LockKind, Member, Memory, Namespace, NamespaceKind, Namespaces, ObjectRef,
    OtherSocket, Owner, PosixMq, PosixSem, Process, ProcessRef, Reading, Role, Scope, Segment, Semaphore, Snapshot,
    SocketState, SysvMq, SysvSem, SysvShm, Taken, Text, Told, Unit, UnixSocket, UnseenWhat, UnseenWhy, Viewer, Wait,
    WaitReason,
};

/// The viewer's IPC namespace, and another.
pub(super) const OWN_IPC: u64 = 4_026_531_839;
pub(super) const OTHER_IPC: u64 = 4_026_532_180;

pub(super) const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A builder for a viewer that sees everything: root in the first namespaces.
pub(super) fn builder() -> Builder {
    let namespaces = Namespaces {
        ipc: Some(OWN_IPC),
        net: Some(4_026_531_840),
        mnt: Some(4_026_531_841),
        pid: Some(crate::findings::FIRST_PID_NAMESPACE),
        user: Some(4_026_531_837),
    };
    Builder::new(Viewer { pid: 1, uid: 0, namespaces })
}

pub(super) fn finish(builder: Builder) -> Snapshot {
    finish_with(builder, Vec::new())
}

pub(super) fn finish_with(builder: Builder, findings: Vec<Finding>) -> Snapshot {
    builder.finish(taken(), |_| findings)
}

fn taken() -> Taken {
    Taken {
        at: SystemTime::UNIX_EPOCH + NOW,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        engine: crate::Engine::Proc,
        scan: crate::Scan::new(),
        booted: SystemTime::UNIX_EPOCH,
    }
}

pub(super) fn process(builder: &mut Builder, pid: u32, parent: u32, name: impl AsRef<[u8]>) -> ProcessRef {
    builder.process(Process {
        parent,
        start_ticks: u64::from(pid),
        name: Text::from(name.as_ref()),
        command: vec![Text::from([b"/usr/bin/", name.as_ref()].concat()), Text::from("--flag")],
        uid: Some(1000),
        descriptors: Some(4),
        ..Process::example(pid)
    })
}

pub(super) fn pipe(builder: &mut Builder, inode: u64, used: u64) -> ObjectRef {
    let object = builder.object(Identity::Pipe { inode }, Kind::Pipe);
    builder.object_mut(object).fill = Some(Fill { used, capacity: Some(65_536), unit: Unit::Bytes });
    object
}

pub(super) fn reads(builder: &mut Builder, process: ProcessRef, object: ObjectRef, fd: i32) {
    builder.hold(process, object, How::Descriptor { fd, access: Access::READ });
}

pub(super) fn writes(builder: &mut Builder, process: ProcessRef, object: ObjectRef, fd: i32) {
    builder.hold(process, object, How::Descriptor { fd, access: Access::WRITE });
}

pub(super) fn opens(builder: &mut Builder, process: ProcessRef, object: ObjectRef, fd: i32) {
    builder.hold(process, object, How::Descriptor { fd, access: Access::BOTH });
}

/// A Unix stream socket in that state, with a name if it has one.
pub(super) fn unix(builder: &mut Builder, inode: u64, name: Option<&str>, state: SocketState) -> ObjectRef {
    let object = builder.object(Identity::Socket { inode }, Kind::UnixStream);
    let made = builder.object_mut(object);
    made.name = name.map(Text::from);
    made.detail = Detail::Unix(UnixSocket {
        state,
        file: name.filter(|name| name.starts_with('/')).map(|_| (64, 100)),
        peer: None,
        receive_queue: 0,
        send_queue: 0,
        backlog: (state == SocketState::Listening).then_some((0, 128)),
        in_flight: 0,
        shut: (false, false),
    });
    object
}

pub(super) fn tcp(builder: &mut Builder, inode: u64, local: &str, remote: Option<&str>) -> ObjectRef {
    let object = builder.object(Identity::Socket { inode }, Kind::Tcp);
    let state = if remote.is_some() { SocketState::Connected } else { SocketState::Listening };
    builder.object_mut(object).detail = Detail::Inet(InetSocket {
        state,
        local: local.parse().expect("an address"),
        remote: remote.map(|remote| remote.parse().expect("an address")),
        receive_queue: 0,
        send_queue: 0,
        acknowledged_bytes: Some(12_346),
        received_bytes: Some(99),
        rtt_us: Some(31),
    });
    object
}

pub(super) fn segment(builder: &mut Builder, id: i32, namespace: u64, attached: u64, creator: u32) -> ObjectRef {
    let object = builder.object(Identity::SystemV { kind: Kind::SysvShm, namespace, id }, Kind::SysvShm);
    let made = builder.object_mut(object);
    made.namespace = Some(namespace);
    made.owner = Some(Owner { uid: 1000, gid: 1000 });
    made.mode = Some(0o600);
    made.changed = Some(SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(7200));
    made.detail = Detail::SysvShm(SysvShm {
        key: 0x1234,
        size_bytes: 4096,
        attached,
        creator,
        last: 0,
        is_removed: false,
        is_locked: false,
        attached_at: 1,
        detached_at: 2,
        changed_at: 3,
    });
    object
}

/// A segment of every kind, and one that could not be read.
fn segments(b: &mut Builder, server: ProcessRef, client: ProcessRef) {
    use tieline_shm::inspect::{self, Live, Policy};

    let memory = || Memory { size_bytes: Some(8192), allocated_bytes: Some(8192), seals: Some(6), is_unlinked: false };
    let member = |number, pid, is_seen| Member {
        number,
        pid,
        is_seen,
        is_alive: is_seen,
        reading: Some(Reading { lag: 12, held: 1, received: 30, lost: 0, policy: Policy::Block }),
        items: (1, 0),
        is_writer: false,
    };
    let mut log = inspect::Log::default();
    (log.slots, log.published, log.head) = (64, 42, 43);
    let mut queue = inspect::Queue::default();
    (queue.slots, queue.ready, queue.redelivered, queue.orphaned) = (16, 3, 1, 1);
    let mut stream = inspect::Stream::default();
    (stream.rings[0].waiting, stream.rings[0].capacity) = (5, 4096);
    let mut calls = inspect::Calls::default();
    (calls.in_work, calls.requests.entries, calls.requests.waiting) = (2, 64, 1);
    let own_log = inspect::OwnLog::default();
    let mut lock = inspect::Lock::default();
    (lock.offset, lock.owner) = (4096, Some(10));
    let lives = [
        (Kind::ShmTopic, Some(Live::Log(log))),
        (Kind::ShmRoster, Some(Live::Roster(inspect::Roster::default()))),
        (Kind::ShmQueue, Some(Live::Queue(queue))),
        (Kind::ShmStream, Some(Live::Stream(stream))),
        (Kind::ShmLatest, Some(Live::Latest(inspect::Latest::default()))),
        (Kind::ShmEvent, Some(Live::Event(inspect::Event::default()))),
        (Kind::ShmLocks, Some(Live::Locks(vec![lock]))),
        (Kind::ShmArena, Some(Live::Arena(inspect::Arena::default()))),
        (Kind::ShmMemory, None),
        (Kind::ShmCalls, Some(Live::Calls(calls))),
        (Kind::ShmTopic, Some(Live::OwnLog(own_log))),
    ];
    for (inode, (kind, live)) in (100..).zip(lives) {
        let object = b.object(Identity::File { device: 1, inode }, kind);
        let told = live.map(|live| Told {
            layout: Text::from("Frame"),
            layout_hash: 7,
            creator: 10,
            members: vec![member(0, 20, true), member(1, 999, false)],
            live,
            is_cut: false,
        });
        let one = b.object_mut(object);
        one.name = Some(Text::from("fra\x1b[2Jmes"));
        let (path, damage) = (Some(Text::from("/run/tieline/frames")), None);
        one.detail = Detail::Segment(Box::new(Segment { memory: memory(), told, damage, path, host: Some(10) }));
        b.hold(server, object, How::Mapping { access: Access::BOTH, bytes: 8192 });
        b.hold(client, object, How::Mapping { access: Access::READ, bytes: 8192 });
    }
    let topic = b.object(Identity::File { device: 1, inode: 100 }, Kind::ShmTopic);
    b.object_mut(topic).fill = Some(Fill { used: 12, capacity: Some(64), unit: Unit::Messages });
    let roster = b.object(Identity::File { device: 1, inode: 101 }, Kind::ShmRoster);
    b.link(roster, topic, LinkKind::PartOf);
    let own_log = b.object(Identity::File { device: 1, inode: 110 }, Kind::ShmTopic);
    b.link(own_log, topic, LinkKind::PartOf);
    let locks = b.object(Identity::File { device: 1, inode: 106 }, Kind::ShmLocks);
    let lock = |is_waiting| Lock {
        kind: LockKind::Shm,
        is_exclusive: true,
        start: 4096,
        end: Some(4099),
        number: 4096,
        is_waiting,
    };
    b.hold(server, locks, How::Lock(lock(false)));
    b.hold(client, locks, How::Lock(lock(true)));
    let dead = b.object(Identity::File { device: 64, inode: 110 }, Kind::SocketFile);
    b.object_mut(dead).name = Some(Text::from("/run/tieline/old.sock"));
    b.object_mut(dead).detail = Detail::SocketFile { lock: Some((64, 111)) };
}

/// One of everything, held in every way.
pub(super) fn everything() -> Snapshot {
    let mut builder = builder();
    let b = &mut builder;
    let server = process(b, 10, 1, "server");
    let client = process(b, 20, 10, b"cl\n\x1b[2Jient\xff");
    let container = b.process_mut(client);
    container.container = Some(Text::from("web"));
    container.uid = None;

    let one = pipe(b, 1, 4096);
    writes(b, server, one, 5);
    reads(b, client, one, 0);
    let fifo = b.object(Identity::File { device: 64, inode: 2 }, Kind::Fifo);
    b.object_mut(fifo).name = Some(Text::from("/tmp/a\nb"));
    writes(b, server, fifo, 6);

    let listener = unix(b, 3, Some("/run/app.sock"), SocketState::Listening);
    let accepted = unix(b, 4, Some("/run/app.sock"), SocketState::Connected);
    let caller = unix(b, 5, None, SocketState::Connected);
    let pending = unix(b, 6, None, SocketState::Connecting);
    opens(b, server, listener, 7);
    opens(b, server, accepted, 8);
    opens(b, client, caller, 3);
    opens(b, client, pending, 4);
    b.link(accepted, caller, LinkKind::Peer);
    b.link(pending, listener, LinkKind::Pending);
    let datagrams = b.object(Identity::Socket { inode: 7 }, Kind::UnixDatagram);
    opens(b, client, datagrams, 9);
    b.link(datagrams, listener, LinkKind::SendsTo);
    let port = tcp(b, 8, "127.0.0.1:5432", None);
    let there = tcp(b, 9, "127.0.0.1:5432", Some("127.0.0.1:40000"));
    let here = tcp(b, 10, "127.0.0.1:40000", Some("127.0.0.1:5432"));
    opens(b, server, port, 10);
    opens(b, server, there, 11);
    opens(b, client, here, 12);
    b.link(there, here, LinkKind::Peer);
    let netlink = b.object(Identity::Socket { inode: 11 }, Kind::OtherSocket);
    b.object_mut(netlink).detail = Detail::Socket(OtherSocket { protocol: Text::from("NETLINK") });
    opens(b, server, netlink, 12);

    let shared = segment(b, 0, OWN_IPC, 2, 10);
    b.hold(server, shared, How::Mapping { access: Access::BOTH, bytes: 4096 });
    b.hold(server, shared, How::Remembered(Role::Creator));
    b.hold(client, shared, How::Mapping { access: Access::READ, bytes: 4096 });
    let left = segment(b, 1, OTHER_IPC, 0, 999);
    let queue = b.object(Identity::SystemV { kind: Kind::SysvMq, namespace: OWN_IPC, id: 2 }, Kind::SysvMq);
    b.object_mut(queue).detail = Detail::SysvMq(SysvMq {
        key: 0,
        messages: 3,
        bytes: 120,
        capacity_bytes: 16_384,
        last_sender: 10,
        last_receiver: 999,
        sent_at: 1,
        received_at: 2,
        changed_at: 3,
    });
    b.object_mut(queue).fill = Some(Fill { used: 120, capacity: Some(16_384), unit: Unit::Bytes });
    b.hold(server, queue, How::Remembered(Role::LastSender));
    let set = b.object(Identity::SystemV { kind: Kind::SysvSem, namespace: OWN_IPC, id: 3 }, Kind::SysvSem);
    b.object_mut(set).detail = Detail::SysvSem(SysvSem {
        key: 7,
        count: 2,
        semaphores: vec![
            Semaphore { value: 0, waiting_for_increase: 1, waiting_for_zero: 0, last: 10 },
            Semaphore { value: 4, waiting_for_increase: 0, waiting_for_zero: 0, last: 0 },
        ],
        operated_at: 1,
        changed_at: 2,
    });
    b.hold(server, set, How::Remembered(Role::LastOperator));
    let reason = WaitReason::Semaphores(vec![(0, -1)]);
    b.wait(Wait { process: client, thread: 21, object: Some(set), reason });
    b.wait(Wait { process: server, thread: 10, object: None, reason: WaitReason::Read });

    let mut file = |inode, kind, name: Option<&str>, detail: Detail| {
        let object = b.object(Identity::File { device: 64, inode }, kind);
        b.object_mut(object).name = name.map(Text::from);
        b.object_mut(object).detail = detail;
        object
    };
    let memory = |seals| {
        Detail::Memory(Memory { size_bytes: Some(8192), allocated_bytes: Some(4096), seals, is_unlinked: false })
    };
    let shm = file(20, Kind::PosixShm, Some("/both"), memory(None));
    let posix_queue =
        PosixMq { bytes: 10, messages: Some(1), capacity: Some(10), message_size: Some(64), notify: Some((20, 10)) };
    let mq = file(21, Kind::PosixMq, Some("/both"), Detail::PosixMq(posix_queue));
    let sem =
        file(22, Kind::PosixSem, Some("/permits"), Detail::PosixSem(PosixSem { value: Some(0), waiters: Some(1) }));
    let memfd = file(23, Kind::Memfd, Some("ring"), memory(Some(0b1110)));
    let anonymous = file(24, Kind::AnonymousShm, None, memory(None));
    let locked = file(25, Kind::File, Some("/var/app.db"), memory(None));
    for object in [shm, sem, anonymous, locked, memfd] {
        b.hold(server, object, How::Mapping { access: Access::BOTH, bytes: 8192 });
        b.hold(client, object, How::Mapping { access: Access::READ, bytes: 4096 });
    }
    opens(b, server, mq, 13);
    b.hold(client, mq, How::Notified);
    let lock = |kind, is_waiting| Lock { kind, is_exclusive: true, start: 0, end: Some(9), number: 1, is_waiting };
    b.hold(server, locked, How::Lock(lock(LockKind::Posix, false)));
    b.hold(client, locked, How::Lock(lock(LockKind::Ofd, true)));

    segments(b, server, client);

    let mut alone = |fd, kind, detail| {
        let object = b.object(Identity::Descriptor { pid: 10, fd }, kind);
        b.object_mut(object).detail = detail;
        opens(b, server, object, fd);
        object
    };
    let epoll = alone(30, Kind::Epoll, Detail::Epoll(Epoll { watched: vec![5, 7] }));
    alone(31, Kind::SignalFd, Detail::SignalFd { signals: 1 << 14 | 1 });
    alone(32, Kind::TimerFd, Detail::TimerFd { clock: 1, remaining: Duration::from_secs(3) });
    alone(33, Kind::Inotify, Detail::Inotify { watches: 2 });
    let ring =
        IoUring { submissions_pending: 1, completions_pending: 2, submission_entries: 8, completion_entries: 16 };
    alone(34, Kind::IoUring, Detail::IoUring(ring));
    alone(35, Kind::OtherAnonymous, Detail::Anonymous { name: Text::from("[perf_event]") });
    b.link(epoll, listener, LinkKind::Watches);
    let counter = b.object(Identity::Numbered { kind: Kind::EventFd, number: 9 }, Kind::EventFd);
    b.object_mut(counter).detail = Detail::EventFd(EventFd { count: 2, is_semaphore: true });
    opens(b, server, counter, 36);
    opens(b, client, counter, 37);
    let handle = b.object(Identity::Numbered { kind: Kind::PidFd, number: 10 }, Kind::PidFd);
    b.object_mut(handle).detail = Detail::PidFd { pid: Some(20) };
    opens(b, server, handle, 38);

    for (kind, inode, is_own) in [(NamespaceKind::Ipc, OWN_IPC, true), (NamespaceKind::Ipc, OTHER_IPC, false)] {
        b.namespace(Namespace { kind, inode, is_own, processes: 1, named_after: Some(server), is_listed: true });
    }
    let limit = |name, scope, used| Limit {
        name,
        meaning: "things",
        scope,
        used,
        maximum: Some(100),
        unit: Unit::Count,
        symptom: "open fails with EMFILE",
        raise: "ulimit -n",
    };
    let near = b.limit(limit("RLIMIT_NOFILE", Scope::Process(server), Some(90)));
    b.limit(limit("shmmni", Scope::Namespace(OWN_IPC), Some(10)));
    b.limit(limit("pipe-user-pages-soft", Scope::User(1000), None));
    b.limit(limit("file-max", Scope::Machine, Some(1)));
    b.limit(limit("msgmnb", Scope::Object(queue), Some(20)));
    b.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 3);

    // Places in the snapshot are those of the sorted objects: found again by identity.
    let evidence = vec![
        Evidence::CreatorGone { pid: 999 },
        Evidence::OwnerAlive { uid: 1000, processes: 2 },
        Evidence::NoMapping,
        Evidence::Age(Duration::from_secs(7200)),
        Evidence::Holds { amount: 3, unit: Unit::Messages },
        Evidence::Mode(0o666),
    ];
    let finding = |kind, object, process, limit| Finding { kind, object, process, limit, evidence: evidence.clone() };
    let identities = [(FindingKind::Orphan, left), (FindingKind::Full, one)]
        .map(|(kind, object)| (kind, builder.object_at(object).identity));
    builder.finish(taken(), |snapshot| {
        let at = |identity: Identity| snapshot.object_with(identity).map(|object| object.reference);
        let mut findings: Vec<Finding> =
            identities.iter().map(|(kind, identity)| finding(*kind, at(*identity), None, None)).collect();
        findings.push(finding(FindingKind::NearLimit, None, Some(server), Some(near)));
        findings
    })
}
