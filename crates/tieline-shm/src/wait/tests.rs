//! What can be seen of waiting from inside: the layout, the bits, and what any memory does to it.

use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tieline_os::Access;
use tieline_os::futex::Deadline;

use super::event_count::EventCount;
use super::{Bell, Hung, Until, Waiting};
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::{View, futex};
use crate::segment::{Kind, Purpose, Segment};

fn soon() -> Until {
    Until::At(Deadline::after(Duration::from_millis(1)))
}

#[test]
fn the_layout_is_as_documented() {
    assert_eq!((size_of::<EventCount>(), align_of::<EventCount>()), (64, 64));
    assert_eq!(offset_of!(EventCount, state), 0);
    assert_eq!(offset_of!(EventCount, turn), 8);
    assert_eq!(offset_of!(EventCount, notifier_cpu), 12);
    assert_eq!(offset_of!(EventCount, relay_turn), 16);
}

/// A sleeper makes notifiers use a fence; many waits that did not sleep let them off it again.
#[test]
fn the_fence_goes_when_nobody_sleeps_any_more() {
    let count = EventCount::new();
    assert!(count.wait(Waiting::Block, soon(), "wait", || None::<()>).unwrap_err().is_timeout());
    assert_eq!(count.state.load(Ordering::Relaxed), 0b111, "asleep, fence, settled");
    count.notify();
    assert_eq!(count.state.load(Ordering::Relaxed), 0b110, "the announcement is taken off, the fence stays");
    for _ in 0..1000 {
        count.wait(Waiting::Block, Until::Now, "wait", || Some(())).unwrap();
    }
    assert_eq!(count.state.load(Ordering::Relaxed), 1 << 8, "only that it was cleared once is left");
}

/// While somebody is announced the fence must stay, however calm others are.
#[test]
fn the_fence_stays_while_somebody_is_announced() {
    let count = EventCount::new();
    count.announce_bell(5);
    for _ in 0..1000 {
        count.wait(Waiting::Block, Until::Now, "wait", || Some(())).unwrap();
    }
    assert_eq!(count.state.load(Ordering::Relaxed), 1 << 29 | 0b110);
}

#[test]
fn a_bell_is_rung_only_for_its_own_number() {
    let count = View::leak(Box::new(EventCount::new()));
    let (one, two) = (Bell::new().unwrap(), Bell::new().unwrap());
    let _one = Hung::new(&one, &count, 1);
    let two_hung = Hung::new(&two, &count, 2);
    count.notify();
    count.announce_bell(2);
    count.notify();
    count.notify();
    assert!(one.counter().try_read().unwrap_err().is_would_block());
    assert_eq!(two.counter().try_read().unwrap(), 1, "rung once for one announcement");
    count.wake_after_death();
    assert_eq!((one.counter().try_read().unwrap(), two.counter().try_read().unwrap()), (1, 1), "a death rings all");
    drop(two_hung);
    count.announce_bell(2);
    count.notify();
    assert!(two.counter().try_read().unwrap_err().is_would_block(), "it hangs there no more");
}

/// One who was told of a death by its own process, has looked, and waits for what comes next.
#[test]
fn telling_of_a_death_takes_nobodys_announcement_off() {
    let count = View::leak(Box::new(EventCount::new()));
    count.announce_bell(7);
    count.wake_after_death();
    let bell = Bell::new().unwrap();
    let _hung = Hung::new(&bell, &count, 7);
    count.notify();
    assert_eq!(bell.counter().try_read().unwrap(), 1);
}

/// Memory mapped read-only can be slept on, and woken on: how readers of a latest value do both.
#[test]
fn read_only_memory_can_be_slept_and_woken_on() {
    let made = Segment::create(&Purpose { kind: Kind::Event, name: "word", layout_hash: 0 }, 4096).unwrap();
    let accept = || {
        let fd = made.read_only_fd().unwrap();
        Segment::accept(fd, Kind::Event, 0, Access::ReadOnly).unwrap().view::<AtomicU32>(0).unwrap()
    };
    let (sleeper, waker) = (accept(), accept());
    let thread = std::thread::spawn(move || {
        let deadline = Deadline::after(tieline_testkit::PATIENCE);
        let waited = futex::wait(&sleeper, 0, Some(deadline)).unwrap();
        assert_ne!(waited, tieline_os::futex::Waited::TimedOut);
    });
    // Woken as soon as it sleeps: the count says when.
    tieline_testkit::eventually("the sleeper is woken", || futex::wake(&waker, u32::MAX) == 1);
    thread.join().unwrap();
}

/// The adaptive wait holds its deadline where nothing ever comes, and learns to spin less there.
#[test]
fn waiting_in_vain_costs_little_processor_time() {
    let count = Arc::new(EventCount::new());
    let spent = || {
        let usage = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(usage.tv_sec.cast_unsigned(), u32::try_from(usage.tv_nsec).unwrap())
    };
    // The first waits spin their guess; an answer that comes late, again and again, teaches better.
    let mut least = Duration::MAX;
    for wait in 0..1000 {
        // More, where a machine charges a thread for what it does besides.
        if wait >= 40 && least < Duration::from_millis(1) {
            break;
        }
        let started = spent();
        // Before the other begins to sleep, so that what it notifies of is true by then.
        let wake = Instant::now() + Duration::from_millis(2);
        let notifier = Arc::clone(&count);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            notifier.notify();
        });
        let waited = count.wait(Waiting::Adaptive, Until::Forever, "wait", || (Instant::now() >= wake).then_some(()));
        waited.unwrap();
        thread.join().unwrap();
        if wait >= 30 {
            // What else the machine does is charged to one or another of them.
            least = least.min(spent() - started);
        }
    }
    assert!(least < Duration::from_millis(1), "{least:?} of processor time for a wait of 2 ms");
}

proptest! {
    /// Whatever a liar writes there: notifying ends, and a wait holds its deadline.
    #[test]
    fn any_memory_is_borne(state in any::<u64>(), turn in any::<u32>(), cpu in any::<u32>()) {
        let count = EventCount::new();
        count.state.store(state, Ordering::Relaxed);
        count.turn.store(turn, Ordering::Relaxed);
        count.notifier_cpu.store(cpu, Ordering::Relaxed);
        count.notify();
        count.notify_one();
        for how in [Waiting::Block, Waiting::Adaptive] {
            let until = Until::At(Deadline::after(Duration::from_micros(10)));
            prop_assert!(count.wait(how, until, "wait", || None::<()>).unwrap_err().is_timeout());
        }
        count.announce_bell(3);
        count.wake_after_death();
        for _ in 0..600 {
            count.wait(Waiting::Block, Until::Now, "wait", || Some(())).unwrap();
        }
    }
}
