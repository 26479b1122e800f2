//! Listings by who may read.

use tieline_os::sysv::{Id, Walk, msg, sem, shm};
use tieline_testkit::{Peer, Role, can_run_as, role, skip, test_name};

use super::{STRANGER, queue, segment, set};

fn ids<T>(walk: tieline_os::Result<Walk<T>>, id_of: fn(&T) -> Id) -> Vec<Id> {
    walk.unwrap().map(|found| id_of(&found.unwrap())).collect()
}

/// Of each family everything, and what this process may read.
fn listings() -> [(Vec<Id>, Vec<Id>); 3] {
    [
        (ids(shm::segments(), |stat| stat.id), ids(shm::readable_segments(), |stat| stat.id)),
        (ids(msg::queues(), |stat| stat.id), ids(msg::readable_queues(), |stat| stat.id)),
        (ids(sem::sets(), |stat| stat.id), ids(sem::readable_sets(), |stat| stat.id)),
    ]
}

fn as_the_stranger(role: &Role) {
    for ((all, readable), name) in listings().into_iter().zip(["SEGMENT", "QUEUE", "SET"]) {
        let id = Id::new(role.env(name).parse().unwrap());
        assert!(all.contains(&id) && !readable.contains(&id), "{name} {id}: {readable:?} of {all:?}");
    }
}

#[test]
fn who_may_not_read_an_object_sees_it_in_the_listing_of_all_only() {
    if let Some(role) = role() {
        return as_the_stranger(&role);
    }
    let (segment, queue, set) = (segment(4096), queue(), set(&[1]));
    for ((all, readable), id) in listings().into_iter().zip([segment.id(), queue.id(), set.id()]) {
        assert!(all.contains(&id) && readable.contains(&id), "{id}: {readable:?} of {all:?}");
    }
    if !can_run_as(STRANGER) {
        skip!("this user cannot become another");
    }
    let peer = Peer::of(test_name!()).role("stranger").user(STRANGER);
    let peer = peer.env("SEGMENT", segment.id().to_string()).env("QUEUE", queue.id().to_string());
    peer.env("SET", set.id().to_string()).spawn().succeeds();
}
