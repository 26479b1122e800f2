//! FIFOs: pipes with a name in the file system, for processes that share no ancestor.
//!
//! [`create`] makes the name; opening it gives the ends of [`crate::pipe`], and everything said there holds. The bytes
//! live in the kernel only while somebody has the FIFO open; the name stays until [`unlink`].
//!
//! The invariant: nothing here opens or removes what is not a FIFO, and only the plain `open_` forms wait without
//! bound. The descriptors handed out are in blocking mode, as a child process expects of its standard streams.
//!
//! # Who waits for whom
//! A plain open waits until the other side opens too. The forms that do not, or not for ever:
//!
//! | | a peer is there | no peer |
//! |---|---|---|
//! | [`try_open_reader`] | opens | opens; reads answer 0 until a writer comes |
//! | [`try_open_writer`] | opens | [`ErrorKind::NoReader`](crate::ErrorKind) |
//! | [`open_reader_timeout`] | opens | waits, then `TimedOut` |
//! | [`open_writer_timeout`] | opens | waits, then `TimedOut` |
//! | [`open_both`] | opens | opens; there is never an end of file |
//!
//! A server that reads requests from a FIFO uses [`open_both`] and keeps the writer: otherwise each departing client
//! gives it an end of file.
//!
//! # How a timed open waits
//! The reader's side opens at once without blocking (so a waiting writer gets through) and then sleeps until the
//! kernel reports an open (inotify) or bytes; whether a writer is there is asked with `tee`, which takes nothing out.
//!
//! For the writer's side the kernel has no event: a reader that waits in its own `open` shows nowhere, and any trick
//! that would reveal it (opening for reading ourselves) would also let other writers through to a reader that does not
//! exist. So the writer tries again, at first after 50 µs and later every 4 ms. Each attempt is atomic and leaves no
//! trace when it fails; a reader is noticed at most 4 ms late, never missed.
//!
//! Sources: POSIX.1-2024 `mkfifo`, `open`; fifo(7), mkfifo(3), open(2).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode as FileMode, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat, inotify, mkfifoat, open,
    statat, unlinkat,
};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

use crate::backoff::retry_with_pauses;
use crate::error::{Error, ErrorKind, Result};
use crate::mode::Mode;
use crate::pipe::{PipeReader, PipeWriter};
use crate::wait::{Wait, timespec};

/// Makes a FIFO of this name; the process's umask is taken off `mode`.
///
/// ```
/// use tieline_os::{Mode, fifo};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("requests");
/// fifo::create(&path, Mode::OWNER)?;
/// let (requests, _keep) = fifo::open_both(&path)?;
/// fifo::try_open_writer(&path)?.write_all(b"hello")?;
/// assert_eq!(requests.available()?, 5);
/// fifo::unlink(&path)?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `AlreadyExists` if anything has that name; `NotFound` if the directory does not exist; `PermissionDenied`;
/// `Unsupported` or `PermissionDenied` (`EPERM`) on a file system without FIFOs.
#[doc(alias("mkfifo", "mkfifoat"))]
pub fn create(path: impl AsRef<Path>, mode: Mode) -> Result<()> {
    let path = path.as_ref();
    make(path, mode).map_err(|errno| {
        let error = Error::new("create FIFO", errno).on(path.display());
        match errno {
            Errno::EXIST => error.hint("open it, or unlink it first if it is left over"),
            Errno::NOENT => error.hint("its directory does not exist"),
            _ => error,
        }
    })
}

/// Makes a FIFO of this name unless there is one already; says whether it was made now.
///
/// An existing FIFO keeps its mode, whatever it is.
///
/// # Errors
/// As [`create`], but `AlreadyExists` only if something that is not a FIFO has the name.
pub fn create_if_absent(path: impl AsRef<Path>, mode: Mode) -> Result<bool> {
    let path = path.as_ref();
    match make(path, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => OpenOptions::new().check("create FIFO", path).map(|()| false).map_err(|error| {
            if error.kind() == ErrorKind::InvalidInput { error.sorted_as(ErrorKind::AlreadyExists) } else { error }
        }),
        Err(errno) => Err(Error::new("create FIFO", errno).on(path.display())),
    }
}

fn make(path: &Path, mode: Mode) -> Result<(), Errno> {
    mkfifoat(CWD, path, mode.into())
}

