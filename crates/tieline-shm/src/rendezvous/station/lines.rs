//! The lines to counterparts: taken into use, read, and ended.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tieline_os::unix::{RecvOptions, SeqPacket};

use super::{Part, State, Station, Watched};
use crate::error::{Error, ErrorKind};
use crate::raw::private_fd::Private;
use crate::rendezvous::wire::Introduction;
use crate::rendezvous::{Link, Peer, PeerId, Role};

/// How many messages of one counterpart are handled before the others have their turn.
pub(super) const MESSAGES_AT_ONCE: usize = 32;

impl State {
    /// Takes a line into use; whether the channel wants it.
    pub(in crate::rendezvous) fn connect(&mut self, station: &Arc<Station>, link: Link) -> bool {
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
    pub(super) fn drain(&mut self, station: &Arc<Station>, peer: PeerId, messages: usize) {
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
                    if came.control_truncated && came.fds.len() < Link::FDS_MAX && !stranger {
                        participant.missed(link.peer(), no_descriptor());
                    }
                    if odd || stranger || participant.received(peer, &buffer[..came.len], came.fds).is_err() {
                        return self.disconnect(station, peer);
                    }
                }
                Err(error) if error.is_would_block() => return,
                Ok(None) | Err(_) => return self.disconnect(station, peer),
            }
        }
    }
}

/// Fewer descriptors came than were sent, and fewer than there was room for.
pub(super) fn no_descriptor() -> Error {
    Error::new("hear a peer", ErrorKind::LimitReached)
        .because("a descriptor that came could not be taken: the limit of this process is reached (RLIMIT_NOFILE)")
}

/// The line that came with an introduction; `None` if it is none.
pub(in crate::rendezvous) fn introduced(who: Introduction, fds: Vec<OwnedFd>) -> Option<Link> {
    let [fd] = <[_; 1]>::try_from(fds).ok()?;
    let socket = SeqPacket::from_fd(fd).ok()?;
    Some(Link::new(peer(who), Private::new(socket)))
}

pub(super) fn peer(who: Introduction) -> Peer {
    Peer { id: PeerId(who.id), uid: who.uid, gid: who.gid, pid: who.pid }
}
