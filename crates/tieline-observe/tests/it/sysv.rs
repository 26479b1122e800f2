//! System V objects, of this IPC namespace and of others.

use std::time::Duration;

use tieline_observe::Snapshot;
use tieline_observe::model::{
    Detail, Identity, Kind, NamespaceKind, Object, Role, SysvMq, SysvSem, SysvShm, Unit, UnseenWhat, UnseenWhy,
};
use tieline_os::Mode;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Key};
use tieline_testkit::{Isolation, Namespace, Peer, can_run_as, eventually, role, skip, test_name};

use super::{look, namespace, namespace_of, object, remembered};

fn found(snapshot: &Snapshot, kind: Kind, id: Id) -> &Object {
    let namespace = namespace_of(std::process::id(), "ipc");
    object(snapshot, Identity::SystemV { kind, namespace, id: id.number() })
}

fn segment(object: &Object) -> &SysvShm {
    let Detail::SysvShm(detail) = &object.detail else { panic!("{object:?}") };
    detail
}

fn queue(object: &Object) -> &SysvMq {
    let Detail::SysvMq(detail) = &object.detail else { panic!("{object:?}") };
    detail
}

fn set(object: &Object) -> &SysvSem {
    let Detail::SysvSem(detail) = &object.detail else { panic!("{object:?}") };
    detail
}

#[test]
fn a_segment_tells_who_made_it_and_that_it_is_to_go() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let me = std::process::id();
    let kept = Segment::create(Key::new(0x77), 5000, Mode::OWNER).unwrap();
    let going = Segment::create(Key::PRIVATE, 100, Mode::OWNER).unwrap();
    let _attached = going.attach().unwrap();
    going.remove().unwrap();
    let snapshot = look();
    let told = found(&snapshot, Kind::SysvShm, kept.id());
    assert_eq!((segment(told).key, segment(told).size_bytes, segment(told).attached), (0x77, 5000, 0));
    assert_eq!((told.mode, told.owner.unwrap().uid), (Some(0o600), rustix::process::geteuid().as_raw()));
    assert_eq!((segment(told).creator, remembered(&snapshot, told.reference, Role::Creator)), (me, vec![me]));
    assert_eq!((segment(told).last, segment(told).attached_at), (0, 0));
    assert!(remembered(&snapshot, told.reference, Role::LastAttached).is_empty());
    assert!(told.changed.unwrap().elapsed().unwrap() < Duration::from_secs(600));
    let told = found(&snapshot, Kind::SysvShm, going.id());
    assert!(segment(told).is_removed && segment(told).attached == 1 && segment(told).attached_at > 0);
    assert_eq!(remembered(&snapshot, told.reference, Role::LastAttached), [me]);
}

#[test]
fn a_queue_tells_its_fill_and_its_last_users() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let made = MessageQueue::create(Key::PRIVATE, Mode::OWNER).unwrap();
    made.send(1, b"12345").unwrap();
    let snapshot = look();
    let told = found(&snapshot, Kind::SysvMq, made.id());
    let fill = told.fill.unwrap();
    assert_eq!((fill.used, fill.unit), (5, Unit::Bytes));
    assert_eq!(fill.capacity, Some(queue(told).capacity_bytes));
    assert_eq!((queue(told).messages, queue(told).received_at), (1, 0));
    assert_eq!(remembered(&snapshot, told.reference, Role::LastSender), [std::process::id()]);
    assert!(remembered(&snapshot, told.reference, Role::LastReceiver).is_empty());
}

#[test]
fn a_set_tells_values_and_who_waits() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let made = SemaphoreSet::create_initialised(Key::PRIVATE, &[4, 0, 7], Mode::OWNER).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| made.operate_timeout(&[Operation::new(1, -1)], Duration::from_secs(60)).unwrap());
        scope.spawn(|| made.wait_for_zero_timeout(2, Duration::from_secs(60)).unwrap());
        eventually("both wait", || {
            made.waiters_for_increase(1).unwrap() == 1 && made.waiters_for_zero(2).unwrap() == 1
        });
        let snapshot = look();
        made.set_values(&[4, 1, 0]).unwrap();
        let told = found(&snapshot, Kind::SysvSem, made.id());
        let values: Vec<_> = set(told)
            .semaphores
            .iter()
            .map(|one| (one.value, one.waiting_for_increase, one.waiting_for_zero))
            .collect();
        assert_eq!((set(told).count, values), (3, vec![(4, 0, 0), (0, 1, 0), (7, 0, 1)]));
        assert_eq!(remembered(&snapshot, told.reference, Role::LastOperator), [std::process::id()]);
        assert_eq!(told.fill, None);
    });
}

