//! Connected messages (`SOCK_SEQPACKET`).
//!
//! A receive of 0 bytes may be an empty message or the end, and Linux sets no flag to tell which. With `SO_PASSCRED`
//! on, each message comes with credentials and the end comes with none; so it is on for every socket made here.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::peer::{self, attachments, peer_identity};
use super::{Address, Credentials, Received, RecvOptions, SendOptions, connect, name};
use crate::Packet;
use crate::error::{During, Result};
use crate::socket::{self, common_socket, faces, queued_bytes};
use crate::wait::Wait;

/// A connection that carries messages: in order, reliable, boundaries kept, empty ones allowed.
///
/// Each message is received whole or cut to the buffer. Receiving answers `None` at the end, that is when the other
/// end closed, shut down or died, after every message it had sent. A message must fit the sender's buffer.
///
/// The sender's credentials come with every message ([`Received::credentials`]); this is how an empty message is told
/// from the end. A side effect of Linux: an unnamed socket gets an abstract name when it sends.
///
/// ```
/// use tieline_os::unix::SeqPacket;
/// let (here, there) = SeqPacket::pair()?;
/// here.send(b"")?;
/// drop(here);
/// let mut buffer = [0; 8];
/// assert_eq!(there.recv(&mut buffer)?.map(|packet| packet.len), Some(0)); // an empty message
/// assert_eq!(there.recv(&mut buffer)?, None); // the end
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "SOCK_SEQPACKET")]
pub struct SeqPacket {
    pub(super) fd: OwnedFd,
}

impl SeqPacket {
    /// Connects to a listener, waiting while its backlog is full.
    ///
    /// # Errors
    /// As [`Stream::connect`](super::Stream::connect).
    pub fn connect(address: &Address) -> Result<Self> {
        connect(SocketType::SEQPACKET, address, Wait::Forever).and_then(Self::telling_the_end)
    }

    /// [`connect`](Self::connect) that never waits.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `WouldBlock` if the backlog is full.
    pub fn try_connect(address: &Address) -> Result<Self> {
        connect(SocketType::SEQPACKET, address, Wait::Never).and_then(Self::telling_the_end)
    }

    /// [`connect`](Self::connect) that waits no longer than `timeout`, asleep in the kernel until there is room.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `TimedOut`.
    pub fn connect_timeout(address: &Address, timeout: Duration) -> Result<Self> {
        connect(SocketType::SEQPACKET, address, Wait::timeout(timeout)).and_then(Self::telling_the_end)
    }

    /// Two sockets, each the other's end.
    ///
    /// # Errors
    /// `LimitReached` without two free descriptors.
    #[doc(alias = "socketpair")]
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = super::pair(SocketType::SEQPACKET)?;
        Ok((Self::telling_the_end(one)?, Self::telling_the_end(other)?))
    }

    /// Takes over a descriptor that is a Unix sequenced-packet socket, and turns its credentials on.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else, a listener included; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::UNIX], SocketType::SEQPACKET, false)?;
        Self::telling_the_end(fd)
    }

    pub(super) fn telling_the_end(fd: OwnedFd) -> Result<Self> {
        peer::pass_credentials(fd.as_fd(), true)?;
        Ok(Self { fd })
    }

    faces! {
        /// Sends one message, whole.
        ///
        /// # Errors
        /// `PeerGone` (`EPIPE`, `ECONNRESET`) if the other end is closed or this one is shut down for writing;
        /// `TooLarge` (`EMSGSIZE`) if the message is longer than the send buffer less 32 bytes.
        send, try_send, send_timeout = send_within(message: &[u8]) -> ()
    }

    faces! {
        /// Sends one message made of several slices, with descriptors or credentials.
        ///
        /// # Errors
        /// As [`send`](Self::send); `TooLarge` above 253 descriptors; `LimitReached` (`ETOOMANYREFS`) if too many are
        /// on their way; `PermissionDenied` for false credentials or if the receiver refuses descriptors.
        #[doc(alias = "sendmsg", alias = "SCM_RIGHTS")]
        send_with, try_send_with, send_with_timeout =
            send_with_within(slices: &[IoSlice<'_>], options: SendOptions<'_>) -> ()
    }

    faces! {
        /// Receives one message, or `None` at the end.
        ///
        /// # Errors
        /// `PeerGone` (`ECONNRESET`) if the other end closed with our messages unread.
        recv, try_recv, recv_timeout = recv_within(buffer: &mut [u8]) -> Option<Packet>
    }

    faces! {
        /// Receives one message into several slices with what came beside it, or `None` at the end.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        #[doc(alias = "recvmsg", alias = "SCM_RIGHTS")]
        recv_with, try_recv_with, recv_with_timeout =
            recv_with_within(slices: &mut [IoSliceMut<'_>], options: RecvOptions) -> Option<Received>
    }

    /// Ends one direction or both; the other end receives `None`.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if the connection is gone already.
    pub fn shutdown(&self, how: std::net::Shutdown) -> Result<()> {
        socket::shutdown(self.fd.as_fd(), how)
    }

    /// The name this end is bound to.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Address> {
        name::local(self.fd.as_fd())
    }

    /// The name the other end is bound to.
    ///
    /// # Errors
    /// `PeerGone` if the socket is not connected.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<Address> {
        name::peer(self.fd.as_fd())
    }

    fn send_within(&self, message: &[u8], wait: Wait) -> Result<()> {
        socket::send(self.fd.as_fd(), message, wait)
            .map(drop)
            .map_err(|errno| SendOptions::new().explain("send a message", errno))
    }

    fn send_with_within(&self, slices: &[IoSlice<'_>], options: SendOptions<'_>, wait: Wait) -> Result<()> {
        const OPERATION: &str = "send a message";
        options.check(OPERATION)?;
        socket::send_message(self.fd.as_fd(), slices, options.attached(None), wait)
            .map(drop)
            .map_err(|errno| options.explain(OPERATION, errno))
    }

    fn recv_within(&self, buffer: &mut [u8], wait: Wait) -> Result<Option<Packet>> {
        let room = buffer.len();
        let came = self.came(&mut [IoSliceMut::new(buffer)], RecvOptions::new(), wait)?;
        Ok(came.map(|came| Packet { len: came.len.min(room), full_len: came.len }))
    }

    fn recv_with_within(
        &self,
        slices: &mut [IoSliceMut<'_>],
        options: RecvOptions,
        wait: Wait,
    ) -> Result<Option<Received>> {
        let room = slices.iter().map(|slice| slice.len()).sum();
        Ok(self.came(slices, options, wait)?.map(|came| Received::new(came, room, None)))
    }

    fn came(
        &self,
        slices: &mut [IoSliceMut<'_>],
        options: RecvOptions,
        wait: Wait,
    ) -> Result<Option<crate::sys::socket::Came>> {
        let (max_fds, flags) = options.limits();
        let came = socket::recv_message(self.fd.as_fd(), slices, None, max_fds, flags | libc::MSG_TRUNC, wait)
            .during("receive a message")?;
        Ok((came.len > 0 || came.credentials.is_some()).then_some(came))
    }
}

common_socket!(SeqPacket);
queued_bytes!(SeqPacket);
peer_identity!(SeqPacket);
attachments!(SeqPacket);
