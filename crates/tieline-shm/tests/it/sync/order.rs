//! The order check, in a process of its own: it is switched on for the whole process.

use tieline_shm::ErrorKind;
use tieline_shm::sync::{MutexOptions, RawMutex, order};
use tieline_testkit::{Peer, role, test_name};

fn named(name: &str) -> RawMutex {
    RawMutex::anonymous(&MutexOptions::new().name(name)).unwrap()
}

#[test]
fn a_reversed_order_is_refused_with_both_orders_told() {
    if role().is_none() {
        return Peer::of(test_name!()).role("checked").env("TIELINE_LOCK_ORDER", "1").spawn().succeeds();
    }
    assert!(order::is_on());
    let (one, two, three) = (named("one"), named("two"), named("three"));
    for (first, second) in [(&one, &two), (&two, &three)] {
        let _first = first.lock().unwrap();
        let _second = second.lock().unwrap();
    }
    let held = three.lock().unwrap();
    let refused = one.lock().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Deadlock);
    let text = refused.to_string();
    for part in ["\"one\"", "\"two\"", "\"three\"", "order.rs"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(one.try_lock().is_ok(), "what never waits is never refused");
    drop(held);
    assert!(one.lock().is_ok());
    // Of one class, in any order.
    let (left, right) = (named("fork"), named("fork"));
    for (first, second) in [(&left, &right), (&right, &left)] {
        let _first = first.lock().unwrap();
        let _second = second.lock().unwrap();
    }
    order::set(false);
    let _held = three.lock().unwrap();
    assert!(one.lock().is_ok(), "switched off");
}

/// A lock without a name is a class where it lies, and where it lay another lock comes to lie.
#[test]
fn the_order_of_a_lock_without_a_name_goes_with_it() {
    if role().is_none() {
        return Peer::of(test_name!()).role("checked").env("TIELINE_LOCK_ORDER", "1").spawn().succeeds();
    }
    let lasting = named("lasting");
    for round in 0..20 {
        let passing = named("");
        let (first, second) = if round % 2 == 0 { (&lasting, &passing) } else { (&passing, &lasting) };
        let _first = first.lock().unwrap();
        let _second = second.lock().unwrap();
    }
}
