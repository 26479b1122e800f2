//! The work queue under loom. Each model states its bound of preemptions.

use loom::sync::Arc;
use loom::thread;
use tieline_testkit::test_name;

use super::*;
use crate::Waiting;
use crate::model::{explore, must_fail};
use crate::wait::Until;

const SLOTS: u32 = 2;

fn queue() -> WorkQueue {
    let zero = || AtomicU64::new(0);
    let position = || Position { value: zero(), _rest: std::array::from_fn(|_| zero()) };
    let control = Control {
        tail: position(),
        head: position(),
        behind: zero(),
        served: zero(),
        skipped: zero(),
        orphaned: zero(),
        requeued: zero(),
        rejected: zero(),
        _reserved: std::array::from_fn(|_| zero()),
        items: EventCount::new(),
        room: EventCount::new(),
    };
    let geometry = Geometry::new(SLOTS, 8).unwrap();
    let cells = (0..geometry.cells_len_bytes() / 8).map(|_| zero()).collect();
    WorkQueue::new(View::leak(Box::new(control)), Cells::new(View::leak(cells)), geometry).unwrap()
}

fn owner(member: u32) -> Owner {
    Owner::new(member, 1).unwrap()
}

fn put(queue: &WorkQueue, owner: Owner, number: u64) {
    let claimed = queue.claim(owner, number as u8).unwrap();
    queue.cells().copy_in(claimed.item_offset(queue.geometry()), &number.to_ne_bytes());
    queue.commit(claimed, 8).unwrap();
    queue.item_added();
}

fn number_in(queue: &WorkQueue, taken: Taken) -> u64 {
    let mut bytes = [0; 8];
    queue.cells().copy_out(taken.item_offset(queue.geometry()), &mut bytes);
    u64::from_ne_bytes(bytes)
}

fn take_waiting(queue: &WorkQueue, owner: Owner) -> Taken {
    let ready = || match queue.take(owner) {
        Err(error) if error.is_would_block() => None,
        answer => Some(answer.unwrap()),
    };
    queue.control().items.wait(Waiting::Block, Until::Forever, RECEIVE, ready).unwrap()
}

/// Two producers, one consumer that sleeps: each item comes once, whichever producer is slow.
fn two_producers_one_consumer() {
    let queue = Arc::new(queue());
    let producers: Vec<_> = (1..3)
        .map(|member| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || put(&queue, owner(member), u64::from(member)))
        })
        .collect();
    let mut sum = 0;
    for _ in 0..2 {
        let taken = take_waiting(&queue, owner(0));
        sum += number_in(&queue, taken);
        queue.finish(taken).unwrap();
    }
    assert_eq!(sum, 3, "each once");
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    assert!(queue.take(owner(0)).unwrap_err().is_would_block());
}

#[test]
fn model_two_producers_one_consumer() {
    explore("work: two producers, one consumer", 2, two_producers_one_consumer);
}

#[test]
fn model_two_producers_one_consumer_needs_the_mark() {
    must_fail(&test_name!(), &Bug::PassWithoutMark.name(), || explore("planted", 2, two_producers_one_consumer));
}

#[test]
fn model_two_producers_one_consumer_needs_to_be_told() {
    must_fail(&test_name!(), &Bug::NoNotify.name(), || explore("planted", 2, two_producers_one_consumer));
}

/// One item, two consumers who do not wait: one gets it.
#[test]
fn model_two_consumers_take_each_item_once() {
    explore("work: two consumers", 3, || {
        let queue = Arc::new(queue());
        put(&queue, owner(0), 7);
        let consumers: Vec<_> = (1..3)
            .map(|member| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || match queue.take(owner(member)) {
                    Ok(taken) => {
                        assert_eq!(number_in(&queue, taken), 7);
                        queue.finish(taken).unwrap();
                        1
                    }
                    Err(error) => {
                        assert!(error.is_would_block());
                        0
                    }
                })
            })
            .collect();
        put(&queue, owner(0), 7);
        let got: u32 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
        let rest = std::iter::from_fn(|| queue.take(owner(0)).ok()).count();
        assert_eq!(got as usize + rest, 2);
    });
}

