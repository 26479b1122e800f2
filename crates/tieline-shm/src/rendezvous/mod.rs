//! How processes meet at a name, hand each other memory, and learn of each other's death.
//!
//! A channel describes itself by an [`Offer`], gets a [`Joined`] from [`create`], [`open`] or [`open_or_create`], builds
//! itself from the configuration and the core segment it finds there, and [starts](Joined::start) as a
//! [`Participant`]; the [`Membership`] it then has keeps it known at the name until dropped. The invariant: nobody is
//! introduced to a peer that the object's access rule does not admit, and whoever was introduced is told, once, when the
//! peer leaves or dies.
//!
//! * [`name`], [`directory`], [`lock`]: where a name lies, and who may answer for it.
//! * [`site`]: the files of one name.
//! * [`wire`]: what is said, as bytes.
//! * [`join`]: the joiner's side, on the joining thread.
//! * [`station`], [`host`]: one membership as the [`keeper`]'s thread sees it, and what it does while it is the host.
//! * [`members`]: who shares a core segment, in the segment itself; [`roll`]: as the kernel says, for other users' sake.
//! * [`watch`]: being told when a name may have got a host.
//! * [`anonymous`]: two processes that have a socket in common and need no name.
//!
//! It knows nothing of what channels say to each other, nor of what lies in their segments behind the table of members.

mod access;
mod anonymous;
mod directory;
mod host;
mod join;
mod keeper;
mod link;
mod lock;
mod members;
mod membership;
mod name;
mod roll;
mod site;
mod station;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::os::fd::OwnedFd;

pub use access::{Access, Allowed};
pub(crate) use access::{Applicant, Right};
pub(crate) use anonymous::{Anonymous, meet, pair};
pub(crate) use join::{create, look, open, open_or_create};
pub(crate) use link::Link;
pub(crate) use members::{Condition, MEMBERS_MAX, Member, Members};
pub(crate) use membership::{Joined, Membership};
pub use name::{IntoName, Name};
pub(crate) use watch::Watch;
#[cfg(feature = "steps")]
pub(crate) use wire::reread;

use crate::error::{Error, Result};
use crate::segment::{Kind, Segment};

/// On which side of an object a member stands. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Role {
    /// Shares the object's core segment with all other members (queues, events, locks, arenas, the writer of a latest
    /// value) and has a number in its table of members. Needs both rights.
    Sharer = 1,
    /// Gets the core segment to read, and no number. Needs the right to subscribe.
    Reader = 2,
    /// Is connected with each consumer (publishers, servers). Needs the right to publish.
    Producer = 3,
    /// Is connected with each producer (subscribers, clients). Needs the right to subscribe.
    Consumer = 4,
}

/// Makes the core segment of an object that nobody made before.
pub(crate) type CoreMaker<'a> = Box<dyn FnOnce() -> Result<Segment> + 'a>;

/// What a member brings to a name, and demands of it.
pub(crate) struct Offer<'a> {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) layout_hash: u64,
    /// The layout in words, for the error of whoever has another.
    pub(crate) layout_text: String,
    /// What the kind of object needs to know before memory is mapped, up to 4 KiB. The creator's is everybody's; a
    /// joiner finds it in [`Joined::config`], and decides what it thinks of it.
    pub(crate) config: Vec<u8>,
    /// Who may take part, if this creates the object.
    pub(crate) access: Access,
    /// How many members the object is for, if this creates it; 1 to [`MEMBERS_MAX`].
    pub(crate) members_max: u32,
    /// Makes the object's core segment, if this creates an object that has one: with room for
    /// [`Members::bytes`]`(members_max)` at the start of its body, which is filled in here.
    pub(crate) core: Option<CoreMaker<'a>>,
}

/// What a host says of its object to who only asks. Input from a peer.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) members: u32,
    pub(crate) members_max: u32,
    /// The user who created it.
    pub(crate) owner: u32,
    pub(crate) layout_hash: u64,
    pub(crate) layout_text: String,
}

/// A counterpart that was introduced: unique at this name for as long as the name lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(pub(crate) u64);

impl PeerId {
    /// One for a member of this user: which user, in the low half, so that who registers again cannot do so as another's.
    fn of_user(uid: u32) -> Self {
        Self(random() << 32 | u64::from(uid))
    }

    fn user(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }
}

/// Who a counterpart is, as the kernel told the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In the process namespace of the host at the time; 0 if it had no number there. For people.
    pub(crate) pid: u32,
}

/// What a channel does when its counterparts come, speak and go.
///
/// The calls come one after the other: from the keeper's thread, or, for what happened before, from the thread that
/// is in [`Joined::start`]. They must not block, and must not wait for a lock under which a [`Membership`] is dropped.
/// Dropping the membership in one of them is allowed. After the drop (by another thread) no call runs or follows.
///
/// Who shares a core segment has no counterparts, and hears of departures only; who has counterparts, of those only.
pub(crate) trait Participant: Send + Sync {
    /// A counterpart is there; `link` is the direct line to it until `disconnected`. What is sent here by a host is
    /// [`received`](Self::received) by a joiner before its `start` returns.
    ///
    /// # Errors
    /// The counterpart is not wanted; the line is closed and `disconnected` does not follow.
    fn connected(&self, _link: &Link) -> Result<()> {
        Ok(())
    }

    /// A counterpart sent a message. Descriptors that are not wanted are dropped.
    ///
    /// # Errors
    /// The counterpart broke the rules; the line is closed and `disconnected` follows.
    fn received(&self, _peer: PeerId, _message: &[u8], _fds: Vec<OwnedFd>) -> Result<()> {
        Ok(())
    }

    /// A counterpart came, or sent a message, and this process could not take it, for `why`. The line, if there is one, is
    /// closed, and `disconnected` follows.
    fn missed(&self, _peer: &Peer, _why: Error) {}

    /// A counterpart left or died; all it had sent was `received`, or `missed`.
    fn disconnected(&self, _peer: PeerId) {}

    /// A sharer of the same segment left or died: to undo what it held there, and wake whoever may wait for that.
    /// Nobody else has or gets its number meanwhile. It is called in one process, and again in another if that one dies
    /// in it. The membership's own number comes, too, when it is dropped.
    fn departed(&self, _member: u32) {}
}

impl Role {
    fn right(self) -> Right {
        match self {
            Self::Sharer => Right::Both,
            Self::Producer => Right::Publish,
            Self::Reader | Self::Consumer => Right::Subscribe,
        }
    }

    fn shares(self) -> bool {
        matches!(self, Self::Sharer | Self::Reader)
    }

    fn meets(self, other: Self) -> bool {
        matches!((self, other), (Self::Producer, Self::Consumer) | (Self::Consumer, Self::Producer))
    }
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
