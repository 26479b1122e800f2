//! Lines 47 to 51: semaphore sets.

use std::time::Duration;

use tieline_os::sysv::sem::{Operation, SemaphoreSet, VALUE_MAX};
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{PATIENCE, Peer, eventually, role, test_name};

use crate::sysv::{Blocked, fresh_key, id_from, set};

/// Given a new set then its values are zero (POSIX does not say so) and it is not marked; given a second opener that
/// comes before the creator is done then it waits for the mark, and sees the values in place.
#[test]
fn line047_an_opener_waits_until_the_creator_has_given_values() {
    let key = fresh_key();
    let created = RemoveOnDrop::new(SemaphoreSet::create(key, 3, Mode::OWNER).unwrap());
    assert_eq!((created.values().unwrap(), created.stat().unwrap().operated_at), (vec![0; 3], None));

    let error = SemaphoreSet::open_initialised(key, Duration::from_millis(5)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let opener = Blocked::on(move || SemaphoreSet::open_initialised(key, PATIENCE).unwrap().values());
    created.set_values(&[1, 2, 3]).unwrap();
    // Values alone are not the mark.
    let error = SemaphoreSet::open_initialised(key, Duration::from_millis(5)).unwrap_err();
    assert!(error.is_timeout() && !opener.is_done(), "{error}");
    created.operate(&[Operation::new(0, 3), Operation::new(0, -3)]).unwrap();
    assert_eq!(opener.result().unwrap(), [1, 2, 3]);
    drop(created);

    // Many at once: one creates, all see its values and nobody's zeros.
    let racers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let set = SemaphoreSet::open_or_create_initialised(key, &[5, 0], Mode::OWNER, PATIENCE).unwrap();
                (set.id(), set.values().unwrap())
            })
        })
        .collect();
    let seen: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    let raced = RemoveOnDrop::new(SemaphoreSet::open(key).unwrap());
    assert!(seen.iter().all(|(id, values)| *id == raced.id() && values == &[5, 0]), "{seen:?}");
}

/// Given several operations of which one is not possible when tried then none is made, whichever it is; when it
/// becomes possible then all are made at once.
#[test]
fn line048_several_operations_are_made_all_or_none() {
    let set = set(&[1, 0, 4]);
    let operations = [Operation::new(0, -1), Operation::new(2, 3), Operation::new(1, -2)];
    assert!(set.try_operate(&operations).unwrap_err().is_would_block());
    assert_eq!(set.values().unwrap(), [1, 0, 4]);

    let waiting = *set;
    let blocked = Blocked::on(move || waiting.operate(&operations));
    set.operate(&[Operation::new(1, 1)]).unwrap();
    assert_eq!((set.values().unwrap(), blocked.is_done()), (vec![1, 1, 4], false));
    set.operate(&[Operation::new(1, 1)]).unwrap();
    blocked.result().unwrap();
    assert_eq!(set.values().unwrap(), [0, 0, 7]);
}

/// Given operations with undo when their process is killed then they are given back; given that values were set
/// meanwhile (one or all) then nothing is given back to those.
#[test]
fn line049_undo_gives_back_at_death_unless_the_value_was_set() {
    if let Some(me) = role() {
        let set = SemaphoreSet::from_id(id_from(&me));
        set.operate(&[0, 1, 2].map(|index| Operation::new(index, -3).undo())).unwrap();
        me.say("taken");
        me.wait_for("never said");
        return;
    }
    let set = set(&[5, 5, 5]);
    let holder = || {
        let mut holder = Peer::of(test_name!()).role("holder").env("ID", set.id().to_string()).spawn();
        holder.wait_for("taken");
        holder
    };
    let mut first = holder();
    assert_eq!(set.values().unwrap(), [2, 2, 2]);
    set.set_value(1, 4).unwrap();
    first.kill();
    eventually("the kernel gives back", || set.values().unwrap() == [5, 4, 5]);

    let mut second = holder();
    set.set_values(&[9, 9, 9]).unwrap();
    second.kill();
    // The undo runs before the process can be reaped.
    assert_eq!(set.values().unwrap(), [9, 9, 9]);
}

/// Given a process that only takes with undo while another only gives when it has done so 32,767 times then the next
/// fails with ERANGE; for one that only gives it is the 32,769th.
#[test]
fn line050_undo_on_one_side_only_runs_out_of_range() {
    let set = set(&[0]);
    let (give, take) = (Operation::new(0, 1), Operation::new(0, -1));
    let rounds = |give: Operation, take: Operation| {
        (0..).find_map(|done| {
            let round = set.operate(&[give]).and_then(|()| set.operate(&[take]));
            round.err().map(|error| (done, error))
        })
    };
    let (taken, error) = rounds(give, take.undo()).unwrap();
    assert_eq!((taken, error.kind(), error.errno()), (32_767, ErrorKind::TooLarge, Some(34)));
    assert!(error.to_string().contains("undo"), "{error}");
    set.set_value(0, 0).unwrap();
    let (given, error) = rounds(give.undo(), take).unwrap();
    assert_eq!((given, error.errno()), (32_768, Some(34)));
    // Both ways with undo, the sum stays near zero and nothing fails.
    set.set_value(0, 0).unwrap();
    for _ in 0..40_000 {
        set.operate(&[give.undo()]).and_then(|()| set.operate(&[take.undo()])).unwrap();
    }
    // And the value itself has the same limit.
    set.set_value(0, VALUE_MAX).unwrap();
    assert_eq!(set.operate(&[give]).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// Given a value above zero when waited for zero without waiting then EAGAIN; given a process that took and another
/// that gave then the last operator is the giver, not the holder.
#[test]
fn line051_the_last_operator_is_not_the_holder() {
    if let Some(me) = role() {
        SemaphoreSet::from_id(id_from(&me)).operate(&[Operation::new(0, 1)]).unwrap();
        return;
    }
    let set = RemoveOnDrop::new(SemaphoreSet::create(Key::PRIVATE, 2, Mode::OWNER).unwrap());
    let me = Some(std::process::id());
    assert_eq!(set.last_operator(0).unwrap(), None);
    set.try_wait_for_zero(0).unwrap();
    assert_eq!((set.last_operator(0).unwrap(), set.last_operator(1).unwrap()), (me, None));

    let mut giver = Peer::of(test_name!()).role("giver").env("ID", set.id().to_string()).spawn();
    let giver_id = giver.id();
    assert!(giver.exit_status().success());
    let error = set.try_wait_for_zero(0).unwrap_err();
    assert_eq!((error.is_would_block(), error.errno()), (true, Some(11)), "{error}");
    // A reaped process is of no namespace any more: the kernel still remembers it, by a number that may be used again.
    assert!([Some(giver_id), None].contains(&set.last_operator(0).unwrap()));
    set.operate(&[Operation::new(0, -1)]).unwrap();
    assert_eq!(set.last_operator(0).unwrap(), me);
}
