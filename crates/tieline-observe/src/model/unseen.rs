//! What could not be seen. An answer that leaves something out must say so.

/// Things of one sort that could not be seen for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Unseen {
    /// What.
    pub what: UnseenWhat,
    /// Why.
    pub why: UnseenWhy,
    /// How many; of [`Processes`](UnseenWhat::Processes), the least number that must be there.
    pub count: u64,
}

/// What could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnseenWhat {
    /// Whole processes (`/proc` mounted with `hidepid`).
    Processes,
    /// The descriptors of that many processes.
    Descriptors,
    /// The mappings of that many processes.
    Mappings,
    /// How full that many pipes and FIFOs are.
    Fill,
    /// What that many threads wait for.
    Waits,
    /// The objects of that many IPC namespaces.
    IpcNamespaces,
    /// The sockets of that many network namespaces.
    NetNamespaces,
    /// The names of that many mount namespaces.
    MountNamespaces,
    /// The POSIX message queues of that many IPC namespaces.
    Queues,
    /// That many System V objects that may not be read.
    SystemV,
    /// The holders of that many file locks.
    LockHolders,
    /// The peers and queues of that many Unix sockets, for lack of a socket monitoring interface; and one for each family
    /// of sockets that changed so fast that some may be missing.
    Sockets,
    /// What that many segments of `tieline-shm` say of themselves.
    Segments,
    /// That many folders in which there may be files of sockets.
    SocketFolders,
}

/// Why it could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnseenWhy {
    /// The viewer may not.
    NoPermission,
    /// It lives outside of the viewer's pid namespace, and has no id here.
    Outside,
    /// It went away while it was looked at.
    Vanished,
    /// This kernel has no way to ask.
    NotSupported,
    /// It was more than the scan's limit allows.
    TooMany,
    /// A call failed for another reason.
    Failed,
}
