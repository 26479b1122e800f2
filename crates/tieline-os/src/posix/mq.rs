//! POSIX message queues: bounded, ordered by priority, pollable.
//!
//! A queue holds at most [`capacity`](Attributes::capacity) messages of at most
//! [`message_size`](Attributes::message_size) bytes each. The invariant: a message is received whole, by one
//! receiver, the highest priority first and the oldest first within one priority. Sending to a full queue and receiving from an empty one wait.
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

use std::ffi::{CStr, OsStr, OsString, c_long};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::name::Name;
use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::mq::{self as sys, Blocking};
use crate::wait::{Wait, retry_when_ready};
use crate::{Access, Mode};

/// The highest priority of a message, on Linux 32767; the lowest is 0.
#[doc(alias = "MQ_PRIO_MAX")]
pub const PRIORITY_MAX: u32 = 32767;

/// Where the queues of an IPC namespace are seen as files, if somebody has mounted them.
const MOUNT_POINT: &str = "/dev/mqueue";

/// The size of a queue, fixed when it is created.
///
/// Without privilege Linux allows 10 messages of 8192 bytes, see [`limits`], and all queues of a user together
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
#[doc(alias = "mqd_t")]
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
    /// * `LimitReached`: the size is beyond [`limits`], the user has too many bytes in queues, or the machine too many
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
    /// As [`create`](Self::create), without `AlreadyExists`. A size beyond the limits is refused only if it would count.
    #[doc(alias = "mq_open")]
    pub fn open_or_create(name: impl AsRef<OsStr>, size: Attributes, access: Access, mode: Mode) -> Result<Self> {
        open("open or create message queue", name.as_ref(), access, libc::O_CREAT, mode, Some(size))
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
    /// The signal (a number from 1 to 64) goes to this process once, with `value` and the sender's process and user id
    /// in its `siginfo`; then the registration is gone. So the order is: receive the signal, register again, *then*
    /// take messages with [`try_receive`](Self::try_receive) until it would block. Registering after taking loses
    /// what arrives in between.
    ///
    /// One process at a time can be registered. Closing any descriptor of the queue in it, `exec` and death end the
    /// registration. To wait for many things, poll the descriptor instead.
    ///
    /// # Errors
    /// `Busy` if a process is registered, even this one; `InvalidInput` for a wrong signal number.
    #[doc(alias = "mq_notify")]
    pub fn notify_signal(&self, signal: i32, value: usize) -> Result<()> {
        const NOTIFY: &str = "ask message queue for a signal";
        if !(1..=64).contains(&signal) {
            return Err(Error::invalid(NOTIFY, format!("{signal} is not a signal number from 1 to 64")));
        }
        sys::notify(self.as_fd(), Some((signal, value))).map_err(|errno| {
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
    let fd = open_again_if_interrupted(name.as_c_str(), access | flags, mode, attributes)
        .map_err(|errno| explain(operation, errno, size).on(&name))?;
    MessageQueue::from_fd(fd)
}

fn open_again_if_interrupted(
    name: &CStr,
    flags: i32,
    mode: Mode,
    attributes: Option<(c_long, c_long)>,
) -> Result<OwnedFd, Errno> {
    loop {
        match sys::open(name, flags, mode.bits().into(), attributes) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
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

/// Names the limit behind an errno that fits several.
fn explain(operation: &'static str, errno: Errno, size: Option<Attributes>) -> Error {
    let error = Error::new(operation, errno);
    match (errno, size) {
        (Errno::INVAL | Errno::OVERFLOW, Some(size)) => match limits().ok().and_then(|limits| limits.exceeded_by(size))
        {
            Some(which) => error.sorted_as(ErrorKind::LimitReached).hint(which),
            None => error,
        },
        (Errno::MFILE, Some(size)) => error.hint(limits().map_or_else(
            |_| "RLIMIT_MSGQUEUE or RLIMIT_NOFILE is reached".to_owned(),
            |limits| limits.bytes_hint(size),
        )),
        (Errno::MFILE, None) => error.hint("RLIMIT_NOFILE descriptors are open"),
        (Errno::NOSPC, _) => error.hint(limits().map_or_else(
            |_| "the namespace has as many queues as it may".to_owned(),
            |limits| {
                format!("the namespace has as many queues as /proc/sys/fs/mqueue/queues_max allows, {}", limits.queues)
            },
        )),
        (Errno::NOSYS, _) => error.hint("this kernel is built without POSIX message queues"),
        _ => error,
    }
}

/// The bounds within which this process can create queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest capacity of a queue (`/proc/sys/fs/mqueue/msg_max`), for the unprivileged.
    pub capacity: usize,
    /// The largest message in bytes (`msgsize_max`), for the unprivileged.
    pub message_size: usize,
    /// How many queues the IPC namespace may have (`queues_max`), for the unprivileged.
    pub queues: usize,
    /// How many bytes all queues of this user may take together (`RLIMIT_MSGQUEUE`); `None` is without limit. Each
    /// message that fits counts, whether it is there or not.
    pub bytes: Option<u64>,
}

/// Reads the limits of the IPC namespace and this process.
///
/// # Errors
/// `NotFound` if `/proc` is not mounted or the kernel has no message queues.
#[doc(alias = "RLIMIT_MSGQUEUE")]
pub fn limits() -> Result<Limits> {
    Ok(Limits {
        capacity: sysctl("/proc/sys/fs/mqueue/msg_max")?,
        message_size: sysctl("/proc/sys/fs/mqueue/msgsize_max")?,
        queues: sysctl("/proc/sys/fs/mqueue/queues_max")?,
        bytes: rustix::process::getrlimit(rustix::process::Resource::Msgqueue).current,
    })
}

fn sysctl(path: &'static str) -> Result<usize> {
    const READ: &str = "read limit of message queues";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(READ, Errno::from_io_error(&error).unwrap_or(Errno::IO)).on(path))?;
    text.trim().parse().map_err(|_| Error::new(READ, Errno::INVAL).on(path))
}

impl Limits {
    /// Which limit a queue of this size exceeds.
    fn exceeded_by(&self, size: Attributes) -> Option<String> {
        let exceeded = |what, asked, file, allowed| {
            format!(
                "a {what} of {asked} is more than /proc/sys/fs/mqueue/{file} allows without CAP_SYS_RESOURCE, {allowed}"
            )
        };
        if size.capacity > self.capacity {
            Some(exceeded("capacity", size.capacity, "msg_max", self.capacity))
        } else if size.message_size > self.message_size {
            Some(exceeded("message size", size.message_size, "msgsize_max", self.message_size))
        } else {
            None
        }
    }

    /// Says that there are too many bytes in queues, or descriptors open: the kernel does not say which.
    fn bytes_hint(&self, size: Attributes) -> String {
        let asked = size.capacity.saturating_mul(size.message_size);
        let allowed = self.bytes.map_or_else(|| "without limit".to_owned(), |bytes| bytes.to_string());
        format!(
            "this queue takes {asked} bytes and some more, all queues of the user may take RLIMIT_MSGQUEUE \
             ({allowed}); unlink unused ones, raise it with ulimit -q, or there are RLIMIT_NOFILE descriptors open"
        )
    }
}

/// A queue as the message queue file system shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The name to open it by, with the slash.
    pub name: OsString,
    /// Who may open it.
    pub mode: Mode,
    /// The user id of its owner.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// What its messages hold, for who may read the queue.
    pub status: Option<Status>,
}

/// What is in a queue, and who is told of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many bytes its messages have together.
    pub queued_bytes: u64,
    /// The process registered for notification, as this process id namespace numbers it.
    pub notified_pid: Option<u32>,
    /// The signal it will get, if it asked for one.
    pub notify_signal: Option<u32>,
}

/// All queues of this IPC namespace, by name, read from `/dev/mqueue`. Takes no message and changes nothing.
///
/// # Errors
/// `Unsupported` if the queues are not mounted there.
pub fn list() -> Result<Vec<Listed>> {
    list_at(MOUNT_POINT)
}

/// All queues of the IPC namespace whose file system (type `mqueue`) is mounted on `directory`.
///
/// # Errors
/// `Unsupported` if none is mounted there; `NotFound`, `PermissionDenied`.
pub fn list_at(directory: impl AsRef<Path>) -> Result<Vec<Listed>> {
    const LIST: &str = "list message queues";
    let directory = directory.as_ref();
    let failed = |errno: Errno| Error::new(LIST, errno).on(directory.display());
    let not_mounted = || {
        let why = format!("mount it with: mount -t mqueue none {}", directory.display());
        Error::of_kind(LIST, ErrorKind::Unsupported, why).on(directory.display())
    };
    match rustix::fs::statfs(directory) {
        Ok(stat) if stat.f_type == MQUEUE_MAGIC => {}
        Ok(_) => return Err(not_mounted()),
        Err(Errno::NOENT) if directory == Path::new(MOUNT_POINT) => return Err(not_mounted()),
        Err(errno) => return Err(failed(errno)),
    }
    let entries =
        std::fs::read_dir(directory).map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    // A queue that is unlinked while we look is not in the list.
    let mut listed: Vec<Listed> = entries.flatten().filter_map(|entry| Listed::of(&entry)).collect();
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

const MQUEUE_MAGIC: rustix::fs::FsWord = 0x1980_0202;

impl Listed {
    fn of(entry: &std::fs::DirEntry) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = entry.metadata().ok()?;
        let mut name = OsString::from("/");
        name.push(entry.file_name());
        Some(Self {
            name,
            mode: Mode::new((metadata.mode() & 0o777) as u16)?,
            uid: metadata.uid(),
            gid: metadata.gid(),
            status: std::fs::read_to_string(entry.path()).ok().and_then(|text| Status::parse(&text)),
        })
    }
}

impl Status {
    /// Reads a line such as `QSIZE:129 NOTIFY:0 SIGNO:10 NOTIFY_PID:8260`, with blanks after the numbers.
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))?.parse().ok()
        };
        let notified_pid = field("NOTIFY_PID").and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
        // NOTIFY 0 is "by a signal"; it is 0 as well while nobody is registered.
        let by_signal = notified_pid.is_some() && field("NOTIFY")? == 0;
        Some(Self {
            queued_bytes: field("QSIZE")?,
            notified_pid,
            notify_signal: if by_signal { u32::try_from(field("SIGNO")?).ok() } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_status_line_is_understood() {
        let line = "QSIZE:129        NOTIFY:0     SIGNO:10    NOTIFY_PID:8260  \n";
        let status = Status { queued_bytes: 129, notified_pid: Some(8260), notify_signal: Some(10) };
        assert_eq!(Status::parse(line), Some(status));
        let idle = "QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n";
        assert_eq!(Status::parse(idle), Some(Status { queued_bytes: 0, notified_pid: None, notify_signal: None }));
        for odd in ["", "QSIZE:", "QSIZE:x NOTIFY:0", "NOTIFY:0 SIGNO:0 NOTIFY_PID:0"] {
            assert_eq!(Status::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn hints_name_the_limit_and_its_value() {
        let limits = Limits { capacity: 10, message_size: 8192, queues: 256, bytes: Some(819_200) };
        let size = |capacity, message_size| Attributes { capacity, message_size };
        assert!(limits.exceeded_by(size(11, 1)).unwrap().contains("msg_max allows without CAP_SYS_RESOURCE, 10"));
        assert!(limits.exceeded_by(size(10, 8193)).unwrap().contains("msgsize_max"));
        assert_eq!(limits.exceeded_by(size(10, 8192)), None);
        assert!(limits.bytes_hint(size(10, 8192)).contains("819200"));
    }
}
