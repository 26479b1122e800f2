//! Words of shared memory that say whether a process lives: the kernel changes them when it dies.
//!
//! Each holds the id of one thread of the process, and stands on that thread's robust list (`set_robust_list`). When
//! the thread ends, however it does, the kernel walks the list and sets [`DIED`] in every word that still holds the
//! thread's id. So anyone who maps the memory sees a death by one load, in any process namespace, and also if a forked
//! child still holds the dead one's sockets.
//!
//! The invariant: the list itself lies in memory of this process alone, so a peer that scribbles over shared memory
//! can spoil its words, never the list. The kernel finds a word at a fixed distance from its list entry: therefore each
//! word is mapped a second time, one page behind a private page that holds the entry at the same place.
//!
//! Source: `kernel/futex/core.c` (`exit_robust_list`, `handle_futex_death`) and the kernel's `Documentation/locking/robust-futex-ABI.rst`.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::process;
use crate::error::{Error, ErrorKind, Result};

/// Set by the kernel in the word of a dead thread (`FUTEX_OWNER_DIED`).
pub(crate) const DIED: u32 = 0x4000_0000;

/// A bit beside the thread's id that the kernel leaves alone (`FUTEX_WAITERS`).
pub(crate) const MARKED: u32 = 0x8000_0000;

/// How many words one process may hold. The kernel stops walking a list after 2048 entries.
const WORDS_MAX: usize = 1024;

/// What the kernel knows of a thread (`struct robust_list_head`); an entry is its first word alone.
#[repr(C)]
struct Head {
    next: AtomicUsize,
    /// From an entry to its word.
    word_offset: usize,
    /// The entry that is being put on the list or taken off it.
    pending: AtomicUsize,
}

/// The robust list of one thread, for words that say that it lives.
#[derive(Debug)]
pub(crate) struct Register {
    head: Box<Head>,
    thread: u32,
    generation: u32,
    /// What is on the list, first entry last. The list in memory is written from this and never read.
    held: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    words: Vec<Arc<Twin>>,
    /// The thread has ended, or is about to: nobody looks at its list any more.
    has_ended: bool,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head").finish_non_exhaustive()
    }
}

/// Ends the thread's registration when dropped, which must be on that thread.
pub(crate) struct Registration(Arc<Register>);

impl Register {
    /// Registers the calling thread, which must use no robust lock of the C library.
    ///
    /// # Errors
    /// `System` if the kernel has no robust lists.
    pub(crate) fn this_thread() -> Result<Registration> {
        let head = Box::new(Head { next: AtomicUsize::new(0), word_offset: page_size(), pending: AtomicUsize::new(0) });
        head.next.store(head.address(), Ordering::Relaxed);
        set_robust_list(ptr::from_ref(&*head))?;
        let (thread, generation) = (process::thread_id(), process::generation());
        Ok(Registration(Arc::new(Self { head, thread, generation, held: Mutex::default() })))
    }

