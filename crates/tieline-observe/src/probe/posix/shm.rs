//! Shared memory objects and named semaphores: the files of each `/dev/shm`.
//!
//! What lies there belongs to whoever lives there, and may be laid out to harm who looks: links out of the container, FIFOs
//! that are never opened at the other end, a file system whose answers do not come. So: which file system it is, is asked
//! of the kernel (`mountinfo`) before anything is touched; only a tmpfs is read; links are not followed; a file is opened
//! only if it is a plain one of the size of a semaphore. Nor is one that the viewer has open itself: closing it again would
//! end the record locks that the viewer's process has on it.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ffi::CStr;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, makedev};
use rustix::io::Errno;

use super::super::at_hand;
use super::super::elsewhere::{Place, places};
use crate::model::{
    Builder, Detail, Identity, Kind, Memory, NamespaceKind, Owner, PosixSem, Text, UnseenWhat, UnseenWhy,
};

const DIRECTORY: &str = "/dev/shm";

/// How many files of one `/dev/shm` are listed. A tmpfs may hold millions, which whoever may write there can make.
const FILES_MAX: usize = 1 << 18;

/// Length of the C libraries' `sem_t` with words of 64 bits and of 32.
const SEMAPHORE_BYTES: [i64; 2] = [32, 16];

/// What the file of a named semaphore has before its name.
const SEMAPHORE_PREFIX: &[u8] = b"sem.";

pub(super) fn look(builder: &mut Builder) {
    let mut seen = HashSet::new();
    let own = Own::default();
    for place in places(builder, NamespaceKind::Mnt) {
        match look_at(builder, &place, &mut seen, &own) {
            Ok(()) => place.listed(builder, NamespaceKind::Mnt),
            Err(reason) => {
                place.not_listed(builder, NamespaceKind::Mnt);
                builder.unseen(UnseenWhat::MountNamespaces, reason, 1);
            }
        }
    }
}

/// What the viewer has open, by device and inode; asked for when first needed, which on most machines is never.
#[derive(Default)]
struct Own(OnceCell<HashSet<(u64, u64)>>);

impl Own {
    fn has(&self, stat: &Stat) -> bool {
        self.0.get_or_init(Self::all).contains(&(stat.st_dev, stat.st_ino))
    }

    fn all() -> HashSet<(u64, u64)> {
        let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        // Whatever is behind a descriptor, but no word with the server of a network file system.
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let status = open.filter_map(|entry| rustix::fs::statx(CWD, entry.path(), flags, StatxFlags::INO).ok());
        status.map(|one| (makedev(one.stx_dev_major, one.stx_dev_minor), one.stx_ino)).collect()
    }
}

/// Lists the `/dev/shm` of one mount namespace, unless another one had the same.
fn look_at(builder: &mut Builder, place: &Place, seen: &mut HashSet<u64>, own: &Own) -> Result<(), UnseenWhy> {
    let pid = place.inhabitant(NamespaceKind::Mnt).ok_or(UnseenWhy::Vanished)?;
    let file = std::fs::File::open(format!("/proc/{pid}/mountinfo")).map_err(|error| from_io(&error))?;
    let Some(mount) = mount_of_directory(std::io::BufReader::new(file)).map_err(|error| from_io(&error))? else {
        return Ok(());
    };
    if !mount.is_memory || !seen.insert(mount.device) {
        return Ok(());
    }
    let opened = open(pid, mount.device).map_err(from_errno).inspect_err(|_| {
        // Another namespace with the same one may let us in.
        seen.remove(&mount.device);
    })?;
    match opened {
        Some(directory) => list(builder, place.inode, &directory, own),
        None => Ok(()),
    }
}

/// The mount that `/dev/shm` leads to.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: u64,
    /// A file system of the kernel's own memory, which answers at once.
    is_memory: bool,
}

/// Finds it in a `mountinfo`: the last one on the longest of the paths that lead there. `None` if `/dev` or `/` is a file
/// system of some other sort, so that there is no `/dev/shm` worth the name.
fn mount_of_directory(mountinfo: impl BufRead) -> std::io::Result<Option<Mount>> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mountinfo.split(b'\n') {
        let line = line?;
        let Some((path, mount)) = parse_mount(&line) else { continue };
        let is_on_the_way = [b"/".as_slice(), b"/dev", b"/dev/shm"].contains(&path);
        if is_on_the_way && best.as_ref().is_none_or(|(length, _)| path.len() >= *length) {
            best = Some((path.len(), mount));
        }
    }
    Ok(best.filter(|(length, _)| *length == DIRECTORY.len() || *length == b"/dev".len()).map(|(_, mount)| mount))
}