/// Removes the name of a FIFO. Who has it open goes on undisturbed.
///
/// The kind is checked first; who may write the directory could still put another file there in the instant between.
///
/// # Errors
/// `NotFound`; `InvalidInput` if it is not a FIFO (nothing is removed, a symbolic link neither); `PermissionDenied`.
pub fn unlink(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    OpenOptions::new().no_follow().check(UNLINK, path)?;
    unlinkat(CWD, path, AtFlags::empty()).map_err(|errno| Error::new(UNLINK, errno).on(path.display()))
}

/// Opens for reading at once, whether or not there is a writer. See [`OpenOptions::try_open_reader`].
///
/// # Errors
/// As there.
pub fn try_open_reader(path: impl AsRef<Path>) -> Result<PipeReader> {
    OpenOptions::new().try_open_reader(path)
}

/// Opens for reading and waits until a writer opens too. See [`OpenOptions::open_reader`].
///
/// # Errors
/// As there.
pub fn open_reader(path: impl AsRef<Path>) -> Result<PipeReader> {
    OpenOptions::new().open_reader(path)
}

/// Opens for reading and waits for a writer, for `timeout` at most. See [`OpenOptions::open_reader_timeout`].
///
/// # Errors
/// As there.
pub fn open_reader_timeout(path: impl AsRef<Path>, timeout: Duration) -> Result<PipeReader> {
    OpenOptions::new().open_reader_timeout(path, timeout)
}

/// Opens for writing if there is a reader. See [`OpenOptions::try_open_writer`].
///
/// # Errors
/// As there.
pub fn try_open_writer(path: impl AsRef<Path>) -> Result<PipeWriter> {
    OpenOptions::new().try_open_writer(path)
}

/// Opens for writing and waits until a reader opens too. See [`OpenOptions::open_writer`].
///
/// # Errors
/// As there.
pub fn open_writer(path: impl AsRef<Path>) -> Result<PipeWriter> {
    OpenOptions::new().open_writer(path)
}

/// Opens for writing and waits for a reader, for `timeout` at most. See [`OpenOptions::open_writer_timeout`].
///
/// # Errors
/// As there.
pub fn open_writer_timeout(path: impl AsRef<Path>, timeout: Duration) -> Result<PipeWriter> {
    OpenOptions::new().open_writer_timeout(path, timeout)
}

/// Opens for both at once, without waiting. See [`OpenOptions::open_both`].
///
/// # Errors
/// As there.
pub fn open_both(path: impl AsRef<Path>) -> Result<(PipeReader, PipeWriter)> {
    OpenOptions::new().open_both(path)
}

/// What an existing FIFO must be like to be opened.
///
/// A FIFO in a directory that others may write could be theirs: name the owner and do not follow links there.
///
/// ```
/// use tieline_os::fifo::{self, OpenOptions};
/// # let directory = tempfile::tempdir().unwrap();
/// # let (path, link) = (directory.path().join("f"), directory.path().join("link"));
/// # fifo::create(&path, tieline_os::Mode::OWNER)?;
/// # std::os::unix::fs::symlink(&path, &link).unwrap();
/// assert!(OpenOptions::new().try_open_reader(&link).is_ok());
/// assert!(OpenOptions::new().no_follow().try_open_reader(&link).is_err());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    no_follow: bool,
    owner: Option<u32>,
}

impl OpenOptions {
    /// No demands: links are followed, any owner will do.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses a path whose last component is a symbolic link.
    #[doc(alias("O_NOFOLLOW"))]
    #[must_use]
    pub fn no_follow(mut self) -> Self {
        self.no_follow = true;
        self
    }