    /// Sets a word from `expected` to this thread's id (and `mark`), from where it stays true until released;
    /// `None` if the word was not `expected`.
    ///
    /// The word lies `offset` bytes into the file, at a multiple of 8.
    ///
    /// # Errors
    /// `LimitReached` beyond 1024 words; `OutOfMemory`, or `System` if it cannot be mapped, or the thread has ended.
    pub(crate) fn hold(
        self: &Arc<Self>,
        file: BorrowedFd<'_>,
        offset: u64,
        expected: u32,
        mark: u32,
    ) -> Result<Option<Held>> {
        let twin = Arc::new(Twin::map(file, offset)?);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |kind| Error::new("say that this process lives", kind);
        if held.has_ended {
            return Err(refused(ErrorKind::System).because("the thread whose death would tell of ours has ended"));
        }
        if held.words.len() >= WORDS_MAX {
            return Err(
                refused(ErrorKind::LimitReached).because(format!("a process can be member of {WORDS_MAX} objects"))
            );
        }
        // Between the exchange and the entry's place on the list, `pending` tells the kernel. Release, here and below:
        // the kernel reads at the thread's death, on whatever processor, what was stored before in this order.
        self.head.pending.store(twin.entry_address(), Ordering::Release);
        let value = self.thread | mark;
        let taken = twin.word().compare_exchange(expected, value, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        super::step("alive:taken");
        if taken {
            twin.entry().store(self.head.next.load(Ordering::Relaxed), Ordering::Release);
            self.head.next.store(twin.entry_address(), Ordering::Release);
            held.words.push(Arc::clone(&twin));
        }
        self.head.pending.store(0, Ordering::Release);
        drop(held);
        Ok(taken.then(|| Held { register: Arc::clone(self), twin: Some(twin), mark }))
    }

    /// Takes `twin` off the list and sets its word to `value`, unless somebody else has changed it.
    fn release(&self, twin: &Arc<Twin>, mark: u32, value: u32) {
        let held = &mut self.held.lock().unwrap_or_else(PoisonError::into_inner).words;
        let Some(place) = held.iter().position(|other| Arc::ptr_eq(other, twin)) else { return };
        self.head.pending.store(twin.entry_address(), Ordering::Release);
        let after = match place {
            0 => self.head.address(),
            place => held[place - 1].entry_address(),
        };
        match held.get(place + 1) {
            Some(before) => before.entry().store(after, Ordering::Release),
            None => self.head.next.store(after, Ordering::Release),
        }
        super::step("alive:unlisted");
        // A peer that scribbles may have changed it; then it is not ours to change.
        let _ = twin.word().compare_exchange(self.thread | mark, value, Ordering::AcqRel, Ordering::Relaxed);
        self.head.pending.store(0, Ordering::Release);
        held.remove(place);
    }
}

impl Head {
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl Registration {
    pub(crate) fn register(&self) -> &Arc<Register> {
        &self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // What is still held is dead from now on, as the kernel would have it; then the kernel need not look.
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.has_ended = true;
        for twin in held.words.drain(..) {
            let mark = twin.word().load(Ordering::Relaxed) & MARKED;
            let ours = self.0.thread | mark;
            let _ = twin.word().compare_exchange(ours, DIED | mark, Ordering::AcqRel, Ordering::Relaxed);
        }
        drop(held);
        // A kernel that took a list takes none as well.
        let _ = set_robust_list(ptr::null());
    }
}

/// A word that says that this process lives; dropping it sets the word to 0.
#[derive(Debug)]
pub(crate) struct Held {
    register: Arc<Register>,
    twin: Option<Arc<Twin>>,
    mark: u32,
}

impl Held {
    /// Sets or takes away the mark, which must not be in the word otherwise.
    pub(crate) fn mark(&mut self) {
        if let Some(twin) = &self.twin
            && self.register.generation == process::generation()
        {
            let thread = self.register.thread;
            let (now, wanted) = (thread | self.mark, thread | MARKED);
            if twin.word().compare_exchange(now, wanted, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.mark = MARKED;
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(twin) = self.twin.take() else { return };
        // A forked child has a copy of the value, and the word is its parent's.
        if self.register.generation == process::generation() {
            self.register.release(&twin, self.mark, 0);
        }
    }
}

/// One private page with a list entry, and behind it the shared page with the word.
#[derive(Debug)]
struct Twin {
    start: NonNull<u8>,
    /// Of the entry in the first page, and of the word in the second.
    within: usize,
    page: usize,
}

// SAFETY: the memory is reached through atomics only, and unmapped by the last owner.
unsafe impl Send for Twin {}
// SAFETY: as for Send.
unsafe impl Sync for Twin {}

impl Twin {
    fn map(file: BorrowedFd<'_>, offset: u64) -> Result<Self> {
        let page = page_size();
        let refused = || {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            Error::system_refused("map a member's word", tieline_os::Error::from_errno("map memory", errno))
        };
        let within = usize::try_from(offset % page as u64).unwrap_or(0) & !7;
        let shared_from = offset - offset % page as u64;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), 2 * page, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        let Some(start) = NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED) else {
            return Err(refused());
        };
        let twin = Self { start, within, page };
        // SAFETY: one page into a mapping of two.
        let second = unsafe { start.as_ptr().add(page) };
        let from = libc::off_t::try_from(shared_from).unwrap_or(libc::off_t::MAX);
        // SAFETY: replaces the second page of the mapping made above, which nobody uses yet.
        let shared = unsafe {
            libc::mmap(second.cast(), page, access, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd(), from)
        };
        if shared == libc::MAP_FAILED { Err(refused()) } else { Ok(twin) }
    }

    fn entry_address(&self) -> usize {
        self.start.as_ptr().addr() + self.within
    }

    fn entry(&self) -> &AtomicUsize {
        // SAFETY: within the first page, which is private, writable and lives as long as `self`; `within` is a
        // multiple of 8 below the page's size.
        let entry = unsafe { self.start.as_ptr().add(self.within) };
        // SAFETY: as above; only ever used as this atomic.
        unsafe { AtomicUsize::from_ptr(entry.cast()) }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: within the second page, which lives as long as `self`.
        let word = unsafe { self.start.as_ptr().add(self.page + self.within) };
        // SAFETY: aligned, in a page of a sealed file that was checked to be long enough, and used as an atomic by all.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // SAFETY: made by `map`, and nobody has a reference any more: they borrow from `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), 2 * self.page) };
    }
}

fn page_size() -> usize {
    // SAFETY: no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

fn set_robust_list(head: *const Head) -> Result<()> {
    // SAFETY: null, or a head with the kernel's layout that lives, with all entries, until it is replaced by null on
    // the same thread (`Registration`).
    let answer = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    if answer == 0 {
        return Ok(());
    }
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).map_or(0, Errno::raw_os_error);
    Err(Error::system_refused("watch over the members", tieline_os::Error::from_errno("set the robust list", errno)))
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::segment::{HEADER_BYTES, Kind, Purpose, Segment};

    #[test]
    fn nobody_lives_by_the_list_of_a_thread_that_has_ended() {
        let segment = Segment::create(&Purpose { kind: Kind::Event, name: "alive", layout_hash: 0 }, 4096).unwrap();
        let word = segment.view::<AtomicU32>(0).unwrap();
        let at = HEADER_BYTES as u64;
        let (register, held) = std::thread::spawn({
            let segment = segment.share();
            move || {
                let registration = Register::this_thread().unwrap();
                let register = Arc::clone(registration.register());
                let held = register.hold(segment.as_fd(), at, 0, 0).unwrap().unwrap();
                (register, held)
            }
        })
        .join()
        .unwrap();
        assert_eq!(word.load(Ordering::Relaxed), DIED);
        let refused = register.hold(segment.as_fd(), at, DIED, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::System);
        drop(held);
        assert_eq!(word.load(Ordering::Relaxed), DIED);
    }
}
