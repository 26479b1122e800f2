//! Unix sockets.

use rustix::fs::makedev;

use super::netlink::{Attributes, u32_at};
use super::{Reply, SocketMemory, State};

/// Length of `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// Name, file, peer, pending clients, queue lengths, memory, owner (`UDIAG_SHOW_*`).
const SHOW_ALL: u32 = 0x7f;

/// The attributes, by `UNIX_DIAG_*`.
mod attribute {
    pub(super) const NAME: u16 = 0;
    pub(super) const FILE: u16 = 1;
    pub(super) const PEER: u16 = 2;
    pub(super) const PENDING: u16 = 3;
    pub(super) const QUEUES: u16 = 4;
    pub(super) const MEMORY: u16 = 5;
    pub(super) const SHUTDOWN: u16 = 6;
    pub(super) const UID: u16 = 7;
}

/// `struct unix_diag_req` for all sockets in all states.
pub(super) fn request() -> Vec<u8> {
    let family = u8::try_from(libc::AF_UNIX).expect("families are small numbers");
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(SHOW_ALL.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// What a Unix socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnixKind {
    /// Bytes (`SOCK_STREAM`).
    Stream,
    /// Messages, without a connection (`SOCK_DGRAM`).
    Datagram,
    /// Messages over a connection (`SOCK_SEQPACKET`).
    SeqPacket,
}

impl UnixKind {
    pub(super) fn of(number: i32) -> Option<Self> {
        match number {
            libc::SOCK_STREAM => Some(Self::Stream),
            libc::SOCK_DGRAM => Some(Self::Datagram),
            libc::SOCK_SEQPACKET => Some(Self::SeqPacket),
            _ => None,
        }
    }
}

/// A Unix socket, as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixSocket<'a> {
    /// What it carries.
    pub kind: UnixKind,
    /// Where it stands. A datagram socket is connected if it has a `peer`, whatever stands here.
    pub state: State,
    /// Its inode: the number in `socket:[N]`.
    pub inode: u32,
    /// The address it is bound to: a path as it was given to `bind` (relative, perhaps), or a NUL and an abstract name.
    /// What `accept` returns has its listener's. `None` for a socket without a name.
    pub name: Option<&'a [u8]>,
    /// Device (as `st_dev`) and the low 32 bits of the inode of the file it is bound to, if it is bound to a path.
    pub file: Option<(u64, u32)>,
    /// The inode of its peer; 0 if the peer has been closed, or was not accepted yet. `None` without a peer, and if it
    /// was not told.
    pub peer: Option<u32>,
    /// The sockets of the clients that wait to be accepted: of a listener.
    pub pending: PendingClients<'a>,
    /// Bytes that wait to be read; of a datagram socket, of the first message only. Of a listener: how many connections
    /// wait to be accepted.
    pub receive_queue: Option<u32>,
    /// Memory of what it sent and the other side has not received. Of a listener: the most connections that may wait
    /// (as given to `listen`; the kernel lets one more wait).
    pub send_queue: Option<u32>,
    /// The memory of its queues.
    pub memory: Option<SocketMemory>,
    /// Which directions were shut down: reading, writing.
    pub shut: (bool, bool),
    /// The user who made it.
    pub uid: Option<u32>,
}

impl<'a> UnixSocket<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        if i32::from(*body.first()?) != libc::AF_UNIX {
            return None;
        }
        let mut socket = Self::plain(UnixKind::of((*body.get(1)?).into())?, State::of(*body.get(2)?), u32_at(body, 4)?);
        for (number, content) in Attributes(body.get(MESSAGE..)?) {
            match number {
                attribute::NAME => socket.name = name(content),
                attribute::FILE => socket.file = file(content),
                attribute::PEER => socket.peer = u32_at(content, 0),
                attribute::PENDING => socket.pending = PendingClients(content),
                attribute::QUEUES => {
                    (socket.receive_queue, socket.send_queue) = (u32_at(content, 0), u32_at(content, 4));
                }
                attribute::MEMORY => socket.memory = SocketMemory::of(content),
                attribute::SHUTDOWN => {
                    let bits = content.first().copied().unwrap_or_default();
                    socket.shut = (bits & 1 != 0, bits & 2 != 0);
                }
                attribute::UID => socket.uid = u32_at(content, 0),
                _ => {}
            }
        }
        Some(socket)
    }

    /// One of which no more is known.
    pub(super) fn plain(kind: UnixKind, state: State, inode: u32) -> Self {
        Self {
            kind,
            state,
            inode,
            name: None,
            file: None,
            peer: None,
            pending: PendingClients(&[]),
            receive_queue: None,
            send_queue: None,
            memory: None,
            shut: (false, false),
            uid: None,
        }
    }
}

/// An abstract name is as long as it is; a path ends with its NUL.
fn name(content: &[u8]) -> Option<&[u8]> {
    let name = match content.first()? {
        0 => content,
        _ => content.split(|&byte| byte == 0).next()?,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// Inode and device of a file. The kernel tells its own form of the device number, which has 20 bits for the minor one.
fn file(content: &[u8]) -> Option<(u64, u32)> {
    let (inode, device) = (u32_at(content, 0)?, u32_at(content, 4)?);
    Some((makedev(device >> 20, device & 0xf_ffff), inode))
}

/// The inodes of the clients that wait at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingClients<'a>(&'a [u8]);

impl<'a> PendingClients<'a> {
    /// One after the other, the longest waiting first; 0 for a client that has gone.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).filter_map(|bytes| u32_at(bytes, 0))
    }
}

/// All Unix sockets of a network namespace.
#[derive(Debug)]
pub struct UnixDump {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Netlink(Reply),
    /// A file `unix` of `/proc/PID/net`.
    Text(Vec<u8>),
}

impl UnixDump {
    pub(super) fn new(reply: Reply) -> Self {
        Self { source: Source::Netlink(reply) }
    }

    pub(super) fn of_text(text: Vec<u8>) -> Self {
        Self { source: Source::Text(text) }
    }

    /// The sockets, read from the kernel's bytes one by one.
    pub fn iter(&self) -> impl Iterator<Item = UnixSocket<'_>> {
        let (reply, text) = match &self.source {
            Source::Netlink(reply) => (Some(reply), None),
            Source::Text(text) => (None, Some(text)),
        };
        let from_netlink = reply.into_iter().flat_map(Reply::bodies).filter_map(UnixSocket::of);
        from_netlink.chain(text.into_iter().flat_map(|text| super::proc_net::unix_lines(text)))
    }

    /// Whether the peers, the queues and the owners were told: not by `/proc`.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        matches!(self.source, Source::Netlink(_))
    }

    /// Whether the kernel gave a consistent picture; if it did not, sockets may be missing or be there twice.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        match &self.source {
            Source::Netlink(reply) => reply.is_consistent,
            Source::Text(_) => true,
        }
    }
}
