//! What a forked child must not do to its parent.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use tieline_os::fork::fork;
use tieline_testkit::{Peer, test_name};

/// Whether this is the process to work in: one with a single thread, as fork demands. Else the test has been run there.
///
/// The runner wants a thread for each test and falls back to its own if none can be had; nobody can have one with a
/// stack larger than the address space.
fn alone(test: String) -> bool {
    if tieline_testkit::role().is_some() {
        return true;
    }
    Peer::of(test).role("alone").env("RUST_MIN_STACK", "281474976710656").spawn().succeeds();
    false
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Given a body that panics with a payload that panics when dropped, when forked, then the child ends as any that
/// panics, and does not come out of `fork` into the parent's functions.
#[test]
fn a_child_never_unwinds_into_its_parents_functions() {
    if !alone(test_name!()) {
        return;
    }
    let us = std::process::id();
    let forked = catch_unwind(AssertUnwindSafe(|| fork(|| panic_any(PanicsWhenDropped))));
    if std::process::id() != us {
        // The child has come back: end it with a code of its own.
        std::process::exit(77);
    }
    let child = forked.expect("the parent does not unwind").expect("forked");
    assert_eq!(child.wait().unwrap().code(), Some(101));
}

/// Given an I/O ring made before a fork, when the child uses it, then it is refused, because the child would write into
/// the queue its parent shares with the kernel; and the parent's operations are not disturbed, not even when the child
/// drops it.
#[cfg(feature = "io-uring")]
#[test]
fn a_child_cannot_touch_its_parents_ring() {
    use std::sync::Arc;
    use tieline_os::ErrorKind::InvalidInput;
    use tieline_os::ring::{Operation, Ring};

    if !alone(test_name!()) {
        return;
    }
    let mut ring = match Ring::new(4) {
        Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
        ring => ring.unwrap(),
    };
    let pipe = || std::io::pipe().map(|(reader, writer)| (Arc::new(reader), writer)).unwrap();
    let (reader, writer) = pipe();
    let waiting = ring.push(Operation::read(Arc::clone(&reader), vec![0; 8]), 1).unwrap();
    ring.submit().unwrap();
    let child = fork(|| {
        let refused = [
            ring.push(Operation::read(reader, vec![0; 8]), 2).map(drop).map_err(Into::into),
            ring.submit(),
            ring.cancel(waiting).map(drop),
            ring.try_wait().map(drop),
            ring.wait().map(drop),
        ];
        let is_refused = |answer: tieline_os::Result<()>| answer.is_err_and(|error| error.kind() == InvalidInput);
        u8::from(!refused.map(is_refused).iter().all(|refused| *refused))
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0), "each use is refused");

    let mut dropped = Some(Ring::new(4).unwrap());
    let (second_reader, second_writer) = pipe();
    let second = dropped.as_mut().unwrap();
    second.push(Operation::read(second_reader, vec![0; 8]), 1).unwrap();
    second.submit().unwrap();
    let child = fork(|| {
        drop(dropped.take());
        0
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0));
    let second = dropped.as_mut().unwrap();
    assert!(second.try_wait().unwrap_err().is_would_block(), "the child's drop has not cancelled it");

    for (ring, mut writer) in [(&mut ring, writer), (second, second_writer)] {
        std::io::Write::write_all(&mut writer, b"12345678").unwrap();
        let done = ring.wait_timeout(tieline_testkit::PATIENCE).unwrap();
        assert_eq!((done.token, done.result.unwrap(), &done.buffer[..]), (1, 8, &b"12345678"[..]));
        assert_eq!(ring.in_flight(), 0, "nothing of the child's is in it");
    }
}
