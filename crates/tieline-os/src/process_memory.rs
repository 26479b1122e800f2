//! Reading and writing the memory of another process: one copy, no shared memory, no help from the other side.
//!
//! For debuggers and viewers, and for peers that tell each other addresses in a message and let the other fetch the
//! bytes. Nothing is atomic: while the process runs, a read may mix old and new bytes.
//!
//! # Why this is safe
//! Reading ends in the caller's own buffer, so it cannot break this process, whoever is read. Writing could, if the
//! memory written were our own. Three ways lead there, and none is open:
//! * *Our own process id*, or one of our threads: refused at open.
//! * *A process that shares our address space*, as a child does between `vfork` and `exec`: the kernel is asked at open
//!   whether the address spaces are the same (`kcmp`), and a process whose memory was once different from ours never
//!   comes to share it.
//! * *A number used again*: the process dies, and one of our own new threads gets its number just before the call.
//!   `process_vm_writev` takes a number and would hit us. So writes do not use it: they go through `/proc/PID/mem`,
//!   which is bound to the address space that was opened, whatever happens to the number.
//!
//! Reads use `process_vm_readv`, which is faster, by number; a [`PidFd`] tells after each read whether the number still
//! named the same process, and if not, nothing of it is believed.
//!
//! The invariant: bytes go to and come from the one process that was opened.
//!
//! See [process_vm_readv(2)](https://man7.org/linux/man-pages/man2/process_vm_readv.2.html),
//! [proc_pid_mem(5)](https://man7.org/linux/man-pages/man5/proc_pid_mem.5.html),
//! [ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html) on access modes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, ErrorKind, Result};
use crate::pidfd::PidFd;
use crate::sys;

pub(crate) const TRACE_HINT: &str = "this needs the right to trace the process: the same user and a process that \
     allows dumps (and kernel.yama.ptrace_scope 0), or CAP_SYS_PTRACE";

const READ: &str = "read the memory of process";
const WRITE: &str = "write the memory of process";
const OPEN: &str = "open the memory of process";

/// The memory of another process.
///
/// ```no_run
/// use tieline_os::process_memory::ProcessMemory;
/// # fn main() -> Result<(), tieline_os::Error> {
/// # let (pid, address) = (1, 0);
/// let memory = ProcessMemory::open(pid)?;
/// let mut header = [0; 64];
/// memory.read_exact(address, &mut header)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProcessMemory {
    process: PidFd,
    pid: Pid,
    /// `/proc/PID/mem`.
    memory: OwnedFd,
}

impl ProcessMemory {
    /// The most ranges one call takes (`IOV_MAX`).
    pub const MAX_RANGES: usize = 1024;

