//! The halves of a stream, and a listener, among other things that are waited for.
//!
//! The invariant: a half's alarms ring whenever the peer, its death included, changes what the half may wait for; they
//! keep neither the stream nor its line.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::connection::Line;
use super::{Listener, ReadHalf, Stream, WriteHalf};
use crate::channel::doorbell::{self, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::Link;
use crate::structure::stream::{Control, Ring};
use crate::wait::{Alarm, Alarms, EventCount, Hung, Source, Waitable, Watch};

const WAIT: &str = "wait for the stream";

/// Which half waits, as it is told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Read = 0,
    Write = 1,
}

impl Half {
    fn of(place: u8) -> Option<Self> {
        match place {
            0 => Some(Self::Read),
            1 => Some(Self::Write),
            _ => None,
        }
    }
}

/// How both sides of one stream are woken when they do not sleep in a thread.
#[derive(Debug)]
pub(super) struct Bells {
    /// What we read from, and what we write to.
    into: View<Control>,
    out: View<Control>,
    capacity: u64,
    alarms: [OnceLock<Alarms>; 2],
    making: Mutex<()>,
    /// The peer's, one for each of its halves.
    peer: Mutex<[Option<Hung>; 2]>,
}

impl Bells {
    pub(super) fn new(into: &Ring, out: &Ring) -> Self {
        let capacity = out.capacity() as u64;
        let (into, out) = (into.control().clone(), out.control().clone());
        Self { into, out, capacity, alarms: Default::default(), making: Mutex::default(), peer: Mutex::default() }
    }

    /// Takes what the peer says about bells.
    ///
    /// # Errors
    /// `Corrupted` if it is about something else; as [`doorbell::hang`].
    pub(super) fn received(&self, link: &Link, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let broken = || Error::new(WAIT, ErrorKind::Corrupted).because("the peer says what none says");
        match doorbell::hear(message).ok_or_else(broken)? {
            Heard::Bell(place) => {
                let count = match Half::of(place).ok_or_else(broken)? {
                    Half::Read => self.out.part(|ring| &ring.bytes),
                    Half::Write => self.into.part(|ring| &ring.room),
                };
                let hung = doorbell::hang(link, place, &count, 0, fds)?;
                // What hung there before goes, outside of the lock.
                let mut peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
                let before = std::mem::replace(&mut peer[usize::from(place)], hung);
                drop(peer);
                drop(before);
            }
            Heard::NoBell(place) => {
                let half = Half::of(place).ok_or_else(broken)?;
                if let Some(alarms) = self.alarms[half as usize].get() {
                    alarms.remove(0);
                    alarms.add(0, Alarm::by_relay(alarms.bell(), &self.count(half))?);
                }
            }
        }
        Ok(())
    }

    /// Where our half waits.
    fn count(&self, half: Half) -> View<EventCount> {
        match half {
            Half::Read => self.into.part(|ring| &ring.bytes),
            Half::Write => self.out.part(|ring| &ring.room),
        }
    }

    fn alarms(&self, half: Half, line: Option<&Line>) -> Result<&Alarms> {
        if let Some(alarms) = self.alarms[half as usize].get() {
            return Ok(alarms);
        }
        let place = &self.alarms[half as usize];
        // One at a time: the peer rings the bell that it was handed last.
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if place.get().is_none() {
            let (alarms, count) = (Alarms::new()?, self.count(half));
            let bell = alarms.bell();
            let alarm = match line {
                Some(line) => doorbell::alarm(line.link(), half as u8, bell, &count, 0)?,
                None => Alarm::by_relay(bell, &count)?,
            };
            alarms.add(0, alarm);
            let _ = place.set(alarms);
        }
        place.get().ok_or_else(|| Error::new(WAIT, ErrorKind::System))
    }
}

/// A half as it is waited for.
#[derive(Debug)]
pub(crate) struct Watched {
    bells: Arc<Bells>,
    half: Half,
    line: Weak<Line>,
}

impl Watched {
    fn new(line: &Arc<Line>, half: Half) -> Arc<Self> {
        Arc::new(Self { bells: Arc::clone(line.bells()), half, line: Arc::downgrade(line) })
    }
}

impl Source for Watched {
    fn is_ready(&self) -> bool {
        let is_open = self.line.upgrade().is_some_and(|line| line.check().is_ok() && !line.is_gone());
        !is_open
            || match self.half {
                Half::Read => self.bells.into.is_readable(),
                Half::Write => self.bells.out.is_writable(self.bells.capacity),
            }
    }

    fn alarms(&self) -> Result<&Alarms> {
        self.bells.alarms(self.half, self.line.upgrade().as_deref())
    }
}

impl Waitable for ReadHalf {
    fn watch(&self) -> Watch {
        Watch(Watched::new(&self.line, Half::Read))
    }
}

/// Ready when there is room, or the peer is gone.
impl Waitable for WriteHalf {
    fn watch(&self) -> Watch {
        Watch(Watched::new(&self.line, Half::Write))
    }
}

/// Waits for bytes; for room, [`split`](Stream::split) it or attach its [`writer`](Stream::writer).
impl Waitable for Stream {
    fn watch(&self) -> Watch {
        self.read.watch()
    }
}

/// Waits for somebody who connects.
impl Waitable for Listener {
    fn watch(&self) -> Watch {
        Watch(self.source())
    }
}

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
mod tasks {
    use super::{Arc, Half, Listener, ReadHalf, Result, Source, Stream, Watched, WriteHalf};
    use crate::wait::Waiting;

    fn not_yet<R>(answer: Result<R>) -> Option<Result<R>> {
        match answer {
            Err(error) if error.is_would_block() => None,
            answer => Some(answer),
        }
    }

    impl ReadHalf {
        pub(crate) fn poll_read(&mut self, buffer: &mut [u8]) -> Option<Result<usize>> {
            not_yet(self.try_read(buffer))
        }

        pub(crate) fn source(&self) -> Arc<dyn Source> {
            Watched::new(&self.line, Half::Read)
        }

        pub(crate) fn how(&self) -> Waiting {
            self.waiting
        }
    }

    impl WriteHalf {
        pub(crate) fn poll_write(&mut self, bytes: &[u8]) -> Option<Result<usize>> {
            not_yet(self.try_write(bytes))
        }

        pub(crate) fn source(&self) -> Arc<dyn Source> {
            Watched::new(&self.line, Half::Write)
        }

        pub(crate) fn how(&self) -> Waiting {
            self.waiting
        }
    }

    impl Listener {
        pub(crate) fn poll_accept(&self) -> Option<Result<Stream>> {
            not_yet(self.try_accept())
        }
    }
}
