//! TCP and UDP sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::netlink::{Attributes, u16_of_network, u32_at, u64_at};
use super::{Reply, SocketMemory, State};

/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// `AF_INET` and `AF_INET6`.
pub(super) const V4: u8 = 2;
pub(super) const V6: u8 = 10;

/// `INET_DIAG_INFO` and `INET_DIAG_SKMEMINFO`.
const TCP_INFO: u16 = 2;
const MEMORY: u16 = 7;

/// The bits that ask for both.
const TCP_EXTENSIONS: u8 = 1 << (TCP_INFO - 1) | 1 << (MEMORY - 1);

/// Length of `struct inet_diag_sockid`; all zero for any socket.
const SOCKET_ID: usize = 48;

/// `TIME_WAIT`, and requests that have no socket yet.
const NOT_ASKED_FOR: u32 = 1 << 6 | 1 << 3 | 1 << 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// `struct inet_diag_req_v2` for all sockets of a family.
pub(super) fn request(family: u8, protocol: Protocol) -> Vec<u8> {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let extensions = match protocol {
        Protocol::Tcp => TCP_EXTENSIONS,
        Protocol::Udp => 1 << (MEMORY - 1),
    };
    let mut bytes = vec![family, u8::try_from(number).expect("protocols are small numbers"), extensions, 0];
    bytes.extend((!NOT_ASKED_FOR).to_ne_bytes());
    bytes.extend([0; SOCKET_ID]);
    bytes
}

/// `struct inet_diag_req` for all TCP sockets, of whichever family.
pub(super) fn request_for_both_families() -> Vec<u8> {
    let mut bytes = vec![V4, 0, 0, TCP_EXTENSIONS];
    bytes.extend([0; SOCKET_ID]);
    bytes.extend((!NOT_ASKED_FOR).to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// A TCP or UDP socket, as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InetSocket {
    /// Where it stands. A UDP socket with a fixed peer is `Established`, else `Close`.
    pub state: State,
    /// Its own address. A socket of IPv6 that carries IPv4 has an address like `[::ffff:127.0.0.1]`.
    pub local: SocketAddr,
    /// The peer's address; `None` without a peer.
    pub remote: Option<SocketAddr>,
    /// Its inode: the number in `socket:[N]`; 0 for one that no process has (any more, or yet: a connection that was not
    /// accepted).
    pub inode: u32,
    /// The user who made it.
    pub uid: u32,
    /// Bytes that wait to be read. Of a listener: connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that were sent and not acknowledged. Of a listener: the most connections that may wait (as given to
    /// `listen`; the kernel lets one more wait).
    pub send_queue: u32,
    /// The memory of its queues, if it was told.
    pub memory: Option<SocketMemory>,
    /// What only TCP counts, if it was told.
    pub tcp: Option<TcpFigures>,
}

/// What TCP counts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
#[doc(alias = "tcp_info")]
pub struct TcpFigures {
    /// Smoothed round-trip time in microseconds; 0 before the first measurement.
    pub rtt_us: u32,
    /// Bytes that the peer has acknowledged.
    pub acknowledged_bytes: u64,
    /// Bytes that came.
    pub received_bytes: u64,
}

impl TcpFigures {
    /// Reads a `struct tcp_info`, of which old kernels tell less.
    fn of(content: &[u8]) -> Option<Self> {
        Some(Self {
            rtt_us: u32_at(content, 68)?,
            acknowledged_bytes: u64_at(content, 120)?,
            received_bytes: u64_at(content, 128)?,
        })
    }
}

impl InetSocket {
    fn of(body: &[u8]) -> Option<Self> {
        let family = *body.first()?;
        let scope = u32_at(body, 40)?;
        let local = address(family, body.get(8..24)?, u16_of_network(body, 4)?, scope)?;
        let remote = address(family, body.get(24..40)?, u16_of_network(body, 6)?, scope)?;
        let mut socket = Self {
            state: State::of(*body.get(1)?),
            local,
            remote: Some(remote).filter(|remote| remote.port() != 0),
            receive_queue: u32_at(body, 56)?,
            send_queue: u32_at(body, 60)?,
            uid: u32_at(body, 64)?,
            inode: u32_at(body, 68)?,
            memory: None,
            tcp: None,
        };
        for (number, content) in Attributes(body.get(MESSAGE..)?) {
            match number {
                TCP_INFO => socket.tcp = TcpFigures::of(content),
                MEMORY => socket.memory = SocketMemory::of(content),
                _ => {}
            }
        }
        Some(socket)
    }
}

/// An address of 16 bytes, of which IPv4 takes the first four. The device number is part of it only where an address
/// means another host on each link.
fn address(family: u8, bytes: &[u8], port: u16, device: u32) -> Option<SocketAddr> {
    match family {
        V4 => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)), port)),
        V6 => {
            let address = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
            let scope = if address.is_unicast_link_local() { device } else { 0 };
            Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
        }
        _ => None,
    }
}

/// All TCP or UDP sockets of a network namespace.
#[derive(Debug)]
pub struct InetDump {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Netlink {
        reply: Reply,
        has_figures: bool,
    },
    /// Files such as `tcp` and `tcp6` of `/proc/PID/net`.
    Text(Vec<Vec<u8>>),
}

impl InetDump {
    pub(super) fn of_netlink(reply: Reply, protocol: Protocol) -> Self {
        Self { source: Source::Netlink { reply, has_figures: protocol == Protocol::Tcp } }
    }

    pub(super) fn of_text(texts: Vec<Vec<u8>>) -> Self {
        Self { source: Source::Text(texts) }
    }

    /// The sockets, read from the kernel's bytes one by one.
    pub fn iter(&self) -> impl Iterator<Item = InetSocket> {
        let (reply, has_figures, texts) = match &self.source {
            Source::Netlink { reply, has_figures } => (Some(reply), *has_figures, [].as_slice()),
            Source::Text(texts) => (None, false, texts.as_slice()),
        };
        let from_netlink = reply.into_iter().flat_map(Reply::bodies).filter_map(InetSocket::of).map(move |socket| {
            // The same number means other things for other protocols.
            let tcp = socket.tcp.filter(|_| has_figures);
            InetSocket { tcp, ..socket }
        });
        from_netlink.chain(texts.iter().flat_map(|text| super::proc_net::inet_lines(text)))
    }

    /// Whether the kernel gave a consistent picture; if it did not, sockets may be missing or be there twice.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        match &self.source {
            Source::Netlink { reply, .. } => reply.is_consistent,
            Source::Text(_) => true,
        }
    }
}
