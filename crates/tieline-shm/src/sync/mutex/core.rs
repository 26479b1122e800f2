//! The protocol of a lock's word: taking, sleeping, giving back, and what is left behind by the dead.
//!
//! The word is the low half of `state`: the owner's thread id, [`OWNER_DIED`], [`WAITERS`]. The high half has the bit
//! [`DEAD`] (given up by an owner that did not repair it), and the *turn*: how often the lock was taken from a state
//! other than plainly free.
//!
//! The invariant: while a thread sleeps on the word, the word has [`WAITERS`] set. So whoever gives the lock back
//! while somebody sleeps wakes one, and so does the kernel for an owner that dies. A sleeper that was woken takes the
//! lock, or finds it taken, by somebody who sees [`WAITERS`] and will wake; or dies, and then the kernel wakes the next
//! one, because the lock is pending in the dead one's list. No count of waiters is kept, so no death can spoil one.
//!
//! The bit is cleared only by who has given the lock back and learned while waking one that nobody else slept. If he
//! finds the state as he left it, he clears it himself: nobody can have fallen asleep meanwhile, since one sleeps only
//! while the word names an owner, and whoever takes a lock that has the bit set changes the turn. If somebody has taken
//! the lock, the kernel clears it and wakes all, in one call: else, on a lock that is always wanted, the bit would go from
//! one owner to the next for ever, and each would make a system call to wake nobody. (glibc gives the bit away with the
//! lock and has woken sleepers bring it back: one that dies before it does strands the others. musl counts its waiters,
//! and had to repair a stale count in its semaphore, commits 159d1f6c and 882aedf6.)
//!
//! Sources: futex(2); U. Drepper, "Futexes Are Tricky"; the kernel's `locking/robust-futexes.rst`.

use super::spins::Spins;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::Ordering;
use crate::raw::robust::{OWNER, OWNER_DIED, RobustWord, Thread, WAITERS, high, low, pair, planted, step};
use crate::sync::line::{before_long, is_shared_by_strangers};
use crate::wait::Until;

/// In the high half: the lock was given up by an owner that inherited it from a dead one and did not repair.
pub(super) const DEAD: u32 = 0x8000_0000;

/// What is set in the state of a lock that is not plainly free: anything in the low half, or [`DEAD`].
const NOT_FREE: u64 = pair(u32::MAX, DEAD);

/// How a lock came into our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Clean,
    /// The owner before died holding it, and nobody has repaired since.
    OwnerDied,
}

/// Why a lock could not be taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Busy,
    Dead,
}

/// Takes the lock if it is plainly free, and says whether it is taken. The caller has room.
#[inline]
pub(crate) fn take_free(word: &RobustWord, me: Thread) -> bool {
    // Relaxed: the exchange below tells whether it still holds.
    let seen = word.state.load(Ordering::Relaxed);
    if seen & NOT_FREE != 0 {
        return false;
    }
    me.begin(word);
    // Acquire: pairs with the release of `give_back`.
    let taken = seen | u64::from(me.id());
    let is_taken = word.state.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if is_taken {
        step("mutex:taken");
        me.link(word);
        step("mutex:linked");
    }
    me.end();
    is_taken
}

/// Takes the lock, waiting if it must. The caller does not own it, and has room.
///
/// # Errors
/// `WouldBlock`, `TimedOut`, `NotRecoverable`, `Unsupported`.
#[inline]
pub(crate) fn take(word: &RobustWord, me: Thread, until: Until, spins: &Spins) -> Result<Taken> {
    if take_free(word, me) {
        return Ok(Taken::Clean);
    }
    take_slowly(word, me, until, spins)
}

#[cold]
fn take_slowly(word: &RobustWord, me: Thread, until: Until, spins: &Spins) -> Result<Taken> {
    me.begin(word);
    let taken = match try_take(word, me) {
        Ok(taken) => Ok(taken),
        Err(Refused::Busy) => wait_and_take(word, me, until, spins),
        Err(Refused::Dead) => Err(pass_on_dead(word)),
    };
    if taken.is_ok() {
        step("mutex:taken");
        me.link(word);
        step("mutex:linked");
    }
    me.end();
    taken
}

/// Gives the lock back; for good if a dead owner's work was not repaired.
#[inline]
pub(crate) fn give_back(word: &RobustWord, me: Thread) {
    if is_inherited(word) {
        return give_up(word, me);
    }
    me.begin(word);
    step("mutex:giving");
    if me.unlink(word) {
        step("mutex:unlinked");
        // Release: pairs with the acquire in `try_take`: what this owner wrote is seen by the next.
        let given = if planted("wipe") { low(word.state.load(Ordering::Relaxed)) } else { me.id() };
        let seen = word.state.fetch_sub(given.into(), Ordering::Release);
        step("mutex:given");
        if low(seen) & WAITERS != 0 {
            wake_one(word, seen.wrapping_sub(me.id().into()));
        }
    }
    me.end();
}

