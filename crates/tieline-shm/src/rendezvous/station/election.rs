//! Losing the host of the name, and finding or becoming the next one.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_os::unix::{RecvOptions, SeqPacket};

use super::lines::{no_descriptor, peer};
use super::{Part, Search, Standing, State, Station, Watched, introduced};
use crate::raw::private_fd::Private;
use crate::raw::step;
use crate::rendezvous::PeerId;
use crate::rendezvous::host::Host;
use crate::rendezvous::lock::{Found, LockFile, NameUse};
use crate::rendezvous::site::Site;
use crate::rendezvous::wire::{Again, Message, PACKET_MAX, Reason, Refusal};

/// The first pause between two tries to find the new host; each is twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long a member that may not be the host itself looks for a new one before it stands alone.
const SEEKING_PATIENCE: Duration = Duration::from_secs(10);

impl Search {
    /// The next try after a pause; the one after that after one twice as long.
    fn later(self) -> Standing {
        let search = Self { pause: (self.pause * 2).min(LONGEST_PAUSE), ..self };
        Standing::Seeking { search, next: Instant::now() + self.pause }
    }
}

impl State {
    /// What the host says to a member: introductions, or nothing more.
    pub(super) fn hear_host(&mut self, station: &Arc<Station>) {
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            let Standing::Member { connection, .. } = &self.standing else { return };
            let options = RecvOptions::new().max_fds(1);
            match connection.try_recv_with(&mut [IoSliceMut::new(&mut buffer)], options) {
                Ok(Some(came)) => match Message::decode(&buffer[..came.len]) {
                    Some(Message::Introduction(who)) => {
                        // One descriptor was asked for, and none came although it was sent.
                        let is_lost = came.control_truncated && came.fds.is_empty();
                        match (introduced(who, came.fds), &self.participant) {
                            (Some(link), _) => drop(self.connect(station, link)),
                            (None, Some(participant)) if is_lost => participant.missed(&peer(who), no_descriptor()),
                            (None, _) => {}
                        }
                    }
                    // The answer to our registering again.
                    Some(Message::Welcome(_)) => self.is_welcome(),
                    // It has no room at the moment.
                    Some(Message::Refusal(Refusal { reason: Reason::Full | Reason::Busy, .. })) => {
                        return self.lose_host(station);
                    }
                    // Another object has the name now.
                    Some(Message::Refusal(_)) => return self.stand_alone(station),
                    _ => return self.lose_host(station),
                },
                Err(error) if error.is_would_block() => return,
                Ok(None) | Err(_) => return self.lose_host(station),
            }
        }
    }

    fn is_welcome(&mut self) {
        if let Standing::Member { again, .. } = &mut self.standing {
            *again = None;
        }
    }

    fn drop_host_connection(&mut self, station: &Arc<Station>) {
        if let Standing::Member { connection, token: Some(token), .. } = &self.standing {
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
        let refused = if let Standing::Member { again, .. } = &self.standing { *again } else { None };
        let search = refused.unwrap_or(Search { since: now, pause: FIRST_PAUSE });
        self.standing = search.later();
        self.recover_if_any_died(station);
        // One that did not take us in is not asked again at once: it may have no descriptor left.
        if refused.is_none() {
            self.seek(station);
        }
    }

    /// Becomes the host, or finds it, or plans the next try.
    pub(super) fn seek(&mut self, station: &Arc<Station>) {
        let (Standing::Seeking { search, .. }, Some(site)) = (&self.standing, &station.site) else { return };
        let search = *search;
        let may_host = self.renew_name_use(station, site);
        if may_host && self.try_to_host(station, site) {
            return;
        }
        if !may_host && search.since.elapsed() > SEEKING_PATIENCE {
            self.standing = Standing::Alone;
            return;
        }
        if let Some(connection) = register_again(station, site, self.me, &self.links)
            && let Ok(token) = station.keeper.watch(station, &connection)
        {
            self.parts.insert(token, Part::Host);
            self.standing = Standing::Member { connection, token: Some(token), again: Some(search) };
            return;
        }
        self.standing = search.later();
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