/// Reads `36 35 98:0 /root /mount/point options optional… - type source options`.
fn parse_mount(line: &[u8]) -> Option<(&[u8], Mount)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let path = fields.nth(1)?;
    let kind = fields.skip_while(|&field| field != b"-").nth(1)?;
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    Some((path, Mount { device, is_memory: [b"tmpfs".as_slice(), b"ramfs", b"devtmpfs"].contains(&kind) }))
}

/// Opens the directory as that process sees it; `None` if it has none, or another one by now.
fn open(pid: u32, device: u64) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())?;
    let looked_up = look_up(&root, DIRECTORY.trim_start_matches('/'), flags);
    let place = match looked_up {
        Ok(place) => place,
        // A link, as where `/dev/shm` is an old name of `/run/shm`.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if rustix::fs::fstat(&place)?.st_dev != device {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&place, c".", flags, Mode::empty()).map(Some)
}

/// Walks down without leaving `root` or following a link. The names on the way are mount points or lie in the kernel's
/// own memory: it has them at hand, and no file system that answers late or never needs to be asked.
fn look_up(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let below = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match at_hand::open(root, path, flags, below) {
        // Linux before 5.12 cannot be asked so.
        Err(Errno::INVAL) => rustix::fs::openat2(root, path, flags, Mode::empty(), below),
        answer => answer,
    }
}

fn list(builder: &mut Builder, namespace: u64, directory: &OwnedFd, own: &Own) -> Result<(), UnseenWhy> {
    let mut left = FILES_MAX;
    for entry in Dir::read_from(directory).map_err(from_errno)? {
        let entry = entry.map_err(from_errno)?;
        // Folders, links, FIFOs and sockets are no POSIX objects; most file systems say so here already.
        if !matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
            continue;
        }
        left = left.checked_sub(1).ok_or(UnseenWhy::TooMany)?;
        let Ok(stat) = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            add(builder, namespace, directory, entry.file_name(), &stat, own);
        }
    }
    Ok(())
}

fn add(builder: &mut Builder, namespace: u64, directory: &OwnedFd, file: &CStr, stat: &Stat, own: &Own) {
    let bytes = file.to_bytes();
    let semaphore = bytes.strip_prefix(SEMAPHORE_PREFIX).filter(|_| SEMAPHORE_BYTES.contains(&stat.st_size));
    let (kind, name, detail) = match semaphore {
        Some(name) if own.has(stat) => {
            (Kind::PosixSem, name, Detail::PosixSem(PosixSem { value: None, waiters: None }))
        }
        Some(name) => (Kind::PosixSem, name, Detail::PosixSem(semaphore_of(directory, file, stat))),
        None => (Kind::PosixShm, bytes, Detail::Memory(memory_of(stat))),
    };
    let reference = builder.object(Identity::File { device: stat.st_dev, inode: stat.st_ino }, kind);
    let object = builder.object_mut(reference);
    object.name = Some(Text::from([b"/", name].concat()));
    object.namespace = Some(namespace);
    object.owner = Some(Owner { uid: stat.st_uid, gid: stat.st_gid });
    object.mode = Some(stat.st_mode & 0o777);
    object.changed = moment(stat.st_ctime, stat.st_ctime_nsec);
    object.detail = detail;
}

fn memory_of(stat: &Stat) -> Memory {
    /// The unit of `st_blocks`, whatever the file system's own.
    const BLOCK_BYTES: u64 = 512;
    Memory {
        size_bytes: u64::try_from(stat.st_size).ok(),
        allocated_bytes: u64::try_from(stat.st_blocks).ok().map(|blocks| blocks.saturating_mul(BLOCK_BYTES)),
        seals: None,
        is_unlinked: false,
    }
}

/// Reads value and waiters out of the file, which is still the one that `stat` told of.
fn semaphore_of(directory: &OwnedFd, file: &CStr, stat: &Stat) -> PosixSem {
    let mut bytes = [0; 32];
    let length = read(directory, file, stat, &mut bytes).unwrap_or_default();
    let (value, waiters) = parse_semaphore(&bytes[..length]).unzip();
    PosixSem { value, waiters }
}

