//! The joiner's side: finding the host of a name, or becoming it. All on the joining thread.
//!
//! The invariant: at most one object lives under a name. Who creates holds byte 0 of the lock file and has seen that
//! nobody holds byte 1, so no member of an earlier object is left that could become the host of it again.

mod ask;
mod enter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_os::unix::SeqPacket;

use self::ask::{Answer, Asked};
use self::enter::{enter, found};
pub(super) use self::enter::{settle, take_over};
use super::directory::Directory;
use super::keeper::KeeperUse;
use super::lock::{Found, LockFile, Locked};
use super::site::Site;
use super::wire::CONFIG_MAX;
use super::{Joined, MEMBERS_MAX, Name, Offer, Seen};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::raw::step;

/// The first pause between two tries while a name changes hands, and the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long a creator waits at a time for somebody who was just about to join what is gone.
const JOINERS_PATIENCE: Duration = Duration::from_millis(5);

/// How often one host may close the line without an answer before it is believed to have no room.
const CLOSED_MAX: u32 = 12;

/// How long, and how often at least, to ask again where there is room and no number, because the kernel is not yet done with
/// the dead.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);
const BUSY_TRIES: u32 = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Open,
    OpenOrCreate,
    Look,
}

impl Mode {
    fn operation(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::OpenOrCreate => "open or create",
            Self::Look => "look at",
        }
    }
}

/// Creates an object under a free name. Waits `timeout` at most.
///
/// # Errors
/// `AlreadyExists` if anybody uses the name; `InvalidInput`, `PermissionDenied`, `NotFound` for what is wrong with the
/// offer or the directory; `LimitReached`; `OutOfMemory`; `TimedOut`.
pub(crate) fn create(name: &Name, offer: Offer<'_>, timeout: Duration) -> Result<Joined> {
    join(name, offer, Mode::Create, timeout)
}

/// Joins an object. Waits `timeout` at most, for a host that does not answer; not for a name that nobody offers.
///
/// # Errors
/// `NotFound` if nobody uses the name; `PermissionDenied` by the object's rule, or if its host is a user whose objects
/// are not accepted; `Mismatch`; `LimitReached` if it has as many members as it was made for; `TimedOut` if the host is
/// stopped; `Corrupted` if it answers nonsense.
pub(crate) fn open(name: &Name, offer: Offer<'_>, timeout: Duration) -> Result<Joined> {
    join(name, offer, Mode::Open, timeout)
}

/// Joins an object, or creates it under a free name.
///
/// # Errors
/// As [`create`] without `AlreadyExists`, and [`open`] without `NotFound`.
pub(crate) fn open_or_create(name: &Name, offer: Offer<'_>, timeout: Duration) -> Result<Joined> {
    join(name, offer, Mode::OpenOrCreate, timeout)
}

/// What there is under a name, without joining it. Waits `timeout` at most, for a host that does not answer.
///
/// # Errors
/// As [`open`], without `Mismatch` and the limit of members. `Unsupported` if the host is of a version that cannot tell.
pub(crate) fn look(name: &Name, timeout: Duration) -> Result<Seen> {
    let site = Site { name: name.clone(), directory: Arc::new(Directory::of(name, false)?) };
    Attempt { site: &site, mode: Mode::Look, deadline: Instant::now() + timeout }.look()
}

fn join(name: &Name, mut offer: Offer<'_>, mode: Mode, timeout: Duration) -> Result<Joined> {
    let operation = mode.operation();
    check_offer(&offer, operation).map_err(|error| error.on(name))?;
    let directory = Directory::of(name, mode != Mode::Open)?;
    if mode == Mode::Create && !offer.access.is_owner_only() && !directory.is_open_to_others() {
        return Err(Error::new(operation, ErrorKind::InvalidInput).on(name).because(format!(
            "its rule lets others in and {} does not; use a name with a directory that they can enter",
            directory.path().display()
        )));
    }
    // Its thread begins while we talk.
    let keeper = KeeperUse::begin()?;
    let site = Site { name: name.clone(), directory: keeper.share_directory(directory) };
    let attempt = Attempt { site: &site, mode, deadline: Instant::now() + timeout };
    let place = attempt.find_place(&offer)?;
    match place {
        Place::Host { file, locked } => found(site, keeper, &mut offer, file, locked, operation),
        Place::Member { file, connection, answer } => enter(site, keeper, offer, file, connection, answer, operation),
    }
}

fn check_offer(offer: &Offer<'_>, operation: &'static str) -> Result<()> {
    let invalid = |why: String| Err(Error::new(operation, ErrorKind::InvalidInput).because(why));
    if offer.members_max == 0 || offer.members_max > MEMBERS_MAX {
        return invalid(format!("an object is for 1 to {MEMBERS_MAX} members, not {}", offer.members_max));
    }
    if offer.config.len() > CONFIG_MAX {
        return invalid(format!("its configuration has {} bytes; {CONFIG_MAX} is the most", offer.config.len()));
    }
    if offer.access.has_too_many_users() {
        return invalid(format!("its rule lists more than {} users", super::Access::USERS_MAX));
    }
    Ok(())
}

struct Attempt<'a> {
    site: &'a Site,
    mode: Mode,
    deadline: Instant,
}

