//! Socket monitoring: every socket of a network namespace, whoever has it, with its peer, its queues and its address.
//!
//! A [`Monitor`] asks the kernel over netlink (`sock_diag`) and gets the sockets of one family in a few large answers: a
//! dump of thousands costs some milliseconds, and no privilege. It does not say which *process* has a socket; that is
//! found by the inode, which stands in `/proc/PID/fd` as `socket:[N]`.
//!
//! | | from a [`Monitor`] | from [`proc_net`] |
//! |---|---|---|
//! | Unix sockets | with peer, queues, backlog, pending clients, file, owner | without them |
//! | TCP | with memory, bytes and round-trip time | without them |
//! | UDP | with memory | without |
//! | netlink, packet, raw | - | what they are |
//! | vsock | addresses | - |
//!
//! The second is for kernels and sandboxes without the first, and for namespaces that may not be entered: it reads the
//! files of `/proc/PID/net`, which are open to everybody.
//!
//! **The invariant: nothing that the kernel answers is trusted for a length**, and whatever the bytes, the result is
//! sockets or none. Names are any bytes: an abstract name may hold NULs, line ends and escapes.
//!
//! A dump is no photograph: sockets that come, go or move in the table meanwhile may be left out or told twice.
//!
//! See `sock_diag(7)`, netlink(7), `proc_pid_net(5)`.

mod inet;
mod netlink;
mod other;
pub mod proc_net;
#[cfg(test)]
mod tests;
mod unix;

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

pub use inet::{InetDump, InetSocket, TcpFigures};
pub use other::{PlainSocket, VsockDump, VsockSocket};
pub use unix::{PendingClients, UnixDump, UnixKind, UnixSocket};

use crate::error::{During, Error, ErrorKind, Result};
use netlink::Messages;

const OPEN: &str = "open socket monitoring";
const DUMP: &str = "list sockets";

/// The two forms of a question: `SOCK_DIAG_BY_FAMILY`, and the older `TCPDIAG_GETSOCK`.
const BY_FAMILY: u16 = 20;
const BOTH_FAMILIES_OF_TCP: u16 = 18;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x1 | 0x300;

/// The kernel fills at most this much of an answer at once.
const ANSWER_BYTES: usize = 32 * 1024;

/// The kernel answers at once, whatever it answers. A wait beyond this is a fault, and better told than endless.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a dump that the kernel calls inconsistent is asked for again, before it is taken as it is.
const ATTEMPTS_MAX: usize = 4;

/// More than a dump can hold: a socket takes more memory in the kernel than here, and no machine has so many.
const DUMP_BYTES_MAX: usize = 4 << 30;

/// A connection to the kernel's socket monitoring, for the network namespace of the thread that opened it.
///
/// It may be handed to a thread in another namespace and goes on telling of the one where it was opened.
///
/// ```
/// use tieline_os::sock_diag::Monitor;
///
/// let (ours, _theirs) = tieline_os::unix::Stream::pair()?;
/// match Monitor::open().and_then(|mut monitor| monitor.unix()) {
///     Ok(dump) => assert!(dump.iter().any(|socket| socket.peer.is_some())),
///     Err(error) => assert!(error.is_unsupported()),
/// }
/// # drop(ours);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "NETLINK_SOCK_DIAG")]
pub struct Monitor {
    fd: OwnedFd,
    sequence: u32,
}

