//! What all sockets have in common: opening, waiting, transferring, options.
//!
//! The invariant: the shared `O_NONBLOCK` flag of a connection is never touched. Other processes may hold the same
//! socket, so "do not wait" is said per call, by `MSG_DONTWAIT`, and a deadline is kept by polling in between.
//! `MSG_NOSIGNAL` is always set: a dead peer is an error, never `SIGPIPE`.
//!
//! The macros below write the same methods for several socket types; each names what it needs of the type.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};

use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::socket as sys;
use crate::wait::{Wait, retry_when_ready, wait_for};

/// How a message arrived: how much of it is in the buffer, and how long it was.
///
/// A message socket gives each message whole or cut to the buffer; the rest of a cut message is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Bytes now in the buffer.
    pub len: usize,
    /// Bytes the sender sent.
    pub full_len: usize,
}

impl Packet {
    /// Whether the buffer was too short, so that the end of the message is lost.
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.full_len > self.len
    }
}

/// A new socket, close-on-exec.
pub(crate) fn open(family: AddressFamily, kind: SocketType, flags: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(family, kind, flags | SocketFlags::CLOEXEC, None).map_err(|errno| {
        let error = Error::new("open socket", errno);
        if errno == Errno::AFNOSUPPORT { error.hint("this kernel lacks the address family") } else { error }
    })
}

/// Refuses a descriptor that is not a socket of this family and kind, listening or not as wanted.
pub(crate) fn check_kind(
    fd: BorrowedFd<'_>,
    families: &[AddressFamily],
    kind: SocketType,
    listening: bool,
) -> Result<()> {
    const OPERATION: &str = "take over a socket";
    let family = sockopt::socket_domain(fd).during(OPERATION)?;
    if !families.contains(&family) {
        return Err(Error::invalid(OPERATION, "the descriptor is a socket of another address family"));
    }
    if sockopt::socket_type(fd).during(OPERATION)? != kind {
        return Err(Error::invalid(OPERATION, "the descriptor is a socket of another type"));
    }
    if sockopt::socket_acceptconn(fd).during(OPERATION)? != listening {
        let why = if listening { "the socket does not listen" } else { "the socket is a listener" };
        return Err(Error::invalid(OPERATION, why));
    }
    Ok(())
}

/// Runs `attempt` until it answers something else than "would block" or the time is up; its argument says whether
/// it must not block. One that may wait for ever blocks in the call itself, which saves the poll.
pub(crate) fn transfer<T>(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    wait: Wait,
    mut attempt: impl FnMut(bool) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if !matches!(wait, Wait::Forever) {
        return retry_when_ready(fd, events, wait, || attempt(true));
    }
    loop {
        match attempt(false) {
            Err(Errno::INTR) => {}
            // Somebody has set O_NONBLOCK or a socket timeout on the shared description.
            Err(Errno::AGAIN) => drop(wait_for(fd, events, wait)?),
            answer => return answer,
        }
    }
}

/// The flags of one call as `send` and `recv` of libc take them.
pub(crate) const fn dont_wait(yes: bool) -> i32 {
    if yes { libc::MSG_DONTWAIT } else { 0 }
}

pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], wait: Wait) -> Result<usize, Errno> {
    transfer(fd, PollFlags::OUT, wait, |at_once| {
        let flags = if at_once { SendFlags::NOSIGNAL | SendFlags::DONTWAIT } else { SendFlags::NOSIGNAL };
        rustix::net::send(fd, bytes, flags)
    })
}