/// A set may have 32,000 semaphores and each costs three calls: beyond a bound only the values are asked, and it is said.
#[test]
fn a_huge_set_costs_a_bounded_number_of_calls() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let small = SemaphoreSet::create_initialised(Key::PRIVATE, &[1], Mode::OWNER).unwrap();
    let huge = SemaphoreSet::create_initialised(Key::PRIVATE, &[3; 5000], Mode::OWNER).unwrap();
    let snapshot = look();
    let told = set(found(&snapshot, Kind::SysvSem, huge.id()));
    assert_eq!(told.semaphores.len(), 5000);
    assert!(told.semaphores.iter().all(|one| (one.value, one.last) == (3, 0)));
    let is_counted =
        |what, why| snapshot.unseen().iter().find(|one| one.what == what && one.why == why).map(|one| one.count);
    // Other namespaces of the machine may have such sets, too.
    assert!(is_counted(UnseenWhat::SystemV, UnseenWhy::TooMany) >= Some(1));
    assert_eq!(set(found(&snapshot, Kind::SysvSem, small.id())).semaphores[0].last, std::process::id());
}

#[test]
fn objects_of_another_namespace_are_named_by_it() {
    if let Some(me) = role() {
        let made = Segment::create(Key::new(0x78), 100, Mode::OWNER).unwrap();
        me.say(&made.id().number().to_string());
        me.wait_for("end");
        return;
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    // The same key, and the same id: the first of its namespace.
    let here = Segment::create(Key::new(0x78), 200, Mode::OWNER).unwrap();
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Ipc]).spawn();
    let id: i32 = peer.hear().parse().unwrap();
    assert_eq!(id, here.id().number());
    let snapshot = look();
    let ipc = namespace_of(peer.id(), "ipc");
    let told = object(&snapshot, Identity::SystemV { kind: Kind::SysvShm, namespace: ipc, id });
    assert_eq!((told.namespace, segment(told).size_bytes, segment(told).key), (Some(ipc), 100, 0x78));
    assert_eq!(remembered(&snapshot, told.reference, Role::Creator), [peer.id()]);
    assert_eq!(segment(found(&snapshot, Kind::SysvShm, here.id())).size_bytes, 200);
    assert!(namespace(&snapshot, NamespaceKind::Ipc, ipc).is_listed);
    peer.say("end");
    peer.succeeds();
}

/// Given a `/proc` of the pid namespace around, where our numbers are other processes', then nobody is blamed for them.
#[test]
fn a_number_of_another_pid_namespace_blames_nobody() {
    use std::os::unix::fs::MetadataExt;
    if Namespace::enter(&[Namespace::Ipc, Namespace::Pid], &test_name!()) == Isolation::Done {
        return;
    }
    let me = std::process::id();
    let is_foreign = std::fs::read_link("/proc/self").unwrap().to_str() != Some(&me.to_string());
    assert!(is_foreign, "nobody has mounted a new /proc");
    let made = Segment::create(Key::PRIVATE, 100, Mode::OWNER).unwrap();
    let namespace = std::fs::metadata("/proc/self/ns/ipc").unwrap().ino();
    let snapshot = look();
    let told = object(&snapshot, Identity::SystemV { kind: Kind::SysvShm, namespace, id: made.id().number() });
    assert_eq!(segment(told).creator, me);
    assert!(snapshot.process_with_pid(me).is_some(), "the first processes are there, and are others");
    assert!(remembered(&snapshot, told.reference, Role::Creator).is_empty());
}

/// Given no privilege, then objects that may not be read are listed with what everybody may know, and the rest counted.
#[test]
fn without_privilege_what_may_not_be_read_is_counted() {
    const NOBODY: u32 = 65534;
    if let Some(me) = role() {
        if me.name() == "elsewhere" {
            me.say("ready");
            me.wait_for("end");
            return;
        }
        let snapshot = look();
        let id = |name| Id::new(me.env(name).parse().unwrap());
        assert_eq!(segment(found(&snapshot, Kind::SysvShm, id("SEGMENT"))).size_bytes, 100);
        let told = set(found(&snapshot, Kind::SysvSem, id("SET")));
        assert_eq!((told.count, told.semaphores.len()), (2, 0));
        let count = |what| snapshot.unseen().iter().filter(|one| one.what == what).map(|one| one.count).sum::<u64>();
        assert_eq!(count(UnseenWhat::SystemV), 1);
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("it takes root, and a test binary that everybody may run");
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let segment = Segment::create(Key::PRIVATE, 100, Mode::OWNER).unwrap();
    let set = SemaphoreSet::create(Key::PRIVATE, 2, Mode::OWNER).unwrap();
    let mut elsewhere = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Ipc]).spawn();
    elsewhere.wait_for("ready");
    Peer::of(test_name!())
        .role("nobody")
        .user(NOBODY)
        .env("SEGMENT", segment.id().number().to_string())
        .env("SET", set.id().number().to_string())
        .spawn()
        .succeeds();
    elsewhere.say("end");
    elsewhere.succeeds();
}
