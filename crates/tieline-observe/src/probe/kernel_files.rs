//! File systems that the kernel keeps for itself, and what their files are.
//!
//! A link in `/proc` names a file by a text, and any text may be somebody's path too: a removed file `/memfd:x` of the
//! root folder reads like a memfd. What decides is the file system, known here by its device number.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;

use rustix::fs::{FsWord, MemfdFlags, fstat, fstatfs, makedev, memfd_create, statfs};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, pidfd_open};

use super::mounts::{Mount, own_table, table};

/// `MQUEUE_MAGIC`, in the kernel's `ipc/mqueue.c`.
const QUEUES: FsWord = 0x1980_0202;
/// `PID_FS_MAGIC`, from Linux 6.9.
const PROCESSES: FsWord = 0x5049_4446;
/// `SECRETMEM_MAGIC`.
const SECRET_MEMORY: FsWord = 0x5345_434d;

/// What is known of such file systems.
pub(super) struct KernelFiles {
    /// Devices of memory without a path: memfds, System V segments, anonymous shared memory, each page size its own.
    memory: Vec<u64>,
    pipes: Option<u64>,
    sockets: Option<u64>,
    /// Whether each process has an inode number of its own in the file system of pidfds.
    pidfds_have_inodes: bool,
    /// What other devices were found to be.
    queues: HashMap<u64, bool>,
    /// Devices of file systems that are served by somebody else, who may never answer.
    served: HashSet<u64>,
}

impl KernelFiles {
    /// Finds the devices by a look at own files of each kind, which are closed at once.
    pub(super) fn new() -> Self {
        let sizes = [MemfdFlags::empty(), HUGE | HUGE_2MB, HUGE | HUGE_1GB];
        let memory =
            sizes.into_iter().filter_map(|size| device_of(memfd_create(c"tieline", size | MemfdFlags::CLOEXEC).ok()?));
        let mut memory: Vec<u64> = memory.collect();
        memory.dedup();
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        Self {
            memory,
            pipes: pipe_with(PipeFlags::CLOEXEC).ok().and_then(|(reader, _)| device_of(reader)),
            sockets: socket.ok().and_then(device_of),
            pidfds_have_inodes: own.is_ok_and(|own| fstatfs(&own).is_ok_and(|place| place.f_type == PROCESSES)),
            queues: HashMap::new(),
            served: served(&own_table()),
        }
    }

    /// Whether it is memory that the kernel keeps for memfds and their like.
    pub(super) fn is_memory(&self, device: u64) -> bool {
        self.memory.contains(&device)
    }

    pub(super) fn is_pipes(&self, device: u64) -> bool {
        self.pipes == Some(device)
    }

    pub(super) fn is_sockets(&self, device: u64) -> bool {
        self.sockets == Some(device)
    }

    pub(super) fn pidfds_have_inodes(&self) -> bool {
        self.pidfds_have_inodes
    }

    /// Whether the files of a device are POSIX message queues; `path` leads to one of them. Each IPC namespace has a
    /// device for its queues.
    pub(super) fn is_queues(&mut self, device: u64, path: &str) -> bool {
        if self.may_never_answer(device) {
            return false;
        }
        *self.queues.entry(device).or_insert_with(|| statfs(path).is_ok_and(|place| place.f_type == QUEUES))
    }

    /// Whether looking up a name there, or asking for its kind, may wait for a server that is gone. What is mounted in other
    /// mount namespaces only is not known; there the kernel itself keeps strangers from waiting for a user's own server.
    pub(super) fn may_never_answer(&self, device: u64) -> bool {
        self.served.contains(&device)
    }

    /// Whether the file is secret memory (`memfd_secret`).
    pub(super) fn is_secret(path: &str) -> bool {
        statfs(path).is_ok_and(|place| place.f_type == SECRET_MEMORY)
    }
}

/// The devices of network file systems, of those that a process serves, and of those that mount on demand.
fn served(mounts: &[u8]) -> HashSet<u64> {
    const SERVED: [&[u8]; 9] = [b"nfs", b"fuse", b"cifs", b"smb", b"9p", b"ceph", b"afs", b"autofs", b"virtiofs"];
    let is_served = |mount: &Mount<'_>| SERVED.iter().any(|served| mount.kind.starts_with(served));
    table(mounts).filter(is_served).map(|mount| mount.device).collect()
}

const HUGE: MemfdFlags = MemfdFlags::HUGETLB;
const HUGE_2MB: MemfdFlags = MemfdFlags::HUGE_2MB;
const HUGE_1GB: MemfdFlags = MemfdFlags::HUGE_1GB;

fn device_of(file: impl AsFd) -> Option<u64> {
    #[allow(clippy::useless_conversion, reason = "the width differs between machines")]
    fstat(file).ok().map(|stat| u64::from(stat.st_dev))
}

/// A device number as `stat` tells it, from the kernel's own (`sdev:` in `fdinfo`): twelve bits above twenty.
pub(super) fn from_kernel(device: u64) -> u64 {
    makedev((device >> 20) as u32, (device & 0xf_ffff) as u32)
}

/// The text of a link without the ` (deleted)` that the kernel adds, and whether it was there. A file may really be
/// called so, which only a look at the file tells.
pub(super) fn without_deleted(link: &[u8]) -> (&[u8], bool) {
    link.strip_suffix(b" (deleted)").map_or((link, false), |name| (name, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memfd_lies_where_memfds_lie_and_a_file_does_not() {
        let files = KernelFiles::new();
        let memfd = memfd_create(c"x", MemfdFlags::CLOEXEC).expect("a memfd");
        assert!(files.is_memory(device_of(memfd).expect("its device")));
        let file = tempfile::tempfile().expect("a file");
        assert!(!files.is_memory(device_of(file).expect("its device")));
        let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        assert!(files.is_pipes(device_of(reader).expect("its device")));
    }

    #[test]
    fn servers_that_may_be_gone_are_known_by_their_mounts() {
        let mounts = b"22 27 0:21 / /proc rw shared:1 - proc proc rw\n\
            40 27 0:55 / /home/me/far rw - fuse.sshfs host:/ rw\n41 27 0:56 / /srv rw shared:2 - nfs4 host:/srv rw\n\
            27 1 254:0 / / rw - ext4 /dev/root rw\nbroken line\n";
        assert_eq!(served(mounts), HashSet::from([makedev(0, 55), makedev(0, 56)]));
    }

    #[test]
    fn device_numbers_are_told_in_two_ways() {
        assert_eq!(from_kernel(0x0010_0002), makedev(1, 2));
        assert_eq!(from_kernel(0xf), makedev(0, 15));
    }
}
