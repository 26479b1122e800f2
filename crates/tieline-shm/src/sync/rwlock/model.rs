//! Loom models of the reader-writer lock: threads that read and write, one of which may die at any named step.

use loom::cell::UnsafeCell;
use loom::sync::Arc;

use super::reading::Reading;
use super::words::RwWords;
use super::writing::Writing;
use crate::model::{explore, must_notice, name_in};
use crate::raw::View;
use crate::raw::robust::{Thread, model::live};
use crate::sync::line::Line;
use crate::wait::Until;
use crate::{ErrorKind, Result};

/// The lock, and two cells that a writer makes equal again before it leaves.
struct Guarded {
    words: RwWords,
    data: UnsafeCell<[u32; 2]>,
}

// SAFETY: the cell is reached only under the lock; loom checks it.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new(slots: usize, fair: bool) -> Arc<Self> {
        let gates = View::leak(Box::new([Line::new(), Line::new()]));
        let slots: Box<[Line]> = (0..slots).map(|_| Line::new()).collect();
        Arc::new(Self { words: RwWords::new(gates, View::leak(slots), fair), data: UnsafeCell::new([0; 2]) })
    }

    fn me() -> Thread {
        Thread::current().unwrap()
    }

    /// Reads once; `OwnerDied` is an answer.
    fn read(&self, until: Until) -> Result<Reading> {
        let held = self.words.read(Self::me(), until)?;
        let seen = self.data.with(|data| unsafe { *data });
        assert_eq!(seen[0], seen[1], "a reader sees what a writer has not finished");
        self.words.unlock_read(Self::me(), held);
        Ok(held)
    }

    /// Writes once, repairing what a dead writer left.
    fn write(&self, until: Until) -> Result<Writing> {
        let held = self.words.write(Self::me(), until)?;
        self.data.with_mut(|data| {
            let data = unsafe { &mut *data };
            assert!(held.owner_died || data[0] == data[1], "a dead writer's half went unreported");
            data[0] = data[0].max(data[1]) + 1;
        });
        crate::raw::robust::step("model:half-written");
        self.data.with_mut(|data| unsafe { (*data)[1] = (*data)[0] });
        self.words.unlock_write(Self::me(), held, true);
        Ok(held)
    }
}

type Act = fn(&Guarded);

fn reads(lock: &Guarded) {
    lock.read(Until::Forever).or_else(|error| ignore(error.kind())).unwrap();
}

fn ignore(kind: ErrorKind) -> Result<Reading, ErrorKind> {
    if kind == ErrorKind::OwnerDied { Ok(Reading::Gate(0)) } else { Err(kind) }
}

fn writes(lock: &Guarded) {
    lock.write(Until::Forever).unwrap();
}

fn writes_twice(lock: &Guarded) {
    writes(lock);
    writes(lock);
}

fn tries(lock: &Guarded) {
    let deadline = tieline_os::futex::Deadline::after(std::time::Duration::ZERO);
    match lock.write(Until::At(deadline)) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
    }
}

/// Runs the acts side by side, the first as the thread that dies at the step, then looks whether the lock is usable.
fn play(name: &str, bound: usize, slots: usize, fair: bool, dies_at: Option<&'static str>, acts: &'static [Act]) {
    explore(name, bound, move || {
        let lock = Guarded::new(slots, fair);
        let mut threads = Vec::new();
        for (at, act) in acts.iter().enumerate().skip(1) {
            let lock = Arc::clone(&lock);
            let id = u32::try_from(at).unwrap() + 1;
            threads.push(loom::thread::spawn(move || live(id, None, || act(&lock)).unwrap()));
        }
        let died = live(1, dies_at.map(|step| (step, 1)), || acts[0](&lock)).is_none();
        for thread in threads {
            thread.join().unwrap();
        }
        live(9, None, || {
            let held = lock.write(Until::Now).expect("nobody holds it");
            assert!(died || !held.owner_died);
            lock.read(Until::Now).expect("nobody holds it");
        });
    });
}

/// The steps of a writer and of a reader; which of them an act passes depends on who else is there.
const STEPS: &[&str] = &[
    "rwlock:read-begun",
    "rwlock:read-taken",
    "rwlock:read-claimed",
    "rwlock:read-waits",
    "rwlock:read-sleeps",
    "rwlock:read-leaving",
    "rwlock:read-left",
    "rwlock:gate-free",
    "rwlock:gate-taken",
    "rwlock:gate-sleeps",
    "rwlock:drain-sleeps",
    "rwlock:write-gate",
    "rwlock:write-drained",
    "rwlock:write-inside",
    "model:half-written",
    "rwlock:write-leaving",
    "rwlock:write-whole",
    "rwlock:gate-opening",
    "rwlock:gate-phase",
    "rwlock:gate-open",
    "rwlock:pass-on",
];

#[test]
fn model_reader_and_writer() {
    for fair in [false, true] {
        play("reader, writer", 3, 2, fair, None, &[reads, writes]);
    }
}

#[test]
fn model_two_writers_and_a_reader() {
    for fair in [false, true] {
        play("writer, writer, reader", 2, 1, fair, None, &[writes, writes, reads]);
    }
}

#[test]
fn model_three_writers() {
    for fair in [false, true] {
        play("writer, writer, writer", 2, 1, fair, None, &[writes, writes, writes]);
    }
}

#[test]
fn model_writer_and_two_readers() {
    for fair in [false, true] {
        play("writer, reader, reader", 2, 2, fair, None, &[writes, reads, reads]);
        play("writer, reader, reader, one slot", 2, 1, fair, None, &[writes, reads, reads]);
    }
}

/// A reader that is let in and does not notice while a reader without a slot has its phase, and the same writer comes back.
#[test]
fn model_reader_that_does_not_notice() {
    play("twice a writer, reader, reader, one slot", 3, 1, true, None, &[writes_twice, reads, reads]);
}

#[test]
fn model_deadline() {
    for fair in [false, true] {
        play("writer with a deadline, reader, writer", 2, 1, fair, None, &[tries, reads, writes]);
    }
}

#[test]
fn model_death_of_a_writer() {
    for fair in [false, true] {
        for step in STEPS {
            play(step, 3, 1, fair, Some(step), &[writes, writes, reads]);
        }
    }
}

#[test]
fn model_death_of_a_reader() {
    for fair in [false, true] {
        for step in STEPS {
            play(step, 3, 1, fair, Some(step), &[reads, writes, reads]);
        }
    }
}

/// Negative controls: each planted bug must be found by the model named.
#[test]
fn model_controls() {
    let found = |bug, model| must_notice(&name_in(module_path!(), model), bug);
    found("gate is not looked at", "model_reader_and_writer");
    found("drainer is not told", "model_reader_and_writer");
    found("mark is dropped", "model_death_of_a_writer");
    found("phase is not looked at again", "model_two_writers_and_a_reader");
    found("all who wait are passed over", "model_two_writers_and_a_reader");
    found("wake-up is not passed on", "model_three_writers");
    found("who has not noticed is passed over", "model_reader_that_does_not_notice");
}
