//! Semaphore sets beyond the corner list.

use std::time::{Duration, Instant};

use tieline_os::sysv::sem::{self, Operation, SemaphoreSet, VALUE_MAX};
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode, Result};
use tieline_testkit::{Isolation, Namespace, PATIENCE, Peer, eventually, role, skip, test_name};

use super::{Blocked, fresh_key, id_from, set, set_limit};

#[test]
fn open_create_and_open_or_create_differ_as_they_say() {
    let key = fresh_key();
    assert_eq!(SemaphoreSet::open(key).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(SemaphoreSet::open(Key::PRIVATE).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SemaphoreSet::create(key, 0, Mode::OWNER).unwrap_err().kind(), ErrorKind::InvalidInput);
    let made = RemoveOnDrop::new(SemaphoreSet::open_or_create(key, 2, Mode::GROUP).unwrap());
    assert_eq!(SemaphoreSet::open(key).unwrap(), *made);
    assert_eq!(SemaphoreSet::open_or_create(key, 1, Mode::OWNER).unwrap(), *made);
    let error = SemaphoreSet::open_or_create(key, 3, Mode::OWNER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("fewer than 3"), "{error}");
    assert_eq!(SemaphoreSet::create(key, 2, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let stat = made.stat().unwrap();
    assert_eq!((stat.permissions.key, stat.permissions.mode, stat.semaphores), (key, Mode::GROUP, 2));
}

#[test]
fn an_initialised_set_is_open_at_once_and_a_wrong_value_leaves_nothing() {
    let key = fresh_key();
    let error = SemaphoreSet::create_initialised(key, &[0, VALUE_MAX + 1], Mode::OWNER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(SemaphoreSet::open(key).unwrap_err().kind(), ErrorKind::NotFound);

    // The first value at either end of its range: the mark must not push it over.
    for values in [[0, 7], [VALUE_MAX, 7]] {
        let made = RemoveOnDrop::new(SemaphoreSet::create_initialised(key, &values, Mode::OWNER).unwrap());
        let opened = SemaphoreSet::open_initialised(key, Duration::ZERO).unwrap();
        assert_eq!((opened, opened.values().unwrap()), (*made, values.to_vec()));
    }
    let made = RemoveOnDrop::new(SemaphoreSet::create_initialised(key, &[1], Mode::OWNER).unwrap());
    let error = SemaphoreSet::open_or_create_initialised(key, &[1, 1], Mode::OWNER, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(made.values().unwrap(), [1]);
    drop(made);
    assert_eq!(SemaphoreSet::create_initialised(key, &[], Mode::OWNER).unwrap_err().kind(), ErrorKind::InvalidInput);
    let many = SemaphoreSet::create_initialised(key, &vec![0; 65_536], Mode::OWNER).unwrap_err();
    assert_eq!((many.kind(), many.errno()), (ErrorKind::InvalidInput, None));
}

/// The creator is killed between creating and initialising: who comes later is told, in time.
#[test]
fn a_creator_that_dies_in_between_is_a_timeout_for_the_others() {
    let key = match role() {
        Some(me) => {
            SemaphoreSet::create(me.env("KEY").parse().unwrap(), 1, Mode::OWNER).unwrap();
            me.say("created");
            return me.wait_for("never said");
        }
        None => fresh_key(),
    };
    let mut creator = Peer::of(test_name!()).role("creator").env("KEY", key.to_string()).spawn();
    creator.wait_for("created");
    let left_behind = RemoveOnDrop::new(SemaphoreSet::open(key).unwrap());
    creator.kill();
    let error =
        SemaphoreSet::open_or_create_initialised(key, &[1], Mode::OWNER, Duration::from_millis(20)).unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("remove the set"), "{error}");
    left_behind.remove().unwrap();
    let set = SemaphoreSet::open_or_create_initialised(key, &[1], Mode::OWNER, PATIENCE).unwrap();
    drop(RemoveOnDrop::new(set));
}

#[test]
fn what_an_operation_can_be_refused_for_is_told_apart() {
    let set = set(&[1, 1]);
    let kind = |operations: &[Operation]| set.try_operate(operations).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::InvalidInput);
    assert_eq!(kind(&[Operation::new(2, 1)]), ErrorKind::InvalidInput);
    assert_eq!(kind(&[Operation::new(0, i16::MAX)]), ErrorKind::TooLarge);
    let limit = sem::limits().unwrap().operations_max;
    assert_eq!(kind(&vec![Operation::new(0, 1); limit + 1]), ErrorKind::TooLarge);
    set.try_operate(&vec![Operation::new(0, 1); limit]).unwrap();
    assert_eq!(set.value(0).unwrap(), 1 + u16::try_from(limit).unwrap());
    // Around the border between stack and heap.
    for count in [15, 16, 17] {
        set.set_value(1, 0).unwrap();
        set.operate(&vec![Operation::new(1, 2); count]).unwrap();
        assert_eq!(usize::from(set.value(1).unwrap()), 2 * count);
    }
    let index = |result: Result<()>| result.unwrap_err().kind();
    assert_eq!(index(set.value(2).map(drop)), ErrorKind::InvalidInput);
    assert_eq!(index(set.set_value(2, 0)), ErrorKind::InvalidInput);
    assert_eq!(index(set.last_operator(u16::MAX).map(drop)), ErrorKind::InvalidInput);
    assert_eq!(index(set.set_value(0, VALUE_MAX + 1)), ErrorKind::TooLarge);
    assert_eq!(index(set.set_values(&[1, VALUE_MAX + 1])), ErrorKind::TooLarge);
    assert_eq!(index(set.set_values(&[1])), ErrorKind::InvalidInput);
    assert_eq!(index(set.set_values(&[1, 2, 3])), ErrorKind::InvalidInput);
    set.remove().unwrap();
    for gone in [
        set.value(0).map(drop),
        set.values().map(drop),
        set.set_values(&[1, 1]),
        set.try_operate(&[Operation::new(0, 1)]),
    ] {
        assert_eq!(index(gone), ErrorKind::Removed);
    }
}

#[test]
fn deadlines_are_kept_and_told_from_operations_that_would_not_wait() {
    let set = set(&[0, 1]);
    let limit = Duration::from_millis(30);
    let take = Operation::new(0, -1);
    let begun = Instant::now();
    assert!(set.operate_timeout(&[take], limit).unwrap_err().is_timeout() && begun.elapsed() >= limit);
    assert!(set.wait_for_zero_timeout(1, Duration::ZERO).unwrap_err().is_timeout());
    set.wait_for_zero_timeout(0, Duration::ZERO).unwrap();
    set.wait_for_zero(0).unwrap();

    // The first is waited for, the second is not.
    assert!(set.operate(&[take.no_wait()]).unwrap_err().is_would_block());
    assert!(set.operate_timeout(&[take.no_wait()], PATIENCE).unwrap_err().is_would_block());
    let waiting = *set;
    let blocked =
        Blocked::on(move || waiting.operate_timeout(&[take, Operation::wait_for_zero(1).no_wait()], PATIENCE));
    set.operate(&[Operation::new(0, 1)]).unwrap();
    assert!(blocked.result().unwrap_err().is_would_block());
    assert_eq!(set.values().unwrap(), [1, 1]);

    let blocked = Blocked::on(move || waiting.operate_timeout(&[Operation::new(0, -2)], Duration::MAX));
    set.operate(&[Operation::new(0, 1)]).unwrap();
    blocked.result().unwrap();
}

#[test]
fn waiters_are_counted_where_they_wait() {
    let set = set(&[0, 1]);
    let waiting = *set;
    let two = [-1, -1].map(|delta| Blocked::on(move || waiting.operate(&[Operation::new(0, delta)])));
    let zero = Blocked::on(move || waiting.wait_for_zero(1));
    let counts =
        || [0, 1].map(|index| (set.waiters_for_increase(index).unwrap(), set.waiters_for_zero(index).unwrap()));
    eventually("each is counted where it waits", || counts() == [(2, 0), (0, 1)]);
    set.set_values(&[2, 0]).unwrap();
    two.into_iter().chain([zero]).for_each(|waiter| waiter.result().unwrap());
    assert_eq!(counts(), [(0, 0), (0, 0)]);
}

#[test]
fn a_process_killed_while_waiting_is_no_waiter_any_more() {
    if let Some(me) = role() {
        me.say("waiting");
        let _ = SemaphoreSet::from_id(id_from(&me)).operate(&[Operation::new(0, -1)]);
        return;
    }
    let set = set(&[0]);
    let mut waiter = Peer::of(test_name!()).role("waiter").env("ID", set.id().to_string()).spawn();
    waiter.wait_for("waiting");
    eventually("it waits", || set.waiters_for_increase(0).unwrap() == 1);
    waiter.kill();
    assert_eq!(set.waiters_for_increase(0).unwrap(), 0);
    set.operate(&[Operation::new(0, 1)]).unwrap();
    assert_eq!(set.value(0).unwrap(), 1);
}

#[test]
fn owner_and_mode_can_be_changed() {
    let set = set(&[3]);
    set.set_mode("666".parse().unwrap()).unwrap();
    assert_eq!((set.stat().unwrap().permissions.mode, set.value(0).unwrap()), (Mode::ANYONE, 3));
    assert_eq!(set.set_owner(None, Some(u32::MAX)).unwrap_err().kind(), ErrorKind::InvalidInput);
    if rustix::process::geteuid().is_root() {
        match set.set_owner(Some(321), None) {
            // Some sandboxes are user namespaces of one user.
            Err(error) if error.kind() == ErrorKind::InvalidInput => skip!("there is no user 321 here: {error}"),
            done => done.unwrap(),
        }
        assert_eq!(set.stat().unwrap().permissions.uid, 321);
    }
}

/// Alone in a namespace, the limits are what the file in /proc says, can be reached, and one past is refused.
#[test]
fn limits_and_usage_are_the_namespaces_own() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    // Semaphores in a set, in all sets, operations in a call, sets.
    if let Err(why) = set_limit("sem", "5 7 4 2") {
        skip!("{why}");
    }
    let limits = sem::limits().unwrap();
    assert_eq!((limits.semaphores_per_set_max, limits.semaphores_max), (5, 7));
    assert_eq!((limits.operations_max, limits.sets_max, limits.value_max), (4, 2, usize::from(VALUE_MAX)));
    let create = |count| SemaphoreSet::create(Key::PRIVATE, count, Mode::OWNER);
    assert_eq!(create(6).unwrap_err().kind(), ErrorKind::InvalidInput);
    let first = RemoveOnDrop::new(create(5).unwrap());
    assert_eq!(create(3).unwrap_err().kind(), ErrorKind::LimitReached);
    let second = RemoveOnDrop::new(create(1).unwrap());
    let error = create(1).unwrap_err();
    assert!(error.kind() == ErrorKind::LimitReached && error.to_string().contains("kernel.sem"), "{error}");
    assert_eq!(first.operate(&[Operation::new(0, 1); 5]).unwrap_err().kind(), ErrorKind::TooLarge);
    first.operate(&[Operation::new(0, 1); 4]).unwrap();
    let usage = sem::usage().unwrap();
    assert_eq!((usage.sets, usage.semaphores), (2, 6));
    let all: Vec<_> = sem::sets().unwrap().map(Result::unwrap).collect();
    assert_eq!(all, [first.stat().unwrap(), second.stat().unwrap()]);
}

#[test]
fn the_largest_set_is_read_and_written_whole() {
    let count = u16::try_from(sem::limits().unwrap().semaphores_per_set_max.min(32_000)).unwrap();
    let values: Vec<u16> = (0..count).map(|index| index % (VALUE_MAX + 1)).collect();
    let set = set(&values);
    assert_eq!(set.values().unwrap(), values);
    assert_eq!(set.value(count - 1).unwrap(), values[usize::from(count) - 1]);
}

#[test]
fn a_kept_object_stays() {
    let set = set(&[1]).keep();
    assert_eq!(set.value(0).unwrap(), 1);
    set.remove().unwrap();
}

#[test]
fn a_panic_removes_what_its_guard_holds() {
    let guarded = set(&[1]);
    let handle = *guarded;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _guarded = guarded;
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(panicked.is_err());
    assert_eq!(handle.value(0).unwrap_err().kind(), ErrorKind::Removed);
}
