//! The limits of message queues, and which of them an errno means.

use rustix::io::Errno;

use super::Attributes;
use crate::error::{Error, ErrorKind, Result};

/// The bounds within which this process can create queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest capacity of a queue (`/proc/sys/fs/mqueue/msg_max`), for the unprivileged.
    pub capacity: usize,
    /// The largest message in bytes (`msgsize_max`), for the unprivileged.
    pub message_size: usize,
    /// How many queues the IPC namespace may have (`queues_max`), for the unprivileged.
    pub queues: usize,
    /// How many bytes all queues of this user may take together (`RLIMIT_MSGQUEUE`); `None` is without limit. Each
    /// message that fits counts, whether it is there or not.
    pub bytes: Option<u64>,
}

/// Reads the limits of the IPC namespace and this process.
///
/// # Errors
/// `NotFound` if `/proc` is not mounted or the kernel has no message queues.
#[doc(alias = "RLIMIT_MSGQUEUE")]
pub fn limits() -> Result<Limits> {
    Ok(Limits {
        capacity: sysctl("/proc/sys/fs/mqueue/msg_max")?,
        message_size: sysctl("/proc/sys/fs/mqueue/msgsize_max")?,
        queues: sysctl("/proc/sys/fs/mqueue/queues_max")?,
        bytes: rustix::process::getrlimit(rustix::process::Resource::Msgqueue).current,
    })
}

fn sysctl(path: &'static str) -> Result<usize> {
    const READ: &str = "read limit of message queues";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(READ, Errno::from_io_error(&error).unwrap_or(Errno::IO)).on(path))?;
    text.trim().parse().map_err(|_| Error::new(READ, Errno::INVAL).on(path))
}

impl Limits {
    /// Which limit a queue of this size exceeds.
    fn exceeded_by(&self, size: Attributes) -> Option<String> {
        let exceeded = |what, asked, file, allowed| {
            format!(
                "a {what} of {asked} is more than /proc/sys/fs/mqueue/{file} allows without CAP_SYS_RESOURCE, {allowed}"
            )
        };
        if size.capacity > self.capacity {
            Some(exceeded("capacity", size.capacity, "msg_max", self.capacity))
        } else if size.message_size > self.message_size {
            Some(exceeded("message size", size.message_size, "msgsize_max", self.message_size))
        } else {
            None
        }
    }

    /// Says that there are too many bytes in queues, or descriptors open: the kernel does not say which.
    fn bytes_hint(&self, size: Attributes) -> String {
        let asked = size.capacity.saturating_mul(size.message_size);
        let allowed = self.bytes.map_or_else(|| "without limit".to_owned(), |bytes| bytes.to_string());
        format!(
            "this queue takes {asked} bytes and some more, all queues of the user may take RLIMIT_MSGQUEUE \
             ({allowed}); unlink unused ones, raise it with ulimit -q, or there are RLIMIT_NOFILE descriptors open"
        )
    }
}

/// Names the limit behind an errno that fits several.
pub(super) fn explain(operation: &'static str, errno: Errno, size: Option<Attributes>) -> Error {
    let error = Error::new(operation, errno);
    match (errno, size) {
        (Errno::INVAL | Errno::OVERFLOW, Some(size)) => match limits().ok().and_then(|limits| limits.exceeded_by(size))
        {
            Some(which) => error.sorted_as(ErrorKind::LimitReached).hint(which),
            None => error,
        },
        (Errno::MFILE, Some(size)) => error.hint(limits().map_or_else(
            |_| "RLIMIT_MSGQUEUE or RLIMIT_NOFILE is reached".to_owned(),
            |limits| limits.bytes_hint(size),
        )),
        (Errno::MFILE, None) => error.hint("RLIMIT_NOFILE descriptors are open"),
        (Errno::NOSPC, _) => error.hint(limits().map_or_else(
            |_| "the namespace has as many queues as it may".to_owned(),
            |limits| {
                format!("the namespace has as many queues as /proc/sys/fs/mqueue/queues_max allows, {}", limits.queues)
            },
        )),
        (Errno::NOSYS, _) => error.hint("this kernel is built without POSIX message queues"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_limit_and_its_value() {
        let limits = Limits { capacity: 10, message_size: 8192, queues: 256, bytes: Some(819_200) };
        let size = |capacity, message_size| Attributes { capacity, message_size };
        assert!(limits.exceeded_by(size(11, 1)).unwrap().contains("msg_max allows without CAP_SYS_RESOURCE, 10"));
        assert!(limits.exceeded_by(size(10, 8193)).unwrap().contains("msgsize_max"));
        assert_eq!(limits.exceeded_by(size(10, 8192)), None);
        assert!(limits.bytes_hint(size(10, 8192)).contains("819200"));
    }
}