/// Gives the lock back for good: nobody will take it again.
#[cold]
fn give_up(word: &RobustWord, me: Thread) {
    me.begin(word);
    step("mutex:giving-up");
    if me.unlink(word) {
        // Relaxed: the exchange below tells whether it still holds.
        let mut seen = word.state.load(Ordering::Relaxed);
        loop {
            let dead = pair(low(seen) & WAITERS, high(seen) | DEAD);
            // Release: pairs with the acquire of who finds it dead.
            match word.state.compare_exchange(seen, dead, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        step("mutex:given-up");
        word.wake(u32::MAX);
    }
    me.end();
}

/// Whether the lock, which the caller owns, came from a dead owner and was not repaired.
#[inline]
pub(crate) fn is_inherited(word: &RobustWord) -> bool {
    // Relaxed: while the owner lives nobody else changes this bit.
    low(word.state.load(Ordering::Relaxed)) & OWNER_DIED != 0
}

/// Says that what the lock guards is whole again. The caller owns the lock.
pub(crate) fn mark_consistent(word: &RobustWord) {
    // Relaxed: the owner tells itself; the next owner learns it with the release of `give_back`.
    word.state.fetch_and(!u64::from(OWNER_DIED), Ordering::Relaxed);
}

/// The id of the thread that the word names as owner.
pub(crate) fn owner(word: &RobustWord) -> Option<u32> {
    // Relaxed: an answer for lookers, old when it is given.
    let owner = low(word.state.load(Ordering::Relaxed)) & OWNER;
    (owner != 0).then_some(owner)
}

fn try_take(word: &RobustWord, me: Thread) -> Result<Taken, Refused> {
    // Relaxed: the exchange below tells whether it still holds; a word that is busy or dead is told of as it was.
    let mut seen = word.state.load(Ordering::Relaxed);
    loop {
        if low(seen) & OWNER != 0 {
            return Err(Refused::Busy);
        }
        if high(seen) & DEAD != 0 {
            return Err(Refused::Dead);
        }
        let taken = if low(seen) == 0 { seen } else { pair(low(seen), next_turn(high(seen))) } | u64::from(me.id());
        // Acquire: pairs with the release of `give_back`, and with the kernel's exchange for a dead owner.
        match word.state.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) if low(seen) & OWNER_DIED == 0 => return Ok(Taken::Clean),
            Ok(_) => return Ok(Taken::OwnerDied),
            Err(other) => seen = other,
        }
    }
}

/// Within 31 bits, so that it never looks like [`DEAD`].
fn next_turn(turn: u32) -> u32 {
    let step = u32::from(!planted("turn"));
    turn.wrapping_add(step) & !DEAD
}

#[cold]
fn wait_and_take(word: &RobustWord, me: Thread, until: Until, spins: &Spins) -> Result<Taken> {
    if matches!(until, Until::Now) {
        return Err(Error::new(LOCK, ErrorKind::WouldBlock));
    }
    // Nobody has woken us yet: what is not announced cannot be mistaken.
    me.end();
    // Relaxed: only a hint; `try_take` looks again.
    spins.until(|| low(word.state.load(Ordering::Relaxed)) & OWNER == 0);
    loop {
        // Relaxed: the exchanges, and the kernel's own look, tell whether it still holds.
        let seen = word.state.load(Ordering::Relaxed);
        if low(seen) & OWNER == 0 {
            if let Some(answer) = take_unowned(word, me) {
                return answer;
            }
            continue;
        }
        if until.has_passed() {
            return Err(Error::new(LOCK, ErrorKind::TimedOut));
        }
        let marked = seen | u64::from(WAITERS);
        // SeqCst, for [is_shared_by_strangers]. With the owner's release it is an exchange of one word; one of them comes
        // first.
        if seen != marked && word.state.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            continue;
        }
        step("mutex:marked");
        sleep(word, me, low(marked), until)?;
        step("mutex:woken");
    }
}

/// Sleeps while the word is `marked`. Afterwards the word is announced if it was slept on so.
fn sleep(word: &RobustWord, me: Thread, marked: u32, until: Until) -> Result<()> {
    // Whoever is woken and dies before the lock is taken is to be followed by another: see `line::admit` for the others.
    let announced = !is_shared_by_strangers(word) && marked & OWNER != me.id();
    let until = if announced { until } else { before_long(until) };
    if announced && !planted("pending") {
        me.begin(word);
    } else {
        me.end();
    }
    let _ = word.wait(marked, until.deadline()).map_err(|error| Error::system_refused(LOCK, error))?;
    Ok(())
}

/// Takes a lock that nobody owned a moment ago, or finds it dead; `None` if somebody else took it.
fn take_unowned(word: &RobustWord, me: Thread) -> Option<Result<Taken>> {
    me.begin(word);
    match try_take(word, me) {
        Ok(taken) => Some(Ok(taken)),
        Err(Refused::Dead) => Some(Err(pass_on_dead(word))),
        Err(Refused::Busy) => None,
    }
}

/// After `left` was stored as the word of a free lock with sleepers.
#[cold]
pub(super) fn wake_one(word: &RobustWord, left: u64) {
    let more_sleep = word.wake_one_of(low(left));
    step("mutex:woke");
    if more_sleep {
        return;
    }
    if planted("clear") {
        word.state.fetch_and(!u64::from(WAITERS), Ordering::Relaxed);
        return;
    }
    let clear = left & !u64::from(WAITERS);
    // Relaxed: nothing is told by this but that nobody sleeps; it leaves the release before it in force.
    if word.state.compare_exchange(left, clear, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        step("mutex:unmarking");
        // Somebody has taken the lock meanwhile, with the mark. It would go on from one to the next, each of whom
        // would wake nobody, for as long as the lock is wanted.
        word.unmark();
    }
}

/// Who finds the lock dead may have been the only one woken: the others must learn it too.
#[cold]
fn pass_on_dead(word: &RobustWord) -> Error {
    word.wake(u32::MAX);
    Error::new(LOCK, ErrorKind::NotRecoverable)
}

pub(crate) const LOCK: &str = "lock";
