//! Descriptors that stay with the process that opened them.
//!
//! A child made by `fork` gets a copy of every descriptor. A copy of a socket would hide the parent's death from its
//! peers, and a copy of a locked file would keep the lock; so the child finds something harmless under those numbers.
//! The invariant: a number in the table is open and belongs to the value that registered it, in the child too, so
//! dropping the child's copy of that value closes nothing of anybody else's.
//!
//! Limits: a descriptor opened or closed at the moment another thread forks may be missed, since it is registered after
//! it was opened, and struck off before it is closed; a raw `clone` runs no handlers.

use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use super::process;

/// A value that owns a descriptor which a forked child must not have.
#[derive(Debug)]
pub(crate) struct Private<T: AsFd> {
    place: &'static AtomicI32,
    value: T,
}

impl<T: AsFd> Private<T> {
    pub(crate) fn new(value: T) -> Self {
        // Makes sure that the handler is installed.
        process::generation();
        let place = place_for(value.as_fd().as_raw_fd());
        Self { place, value }
    }
}

impl<T: AsFd> Deref for Private<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsFd> AsFd for Private<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.value.as_fd()
    }
}

impl<T: AsFd> Drop for Private<T> {
    fn drop(&mut self) {
        // Before the descriptor is closed and its number given to somebody else. Release: whoever takes the place
        // afterwards does so after this.
        self.place.store(FREE, Ordering::Release);
    }
}

const FREE: i32 = -1;
const PER_BLOCK: usize = 128;

/// The table grows by blocks, which are never freed: a handler of `fork` may be reading them.
struct Block {
    numbers: [AtomicI32; PER_BLOCK],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Self {
        Self { numbers: [const { AtomicI32::new(FREE) }; PER_BLOCK], next: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The block after this one, if there is one.
    fn next(&self) -> Option<&'static Self> {
        // SAFETY: null, or a leaked box that `grow` published with Release, which this Acquire meets.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn grow(&self) -> &'static Self {
        let fresh = Box::into_raw(Box::new(Self::new()));
        match self.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `fresh` came from a box and is never freed now.
            Ok(_) => unsafe { &*fresh },
            Err(there) => {
                // SAFETY: nobody else has seen `fresh`.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: not null, since the exchange failed; published as in `next`.
                unsafe { &*there }
            }
        }
    }
}

static FIRST: Block = Block::new();

fn place_for(number: i32) -> &'static AtomicI32 {
    let mut block: &'static Block = &FIRST;
    loop {
        for place in &block.numbers {
            // Acquire meets the Release of the place's last owner.
            if place.compare_exchange(FREE, number, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return place;
            }
        }
        block = block.next().unwrap_or_else(|| block.grow());
    }
}

/// Puts something harmless under every number in the table. Runs in the child of a `fork`: only loads and system calls.
pub(super) fn replace_all() {
    let mut harmless = FREE;
    let mut block: Option<&'static Block> = Some(&FIRST);
    while let Some(this) = block {
        for place in &this.numbers {
            // Relaxed: the child has one thread, and `fork` ordered what the parent's threads did before it.
            let number = place.load(Ordering::Relaxed);
            if number == FREE {
                continue;
            }
            if harmless == FREE {
                // The number is given up first, so that there is room for another even at the limit.
                // SAFETY: the number is owned by a value of this process, which gets a new descriptor under it below.
                unsafe { libc::close(number) };
                // SAFETY: no pointers.
                harmless = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            }
            if harmless == number {
                // It serves as its own replacement and as the source of the others; one number stays unregistered.
                continue;
            }
            // SAFETY: replaces a descriptor that a value of this process owns by another that it then owns.
            unsafe { libc::dup3(harmless, number, libc::O_CLOEXEC) };
        }
        block = this.next();
    }
    if harmless != FREE && !is_registered(harmless) {
        // SAFETY: opened above, and owned by nobody else.
        unsafe { libc::close(harmless) };
    }
}

fn is_registered(number: i32) -> bool {
    let mut block: Option<&'static Block> = Some(&FIRST);
    while let Some(this) = block {
        if this.numbers.iter().any(|place| place.load(Ordering::Relaxed) == number) {
            return true;
        }
        block = this.next();
    }
    false
}
