//! Other namespaces: to run a function where names mean something else.
//!
//! A System V id, a queue's name, a port, an abstract socket name or a path means something within one namespace only.
//! To look at the objects of a container, a thread must be in its namespaces. A [`Namespace`] is a hold on one;
//! [`run`](Namespace::run) calls a function in it.
//!
//! **The invariant: nobody else is moved.** Each call has a thread of its own, which enters the namespace, runs the
//! function and ends. It never returns to another use, because a thread cannot be sure to come back: its old namespace
//! may refuse it. What the function *opened* stays where it was opened: a socket made in another network namespace goes
//! on working there, whoever uses it afterwards.
//!
//! ```
//! use tieline_os::namespace::{Kind, Namespace};
//!
//! let own = Namespace::own(Kind::Ipc)?;
//! let same = Namespace::of_process(std::process::id(), Kind::Ipc)?;
//! assert_eq!(own.inode(), same.inode());
//! // Its own is the one namespace that every program may "enter".
//! let segments = own.run(|| tieline_os::sysv::shm::segments().map(Iterator::count))??;
//! # let _ = segments;
//! # Ok::<(), tieline_os::Error>(())
//! ```
//!
//! See namespaces(7), setns(2), `ipc_namespaces(7)`, `network_namespaces(7)`, `mount_namespaces(7)`.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{During, Error, ErrorKind, Result};
use crate::signal::{self, SignalSet};
use crate::sys;

const OPEN: &str = "open namespace";
const ENTER: &str = "enter namespace";

/// Which sort of names a namespace gives a meaning to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// System V objects and POSIX message queues.
    Ipc,
    /// Paths: what is mounted where.
    Mount,
    /// Ports, network addresses, abstract names of Unix sockets.
    Net,
}

impl Kind {
    /// The word for it below `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Net => "net",
        }
    }

    fn link_type(self) -> LinkNameSpaceType {
        match self {
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Mount => LinkNameSpaceType::Mount,
            Self::Net => LinkNameSpaceType::Network,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A hold on one namespace: it stays as long as this value, also when its last process has ended.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    kind: Kind,
    inode: u64,
}

impl Namespace {
    /// The namespace that a process lives in.
    ///
    /// A pid is used again: if it matters that the process is still the one that was meant, compare
    /// [`inode`](Self::inode) with what was seen before.
    ///
    /// # Errors
    /// * `NotFound`: there is no such process, or this kernel has no such namespaces.
    /// * `PermissionDenied`: the process is another user's and we may not trace it.
    #[doc(alias = "/proc/PID/ns")]
    pub fn of_process(pid: u32, kind: Kind) -> Result<Self> {
        Self::open(&format!("/proc/{pid}/ns/{kind}"), kind)
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// `NotFound` without a `/proc`, or if this kernel has no such namespaces.
    pub fn own(kind: Kind) -> Result<Self> {
        Self::open(&format!("/proc/thread-self/ns/{kind}"), kind)
    }

    fn open(path: &str, kind: Kind) -> Result<Self> {
        let failed = |errno: Errno| Error::new(OPEN, errno).on(path);
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty()).map_err(failed)?;
        let inode = rustix::fs::fstat(&fd).map_err(failed)?.st_ino;
        Ok(Self { fd, kind, inode })
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its number, by which the kernel tells namespaces apart: the inode of `/proc/PID/ns/KIND`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `body` in this namespace, in a thread made for it, and gives back what it returned. It blocks until then.
    ///
    /// The caller's thread and all others stay where they are. In the new thread signals are blocked, so that no handler
    /// of the program runs among foreign names; a thread that `body` starts inherits the namespace and may outlive the
    /// call. `/proc/self` is still the program's first thread: read `/proc/thread-self` instead. For a mount namespace
    /// the thread gets a root and a working directory of its own (`/` of that namespace).
    ///
    /// A namespace that the calling thread is in already is not entered, so it needs no privilege.
    ///
    /// # Errors
    /// * `PermissionDenied`: entering needs `CAP_SYS_ADMIN` both in the namespace's user namespace and in our own, and for
    ///   a mount namespace `CAP_SYS_CHROOT` too. A program with several threads cannot enter the user namespace first.
    /// * `WouldBlock`, `LimitReached`, `OutOfMemory`: no thread could be made.
    ///
    /// # Panics
    /// If `body` panics, with its panic.
    #[doc(alias = "setns")]
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || {
            signal::block(SignalSet::ALL)?;
            self.enter()?;
            Ok(body())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name(format!("namespace {}", self.kind))
                .spawn_scoped(scope, inside)
                .map_err(|error| {
                    Error::new(ENTER, crate::descriptor::errno_of(&error)).hint("no thread could be made")
                })?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Moves the calling thread, which must be one that ends soon.
    fn enter(&self) -> Result<()> {
        if Self::own(self.kind).is_ok_and(|own| own.inode == self.inode) {
            return Ok(());
        }
        if self.kind == Kind::Mount {
            // The kernel moves the root and the working directory as well, which threads share unless told otherwise.
            sys::namespace::unshare_file_system_state().during(ENTER)?;
        }
        move_into_link_name_space(self.fd.as_fd(), Some(self.kind.link_type())).map_err(|errno| {
            let error = Error::new(ENTER, errno).on(format_args!("{}:[{}]", self.kind, self.inode));
            if error.kind() == ErrorKind::PermissionDenied {
                return error.hint("it takes CAP_SYS_ADMIN in that namespace's user namespace and in one's own");
            }
            error
        })
    }
}