pub(crate) fn send_message(
    fd: BorrowedFd<'_>,
    bytes: &[IoSlice<'_>],
    attached: sys::Attached<'_>,
    wait: Wait,
) -> Result<usize, Errno> {
    transfer(fd, PollFlags::OUT, wait, |at_once| {
        sys::send_message(fd, bytes, attached, libc::MSG_NOSIGNAL | dont_wait(at_once))
    })
}

/// Bytes of a stream, or a message of which the length is not asked.
pub(crate) fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8], wait: Wait) -> Result<usize, Errno> {
    transfer(fd, PollFlags::IN, wait, |at_once| {
        let flags = if at_once { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        rustix::net::recv(fd, &mut *buffer, flags).map(|(_, len)| len)
    })
}

/// One message, with its full length.
pub(crate) fn recv_packet(fd: BorrowedFd<'_>, buffer: &mut [u8], wait: Wait) -> Result<Packet, Errno> {
    transfer(fd, PollFlags::IN, wait, |at_once| {
        let flags = if at_once { RecvFlags::TRUNC | RecvFlags::DONTWAIT } else { RecvFlags::TRUNC };
        rustix::net::recv(fd, &mut *buffer, flags).map(|(len, full_len)| Packet { len, full_len })
    })
}

pub(crate) fn recv_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    mut name: Option<&mut sys::RawName>,
    max_fds: usize,
    flags: i32,
    wait: Wait,
) -> Result<sys::Came, Errno> {
    transfer(fd, PollFlags::IN, wait, |at_once| {
        sys::receive_message(fd, buffers, name.as_deref_mut(), max_fds, flags | dont_wait(at_once))
    })
}

/// Accepts from a listener, which always has `O_NONBLOCK`: accepting has no flag like `MSG_DONTWAIT`.
pub(crate) fn accept<T>(
    fd: BorrowedFd<'_>,
    wait: Wait,
    mut accept: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    retry_when_ready(fd, PollFlags::IN, wait, || match accept() {
        // The connection died in the backlog: it is not the listener's trouble. INTR means "again, at once".
        Err(Errno::CONNABORTED | Errno::PROTO) => Err(Errno::INTR),
        answer => answer,
    })
}

/// What to do about an accept that failed for want of descriptors.
pub(crate) fn accept_error(errno: Errno) -> Error {
    let error = Error::new("accept a connection", errno);
    match errno {
        Errno::MFILE | Errno::NFILE => error.hint(
            "the connection still waits, and polling reports it again at once: close descriptors or raise RLIMIT_NOFILE",
        ),
        Errno::INVAL => error.hint("the socket was shut down or does not listen"),
        _ => error,
    }
}

/// Connects a non-blocking socket that nobody else has yet, waits for the answer, and makes it blocking.
pub(crate) fn connect_and_wait(
    fd: BorrowedFd<'_>,
    wait: Wait,
    connect: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match connect() {
        Ok(()) => {}
        // Interrupted or not, the handshake goes on without us.
        Err(Errno::INPROGRESS | Errno::INTR) => {
            wait_for(fd, PollFlags::OUT, wait)?;
            sockopt::socket_error(fd)??;
        }
        Err(errno) => return Err(errno),
    }
    rustix::io::ioctl_fionbio(fd, false)
}

/// An internet address as the kernel gave it.
pub(crate) fn inet(address: SocketAddrAny) -> Result<SocketAddr, Errno> {
    address.try_into()
}

/// The internet addresses that a name, or an address in text, stands for.
pub(crate) fn resolve(
    operation: &'static str,
    address: impl ToSocketAddrs,
) -> Result<impl Iterator<Item = SocketAddr>> {
    address.to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        Error::of_kind(
            operation,
            ErrorKind::NotFound,
            text.trim_start_matches("failed to lookup address information: ").to_owned(),
        )
        .on("a host by name")
    })
}

/// The address family of an internet address.
pub(crate) fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// The size a caller gave to a buffer option, as the kernel takes it.
fn buffer_size(operation: &'static str, bytes: usize) -> Result<usize> {
    if i32::try_from(bytes).is_ok() {
        Ok(bytes)
    } else {
        Err(Error::invalid(operation, format!("{bytes} bytes are more than the kernel can count (2^31 - 1)")))
    }
}

pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    const OPERATION: &str = "set the send buffer of a socket";
    sockopt::set_socket_send_buffer_size(fd, buffer_size(OPERATION, bytes)?).during(OPERATION)?;
    sockopt::socket_send_buffer_size(fd).during(OPERATION)
}

pub(crate) fn force_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    const OPERATION: &str = "set the send buffer of a socket beyond the limit";
    sockopt::set_socket_send_buffer_size_force(fd, buffer_size(OPERATION, bytes)?).during(OPERATION)?;
    sockopt::socket_send_buffer_size(fd).during(OPERATION)
}

