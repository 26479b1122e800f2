//! The protocol of a lock that lends its waiters' priority to its owner: the kernel's own, with deaths told.
//!
//! The word is a futex whose values the kernel defines and changes ([`PiFutex`]); it is never touched as a word of 64
//! bits. That the lock was given up for good stands in the lower half of `turn`, which only an owner writes, before he
//! gives the lock back: so whoever gets the lock looks there, and gives it back at once if it is dead, which wakes the next.
//! (musl's commit 2d0bbe6c tells what comes of telling this in a field that is used for something else too.)

use tieline_os::futex::{PiFutex, PiLocked};

use super::core::{LOCK, Taken};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::robust::{OWNER, OWNER_DIED, RobustWord, Thread, low, step};
use crate::wait::Until;
use std::sync::atomic::Ordering;

/// Takes the lock, waiting if it must. The caller does not own it, and has room.
///
/// # Errors
/// `WouldBlock`, `TimedOut`, `NotRecoverable`, `Deadlock` (the owner waits for a lock of ours), `Corrupted` (the word
/// names a thread that does not exist), `Unsupported`.
pub(super) fn take(words: &RobustWord, me: Thread, until: Until) -> Result<Taken> {
    me.begin_inheriting(words);
    let taken = take_pending(words, me, until);
    if taken.is_ok() {
        step("mutex:taken");
        me.link_inheriting(words);
        step("mutex:linked");
    }
    me.end();
    let taken = taken?;
    // Acquire with the word: the owner before stored it before he gave the lock back.
    if low(words.turn.load(Ordering::Relaxed)) != 0 {
        give_back(words, me);
        return Err(Error::new(LOCK, ErrorKind::NotRecoverable));
    }
    Ok(taken)
}

fn take_pending(words: &RobustWord, me: Thread, until: Until) -> Result<Taken> {
    let word = words.word();
    // Acquire: pairs with the release of `give_back`, or of the kernel.
    if word.compare_exchange(0, me.id(), Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return Ok(Taken::Clean);
    }
    let futex = PiFutex::shared(word);
    let locked = match until {
        Until::Now => futex.try_lock(),
        Until::At(deadline) => futex.lock_until(deadline),
        Until::Forever => futex.lock(),
    };
    match locked {
        Ok(PiLocked::Clean) => Ok(Taken::Clean),
        Ok(PiLocked::OwnerDied) => Ok(Taken::OwnerDied),
        Ok(PiLocked::TimedOut) => Err(Error::new(LOCK, ErrorKind::TimedOut)),
        Err(error) => Err(explain(error)),
    }
}

fn explain(error: tieline_os::Error) -> Error {
    match error.kind() {
        tieline_os::ErrorKind::WouldBlock => Error::new(LOCK, ErrorKind::WouldBlock),
        tieline_os::ErrorKind::Deadlock => Error::new(LOCK, ErrorKind::Deadlock),
        tieline_os::ErrorKind::NotFound
        | tieline_os::ErrorKind::InvalidInput
        | tieline_os::ErrorKind::PermissionDenied => {
            Error::new(LOCK, ErrorKind::Corrupted).because("the kernel and the word disagree about the owner")
        }
        _ => Error::system_refused(LOCK, error),
    }
}

/// Gives the lock back; for good if a dead owner's work was not repaired.
pub(super) fn give_back(words: &RobustWord, me: Thread) {
    if is_inherited(words) {
        // Relaxed: the lock is ours; the release of the word follows.
        words.turn.fetch_or(1, Ordering::Relaxed);
    }
    me.begin_inheriting(words);
    step("mutex:giving");
    if me.unlink(words) {
        step("mutex:unlinked");
        let word = words.word();
        // Release: pairs with the acquire in `take_pending`.
        if word.compare_exchange(me.id(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
            // It fails only for a word that is not ours, which a stranger has written over: nobody can be helped.
            let _ = PiFutex::shared(word).unlock();
        }
        step("mutex:given");
    }
    me.end();
}

pub(super) fn is_inherited(words: &RobustWord) -> bool {
    // Relaxed: while the owner lives nobody else changes this bit.
    words.word().load(Ordering::Relaxed) & OWNER_DIED != 0
}

pub(super) fn mark_consistent(words: &RobustWord) {
    // Relaxed: the owner tells itself.
    words.word().fetch_and(!OWNER_DIED, Ordering::Relaxed);
}

pub(super) fn owner(words: &RobustWord) -> u32 {
    // Relaxed: an answer for lookers, old when it is given.
    words.word().load(Ordering::Relaxed) & OWNER
}
