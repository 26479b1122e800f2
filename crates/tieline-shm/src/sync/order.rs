//! Finding deadlocks before they happen: the order in which locks are taken.
//!
//! Two threads that take two locks in opposite orders will, one day, wait for each other for ever. While the check is
//! on, each lock taken while others are held draws an edge from those to it, in a graph of this process, with the
//! places in the program where either was taken. A lock that would close a cycle is refused with `Deadlock`, and the
//! error tells both orders: also if on this run nobody waits. What never waits (`try_lock`) draws no edge and is never
//! refused.
//!
//! A lock's class is its name; locks of one name are one class, so order within a class is not checked. A lock without a
//! name is a class of its own, for as long as it is mapped where it is.
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

static GRAPH: Mutex<Option<HashMap<Class, HashMap<Class, Edge>>>> = Mutex::new(None);

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
            for (before, held_at) in held.iter().filter(|(before, _)| before != self) {
                if let Some(path) = path(edges, self, before) {
                    return Err(self.reversed(before, held_at, here, &path));
                }
                if edges.len() < CLASSES_MAX || edges.contains_key(before) {
                    let edge = Edge { held_at, taken_at: here };
                    edges.entry(before.clone()).or_default().entry(self.clone()).or_insert(edge);
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
fn path(edges: &HashMap<Class, HashMap<Class, Edge>>, from: &Class, to: &Class) -> Option<Vec<(Class, Edge)>> {
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

fn graph() -> MutexGuard<'static, Option<HashMap<Class, HashMap<Class, Edge>>>> {
    GRAPH.lock().unwrap_or_else(PoisonError::into_inner)
}
