//! The snapshot: plain values, joined, that ask nobody anything.
//!
//! Everything is referred to by its place in the snapshot ([`ProcessRef`], [`ObjectRef`], [`LimitRef`]). A snapshot is
//! made whole by a [`Builder`], which probes and tests fill alike, and does not change afterwards.

mod builder;
mod finding;
mod limit;
mod object;
mod process;
mod relation;
mod segment;
mod text;
mod unseen;

use std::time::{Duration, SystemTime};

pub use builder::Builder;
pub(crate) use builder::{MappedSegment, OpenFile, Quick};
pub use finding::{Evidence, Finding, FindingKind};
pub use limit::{Limit, Scope};
pub use object::{
    Detail, Epoll, EventFd, Fill, Identity, InetSocket, IoUring, Kind, Memory, Object, OtherSocket, Owner, PosixMq,
    PosixSem, Semaphore, SocketState, SysvMq, SysvSem, SysvShm, Unit, UnixSocket,
};
pub use process::{Namespace, NamespaceKind, Namespaces, Process, ProcessState};
pub use relation::{Access, Hold, How, Link, LinkKind, Lock, LockKind, Role, Wait, WaitReason};
pub use segment::{Member, Reading, Segment, Told};
pub use text::Text;
pub use unseen::{Unseen, UnseenWhat, UnseenWhy};

macro_rules! reference {
    ($(#[$doc:meta] $name:ident;)*) => {
        $(
            #[$doc]
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(u32);

            impl $name {
                /// The place, counted from 0.
                #[must_use]
                pub fn index(self) -> usize {
                    self.0 as usize
                }

                pub(crate) fn at(index: usize) -> Self {
                    Self(u32::try_from(index).expect("the builder refuses more than u32::MAX entries"))
                }
            }

            impl From<$name> for usize {
                fn from(reference: $name) -> Self {
                    reference.index()
                }
            }
        )*
    };
}

reference! {
    /// A process of one snapshot. It means nothing in another.
    ProcessRef;
    /// An object of one snapshot. It means nothing in another.
    ObjectRef;
    /// A limit of one snapshot. It means nothing in another.
    LimitRef;
}

/// All inter-process communication of a machine, as one look found it.
///
/// The parts were looked at one after the other: a snapshot is as exact as a photograph with a long exposure. A process
/// that ended meanwhile is either left out whole or there with what was found of it.
#[derive(Debug)]
pub struct Snapshot {
    taken: Taken,
    viewer: Viewer,
    processes: Vec<Process>,
    objects: Vec<Object>,
    /// Sorted by object, then process.
    holds: Vec<Hold>,
    links: Vec<Link>,
    waits: Vec<Wait>,
    namespaces: Vec<Namespace>,
    limits: Vec<Limit>,
    findings: Vec<Finding>,
    unseen: Vec<Unseen>,
    index: builder::Index,
}

/// When and how a snapshot was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// When the scan began.
    pub at: SystemTime,
    /// How long it took.
    pub wall: Duration,
    /// Processor time that it took, in user and kernel together, of the thread that asked for it. Looks into other namespaces
    /// are made by threads of their own and not counted.
    pub cpu: Duration,
    /// By which engine.
    pub engine: crate::Engine,
    /// What was looked at.
    pub scan: crate::Scan,
    /// When the machine started, which [`Process::start_ticks`] counts from.
    pub booted: SystemTime,
}

/// Who looked.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Its process id.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its namespaces, in which names without another namespace have their meaning.
    pub namespaces: Namespaces,
}

impl Snapshot {
    /// When and how it was taken.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Who looked.
    #[must_use]
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Every process, by rising pid.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Every object, by kind and then by identity.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Every tie between a process and an object, by object and then by process.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// Every tie between two objects.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Every thread that waits on an object; empty if the scan was not told to [look](crate::Scan::waits).
    #[must_use]
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// Every namespace that decides what a name means, by kind and then by number.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Limits with their use; those of processes only near the limit, unless the scan was told otherwise.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// What is worth a look.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What could not be seen, by what and why. Empty means that everything was.
    #[must_use]
    pub fn unseen(&self) -> &[Unseen] {
        &self.unseen
    }

    /// The process at a place of this snapshot.
    ///
    /// # Panics
    /// If the reference is of another snapshot and this one has fewer.
    #[must_use]
    pub fn process(&self, reference: ProcessRef) -> &Process {
        &self.processes[reference.index()]
    }

    /// The object at a place of this snapshot.
    ///
    /// # Panics
    /// If the reference is of another snapshot and this one has fewer.
    #[must_use]
    pub fn object(&self, reference: ObjectRef) -> &Object {
        &self.objects[reference.index()]
    }

    /// The limit at a place of this snapshot.
    ///
    /// # Panics
    /// If the reference is of another snapshot and this one has fewer.
    #[must_use]
    pub fn limit(&self, reference: LimitRef) -> &Limit {
        &self.limits[reference.index()]
    }

    /// The process with that id.
    #[must_use]
    pub fn process_with_pid(&self, pid: u32) -> Option<&Process> {
        let index = self.processes.binary_search_by_key(&pid, |process| process.pid).ok()?;
        Some(&self.processes[index])
    }

    /// When a process began, to a hundredth of a second.
    #[must_use]
    pub fn started_at(&self, process: ProcessRef) -> SystemTime {
        let ticks = self.process(process).start_ticks;
        let rate = rustix::param::clock_ticks_per_second().max(1);
        let since_boot = Duration::from_secs(ticks / rate) + Duration::from_millis(ticks % rate * 1000 / rate);
        self.taken.booted.checked_add(since_boot).unwrap_or(self.taken.booted)
    }

    /// How much of one sort could not be seen, for whatever reason.
    #[must_use]
    pub fn unseen_count(&self, what: UnseenWhat) -> u64 {
        self.unseen.iter().filter(|unseen| unseen.what == what).map(|unseen| unseen.count).sum()
    }

    /// The object with that identity.
    #[must_use]
    pub fn object_with(&self, identity: Identity) -> Option<&Object> {
        self.index.object(identity).map(|reference| self.object(reference))
    }

    /// The ties of one object to processes, by process.
    pub fn holders(&self, object: ObjectRef) -> impl Iterator<Item = &Hold> {
        self.index.holds_of(object).map(|index| &self.holds[index])
    }

    /// The ties of one process to objects, by object.
    pub fn held_by(&self, process: ProcessRef) -> impl Iterator<Item = &Hold> {
        self.index.held_by(process).iter().map(|&index| &self.holds[index as usize])
    }

    /// The ties of one object to other objects, in both directions: the link, and the object at its other end.
    pub fn linked(&self, object: ObjectRef) -> impl Iterator<Item = (&Link, ObjectRef)> {
        self.index.links_of(object).iter().map(move |&index| {
            let link = &self.links[index as usize];
            (link, if link.from == object { link.to } else { link.from })
        })
    }

    /// The other end of a connection, if it has one.
    #[must_use]
    pub fn peer(&self, object: ObjectRef) -> Option<ObjectRef> {
        self.linked(object).find(|(link, _)| link.kind == LinkKind::Peer).map(|(_, other)| other)
    }
}

#[cfg(test)]
mod tests;
