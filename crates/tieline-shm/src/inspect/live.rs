//! What a segment of each kind has to say, for whoever looks.

/// How a segment is doing, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Live {
    /// A publisher's log.
    Log(Log),
    /// The subscribers of one publisher, all of one user.
    Roster(Roster),
    /// A work queue.
    Queue(Queue),
    /// A connection of a byte stream.
    Stream(Stream),
    /// A connection of calls, or the place where their server sleeps.
    Calls(Calls),
    /// A log that is one subscriber's own, which loses the newest messages.
    OwnLog(OwnLog),
    /// A latest value.
    Latest(Latest),
    /// Numbered events.
    Event(Event),
    /// Locks; only those that somebody has, waits at, or died with.
    Locks(Vec<Lock>),
    /// An arena.
    Arena(Arena),
    /// Memory alone, or a kind that tells no more than its [numbers](super::State::facts).
    Other,
}

/// Who shares a segment, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number in the segment.
    pub number: u32,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// Its user, in its own user namespace.
    pub uid: u32,
    /// `false` once the kernel has seen it die or it has left, as long as what it held is not undone.
    pub is_alive: bool,
}

/// A publisher's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// How many messages it keeps.
    pub slots: u64,
    /// How many were published.
    pub published: u64,
    /// The number of the next message; a subscriber whose cursor is here has all.
    pub head: u64,
    /// How many of the last messages a late subscriber may ask for.
    pub history: u64,
    /// Bytes of one bucket of the pool; 0 without a pool.
    pub bucket_bytes: u64,
    /// How many buckets the pool can have.
    pub buckets: u64,
    /// How many have memory.
    pub buckets_committed: u64,
}

/// The subscribers of one publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roster {
    /// The inode of the log's memory, in the file system of memory without names; 0 if not known.
    pub log_inode: u64,
    /// Who subscribes.
    pub subscribers: Vec<Subscriber>,
    /// How many could.
    pub entries: u64,
    /// How many loans each may hold.
    pub held_most: u64,
    /// Whether the publisher says that it sleeps until there is room.
    pub publisher_sleeps: bool,
    /// Whether a subscriber says that it sleeps until there is something.
    pub subscriber_sleeps: bool,
}

/// One subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscriber {
    /// Its process, in the pid namespace of the topic's host; 0 if it had no number there.
    pub pid: u32,
    /// The number of the message it takes next: of the publisher's, or in its own log.
    pub cursor: u64,
    /// The number of the next message in its own log, if it has one.
    pub own_head: Option<u64>,
    /// How many messages it took.
    pub received: u64,
    /// How many it lost.
    pub lost: u64,
    /// How many loans it holds.
    pub held: u32,
    /// What happens when it is slow.
    pub policy: Policy,
}

impl Subscriber {
    /// How many messages it has to take that a publisher gave it whose next message has that number. Those that one who
    /// loses the newest was not given are not among them: they are [`lost`](Self::lost).
    #[must_use]
    pub fn lag(&self, head: u64) -> u64 {
        self.own_head.unwrap_or(head).saturating_sub(self.cursor)
    }
}

/// What happens when a subscriber is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The publisher waits for it.
    Block,
    /// It loses the oldest messages.
    DropOldest,
    /// It loses the newest messages.
    DropNewest,
    /// It goes on with the latest message.
    SkipToLatest,
    /// Its subscription ends.
    Disconnect,
    /// One that this version does not know.
    Unknown,
}

/// A work queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queue {
    /// How many items it can have, those that are held included.
    pub slots: u64,
    /// Items that wait for a consumer.
    pub ready: u64,
    /// Of these, how many were delivered before, to consumers that died or handed them back.
    pub redelivered: u64,
    /// For each member that holds anything: its number, items it has taken, items it is writing.
    pub held: Vec<(u32, u64, u64)>,
    /// Slots that dead producers left half written, since the queue was made.
    pub skipped: u64,
    /// Deliveries that ended with the death of the consumer.
    pub orphaned: u64,
    /// Items that were handed back.
    pub requeued: u64,
    /// Items that were refused.
    pub rejected: u64,
    /// Whether a consumer says that it sleeps.
    pub consumer_sleeps: bool,
    /// Whether a producer says that it sleeps.
    pub producer_sleeps: bool,
}

