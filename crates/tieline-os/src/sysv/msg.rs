//! System V message queues: whole messages, each with a positive type by which a receiver may pick.
//!
//! A queue is bounded by bytes, not by messages: a sender waits while the texts in it would exceed the queue's
//! capacity (usually 16 KiB), and empty messages count as one byte each for that purpose. A message is at most
//! `kernel.msgmax` bytes (usually 8 KiB). Messages outlive their sender; a process that dies between calls leaves the
//! queue whole, because a message is put in or taken out entirely or not at all.
//!
//! The kernel has no timed form of sending or receiving. [`send_timeout`](MessageQueue::send_timeout) and
//! [`receive_timeout`](MessageQueue::receive_timeout) therefore ask again and again: the answer may come late by an
//! eighth of the time waited, at most four milliseconds; a wait of seconds costs some 250 system calls a second;
//! and they come after everyone who waits without a limit, since the kernel serves its sleepers first.
//!
//! See sysvipc(7), and msgop(2) for the calls.

use core::ffi::c_long;
use std::time::{Duration, SystemTime};

use libc::msqid_ds;
use rustix::io::{Errno, retry_on_intr};

use super::{
    Id, Key, Permissions, Remove, Walk, change_mode, change_owner, check_names_something, count, get_refused, moment,
    process, refused, sealed, set_part,
};
use crate::backoff::retry_with_pauses;
use crate::error::During;
use crate::wait::Wait;
use crate::{Error, ErrorKind, Mode, Result, sys};

/// A message's type: any number above zero, with a meaning the programs agree on.
///
/// It is C's `long`: 64 bits on 64-bit systems.
pub type MessageType = c_long;

/// A handle to one message queue.
///
/// ```
/// use tieline_os::Mode;
/// use tieline_os::sysv::{Key, RemoveOnDrop};
/// use tieline_os::sysv::msg::{MessageQueue, Oversized, Selector};
///
/// let queue = RemoveOnDrop::new(MessageQueue::create(Key::PRIVATE, Mode::OWNER)?);
/// queue.send(7, b"later")?;
/// queue.send(2, b"urgent")?;
/// let mut buffer = [0; 64];
/// let message = queue.receive(Selector::UpToType(5), Oversized::Refuse, &mut buffer)?;
/// assert_eq!((message.message_type, &buffer[..message.len]), (2, &b"urgent"[..]));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageQueue {
    id: Id,
}

/// Which message to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The oldest of all.
    Oldest,
    /// The oldest of this type.
    Type(MessageType),
    /// Of the lowest type in the queue that is not above this one, the oldest: types as priorities, 1 first.
    UpToType(MessageType),
    /// The oldest that is not of this type.
    #[doc(alias = "MSG_EXCEPT")]
    Except(MessageType),
}

/// What to do with a message that is longer than the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversized {
    /// Answer `TooLarge` and leave the message in the queue.
    Refuse,
    /// Fill the buffer; the rest of the message is lost. That this happened cannot be told from a message that fits
    /// exactly.
    #[doc(alias = "MSG_NOERROR")]
    Cut,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the buffer holds a message only up to `len`"]
pub struct Received {
    /// The message's type.
    pub message_type: MessageType,
    /// How many bytes of the buffer it filled.
    pub len: usize,
}

/// The state of a queue at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStat {
    /// Its id.
    pub id: Id,
    /// Who may use it.
    pub permissions: Permissions,
    /// Messages in it.
    pub messages: u64,
    /// Bytes of text in it.
    pub bytes: u64,
    /// How many bytes of text may be in it, and how many messages.
    pub capacity_bytes: u64,
    /// The process that sent last; `None` if none did or it is not of our pid namespace.
    pub last_sender: Option<u32>,
    /// The process that received last; `None` as above.
    ///
    /// If that receiver had to wait, Linux notes the number of its thread instead, which for a thread other than the
    /// first is no process id.
    pub last_receiver: Option<u32>,
    /// When a message was sent last, in whole seconds.
    pub sent_at: Option<SystemTime>,
    /// When a message was received last, in whole seconds.
    pub received_at: Option<SystemTime>,
    /// When it was created or its permissions or capacity were changed last, in whole seconds.
    pub changed_at: Option<SystemTime>,
}

/// The limits of this IPC namespace for message queues, changed by the administrator in `/proc/sys/kernel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest message, in bytes (`msgmax`).
    pub message_max_bytes: usize,
    /// The capacity a new queue gets, and the most that the unprivileged may set (`msgmnb`).
    pub capacity_max_bytes: usize,
    /// How many queues there may be (`msgmni`).
    pub queues_max: usize,
}

