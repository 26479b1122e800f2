//! Relations: who holds what, which object belongs to which, who waits.

use super::{ObjectRef, ProcessRef, Text};

/// What may be done through a descriptor or mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
}

impl Access {
    /// Neither (`O_PATH`, `PROT_NONE`).
    pub const NONE: Self = Self { read: false, write: false };
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false };
    /// Writing only.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };

    /// `r`, `w`, `rw` or `-`.
    #[must_use]
    pub fn letters(self) -> &'static str {
        match (self.read, self.write) {
            (true, true) => "rw",
            (true, false) => "r",
            (false, true) => "w",
            (false, false) => "-",
        }
    }
}

/// One tie between a process and an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// The process.
    pub process: ProcessRef,
    /// The object.
    pub object: ObjectRef,
    /// In which way.
    pub how: How,
}

/// In which way a process is tied to an object.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum How {
    /// It has the object open.
    Descriptor {
        /// The number.
        fd: i32,
        /// What it may do through it.
        access: Access,
    },
    /// It has the object in its address space: a mapping, or an attachment of a System V segment.
    Mapping {
        /// What the pages allow.
        access: Access,
        /// How much of it, in bytes, over all its mappings of this object with this access.
        bytes: u64,
    },
    /// It has locked the file, or waits to.
    Lock(Lock),
    /// The kernel remembers it as the last to have used the object in this way. It may hold it no longer.
    Remembered(Role),
    /// It is to be told by a signal when a message comes (`mq_notify`).
    Notified,
}

impl How {
    /// Whether the object cannot go away under this process: it is open, mapped or locked, and not merely remembered.
    #[must_use]
    pub fn is_use(&self) -> bool {
        !matches!(self, Self::Remembered(_))
    }
}

/// What the kernel remembers a process for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Made it.
    Creator,
    /// Attached or detached it last.
    LastAttached,
    /// Sent to it last.
    LastSender,
    /// Received from it last.
    LastReceiver,
    /// Changed it last (a semaphore).
    LastOperator,
}

/// A lock of a file, held or waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Lock {
    /// Whose lock it is.
    pub kind: LockKind,
    /// Whether others may have it too.
    pub is_exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Last byte; `None` for the end of the file, however it grows.
    pub end: Option<u64>,
    /// Number of the lock within the kernel's list, which joins a waiter to the lock it waits for.
    pub number: u64,
    /// Whether it is held, or waited for (behind the held one of the same `number`).
    pub is_waiting: bool,
}

/// Whose a lock is, and hence when it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LockKind {
    /// The process's (`fcntl(F_SETLK)`): goes when it closes any descriptor of the file.
    Posix,
    /// The open file description's (`F_OFD_SETLK`): goes with its last descriptor.
    Ofd,
    /// The open file description's (`flock`), of the whole file.
    Flock,
    /// A mutex, or the writers' half of a reader-writer lock, or a permit, in a segment of `tieline-shm`: goes with the
    /// thread that has it. `start` is where its word lies.
    Shm,
    /// A lease or a delegation (`F_SETLEASE`): its holder is asked before another opens the file.
    Lease,
}

/// One tie between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// From.
    pub from: ObjectRef,
    /// To.
    pub to: ObjectRef,
    /// In which way.
    pub kind: LinkKind,
}

/// In which way two objects belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LinkKind {
    /// The two ends of one connection. Stated once, from the lower reference to the higher; a datagram socket that is
    /// connected in one direction only says [`SendsTo`](Self::SendsTo).
    Peer,
    /// What is sent on the first arrives at the second.
    SendsTo,
    /// A connected client that the listener has not accepted yet: from the client's socket to the listener.
    Pending,
    /// An epoll set watches the object.
    Watches,
    /// The first is a part of the second: what subscribers tell, and the messages they subscribe to.
    PartOf,
}

/// One thread that waits, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// The process.
    pub process: ProcessRef,
    /// Its thread; the id of the process for its first.
    pub thread: u32,
    /// On what; `None` if the object could not be found.
    pub object: Option<ObjectRef>,
    /// For what.
    pub reason: WaitReason,
}

/// For what a thread waits.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WaitReason {
    /// For bytes or a message to read.
    Read,
    /// For room to write.
    Write,
    /// For the other side to open a FIFO, whose path is given.
    Open(Text),
    /// For room in a listener's backlog.
    Connect,
    /// For a connection to accept.
    Accept,
    /// For semaphores of a System V set: index and change (0 for "to become zero"), as it asked.
    Semaphores(Vec<(u16, i16)>),
    /// For a message of a System V queue, by the `msgtyp` that it asked for.
    Message {
        /// As given to `msgrcv`.
        message_type: i64,
    },
    /// For room in a System V queue.
    Room {
        /// Bytes it wants to send.
        bytes: u64,
    },
    /// For a lock of a file.
    Lock,
    /// On a word of memory (a futex).
    Futex {
        /// The address in the waiting process.
        address: u64,
        /// Where in the object the word lies, if it lies in one.
        offset: Option<u64>,
    },
}
