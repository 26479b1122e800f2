//! The table of members, by itself.

use std::sync::Arc;

use crate::error::ErrorKind;
use crate::raw::alive::Register;
use crate::rendezvous::members::Members;
use crate::rendezvous::{Condition, MEMBERS_MAX};
use crate::segment::{Kind, Purpose, Segment};

fn segment(capacity: u32) -> Arc<Segment> {
    let purpose = Purpose { kind: Kind::Queue, name: "members", layout_hash: 0 };
    Arc::new(Segment::create(&purpose, Members::bytes(capacity)).unwrap())
}

#[test]
fn numbers_are_given_once_and_given_back() {
    let segment = segment(70);
    let members = Members::create(&segment, 70).unwrap();
    let registration = Register::this_thread().unwrap();
    let claimed: Vec<_> = (0..70).map(|_| members.claim(registration.register()).unwrap()).collect();
    assert!(claimed.iter().enumerate().all(|(index, member)| member.number() as usize == index));
    assert_eq!(members.claim(registration.register()).unwrap_err().kind(), ErrorKind::LimitReached);
    for (number, member) in (0..70).zip(claimed) {
        assert_eq!(members.condition(number), Condition::Alive);
        if number % 2 == 0 {
            drop(member);
        } else {
            member.leave(|leaving| {
                assert_eq!(leaving, number);
                assert!(members.is_dead(number), "while what it holds is undone, nobody believes it alive");
            });
        }
        assert_eq!(members.condition(number), Condition::Free);
    }
    assert_eq!(members.claim(registration.register()).unwrap().number(), 0);
    assert_eq!(members.who(0), None);
    assert_eq!(members.condition(70), Condition::Free, "beyond the table");
}

#[test]
fn a_thread_that_ends_with_numbers_is_dead_and_recovered_once() {
    let segment = segment(8);
    let members = Members::create(&segment, 8).unwrap();
    let theirs = members.clone();
    // Its list goes to the kernel with the thread: nothing of ours runs at its end.
    let (ours, done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let registration = Register::this_thread().unwrap();
        let claimed: Vec<_> = (0..3).map(|_| theirs.claim(registration.register()).unwrap()).collect();
        ours.send((claimed, Arc::clone(registration.register()))).unwrap();
        std::mem::forget(registration);
    });
    let (mut claimed, register) = done.recv().unwrap();
    thread.join().unwrap();
    assert!((0..3).all(|number| members.is_dead(number)), "the kernel walked the list");
    let registration = Register::this_thread().unwrap();
    let mut departed = Vec::new();
    assert_eq!(members.recover(registration.register(), |number| departed.push(number)).unwrap(), 3);
    assert_eq!(departed, [0, 1, 2]);
    assert_eq!(members.recover(registration.register(), |_| panic!("again")).unwrap(), 0);
    let again = members.claim(registration.register()).unwrap();
    // A zombie's handles must not free what is another's now.
    claimed.clear();
    assert_eq!(members.condition(0), Condition::Alive);
    drop((again, register));
}

#[test]
fn a_table_of_another_size_is_corrupted() {
    let fits = segment(8);
    for capacity in [0, MEMBERS_MAX + 1, MEMBERS_MAX, u32::MAX] {
        fits.view::<crate::raw::atomic::AtomicU32>(0).unwrap().store(capacity, crate::raw::atomic::Ordering::Relaxed);
        assert_eq!(Members::open(&fits).unwrap_err().kind(), ErrorKind::Corrupted, "{capacity}");
    }
    assert_eq!(Members::create(&fits, MEMBERS_MAX + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}
