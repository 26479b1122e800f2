//! Objects: what processes talk through.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::{ObjectRef, Segment, Text};

/// One object of the machine through which processes talk, share or wait.
#[derive(Debug, Clone)]
pub struct Object {
    /// Where it stands in this snapshot.
    pub reference: ObjectRef,
    /// What makes it this one and no other.
    pub identity: Identity,
    /// What it is.
    pub kind: Kind,
    /// What people call it: a path, an abstract name (with its leading `@`), `/name`, a memfd's name. `None` for what
    /// has none.
    pub name: Option<Text>,
    /// Inode of the namespace in which `name` or the identity has its meaning: the IPC namespace of a System V object or
    /// queue, the network namespace of a socket, the mount namespace of a path. `None` if it needs none (a pipe), or it
    /// is not known.
    pub namespace: Option<u64>,
    /// Owner and group, where the object has them.
    pub owner: Option<Owner>,
    /// Permission bits (`0o777`), where the object has them.
    pub mode: Option<u32>,
    /// How full it is, in the unit that decides whether a writer blocks; `None` where the kernel does not tell.
    pub fill: Option<Fill>,
    /// When it was made or last changed, where the kernel remembers.
    pub changed: Option<SystemTime>,
    /// What only this kind has.
    pub detail: Detail,
}

impl Object {
    /// The lock file beside the file of a socket, if that is the file of a name of `tieline-shm`.
    pub(crate) fn lock_file(&self) -> Option<Identity> {
        match self.detail {
            Detail::SocketFile { lock: Some((device, inode)) } => Some(Identity::File { device, inode }),
            _ => None,
        }
    }
}

/// The user and group an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id; [`NO_GROUP`](Self::NO_GROUP) where the kernel tells only the user.
    pub gid: u32,
}

impl Owner {
    /// What stands in place of a group that was not told (of a socket): the one number that no group has.
    pub const NO_GROUP: u32 = u32::MAX;
}

/// What makes an object this one and no other on the machine, at the time of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A pipe: its inode in the kernel's one pipe file system.
    Pipe {
        /// The number in `pipe:[N]`.
        inode: u64,
    },
    /// A socket of any family: its inode in the kernel's one socket file system.
    Socket {
        /// The number in `socket:[N]`.
        inode: u64,
    },
    /// Whatever is a file: FIFO, memfd, POSIX object, queue, mapped or locked file.
    File {
        /// Device number as `stat` gives it (`st_dev`).
        device: u64,
        /// Inode number.
        inode: u64,
    },
    /// A System V object. Its id means something in its IPC namespace only.
    SystemV {
        /// Segment, queue or set.
        kind: Kind,
        /// Inode of the IPC namespace.
        namespace: u64,
        /// The identifier.
        id: i32,
    },
    /// A descriptor of the kernel without an inode of its own, which tells a number instead (`eventfd-id`).
    Numbered {
        /// What it is.
        kind: Kind,
        /// The number.
        number: u64,
    },
    /// A descriptor of the kernel with neither inode nor number (epoll, signalfd, timerfd, `io_uring`, inotify): named
    /// by the first descriptor that was found for it. Two descriptors are one object only where the kernel could be asked
    /// (`kcmp`).
    Descriptor {
        /// The process.
        pid: u32,
        /// Its descriptor.
        fd: i32,
    },
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What an object is. The name is what `tieline ls KIND` takes and what JSON says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// A pipe.
    Pipe = "pipe",
    /// A FIFO: a pipe with a name in the file system.
    Fifo = "fifo",
    /// A Unix stream socket.
    UnixStream = "unix",
    /// A Unix datagram socket.
    UnixDatagram = "unix-dgram",
    /// A Unix sequenced-packet socket.
    UnixSeqpacket = "unix-seqpacket",
    /// A TCP socket.
    Tcp = "tcp",
    /// A UDP socket.
    Udp = "udp",
    /// A socket between a virtual machine and its host.
    Vsock = "vsock",
    /// A socket of any other family (netlink, packet, …), or one of which no more was told.
    OtherSocket = "socket",
    /// A System V shared memory segment.
    SysvShm = "sysv-shm",
    /// A System V message queue.
    SysvMq = "sysv-mq",
    /// A System V semaphore set.
    SysvSem = "sysv-sem",
    /// A POSIX shared memory object: a file of `/dev/shm`.
    PosixShm = "shm",
    /// A POSIX message queue.
    PosixMq = "mq",
    /// A POSIX named semaphore: a file `/dev/shm/sem.NAME`.
    PosixSem = "sem",
    /// Memory without a name in any file system (`memfd_create`).
    Memfd = "memfd",
    /// A publisher's messages, with all who subscribe to them: a segment of `tieline-shm`, as the next ones.
    ShmTopic = "shm-topic",
    /// What the subscribers of one publisher tell it.
    ShmRoster = "shm-roster",
    /// A work queue.
    ShmQueue = "shm-queue",
    /// A connection of a byte stream.
    ShmStream = "shm-stream",
    /// A connection of requests and responses.
    ShmCalls = "shm-calls",
    /// A latest value.
    ShmLatest = "shm-latest",
    /// Numbered events.
    ShmEvent = "shm-event",
    /// Locks in shared memory, and what they guard.
    ShmLocks = "shm-locks",
    /// An arena with its containers.
    ShmArena = "shm-arena",
    /// A segment for whatever its users agree on.
    ShmMemory = "shm-memory",
    /// Shared memory without any file (`MAP_SHARED | MAP_ANONYMOUS`), which parents leave to children.
    AnonymousShm = "anon-shm",
    /// A file that is mapped shared and writable, or locked.
    File = "file",
    /// The file of a Unix socket. The snapshot has those that no socket is bound to any more, and only if the scan was
    /// told to look for them.
    SocketFile = "socket-file",
    /// An event counter.
    EventFd = "eventfd",
    /// A set of watched descriptors.
    Epoll = "epoll",
    /// A descriptor that signals are read from.
    SignalFd = "signalfd",
    /// A timer.
    TimerFd = "timerfd",
    /// A descriptor of a process.
    PidFd = "pidfd",
    /// A descriptor that reports changes of files.
    Inotify = "inotify",
    /// An I/O ring.
    IoUring = "io_uring",
    /// Any other descriptor of the kernel that is no file (`anon_inode`).
    OtherAnonymous = "anon",
}

