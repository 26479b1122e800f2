//! What becomes of a place that was found: an object with its host, or a member of one.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tieline_os::unix::SeqPacket;

use super::ask::Answer;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::rendezvous::host::Host;
use crate::rendezvous::keeper::KeeperUse;
use crate::rendezvous::lock::{LockFile, Locked, NameUse};
use crate::rendezvous::roll::Roll;
use crate::rendezvous::site::Site;
use crate::rendezvous::station::{About, Standing, State, Station};
use crate::rendezvous::wire::Welcome;
use crate::rendezvous::{Joined, Link, Member, Members, Membership, Offer, PeerId, Role, random};
use crate::segment::Segment;

/// Makes the object, as its host.
pub(super) fn found(
    site: Site,
    keeper: KeeperUse,
    offer: &mut Offer<'_>,
    file: LockFile,
    locked: Locked,
    operation: &'static str,
) -> Result<Joined> {
    if !offer.access.is_owner_only() && !site.directory.is_open_to_others() {
        return Err(Error::new(operation, ErrorKind::InvalidInput).on(&site.name).because(format!(
            "its rule lets others in and {} does not; use a name with a directory that they can enter",
            site.directory.path().display()
        )));
    }
    if offer.role == Role::Reader {
        return Err(Error::new(operation, ErrorKind::InvalidInput)
            .on(&site.name)
            .because("a reader has nothing to offer: whoever writes creates it"));
    }
    let core = match offer.core.take() {
        Some(make) => Some(Arc::new(make()?)),
        None => None,
    };
    let members = match &core {
        Some(core) => Some(found_members(core, offer, &site)?),
        None => None,
    };
    let member = members.as_ref().map(|members| members.claim(&keeper.register()?)).transpose()?;
    let name_use = file.member()?.map(|locked| keeper.share_name_use(NameUse::new(file, locked)));
    let host = Host::bind(&site, &offer.access, locked)?;
    let about = About {
        kind: offer.kind as u32,
        role: offer.role,
        layout_hash: offer.layout_hash,
        layout_text: std::mem::take(&mut offer.layout_text),
        config: std::mem::take(&mut offer.config),
        access: std::mem::take(&mut offer.access),
        owner: rustix::process::geteuid().as_raw(),
        object: random(),
        peers_max: offer.members_max,
        core,
        core_is_writable: true,
        members,
    };
    let state = State {
        me: PeerId::of_user(rustix::process::geteuid().as_raw()),
        standing: Standing::Host(Box::new(host)),
        participant: None,
        links: HashMap::new(),
        parts: HashMap::new(),
        member,
        name_use,
    };
    settle(keeper, Some(site), about, state, Vec::new(), true)
}

fn found_members(core: &Arc<Segment>, offer: &Offer<'_>, site: &Site) -> Result<Members> {
    let members = Members::create(core, offer.members_max)?;
    Ok(if offer.access.is_owner_only() { members } else { members.with_roll(Roll::create(site.name.as_str())?) })
}

/// Takes the place that the host has given us.
pub(super) fn enter(
    site: Site,
    keeper: KeeperUse,
    offer: Offer<'_>,
    file: Option<(LockFile, Locked)>,
    connection: Private<SeqPacket>,
    answer: Answer,
    operation: &'static str,
) -> Result<Joined> {
    let trusted = [rustix::process::geteuid().as_raw(), 0, answer.host_uid];
    if !trusted.contains(&answer.welcome.owner) && site.name.owner() != Some(answer.welcome.owner) {
        let owner = answer.welcome.owner;
        return Err(Error::new(operation, ErrorKind::Corrupted).on(&site.name).because(format!(
            "its host names another owner, user {owner}; if that is yourself, outside of a user namespace in which you have \
             another number, add ?owner={owner} to the name"
        )));
    }
    let name_use = file.map(|(file, locked)| keeper.share_name_use(NameUse::new(file, locked)));
    let (about, member) =
        take_over(&offer, answer.welcome, answer.core, answer.roll, &keeper).map_err(|error| error.on(&site.name))?;
    let (id, about) = (about.0, about.1);
    let state = State {
        me: id,
        standing: Standing::Member { connection, token: None, again: None },
        participant: None,
        links: HashMap::new(),
        parts: HashMap::new(),
        member,
        name_use,
    };
    settle(keeper, Some(site), about, state, answer.links, false)
}

/// What a welcome makes of an offer.
pub(in crate::rendezvous) fn take_over(
    offer: &Offer<'_>,
    welcome: Welcome,
    core: Option<OwnedFd>,
    roll: Option<OwnedFd>,
    keeper: &KeeperUse,
) -> Result<((PeerId, About), Option<Member>)> {
    let mut core_is_writable = false;
    let core = match core {
        Some(fd) => {
            core_is_writable = is_writable(&fd);
            let access = match offer.role {
                Role::Reader => tieline_os::Access::ReadOnly,
                _ => tieline_os::Access::ReadWrite,
            };
            // What users other than its owner may write, its header too, tells nothing: the host has told it all.
            Some(Arc::new(if welcome.access.is_owner_only() {
                Segment::accept(fd, offer.kind, offer.layout_hash, access)?
            } else {
                Segment::accept_told(fd, offer.kind, access)?
            }))
        }
        None => None,
    };
    let members = core.as_ref().map(|core| Members::open(core, welcome.peers_max)).transpose()?;
    let members = match (members, roll) {
        (Some(members), Some(roll)) => Some(members.with_roll(Roll::accept(roll, welcome.number))),
        (members, _) => members,
    };
    let member = match &members {
        Some(members) if offer.role == Role::Sharer => Some(members.claim(&keeper.register()?)?),
        _ => None,
    };
    let about = About {
        kind: offer.kind as u32,
        role: offer.role,
        layout_hash: offer.layout_hash,
        layout_text: offer.layout_text.clone(),
        config: welcome.config,
        access: welcome.access,
        owner: welcome.owner,
        object: welcome.object,
        peers_max: welcome.peers_max,
        core,
        core_is_writable,
        members,
    };
    Ok(((PeerId(welcome.id), about), member))
}

pub(in crate::rendezvous) fn settle(
    keeper: KeeperUse,
    site: Option<Site>,
    about: About,
    state: State,
    links: Vec<Link>,
    created: bool,
) -> Result<Joined> {
    let Some(keeper) = keeper.keep() else {
        return Err(Error::new("join", ErrorKind::System).because("the keeper is gone"));
    };
    let membership = Membership::new(Station::new(keeper, site, about, state));
    Ok(Joined { membership, links, created })
}

fn is_writable(fd: &impl AsFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd);
    flags.is_ok_and(|flags| flags & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDWR)
}
