//! The one background thread of a process: it accepts joiners, hears of deaths, and stands for the process's life.
//!
//! It runs while the process has a membership, sleeps in `epoll` without a timeout while nothing happens, and its robust
//! list carries the words that say that this process lives. The invariant: nothing that a peer does, and no panic in a
//! channel, ends the process; a membership whose channel panicked is left.
//!
//! Order of locks: the slot, then a station's state, then the tables here. A channel's own locks come after a station's
//! state.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use tieline_os::epoll::{Epoll, Events};
use tieline_os::eventfd::EventFd;
use tieline_os::poll::Interest;
use tieline_os::signal::{self, SignalSet};

use super::directory::Directory;
use super::lock::NameUse;
use super::station::Station;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::alive::Register;
use crate::raw::private_fd::Private;
use crate::raw::process;

const KEEP: &str = "keep a membership";

/// The keeper of this process.
pub(super) struct Keeper {
    generation: u32,
    epoll: Private<Epoll>,
    wake: Private<EventFd>,
    stop: AtomicBool,
    sources: Mutex<Sources>,
    stations: Mutex<Vec<Arc<Station>>>,
    /// Dropped by a channel on the keeper's own thread, so to be left when that call has returned.
    leaving: Mutex<Vec<Arc<Station>>>,
    /// What memberships have in common, so that a further one costs no descriptor for it.
    directories: Shared<Directory>,
    name_uses: Shared<NameUse>,
    thread: OnceLock<ThreadId>,
    /// Or of what kind the kernel's refusal was.
    register: OnceLock<Result<Arc<Register>, ErrorKind>>,
}

/// Things of this process that are there as long as anybody has them.
type Shared<T> = Mutex<Vec<Weak<T>>>;

/// The one in the table that is `same` as `ours`, or `ours`, from now on in the table.
fn share<T>(table: &Shared<T>, ours: T, same: impl Fn(&T, &T) -> bool) -> Arc<T> {
    let mut table = lock(table);
    table.retain(|known| known.strong_count() > 0);
    if let Some(known) = table.iter().filter_map(Weak::upgrade).find(|known| same(known, &ours)) {
        return known;
    }
    let ours = Arc::new(ours);
    table.push(Arc::downgrade(&ours));
    ours
}

#[derive(Default)]
struct Sources {
    by_token: HashMap<u64, Arc<Station>>,
    last_token: u64,
}

/// The token of the keeper's own wake-up.
const WAKE: u64 = 0;

/// One use of the keeper, which runs while there is any.
pub(super) struct KeeperUse(Option<Arc<Keeper>>);

/// The keeper of one process. A forked child begins with a slot that no thread of its parent can have locked.
struct Slot {
    current: Mutex<Option<Running>>,
    of_child: OnceLock<Box<Slot>>,
}

struct Running {
    keeper: Arc<Keeper>,
    thread: JoinHandle<()>,
    uses: usize,
}

static FIRST: Slot = Slot::new();

impl Slot {
    const fn new() -> Self {
        Self { current: Mutex::new(None), of_child: OnceLock::new() }
    }

    fn of_this_process() -> &'static Self {
        let mut slot = &FIRST;
        for _ in 0..process::generation() {
            slot = slot.of_child.get_or_init(|| Box::new(Self::new()));
        }
        slot
    }
}

impl KeeperUse {
    /// The process's keeper, started if it does not run.
    pub(super) fn begin() -> Result<Self> {
        let mut current = lock(&Slot::of_this_process().current);
        // One whose thread ended by itself has failed; its memberships know, and a new one serves the others.
        if let Some(running) = current.as_mut().filter(|running| !running.thread.is_finished()) {
            running.uses += 1;
            return Ok(Self(Some(Arc::clone(&running.keeper))));
        }
        let running = Keeper::start()?;
        let keeper = Arc::clone(&running.keeper);
        *current = Some(running);
        Ok(Self(Some(keeper)))
    }

    /// Hands the use over to a station, which gives it back by [`Keeper::end_use`].
    pub(super) fn keep(mut self) -> Option<Arc<Keeper>> {
        self.0.take()
    }

    pub(super) fn register(&self) -> Result<Arc<Register>> {
        self.0.as_ref().ok_or_else(failed)?.register()
    }

