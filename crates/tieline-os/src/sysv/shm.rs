//! System V shared memory: segments of a fixed size, attached by any number of processes.
//!
//! A segment is made once with its size and keeps it. Each process that uses it attaches it, at an address of its own,
//! and sees what the others write at once. Nothing orders or guards the accesses: take a [`Region`]'s atomics, or a
//! semaphore set.
//!
//! Because nobody can make a segment smaller, its memory does not raise `SIGBUS`, unless another program created it
//! with huge pages and without reserving them ([`SegmentOptions`] refuses that). Attachments end with the process,
//! however it ends; the segment stays until it is removed. The way to leave nothing behind is to remove it as soon as
//! everybody has attached: it then lives exactly until the last of them is gone ([`Segment::remove`]).
//!
//! See sysvipc(7), shmget(2), shmop(2), shmctl(2).

use std::time::SystemTime;

use libc::shmid_ds;
use rustix::io::Errno;

use super::{
    Id, Key, Permissions, Remove, Walk, change_mode, change_owner, check_names_something, count, get_refused,
    mode_bits, moment, process, refused, sealed, set_part,
};
use crate::error::During;
use crate::{Error, Mode, Region, Result, sys};

/// The flags that the kernel keeps with the mode: removed but still attached, and locked in memory.
const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

/// Where the binary logarithm of a huge page's size stands among the flags of `shmget`.
const HUGE_PAGE_SHIFT: u32 = 26;

/// A handle to one segment.
///
/// ```
/// use tieline_os::Mode;
/// use tieline_os::sysv::Key;
/// use tieline_os::sysv::shm::Segment;
///
/// let segment = Segment::create(Key::PRIVATE, 4096, Mode::OWNER)?;
/// let memory = segment.attach()?;
/// segment.remove()?; // it lives on until the last attachment is dropped
/// memory.write(100, b"hello")?;
///
/// let elsewhere = segment.attach_read_only()?; // Linux allows it as long as anybody is attached
/// let mut copy = [0; 5];
/// elsewhere.read(100, &mut copy)?;
/// assert_eq!(&copy, b"hello");
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    id: Id,
}

/// How to create a segment, where [`Segment::create`] does not say enough.
///
/// ```no_run
/// use tieline_os::sysv::Key;
/// use tieline_os::sysv::shm::{HugePage, SegmentOptions};
/// let segment = SegmentOptions::new(64 << 20).huge_pages(HugePage::Default).create(Key::new(0x7001))?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    len: usize,
    mode: Mode,
    huge_page: Option<HugePage>,
    no_reserve: bool,
}

/// The size of a huge page. Which exist is listed in `/sys/kernel/mm/hugepages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePage {
    /// The system's default, `Hugepagesize` in `/proc/meminfo`.
    Default,
    /// This many bytes, a power of two.
    Bytes(usize),
}

/// The state of a segment at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStat {
    /// Its id.
    pub id: Id,
    /// Who may use it. The key is [`Key::PRIVATE`] once it is removed.
    pub permissions: Permissions,
    /// Its size in bytes, as it was created.
    pub len: usize,
    /// How many times it is attached now, in all processes together.
    pub attachments: u64,
    /// The process that created it; `None` if it is not of our pid namespace.
    pub creator: Option<u32>,
    /// The process that attached or detached it last; `None` if none did or it is not of our pid namespace.
    pub last_user: Option<u32>,
    /// When it was attached last, in whole seconds.
    pub attached_at: Option<SystemTime>,
    /// When it was detached last, in whole seconds.
    pub detached_at: Option<SystemTime>,
    /// When it was created or its permissions were changed last, in whole seconds.
    pub changed_at: Option<SystemTime>,
    /// It was removed and ends with its last attachment.
    pub removed: bool,
    /// It is locked in memory.
    pub locked: bool,
}

/// The limits of this IPC namespace for segments, changed by the administrator in `/proc/sys/kernel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest segment in bytes (`shmmax`).
    pub segment_max_bytes: u64,
    /// The smallest segment in bytes, always 1 on Linux.
    pub segment_min_bytes: u64,
    /// How many segments there may be (`shmmni`).
    pub segments_max: u64,
    /// How many memory pages all segments together may have (`shmall`).
    pub pages_max: u64,
}