impl Kind {
    /// The kind of that [name](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether it is one of the three Unix sockets.
    #[must_use]
    pub fn is_unix(self) -> bool {
        matches!(self, Self::UnixStream | Self::UnixDatagram | Self::UnixSeqpacket)
    }

    /// Whether it is a segment of `tieline-shm`.
    #[must_use]
    pub fn is_segment(self) -> bool {
        Self::SEGMENTS.contains(&self)
    }

    /// The kinds of segments of `tieline-shm`.
    pub const SEGMENTS: &[Self] = &[
        Self::ShmTopic,
        Self::ShmRoster,
        Self::ShmQueue,
        Self::ShmStream,
        Self::ShmCalls,
        Self::ShmLatest,
        Self::ShmEvent,
        Self::ShmLocks,
        Self::ShmArena,
        Self::ShmMemory,
    ];

    /// Whether it is one of the three System V objects.
    #[must_use]
    pub fn is_sysv(self) -> bool {
        matches!(self, Self::SysvShm | Self::SysvMq | Self::SysvSem)
    }

    /// Whether it stays when its last user has gone, until somebody removes it: only such an object can leak.
    #[must_use]
    pub fn outlives_its_users(self) -> bool {
        self.is_sysv() || matches!(self, Self::PosixShm | Self::PosixMq | Self::PosixSem)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How much of an object is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    /// What is in it.
    pub used: u64,
    /// What fits; `None` if there is no bound or the kernel does not tell.
    pub capacity: Option<u64>,
    /// In which unit.
    pub unit: Unit,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Messages.
    Messages,
    /// Connections that wait to be accepted.
    Connections,
    /// Pages of memory.
    Pages,
    /// Objects, descriptors, identifiers: plain numbers.
    Count,
}

/// What only one kind of object has to say. Each is what the kernel told; a figure it kept to itself is `None`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Detail {
    /// Nothing more.
    None,
    /// A Unix socket.
    Unix(UnixSocket),
    /// A TCP or UDP socket.
    Inet(InetSocket),
    /// The file of a Unix socket that nobody has: device and inode of the lock file beside it, where it is the file of a
    /// name of `tieline-shm`.
    SocketFile {
        /// Of the lock file, if there is one.
        lock: Option<(u64, u64)>,
    },
    /// Any other socket.
    Socket(OtherSocket),
    /// A System V segment.
    SysvShm(SysvShm),
    /// A System V message queue.
    SysvMq(SysvMq),
    /// A System V semaphore set.
    SysvSem(SysvSem),
    /// A POSIX message queue.
    PosixMq(PosixMq),
    /// A POSIX named semaphore.
    PosixSem(PosixSem),
    /// Memory: a POSIX shared memory object, a memfd, anonymous shared memory, a mapped file.
    Memory(Memory),
    /// A segment of `tieline-shm`.
    Segment(Box<Segment>),
    /// An event counter.
    EventFd(EventFd),
    /// A set of watched descriptors.
    Epoll(Epoll),
    /// The signals that a signalfd takes, bit 0 being signal 1.
    SignalFd {
        /// The mask.
        signals: u64,
    },
    /// A timer.
    TimerFd {
        /// Which clock: the number of `clockid_t`.
        clock: i32,
        /// Until it fires next; zero for a timer that is not set.
        remaining: std::time::Duration,
    },
    /// The process that a pidfd stands for.
    PidFd {
        /// Its id; `None` for a process that has ended, or that the viewer's namespace does not contain.
        pid: Option<u32>,
    },
    /// How many watches an inotify descriptor has.
    Inotify {
        /// Watches.
        watches: u32,
    },
    /// An I/O ring.
    IoUring(IoUring),
    /// What the kernel calls an anonymous descriptor, without its `anon_inode:`.
    Anonymous {
        /// The word, as `[perf_event]`.
        name: Text,
    },
}

