//! Sockets of every network namespace: who is connected to whom, how much waits, where they are bound.
//!
//! The kernel lists them by inode, not by process; who holds them is found by the descriptors probe under the same
//! [identity](crate::model::Identity). Listing loads no module of the kernel that is not there for programs that use
//! such sockets: the rarer families are read from `/proc`.

mod bound_file;
mod inet;
mod unix;

use tieline_os::sock_diag::{InetDump, Monitor, PlainSocket, UnixDump, VsockSocket, proc_net};

use super::elsewhere::{Place, places, why};
use crate::model::{
    Builder, Detail, Identity, Kind, LinkKind, NamespaceKind, ObjectRef, OtherSocket, Owner, Text, UnseenWhat,
    UnseenWhy,
};

pub(crate) fn look(builder: &mut Builder) {
    let mut unix = unix::Sockets::default();
    let mut inet = inet::Sockets::default();
    let mut is_complete = true;
    for place in places(builder, NamespaceKind::Net) {
        match ask(&place) {
            Ok(answers) => {
                place.listed(builder, NamespaceKind::Net);
                add(builder, &place, &answers, &mut unix, &mut inet);
            }
            Err(reason) => {
                is_complete = false;
                place.not_listed(builder, NamespaceKind::Net);
                builder.unseen(UnseenWhat::NetNamespaces, reason, 1);
            }
        }
    }
    unix.join(builder, is_complete);
    inet.join(builder);
}

/// What one network namespace told. A family that the kernel does not have told nothing.
struct Answers {
    unix: Option<UnixDump>,
    tcp: Option<InetDump>,
    udp: Option<InetDump>,
    others: Vec<PlainSocket>,
    vsock: Vec<VsockSocket>,
    /// Where the paths of its programs begin.
    root: bound_file::Root,
    /// Why there were only the files of `/proc`.
    without_monitor: Option<UnseenWhy>,
}

fn ask(place: &Place) -> Result<Answers, UnseenWhy> {
    let inhabitant = place.inhabitant(NamespaceKind::Net).ok_or(UnseenWhy::Vanished);
    // Before there is a socket of our own to be seen.
    let others = inhabitant.as_ref().map_or(Ok(Vec::new()), |&pid| proc_net::others(pid));
    let root = inhabitant.map_or_else(|_| bound_file::Root::unknown(), bound_file::Root::of_process);
    // Opened in the namespace, asked from here.
    let monitor = place.run(NamespaceKind::Net, Monitor::open).and_then(|opened| opened.map_err(|error| why(&error)));
    match monitor {
        Ok(mut monitor) => Ok(Answers {
            unix: monitor.unix().ok().or_else(|| proc_net::unix(inhabitant.ok()?).ok()),
            tcp: if has_tcp(inhabitant.ok()) {
                monitor.tcp().ok().or_else(|| proc_net::tcp(inhabitant.ok()?).ok())
            } else {
                None
            },
            udp: monitor.udp().ok().or_else(|| proc_net::udp(inhabitant.ok()?).ok()),
            others: others.unwrap_or_default(),
            vsock: if place.is_own { vsock(&mut monitor) } else { Vec::new() },
            root,
            without_monitor: None,
        }),
        Err(reason) => {
            let pid = inhabitant?;
            let others = others.map_err(|error| why(&error))?;
            Ok(Answers {
                unix: proc_net::unix(pid).ok(),
                tcp: proc_net::tcp(pid).ok(),
                udp: proc_net::udp(pid).ok(),
                others,
                vsock: Vec::new(),
                root,
                without_monitor: Some(reason),
            })
        }
    }
}

/// Whether the search for TCP sockets, which costs the same for none as for some, would find any.
fn has_tcp(inhabitant: Option<u32>) -> bool {
    inhabitant.and_then(|pid| proc_net::tcp_sockets(pid).ok()).is_none_or(|count| count > 0)
}

/// Asks for vsock sockets only where there may be some, since asking loads the kernel's module for it.
fn vsock(monitor: &mut Monitor) -> Vec<VsockSocket> {
    let is_there = std::fs::read_to_string("/proc/net/protocols")
        .is_ok_and(|protocols| protocols.lines().any(|line| line.starts_with("AF_VSOCK ")));
    let dump = if is_there { monitor.vsock().ok() } else { None };
    dump.map(|dump| dump.iter().collect()).unwrap_or_default()
}

fn add(builder: &mut Builder, place: &Place, answers: &Answers, unix: &mut unix::Sockets, inet: &mut inet::Sockets) {
    if let Some(dump) = &answers.unix {
        let count = unix.add(builder, place.inode, dump, &answers.root);
        if !dump.has_peers() {
            let reason = answers.without_monitor.unwrap_or(UnseenWhy::NotSupported);
            builder.unseen(UnseenWhat::Sockets, reason, count);
        }
    }
    let dumps = [&answers.tcp, &answers.udp].into_iter().flatten().map(InetDump::is_consistent);
    let moved = dumps.chain(answers.unix.iter().map(UnixDump::is_consistent)).filter(|is_consistent| !is_consistent);
    builder.unseen(UnseenWhat::Sockets, UnseenWhy::Vanished, moved.count() as u64);
    if let Some(dump) = &answers.tcp {
        inet.add(builder, place.inode, Kind::Tcp, dump);
    }
    if let Some(dump) = &answers.udp {
        inet.add(builder, place.inode, Kind::Udp, dump);
    }
    for socket in &answers.others {
        let object = socket_object(builder, socket.inode, Kind::OtherSocket, place.inode);
        let object = builder.object_mut(object);
        object.owner = socket.uid.map(owner);
        object.detail = Detail::Socket(OtherSocket { protocol: Text::from(socket.protocol) });
    }
    add_vsock(builder, place.inode, &answers.vsock);
}

fn add_vsock(builder: &mut Builder, namespace: u64, sockets: &[VsockSocket]) {
    let held = || sockets.iter().filter(|socket| socket.inode != 0);
    for socket in held() {
        let reference = socket_object(builder, socket.inode.into(), Kind::Vsock, namespace);
        let object = builder.object_mut(reference);
        object.name = Some(Text::from(format!("{}:{}", socket.local.0, socket.local.1)));
        object.detail = Detail::Socket(OtherSocket { protocol: Text::from("VSOCK") });
        let is_peer = |other: &&VsockSocket| other.local == socket.remote && other.remote == socket.local;
        if let Some(peer) = held().find(is_peer).filter(|peer| peer.inode != socket.inode) {
            let peer = socket_object(builder, peer.inode.into(), Kind::Vsock, namespace);
            builder.link(reference, peer, LinkKind::Peer);
        }
    }
}

fn socket_object(builder: &mut Builder, inode: u64, kind: Kind, namespace: u64) -> ObjectRef {
    let reference = builder.object(Identity::Socket { inode }, kind);
    builder.object_mut(reference).namespace = Some(namespace);
    reference
}

/// A socket's user. The kernel does not tell a group.
fn owner(uid: u32) -> Owner {
    Owner { uid, gid: Owner::NO_GROUP }
}
