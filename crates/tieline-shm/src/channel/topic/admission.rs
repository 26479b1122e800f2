//! The publisher's side of the meeting place: who may read the log, and through which entry.
//!
//! The invariant: an entry belongs to at most one subscriber, from its admission until the line to it is down; and
//! whoever has an entry is among the gates.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::aside::Aside;
use super::options::Policy;
use super::patience::Patience;
use super::wire::{Admitted, READY, Refused, Subscribe};
use crate::channel::doorbell::{self, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::{Access, Allowed, Applicant, Link, Participant, Peer, PeerId, Right};
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::log::{
    ENTRIES_OFFSET, Gates, Geometry, Joiner, LogHeader, Roster, RosterGeometry, RosterHeader, SideLog, Slots,
};
use crate::wait::{Alarm, Alarms, Hung};

/// The one place for which a subscriber hands its bell.
pub(super) const SLEEPERS: u8 = 0;

/// Under which number the bell of the subscriber with this entry hangs.
// A roster has at most 4096 entries.
pub(super) fn bell_number(entry: usize) -> u32 {
    entry as u32
}

/// More than any log has, and far from overflow.
const DEPTH_MAX: u64 = 1 << 32;

pub(super) struct Admission {
    name: String,
    log: Log,
    gates: Arc<Gates>,
    rosters: RosterGeometry,
    waits_for: WaitRule,
    state: Mutex<State>,
    changed: Condvar,
}

/// Whose subscribers may hold up the publisher, and how many others there may be.
pub(super) struct WaitRule {
    /// `None`: nobody.
    pub(super) whom: Option<Allowed>,
    /// Its own user, and who created the topic.
    pub(super) always: [u32; 2],
    /// How many subscribers there may be of users it does not wait for: so many that what they hold leaves it enough.
    pub(super) guests_max: usize,
}

impl WaitRule {
    /// Whether it is of a user who may hold the publisher up.
    fn trusts(&self, peer: &Peer) -> bool {
        let applicant = Applicant { uid: peer.uid, gid: peer.gid, groups: Vec::new() };
        let rule = Access::owner().subscribe(self.whom.clone().unwrap_or_default());
        self.always.into_iter().any(|user| rule.grants(Right::Subscribe, &applicant, user))
    }

    fn check(&self, peer: &Peer, policy: Policy, guests: usize) -> Result<()> {
        let refuse = |kind, why: String| Err(Error::new("admit a subscriber", kind).because(why));
        let is_trusted = self.trusts(peer);
        if policy == Policy::Block && !(is_trusted && self.whom.is_some()) {
            let why = format!("the publisher does not wait for subscribers of user {}", peer.uid);
            return refuse(ErrorKind::PermissionDenied, why);
        }
        if !is_trusted && guests >= self.guests_max {
            let why = format!("{guests} subscribers of users it does not wait for are as many as there may be");
            return refuse(ErrorKind::LimitReached, why);
        }
        Ok(())
    }
}

/// The publisher's log, as far as admission needs it.
pub(super) struct Log {
    pub(super) header: View<LogHeader>,
    pub(super) slots: Slots,
    pub(super) geometry: Geometry,
    pub(super) layout_hash: u64,
    /// As subscribers get it.
    pub(super) read_only: OwnedFd,
    /// How many buckets subscribers with logs of their own may keep from being reused, all together.
    pub(super) pins_max: usize,
}

#[derive(Default)]
struct State {
    /// Those who have not said yet how they want to subscribe.
    silent: HashMap<PeerId, Link>,
    admitted: HashMap<PeerId, Place>,
    /// By user.
    rosters: HashMap<u32, Shared>,
}

struct Place {
    uid: u32,
    entry: usize,
    /// It has mapped what it was sent.
    is_ready: bool,
    /// How it is woken, if it does not sleep in a thread.
    bell: Option<Hung>,
    /// Keeps the line.
    link: Link,
}

/// The roster of one user's subscribers.
struct Shared {
    segment: Segment,
    roster: Roster,
    taken: Vec<bool>,
}

impl Admission {
    pub(super) fn new(name: String, log: Log, gates: Arc<Gates>, rosters: RosterGeometry, waits_for: WaitRule) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { name, log, gates, rosters, waits_for, state, changed }
    }

    /// Waits until everyone who is connected has been admitted and is ready, but for those who are stopped.
    pub(super) fn settle(&self) {
        let mut patience = Patience::new();
        let mut state = self.lock();
        loop {
            let unready = state.admitted.values().filter(|place| !place.is_ready).map(|place| &place.link);
            let silent: Vec<Peer> = state.silent.values().chain(unready).map(|link| *link.peer()).collect();
            if silent.is_empty() {
                return;
            }
            let Some(rest) = patience.rest(&silent) else { return };
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many subscribers there are.
    pub(super) fn count(&self) -> usize {
        self.lock().admitted.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one insertion or removal; a panic leaves none half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, state: &mut State, link: &Link, wishes: &Subscribe) -> Result<Admitted> {
        let peer = link.peer();
        let guests = state.admitted.values().filter(|place| !self.waits_for.trusts(place.link.peer())).count();
        self.waits_for.check(peer, wishes.policy, guests)?;
        let shared = match state.rosters.entry(peer.uid) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(Shared::create(&self.name, self.rosters, inode(&self.log.read_only))?)
            }
        };
        let free = shared.taken.iter().position(|taken| !taken).ok_or_else(|| {
            Error::new("admit a subscriber", ErrorKind::LimitReached).because("the publisher has as many as it may")
        })?;
        let entry = shared.roster.entry(free).ok_or_else(|| Error::new("admit a subscriber", ErrorKind::Corrupted))?;
        let joiner = Joiner {
            id: peer.id.0,
            roster: &shared.roster,
            entry: &entry,
            policy: u64::from(wishes.policy.number()),
            process: peer.pid,
            history: wishes.history.min(self.log.geometry.history as u64),
        };
        let depth = if wishes.depth == 0 { DEPTH_MAX } else { wishes.depth.min(DEPTH_MAX) };
        let mut fds = vec![self.log.read_only.as_fd(), shared.segment.as_fd()];
        let aside = match wishes.policy {
            Policy::DropNewest => {
                let log = (&self.log.geometry, inode(&self.log.read_only));
                Some(Aside::create(&self.name, self.log.layout_hash, log, depth)?)
            }
            _ => None,
        };
        let start = match &aside {
            Some(aside) => {
                fds.push(aside.read_only.as_fd());
                let (header, slots, pins_max) = (aside.header.clone(), aside.slots.clone(), self.log.pins_max);
                let side = SideLog::new(peer.id.0, header, slots, &aside.geometry, depth, entry.clone(), pins_max);
                self.gates.admit_aside(&joiner, side, &self.log.header, &self.log.slots)
            }
            None => {
                let depth = (wishes.policy == Policy::Block).then_some(depth);
                self.gates.admit(&joiner, depth, &self.log.header)
            }
        };
        shared.taken[free] = true;
        state
            .admitted
            .insert(peer.id, Place { uid: peer.uid, entry: free, is_ready: false, bell: None, link: link.clone() });
        crate::raw::step("topic:admitted");
        // A roster has at most 4096 entries.
        let admitted = Admitted { entry: free as u32, start };
        link.send(&admitted.encode(), &fds)?;
        Ok(admitted)
    }
}

