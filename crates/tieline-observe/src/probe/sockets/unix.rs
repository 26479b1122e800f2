//! Unix sockets: peers, one-way senders, clients that wait at a listener.

use tieline_os::sock_diag::{State, UnixDump, UnixKind, UnixSocket as Told};

use super::bound_file::Root;
use super::{owner, socket_object};
use crate::model::{Builder, Detail, Fill, Identity, Kind, LinkKind, ObjectRef, SocketState, Text, Unit, UnixSocket};

/// The sockets of all namespaces, to be joined when all are known: a path connects across network namespaces.
#[derive(Default)]
pub(super) struct Sockets {
    connected: Vec<Connected>,
    pending: Vec<Pending>,
}

/// A socket that has a peer.
struct Connected {
    inode: u32,
    peer: u32,
    object: ObjectRef,
    kind: Kind,
    /// Memory of what it sent and the peer has not read, and the most.
    sent: Option<(u32, u32)>,
}

/// A client that waits at a listener.
struct Pending {
    client: u32,
    listener: ObjectRef,
    kind: Kind,
}

impl Sockets {
    /// Adds the sockets of one namespace and answers how many there are. Paths are looked up in `root`.
    pub(super) fn add(&mut self, builder: &mut Builder, namespace: u64, dump: &UnixDump, root: &Root) -> u64 {
        let mut count = 0;
        for told in dump.iter() {
            count += 1;
            let object = self.add_one(builder, namespace, &told);
            if let Some(file) = root.file_of(&told) {
                let object = builder.object_mut(object);
                object.owner = Some(file.owner);
                object.mode = Some(file.mode);
                if let Detail::Unix(detail) = &mut object.detail {
                    detail.file = Some((file.device, file.inode));
                }
            }
        }
        count
    }

    fn add_one(&mut self, builder: &mut Builder, namespace: u64, told: &Told<'_>) -> ObjectRef {
        let kind = match told.kind {
            UnixKind::Stream => Kind::UnixStream,
            UnixKind::Datagram => Kind::UnixDatagram,
            UnixKind::SeqPacket => Kind::UnixSeqpacket,
        };
        let reference = socket_object(builder, told.inode.into(), kind, namespace);
        let peer = told.peer.filter(|&peer| peer != 0);
        if let Some(peer) = peer {
            let sent = told.memory.map(|memory| (memory.send_used, memory.send_max));
            self.connected.push(Connected { inode: told.inode, peer, object: reference, kind, sent });
        }
        let pending = told.pending.iter().filter(|&client| client != 0);
        self.pending.extend(pending.map(|client| Pending { client, listener: reference, kind }));
        let object = builder.object_mut(reference);
        object.name = told.name.map(name);
        object.owner = told.uid.map(owner);
        object.fill = fill(told);
        object.detail = Detail::Unix(detail(told, peer));
        reference
    }

    /// Draws the lines between them. A peer that was not listed is made up only if something was left out: else it has
    /// been closed meanwhile.
    pub(super) fn join(mut self, builder: &mut Builder, is_complete: bool) {
        self.connected.sort_unstable_by_key(|socket| socket.inode);
        for socket in &self.connected {
            let peer = self.with_inode(socket.peer);
            let object = match builder.find(Identity::Socket { inode: socket.peer.into() }) {
                Some(object) => object,
                None if is_complete => continue,
                None => builder.object(Identity::Socket { inode: socket.peer.into() }, socket.kind),
            };
            let is_mutual = socket.kind != Kind::UnixDatagram || peer.is_some_and(|peer| peer.peer == socket.inode);
            builder.link(socket.object, object, if is_mutual { LinkKind::Peer } else { LinkKind::SendsTo });
            // Who writes waits for room in its own account, not in the reader's.
            if let Some((used, capacity)) = peer.filter(|_| is_mutual).and_then(|peer| peer.sent) {
                let fill = Fill { used: used.into(), capacity: Some(capacity.into()), unit: Unit::Bytes };
                builder.object_mut(socket.object).fill = Some(fill);
            }
        }
        for pending in &self.pending {
            let client = match builder.find(Identity::Socket { inode: pending.client.into() }) {
                Some(client) => client,
                None if is_complete => continue,
                None => builder.object(Identity::Socket { inode: pending.client.into() }, pending.kind),
            };
            builder.link(client, pending.listener, LinkKind::Pending);
        }
    }

    fn with_inode(&self, inode: u32) -> Option<&Connected> {
        let place = self.connected.binary_search_by_key(&inode, |socket| socket.inode).ok()?;
        Some(&self.connected[place])
    }
}

/// A path as it is; an abstract name with `@` in place of its first NUL.
fn name(name: &[u8]) -> Text {
    match name.split_first() {
        Some((0, rest)) => Text::from([b"@", rest].concat()),
        _ => Text::from(name),
    }
}

/// What is known without the peer: the queue of a listener, or bytes without a bound.
fn fill(told: &Told<'_>) -> Option<Fill> {
    let used = told.receive_queue?.into();
    match (told.state, told.kind) {
        (State::Listen, _) => Some(Fill { used, capacity: told.send_queue.map(u64::from), unit: Unit::Connections }),
        // The kernel tells the first message only.
        (_, UnixKind::Datagram) => None,
        _ => Some(Fill { used, capacity: None, unit: Unit::Bytes }),
    }
}

fn detail(told: &Told<'_>, peer: Option<u32>) -> UnixSocket {
    let is_listener = told.state == State::Listen;
    let (receive, send) = (told.receive_queue.unwrap_or_default(), told.send_queue.unwrap_or_default());
    UnixSocket {
        state: state(told),
        file: told.file.map(|(device, inode)| (device, inode.into())),
        peer: peer.map(u64::from),
        receive_queue: if is_listener { 0 } else { receive.into() },
        send_queue: if is_listener { 0 } else { send.into() },
        backlog: (is_listener && told.receive_queue.is_some()).then_some((receive, send)),
        in_flight: 0,
        shut: told.shut,
    }
}

/// The peer's inode is 0 in two cases: it has been closed, which shuts both directions, or it was not accepted yet.
fn state(told: &Told<'_>) -> SocketState {
    match (told.kind, told.state, told.peer) {
        (_, State::Listen, _) => SocketState::Listening,
        (UnixKind::Datagram, _, Some(1..)) => SocketState::Connected,
        (UnixKind::Datagram, ..) => SocketState::Unconnected,
        (_, State::Established, Some(0)) if told.shut == (true, true) => SocketState::Closing,
        (_, State::Established, Some(0)) => SocketState::Connecting,
        (_, State::Established, _) => SocketState::Connected,
        (_, State::SynSent, _) => SocketState::Connecting,
        _ => SocketState::Unconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn an_abstract_name_keeps_every_byte_but_the_first() {
        assert_eq!(name(b"\0a\0b\n").as_bytes(), b"@a\0b\n");
        assert_eq!(name(b"/run/x").as_bytes(), b"/run/x");
        assert_eq!(name(b"\0").as_bytes(), b"@");
    }
}
