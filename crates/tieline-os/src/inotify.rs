//! Being told what happens to files and directories: `inotify`.
//!
//! For IPC this answers "has the peer made its socket yet?", "did the configuration change?", "was the lock file
//! removed?" without asking again and again. Watch the *directory*, then look whether the thing is there already: in
//! the other order it may appear in between.
//!
//! What it does not tell: which process did it; changes made through a memory mapping; changes on the other machine of a
//! network file system; anything below a subdirectory, which needs a watch of its own.
//!
//! The invariant: events come in the order in which they happened, and if some were lost, because nobody read for too
//! long, an event says so ([`Event::is_overflow`]): look at everything again then. Equal events in a row are merged.
//!
//! See [inotify(7)](https://man7.org/linux/man-pages/man7/inotify.7.html).

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::error::{During, Error, Result};
use crate::wait::{Wait, retry_when_ready};

bitflags::bitflags! {
    /// What can happen to a watched file, or to a file in a watched directory.
    ///
    /// Both what to watch for and what has happened; those that need no asking say so.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct What: u32 {
        /// Was read or executed.
        const ACCESSED = ReadFlags::ACCESS.bits();
        /// Was written or cut.
        const MODIFIED = ReadFlags::MODIFY.bits();
        /// Its mode, owner, times or number of links changed.
        const ATTRIBUTES = ReadFlags::ATTRIB.bits();
        /// Was opened.
        const OPENED = ReadFlags::OPEN.bits();
        /// Was closed by one who could write.
        const CLOSED_AFTER_WRITING = ReadFlags::CLOSE_WRITE.bits();
        /// Was closed by one who could only read.
        const CLOSED_AFTER_READING = ReadFlags::CLOSE_NOWRITE.bits();
        /// Appeared in the watched directory by being made or linked.
        const CREATED = ReadFlags::CREATE.bits();
        /// Disappeared from the watched directory by being removed.
        const REMOVED = ReadFlags::DELETE.bits();
        /// Left the watched directory, or its name, by being renamed; the cookie pairs it with `MOVED_IN`.
        const MOVED_OUT = ReadFlags::MOVED_FROM.bits();
        /// Came into the watched directory, or to its name, by being renamed.
        const MOVED_IN = ReadFlags::MOVED_TO.bits();
        /// The watched thing itself was removed.
        const SELF_REMOVED = ReadFlags::DELETE_SELF.bits();
        /// The watched thing itself was renamed.
        const SELF_MOVED = ReadFlags::MOVE_SELF.bits();

        /// The file system was unmounted. Told without asking.
        const UNMOUNTED = ReadFlags::UNMOUNT.bits();
        /// The watch has ended: removed by the caller, or its thing is gone. Told without asking.
        const WATCH_ENDED = ReadFlags::IGNORED.bits();
        /// Events were lost because nobody read them in time. Told without asking.
        const OVERFLOW = ReadFlags::QUEUE_OVERFLOW.bits();

        /// Everything that can be asked for.
        const ANY = WatchFlags::ALL_EVENTS.bits();
    }
}

bitflags::bitflags! {
    /// How to watch.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Options: u32 {
        /// Refuse what is not a directory.
        const ONLY_DIRECTORY = WatchFlags::ONLYDIR.bits();
        /// If the last part of the path is a symbolic link, watch the link.
        const NO_FOLLOW = WatchFlags::DONT_FOLLOW.bits();
        /// Be silent about files of the directory once they have no name there any more.
        const ONLY_LINKED = WatchFlags::EXCL_UNLINK.bits();
        /// End the watch after its first event.
        const ONCE = WatchFlags::ONESHOT.bits();
        /// If the thing is watched already, add to what it is watched for instead of replacing that.
        const ADD = WatchFlags::MASK_ADD.bits();
        /// If the thing is watched already, refuse instead of replacing what it is watched for.
        const NEW = WatchFlags::MASK_CREATE.bits();
    }
}

