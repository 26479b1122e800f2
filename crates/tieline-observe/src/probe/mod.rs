//! Asks the kernel, one facility per file. Each `look` adds what it finds to the builder, counts what it may not see, and
//! never fails the whole.
//!
//! The order is [`Scan`](crate::Scan)'s: processes and namespaces first, then the objects that the kernel lists by
//! itself (sockets, System V, POSIX names), then who holds them (descriptors, mappings, locks), then who waits.
//! An object is met again by its [identity](crate::model::Identity), so later probes complete what earlier ones found.

mod at_hand;
mod container;
pub(crate) mod descriptors;
mod elsewhere;
mod fdinfo;
mod kernel_files;
pub(crate) mod limits;
pub(crate) mod locks;
pub(crate) mod mappings;
mod mounts;
pub(crate) mod namespaces;
pub(crate) mod posix;
pub(crate) mod processes;
mod procfs;
mod remembered;
pub(crate) mod segments;
pub(crate) mod socket_files;
pub(crate) mod sockets;
pub(crate) mod sysv;
pub(crate) mod waits;

use crate::model::Viewer;
use crate::{Error, Result};

/// Who looks: this process.
pub(crate) fn viewer() -> Result<Viewer> {
    std::fs::metadata("/proc/self/stat").map_err(Error::NoProc)?;
    Ok(Viewer { pid: std::process::id(), uid: rustix::process::geteuid().as_raw(), namespaces: namespaces::own() })
}