fn read(directory: &OwnedFd, file: &CStr, stat: &Stat, bytes: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Without a trace in the access time, where we may: a file of our own, or as root.
    let opened = rustix::fs::openat(directory.as_fd(), file, flags | OFlags::NOATIME, Mode::empty()).or_else(
        |errno| match errno {
            Errno::PERM => rustix::fs::openat(directory.as_fd(), file, flags, Mode::empty()),
            _ => Err(errno),
        },
    )?;
    let now = rustix::fs::fstat(&opened)?;
    if (now.st_dev, now.st_ino, now.st_mode) != (stat.st_dev, stat.st_ino, stat.st_mode) {
        return Err(Errno::STALE);
    }
    rustix::io::retry_on_intr(|| rustix::io::pread(&opened, &mut *bytes, 0))
}

/// Value and waiters of a `sem_t`.
///
/// With words of 64 bits the value is the lower half of the first word and the count of waiters the upper half; musl
/// keeps the same two numbers at the same places, on a machine with the low byte first, and marks the value's highest bit
/// while somebody waits. With words of 32 bits the first one holds the value above one bit that says whether somebody
/// waits, and the count is the last one.
fn parse_semaphore(bytes: &[u8]) -> Option<(u32, u32)> {
    const HIGHEST: u32 = 1 << 31;
    match bytes.len() {
        32 => {
            let word = u64::from_ne_bytes(*bytes.first_chunk()?);
            let (waiters, value) = ((word >> 32) as u32, word as u32);
            Some((value & !HIGHEST, waiters))
        }
        16 => {
            let value = u32::from_ne_bytes(*bytes.first_chunk()?) >> 1;
            Some((value, u32::from_ne_bytes(*bytes.last_chunk()?)))
        }
        _ => None,
    }
}

fn moment(seconds: i64, nanoseconds: u64) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn from_io(error: &std::io::Error) -> UnseenWhy {
    from_errno(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn from_errno(errno: Errno) -> UnseenWhy {
    match errno {
        Errno::ACCESS | Errno::PERM => UnseenWhy::NoPermission,
        Errno::NOENT | Errno::SRCH => UnseenWhy::Vanished,
        Errno::NOSYS => UnseenWhy::NotSupported,
        _ => UnseenWhy::Failed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_mount_on_the_longest_path_counts() {
        let mountinfo = b"22 1 8:1 / / rw shared:1 - ext4 /dev/vda rw\n\
            23 22 0:5 / /dev rw shared:2 - devtmpfs dev rw\n\
            24 23 0:22 / /dev/shm rw shared:3 master:2 - tmpfs tmpfs rw\n\
            25 24 0:40 / /dev/shm rw - fuse.odd odd rw\n\
            26 22 0:23 / /dev/shmall rw - tmpfs tmpfs rw\n";
        let found = |lines: usize| {
            let text: Vec<u8> =
                mountinfo.split_inclusive(|&byte| byte == b'\n').take(lines).flatten().copied().collect();
            mount_of_directory(text.as_slice()).unwrap()
        };
        assert_eq!(found(1), None);
        assert_eq!(found(2), Some(Mount { device: makedev(0, 5), is_memory: true }));
        assert_eq!(found(3), Some(Mount { device: makedev(0, 22), is_memory: true }));
        assert_eq!(found(5), Some(Mount { device: makedev(0, 40), is_memory: false }));
    }

    #[test]
    fn a_semaphore_is_read_in_both_word_sizes() {
        let mut wide = [0; 32];
        wide[..8].copy_from_slice(&(3_u64 << 32 | 7).to_ne_bytes());
        assert_eq!(parse_semaphore(&wide), Some((7, 3)));
        let mut narrow = [0; 16];
        narrow[..4].copy_from_slice(&(7_u32 << 1 | 1).to_ne_bytes());
        narrow[12..].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(parse_semaphore(&narrow), Some((7, 3)));
        assert_eq!(parse_semaphore(&wide[..31]), None);
    }

    proptest! {
        #[test]
        fn any_mountinfo_gives_a_mount_or_none(bytes in vec(any::<u8>(), 0..300), words in "[0-9:/ \\-a-z\n]{0,300}") {
            for text in [bytes.as_slice(), words.as_bytes()] {
                prop_assert!(mount_of_directory(text).is_ok());
            }
        }
    }
}
