//! Channels that misbehave in their own process.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use tieline_testkit::eventually;

use super::actor::{Actor, Diary, TIMEOUT, directory, is_disconnected, is_received, name_in, offer};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{Link, Membership, Participant, PeerId, Role, create, open};

/// Does one odd thing when it receives a message.
enum Odd {
    Panics,
    LeavesItself(Mutex<Option<Membership>>),
    Refuses,
    DoesNotWantAnybody,
}

impl Participant for Odd {
    fn connected(&self, _: &Link) -> Result<()> {
        match self {
            Self::DoesNotWantAnybody => Err(Error::new("take another", ErrorKind::LimitReached)),
            _ => Ok(()),
        }
    }

    fn received(&self, _: PeerId, _: &[u8], _: Vec<OwnedFd>) -> Result<()> {
        match self {
            Self::Panics => panic!("as the test wishes"),
            Self::LeavesItself(membership) => drop(membership.lock().unwrap().take()),
            Self::Refuses => return Err(Error::new("understand", ErrorKind::Corrupted)),
            Self::DoesNotWantAnybody => {}
        }
        Ok(())
    }

    fn disconnected(&self, _: PeerId) {}

    fn departed(&self, _: u32) {}
}

#[test]
fn a_channel_that_panics_leaves_and_the_others_of_its_process_go_on() {
    let directory = directory();
    let (name, other) = (name_in(directory.path(), "panics"), name_in(directory.path(), "goes-on"));
    let bystander = Actor::create(&other, Role::Producer);
    let odd = create(&name, offer(Role::Producer), TIMEOUT).unwrap().start(Arc::new(Odd::Panics)).unwrap();
    let guest = Actor::open(&name, Role::Consumer);
    guest.diary.links()[0].send(b"x", &[]).unwrap();
    guest.diary.wait("the odd one left", 1, is_disconnected);
    eventually("the guest has the name now", || guest.membership.is_host());
    let visitor = Actor::start(open(&other, offer(Role::Consumer), TIMEOUT).unwrap(), Diary::greeting("hello"));
    bystander.diary.wait("the bystander lives", 1, is_received);
    drop((odd, visitor));
}

#[test]
fn a_channel_may_leave_in_the_middle_of_a_call() {
    let directory = directory();
    let name = name_in(directory.path(), "leaves");
    let odd = Arc::new(Odd::LeavesItself(Mutex::new(None)));
    let membership = create(&name, offer(Role::Producer), TIMEOUT).unwrap().start(Arc::clone(&odd) as _).unwrap();
    if let Odd::LeavesItself(place) = &*odd {
        *place.lock().unwrap() = Some(membership);
    }
    let guest = Actor::open(&name, Role::Consumer);
    guest.diary.links()[0].send(b"x", &[]).unwrap();
    guest.diary.wait("it left", 1, is_disconnected);
}

#[test]
fn a_counterpart_that_is_refused_is_told_and_stays_at_the_name() {
    let directory = directory();
    let name = name_in(directory.path(), "refuses");
    let refuses = create(&name, offer(Role::Producer), TIMEOUT).unwrap().start(Arc::new(Odd::Refuses)).unwrap();
    let guest = Actor::open(&name, Role::Consumer);
    guest.diary.links()[0].send(b"x", &[]).unwrap();
    guest.diary.wait("the line is closed", 1, is_disconnected);
    let unwanted =
        open(&name, offer(Role::Producer), TIMEOUT).unwrap().start(Arc::new(Odd::DoesNotWantAnybody)).unwrap();
    guest.diary.wait("so is this one", 2, is_disconnected);
    drop(refuses);
    eventually("one of the two has the name", || guest.membership.is_host() || unwanted.is_host());
}