/// Where a socket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SocketState {
    /// Accepts connections.
    Listening,
    /// Connected to a peer.
    Connected,
    /// On the way to a connection.
    Connecting,
    /// Not connected, or a datagram socket without a fixed peer.
    Unconnected,
    /// One side has ended it.
    Closing,
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq)]
pub struct UnixSocket {
    /// Where it stands.
    pub state: SocketState,
    /// Device and inode of the file it is bound to, if it is bound to a path: two servers with one path differ here, and
    /// a path that leads to another inode is no longer this socket's.
    pub file: Option<(u64, u64)>,
    /// The inode of the peer's socket, if the kernel tells one.
    pub peer: Option<u64>,
    /// Bytes that wait to be read from it.
    pub receive_queue: u64,
    /// Memory of what was sent and not yet received by the other side, with the kernel's overhead.
    pub send_queue: u64,
    /// Connections that wait to be accepted and the most that may: of a listener only.
    pub backlog: Option<(u32, u32)>,
    /// Descriptors that were sent and not yet received.
    pub in_flight: u32,
    /// Which directions were shut down: reading, writing.
    pub shut: (bool, bool),
}

/// A TCP or UDP socket.
#[derive(Debug, Clone, PartialEq)]
pub struct InetSocket {
    /// Where it stands.
    pub state: SocketState,
    /// Its own address.
    pub local: SocketAddr,
    /// The peer's address; `None` without a peer.
    pub remote: Option<SocketAddr>,
    /// Bytes that wait to be read (of a listener: connections that wait to be accepted).
    pub receive_queue: u64,
    /// Bytes that were sent and not yet acknowledged (of a listener: the most that may wait).
    pub send_queue: u64,
    /// Bytes that the peer acknowledged since the connection was made. TCP only.
    pub acknowledged_bytes: Option<u64>,
    /// Bytes received since the connection was made. TCP only.
    pub received_bytes: Option<u64>,
    /// Smoothed round-trip time in microseconds. TCP only.
    pub rtt_us: Option<u32>,
}

/// A socket of another family.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherSocket {
    /// The family or protocol as the kernel calls it (`NETLINK`, `PACKET`); empty if it did not tell.
    pub protocol: Text,
}

