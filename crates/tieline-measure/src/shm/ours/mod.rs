//! Ours.

mod mutex;
mod topic;

use super::contestant::Contestant;

/// All of them.
pub(super) fn all() -> [&'static dyn Contestant; 2] {
    [&topic::TOPIC, &mutex::MUTEX]
}
