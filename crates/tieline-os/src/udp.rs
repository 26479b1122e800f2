//! UDP: single messages between machines, without any promise.
//!
//! A message may be lost, doubled or overtaken. On one machine it is lost, silently, when the receiver's buffer is full
//! ([`Socket::dropped`] counts those); a Unix datagram socket makes the sender wait instead. See udp(7), RFC 768.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::Packet;
use crate::error::{During, Error, Result};
use crate::socket::{self, common_socket, faces};
use crate::sys::socket as sys;
use crate::tcp::{bind_error, local_address, peer_address};
use crate::wait::Wait;

/// A UDP socket, bound to a port.
///
/// A **connected** socket learns, late, that nobody listens at the other end: the answer to one message is reported by
/// the *next* call, as `PeerGone` (`ECONNREFUSED`), once; that call then did nothing. An unconnected one never learns.
///
/// ```
/// use tieline_os::udp::Socket;
/// let server = Socket::bind("127.0.0.1:0")?;
/// let client = Socket::bind("127.0.0.1:0")?;
/// client.send_to(b"ping", server.local_address()?)?;
/// let mut buffer = [0; 2];
/// let (packet, from) = server.recv_from(&mut buffer)?;
/// assert_eq!((packet.len, packet.full_len, packet.is_truncated()), (2, 4, true));
/// assert_eq!(from, client.local_address()?);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "SOCK_DGRAM", alias = "IPPROTO_UDP")]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// The most bytes one message carries over IPv4.
    pub const MAX_BYTES: usize = 65507;

    /// Binds a new socket to the first of the addresses that can be bound; port 0 asks for a free port.
    ///
    /// # Errors
    /// `AlreadyExists` (`EADDRINUSE`) if another socket has the port; `PermissionDenied` for a port below 1024 without
    /// privilege; `NotFound` if the name has no address; `Other` (`EADDRNOTAVAIL`) if the address is not this machine's.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        Self::bind_each(address, false)
    }

    /// [`bind`](Self::bind) that lets other sockets bind the same port so, too; each gets a copy of every multicast and
    /// broadcast message, and only one of them each single one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    #[doc(alias = "SO_REUSEADDR")]
    pub fn bind_shared(address: impl ToSocketAddrs) -> Result<Self> {
        Self::bind_each(address, true)
    }

    /// Takes over a descriptor that is a UDP socket.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let families = [AddressFamily::INET, AddressFamily::INET6];
        socket::check_kind(fd.as_fd(), &families, SocketType::DGRAM, false)?;
        Ok(Self { fd })
    }

    /// Sends to `address` from now on, and receives only from there. Does not wait, except for name resolution.
    ///
    /// # Errors
    /// `NotFound` if the name has no address; `Unsupported` or `InvalidInput` if it is of another family than the
    /// socket; `Other` (`ENETUNREACH`) if there is no way.
    pub fn connect(&self, address: impl ToSocketAddrs) -> Result<()> {
        const OPERATION: &str = "connect by UDP";
        let mut last = None;
        for address in socket::resolve(OPERATION, address)? {
            match rustix::net::connect(&self.fd, &address) {
                Ok(()) => return Ok(()),
                Err(errno) => last = Some(Error::new("connect by UDP to", errno).on(address)),
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid(OPERATION, "no address was given")))
    }

    faces! {
        /// Sends one message to the connected address. Waits only while the network device is busy.
        ///
        /// # Errors
        /// `TooLarge` (`EMSGSIZE`) above 65507 bytes; `PeerGone` (`ECONNREFUSED`) if an earlier message found nobody
        /// listening, in which case this one was not sent; `Other` (`EDESTADDRREQ`) if not connected.
        send, try_send, send_timeout = send_within(message: &[u8]) -> ()
    }

    faces! {
        /// Sends one message to `address`.
        ///
        /// # Errors
        /// As [`send`](Self::send); `PermissionDenied` for a broadcast address without
        /// [`set_broadcast`](Self::set_broadcast); `Other` (`ENETUNREACH`) if there is no way.
        #[doc(alias = "sendto")]
        send_to, try_send_to, send_to_timeout = send_to_within(message: &[u8], address: SocketAddr) -> ()
    }

    faces! {
        /// Receives one message; the rest of one that is longer than `buffer` is lost, and told.
        ///
        /// # Errors
        /// `PeerGone` (`ECONNREFUSED`), on a connected socket, if an earlier message found nobody listening.
        recv, try_recv, recv_timeout = recv_within(buffer: &mut [u8]) -> Packet
    }

    faces! {
        /// Receives one message and its sender's address.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        #[doc(alias = "recvfrom")]
        recv_from, try_recv_from, recv_from_timeout = recv_from_within(buffer: &mut [u8]) -> (Packet, SocketAddr)
    }

    /// The address bound to, with the port the kernel chose.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<SocketAddr> {
        local_address(self.fd.as_fd())
    }

    /// The connected address.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if there is none.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<SocketAddr> {
        peer_address(self.fd.as_fd())
    }

    /// How many messages the kernel has thrown away because the receive buffer was full (or a checksum wrong).
    ///
    /// # Errors
    /// `Unsupported` before Linux 4.12.
    #[doc(alias = "SO_MEMINFO")]
    pub fn dropped(&self) -> Result<u32> {
        // Index 8 is SK_MEMINFO_DROPS (include/uapi/linux/sock_diag.h).
        let mut words = [0; 9];
        let (answer, _) = sys::words_option(self.fd.as_fd(), sys::SO_MEMINFO, &mut words);
        socket::optional(answer, "count the messages a UDP socket lost", "it needs Linux 4.12")?;
        Ok(words[8])
    }

    /// The number of bytes of the next message, without its headers; 0 if none waits (or an empty one does).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "SIOCINQ", alias = "FIONREAD")]
    pub fn unread_bytes(&self) -> Result<usize> {
        socket::count(sys::unread_bytes(self.fd.as_fd()), "read the number of bytes waiting in a socket")
    }

    /// Whether messages may be sent to broadcast addresses (not, at first).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "SO_BROADCAST")]
    pub fn set_broadcast(&self, yes: bool) -> Result<()> {
        sockopt::set_socket_broadcast(&self.fd, yes).during("allow broadcast")
    }

    /// How many routers a message may pass (time to live, hop limit), from 1 to 255.
    ///
    /// # Errors
    /// `InvalidInput` for 0.
    #[doc(alias = "IP_TTL", alias = "IPV6_UNICAST_HOPS")]
    pub fn set_ttl(&self, hops: u8) -> Result<()> {
        const OPERATION: &str = "set the time to live";
        if hops == 0 {
            return Err(Error::invalid(OPERATION, "a message must live for at least one hop"));
        }
        if self.is_v4()? {
            sockopt::set_ip_ttl(&self.fd, hops.into()).during(OPERATION)
        } else {
            sockopt::set_ipv6_unicast_hops(&self.fd, Some(hops)).during(OPERATION)
        }
    }

    /// How many routers a message may pass.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "IP_TTL", alias = "IPV6_UNICAST_HOPS")]
    pub fn ttl(&self) -> Result<u8> {
        const OPERATION: &str = "read the time to live";
        if self.is_v4()? {
            let hops = sockopt::ip_ttl(&self.fd).during(OPERATION)?;
            Ok(u8::try_from(hops).unwrap_or(u8::MAX))
        } else {
            sockopt::ipv6_unicast_hops(&self.fd).during(OPERATION)
        }
    }

    /// How many routers a multicast message may pass; 0 stays on this machine, and 1 (the local network) is the default.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "IP_MULTICAST_TTL", alias = "IPV6_MULTICAST_HOPS")]
    pub fn set_multicast_ttl(&self, hops: u8) -> Result<()> {
        const OPERATION: &str = "set the time to live of multicast messages";
        if self.is_v4()? {
            sockopt::set_ip_multicast_ttl(&self.fd, hops.into()).during(OPERATION)
        } else {
            sockopt::set_ipv6_multicast_hops(&self.fd, hops.into()).during(OPERATION)
        }
    }

    /// Whether multicast messages sent here also reach members on this machine (they do, at first).
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "IP_MULTICAST_LOOP", alias = "IPV6_MULTICAST_LOOP")]
    pub fn set_multicast_loop(&self, yes: bool) -> Result<()> {
        const OPERATION: &str = "set whether multicast messages come back";
        if self.is_v4()? {
            sockopt::set_ip_multicast_loop(&self.fd, yes).during(OPERATION)
        } else {
            sockopt::set_ipv6_multicast_loop(&self.fd, yes).during(OPERATION)
        }
    }

    /// Sends IPv4 multicast by the interface with this address; `UNSPECIFIED` lets the system choose.
    ///
    /// # Errors
    /// `Other` (`EADDRNOTAVAIL`) if no interface has it.
    #[doc(alias = "IP_MULTICAST_IF")]
    pub fn set_multicast_interface_v4(&self, interface: Ipv4Addr) -> Result<()> {
        sockopt::set_ip_multicast_if(&self.fd, &interface).during("choose the interface of multicast messages")
    }

    /// Sends IPv6 multicast by the interface of this index; 0 lets the system choose.
    ///
    /// # Errors
    /// `Unsupported` (`ENODEV`) if there is none.
    #[doc(alias = "IPV6_MULTICAST_IF")]
    pub fn set_multicast_interface_v6(&self, interface: u32) -> Result<()> {
        sockopt::set_ipv6_multicast_if(&self.fd, interface).during("choose the interface of multicast messages")
    }

    /// Receives what is sent to an IPv4 group, by the interface with this address (`UNSPECIFIED`: the system's choice).
    ///
    /// # Errors
    /// `InvalidInput` if it is no multicast address; `AlreadyExists` if the socket is in the group; `Unsupported`
    /// (`ENODEV`) without such an interface.
    #[doc(alias = "IP_ADD_MEMBERSHIP")]
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()> {
        let answer = sockopt::set_ip_add_membership(&self.fd, &group, &interface);
        answer.map_err(|errno| membership_error("join multicast group", errno).on(group))
    }

    /// Leaves an IPv4 group.
    ///
    /// # Errors
    /// `Other` (`EADDRNOTAVAIL`) if the socket is not in the group by that interface.
    #[doc(alias = "IP_DROP_MEMBERSHIP")]
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()> {
        let answer = sockopt::set_ip_drop_membership(&self.fd, &group, &interface);
        answer.map_err(|errno| membership_error("leave multicast group", errno).on(group))
    }

    /// Receives what is sent to an IPv6 group, by the interface of this index (0: the system's choice).
    ///
    /// # Errors
    /// As [`join_multicast_v4`](Self::join_multicast_v4).
    #[doc(alias = "IPV6_ADD_MEMBERSHIP")]
    pub fn join_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> Result<()> {
        let answer = sockopt::set_ipv6_add_membership(&self.fd, &group, interface);
        answer.map_err(|errno| membership_error("join multicast group", errno).on(group))
    }

    /// Leaves an IPv6 group.
    ///
    /// # Errors
    /// As [`leave_multicast_v4`](Self::leave_multicast_v4).
    #[doc(alias = "IPV6_DROP_MEMBERSHIP")]
    pub fn leave_multicast_v6(&self, group: Ipv6Addr, interface: u32) -> Result<()> {
        let answer = sockopt::set_ipv6_drop_membership(&self.fd, &group, interface);
        answer.map_err(|errno| membership_error("leave multicast group", errno).on(group))
    }

    fn bind_each(address: impl ToSocketAddrs, shared: bool) -> Result<Self> {
        const OPERATION: &str = "bind by UDP";
        let mut last = None;
        for address in socket::resolve(OPERATION, address)? {
            let fd = socket::open(socket::family(&address), SocketType::DGRAM, SocketFlags::empty())?;
            sockopt::set_socket_reuseaddr(&fd, shared).during(OPERATION)?;
            match rustix::net::bind(&fd, &address) {
                Ok(()) => return Ok(Self { fd }),
                Err(errno) => last = Some(bind_error("bind by UDP to", &address, errno)),
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid(OPERATION, "no address was given")))
    }

    fn is_v4(&self) -> Result<bool> {
        let family = sockopt::socket_domain(&self.fd).during("read the address family of a socket")?;
        Ok(family == AddressFamily::INET)
    }

    fn send_within(&self, message: &[u8], wait: Wait) -> Result<()> {
        socket::send(self.fd.as_fd(), message, wait).map(drop).map_err(send_error)
    }

    fn send_to_within(&self, message: &[u8], address: SocketAddr, wait: Wait) -> Result<()> {
        socket::transfer(self.fd.as_fd(), PollFlags::OUT, wait, |at_once| {
            let flags = if at_once { SendFlags::NOSIGNAL | SendFlags::DONTWAIT } else { SendFlags::NOSIGNAL };
            rustix::net::sendto(&self.fd, message, flags, &address)
        })
        .map(drop)
        .map_err(|errno| if errno == Errno::AGAIN { Error::new(SEND, errno) } else { send_error(errno).on(address) })
    }

    fn recv_within(&self, buffer: &mut [u8], wait: Wait) -> Result<Packet> {
        socket::recv_packet(self.fd.as_fd(), buffer, wait).map_err(recv_error)
    }

    fn recv_from_within(&self, buffer: &mut [u8], wait: Wait) -> Result<(Packet, SocketAddr)> {
        socket::transfer(self.fd.as_fd(), PollFlags::IN, wait, |at_once| {
            let flags = if at_once { RecvFlags::TRUNC | RecvFlags::DONTWAIT } else { RecvFlags::TRUNC };
            let (len, full_len, from) = rustix::net::recvfrom(&self.fd, &mut *buffer, flags)?;
            // A socket shut down for reading receives nothing, from nobody.
            let from = from.map_or(Err(Errno::SHUTDOWN), socket::inet)?;
            Ok((Packet { len, full_len }, from))
        })
        .map_err(recv_error)
    }
}

common_socket!(Socket);

const SEND: &str = "send by UDP";

fn send_error(errno: Errno) -> Error {
    let error = Error::new(SEND, errno);
    match errno {
        Errno::MSGSIZE => error.hint("65507 bytes is the most"),
        Errno::CONNREFUSED => error.hint("an earlier message found nobody listening; this one was not sent"),
        Errno::DESTADDRREQ => error.hint("the socket is not connected: connect it, or use send_to"),
        Errno::ACCESS => error.hint("to reach a broadcast address, allow it with set_broadcast"),
        _ => error,
    }
}

fn recv_error(errno: Errno) -> Error {
    let error = Error::new("receive by UDP", errno);
    if errno == Errno::CONNREFUSED { error.hint("an earlier message found nobody listening") } else { error }
}

fn membership_error(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    match errno {
        Errno::INVAL => error.hint("it is no multicast address, or not of the socket's family"),
        Errno::NODEV => error.hint("no interface carries multicast there: name one"),
        Errno::ADDRINUSE => error.hint("the socket is in the group already"),
        Errno::ADDRNOTAVAIL => error.hint("the socket is not in the group by that interface"),
        _ => error,
    }
}
