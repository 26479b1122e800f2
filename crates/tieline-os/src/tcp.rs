//! TCP: byte streams between machines, and between processes of one where nothing nearer will do.
//!
//! Every stream made here has `TCP_NODELAY` set: what is sent goes out at once. Without it a small write after another
//! waits until the first is acknowledged, up to 40 ms, which spoils every request and answer. A sender of many small
//! pieces should collect them, or use [`Stream::send_vectored`].
//!
//! On one machine a Unix socket is faster and knows who its peer is; here anybody who reaches the port may connect.
//! See tcp(7), RFC 9293.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{During, Error, Result};
use crate::socket::{self, byte_stream, common_socket, queued_bytes};
use crate::wait::Wait;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::INET, AddressFamily::INET6];

/// A TCP connection.
///
/// If the peer's process dies, its kernel says so and reading ends; if its machine or the network dies, nothing says
/// so: set [`keepalive`](Self::set_keepalive) or an [acknowledgement limit](Self::set_user_timeout), or use deadlines.
/// Closing with received bytes unread sends a reset, and the peer may lose what was sent to it before: read to the end,
/// or [`shutdown`](Self::shutdown) writing and wait for the peer to close.
///
/// ```
/// use tieline_os::tcp::{Listener, Stream};
/// let listener = Listener::bind("127.0.0.1:0")?;
/// let client = Stream::connect(listener.local_address()?)?;
/// let (server, from) = listener.accept()?;
/// assert_eq!(from, client.local_address()?);
/// client.send(b"hello")?;
/// let mut buffer = [0; 8];
/// assert_eq!(server.recv(&mut buffer)?, 5);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "SOCK_STREAM", alias = "IPPROTO_TCP")]
pub struct Stream {
    fd: OwnedFd,
}

/// When to ask a silent peer whether it still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first question; whole seconds, from 1 to 32767.
    pub idle: Duration,
    /// Time between questions; whole seconds, from 1 to 32767.
    pub interval: Duration,
    /// Questions without an answer before the connection counts as dead, from 1 to 127.
    pub probes: u8,
}

impl Stream {
    /// Connects to the first of the addresses that takes the connection. Waits for name resolution, too.
    ///
    /// # Errors
    /// `NotFound` if the name has no address; `PeerGone` (`ECONNREFUSED`) if nobody listens there; `TimedOut` if
    /// nobody answers for minutes; `InvalidInput`, `Other` (`ENETUNREACH`, `EHOSTUNREACH`) if there is no way. With
    /// several addresses, the error is the last one's.
    #[doc(alias = "getaddrinfo")]
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self> {
        Self::connect_within(address, Wait::Forever)
    }

    /// [`connect`](Self::connect) that waits no longer than `timeout` for all the addresses together. Resolving a name
    /// is not counted, because the system's resolver cannot be interrupted: pass a [`SocketAddr`] to be sure.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `TimedOut`.
    pub fn connect_timeout(address: impl ToSocketAddrs, timeout: Duration) -> Result<Self> {
        Self::connect_within(address, Wait::timeout(timeout))
    }

