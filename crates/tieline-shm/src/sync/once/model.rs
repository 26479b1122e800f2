//! The protocol of a value that is made once, under loom: some ask for it at the same time, one or two die at it.

use loom::cell::UnsafeCell;

use super::core::look_or_make;
use crate::model::{explore, must_notice, name_in};
use crate::raw::View;
use crate::raw::atomic::AtomicU64;
use crate::raw::robust::model::live;
use crate::raw::robust::{RobustWord, Thread};
use crate::sync::mutex::core as mutex;
use crate::sync::mutex::spins::Spins;
use crate::wait::Until;

type Death = Option<&'static str>;

struct Cell {
    lock: RobustWord,
    done: AtomicU64,
    /// Loom fails a model in which one writes it while another looks at it.
    value: UnsafeCell<u32>,
}

// SAFETY: the value is written under the lock and read when it is done, which is what the models check.
unsafe impl Sync for Cell {}
// SAFETY: as above.
unsafe impl Send for Cell {}

struct Held<'a>(&'a Cell, Thread);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A model's thread dies by a panic; the dead give nothing back.
        if !std::thread::panicking() {
            mutex::give_back(&self.0.lock, self.1);
        }
    }
}

impl Cell {
    fn new() -> View<Self> {
        let (lock, done, value) = (RobustWord::new(), AtomicU64::new(0), UnsafeCell::new(0));
        View::leak(Box::new(Self { lock, done, value }))
    }

    /// The value; `own` if nobody has made another.
    fn ask(&self, own: u32) -> u32 {
        // SAFETY: read only once `done` says that it is made, after which nobody writes; loom's cell would panic otherwise.
        let read = || Ok(self.value.with(|value| unsafe { *value }));
        let lock = || {
            let me = Thread::current()?;
            let taken = mutex::take(&self.lock, me, Until::Forever, &Spins::default())?;
            if taken == mutex::Taken::OwnerDied {
                mutex::mark_consistent(&self.lock);
            }
            Ok(Held(self, me))
        };
        let make = || {
            // SAFETY: by the holder of the lock alone, before `done`; loom's cell would panic otherwise.
            self.value.with_mut(|value| unsafe { *value = own });
            own
        };
        look_or_make(&self.done, read, lock, make).unwrap()
    }
}

/// Threads that each ask once, and those who die at it; the others answer the same, as does whoever asks later.
fn ask(name: &str, bound: usize, deaths: &'static [Death]) {
    explore(name, bound, move || {
        let cell = Cell::new();
        let life = |place: usize| {
            let cell = cell.clone();
            move || {
                let id = place as u32 + 1;
                live(id, deaths[place].map(|step| (step, 1)), || cell.ask(id))
            }
        };
        let others: Vec<_> = (1..deaths.len()).map(|place| loom::thread::spawn(life(place))).collect();
        let mut answers = vec![life(0)()];
        answers.extend(others.into_iter().map(|other| other.join().unwrap()));
        let later = live(9, None, || cell.ask(9)).unwrap();
        for answer in answers.into_iter().flatten() {
            assert_eq!(answer, later, "two values were made");
        }
    });
}

#[test]
fn model_all_who_ask_get_one_value() {
    ask("two ask", 3, &[None, None]);
    ask("three ask", 2, &[None, None, None]);
}

#[test]
fn model_a_maker_dies_at_any_step() {
    for step in ["once:begun", "once:made", "once:done", "mutex:linked", "mutex:given"] {
        ask(
            step,
            3,
            match step {
                "once:begun" => &[Some("once:begun"), None],
                "once:made" => &[Some("once:made"), None],
                "once:done" => &[Some("once:done"), None],
                "mutex:linked" => &[Some("mutex:linked"), None],
                _ => &[Some("mutex:given"), None],
            },
        );
    }
}

#[test]
fn model_two_makers_die_one_after_the_other() {
    ask("two makers die", 2, &[Some("once:begun"), Some("once:made"), None]);
}

#[test]
fn model_controls() {
    for bug in ["nobody looks again", "done too early", "release is missing"] {
        must_notice(&name_in(module_path!(), "model_all_who_ask_get_one_value"), bug);
    }
}
