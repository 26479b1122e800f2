//! This thread's list of what it owns, which the kernel walks when the thread ends.
//!
//! The kernel knows one list for each thread, and the C library has registered it for its own robust mutexes. We share
//! that list, and share it so that neither disturbs the other: between two *sentinels* in memory of our own stands our
//! part of it. The C library inserts at the front, before our first sentinel, and when it removes its entries it writes
//! to its neighbours: other entries of its own, the head, or our sentinels, which have its shape. It never meets an
//! entry of ours, and we never meet one of its. What stands between the sentinels, and in which order, we remember in
//! a private table, so no pointer is ever read from shared memory: the links that lie there are written for the kernel.
//!
//! ```text
//! head -> (C library's, newer) -> first sentinel -> our words, newest first -> last sentinel -> (older) -> head
//! ```

use std::cell::Cell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};

use super::list::{Head, inheriting, registered_head, set_next, set_prev, unsupported, untagged};
use super::{OWNER, OWNER_DIED, RobustWord, Watched};
use crate::error::Result;

/// How many words a thread can own at a time. The kernel stops after 2,048 entries of a list, so that it cannot be
/// kept busy for ever; the C library's robust mutexes and our sentinels count there as well.
pub(crate) const HELD_MAX: usize = 1024;

/// The calling thread as the owner of words. Cheap to ask for; not to be sent to another thread.
#[derive(Clone, Copy)]
pub(crate) struct Thread(&'static Block);

/// What a thread needs to own words; used again by another thread when this one has ended, never freed.
#[repr(C)]
struct Block {
    head: Cell<*mut Head>,
    /// From a word to its entry in the list.
    entry_offset: Cell<isize>,
    id: Cell<u32>,
    held_count: Cell<usize>,
    first: RobustWord,
    /// Its state is the thread's id: the kernel marks it when it has walked past all that is ours, and then the block
    /// is free.
    last: RobustWord,
    /// The last sentinel's entry, and then, oldest first, those that stand in the list before it, as they stand there
    /// (the lowest bit tells of inheritance).
    held: [Cell<*mut u8>; HELD_MAX + 1],
    /// All blocks of the process, newest first.
    older: AtomicPtr<Block>,
}

thread_local! {
    /// No destructor, so it can be used as long as the thread runs any code at all.
    static BLOCK: Cell<*const Block> = const { Cell::new(ptr::null()) };
}

static BLOCKS: AtomicPtr<Block> = AtomicPtr::new(ptr::null_mut());

impl Thread {
    /// The calling thread.
    ///
    /// # Errors
    /// `Unsupported`: the C library keeps its list in a way we do not know, or the kernel has no robust lists.
    #[inline]
    pub(crate) fn current() -> Result<Self> {
        let block = BLOCK.get();
        if block.is_null() {
            return Self::register();
        }
        // SAFETY: blocks are never freed, and BLOCK holds one that this thread has claimed.
        Ok(Self(unsafe { &*block }))
    }

    /// The calling thread, if it has asked for itself before.
    #[inline]
    pub(crate) fn known() -> Option<Self> {
        // SAFETY: as in `current`; null before the thread has claimed one.
        unsafe { BLOCK.get().as_ref() }.map(Self)
    }

    /// Whether this is the calling thread: not if it is that of the parent of this process.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        ptr::eq(BLOCK.get(), self.0)
    }

    /// The kernel's number of this thread, in its own pid namespace.
    #[inline]
    pub(crate) fn id(self) -> u32 {
        self.0.id.get()
    }

    /// Whether this thread owns `word`: not what the word says, which a stranger may have written, but what we did.
    pub(crate) fn holds<W: Watched>(self, word: &W) -> bool {
        self.place_of(self.entry(word)).is_some()
    }

    /// Whether one word more can be owned.
    #[inline]
    pub(crate) fn has_room(self) -> bool {
        self.0.held_count.get() < HELD_MAX
    }

    /// Announces that `word` is about to be taken, slept on or given back.
    #[inline]
    pub(crate) fn begin<W: Watched>(self, word: &W) {
        self.set_pending(self.entry(word));
    }

    /// As [`begin`](Self::begin), for a word that the kernel's priority-inheriting lock lives in.
    #[inline]
    pub(crate) fn begin_inheriting<W: Watched>(self, word: &W) {
        self.set_pending(inheriting(self.entry(word)));
    }

    /// Announces that somebody will be woken on `word`'s `turn`: if we die first, and its futex has no owner bits, the
    /// kernel wakes one.
    #[inline]
    pub(crate) fn begin_turn(self, word: &RobustWord) {
        let turn = ptr::from_ref(&word.turn).cast::<u8>().cast_mut();
        self.set_pending(turn.wrapping_offset(self.0.entry_offset.get()));
    }

    /// What was announced is over: taken and linked, given back and woken, or given up.
    #[inline]
    pub(crate) fn end(self) {
        self.set_pending(ptr::null_mut());
    }

    /// Puts `word`, which this thread has just taken, into the list. There must be [room](Self::has_room).
    #[inline]
    pub(crate) fn link<W: Watched>(self, word: &W) {
        self.insert(self.entry(word));
    }

    /// As [`link`](Self::link), for a word that the kernel's priority-inheriting lock lives in.
    #[inline]
    pub(crate) fn link_inheriting<W: Watched>(self, word: &W) {
        self.insert(inheriting(self.entry(word)));
    }

    /// Takes `word` out of the list, and says whether it was there: if not, this thread does not own it (a guard that
    /// was inherited by `fork` is dropped).
    #[inline]
    pub(crate) fn unlink<W: Watched>(self, word: &W) -> bool {
        let block = self.0;
        let entry = self.entry(word);
        let count = block.held_count.get();
        // Locks are mostly given back in the reverse order. With nothing held this is the sentinel, no word's entry.
        if untagged(block.held[count].get()) != entry {
            return self.unlink_older(entry);
        }
        // SAFETY: a sentinel of ours.
        unsafe { set_next(block.first_entry(), block.held[count - 1].get()) };
        block.held_count.set(count - 1);
        true
    }

    #[cold]
    fn unlink_older(self, entry: *mut u8) -> bool {
        let block = self.0;
        let Some(place) = self.place_of(entry) else { return false };
        let count = block.held_count.get();
        let newer = if place == count { block.first_entry() } else { untagged(block.held[place + 1].get()) };
        // SAFETY: the first sentinel, or a word that this thread owns, whose memory the owner keeps mapped.
        unsafe { set_next(newer, block.held[place - 1].get()) };
        for moved in place..count {
            block.held[moved].set(block.held[moved + 1].get());
        }
        block.held_count.set(count - 1);
        true
    }

    #[inline]
    fn insert(self, tagged: *mut u8) {
        let block = self.0;
        let count = block.held_count.get();
        let older = block.held[count].get();
        block.held[count + 1].set(tagged);
        block.held_count.set(count + 1);
        // The entry is complete before the list leads to it: a death in between finds it pending.
        // SAFETY: a word that this thread has just taken; the caller keeps its memory mapped.
        unsafe { set_next(untagged(tagged), older) };
        // SAFETY: a sentinel of ours.
        unsafe { set_next(block.first_entry(), tagged) };
    }

    #[inline]
    fn entry<W: Watched>(self, word: &W) -> *mut u8 {
        ptr::from_ref(word).cast::<u8>().cast_mut().wrapping_offset(self.0.entry_offset.get())
    }

    fn place_of(self, entry: *mut u8) -> Option<usize> {
        let held = &self.0.held[..=self.0.held_count.get()];
        // The sentinel at 0 is no word's entry.
        held.iter().rposition(|other| untagged(other.get()) == entry)
    }

    #[inline]
    fn set_pending(self, entry: *mut u8) {
        // The kernel reads this when the thread is dead: only the compiler must keep the order.
        compiler_fence(Ordering::SeqCst);
        let head = self.0.head.get();
        // SAFETY: the head that the C library registered for this thread; it lives as long as the thread runs.
        let pending = unsafe { &raw mut (*head).pending };
        // SAFETY: as above; the thread itself is the only one that writes it.
        unsafe { pending.write_volatile(entry) };
        compiler_fence(Ordering::SeqCst);
    }

    #[cold]
    fn register() -> Result<Self> {
        watch_forks();
        let head = registered_head()?;
        // SAFETY: the kernel says that this is the calling thread's list head.
        let futex_offset = unsafe { (*head).futex_offset };
        let entry_offset = futex_offset.checked_neg().unwrap_or(0);
        if !matches!(entry_offset, 28 | 32) || cfg!(target_endian = "big") || size_of::<usize>() != 8 {
            return Err(unsupported("the C library's list of held locks has a shape that is not known"));
        }
        let id = crate::raw::process::thread_id();
        let block = Block::claim(id);
        block.head.set(head);
        block.entry_offset.set(entry_offset);
        block.id.set(id);
        block.held_count.set(0);
        block.held[0].set(block.last_entry());
        block.enter_list();
        BLOCK.set(block);
        Ok(Self(block))
    }
}

