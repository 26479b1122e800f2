//! How processes meet at a name, hand each other memory, and learn of each other's death.
//!
//! A channel describes itself by an [`Offer`] and becomes a [`Participant`]; the [`Membership`] it gets keeps it known
//! at the name until dropped. The invariant: nobody is introduced to a peer that the object's access rule does not
//! admit, and whoever was introduced is told, once, when the peer leaves or dies.

use std::os::fd::OwnedFd;

use tieline_os::unix::SeqPacket;

use crate::error::Result;
use crate::segment::{Kind, Segment};

/// On which side of an object a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Shares the object's one segment with all other members (queues, events, locks, arenas).
    Sharer,
    /// Is connected with each consumer (publishers, servers, the writing end).
    Producer,
    /// Is connected with each producer (subscribers, clients, the reading end).
    Consumer,
}

/// What a member brings to a name, and demands of it.
pub(crate) struct Offer {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) layout_hash: u64,
    /// The layout in words, for the error of whoever has another.
    pub(crate) layout_text: String,
    /// What the kind of object needs to know before memory is mapped; the creator's wins.
    pub(crate) config: Vec<u8>,
    /// The object's one segment, for sharers that create.
    pub(crate) core: Option<Segment>,
}

/// A counterpart that was introduced: unique at this name for as long as the name lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerId(pub(crate) u64);

/// Who a counterpart is, as the kernel says.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In our process namespace; 0 if it has no number there.
    pub(crate) pid: u32,
}

/// What a channel does when its counterparts come, speak and go. Called by the keeper's thread, or during `join` by
/// the joining one; must not block.
pub(crate) trait Participant: Send + Sync {
    /// A counterpart is there; `socket` is the direct line to it until `disconnected`.
    ///
    /// # Errors
    /// The counterpart is not wanted; the line is closed and `disconnected` does not follow.
    fn connected(&self, peer: &Peer, socket: &SeqPacket) -> Result<()>;

    /// A counterpart sent a message.
    ///
    /// # Errors
    /// The counterpart broke the rules; the line is closed and `disconnected` follows.
    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()>;

    /// A counterpart left or died.
    fn disconnected(&self, peer: PeerId);

    /// A sharer of the same segment left or died; its number in the segment's table of members is free afterwards.
    /// Called in one process at least, perhaps in several, perhaps again.
    fn departed(&self, member: u32);
}
