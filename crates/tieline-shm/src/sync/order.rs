//! Finding deadlocks before they happen: the order in which locks are taken.
//!
//! Two threads that take two locks in opposite orders will, one day, wait for each other for ever. While the check is
//! on, each lock taken while others are held draws an edge from those to it, in a graph of this process, with the
//! places in the program where either was taken. A lock that would close a cycle is refused with `Deadlock`, and the
//! error tells both orders: also if on this run nobody waits. What never waits (`try_lock`) draws no edge and is never
//! refused.
//!
//! A lock's class is its name; locks of one name are one class, so order within a class is not checked. A lock without a
//! name is a class of its own; when one of its handles is dropped, what was learned of it is forgotten.
//!
//! # Switch
//! [`set`], or the environment variable `TIELINE_LOCK_ORDER=1`, read when the first lock is taken. Off, it costs one
//! load. On, every lock takes a lock of the process: not for production.
//!
//! # Limits
//! The graph is this process's: an order that another process uses is not seen, so run the check in each. A cycle that
//! spans two processes, each of which is right by itself, is not found. At most 4,096 classes are told apart.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::raw::PerProcess;

/// Switches the check on or off for this process, whatever the environment says. Locks that are held at this moment
/// are not known to it.
///
/// ```
/// use tieline_shm::ErrorKind;
/// use tieline_shm::sync::{MutexOptions, RawMutex, order};
///
/// order::set(true);
/// let accounts = RawMutex::anonymous(&MutexOptions::new().name("accounts"))?;
/// let journal = RawMutex::anonymous(&MutexOptions::new().name("journal"))?;
/// {
///     let _accounts = accounts.lock()?;
///     let _journal = journal.lock()?;
/// }
/// let _journal = journal.lock()?;
/// let refused = accounts.lock().unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Deadlock);
/// # order::set(false);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub fn set(on: bool) {
    SWITCH.store(if on { ON } else { OFF }, Ordering::Relaxed);
}

/// Whether the check is on.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    // Relaxed: who switches knows that locks held at the moment are not followed.
    match SWITCH.load(Ordering::Relaxed) {
        OFF => false,
        ON => true,
        _ => ask_environment(),
    }
}

static SWITCH: AtomicU8 = AtomicU8::new(UNASKED);
const UNASKED: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

#[cold]
fn ask_environment() -> bool {
    set(std::env::var_os("TIELINE_LOCK_ORDER").is_some_and(|value| value == "1"));
    is_on()
}

/// What the check takes for one lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Named(Box<str>),
    At(usize),
}

type Place = &'static Location<'static>;

/// `before` was held, taken at the first place, when the other was taken at the second.
#[derive(Clone, Copy)]
struct Edge {
    held_at: Place,
    taken_at: Place,
}

/// For each class those that were taken while it was held.
type Graph = HashMap<Class, HashMap<Class, Edge>>;

static GRAPH: PerProcess<Mutex<Option<Graph>>> = PerProcess::new(Mutex::new(None));

/// A program with more classes than this has unnamed locks without end.
const CLASSES_MAX: usize = 4096;

thread_local! {
    static HELD: RefCell<Vec<(Class, Place)>> = const { RefCell::new(Vec::new()) };
}

impl Class {
    pub(crate) fn of(name: &str, address: usize) -> Self {
        if name.is_empty() { Self::At(address) } else { Self::Named(name.into()) }
    }

    /// Before the lock is waited for: learns the order, and refuses if it is the reverse of one learned.
    #[cold]
    pub(crate) fn check(&self, here: Place, waits: bool) -> Result<()> {
        if !waits {
            return Ok(());
        }
        HELD.with_borrow(|held| {
            if held.is_empty() {
                return Ok(());
            }
            let mut graph = graph();
            let edges = graph.get_or_insert_default();
            let held = || held.iter().filter(|(before, _)| before != self);
            for (before, held_at) in held() {
                if let Some(path) = path(edges, self, before) {
                    return Err(self.reversed(before, held_at, here, &path));
                }
            }
            for &(ref before, held_at) in held() {
                if edges.len() < CLASSES_MAX || edges.contains_key(before) {
                    let after = edges.entry(before.clone()).or_default();
                    if after.len() < CLASSES_MAX {
                        after.entry(self.clone()).or_insert(Edge { held_at, taken_at: here });
                    }
                }
            }
            Ok(())
        })
    }

