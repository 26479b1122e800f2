//! What travels beside the bytes: descriptors, credentials, a process descriptor, the sender's name.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::socket as sys;

/// Who a process is: what `SO_PEERCRED` and `SCM_CREDENTIALS` carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "ucred")]
pub struct Credentials {
    /// The process id as this process sees it; `None` if it lives outside our pid namespace. It may have been given
    /// to another process since: to act on the process, use its pidfd.
    pub pid: Option<u32>,
    /// The user id, mapped to our user namespace (65534 if it has no place there).
    pub uid: u32,
    /// The group id, likewise.
    pub gid: u32,
}

impl Credentials {
    /// This process with its effective user and group.
    #[must_use]
    pub fn own() -> Self {
        Self {
            pid: Some(std::process::id()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    pub(super) fn from_raw([pid, uid, gid]: [u32; 3]) -> Self {
        Self { pid: (pid != 0).then_some(pid), uid, gid }
    }

    pub(super) fn to_raw(self) -> [u32; 3] {
        [self.pid.unwrap_or(0), self.uid, self.gid]
    }
}

/// What to send beside the bytes. The default is nothing.
///
/// ```
/// use std::io::{IoSlice, IoSliceMut};
/// use std::os::fd::AsFd;
/// use tieline_os::unix::{RecvOptions, SendOptions, Stream};
///
/// let (here, there) = Stream::pair()?;
/// let null = std::fs::File::open("/dev/null").unwrap();
/// here.send_with(&[IoSlice::new(b"take this")], SendOptions::new().fds(&[null.as_fd()]))?;
/// let mut buffer = [0; 16];
/// let got = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new().max_fds(1))?;
/// assert_eq!((got.len, got.fds.len()), (9, 1));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions<'a> {
    fds: &'a [BorrowedFd<'a>],
    credentials: Option<Credentials>,
}

impl<'a> SendOptions<'a> {
    /// The most descriptors one message carries (`SCM_MAX_FD`).
    pub const MAX_FDS: usize = sys::MAX_FDS;

    /// Nothing beside the bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { fds: &[], credentials: None }
    }

    /// Sends copies of these descriptors; ours stay open. At most 253, and on a stream at least one byte must go along.
    #[must_use]
    #[doc(alias = "SCM_RIGHTS")]
    pub const fn fds(mut self, fds: &'a [BorrowedFd<'a>]) -> Self {
        self.fds = fds;
        self
    }

    /// Claims to be this. The kernel checks it: only one's own process, and any of one's real, effective and saved
    /// ids, unless privileged. The receiver sees it if it asked for credentials; if none are claimed it sees the
    /// true ones.
    #[must_use]
    #[doc(alias = "SCM_CREDENTIALS")]
    pub const fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Refuses what the kernel would refuse less clearly.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        if self.fds.len() > Self::MAX_FDS {
            return Err(Error::of_kind(
                operation,
                ErrorKind::TooLarge,
                format!("{} descriptors were given and {} is the most in one message", self.fds.len(), Self::MAX_FDS),
            ));
        }
        Ok(())
    }

    pub(super) fn has_fds(&self) -> bool {
        !self.fds.is_empty()
    }

    pub(super) fn attached(&self, to: Option<&'a sys::RawName>) -> sys::Attached<'a> {
        sys::Attached { to, fds: self.fds, credentials: self.credentials.map(Credentials::to_raw) }
    }

    /// Says what an errno of `sendmsg` means for what was asked.
    pub(super) fn explain(&self, operation: &'static str, errno: Errno) -> Error {
        let error = Error::new(operation, errno);
        match errno {
            Errno::AGAIN | Errno::TIMEDOUT => error,
            Errno::MSGSIZE => error.hint("a message must fit the send buffer less 32 bytes: raise it, or send less"),
            Errno::TOOMANYREFS => error.hint("too many descriptors are on their way (RLIMIT_NOFILE of this user)"),
            Errno::PERM if self.credentials.is_some() => error.hint("only true credentials may be claimed"),
            Errno::PERM if self.has_fds() => error.hint("the receiver does not take descriptors (SO_PASSRIGHTS)"),
            Errno::PERM => error.hint("the receiver is connected to another socket"),
            Errno::BADF if self.has_fds() => error.hint("one of the descriptors is not open"),
            Errno::DESTADDRREQ | Errno::NOTCONN => error.hint("the socket is not connected"),
            _ => error,
        }
    }
}

/// How to receive. The default takes no descriptors.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecvOptions {
    max_fds: usize,
    flags: i32,
}

impl RecvOptions {
    /// Bytes only: descriptors that come are closed and reported by [`Received::control_truncated`].
    #[must_use]
    pub const fn new() -> Self {
        Self { max_fds: 0, flags: 0 }
    }

    /// Takes up to `max_fds` descriptors with one message (253 is the most there can be); more are closed, never
    /// leaked, and reported by [`Received::control_truncated`].
    #[must_use]
    pub const fn max_fds(mut self, max_fds: usize) -> Self {
        self.max_fds = max_fds;
        self
    }

    /// Leaves the message where it is, to be received again. Descriptors are copied each time.
    #[must_use]
    #[doc(alias = "MSG_PEEK")]
    pub const fn peek(mut self) -> Self {
        self.flags |= libc::MSG_PEEK;
        self
    }

    /// On a stream, waits until the buffers are full, the stream ends, or a signal handler runs.
    /// With a deadline it means nothing: what is there is taken.
    #[must_use]
    #[doc(alias = "MSG_WAITALL")]
    pub const fn wait_all(mut self) -> Self {
        self.flags |= libc::MSG_WAITALL;
        self
    }

    pub(super) fn limits(self) -> (usize, i32) {
        (self.max_fds, self.flags)
    }
}

/// A received message, or a piece of a stream, with what came beside it.
#[derive(Debug)]
#[must_use = "dropping it closes the descriptors that came"]
#[non_exhaustive]
pub struct Received {
    /// Bytes now in the buffers.
    pub len: usize,
    /// The message was longer than the buffers and its end is lost. Never on a stream.
    pub truncated: bool,
    /// More was attached than was asked for (or than this process may open): what did not fit is closed, what did is
    /// here.
    pub control_truncated: bool,
    /// The descriptors, close-on-exec, in the order they were sent.
    pub fds: Vec<OwnedFd>,
    /// Who sent it, if the socket asks (`set_pass_credentials`; always on a sequenced-packet socket).
    pub credentials: Option<Credentials>,
    /// The sending process, if the socket asks (`set_pass_pidfd`) and the process still exists.
    pub pidfd: Option<OwnedFd>,
    /// The sender's name, on a datagram socket.
    pub address: Option<Address>,
}

impl Received {
    /// `room` is how many bytes the buffers hold.
    pub(super) fn new(came: sys::Came, room: usize, address: Option<Address>) -> Self {
        Self {
            len: came.len.min(room),
            truncated: came.flags & libc::MSG_TRUNC != 0,
            control_truncated: came.flags & libc::MSG_CTRUNC != 0,
            fds: came.fds,
            credentials: came.credentials.map(Credentials::from_raw),
            pidfd: came.pidfd,
            address,
        }
    }
}
