//! The kernel's part of robust words in models: sleepers in the order they came, waking of so many and no more, and
//! the end of a thread at a named step.
//!
//! A model's thread calls [`live`] with its id, and with the step at which it dies, if it does; there the kernel does
//! what it does with a thread's list, and the thread is gone. Each load and exchange of the kernel is one of loom's, so
//! others come in between. Deadlines never pass: who relies on one to be woken is found out as a deadlock.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use loom::sync::{Condvar, Mutex};
use tieline_os::futex::{AnyWaited, Deadline, Waited};

use super::{OWNER, OWNER_DIED, RobustWord, WAITERS, high, low, pair};
use crate::error::Result;
use crate::raw::atomic::{AtomicU64, Ordering};

/// One who sleeps, on one word or on several.
struct Sleeper {
    number: u64,
    kind: u32,
    words: Vec<usize>,
    woken: Option<usize>,
}

#[derive(Default)]
struct Kernel {
    sleepers: Vec<Sleeper>,
    came: u64,
}

loom::lazy_static! {
    static ref KERNEL: Mutex<Kernel> = Mutex::new(Kernel::default());
    static ref BELL: Condvar = Condvar::new();
}

#[derive(Clone, Copy, PartialEq)]
struct Pending {
    word: *const AtomicU64,
    inheriting: bool,
}

