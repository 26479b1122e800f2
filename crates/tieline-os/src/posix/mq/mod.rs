//! POSIX message queues: bounded, ordered by priority, pollable.
//!
//! A queue holds at most [`capacity`](Attributes::capacity) messages of at most
//! [`message_size`](Attributes::message_size) bytes each. The invariant: a message is received whole, by one
//! receiver, the highest priority first and the oldest first within one priority. Sending to a full queue and
//! receiving from an empty one wait.
//!
//! A queue belongs to an IPC namespace, is kept until [unlinked](MessageQueue::unlink) or the machine restarts, and
//! knows nothing of its users: when a peer dies, messages stay, and the other side waits on. Use deadlines.
//!
//! # Deadlines
//! The C calls take a moment of the wall clock, so that setting the clock shortens or lengthens their waits. Here the
//! timed forms wait by `poll` on the monotonic clock and then send or receive without waiting. Two things follow: a
//! receiver with a deadline gets a message only if no receiver without one was waiting, and it does not keep back a
//! notification (see [`MessageQueue::notify_signal`]).
//!
//! The `try_` forms do not touch the `O_NONBLOCK` flag, which everyone who shares the descriptor would see.
//!
//! Sources: POSIX.1-2024 `mq_open`, `mq_send`, `mq_receive`, `mq_notify`; Linux `mq_overview(7)`.

mod limits;
mod listing;

use std::ffi::{OsStr, c_long};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};

use super::name::Name;
use crate::error::{During, Error, Result};
use crate::signal::Signal;
use crate::sys::mq::{self as sys, Blocking};
use crate::wait::{Wait, retry_when_ready};
use crate::{Access, Mode};

use limits::explain;
pub use limits::{Limits, limits};
pub use listing::{Listed, Status};

/// The highest priority of a message, on Linux 32767; the lowest is 0.
#[doc(alias = "MQ_PRIO_MAX")]
pub const PRIORITY_MAX: u32 = 32767;

/// The size of a queue, fixed when it is created.
///
/// Without privilege Linux allows 10 messages of 8192 bytes, see [`limits()`], and all queues of a user together
/// `RLIMIT_MSGQUEUE` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// How many messages fit.
    pub capacity: usize,
    /// How many bytes a message has at most.
    pub message_size: usize,
}

/// What one receive call took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the buffer holds a message only up to `len`"]
pub struct Received {
    /// How many bytes of the buffer the message fills; zero is a message too.
    pub len: usize,
    /// Its priority, from 0 to [`PRIORITY_MAX`].
    pub priority: u32,
}

/// A message queue, open.
///
/// It is a pollable descriptor: readable while there is a message, writable while there is room. Dropping it closes
/// the descriptor; queue and messages stay. Handles may be used by several threads at once.
///
/// ```
/// use tieline_os::posix::mq::{Attributes, MessageQueue};
/// use tieline_os::{Access, Mode};
///
/// let name = format!("/tieline-example-{}", std::process::id());
/// let size = Attributes { capacity: 4, message_size: 64 };
/// let jobs = MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER)?;
/// jobs.send(b"later", 1)?;
/// jobs.send(b"urgent", 9)?;
///
/// let mut buffer = vec![0; jobs.message_size()];
/// let first = jobs.receive(&mut buffer)?;
/// MessageQueue::unlink(&name)?;
/// assert_eq!((&buffer[..first.len], first.priority), (&b"urgent"[..], 9));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "mqd_t", alias = "mq_close")]
pub struct MessageQueue {
    fd: OwnedFd,
    size: Attributes,
}

impl MessageQueue {
    /// Makes a new queue. The umask is taken off `mode`.
    ///
    /// # Errors
    /// * `AlreadyExists`; `PermissionDenied`.
    /// * `InvalidInput`: the name is not `/name`, or capacity or message size is zero.
    /// * `LimitReached`: the size is beyond [`limits()`], the user has too many bytes in queues, or the machine too many
    ///   queues; the message names the limit and its value.
    /// * `OutOfMemory`; `Unsupported`: the kernel has no message queues.
    #[doc(alias = "mq_open")]
    pub fn create(name: impl AsRef<OsStr>, size: Attributes, access: Access, mode: Mode) -> Result<Self> {
        open("create message queue", name.as_ref(), access, libc::O_CREAT | libc::O_EXCL, mode, Some(size))
    }

    /// Opens an existing queue.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; `InvalidInput`: the name is not `/name`; `LimitReached`: no free descriptor.
    #[doc(alias = "mq_open")]
    pub fn open(name: impl AsRef<OsStr>, access: Access) -> Result<Self> {
        open("open message queue", name.as_ref(), access, 0, Mode::OWNER, None)
    }

