//! POSIX queues, shared memory and named semaphores, of these namespaces and of others.

use std::process::Command;
use std::time::Duration;

use tieline_observe::Snapshot;
use tieline_observe::model::{Detail, How, Identity, Kind, NamespaceKind, Object, Unit};
use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::signal::Signal;
use tieline_os::{Access, ErrorKind, Mode};
use tieline_testkit::{Isolation, Namespace, Peer, eventually, role, skip, test_name};

use super::{look, namespace, namespace_of, object};

const SIZE: Attributes = Attributes { capacity: 4, message_size: 64 };

fn named<'a>(snapshot: &'a Snapshot, kind: Kind, name: &str) -> Vec<&'a Object> {
    let is_it = |object: &&Object| {
        object.kind == kind && object.name.as_ref().is_some_and(|one| one.as_bytes() == name.as_bytes())
    };
    snapshot.objects().iter().filter(is_it).collect()
}

/// Whether queues can be listed here without anybody having mounted them.
fn sees_queues() -> bool {
    MessageQueue::list_unmounted().is_ok()
}

#[test]
fn a_queue_tells_its_messages_and_who_is_notified() {
    if let Some(me) = role() {
        let queue = MessageQueue::create("/jobs", SIZE, Access::ReadWrite, Mode::OWNER).unwrap();
        queue.notify_signal(Signal::USR2, 0).unwrap();
        let stat = rustix::fs::fstat(&queue).unwrap();
        me.say(&format!("{} {}", stat.st_dev, stat.st_ino));
        me.wait_for("send");
        queue.cancel_notify().unwrap();
        queue.send(b"12345", 0).unwrap();
        me.say("sent");
        me.wait_for("end");
        assert_eq!(queue.depth().unwrap(), 1, "looking took nothing");
        return;
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if !sees_queues() {
        skip!("it takes the privilege to mount");
    }
    let mut peer = Peer::of(test_name!()).role("holder").spawn();
    let said = peer.hear();
    let (device, inode) = said.split_once(' ').unwrap();
    let identity = Identity::File { device: device.parse().unwrap(), inode: inode.parse().unwrap() };
    let snapshot = look();
    let told = object(&snapshot, identity);
    let Detail::PosixMq(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!((detail.bytes, detail.notify), (0, Some((peer.id(), 12))));
    let notified: Vec<u32> = snapshot
        .holders(told.reference)
        .filter(|hold| hold.how == How::Notified)
        .map(|hold| snapshot.process(hold.process).pid)
        .collect();
    assert_eq!(notified, [peer.id()]);
    peer.say("send");
    peer.wait_for("sent");
    let snapshot = look();
    let told = object(&snapshot, identity);
    assert_eq!((told.kind, told.name.as_ref().unwrap().as_bytes()), (Kind::PosixMq, b"/jobs".as_slice()));
    assert_eq!((told.mode, told.namespace), (Some(0o600), Some(namespace_of(std::process::id(), "ipc"))));
    let fill = told.fill.unwrap();
    assert_eq!((fill.used, fill.capacity, fill.unit), (1, Some(4), Unit::Messages));
    let Detail::PosixMq(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!((detail.bytes, detail.message_size, detail.notify), (5, Some(64), None));
    peer.say("end");
    peer.succeeds();
}

/// Looking is not using: a process that waits for a notification gets it for a message, and for nothing else, also if it
/// is the one that looks.
#[test]
fn looking_at_a_queue_leaves_its_notification() {
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let queue = MessageQueue::create("/jobs", SIZE, Access::ReadWrite, Mode::OWNER).unwrap();
    tieline_os::signal::block(Signal::USR2).unwrap();
    queue.notify_signal(Signal::USR2, 0).unwrap();
    for _ in 0..3 {
        look();
    }
    let again = queue.notify_signal(Signal::USR2, 0).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Busy, "the first request holds");
}

#[test]
fn a_queue_of_another_namespace_is_named_by_it() {
    if let Some(me) = role() {
        let _queue = MessageQueue::create("/jobs", SIZE, Access::ReadWrite, Mode::OWNER).unwrap();
        me.say("made");
        me.wait_for("end");
        return;
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if !sees_queues() || !Namespace::can_make(&[Namespace::Ipc]) {
        skip!("it takes the privilege to mount");
    }
    let _here = MessageQueue::create("/jobs", SIZE, Access::ReadWrite, Mode::OWNER).unwrap();
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Ipc]).spawn();
    peer.wait_for("made");
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let snapshot = look();
    assert_eq!(mounts(), before, "nothing appears on the machine");
    let ours = [std::process::id(), peer.id()].map(|pid| namespace_of(pid, "ipc"));
    let mut found: Vec<u64> = named(&snapshot, Kind::PosixMq, "/jobs")
        .iter()
        .filter_map(|queue| queue.namespace)
        .filter(|namespace| ours.contains(namespace))
        .collect();
    found.sort_unstable();
    let mut expected = ours.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    peer.say("end");
    peer.succeeds();
}

#[test]
fn memory_and_semaphores_are_listed_with_what_they_hold() {
    /// Removes the names, however the test ends.
    struct Names(String);
    impl Drop for Names {
        fn drop(&mut self) {
            let _ = SharedMemory::unlink(&self.0);
            let _ = NamedSemaphore::unlink(&self.0);
        }
    }
    let names = Names(format!("/tieline-observe-{}", std::process::id()));
    let Ok(_memory) = SharedMemory::create(&names.0, 10_000, Mode::OWNER) else { skip!("there is no /dev/shm") };
    let semaphore = NamedSemaphore::create(&names.0, 0, Mode::OWNER).unwrap();
    let snapshot = std::thread::scope(|scope| {
        scope.spawn(|| semaphore.wait_timeout(Duration::from_secs(60)).unwrap());
        eventually("it waits", || semaphore.waiters() == 1);
        let snapshot = look();
        semaphore.post().unwrap();
        snapshot
    });
    let [told] = named(&snapshot, Kind::PosixShm, &names.0)[..] else { panic!("one object") };
    let Detail::Memory(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!((detail.size_bytes, detail.is_unlinked), (Some(10_000), false));
    // Pages; some machines take huge ones.
    let page = rustix::param::page_size() as u64;
    assert!(detail.allocated_bytes.is_some_and(|bytes| bytes >= 10_000 && bytes % page == 0), "{detail:?}");
    assert_eq!((told.mode, told.owner.unwrap().uid), (Some(0o600), rustix::process::geteuid().as_raw()));
    assert!(told.changed.unwrap().elapsed().unwrap() < Duration::from_secs(600));
    let [told] = named(&snapshot, Kind::PosixSem, &names.0)[..] else { panic!("one object") };
    let Detail::PosixSem(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!((detail.value, detail.waiters), (Some(0), Some(1)));
}

/// Given a container whose `/dev/shm` is full of traps, then the scan ends, takes what is an object, and follows nothing.
#[test]
fn a_hostile_directory_of_another_namespace_does_not_hold_us() {
    if let Some(me) = role() {
        let traps = "mount -t tmpfs none /dev/shm && cd /dev/shm && mkfifo sem.fifo fifo && mkdir folder sem.folder \
            && ln -s /etc/passwd sem.link && ln -s . link && head -c 7 /dev/zero >sem.short && touch folder/inner";
        assert!(Command::new("sh").args(["-c", traps]).status().unwrap().success());
        let _semaphore = NamedSemaphore::create("/real", 3, Mode::OWNER).unwrap();
        me.say("made");
        me.wait_for("end");
        return;
    }
    if !Namespace::can_mount() || !rustix::process::geteuid().is_root() {
        skip!("it takes root, and a machine that lets it mount");
    }
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Mount]).spawn();
    peer.wait_for("made");
    let snapshot = look();
    let mnt = namespace_of(peer.id(), "mnt");
    let mut there: Vec<(Kind, String)> = snapshot
        .objects()
        .iter()
        .filter(|object| object.namespace == Some(mnt))
        .filter_map(|object| Some((object.kind, object.name.as_ref()?.to_string())))
        .collect();
    there.sort();
    assert_eq!(there, [(Kind::PosixShm, "/sem.short".to_owned()), (Kind::PosixSem, "/real".to_owned())]);
    let [told] = named(&snapshot, Kind::PosixSem, "/real")[..] else { panic!("one object") };
    let Detail::PosixSem(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!((detail.value, detail.waiters), (Some(3), Some(0)));
    assert!(namespace(&snapshot, NamespaceKind::Mnt, mnt).is_listed);
    peer.say("end");
    peer.succeeds();
}

/// A link in place of `/dev/shm` leads nowhere, and takes nothing of the picture of others.
#[test]
fn a_link_in_place_of_the_directory_is_not_followed() {
    if let Some(me) = role() {
        let trap = "mount -t tmpfs none /dev && ln -s /etc /dev/shm";
        assert!(Command::new("sh").args(["-c", trap]).status().unwrap().success());
        me.say("made");
        me.wait_for("end");
        return;
    }
    if !Namespace::can_mount() || !rustix::process::geteuid().is_root() {
        skip!("it takes root, and a machine that lets it mount");
    }
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Mount]).spawn();
    peer.wait_for("made");
    let snapshot = look();
    let mnt = namespace_of(peer.id(), "mnt");
    let names = |object: &&Object| object.namespace == Some(mnt) && object.kind == Kind::PosixShm;
    assert_eq!(snapshot.objects().iter().filter(names).count(), 0);
    assert!(namespace(&snapshot, NamespaceKind::Mnt, mnt).is_listed, "that there is nothing is known");
    peer.say("end");
    peer.succeeds();
}
