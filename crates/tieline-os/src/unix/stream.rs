//! Connected byte streams (`SOCK_STREAM`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::peer::{attachments, credentials_choice, peer_identity};
use super::{Address, Credentials, Received, RecvOptions, SendOptions, connect, name};
use crate::error::{During, Error, Result};
use crate::socket::{self, byte_stream, common_socket, faces, queued_bytes};
use crate::wait::Wait;

/// A connected byte stream between two processes of one machine, which can carry descriptors.
///
/// Bytes come in order, complete and without message boundaries. When the other process dies, received bytes can
/// still be read, then 0 (the end) is read, and sending fails with `PeerGone`. If it left our bytes unread, reading
/// fails with `ECONNRESET` instead.
///
/// ```
/// use std::time::Duration;
/// use tieline_os::unix::{Address, Stream, StreamListener};
///
/// let name = Address::abstract_name(format!("doc-{}", std::process::id()))?;
/// let listener = StreamListener::bind(&name)?;
/// let client = Stream::connect(&name)?;
/// let server = listener.accept_timeout(Duration::from_secs(1))?;
/// client.send(b"hello")?;
/// let mut buffer = [0; 8];
/// assert_eq!(server.recv(&mut buffer)?, 5);
/// assert_eq!(server.peer_credentials()?.pid, Some(std::process::id()));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "AF_UNIX", alias = "SOCK_STREAM", alias = "AF_LOCAL")]
pub struct Stream {
    pub(super) fd: OwnedFd,
}

impl Stream {
    /// Connects to a listener, waiting while its backlog is full.
    ///
    /// # Errors
    /// `NotFound` without such a file; `PeerGone` (`ECONNREFUSED`) if no process listens there (for a file: it was
    /// left by a dead one); `PermissionDenied` without write permission on the file; `InvalidInput` (`EPROTOTYPE`) if
    /// the socket there is of another type; `LimitReached` without a free descriptor.
    pub fn connect(address: &Address) -> Result<Self> {
        connect(SocketType::STREAM, address, Wait::Forever).map(|fd| Self { fd })
    }

    /// [`connect`](Self::connect) that never waits.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `WouldBlock` if the backlog is full.
    pub fn try_connect(address: &Address) -> Result<Self> {
        connect(SocketType::STREAM, address, Wait::Never).map(|fd| Self { fd })
    }

    /// [`connect`](Self::connect) that waits no longer than `timeout`, asleep in the kernel until there is room.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and `TimedOut`.
    pub fn connect_timeout(address: &Address, timeout: Duration) -> Result<Self> {
        connect(SocketType::STREAM, address, Wait::timeout(timeout)).map(|fd| Self { fd })
    }

    /// Two streams, each the other's end; both unnamed.
    ///
    /// # Errors
    /// `LimitReached` without two free descriptors.
    #[doc(alias = "socketpair")]
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = super::pair(SocketType::STREAM)?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Takes over a descriptor that is a Unix stream socket.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else, a listener included; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::UNIX], SocketType::STREAM, false)?;
        Ok(Self { fd })
    }

    faces! {
        /// Sends bytes with descriptors or credentials, and returns how many bytes went.
        ///
        /// What is attached goes with the first byte: if the count is more than 0 it has gone, so send the rest of the
        /// bytes without it. The receiver may get earlier bytes in the same call, never later ones.
        ///
        /// # Errors
        /// As [`send`](Self::send); `InvalidInput` for descriptors without a byte to go along (the kernel would drop
        /// them); `TooLarge` above 253; `LimitReached` (`ETOOMANYREFS`) if too many are on their way;
        /// `PermissionDenied` for false credentials or if the receiver refuses descriptors.
        #[doc(alias = "sendmsg", alias = "SCM_RIGHTS")]
        send_with, try_send_with, send_with_timeout =
            send_with_within(slices: &[IoSlice<'_>], options: SendOptions<'_>) -> usize
    }

    faces! {
        /// Receives what is there and what came with it; a `len` of 0 is the end of the stream.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        #[doc(alias = "recvmsg", alias = "SCM_RIGHTS")]
        recv_with, try_recv_with, recv_with_timeout =
            recv_with_within(slices: &mut [IoSliceMut<'_>], options: RecvOptions) -> Received
    }

    /// The name this end is bound to; of an accepted stream, the listener's.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Address> {
        name::local(self.fd.as_fd())
    }

    /// The name the other end is bound to; most clients are unnamed.
    ///
    /// # Errors
    /// `PeerGone` if the socket is not connected.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<Address> {
        name::peer(self.fd.as_fd())
    }

    fn send_with_within(&self, slices: &[IoSlice<'_>], options: SendOptions<'_>, wait: Wait) -> Result<usize> {
        const OPERATION: &str = "send on a Unix stream";
        options.check(OPERATION)?;
        if options.has_fds() && slices.iter().all(|slice| slice.is_empty()) {
            return Err(Error::invalid(
                OPERATION,
                "descriptors on a stream need at least one byte to go along, or the kernel drops them",
            ));
        }
        socket::send_message(self.fd.as_fd(), slices, options.attached(None), wait)
            .map_err(|errno| options.explain(OPERATION, errno))
    }

    fn recv_with_within(&self, slices: &mut [IoSliceMut<'_>], options: RecvOptions, wait: Wait) -> Result<Received> {
        let (max_fds, flags) = options.limits();
        socket::recv_message(self.fd.as_fd(), slices, None, max_fds, flags, wait)
            .map(|came| Received::new(came, usize::MAX, None))
            .during("receive from a Unix stream")
    }
}

byte_stream!(Stream);
common_socket!(Stream);
queued_bytes!(Stream);
peer_identity!(Stream);
attachments!(Stream);
credentials_choice!(Stream);