/// How much of the limits of this IPC namespace is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Segments.
    pub segments: usize,
    /// Memory pages of all of them, whether touched or not.
    pub pages: u64,
    /// Pages that are in memory.
    pub resident_pages: u64,
    /// Pages that are swapped out.
    pub swapped_pages: u64,
    /// How often a page was tried to be swapped out; Linux has stopped counting.
    pub swap_attempts: u64,
    /// How often that succeeded; likewise.
    pub swap_successes: u64,
}

const TOO_MANY: &str = "the namespace's limit of segments (kernel.shmmni) or of their pages (kernel.shmall) is reached; remove unused ones";

impl SegmentOptions {
    /// A segment of `len` bytes for the owner only, with ordinary pages.
    #[must_use]
    pub const fn new(len: usize) -> Self {
        Self { len, mode: Mode::OWNER, huge_page: None, no_reserve: false }
    }

    /// Who may use it.
    #[must_use]
    pub const fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Uses huge pages of this size, which must have been set aside by the administrator (`vm.nr_hugepages`).
    ///
    /// They need `CAP_IPC_LOCK` or membership in the group `vm.hugetlb_shm_group`.
    #[doc(alias = "SHM_HUGETLB")]
    #[must_use]
    pub const fn huge_pages(self, size: HugePage) -> Self {
        Self { huge_page: Some(size), ..self }
    }

    /// Does not count the segment against the memory the system has promised: creating a larger one succeeds, and
    /// touching it may end a process for lack of memory.
    ///
    /// Not together with huge pages, where the lack would show as `SIGBUS`.
    #[doc(alias = "SHM_NORESERVE")]
    #[must_use]
    pub const fn no_reserve(self, yes: bool) -> Self {
        Self { no_reserve: yes, ..self }
    }

    /// Creates the segment with this key, which must not exist.
    ///
    /// # Errors
    /// As [`Segment::create`]; also
    /// * `InvalidInput`: a huge page's size is not a power of two or not one the system has, or huge pages are to be
    ///   had without reservation.
    /// * `PermissionDenied`: the caller may not use huge pages.
    #[doc(alias = "shmget")]
    pub fn create(self, key: Key) -> Result<Segment> {
        self.find("create shared memory segment", key, libc::IPC_CREAT | libc::IPC_EXCL)
    }

    /// Opens the segment with this key, or creates it if there is none.
    ///
    /// # Errors
    /// As [`Segment::open_or_create`] and [`create`](Self::create).
    #[doc(alias = "shmget")]
    pub fn open_or_create(self, key: Key) -> Result<Segment> {
        self.find("open or create shared memory segment", key, libc::IPC_CREAT)
    }

    fn find(self, operation: &'static str, key: Key, flags: i32) -> Result<Segment> {
        let flags = flags | i32::from(self.mode.bits()) | self.page_flags(operation)?;
        let id = sys::sysv_shm::shmget(key.number(), self.len, flags)
            .map_err(|errno| self.find_refused(operation, errno, key))?;
        Ok(Segment { id: Id::new(id) })
    }

    fn page_flags(self, operation: &'static str) -> Result<i32> {
        let no_reserve = if self.no_reserve { libc::SHM_NORESERVE } else { 0 };
        match self.huge_page {
            None => Ok(no_reserve),
            Some(_) if self.no_reserve => Err(Error::invalid(operation, "huge pages must be reserved")),
            Some(HugePage::Default) => Ok(libc::SHM_HUGETLB),
            Some(HugePage::Bytes(bytes)) if bytes.is_power_of_two() => {
                // At most 63, which fits the six bits for it.
                Ok(libc::SHM_HUGETLB | (bytes.ilog2() << HUGE_PAGE_SHIFT).cast_signed())
            }
            Some(HugePage::Bytes(bytes)) => {
                Err(Error::invalid(operation, format!("a huge page's size is a power of two, not {bytes}")))
            }
        }
    }

