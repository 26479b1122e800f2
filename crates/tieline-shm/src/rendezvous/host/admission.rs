//! Who is let in, with what, and why others are not.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tieline_os::unix::{Credentials, SeqPacket};

use super::registered::{Packet, Registered, UNSENT_MAX, introduction, line};
use super::{Host, refuse};
use crate::error::Error;
use crate::raw::private_fd::Private;
use crate::raw::step;
use crate::rendezvous::access::{Applicant, Right};
use crate::rendezvous::station::{About, Part, State, Station};
use crate::rendezvous::wire::{Answer, Hello, Message, Reason, Refusal, Welcome};
use crate::rendezvous::{Link, Peer, PeerId, Role, name_of};

/// A member that is about to be told so.
struct Enrolled {
    id: PeerId,
    linked: HashSet<u64>,
    /// Its introductions.
    packets: Vec<Packet>,
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
    /// Tells somebody who may join, in whatever role, what there is to join.
    pub(super) fn tell(&self, station: &Station, connection: &SeqPacket, who: Credentials) {
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
    pub(super) fn admit(
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
            // What the members of such users say, they may as well do.
            Some(_) if about.trusts(who.uid) => {}
            Some(again) if PeerId(again.id).user() != who.uid => {
                return refuse(Reason::Protocol, "it registers again as another user's member".to_owned());
            }
            // Who was a member counts already; and some may have taken the places of members that are late.
            Some(_) if self.registered.len() + 1 >= 2 * about.peers_max as usize => {
                return refuse(Reason::Busy, "more members register again than there can be".to_owned());
            }
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
        let id = hello.again.as_ref().map_or_else(|| self.fresh_id(state.me, who.uid), |again| PeerId(again.id));
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
            registered.send(station, introduction(newcomer, here));
            step("meet:introduced-one");
            linked.insert(peer.0);
            packets.push(introduction(registered.peer, there));
        }
        Ok(Enrolled { id, linked, packets })
    }

    /// Whether there are as many members, with the host itself, as the object was made for.
    fn is_full(&self, about: &About) -> bool {
        self.registered.len() + 1 >= about.peers_max as usize
    }

    fn fresh_id(&self, me: PeerId, uid: u32) -> PeerId {
        loop {
            let id = PeerId::of_user(uid);
            if id != me && id.0 != 0 && !self.registered.contains_key(&id) {
                return id;
            }
        }
    }
}

/// What somebody gets who may join: if it was a member before, it has it all.
fn share(station: &Arc<Station>, state: &State, who: Credentials, hello: &Hello) -> Result<Shares, Refusal> {
    let about = &station.about;
    let Some(core) = about.core.as_ref().filter(|_| hello.again.is_none()) else { return Ok(Shares::default()) };
    let is_trusted = about.trusts(who.uid);
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

fn own_peer(id: PeerId) -> Peer {
    let own = Credentials::own();
    Peer { id, uid: own.uid, gid: own.gid, pid: own.pid.unwrap_or(0) }
}

fn no_number() -> Refusal {
    let text = "its members are fewer than its numbers, which are all held: by processes that are dying, that are \
                stopped and have not found its host, or that keep more than their own";
    Refusal { reason: Reason::Busy, text: text.to_owned() }
}

pub(super) fn no_descriptor() -> Refusal {
    Refusal { reason: Reason::Full, text: "its host has no descriptor left (RLIMIT_NOFILE)".to_owned() }
}

fn no_room(error: Error) -> Refusal {
    Refusal { reason: Reason::Full, text: format!("its host has no room: {error}") }
}
