//! One membership, as the keeper sees it: its lines to counterparts, and its place at the name.
//!
//! A station is the host of its name, or a member with a line to the host, or is looking for a new host, or stands alone
//! (it never had a name, or has lost it for good). The invariant: all that happens to a station happens under its one
//! lock, on the keeper's thread except for `start` and `leave`, so a channel is told one thing at a time, and nothing
//! after it left.
//!
//! The election. When the line to the host goes down, each member tries the lock of byte 0. Who gets it binds a new
//! socket and moves it to the name; who does not, connects to the name and registers again, telling whom it is linked
//! with. While the winner is between lock and name, the others try again after pauses that double.

mod election;
mod lines;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tieline_os::unix::SeqPacket;

pub(super) use self::lines::introduced;
use super::host::Host;
use super::keeper::{Keeper, lock};
use super::lock::NameUse;
use super::site::Site;
use super::wire::{Again, Hello};
use super::{Access, Link, Member, Members, Participant, PeerId, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::raw::process;
use crate::segment::Segment;

/// What all members of an object agree on, and what this one brings.
pub(super) struct About {
    pub(super) kind: u32,
    pub(super) role: Role,
    pub(super) layout_hash: u64,
    pub(super) layout_text: String,
    pub(super) config: Vec<u8>,
    pub(super) access: Access,
    /// The creator's user.
    pub(super) owner: u32,
    /// Tells this object from earlier and later ones of the same name.
    pub(super) object: u64,
    pub(super) peers_max: u32,
    pub(super) core: Option<Arc<Segment>>,
    /// Whether our descriptor of the core segment may be handed to whoever writes.
    pub(super) core_is_writable: bool,
    pub(super) members: Option<Members>,
}

impl About {
    /// Whether a user's members may do what they like with the object anyway.
    pub(super) fn trusts(&self, uid: u32) -> bool {
        uid == self.owner || uid == 0
    }

    pub(super) fn hello(&self, again: Option<Again>) -> Hello {
        Hello {
            kind: self.kind,
            role: self.role,
            layout_hash: self.layout_hash,
            layout_text: self.layout_text.clone(),
            again,
        }
    }
}

pub(super) struct Station {
    pub(super) keeper: Arc<Keeper>,
    /// `None` for what has no name.
    pub(super) site: Option<Site>,
    pub(super) about: About,
    state: Mutex<State>,
    deadline: Mutex<Option<Instant>>,
}

pub(super) struct State {
    pub(super) me: PeerId,
    pub(super) standing: Standing,
    pub(super) participant: Option<Arc<dyn Participant>>,
    pub(super) links: HashMap<PeerId, Watched>,
    pub(super) parts: HashMap<u64, Part>,
    pub(super) member: Option<Member>,
    /// Keeps the name in use; not if it is another user's.
    pub(super) name_use: Option<Arc<NameUse>>,
}

/// A line that the keeper watches.
pub(super) struct Watched {
    link: Link,
    token: u64,
}

/// What a token of the keeper's stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Link(PeerId),
    /// Our line to the host.
    Host,
    Listener,
    /// Somebody who connected and has not yet said what for.
    Candidate,
    Registered(PeerId),
}

/// How long a host is being looked for, and the next pause between two tries.
#[derive(Clone, Copy)]
pub(super) struct Search {
    since: Instant,
    pause: Duration,
}

pub(super) enum Standing {
    Host(Box<Host>),
    /// `again` until the host has answered to our registering again.
    Member {
        connection: Private<SeqPacket>,
        token: Option<u64>,
        again: Option<Search>,
    },
    Seeking {
        search: Search,
        next: Instant,
    },
    Alone,
    Left,
}

impl Station {
    pub(super) fn new(keeper: Arc<Keeper>, site: Option<Site>, about: About, state: State) -> Arc<Self> {
        let station = Arc::new(Self { keeper, site, about, state: Mutex::new(state), deadline: Mutex::new(None) });
        station.keeper.admit(&station);
        station
    }

    pub(super) fn id(&self) -> PeerId {
        lock(&self.state).me
    }

    pub(super) fn member_number(&self) -> Option<u32> {
        lock(&self.state).member.as_ref().map(Member::number)
    }

    pub(super) fn is_host(&self) -> bool {
        matches!(lock(&self.state).standing, Standing::Host(_))
    }

    #[cfg(test)]
    pub(super) fn links(&self) -> Vec<Link> {
        lock(&self.state).links.values().map(|watched| watched.link.clone()).collect()
    }

