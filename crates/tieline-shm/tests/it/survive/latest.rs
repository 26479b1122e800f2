//! Latest values and events: whole values, counts that are neither lost nor invented, and a successor for the dead.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use tieline_shm::event::{Event, Fired, Listener};
use tieline_shm::latest::{Latest, LatestReader, LatestWriter};
use tieline_shm::{ErrorKind, Name, Segment, SegmentOptions};
use tieline_testkit::PATIENCE;

use super::conduct::{End, Place};
use super::{Subject, given};

type Value = [u64; 30];

pub(super) struct Values {
    name: Name,
    /// So that the object outlives each victim.
    writer: Option<LatestWriter<Value>>,
    reader: LatestReader<Value>,
    last: u64,
}

fn values(place: &Place) -> Name {
    Name::new(&place.name("value")).expect("a name")
}

fn whole(value: &Value) -> u64 {
    assert!(value.iter().all(|word| *word == value[0]), "torn: {value:?}");
    value[0]
}

impl Values {
    /// Reads for a while.
    fn look(&mut self) {
        for _ in 0..50 {
            if let Some(value) = self.reader.read().expect("readable") {
                let value = whole(&value);
                assert!(value >= self.last, "went back");
                self.last = value;
            }
        }
    }
}

impl Subject for Values {
    const ROLES: &'static [&'static str] = &["writer", "reader"];
    const STEPS: &'static [&'static str] = &["latest"];
    const BYSTANDER: Option<&'static str> = Some("reader");

    fn start(place: &Place) -> Self {
        let name = values(place);
        let mut writer = Latest::at(&name).expect("a name").writer().expect("a writer");
        writer.write(&[1; 30]).expect("written");
        let reader = Latest::at(&name).expect("a name").reader().expect("a reader");
        Self { name, writer: Some(writer), reader, last: 0 }
    }

    fn victim(role: &str, place: &Place) {
        let name = values(place);
        if role == "writer" {
            let mut writer = loop {
                match Latest::at(&name).expect("a name").writer() {
                    Ok(writer) => break writer,
                    // The conductor has not let go yet.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                }
            };
            let before =
                Latest::<Value>::at(&name).expect("a name").reader().expect("a reader").read().expect("readable");
            place.ready();
            for value in before.map_or(1, |value| whole(&value) + 1).. {
                writer.write(&[value; 30]).expect("written");
            }
        }
        let mut reader = Latest::<Value>::at(&name).expect("a name").reader().expect("a reader");
        place.ready();
        let mut last = 0;
        loop {
            match reader.changed() {
                Ok(value) => {
                    let value = whole(&value);
                    assert!(value >= last, "went back");
                    last = value;
                }
                // Overtaken while it was preempted.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Lagged, "{error}"),
            }
        }
    }

    fn round(&mut self, role: &str, end: &End) -> Option<Instant> {
        if role == "reader" {
            let writer = self.writer.as_mut().expect("ours between the rounds");
            let mut value = self.last;
            while !end.is_reaped() {
                value += 1;
                writer.write(&[value; 30]).expect("written");
                assert_eq!(whole(&self.reader.read().expect("readable").expect("written")), value);
            }
            self.last = value;
            return None;
        }
        drop(self.writer.take());
        while !end.is_dead() {
            self.look();
        }
        // The place of the dead is free as soon as its death can be seen; its value stays.
        let writer = loop {
            match Latest::at(&self.name).expect("a name").writer() {
                Ok(writer) => break writer,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            }
            end.is_reaped();
        };
        let told = Instant::now();
        self.look();
        assert!(self.last >= 1, "the last value is gone");
        self.last += 1;
        self.writer.insert(writer).write(&[self.last; 30]).expect("written");
        assert_eq!(whole(&self.reader.read().expect("readable").expect("written")), self.last);
        while !end.is_reaped() {}
        Some(told).filter(|_| end.was_ready())
    }
}

/// Events, with a ledger of what victims have begun to notify and have notified.
pub(super) struct Bells {
    event: Event,
    listener: Listener,
    ledger: Segment,
    ledger_fd: OwnedFd,
}

const OURS: u32 = 3;
const VICTIMS: u32 = 5;

fn event(place: &Place) -> Event {
    let name = Name::new(&place.name("event")).expect("a name");
    Event::options().ids(8).open_or_create(&name).expect("events")
}

fn count(ledger: &Segment, which: usize) -> &std::sync::atomic::AtomicU64 {
    ledger.atomic_u64(which * 8).expect("within the ledger")
}

impl Subject for Bells {
    const ROLES: &'static [&'static str] = &["notifier", "listener"];
    const STEPS: &'static [&'static str] = &["event"];
    const BYSTANDER: Option<&'static str> = Some("listener");

    fn start(place: &Place) -> Self {
        let event = event(place);
        let listener = event.listener();
        let ledger = SegmentOptions::new("ledger").create(16).expect("memory");
        let ledger_fd = ledger.try_clone_fd().expect("a descriptor");
        Self { event, listener, ledger, ledger_fd }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("LEDGER", self.ledger_fd.as_fd())]
    }

    fn victim(role: &str, place: &Place) {
        let ledger = SegmentOptions::new("ledger").accept(given("LEDGER")).expect("the ledger");
        let event = event(place);
        let mut listener = event.listener();
        place.ready();
        if role == "notifier" {
            loop {
                count(&ledger, 0).fetch_add(1, Ordering::SeqCst);
                event.notify(VICTIMS).expect("notified");
                count(&ledger, 1).fetch_add(1, Ordering::SeqCst);
            }
        }
        let mut fired = Vec::new();
        loop {
            listener.wait(&mut fired).expect("told");
            assert!(fired.iter().all(|one| [OURS, VICTIMS].contains(&one.id) && one.times > 0), "{fired:?}");
            fired.clear();
        }
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        count(&self.ledger, 0).store(0, Ordering::SeqCst);
        count(&self.ledger, 1).store(0, Ordering::SeqCst);
        let (mut ours, mut heard) = (0_u64, [0_u64; 2]);
        let mut fired: Vec<Fired> = Vec::new();
        let mut is_last = false;
        while !is_last {
            is_last = end.is_reaped();
            // One of ours, so that what the dead had counted and not told is told.
            self.event.notify(OURS).expect("notified");
            ours += 1;
            self.listener.wait_timeout(&mut fired, PATIENCE / 2).expect("told of our own");
            for one in fired.drain(..) {
                heard[usize::from(one.id == VICTIMS)] += one.times;
            }
        }
        let (begun, done) =
            (count(&self.ledger, 0).load(Ordering::SeqCst), count(&self.ledger, 1).load(Ordering::SeqCst));
        assert_eq!(heard[0], ours);
        assert!((done..=begun).contains(&heard[1]), "heard {} of {done} to {begun}", heard[1]);
        None
    }
}
