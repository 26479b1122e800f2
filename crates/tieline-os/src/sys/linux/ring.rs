//! The I/O ring's unsafe half: which memory the kernel may touch, and until when.
//!
//! The one invariant, to which every argument below refers: **an operation the kernel has taken owns what it uses** (its
//! buffer, its descriptors, its memory), in a slot of [`RawRing`], and the slot is emptied only when the kernel has
//! posted the operation's completion. A ring that is dropped first cancels and waits; what does not come back in time
//! is leaked, never freed.
//!
//! A forked child shares the queues, but not the memory that entries in them point to, nor our knowledge of what is in
//! flight. If it touched them, the kernel would write to the child's addresses in the parent, or the parent would take
//! back a buffer the kernel still uses. So every function here that looks at a queue refuses in a child (`EBADF`).
//!
//! Moving a slot is allowed: the kernel holds addresses of heap memory and descriptor numbers, none of them inside the
//! slot itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem, ops, ptr};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::birthplace::Birthplace;
use crate::region::Region;
use crate::wait::{Wait, wait_for};

/// What an operation works on, kept open until it is complete.
pub(crate) type Source = Arc<dyn AsFd + Send + Sync>;
/// Memory that holds a futex, kept mapped until the operation is complete.
pub(crate) type Memory = Arc<dyn ops::Deref<Target = Region> + Send + Sync>;

/// "At the file's own position", as the kernel spells it.
pub(crate) const CURRENT_POSITION: u64 = u64::MAX;
/// The most bytes the kernel moves in one read or write (`MAX_RW_COUNT`).
const MAX_BYTES: u32 = 0x7fff_f000;
/// How long a dropped ring waits for operations that are cancelled but not yet back.
const DROP_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits between two attempts.
const DROP_STEP: Duration = Duration::from_millis(20);
/// User data of our own requests to cancel; no slot has this index.
const CANCEL: u64 = u64::MAX;

/// An operation with everything it uses.
pub(crate) enum Request {
    Read { source: Source, buffer: Vec<u8>, position: u64 },
    Write { source: Source, buffer: Vec<u8>, position: u64 },
    Receive { source: Source, buffer: Vec<u8> },
    Send { source: Source, buffer: Vec<u8> },
    Accept { source: Source },
    Splice { from: Source, to: Source, len: u32 },
    Poll { source: Source, events: u32 },
    FutexWait { memory: Memory, offset: usize, expected: u32 },
}

/// An operation that is over: what it owned, and the kernel's answer.
pub(crate) struct Done {
    pub(crate) ticket: u64,
    pub(crate) token: u64,
    pub(crate) request: Request,
    pub(crate) answer: Result<u32, Errno>,
    /// The descriptor an accept made.
    pub(crate) descriptor: Option<OwnedFd>,
}

struct Slot {
    token: u64,
    generation: u32,
    /// How many entries were pushed before this one; tells whether the kernel has seen it.
    position: u64,
    request: Request,
}

pub(crate) struct RawRing {
    ring: IoUring,
    birthplace: Birthplace,
    /// By index, which is the lower half of the user data.
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// The upper half of the user data, so that a late cancel does not hit the slot's next tenant.
    generation: u32,
    pushed: u64,
    in_flight: usize,
    limit: usize,
}

