//! System V shared memory: `shmget`, `shmat`, `shmdt`, `shmctl`.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use libc::{c_int, c_ulong, shmid_ds};
use rustix::io::Errno;

use super::region::RawRegion;
use super::sysv_key::{SHM_INFO, SHM_STAT, SHM_STAT_ANY, stat_or_slot};
use super::{check, last_errno};
use crate::Region;

/// What `IPC_INFO` answers; `linux/shm.h` calls it `shminfo64`, and libc has none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) segment_max_bytes: c_ulong,
    pub(crate) segment_min_bytes: c_ulong,
    pub(crate) segments_max: c_ulong,
    segments_per_process: c_ulong,
    pub(crate) pages_max: c_ulong,
    unused: [c_ulong; 4],
}

/// What `SHM_INFO` answers; `linux/shm.h` calls it `shm_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) segments: c_int,
    pub(crate) pages: c_ulong,
    pub(crate) resident_pages: c_ulong,
    pub(crate) swapped_pages: c_ulong,
    pub(crate) swap_attempts: c_ulong,
    pub(crate) swap_successes: c_ulong,
}

pub(crate) fn shmget(key: i32, len: usize, flags: c_int) -> Result<c_int, Errno> {
    // SAFETY: shmget takes three numbers and touches no memory of ours.
    check(unsafe { libc::shmget(key, len, flags) })
}

/// A segment attached at an address of the kernel's choice; detached on drop.
#[derive(Debug)]
pub(crate) struct RawAttachment {
    region: Region,
    start: NonNull<u8>,
}

// SAFETY: an attachment belongs to the whole process, so shmdt may be called by any of its threads; the region is
// Send itself.
unsafe impl Send for RawAttachment {}
// SAFETY: shared, it only lends its region, which is Sync itself.
unsafe impl Sync for RawAttachment {}

impl RawAttachment {
    pub(crate) fn attach(id: c_int, read_only: bool) -> Result<Self, Errno> {
        let flags = if read_only { libc::SHM_RDONLY } else { 0 };
        // SAFETY: with a null address and no SHM_REMAP the kernel chooses a free range, so no memory of ours changes.
        let address = unsafe { libc::shmat(id, std::ptr::null(), flags) };
        if address.addr() == usize::MAX {
            return Err(last_errno());
        }
        let start = NonNull::new(address.cast::<u8>()).ok_or(Errno::FAULT)?;
        // From here on an early return detaches. The region is empty until its length is known.
        // SAFETY: no byte of it may be touched, so there is nothing to be mapped.
        let nothing = unsafe { RawRegion::new(start, 0) };
        let mut attachment = Self { region: Region::new(nothing, false), start };
        // Asked only now: while attached, the segment exists, so its id cannot have become another's.
        let len = stat(id)?.shm_segsz;
        if isize::try_from(len).is_err() {
            return Err(Errno::OVERFLOW);
        }
        // SAFETY: the kernel has mapped the whole segment, and its size cannot change: no call resizes one, and its
        // file has no path or descriptor by which another process could truncate it (a tracer, or one with
        // CAP_CHECKPOINT_RESTORE, aside: it may change this process anyway). The range was free until now, so no Rust
        // variable is in it. It stays until shmdt, and the region is only lent for as long as `attachment` lives; len
        // fits isize, as checked; writing methods are refused below if the mapping is read-only.
        let raw = unsafe { RawRegion::new(start, len) };
        attachment.region = Region::new(raw, !read_only);
        Ok(attachment)
    }

    /// The memory; its length is the segment's.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Detaches and reports; drop does the same silently. `EBUSY` while the C library keeps an address in it; then it
    /// stays attached for ever.
    pub(crate) fn detach(self) -> Result<(), Errno> {
        ManuallyDrop::new(self).shmdt()
    }