    /// Takes over a descriptor that is a TCP connection; its options stay as they are.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else, a listener included; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &FAMILIES, SocketType::STREAM, false)?;
        Ok(Self { fd })
    }

    /// This end's address.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<SocketAddr> {
        local_address(self.fd.as_fd())
    }

    /// The other end's address.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if the connection has ended.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<SocketAddr> {
        peer_address(self.fd.as_fd())
    }

    /// Whether bytes go out at once (they do, by default here).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "TCP_NODELAY")]
    pub fn nodelay(&self) -> Result<bool> {
        sockopt::tcp_nodelay(&self.fd).during("read whether a TCP stream sends at once")
    }

    /// Sets whether bytes go out at once, or small writes wait for one another (Nagle's algorithm).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "TCP_NODELAY")]
    pub fn set_nodelay(&self, yes: bool) -> Result<()> {
        sockopt::set_tcp_nodelay(&self.fd, yes).during("set whether a TCP stream sends at once")
    }

    /// When to ask a silent peer whether it lives; `None` is never, as it is at first.
    ///
    /// # Errors
    /// `InvalidInput` for values out of range.
    #[doc(alias = "SO_KEEPALIVE", alias = "TCP_KEEPIDLE", alias = "TCP_KEEPINTVL", alias = "TCP_KEEPCNT")]
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> Result<()> {
        const OPERATION: &str = "set the keepalive of a TCP stream";
        if let Some(keepalive) = keepalive {
            sockopt::set_tcp_keepidle(&self.fd, keepalive.idle).during(OPERATION)?;
            sockopt::set_tcp_keepintvl(&self.fd, keepalive.interval).during(OPERATION)?;
            sockopt::set_tcp_keepcnt(&self.fd, keepalive.probes.into()).during(OPERATION)?;
        }
        sockopt::set_socket_keepalive(&self.fd, keepalive.is_some()).during(OPERATION)
    }

    /// When a silent peer is asked, or `None` if never.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "SO_KEEPALIVE")]
    pub fn keepalive(&self) -> Result<Option<Keepalive>> {
        const OPERATION: &str = "read the keepalive of a TCP stream";
        if !sockopt::socket_keepalive(&self.fd).during(OPERATION)? {
            return Ok(None);
        }
        Ok(Some(Keepalive {
            idle: sockopt::tcp_keepidle(&self.fd).during(OPERATION)?,
            interval: sockopt::tcp_keepintvl(&self.fd).during(OPERATION)?,
            probes: sockopt::tcp_keepcnt(&self.fd).during(OPERATION)?.try_into().unwrap_or(u8::MAX),
        }))
    }

    /// How long sent bytes may stay unacknowledged before the connection counts as dead; `None` is the system's
    /// default (many minutes). In milliseconds.
    ///
    /// # Errors
    /// `InvalidInput` above 2^31 - 1 milliseconds.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> Result<()> {
        const OPERATION: &str = "set the acknowledgement limit of a TCP stream";
        let limit = limit.map_or(0, |limit| limit.as_millis().max(1));
        match i32::try_from(limit) {
            Ok(limit) => sockopt::set_tcp_user_timeout(&self.fd, limit.cast_unsigned()).during(OPERATION),
            Err(_) => Err(Error::invalid(OPERATION, "2^31 - 1 milliseconds is the most")),
        }
    }

    /// What closing does with unsent bytes: `None` (at first) sends them in the background; a time makes closing wait
    /// up to that long, in whole seconds rounded up; zero throws them away and resets the connection.
    ///
    /// # Errors
    /// `InvalidInput` above 2^31 - 1 seconds.
    #[doc(alias = "SO_LINGER")]
    pub fn set_linger(&self, linger: Option<Duration>) -> Result<()> {
        sockopt::set_socket_linger(&self.fd, linger).during("set what closing a TCP stream does")
    }

    /// What closing does; see [`set_linger`](Self::set_linger).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "SO_LINGER")]
    pub fn linger(&self) -> Result<Option<Duration>> {
        sockopt::socket_linger(&self.fd).during("read what closing a TCP stream does")
    }

    fn connect_within(address: impl ToSocketAddrs, wait: Wait) -> Result<Self> {
        const OPERATION: &str = "connect by TCP";
        let mut last = None;
        for address in socket::resolve(OPERATION, address)? {
            match connect(&address, wait) {
                Ok(fd) => return Ok(Self { fd }),
                Err(error) => last = Some(error),
            }
            if wait.is_over() {
                break;
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid(OPERATION, "no address was given")))
    }
}

fn connect(address: &SocketAddr, wait: Wait) -> Result<OwnedFd> {
    const OPERATION: &str = "connect by TCP to";
    let fd = socket::open(socket::family(address), SocketType::STREAM, SocketFlags::NONBLOCK)?;
    sockopt::set_tcp_nodelay(&fd, true).during("set whether a TCP stream sends at once")?;
    socket::connect_and_wait(fd.as_fd(), wait, || rustix::net::connect(&fd, address)).map_err(|errno| {
        let error = Error::new(OPERATION, errno).on(address);
        match errno {
            Errno::CONNREFUSED => error.hint("nobody listens on that port"),
            Errno::ADDRNOTAVAIL => error.hint("no local port is free"),
            _ => error,
        }
    })?;
    Ok(fd)
}

byte_stream!(Stream);
common_socket!(Stream);
queued_bytes!(Stream);

/// How to listen. The default: a backlog of 128, the address taken back from closing connections, and IPv6 as the
/// machine is set (usually both IPv4 and IPv6 on `[::]`).
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    backlog: i32,
    reuse_address: bool,
    reuse_port: bool,
    v6only: Option<bool>,
}

impl ListenOptions {
    /// The default.
    #[must_use]
    pub const fn new() -> Self {
        Self { backlog: 128, reuse_address: true, reuse_port: false, v6only: None }
    }

