//! Memory files without a name, which can be sealed: the safest thing to share.
//!
//! A memfd lives as long as a descriptor or a mapping of it does; nothing is left in any directory, and `kill -9`
//! leaks nothing. It travels to another process by inheritance or over a Unix socket.
//!
//! The invariant of sealing: a seal is for ever and for everyone. Who maps a memfd after checking for
//! [`Seals::SHRINK`] can never get `SIGBUS` from a peer that cuts it; who checked [`Seals::WRITE`] may parse it in
//! place. Check *before* mapping ([`Memfd::from_fd`] does), because without seals the peer may change anything at any
//! time.
//!
//! | you share with | seal |
//! |---|---|
//! | a peer that may write too | `SHRINK`, `GROW` ([`Memfd::fixed`]) |
//! | readers, and you go on writing | map it first, then `SHRINK`, `GROW`, `FUTURE_WRITE` |
//! | readers of a finished message | unmap it, then `SHRINK`, `GROW`, `WRITE`, `SEAL` |
//!
//! Sources: Linux `memfd_create(2)`, `memfd_secret(2)`, fcntl(2) "File sealing".

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{During, Error, ErrorKind, Result};
use crate::mapping::{HugePages, MapOptions, Mapping};
use crate::{Access, Mode, mapping, memory, sys};

/// Linux allows this many bytes, because `/proc` shows the name with a prefix in one path component.
const NAME_MAX_BYTES: usize = 249;

bitflags::bitflags! {
    /// What nobody may do to a memfd any more, whatever descriptor they have.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Seals: u32 {
        /// No more seals can be added.
        const SEAL = SealFlags::SEAL.bits();
        /// It cannot become shorter: no `SIGBUS` for those who map it.
        const SHRINK = SealFlags::SHRINK.bits();
        /// It cannot become longer.
        const GROW = SealFlags::GROW.bits();
        /// It cannot be written at all. Refused (`Busy`) while a writable shared mapping exists.
        const WRITE = SealFlags::WRITE.bits();
        /// It cannot be written except through the mappings that exist already.
        const FUTURE_WRITE = SealFlags::FUTURE_WRITE.bits();
        /// It cannot become executable or stop being so. Linux 6.3; set from the start where the kernel knows it.
        const EXEC = SealFlags::EXEC.bits();
    }
}

/// A memory file: no name, sealable, gone with its last user.
///
/// ```
/// use tieline_os::mapping::MapOptions;
/// use tieline_os::memfd::{Memfd, Seals};
///
/// let memfd = Memfd::fixed("frame", 4096)?;
/// memfd.map(&MapOptions::new())?.write(0, b"pixels")?;
///
/// // What arrives from a peer is checked before it is mapped.
/// let received = Memfd::from_fd(memfd.into(), Seals::SHRINK)?;
/// let mut start = [0; 6];
/// received.map(&MapOptions::new())?.read(0, &mut start)?;
/// assert_eq!(&start, b"pixels");
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "memfd_create")]
#[derive(Debug)]
pub struct Memfd {
    fd: OwnedFd,
}

/// How to make a [`Memfd`]: sealable and not executable, of usual pages, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct MemfdOptions {
    unsealable: bool,
    executable: bool,
    huge_pages: Option<HugePages>,
}

impl MemfdOptions {
    /// Sealable, not executable, of usual pages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether seals can be added later. A receiver that demands seals will refuse one without.
    #[must_use]
    pub fn sealable(mut self, sealable: bool) -> Self {
        self.unsealable = !sealable;
        self
    }

    /// Whether it may be executed as a program. Off, it can never become so (where the kernel is 6.3 or newer).
    #[must_use]
    pub fn executable(mut self, executable: bool) -> Self {
        self.executable = executable;
        self
    }

    /// Take reserved huge pages; lengths must be multiples of their size.
    #[doc(alias = "MFD_HUGETLB")]
    #[must_use]
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = Some(pages);
        self
    }

    fn flags(&self) -> MemfdFlags {
        let mut flags = MemfdFlags::CLOEXEC;
        flags.set(MemfdFlags::ALLOW_SEALING, !self.unsealable);
        if let Some(pages) = self.huge_pages {
            flags |= MemfdFlags::HUGETLB;
            flags |= MemfdFlags::from_bits_retain(u32::from(pages.bits()) << libc::MFD_HUGE_SHIFT);
        }
        flags
    }
}

