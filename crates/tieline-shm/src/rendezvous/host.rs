//! What a station does while it is the host of its name: it lets in whom the rule admits, and introduces them.
//!
//! The invariant: a stranger costs a bounded amount. Who connects and says nothing is dropped after [`HELLO_PATIENCE`],
//! or sooner if others of the same user come; who says anything wrong is dropped at once; and nothing is ever waited for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use tieline_os::spare::SpareDescriptor;
use tieline_os::unix::{Address, BindOptions, Credentials, RecvOptions, SendOptions, SeqPacket, SeqPacketListener};
use tieline_os::{ErrorKind as OsErrorKind, Mode};

use super::access::{Applicant, Right};
use super::lock::Locked;
use super::station::{About, Part, Site, State, Station};
use super::wire::{Answer, Hello, Introduction, Message, PACKET_MAX, Reason, Refusal, Welcome};
use super::{Access, Link, Peer, PeerId, Role};
use crate::error::{Error, Result};
use crate::raw::private_fd::Private;
use crate::raw::step;
use crate::segment::Kind;

const HOST: &str = "host the name";

/// How long somebody who connected may take to say what for.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// How many such there may be of one user; a further one takes the place of the oldest.
const CANDIDATES_PER_USER: usize = 16;
/// How many such there may be in all.
const CANDIDATES_MAX: usize = 64;
/// How many connections are accepted before others have their turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// How many introductions are kept for a member that does not read, beyond those of its welcome.
const UNSENT_MAX: usize = 64;
/// How many sharers, besides the host, hear of a sharer's death by a line of their own: a host may be stopped.
const WITNESSES: usize = 2;
/// How many may wait to be accepted, while the host is busy or stopped.
const BACKLOG: u16 = 1024;

pub(super) struct Host {
    listener: Private<SeqPacketListener>,
    pub(super) listener_token: Option<u64>,
    /// Byte 0 of the lock file, while we are the host.
    locked: Locked,
    candidates: Vec<Candidate>,
    registered: HashMap<PeerId, Registered>,
    /// For a connection that cannot be accepted because no descriptor is left.
    spare: Option<SpareDescriptor>,
}

struct Candidate {
    token: u64,
    connection: Private<SeqPacket>,
    uid: u32,
    until: Instant,
}

struct Registered {
    connection: Private<SeqPacket>,
    token: u64,
    role: Role,
    peer: Peer,
    linked: HashSet<u64>,
    /// What its socket has no room for at the moment, and how much that may be.
    unsent: VecDeque<Packet>,
    unsent_max: usize,
}

/// A member that is about to be told so.
struct Enrolled {
    id: PeerId,
    linked: HashSet<u64>,
    /// Its introductions.
    packets: Vec<Packet>,
}

struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What a member gets of an object that its members share.
#[derive(Default)]
struct Shares {
    core: Option<OwnedFd>,
    /// A description of the roll of its own.
    roll: Option<OwnedFd>,
    number: Option<u32>,
}

impl Host {
    /// Makes the socket of the name, in place of what a dead host may have left. The lock is ours.
    pub(super) fn bind(site: &Site, access: &Access, locked: Locked) -> Result<Self> {
        let refused = |error| Error::system_refused(HOST, error).on(&site.name);
        let (fresh, named) = (site.new_socket_file(), site.socket_file());
        // What a host left that died before it gave the socket its name.
        let _ = rustix::fs::unlinkat(site.directory.fd(), fresh.as_str(), AtFlags::empty());
        let mode = if access.is_owner_only() { Mode::OWNER } else { Mode::ANYONE };
        let options = BindOptions::new().mode(mode).backlog(BACKLOG).replace_dead(false).keep_file(true);
        let address = Address::path(site.directory.reach(&fresh)).map_err(refused)?;
        let listener = Private::new(SeqPacketListener::bind_with(&address, options).map_err(refused)?);
        step("meet:bound");
        // The kernel took off what this process's umask says.
        rustix::fs::chmodat(site.directory.fd(), fresh.as_str(), mode.into(), AtFlags::empty()).map_err(|errno| {
            refused(tieline_os::Error::from_errno("set the mode of the socket", errno.raw_os_error()))
        })?;
        // Under its name it listens from the first moment on.
        rustix::fs::renameat(site.directory.fd(), fresh.as_str(), site.directory.fd(), named.as_str()).map_err(
            |errno| refused(tieline_os::Error::from_errno("give the socket its name", errno.raw_os_error())),
        )?;
        step("meet:named");
        Ok(Self {
            listener,
            listener_token: None,
            locked,
            candidates: Vec::new(),
            registered: HashMap::new(),
            spare: SpareDescriptor::new().ok(),
        })
    }

