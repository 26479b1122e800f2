//! The locks that everybody has: the C library's robust mutex between processes, and Rust's within one.

use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::thread;

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
        let mutex = RobustMutex { place: memory.place() };
        if stage.part() == Part::First {
            mutex.make()?;
        }
        stage.meet()?;
        play_lock(subject, stage, || mutex.lock_and_unlock())
    }
}

/// The C library's, without the checks by which `tieline-os` makes it safe to use: they would be part of the figure.
struct RobustMutex {
    /// A page that is known to the two players only, never unmapped, and holds nothing but the mutex.
    place: *mut libc::pthread_mutex_t,
}

#[allow(unsafe_code, reason = "a floor must not pay for the checks of a library")]
impl RobustMutex {
    fn make(&self) -> Outcome<()> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for attributes.
        answered(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: made above.
        answered(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: made above.
        answered(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: `place` is zeroed memory of our own, aligned to a page; the other player waits until it is made.
        answered(unsafe { libc::pthread_mutex_init(self.place, attributes) })
    }

    #[inline(always)]
    fn lock_and_unlock(&self) -> Outcome<()> {
        // SAFETY: made before both players met, and never destroyed.
        answered(unsafe { libc::pthread_mutex_lock(self.place) })?;
        // SAFETY: this thread has just locked it.
        answered(unsafe { libc::pthread_mutex_unlock(self.place) })
    }
}

#[inline(always)]
fn answered(code: i32) -> Outcome<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code).to_string()) }
}

/// Times `step`, which locks and unlocks; contended, both processes do it.
///
/// # Errors
/// If a step fails.
pub fn play_lock(subject: Subject, stage: &Stage<'_>, step: impl FnMut() -> Outcome<()>) -> Outcome<Option<Figure>> {
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
