//! What a station does while it is the host of its name: it lets in whom the rule admits, and introduces them.
//!
//! The invariant: a stranger costs a bounded amount. Who connects and says nothing is dropped after [`HELLO_PATIENCE`],
//! or sooner if others of the same user come; who says anything wrong is dropped at once; and nothing is ever waited for.

mod admission;
mod registered;

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use tieline_os::spare::SpareDescriptor;
use tieline_os::unix::{Address, BindOptions, RecvOptions, SeqPacket, SeqPacketListener};
use tieline_os::{ErrorKind as OsErrorKind, Mode};

use self::registered::Registered;
use super::lock::Locked;
use super::site::Site;
use super::station::{Part, State, Station};
use super::wire::{Hello, Message, PACKET_MAX, Reason, Refusal};
use super::{Access, PeerId};
use crate::error::{Error, Result};
use crate::raw::private_fd::Private;
use crate::raw::step;

const HOST: &str = "host the name";

/// How long somebody who connected may take to say what for.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// How many such there may be of one user; a further one takes the place of the oldest.
const CANDIDATES_PER_USER: usize = 16;
/// How many such there may be in all.
const CANDIDATES_MAX: usize = 64;
/// How many connections are accepted before others have their turn.
const ACCEPTED_AT_ONCE: usize = 64;
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

pub(super) fn refuse(connection: &SeqPacket, reason: Reason, text: &str) {
    let refusal = Refusal { reason, text: text.to_owned() };
    // Who does not read it finds the line closed.
    let _ = connection.try_send(&Message::Refusal(refusal).encode());
}