    fn shmdt(&mut self) -> Result<(), Errno> {
        self.region.raw().refuse_pinned()?;
        // SAFETY: `start` came from shmat and is detached once: drop is the only other caller, and `detach` prevents
        // it. The region is lent by reference only and is not pinned, so nobody uses the memory any more.
        check(unsafe { libc::shmdt(self.start.as_ptr().cast()) }).map(drop)
    }
}

impl Drop for RawAttachment {
    fn drop(&mut self) {
        let _ = self.shmdt();
    }
}

/// The state of one object; needs no read permission.
pub(crate) fn stat(id: c_int) -> Result<shmid_ds, Errno> {
    stat_or_slot(id, |id| shmctl_out(id, libc::IPC_STAT).map(|(_, state)| state), stat_any)
}

/// The id and state of the segment in slot `index` of the kernel's table; needs no read permission.
pub(crate) fn stat_any(index: c_int) -> Result<(c_int, shmid_ds), Errno> {
    shmctl_out(index, SHM_STAT_ANY)
}

/// The same for a segment that the caller may read; else `EACCES`.
pub(crate) fn stat_readable(index: c_int) -> Result<(c_int, shmid_ds), Errno> {
    shmctl_out(index, SHM_STAT)
}

pub(crate) fn set(id: c_int, state: &shmid_ds) -> Result<(), Errno> {
    let mut state = *state;
    // SAFETY: IPC_SET reads one shmid_ds, which lives through the call.
    check(unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut state) }).map(drop)
}

pub(crate) fn remove(id: c_int) -> Result<(), Errno> {
    shmctl_plain(id, libc::IPC_RMID)
}

pub(crate) fn lock(id: c_int) -> Result<(), Errno> {
    shmctl_plain(id, libc::SHM_LOCK)
}

pub(crate) fn unlock(id: c_int) -> Result<(), Errno> {
    shmctl_plain(id, libc::SHM_UNLOCK)
}

/// The limits of this IPC namespace.
pub(crate) fn limits() -> Result<Limits, Errno> {
    let mut limits = MaybeUninit::<Limits>::zeroed();
    // SAFETY: IPC_INFO writes one shminfo64, which `Limits` is, whatever the pointer's type says.
    check(unsafe { libc::shmctl(0, libc::IPC_INFO, limits.as_mut_ptr().cast()) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok(unsafe { limits.assume_init() })
}

/// The highest used slot, and what is in use.
pub(crate) fn usage() -> Result<(c_int, Usage), Errno> {
    let mut usage = MaybeUninit::<Usage>::zeroed();
    // SAFETY: SHM_INFO writes one shm_info, which `Usage` is, whatever the pointer's type says.
    let highest = check(unsafe { libc::shmctl(0, SHM_INFO, usage.as_mut_ptr().cast()) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((highest, unsafe { usage.assume_init() }))
}

fn shmctl_out(id: c_int, command: c_int) -> Result<(c_int, shmid_ds), Errno> {
    let mut state = MaybeUninit::<shmid_ds>::zeroed();
    // SAFETY: the commands given here (IPC_STAT, SHM_STAT, SHM_STAT_ANY) write one shmid_ds, for which there is room.
    let answer = check(unsafe { libc::shmctl(id, command, state.as_mut_ptr()) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((answer, unsafe { state.assume_init() }))
}

fn shmctl_plain(id: c_int, command: c_int) -> Result<(), Errno> {
    // SAFETY: the commands given here (IPC_RMID, SHM_LOCK, SHM_UNLOCK) do not use the third argument.
    check(unsafe { libc::shmctl(id, command, std::ptr::null_mut()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `linux/shm.h` and `asm-generic/shmbuf.h` give these sizes; a smaller struct would let the kernel write past it.
    #[test]
    fn the_structs_libc_lacks_have_the_kernels_size() {
        assert_eq!(size_of::<Limits>(), 9 * size_of::<c_ulong>());
        assert_eq!(size_of::<Usage>(), 6 * size_of::<c_ulong>());
    }
}