    /// The directory as other memberships of this process have it open, or `ours`.
    pub(super) fn share_directory(&self, ours: Directory) -> Arc<Directory> {
        match &self.0 {
            Some(keeper) => share(&keeper.directories, ours, Directory::is_the_same_as),
            None => Arc::new(ours),
        }
    }

    /// The use of the name as other memberships of this process have it, or `ours`.
    pub(super) fn share_name_use(&self, ours: NameUse) -> Arc<NameUse> {
        match &self.0 {
            Some(keeper) => keeper.share_name_use(ours),
            None => Arc::new(ours),
        }
    }
}

impl Drop for KeeperUse {
    fn drop(&mut self) {
        if let Some(keeper) = self.0.take() {
            keeper.end_use();
        }
    }
}

impl Keeper {
    fn start() -> Result<Running> {
        let refused = |error| Error::system_refused(KEEP, error);
        let keeper = Arc::new(Self {
            generation: process::generation(),
            epoll: Private::new(Epoll::new().map_err(refused)?),
            wake: Private::new(EventFd::new(0).map_err(refused)?),
            stop: AtomicBool::new(false),
            sources: Mutex::default(),
            stations: Mutex::default(),
            leaving: Mutex::default(),
            directories: Mutex::default(),
            name_uses: Mutex::default(),
            thread: OnceLock::new(),
            register: OnceLock::new(),
        });
        keeper.epoll.add(&*keeper.wake, WAKE, Interest::READABLE).map_err(refused)?;
        let runs = Arc::clone(&keeper);
        let thread = std::thread::Builder::new()
            .name("tieline-keeper".to_owned())
            // Channels run their callbacks here, and none of them goes deep.
            .stack_size(256 * 1024)
            .spawn(move || runs.run())
            .map_err(|error| {
                Error::new(KEEP, ErrorKind::LimitReached).because(format!("no thread can be started ({error})"))
            })?;
        Ok(Running { keeper, thread, uses: 1 })
    }

    /// Gives back one use; the last one ends the thread, and waits for its end unless it is the thread itself.
    pub(super) fn end_use(&self) {
        if self.generation != process::generation() {
            return;
        }
        let ended = {
            let mut current = lock(&Slot::of_this_process().current);
            let ours = current.as_mut().filter(|running| std::ptr::eq(&*running.keeper, self));
            let Some(running) = ours else { return };
            running.uses -= 1;
            if running.uses > 0 { None } else { current.take() }
        };
        let Some(ended) = ended else { return };
        // Release: meets the thread's Acquire after the wake-up.
        self.stop.store(true, Ordering::Release);
        self.wake();
        if !self.is_this_thread() {
            // It catches what panics; a thread that ended otherwise has ended as well.
            let _ = ended.thread.join();
        }
    }

    /// The list that carries the words of this process. Waits until the thread has begun.
    pub(super) fn register(&self) -> Result<Arc<Register>> {
        self.register.wait().clone().map_err(|kind| {
            let why =
                "the kernel, or a sandbox, does not let it register a robust list, by which its death would be seen";
            Error::new(KEEP, kind).because(why)
        })
    }

    /// The use of the name as other memberships of this process have it, or `ours`.
    pub(super) fn share_name_use(&self, ours: NameUse) -> Arc<NameUse> {
        share(&self.name_uses, ours, NameUse::is_of_the_same_file)
    }

    /// `ours`, from now on also that of memberships to come.
    pub(super) fn put_name_use(&self, ours: NameUse) -> Arc<NameUse> {
        let ours = Arc::new(ours);
        lock(&self.name_uses).insert(0, Arc::downgrade(&ours));
        ours
    }