    /// Refuses a FIFO that belongs to another user than this.
    #[must_use]
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Opens for reading at once, whether or not there is a writer.
    ///
    /// While no writer has come, reads answer 0 and [`PipeReader::is_peer_gone`] is false.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` if it is not a FIFO or a link that may not be followed; `PermissionDenied` by its
    /// mode or for its owner; `LimitReached` if no descriptor is left.
    pub fn try_open_reader(&self, path: impl AsRef<Path>) -> Result<PipeReader> {
        let path = path.as_ref();
        let fd = self.open(OPEN_READER, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        in_blocking_mode(fd, OPEN_READER, path).map(PipeReader::of_known)
    }

    /// Opens for reading and waits until a writer opens too.
    ///
    /// # Errors
    /// As [`try_open_reader`](Self::try_open_reader).
    pub fn open_reader(&self, path: impl AsRef<Path>) -> Result<PipeReader> {
        let path = path.as_ref();
        self.open(OPEN_READER, path, OFlags::RDONLY).map(PipeReader::of_known)
    }

    /// Opens for reading and waits until a writer opens too, for `timeout` at most.
    ///
    /// A writer that came, wrote and left meanwhile counts: its bytes are there. What a writer writes in the very
    /// moment of giving up is lost to it like anything written to a reader that closes.
    ///
    /// # Errors
    /// As [`try_open_reader`](Self::try_open_reader), and `TimedOut` if no writer came.
    pub fn open_reader_timeout(&self, path: impl AsRef<Path>, timeout: Duration) -> Result<PipeReader> {
        let wait = Wait::timeout(timeout);
        let path = path.as_ref();
        let fd = self.open(OPEN_READER, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        wait_for_writer(&fd, wait).map_err(|errno| {
            let error = Error::new(OPEN_READER, errno).on(path.display());
            if errno == Errno::TIMEDOUT { error.hint("nobody opened it for writing") } else { error }
        })?;
        in_blocking_mode(fd, OPEN_READER, path).map(PipeReader::of_known)
    }

    /// Opens for writing if there is a reader.
    ///
    /// # Errors
    /// `NoReader` (`ENXIO`) if nobody has it open for reading; otherwise as
    /// [`try_open_reader`](Self::try_open_reader).
    pub fn try_open_writer(&self, path: impl AsRef<Path>) -> Result<PipeWriter> {
        let path = path.as_ref();
        let fd = self.open(OPEN_WRITER, path, OFlags::WRONLY | OFlags::NONBLOCK)?;
        in_blocking_mode(fd, OPEN_WRITER, path).map(PipeWriter::of_known)
    }

    /// Opens for writing and waits until a reader opens too.
    ///
    /// # Errors
    /// As [`try_open_reader`](Self::try_open_reader).
    pub fn open_writer(&self, path: impl AsRef<Path>) -> Result<PipeWriter> {
        let path = path.as_ref();
        self.open(OPEN_WRITER, path, OFlags::WRONLY).map(PipeWriter::of_known)
    }

    /// Opens for writing and waits until a reader opens too, for `timeout` at most.
    ///
    /// See the module's page for how it waits: a reader is noticed at most 4 ms late.
    ///
    /// # Errors
    /// As [`try_open_reader`](Self::try_open_reader), and `TimedOut` if no reader came.
    pub fn open_writer_timeout(&self, path: impl AsRef<Path>, timeout: Duration) -> Result<PipeWriter> {
        let wait = Wait::timeout(timeout);
        let path = path.as_ref();
        self.check(OPEN_WRITER, path)?;
        let opened = retry_with_pauses(wait, || {
            self.open_raw(path, OFlags::WRONLY | OFlags::NONBLOCK).map_err(|errno| match errno {
                Errno::NXIO => Errno::AGAIN,
                errno => errno,
            })
        });
        let fd = opened.map_err(|errno| {
            let error = self.why_not_opened(OPEN_WRITER, path, errno);
            if errno == Errno::TIMEDOUT { error.hint("nobody opened it for reading") } else { error }
        })?;
        self.check_opened(OPEN_WRITER, path, &fd)?;
        in_blocking_mode(fd, OPEN_WRITER, path).map(PipeWriter::of_known)
    }

    /// Opens for both at once, without waiting.
    ///
    /// The two ends share one open description, so while either lives the FIFO has a reader and a writer: readers
    /// never see the end of file, and writers never fail for want of a reader (they wait once the FIFO is full).
    /// POSIX leaves this open mode undefined; Linux and the BSDs define it so.
    ///
    /// # Errors
    /// As [`try_open_reader`](Self::try_open_reader); the mode must allow both.
    #[doc(alias("O_RDWR"))]
    pub fn open_both(&self, path: impl AsRef<Path>) -> Result<(PipeReader, PipeWriter)> {
        let path = path.as_ref();
        let reader = PipeReader::of_known(self.open("open FIFO for reading and writing", path, OFlags::RDWR)?);
        let second = reader.as_fd().try_clone_to_owned().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::MFILE);
            Error::new("duplicate a FIFO's descriptor", errno).on(path.display())
        })?;
        Ok((reader, PipeWriter::of_known(second)))
    }

    fn open(&self, operation: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        // Before opening, because merely opening a device can have effects or wait.
        self.check(operation, path)?;
        let fd = loop {
            match self.open_raw(path, flags) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.why_not_opened(operation, path, errno)),
                Ok(fd) => break fd,
            }
        };
        // And after, because the name may have got a new meaning in between.
        self.check_opened(operation, path, &fd)?;
        Ok(fd)
    }

    fn open_raw(&self, path: &Path, mut flags: OFlags) -> Result<OwnedFd, Errno> {
        flags |= OFlags::CLOEXEC | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, self.no_follow);
        open(path, flags, FileMode::empty())
    }

    fn why_not_opened(&self, operation: &'static str, path: &Path, errno: Errno) -> Error {
        let error = Error::new(operation, errno).on(path.display());
        match errno {
            Errno::NXIO => error.hint("nobody has it open for reading"),
            Errno::LOOP if self.no_follow => error.hint("it is a symbolic link"),
            _ => error,
        }
    }

    fn check(&self, operation: &'static str, path: &Path) -> Result<()> {
        let flags = if self.no_follow { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let stat = statat(CWD, path, flags).map_err(|errno| Error::new(operation, errno).on(path.display()))?;
        self.accept(operation, path, &stat)
    }

    fn check_opened(&self, operation: &'static str, path: &Path, fd: &OwnedFd) -> Result<()> {
        let stat = fstat(fd).map_err(|errno| Error::new(operation, errno).on(path.display()))?;
        self.accept(operation, path, &stat)
    }

    fn accept(&self, operation: &'static str, path: &Path, stat: &Stat) -> Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Fifo {
            return Err(Error::invalid(operation, format!("it is {}, not a FIFO", in_words(kind))).on(path.display()));
        }
        match self.owner {
            Some(owner) if owner != stat.st_uid => {
                let why = format!("it belongs to user {}, not to user {owner}", stat.st_uid);
                Err(Error::of_kind(operation, ErrorKind::PermissionDenied, why).on(path.display()))
            }
            _ => Ok(()),
        }
    }
}