/// One watch of an [`Inotify`].
///
/// Watching the same file twice, by whatever path, gives the same watch. Numbers are not used again until two
/// thousand million watches were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watch(i32);

/// Something happened to a watched thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Whose event it is; `None` of an overflow, which concerns all.
    pub watch: Option<Watch>,
    /// What happened.
    pub what: What,
    /// The name within the watched directory, whatever bytes it consists of; `None` if the watched thing is meant.
    pub name: Option<OsString>,
    /// It happened to a directory.
    pub is_directory: bool,
    /// Pairs the two halves of a rename; otherwise `None`.
    pub cookie: Option<NonZeroU32>,
}

impl Event {
    /// Events were lost: look at everything again.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.what.contains(What::OVERFLOW)
    }
}

/// A queue of events about watched files and directories.
///
/// ```
/// use tieline_os::inotify::{Inotify, What};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let mut inotify = Inotify::new()?;
/// let watch = inotify.watch(directory, What::CREATED)?;
/// std::fs::write(directory.join("ready"), "")?;
/// let event = inotify.read()?;
/// assert_eq!((event.watch, event.what), (Some(watch), What::CREATED));
/// assert_eq!(event.name.unwrap(), "ready");
/// # Ok(())
/// # }
/// ```
pub struct Inotify {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    // What of the buffer was filled by the last read and not handed out yet.
    start: usize,
    end: usize,
}

/// Enough for some hundred events with short names in one call, and for one with the longest name (272 bytes).
const BUFFER_BYTES: usize = 8192;
const HEADER_BYTES: usize = 16;