    fn find_refused(self, operation: &'static str, errno: Errno, key: Key) -> Error {
        let error = get_refused(operation, errno, key, TOO_MANY);
        let len = self.len;
        match (errno, self.huge_page) {
            (Errno::INVAL, Some(_)) => error.hint(format!(
                "a segment with this key exists and is smaller than {len} bytes, or {len} is not from 1 to \
                 kernel.shmmax, or the system has no huge pages of this size"
            )),
            (Errno::INVAL, None) => error.hint(format!(
                "a segment with this key exists and is smaller than {len} bytes, or {len} is not from 1 to kernel.shmmax"
            )),
            (Errno::NOMEM, Some(_)) => error.hint("there are not enough free huge pages; raise vm.nr_hugepages"),
            (Errno::PERM, Some(_)) => {
                error.hint("huge pages need CAP_IPC_LOCK or membership in the group vm.hugetlb_shm_group")
            }
            _ => error,
        }
    }
}

impl Segment {
    /// Opens the segment with this key. Does not block, and checks no permission: that is done when attaching.
    ///
    /// # Errors
    /// * `NotFound`: no segment has this key.
    /// * `InvalidInput`: the key is [`Key::PRIVATE`], which names no segment.
    #[doc(alias = "shmget")]
    pub fn open(key: Key) -> Result<Self> {
        const OPERATION: &str = "open shared memory segment";
        check_names_something(OPERATION, key)?;
        let id =
            sys::sysv_shm::shmget(key.number(), 0, 0).map_err(|errno| get_refused(OPERATION, errno, key, TOO_MANY))?;
        Ok(Self { id: Id::new(id) })
    }

    /// Creates the segment with this key, which must not exist: `len` bytes of zeros, for those whom `mode` lets in.
    ///
    /// Memory is taken when it is touched first. More ways to create one are in [`SegmentOptions`].
    ///
    /// # Errors
    /// * `AlreadyExists`: a segment has this key.
    /// * `InvalidInput`: `len` is 0 or above [`Limits::segment_max_bytes`].
    /// * `LimitReached`: too many segments, or too many pages in all of them.
    /// * `OutOfMemory`: the system cannot promise that much memory.
    #[doc(alias = "shmget")]
    pub fn create(key: Key, len: usize, mode: Mode) -> Result<Self> {
        SegmentOptions::new(len).mode(mode).create(key)
    }

    /// Opens the segment with this key, or creates it with `len` and `mode` if there is none.
    ///
    /// One that exists may be longer: [`stat`](Self::stat) tells.
    ///
    /// # Errors
    /// * `PermissionDenied`: it exists, and does not allow the caller what `mode` says.
    /// * `InvalidInput`: it exists and is shorter than `len`; or as [`create`](Self::create).
    /// * `LimitReached`, `OutOfMemory`: as [`create`](Self::create).
    #[doc(alias = "shmget")]
    pub fn open_or_create(key: Key, len: usize, mode: Mode) -> Result<Self> {
        SegmentOptions::new(len).mode(mode).open_or_create(key)
    }

    /// The segment with this id, unseen: whether there is one shows at the first use.
    #[must_use]
    pub const fn from_id(id: Id) -> Self {
        Self { id }
    }