/// Whether the owner that `word` names is a thread of this process: then the lock's memory must stay mapped, although
/// its handle is dropped (a guard was forgotten).
pub(crate) fn is_held_here(word: u32) -> bool {
    let owner = word & OWNER;
    if owner == 0 {
        return false;
    }
    let number = |id: u32| libc::c_long::from(id);
    let (process, thread) = (number(std::process::id()), number(owner));
    // SAFETY: signal 0 only asks whether the thread exists in this process.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, number(0)) == 0 }
}

impl Block {
    /// A block whose thread has ended, or else a new one.
    fn claim(id: u32) -> &'static Self {
        let mut next = BLOCKS.load(Ordering::Acquire);
        // SAFETY: blocks are never freed; null ends the list.
        while let Some(block) = unsafe { next.as_ref() } {
            let dead = u64::from(OWNER_DIED);
            // Acquire: the thread before has ended, and what it wrote here is seen.
            if block.last.state.compare_exchange(dead, id.into(), Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return block;
            }
            next = block.older.load(Ordering::Acquire);
        }
        let block: &'static Self = Box::leak(Box::new(Self {
            head: Cell::new(ptr::null_mut()),
            entry_offset: Cell::new(0),
            id: Cell::new(id),
            held_count: Cell::new(0),
            first: RobustWord::new(),
            last: RobustWord::new(),
            held: [const { Cell::new(ptr::null_mut()) }; HELD_MAX + 1],
            older: AtomicPtr::new(ptr::null_mut()),
        }));
        block.last.state.store(id.into(), Ordering::Relaxed);
        let mut newest = BLOCKS.load(Ordering::Relaxed);
        loop {
            block.older.store(newest, Ordering::Relaxed);
            // Release: pairs with the loads above, so that who finds the block finds it filled.
            let this = ptr::from_ref(block).cast_mut();
            match BLOCKS.compare_exchange_weak(newest, this, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return block,
                Err(other) => newest = other,
            }
        }
    }

    /// Puts both sentinels at the front of the list. Nothing of ours is held yet, so a death meanwhile loses nothing.
    fn enter_list(&self) {
        let head = self.head.get();
        // SAFETY: this thread's head, see `register`.
        let older = unsafe { (*head).list };
        let (first, last) = (self.first_entry(), self.last_entry());
        // SAFETY: our own sentinels, entries of full size.
        unsafe { set_next(last, older) };
        // SAFETY: as above.
        unsafe { set_next(first, last) };
        // SAFETY: as above.
        unsafe { set_prev(last, first) };
        // SAFETY: as above; the head stands where an entry before the first would.
        unsafe { set_prev(first, head.cast()) };
        let neighbour = untagged(older);
        if neighbour != head.cast() {
            // SAFETY: an entry that the C library put into this thread's list: a robust mutex that this thread holds,
            // whose link back the C library itself would set to a newer entry.
            unsafe { set_prev(neighbour, last) };
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: this thread's head.
        let front = unsafe { &raw mut (*head).list };
        // SAFETY: as above; the thread itself is the only one that changes it.
        unsafe { front.write_volatile(first) };
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    fn first_entry(&self) -> *mut u8 {
        self.sentinel_entry(&self.first)
    }

    #[inline]
    fn last_entry(&self) -> *mut u8 {
        self.sentinel_entry(&self.last)
    }

    #[inline]
    fn sentinel_entry(&self, sentinel: &RobustWord) -> *mut u8 {
        ptr::from_ref(sentinel).cast::<u8>().cast_mut().wrapping_offset(self.entry_offset.get())
    }
}

fn watch_forks() {
    static WATCHED: Once = Once::new();
    // SAFETY: the handler is async-signal-safe: it stores to memory of ours.
    WATCHED.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(forget_parent));
    });
}

