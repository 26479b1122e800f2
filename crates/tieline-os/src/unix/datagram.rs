//! Messages without a connection (`SOCK_DGRAM`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::bind::{self, BoundFile};
use super::peer::{attachments, credentials_choice};
use super::{Address, BindOptions, Received, RecvOptions, SendOptions, connect_error, name};
use crate::Packet;
use crate::error::{During, Error, Result};
use crate::socket::{self, faces, queued_bytes, socket_options};
use crate::sys::socket as sys;
use crate::wait::{Wait, wait_for};

/// A socket that sends and receives single messages, to and from any number of others.
///
/// Unlike UDP nothing is lost or reordered: a sender waits while the receiver's queue is full
/// (`net.unix.max_dgram_qlen`, usually 10 messages, plus one; between a connected pair only the sender's buffer
/// counts). An empty message is a message. When a receiver dies, sending to it fails with `PeerGone`; a receiver is
/// not told when senders die. Dropping a socket bound to a file removes the file, as a listener does.
///
/// ```
/// use tieline_os::unix::{Address, Datagram};
/// let name = Address::abstract_name(format!("doc-datagram-{}", std::process::id()))?;
/// let server = Datagram::bind(&name)?;
/// let client = Datagram::bind(&Address::UNNAMED)?; // a name of the kernel's choice, to be answered at
/// client.send_to(b"ping", &name)?;
/// let mut buffer = [0; 16];
/// let (packet, sender) = server.recv_from(&mut buffer)?;
/// server.send_to(&buffer[..packet.len], &sender)?;
/// assert_eq!(client.recv(&mut buffer)?.len, 4);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "SOCK_DGRAM")]
pub struct Datagram {
    // Before the socket closes, so that nobody sees the file dead.
    file: Option<BoundFile>,
    fd: OwnedFd,
}

impl Datagram {
    /// A socket without a name: it can send, and nobody can send to it, not even to answer.
    ///
    /// # Errors
    /// `LimitReached` without a free descriptor.
    #[doc(alias = "socket")]
    pub fn unbound() -> Result<Self> {
        socket::open(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty()).map(Self::wrap)
    }

    /// Binds a new socket to a name, owner only, replacing a dead socket file. An unnamed address asks the kernel for
    /// a free abstract name.
    ///
    /// # Errors
    /// As [`StreamListener::bind`](super::StreamListener::bind).
    pub fn bind(address: &Address) -> Result<Self> {
        Self::bind_with(address, BindOptions::new())
    }