    pub(super) fn watch(&self, station: &Arc<Station>) -> Result<u64> {
        station.keeper.watch(station, &self.listener)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.candidates.iter().map(|candidate| candidate.until).min()
    }

    pub(super) fn expire(&mut self, station: &Arc<Station>, state: &mut State, now: Instant) {
        while let Some(place) = self.candidates.iter().position(|candidate| candidate.until <= now) {
            self.drop_candidate(station, state, place);
        }
    }

    pub(super) fn ready(&mut self, station: &Arc<Station>, state: &mut State, token: u64, part: Part) {
        match part {
            Part::Listener => self.accept(station, state),
            Part::Candidate => self.hear_candidate(station, state, token),
            Part::Registered(peer) => self.hear_member(station, state, peer),
            Part::Link(_) | Part::Host => {}
        }
    }

    /// Gives the name up, to whoever is still there.
    pub(super) fn leave(self, station: &Station) {
        let keeper = &station.keeper;
        if let Some(token) = self.listener_token {
            keeper.ignore(token, &self.listener);
        }
        for candidate in &self.candidates {
            keeper.ignore(candidate.token, &candidate.connection);
        }
        for registered in self.registered.values() {
            keeper.ignore(registered.token, &registered.connection);
        }
        // The lock before the connections: whose line goes down tries the lock at once.
        drop(self.locked);
        drop(self.listener);
    }

