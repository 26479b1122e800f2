//! Who is connected to a server: admission, whose turn it is, and where the server sleeps for them.
//!
//! The invariant: a client that breaks the rules loses its connection, and no other client notices.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tieline_os::unix::Credentials;

use super::super::connection::{self, Body, Sizes};
use super::super::signature::Signature;
use super::super::waitable;
use super::RECEIVE;
use super::peer::Peer;
use crate::channel::doorbell::{self, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::{View, process};
use crate::rendezvous::{Link, Participant, PeerId};
use crate::segment::{Details, Fact, Kind, Purpose, Segment};
use crate::structure::calls::{Head, Receiver};
use crate::wait::{Alarm, Alarms, EventCount, Source};

pub(super) struct Shared {
    pub(super) name: String,
    signature: Signature,
    sizes: Sizes,
    clients: usize,
    /// Where this server sleeps at least.
    own: View<EventCount>,
    state: Mutex<State>,
    /// Made when somebody first waits for several things at once.
    alarms: OnceLock<Alarms>,
    generation: u32,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) clients: Vec<Client>,
    /// Who is asked first, so that nobody starves.
    turn: usize,
    /// Where the clients of a user find us asleep: one place for all of them.
    bells: HashMap<u32, (Segment, View<EventCount>)>,
    /// Counts what came to the bells and went from them.
    pub(super) bell_changes: u64,
}

pub(super) struct Client {
    id: PeerId,
    uid: u32,
    receiver: Receiver,
    peer: Arc<Peer>,
}

impl Shared {
    /// Without clients yet; the limits are the sizes of a connection, and how many there may be. `own` is one of the places
    /// that `state` has.
    pub(super) fn new(
        name: String,
        signature: Signature,
        (sizes, clients): (Sizes, usize),
        state: State,
        own: View<EventCount>,
    ) -> Self {
        Self {
            name,
            signature,
            sizes,
            clients,
            own,
            state: Mutex::new(state),
            alarms: OnceLock::new(),
            generation: process::generation(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shared {
    fn is_ready(&self) -> bool {
        self.generation != process::generation()
            || self.state().clients.iter().any(|client| client.receiver.has_message())
    }

    fn alarms(&self) -> Result<&Alarms> {
        if let Some(alarms) = self.alarms.get() {
            return Ok(alarms);
        }
        // Under the lock, so that whoever connects is either among the clients or finds the alarms.
        let state = self.state();
        if self.alarms.get().is_none() {
            let alarms = Alarms::new()?;
            for client in &state.clients {
                wake_for(&alarms, client.peer.connection.link(), &client.peer.bell)?;
            }
            // Where clients of our own user notify; also before the first has come.
            if let Some((_, bell)) = state.bells.get(&Credentials::own().uid) {
                alarms.add(BY_LINES, Alarm::by_lines(alarms.bell(), bell, 0));
            }
            let _ = self.alarms.set(alarms);
        }
        self.alarms.get().ok_or_else(|| Error::new(RECEIVE, ErrorKind::System))
    }
}

/// Under which key the alarm is that clients ring themselves; the others are under their users' numbers.
const BY_LINES: u64 = 1 << 32;

/// Has the alarms ring for what this client sends, too: by itself, if it may have our bell, else by the relay.
fn wake_for(alarms: &Alarms, link: &Link, bell: &View<EventCount>) -> Result<()> {
    if doorbell::hand(link, waitable::MESSAGES, alarms.bell()) { Ok(()) } else { relay_for(alarms, link, bell) }
}

/// Has the relay ring for what the clients of this one's user send.
fn relay_for(alarms: &Alarms, link: &Link, bell: &View<EventCount>) -> Result<()> {
    let user = u64::from(link.peer().uid);
    if !alarms.has(user) {
        alarms.add(user, Alarm::by_relay(alarms.bell(), bell)?);
    }
    Ok(())
}

impl State {
    pub(super) fn bells(&self) -> Vec<View<EventCount>> {
        self.bells.values().map(|(_, bell)| bell.clone()).collect()
    }

    pub(super) fn bell_of(&mut self, uid: u32, name: &str) -> Result<&(Segment, View<EventCount>)> {
        match self.bells.entry(uid) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                // It carries no payload, so it has no layout.
                let purpose = Purpose { kind: Kind::Calls, name, layout_hash: 0 };
                let segment = Segment::create(&purpose, size_of::<EventCount>())?;
                let facts = [Fact::word("server asleep", 0)];
                segment.describe(&Details { layout: None, version: 1, facts: &facts })?;
                let bell = segment.view(0)?;
                self.bell_changes += 1;
                Ok(entry.insert((segment, bell)))
            }
        }
    }

    /// The next request of whose turn it is. Clients that break the rules are cut off.
    pub(super) fn next_request(&mut self) -> Option<(Arc<Peer>, Head, Body)> {
        let count = self.clients.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Client { receiver, peer, .. } = &mut self.clients[index];
            if !receiver.has_message() {
                continue;
            }
            match receiver.try_receive().and_then(|message| peer.begin(message)) {
                Ok(next) => {
                    let peer = Arc::clone(peer);
                    self.turn = (index + 1) % count;
                    return Some((peer, next.0, next.1));
                }
                Err(_) => peer.connection.close(),
            }
        }
        None
    }
}

impl Participant for Shared {
    fn connected(&self, link: &Link) -> Result<()> {
        let mut state = self.state();
        if state.clients.len() >= self.clients {
            drop(state);
            // Said rather than refused to the keeper, so that the client is told why.
            link.send(&connection::REFUSAL, &[])?;
            link.close();
            return Ok(());
        }
        let (segment, bell) = state.bell_of(link.peer().uid, &self.name)?;
        let opened = connection::offer(link, &self.name, &self.signature, self.sizes, (segment, bell))?;
        let peer = Arc::new(Peer::new(opened.connection, opened.notes, bell.clone()));
        if let Some(alarms) = self.alarms.get() {
            wake_for(alarms, link, &peer.bell)?;
        }
        let (id, uid) = (link.peer().id, link.peer().uid);
        state.clients.push(Client { id, uid, receiver: opened.receiver, peer });
        drop(state);
        // Whoever waits may have to wait in one more place.
        self.own.notify();
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let heard = waitable::heard(message)?;
        let client =
            self.state().clients.iter().find(|client| client.id == peer).map(|client| Arc::clone(&client.peer));
        // One that is not among them is on its way out.
        let Some(client) = client else { return Ok(()) };
        match (heard, self.alarms.get()) {
            (Heard::Bell(_), _) => client.connection.hang(fds),
            (Heard::NoBell(_), Some(alarms)) => relay_for(alarms, client.connection.link(), &client.bell),
            (Heard::NoBell(_), None) => Ok(()),
        }
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.state();
        let Some(index) = state.clients.iter().position(|client| client.id == peer) else { return };
        // What it asked and nobody took is forgotten.
        let gone = state.clients.swap_remove(index);
        let bell = state.bells();
        if gone.uid != Credentials::own().uid && state.clients.iter().all(|client| client.uid != gone.uid) {
            // Users come and go; what was made for one is not kept for ever.
            state.bells.remove(&gone.uid);
            state.bell_changes += 1;
            if let Some(alarms) = self.alarms.get() {
                alarms.remove(u64::from(gone.uid));
            }
        }
        drop(state);
        gone.peer.connection.peer_is_gone();
        // Who waits for credit must look now.
        bell.iter().for_each(|bell| bell.wake_after_death());
    }
}
