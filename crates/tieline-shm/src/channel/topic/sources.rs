//! The subscriber's side of the meeting place: which publishers there are, and what they sent of their memory.
//!
//! The invariant: a publisher's log is mapped only after everything it claims about it was checked, and it is taken off
//! the list only after all it had published before it went was received. One that loses its line and is introduced again is
//! another, with a line of another number.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::admission::{SLEEPERS, bell_number, roster};
use super::aside::AsideRead;
use super::options::Policy;
use super::patience::Patience;
use super::wire::{Admitted, READY, Refused, Subscribe};
use crate::channel::doorbell::{self, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::{View, process};
use crate::rendezvous::{Link, Participant, Peer, PeerId};
use crate::segment::{Kind, Segment};
use crate::structure::inlet::Inlet;
use crate::structure::items::Holder;
use crate::structure::log::{Geometry, LogHeader, Overflow, Reader, RosterGeometry, RosterHeader, SLOTS_OFFSET, Slots};
use crate::structure::pool::Buckets;
use crate::wait::{self, Alarm, Alarms, Bell, EventCount};

const SUBSCRIBE: &str = "subscribe";

/// The lines that a subscriber has had, counted from 1.
pub(super) type LineNumber = u64;

/// One publisher.
pub(super) struct Source {
    pub(super) peer: PeerId,
    pub(super) line: LineNumber,
    pub(super) inlet: Inlet,
    /// Its line is down: what is there is all there will be.
    pub(super) is_gone: bool,
}

pub(super) struct Sources {
    wishes: Subscribe,
    layout_hash: u64,
    /// Whose publishers may be believed not to write what they published.
    uid: u32,
    /// Counts arrivals and departures; the subscriber looks when it has changed.
    changes: AtomicU64,
    /// The subscriber's next call tells its user something, whether or not there is a message.
    has_news: AtomicBool,
    /// Notified with them: a subscriber that sleeps sleeps here, too, unless it has one publisher only. A kernel takes
    /// longer to watch two places than one.
    bell: View<EventCount>,
    state: Mutex<State>,
    answered: Condvar,
    /// Made when somebody first waits for several things at once.
    alarms: OnceLock<Alarms>,
}

/// What tells whether a publisher has something for us, without its [`Source`], which is the subscriber's.
struct Probe {
    line: LineNumber,
    slots: Slots,
    /// The number of the message that the subscriber takes next.
    position: Arc<AtomicU64>,
    sleepers: View<EventCount>,
    /// Where our bell is handed over, until the publisher is gone, and under which number it hangs there.
    link: Option<Link>,
    number: u32,
    is_gone: bool,
}

impl Probe {
    fn alarm(&self, bell: &Bell) -> Result<Alarm> {
        match &self.link {
            Some(link) => doorbell::alarm(link, SLEEPERS, bell, &self.sleepers, self.number),
            None => Alarm::by_relay(bell, &self.sleepers),
        }
    }
}

#[derive(Default)]
struct State {
    /// Publishers that have not answered yet, or whose source is with the subscriber.
    lines: HashMap<PeerId, Line>,
    arrived: Vec<Source>,
    /// The lines that are down.
    gone: Vec<LineNumber>,
    /// How many there were so far.
    count: LineNumber,
    /// Of every source that the subscriber has, or will find among the arrived.
    probes: Vec<Probe>,
    /// Why a publisher is not among the sources although it was there, until the subscriber is told: it refused, or what
    /// it sent could not be taken.
    trouble: Option<Error>,
    /// The one place where the subscriber sleeps, if it does not sleep at the bell.
    lone: Option<View<EventCount>>,
    /// The subscriber is gone, and only what it had received is still held.
    is_retired: bool,
}

struct Line {
    number: LineNumber,
    link: Link,
    is_answered: bool,
}

impl Sources {
    pub(super) fn new(wishes: Subscribe, layout_hash: u64) -> Self {
        Self {
            wishes,
            layout_hash,
            uid: rustix::process::geteuid().as_raw(),
            changes: AtomicU64::new(0),
            has_news: AtomicBool::new(false),
            bell: View::private(EventCount::new()),
            state: Mutex::default(),
            answered: Condvar::new(),
            alarms: OnceLock::new(),
        }
    }

    /// Waits until every publisher that is connected has answered, but for those that are stopped.
    ///
    /// # Errors
    /// Why there is none, although there was one: it refused, or this process cannot take its memory.
    pub(super) fn settle(&self) -> Result<()> {
        let mut patience = Patience::new();
        let mut state = self.lock();
        loop {
            let silent = state.lines.values().filter(|line| !line.is_answered);
            let silent: Vec<Peer> = silent.map(|line| *line.link.peer()).collect();
            if silent.is_empty() {
                break;
            }
            let Some(rest) = patience.rest(&silent) else { break };
            state = self.answered.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        // One publisher's refusal is not for all of them to bear, and one that cannot be believed is none.
        let has_none = state.arrived.is_empty();
        let trouble = state.trouble.take_if(|error| has_none && error.kind() != ErrorKind::Corrupted);
        trouble.map_or(Ok(()), Err)
    }

    /// A number that changes when there is something to [`take`](Self::take).
    #[inline(always)]
    pub(super) fn changes(&self) -> u64 {
        // Acquire: what `take` finds is at least what this number counts; the lock there would do as well.
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn set_has_news(&self, has_news: bool) {
        // Relaxed: as the position of a probe.
        self.has_news.store(has_news, Ordering::Relaxed);
    }

    pub(super) fn bell(&self) -> &View<EventCount> {
        &self.bell
    }

    /// Who has come, and which lines are down, since the last call, and why one is not heard that was there.
    pub(super) fn take(&self) -> (Vec<Source>, Vec<LineNumber>, Option<Error>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.arrived), std::mem::take(&mut state.gone), state.trouble.take())
    }

    /// The subscriber has the source no more that came over this line.
    pub(super) fn forget(&self, line: LineNumber) {
        let mut state = self.lock();
        state.probes.retain(|probe| probe.line != line);
        if let Some(alarms) = self.alarms.get() {
            alarms.remove(line);
        }
    }

    fn add(&self, source: Source, probe: Probe) -> Result<()> {
        let mut state = self.lock();
        if let Some(alarms) = self.alarms.get() {
            alarms.add(probe.line, probe.alarm(alarms.bell())?);
        }
        if state.is_retired {
            source.inlet.reader().retire();
            return Ok(());
        }
        state.probes.push(probe);
        state.arrived.push(source);
        Ok(())
    }

    /// Nothing more will be taken from anybody.
    pub(super) fn retire(&self) {
        let mut state = self.lock();
        state.is_retired = true;
        for source in state.arrived.drain(..) {
            source.inlet.reader().retire();
        }
        for line in state.lines.values().filter(|line| !line.is_answered) {
            line.link.close();
        }
    }

    /// A publisher did not get our bell: the relay rings for it.
    fn bell_was_lost(&self, peer: PeerId) -> Result<()> {
        let state = self.lock();
        let line = state.lines.get(&peer).map(|line| line.number);
        let probe = state.probes.iter().find(|probe| Some(probe.line) == line);
        if let (Some(probe), Some(alarms)) = (probe, self.alarms.get()) {
            alarms.remove(probe.line);
            alarms.add(probe.line, Alarm::by_relay(alarms.bell(), &probe.sleepers)?);
        }
        Ok(())
    }

    /// Ends the conversation with a publisher that cannot be believed; who it is, if it is still there.
    pub(super) fn cut(&self, line: LineNumber) -> Option<Peer> {
        let state = self.lock();
        let line = state.lines.values().find(|known| known.number == line)?;
        line.link.close();
        Some(*line.link.peer())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one insertion or removal; a panic leaves none half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.answered.notify_all();
        self.bell.notify();
        let lone = self.lock().lone.clone();
        if let Some(lone) = lone {
            // Whatever is announced there: the publisher may have died after taking the announcement off.
            lone.wake_after_death();
        }
    }

    /// Where the subscriber sleeps from now on: at this one place, or at several with the bell among them. Whoever does
    /// not see this yet has counted its change before, so the subscriber looks at [`changes`](Self::changes) after it.
    pub(super) fn sleeps_at(&self, lone: Option<View<EventCount>>) {
        self.lock().lone = lone;
    }

    fn accept(&self, line: LineNumber, link: &Link, admitted: Admitted, fds: Vec<OwnedFd>) -> Result<(Source, Probe)> {
        let broken = |why| Error::new(SUBSCRIBE, ErrorKind::Corrupted).because(why);
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| broken("a publisher sent less than a log and a roster"));
        let (log, book) = (next()?, next()?);
        let aside = (self.wishes.policy == Policy::DropNewest).then(next).transpose()?;
        let from = link.peer().id.0;
        let log = Segment::accept_once(log, from, Kind::Log, self.layout_hash, tieline_os::Access::ReadOnly)?;
        let book = Segment::accept_once(book, from, Kind::Roster, 0, tieline_os::Access::ReadWrite)?;
        let header: View<LogHeader> = log.view(0)?;
        let geometry = Geometry::claimed(&header, log.len())?;
        let rosters = RosterGeometry::claimed(&*book.view::<RosterHeader>(0)?, book.len())?;
        let roster = roster(&book, rosters)?;
        let entry = roster.entry(admitted.entry as usize).ok_or_else(|| broken("its roster has no such entry"))?;
        if admitted.start == 0 || admitted.start > 1 << 55 {
            return Err(broken("a publisher's numbers make no sense"));
        }
        let slots = Slots::new(log.slice(SLOTS_OFFSET, geometry.slot_words())?, &geometry);
        let words = log.slice(geometry.pool_offset(), geometry.pool_bytes() / 8)?;
        let holder = Holder {
            buckets: Buckets::new(words, &geometry),
            roster: roster.clone(),
            entry: entry.clone(),
            is_trusted: link.peer().uid == self.uid || link.peer().uid == 0,
            line: OnceLock::new(),
            generation: process::generation(),
        };
        let overflow = match self.wishes.policy {
            Policy::Block => Overflow::Gated,
            Policy::DropOldest => Overflow::SkipOldest,
            Policy::DropNewest => Overflow::DropNewest,
            Policy::SkipToLatest => Overflow::SkipToLatest,
            Policy::Disconnect => Overflow::Disconnect,
        };
        // The payloads are in the publisher's log in every case.
        let (header, slots, geometry) = match aside {
            Some(fd) => {
                let AsideRead { header, slots, geometry } = AsideRead::accept(fd, self.layout_hash, &geometry)?;
                (header, slots, geometry)
            }
            None => (header, slots, geometry),
        };
        let sleepers = roster.sleepers().clone();
        let depth = if self.wishes.depth == 0 { u64::MAX } else { self.wishes.depth };
        let reader = Reader::new(header, slots.clone(), geometry, roster, entry, overflow, admitted.start);
        let reader = reader.with_depth(depth);
        let number = bell_number(admitted.entry as usize);
        let position = reader.position();
        let probe = Probe { line, slots, position, sleepers, link: Some(link.clone()), number, is_gone: false };
        let inlet = Inlet::new(reader, Some(Arc::new(holder)));
        Ok((Source { peer: link.peer().id, line, inlet, is_gone: false }, probe))
    }
}

