//! The mutex of `tieline-shm`, without a value in it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use tieline_shm::sync::{MutexOptions, RawMutex};

use crate::control::{Outcome, Sentence};
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::floor::play_lock;
use crate::shm::stage::{Figure, Part, Stage};
use crate::shm::subject::Subject;

pub(super) struct Ours;

pub(super) static MUTEX: Ours = Ours;

/// The file that tells the second process where the first has the memory.
const WHERE: &str = "lock";

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "tieline Mutex"
    }

    fn rank(&self) -> Rank {
        Rank::Ours
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Lock { .. })
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        let mutex = match stage.part() {
            Part::First => {
                let mutex = RawMutex::anonymous(&MutexOptions::new()).sentence()?;
                let fd = mutex.as_fd().ok_or("the mutex has no memory of its own")?.as_raw_fd();
                let place = format!("/proc/{}/fd/{fd}", std::process::id());
                fs::write(stage.folder().join(WHERE), place).sentence()?;
                stage.meet()?;
                mutex
            }
            Part::Second => {
                stage.meet()?;
                let place = fs::read_to_string(stage.folder().join(WHERE)).sentence()?;
                let memory = File::options().read(true).write(true).open(place).sentence()?;
                RawMutex::from_fd(memory.into()).sentence()?
            }
        };
        play_lock(subject, stage, || mutex.lock().map(drop).map_err(|error| error.to_string()))
    }
}
