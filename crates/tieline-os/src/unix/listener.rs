//! Where clients connect: listeners of streams and of sequenced packets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::bind::{self, BoundFile};
use super::{Address, BindOptions, SeqPacket, Stream, name, peer};
use crate::error::{During, Error, Result};
use crate::socket;
use crate::wait::Wait;

/// A listening socket. The field order matters: the file goes before the socket closes, so nobody sees it dead.
#[derive(Debug)]
struct Listening {
    file: Option<BoundFile>,
    fd: OwnedFd,
}

impl Listening {
    fn bind(kind: SocketType, address: &Address, options: BindOptions) -> Result<Self> {
        // Non-blocking from birth: accepting has no flag to say so per call, and nobody shares this socket yet.
        let fd = socket::open(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK)?;
        if kind == SocketType::SEQPACKET {
            // Accepted sockets inherit it (newer kernels), so that not even their first message comes without.
            peer::pass_credentials(fd.as_fd(), true)?;
        }
        let file = bind::bind(&fd, address, options)?;
        rustix::net::listen(&fd, options.raw_backlog())
            .map_err(|errno| Error::new("listen on Unix socket", errno).on(address))?;
        Ok(Self { file, fd })
    }

    fn from_fd(kind: SocketType, fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::UNIX], kind, true)?;
        rustix::io::ioctl_fionbio(&fd, true).during("take over a socket")?;
        Ok(Self { file: None, fd })
    }

    fn accept(&self, wait: Wait) -> Result<OwnedFd> {
        socket::accept(self.fd.as_fd(), wait, || rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC))
            .map_err(socket::accept_error)
    }

    fn into_fd(self) -> OwnedFd {
        // The descriptor goes on serving the name, so the file must stay.
        let _ = self.file.map(BoundFile::keep);
        self.fd
    }
}

/// Writes a listener type around [`Listening`].
macro_rules! listener {
    ($(#[$attribute:meta])* $listener:ident, $connection:ident, $kind:expr, $wrap:expr) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $listener(Listening);

        impl $listener {
            /// Binds the name and listens: owner only, a backlog of 128, a dead socket file replaced, the file removed
            /// by drop. An unnamed address asks the kernel for a free abstract name.
            ///
            /// # Errors
            /// `AlreadyExists` if a live process has the name, or the file is no socket; `NotFound` without the
            /// directory; `PermissionDenied` without write permission there; `Busy` if another process holds the
            /// right to replace the file for seconds; `InvalidInput` if the file name is too long for a socket.
            #[doc(alias = "listen")]
            pub fn bind(address: &Address) -> Result<Self> {
                Self::bind_with(address, BindOptions::new())
            }

            /// [`bind`](Self::bind) with another mode, backlog, or treatment of the file.
            ///
            /// # Errors
            /// As [`bind`](Self::bind).
            pub fn bind_with(address: &Address, options: BindOptions) -> Result<Self> {
                Listening::bind($kind, address, options).map(Self)
            }

            /// Takes over a listening socket (from a service manager, say) and makes its description non-blocking,
            /// for everyone who shares it. Its file is never removed.
            ///
            /// # Errors
            /// `InvalidInput` if it is something else; the descriptor is closed then.
            pub fn from_fd(fd: OwnedFd) -> Result<Self> {
                Listening::from_fd($kind, fd).map(Self)
            }

            /// Waits for a client and accepts it.
            ///
            /// # Errors
            /// `LimitReached` (`EMFILE`, `ENFILE`) without a free descriptor: the client still waits and the next call
            /// fails at once, so make room first.
            #[doc(alias = "accept4")]
            pub fn accept(&self) -> Result<$connection> {
                self.0.accept(Wait::Forever).and_then($wrap)
            }

            /// [`accept`](Self::accept) that never waits.
            ///
            /// # Errors
            /// As [`accept`](Self::accept), and `WouldBlock`, without allocating, if nobody waits.
            pub fn try_accept(&self) -> Result<$connection> {
                self.0.accept(Wait::Never).and_then($wrap)
            }

            /// [`accept`](Self::accept) that waits no longer than `timeout`.
            ///
            /// # Errors
            /// As [`accept`](Self::accept), and `TimedOut`.
            pub fn accept_timeout(&self, timeout: Duration) -> Result<$connection> {
                self.0.accept(Wait::timeout(timeout)).and_then($wrap)
            }

            /// The name clients connect to, as the kernel knows it.
            ///
            /// # Errors
            /// None is expected on an open socket.
            #[doc(alias = "getsockname")]
            pub fn local_address(&self) -> Result<Address> {
                name::local(self.0.fd.as_fd())
            }
        }

        impl AsFd for $listener {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.fd.as_fd()
            }
        }

        impl From<$listener> for OwnedFd {
            /// The file, if any, stays.
            fn from(listener: $listener) -> Self {
                listener.0.into_fd()
            }
        }
    };
}

listener! {
    /// Accepts [`Stream`]s under a name.
    ///
    /// Clients wait in the backlog until accepted; their `connect` has succeeded by then. Several threads or processes
    /// may accept from one listener.
    ///
    /// The name of a file is bound safely: see [`bind`](Self::bind) and [`BindOptions`]. On drop the file is removed
    /// if it is still the one this listener made (same device and inode) and the process is the one that made it.
    /// After a `kill -9` the file stays, refuses connections, and the next `bind` replaces it.
    StreamListener, Stream, SocketType::STREAM, |fd| Ok(Stream { fd })
}

listener! {
    /// Accepts [`SeqPacket`] connections under a name, as [`StreamListener`] does streams.
    SeqPacketListener, SeqPacket, SocketType::SEQPACKET, SeqPacket::telling_the_end
}
