//! The queues of an IPC namespace, as its file system shows them.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, StatxFlags, makedev};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{Attributes, MessageQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::{Mode, sys};

/// Where the queues are seen as files, if somebody has mounted them.
const MOUNT_POINT: &str = "/dev/mqueue";

const LIST: &str = "list message queues";

/// A queue as the message queue file system shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The name to open it by, with the slash.
    pub name: OsString,
    /// Who may open it.
    pub mode: Mode,
    /// The user id of its owner.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// The device number of the file system, which each IPC namespace has its own of: as `fstat` of a descriptor of the
    /// queue gives it.
    pub device: u64,
    /// The inode number, likewise.
    pub inode: u64,
    /// When a message was sent or received last; when it was made, before that.
    pub used_at: SystemTime,
    /// What its messages hold. `None` if we may not read the queue; and if this process has it open itself: to ask, it
    /// would have to be opened and closed once more, and closing any descriptor of a queue ends the notification that
    /// the process may have asked for.
    pub status: Option<Status>,
    /// How many messages of which size fit; `None` as `status`.
    pub attributes: Option<Attributes>,
    /// How many messages are in it; `None` as `status`.
    pub depth: Option<usize>,
}

/// What is in a queue, and who is told of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many bytes its messages have together.
    pub queued_bytes: u64,
    /// The process registered for notification, as this process id namespace numbers it.
    pub notified_pid: Option<u32>,
    /// The signal it will get, if it asked for one.
    pub notify_signal: Option<u32>,
}

impl MessageQueue {
    /// All queues of this IPC namespace, by name, read from `/dev/mqueue`. It takes no message. What the
    /// kernel does change when a queue's status is read are two times of its file, of access and of change; that of
    /// modification, [`Listed::used_at`], is the queue's own.
    ///
    /// # Errors
    /// `Unsupported` if the queues are not mounted there.
    pub fn list() -> Result<Vec<Listed>> {
        Self::list_at(MOUNT_POINT)
    }

    /// All queues of the calling thread's IPC namespace, by name, wherever they are mounted, if at all.
    ///
    /// It mounts their file system for itself, outside of all directories: nobody sees the mount, and it is gone when
    /// this returns. Together with [`Namespace::run`](crate::namespace::Namespace::run) it lists the queues of a container.
    ///
    /// # Errors
    /// * `PermissionDenied`: it takes `CAP_SYS_ADMIN`.
    /// * `Unsupported`: Linux before 5.2, or one without message queues.
    #[doc(alias = "fsopen")]
    #[doc(alias = "fsmount")]
    pub fn list_unmounted() -> Result<Vec<Listed>> {
        let failed = |errno: Errno| Error::new(LIST, errno).on("of this IPC namespace");
        list_in(&mount_apart().map_err(failed)?).map_err(failed)
    }

