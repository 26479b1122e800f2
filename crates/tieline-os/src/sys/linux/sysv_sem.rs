//! System V semaphore sets: `semget`, `semop`, `semtimedop`, `semctl`.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::Duration;

use libc::{c_int, c_long, c_ushort, sembuf, timespec};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::check;
pub(crate) use super::sysv_flavour::semid_ds;
use super::sysv_flavour::seminfo;
use super::sysv_key::stat_or_slot;

/// The fourth argument of `semctl`, which every program declares for itself.
#[repr(C)]
union Argument {
    value: c_int,
    state: *mut semid_ds,
    values: *mut c_ushort,
    info: *mut seminfo,
}

unsafe extern "C" {
    /// In every Linux C library, but not in the libc crate.
    fn semtimedop(id: c_int, operations: *mut sembuf, count: usize, timeout: *const timespec) -> c_int;
}

/// One operation as the kernel reads it.
pub(crate) type RawOperation = sembuf;

pub(crate) fn semget(key: i32, count: u16, flags: c_int) -> Result<c_int, Errno> {
    // SAFETY: semget takes three numbers and touches no memory of ours.
    check(unsafe { libc::semget(key, c_int::from(count), flags) })
}

/// Performs all operations or none, waiting without limit; never retries.
pub(crate) fn semop(id: c_int, operations: &[RawOperation]) -> Result<(), Errno> {
    let start = operations.as_ptr().cast_mut();
    // SAFETY: the kernel reads operations.len() sembufs from the slice; it writes none, the C type only lacks a const.
    check(unsafe { libc::semop(id, start, operations.len()) }).map(drop)
}

/// The same, waiting at most `timeout`, after which the answer is `EAGAIN`.
pub(crate) fn semop_timeout(id: c_int, operations: &[RawOperation], timeout: Duration) -> Result<(), Errno> {
    let timeout = timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(c_long::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let start = operations.as_ptr().cast_mut();
    // SAFETY: as for semop; the kernel reads one timespec, which lives through the call.
    check(unsafe { semtimedop(id, start, operations.len(), &raw const timeout) }).map(drop)
}

/// The value, last operator or number of waiters of one semaphore: `GETVAL`, `GETPID`, `GETNCNT`, `GETZCNT`.
pub(crate) fn value(id: c_int, index: u16, command: SemaphoreQuery) -> Result<c_int, Errno> {
    // SAFETY: these four commands take no fourth argument.
    check(unsafe { libc::semctl(id, c_int::from(index), command as c_int) })
}

/// What [`value`] may ask; each is a command without a fourth argument.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum SemaphoreQuery {
    Value = libc::GETVAL,
    LastOperator = libc::GETPID,
    Increasers = libc::GETNCNT,
    Zeroers = libc::GETZCNT,
}

pub(crate) fn set_value(id: c_int, index: u16, value: u16) -> Result<(), Errno> {
    let argument = Argument { value: c_int::from(value) };
    // SAFETY: SETVAL takes the union's integer.
    check(unsafe { libc::semctl(id, c_int::from(index), libc::SETVAL, argument) }).map(drop)
}

/// All values at one moment; `count` is what `stat` says the set has.
pub(crate) fn values(id: c_int, count: usize) -> Result<Vec<u16>, Errno> {
    let buffer = Guarded::new(count)?;
    let argument = Argument { values: buffer.start.as_ptr() };
    // SAFETY: GETALL writes as many values as the set has. That is `count`; if the id has come to mean a larger set
    // since (its sequence number wrapped), the kernel meets the guard page and answers EFAULT.
    check(unsafe { libc::semctl(id, 0, libc::GETALL, argument) })?;
    Ok(buffer.to_vec())
}

/// Sets all values at one moment; `values` has as many as the set.
pub(crate) fn set_values(id: c_int, values: &[u16]) -> Result<(), Errno> {
    let buffer = Guarded::new(values.len())?;
    buffer.fill(values);
    let argument = Argument { values: buffer.start.as_ptr() };
    // SAFETY: SETALL reads as many values as the set has; a larger set than meant meets the guard page, as in `values`.
    check(unsafe { libc::semctl(id, 0, libc::SETALL, argument) }).map(drop)
}

/// `count` values that end where a page without access begins.
///
/// `GETALL` and `SETALL` do not take a length: the kernel goes by the set's size at that moment. Behind a guard page
/// the worst that a mistaken length can do is `EFAULT`.
struct Guarded {
    map: NonNull<u8>,
    map_bytes: usize,
    start: NonNull<u16>,
    count: usize,
}

