//! Who is at the other end, and what the kernel shall attach to each message.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Credentials;
use crate::error::{During, Result};
use crate::socket::optional;
use crate::sys::socket as sys;

pub(super) fn credentials(fd: BorrowedFd<'_>) -> Result<Credentials> {
    sys::peer_credentials(fd).map(Credentials::from_raw).during("ask who the peer of a socket is")
}

pub(super) fn groups(fd: BorrowedFd<'_>) -> Result<Vec<u32>> {
    const OPERATION: &str = "ask for the groups of a socket's peer";
    let mut groups = vec![0; 32];
    loop {
        let (answer, count) = sys::words_option(fd, sys::SO_PEERGROUPS, &mut groups);
        match answer {
            // The peer's list cannot change, so the second try fits; a process has at most 65536 groups.
            Err(Errno::RANGE) if count > groups.len() => groups.resize(count, 0),
            answer => {
                optional(answer, OPERATION, "it needs Linux 4.13")?;
                groups.truncate(count);
                return Ok(groups);
            }
        }
    }
}

pub(super) fn pidfd(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    optional(sys::peer_pidfd(fd), "open the process at the other end of a socket", "it needs Linux 6.5")
}

pub(super) fn pass_credentials(fd: BorrowedFd<'_>, yes: bool) -> Result<()> {
    rustix::net::sockopt::set_socket_passcred(fd, yes).during("ask for the credentials of senders")
}

pub(super) fn pass_pidfd(fd: BorrowedFd<'_>, yes: bool) -> Result<()> {
    let answer = sys::set_int_option(fd, sys::SO_PASSPIDFD, yes.into());
    optional(answer, "ask for the process descriptors of senders", "it needs Linux 6.5")
}

pub(super) fn pass_rights(fd: BorrowedFd<'_>, yes: bool) -> Result<()> {
    let answer = sys::set_int_option(fd, sys::SO_PASSRIGHTS, yes.into());
    optional(answer, "refuse descriptors on a socket", "it needs Linux 6.16; without it, receive with max_fds(0)")
}

/// Questions about the process at the other end, for a connected type with a field `fd`.
macro_rules! peer_identity {
    ($type:ident) => {
        impl $type {
            /// Who was at the other end when it connected (or listened, or made the pair): set in stone then, whatever
            /// the process became since, and true even if the descriptor was passed on.
            ///
            /// # Errors
            /// None is expected on a connected socket.
            #[doc(alias = "SO_PEERCRED", alias = "getpeereid")]
            pub fn peer_credentials(&self) -> $crate::Result<Credentials> {
                super::peer::credentials(self.fd.as_fd())
            }

            /// The supplementary groups the other end had at that moment.
            ///
            /// # Errors
            /// `Unsupported` before Linux 4.13.
            #[doc(alias = "SO_PEERGROUPS")]
            pub fn peer_groups(&self) -> $crate::Result<Vec<u32>> {
                super::peer::groups(self.fd.as_fd())
            }

            /// A descriptor of the process of [`peer_credentials`](Self::peer_credentials): it never means another
            /// process, and is readable once that one has ended.
            ///
            /// # Errors
            /// `Unsupported` before Linux 6.5; `NotFound` (`ESRCH`) or `InvalidInput` if the process is gone and
            /// reaped, on kernels that do not hand out such descriptors; `LimitReached` without a free descriptor.
            #[doc(alias = "SO_PEERPIDFD")]
            pub fn peer_pidfd(&self) -> $crate::Result<std::os::fd::OwnedFd> {
                super::peer::pidfd(self.fd.as_fd())
            }
        }
    };
}

/// What the kernel shall attach to messages that come, for a type with a field `fd`.
macro_rules! attachments {
    ($type:ident) => {
        impl $type {
            /// Whether every received message shall come with a pidfd of its sender ([`Received::pidfd`]).
            ///
            /// # Errors
            /// `Unsupported` before Linux 6.5.
            #[doc(alias = "SO_PASSPIDFD", alias = "SCM_PIDFD")]
            pub fn set_pass_pidfd(&self, yes: bool) -> $crate::Result<()> {
                super::peer::pass_pidfd(self.fd.as_fd(), yes)
            }

            /// Whether senders may attach descriptors (they may, by default). Refusing protects from peers that stuff
            /// the queue with descriptors: their send fails with `PermissionDenied`.
            ///
            /// # Errors
            /// `Unsupported` before Linux 6.16.
            #[doc(alias = "SO_PASSRIGHTS", alias = "SCM_RIGHTS")]
            pub fn set_pass_rights(&self, yes: bool) -> $crate::Result<()> {
                super::peer::pass_rights(self.fd.as_fd(), yes)
            }
        }
    };
}

/// Asking for credentials, where it is a choice.
macro_rules! credentials_choice {
    ($type:ident) => {
        impl $type {
            /// Whether every received message shall come with its sender's [`Credentials`](super::Credentials)
            /// ([`Received::credentials`]). A message sent before this was on shows user and group 65534.
            ///
            /// Side effect of Linux: a socket that asks and has no name gets an abstract one when it connects or
            /// sends.
            ///
            /// # Errors
            /// None is expected on an open socket.
            #[doc(alias = "SO_PASSCRED", alias = "SCM_CREDENTIALS")]
            pub fn set_pass_credentials(&self, yes: bool) -> $crate::Result<()> {
                super::peer::pass_credentials(self.fd.as_fd(), yes)
            }
        }
    };
}

pub(super) use {attachments, credentials_choice, peer_identity};