    /// Its id, which another process may use directly.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.id
    }

    /// Maps it into this process for reading and writing, at an address the kernel chooses.
    ///
    /// Each call makes a mapping of its own. Making one costs some microseconds, and each page again as much at its
    /// first touch: attach once, not per message. A child made by `fork` inherits it; `exec` ends it.
    ///
    /// # Errors
    /// * `PermissionDenied`: its mode does not let the caller read and write.
    /// * `Removed`: the segment is gone. (One that was removed but is attached somewhere can still be attached, on
    ///   Linux.)
    /// * `OutOfMemory`: no room in the address space.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/shmat.html>; shmat(2).
    #[doc(alias = "shmat")]
    pub fn attach(&self) -> Result<Attachment> {
        self.attach_as(false)
    }

    /// Maps it for reading only; writing through it is refused by an error.
    ///
    /// # Errors
    /// As [`attach`](Self::attach), but the mode need only let the caller read.
    #[doc(alias = "SHM_RDONLY")]
    pub fn attach_read_only(&self) -> Result<Attachment> {
        self.attach_as(true)
    }

    fn attach_as(&self, read_only: bool) -> Result<Attachment> {
        let raw = sys::sysv_shm::RawAttachment::attach(self.id.number(), read_only)
            .map_err(|errno| refused("attach shared memory segment", errno, self.id))?;
        Ok(Attachment { id: self.id, raw })
    }

    /// Its state at this moment; needs no permission.
    ///
    /// # Errors
    /// `Removed`: the segment is gone.
    #[doc(alias = "shmctl")]
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<SegmentStat> {
        let raw = sys::sysv_shm::stat(self.id.number())
            .map_err(|errno| refused("look at shared memory segment", errno, self.id))?;
        Ok(SegmentStat::of(self.id, &raw))
    }

    /// Gives it to another user, another group, or both. Attachments that exist are not touched.
    ///
    /// The kernel changes owner and mode only together, so this reads them first; two processes that change them at
    /// once may undo each other's change.
    ///
    /// # Errors
    /// * `Removed`: the segment is gone.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    /// * `InvalidInput`: this user namespace has no such user or group.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.set("change the owner of shared memory segment", |raw| change_owner(&mut raw.shm_perm, uid, gid))
    }

    /// Changes who may attach it; otherwise as [`set_owner`](Self::set_owner).
    ///
    /// # Errors
    /// As [`set_owner`](Self::set_owner).
    pub fn set_mode(&self, mode: Mode) -> Result<()> {
        self.set("change the mode of shared memory segment", |raw| change_mode(&mut raw.shm_perm, mode))
    }

    fn set(&self, operation: &'static str, change: impl FnOnce(&mut shmid_ds)) -> Result<()> {
        set_part(operation, self.id, sys::sysv_shm::stat, sys::sysv_shm::set, change)
    }

    /// Keeps it out of swap. Pages not touched yet are not brought in by this; they stay once they are touched.
    ///
    /// # Errors
    /// * `PermissionDenied`: the caller is neither owner nor creator and has no `CAP_IPC_LOCK`, or its
    ///   `RLIMIT_MEMLOCK` is 0.
    /// * `OutOfMemory`: more than its `RLIMIT_MEMLOCK`.
    /// * `Removed`: the segment is gone.
    #[doc(alias = "SHM_LOCK")]
    pub fn lock(&self) -> Result<()> {
        sys::sysv_shm::lock(self.id.number()).map_err(|errno| {
            let error = refused("lock shared memory segment", errno, self.id);
            match errno {
                Errno::NOMEM => error.hint("it is larger than what the user may lock (RLIMIT_MEMLOCK)"),
                _ => error,
            }
        })
    }

    /// Lets it be swapped again.
    ///
    /// # Errors
    /// `PermissionDenied` and `Removed`, as [`lock`](Self::lock).
    #[doc(alias = "SHM_UNLOCK")]
    pub fn unlock(&self) -> Result<()> {
        sys::sysv_shm::unlock(self.id.number()).map_err(|errno| refused("unlock shared memory segment", errno, self.id))
    }

    /// Removes it: the key is free at once, the memory when the last attachment has ended.
    ///
    /// On Linux it can still be attached by its id until then.
    ///
    /// # Errors
    /// * `Removed`: it was gone already.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    #[doc(alias = "IPC_RMID")]
    pub fn remove(self) -> Result<()> {
        sys::sysv_shm::remove(self.id.number()).map_err(|errno| refused("remove shared memory segment", errno, self.id))
    }
}

impl sealed::Sealed for Segment {}

impl Remove for Segment {
    fn remove(self) -> Result<()> {
        Self::remove(self)
    }
}

impl SegmentStat {
    fn of(id: Id, raw: &shmid_ds) -> Self {
        let flags = mode_bits(&raw.shm_perm);
        Self {
            id,
            permissions: Permissions::of(&raw.shm_perm),
            len: raw.shm_segsz,
            attachments: raw.shm_nattch,
            creator: process(raw.shm_cpid),
            last_user: process(raw.shm_lpid),
            attached_at: moment(raw.shm_atime),
            detached_at: moment(raw.shm_dtime),
            changed_at: moment(raw.shm_ctime),
            removed: flags & SHM_DEST != 0,
            locked: flags & SHM_LOCKED != 0,
        }
    }
}

/// A segment mapped into this process; dropping it ends the mapping (unless the guard of a robust lock in it was
/// forgotten, see [`MutexGuard`](crate::pthread::MutexGuard)).
///
/// It lends the memory as a [`Region`], whose length is the segment's, however large the opener believed it to be.
///
/// ```compile_fail,E0505
/// # use tieline_os::{Mode, sysv::{Key, shm::Segment}};
/// let memory = Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap().attach().unwrap();
/// let word = memory.atomic_u32(0).unwrap();
/// memory.detach().unwrap(); // the word would be gone
/// word.load(std::sync::atomic::Ordering::Relaxed);
/// ```
#[derive(Debug)]
pub struct Attachment {
    id: Id,
    raw: sys::sysv_shm::RawAttachment,
}