impl Inotify {
    /// A queue without watches.
    ///
    /// # Errors
    /// `LimitReached` if the user has `fs.inotify.max_user_instances` of them, or no descriptors are left.
    #[doc(alias = "inotify_init")]
    #[doc(alias = "inotify_init1")]
    pub fn new() -> Result<Self> {
        match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => Ok(Self { fd, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0 }),
            Err(errno) => Err(Error::new("create an inotify queue", errno)
                .hint("the limits are RLIMIT_NOFILE and fs.inotify.max_user_instances")),
        }
    }

    /// Watches the file or directory at `path` for `what`.
    ///
    /// The watch stays with the file when it is renamed, and ends when it is removed. If the file is watched already,
    /// `what` replaces what it was watched for.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` if it cannot be read; `LimitReached` (`ENOSPC`) beyond
    /// `fs.inotify.max_user_watches`; `InvalidInput` if nothing is asked for.
    #[doc(alias = "inotify_add_watch")]
    pub fn watch(&self, path: impl AsRef<Path>, what: What) -> Result<Watch> {
        self.watch_with(path, what, Options::empty())
    }

    /// As [`watch`](Self::watch), with options.
    ///
    /// # Errors
    /// As [`watch`](Self::watch); `AlreadyExists` with [`Options::NEW`]; `InvalidInput` (`ENOTDIR`) with
    /// [`Options::ONLY_DIRECTORY`].
    pub fn watch_with(&self, path: impl AsRef<Path>, what: What, options: Options) -> Result<Watch> {
        let path = path.as_ref();
        let flags = WatchFlags::from_bits_retain((what & What::ANY).bits() | options.bits());
        inotify::add_watch(&self.fd, path, flags).map(Watch).map_err(|errno| {
            let error = Error::new("watch", errno).on(path.display());
            match errno {
                rustix::io::Errno::NOSPC => error.hint("fs.inotify.max_user_watches is reached"),
                rustix::io::Errno::INVAL => error.hint("say what to watch for"),
                _ => error,
            }
        })
    }

    /// Ends a watch; its last event is [`What::WATCH_ENDED`].
    ///
    /// # Errors
    /// `InvalidInput` if it has ended already.
    #[doc(alias = "inotify_rm_watch")]
    pub fn unwatch(&self, watch: Watch) -> Result<()> {
        inotify::remove_watch(&self.fd, watch.0).during("end a watch")
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_read(&mut self) -> Result<Event> {
        self.read_until(Wait::Never)
    }

    /// Waits for the next event. Many are fetched from the kernel at once, so most calls do not enter it.
    ///
    /// For [`poll`](crate::poll): read until it would block before waiting for the descriptor.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn read(&mut self) -> Result<Event> {
        self.read_until(Wait::Forever)
    }

    /// As [`read`](Self::read), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Event> {
        self.read_until(Wait::timeout(timeout))
    }

    fn read_until(&mut self, wait: Wait) -> Result<Event> {
        const OPERATION: &str = "read an inotify event";
        if self.start == self.end {
            let buffer = &mut self.buffer;
            let fill = || rustix::io::read(&self.fd, &mut buffer[..]);
            self.end = retry_when_ready(&self.fd, PollFlags::IN, wait, fill).during(OPERATION)?;
            self.start = 0;
        }
        let Some((event, len)) = parse(&self.buffer[self.start..self.end]) else {
            self.start = self.end;
            return Err(Error::invalid(OPERATION, "the descriptor gave something that is no event"));
        };
        self.start += len;
        Ok(event)
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Inotify> for OwnedFd {
    /// Events fetched but not yet read are lost.
    fn from(inotify: Inotify) -> Self {
        inotify.fd
    }
}

impl fmt::Debug for Inotify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inotify").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// The first event of `bytes` and how many bytes it takes: four words (watch, what, cookie, length of the name), then
/// the name, filled up with NULs.
fn parse(bytes: &[u8]) -> Option<(Event, usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let word = |index: usize| u32::from_ne_bytes(header[index * 4..][..4].try_into().expect("four bytes"));
    let name_len = usize::try_from(word(3)).ok()?;
    let padded = rest.get(..name_len)?;
    let name = padded.split(|&byte| byte == 0).next().filter(|name| !name.is_empty());
    let event = Event {
        watch: Some(word(0).cast_signed()).filter(|&watch| watch >= 0).map(Watch),
        what: What::from_bits_truncate(word(1)),
        name: name.map(|name| OsString::from_vec(name.to_vec())),
        is_directory: word(1) & ReadFlags::ISDIR.bits() != 0,
        cookie: NonZeroU32::new(word(2)),
    };
    Some((event, HEADER_BYTES + name_len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    fn raw(watch: i32, what: u32, cookie: u32, name: &[u8]) -> Vec<u8> {
        let len = u32::try_from(name.len()).expect("short");
        let mut bytes = Vec::new();
        for word in [watch.cast_unsigned(), what, cookie, len] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(name);
        bytes
    }

    #[test]
    fn an_event_is_four_words_and_a_padded_name() {
        let bytes = raw(3, ReadFlags::CREATE.bits() | ReadFlags::ISDIR.bits(), 9, b"a\xffb\0\0\0");
        let (event, len) = parse(&bytes).expect("whole");
        assert_eq!(len, bytes.len());
        assert_eq!((event.watch, event.what, event.is_directory), (Some(Watch(3)), What::CREATED, true));
        assert_eq!(event.name, Some(OsString::from_vec(b"a\xffb".to_vec())));
        assert_eq!(event.cookie, NonZeroU32::new(9));
    }

    /// No cut of an event, and no length that lies, is read past its end.
    #[test]
    fn a_cut_event_is_none() {
        let bytes = raw(1, ReadFlags::CREATE.bits(), 0, b"name\0\0\0\0");
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None, "{len} bytes");
        }
        let mut lying = bytes.clone();
        lying[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse(&lying), None);
    }

    proptest! {
        /// Any bytes at all: an event lies within them or there is none.
        #[test]
        fn no_bytes_are_read_past_their_end(mut bytes: Vec<u8>, name_len in 0_u32..64) {
            if let Some(field) = bytes.get_mut(12..16) {
                field.copy_from_slice(&name_len.to_ne_bytes());
            }
            if let Some((event, len)) = parse(&bytes) {
                prop_assert!(len <= bytes.len());
                prop_assert!(event.name.is_none_or(|name| name.len() <= len - HEADER_BYTES));
            }
        }
    }
}