    /// Opens the memory of the process that has the number `pid` now.
    ///
    /// It stays with the program that runs now: after an `exec` reads answer with the new program's memory, writes
    /// with `NotFound`.
    ///
    /// # Errors
    /// `NotFound` if there is no such process or it has ended; `PermissionDenied` without the right to trace it;
    /// `InvalidInput` for this process, its threads, and processes that share its memory; `Unsupported` if the kernel
    /// cannot compare address spaces (`CONFIG_KCMP`) or `/proc` does not show the process.
    #[doc(alias = "kcmp")]
    pub fn open(pid: u32) -> Result<Self> {
        let process = PidFd::open(pid)?;
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Err(Error::invalid(OPEN, format!("{pid} is no process number")));
        };
        check_foreign(number)?;
        let memory = open_mem(&process, number)?;
        // All of the above went by number. If the process still lives, the number meant it all along.
        if process.has_ended()? {
            return Err(gone(OPEN, number));
        }
        Ok(Self { process, pid: number, memory })
    }

    /// Copies from `address` over there into `buffer`; returns how many bytes came, at least one of a non-empty buffer.
    ///
    /// Fewer come if a page on the way is not readable.
    ///
    /// # Errors
    /// `InvalidInput` (`EFAULT`) if the first page is not readable; `NotFound` if the process has ended;
    /// `PermissionDenied` if it has changed its user since.
    #[doc(alias = "process_vm_readv")]
    pub fn read(&self, address: usize, buffer: &mut [u8]) -> Result<usize> {
        self.read_ranges(&mut [(address, buffer)])
    }

    /// Fills `buffer` from `address` on, or fails.
    ///
    /// # Errors
    /// As [`read`](Self::read); `InvalidInput` if only a part is readable, and then `buffer` holds that part.
    pub fn read_exact(&self, address: usize, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len();
        let mut done = 0;
        while done < len {
            let from = address.checked_add(done).ok_or_else(|| self.fault(READ, address))?;
            done += self.read(from, &mut buffer[done..])?;
        }
        Ok(())
    }

    /// Fills several buffers, each from an address of its own, in order and in one call.
    ///
    /// Stops at the first page that is not readable; the count tells how far it came, over all ranges.
    ///
    /// # Errors
    /// As [`read`](Self::read); `InvalidInput` for more than [`MAX_RANGES`](Self::MAX_RANGES) ranges.
    pub fn read_ranges(&self, ranges: &mut [(usize, &mut [u8])]) -> Result<usize> {
        self.check_count(READ, ranges.len())?;
        let answer = sys::process_memory::read(self.pid, ranges);
        if self.process.has_ended()? {
            return Err(gone(READ, self.pid));
        }
        answer.map_err(|errno| self.explain(READ, errno, ranges.first().map_or(0, |range| range.0)))
    }

    /// Copies `bytes` to `address` over there; returns how many were written, at least one of a non-empty slice.
    ///
    /// As for a debugger, a private page over there is written even if the process itself may only read it (unless
    /// `proc_mem.force_override` forbids), and from then on differs from the file it came from. A read-only shared
    /// page is not.
    ///
    /// # Errors
    /// `InvalidInput` (`EFAULT`) if the first page is not mapped or cannot be written; `NotFound` if the process has
    /// ended or executed another program; `PermissionDenied`.
    #[doc(alias = "process_vm_writev")]
    pub fn write(&self, address: usize, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            return match rustix::io::pwrite(&self.memory, bytes, address as u64) {
                Ok(0) => Err(gone(WRITE, self.pid)),
                Ok(count) => Ok(count),
                Err(Errno::INTR) => continue,
                // What process_vm_writev calls EFAULT, /proc/PID/mem calls EIO.
                Err(Errno::IO | Errno::FAULT) if self.process.has_ended()? => Err(gone(WRITE, self.pid)),
                Err(Errno::IO) => Err(self.fault(WRITE, address)),
                Err(errno) => Err(self.explain(WRITE, errno, address)),
            };
        }
    }

    /// Writes several slices, each to an address of its own, in order.
    ///
    /// Stops at the first page that cannot be written; the count tells how far it came, over all ranges.
    ///
    /// # Errors
    /// As [`write`](Self::write) if nothing was written; `InvalidInput` for more than
    /// [`MAX_RANGES`](Self::MAX_RANGES) ranges.
    pub fn write_ranges(&self, ranges: &[(usize, &[u8])]) -> Result<usize> {
        self.check_count(WRITE, ranges.len())?;
        let mut total = 0;
        for &(address, bytes) in ranges {
            match self.write(address, bytes) {
                Ok(count) if count < bytes.len() => return Ok(total + count),
                Ok(count) => total += count,
                Err(error) if total == 0 => return Err(error),
                Err(_) => return Ok(total),
            }
        }
        Ok(total)
    }

    /// The process whose memory this is.
    #[must_use]
    pub fn process(&self) -> &PidFd {
        &self.process
    }

    fn check_count(&self, operation: &'static str, count: usize) -> Result<()> {
        if count <= Self::MAX_RANGES {
            return Ok(());
        }
        Err(Error::invalid(operation, format!("{count} ranges; one call takes {}", Self::MAX_RANGES))
            .on(self.pid.as_raw_nonzero()))
    }

    fn explain(&self, operation: &'static str, errno: Errno, address: usize) -> Error {
        match errno {
            Errno::FAULT => self.fault(operation, address),
            Errno::SRCH => gone(operation, self.pid),
            Errno::PERM | Errno::ACCESS => Error::new(operation, errno).on(self.pid.as_raw_nonzero()).hint(TRACE_HINT),
            _ => Error::new(operation, errno).on(self.pid.as_raw_nonzero()),
        }
    }

    fn fault(&self, operation: &'static str, address: usize) -> Error {
        Error::new(operation, Errno::FAULT)
            .on(self.pid.as_raw_nonzero())
            .hint(format!("the page of {address:#x} is not there, or not open to this"))
    }
}

fn gone(operation: &'static str, pid: Pid) -> Error {
    Error::new(operation, Errno::SRCH).on(pid.as_raw_nonzero()).hint("it has ended, or executed another program")
}

/// Refuses a process that runs in our own address space. Must come before the memory is opened: what is foreign now
/// stays foreign, while what is ours now (a child before its `exec`) may look foreign a moment later.
fn check_foreign(pid: Pid) -> Result<()> {
    let error = |errno| Error::new(OPEN, errno).on(pid.as_raw_nonzero());
    match sys::pidfd::shares_our_memory(pid) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::invalid(OPEN, "that is this process's own memory").on(pid.as_raw_nonzero())),
        Err(Errno::NOSYS) => Err(error(Errno::NOSYS).hint("the kernel cannot compare address spaces (CONFIG_KCMP)")),
        Err(Errno::PERM) => Err(error(Errno::PERM).hint(TRACE_HINT)),
        Err(errno) => Err(error(errno)),
    }
}

/// Opens `/proc/PID/mem`, by the number the process has in the mounted `/proc`, which may be another pid namespace's.
fn open_mem(process: &PidFd, pid: Pid) -> Result<OwnedFd> {
    let Some(number) = process.pid()? else {
        let why = "/proc does not show the process; it must be the one of this pid namespace";
        return Err(Error::of_kind(OPEN, ErrorKind::Unsupported, why).on(pid.as_raw_nonzero()));
    };
    let path = format!("/proc/{number}/mem");
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => gone(OPEN, pid),
        Errno::ACCESS | Errno::PERM => Error::new(OPEN, errno).on(pid.as_raw_nonzero()).hint(TRACE_HINT),
        _ => Error::new(OPEN, errno).on(pid.as_raw_nonzero()),
    })
}

impl AsFd for ProcessMemory {
    /// The process, to wait for its end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}
