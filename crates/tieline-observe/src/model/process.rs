//! Processes and the namespaces they live in.

use super::{ProcessRef, Text};

/// One process, as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct Process {
    /// Where it stands in this snapshot.
    pub reference: ProcessRef,
    /// Its id in the viewer's pid namespace.
    pub pid: u32,
    /// Its parent's id; 0 for none that the viewer can see.
    pub parent: u32,
    /// When it began, in clock ticks since the machine started. With `pid` this names it for ever: a pid is used again,
    /// the pair is not.
    pub start_ticks: u64,
    /// The kernel's name of it (`comm`), at most 15 bytes.
    pub name: Text,
    /// Its arguments, the first being the program. Empty for a thread of the kernel, a zombie, or one that erased them.
    pub command: Vec<Text>,
    /// Effective user; `None` if that could not be seen.
    pub uid: Option<u32>,
    /// What it was doing.
    pub state: ProcessState,
    /// Whether it is a thread of the kernel, which holds nothing that others can reach.
    pub is_kernel_thread: bool,
    /// Where it lives; `None` for each that could not be read.
    pub namespaces: Namespaces,
    /// The container's name or id, as its control group tells; `None` outside of one.
    pub container: Option<Text>,
    /// How many descriptors it has open; `None` if they could not be read.
    pub descriptors: Option<u32>,
    /// The most it may have open (soft `RLIMIT_NOFILE`); `None` if not asked for or not readable.
    pub descriptor_limit: Option<u64>,
}

#[cfg(test)]
impl Process {
    /// A process of root's, for snapshots that are built by hand.
    pub(crate) fn example(pid: u32) -> Self {
        Self {
            reference: ProcessRef::at(0),
            pid,
            parent: 0,
            start_ticks: 0,
            name: Text::from("program"),
            command: Vec::new(),
            uid: Some(0),
            state: ProcessState::Sleeping,
            is_kernel_thread: false,
            namespaces: Namespaces::default(),
            container: None,
            descriptors: None,
            descriptor_limit: None,
        }
    }
}

/// The state letter of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProcessState {
    /// On a processor, or ready for one.
    Running,
    /// Waiting, and a signal can wake it.
    Sleeping,
    /// Waiting, and no signal can wake it.
    Uninterruptible,
    /// Stopped by a signal.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// Ended, and its parent has not asked for its status.
    Zombie,
    /// Anything else.
    Other,
}

/// The inode numbers of the namespaces of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// System V objects and POSIX message queues.
    pub ipc: Option<u64>,
    /// Network: sockets, ports, abstract names.
    pub net: Option<u64>,
    /// Mounts: what a path means.
    pub mnt: Option<u64>,
    /// Process ids.
    pub pid: Option<u64>,
    /// Users.
    pub user: Option<u64>,
}

/// The kinds of namespace that decide what a name of an object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// System V objects and POSIX message queues.
    Ipc,
    /// Sockets, ports and abstract names.
    Net,
    /// Paths.
    Mnt,
    /// Process ids.
    Pid,
    /// Users.
    User,
}

/// One namespace that a process of the snapshot lives in.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Which kind.
    pub kind: NamespaceKind,
    /// Its number: the inode of `/proc/PID/ns/KIND`.
    pub inode: u64,
    /// Whether the viewer lives in it.
    pub is_own: bool,
    /// How many processes of the snapshot live in it.
    pub processes: u32,
    /// A process to call it by: the oldest that lives in it.
    pub named_after: Option<ProcessRef>,
    /// Whether its objects were listed: true for the viewer's, and for others where the privilege sufficed.
    pub is_listed: bool,
}