impl Monitor {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// `Unsupported`: the kernel has no socket monitoring, or a sandbox hides it; read [`proc_net`] instead.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let family = AddressFamily::NETLINK;
        let protocol = rustix::net::netlink::SOCK_DIAG;
        let fd = rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol)).map_err(|errno| {
            let error = Error::new(OPEN, errno);
            // What a system call filter answers for a family that it does not allow.
            if error.kind() == ErrorKind::PermissionDenied { error.sorted_as(ErrorKind::Unsupported) } else { error }
        })?;
        // From now on the socket takes messages from the kernel and from nobody else.
        rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0)).during(OPEN)?;
        rustix::net::sockopt::set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE)).during(OPEN)?;
        Ok(Self { fd, sequence: 0 })
    }

    /// All Unix sockets.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks the module `unix_diag`; `LimitReached`, `OutOfMemory`.
    #[doc(alias = "unix_diag")]
    pub fn unix(&mut self) -> Result<UnixDump> {
        self.dump(BY_FAMILY, &unix::request()).map(UnixDump::new)
    }

    /// All TCP sockets over IPv4 and IPv6, except those that only wait for stray packets (`TIME_WAIT`).
    ///
    /// The kernel searches the one table of all namespaces for them, which takes about a millisecond even if there are
    /// none: [`proc_net::tcp_sockets`] tells that beforehand.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks the module `tcp_diag`; `LimitReached`, `OutOfMemory`.
    #[doc(alias = "inet_diag")]
    pub fn tcp(&mut self) -> Result<InetDump> {
        // The older question has both families answered by one search.
        match self.dump(BOTH_FAMILIES_OF_TCP, &inet::request_for_both_families()) {
            Err(error) if error.is_unsupported() => self.inet(inet::Protocol::Tcp),
            reply => reply.map(|reply| InetDump::of_netlink(reply, inet::Protocol::Tcp)),
        }
    }

    /// All UDP sockets over IPv4 and IPv6.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks the module `udp_diag`; `LimitReached`, `OutOfMemory`.
    pub fn udp(&mut self) -> Result<InetDump> {
        self.inet(inet::Protocol::Udp)
    }

    fn inet(&mut self, protocol: inet::Protocol) -> Result<InetDump> {
        let mut reply = self.dump(BY_FAMILY, &inet::request(inet::V4, protocol))?;
        // A machine may have IPv6 switched off.
        match self.dump(BY_FAMILY, &inet::request(inet::V6, protocol)) {
            Ok(more) => reply.append(more),
            Err(error) if error.is_unsupported() => {}
            Err(error) => return Err(error),
        }
        Ok(InetDump::of_netlink(reply, protocol))
    }

    /// All sockets between virtual machines and their host.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks the module `vsock_diag`.
    #[doc(alias = "vsock_diag")]
    pub fn vsock(&mut self) -> Result<VsockDump> {
        self.dump(BY_FAMILY, &other::vsock_request()).map(VsockDump::new)
    }

    /// Asks, and gathers the answers.
    fn dump(&mut self, kind: u16, request: &[u8]) -> Result<Reply> {
        let mut attempt = 1;
        loop {
            let reply = self.dump_once(kind, request)?;
            if reply.is_consistent || attempt == ATTEMPTS_MAX {
                return Ok(reply);
            }
            attempt += 1;
        }
    }

    fn dump_once(&mut self, kind: u16, request: &[u8]) -> Result<Reply> {
        self.sequence = self.sequence.wrapping_add(1);
        let len = u32::try_from(netlink::HEADER + request.len()).expect("requests are short");
        let mut message = Vec::with_capacity(netlink::HEADER + request.len());
        message.extend(len.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(REQUEST_DUMP.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(request);
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &message, SendFlags::empty())).during(DUMP)?;

        let mut reply = Reply { bytes: Vec::new(), is_consistent: true };
        loop {
            let start = reply.bytes.len();
            if start > DUMP_BYTES_MAX || reply.bytes.try_reserve(ANSWER_BYTES).is_err() {
                return Err(Error::new(DUMP, Errno::NOMEM));
            }
            let (_, len) = rustix::io::retry_on_intr(|| {
                let room = rustix::buffer::spare_capacity(&mut reply.bytes);
                rustix::net::recv(&self.fd, room, RecvFlags::TRUNC)
            })
            .map_err(|errno| Error::new(DUMP, if errno == Errno::AGAIN { Errno::TIMEDOUT } else { errno }))?;
            if len > reply.bytes.len() - start {
                return Err(
                    Error::new(DUMP, Errno::MSGSIZE).hint("the kernel's answer is longer than it says it can be")
                );
            }
            reply.bytes.resize(reply.bytes.len().next_multiple_of(netlink::ALIGNMENT), 0);
            for message in Messages(&reply.bytes[start..]).filter(|message| message.sequence == self.sequence) {
                reply.is_consistent &= message.flags & netlink::DUMP_INTERRUPTED == 0;
                match message.kind {
                    netlink::DONE | netlink::ERROR => {
                        return match netlink::u32_at(message.body, 0).unwrap_or_default().cast_signed() {
                            0 => Ok(reply),
                            code => Err(refused(code)),
                        };
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The kernel's refusal of a dump, as a negative errno. It has no handler for a family whose module is not there.
fn refused(code: i32) -> Error {
    let errno = Errno::from_raw_os_error(code.checked_neg().unwrap_or(libc::EIO));
    let error = Error::new(DUMP, errno);
    match errno {
        Errno::NOENT | Errno::INVAL => {
            error.sorted_as(ErrorKind::Unsupported).hint("this kernel cannot tell of that family")
        }
        _ => error,
    }
}

/// The answers to one dump, as they came.
#[derive(Debug, Default)]
struct Reply {
    bytes: Vec<u8>,
    is_consistent: bool,
}

impl Reply {
    fn append(&mut self, more: Self) {
        self.bytes.extend(more.bytes);
        self.is_consistent &= more.is_consistent;
    }

    /// The bodies of the messages that tell of sockets.
    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        Messages(&self.bytes).filter(|message| message.kind >= netlink::FIRST_OF_FAMILY).map(|message| message.body)
    }
}

/// Where a socket stands: the states of TCP, which the kernel uses for all families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Connected.
    Established,
    /// Asked for a connection.
    SynSent,
    /// Was asked for a connection.
    SynReceived,
    /// Ended its side, which the peer has not acknowledged yet.
    FinWait1,
    /// Ended its side.
    FinWait2,
    /// Both sides ended; stray packets are waited for.
    TimeWait,
    /// Not connected.
    Close,
    /// The peer ended its side.
    CloseWait,
    /// Both sides ended, ours not acknowledged yet.
    LastAck,
    /// Accepts connections.
    Listen,
    /// Both sides ended at the same time.
    Closing,
    /// A number that this crate does not know.
    Other(u8),
}

impl State {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }
}

/// The memory of a socket's queues, in bytes, with the kernel's overhead for each packet or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
#[doc(alias = "SK_MEMINFO")]
pub struct SocketMemory {
    /// In the receive queue. A Unix socket has none here: its messages are charged to who sent them.
    pub receive_used: u32,
    /// The most (`SO_RCVBUF`).
    pub receive_max: u32,
    /// Sent and not yet received or acknowledged.
    pub send_used: u32,
    /// The most (`SO_SNDBUF`); who writes beyond it waits.
    pub send_max: u32,
    /// Packets that were thrown away for lack of room.
    pub drops: u32,
}

impl SocketMemory {
    fn of(content: &[u8]) -> Option<Self> {
        let figure = |index: usize| netlink::u32_at(content, index * 4);
        Some(Self {
            receive_used: figure(0)?,
            receive_max: figure(1)?,
            send_used: figure(2)?,
            send_max: figure(3)?,
            // Later kernels have more figures than earlier ones.
            drops: figure(8).unwrap_or_default(),
        })
    }
}
