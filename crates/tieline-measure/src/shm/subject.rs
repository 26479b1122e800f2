//! What is measured of shared memory, and in which unit.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a receiver waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Looks again and again, and never sleeps.
    Poll,
    /// Spins where that pays, sleeps otherwise.
    Adaptive,
    /// Sleeps at once.
    Block,
    /// Is awaited, under tokio.
    Await,
}

/// Which bytes of a payload that lies in shared memory are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touch {
    /// The first and the last eight: what is left is the cost of handing it over.
    Ends,
    /// All: they are copied in from private memory, and out to it.
    Every,
}

/// One thing that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A message there, copied in and out, and an equal one back: nanoseconds.
    RoundTrip {
        /// The payload.
        bytes: usize,
        /// How both ends wait.
        wait: Wait,
    },
    /// The same with a payload written and read where it lies, polling: nanoseconds.
    Loan {
        /// The payload.
        bytes: usize,
        /// Which of its bytes are touched.
        touch: Touch,
    },
    /// One way, no message lost, every byte copied in and out: messages a second.
    Flood {
        /// The payload.
        bytes: usize,
        /// How many are published at once.
        batch: usize,
    },
    /// To publish 64 bytes for so many subscribers who do not look: nanoseconds for the publisher.
    Publish {
        /// How many.
        subscribers: usize,
    },
    /// To lock and unlock: nanoseconds; contended by two processes, times a second by both together.
    Lock {
        /// Whether somebody else does it too.
        contended: bool,
    },
    /// Memory committed for a publisher of such payloads and one subscriber: bytes.
    Memory {
        /// The payload.
        bytes: usize,
    },
    /// Descriptors that a further subscriber costs the publisher or itself, whichever is more.
    Descriptors,
    /// Mappings that a further subscriber costs the publisher or itself, whichever is more.
    Mappings,
    /// To join a name that exists: nanoseconds.
    Join,
    /// How often a second both processes wake up while a subscriber waits and nothing is sent.
    Idle,
}

/// In which unit a figure is, and which end of it is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Less is better.
    Nanoseconds,
    /// More is better.
    PerSecond,
    /// Less is better.
    Bytes,
    /// Less is better.
    Count,
}

impl Subject {
    /// The unit of its figures.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::RoundTrip { .. }
            | Self::Loan { .. }
            | Self::Publish { .. }
            | Self::Lock { contended: false }
            | Self::Join => Unit::Nanoseconds,
            Self::Flood { .. } | Self::Lock { contended: true } => Unit::PerSecond,
            Self::Memory { .. } => Unit::Bytes,
            Self::Descriptors | Self::Mappings | Self::Idle => Unit::Count,
        }
    }

    /// Whether the greater figure of the two processes counts, not their sum.
    pub(super) fn is_of_either(self) -> bool {
        matches!(self, Self::Descriptors | Self::Mappings)
    }

    /// Whether it is polled, which takes a processor for each end.
    pub(super) fn polls(self) -> bool {
        match self {
            Self::RoundTrip { wait, .. } => wait == Wait::Poll,
            Self::Loan { .. } | Self::Flood { .. } => true,
            _ => false,
        }
    }

    /// How long a figure may take, beyond what the plan gives each.
    pub(super) fn extra_time(self) -> Duration {
        match self {
            Self::Idle => IDLE_WINDOW,
            _ => Duration::ZERO,
        }
    }
}

/// How long nothing is sent to count who wakes up all the same.
pub const IDLE_WINDOW: Duration = Duration::from_secs(2);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poll => "polling",
            Self::Adaptive => "adaptive",
            Self::Block => "blocking",
            Self::Await => "tokio",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RoundTrip { bytes, wait } => write!(f, "round trip {}, {wait}", Size(bytes)),
            Self::Loan { bytes, touch: Touch::Ends } => write!(f, "loan round trip {}", Size(bytes)),
            Self::Loan { bytes, touch: Touch::Every } => write!(f, "round trip {}, every byte", Size(bytes)),
            Self::Flood { bytes, batch: 1 } => write!(f, "flood {}", Size(bytes)),
            Self::Flood { bytes, batch } => write!(f, "flood {} by {batch}", Size(bytes)),
            Self::Publish { subscribers: 1 } => f.write_str("publish, 1 subscriber"),
            Self::Publish { subscribers } => write!(f, "publish, {subscribers} subscribers"),
            Self::Lock { contended: false } => f.write_str("lock and unlock"),
            Self::Lock { contended: true } => f.write_str("lock and unlock, contended"),
            Self::Memory { bytes } => write!(f, "memory, payload {}", Size(bytes)),
            Self::Descriptors => f.write_str("descriptors per subscriber"),
            Self::Mappings => f.write_str("mappings per subscriber"),
            Self::Join => f.write_str("join a name"),
            Self::Idle => f.write_str("idle wake-ups a second"),
        }
    }
}

/// A size as people write it.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} B"),
        }
    }
}