impl Attachment {
    /// The segment this is a mapping of.
    #[must_use]
    pub fn segment(&self) -> Segment {
        Segment { id: self.id }
    }

    /// Ends the mapping and reports, which drop does not. If the segment was removed and this was its last mapping,
    /// its memory is freed.
    ///
    /// # Errors
    /// `InvalidInput` if foreign code has unmapped the memory; `Busy` if a robust lock in it is held by a forgotten
    /// guard, which keeps it mapped.
    #[doc(alias = "shmdt")]
    pub fn detach(self) -> Result<()> {
        self.raw
            .detach()
            .map_err(|errno| Error::new("detach shared memory segment", errno).on(format_args!("id {}", self.id)))
    }
}

impl std::ops::Deref for Attachment {
    type Target = Region;

    fn deref(&self) -> &Region {
        self.raw.region()
    }
}

/// All segments of this IPC namespace, whoever owns them, also those removed and still attached.
///
/// # Errors
/// `Other` with the kernel's number; no ordinary condition leads to it.
#[doc(alias = "SHM_STAT_ANY")]
#[doc(alias = "ipcs")]
pub fn segments() -> Result<Walk<SegmentStat>> {
    let (last_slot, _) = sys::sysv_shm::usage().during("list shared memory segments")?;
    Ok(Walk::new(last_slot, |slot| sys::sysv_shm::stat_any(slot).map(|(id, raw)| SegmentStat::of(Id::new(id), &raw))))
}

/// Those of [`segments`] that the caller may read, by their mode or by privilege.
///
/// # Errors
/// As [`segments`].
#[doc(alias = "SHM_STAT")]
pub fn readable_segments() -> Result<Walk<SegmentStat>> {
    let (last_slot, _) = sys::sysv_shm::usage().during("list shared memory segments")?;
    Ok(Walk::of_readable(last_slot, |slot| {
        sys::sysv_shm::stat_readable(slot).map(|(id, raw)| SegmentStat::of(Id::new(id), &raw))
    }))
}

/// The limits of this IPC namespace.
///
/// # Errors
/// As [`segments`].
#[doc(alias = "IPC_INFO")]
pub fn limits() -> Result<Limits> {
    let raw = sys::sysv_shm::limits().during("read the limits of shared memory segments")?;
    Ok(Limits {
        segment_max_bytes: raw.segment_max_bytes,
        segment_min_bytes: raw.segment_min_bytes,
        segments_max: raw.segments_max,
        pages_max: raw.pages_max,
    })
}

/// What all segments of this IPC namespace hold.
///
/// # Errors
/// As [`segments`].
#[doc(alias = "SHM_INFO")]
pub fn usage() -> Result<Usage> {
    let (_, raw) = sys::sysv_shm::usage().during("read the usage of shared memory segments")?;
    Ok(Usage {
        segments: count(raw.segments),
        pages: raw.pages,
        resident_pages: raw.resident_pages,
        swapped_pages: raw.swapped_pages,
        swap_attempts: raw.swap_attempts,
        swap_successes: raw.swap_successes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_size_of_a_huge_page_becomes_its_logarithm() {
        let flags = |size| SegmentOptions::new(1).huge_pages(size).page_flags("create");
        assert_eq!(flags(HugePage::Default).unwrap(), 0o4000);
        assert_eq!(flags(HugePage::Bytes(2 << 20)).unwrap(), 0o4000 | 21 << 26);
        // 16 GiB needs the sign bit, as in the kernel's SHM_HUGE_16GB.
        assert_eq!(flags(HugePage::Bytes(16 << 30)).unwrap().cast_unsigned(), 0o4000 | 34 << 26);
        for wrong in [0, 3, 2_000_000] {
            assert_eq!(flags(HugePage::Bytes(wrong)).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let unreserved = SegmentOptions::new(1).huge_pages(HugePage::Default).no_reserve(true);
        assert_eq!(unreserved.create(Key::PRIVATE).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