impl Memfd {
    /// Makes an empty memory file. The name need not be unique: it is for people who look into `/proc`.
    ///
    /// # Errors
    /// * `InvalidInput`: the name has a NUL or more than 249 bytes.
    /// * `LimitReached`: no free descriptor; `OutOfMemory`; `Unsupported`: no huge pages of this size.
    /// * `PermissionDenied`: executable ones are forbidden here (`vm.memfd_noexec`).
    pub fn create(name: &str, options: &MemfdOptions) -> Result<Self> {
        const CREATE: &str = "create memfd";
        if name.len() > NAME_MAX_BYTES {
            return Err(Error::invalid(CREATE, format!("a name has at most {NAME_MAX_BYTES} bytes")));
        }
        let c_name = CString::new(name).map_err(|_| Error::invalid(CREATE, "a name has no NUL in it"))?;
        let flags = options.flags();
        let exec = if options.executable { MemfdFlags::EXEC } else { MemfdFlags::NOEXEC_SEAL };
        let fd = match rustix::fs::memfd_create(&c_name, flags | exec) {
            // Before Linux 6.3 the kernel knows neither flag, and all memfds may be executed.
            Err(Errno::INVAL) => rustix::fs::memfd_create(&c_name, flags),
            answer => answer,
        };
        let fd = fd.map_err(|errno| match errno {
            Errno::INVAL | Errno::NODEV | Errno::NOENT if options.huge_pages.is_some() => {
                Error::new(CREATE, errno).sorted_as(ErrorKind::Unsupported).hint("no huge pages of this size here")
            }
            Errno::ACCESS => Error::new(CREATE, errno).hint("vm.memfd_noexec forbids executable memfds here"),
            _ => Error::new(CREATE, errno),
        });
        let memfd = Self { fd: fd.map_err(|error| error.on(name))? };
        if options.unsealable {
            // MFD_NOEXEC_SEAL makes every memfd sealable; this takes it back and is a no-op elsewhere.
            match rustix::fs::fcntl_add_seals(&memfd.fd, SealFlags::SEAL) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(Error::new(CREATE, errno).on(name)),
            }
        }
        Ok(memfd)
    }

    /// Makes a memory file of exactly `len_bytes` zeros for ever: all its memory is found now, and it can neither
    /// shrink nor grow. What most channels want.
    ///
    /// # Errors
    /// As [`create`](Self::create); `LimitReached` or `OutOfMemory` if there is not enough memory.
    pub fn fixed(name: &str, len_bytes: u64) -> Result<Self> {
        let memfd = Self::create(name, &MemfdOptions::new())?;
        memfd.set_len(len_bytes)?;
        memfd.reserve()?;
        memfd.add_seals(Seals::SHRINK | Seals::GROW)?;
        Ok(memfd)
    }

    /// Takes a descriptor that came from elsewhere, after checking that it is a memfd with at least these seals.
    /// On failure the descriptor is closed.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else; `PermissionDenied` if a seal is missing.
    pub fn from_fd(fd: OwnedFd, required: Seals) -> Result<Self> {
        const ACCEPT: &str = "accept memfd";
        let memfd = Self { fd };
        let seals = match memfd.seals() {
            Ok(seals) => seals,
            Err(error) if error.errno() == Some(libc::EINVAL) => {
                return Err(Error::invalid(ACCEPT, "the descriptor is not a memfd"));
            }
            Err(error) => return Err(error),
        };
        // A file on tmpfs answers too, always with this one seal; only its name in /proc tells it from a memfd that
        // was made unsealable. With any other seal it can be nothing but a memfd.
        if seals == Seals::SEAL && !memfd.looks_like_memfd() {
            return Err(Error::invalid(ACCEPT, "the descriptor is a file on tmpfs, not a memfd"));
        }
        let missing = required - seals;
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter_names().map(|(name, _)| name).collect();
            let why = format!("the sender must seal it with {} first", names.join(", "));
            return Err(Error::of_kind(ACCEPT, ErrorKind::PermissionDenied, why));
        }
        Ok(memfd)
    }

    fn looks_like_memfd(&self) -> bool {
        rustix::fs::readlink(proc_path(&self.fd), Vec::new())
            .is_ok_and(|target| target.as_bytes().starts_with(b"/memfd:"))
    }

    /// The seals it has.
    ///
    /// # Errors
    /// The kernel's, which does not refuse a live memfd.
    #[doc(alias = "F_GET_SEALS")]
    pub fn seals(&self) -> Result<Seals> {
        rustix::fs::fcntl_get_seals(&self.fd)
            .map(|seals| Seals::from_bits_retain(seals.bits()))
            .during("read seals of memfd")
    }

    /// Adds seals, for ever and for everyone.
    ///
    /// # Errors
    /// * `Busy`: `WRITE` while somebody has a writable shared mapping.
    /// * `PermissionDenied`: it is sealed against sealing, or this descriptor is read-only.
    /// * `Unsupported`: `FUTURE_WRITE` before Linux 5.1; `InvalidInput`: the kernel does not know another of them.
    #[doc(alias = "F_ADD_SEALS")]
    pub fn add_seals(&self, seals: Seals) -> Result<()> {
        rustix::fs::fcntl_add_seals(&self.fd, SealFlags::from_bits_retain(seals.bits())).map_err(|errno| {
            let error = Error::new("seal memfd", errno);
            match errno {
                Errno::BUSY => error.hint("unmap every writable mapping first, or seal FUTURE_WRITE"),
                Errno::PERM => error.hint("it is sealed with SEAL, or the descriptor is open for reading only"),
                Errno::INVAL if seals.contains(Seals::FUTURE_WRITE) => {
                    error.sorted_as(ErrorKind::Unsupported).hint("the seal FUTURE_WRITE needs Linux 5.1")
                }
                _ => error,
            }
        })
    }

    /// Sets the length in bytes; new bytes are zeros and take no memory until touched or [reserved](Self::reserve).
    ///
    /// # Errors
    /// `PermissionDenied` if sealed against it; `InvalidInput` for a part of a huge page; `TooLarge`.
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, len_bytes: u64) -> Result<()> {
        rustix::fs::ftruncate(&self.fd, len_bytes).map_err(|errno| {
            let error = Error::new("set length of memfd", errno);
            match errno {
                Errno::PERM => error.hint("its seals SHRINK, GROW or WRITE forbid it"),
                _ => error,
            }
        })
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// The kernel's, which does not refuse a live memfd.
    #[allow(clippy::len_without_is_empty, reason = "the length is asked of the kernel and may fail")]
    pub fn len(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).during("read length of memfd")?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Finds memory for the whole length now, so that no later touch can fail for lack of it. More than the machine
    /// could give is refused, because the kernel would begin to kill processes to find it.
    ///
    /// # Errors
    /// `LimitReached` or `OutOfMemory` if there is not enough; then nothing is kept. `PermissionDenied` if it is sealed
    /// against writing.
    #[doc(alias = "fallocate")]
    pub fn reserve(&self) -> Result<()> {
        reserve("reserve memory for memfd", &self.fd, 0, self.len()?)
    }

    /// [`reserve`](Self::reserve) for `len` bytes from `offset` only, for memory that is committed bit by bit.
    ///
    /// # Errors
    /// As `reserve`; `PermissionDenied` also if the range reaches beyond a length that is sealed with `GROW`.
    pub fn reserve_range(&self, offset: u64, len: u64) -> Result<()> {
        reserve("reserve memory for memfd", &self.fd, offset, len)
    }

    /// Gives the memory behind `len` bytes from `offset` back to the system: they read as zeros afterwards, and the
    /// next touch needs new memory. The length stays. Parts of pages are set to zero, not given back.
    ///
    /// # Errors
    /// `PermissionDenied` if sealed against writing (`WRITE`, `FUTURE_WRITE`); `InvalidInput` for a length of zero.
    #[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| rustix::fs::fallocate(&self.fd, flags, offset, len)).during("punch a hole into memfd")
    }

    /// Maps it; see [`Mapping::of`].
    ///
    /// # Errors
    /// As [`Mapping::of`].
    pub fn map(&self, options: &MapOptions) -> Result<Mapping> {
        Mapping::of(&self.fd, options)
    }

    /// A second handle that can only read, to give to a reader: it cannot be written or mapped for writing. A reader
    /// of another user cannot reopen it for writing either, because the file's mode is cut to the owner first.
    /// Against readers of the same user only seals help.
    ///
    /// # Errors
    /// `NotFound` if `/proc` is not mounted; `LimitReached`; `PermissionDenied` if the memfd belongs to another user.
    pub fn read_only(&self) -> Result<Self> {
        const REOPEN: &str = "reopen memfd for reading";
        rustix::fs::fchmod(&self.fd, Mode::OWNER.into()).during(REOPEN)?;
        let path = proc_path(&self.fd);
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|errno| Error::new(REOPEN, errno).on(&path))?;
        Ok(Self { fd })
    }

    /// A second descriptor of the same memory file.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is free.
    #[doc(alias = "dup")]
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { fd: rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).during("duplicate memfd")? })
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Memfd> for OwnedFd {
    fn from(memfd: Memfd) -> Self {
        memfd.fd
    }
}

