//! Binding a socket to a name, above all to a file that a dead process may have left.
//!
//! The invariant: a file is removed only if it is a socket that no process has bound and never will, or one that we
//! bound ourselves.
//!
//! How that is known. A socket file is bound by the call that creates it and by no later one, so "not bound" is final
//! once the creating call has returned. Connecting a datagram socket to the file tells without disturbing anybody:
//! `ECONNREFUSED` means that no socket has it bound, every other answer of the kernel that one does, listening or
//! not. Our own try to bind goes through the lock of the directory, so the creating call of a file we hold pinned has
//! returned when ours does. Two processes that want to replace the same dead file take turns by `flock` on
//! `.NAME.bind`, which exists only meanwhile.
//!
//! Limits: a socket file on a network file system may be bound on another machine, which this one cannot see; and a
//! foreign program that replaces files without asking can still lose to us, or we to it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, OFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Address, name};
use crate::Mode;
use crate::backoff::retry_with_pauses;
use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::socket as sys;
use crate::wait::Wait;

const OPERATION: &str = "bind Unix socket";

/// How often a file may vanish and come back under our hands before we call it busy.
const ATTEMPTS: usize = 16;

/// How long another process may take to replace the same file; it needs some microseconds unless it is stopped.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How to bind a name. The default: owner only, a backlog of 128, dead files replaced, ours removed by drop.
///
/// ```
/// use tieline_os::Mode;
/// use tieline_os::unix::{Address, BindOptions, StreamListener};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("jobs");
/// let listener = StreamListener::bind_with(&Address::path(&path)?, BindOptions::new().mode(Mode::GROUP).backlog(8))?;
/// drop(listener);
/// assert!(!path.exists());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    mode: Option<Mode>,
    backlog: i32,
    replace_dead: bool,
    take_over: bool,
    keep_file: bool,
}

impl BindOptions {
    /// The default.
    #[must_use]
    pub const fn new() -> Self {
        // 128 is what std takes and what every kernel allows.
        Self { mode: None, backlog: 128, replace_dead: true, take_over: false, keep_file: false }
    }

    /// Who may connect or send to a socket file: those with write permission. Less the umask, and in force from the
    /// moment the file exists. Abstract names have no permissions.
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How many connections may wait to be accepted; the kernel lets one more in, and cuts to `net.core.somaxconn`.
    /// Means nothing for datagram sockets.
    #[must_use]
    pub const fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections as i32;
        self
    }

    /// Whether a socket file that no process has bound may be replaced (it may, by default).
    #[must_use]
    pub const fn replace_dead(mut self, yes: bool) -> Self {
        self.replace_dead = yes;
        self
    }

    /// Whether a dead file that is replaced was made for us (it was not, by default): then its owner, as far as we may
    /// give it away, its mode, unless [`mode`](Self::mode) was called, and its name outlive us.
    ///
    /// So somebody else can decide beforehand who may connect. What a process that crashed has left cannot be told from
    /// what was made on purpose, and stays too.
    #[must_use]
    pub const fn take_over(mut self, yes: bool) -> Self {
        self.take_over = yes;
        self
    }

    /// Whether the file stays when the socket is dropped (it does not, by default).
    #[must_use]
    pub const fn keep_file(mut self, yes: bool) -> Self {
        self.keep_file = yes;
        self
    }

    pub(super) fn raw_backlog(self) -> i32 {
        self.backlog
    }
}

impl Default for BindOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The socket file we made; dropping it removes the file if it is still the one.
#[derive(Debug)]
pub(super) struct BoundFile {
    path: PathBuf,
    identity: (u64, u64),
    process: u32,
}

impl BoundFile {
    /// Lets the file stay.
    pub(super) fn keep(mut self) {
        // Nobody's, so that drop has nothing to remove; forgetting would leak the path.
        self.process = 0;
    }
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        // A forked child drops a copy; the file is its parent's.
        let ours = self.process == std::process::id()
            && rustix::fs::lstat(&self.path).is_ok_and(|stat| identity(&stat) == self.identity);
        if ours {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Binds `fd` to `address`; the answer, dropped before the socket, removes the file.
pub(super) fn bind(fd: &OwnedFd, address: &Address, options: BindOptions) -> Result<Option<BoundFile>> {
    let target = name::New::of(address, OPERATION)?;
    let Some(path) = address.as_path() else {
        return sys::bind(fd.as_fd(), target.raw()).map(|()| None).map_err(|errno| bind_error(address, errno));
    };
    // A later change of the working directory must not change what drop removes.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // The kernel gives the new file the mode of the socket: nobody can connect before it is right, and the umask,
    // which belongs to all threads, stays alone.
    rustix::fs::fchmod(fd, options.mode.unwrap_or(Mode::OWNER).into()).during(OPERATION)?;
    let replaced = match sys::bind(fd.as_fd(), target.raw()) {
        Err(Errno::ADDRINUSE) if options.replace_dead => replace(fd, &target, address, &path)?,
        answer => answer.map(|()| None).map_err(|errno| bind_error(address, errno))?,
    };
    let taken_over = replaced.filter(|_| options.take_over);
    if let Some(before) = &taken_over {
        succeed(&path, before, options.mode.is_none())?;
    }
    if options.keep_file || taken_over.is_some() {
        return Ok(None);
    }
    let stat = rustix::fs::lstat(&path).during(OPERATION)?;
    Ok(Some(BoundFile { path, identity: identity(&stat), process: std::process::id() }))
}

/// Gives the file that was just made to whom the one before it belonged, and its mode. It begins with less.
fn succeed(path: &Path, before: &Stat, with_mode: bool) -> Result<()> {
    let now = rustix::fs::lstat(path).during(OPERATION)?;
    if with_mode {
        rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(before.st_mode & 0o777)).during(OPERATION)?;
    }
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid) {
        let (user, group) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
        // Only the administrator may; for others it is theirs now.
        let _ = rustix::fs::chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    }
    Ok(())
}

