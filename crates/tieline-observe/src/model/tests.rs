//! The builder joins what is told in any order.

use std::time::{Duration, SystemTime};

use super::{
    Access, Builder, Finding, How, Identity, Kind, LinkKind, Namespaces, Process, Snapshot, Taken, UnseenWhat,
    UnseenWhy, Viewer,
};

fn builder() -> Builder {
    Builder::new(Viewer { pid: 1, uid: 0, namespaces: Namespaces::default() })
}

fn finish(builder: Builder) -> Snapshot {
    let taken = Taken {
        at: SystemTime::UNIX_EPOCH,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        engine: crate::Engine::Proc,
        scan: crate::Scan::new(),
        booted: SystemTime::UNIX_EPOCH,
    };
    builder.finish(taken, |_| Vec::<Finding>::new())
}

#[test]
fn ties_follow_their_objects_and_processes_through_the_sorting() {
    let mut builder = builder();
    let late = builder.process(Process::example(20));
    let early = builder.process(Process::example(10));
    let socket = builder.object(Identity::Socket { inode: 7 }, Kind::UnixStream);
    let high = builder.object(Identity::Pipe { inode: 9 }, Kind::Pipe);
    let low = builder.object(Identity::Pipe { inode: 8 }, Kind::Pipe);
    let read = How::Descriptor { fd: 3, access: Access::READ };
    builder.hold(late, low, read.clone());
    builder.hold(early, high, How::Descriptor { fd: 4, access: Access::WRITE });
    builder.hold(early, low, How::Descriptor { fd: 5, access: Access::WRITE });
    builder.hold(late, socket, read);

    let snapshot = finish(builder);

    let pids: Vec<u32> = snapshot.processes().iter().map(|process| process.pid).collect();
    assert_eq!(pids, [10, 20]);
    let identities: Vec<Identity> = snapshot.objects().iter().map(|object| object.identity).collect();
    let socket_last = Identity::Socket { inode: 7 };
    assert_eq!(identities, [Identity::Pipe { inode: 8 }, Identity::Pipe { inode: 9 }, socket_last]);
    let pipe = snapshot.object_with(Identity::Pipe { inode: 8 }).expect("it was added").reference;
    let holders: Vec<u32> = snapshot.holders(pipe).map(|hold| snapshot.process(hold.process).pid).collect();
    assert_eq!(holders, [10, 20]);
    let process = snapshot.process_with_pid(20).expect("it was added").reference;
    let held: Vec<Identity> = snapshot.held_by(process).map(|hold| snapshot.object(hold.object).identity).collect();
    assert_eq!(held, [Identity::Pipe { inode: 8 }, socket_last]);
}

#[test]
fn an_object_met_twice_is_one() {
    let mut builder = builder();
    let first = builder.object(Identity::Pipe { inode: 8 }, Kind::Pipe);
    assert_eq!(builder.object(Identity::Pipe { inode: 8 }, Kind::Pipe), first);
    assert_eq!(finish(builder).objects().len(), 1);
}

#[test]
fn a_connection_told_from_both_ends_is_one_link() {
    let mut builder = builder();
    let one = builder.object(Identity::Socket { inode: 9 }, Kind::UnixStream);
    let other = builder.object(Identity::Socket { inode: 8 }, Kind::UnixStream);
    builder.link(one, other, LinkKind::Peer);
    builder.link(other, one, LinkKind::Peer);

    let snapshot = finish(builder);

    assert_eq!(snapshot.links().len(), 1);
    let [low, high] =
        [8, 9].map(|inode| snapshot.object_with(Identity::Socket { inode }).expect("it was added").reference);
    assert_eq!(snapshot.peer(low), Some(high));
    assert_eq!(snapshot.peer(high), Some(low));
}

#[test]
fn what_could_not_be_seen_is_summed() {
    let mut builder = builder();
    builder.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 2);
    builder.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 3);
    builder.unseen(UnseenWhat::Fill, UnseenWhy::Vanished, 0);
    let snapshot = finish(builder);
    assert_eq!(snapshot.unseen().len(), 1);
    assert_eq!(snapshot.unseen()[0].count, 5);
}