    pub(super) fn is_this_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }

    /// Whether this is the process that started the keeper, and not a forked child.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.generation == process::generation()
    }

    pub(super) fn admit(&self, station: &Arc<Station>) {
        lock(&self.stations).push(Arc::clone(station));
    }

    pub(super) fn forget(&self, station: &Station) {
        lock(&self.stations).retain(|other| !std::ptr::eq(&**other, station));
    }

    /// Leaves `station` as soon as the call that is running on this thread has returned.
    pub(super) fn leave_later(&self, station: Arc<Station>) {
        lock(&self.leaving).push(station);
    }

    /// Watches a descriptor for `station`; the answer is its token.
    pub(super) fn watch(&self, station: &Arc<Station>, fd: impl std::os::fd::AsFd) -> Result<u64> {
        let token = {
            let mut sources = lock(&self.sources);
            sources.last_token += 1;
            let token = sources.last_token;
            sources.by_token.insert(token, Arc::clone(station));
            token
        };
        let added = self.epoll.add(fd, token, Interest::READABLE);
        added.map(|()| token).map_err(|error| {
            lock(&self.sources).by_token.remove(&token);
            Error::system_refused(KEEP, error)
        })
    }

    /// How many descriptors are watched for `station`.
    #[cfg(test)]
    pub(super) fn watched(&self, station: &Arc<Station>) -> usize {
        lock(&self.sources).by_token.values().filter(|other| Arc::ptr_eq(other, station)).count()
    }

    /// Also watches for room to send, or no longer.
    pub(super) fn watch_room(&self, token: u64, fd: impl std::os::fd::AsFd, room: bool) {
        let interest = if room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // It is registered, and changing a registration needs no memory.
        let _ = self.epoll.modify(fd, token, interest);
    }

    pub(super) fn ignore(&self, token: u64, fd: impl std::os::fd::AsFd) {
        let _ = self.epoll.remove(fd);
        lock(&self.sources).by_token.remove(&token);
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = self.wake.try_add(1);
    }

    fn run(&self) {
        // Handlers of the program's signals belong on the program's threads.
        let _ = signal::block(SignalSet::ALL);
        let _ = self.thread.set(std::thread::current().id());
        let registration = Register::this_thread().map_err(|error| error.kind());
        let register = registration.as_ref().map(|registration| Arc::clone(registration.register()));
        let _ = self.register.set(register.map_err(|kind| *kind));
        let mut events = Events::with_capacity(64);
        loop {
            self.leave_those_that_wish();
            // Acquire meets the Release of `end_use`.
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let Ok(count) = self.wait(&mut events) else { break };
            for event in events.iter().take(count) {
                self.serve(event.token);
            }
            self.tick();
        }
        // Should it end early, nobody would hear of anything any more: then nothing of ours may look alive to others.
        drop(registration);
        let forsaken = std::mem::take(&mut *lock(&self.stations));
        for station in forsaken {
            let _ = catch_unwind(AssertUnwindSafe(|| station.leave_without_telling()));
        }
    }

    /// Answers how many events came.
    fn wait(&self, events: &mut Events) -> tieline_os::Result<usize> {
        let deadline = lock(&self.stations).iter().filter_map(|station| station.deadline()).min();
        let Some(deadline) = deadline else { return self.epoll.wait(events) };
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.epoll.wait_timeout(events, timeout) {
            Err(error) if error.is_timeout() => Ok(0),
            answer => answer,
        }
    }

    fn serve(&self, token: u64) {
        if token == WAKE {
            let _ = self.wake.try_read();
            return;
        }
        // Cloned out, so that a station may change the table while it is served.
        let station = lock(&self.sources).by_token.get(&token).cloned();
        if let Some(station) = station {
            self.guarded(&station, |station| station.ready(token));
        }
    }

    fn tick(&self) {
        let now = Instant::now();
        let due: Vec<_> = lock(&self.stations)
            .iter()
            .filter(|station| station.deadline().is_some_and(|deadline| deadline <= now))
            .cloned()
            .collect();
        for station in due {
            self.guarded(&station, |station| station.tick(now));
        }
    }

    fn leave_those_that_wish(&self) {
        let leaving = std::mem::take(&mut *lock(&self.leaving));
        for station in leaving {
            self.guarded(&station, Station::leave);
        }
    }

    /// Runs what may run a channel's code. If that panics, the membership is left and the keeper goes on.
    fn guarded(&self, station: &Arc<Station>, body: impl FnOnce(&Arc<Station>)) {
        if catch_unwind(AssertUnwindSafe(|| body(station))).is_err() {
            let _ = catch_unwind(AssertUnwindSafe(|| station.leave_without_telling()));
        }
    }
}

fn failed() -> Error {
    Error::new(KEEP, ErrorKind::System).because("the keeper of this process has ended")
}

/// Locks, also after a panic: what is locked here is changed in single steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
