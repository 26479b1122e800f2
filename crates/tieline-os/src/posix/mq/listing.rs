//! The queues of an IPC namespace, as its file system shows them.

use std::ffi::OsString;
use std::path::Path;

use rustix::io::Errno;

use super::MessageQueue;
use crate::Mode;
use crate::error::{Error, ErrorKind, Result};

/// Where the queues are seen as files, if somebody has mounted them.
const MOUNT_POINT: &str = "/dev/mqueue";

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
    /// What its messages hold, for who may read the queue.
    pub status: Option<Status>,
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
    /// All queues of this IPC namespace, by name, read from `/dev/mqueue`. Takes no message and changes nothing.
    ///
    /// # Errors
    /// `Unsupported` if the queues are not mounted there.
    pub fn list() -> Result<Vec<Listed>> {
        Self::list_at(MOUNT_POINT)
    }

    /// All queues of the IPC namespace whose file system (type `mqueue`) is mounted on `directory`.
    ///
    /// # Errors
    /// `Unsupported` if none is mounted there; `NotFound`, `PermissionDenied`.
    pub fn list_at(directory: impl AsRef<Path>) -> Result<Vec<Listed>> {
        const LIST: &str = "list message queues";
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
        let entries =
            std::fs::read_dir(directory).map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        // A queue that is unlinked while we look is not in the list.
        let mut listed: Vec<Listed> = entries.flatten().filter_map(|entry| Listed::of(&entry)).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }
}

const MQUEUE_MAGIC: rustix::fs::FsWord = 0x1980_0202;

impl Listed {
    fn of(entry: &std::fs::DirEntry) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = entry.metadata().ok()?;
        let mut name = OsString::from("/");
        name.push(entry.file_name());
        Some(Self {
            name,
            mode: Mode::new((metadata.mode() & 0o777) as u16)?,
            uid: metadata.uid(),
            gid: metadata.gid(),
            status: std::fs::read_to_string(entry.path()).ok().and_then(|text| Status::parse(&text)),
        })
    }
}

impl Status {
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