/// An error with a publisher, which is named.
fn about(error: Error, publisher: &Peer) -> Error {
    error.also(format_args!("the publisher is process {} of user {}", publisher.pid, publisher.uid))
}

/// A publisher's refusal, with what to do about it.
pub(super) fn refusal(operation: &'static str, kind: ErrorKind) -> Error {
    Error::new(operation, kind).because(match kind {
        ErrorKind::PermissionDenied => {
            "a publisher does not wait for subscribers of this user: subscribe with a policy other than Policy::Block, \
             or let the publisher be made with `waits_for`"
        }
        ErrorKind::LimitReached => {
            "a publisher has as many subscribers as it was made for (`max_subscribers`; of other users, \
             `max_payloads` and `max_held`)"
        }
        ErrorKind::OutOfMemory => "a publisher has no memory for another subscriber",
        _ => "a publisher refused",
    })
}

impl wait::Source for Sources {
    fn is_ready(&self) -> bool {
        let state = self.lock();
        let is_news = |probe: &Probe| {
            // Relaxed: stored by the subscriber's thread; who waits has called it before.
            probe.is_gone || probe.slots.is_published(probe.position.load(Ordering::Relaxed))
        };
        // Relaxed: likewise.
        self.has_news.load(Ordering::Relaxed) || state.trouble.is_some() || state.probes.iter().any(is_news)
    }