pub(crate) fn force_recv_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    const OPERATION: &str = "set the receive buffer of a socket beyond the limit";
    sockopt::set_socket_recv_buffer_size_force(fd, buffer_size(OPERATION, bytes)?).during(OPERATION)?;
    sockopt::socket_recv_buffer_size(fd).during(OPERATION)
}

pub(crate) fn set_recv_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    const OPERATION: &str = "set the receive buffer of a socket";
    sockopt::set_socket_recv_buffer_size(fd, buffer_size(OPERATION, bytes)?).during(OPERATION)?;
    sockopt::socket_recv_buffer_size(fd).during(OPERATION)
}

/// A count the kernel reports as a C int, never negative.
pub(crate) fn count(answer: Result<i32, Errno>, operation: &'static str) -> Result<usize> {
    answer.map(|count| usize::try_from(count).unwrap_or(0)).during(operation)
}

/// An option this kernel may be too old for.
pub(crate) fn optional<T>(answer: Result<T, Errno>, operation: &'static str, since: &'static str) -> Result<T> {
    answer.map_err(|errno| match errno {
        Errno::NOPROTOOPT | Errno::OPNOTSUPP => {
            Error::new(operation, errno).sorted_as(ErrorKind::Unsupported).hint(since)
        }
        _ => Error::new(operation, errno),
    })
}

/// A second descriptor of the same socket, close-on-exec.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::new("duplicate a socket's descriptor", errno)
    })
}