impl Shared {
    fn create(name: &str, geometry: RosterGeometry, log_inode: u64) -> Result<Self> {
        let purpose = Purpose { kind: Kind::Roster, name, layout_hash: 0 };
        let segment = Segment::create(&purpose, geometry.body_bytes())?;
        segment.describe(&Details { version: 1, facts: &RosterHeader::facts(geometry), ..Details::default() })?;
        geometry.announce(&*segment.view::<RosterHeader>(0)?, log_inode);
        let roster = roster(&segment, geometry)?;
        Ok(Self { segment, roster, taken: vec![false; geometry.entries] })
    }
}

/// What tells lookers one log from another; 0 if the kernel does not tell.
fn inode(log: &OwnedFd) -> u64 {
    rustix::fs::fstat(log).map_or(0, |stat| stat.st_ino)
}

/// The roster in a segment that was made for this geometry, or found to have it.
pub(super) fn roster(segment: &Segment, geometry: RosterGeometry) -> Result<Roster> {
    let sleepers = segment.view(Roster::SLEEPERS_OFFSET)?;
    let room = segment.view(Roster::ROOM_OFFSET)?;
    Ok(Roster::new(sleepers, room, segment.slice(ENTRIES_OFFSET, geometry.words())?, geometry))
}

/// What wakes a publisher that does not sleep in a count itself while it waits for room.
pub(crate) struct RoomAlarms {
    admission: Arc<Admission>,
    alarms: std::sync::OnceLock<Alarms>,
    /// Where the rosters lie that are among the alarms, by user. One who comes again has another.
    known: Mutex<HashMap<u32, usize>>,
}

