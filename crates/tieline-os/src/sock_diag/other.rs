//! Sockets of the rarer families.

use super::netlink::u32_at;
use super::{Reply, State};

/// `struct vsock_diag_req` for all sockets in all states.
pub(super) fn vsock_request() -> Vec<u8> {
    let family = u8::try_from(libc::AF_VSOCK).expect("families are small numbers");
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend([0; 16]);
    bytes
}

/// A socket between a virtual machine and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VsockSocket {
    /// Where it stands.
    pub state: State,
    /// Its inode: the number in `socket:[N]`; 0 for one that no process has.
    pub inode: u32,
    /// Its own context id and port.
    pub local: (u32, u32),
    /// The peer's; numbers without meaning if it is not connected.
    pub remote: (u32, u32),
}

impl VsockSocket {
    fn of(body: &[u8]) -> Option<Self> {
        if i32::from(*body.first()?) != libc::AF_VSOCK {
            return None;
        }
        Some(Self {
            state: State::of(*body.get(2)?),
            local: (u32_at(body, 4)?, u32_at(body, 8)?),
            remote: (u32_at(body, 12)?, u32_at(body, 16)?),
            inode: u32_at(body, 20)?,
        })
    }
}

/// All vsock sockets of the machine.
#[derive(Debug)]
pub struct VsockDump {
    reply: Reply,
}

impl VsockDump {
    pub(super) fn new(reply: Reply) -> Self {
        Self { reply }
    }

    /// The sockets, read from the kernel's bytes one by one.
    pub fn iter(&self) -> impl Iterator<Item = VsockSocket> {
        self.reply.bodies().filter_map(VsockSocket::of)
    }

    /// Whether the kernel gave a consistent picture.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.reply.is_consistent
    }
}

/// A socket of which little more than its inode and its protocol is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlainSocket {
    /// Its inode: the number in `socket:[N]`.
    pub inode: u64,
    /// Family and protocol in the kernel's words, as `NETLINK_ROUTE`, `PACKET`, `RAW`.
    pub protocol: &'static str,
    /// The user who made it, where that is told.
    pub uid: Option<u32>,
    /// Memory of what waits to be read, in bytes.
    pub receive_queue: Option<u64>,
}