/// A connection of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stream {
    /// The two directions; the listening side writes into the first.
    pub rings: [StreamRing; 2],
}

/// One direction of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRing {
    /// Bytes that were written and not read; never more than fit.
    pub waiting: u64,
    /// Bytes that fit.
    pub capacity: u64,
    /// Bytes written since the beginning.
    pub written: u64,
    /// Whether nothing more will be written.
    pub writer_closed: bool,
    /// Whether nothing more will be read.
    pub reader_closed: bool,
}

/// A log that is one subscriber's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnLog {
    /// The inode of the publisher's log, in the file system of memory without names; 0 if not known.
    pub log_inode: u64,
    /// How many messages it keeps.
    pub slots: u64,
    /// How many the subscriber was given.
    pub given: u64,
    /// How many it was not given because it had no room for them.
    pub dropped: u64,
}

/// A connection of a client with its server; or, without entries, the place where a server sleeps for its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// What the client asks.
    pub requests: CallRing,
    /// What the server answers.
    pub responses: CallRing,
    /// Requests that the server took and has not answered.
    pub in_work: u64,
    /// Whether the client says that it sleeps until something comes.
    pub client_sleeps: bool,
    /// Whether the server says so, where this is the place to sleep.
    pub server_sleeps: bool,
}

impl Calls {
    /// Calls that were made and not answered.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_work.saturating_add(self.requests.waiting)
    }
}

/// One direction of a connection of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRing {
    /// How many messages fit.
    pub entries: u64,
    /// How many were sent and not received.
    pub waiting: u64,
    /// How many were received.
    pub received: u64,
    /// How many places there are for large payloads.
    pub areas: u64,
    /// How many of them the receiver holds.
    pub held: u64,
    /// Whether the sender says that it sleeps until there is room.
    pub sender_sleeps: bool,
}

/// A latest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latest {
    /// How many values were published; wraps around at 2^32.
    pub version: u32,
    /// The number of the member that writes, if one does.
    pub writer: Option<u32>,
}

/// Numbered events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// How many events there are.
    pub ids: u64,
    /// How many notifications there were.
    pub total: u64,
    /// Whether a listener says that it sleeps.
    pub listener_sleeps: bool,
}

/// An arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arena {
    /// Bytes in blocks that hold something.
    pub used_bytes: u64,
    /// Bytes of its heap.
    pub heap_bytes: u64,
    /// Whether a change is open, perhaps left by one who died.
    pub is_changing: bool,
    /// How many changes were taken back after a death.
    pub recoveries: u64,
}

/// One word of a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lock {
    /// What it is.
    pub what: LockUse,
    /// Which of several of the same sort.
    pub index: u32,
    /// Where the word lies, in bytes from the start of the segment: where those sleep who wait for it.
    pub offset: u64,
    /// The thread that has it, in its own pid namespace.
    pub owner: Option<u32>,
    /// Whether somebody sleeps on it, or did.
    pub has_waiters: bool,
    /// Whether its owner died, and nobody has repaired since.
    pub owner_died: bool,
    /// Whether it was given up for good after a death.
    pub is_given_up: bool,
}

/// What a word of a lock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockUse {
    /// A mutex, also that of a monitor or of a value that is made once.
    #[default]
    Mutex,
    /// The writers' half of a reader-writer lock.
    Writer,
    /// A reader's place.
    Reader,
    /// A semaphore's permit.
    Permit,
    /// A place at a condition variable: its owner waits.
    Waiter,
    /// A participant's place at a barrier.
    Participant,
}

impl LockUse {
    /// Whether nobody else may be in while one has it.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::Mutex | Self::Writer)
    }
}
