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
    assert_eq!(members.generation(0), Some(1));
    assert_eq!(members.claim(registration.register()).unwrap().number(), 0);
    assert_eq!((members.generation(0), members.generation(70)), (Some(2), None));
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
fn the_size_of_a_table_is_the_host_s_word_and_must_fit() {
    let fits = segment(8);
    for capacity in [9, MEMBERS_MAX, u32::MAX] {
        assert_eq!(Members::open(&fits, capacity).unwrap_err().kind(), ErrorKind::Corrupted, "{capacity}");
    }
    // What a sharer has made of the table's own word does not matter.
    Members::create(&fits, 8).unwrap();
    fits.view::<crate::raw::atomic::AtomicU32>(0).unwrap().store(u32::MAX, crate::raw::atomic::Ordering::Relaxed);
    assert_eq!(Members::open(&fits, 8).unwrap().capacity(), 8);
    assert_eq!(Members::create(&fits, MEMBERS_MAX + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A peer that may write the table writes anything into it.
#[test]
fn a_scribbled_table_costs_numbers_and_nothing_else() {
    let segment = segment(16);
    let members = Members::create(&segment, 16).unwrap();
    let registration = Register::this_thread().unwrap();
    let words = segment.slice::<crate::raw::atomic::AtomicU32>(64, 16 * 16).unwrap();
    let mut random = 1_u32;
    for round in 0..2000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words[random as usize % words.len()]
            .store(random.rotate_left(round % 32), crate::raw::atomic::Ordering::Relaxed);
        let mut claimed = Vec::new();
        while let Ok(member) = members.claim(registration.register()) {
            claimed.push(member);
        }
        assert!(claimed.len() <= 16);
        let other = random.rotate_right(7);
        words[other as usize % words.len()].store(other, crate::raw::atomic::Ordering::Relaxed);
        assert!(members.recover(registration.register(), |_| ()).unwrap() <= 16);
        for member in claimed {
            let number = member.number();
            member.leave(|leaving| assert_eq!(leaving, number));
        }
        let _ = (0..20).filter(|number| members.is_dead(*number)).count();
    }
}
