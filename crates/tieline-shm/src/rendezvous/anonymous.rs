//! Two processes that have a socket in common and need no name.
//!
//! The ends of a [`pair`] travel as descriptors do: inherited by a child, or over another socket. Each end says what it
//! offers; the one that creates brings the core segment, if the object has one.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::unix::{Credentials, RecvOptions, SendOptions, SeqPacket};

use super::join::{settle, take_over};
use super::keeper::KeeperUse;
use super::station::{About, Standing, State};
use super::wire::{Greeting, Hello, Message, PACKET_MAX, Welcome};
use super::{Joined, Link, MEMBERS_MAX, Member, Members, Offer, Peer, PeerId, random};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::segment::Segment;

const MEET: &str = "meet at the other end";

/// One end of an anonymous line, before it is used.
#[derive(Debug)]
pub(crate) struct Anonymous(SeqPacket);

/// Both ends of a new line.
///
/// # Errors
/// `LimitReached` if no descriptors are left.
pub(crate) fn pair() -> Result<(Anonymous, Anonymous)> {
    let (one, other) = SeqPacket::pair().map_err(|error| Error::system_refused("make a line", error))?;
    Ok((Anonymous(one), Anonymous(other)))
}

impl Anonymous {
    /// An end that was inherited or received.
    ///
    /// # Errors
    /// `InvalidInput` if it is no connected `SOCK_SEQPACKET`.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<Self> {
        SeqPacket::from_fd(fd).map(Self).map_err(|error| Error::system_refused("take over a line", error))
    }
}

impl AsFd for Anonymous {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Anonymous> for OwnedFd {
    fn from(end: Anonymous) -> Self {
        end.0.into()
    }
}

/// Meets whoever has the other end, which must do the same within `timeout`; one of the two `creates`.
///
/// # Errors
/// `Mismatch` if the other end offers something else, or both or neither create; `TimedOut`; `PeerGone`; `Corrupted` if
/// it says nonsense.
pub(crate) fn meet(end: Anonymous, mut offer: Offer<'_>, creates: bool, timeout: Duration) -> Result<Joined> {
    let refused = |error| Error::system_refused(MEET, error);
    let keeper = KeeperUse::begin()?;
    let connection = Private::new(end.0);
    let hello = Hello {
        kind: offer.kind as u32,
        role: offer.role,
        layout_hash: offer.layout_hash,
        layout_text: offer.layout_text.clone(),
        again: None,
    };
    let made = if creates { Some(make(&mut offer, &keeper)?) } else { None };
    let greeting = Greeting { hello, welcome: made.as_ref().map(|made| made.welcome.clone()) };
    let core = made.as_ref().and_then(|made| made.core.as_ref());
    let fds: Vec<_> = core.iter().map(|core| core.as_fd()).collect();
    let bytes = Message::Greeting(greeting).encode();
    connection.send_with_timeout(&[IoSlice::new(&bytes)], SendOptions::new().fds(&fds), timeout).map_err(refused)?;
    let mut buffer = vec![0; PACKET_MAX];
    let options = RecvOptions::new().max_fds(1);
    let came = connection
        .recv_with_timeout(&mut [IoSliceMut::new(&mut buffer)], options, timeout)
        .map_err(refused)?
        .ok_or_else(|| Error::new(MEET, ErrorKind::PeerGone))?;
    let nonsense = || Error::new(MEET, ErrorKind::Corrupted).because("the other end says what no end does");
    let odd = came.truncated || came.control_truncated;
    let (Some(Message::Greeting(theirs)), false) = (Message::decode(&buffer[..came.len]), odd) else {
        return Err(nonsense());
    };
    check(&offer, &theirs.hello)?;
    let sender = came.credentials.ok_or_else(nonsense)?;
    let their_core = came.fds.into_iter().next();
    let ((me, about), member, peer_id) = match (made, theirs.welcome) {
        (Some(mut made), None) if their_core.is_none() => {
            let (peer, member) = (PeerId(made.welcome.id), made.member.take());
            ((PeerId(random()), made.about(&mut offer)), member, peer)
        }
        (None, Some(welcome)) if welcome.has_core == their_core.is_some() && welcome.peers_max <= MEMBERS_MAX => {
            let (about, member) = take_over(&offer, welcome, their_core, None, &keeper)?;
            (about, member, PeerId(random()))
        }
        (Some(_), Some(_)) => return Err(Error::new(MEET, ErrorKind::Mismatch).because("both ends create")),
        (None, None) => return Err(Error::new(MEET, ErrorKind::Mismatch).because("neither end creates")),
        _ => return Err(nonsense()),
    };
    let peer = Peer { id: peer_id, uid: sender.uid, gid: sender.gid, pid: sender.pid.unwrap_or(0) };
    let link = Link::new(peer, connection);
    let state = State {
        me,
        standing: Standing::Alone,
        participant: None,
        links: HashMap::new(),
        parts: HashMap::new(),
        member,
        name_use: None,
    };
    settle(keeper, None, about, state, vec![link], creates)
}

/// What the creating end brings.
struct Made {
    welcome: Welcome,
    core: Option<Arc<Segment>>,
    members: Option<Members>,
    member: Option<Member>,
}

fn make(offer: &mut Offer<'_>, keeper: &KeeperUse) -> Result<Made> {
    let core = match offer.core.take() {
        Some(make) => Some(Arc::new(make()?)),
        None => None,
    };
    let peers_max = offer.members_max.clamp(2, MEMBERS_MAX);
    // Complete before the other end gets it.
    let members = core.as_ref().map(|core| Members::create(core, peers_max)).transpose()?;
    let member = members.as_ref().map(|members| members.claim(&keeper.register()?)).transpose()?;
    let welcome = Welcome {
        id: random(),
        object: random(),
        owner: Credentials::own().uid,
        peers_max,
        layout_hash: offer.layout_hash,
        introductions: 0,
        has_core: core.is_some(),
        has_roll: false,
        number: None,
        access: offer.access.clone(),
        config: offer.config.clone(),
    };
    Ok(Made { welcome, core, members, member })
}

impl Made {
    fn about(self, offer: &mut Offer<'_>) -> About {
        About {
            kind: offer.kind as u32,
            role: offer.role,
            layout_hash: offer.layout_hash,
            layout_text: std::mem::take(&mut offer.layout_text),
            config: self.welcome.config,
            access: self.welcome.access,
            owner: self.welcome.owner,
            object: self.welcome.object,
            peers_max: self.welcome.peers_max,
            core: self.core,
            core_is_writable: true,
            members: self.members,
        }
    }
}

fn check(offer: &Offer<'_>, theirs: &Hello) -> Result<()> {
    let mismatch = |why: String| Err(Error::new(MEET, ErrorKind::Mismatch).because(why));
    if theirs.kind != offer.kind as u32 {
        return mismatch("the other end is for something else".to_owned());
    }
    let fits = if offer.role.shares() { theirs.role.shares() } else { theirs.role.meets(offer.role) };
    if !fits {
        return mismatch("both ends stand on the same side".to_owned());
    }
    if theirs.layout_hash != offer.layout_hash {
        return mismatch(format!("its payload is\n{}\nand yours is\n{}", theirs.layout_text, offer.layout_text));
    }
    Ok(())
}
