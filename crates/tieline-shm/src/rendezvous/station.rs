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

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use tieline_os::unix::{Address, RecvOptions, SeqPacket};

use super::directory::Directory;
use super::host::Host;
use super::keeper::{Keeper, lock};
use super::lock::{Found, LockFile, NameUse};
use super::wire::{Again, Hello, Introduction, Message, PACKET_MAX};
use super::{Access, Link, Member, Members, Name, Participant, Peer, PeerId, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::raw::{process, step};
use crate::segment::Segment;

/// The first pause between two tries to find the new host; each is twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long a member that may not be the host itself looks for a new one before it stands alone.
const SEEKING_PATIENCE: Duration = Duration::from_secs(10);

/// How many messages of one counterpart are handled before the others have their turn.
const MESSAGES_AT_ONCE: usize = 32;

/// Where a name lies.
pub(super) struct Site {
    pub(super) name: Name,
    pub(super) directory: Arc<Directory>,
}

impl Site {
    pub(super) fn lock_file(&self) -> String {
        format!("{}.lock", self.name.as_str())
    }

    pub(super) fn socket_file(&self) -> String {
        format!("{}.sock", self.name.as_str())
    }

    /// The socket before it has its name.
    pub(super) fn new_socket_file(&self) -> String {
        format!("{}.new", self.name.as_str())
    }

    /// Takes the files away if nobody uses the name any more. To be called with no lock held: of several who leave at
    /// the same time, the one who looks last sees that the others have let go.
    fn remove_if_unused(&self, file: &LockFile) {
        let unused = || matches!(file.is_wanted(), Ok(false));
        if unused()
            && let Ok(Some(_locked)) = file.try_host()
            && unused()
            && file.has_its_name(&self.directory, &self.lock_file())
        {
            // The socket first: while the lock file has its name, nobody else touches the socket.
            for file in [self.socket_file(), self.lock_file()] {
                let _ = rustix::fs::unlinkat(self.directory.fd(), file.as_str(), AtFlags::empty());
            }
        }
    }

    pub(super) fn address(&self) -> tieline_os::Result<Address> {
        Address::path(self.directory.reach(&self.socket_file()))
    }
}

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

pub(super) enum Standing {
    Host(Box<Host>),
    Member { connection: Private<SeqPacket>, token: Option<u64> },
    Seeking { since: Instant, next: Instant, pause: Duration },
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
            Some(Part::Link(peer)) => state.drain(self, peer, MESSAGES_AT_ONCE),
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
            Standing::Member { connection, token: Some(token) } => self.keeper.ignore(token, &connection),
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

    /// Takes a line into use; whether the channel wants it.
    pub(super) fn connect(&mut self, station: &Arc<Station>, link: Link) -> bool {
        let peer = link.peer().id;
        if self.links.contains_key(&peer) {
            // It lost its end of the older line, and was introduced again.
            self.disconnect(station, peer);
        }
        let Some(participant) = self.participant.clone() else { return false };
        if participant.connected(&link).is_err() {
            link.close();
            return false;
        }
        match station.keeper.watch(station, link.socket()) {
            Ok(token) => {
                self.parts.insert(token, Part::Link(peer));
                self.links.insert(peer, Watched { link, token });
                true
            }
            Err(_) => {
                link.close();
                participant.disconnected(peer);
                false
            }
        }
    }

    fn disconnect(&mut self, station: &Arc<Station>, peer: PeerId) {
        let Some(watched) = self.links.remove(&peer) else { return };
        self.parts.remove(&watched.token);
        station.keeper.ignore(watched.token, watched.link.socket());
        watched.link.close();
        if let Some(participant) = &self.participant {
            participant.disconnected(peer);
        }
        if matches!(station.about.role, Role::Sharer) {
            self.recover_if_any_died(station);
        }
    }

    /// Hands what a counterpart sent to the channel.
    fn drain(&mut self, station: &Arc<Station>, peer: PeerId, messages: usize) {
        let Some((link, participant)) =
            self.links.get(&peer).map(|watched| watched.link.clone()).zip(self.participant.clone())
        else {
            return;
        };
        let mut buffer = [0; Link::MESSAGE_MAX];
        for _ in 0..messages {
            let options = RecvOptions::new().max_fds(Link::FDS_MAX);
            match link.socket().try_recv_with(&mut [IoSliceMut::new(&mut buffer)], options) {
                Ok(Some(came)) => {
                    let odd = came.truncated || came.control_truncated || came.len == 0;
                    // Sharers hear of each other's end on their lines, and have nothing else to say there.
                    let odd = odd || matches!(station.about.role, Role::Sharer);
                    // The kernel's word for each message: the line was not handed on to somebody else.
                    let stranger = came.credentials.is_some_and(|sender| sender.uid != link.peer().uid);
                    if odd || stranger || participant.received(peer, &buffer[..came.len], came.fds).is_err() {
                        return self.disconnect(station, peer);
                    }
                }
                Err(error) if error.is_would_block() => return,
                Ok(None) | Err(_) => return self.disconnect(station, peer),
            }
        }
    }

    /// What the host says to a member: introductions, or nothing more.
    fn hear_host(&mut self, station: &Arc<Station>) {
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            let Standing::Member { connection, .. } = &self.standing else { return };
            let options = RecvOptions::new().max_fds(1);
            match connection.try_recv_with(&mut [IoSliceMut::new(&mut buffer)], options) {
                Ok(Some(came)) => match Message::decode(&buffer[..came.len]) {
                    Some(Message::Introduction(who)) => {
                        if let Some(link) = introduced(who, came.fds) {
                            self.connect(station, link);
                        }
                    }
                    // The answer to our registering again; the core segment, if it comes along, is the one we have.
                    Some(Message::Welcome(_)) => {}
                    // Another object has the name now.
                    Some(Message::Refusal(_)) => return self.stand_alone(station),
                    _ => return self.lose_host(station),
                },
                Err(error) if error.is_would_block() => return,
                Ok(None) | Err(_) => return self.lose_host(station),
            }
        }
    }

    fn drop_host_connection(&mut self, station: &Arc<Station>) {
        if let Standing::Member { connection, token: Some(token) } = &self.standing {
            self.parts.remove(token);
            station.keeper.ignore(*token, connection);
        }
    }

    fn stand_alone(&mut self, station: &Arc<Station>) {
        self.drop_host_connection(station);
        self.standing = Standing::Alone;
        self.name_use = None;
    }

    fn lose_host(&mut self, station: &Arc<Station>) {
        step("meet:host-lost");
        self.drop_host_connection(station);
        let now = Instant::now();
        self.standing = Standing::Seeking { since: now, next: now, pause: FIRST_PAUSE };
        self.recover_if_any_died(station);
        self.seek(station);
    }

    /// Becomes the host, or finds it, or plans the next try.
    fn seek(&mut self, station: &Arc<Station>) {
        let (Standing::Seeking { since, pause, .. }, Some(site)) = (&self.standing, &station.site) else { return };
        let (since, pause) = (*since, *pause);
        let may_host = self.renew_name_use(station, site);
        if may_host && self.try_to_host(station, site) {
            return;
        }
        if let Some(connection) = register_again(station, site, self.me, &self.links)
            && let Ok(token) = station.keeper.watch(station, &connection)
        {
            self.parts.insert(token, Part::Host);
            self.standing = Standing::Member { connection, token: Some(token) };
            return;
        }
        let now = Instant::now();
        self.standing = if !may_host && now.duration_since(since) > SEEKING_PATIENCE {
            Standing::Alone
        } else {
            Standing::Seeking { since, next: now + pause, pause: (pause * 2).min(LONGEST_PAUSE) }
        };
    }

    /// Sees to it that our lock file is the one with the name: somebody may have cleaned up. Whether we have one.
    fn renew_name_use(&mut self, station: &Station, site: &Site) -> bool {
        let file = site.lock_file();
        let Some(ours) = &self.name_use else { return false };
        if ours.file().has_its_name(&site.directory, &file) {
            return true;
        }
        let Ok(Found::File(fresh)) = LockFile::open(&site.directory, &file, true) else { return false };
        let Ok(Some(locked)) = fresh.member() else { return false };
        self.name_use = Some(station.keeper.share_name_use(NameUse::new(fresh, locked)));
        true
    }

    fn try_to_host(&mut self, station: &Arc<Station>, site: &Site) -> bool {
        // Opened anew: see `NameUse`.
        let lock_file = site.lock_file();
        let Ok(Found::File(file)) = LockFile::open(&site.directory, &lock_file, false) else { return false };
        let Ok(Some(locked)) = file.try_host() else { return false };
        if !file.has_its_name(&site.directory, &lock_file) {
            return false;
        }
        step("meet:elected");
        if let Ok(Some(locked)) = file.member() {
            // One open file is enough for both.
            self.name_use = Some(station.keeper.put_name_use(NameUse::new(file, locked)));
        }
        let Ok(mut host) = Host::bind(site, &station.about.access, locked) else { return false };
        let Ok(token) = host.watch(station) else { return false };
        host.listener_token = Some(token);
        self.parts.insert(token, Part::Listener);
        self.standing = Standing::Host(Box::new(host));
        true
    }
}