/// A System V segment (`shmctl`).
#[derive(Debug, Clone, PartialEq)]
pub struct SysvShm {
    /// The key; 0 for a private one.
    pub key: i32,
    /// Length in bytes.
    pub size_bytes: u64,
    /// How many attachments there are, in all processes.
    pub attached: u64,
    /// Who made it; 0 if that process's id means nothing here.
    pub creator: u32,
    /// Who attached or detached last; 0 if nobody, or unknown here.
    pub last: u32,
    /// Marked for removal: it goes with its last attachment.
    pub is_removed: bool,
    /// Kept in memory (`SHM_LOCK`).
    pub is_locked: bool,
    /// Last attach, in seconds since the epoch; 0 for never.
    pub attached_at: i64,
    /// Last detach, likewise.
    pub detached_at: i64,
    /// When it was made or changed, likewise.
    pub changed_at: i64,
}

/// A System V message queue (`msgctl`).
#[derive(Debug, Clone, PartialEq)]
pub struct SysvMq {
    /// The key; 0 for a private one.
    pub key: i32,
    /// Messages in it.
    pub messages: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// The most bytes that fit.
    pub capacity_bytes: u64,
    /// Who sent last; 0 for nobody.
    pub last_sender: u32,
    /// Who received last; 0 for nobody. May be the id of a thread.
    pub last_receiver: u32,
    /// Last send, in seconds since the epoch; 0 for never.
    pub sent_at: i64,
    /// Last receive, likewise.
    pub received_at: i64,
    /// When it was made or changed, likewise.
    pub changed_at: i64,
}

/// A System V semaphore set (`semctl`).
#[derive(Debug, Clone, PartialEq)]
pub struct SysvSem {
    /// The key; 0 for a private one.
    pub key: i32,
    /// How many semaphores it has.
    pub count: u32,
    /// Each semaphore; empty if the set may not be read. Of a set beyond the scan's bounds only the values are told, or
    /// nothing ([`TooMany`](super::UnseenWhy::TooMany) counts it).
    pub semaphores: Vec<Semaphore>,
    /// Last operation, in seconds since the epoch; 0 for never.
    pub operated_at: i64,
    /// When it was made or changed, likewise.
    pub changed_at: i64,
}

/// One semaphore of a System V set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Semaphore {
    /// Its value.
    pub value: u32,
    /// How many wait for it to grow.
    pub waiting_for_increase: u32,
    /// How many wait for it to be zero.
    pub waiting_for_zero: u32,
    /// Who changed it last; 0 for nobody.
    pub last: u32,
}

/// A POSIX message queue.
#[derive(Debug, Clone, PartialEq)]
pub struct PosixMq {
    /// Bytes in it.
    pub bytes: u64,
    /// Messages in it; `None` if no descriptor of it could be asked.
    pub messages: Option<u64>,
    /// The most messages that fit; `None` likewise.
    pub capacity: Option<u64>,
    /// The longest message; `None` likewise.
    pub message_size: Option<u64>,
    /// Who is to be told of a message, and by which signal (0 for a thread or nothing).
    pub notify: Option<(u32, u32)>,
}

/// A POSIX named semaphore.
#[derive(Debug, Clone, PartialEq)]
pub struct PosixSem {
    /// Its value; `None` if its file may not be read, is open in the viewer itself, or does not look like a semaphore.
    pub value: Option<u32>,
    /// How many wait for it, as the C library counts them; `None` likewise.
    pub waiters: Option<u32>,
}

/// Memory that is a file of some kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Length in bytes; `None` if it could not be asked.
    pub size_bytes: Option<u64>,
    /// Memory that it really takes, in bytes; `None` if it could not be asked.
    pub allocated_bytes: Option<u64>,
    /// Seals of a memfd (`F_SEAL_*` bits); `None` for what has none, or if it could not be asked.
    pub seals: Option<u32>,
    /// Whether its name was removed while it is in use.
    pub is_unlinked: bool,
}

/// An event counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFd {
    /// The counter.
    pub count: u64,
    /// Whether reading takes one at a time.
    pub is_semaphore: bool,
}

/// A set of watched descriptors.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoll {
    /// The descriptors of the process that made it, as it numbered them.
    pub watched: Vec<i32>,
}

/// An I/O ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoUring {
    /// Submissions that the kernel has not taken.
    pub submissions_pending: u32,
    /// Completions that the program has not taken.
    pub completions_pending: u32,
    /// Entries of the submission ring.
    pub submission_entries: u32,
    /// Entries of the completion ring.
    pub completion_entries: u32,
}