impl RawRing {
    /// A ring of `entries`; `ENOSYS` also if the kernel lacks what this file relies on.
    pub(crate) fn new(entries: u32) -> Result<Self, Errno> {
        let birthplace = Birthplace::here()?;
        let ring = IoUring::builder().build(entries).map_err(|error| errno(&error))?;
        let params = ring.params();
        // Completions must never be dropped, and waits need a timeout: Linux 5.11.
        if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
            return Err(Errno::NOSYS);
        }
        let limit = params.cq_entries() as usize;
        let (slots, free) = (Vec::new(), Vec::new());
        Ok(Self { ring, birthplace, slots, free, generation: 0, pushed: 0, in_flight: 0, limit })
    }

    /// Refuses in a forked child of the process that made the ring.
    pub(crate) fn check_process(&self) -> Result<(), Errno> {
        if self.birthplace.is_here() { Ok(()) } else { Err(Errno::BADF) }
    }

    /// Which operations the kernel has, by number.
    pub(crate) fn probe(&self) -> Result<Probe, Errno> {
        let mut probe = Probe::new();
        self.ring.submitter().register_probe(&mut probe).map_err(|error| errno(&error))?;
        Ok(probe)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The most operations in flight: as many as completions have room for, so that none ever overflows.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many entries wait for the kernel to take them.
    pub(crate) fn queued(&mut self) -> usize {
        if self.birthplace.is_here() { self.ring.submission().len() } else { 0 }
    }

    /// Whether the kernel keeps completions aside until somebody enters it.
    pub(crate) fn overflowed(&mut self) -> bool {
        self.birthplace.is_here() && self.ring.submission().cq_overflow()
    }

    /// Queues a request and returns its ticket; gives it back if too many are in flight (`EAGAIN`), the kernel does
    /// not empty a full queue, or the ring is a parent's.
    pub(crate) fn push(&mut self, mut request: Request, token: u64) -> Result<u64, (Errno, Request)> {
        if let Err(errno) = self.check_process() {
            return Err((errno, request));
        }
        if self.in_flight == self.limit {
            return Err((Errno::AGAIN, request));
        }
        if let Err(errno) = self.make_room() {
            return Err((errno, request));
        }
        let entry = entry_of(&mut request);
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // At most `limit` slots exist, and that fits the kernel's 32 bits.
            (self.slots.len() - 1) as u32
        });
        self.generation = self.generation.wrapping_add(1);
        let ticket = u64::from(self.generation) << 32 | u64::from(index);
        let slot = Slot { token, generation: self.generation, position: self.pushed, request };
        self.slots[index as usize] = Some(slot);
        self.in_flight += 1;
        self.push_entry(&entry.user_data(ticket));
        Ok(ticket)
    }

    /// Queues a request to cancel the operation of `ticket`; false if it is not in flight any more.
    pub(crate) fn cancel(&mut self, ticket: u64) -> Result<bool, Errno> {
        self.check_process()?;
        if !self.holds(ticket) {
            return Ok(false);
        }
        self.make_room()?;
        self.push_entry(&opcode::AsyncCancel::new(ticket).build().user_data(CANCEL));
        Ok(true)
    }

    /// Hands the queue to the kernel and waits for `want` completions, for at most `timeout` (`ETIME`).
    pub(crate) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> Result<usize, Errno> {
        self.check_process()?;
        let submitter = self.ring.submitter();
        let answer = match timeout {
            None => submitter.submit_and_wait(want),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
            }
        };
        answer.map_err(|error| errno(&error))
    }

    /// Takes one finished operation, without entering the kernel.
    pub(crate) fn reap(&mut self) -> Option<Done> {
        if !self.birthplace.is_here() {
            return None;
        }
        loop {
            let entry = self.ring.completion().next()?;
            let ticket = entry.user_data();
            if !self.holds(ticket) {
                // The answer to a request to cancel.
                continue;
            }
            let index = ticket as u32;
            let slot = self.slots[index as usize].take().expect("held, as just asked");
            self.free.push(index);
            self.in_flight -= 1;
            let answer = match entry.result() {
                result @ 0.. => Ok(result.cast_unsigned()),
                negative => Err(Errno::from_raw_os_error(-negative)),
            };
            let descriptor = match (&slot.request, answer) {
                // SAFETY: the kernel has just made this descriptor for us and told nobody else its number.
                (Request::Accept { .. }, Ok(number)) => Some(unsafe { OwnedFd::from_raw_fd(number.cast_signed()) }),
                _ => None,
            };
            return Some(Done { ticket, token: slot.token, request: slot.request, answer, descriptor });
        }
    }

    /// Whether the operation of `ticket` is in flight.
    fn holds(&self, ticket: u64) -> bool {
        let (index, generation) = (ticket as u32 as usize, (ticket >> 32) as u32);
        matches!(self.slots.get(index), Some(Some(slot)) if slot.generation == generation)
    }

    fn make_room(&mut self) -> Result<(), Errno> {
        while self.ring.submission().is_full() {
            match self.enter(0, None) {
                Ok(0) => return Err(Errno::AGAIN),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        // SAFETY: the entry is either a cancel, which refers to no memory, or was made by `entry_of` from a request that
        // lies in a slot now. By the invariant of this file everything it points to stays valid, and untouched by us,
        // until the kernel has posted its completion, or for ever.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("make_room came first");
        self.pushed += 1;
    }

    /// How many operations the kernel has taken (those pushed before position `seen`) and not given back.
    fn with_kernel(&self, seen: u64) -> usize {
        self.slots.iter().flatten().filter(|slot| slot.position < seen).count()
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        if !self.birthplace.is_here() {
            // The kernel works in the parent's memory, and the parent waits for it; ours is only a copy.
            return;
        }
        // What is still queued was never seen by the kernel, and nothing below submits it.
        let seen = self.pushed - self.queued() as u64;
        let deadline = Instant::now() + DROP_PATIENCE;
        while self.with_kernel(seen) != 0 && Instant::now() < deadline {
            // Its answer tells nothing that the completions do not tell better.
            let step = Some(Timespec::from(DROP_STEP));
            let _ = self.ring.submitter().register_sync_cancel(step, CancelBuilder::any());
            while self.reap().is_some() {}
            if self.with_kernel(seen) != 0 {
                let _ = wait_for(&*self, PollFlags::IN, Wait::timeout(DROP_STEP));
            }
        }
        for slot in self.slots.drain(..).flatten() {
            if slot.position < seen {
                // The kernel may write to it at any time, even after the ring is closed.
                mem::forget(slot);
            }
        }
    }
}

impl AsFd for RawRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's, which keeps it open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

/// The kernel's form of a request. Addresses in it are of memory the request owns outside of itself, so that the
/// request may move afterwards.
fn entry_of(request: &mut Request) -> squeue::Entry {
    match request {
        Request::Read { source, buffer, position } => {
            opcode::Read::new(fd(source), buffer.as_mut_ptr(), len(buffer)).offset(*position).build()
        }
        Request::Write { source, buffer, position } => {
            opcode::Write::new(fd(source), buffer.as_ptr(), len(buffer)).offset(*position).build()
        }
        Request::Receive { source, buffer } => opcode::Recv::new(fd(source), buffer.as_mut_ptr(), len(buffer)).build(),
        Request::Send { source, buffer } => {
            opcode::Send::new(fd(source), buffer.as_ptr(), len(buffer)).flags(libc::MSG_NOSIGNAL).build()
        }
        Request::Accept { source } => {
            opcode::Accept::new(fd(source), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
        }
        Request::Splice { from, to, len } => opcode::Splice::new(fd(from), -1, fd(to), -1, *len).build(),
        Request::Poll { source, events } => opcode::PollAdd::new(fd(source), *events).build(),
        Request::FutexWait { memory, offset, expected } => {
            const ANY_WAKER: u64 = u32::MAX as u64;
            // FUTEX2_SIZE_U32 without FUTEX2_PRIVATE.
            const SHARED_WORD: u32 = 2;
            let region: &Region = memory;
            // The kernel only reads the word, once, so this works on read-only memory too.
            let word = region.raw().atomic_u32(*offset).as_ptr();
            opcode::FutexWait::new(word, u64::from(*expected), ANY_WAKER, SHARED_WORD).build()
        }
    }
}

/// The number of a descriptor. It stays open for as long as the source is borrowed, and a slot's shared ownership is a
/// borrow of it that nobody can end.
fn fd(source: &Source) -> Fd {
    Fd(source.as_fd().as_raw_fd())
}

fn len(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(MAX_BYTES)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::ring::{Action, Operation, Ring};
    use crate::sys::region::RawRegion;

    /// One page mapped shared, which unmaps itself.
    struct Page(Region);

    impl Page {
        fn new() -> Self {
            let flags = (rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE, rustix::mm::MapFlags::SHARED);
            // SAFETY: an anonymous mapping at an address of the kernel's choice replaces nothing.
            let page = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), 4096, flags.0, flags.1) };
            let start = ptr::NonNull::new(page.expect("a page").cast()).expect("not null");
            // SAFETY: the page is mapped readable and writable until drop, and no Rust variable.
            Self(Region::new(unsafe { RawRegion::new(start, 4096) }, true))
        }
    }

    impl ops::Deref for Page {
        type Target = Region;
        fn deref(&self) -> &Region {
            &self.0
        }
    }

    impl Drop for Page {
        fn drop(&mut self) {
            // SAFETY: mapped by `new`; the region goes with self.
            unsafe { rustix::mm::munmap(self.0.as_ptr().cast_mut().cast(), 4096) }.expect("mapped");
        }
    }

    fn wake(page: &Page, offset: usize) -> usize {
        let word = page.atomic_u32(offset).expect("within the page");
        rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), 1).expect("woken")
    }

    /// A ring waits for a futex word in shared memory, keeps the memory while it does, and tells a changed value.
    #[test]
    fn a_futex_wait_ends_by_a_wake_and_by_a_changed_value() {
        let mut ring = match Ring::new(4) {
            Ok(ring) if ring.supports(Action::FutexWait) => ring,
            _ => tieline_testkit::skip!("no ring with futex waits here"),
        };
        let page = Arc::new(Page::new());
        ring.push(Operation::futex_wait(Arc::clone(&page), 8, 0).expect("a word"), 1).expect("room");
        ring.submit().expect("submitted");
        assert!(ring.try_wait().expect_err("nobody woke").is_would_block());
        assert_eq!(Arc::strong_count(&page), 2, "the operation holds the memory");
        tieline_testkit::eventually("a waiter is woken", || wake(&page, 8) == 1);
        let done = ring.wait().expect("complete");
        assert_eq!((done.token, done.result.expect("woken")), (1, 0));
        assert_eq!(Arc::strong_count(&page), 1);

        ring.push(Operation::futex_wait(Arc::clone(&page), 8, 77).expect("a word"), 2).expect("room");
        let refused = ring.wait().expect("complete").result.expect_err("the value differs");
        assert!(refused.is_would_block());
        assert!(Operation::futex_wait(Arc::clone(&page), 4096, 0).is_err(), "one past the page");
        assert!(Operation::futex_wait(page, 2, 0).is_err(), "not aligned");
    }

    /// A futex wait in flight when the ring is dropped does not outlive it.
    #[test]
    fn dropping_the_ring_gives_the_memory_back() {
        let mut ring = match Ring::new(4) {
            Ok(ring) if ring.supports(Action::FutexWait) => ring,
            _ => tieline_testkit::skip!("no ring with futex waits here"),
        };
        let page = Arc::new(Page::new());
        ring.push(Operation::futex_wait(Arc::clone(&page), 0, 0).expect("a word"), 1).expect("room");
        ring.submit().expect("submitted");
        drop(ring);
        assert_eq!(Arc::strong_count(&page), 1);
        assert_eq!(wake(&page, 0), 0, "nobody waits any more");
    }

    /// A thread whose `io_uring_setup` is answered with `errno` by a seccomp filter; the filter ends with the thread.
    fn without_rings<T: Send + 'static>(errno: i32, run: impl FnOnce() -> T + Send + 'static) -> T {
        let load = |at| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: at };
        let ret = |answer| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: answer };
        let skip_unless = |number: i64| libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: number as u32 };
        let answer = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
        let mut filter = [load(0), skip_unless(libc::SYS_io_uring_setup), ret(answer), ret(libc::SECCOMP_RET_ALLOW)];
        let thread = std::thread::spawn(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            // SAFETY: integers only; affects this thread alone.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
            // SAFETY: the kernel copies the program, which lives to the end of this block; this thread alone is filtered.
            let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
            run()
        });
        thread.join().expect("the filtered thread")
    }

    /// A kernel without rings, and one that forbids them, both answer "unsupported" and say which it is.
    #[test]
    fn a_missing_or_forbidden_ring_is_unsupported() {
        let missing = without_rings(libc::ENOSYS, || Ring::new(8).expect_err("filtered"));
        assert_eq!((missing.kind(), missing.errno()), (ErrorKind::Unsupported, Some(libc::ENOSYS)));
        assert!(missing.to_string().contains("5.11"), "{missing}");
        let forbidden = without_rings(libc::EPERM, || Ring::new(8).expect_err("filtered"));
        assert_eq!((forbidden.kind(), forbidden.errno()), (ErrorKind::Unsupported, Some(libc::EPERM)));
        assert!(forbidden.to_string().contains("kernel.io_uring_disabled"), "{forbidden}");
    }
}
