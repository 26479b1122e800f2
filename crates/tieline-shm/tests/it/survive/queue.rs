//! Work queues: every item once, and again only if its holder died.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::queue::{Delivery, Queue};
use tieline_shm::{Segment, SegmentOptions};
use tieline_testkit::PATIENCE;

use super::conduct::{End, Place};
use super::{Subject, given};

type Item = [u64; 3];

/// Item `number` of a round is here with how often it was delivered, and how often of those as a repetition.
struct Ledger(Segment);

const ITEMS: u64 = 1 << 16;
/// Of items a victim sends, where the conductor's end.
const VICTIMS: u64 = ITEMS / 2;
const REPEATED: u64 = 1 << 32;
/// What a victim has begun to send, and what it has sent.
const BEGUN: u64 = ITEMS;
const SENT: u64 = ITEMS + 1;
const SHORT: Duration = Duration::from_millis(20);

impl Ledger {
    fn options() -> SegmentOptions {
        SegmentOptions::new("ledger")
    }

    fn at(&self, number: u64) -> &AtomicU64 {
        self.0.atomic_u64(number as usize * 8).expect("within the ledger")
    }

    /// The holder writes it down while it holds the item.
    fn note(&self, delivery: &Delivery<Item>) {
        let [number, second, third] = **delivery;
        assert_eq!((second, third), (!number, number), "a torn item");
        let repeated = if delivery.is_redelivered() { REPEATED } else { 0 };
        self.at(number).fetch_add(1 + repeated, Ordering::SeqCst);
    }
}

fn item(number: u64) -> Item {
    [number, !number, number]
}

pub(super) struct Jobs {
    jobs: Queue<Item>,
    ledger: Ledger,
    ledger_fd: OwnedFd,
}

fn open(place: &Place) -> Queue<Item> {
    Queue::options().capacity(8).open_or_create(place.name("jobs")).expect("a queue")
}

impl Jobs {
    fn take_one(&self, wait: Duration) -> bool {
        match self.jobs.recv_timeout(wait) {
            Ok(delivery) => {
                self.ledger.note(&delivery);
                delivery.ack().expect("ours");
                true
            }
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                false
            }
        }
    }

    fn forget(&self) {
        for number in 0..ITEMS + 2 {
            self.ledger.at(number).store(0, Ordering::SeqCst);
        }
    }

    fn total(&self, numbers: std::ops::Range<u64>) -> u64 {
        numbers.filter(|number| self.ledger.at(*number).load(Ordering::SeqCst) > 0).count() as u64
    }
}

impl Subject for Jobs {
    const ROLES: &'static [&'static str] = &["consumer", "producer"];
    const STEPS: &'static [&'static str] = &["work"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[("work:recovered", "queue::work::tests")];
    const BYSTANDER: Option<&'static str> = Some("consumer");

    fn start(place: &Place) -> Self {
        let ledger = Ledger(Ledger::options().create((ITEMS as usize + 2) * 8).expect("memory"));
        let ledger_fd = ledger.0.try_clone_fd().expect("a descriptor");
        Self { jobs: open(place), ledger, ledger_fd }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LEDGER", self.ledger_fd.as_fd())]
    }

    fn victim(role: &str, place: &Place) {
        let ledger = Ledger(Ledger::options().accept(given("LEDGER")).expect("the ledger"));
        let jobs = open(place);
        place.ready();
        if role == "producer" {
            for number in 1..VICTIMS {
                ledger.at(BEGUN).store(number, Ordering::SeqCst);
                jobs.send(&item(VICTIMS + number)).expect("sent");
                ledger.at(SENT).store(number, Ordering::SeqCst);
            }
            loop {
                std::thread::park();
            }
        }
        for count in 0_u64.. {
            let delivery = jobs.recv().expect("an item");
            if !Place::is_bystander() {
                // Longer than it takes to come and go, so that it often dies with one in its hands.
                tieline_testkit::pause(Duration::from_micros(50));
            }
            if count % 16 == 15 && !Place::is_bystander() {
                // Handed back: a repetition for whoever gets it next.
                delivery.requeue().expect("ours");
                continue;
            }
            ledger.note(&delivery);
            delivery.ack().expect("ours");
        }
    }

    fn round(&mut self, role: &str, end: &End) -> Option<Instant> {
        let mut sent = 0;
        let orphaned = self.jobs.counters().orphaned;
        let mut told = None;
        while !end.is_reaped() {
            if role == "consumer" && sent < VICTIMS {
                match self.jobs.send_timeout(&item(sent), SHORT) {
                    Ok(()) => sent += 1,
                    Err(error) => assert!(error.is_timeout(), "{error}"),
                }
            }
            if role == "producer" || sent % 4 == 0 {
                self.take_one(Duration::from_micros(if role == "producer" { 500 } else { 1 }));
            }
            if told.is_none() && end.is_dead() && self.jobs.counters().orphaned > orphaned {
                told = Some(Instant::now());
            }
        }
        // All that was sent is dealt with, by us, the bystander, or the dead.
        let begun = self.ledger.at(BEGUN).load(Ordering::SeqCst);
        let victims = self.ledger.at(SENT).load(Ordering::SeqCst);
        loop {
            let is_idle = !self.take_one(SHORT);
            if told.is_none() && self.jobs.counters().orphaned > orphaned {
                told = Some(Instant::now());
            }
            let done = self.total(0..sent);
            if is_idle && done == sent && self.total(VICTIMS + 1..VICTIMS + 1 + victims) == victims {
                break;
            }
            // Fails when it takes too long.
            end.is_reaped();
        }
        let mut twice = 0;
        for number in 0..ITEMS {
            let entry = self.ledger.at(number).load(Ordering::SeqCst);
            let (times, repeated) = (entry % REPEATED, entry / REPEATED);
            let most = if repeated > 0 { 1 + repeated } else { 1 };
            assert!(times <= most, "item {number} was delivered {times} times, {repeated} of them as repetitions");
            twice += u64::from(times > 1);
            let was_sent = number < sent || (number > VICTIMS && number <= VICTIMS + begun);
            assert!(times == 0 || was_sent, "item {number} came from nowhere");
        }
        assert!(twice <= 1, "{twice} items were delivered twice, and the dead one held one");
        let stats = self.jobs.counters();
        assert!(stats.orphaned - orphaned <= 1, "{stats:?}");
        // Every slot is there again, so the bystander has written down what it had.
        self.forget();
        let slots = self.jobs.capacity() as u64;
        for number in 0..slots {
            self.jobs.send_timeout(&item(number), PATIENCE / 2).expect("room");
        }
        while self.total(0..slots) < slots {
            self.take_one(SHORT);
            end.is_reaped();
        }
        // Now, and not when the next round begins: its victim may be faster.
        self.forget();
        told
    }
}
