//! Real objects made by the test, seen by a scan.

mod descriptors;
mod harmless;
mod hostile;
mod mappings;
mod posix;
mod processes;
mod segments;
mod sockets;
mod sysv;
mod waits;
mod zoo;

use std::cmp::Ordering;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tieline_observe::model::{How, Identity, Link, LinkKind, Namespace, NamespaceKind, Object, ObjectRef, Role};
use tieline_observe::{Scan, Snapshot};
use tieline_os::description::compare;
use tieline_os::pidfd::PidFd;

/// Whether this machine lets us look into our own children. Some sandboxes refuse the calls for it even to root.
fn may_look_inside() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::piped()).spawn().expect("sleep");
        let duplicate = PidFd::of_child(&child).and_then(|process| process.duplicate_fd(0));
        let may = duplicate.is_ok_and(|ours| {
            compare((child.id(), 0), (std::process::id(), ours.as_raw_fd())).is_ok_and(Ordering::is_eq)
        });
        let _ = (child.kill(), child.wait());
        may
    })
}

/// A snapshot of objects and holders.
fn look() -> Snapshot {
    Scan::new().take().expect("this machine has a /proc")
}

fn object(snapshot: &Snapshot, identity: Identity) -> &Object {
    snapshot.object_with(identity).unwrap_or_else(|| panic!("{identity:?} was not found"))
}

/// The ties of a kind between two objects, in that direction.
fn has_link(snapshot: &Snapshot, from: &Object, to: &Object, kind: LinkKind) -> bool {
    snapshot.links().contains(&Link { from: from.reference, to: to.reference, kind })
}

/// The processes that the kernel remembers in that role.
fn remembered(snapshot: &Snapshot, object: ObjectRef, role: Role) -> Vec<u32> {
    let is_it = |how: &How| matches!(how, How::Remembered(one) if *one == role);
    snapshot.holders(object).filter(|hold| is_it(&hold.how)).map(|hold| snapshot.process(hold.process).pid).collect()
}

/// The inode of a namespace of a process.
fn namespace_of(pid: u32, kind: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).expect("the process lives").ino()
}

fn namespace(snapshot: &Snapshot, kind: NamespaceKind, inode: u64) -> &Namespace {
    let mut all = snapshot.namespaces().iter();
    all.find(|one| one.kind == kind && one.inode == inode).unwrap_or_else(|| panic!("{kind:?}:[{inode}] was not found"))
}