/// A consumer is taken for dead while it finishes: either it finished, or the item comes again; never both, never
/// neither.
fn recovery_races_with_the_owner() {
    let queue = Arc::new(queue());
    put(&queue, owner(0), 7);
    let taken = queue.take(owner(1)).unwrap();
    let recovering = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            queue.departed(owner(1)).unwrap();
            if let Ok(taken) = queue.take(owner(2)) {
                // It holds what it took: nobody else may release it.
                queue.finish(taken).unwrap();
            }
        })
    };
    // Somebody goes past the slot meanwhile, which changes the word of what is held.
    put(&queue, owner(0), 8);
    put_if_room(&queue, 9);
    let finished = queue.finish(taken).is_ok();
    recovering.join().unwrap();
    let mut rest = 0;
    while let Ok(taken) = queue.take(owner(0)) {
        rest += u32::from(number_in(&queue, taken) == 7);
        queue.finish(taken).unwrap();
    }
    if finished {
        assert_eq!(queue.counters().orphaned, 0);
        assert_eq!(rest, 0);
    } else {
        assert_eq!(queue.counters().orphaned, 1);
    }
}

fn put_if_room(queue: &WorkQueue, number: u64) {
    if let Ok(claimed) = queue.claim(owner(0), 0) {
        queue.cells().copy_in(claimed.item_offset(queue.geometry()), &number.to_ne_bytes());
        queue.commit(claimed, 8).unwrap();
    }
}

#[test]
fn model_recovery_races_with_the_owner() {
    explore("work: recovery against the owner", 5, recovery_races_with_the_owner);
}

#[test]
fn model_recovery_races_with_the_owner_needs_the_check() {
    must_fail(&test_name!(), &Bug::ReleaseWithoutCheck.name(), || explore("planted", 2, recovery_races_with_the_owner));
}

/// Two recover the same dead member while a consumer sleeps: the item comes again, once.
fn two_recover_while_one_sleeps() {
    let queue = Arc::new(queue());
    put(&queue, owner(0), 7);
    queue.take(owner(1)).unwrap();
    let recovering: Vec<_> = (0..2)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.departed(owner(1)).unwrap())
        })
        .collect();
    let taken = take_waiting(&queue, owner(2));
    assert_eq!((number_in(&queue, taken), taken.attempts), (7, 1));
    recovering.into_iter().for_each(|recovering| recovering.join().unwrap());
    assert!(queue.take(owner(2)).unwrap_err().is_would_block(), "once");
}

#[test]
fn model_two_recover_while_one_sleeps() {
    explore("work: two recover", 3, two_recover_while_one_sleeps);
}

#[test]
fn model_recovery_needs_to_give_notice() {
    must_fail(&test_name!(), &Bug::RecoverWithoutNotice.name(), || explore("planted", 2, two_recover_while_one_sleeps));
}

/// A producer with an old `tail` claims a slot that others went past while it was held.
#[test]
fn model_a_slot_gone_past_while_held_is_not_claimed_unseen() {
    explore("work: held, gone past, claimed late", 3, || {
        let queue = Arc::new(queue());
        put(&queue, owner(0), 1);
        let held = queue.take(owner(1)).unwrap();
        put(&queue, owner(0), 2);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || put_if_room(&queue, 4))
        };
        let finishing = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.finish(held).unwrap())
        };
        let mut numbers = 0;
        if let Ok(taken) = queue.take(owner(2)) {
            numbers += number_in(&queue, taken);
            queue.finish(taken).unwrap();
        }
        other.join().unwrap();
        finishing.join().unwrap();
        put_if_room(&queue, 8);
        // Everything that was put in comes out; nothing lies where nobody looks.
        while let Ok(taken) = queue.take(owner(2)) {
            numbers += number_in(&queue, taken);
            queue.finish(taken).unwrap();
        }
        assert!([14, 10].contains(&numbers), "{numbers}");
        assert!((0..2).all(|position| queue.load(position).state() == State::Free));
    });
}