enum Place {
    /// The name is free, and byte 0 is ours.
    Host { file: LockFile, locked: Locked },
    /// The host has answered yes.
    Member { file: Option<(LockFile, Locked)>, connection: Private<SeqPacket>, answer: Answer },
}

/// What one try came to.
enum Tried {
    Found(Box<Place>),
    /// The name is changing hands.
    Changing,
    Closed(Option<u32>),
    Busy(String),
}

impl Attempt<'_> {
    fn find_place(&self, offer: &Offer<'_>) -> Result<Place> {
        let mut pause = FIRST_PAUSE;
        let (mut closer, mut closed) = (None, 0);
        let (mut busy_since, mut busy) = (None, 0);
        loop {
            match self.try_once(offer)? {
                Tried::Found(place) => return Ok(*place),
                Tried::Closed(host) => {
                    closed = if closer == Some(host) { closed + 1 } else { 1 };
                    closer = Some(host);
                }
                Tried::Changing => closer = None,
                Tried::Busy(why) => {
                    busy += 1;
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if busy > BUSY_TRIES && since.elapsed() > BUSY_PATIENCE {
                        return Err(self.error(ErrorKind::LimitReached).because(why));
                    }
                }
            }
            if closed >= CLOSED_MAX && closer.is_some() {
                return Err(self.error(ErrorKind::LimitReached).because(
                    "its host closes each connection without an answer; it may have no descriptor left (RLIMIT_NOFILE)",
                ));
            }
            if Instant::now() + pause > self.deadline {
                return Err(self.error(ErrorKind::TimedOut).because(
                    "the name is changing hands, and whoever is to be its next host has not appeared; is it stopped?",
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_once(&self, offer: &Offer<'_>) -> Result<Tried> {
        let (site, lock_file) = (self.site, self.site.lock_file());
        let file = match LockFile::open(&site.directory, &lock_file, self.mode != Mode::Open)? {
            Found::File(file) => Some(file),
            Found::Missing => return Err(self.error(ErrorKind::NotFound)),
            Found::NotOurs if self.mode == Mode::Create => {
                let why = "another user has used this name here, or may, and you cannot create it";
                return Err(self.error(ErrorKind::PermissionDenied).because(why));
            }
            Found::NotOurs => None,
        };
        let joining = match &file {
            Some(file) => {
                let joining = file.joining()?;
                if !file.has_its_name(&site.directory, &lock_file) {
                    return Ok(Tried::Changing);
                }
                step("meet:joining");
                joining
            }
            None => None,
        };
        let mut closed = None;
        if self.mode != Mode::Create {
            match self.ask(offer)? {
                Asked::Welcomed(connection, answer) => {
                    let file = match file {
                        Some(file) => file.member()?.map(|locked| (file, locked)),
                        None => None,
                    };
                    drop(joining);
                    step("meet:joined");
                    return Ok(Tried::Found(Box::new(Place::Member { file, connection, answer })));
                }
                Asked::Closed(host) => closed = Some(host),
                Asked::Busy(why) => return Ok(Tried::Busy(why)),
                Asked::Nobody => {}
            }
        }
        drop(joining);
        let Some(file) = file else {
            return match self.mode {
                Mode::OpenOrCreate => {
                    let why = "another user has used this name here, and you cannot create it";
                    Err(self.error(ErrorKind::PermissionDenied).because(why))
                }
                _ => Err(self.error(ErrorKind::NotFound)),
            };
        };
        match self.mode {
            Mode::Open if file.has_host()? || file.has_members()? => Ok(closed.map_or(Tried::Changing, Tried::Closed)),
            Mode::Open | Mode::Look => {
                // If the last one left while we were about to join, it left the files to us.
                site.remove_if_unused(&file);
                Err(self.error(ErrorKind::NotFound))
            }
            Mode::Create | Mode::OpenOrCreate => Ok(match self.take(file)? {
                Some(place) => Tried::Found(Box::new(place)),
                None => closed.map_or(Tried::Changing, Tried::Closed),
            }),
        }
    }

    /// Takes a free name.
    fn take(&self, file: LockFile) -> Result<Option<Place>> {
        let taken = |what: Option<Place>| match self.mode {
            Mode::Create if what.is_none() => Err(self.error(ErrorKind::AlreadyExists)),
            _ => Ok(what),
        };
        let Some(locked) = file.try_host()? else {
            // Without a member it is no host: one that is about to be, or somebody who takes the files of the last away.
            return if file.has_members()? { taken(None) } else { Ok(None) };
        };
        step("meet:locked");
        // The last host may have removed the file while we locked it.
        if !file.has_its_name(&self.site.directory, &self.site.lock_file()) {
            return Ok(None);
        }
        let patience = Instant::now() + JOINERS_PATIENCE;
        while file.is_wanted()? && !file.has_members()? && Instant::now() < patience {
            std::thread::sleep(FIRST_PAUSE);
        }
        if file.has_members()? {
            return taken(None);
        }
        if file.is_wanted()? {
            // It may have been welcomed by a host that is gone, and be stopped before it could say so.
            return Ok(None);
        }
        Ok(Some(Place::Host { file, locked }))
    }
}
