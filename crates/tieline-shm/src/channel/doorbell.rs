//! Doorbells over a line: each of two linked peers may hand the other its bell, so that a notification is one write to it.
//!
//! | bytes | bell | no bell |
//! |---|---|---|
//! | 0 | 0xb0, with the descriptor | 0xb1 |
//! | 1 | which of the channel's counts: the channel's own numbers | the same |
//!
//! The invariant: whoever waits is rung for each notification after it announced, or, for those before its bell hung
//! there, when it is hung; so nobody has to wait for an answer. Only a peer of the same user may hand a bell: another's
//! could be made to block whoever rings it. Others sleep through the relay, as does one whose bell did not arrive.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use tieline_os::unix::Credentials;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::Link;
use crate::wait::{Alarm, Alarms, Bell, EventCount, Hung};

const BELL: u8 = 0xb0;
const NO_BELL: u8 = 0xb1;
const HANG: &str = "take a peer's doorbell";

/// What a peer said about bells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It hands us one for this place.
    Bell(u8),
    /// Ours did not arrive.
    NoBell(u8),
}

/// `None` if the message is about something else.
pub(crate) fn hear(message: &[u8]) -> Option<Heard> {
    match *message {
        [BELL, place] => Some(Heard::Bell(place)),
        [NO_BELL, place] => Some(Heard::NoBell(place)),
        _ => None,
    }
}

/// The alarm for a count that only the peer, and this process, notify: by the peer itself if it is of our user, else by
/// our relay.
///
/// # Errors
/// As [`Alarm::by_relay`].
pub(crate) fn alarm(link: &Link, place: u8, bell: &Bell, count: &View<EventCount>, number: u32) -> Result<Alarm> {
    if hand(link, place, bell) { Ok(Alarm::by_lines(bell, count, number)) } else { Alarm::by_relay(bell, count) }
}

/// The alarms of a handle that is woken at one place, made when they are first asked for.
///
/// # Errors
/// As [`Alarms::new`]; what `alarm` answers.
pub(crate) fn alarms_at(made: &OnceLock<Alarms>, alarm: impl FnOnce(&Bell) -> Result<Alarm>) -> Result<&Alarms> {
    if let Some(alarms) = made.get() {
        return Ok(alarms);
    }
    let alarms = Alarms::new()?;
    alarms.add(0, alarm(alarms.bell())?);
    // Another thread may have been first; its alarms are as good.
    Ok(made.get_or_init(|| alarms))
}

/// Hands our bell to the peer. `false` if it may not have it, or its line is down or jammed: then the relay must ring.
pub(crate) fn hand(link: &Link, place: u8, bell: &Bell) -> bool {
    is_ours(link) && link.send(&[BELL, place], &[bell.as_fd()]).is_ok()
}

/// Hangs the bell that came at `count`; `None` if it was lost on the way, of which the peer is told.
///
/// # Errors
/// `PermissionDenied` for a peer of another user, `InvalidInput` for a descriptor that is no event counter: who does that
/// is not to be spoken with any more.
pub(crate) fn hang(
    link: &Link,
    place: u8,
    count: &View<EventCount>,
    number: u32,
    fds: Vec<OwnedFd>,
) -> Result<Option<Hung>> {
    if !is_ours(link) {
        return Err(Error::new(HANG, ErrorKind::PermissionDenied).because("it is another user's, and could block us"));
    }
    let Some(fd) = fds.into_iter().next() else {
        // There was no descriptor left for it.
        link.send(&[NO_BELL, place], &[])?;
        return Ok(None);
    };
    let bell = Bell::from_peer(fd)?;
    let hung = Hung::new(&bell, count, number);
    // For what was notified before it hung there.
    bell.ring();
    Ok(Some(hung))
}

fn is_ours(link: &Link) -> bool {
    link.peer().uid == Credentials::own().uid
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn count() -> View<EventCount> {
        View::leak(Box::new(EventCount::new()))
    }

    fn rings(bell: &Bell) -> u64 {
        bell.counter().try_read().unwrap_or(0)
    }

    #[test]
    fn a_bell_hangs_is_rung_at_once_and_for_each_notification() {
        let (link, _there) = Link::to_user(Credentials::own().uid);
        let (bell, count) = (Bell::new().unwrap(), count());
        let copy = bell.as_fd().try_clone_to_owned().unwrap();
        let hung = hang(&link, 3, &count, 7, vec![copy]).unwrap();
        assert_eq!(rings(&bell), 1, "for what was before");
        count.announce_bell(7);
        count.notify_one();
        count.notify_one();
        assert_eq!(rings(&bell), 1, "once for each announcement");
        drop(hung);
        count.announce_bell(7);
        count.notify();
        assert_eq!(rings(&bell), 0);
    }

    /// Another user's event counter could be filled, and made to block whoever writes to it.
    #[test]
    fn another_users_bell_is_refused_and_ours_is_not_handed_to_it() {
        let (link, there) = Link::to_user(Credentials::own().uid + 1);
        let (bell, count) = (Bell::new().unwrap(), count());
        let copy = bell.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(hang(&link, 0, &count, 0, vec![copy]).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(rings(&bell), 0);
        assert!(!hand(&link, 0, &bell));
        assert!(there.try_recv(&mut [0; 8]).unwrap_err().is_would_block());
    }

    /// A counter that is full, and set to block, neither blocks us nor is an error: it is made non-blocking when taken.
    #[test]
    fn a_full_bell_does_not_block() {
        let (link, _there) = Link::to_user(Credentials::own().uid);
        let (bell, count) = (Bell::new().unwrap(), count());
        bell.counter().try_add(tieline_os::eventfd::EventFd::MAX).unwrap();
        let copy = bell.as_fd().try_clone_to_owned().unwrap();
        let flags = rustix::fs::fcntl_getfl(&copy).unwrap();
        rustix::fs::fcntl_setfl(&copy, flags - rustix::fs::OFlags::NONBLOCK).unwrap();
        let _hung = hang(&link, 0, &count, 0, vec![copy]).unwrap();
        count.announce_bell(0);
        count.notify();
    }

    #[test]
    fn what_is_no_bell_is_refused_and_one_that_is_lost_is_told_of() {
        let (link, there) = Link::to_user(Credentials::own().uid);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(hang(&link, 0, &count(), 0, vec![file.into()]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(hang(&link, 4, &count(), 0, Vec::new()).unwrap().is_none());
        let mut message = [0; 8];
        there.try_recv(&mut message).unwrap();
        assert_eq!(hear(&message[..2]), Some(Heard::NoBell(4)));
        for nonsense in [&[][..], &[BELL], &[BELL, 0, 0], &[1, 0]] {
            assert_eq!(hear(nonsense), None);
        }
    }
}
