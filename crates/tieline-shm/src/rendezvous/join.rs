//! The joiner's side: finding the host of a name, or becoming it. All on the joining thread.
//!
//! The invariant: at most one object lives under a name. Who creates holds byte 0 of the lock file and has seen that
//! nobody holds byte 1, so no member of an earlier object is left that could become the host of it again.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tieline_os::unix::{Credentials, RecvOptions, SeqPacket};

use super::directory::Directory;
use super::host::{Host, random};
use super::keeper::KeeperUse;
use super::lock::{Found, LockFile, Locked, NameUse};
use super::roll::Roll;
use super::station::{About, Site, Standing, State, Station, introduced};
use super::wire::{CONFIG_MAX, Hello, Message, PACKET_MAX, Reason, Refusal, TEXT_MAX, Welcome};
use super::{Joined, Link, MEMBERS_MAX, Member, Members, Membership, Name, Offer, PeerId, Role, Seen};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::raw::step;
use crate::segment::{Kind, Segment};

/// The first pause between two tries while a name changes hands, and the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long a creator waits at a time for somebody who was just about to join what is gone.
const JOINERS_PATIENCE: Duration = Duration::from_millis(5);

/// How often one host may close the line without an answer before it is believed to have no room.
const CLOSED_MAX: u32 = 12;

/// How long to ask again where there is room and no number, because the kernel is not yet done with the dead.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

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

struct Answer {
    welcome: Welcome,
    core: Option<OwnedFd>,
    roll: Option<OwnedFd>,
    links: Vec<Link>,
    host_uid: u32,
}

