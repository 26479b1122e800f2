//! Memory that this process has mapped already: several readers of one publisher's log need one mapping of it.
//!
//! The invariant: a mapping is found again only for a descriptor of the very memory it shows, from the same peer, with
//! the same rights. Where inode numbers have 32 bits (huge pages, and all memory before Linux 5.9), a peer that makes as
//! many could have one memory taken for another: both its own.

use std::sync::{Arc, Mutex, Weak};

use tieline_os::Access;
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::Memfd;

/// What tells one memory from another while it is mapped, and how it is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    peer: u64,
    device: u64,
    inode: u64,
    len: u64,
    is_writable: bool,
}

static MAPPED: Mutex<Vec<(Key, Weak<Mapping>)>> = Mutex::new(Vec::new());

/// The mapping of `memfd`, as it came from `peer`, that is there already, or a new one.
pub(super) fn map(memfd: &Memfd, peer: u64, len: u64, access: Access) -> tieline_os::Result<Arc<Mapping>> {
    // A lock that is taken, by another thread or, for ever, in a child of fork, is no reason to wait: what is mapped
    // twice costs a mapping. A panic leaves the table whole.
    let (Some(key), Ok(mut mapped)) = (key(memfd, peer, len, access), MAPPED.try_lock()) else {
        return new(memfd, access);
    };
    mapped.retain(|(_, known)| known.strong_count() > 0);
    if let Some(known) = mapped.iter().find(|(of, _)| *of == key).and_then(|(_, known)| known.upgrade()) {
        return Ok(known);
    }
    let memory = new(memfd, access)?;
    mapped.push((key, Arc::downgrade(&memory)));
    Ok(memory)
}

fn new(memfd: &Memfd, access: Access) -> tieline_os::Result<Arc<Mapping>> {
    memfd.map(&MapOptions::new().access(access)).map(Arc::new)
}

fn key(memfd: &Memfd, peer: u64, len: u64, access: Access) -> Option<Key> {
    let stat = rustix::fs::fstat(memfd).ok()?;
    Some(Key { peer, device: stat.st_dev, inode: stat.st_ino, len, is_writable: access == Access::ReadWrite })
}