/// A connection to the host of the name on which we have told who we are, if there is a host and it has room.
fn register_again(
    station: &Station,
    site: &Site,
    me: PeerId,
    links: &HashMap<PeerId, Watched>,
) -> Option<Private<SeqPacket>> {
    let connection = Private::new(SeqPacket::try_connect(&site.address().ok()?).ok()?);
    let host = connection.peer_credentials().ok()?;
    if !site.directory.trusts(host.uid, &site.name) {
        return None;
    }
    let linked = links.keys().map(|peer| peer.0).collect();
    let again = Again { object: station.about.object, id: me.0, linked };
    let hello = Message::Hello(station.about.hello(Some(again))).encode();
    connection.try_send(&hello).ok()?;
    Some(connection)
}

/// The line that came with an introduction; `None` if it is none.
pub(super) fn introduced(who: Introduction, fds: Vec<std::os::fd::OwnedFd>) -> Option<Link> {
    let [fd] = <[_; 1]>::try_from(fds).ok()?;
    let socket = SeqPacket::from_fd(fd).ok()?;
    let peer = Peer { id: PeerId(who.id), uid: who.uid, gid: who.gid, pid: who.pid };
    Some(Link::new(peer, Private::new(socket)))
}

/// What a forked child finds in each of its parent's handles.
#[inline]
pub(super) fn check_fork(generation: u32, operation: &'static str) -> Result<()> {
    if generation == process::generation() { Ok(()) } else { Err(Error::new(operation, ErrorKind::Forked)) }
}