impl Guarded {
    fn new(count: usize) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let bytes = count.checked_mul(size_of::<u16>()).ok_or(Errno::NOMEM)?;
        let usable = bytes.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        let map_bytes = usable.checked_add(page).ok_or(Errno::NOMEM)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice changes no existing memory.
        let map = unsafe { mmap_anonymous(std::ptr::null_mut(), map_bytes, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let map = NonNull::new(map.cast::<u8>()).ok_or(Errno::NOMEM)?;
        // SAFETY: usable - bytes < usable <= map_bytes, or both are zero: inside the mapping.
        let start = unsafe { map.add(usable - bytes) }.cast();
        let guarded = Self { map, map_bytes, start, count };
        if usable > 0 {
            // SAFETY: the range is the front of our own mapping, to which nothing refers yet.
            unsafe { mprotect(map.as_ptr().cast(), usable, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        }
        Ok(guarded)
    }

    fn fill(&self, values: &[u16]) {
        assert_eq!(values.len(), self.count, "made for these values");
        // SAFETY: `start` begins `count` writable values; it is aligned, being an even distance from a page's end.
        unsafe { self.start.copy_from_nonoverlapping(NonNull::from(values).cast(), self.count) };
    }

    fn to_vec(&self) -> Vec<u16> {
        // SAFETY: `start` begins `count` readable values, aligned, initialised (the kernel maps zeros), written by
        // nobody any more.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }.to_vec()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; the fields that point into it die with it.
        let _ = unsafe { munmap(self.map.as_ptr().cast(), self.map_bytes) };
    }
}

/// The state of one object; needs no read permission.
pub(crate) fn stat(id: c_int) -> Result<semid_ds, Errno> {
    stat_or_slot(id, |id| semctl_out(id, libc::IPC_STAT).map(|(_, state)| state), stat_any)
}

/// The id and state of the set in slot `index` of the kernel's table; needs no read permission.
pub(crate) fn stat_any(index: c_int) -> Result<(c_int, semid_ds), Errno> {
    semctl_out(index, libc::SEM_STAT_ANY)
}

/// The same for a set that the caller may read; else `EACCES`.
pub(crate) fn stat_readable(index: c_int) -> Result<(c_int, semid_ds), Errno> {
    semctl_out(index, libc::SEM_STAT)
}

pub(crate) fn set(id: c_int, state: &semid_ds) -> Result<(), Errno> {
    let mut state = *state;
    let argument = Argument { state: &raw mut state };
    // SAFETY: IPC_SET reads one semid_ds, which lives through the call.
    check(unsafe { libc::semctl(id, 0, libc::IPC_SET, argument) }).map(drop)
}

pub(crate) fn remove(id: c_int) -> Result<(), Errno> {
    // SAFETY: IPC_RMID takes no fourth argument.
    check(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }).map(drop)
}

/// The limits of this IPC namespace.
pub(crate) fn limits() -> Result<seminfo, Errno> {
    semctl_info(libc::IPC_INFO).map(|(_, info)| info)
}

/// The highest used slot, and what is in use: sets in `semusz`, semaphores in `semaem`.
pub(crate) fn usage() -> Result<(c_int, seminfo), Errno> {
    semctl_info(libc::SEM_INFO)
}

fn semctl_out(id: c_int, command: c_int) -> Result<(c_int, semid_ds), Errno> {
    let mut state = MaybeUninit::<semid_ds>::zeroed();
    let argument = Argument { state: state.as_mut_ptr() };
    // SAFETY: the commands given here (IPC_STAT, SEM_STAT, SEM_STAT_ANY) write one semid_ds, for which there is room.
    let answer = check(unsafe { libc::semctl(id, 0, command, argument) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((answer, unsafe { state.assume_init() }))
}

fn semctl_info(command: c_int) -> Result<(c_int, seminfo), Errno> {
    let mut info = MaybeUninit::<seminfo>::zeroed();
    let argument = Argument { info: info.as_mut_ptr() };
    // SAFETY: the commands given here (IPC_INFO, SEM_INFO) write one seminfo.
    let answer = check(unsafe { libc::semctl(0, 0, command, argument) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((answer, unsafe { info.assume_init() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel goes by the set's size, not by ours: too small a buffer is an error, never an overrun.
    #[test]
    fn a_set_larger_than_believed_is_efault() {
        let id = semget(libc::IPC_PRIVATE, 3, 0o600).unwrap();
        let (less, right, put) = (values(id, 2), values(id, 3), set_values(id, &[1, 2]));
        remove(id).unwrap();
        assert_eq!((less, right, put), (Err(Errno::FAULT), Ok(vec![0; 3]), Err(Errno::FAULT)));
    }

    /// `asm/sembuf.h` gives this size; a smaller struct would let the kernel write past it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_state_of_a_set_has_the_kernels_size() {
        assert_eq!((size_of::<semid_ds>(), size_of::<seminfo>()), (104, 40));
    }

    #[test]
    fn the_guard_begins_where_the_values_end() {
        for count in [1, 2, 2047, 2048, 2049, 32_000] {
            let guarded = Guarded::new(count).unwrap();
            let values: Vec<u16> = (0..count).map(|index| index as u16).collect();
            guarded.fill(&values);
            assert_eq!(guarded.to_vec(), values);
            let end = guarded.start.addr().get() + count * 2;
            assert_eq!(end + rustix::param::page_size(), guarded.map.addr().get() + guarded.map_bytes);
        }
    }
}