/// Writes the three faces of one call, from a private method that takes a [`Wait`] last.
macro_rules! faces {
    (
        $(#[$attribute:meta])*
        $name:ident, $try_name:ident, $timeout_name:ident = $inner:ident
        ($($argument:ident: $type:ty),*) -> $output:ty
    ) => {
        $(#[$attribute])*
        pub fn $name(&self, $($argument: $type),*) -> $crate::Result<$output> {
            self.$inner($($argument,)* $crate::wait::Wait::Forever)
        }

        #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") that never waits.")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($name), "`](Self::", stringify!($name), "), and")]
        /// `WouldBlock`, without allocating, if it cannot be done at once; nothing has happened then.
        pub fn $try_name(&self, $($argument: $type),*) -> $crate::Result<$output> {
            self.$inner($($argument,)* $crate::wait::Wait::Never)
        }

        #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") that waits no longer than `timeout`.")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($name), "`](Self::", stringify!($name), "), and")]
        /// `TimedOut` if the time passed first; nothing has happened then.
        pub fn $timeout_name(&self, $($argument: $type,)* timeout: std::time::Duration) -> $crate::Result<$output> {
            self.$inner($($argument,)* $crate::wait::Wait::timeout(timeout))
        }
    };
}

/// Descriptor traits for a type that is only a field `fd: OwnedFd`, and the options every socket has.
macro_rules! common_socket {
    ($type:ident) => {
        $crate::socket::socket_options!($type);

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        impl From<$type> for std::os::fd::OwnedFd {
            fn from(socket: $type) -> Self {
                socket.fd
            }
        }

        impl $type {
            fn wrap(fd: std::os::fd::OwnedFd) -> Self {
                Self { fd }
            }
        }
    };
}

/// The options every socket has, for a type with a field `fd` and a function `wrap`.
macro_rules! socket_options {
    ($type:ident) => {
        impl $type {
            /// A second handle of the same socket; what either receives, the other does not.
            ///
            /// # Errors
            /// `LimitReached` without a free descriptor.
            #[doc(alias = "dup")]
            pub fn try_clone(&self) -> $crate::Result<Self> {
                $crate::socket::duplicate(self.fd.as_fd()).map(Self::wrap)
            }

            /// The size of the send buffer in bytes, as the kernel counts: twice what was asked, because half is for
            /// its own bookkeeping.
            ///
            /// # Errors
            /// None is expected on an open socket.
            #[doc(alias = "SO_SNDBUF")]
            pub fn send_buffer_bytes(&self) -> $crate::Result<usize> {
                rustix::net::sockopt::socket_send_buffer_size(&self.fd).during("read the send buffer size of a socket")
            }

            /// Asks for a send buffer of `bytes` and returns what it is now.
            ///
            /// The kernel cuts the request to `net.core.wmem_max`, doubles it (socket(7)), and never goes below a
            /// minimum of a few KiB: read the answer.
            ///
            /// # Errors
            /// `InvalidInput` above 2^31 - 1.
            #[doc(alias = "SO_SNDBUF")]
            pub fn set_send_buffer_bytes(&self, bytes: usize) -> $crate::Result<usize> {
                $crate::socket::set_send_buffer(self.fd.as_fd(), bytes)
            }

            /// [`set_send_buffer_bytes`](Self::set_send_buffer_bytes) without the system's limit, for the privileged.
            ///
            /// # Errors
            /// `PermissionDenied` without `CAP_NET_ADMIN`; `InvalidInput` above 2^31 - 1.
            #[doc(alias = "SO_SNDBUFFORCE")]
            pub fn force_send_buffer_bytes(&self, bytes: usize) -> $crate::Result<usize> {
                $crate::socket::force_send_buffer(self.fd.as_fd(), bytes)
            }

            /// The size of the receive buffer in bytes, doubled like the
            /// [send buffer](Self::send_buffer_bytes).
            ///
            /// # Errors
            /// None is expected on an open socket.
            #[doc(alias = "SO_RCVBUF")]
            pub fn recv_buffer_bytes(&self) -> $crate::Result<usize> {
                rustix::net::sockopt::socket_recv_buffer_size(&self.fd)
                    .during("read the receive buffer size of a socket")
            }

            /// Asks for a receive buffer of `bytes` and returns what it is now: cut to `net.core.rmem_max`, doubled.
            /// (Unix sockets ignore it: what waits there counts against the sender's buffer.)
            ///
            /// # Errors
            /// `InvalidInput` above 2^31 - 1.
            #[doc(alias = "SO_RCVBUF")]
            pub fn set_recv_buffer_bytes(&self, bytes: usize) -> $crate::Result<usize> {
                $crate::socket::set_recv_buffer(self.fd.as_fd(), bytes)
            }

            /// [`set_recv_buffer_bytes`](Self::set_recv_buffer_bytes) without the system's limit, for the privileged.
            ///
            /// # Errors
            /// `PermissionDenied` without `CAP_NET_ADMIN`; `InvalidInput` above 2^31 - 1.
            #[doc(alias = "SO_RCVBUFFORCE")]
            pub fn force_recv_buffer_bytes(&self, bytes: usize) -> $crate::Result<usize> {
                $crate::socket::force_recv_buffer(self.fd.as_fd(), bytes)
            }
        }
    };
}

/// How much waits in a connection's two directions.
macro_rules! queued_bytes {
    ($type:ident) => {
        impl $type {
            /// Bytes that wait to be received here: all of a stream's or of a sequenced-packet socket's, of a
            /// datagram socket only the first message's.
            ///
            /// # Errors
            /// None is expected on a connected socket.
            #[doc(alias = "SIOCINQ", alias = "FIONREAD")]
            pub fn unread_bytes(&self) -> $crate::Result<usize> {
                $crate::socket::count(
                    $crate::sys::socket::unread_bytes(self.fd.as_fd()),
                    "read the number of bytes waiting in a socket",
                )
            }

            /// What was sent and has not been taken by the other end. On a Unix socket this counts kernel memory
            /// (more than the payload), on TCP the bytes not yet acknowledged.
            ///
            /// # Errors
            /// None is expected on a connected socket.
            #[doc(alias = "SIOCOUTQ", alias = "TIOCOUTQ")]
            pub fn unsent_bytes(&self) -> $crate::Result<usize> {
                $crate::socket::count(
                    $crate::sys::socket::unsent_bytes(self.fd.as_fd()),
                    "read the number of bytes a socket has not delivered",
                )
            }
        }
    };
}

/// The face of a connected byte stream, for a type with a field `fd: OwnedFd`.
macro_rules! byte_stream {
    ($type:ident) => {
        impl $type {
            $crate::socket::faces! {
                /// Sends bytes and returns how many went: all of them, unless a signal handler ran in the middle.
                /// The `try_` and `_timeout` forms send what fits, so their count may be less: go on with the rest.
                ///
                /// # Errors
                /// `PeerGone` (`EPIPE`, `ECONNRESET`) if the other end is closed or this one is shut down for
                /// writing; never `SIGPIPE`.
                send, try_send, send_timeout = send_within(bytes: &[u8]) -> usize
            }

            $crate::socket::faces! {
                /// [`send`](Self::send) of several slices, as if they were one.
                ///
                /// # Errors
                /// As [`send`](Self::send), and `TooLarge` or `InvalidInput` for more than 1024 slices.
                #[doc(alias = "sendmsg", alias = "writev")]
                send_vectored, try_send_vectored, send_vectored_timeout =
                    send_vectored_within(slices: &[std::io::IoSlice<'_>]) -> usize
            }

            $crate::socket::faces! {
                /// Receives what is there, waiting for the first byte; 0 means that the other end will send no more
                /// (or that `buffer` is empty).
                ///
                /// # Errors
                /// `PeerGone` (`ECONNRESET`) if the other end died or closed with our bytes unread; what it had sent
                /// before may be lost.
                recv, try_recv, recv_timeout = recv_within(buffer: &mut [u8]) -> usize
            }

            $crate::socket::faces! {
                /// [`recv`](Self::recv) into several slices, filled in order.
                ///
                /// # Errors
                /// As [`recv`](Self::recv), and `TooLarge` or `InvalidInput` for more than 1024 slices.
                #[doc(alias = "recvmsg", alias = "readv")]
                recv_vectored, try_recv_vectored, recv_vectored_timeout =
                    recv_vectored_within(slices: &mut [std::io::IoSliceMut<'_>]) -> usize
            }

            /// Ends one direction or both; the other end reads the end of the stream.
            ///
            /// # Errors
            /// `PeerGone` (`ENOTCONN`) if the connection is gone already.
            pub fn shutdown(&self, how: std::net::Shutdown) -> $crate::Result<()> {
                $crate::socket::shutdown(self.fd.as_fd(), how)
            }

            fn send_within(&self, bytes: &[u8], wait: $crate::wait::Wait) -> $crate::Result<usize> {
                $crate::socket::send(self.fd.as_fd(), bytes, wait).during("send on a stream")
            }

            fn send_vectored_within(
                &self,
                slices: &[std::io::IoSlice<'_>],
                wait: $crate::wait::Wait,
            ) -> $crate::Result<usize> {
                $crate::socket::send_message(self.fd.as_fd(), slices, Default::default(), wait)
                    .during("send on a stream")
            }

            fn recv_within(&self, buffer: &mut [u8], wait: $crate::wait::Wait) -> $crate::Result<usize> {
                $crate::socket::recv(self.fd.as_fd(), buffer, wait).during("receive from a stream")
            }

            fn recv_vectored_within(
                &self,
                slices: &mut [std::io::IoSliceMut<'_>],
                wait: $crate::wait::Wait,
            ) -> $crate::Result<usize> {
                $crate::socket::recv_message(self.fd.as_fd(), slices, None, 0, 0, wait)
                    .map(|came| came.len)
                    .during("receive from a stream")
            }
        }

        impl std::io::Read for &$type {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                Ok(self.recv(buffer)?)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                Ok(self.recv_vectored(slices)?)
            }
        }

        impl std::io::Write for &$type {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(self.send(bytes)?)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                Ok(self.send_vectored(slices)?)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Read for $type {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                (&*self).read_vectored(slices)
            }
        }

        impl std::io::Write for $type {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                (&*self).write(bytes)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(slices)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use {byte_stream, common_socket, faces, queued_bytes, socket_options};

pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: std::net::Shutdown) -> Result<()> {
    let how = match how {
        std::net::Shutdown::Read => rustix::net::Shutdown::Read,
        std::net::Shutdown::Write => rustix::net::Shutdown::Write,
        std::net::Shutdown::Both => rustix::net::Shutdown::Both,
    };
    rustix::net::shutdown(fd, how).during("shut down a connection")
}