/// Binds to a name that is taken, if what took it is dead; answers what was there.
fn replace(fd: &OwnedFd, target: &name::New, address: &Address, path: &Path) -> Result<Option<Stat>> {
    let mut removed = None;
    let _turn = Turn::take(path)?;
    for _ in 0..ATTEMPTS {
        let pinned = match name::pin(path, OFlags::NOFOLLOW) {
            Ok(pinned) => Some(pinned),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(bind_error(address, errno)),
        };
        match sys::bind(fd.as_fd(), target.raw()) {
            Err(Errno::ADDRINUSE) => {}
            answer => return answer.map(|()| removed).map_err(|errno| bind_error(address, errno)),
        }
        let Some(pinned) = pinned else { continue };
        let stat = rustix::fs::fstat(&pinned).during(OPERATION)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(bind_error(address, Errno::ADDRINUSE).hint("what is there is no socket and is left alone"));
        }
        if is_bound(&pinned).map_err(|errno| bind_error(address, errno))? {
            return Err(bind_error(address, Errno::ADDRINUSE).hint("a live process has it bound"));
        }
        if rustix::fs::lstat(path).is_ok_and(|now| identity(&now) == identity(&stat)) {
            match rustix::fs::unlink(path) {
                Ok(()) => removed = Some(stat),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::new("remove the socket file of a dead process", errno).on(address)),
            }
        }
    }
    Err(bind_error(address, Errno::ADDRINUSE).sorted_as(ErrorKind::Busy).hint("others keep replacing the file"))
}

/// Removes the name of a Unix socket. Whoever has it bound, or is connected by it, goes on undisturbed.
///
/// The kind is checked first; who may write the directory could still put another file there in the instant between.
///
/// ```
/// use tieline_os::unix::{self, Address, BindOptions, StreamListener};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("jobs");
/// drop(StreamListener::bind_with(&Address::path(&path)?, BindOptions::new().keep_file(true))?);
/// unix::unlink(&path)?;
/// assert!(!path.exists());
/// assert!(unix::unlink("/etc/passwd").is_err(), "that is not a socket");
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `NotFound`; `InvalidInput` if it is not a socket (nothing is removed, a symbolic link neither); `PermissionDenied`.
pub fn unlink(path: impl AsRef<Path>) -> Result<()> {
    const UNLINK: &str = "unlink Unix socket";
    let path = path.as_ref();
    let refused = |errno| Error::new(UNLINK, errno).on(path.display());
    let stat = rustix::fs::lstat(path).map_err(refused)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Error::invalid(UNLINK, "it is not a socket, and is left alone").on(path.display()));
    }
    rustix::fs::unlink(path).map_err(refused)
}

/// Whether some socket has this file bound, listening or not.
fn is_bound(pinned: &OwnedFd) -> Result<bool, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    match sys::connect(probe.as_fd(), &name::through_proc(pinned, None)?) {
        Err(Errno::CONNREFUSED) => Ok(false),
        // A datagram socket that took us; another type; connected to somebody else.
        Ok(()) | Err(Errno::PROTOTYPE | Errno::PERM | Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn bind_error(address: &Address, errno: Errno) -> Error {
    let error = Error::new(OPERATION, errno).on(address);
    match errno {
        Errno::ADDRINUSE => error.hint("the name is taken"),
        Errno::NOENT => error.hint("its directory does not exist"),
        Errno::ACCESS | Errno::PERM => {
            error.hint("write permission on the directory is needed, and on a file that is to be replaced")
        }
        _ => error,
    }
}

/// The right to replace a socket file. Dropping it removes the lock file, then unlocks it.
struct Turn {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Turn {
    /// Waits for it, trying again, because `flock` has no deadline and a stopped process must not stop us.
    fn take(socket: &Path) -> Result<Self> {
        let path = lock_path(socket);
        let locked = retry_with_pauses(Wait::timeout(LOCK_PATIENCE), || try_lock(&path)?.ok_or(Errno::AGAIN));
        match locked {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(Errno::TIMEDOUT) => {
                let why = "another process has been replacing the same file for seconds; is it stopped?";
                Err(Error::of_kind(OPERATION, ErrorKind::Busy, why).on(socket.display()))
            }
            Err(errno) => Err(Error::new("lock a socket file for replacement", errno).on(path.display())),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut file = OsString::from(".");
    file.push(socket.file_name().unwrap_or_default());
    file.push(".bind");
    socket.with_file_name(file)
}

/// The lock file, locked; `None` if another process has it or has just removed it.
fn try_lock(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(path, flags, Mode::OWNER.into())?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // The previous holder removes the file before unlocking it: a lock on a removed file locks nobody out.
    let there = rustix::fs::lstat(path).map(|stat| identity(&stat));
    let ours = rustix::fs::fstat(&lock).map(|stat| identity(&stat));
    Ok((there.is_ok() && there == ours).then_some(lock))
}