/// Memory that even the kernel cannot read, except through the mappings of its holders: for keys and passwords.
///
/// It cannot be read by `ptrace`, `/proc/PID/mem` or [`Mapping::read_checked`], is never swapped and not in core
/// dumps. It counts against `RLIMIT_MEMLOCK`, and where it exists the machine does not hibernate.
///
/// ```
/// use tieline_os::memfd::SecretMemfd;
/// match SecretMemfd::create(4096) {
///     Ok(secret) => secret.map()?.write(0, b"key")?,
///     Err(error) => assert!(error.is_unsupported()),
/// }
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "memfd_secret")]
#[derive(Debug)]
pub struct SecretMemfd {
    fd: OwnedFd,
}

impl SecretMemfd {
    /// Makes secret memory of `len_bytes` zeros; the length is for ever.
    ///
    /// # Errors
    /// `Unsupported` where the kernel has it not or not switched on (`secretmem.enable`); `LimitReached`;
    /// `InvalidInput` for length zero.
    pub fn create(len_bytes: u64) -> Result<Self> {
        const CREATE: &str = "create secret memory";
        if len_bytes == 0 {
            return Err(Error::invalid(CREATE, "the length is zero, and it could not grow later"));
        }
        let fd = sys::memfd::memfd_secret().map_err(|errno| {
            let error = Error::new(CREATE, errno);
            if errno == Errno::NOSYS {
                error.hint("boot with secretmem.enable=1 on Linux 5.14 or newer")
            } else {
                error
            }
        })?;
        rustix::fs::ftruncate(&fd, len_bytes).during(CREATE)?;
        Ok(Self { fd })
    }

