//! The members that have a line to the host: introducing them to each other, and noticing that they go.

use std::collections::{HashSet, VecDeque};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tieline_os::unix::{SendOptions, SeqPacket};

use super::Host;
use super::admission::no_descriptor;
use crate::raw::private_fd::Private;
use crate::raw::step;
use crate::rendezvous::station::{About, State, Station};
use crate::rendezvous::wire::{Introduction, Message, Refusal};
use crate::rendezvous::{Peer, PeerId, Role};
use crate::segment::Kind;

/// How many introductions are kept for a member that does not read, beyond those of its welcome.
pub(super) const UNSENT_MAX: usize = 64;

/// How many sharers, besides the host, hear of a sharer's death by a line of their own: a host may be stopped.
const WITNESSES: usize = 2;

pub(super) struct Registered {
    pub(super) connection: Private<SeqPacket>,
    pub(super) token: u64,
    pub(super) role: Role,
    pub(super) peer: Peer,
    pub(super) linked: HashSet<u64>,
    /// What its socket has no room for at the moment, and how much that may be.
    pub(super) unsent: VecDeque<Packet>,
    pub(super) unsent_max: usize,
}

pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Host {
    /// Introduces sharers to each other who hear of too few others' deaths. Whoever hears of one recovers what it held.
    pub(super) fn introduce_witnesses(&mut self, station: &Station, me: PeerId) {
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
            registered.send(station, introduction(who, line));
        }
    }

    pub(super) fn hear_member(&mut self, station: &Arc<Station>, state: &mut State, peer: PeerId) {
        let Some(registered) = self.registered.get_mut(&peer) else { return };
        // A member has nothing more to say: whatever comes, it is the end, or against the rules.
        let silent = matches!(registered.connection.try_recv(&mut [0; 8]), Err(error) if error.is_would_block());
        if silent && registered.flush(station) {
            return;
        }
        self.drop_registered(station, state, peer);
    }

    pub(super) fn drop_registered(&mut self, station: &Arc<Station>, state: &mut State, peer: PeerId) {
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

    pub(super) fn send(&mut self, station: &Station, packet: Packet) {
        self.unsent.push_back(packet);
        if self.unsent.len() > self.unsent_max {
            // It does not read: it is stopped, or worse. When it goes on it registers again, and is introduced then.
            self.hang_up();
        }
        self.flush(station);
    }

    /// Sends as much as there is room for; whether the line is still good.
    pub(super) fn flush(&mut self, station: &Station) -> bool {
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

    /// Ends the line. It is seen as its end by both sides, and forgotten then.
    fn hang_up(&mut self) {
        self.unsent.clear();
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }
}

pub(super) fn introduction(who: Peer, line: SeqPacket) -> Packet {
    let introduction = Introduction { id: who.id.0, uid: who.uid, gid: who.gid, pid: who.pid };
    Packet { bytes: Message::Introduction(introduction).encode(), fds: vec![line.into()] }
}

pub(super) fn line() -> Result<(SeqPacket, SeqPacket), Refusal> {
    SeqPacket::pair().map_err(|_| no_descriptor())
}
