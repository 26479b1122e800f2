//! Limits of the surroundings that a test may need to be higher.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Whether this process may have at least so many descriptors, with a hundred more for what else it does. Raises its limit
/// as far as it may; it stays so.
#[must_use]
pub fn room_for_descriptors(count: u64) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    let is_enough = |most: Option<u64>| most.is_none_or(|most| most >= count + 100);
    if is_enough(limit.current) {
        return true;
    }
    limit.current = limit.maximum;
    is_enough(limit.maximum) && setrlimit(Resource::Nofile, limit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_and_not_for_all() {
        assert!(room_for_descriptors(1));
        assert!(!room_for_descriptors(1 << 40) || getrlimit(Resource::Nofile).current.is_none());
    }
}