/// How much of the limits of this IPC namespace is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Queues.
    pub queues: usize,
    /// Messages in all of them.
    pub messages: usize,
    /// Bytes of text in all of them.
    pub bytes: usize,
}

const TOO_MANY: &str = "the namespace's limit of queues (kernel.msgmni) is reached; remove unused ones";

impl MessageQueue {
    /// Opens the queue with this key. Does not block, and checks no permission: that is done at each use.
    ///
    /// # Errors
    /// * `NotFound`: no queue has this key.
    /// * `InvalidInput`: the key is [`Key::PRIVATE`], which names no queue.
    #[doc(alias = "msgget")]
    pub fn open(key: Key) -> Result<Self> {
        check_names_something("open message queue", key)?;
        Self::find("open message queue", key, 0)
    }

    /// Creates the queue with this key, which must not exist, for those whom `mode` lets in.
    ///
    /// # Errors
    /// * `AlreadyExists`: a queue has this key.
    /// * `LimitReached`: there are [`Limits::queues_max`] queues.
    #[doc(alias = "msgget")]
    pub fn create(key: Key, mode: Mode) -> Result<Self> {
        Self::find("create message queue", key, libc::IPC_CREAT | libc::IPC_EXCL | i32::from(mode.bits()))
    }

    /// Opens the queue with this key, or creates it with `mode` if there is none.
    ///
    /// # Errors
    /// * `PermissionDenied`: it exists, and does not allow the caller what `mode` says.
    /// * `LimitReached`: there are [`Limits::queues_max`] queues.
    #[doc(alias = "msgget")]
    pub fn open_or_create(key: Key, mode: Mode) -> Result<Self> {
        Self::find("open or create message queue", key, libc::IPC_CREAT | i32::from(mode.bits()))
    }

    fn find(operation: &'static str, key: Key, flags: i32) -> Result<Self> {
        let id =
            sys::sysv_msg::msgget(key.number(), flags).map_err(|errno| get_refused(operation, errno, key, TOO_MANY))?;
        Ok(Self { id: Id::new(id) })
    }

    /// The queue with this id, unseen: whether there is one shows at the first use.
    #[must_use]
    pub const fn from_id(id: Id) -> Self {
        Self { id }
    }

