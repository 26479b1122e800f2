//! Ours.

mod mutex;

use super::contestant::Contestant;

/// All of them.
pub(super) fn all() -> [&'static dyn Contestant; 1] {
    [&mutex::MUTEX]
}