    fn accept(&mut self, station: &Arc<Station>, state: &mut State) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.try_accept() {
                Ok(connection) => self.take_candidate(station, state, Private::new(connection)),
                Err(error) if error.is_would_block() => return,
                Err(error) if error.kind() == OsErrorKind::LimitReached => {
                    // It is turned away, rather than left to make the listener ready for ever.
                    let turned_away = self.spare.as_mut().map(|spare| spare.refuse_one(&self.listener));
                    if !matches!(turned_away, Some(Ok(()))) {
                        self.spare = self.spare.take().or_else(|| SpareDescriptor::new().ok());
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn take_candidate(&mut self, station: &Arc<Station>, state: &mut State, connection: Private<SeqPacket>) {
        // Nobody has descriptors to give us. An older kernel drops them when they are received without room.
        let _ = connection.set_pass_rights(false);
        let Ok(who) = connection.peer_credentials() else { return };
        match hear(&connection) {
            Heard::Hello(hello) => return self.admit(station, state, connection, None, who, &hello),
            Heard::Question => return self.tell(station, &connection, who),
            Heard::Nothing => {}
            Heard::Nonsense => return refuse(&connection, Reason::Protocol, "the host did not understand"),
            Heard::End => return,
        }
        let of_user = |candidate: &Candidate| candidate.uid == who.uid;
        if self.candidates.iter().filter(|candidate| of_user(candidate)).count() >= CANDIDATES_PER_USER {
            let oldest = self.candidates.iter().position(of_user);
            self.drop_candidate(station, state, oldest.unwrap_or(0));
        } else if self.candidates.len() >= CANDIDATES_MAX {
            self.drop_candidate(station, state, 0);
        }
        if let Ok(token) = station.keeper.watch(station, &connection) {
            state.parts.insert(token, Part::Candidate);
            let until = Instant::now() + HELLO_PATIENCE;
            self.candidates.push(Candidate { token, connection, uid: who.uid, until });
        }
    }

    fn drop_candidate(&mut self, station: &Arc<Station>, state: &mut State, place: usize) {
        let candidate = self.candidates.remove(place);
        state.parts.remove(&candidate.token);
        station.keeper.ignore(candidate.token, &candidate.connection);
    }

    fn hear_candidate(&mut self, station: &Arc<Station>, state: &mut State, token: u64) {
        let Some(place) = self.candidates.iter().position(|candidate| candidate.token == token) else { return };
        let connection = &self.candidates[place].connection;
        let heard = hear(connection);
        if let Heard::Nothing = heard {
            return;
        }
        if let Heard::Nonsense = heard {
            refuse(connection, Reason::Protocol, "the host did not understand");
        }
        if let (Heard::Question, Ok(who)) = (&heard, connection.peer_credentials()) {
            self.tell(station, connection, who);
        }
        let (Heard::Hello(hello), Ok(who)) = (heard, connection.peer_credentials()) else {
            return self.drop_candidate(station, state, place);
        };
        let candidate = self.candidates.remove(place);
        state.parts.remove(&token);
        self.admit(station, state, candidate.connection, Some(token), who, &hello);
    }

    /// Tells somebody who may join, in whatever role, what there is to join.
    fn tell(&self, station: &Station, connection: &SeqPacket, who: Credentials) {
        let about = &station.about;
        let groups = connection.peer_groups().unwrap_or_default();
        let applicant = Applicant { uid: who.uid, gid: who.gid, groups };
        let may = |right| about.access.grants(right, &applicant, about.owner);
        if !may(Right::Publish) && !may(Right::Subscribe) {
            let text = format!("its rule does not let user {} publish or subscribe", who.uid);
            return refuse(connection, Reason::Access, &text);
        }
        let answer = Answer {
            kind: about.kind,
            owner: about.owner,
            peers_max: about.peers_max,
            peers: u32::try_from(self.registered.len() + 1).unwrap_or(u32::MAX),
            layout_hash: about.layout_hash,
            layout_text: about.layout_text.clone(),
            config: about.config.clone(),
        };
        // Who does not read it finds the line closed.
        let _ = connection.try_send(&Message::Answer(answer).encode());
    }

    /// Lets somebody in, or says why not.
    fn admit(
        &mut self,
        station: &Arc<Station>,
        state: &mut State,
        connection: Private<SeqPacket>,
        token: Option<u64>,
        who: Credentials,
        hello: &Hello,
    ) {
        if self.is_full(&station.about) {
            // Some may have left whose lines were not looked at yet.
            for peer in self.registered.keys().copied().collect::<Vec<_>>() {
                self.hear_member(station, state, peer);
            }
        }
        let mut token = token;
        let answer = self.examine(station, &connection, who, hello).and_then(|()| {
            let shares = share(station, state, who, hello)?;
            let watched = match token {
                Some(token) => token,
                None => station.keeper.watch(station, &connection).map_err(no_room)?,
            };
            token = Some(watched);
            self.enrol(station, state, who, hello).map(|enrolled| (watched, enrolled, shares))
        });
        match answer {
            Ok((token, Enrolled { id, linked, packets }, shares)) => {
                let peer = Peer { id, uid: who.uid, gid: who.gid, pid: who.pid.unwrap_or(0) };
                let mut registered = Registered {
                    connection,
                    token,
                    role: hello.role,
                    peer,
                    linked,
                    unsent: VecDeque::new(),
                    unsent_max: packets.len() + UNSENT_MAX,
                };
                let welcome = Welcome {
                    id: id.0,
                    object: station.about.object,
                    owner: station.about.owner,
                    peers_max: station.about.peers_max,
                    layout_hash: station.about.layout_hash,
                    introductions: u32::try_from(packets.len()).unwrap_or(0),
                    has_core: shares.core.is_some(),
                    has_roll: shares.roll.is_some(),
                    number: shares.number,
                    access: station.about.access.clone(),
                    config: station.about.config.clone(),
                };
                let fds = shares.core.into_iter().chain(shares.roll).collect();
                registered.unsent.push_back(Packet { bytes: Message::Welcome(welcome).encode(), fds });
                registered.unsent.extend(packets);
                step("meet:admitted");
                state.parts.insert(token, Part::Registered(id));
                registered.flush(station);
                self.registered.insert(id, registered);
                self.introduce_witnesses(station, state.me);
            }
            Err(refusal) => {
                if let Some(token) = token {
                    station.keeper.ignore(token, &connection);
                }
                refuse(&connection, refusal.reason, &refusal.text);
            }
        }
    }

    /// Whether somebody may join.
    fn examine(
        &self,
        station: &Station,
        connection: &SeqPacket,
        who: Credentials,
        hello: &Hello,
    ) -> Result<(), Refusal> {
        let about = &station.about;
        let refuse = |reason, text: String| Err(Refusal { reason, text });
        let groups = connection.peer_groups().unwrap_or_default();
        let applicant = Applicant { uid: who.uid, gid: who.gid, groups };
        if !about.access.grants(hello.role.right(), &applicant, about.owner) {
            let wish = match hello.role.right() {
                Right::Publish => "publish",
                Right::Subscribe => "subscribe",
                Right::Both => "publish and subscribe",
            };
            return refuse(Reason::Access, format!("its rule does not let user {} {wish}", who.uid));
        }
        if hello.kind != about.kind {
            return refuse(Reason::Mismatch, format!("it is {}, not {}", name_of(about.kind), name_of(hello.kind)));
        }
        if hello.role.shares() != about.role.shares() {
            return refuse(Reason::Mismatch, "its members do not meet in that direction".to_owned());
        }
        if hello.layout_hash != about.layout_hash {
            let text = format!("its payload is\n{}\nand yours is\n{}", about.layout_text, hello.layout_text);
            return refuse(Reason::Mismatch, text);
        }
        match &hello.again {
            Some(again) if again.object != about.object => {
                return refuse(Reason::Stale, "another object has the name now".to_owned());
            }
            // Who was a member counts already.
            Some(_) => {}
            None if self.is_full(about) => {
                return refuse(Reason::Full, format!("it was made for {} members and has as many", about.peers_max));
            }
            None => {}
        }
        if hello.role == Role::Sharer && !about.core_is_writable {
            let text = "only readers are left, who cannot let anybody write".to_owned();
            return refuse(Reason::Access, text);
        }
        Ok(())
    }

    /// Gives the new member its id and lines to all its counterparts.
    fn enrol(
        &mut self,
        station: &Arc<Station>,
        state: &mut State,
        who: Credentials,
        hello: &Hello,
    ) -> Result<Enrolled, Refusal> {
        let mut linked: HashSet<u64> = hello.again.iter().flat_map(|again| again.linked.iter().copied()).collect();
        let id = hello.again.as_ref().map_or_else(|| self.fresh_id(state.me), |again| PeerId(again.id));
        if id == state.me {
            return Err(Refusal { reason: Reason::Protocol, text: "it says that it is the host".to_owned() });
        }
        // One that registers again before we saw its older line go down.
        self.drop_registered(station, state, id);
        let newcomer = Peer { id, uid: who.uid, gid: who.gid, pid: who.pid.unwrap_or(0) };
        // All lines first, so that either all are introduced or nobody.
        let meets_us =
            hello.role.meets(station.about.role) && !(linked.contains(&state.me.0) && state.links.contains_key(&id));
        let ours = if meets_us { Some(line()?) } else { None };
        let mut lines = Vec::new();
        for registered in self.registered.values() {
            let knows = linked.contains(&registered.peer.id.0) && registered.linked.contains(&id.0);
            if hello.role.meets(registered.role) && !knows {
                lines.push((registered.peer.id, line()?));
            }
        }
        let mut packets = Vec::with_capacity(lines.len() + 1);
        if let Some((here, there)) = ours {
            let link = Link::new(newcomer, Private::new(here));
            if state.connect(station, link) {
                linked.insert(state.me.0);
                packets.push(introduction(own_peer(state.me), there));
            }
        }
        step("meet:introducing");
        for (peer, (here, there)) in lines {
            let Some(registered) = self.registered.get_mut(&peer) else { continue };
            registered.linked.insert(id.0);
            registered.unsent.push_back(introduction(newcomer, here));
            if registered.unsent.len() > registered.unsent_max {
                // It does not read: it is stopped, or worse. When it goes on it registers again, and is introduced then.
                registered.hang_up();
            }
            registered.flush(station);
            step("meet:introduced-one");
            linked.insert(peer.0);
            packets.push(introduction(registered.peer, there));
        }
        Ok(Enrolled { id, linked, packets })
    }

    /// Introduces sharers to each other who hear of too few others' deaths. Whoever hears of one recovers what it held.
    fn introduce_witnesses(&mut self, station: &Station, me: PeerId) {
        if !needs_witnesses(&station.about) {
            return;
        }
        let lonely = |registered: &Registered| registered.witnesses(me) < WITNESSES;
        let members: Vec<PeerId> = self.registered.values().filter(|it| lonely(it)).map(|it| it.peer.id).collect();
        for id in members {
            while let Some(member) = self.registered.get(&id).filter(|member| lonely(member)) {
                // One that has not read what was sent to it before is stopped, perhaps, and would be of no use.
                let others = self.registered.values().filter(|other| {
                    let knows = other.linked.contains(&id.0) || member.linked.contains(&other.peer.id.0);
                    other.role == Role::Sharer && other.peer.id != id && !knows && other.unsent.is_empty()
                });
                let Some(other) = others.min_by_key(|other| other.witnesses(me)).map(|other| other.peer.id) else {
                    break;
                };
                // Without a descriptor to spare the host alone is told.
                let Ok((here, there)) = line() else { return };
                self.introduce(station, id, other, here);
                self.introduce(station, other, id, there);
                step("meet:witnessed");
            }
        }
    }

    fn introduce(&mut self, station: &Station, to: PeerId, who: PeerId, line: SeqPacket) {
        let Some(who) = self.registered.get(&who).map(|registered| registered.peer) else { return };
        if let Some(registered) = self.registered.get_mut(&to) {
            registered.linked.insert(who.id.0);
            registered.unsent.push_back(introduction(who, line));
            registered.flush(station);
        }
    }

    /// Whether there are as many members, with the host itself, as the object was made for.
    fn is_full(&self, about: &About) -> bool {
        self.registered.len() + 1 >= about.peers_max as usize
    }

    fn fresh_id(&self, me: PeerId) -> PeerId {
        loop {
            let id = PeerId(random());
            if id != me && id.0 != 0 && !self.registered.contains_key(&id) {
                return id;
            }
        }
    }

    fn hear_member(&mut self, station: &Arc<Station>, state: &mut State, peer: PeerId) {
        let Some(registered) = self.registered.get_mut(&peer) else { return };
        // A member has nothing more to say: whatever comes, it is the end, or against the rules.
        let silent = matches!(registered.connection.try_recv(&mut [0; 8]), Err(error) if error.is_would_block());
        if silent && registered.flush(station) {
            return;
        }
        self.drop_registered(station, state, peer);
    }

    fn drop_registered(&mut self, station: &Arc<Station>, state: &mut State, peer: PeerId) {
        if let Some(registered) = self.registered.remove(&peer) {
            state.parts.remove(&registered.token);
            station.keeper.ignore(registered.token, &registered.connection);
            if needs_witnesses(&station.about) {
                for other in self.registered.values_mut() {
                    other.linked.remove(&peer.0);
                }
                self.introduce_witnesses(station, state.me);
            }
        }
    }
}

/// Whether members recover what one of them held; of locks and arenas the kernel gives it back.
fn needs_witnesses(about: &About) -> bool {
    let by_kernel = matches!(Kind::from_number(about.kind), Some(Kind::Locks | Kind::Arena));
    about.role.shares() && !by_kernel
}

impl Registered {
    /// How many besides the host, who is `host`, hear of its death; readers hold nothing, and count as such.
    fn witnesses(&self, host: PeerId) -> usize {
        match self.role {
            Role::Sharer => self.linked.iter().filter(|id| **id != host.0).count(),
            _ => WITNESSES,
        }
    }

    /// Sends as much as there is room for; whether the line is still good.
    fn flush(&mut self, station: &Station) -> bool {
        while let Some(packet) = self.unsent.front() {
            let fds: Vec<_> = packet.fds.iter().map(AsFd::as_fd).collect();
            let options = SendOptions::new().fds(&fds);
            match self.connection.try_send_with(&[IoSlice::new(&packet.bytes)], options) {
                Ok(()) => {
                    self.unsent.pop_front();
                }
                Err(error) if error.is_would_block() => {
                    station.keeper.watch_room(self.token, &self.connection, true);
                    return true;
                }
                // The member, or this line, cannot be served. It is seen as the end of the line, and ends.
                Err(_) => {
                    self.hang_up();
                    return false;
                }
            }
        }
        station.keeper.watch_room(self.token, &self.connection, false);
        true
    }
}

impl Registered {
    /// Ends the line. It is seen as its end by both sides, and forgotten then.
    fn hang_up(&mut self) {
        self.unsent.clear();
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }
}

impl Role {
    pub(super) fn right(self) -> Right {
        match self {
            Self::Sharer => Right::Both,
            Self::Producer => Right::Publish,
            Self::Reader | Self::Consumer => Right::Subscribe,
        }
    }

    pub(super) fn shares(self) -> bool {
        matches!(self, Self::Sharer | Self::Reader)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        matches!((self, other), (Self::Producer, Self::Consumer) | (Self::Consumer, Self::Producer))
    }
}

enum Heard {
    Hello(Hello),
    Question,
    Nothing,
    Nonsense,
    End,
}

fn hear(connection: &SeqPacket) -> Heard {
    let mut buffer = vec![0; PACKET_MAX];
    match connection.try_recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new()) {
        Ok(Some(came)) if !came.truncated => match Message::decode(&buffer[..came.len]) {
            Some(Message::Hello(hello)) => Heard::Hello(hello),
            Some(Message::Question) => Heard::Question,
            _ => Heard::Nonsense,
        },
        Ok(Some(_)) => Heard::Nonsense,
        Ok(None) => Heard::End,
        Err(error) if error.is_would_block() => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

/// What somebody gets who may join: if it was a member before, it has it all.
fn share(station: &Arc<Station>, state: &State, who: Credentials, hello: &Hello) -> Result<Shares, Refusal> {
    let about = &station.about;
    let Some(core) = about.core.as_ref().filter(|_| hello.again.is_none()) else { return Ok(Shares::default()) };
    let is_trusted = who.uid == about.owner || who.uid == 0;
    let core = match hello.role {
        Role::Reader if !is_trusted => core.read_only_fd().map_err(no_room)?,
        _ => core.as_fd().try_clone_to_owned().map_err(|_| no_descriptor())?,
    };
    let Some((members, roll)) = about.members.as_ref().and_then(|members| members.roll().map(|roll| (members, roll)))
    else {
        return Ok(Shares { core: Some(core), ..Shares::default() });
    };
    let (roll, number) = match hello.role {
        Role::Reader if is_trusted => (Some(roll.open_again().map_err(no_room)?), None),
        Role::Reader => (None, None),
        _ => {
            let departed = |number| state.participant.iter().for_each(|participant| participant.departed(number));
            let given = station.keeper.register().and_then(|register| members.give(&register, departed));
            let (number, roll) = given.map_err(no_room)?.ok_or_else(no_number)?;
            (Some(roll), Some(number))
        }
    };
    Ok(Shares { core: Some(core), roll, number })
}

fn refuse(connection: &SeqPacket, reason: Reason, text: &str) {
    let refusal = Refusal { reason, text: text.to_owned() };
    // Who does not read it finds the line closed.
    let _ = connection.try_send(&Message::Refusal(refusal).encode());
}

fn introduction(who: Peer, line: SeqPacket) -> Packet {
    let introduction = Introduction { id: who.id.0, uid: who.uid, gid: who.gid, pid: who.pid };
    Packet { bytes: Message::Introduction(introduction).encode(), fds: vec![line.into()] }
}

fn own_peer(id: PeerId) -> Peer {
    let own = Credentials::own();
    Peer { id, uid: own.uid, gid: own.gid, pid: own.pid.unwrap_or(0) }
}

fn line() -> Result<(SeqPacket, SeqPacket), Refusal> {
    SeqPacket::pair().map_err(|_| no_descriptor())
}

fn no_number() -> Refusal {
    let text = "its members are fewer than its numbers, which are all held: by processes that are dying, that are \
                stopped and have not found its host, or that keep more than their own";
    Refusal { reason: Reason::Busy, text: text.to_owned() }
}

fn no_descriptor() -> Refusal {
    Refusal { reason: Reason::Full, text: "its host has no descriptor left (RLIMIT_NOFILE)".to_owned() }
}

fn no_room(error: Error) -> Refusal {
    Refusal { reason: Reason::Full, text: format!("its host has no room: {error}") }
}

/// A number that nobody else has drawn, as far as 64 bits reach.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Its keys come from the kernel's source of randomness, and differ for each call.
    std::hash::RandomState::new().build_hasher().finish()
}

fn name_of(kind: u32) -> String {
    Kind::from_number(kind).map_or_else(|| format!("of kind {kind}"), |kind| kind_name(kind).to_owned())
}

/// What people call it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Log | Kind::Roster => "a topic",
        Kind::Queue => "a queue",
        Kind::Stream => "a stream",
        Kind::Calls => "a service",
        Kind::Latest => "a latest value",
        Kind::Event => "an event",
        Kind::Locks => "a set of locks",
        Kind::Arena => "an arena",
        Kind::Memory => "plain memory",
    }
}
