//! What a joiner says to a host, and what it believes of the answer.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tieline_os::unix::{Credentials, RecvOptions, SeqPacket};

use super::{Attempt, FIRST_PAUSE, LONGEST_PAUSE};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;
use crate::rendezvous::lock::{Found, LockFile};
use crate::rendezvous::station::introduced;
use crate::rendezvous::wire::{Hello, Message, PACKET_MAX, Reason, Refusal, TEXT_MAX, Welcome};
use crate::rendezvous::{Link, MEMBERS_MAX, Offer, Role, Seen};
use crate::segment::Kind;

pub(super) struct Answer {
    pub(super) welcome: Welcome,
    pub(super) core: Option<OwnedFd>,
    pub(super) roll: Option<OwnedFd>,
    pub(super) links: Vec<Link>,
    pub(super) host_uid: u32,
}

/// What asking the host came to.
pub(super) enum Asked {
    Welcomed(Private<SeqPacket>, Answer),
    /// There is no host.
    Nobody,
    /// The host, this process, closed the line without an answer: it went, or it has no room for a line.
    Closed(Option<u32>),
    /// The host has no number for us at the moment, for this reason.
    Busy(String),
}

impl Attempt<'_> {
    pub(super) fn look(&self) -> Result<Seen> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(seen) = self.question()? {
                return Ok(seen);
            }
            // No host: either the name is nobody's, or it is changing hands.
            match LockFile::open(&self.site.directory, &self.site.lock_file(), false)? {
                Found::File(file) if file.has_host()? || file.has_members()? => {}
                _ => return Err(self.error(ErrorKind::NotFound)),
            }
            if Instant::now() + pause > self.deadline {
                return Err(self.error(ErrorKind::TimedOut).because("the name is changing hands"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the host; nothing if there is none, or it goes before it answers.
    fn question(&self) -> Result<Option<Seen>> {
        let Some((connection, host)) = self.reach()? else { return Ok(None) };
        match connection.send_timeout(&Message::Question.encode(), self.left()) {
            Ok(()) => {}
            Err(error) if error.is_timeout() => return Err(self.silent(&host)),
            Err(error) if error.is_peer_dead() => return Ok(None),
            Err(error) => return Err(self.refused(error)),
        }
        let mut buffer = vec![0; PACKET_MAX];
        let (mut room, options) = ([IoSliceMut::new(&mut buffer)], RecvOptions::new());
        let came = match connection.recv_with_timeout(&mut room, options, self.left()) {
            Ok(Some(came)) if came.truncated => return Err(self.nonsense()),
            Ok(Some(came)) => came,
            Ok(None) => return Ok(None),
            Err(error) if error.is_timeout() => return Err(self.silent(&host)),
            Err(error) if error.is_peer_dead() => return Ok(None),
            Err(error) => return Err(self.refused(error)),
        };
        match Message::decode(&buffer[..came.len]) {
            Some(Message::Refusal(refusal)) => Err(self.refusal(refusal)),
            Some(Message::Answer(answer)) => Ok(Some(Seen {
                kind: Kind::from_number(answer.kind).ok_or_else(|| self.nonsense())?,
                members: answer.peers,
                members_max: answer.peers_max,
                owner: answer.owner,
                layout_hash: answer.layout_hash,
                layout_text: answer.layout_text,
            })),
            _ => Err(self.nonsense()),
        }
    }

    /// Connects with a host that we trust; nothing if there is none.
    fn reach(&self) -> Result<Option<(Private<SeqPacket>, Credentials)>> {
        let refused = |error| self.refused(error);
        let connection = match SeqPacket::connect_timeout(&self.site.address().map_err(refused)?, self.left()) {
            Ok(connection) => Private::new(connection),
            Err(error) => {
                return match error.errno().map(Errno::from_raw_os_error) {
                    Some(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
                    Some(Errno::ACCESS) => Err(refused(error).because("the object is for its owner only")),
                    _ if error.is_timeout() => Err(self
                        .error(ErrorKind::TimedOut)
                        .because("its host does not accept connections, and many wait already; is it stopped?")),
                    _ => Err(refused(error)),
                };
            }
        };
        let host = connection.peer_credentials().map_err(refused)?;
        if !self.site.directory.trusts(host.uid, &self.site.name) {
            return Err(self.error(ErrorKind::PermissionDenied).because(format!(
                "user {} hosts it; if that is whom you mean, add ?owner={} to the name",
                host.uid, host.uid
            )));
        }
        Ok(Some((connection, host)))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn refused(&self, error: tieline_os::Error) -> Error {
        Error::system_refused(self.mode.operation(), error).on(&self.site.name)
    }

    fn silent(&self, host: &Credentials) -> Error {
        let pid = host.pid.map_or_else(|| "in another container".to_owned(), |pid| pid.to_string());
        self.error(ErrorKind::TimedOut).because(format!("its host, process {pid}, does not answer; is it stopped?"))
    }

    fn nonsense(&self) -> Error {
        self.error(ErrorKind::Corrupted).because("its host answers what no host does")
    }

    /// Connects, says who we are, and hears the answer.
    pub(super) fn ask(&self, offer: &Offer<'_>) -> Result<Asked> {
        let Some((connection, host)) = self.reach()? else { return Ok(Asked::Nobody) };
        let (left, silent) = (|| self.left(), || self.silent(&host));
        let (refused, nonsense) = (|error| self.refused(error), || self.nonsense());
        let mut layout_text = offer.layout_text.clone();
        layout_text.truncate(layout_text.floor_char_boundary(TEXT_MAX));
        let hello = Hello {
            kind: offer.kind as u32,
            role: offer.role,
            layout_hash: offer.layout_hash,
            layout_text,
            again: None,
        };
        match connection.send_timeout(&Message::Hello(hello).encode(), left()) {
            Ok(()) => {}
            Err(error) if error.is_timeout() => return Err(silent()),
            Err(error) if error.is_peer_dead() => return Ok(Asked::Closed(host.pid)),
            Err(error) => return Err(refused(error)),
        }
        let mut links = Vec::new();
        let mut welcomed: Option<(Welcome, Option<OwnedFd>, Option<OwnedFd>)> = None;
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            if let Some((welcome, ..)) = &welcomed
                && links.len() >= welcome.introductions as usize
            {
                break;
            }
            let options = RecvOptions::new().max_fds(2);
            let came = match connection.recv_with_timeout(&mut [IoSliceMut::new(&mut buffer)], options, left()) {
                Ok(Some(came)) if came.truncated => return Err(nonsense()),
                Ok(Some(came)) if came.control_truncated => {
                    // More descriptors than were asked for; or one, and no number left for it.
                    return Err(self.error(ErrorKind::LimitReached).because(
                        "a descriptor that came could not be taken: the limit of this process is reached (RLIMIT_NOFILE)",
                    ));
                }
                Ok(Some(came)) => came,
                Ok(None) => return Ok(Asked::Closed(host.pid)),
                Err(error) if error.is_timeout() => return Err(silent()),
                Err(error) if error.is_peer_dead() => return Ok(Asked::Closed(host.pid)),
                Err(error) => return Err(refused(error)),
            };
            match (Message::decode(&buffer[..came.len]), &welcomed) {
                (Some(Message::Refusal(Refusal { reason: Reason::Busy, text })), None) => return Ok(Asked::Busy(text)),
                (Some(Message::Refusal(refusal)), None) => return Err(self.refusal(refusal)),
                (Some(Message::Welcome(welcome)), None) => {
                    let mut fds = came.fds.into_iter();
                    let core = if welcome.has_core { fds.next() } else { None };
                    let roll = if welcome.has_roll { fds.next() } else { None };
                    let complete = (welcome.has_core, welcome.has_roll) == (core.is_some(), roll.is_some());
                    if !complete || fds.next().is_some() || !fits(offer, &welcome) {
                        return Err(nonsense());
                    }
                    welcomed = Some((welcome, core, roll));
                }
                (Some(Message::Introduction(who)), Some(_)) if !offer.role.shares() => {
                    links.push(introduced(who, came.fds).ok_or_else(nonsense)?);
                }
                _ => return Err(nonsense()),
            }
        }
        let (welcome, core, roll) = welcomed.ok_or_else(nonsense)?;
        Ok(Asked::Welcomed(connection, Answer { welcome, core, roll, links, host_uid: host.uid }))
    }

    fn refusal(&self, refusal: Refusal) -> Error {
        let kind = match refusal.reason {
            Reason::Mismatch => ErrorKind::Mismatch,
            Reason::Access => ErrorKind::PermissionDenied,
            Reason::Full | Reason::Busy => ErrorKind::LimitReached,
            Reason::Stale => ErrorKind::NotFound,
            Reason::Protocol => ErrorKind::Unsupported,
        };
        self.error(kind).because(refusal.text)
    }

    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.mode.operation(), kind).on(&self.site.name)
    }
}

/// Whether a host may say this to who offers that.
fn fits(offer: &Offer<'_>, welcome: &Welcome) -> bool {
    let shares_with_others = welcome.has_core && !welcome.access.is_owner_only();
    welcome.introductions <= MEMBERS_MAX
        && (1..=MEMBERS_MAX).contains(&welcome.peers_max)
        && welcome.layout_hash == offer.layout_hash
        && (offer.role.shares() || !welcome.has_core)
        && (shares_with_others || !welcome.has_roll)
        && welcome.number.is_some() == (shares_with_others && offer.role == Role::Sharer)
        && (welcome.has_roll || welcome.number.is_none())
}