    /// The lock is held now.
    #[cold]
    pub(crate) fn taken(&self, here: Place) {
        HELD.with_borrow_mut(|held| held.push((self.clone(), here)));
    }

    /// The lock is about to be given back.
    #[cold]
    pub(crate) fn given_back(&self) {
        HELD.with_borrow_mut(|held| {
            if let Some(place) = held.iter().rposition(|(class, _)| class == self) {
                held.remove(place);
            }
        });
    }

    /// When a lock goes: one without a name has no order any more, for another may come to lie where it was.
    pub(crate) fn forget(&self) {
        if is_on() && matches!(self, Self::At(_)) {
            let mut graph = graph();
            let edges = graph.get_or_insert_default();
            edges.remove(self);
            for after in edges.values_mut() {
                after.remove(self);
            }
        }
    }

    fn reversed(&self, before: &Self, held_at: Place, here: Place, path: &[(Class, Edge)]) -> Error {
        let mut why = format!("{before} (taken at {held_at}) is held and {self} wanted at {here}; but earlier");
        let mut from = self;
        for (to, edge) in path {
            why.push_str(&format!(
                " {from} (taken at {}) was held when {to} was taken at {};",
                edge.held_at, edge.taken_at
            ));
            from = to;
        }
        Error::new("lock", ErrorKind::Deadlock).because(why.trim_end_matches(';').to_owned())
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "lock \"{name}\""),
            Self::At(address) => write!(f, "the lock at {address:#x}"),
        }
    }
}

/// The edges that lead from `from` to `to`, if any do.
fn path(edges: &Graph, from: &Class, to: &Class) -> Option<Vec<(Class, Edge)>> {
    let mut came: HashMap<&Class, (&Class, Edge)> = HashMap::new();
    let mut next = vec![from];
    while let Some(class) = next.pop() {
        if class == to {
            let mut path = Vec::new();
            let mut at = to;
            while at != from {
                let (before, edge) = came[at];
                path.push((at.clone(), edge));
                at = before;
            }
            path.reverse();
            return Some(path);
        }
        for (after, &edge) in edges.get(class).into_iter().flatten() {
            if after != from && !came.contains_key(after) {
                came.insert(after, (class, edge));
                next.push(after);
            }
        }
    }
    None
}

fn graph() -> MutexGuard<'static, Option<Graph>> {
    GRAPH.get().lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;

    const CLASSES: usize = 6;

    /// What the check ought to know: which class was held when which was wanted.
    #[derive(Default)]
    struct Plain([[bool; CLASSES]; CLASSES]);

    impl Plain {
        fn leads(&self, from: usize, to: usize) -> bool {
            let mut reached = [false; CLASSES];
            reached[from] = true;
            for _ in 0..CLASSES {
                for (a, b) in (0..CLASSES).flat_map(|a| (0..CLASSES).map(move |b| (a, b))) {
                    reached[b] |= reached[a] && self.0[a][b];
                }
            }
            reached[to]
        }
    }

    proptest! {
        /// Any list of locks and unlocks is refused where a plain graph has a cycle, and nowhere else.
        #[test]
        fn what_is_refused_closes_a_cycle_of_a_plain_graph(
            operations in proptest::collection::vec((0..CLASSES, 0..8_u8), 0..80),
        ) {
            static CASE: AtomicUsize = AtomicUsize::new(0);
            let case = CASE.fetch_add(1, Ordering::Relaxed);
            let class = |number: usize| Class::of(&format!("case {case}, class {number}"), 0);
            let (mut plain, mut held) = (Plain::default(), Vec::new());
            for (number, what) in operations {
                if what >= 5 {
                    if !held.is_empty() {
                        class(held.swap_remove(number % held.len())).given_back();
                    }
                    continue;
                }
                let waits = what > 0;
                let answer = class(number).check(Location::caller(), waits);
                let others = || held.iter().copied().filter(|&before| before != number);
                let closes = waits && others().any(|before| plain.leads(number, before));
                prop_assert_eq!(answer.is_err(), closes, "class {} while {:?} are held", number, held);
                if closes {
                    continue;
                }
                if waits {
                    others().for_each(|before| plain.0[before][number] = true);
                }
                class(number).taken(Location::caller());
                held.push(number);
            }
            held.into_iter().for_each(|number| class(number).given_back());
        }
    }
}
