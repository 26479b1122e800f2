//! Namespaces other than the viewer's: which there are, and by which process each is entered.

use std::collections::HashMap;

use tieline_os::namespace::{Kind, Namespace};

use crate::model::{Builder, NamespaceKind, UnseenWhy};

/// How many processes of one namespace are tried before it is given up: each may end at any time.
const PROCESSES_TRIED: usize = 4;

/// One namespace of a kind.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) inode: u64,
    pub(super) is_own: bool,
    /// Some processes that live in it.
    pub(super) pids: Vec<u32>,
}

/// Every namespace of that kind that a process of the snapshot lives in, the viewer's first.
pub(super) fn places(builder: &Builder, kind: NamespaceKind) -> Vec<Place> {
    let own = Namespace::own(os_kind(kind)).ok().map(|own| own.inode());
    let mut pids: HashMap<u64, Vec<u32>> = HashMap::new();
    for process in builder.processes() {
        let namespaces = &process.namespaces;
        let inode = match kind {
            NamespaceKind::Ipc => namespaces.ipc,
            NamespaceKind::Net => namespaces.net,
            NamespaceKind::Mnt => namespaces.mnt,
            NamespaceKind::Pid => namespaces.pid,
            NamespaceKind::User => namespaces.user,
        };
        if let Some(inode) = inode {
            let pids = pids.entry(inode).or_default();
            if pids.len() < PROCESSES_TRIED {
                pids.push(process.pid);
            }
        }
    }
    // The viewer is in its own namespace, whether it is among the processes or not.
    if let Some(own) = own {
        pids.entry(own).or_default();
    }
    let mut places: Vec<Place> =
        pids.into_iter().map(|(inode, pids)| Place { inode, is_own: own == Some(inode), pids }).collect();
    places.sort_unstable_by_key(|place| (!place.is_own, place.inode));
    places
}

impl Place {
    /// Calls `body` in this namespace.
    pub(super) fn run<T: Send>(&self, kind: NamespaceKind, body: impl FnOnce() -> T + Send) -> Result<T, UnseenWhy> {
        if self.is_own {
            return Ok(body());
        }
        self.hold(os_kind(kind))?.run(body).map_err(|error| why(&error))
    }

    /// Takes hold of the namespace through one of its processes, whose pid may be another's by now.
    fn hold(&self, kind: Kind) -> Result<Namespace, UnseenWhy> {
        let mut reason = UnseenWhy::Vanished;
        for &pid in &self.pids {
            match Namespace::of_process(pid, kind) {
                Ok(namespace) if namespace.inode() == self.inode => return Ok(namespace),
                Ok(_) => {}
                Err(error) => reason = why(&error),
            }
        }
        Err(reason)
    }

    /// A process that lives in it now.
    pub(super) fn inhabitant(&self, kind: NamespaceKind) -> Option<u32> {
        if self.is_own {
            // Our number in this `/proc`, which may be that of another pid namespace.
            return std::fs::read_link("/proc/self").ok()?.to_str()?.parse().ok();
        }
        let lives_there = |&pid: &u32| {
            let path = format!("/proc/{pid}/ns/{}", os_kind(kind));
            rustix::fs::stat(path).is_ok_and(|stat| stat.st_ino == self.inode)
        };
        self.pids.iter().copied().find(lives_there)
    }

    /// Notes that the objects of this namespace are in the snapshot.
    pub(super) fn listed(&self, builder: &mut Builder, kind: NamespaceKind) {
        self.note(builder, kind, true);
    }

    /// Notes that they are not.
    pub(super) fn not_listed(&self, builder: &mut Builder, kind: NamespaceKind) {
        self.note(builder, kind, false);
    }

    fn note(&self, builder: &mut Builder, kind: NamespaceKind, is_listed: bool) {
        for namespace in builder.namespaces_mut() {
            if namespace.kind == kind && namespace.inode == self.inode {
                namespace.is_listed = is_listed;
            }
        }
    }
}

fn os_kind(kind: NamespaceKind) -> Kind {
    match kind {
        NamespaceKind::Ipc => Kind::Ipc,
        NamespaceKind::Net => Kind::Net,
        NamespaceKind::Mnt => Kind::Mount,
        NamespaceKind::Pid | NamespaceKind::User => unreachable!("no probe lists objects of these"),
    }
}

/// Why something could not be seen, from the refusal.
pub(super) fn why(error: &tieline_os::Error) -> UnseenWhy {
    use tieline_os::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied => UnseenWhy::NoPermission,
        ErrorKind::NotFound | ErrorKind::Removed => UnseenWhy::Vanished,
        ErrorKind::Unsupported => UnseenWhy::NotSupported,
        _ => UnseenWhy::Failed,
    }
}