    /// Begins to tell `participant`, first of `links`, on this thread.
    pub(super) fn start(self: &Arc<Self>, participant: Arc<dyn Participant>, links: Vec<Link>) -> Result<()> {
        let mut state = lock(&self.state);
        state.participant = Some(participant);
        for link in links {
            let peer = link.peer().id;
            if state.connect(self, link) {
                state.drain(self, peer, usize::MAX);
            }
        }
        let token = match &state.standing {
            Standing::Host(host) => Some((host.watch(self)?, Part::Listener)),
            Standing::Member { connection, .. } => Some((self.keeper.watch(self, connection)?, Part::Host)),
            _ => None,
        };
        if let Some((number, part)) = token {
            state.parts.insert(number, part);
            match &mut state.standing {
                Standing::Host(host) => host.listener_token = Some(number),
                Standing::Member { token, .. } => *token = Some(number),
                _ => {}
            }
        }
        self.plan(&state);
        Ok(())
    }

    /// When the keeper shall call [`tick`](Self::tick), if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *lock(&self.deadline)
    }

    fn plan(&self, state: &State) {
        *lock(&self.deadline) = match &state.standing {
            Standing::Host(host) => host.deadline(),
            Standing::Seeking { next, .. } => Some(*next),
            _ => None,
        };
    }

    /// A descriptor that stands for `token` is ready.
    pub(super) fn ready(self: &Arc<Self>, token: u64) {
        let mut state = lock(&self.state);
        match state.parts.get(&token).copied() {
            Some(Part::Link(peer)) => state.drain(self, peer, lines::MESSAGES_AT_ONCE),
            Some(Part::Host) => state.hear_host(self),
            Some(part) => state.as_host(self, |host, state| host.ready(self, state, token, part)),
            None => {}
        }
        self.plan(&state);
    }

    pub(super) fn tick(self: &Arc<Self>, now: Instant) {
        let mut state = lock(&self.state);
        match state.standing {
            Standing::Host(_) => state.as_host(self, |host, state| host.expire(self, state, now)),
            Standing::Seeking { .. } => state.seek(self),
            _ => {}
        }
        self.plan(&state);
    }

    /// Ends the membership, and tells the channel to undo what it holds. Not to be called from within a channel's call.
    pub(super) fn leave(self: &Arc<Self>) {
        self.end(true);
    }

    /// The same after the channel panicked.
    pub(super) fn leave_without_telling(self: &Arc<Self>) {
        self.end(false);
    }

    fn end(self: &Arc<Self>, tell: bool) {
        let mut state = lock(&self.state);
        if matches!(state.standing, Standing::Left) {
            return;
        }
        let participant = state.participant.take();
        if let Some(member) = state.member.take() {
            match &participant {
                Some(participant) if tell => member.leave(|number| participant.departed(number)),
                // Nothing was held yet, or the channel is in no state to say: then others undo what it held, once the
                // word says that we are gone.
                _ => drop(member),
            }
        }
        for (_, watched) in state.links.drain() {
            self.keeper.ignore(watched.token, watched.link.socket());
            watched.link.close();
        }
        match std::mem::replace(&mut state.standing, Standing::Left) {
            Standing::Host(host) => host.leave(self),
            Standing::Member { connection, token: Some(token), .. } => self.keeper.ignore(token, &connection),
            _ => {}
        }
        state.parts.clear();
        // While others of this process have it, the name is in use.
        let last = state.name_use.take().and_then(Arc::into_inner);
        if let (Some(site), Some(last)) = (&self.site, last) {
            site.remove_if_unused(&last.end());
        }
        *lock(&self.deadline) = None;
        drop(state);
        self.keeper.forget(self);
        self.keeper.end_use();
    }

    /// Undoes what dead members held; anybody may, at any time.
    pub(super) fn recover(&self, participant: &dyn Participant) {
        if let (Some(members), Ok(register)) = (&self.about.members, self.keeper.register()) {
            // What cannot be mapped now is seen by the next one who looks.
            let _ = members.recover(&register, |member| participant.departed(member));
        }
    }
}

impl State {
    /// Runs `body` with the host's part of the state apart from the rest.
    fn as_host(&mut self, station: &Arc<Station>, body: impl FnOnce(&mut Host, &mut Self)) {
        let alone = std::mem::replace(&mut self.standing, Standing::Alone);
        if let Standing::Host(mut host) = alone {
            body(&mut host, self);
            self.standing = Standing::Host(host);
        } else {
            self.standing = alone;
        }
        self.recover_if_any_died(station);
    }

    pub(super) fn recover_if_any_died(&self, station: &Station) {
        if let Some(participant) = &self.participant {
            station.recover(&**participant);
        }
    }
}

/// What a forked child finds in each of its parent's handles.
#[inline]
pub(super) fn check_fork(generation: u32, operation: &'static str) -> Result<()> {
    if generation == process::generation() { Ok(()) } else { Err(Error::new(operation, ErrorKind::Forked)) }
}