    fn alarms(&self) -> Result<&Alarms> {
        if let Some(alarms) = self.alarms.get() {
            return Ok(alarms);
        }
        // Under the lock, so that whoever arrives is either among the probes or finds the alarms.
        let state = self.lock();
        let alarms = Alarms::new()?;
        // No line has this number. Only this process notifies there.
        alarms.add(0, Alarm::by_lines(alarms.bell(), &self.bell, 0));
        for probe in &state.probes {
            alarms.add(probe.line, probe.alarm(alarms.bell())?);
        }
        Ok(self.alarms.get_or_init(|| alarms))
    }
}

impl Participant for Sources {
    fn connected(&self, link: &Link) -> Result<()> {
        {
            let mut state = self.lock();
            if state.is_retired {
                return Err(Error::new(SUBSCRIBE, ErrorKind::PeerGone).because("nobody subscribes any more"));
            }
            state.count += 1;
            let line = Line { number: state.count, link: link.clone(), is_answered: false };
            state.lines.insert(link.peer().id, line);
        }
        link.send(&self.wishes.encode(), &[]).inspect_err(|_| {
            self.lock().lines.remove(&link.peer().id);
        })
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let broken = || Error::new(SUBSCRIBE, ErrorKind::Corrupted).because("a publisher says what none does");
        if doorbell::hear(message) == Some(Heard::NoBell(SLEEPERS)) {
            return self.bell_was_lost(peer);
        }
        let (number, link) = {
            let mut state = self.lock();
            let line = state.lines.get_mut(&peer).filter(|line| !line.is_answered).ok_or_else(broken)?;
            line.is_answered = true;
            (line.number, line.link.clone())
        };
        let mut is_ready = false;
        let answer = match (Admitted::decode(message), Refused::decode(message)) {
            (Some(admitted), _) => self.accept(number, &link, admitted, fds).and_then(|(source, probe)| {
                is_ready = true;
                self.add(source, probe)
            }),
            (None, Some(refused)) => {
                self.lock().trouble.get_or_insert(refusal(SUBSCRIBE, refused.kind));
                Ok(())
            }
            (None, None) => Err(broken()),
        };
        // Both the subscriber and the line need to know.
        let answer = answer.map_err(|error| {
            let short = Error::new(SUBSCRIBE, error.kind());
            self.lock().trouble.get_or_insert(about(error, link.peer()));
            short
        });
        self.changed();
        if is_ready {
            // If it has left meanwhile, we are told next.
            let _ = link.send(&READY, &[]);
        }
        answer
    }