/// What asking the host came to.
enum Asked {
    Welcomed(Private<SeqPacket>, Answer),
    /// There is no host.
    Nobody,
    /// The host, this process, closed the line without an answer: it went, or it has no room for a line.
    Closed(Option<u32>),
    /// The host has no number for us at the moment, for this reason.
    Busy(String),
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
    fn look(&self) -> Result<Seen> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(seen) = self.question()? {
                return Ok(seen);
            }
            // No host: either the name is nobody's, or it is changing hands.
            match LockFile::open(&self.site.directory, &self.site.lock_file(), false)? {
                Found::File(file) if file.has_host()? || file.has_members()? => {}
                _ => return Err(self.error(ErrorKind::NotFound)),
            }
            if Instant::now() + pause > self.deadline {
                return Err(self.error(ErrorKind::TimedOut).because("the name is changing hands"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the host; nothing if there is none, or it goes before it answers.
    fn question(&self) -> Result<Option<Seen>> {
        let Some((connection, host)) = self.reach()? else { return Ok(None) };
        match connection.send_timeout(&Message::Question.encode(), self.left()) {
            Ok(()) => {}
            Err(error) if error.is_timeout() => return Err(self.silent(&host)),
            Err(error) if error.is_peer_dead() => return Ok(None),
            Err(error) => return Err(self.refused(error)),
        }
        let mut buffer = vec![0; PACKET_MAX];
        let (mut room, options) = ([IoSliceMut::new(&mut buffer)], RecvOptions::new());
        let came = match connection.recv_with_timeout(&mut room, options, self.left()) {
            Ok(Some(came)) if came.truncated => return Err(self.nonsense()),
            Ok(Some(came)) => came,
            Ok(None) => return Ok(None),
            Err(error) if error.is_timeout() => return Err(self.silent(&host)),
            Err(error) if error.is_peer_dead() => return Ok(None),
            Err(error) => return Err(self.refused(error)),
        };
        match Message::decode(&buffer[..came.len]) {
            Some(Message::Refusal(refusal)) => Err(self.refusal(refusal)),
            Some(Message::Answer(answer)) => Ok(Some(Seen {
                kind: Kind::from_number(answer.kind).ok_or_else(|| self.nonsense())?,
                members: answer.peers,
                members_max: answer.peers_max,
                owner: answer.owner,
                layout_hash: answer.layout_hash,
                layout_text: answer.layout_text,
            })),
            _ => Err(self.nonsense()),
        }
    }

    fn find_place(&self, offer: &Offer<'_>) -> Result<Place> {
        let mut pause = FIRST_PAUSE;
        let (mut closer, mut closed) = (None, 0);
        let mut busy_since = None;
        loop {
            match self.try_once(offer)? {
                Tried::Found(place) => return Ok(*place),
                Tried::Closed(host) => {
                    closed = if closer == Some(host) { closed + 1 } else { 1 };
                    closer = Some(host);
                }
                Tried::Changing => closer = None,
                Tried::Busy(why) => {
                    if Instant::now() > *busy_since.get_or_insert_with(Instant::now) + BUSY_PATIENCE {
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
            Mode::Open | Mode::Look => Err(self.error(ErrorKind::NotFound)),
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
        let Some(locked) = file.try_host()? else { return taken(None) };
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

    /// Connects with a host that we trust; nothing if there is none.
    fn reach(&self) -> Result<Option<(Private<SeqPacket>, Credentials)>> {
        let refused = |error| self.refused(error);
        let connection = match SeqPacket::connect_timeout(&self.site.address().map_err(refused)?, self.left()) {
            Ok(connection) => Private::new(connection),
            Err(error) => {
                return match error.errno().map(Errno::from_raw_os_error) {
                    Some(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
                    Some(Errno::ACCESS) => Err(refused(error).because("the object is for its owner only")),
                    _ if error.is_timeout() => Err(self
                        .error(ErrorKind::TimedOut)
                        .because("its host does not accept connections, and many wait already; is it stopped?")),
                    _ => Err(refused(error)),
                };
            }
        };
        let host = connection.peer_credentials().map_err(refused)?;
        if !self.site.directory.trusts(host.uid, &self.site.name) {
            return Err(self.error(ErrorKind::PermissionDenied).because(format!(
                "user {} hosts it; if that is whom you mean, add ?owner={} to the name",
                host.uid, host.uid
            )));
        }
        Ok(Some((connection, host)))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn refused(&self, error: tieline_os::Error) -> Error {
        Error::system_refused(self.mode.operation(), error).on(&self.site.name)
    }

    fn silent(&self, host: &Credentials) -> Error {
        let pid = host.pid.map_or_else(|| "in another container".to_owned(), |pid| pid.to_string());
        self.error(ErrorKind::TimedOut).because(format!("its host, process {pid}, does not answer; is it stopped?"))
    }

    fn nonsense(&self) -> Error {
        self.error(ErrorKind::Corrupted).because("its host answers what no host does")
    }

    /// Connects, says who we are, and hears the answer.
    fn ask(&self, offer: &Offer<'_>) -> Result<Asked> {
        let Some((connection, host)) = self.reach()? else { return Ok(Asked::Nobody) };
        let (left, silent) = (|| self.left(), || self.silent(&host));
        let (refused, nonsense) = (|error| self.refused(error), || self.nonsense());
        let mut layout_text = offer.layout_text.clone();
        layout_text.truncate(layout_text.floor_char_boundary(TEXT_MAX));
        let hello = Hello {
            kind: offer.kind as u32,
            role: offer.role,
            layout_hash: offer.layout_hash,
            layout_text,
            again: None,
        };
        match connection.send_timeout(&Message::Hello(hello).encode(), left()) {
            Ok(()) => {}
            Err(error) if error.is_timeout() => return Err(silent()),
            Err(error) if error.is_peer_dead() => return Ok(Asked::Closed(host.pid)),
            Err(error) => return Err(refused(error)),
        }
        let mut links = Vec::new();
        let mut welcomed: Option<(Welcome, Option<OwnedFd>, Option<OwnedFd>)> = None;
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            if let Some((welcome, ..)) = &welcomed
                && links.len() >= welcome.introductions as usize
            {
                break;
            }
            let options = RecvOptions::new().max_fds(2);
            let came = match connection.recv_with_timeout(&mut [IoSliceMut::new(&mut buffer)], options, left()) {
                Ok(Some(came)) if came.truncated => return Err(nonsense()),
                Ok(Some(came)) if came.control_truncated => {
                    // More descriptors than were asked for; or one, and no number left for it.
                    return Err(self.error(ErrorKind::LimitReached).because(
                        "a descriptor that came could not be taken: the limit of this process is reached (RLIMIT_NOFILE)",
                    ));
                }
                Ok(Some(came)) => came,
                Ok(None) => return Ok(Asked::Closed(host.pid)),
                Err(error) if error.is_timeout() => return Err(silent()),
                Err(error) if error.is_peer_dead() => return Ok(Asked::Closed(host.pid)),
                Err(error) => return Err(refused(error)),
            };
            match (Message::decode(&buffer[..came.len]), &welcomed) {
                (Some(Message::Refusal(Refusal { reason: Reason::Busy, text })), None) => return Ok(Asked::Busy(text)),
                (Some(Message::Refusal(refusal)), None) => return Err(self.refusal(refusal)),
                (Some(Message::Welcome(welcome)), None) => {
                    let mut fds = came.fds.into_iter();
                    let core = if welcome.has_core { fds.next() } else { None };
                    let roll = if welcome.has_roll { fds.next() } else { None };
                    let complete = (welcome.has_core, welcome.has_roll) == (core.is_some(), roll.is_some());
                    if !complete || fds.next().is_some() || !fits(offer, &welcome) {
                        return Err(nonsense());
                    }
                    welcomed = Some((welcome, core, roll));
                }
                (Some(Message::Introduction(who)), Some(_)) if !offer.role.shares() => {
                    links.push(introduced(who, came.fds).ok_or_else(nonsense)?);
                }
                _ => return Err(nonsense()),
            }
        }
        let (welcome, core, roll) = welcomed.ok_or_else(nonsense)?;
        Ok(Asked::Welcomed(connection, Answer { welcome, core, roll, links, host_uid: host.uid }))
    }

    fn refusal(&self, refusal: Refusal) -> Error {
        let kind = match refusal.reason {
            Reason::Mismatch => ErrorKind::Mismatch,
            Reason::Access => ErrorKind::PermissionDenied,
            Reason::Full | Reason::Busy => ErrorKind::LimitReached,
            Reason::Stale => ErrorKind::NotFound,
            Reason::Protocol => ErrorKind::Unsupported,
        };
        self.error(kind).because(refusal.text)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.mode.operation(), kind).on(&self.site.name)
    }
}

/// Whether a host may say this to who offers that.
fn fits(offer: &Offer<'_>, welcome: &Welcome) -> bool {
    let shares_with_others = welcome.has_core && !welcome.access.is_owner_only();
    welcome.introductions <= MEMBERS_MAX
        && (1..=MEMBERS_MAX).contains(&welcome.peers_max)
        && welcome.layout_hash == offer.layout_hash
        && (offer.role.shares() || !welcome.has_core)
        && (shares_with_others || !welcome.has_roll)
        && welcome.number.is_some() == (shares_with_others && offer.role == Role::Sharer)
        && (welcome.has_roll || welcome.number.is_none())
}

/// Makes the object, as its host.
fn found(
    site: Site,
    keeper: KeeperUse,
    offer: &mut Offer<'_>,
    file: LockFile,
    locked: Locked,
    operation: &'static str,
) -> Result<Joined> {
    if !offer.access.is_owner_only() && !site.directory.is_open_to_others() {
        return Err(Error::new(operation, ErrorKind::InvalidInput).on(&site.name).because(format!(
            "its rule lets others in and {} does not; use a name with a directory that they can enter",
            site.directory.path().display()
        )));
    }
    if offer.role == Role::Reader {
        return Err(Error::new(operation, ErrorKind::InvalidInput)
            .on(&site.name)
            .because("a reader has nothing to offer: whoever writes creates it"));
    }
    let core = match offer.core.take() {
        Some(make) => Some(Arc::new(make()?)),
        None => None,
    };
    let members = match &core {
        Some(core) => Some(found_members(core, offer, &site)?),
        None => None,
    };
    let member = members.as_ref().map(|members| members.claim(&keeper.register()?)).transpose()?;
    let name_use = file.member()?.map(|locked| keeper.share_name_use(NameUse::new(file, locked)));
    let host = Host::bind(&site, &offer.access, locked)?;
    let about = About {
        kind: offer.kind as u32,
        role: offer.role,
        layout_hash: offer.layout_hash,
        layout_text: std::mem::take(&mut offer.layout_text),
        config: std::mem::take(&mut offer.config),
        access: std::mem::take(&mut offer.access),
        owner: rustix::process::geteuid().as_raw(),
        object: random(),
        peers_max: offer.members_max,
        core,
        core_is_writable: true,
        members,
    };
    let state = State {
        me: PeerId(random()),
        standing: Standing::Host(Box::new(host)),
        participant: None,
        links: HashMap::new(),
        parts: HashMap::new(),
        member,
        name_use,
    };
    settle(keeper, Some(site), about, state, Vec::new(), true)
}

fn found_members(core: &Arc<Segment>, offer: &Offer<'_>, site: &Site) -> Result<Members> {
    let members = Members::create(core, offer.members_max)?;
    Ok(if offer.access.is_owner_only() { members } else { members.with_roll(Roll::create(site.name.as_str())?) })
}

/// Takes the place that the host has given us.
fn enter(
    site: Site,
    keeper: KeeperUse,
    offer: Offer<'_>,
    file: Option<(LockFile, Locked)>,
    connection: Private<SeqPacket>,
    answer: Answer,
    operation: &'static str,
) -> Result<Joined> {
    let trusted = [rustix::process::geteuid().as_raw(), 0, answer.host_uid];
    if !trusted.contains(&answer.welcome.owner) && site.name.owner() != Some(answer.welcome.owner) {
        return Err(Error::new(operation, ErrorKind::Corrupted).on(&site.name).because("its host names another owner"));
    }
    let name_use = file.map(|(file, locked)| keeper.share_name_use(NameUse::new(file, locked)));
    let (about, member) =
        take_over(&offer, answer.welcome, answer.core, answer.roll, &keeper).map_err(|error| error.on(&site.name))?;
    let (id, about) = (about.0, about.1);
    let state = State {
        me: id,
        standing: Standing::Member { connection, token: None },
        participant: None,
        links: HashMap::new(),
        parts: HashMap::new(),
        member,
        name_use,
    };
    settle(keeper, Some(site), about, state, answer.links, false)
}

/// What a welcome makes of an offer.
pub(super) fn take_over(
    offer: &Offer<'_>,
    welcome: Welcome,
    core: Option<OwnedFd>,
    roll: Option<OwnedFd>,
    keeper: &KeeperUse,
) -> Result<((PeerId, About), Option<Member>)> {
    let mut core_is_writable = false;
    let core = match core {
        Some(fd) => {
            core_is_writable = is_writable(&fd);
            let access = match offer.role {
                Role::Reader => tieline_os::Access::ReadOnly,
                _ => tieline_os::Access::ReadWrite,
            };
            // What users other than its owner may write, its header too, tells nothing: the host has told it all.
            Some(Arc::new(if welcome.access.is_owner_only() {
                Segment::accept(fd, offer.kind, offer.layout_hash, access)?
            } else {
                Segment::accept_told(fd, offer.kind, access)?
            }))
        }
        None => None,
    };
    let members = core.as_ref().map(|core| Members::open(core, welcome.peers_max)).transpose()?;
    let members = match (members, roll) {
        (Some(members), Some(roll)) => Some(members.with_roll(Roll::accept(roll, welcome.number))),
        (members, _) => members,
    };
    let member = match &members {
        Some(members) if offer.role == Role::Sharer => Some(members.claim(&keeper.register()?)?),
        _ => None,
    };
    let about = About {
        kind: offer.kind as u32,
        role: offer.role,
        layout_hash: offer.layout_hash,
        layout_text: offer.layout_text.clone(),
        config: welcome.config,
        access: welcome.access,
        owner: welcome.owner,
        object: welcome.object,
        peers_max: welcome.peers_max,
        core,
        core_is_writable,
        members,
    };
    Ok(((PeerId(welcome.id), about), member))
}

pub(super) fn settle(
    keeper: KeeperUse,
    site: Option<Site>,
    about: About,
    state: State,
    links: Vec<Link>,
    created: bool,
) -> Result<Joined> {
    let Some(keeper) = keeper.keep() else {
        return Err(Error::new("join", ErrorKind::System).because("the keeper is gone"));
    };
    let membership = Membership::new(Station::new(keeper, site, about, state));
    Ok(Joined { membership, links, created })
}

fn is_writable(fd: &impl AsFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd);
    flags.is_ok_and(|flags| flags & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDWR)
}