#[derive(Default)]
struct Me {
    id: u32,
    dies_at: Option<(&'static str, u32)>,
    pending: Option<Pending>,
    held: Vec<*const RobustWord>,
}

loom::thread_local! {
    static ME: RefCell<Me> = RefCell::new(Me::default());
}

struct Died;

/// Runs `life` as the thread `id`, which dies at the n-th passing of a step if `dies_at` names it. Says what `life`
/// answered, or `None` if it died. Words it held must stay where they are for ever ([`View::leak`](crate::raw::View)).
pub(crate) fn live<R>(id: u32, dies_at: Option<(&'static str, u32)>, life: impl FnOnce() -> R) -> Option<R> {
    ME.with(|me| *me.borrow_mut() = Me { id, dies_at, ..Me::default() });
    match panic::catch_unwind(AssertUnwindSafe(life)) {
        Ok(answer) => Some(answer),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// A point at which the thread may die.
pub(crate) fn step(name: &'static str) {
    let dies = ME.with(|me| {
        let Some((at, passing)) = &mut me.borrow_mut().dies_at else { return false };
        *at == name && {
            *passing -= 1;
            *passing == 0
        }
    });
    if dies {
        exit();
        panic::resume_unwind(Box::new(Died));
    }
}

/// What the kernel does for a thread that ends.
fn exit() {
    let me = ME.with(RefCell::take);
    let pending = me.pending;
    for &held in me.held.iter().rev() {
        // SAFETY: `live` demands that words stay.
        let word = unsafe { &(*held).state };
        if pending.is_none_or(|pending| !std::ptr::eq(pending.word, word)) {
            handle_death(word, me.id, false);
        }
    }
    if let Some(pending) = pending {
        // SAFETY: as above.
        handle_death(unsafe { &*pending.word }, me.id, !pending.inheriting);
    }
}

fn handle_death(word: &AtomicU64, id: u32, wakes_if_free: bool) {
    let mut seen = word.load(Ordering::SeqCst);
    loop {
        let owner = low(seen) & OWNER;
        if wakes_if_free && owner == 0 {
            wake(word, 1);
            return;
        }
        if owner != id {
            return;
        }
        let dead = pair(low(seen) & WAITERS | OWNER_DIED, high(seen));
        match word.compare_exchange(seen, dead, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => break,
            Err(other) => seen = other,
        }
    }
    if low(seen) & WAITERS != 0 {
        wake(word, 1);
    }
}

/// The model's thread.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    id: u32,
}

impl Thread {
    pub(crate) fn current() -> Result<Self> {
        Ok(Self { id: ME.with(|me| me.borrow().id) })
    }

    pub(crate) fn id(self) -> u32 {
        self.id
    }

    pub(crate) fn holds(self, word: &RobustWord) -> bool {
        ME.with(|me| me.borrow().held.iter().any(|&held| std::ptr::eq(held, word)))
    }

    pub(crate) fn has_room(self) -> bool {
        true
    }

    pub(crate) fn begin(self, word: &RobustWord) {
        self.set_pending(Some(Pending { word: &raw const word.state, inheriting: false }));
    }

    pub(crate) fn begin_turn(self, word: &RobustWord) {
        self.set_pending(Some(Pending { word: &raw const word.turn, inheriting: false }));
    }

    pub(crate) fn end(self) {
        self.set_pending(None);
    }

    pub(crate) fn link(self, word: &RobustWord) {
        ME.with(|me| me.borrow_mut().held.push(word));
    }

    pub(crate) fn unlink(self, word: &RobustWord) -> bool {
        ME.with(|me| {
            let held = &mut me.borrow_mut().held;
            let place = held.iter().rposition(|&held| std::ptr::eq(held, word));
            place.map(|place| held.remove(place)).is_some()
        })
    }

    fn set_pending(self, pending: Option<Pending>) {
        ME.with(|me| me.borrow_mut().pending = pending);
    }
}

/// A model keeps its memory for ever.
pub(crate) fn is_held_here(_: u32) -> bool {
    false
}

impl RobustWord {
    pub(crate) fn wait(&self, expected: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        Ok(match wait_any(&[(&self.state, expected)], deadline)? {
            AnyWaited::Woken(_) => Waited::Woken,
            AnyWaited::Changed => Waited::Changed,
            AnyWaited::TimedOut => Waited::TimedOut,
        })
    }

    pub(crate) fn wake(&self, count: u32) -> usize {
        wake(&self.state, count)
    }

    pub(crate) fn wake_one_of(&self, expected: u32) -> bool {
        let mut kernel = KERNEL.lock().unwrap();
        let is_as_expected = low(self.state.load(Ordering::SeqCst)) == expected;
        kernel.wake(&self.state, 1);
        !is_as_expected || kernel.sleeps_on(&self.state)
    }

    pub(crate) fn wake_turn(&self, count: u32) -> usize {
        wake(&self.turn, count)
    }

    /// Unlike the other waits, one with a deadline finds it passed as soon as it would sleep.
    pub(crate) fn wait_as(&self, expected: u32, kind: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        if deadline.is_some() {
            let changed = low(self.state.load(Ordering::SeqCst)) != expected;
            return Ok(if changed { Waited::Changed } else { Waited::TimedOut });
        }
        Ok(match sleep(&[(&self.state, expected)], kind) {
            AnyWaited::Woken(_) => Waited::Woken,
            AnyWaited::Changed => Waited::Changed,
            AnyWaited::TimedOut => Waited::TimedOut,
        })
    }

    pub(crate) fn wake_as(&self, count: u32, kind: u32) -> usize {
        KERNEL.lock().unwrap().wake_kind(&self.state, count, kind)
    }

    pub(crate) fn unmark(&self) {
        let mut kernel = KERNEL.lock().unwrap();
        self.state.fetch_and(!u64::from(WAITERS), Ordering::SeqCst);
        kernel.wake(&self.state, u32::MAX);
    }
}

pub(crate) fn wait_any(words: &[(&AtomicU64, u32)], _: Option<Deadline>) -> tieline_os::Result<AnyWaited> {
    Ok(sleep(words, u32::MAX))
}

fn sleep(words: &[(&AtomicU64, u32)], kind: u32) -> AnyWaited {
    let mut kernel = KERNEL.lock().unwrap();
    // The kernel compares with the newest value: an exchange, because a load of loom's may answer an older one.
    if words.iter().any(|(word, expected)| low(word.fetch_or(0, Ordering::SeqCst)) != *expected) {
        return AnyWaited::Changed;
    }
    kernel.came += 1;
    let number = kernel.came;
    let words = words.iter().map(|(word, _)| std::ptr::from_ref(*word).addr()).collect();
    kernel.sleepers.push(Sleeper { number, kind, words, woken: None });
    loop {
        let place = kernel.sleepers.iter().position(|sleeper| sleeper.number == number).unwrap();
        if let Some(word) = kernel.sleepers[place].woken {
            kernel.sleepers.remove(place);
            return AnyWaited::Woken(word);
        }
        kernel = BELL.wait(kernel).unwrap();
    }
}

pub(crate) fn wake_all(word: &AtomicU64) {
    wake(word, u32::MAX);
}

fn wake(word: &AtomicU64, count: u32) -> usize {
    KERNEL.lock().unwrap().wake(word, count)
}

impl Kernel {
    /// Wakes the first `count` who sleep on the word, as a first-come queue, and says how many there were.
    fn wake(&mut self, word: &AtomicU64, count: u32) -> usize {
        self.wake_kind(word, count, u32::MAX)
    }

    /// The same for those among them who sleep as one of these kinds.
    fn wake_kind(&mut self, word: &AtomicU64, count: u32, kind: u32) -> usize {
        let address = std::ptr::from_ref(word).addr();
        let mut woken = 0;
        for sleeper in &mut self.sleepers {
            if woken == count as usize {
                break;
            }
            if sleeper.woken.is_none()
                && sleeper.kind & kind != 0
                && let Some(place) = sleeper.words.iter().position(|&word| word == address)
            {
                sleeper.woken = Some(place);
                woken += 1;
            }
        }
        if woken > 0 {
            BELL.notify_all();
        }
        woken
    }

    fn sleeps_on(&self, word: &AtomicU64) -> bool {
        let address = std::ptr::from_ref(word).addr();
        self.sleepers.iter().any(|sleeper| sleeper.woken.is_none() && sleeper.words.contains(&address))
    }
}