    /// Opens the queue or creates it, in one step. Size and mode count only if it is created; see
    /// [`attributes`](Self::attributes) for the size it has.
    ///
    /// # Errors
    /// As [`create`](Self::create), without `AlreadyExists`. A size beyond the limits is refused only if it
    /// would count.
    #[doc(alias = "mq_open")]
    pub fn open_or_create(name: impl AsRef<OsStr>, size: Attributes, access: Access, mode: Mode) -> Result<Self> {
        open("open or create message queue", name.as_ref(), access, libc::O_CREAT, mode, Some(size))
    }

    /// The same with the size that the namespace gives to queues for which none is asked
    /// (`/proc/sys/fs/mqueue/msg_default`, `msgsize_default`), which [`attributes`](Self::attributes) tells.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    #[doc(alias = "mq_open")]
    pub fn open_or_create_default(name: impl AsRef<OsStr>, access: Access, mode: Mode) -> Result<Self> {
        open("open or create message queue", name.as_ref(), access, libc::O_CREAT, mode, None)
    }

    /// Takes a descriptor that came from elsewhere, after checking that it is a message queue. On failure it is
    /// closed.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let attributes = sys::attributes(fd.as_fd()).map_err(|errno| {
            let error = Error::new("accept message queue", errno);
            if errno == Errno::BADF { error.hint("the descriptor is something else") } else { error }
        })?;
        Ok(Self { fd, size: Attributes { capacity: attributes.capacity, message_size: attributes.message_size } })
    }

    /// Removes the name. Who has the queue open goes on with it; the messages go with the last of them. The same name
    /// can be created anew.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` unless it is ours (or we are root); `InvalidInput` for a wrong name.
    #[doc(alias = "mq_unlink")]
    pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
        const UNLINK: &str = "unlink message queue";
        let name = Name::new(UNLINK, name.as_ref(), "")?;
        sys::unlink(name.as_c_str()).map_err(|errno| Error::new(UNLINK, errno).on(&name))
    }

    /// Appends a message behind those of its priority; waits while the queue is full. An empty message is a message.
    ///
    /// # Errors
    /// `TooLarge`: longer than the queue's messages; `InvalidInput`: a priority above [`PRIORITY_MAX`], or the queue
    /// is open for reading only.
    #[doc(alias = "mq_send")]
    pub fn send(&self, bytes: &[u8], priority: u32) -> Result<()> {
        self.send_within(bytes, priority, Wait::Forever)
    }

    /// As [`send`](Self::send), but never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is full; else as `send`.
    pub fn try_send(&self, bytes: &[u8], priority: u32) -> Result<()> {
        self.send_within(bytes, priority, Wait::Never)
    }

    /// As [`send`](Self::send), but waits at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; else as `send`.
    #[doc(alias = "mq_timedsend")]
    pub fn send_timeout(&self, bytes: &[u8], priority: u32, timeout: Duration) -> Result<()> {
        self.send_within(bytes, priority, Wait::timeout(timeout))
    }

    /// Takes the oldest message of the highest priority; waits while there is none.
    ///
    /// # Errors
    /// `TooLarge`: the buffer is shorter than [`message_size`](Self::message_size), whatever the length of the message,
    /// which stays; `InvalidInput`: the queue is open for writing only.
    #[doc(alias = "mq_receive")]
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        self.receive_within(buffer, Wait::Forever)
    }

    /// As [`receive`](Self::receive), but never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is empty; else as `receive`.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Result<Received> {
        self.receive_within(buffer, Wait::Never)
    }

    /// As [`receive`](Self::receive), but waits at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; else as `receive`.
    #[doc(alias = "mq_timedreceive")]
    pub fn receive_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<Received> {
        self.receive_within(buffer, Wait::timeout(timeout))
    }

    fn send_within(&self, bytes: &[u8], priority: u32, wait: Wait) -> Result<()> {
        const SEND: &str = "send to message queue";
        // The kernel would say EINVAL, which says nothing.
        if priority > PRIORITY_MAX {
            return Err(Error::invalid(SEND, format!("priority {priority} is above the highest, {PRIORITY_MAX}")));
        }
        retry_when_ready(&self.fd, PollFlags::OUT, wait, || sys::send(self.as_fd(), bytes, priority, blocking(wait)))
            .map_err(|errno| match errno {
                Errno::MSGSIZE => Error::new(SEND, errno).hint(format!(
                    "{} bytes do not fit into its messages of {}",
                    bytes.len(),
                    self.size.message_size
                )),
                Errno::BADF => Error::new(SEND, errno).hint("it is open for reading only"),
                _ => Error::new(SEND, errno),
            })
    }

    fn receive_within(&self, buffer: &mut [u8], wait: Wait) -> Result<Received> {
        const RECEIVE: &str = "receive from message queue";
        let given = buffer.len();
        retry_when_ready(&self.fd, PollFlags::IN, wait, || sys::receive(self.as_fd(), buffer, blocking(wait)))
            .map(|(len, priority)| Received { len, priority })
            .map_err(|errno| match errno {
                Errno::MSGSIZE => Error::new(RECEIVE, errno)
                    .hint(format!("the buffer has {given} bytes and needs {}", self.size.message_size)),
                Errno::BADF => Error::new(RECEIVE, errno).hint("it is open for writing only"),
                _ => Error::new(RECEIVE, errno),
            })
    }

    /// The queue's size. Fixed at creation, so this asks nobody.
    #[doc(alias = "mq_getattr")]
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        self.size
    }

    /// How many bytes a message has at most, and a receiver's buffer at least.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.size.message_size
    }

    /// How many messages fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.size.capacity
    }

    /// How many messages are in it, now.
    ///
    /// # Errors
    /// The kernel's, which does not refuse a live queue.
    pub fn depth(&self) -> Result<usize> {
        sys::attributes(self.as_fd()).map(|attributes| attributes.depth).during("read depth of message queue")
    }

    /// Asks for one signal when a message arrives in the empty queue and nobody waits in [`receive`](Self::receive).
    ///
    /// The signal goes to this process once, with `value` and the sender's process and user id
    /// in its `siginfo`; then the registration is gone. So the order is: receive the signal, register again, *then*
    /// take messages with [`try_receive`](Self::try_receive) until it would block. Registering after taking loses
    /// what arrives in between.
    ///
    /// One process at a time can be registered. Closing any descriptor of the queue in it, `exec` and death end the
    /// registration. To wait for many things, poll the descriptor instead.
    ///
    /// # Errors
    /// `Busy` if a process is registered, even this one.
    #[doc(alias = "mq_notify")]
    pub fn notify_signal(&self, signal: Signal, value: i32) -> Result<()> {
        const NOTIFY: &str = "ask message queue for a signal";
        sys::notify(self.as_fd(), Some((signal.number(), value))).map_err(|errno| {
            let error = Error::new(NOTIFY, errno);
            if errno == Errno::BUSY {
                error.hint("a process is registered already, and there can be one")
            } else {
                error
            }
        })
    }

    /// Ends this process's registration, if there is one.
    ///
    /// # Errors
    /// The kernel's, which does not refuse a live queue.
    pub fn cancel_notify(&self) -> Result<()> {
        sys::notify(self.as_fd(), None).during("cancel notification of message queue")
    }

    /// A second descriptor of the same queue.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is free.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).during("duplicate message queue")?;
        Ok(Self { fd, size: self.size })
    }
}

