//! One look at the machine: which parts, in which order.

use std::time::{Duration, Instant, SystemTime};

use crate::model::{Builder, Snapshot, Taken};
use crate::{Error, Result, probe};

/// By which means a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Engine {
    /// `/proc`, socket monitoring by netlink, and the System V and POSIX interfaces: works everywhere, for everybody.
    Proc,
}

impl Engine {
    /// The engine that `TIELINE_ENGINE` names; the best one there is, without it.
    ///
    /// # Errors
    /// [`Error::UnknownEngine`] for a name that is no engine of this program.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os("TIELINE_ENGINE") {
            None => Ok(Self::Proc),
            Some(name) if name.is_empty() || name == "proc" => Ok(Self::Proc),
            Some(name) => Err(Error::UnknownEngine(name.to_string_lossy().into_owned())),
        }
    }
}

/// What to look at.
///
/// The default is the whole picture but for what threads wait for, which costs one or two files for each thread.
#[derive(Debug, Clone)]
pub struct Scan {
    pub(crate) fill: bool,
    pub(crate) mappings: bool,
    pub(crate) waits: bool,
    pub(crate) limits_of_processes: bool,
    pub(crate) socket_files: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self { fill: true, mappings: true, waits: false, limits_of_processes: false, socket_files: false }
    }

    /// Whether to ask how full each pipe and FIFO is (on by default). It duplicates one descriptor of each for a moment
    /// (`pidfd_getfd`), which needs the right to trace its process.
    #[must_use]
    pub fn fill(mut self, fill: bool) -> Self {
        self.fill = fill;
        self
    }

    /// Whether to look into address spaces (on by default): who maps which shared memory.
    #[must_use]
    pub fn mappings(mut self, mappings: bool) -> Self {
        self.mappings = mappings;
        self
    }

    /// Whether to ask each sleeping thread what it waits for (off by default).
    #[must_use]
    pub fn waits(mut self, waits: bool) -> Self {
        self.waits = waits;
        self
    }

    /// Whether to ask for the limits of each process (off by default).
    #[must_use]
    pub fn limits_of_processes(mut self, limits: bool) -> Self {
        self.limits_of_processes = limits;
        self
    }

    /// Whether to look through the directories where servers keep the files of their sockets, for those that no socket is
    /// bound to any more (off by default): `/run`, `/tmp` and `$XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn socket_files(mut self, files: bool) -> Self {
        self.socket_files = files;
        self
    }

    /// Looks, once. It blocks for about 5 µs for each descriptor of the machine, and takes no lock of anybody.
    ///
    /// What vanishes meanwhile or may not be seen is left out and [counted](Snapshot::unseen).
    ///
    /// # Errors
    /// [`Error::NoProc`] without a `/proc`; [`Error::UnknownEngine`] for a wrong `TIELINE_ENGINE`.
    pub fn take(&self) -> Result<Snapshot> {
        let engine = Engine::from_env()?;
        let at = SystemTime::now();
        let clock = Clock::start();
        let mut builder = Builder::new(probe::viewer()?);
        let folders = probe::processes::look(&mut builder, self)?;
        probe::namespaces::look(&mut builder);
        probe::sockets::look(&mut builder);
        probe::sysv::look(&mut builder);
        probe::posix::look(&mut builder);
        probe::descriptors::look(&mut builder, self, &folders);
        if self.mappings {
            probe::mappings::look(&mut builder, &folders);
        }
        let segments = probe::segments::look(&mut builder, &folders);
        let mut ownerless = probe::locks::look(&mut builder, &folders);
        if self.socket_files {
            probe::socket_files::look(&mut builder);
        }
        if self.waits {
            probe::waits::look(&mut builder, &folders, &mut ownerless);
            probe::locks::count(&mut builder, &ownerless);
        }
        segments.join(&mut builder);
        probe::limits::look(&mut builder, self);
        let (wall, cpu) = clock.stop();
        let booted = at.checked_sub(since_boot()).unwrap_or(SystemTime::UNIX_EPOCH);
        let taken = Taken { at, wall, cpu, engine, scan: self.clone(), booted };
        Ok(builder.finish(taken, crate::findings::find))
    }
}

/// Measures a stretch of this thread's life.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    fn stop(self) -> (Duration, Duration) {
        (self.wall.elapsed(), cpu_time().saturating_sub(self.cpu))
    }
}

fn cpu_time() -> Duration {
    read(rustix::time::ClockId::ThreadCPUTime)
}

fn since_boot() -> Duration {
    read(rustix::time::ClockId::Boottime)
}

fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