impl RoomAlarms {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self { admission, alarms: std::sync::OnceLock::new(), known: Mutex::default() }
    }

    /// Those of all users that have subscribed by now. Of others none is waited for: who comes later stands at the end.
    pub(crate) fn of_all(&self) -> Result<&Alarms> {
        if self.alarms.get().is_none() {
            // If another was first, its alarms are as good.
            let _ = self.alarms.set(Alarms::new()?);
        }
        let alarms = self.alarms.get().ok_or_else(|| Error::new("publish", ErrorKind::System))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, shared) in &self.admission.lock().rosters {
            let (key, room) = (u64::from(*uid), shared.roster.room());
            // An alarm keeps its place mapped, so no other lies there.
            if known.get(uid) != Some(&room.address()) {
                alarms.remove(key);
                alarms.add(key, Alarm::by_relay(alarms.bell(), room)?);
                known.insert(*uid, room.address());
            }
        }
        Ok(alarms)
    }
}

impl Participant for Admission {
    fn connected(&self, link: &Link) -> Result<()> {
        self.lock().silent.insert(link.peer().id, link.clone());
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let broken =
            || Error::new("admit a subscriber", ErrorKind::Corrupted).because("it says what no subscriber does");
        let mut state = self.lock();
        if message == READY {
            state.admitted.get_mut(&peer).ok_or_else(broken)?.is_ready = true;
            self.changed.notify_all();
            return Ok(());
        }
        if doorbell::hear(message) == Some(Heard::Bell(SLEEPERS)) {
            let State { admitted, rosters, .. } = &mut *state;
            let place = admitted.get_mut(&peer).ok_or_else(broken)?;
            let sleepers = rosters.get(&place.uid).ok_or_else(broken)?.roster.sleepers();
            // One for each: what hung there before goes.
            place.bell = doorbell::hang(&place.link, SLEEPERS, sleepers, bell_number(place.entry), fds)?;
            return Ok(());
        }
        let wishes = Subscribe::decode(message).ok_or_else(broken)?;
        let link = state.silent.remove(&peer).ok_or_else(broken)?;
        let answer = self.admit(&mut state, &link, &wishes);
        self.changed.notify_all();
        if let Err(error) = &answer {
            // It learns why from this, or else only that the line is closed.
            let _ = link.send(&Refused { kind: error.kind() }.encode(), &[]);
        }
        answer.map(|_| ())
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.lock();
        state.silent.remove(&peer);
        // First it is waited for no longer and holds nothing, then its entry may be somebody else's.
        self.gates.dismiss(peer.0);
        if let Some(place) = state.admitted.remove(&peer)
            && let Some(shared) = state.rosters.get_mut(&place.uid)
        {
            shared.taken[place.entry] = false;
            if !shared.taken.contains(&true) {
                // Users come and go; what was made for one is not kept for ever.
                state.rosters.remove(&place.uid);
            }
        }
        self.changed.notify_all();
    }
}
