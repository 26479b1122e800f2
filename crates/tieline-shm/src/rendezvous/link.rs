//! The direct line between two members.

use std::fmt;
use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use tieline_os::unix::{SendOptions, SeqPacket};

use super::Peer;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::raw::process;

const SEND: &str = "send to the peer";

/// The direct line to a counterpart. Clones are the same line.
///
/// It lives until either side closes it, leaves or dies; then [`Participant::disconnected`](super::Participant::disconnected) is called, once.
/// Messages arrive whole, in order, with their descriptors.
#[derive(Clone)]
pub(crate) struct Link(Arc<Line>);

struct Line {
    peer: Peer,
    socket: Private<SeqPacket>,
    generation: u32,
}

impl Link {
    /// The most bytes of a message.
    pub(crate) const MESSAGE_MAX: usize = 4096;
    /// The most descriptors of a message.
    pub(crate) const FDS_MAX: usize = 8;

    pub(super) fn new(peer: Peer, socket: Private<SeqPacket>) -> Self {
        Self(Arc::new(Line { peer, socket, generation: process::generation() }))
    }

    /// A line to a peer of that user, and its other end.
    #[cfg(all(any(test, feature = "steps"), not(model)))]
    pub(crate) fn to_user(uid: u32) -> (Self, SeqPacket) {
        let (here, there) = SeqPacket::pair().expect("two descriptors");
        let peer = Peer { id: super::PeerId(1), uid, gid: uid, pid: 0 };
        (Self::new(peer, Private::new(here)), there)
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Sends a message of 1 to [`MESSAGE_MAX`](Self::MESSAGE_MAX) bytes; never waits.
    ///
    /// # Errors
    /// `WouldBlock` if the peer has not read what was sent before; `PeerGone`; `TooLarge`; `InvalidInput` if the message
    /// is empty or has too many descriptors; `LimitReached` if too many descriptors are on their way; `Forked`.
    pub(crate) fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        if self.0.generation != process::generation() {
            return Err(Error::new(SEND, ErrorKind::Forked));
        }
        if message.len() > Self::MESSAGE_MAX {
            return Err(Error::new(SEND, ErrorKind::TooLarge));
        }
        if message.is_empty() || fds.len() > Self::FDS_MAX {
            return Err(Error::new(SEND, ErrorKind::InvalidInput));
        }
        self.0
            .socket
            .try_send_with(&[IoSlice::new(message)], SendOptions::new().fds(fds))
            .map_err(|error| Error::system_refused(SEND, error))
    }

    /// Ends the conversation; the other side is told as if we had left, and so are we.
    pub(crate) fn close(&self) {
        if self.0.generation == process::generation() {
            // A line that is down already stays so.
            let _ = self.0.socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn socket(&self) -> &Private<SeqPacket> {
        &self.0.socket
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}
