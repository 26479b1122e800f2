//! What the machine itself needs at least: the bare forms of what a channel or a lock does.

mod futex;
mod locks;
mod ring;
mod spin;

use super::contestant::Contestant;

pub use locks::play_lock;

/// All of them.
pub(super) fn all() -> [&'static dyn Contestant; 6] {
    [&spin::SPIN, &spin::SPIN_APART, &ring::RING, &futex::FUTEX, &locks::PTHREAD, &locks::STD]
}