    /// All queues of the IPC namespace whose file system (type `mqueue`) is mounted on `directory`.
    ///
    /// # Errors
    /// `Unsupported` if none is mounted there; `NotFound`, `PermissionDenied`.
    pub fn list_at(directory: impl AsRef<Path>) -> Result<Vec<Listed>> {
        let directory = directory.as_ref();
        let failed = |errno: Errno| Error::new(LIST, errno).on(directory.display());
        let not_mounted = || {
            let why = format!("mount it with: mount -t mqueue none {}", directory.display());
            Error::of_kind(LIST, ErrorKind::Unsupported, why).on(directory.display())
        };
        match rustix::fs::statfs(directory) {
            Ok(stat) if stat.f_type == MQUEUE_MAGIC => {}
            Ok(_) => return Err(not_mounted()),
            Err(Errno::NOENT) if directory == Path::new(MOUNT_POINT) => return Err(not_mounted()),
            Err(errno) => return Err(failed(errno)),
        }
        let opened = rustix::fs::open(directory, DIRECTORY, rustix::fs::Mode::empty()).map_err(failed)?;
        list_in(&opened).map_err(failed)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const MQUEUE_MAGIC: rustix::fs::FsWord = 0x1980_0202;

/// The file system of the calling thread's IPC namespace, mounted nowhere.
fn mount_apart() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("mqueue", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    // It names the root of the mount and no more; what can be read is opened from it.
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::fs::openat(&mount, c".", DIRECTORY, rustix::fs::Mode::empty())
}

fn list_in(directory: &OwnedFd) -> Result<Vec<Listed>, Errno> {
    let mut files = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        // A queue that is unlinked while we look is not in the list; nor are the folder's two own entries.
        match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => files.push((name, stat)),
            _ => {}
        }
    }
    // Without a `/proc` any of them may be.
    let device = rustix::fs::fstat(directory)?.st_dev;
    let ours = if files.is_empty() { None } else { open_here(device).ok() };
    let list = |(name, stat): (OsString, Stat)| {
        let is_ours = ours.as_ref().is_none_or(|ours| ours.contains(&stat.st_ino));
        Listed::of(directory.as_fd(), &name, &stat, is_ours)
    };
    let mut listed: Vec<Listed> = files.into_iter().filter_map(list).collect();
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

/// The inodes of a file system that this process has open.
fn open_here(device: u64) -> Result<Vec<u64>, Errno> {
    let descriptors = rustix::fs::open("/proc/self/fd", DIRECTORY, rustix::fs::Mode::empty())?;
    let mut inodes = Vec::new();
    for entry in Dir::read_from(&descriptors)? {
        // What the kernel has at hand is enough, and whoever answers for another file system is not waited for.
        let stat =
            rustix::fs::statx(&descriptors, entry?.file_name(), AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS);
        inodes.extend(
            stat.ok().filter(|stat| makedev(stat.stx_dev_major, stat.stx_dev_minor) == device).map(|stat| stat.stx_ino),
        );
    }
    Ok(inodes)
}

impl Listed {
    fn of(directory: BorrowedFd<'_>, file: &OsStr, stat: &Stat, is_ours: bool) -> Option<Self> {
        let mut name = OsString::from("/");
        name.push(file);
        // An opened file of this file system is a descriptor of the queue.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(directory, file, flags, rustix::fs::Mode::empty()).ok();
        let queue = if is_ours { None } else { open() };
        let attributes = queue.as_ref().and_then(|queue| sys::mq::attributes(queue.as_fd()).ok());
        Some(Self {
            name,
            mode: Mode::new((stat.st_mode & 0o777) as u16)?,
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: stat.st_dev,
            inode: stat.st_ino,
            used_at: moment(stat.st_mtime, stat.st_mtime_nsec),
            status: queue.as_ref().and_then(Status::of),
            attributes: attributes
                .map(|attributes| Attributes { capacity: attributes.capacity, message_size: attributes.message_size }),
            depth: attributes.map(|attributes| attributes.depth),
        })
    }
}

/// A time stamp of a file, which cannot lie before 1970 here: nobody but the kernel sets it.
fn moment(seconds: i64, nanoseconds: u64) -> SystemTime {
    let since = std::time::Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanoseconds).unwrap_or_default(),
    );
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Status {
    fn of(queue: &OwnedFd) -> Option<Self> {
        let mut line = [0; STATUS_BYTES_MAX];
        let len = rustix::io::retry_on_intr(|| rustix::io::pread(queue, &mut line[..], 0)).ok()?;
        Self::parse(std::str::from_utf8(&line[..len]).ok()?)
    }

    /// Reads a line such as `QSIZE:129 NOTIFY:0 SIGNO:10 NOTIFY_PID:8260`, with blanks after the numbers.
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))?.parse().ok()
        };
        let notified_pid = field("NOTIFY_PID").and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
        // NOTIFY 0 is "by a signal"; it is 0 as well while nobody is registered.
        let by_signal = notified_pid.is_some() && field("NOTIFY")? == 0;
        Some(Self {
            queued_bytes: field("QSIZE")?,
            notified_pid,
            notify_signal: if by_signal { u32::try_from(field("SIGNO")?).ok() } else { None },
        })
    }
}

/// The kernel's line has at most 80.
const STATUS_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_status_line_is_understood() {
        let line = "QSIZE:129        NOTIFY:0     SIGNO:10    NOTIFY_PID:8260  \n";
        let status = Status { queued_bytes: 129, notified_pid: Some(8260), notify_signal: Some(10) };
        assert_eq!(Status::parse(line), Some(status));
        let idle = "QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n";
        assert_eq!(Status::parse(idle), Some(Status { queued_bytes: 0, notified_pid: None, notify_signal: None }));
        for odd in ["", "QSIZE:", "QSIZE:x NOTIFY:0", "NOTIFY:0 SIGNO:0 NOTIFY_PID:0"] {
            assert_eq!(Status::parse(odd), None, "{odd:?}");
        }
    }
}
