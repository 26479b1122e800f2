//! POSIX shared memory: named bytes that many processes map.
//!
//! The invariant: an object made by [`SharedMemory::create`] has its full size, with memory behind every byte, from
//! the moment its name can be seen. (Bare `shm_open` shows a name of size zero first, and whoever maps it then gets
//! `SIGBUS`.) The object outlives everyone: nothing in the kernel tells the last user, so somebody must
//! [`unlink`](SharedMemory::unlink) it. Where that is a burden, share a [`memfd`](crate::memfd) instead.
//!
//! Anyone who may write the object may also cut it shorter under those who map it; see [`crate::mapping`] for what
//! then happens and how to live with it. A memfd can be sealed against it, a named object cannot.
//!
//! Bytes written by others are only bytes. Copy them out, then check, then use the copy: a `bool` or an enum must never
//! be made from them unchecked, and reading them again may give something else.
//!
//! Sources: POSIX.1-2024 `shm_open`, `shm_unlink`; Linux `shm_overview(7)`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Listed;
use super::name::{self, Name};
use crate::error::{During, Error, Result};
use crate::mapping::{MapOptions, Mapping};
use crate::memfd::reserve;
use crate::{Access, Mode};

/// Files of semaphores lie in the same directory.
const SEMAPHORE_PREFIX: &[u8] = b"sem.";

/// A named object of shared memory, open.
///
/// Dropping it closes the descriptor; the object and all mappings stay.
///
/// ```
/// use tieline_os::mapping::MapOptions;
/// use tieline_os::posix::shm::SharedMemory;
/// use tieline_os::{Access, Mode};
///
/// let name = format!("/tieline-example-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 4096, Mode::OWNER)?;
/// memory.map(&MapOptions::new())?.write(0, b"hello")?;
///
/// let reader = SharedMemory::open(&name, Access::ReadOnly)?;
/// let mut bytes = [0; 5];
/// reader.map(&MapOptions::new().access(Access::ReadOnly))?.read(0, &mut bytes)?;
/// SharedMemory::unlink(&name)?;
/// assert_eq!(&bytes, b"hello");
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "shm_open")]
#[derive(Debug)]
pub struct SharedMemory {
    fd: OwnedFd,
}

impl SharedMemory {
    /// Makes a new object of `len_bytes` zeros, for reading and writing. The umask is taken off `mode`.
    ///
    /// Length zero makes an object that cannot be mapped until [`set_len`](Self::set_len).
    ///
    /// # Errors
    /// * `AlreadyExists`: there is one of this name.
    /// * `InvalidInput`: the name is not `/name`.
    /// * `LimitReached`, `OutOfMemory`: there is not enough memory; nothing is left behind.
    /// * `Unsupported`: no tmpfs on `/dev/shm`.
    pub fn create(name: impl AsRef<OsStr>, len_bytes: u64, mode: Mode) -> Result<Self> {
        const CREATE: &str = "create shared memory";
        let name = Name::new(CREATE, name.as_ref(), "")?;
        let fd = name.create_file(CREATE, mode, |fd| reserve(CREATE, fd, 0, len_bytes))?;
        Ok(Self { fd })
    }

    /// Opens an existing object, to read or to read and write.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; `InvalidInput` for a wrong name, `WriteOnly`, or something in its place that is
    /// no plain file.
    pub fn open(name: impl AsRef<OsStr>, access: Access) -> Result<Self> {
        const OPEN: &str = "open shared memory";
        Ok(Self { fd: Name::new(OPEN, name.as_ref(), "")?.open_file(OPEN, access)? })
    }

    /// Opens the object for reading and writing, or creates it; length and mode count only if it is created.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create), without `NotFound` and `AlreadyExists`.
    pub fn open_or_create(name: impl AsRef<OsStr>, len_bytes: u64, mode: Mode) -> Result<Self> {
        let name = name.as_ref();
        name::open_or_create(|| Self::open(name, Access::ReadWrite), || Self::create(name, len_bytes, mode))
    }

    /// Removes the name. Who has the object open or mapped keeps it; the same name can be created anew.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` unless it is ours (or we are root); `InvalidInput` for a wrong name.
    #[doc(alias = "shm_unlink")]
    pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
        const UNLINK: &str = "unlink shared memory";
        Name::new(UNLINK, name.as_ref(), "")?.unlink_file(UNLINK)
    }

    /// All objects of this machine (or container), by name, whoever owns them; semaphores are not among them.
    ///
    /// # Errors
    /// `NotFound` without `/dev/shm`.
    pub fn list() -> Result<Vec<Listed>> {
        name::list("list shared memory", |file| (!file.starts_with(SEMAPHORE_PREFIX)).then_some(file))
    }

    /// The length in bytes, now.
    ///
    /// # Errors
    /// The kernel's, which does not refuse a live object.
    #[allow(clippy::len_without_is_empty, reason = "the length is asked of the kernel and may fail")]
    pub fn len(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).during("read length of shared memory")?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Sets the length in bytes. New bytes are zeros and have memory; making it shorter takes the memory away from all
    /// who map it, with `SIGBUS` for the next touch.
    ///
    /// # Errors
    /// `LimitReached` or `OutOfMemory` if there is not enough memory, then nothing is changed; `PermissionDenied` or
    /// `InvalidInput` if it is open for reading only.
    #[doc(alias = "ftruncate")]
    #[doc(alias = "fallocate")]
    pub fn set_len(&self, len_bytes: u64) -> Result<()> {
        const SET: &str = "set length of shared memory";
        let now = self.len()?;
        if len_bytes > now {
            return reserve(SET, &self.fd, now, len_bytes - now).map_err(explain_read_only);
        }
        rustix::fs::ftruncate(&self.fd, len_bytes).during(SET).map_err(explain_read_only)
    }

    /// Sets the length in bytes without finding memory for it: `ftruncate` alone. It takes memory as it is touched,
    /// and if there is none left then, the touch raises `SIGBUS`. For large, thinly used objects.
    ///
    /// # Errors
    /// As [`set_len`](Self::set_len), without the lack of memory.
    pub fn set_len_sparse(&self, len_bytes: u64) -> Result<()> {
        rustix::fs::ftruncate(&self.fd, len_bytes).during("set length of shared memory").map_err(explain_read_only)
    }

    /// Maps it; see [`Mapping::of`].
    ///
    /// # Errors
    /// As [`Mapping::of`].
    pub fn map(&self, options: &MapOptions) -> Result<Mapping> {
        Mapping::of(&self.fd, options)
    }
}

fn explain_read_only(error: Error) -> Error {
    let read_only = [Errno::INVAL, Errno::BADF].iter().any(|errno| error.errno() == Some(errno.raw_os_error()));
    if read_only { error.hint("it is open for reading only, or the length is beyond all bounds") } else { error }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<SharedMemory> for OwnedFd {
    fn from(memory: SharedMemory) -> Self {
        memory.fd
    }
}
