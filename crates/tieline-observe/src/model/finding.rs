//! Findings: what a careful administrator would point at.

use std::time::Duration;

use super::{LimitRef, ObjectRef, ProcessRef};

/// One thing worth a look, with what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// About which object.
    pub object: Option<ObjectRef>,
    /// About which process.
    pub process: Option<ProcessRef>,
    /// About which limit.
    pub limit: Option<LimitRef>,
    /// What was seen, and what could not be.
    pub evidence: Vec<Evidence>,
}

/// The kinds of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Left behind: nobody uses it, and who made it has gone. It may be removed.
    Orphan,
    /// Nobody uses it now, but something is missing for an [`Orphan`](Self::Orphan): its maker lives, it is young, or not
    /// everything could be seen.
    Unused,
    /// A socket's file that no socket is bound to any more.
    DeadSocketFile,
    /// The files of a name of `tieline-shm` that nobody uses. Who uses the name next takes them over.
    DeadName,
    /// Memory that is kept only by processes that are stopped or have ended.
    HeldByStopped,
    /// Removed by name or mark, but kept in memory by those who still have it.
    RemovedButHeld,
    /// A pipe, FIFO or connection with one end only: who reads will get the end of the file, who writes an error.
    OneEnded,
    /// Full: the next write blocks or fails.
    Full,
    /// A listener whose backlog is full.
    BacklogFull,
    /// Everybody on the machine may read or write it.
    WorldWritable,
    /// A limit that is nearly reached.
    NearLimit,
    /// Two or more sockets bound to one path, of which only one can be reached.
    PathTaken,
}

/// One thing seen (or not) that speaks for or against a finding.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// Who made it has ended.
    CreatorGone {
        /// The pid it had.
        pid: u32,
    },
    /// Who made it lives.
    CreatorAlive {
        /// Its pid.
        pid: u32,
    },
    /// A process has its maker's pid, but began after the object was made: the maker has gone.
    CreatorPidReused {
        /// The pid.
        pid: u32,
    },
    /// The object does not say who made it.
    CreatorUnknown,
    /// Who used it last has ended.
    LastUserGone {
        /// The pid it had.
        pid: u32,
    },
    /// Who used it last lives.
    LastUserAlive {
        /// Its pid.
        pid: u32,
    },
    /// No process of its owner is there any more that could come back to it.
    OwnerGone {
        /// The owner.
        uid: u32,
    },
    /// So many processes of its owner live that were there when it was last used, and may come back to it by its id or
    /// name without having it open meanwhile.
    OwnerAlive {
        /// The owner.
        uid: u32,
        /// How many.
        processes: u32,
    },
    /// Its owner's user is not known.
    OwnerUnknown,
    /// Nobody looked who waits for it.
    WaitersUnknown,
    /// So many attachments, of which the processes are those that hold it.
    Attached(u64),
    /// So many descriptors were sent over sockets and not yet received, any of which may be one of it.
    DescriptorsInFlight(u64),
    /// No process has it attached or mapped.
    NoMapping,
    /// No process has it open.
    NoDescriptor,
    /// That process is stopped, or waits for its parent after its end.
    Stopped {
        /// Its pid.
        pid: u32,
    },
    /// Nobody has locked its lock file.
    NoLock,
    /// No thread waits for it.
    NoWaiter,
    /// How long it has not been used or changed.
    Age(Duration),
    /// The viewer's pid namespace is not the machine's first, but the object's IPC namespace is: processes that have no id
    /// here may use it.
    ProcessesOutside,
    /// So many processes could not be looked into, any of which may use it.
    ProcessesUnseen(u32),
    /// It holds so many messages or bytes that would be lost.
    Holds {
        /// How much.
        amount: u64,
        /// Of what.
        unit: super::Unit,
    },
    /// Its permission bits.
    Mode(u32),
}
