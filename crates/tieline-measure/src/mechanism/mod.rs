//! The list of mechanisms. One file for each family; a new mechanism is one type there and one line here.

mod inet;
mod memory;
mod pipes;
mod posix;
mod process;
mod ring;
mod signals;
mod slots;
mod sysv;
mod unix;

use crate::control::Outcome;
use crate::link::{Joining, Link, Offer, Prepared};

/// What there is to know of a mechanism before it runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Description {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// The kind of mechanism, for grouping.
    pub family: &'static str,
    /// How a message travels, in a few words.
    pub about: &'static str,
    /// The largest message it carries, in bytes.
    pub largest: usize,
    /// Whether a message can go there and another come back.
    pub round_trips: bool,
    /// Whether messages can be sent one way without an answer.
    pub throughput: bool,
    /// Whether messages may be lost when the receiver is slow.
    pub lossy: bool,
}

impl Description {
    /// A mechanism without restrictions.
    pub(crate) const fn new(name: &'static str, family: &'static str, about: &'static str) -> Self {
        Self { name, family, about, largest: usize::MAX, round_trips: true, throughput: true, lossy: false }
    }
}

/// A mechanism that can be measured.
pub(crate) trait Mechanism: Sync {
    fn description(&self) -> &Description;

    /// Makes the kernel objects for two ends that will send messages of at most `largest` bytes. Runs in the conductor.
    fn prepare(&self, largest: usize) -> Outcome<Prepared>;

    /// Takes one end. Runs in a player.
    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>>;
}

/// Every mechanism, in the order of the report.
pub(crate) fn all() -> &'static [&'static dyn Mechanism] {
    static ALL: [&dyn Mechanism; 26] = [
        &memory::SPIN,
        &memory::SPIN_YIELD,
        &memory::SPIN_FUTEX,
        &memory::FUTEX,
        &memory::EVENTFD,
        &sysv::SEMAPHORE,
        &posix::NAMED_SEMAPHORE,
        &posix::UNNAMED_SEMAPHORE,
        &memory::MUTEX_CONDITION,
        &pipes::PIPE,
        &pipes::LARGE_PIPE,
        &pipes::FIFO,
        &pipes::VMSPLICE,
        &unix::STREAM,
        &unix::DATAGRAM,
        &unix::SEQPACKET,
        &inet::TCP,
        &inet::UDP,
        &posix::MESSAGE_QUEUE,
        &sysv::QUEUE,
        &signals::KILL,
        &signals::QUEUED,
        &process::READV,
        &process::MEMFD,
        &ring::PIPE,
        &ring::STREAM,
    ];
    &ALL
}

/// The mechanism of that name.
pub(crate) fn named(name: &str) -> Option<&'static dyn Mechanism> {
    all().iter().copied().find(|mechanism| mechanism.description().name == name)
}

/// What can be measured, in the order of the report.
pub fn mechanisms() -> impl Iterator<Item = &'static Description> {
    all().iter().map(|mechanism| mechanism.description())
}
