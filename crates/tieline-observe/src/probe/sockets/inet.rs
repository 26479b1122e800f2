//! TCP and UDP sockets: the two ends of a connection within this machine are joined by their addresses.

use std::net::{IpAddr, SocketAddr};

use tieline_os::sock_diag::{InetDump, InetSocket as Told, State};

use super::{owner, socket_object};
use crate::model::{Builder, Detail, Fill, InetSocket, Kind, LinkKind, ObjectRef, SocketState, Unit};

/// The sockets of all namespaces, to be joined when all are known.
#[derive(Default)]
pub(super) struct Sockets {
    connected: Vec<End>,
    /// Connections that were not accepted yet: no process has them.
    unaccepted: Vec<End>,
    /// TCP listeners, and UDP sockets without a fixed peer.
    bound: Vec<Bound>,
}

/// One end of a connection. Addresses of IPv4 within IPv6 are written as those of IPv4, as the other end has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    kind: Kind,
    local: SocketAddr,
    remote: SocketAddr,
    namespace: u64,
    /// None for a connection that was not accepted.
    object: Option<ObjectRef>,
}

struct Bound {
    kind: Kind,
    local: SocketAddr,
    namespace: u64,
    object: ObjectRef,
}

impl Sockets {
    pub(super) fn add(&mut self, builder: &mut Builder, namespace: u64, kind: Kind, dump: &InetDump) {
        for told in dump.iter() {
            self.add_one(builder, namespace, kind, &told);
        }
    }

    fn add_one(&mut self, builder: &mut Builder, namespace: u64, kind: Kind, told: &Told) {
        let local = canonical(told.local);
        let remote = told.remote.map(canonical);
        if told.inode == 0 {
            if let Some(remote) = remote.filter(|_| told.state == State::Established) {
                self.unaccepted.push(End { kind, local, remote, namespace, object: None });
            }
            return;
        }
        let reference = socket_object(builder, told.inode.into(), kind, namespace);
        match remote {
            Some(remote) => self.connected.push(End { kind, local, remote, namespace, object: Some(reference) }),
            None if local.port() != 0 => self.bound.push(Bound { kind, local, namespace, object: reference }),
            None => {}
        }
        let object = builder.object_mut(reference);
        object.owner = Some(owner(told.uid));
        object.fill = fill(told);
        object.detail = Detail::Inet(detail(told));
    }

    /// Draws the lines between them.
    pub(super) fn join(mut self, builder: &mut Builder) {
        self.connected.sort_unstable();
        self.bound.sort_unstable_by_key(Bound::port);
        for end in &self.connected {
            let Some(object) = end.object else { continue };
            if let Some(other) = self.other_end(end).filter(|&other| other != object) {
                builder.link(object, other, LinkKind::Peer);
            } else if let Some(receiver) = self.receiver(end) {
                builder.link(object, receiver, LinkKind::SendsTo);
            }
        }
        for end in &self.unaccepted {
            if let (Some(client), Some(listener)) = (self.other_end(end), self.listener(end)) {
                builder.link(client, listener, LinkKind::Pending);
            }
        }
    }

    /// The socket whose addresses are those of `end` the other way round: in the same namespace, or in another one if
    /// the addresses mean the same there and only one socket has them.
    fn other_end(&self, end: &End) -> Option<ObjectRef> {
        let others = self.between(end.kind, end.remote, end.local);
        if let Some(near) = others.iter().find(|other| other.namespace == end.namespace) {
            return near.object;
        }
        let [far] = others else { return None };
        let is_unique = end.object.is_none() || self.between(end.kind, end.local, end.remote).len() == 1;
        if is_unique && !is_private(end) { far.object } else { None }
    }

    fn between(&self, kind: Kind, local: SocketAddr, remote: SocketAddr) -> &[End] {
        let key = |end: &End| (end.kind, end.local, end.remote);
        let start = self.connected.partition_point(|end| key(end) < (kind, local, remote));
        let end = self.connected.partition_point(|end| key(end) <= (kind, local, remote));
        &self.connected[start..end]
    }

    /// The one UDP socket that takes what `end` sends, if both are in one namespace and the address is surely its own.
    fn receiver(&self, end: &End) -> Option<ObjectRef> {
        if end.kind != Kind::Udp || !(end.remote.ip().is_loopback() || end.remote.ip() == end.local.ip()) {
            return None;
        }
        let mut takers = self.bound_to(end.remote, end);
        let first = takers.next()?;
        takers.next().is_none().then_some(first.object)
    }

    /// The listener that the unaccepted connection came to.
    fn listener(&self, end: &End) -> Option<ObjectRef> {
        self.bound_to(end.local, end).next().map(|bound| bound.object)
    }

    /// The sockets that take what comes to `address` in the namespace of `end`.
    fn bound_to(&self, address: SocketAddr, end: &End) -> impl Iterator<Item = &Bound> {
        let port = (end.kind, end.namespace, address.port());
        let start = self.bound.partition_point(|bound| bound.port() < port);
        let of_port = self.bound[start..].iter().take_while(move |bound| bound.port() == port);
        of_port.filter(move |bound| takes(bound.local.ip(), address))
    }
}

impl Bound {
    fn port(&self) -> (Kind, u64, u16) {
        (self.kind, self.namespace, self.local.port())
    }
}

/// Whether a socket bound to `ip` takes what comes to `address`.
fn takes(ip: IpAddr, address: SocketAddr) -> bool {
    ip == address.ip() || ip == IpAddr::from([0; 16]) || (ip == IpAddr::from([0; 4]) && address.is_ipv4())
}

/// Whether the addresses mean other sockets in other namespaces.
fn is_private(end: &End) -> bool {
    let (local, remote) = (end.local.ip(), end.remote.ip());
    local.is_loopback() || remote.is_loopback() || local == remote
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn fill(told: &Told) -> Option<Fill> {
    if told.state == State::Listen {
        // `/proc` does not tell the backlog, nor memory.
        let capacity = told.memory.map(|_| told.send_queue.into());
        return Some(Fill { used: told.receive_queue.into(), capacity, unit: Unit::Connections });
    }
    // What fills is memory, overhead included; bytes alone would never reach the bound.
    Some(match told.memory {
        Some(memory) => {
            Fill { used: memory.receive_used.into(), capacity: Some(memory.receive_max.into()), unit: Unit::Bytes }
        }
        None => Fill { used: told.receive_queue.into(), capacity: None, unit: Unit::Bytes },
    })
}

fn detail(told: &Told) -> InetSocket {
    let tcp = told.tcp.filter(|_| told.state != State::Listen);
    InetSocket {
        state: match told.state {
            State::Listen => SocketState::Listening,
            State::Established => SocketState::Connected,
            State::SynSent | State::SynReceived => SocketState::Connecting,
            State::Close => SocketState::Unconnected,
            _ => SocketState::Closing,
        },
        local: told.local,
        remote: told.remote,
        receive_queue: told.receive_queue.into(),
        send_queue: told.send_queue.into(),
        acknowledged_bytes: tcp.map(|tcp| tcp.acknowledged_bytes),
        received_bytes: tcp.map(|tcp| tcp.received_bytes),
        rtt_us: tcp.map(|tcp| tcp.rtt_us),
    }
}