    /// Its id, which another process may use directly.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.id
    }

    /// Sends a message, waiting while the queue is full.
    ///
    /// A message above the queue's capacity, which needs a capacity below `kernel.msgmax`, waits until somebody raises
    /// the capacity. One copy of `text` is made on the stack (above 8 KiB: on the heap), because the kernel wants the
    /// type in front of it.
    ///
    /// # Errors
    /// * `InvalidInput`: the type is not above zero.
    /// * `TooLarge`: `text` is longer than [`Limits::message_max_bytes`].
    /// * `Removed`: the queue is gone, or was removed meanwhile.
    /// * `PermissionDenied`: its mode does not let the caller write.
    /// * `OutOfMemory`: the kernel or the process has no memory for a copy.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/msgsnd.html>; msgsnd(2).
    #[doc(alias = "msgsnd")]
    pub fn send(&self, message_type: MessageType, text: &[u8]) -> Result<()> {
        self.send_within(Wait::Forever, message_type, text)
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is full; else as [`send`](Self::send).
    pub fn try_send(&self, message_type: MessageType, text: &[u8]) -> Result<()> {
        self.send_within(Wait::Never, message_type, text)
    }

    /// Sends a message, asking again for at most `timeout` while the queue is full; see the
    /// [module's head](self) for what that costs.
    ///
    /// # Errors
    /// `TimedOut`; else as [`send`](Self::send).
    pub fn send_timeout(&self, message_type: MessageType, text: &[u8], timeout: Duration) -> Result<()> {
        self.send_within(Wait::timeout(timeout), message_type, text)
    }

    /// Sends a message, waiting until there is room or a signal handler has run.
    ///
    /// # Errors
    /// `Interrupted` (nothing was sent), also by a handler installed with `SA_RESTART`; else as [`send`](Self::send).
    pub fn send_interruptible(&self, message_type: MessageType, text: &[u8]) -> Result<()> {
        sys::sysv_msg::msgsnd(self.id.number(), message_type, text, 0)
            .map_err(|errno| self.send_refused(errno, message_type, text))
    }

    fn send_within(&self, wait: Wait, message_type: MessageType, text: &[u8]) -> Result<()> {
        let send = |flags| sys::sysv_msg::msgsnd(self.id.number(), message_type, text, flags);
        within(wait, send).map_err(|errno| self.send_refused(errno, message_type, text))
    }

    fn send_refused(&self, errno: Errno, message_type: MessageType, text: &[u8]) -> Error {
        const OPERATION: &str = "send to message queue";
        // EINVAL has three meanings; only the last is that the queue is gone.
        if errno == Errno::INVAL && message_type < 1 {
            return Error::new(OPERATION, errno)
                .on(format_args!("id {}", self.id))
                .hint(format!("a message's type must be above zero, not {message_type}"));
        }
        if errno == Errno::INVAL
            && let Ok(limits) = limits()
            && text.len() > limits.message_max_bytes
        {
            return Error::new(OPERATION, errno)
                .sorted_as(ErrorKind::TooLarge)
                .on(format_args!("id {}", self.id))
                .hint(format!(
                    "the message has {} bytes and may have {} (kernel.msgmax)",
                    text.len(),
                    limits.message_max_bytes
                ));
        }
        refused(OPERATION, errno, self.id)
    }

    /// Takes the message that `selector` says into `buffer`, waiting until there is one.
    ///
    /// A message longer than `buffer` is treated as `oversized` says. The text passes through the stack (with a
    /// `buffer` above 8 KiB: through the heap), because the kernel puts the type in front of it.
    ///
    /// # Errors
    /// * `TooLarge`: the message is longer than `buffer`; it stays in the queue ([`Oversized::Refuse`] only).
    /// * `InvalidInput`: the selector's type is not above zero.
    /// * `Removed`: the queue is gone, or was removed meanwhile.
    /// * `PermissionDenied`: its mode does not let the caller read.
    /// * `OutOfMemory`: the process has no memory for a copy.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/msgrcv.html>; msgrcv(2).
    #[doc(alias = "msgrcv")]
    pub fn receive(&self, selector: Selector, oversized: Oversized, buffer: &mut [u8]) -> Result<Received> {
        self.receive_within(Wait::Forever, selector, oversized, buffer)
    }

    /// Takes a message if there is one that `selector` means.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else as [`receive`](Self::receive).
    pub fn try_receive(&self, selector: Selector, oversized: Oversized, buffer: &mut [u8]) -> Result<Received> {
        self.receive_within(Wait::Never, selector, oversized, buffer)
    }

    /// Takes a message, asking again for at most `timeout` while there is none; see the [module's head](self) for
    /// what that costs.
    ///
    /// # Errors
    /// `TimedOut`; else as [`receive`](Self::receive).
    pub fn receive_timeout(
        &self,
        selector: Selector,
        oversized: Oversized,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<Received> {
        self.receive_within(Wait::timeout(timeout), selector, oversized, buffer)
    }

    /// Takes a message, waiting until there is one or a signal handler has run.
    ///
    /// # Errors
    /// `Interrupted` (nothing was taken), also by a handler installed with `SA_RESTART`; else as
    /// [`receive`](Self::receive).
    pub fn receive_interruptible(
        &self,
        selector: Selector,
        oversized: Oversized,
        buffer: &mut [u8],
    ) -> Result<Received> {
        let (number, flags) = arguments(selector, oversized)?;
        sys::sysv_msg::msgrcv(self.id.number(), buffer, number, flags)
            .map(Received::from)
            .map_err(|errno| self.receive_refused(errno, buffer.len()))
    }

    fn receive_within(
        &self,
        wait: Wait,
        selector: Selector,
        oversized: Oversized,
        buffer: &mut [u8],
    ) -> Result<Received> {
        let (number, flags) = arguments(selector, oversized)?;
        let receive = |waiting| sys::sysv_msg::msgrcv(self.id.number(), buffer, number, flags | waiting);
        within(wait, receive).map(Received::from).map_err(|errno| self.receive_refused(errno, buffer.len()))
    }

    /// Copies the message at `index` (0 is the oldest) into `buffer` and leaves it in the queue; `None` if the queue
    /// has fewer messages. Does not block.
    ///
    /// Meant for looking on: between two calls messages come and go, and the index shifts.
    ///
    /// # Errors
    /// * `TooLarge`: the message is longer than `buffer`.
    /// * `Unsupported`: the kernel was built without `CONFIG_CHECKPOINT_RESTORE`.
    /// * `Removed`, `PermissionDenied`, `OutOfMemory`: as [`receive`](Self::receive).
    #[doc(alias = "MSG_COPY")]
    pub fn peek(&self, index: usize, buffer: &mut [u8]) -> Result<Option<Received>> {
        let Ok(index) = MessageType::try_from(index) else { return Ok(None) };
        let flags = libc::MSG_COPY | libc::IPC_NOWAIT;
        match sys::sysv_msg::msgrcv(self.id.number(), buffer, index, flags) {
            Ok(received) => Ok(Some(received.into())),
            Err(Errno::NOMSG) => Ok(None),
            Err(errno) => Err(self.receive_refused(errno, buffer.len())),
        }
    }

    fn receive_refused(&self, errno: Errno, room: usize) -> Error {
        let error = refused("receive from message queue", errno, self.id);
        match errno {
            Errno::TOOBIG => {
                error.hint(format!("the message is longer than the buffer's {room} bytes and stays in the queue"))
            }
            _ => error,
        }
    }

    /// Its state at this moment; needs no permission.
    ///
    /// # Errors
    /// `Removed`: the queue is gone.
    #[doc(alias = "msgctl")]
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<QueueStat> {
        let raw =
            sys::sysv_msg::stat(self.id.number()).map_err(|errno| refused("look at message queue", errno, self.id))?;
        Ok(QueueStat::of(self.id, &raw))
    }

    /// Gives it to another user, another group, or both.
    ///
    /// The kernel changes owner, mode and capacity only together, so this reads them first; two processes that change
    /// them at once may undo each other's change.
    ///
    /// # Errors
    /// * `Removed`: the queue is gone.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    /// * `InvalidInput`: this user namespace has no such user or group.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.set("change the owner of message queue", |raw| change_owner(&mut raw.msg_perm, uid, gid))
    }

    /// Changes who may use it; otherwise as [`set_owner`](Self::set_owner).
    ///
    /// # Errors
    /// As [`set_owner`](Self::set_owner).
    pub fn set_mode(&self, mode: Mode) -> Result<()> {
        self.set("change the mode of message queue", |raw| change_mode(&mut raw.msg_perm, mode))
    }

    /// Changes how many bytes of text it holds; otherwise as [`set_owner`](Self::set_owner). More room wakes waiting
    /// senders; less than it holds now only stops new messages.
    ///
    /// # Errors
    /// As [`set_owner`](Self::set_owner); also `PermissionDenied` above [`Limits::capacity_max_bytes`] without
    /// `CAP_SYS_RESOURCE`.
    pub fn set_capacity(&self, bytes: usize) -> Result<()> {
        self.set("change the capacity of message queue", |raw| {
            raw.msg_qbytes = bytes.try_into().unwrap_or(libc::msglen_t::MAX);
        })
        .map_err(|error| match error.errno() {
            Some(libc::EPERM) => error.hint(
                "only its owner, its creator or the administrator may, and above kernel.msgmnb only with CAP_SYS_RESOURCE",
            ),
            _ => error,
        })
    }

    fn set(&self, operation: &'static str, change: impl FnOnce(&mut msqid_ds)) -> Result<()> {
        set_part(operation, self.id, sys::sysv_msg::stat, sys::sysv_msg::set, change)
    }

    /// Removes it with all its messages. Whoever waits at it gets `Removed` at once.
    ///
    /// # Errors
    /// * `Removed`: it was gone already.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    #[doc(alias = "IPC_RMID")]
    pub fn remove(self) -> Result<()> {
        sys::sysv_msg::remove(self.id.number()).map_err(|errno| refused("remove message queue", errno, self.id))
    }
}

