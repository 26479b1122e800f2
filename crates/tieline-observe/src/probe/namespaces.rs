//! The list of namespaces that processes live in.

use std::collections::BTreeMap;

use super::processes;
use crate::model::{Builder, Namespace, NamespaceKind, Namespaces, ProcessRef};

/// The viewer's own.
pub(crate) fn own() -> Namespaces {
    let own = rustix::fs::open("/proc/self", super::procfs::FOLDER, rustix::fs::Mode::empty());
    own.map(processes::namespaces).unwrap_or_default()
}

/// Lists them, each named after the oldest process that lives in it.
pub(crate) fn look(builder: &mut Builder) {
    let mut found: BTreeMap<(NamespaceKind, u64), Inhabitants> = BTreeMap::new();
    let own: Vec<(NamespaceKind, u64)> = by_kind(builder.viewer().namespaces).collect();
    for &place in &own {
        found.insert(place, Inhabitants::default());
    }
    for process in builder.processes() {
        for place in by_kind(process.namespaces) {
            found.entry(place).or_default().add(process.start_ticks, process.pid, process.reference);
        }
    }
    for ((kind, inode), inhabitants) in found {
        let is_own = own.contains(&(kind, inode));
        builder.namespace(Namespace {
            kind,
            inode,
            is_own,
            processes: inhabitants.count,
            named_after: inhabitants.oldest.map(|(_, _, process)| process),
            // The probes of the objects say so of the others.
            is_listed: is_own,
        });
    }
}

#[derive(Default)]
struct Inhabitants {
    count: u32,
    /// When it began, its id, and where it is.
    oldest: Option<(u64, u32, ProcessRef)>,
}

impl Inhabitants {
    fn add(&mut self, start_ticks: u64, pid: u32, process: ProcessRef) {
        self.count += 1;
        let this = (start_ticks, pid, process);
        self.oldest = Some(self.oldest.map_or(this, |oldest| oldest.min(this)));
    }
}

fn by_kind(all: Namespaces) -> impl Iterator<Item = (NamespaceKind, u64)> {
    [
        (NamespaceKind::Ipc, all.ipc),
        (NamespaceKind::Net, all.net),
        (NamespaceKind::Mnt, all.mnt),
        (NamespaceKind::Pid, all.pid),
        (NamespaceKind::User, all.user),
    ]
    .into_iter()
    .filter_map(|(kind, inode)| Some((kind, inode?)))
}