    /// How many connections may wait to be accepted; the kernel lets one more in, and cuts to `net.core.somaxconn`.
    /// Further clients' handshakes are ignored, so they try again for a while.
    #[must_use]
    pub const fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections as i32;
        self
    }

    /// Whether a port may be bound while old connections of it are still closing (`TIME_WAIT`). A live listener keeps
    /// its port in either case.
    #[must_use]
    #[doc(alias = "SO_REUSEADDR")]
    pub const fn reuse_address(mut self, yes: bool) -> Self {
        self.reuse_address = yes;
        self
    }

    /// Whether several listeners of one user may share the port, each getting a part of the connections.
    #[must_use]
    #[doc(alias = "SO_REUSEPORT")]
    pub const fn reuse_port(mut self, yes: bool) -> Self {
        self.reuse_port = yes;
        self
    }

    /// Whether a listener on an IPv6 address takes IPv6 only.
    #[must_use]
    #[doc(alias = "IPV6_V6ONLY")]
    pub const fn v6only(mut self, yes: bool) -> Self {
        self.v6only = Some(yes);
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Accepts TCP connections on a port.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Listens at the first of the addresses that can be bound; port 0 asks for a free port.
    ///
    /// # Errors
    /// `AlreadyExists` (`EADDRINUSE`) if another socket has the port; `PermissionDenied` for a port below 1024 without
    /// privilege; `NotFound` if the name has no address; `Other` (`EADDRNOTAVAIL`) if the address is not this machine's.
    #[doc(alias = "listen")]
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        Self::bind_with(address, ListenOptions::new())
    }

    /// [`bind`](Self::bind) with other options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(address: impl ToSocketAddrs, options: ListenOptions) -> Result<Self> {
        const OPERATION: &str = "listen by TCP";
        let mut last = None;
        for address in socket::resolve(OPERATION, address)? {
            match listen(&address, options) {
                Ok(fd) => return Ok(Self { fd }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid(OPERATION, "no address was given")))
    }

    /// Takes over a listening socket (from a service manager, say) and makes its description non-blocking, for
    /// everyone who shares it.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &FAMILIES, SocketType::STREAM, true)?;
        rustix::io::ioctl_fionbio(&fd, true).during("take over a socket")?;
        Ok(Self { fd })
    }

    /// Waits for a client and accepts it; answers its address, too.
    ///
    /// # Errors
    /// `LimitReached` (`EMFILE`, `ENFILE`) without a free descriptor: the client still waits and the next call fails at
    /// once, so make room first. Clients that gave up while they waited are passed over.
    #[doc(alias = "accept4")]
    pub fn accept(&self) -> Result<(Stream, SocketAddr)> {
        self.accept_within(Wait::Forever)
    }

    /// [`accept`](Self::accept) that never waits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and `WouldBlock`, without allocating, if nobody waits.
    pub fn try_accept(&self) -> Result<(Stream, SocketAddr)> {
        self.accept_within(Wait::Never)
    }

    /// [`accept`](Self::accept) that waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and `TimedOut`.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<(Stream, SocketAddr)> {
        self.accept_within(Wait::timeout(timeout))
    }

    /// The address listened at, with the port the kernel chose.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<SocketAddr> {
        local_address(self.fd.as_fd())
    }

    fn accept_within(&self, wait: Wait) -> Result<(Stream, SocketAddr)> {
        socket::accept(self.fd.as_fd(), wait, || {
            let (fd, address) = rustix::net::acceptfrom_with(&self.fd, SocketFlags::CLOEXEC)?;
            Ok((Stream { fd }, socket::inet(address.ok_or(Errno::CONNABORTED)?)?))
        })
        .map_err(socket::accept_error)
    }
}

common_socket!(Listener);

fn listen(address: &SocketAddr, options: ListenOptions) -> Result<OwnedFd> {
    const OPERATION: &str = "listen by TCP at";
    let fd = socket::open(socket::family(address), SocketType::STREAM, SocketFlags::NONBLOCK)?;
    let bound = || {
        // Accepted streams inherit it.
        sockopt::set_tcp_nodelay(&fd, true)?;
        sockopt::set_socket_reuseaddr(&fd, options.reuse_address)?;
        sockopt::set_socket_reuseport(&fd, options.reuse_port)?;
        if let (Some(only), SocketAddr::V6(_)) = (options.v6only, address) {
            sockopt::set_ipv6_v6only(&fd, only)?;
        }
        rustix::net::bind(&fd, address)?;
        rustix::net::listen(&fd, options.backlog)
    };
    bound().map_err(|errno| bind_error(OPERATION, address, errno))?;
    Ok(fd)
}

pub(crate) fn bind_error(operation: &'static str, address: &SocketAddr, errno: Errno) -> Error {
    let error = Error::new(operation, errno).on(address);
    match errno {
        Errno::ADDRINUSE => error.hint("another socket has the port"),
        Errno::ADDRNOTAVAIL => error.hint("no interface of this machine has that address"),
        Errno::ACCESS => error.hint("ports below 1024 are for privileged processes"),
        _ => error,
    }
}

pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    rustix::net::getsockname(fd).and_then(socket::inet).during("read the address of a socket")
}

pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    rustix::net::getpeername(fd)
        .and_then(|address| address.map_or(Err(Errno::NOTCONN), socket::inet))
        .during("read the address of a socket's peer")
}