impl sealed::Sealed for MessageQueue {}

impl Remove for MessageQueue {
    fn remove(self) -> Result<()> {
        Self::remove(self)
    }
}

impl From<(MessageType, usize)> for Received {
    fn from((message_type, len): (MessageType, usize)) -> Self {
        Self { message_type, len }
    }
}

impl QueueStat {
    fn of(id: Id, raw: &msqid_ds) -> Self {
        Self {
            id,
            permissions: Permissions::of(&raw.msg_perm),
            messages: raw.msg_qnum,
            bytes: raw.__msg_cbytes,
            capacity_bytes: raw.msg_qbytes,
            last_sender: process(raw.msg_lspid),
            last_receiver: process(raw.msg_lrpid),
            sent_at: moment(raw.msg_stime),
            received_at: moment(raw.msg_rtime),
            changed_at: moment(raw.msg_ctime),
        }
    }
}

/// Runs a call that takes `IPC_NOWAIT` among its flags, for as long as `wait` allows.
fn within<T>(wait: Wait, mut call: impl FnMut(i32) -> Result<T, Errno>) -> Result<T, Errno> {
    match wait {
        Wait::Never => call(libc::IPC_NOWAIT),
        Wait::Until(_) => retry_with_pauses(wait, || match call(libc::IPC_NOWAIT) {
            Err(Errno::NOMSG) => Err(Errno::AGAIN),
            answer => answer,
        }),
        Wait::Forever => retry_on_intr(|| call(0)),
    }
}