    /// [`bind`](Self::bind) with another mode or treatment of the file.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(address: &Address, options: BindOptions) -> Result<Self> {
        let mut socket = Self::unbound()?;
        socket.file = bind::bind(&socket.fd, address, options)?;
        Ok(socket)
    }

    /// Two sockets connected to each other.
    ///
    /// # Errors
    /// `LimitReached` without two free descriptors.
    #[doc(alias = "socketpair")]
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = super::pair(SocketType::DGRAM)?;
        Ok((Self::wrap(one), Self::wrap(other)))
    }

    /// Takes over a descriptor that is a Unix datagram socket. Its file is never removed.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::UNIX], SocketType::DGRAM, false)?;
        Ok(Self::wrap(fd))
    }

    /// Sends to `address` from now on, and receives only from there. Does not wait.
    ///
    /// # Errors
    /// `NotFound` without such a file; `PeerGone` (`ECONNREFUSED`) if no process has it bound; `PermissionDenied`
    /// without write permission, or if that socket is itself connected to another.
    pub fn connect(&self, address: &Address) -> Result<()> {
        const OPERATION: &str = "connect to Unix socket";
        let target = name::Existing::of(address, OPERATION)?;
        sys::connect(self.fd.as_fd(), target.raw()).map_err(|errno| connect_error(OPERATION, address, errno))
    }

    faces! {
        /// Sends one message to the connected socket, whole.
        ///
        /// # Errors
        /// `PeerGone` (`ECONNREFUSED`, `ECONNRESET`, `ENOTCONN`) if it is gone or there never was one; `TooLarge`
        /// (`EMSGSIZE`) if the message is longer than the send buffer less 32 bytes.
        send, try_send, send_timeout = send_within(message: &[u8]) -> ()
    }

    faces! {
        /// Sends one message to `address`, whole. A path longer than 107 bytes costs two more system calls.
        ///
        /// # Errors
        /// As [`send`](Self::send), and those of [`connect`](Self::connect).
        #[doc(alias = "sendto")]
        send_to, try_send_to, send_to_timeout = send_to_within(message: &[u8], address: &Address) -> ()
    }

    faces! {
        /// Sends one message made of several slices, with descriptors or credentials; to `address`, or without one to
        /// the connected socket.
        ///
        /// # Errors
        /// As [`send_to`](Self::send_to); `TooLarge` above 253 descriptors; `LimitReached` (`ETOOMANYREFS`) if too many
        /// are on their way; `PermissionDenied` for false credentials or if the receiver refuses descriptors.
        #[doc(alias = "sendmsg", alias = "SCM_RIGHTS")]
        send_with, try_send_with, send_with_timeout =
            send_with_within(slices: &[IoSlice<'_>], address: Option<&Address>, options: SendOptions<'_>) -> ()
    }

    faces! {
        /// Receives one message.
        ///
        /// # Errors
        /// `PeerGone` (`ECONNRESET`) once, if the connected socket turned to another with our messages unread. That it was closed or its
        /// process died is not told here, only to senders: use a deadline, or a [`SeqPacket`](super::SeqPacket).
        recv, try_recv, recv_timeout = recv_within(buffer: &mut [u8]) -> Packet
    }

    faces! {
        /// Receives one message and its sender's name (unnamed if the sender is not bound). Does not allocate.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        #[doc(alias = "recvfrom")]
        recv_from, try_recv_from, recv_from_timeout = recv_from_within(buffer: &mut [u8]) -> (Packet, Address)
    }

    faces! {
        /// Receives one message into several slices, with its sender's name and what came beside it.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        #[doc(alias = "recvmsg", alias = "SCM_RIGHTS")]
        recv_with, try_recv_with, recv_with_timeout =
            recv_with_within(slices: &mut [IoSliceMut<'_>], options: RecvOptions) -> Received
    }

    /// Ends one direction or both of a connected socket.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if it is not connected.
    pub fn shutdown(&self, how: std::net::Shutdown) -> Result<()> {
        socket::shutdown(self.fd.as_fd(), how)
    }

    /// The name this socket is bound to.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Address> {
        name::local(self.fd.as_fd())
    }

    /// The name of the connected socket.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if there is none.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<Address> {
        name::peer(self.fd.as_fd())
    }

    fn wrap(fd: OwnedFd) -> Self {
        Self { file: None, fd }
    }

    fn send_within(&self, message: &[u8], wait: Wait) -> Result<()> {
        socket::send(self.fd.as_fd(), message, wait)
            .map(drop)
            .map_err(|errno| SendOptions::new().explain("send a datagram", errno))
    }

    fn send_to_within(&self, message: &[u8], address: &Address, wait: Wait) -> Result<()> {
        self.send_with_within(&[IoSlice::new(message)], Some(address), SendOptions::new(), wait)
    }

    fn send_with_within(
        &self,
        slices: &[IoSlice<'_>],
        address: Option<&Address>,
        options: SendOptions<'_>,
        wait: Wait,
    ) -> Result<()> {
        const OPERATION: &str = "send a datagram";
        options.check(OPERATION)?;
        let Some(address) = address else {
            return socket::send_message(self.fd.as_fd(), slices, options.attached(None), wait)
                .map(drop)
                .map_err(|errno| options.explain(OPERATION, errno));
        };
        let target = name::Existing::of(address, OPERATION)?;
        let attached = options.attached(Some(target.raw()));
        let answer = send_to(self.fd.as_fd(), slices, attached, target.raw(), wait);
        answer.map_err(|errno| match errno {
            Errno::AGAIN | Errno::TIMEDOUT => Error::new(OPERATION, errno),
            Errno::NOENT | Errno::CONNREFUSED | Errno::PROTOTYPE | Errno::ACCESS => {
                connect_error(OPERATION, address, errno)
            }
            errno => options.explain(OPERATION, errno),
        })
    }

    fn recv_within(&self, buffer: &mut [u8], wait: Wait) -> Result<Packet> {
        socket::recv_packet(self.fd.as_fd(), buffer, wait).during("receive a datagram")
    }

    fn recv_from_within(&self, buffer: &mut [u8], wait: Wait) -> Result<(Packet, Address)> {
        let room = buffer.len();
        let (came, address) = self.came(&mut [IoSliceMut::new(buffer)], RecvOptions::new(), wait)?;
        Ok((Packet { len: came.len.min(room), full_len: came.len }, address))
    }

    fn recv_with_within(&self, slices: &mut [IoSliceMut<'_>], options: RecvOptions, wait: Wait) -> Result<Received> {
        let room = slices.iter().map(|slice| slice.len()).sum();
        let (came, address) = self.came(slices, options, wait)?;
        Ok(Received::new(came, room, Some(address)))
    }

    fn came(&self, slices: &mut [IoSliceMut<'_>], options: RecvOptions, wait: Wait) -> Result<(sys::Came, Address)> {
        let (max_fds, flags) = options.limits();
        let mut name = sys::RawName::EMPTY;
        let flags = flags | libc::MSG_TRUNC;
        let came = socket::recv_message(self.fd.as_fd(), slices, Some(&mut name), max_fds, flags, wait)
            .during("receive a datagram")?;
        Ok((came, Address::from_raw(&name)))
    }
}

/// Sends to a named socket within the time.
///
/// That the receiver's queue is full cannot be seen by polling the sender, which is not connected to it. A second
/// socket, connected there and used for nothing else, can be polled for it; it is made only if there is need to wait.
fn send_to(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    attached: sys::Attached<'_>,
    target: &sys::RawName,
    wait: Wait,
) -> Result<(), Errno> {
    let mut watch = None;
    let at_once = !matches!(wait, Wait::Forever);
    loop {
        match sys::send_message(fd, slices, attached, libc::MSG_NOSIGNAL | socket::dont_wait(at_once)) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if matches!(wait, Wait::Never) => return Err(Errno::AGAIN),
            Err(Errno::AGAIN) => {
                let watch = match &watch {
                    Some(watch) => watch,
                    None => watch.insert(watching(target)?),
                };
                wait_for(fd, PollFlags::OUT, wait)?;
                wait_for(watch, PollFlags::OUT, wait)?;
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn watching(target: &sys::RawName) -> Result<OwnedFd, Errno> {
    let watch = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::connect(watch.as_fd(), target)?;
    Ok(watch)
}

socket_options!(Datagram);
queued_bytes!(Datagram);
attachments!(Datagram);
credentials_choice!(Datagram);

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Datagram> for OwnedFd {
    /// The file, if any, stays.
    fn from(socket: Datagram) -> Self {
        let _ = socket.file.map(BoundFile::keep);
        socket.fd
    }
}