    fn missed(&self, publisher: &Peer, why: Error) {
        {
            let mut state = self.lock();
            // What one says later is about bells, and without them it goes on.
            if state.lines.get(&publisher.id).is_some_and(|line| line.is_answered) {
                return;
            }
            state.trouble.get_or_insert(about(why.while_to(SUBSCRIBE), publisher));
        }
        self.changed();
    }

    fn disconnected(&self, peer: PeerId) {
        {
            let mut state = self.lock();
            let Some(Line { number, .. }) = state.lines.remove(&peer) else { return };
            state.gone.push(number);
            if let Some(probe) = state.probes.iter_mut().find(|probe| probe.line == number) {
                probe.is_gone = true;
                probe.link = None;
            }
        }
        self.changed();
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(450);

    fn sources() -> Sources {
        Sources::new(Subscribe { policy: Policy::Block, depth: 0, history: 0 }, 0)
    }

    /// A publisher whose keeper has its turn late is waited for; it publishes all the while, and nothing of that may be
    /// missed once the subscriber is there.
    #[test]
    fn a_publisher_that_is_slow_to_answer_is_waited_for() {
        let sources = sources();
        let (link, _there) = Link::to_user(rustix::process::geteuid().as_raw());
        sources.connected(&link).unwrap();
        let began = Instant::now();
        let answer = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(A_MOMENT);
                let refused = Refused { kind: ErrorKind::LimitReached };
                sources.received(link.peer().id, &refused.encode(), Vec::new()).unwrap();
            });
            sources.settle()
        });
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::LimitReached, "its answer counts");
        assert!(began.elapsed() >= A_MOMENT);
    }

    /// Another user's may be silent on purpose.
    #[test]
    fn a_silent_publisher_of_another_user_is_given_up() {
        let sources = sources();
        let (link, _there) = Link::to_user(rustix::process::geteuid().as_raw() + 1);
        sources.connected(&link).unwrap();
        let began = Instant::now();
        sources.settle().unwrap();
        // One of ours would be waited for to the end.
        assert!(
            (Duration::from_secs(1)..super::super::JOIN_TIMEOUT).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
    }
}