/// The selector as the kernel has it: one number for three cases and a flag for the fourth.
fn arguments(selector: Selector, oversized: Oversized) -> Result<(MessageType, i32)> {
    let flags = match oversized {
        Oversized::Refuse => 0,
        Oversized::Cut => libc::MSG_NOERROR,
    };
    match selector {
        Selector::Oldest => Ok((0, flags)),
        Selector::Type(number) if number > 0 => Ok((number, flags)),
        Selector::UpToType(number) if number > 0 => Ok((-number, flags)),
        Selector::Except(number) if number > 0 => Ok((number, flags | libc::MSG_EXCEPT)),
        Selector::Type(number) | Selector::UpToType(number) | Selector::Except(number) => Err(Error::invalid(
            "receive from message queue",
            format!("a message's type must be above zero, not {number}"),
        )),
    }
}

/// All message queues of this IPC namespace, whoever owns them.
///
/// # Errors
/// `Other` with the kernel's number; no ordinary condition leads to it.
#[doc(alias = "MSG_STAT_ANY")]
#[doc(alias = "ipcs")]
pub fn queues() -> Result<Walk<QueueStat>> {
    let (last_slot, _) = sys::sysv_msg::usage().during("list message queues")?;
    Ok(Walk::new(last_slot, |slot| sys::sysv_msg::stat_any(slot).map(|(id, raw)| QueueStat::of(Id::new(id), &raw))))
}

/// Those of [`queues`] that the caller may read, by their mode or by privilege.
///
/// # Errors
/// As [`queues`].
#[doc(alias = "MSG_STAT")]
pub fn readable_queues() -> Result<Walk<QueueStat>> {
    let (last_slot, _) = sys::sysv_msg::usage().during("list message queues")?;
    Ok(Walk::of_readable(last_slot, |slot| {
        sys::sysv_msg::stat_readable(slot).map(|(id, raw)| QueueStat::of(Id::new(id), &raw))
    }))
}

/// The limits of this IPC namespace.
///
/// # Errors
/// As [`queues`].
#[doc(alias = "IPC_INFO")]
pub fn limits() -> Result<Limits> {
    let raw = sys::sysv_msg::limits().during("read the limits of message queues")?;
    Ok(Limits {
        message_max_bytes: count(raw.msgmax),
        capacity_max_bytes: count(raw.msgmnb),
        queues_max: count(raw.msgmni),
    })
}

/// What all message queues of this IPC namespace hold.
///
/// # Errors
/// As [`queues`].
#[doc(alias = "MSG_INFO")]
pub fn usage() -> Result<Usage> {
    let (_, raw) = sys::sysv_msg::usage().during("read the usage of message queues")?;
    Ok(Usage { queues: count(raw.msgpool), messages: count(raw.msgmap), bytes: count(raw.msgtql) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_is_told_apart_and_none_can_be_mistaken() {
        let plain = |selector| arguments(selector, Oversized::Refuse).unwrap();
        assert_eq!(plain(Selector::Oldest), (0, 0));
        assert_eq!(plain(Selector::Type(3)), (3, 0));
        assert_eq!(plain(Selector::UpToType(MessageType::MAX)), (-MessageType::MAX, 0));
        assert_eq!(plain(Selector::Except(3)), (3, libc::MSG_EXCEPT));
        assert_eq!(arguments(Selector::Oldest, Oversized::Cut).unwrap(), (0, libc::MSG_NOERROR));
        for wrong in [0, -1, MessageType::MIN] {
            for selector in [Selector::Type(wrong), Selector::UpToType(wrong), Selector::Except(wrong)] {
                assert_eq!(arguments(selector, Oversized::Cut).unwrap_err().kind(), ErrorKind::InvalidInput);
            }
        }
    }

    #[test]
    fn the_private_key_opens_nothing() {
        let error = MessageQueue::open(Key::PRIVATE).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None));
    }
}
