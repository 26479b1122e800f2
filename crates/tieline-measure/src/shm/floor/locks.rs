//! The locks that everybody has: the C library's robust mutex between processes, and Rust's within one.

use std::sync::Mutex;
use std::thread;

use tieline_os::pthread::{self, Locked, MutexOptions};

use crate::control::{Outcome, Sentence};
use crate::player::pin;
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::memory::Memory;
use crate::shm::stage::{Figure, Part, Stage, rate, steps};
use crate::shm::subject::Subject;

/// So many are timed at once, because the clock costs more than a lock.
const PER_BATCH: u32 = 1000;

pub(super) struct Pthread;

pub(super) static PTHREAD: Pthread = Pthread;

impl Contestant for Pthread {
    fn name(&self) -> &'static str {
        "pthread robust"
    }

    fn rank(&self) -> Rank {
        Rank::Floor
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Lock { .. })
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        let memory = Memory::open(stage.folder(), "lock", 4096)?;
        if stage.part() == Part::First {
            pthread::Mutex::create(memory.lock_place(), MutexOptions::new()).sentence()?;
        }
        stage.meet()?;
        let mutex = pthread::Mutex::attach(memory.lock_place()).sentence()?;
        play_lock(subject, stage, || match mutex.lock().sentence()? {
            Locked::Clean(guard) => {
                drop(guard);
                Ok(())
            }
            Locked::OwnerDied(_) => Err("the owner died".to_owned()),
        })
    }
}

/// Times `step`, which locks and unlocks; contended, both processes do it.
///
/// # Errors
/// If a step fails.
pub fn play_lock(
    subject: Subject,
    stage: &Stage<'_>,
    step: impl FnMut() -> Outcome<()>,
) -> Outcome<Option<Figure>> {
    stage.meet()?;
    let figure = match (subject, stage.part()) {
        (Subject::Lock { contended: true }, _) => rate(stage.window(), step)?,
        (_, Part::First) => steps(stage.window(), PER_BATCH, step)?,
        (_, Part::Second) => None,
    };
    stage.meet()?;
    Ok(figure)
}

pub(super) struct Std;

pub(super) static STD: Std = Std;

impl Contestant for Std {
    fn name(&self) -> &'static str {
        "std Mutex"
    }

    fn rank(&self) -> Rank {
        Rank::Floor
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Lock { .. })
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        // It is known to one process only, which therefore plays both parts.
        if stage.part() == Part::Second {
            return Ok(None);
        }
        let mutex = Mutex::new(());
        let step = || mutex.lock().map(drop).sentence();
        if subject == (Subject::Lock { contended: false }) {
            return steps(stage.window(), PER_BATCH, step);
        }
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                pin(stage.cpus()[1])?;
                rate(stage.window(), step)
            });
            let own = rate(stage.window(), step)?;
            let other = other.join().map_err(|_| "a thread panicked")??;
            Ok(own.zip(other).map(|(own, other)| Figure::plain(own.value + other.value)))
        })
    }
}