const UNLINK: &str = "unlink FIFO";
const OPEN_READER: &str = "open FIFO for reading";
const OPEN_WRITER: &str = "open FIFO for writing";

/// How often a timed reader looks for a writer where inotify is not to be had (a limit of the user).
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// Waits until the FIFO, which `fd` has open for reading without blocking, has or had a writer since.
fn wait_for_writer(fd: &OwnedFd, wait: Wait) -> Result<(), Errno> {
    if poll_now(fd)? {
        return Ok(());
    }
    // The watch exists before the question is asked, so an open that the answer missed is in the watch.
    let watch = watch_opens(fd).ok();
    let (_, scratch) = &pipe_with(PipeFlags::CLOEXEC)?;
    loop {
        if has_writer(fd, scratch)? {
            return Ok(());
        }
        let left = wait.remaining();
        if left == Some(Duration::ZERO) {
            return Err(wait.gave_up());
        }
        let nap = match (&watch, left) {
            (Some(_), left) => left,
            (None, left) => Some(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN))),
        };
        let other = watch.as_ref().unwrap_or(fd);
        let mut fds = [PollFd::new(fd, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        match poll(&mut fds, nap.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if let Some(watch) = &watch {
            forget_opens(watch);
        }
    }
}

/// Whether bytes are there, or a writer came and went.
fn poll_now(fd: &OwnedFd) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timespec(Duration::ZERO)))? > 0)
}

/// Whether a writer has the FIFO open now, or bytes or a hang-up tell that one had.
fn has_writer(fd: &OwnedFd, scratch: &OwnedFd) -> Result<bool, Errno> {
    if poll_now(fd)? {
        return Ok(true);
    }
    // tee copies without taking; of an empty pipe it says 0 if no writer is there and "would block" if one is.
    match tee(fd, scratch, 1, SpliceFlags::NONBLOCK) {
        Ok(0) => Ok(false),
        Ok(_) | Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Takes what woke us: only the waking counts, not which opens they were. What one read does not take wakes us again,
/// because one who opens all the time must not keep us from the clock.
fn forget_opens(watch: &OwnedFd) {
    let _ = read(watch, &mut [0; 1024]);
}

fn watch_opens(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, format!("/proc/self/fd/{}", fd.as_raw_fd()), inotify::WatchFlags::OPEN)?;
    Ok(watch)
}

/// Clears `O_NONBLOCK`, which nobody else can share yet: the description was opened a moment ago.
fn in_blocking_mode(fd: OwnedFd, operation: &'static str, path: &Path) -> Result<OwnedFd> {
    fcntl_getfl(&fd)
        .and_then(|flags| fcntl_setfl(&fd, flags - OFlags::NONBLOCK))
        .map_err(|errno| Error::new(operation, errno).on(path.display()))?;
    Ok(fd)
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given one who opens the FIFO faster than we read of it, when we take what woke us, then one read is made of it
    /// and the clock is looked at, however much there is.
    #[test]
    fn a_flood_of_opens_does_not_stretch_the_deadline() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, &[0; 4096]).unwrap();
        forget_opens(&reader);
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), 4096 - 1024);
    }
}