impl AsFd for MessageQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<MessageQueue> for OwnedFd {
    fn from(queue: MessageQueue) -> Self {
        queue.fd
    }
}

impl fmt::Debug for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageQueue").field("fd", &self.fd).field("size", &self.size).finish()
    }
}

/// Only a wait without end is left to the kernel: its deadlines follow the wall clock.
fn blocking(wait: Wait) -> Blocking {
    if matches!(wait, Wait::Forever) { Blocking::Yes } else { Blocking::No }
}

fn open(
    operation: &'static str,
    name: &OsStr,
    access: Access,
    flags: i32,
    mode: Mode,
    size: Option<Attributes>,
) -> Result<MessageQueue> {
    let name = Name::new(operation, name, "")?;
    let access = match access {
        Access::ReadOnly => libc::O_RDONLY,
        Access::WriteOnly => libc::O_WRONLY,
        Access::ReadWrite => libc::O_RDWR,
    };
    let attributes = size.map(|size| size.for_kernel(operation, &name)).transpose()?;
    let fd = retry_on_intr(|| sys::open(name.as_c_str(), access | flags, mode.bits().into(), attributes))
        .map_err(|errno| explain(operation, errno, size).on(&name))?;
    MessageQueue::from_fd(fd)
}

impl Attributes {
    fn for_kernel(self, operation: &'static str, name: &Name) -> Result<(c_long, c_long)> {
        let number = |value: usize, what| match c_long::try_from(value) {
            Ok(0) => Err(Error::invalid(operation, format!("the {what} is zero")).on(name)),
            Ok(number) => Ok(number),
            Err(_) => Err(Error::invalid(operation, format!("the {what} is beyond all bounds")).on(name)),
        };
        Ok((number(self.capacity, "capacity")?, number(self.message_size, "message size")?))
    }
}