    /// Maps all of it, to read and write.
    ///
    /// # Errors
    /// `LimitReached` past `RLIMIT_MEMLOCK`; `OutOfMemory`.
    pub fn map(&self) -> Result<Mapping> {
        Mapping::of(&self.fd, &MapOptions::new().access(Access::ReadWrite))
    }
}

impl AsFd for SecretMemfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<SecretMemfd> for OwnedFd {
    fn from(memfd: SecretMemfd) -> Self {
        memfd.fd
    }
}

/// Finds memory for `len` bytes from `offset` of a file in memory, which grows to hold them.
pub(crate) fn reserve(operation: &'static str, fd: &OwnedFd, offset: u64, len: u64) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let stat = rustix::fs::fstat(fd).during(operation)?;
    let backed = if offset == 0 { u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) } else { 0 };
    // Reserved huge pages are not part of what is "available"; the kernel counts them itself and refuses.
    memory::refuse_impossible(operation, len.saturating_sub(backed))
        .or_else(|error| if mapping::is_hugetlbfs(fd.as_fd()) { Ok(()) } else { Err(error) })?;
    // If a signal handler ran in the middle, the kernel has undone what it did.
    retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), offset, len)).during(operation)
}

/// The path under which the kernel reopens a descriptor.
pub(crate) fn proc_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