/// In a child the C library has begun an empty list, the thread has another id, and no other thread is left. What the
/// parent's threads had is not used again: guards that were inherited name it, and must not meet it as another's.
extern "C" fn forget_parent() {
    BLOCK.set(ptr::null());
    BLOCKS.store(ptr::null_mut(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::robust::WAITERS;

    #[test]
    fn a_thread_holds_as_many_words_as_the_limit_and_loses_them_all() {
        let words: &'static [RobustWord] = Box::leak((0..HELD_MAX).map(|_| RobustWord::new()).collect());
        let life = std::thread::spawn(move || {
            let me = Thread::current().unwrap();
            for word in words {
                assert!(me.has_room());
                me.begin(word);
                word.state.store(u64::from(me.id() | WAITERS), Ordering::Relaxed);
                me.link(word);
                me.end();
            }
            assert!(!me.has_room());
            for word in words.iter().step_by(3) {
                assert!(me.holds(word) && me.unlink(word));
                assert!(!me.holds(word) && !me.unlink(word));
            }
        });
        life.join().unwrap();
        for (number, word) in words.iter().enumerate() {
            let is_marked = word.state.load(Ordering::Relaxed) == u64::from(OWNER_DIED | WAITERS);
            assert_eq!(is_marked, number % 3 != 0, "word {number}");
        }
    }

    #[test]
    fn a_block_is_used_again_when_its_thread_has_ended() {
        let block = || std::thread::spawn(|| ptr::from_ref(Thread::current().unwrap().0).addr()).join().unwrap();
        let used: std::collections::HashSet<_> = (0..200).map(|_| block()).collect();
        assert!(used.len() < 50, "{} blocks for one thread at a time", used.len());
    }

    #[test]
    fn the_layout_is_what_the_kernel_and_the_page_say() {
        assert_eq!(size_of::<RobustWord>(), 40);
        assert_eq!(std::mem::offset_of!(RobustWord, turn), 8);
        assert_eq!(std::mem::offset_of!(RobustWord, note), 16);
        assert_eq!(std::mem::offset_of!(RobustWord, links), 20);
    }
}
