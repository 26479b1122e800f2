//! The receiving end, as users hold it.

mod around;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::crowd::Crowd;
use super::sample::Body;
use super::sources::{LineNumber, Source, Sources};
use super::wire::Subscribe;
use super::{Payload, Sample, SubscriberOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::raw::atomic::pause;
use crate::rendezvous::{Membership, Role};
use crate::structure::inlet::{AtOnce, Found};
use crate::structure::items::Inline;
use crate::wait::{EventCount, Until, Waitable, Waiting, Watch};
use around::Look;

const RECEIVE: &str = "receive";

/// Enough for an answer of a publisher that polls as well.
const BRIEF_LOOKS: usize = 64;
/// The first of them without a pause, which would be as long as a line takes to travel.
const EAGER_LOOKS: usize = 32;

/// How a subscriber has fared, over all publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages received.
    pub received: u64,
    /// Messages lost because the subscriber was too slow.
    pub lost: u64,
    /// Messages that are there and not received yet.
    pub lag: u64,
    /// Publishers connected.
    pub publishers: usize,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Origin {
    /// Which publisher: a number that no other publisher of the topic has, as long as the topic lives.
    pub publisher: u64,
    /// Which of its messages: from 0, without gaps.
    pub sequence: u64,
}

/// The receiving end of a topic. One thread at a time; it may be moved to another.
///
/// Dropping it ends the subscription: nobody waits for it any more. Large samples received before stay as they are; with
/// the last of them it leaves the topic.
pub struct Subscriber<T: Payload + ?Sized> {
    sources: Vec<Source>,
    /// Whose turn it is.
    turn: usize,
    /// Whose message the last one was.
    last: Option<usize>,
    /// What [`Sources::changes`] was when last looked.
    seen: u64,
    /// Where to sleep: at the place of the only publisher; or else the bell, then every publisher's place.
    counts: Vec<View<EventCount>>,
    pub(super) shared: Arc<Sources>,
    /// What was received from, and lost of, publishers that are gone.
    past: Counters,
    /// Why a publisher is not heard, if the user was not told yet: it refused, could not be taken up, or was cut off while
    /// messages were taken.
    trouble: Option<Error>,
    /// The last publisher has gone, and the user was not told yet.
    is_alone: bool,
    /// Also kept by samples: the line to their publisher must not end before them.
    membership: Arc<Membership>,
    pub(super) waiting: Waiting,
    pub(super) crowd: Crowd,
    _of: std::marker::PhantomData<fn() -> Box<T>>,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    pub(super) fn open(builder: SubscriberOptions<'_, T>) -> Result<Self> {
        crate::wait::prepare();
        let wishes = Subscribe { policy: builder.policy, depth: builder.depth, history: builder.history };
        let joined = builder.topic.join(Role::Consumer)?;
        let shared = Arc::new(Sources::new(wishes, builder.topic.layout_hash()));
        let membership = Arc::new(joined.start(Arc::clone(&shared) as Arc<_>)?);
        shared.settle()?;
        let mut subscriber = Self::new(shared, membership, builder.waiting);
        subscriber.refresh();
        Ok(subscriber)
    }

    pub(super) fn new(shared: Arc<Sources>, membership: Arc<Membership>, waiting: Waiting) -> Self {
        Self {
            sources: Vec::new(),
            turn: 0,
            last: None,
            seen: 0,
            counts: Vec::new(),
            shared,
            past: Counters::default(),
            trouble: None,
            is_alone: false,
            membership,
            waiting,
            crowd: None,
            _of: std::marker::PhantomData,
        }
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// * `WouldBlock`: none is there.
    /// * `PeerGone`, once: the last publisher has left or died, and all it had published was received. After that,
    ///   calls wait for another publisher.
    /// * `PermissionDenied`, `LimitReached`, `OutOfMemory`, once: a publisher that came has refused; see
    ///   [`waits_for`](super::PublisherOptions::waits_for), [`max_subscribers`](super::PublisherOptions::max_subscribers).
    ///   `LimitReached` and `OutOfMemory` also if this process has no descriptor or no memory left for its messages.
    ///   Messages of others arrive.
    /// * `Lagged`: the subscriber fell behind, and its policy is to be disconnected then.
    /// * `LimitReached`: too many samples are held; the message stays where it is.
    /// * `Corrupted`: a publisher's memory holds what no publisher writes; it is not listened to any more.
    /// * `Unsupported`: to sleep until another user's publisher publishes, before Linux 5.16 (`futex_waitv`); receive
    ///   without waiting, or poll.
    /// * `Forked`.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Sample<T>> {
        self.recv_until(Until::Now)
    }

    /// The next message. Waits until there is one.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), but for `WouldBlock`.
    #[inline]
    pub fn recv(&mut self) -> Result<Sample<T>> {
        self.recv_until(Until::Forever)
    }

    /// The next message. Waits at most so long.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and `TimedOut`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Sample<T>> {
        self.recv_until(Until::At(Deadline::after(timeout)))
    }

    #[inline(always)]
    fn recv_until(&mut self, until: Until) -> Result<Sample<T>> {
        self.membership.check()?;
        let mut inline = Inline::new();
        match self.recv_at_once(&mut inline) {
            AtOnce::Inline => return Ok(Sample { body: Body::Inline(inline) }),
            AtOnce::Held(items) => return Ok(Sample { body: Body::Held(items) }),
            AtOnce::No => {}
        }
        if self.waiting == Waiting::Poll && !matches!(until, Until::Now) && self.poll_briefly() {
            match self.recv_at_once(&mut inline) {
                AtOnce::Inline => return Ok(Sample { body: Body::Inline(inline) }),
                AtOnce::Held(items) => return Ok(Sample { body: Body::Held(items) }),
                AtOnce::No => {}
            }
        }
        self.recv_slowly(until)
    }

    /// Takes the next message if it is there, of the publisher whose turn it is, and nothing else has happened.
    #[inline(always)]
    fn recv_at_once(&mut self, inline: &mut Inline<T::Item>) -> AtOnce<T::Item> {
        if self.shared.changes() != self.seen {
            return AtOnce::No;
        }
        let Some(source) = self.sources.get_mut(self.turn) else { return AtOnce::No };
        let found = source.inlet.try_receive_at_once(inline, T::COUNT);
        if !matches!(found, AtOnce::No) {
            self.last = Some(self.turn);
            self.turn = if self.turn + 1 < self.sources.len() { self.turn + 1 } else { 0 };
        }
        found
    }

    #[inline(never)]
    fn recv_slowly(&mut self, until: Until) -> Result<Sample<T>> {
        let mut inline = Inline::new();
        self.last = None;
        self.sources.iter_mut().for_each(|source| source.inlet.pause());
        let found = match self.look(&mut inline)? {
            Look::Found(found) => found,
            Look::Nothing | Look::Changed => self.wait(&mut inline, until)?,
        };
        let body = match found {
            Found::Held(items) => Body::Held(items),
            Found::Copied(items) => Body::Copied(items),
            Found::Inline | Found::Nothing => Body::Inline(inline),
        };
        Ok(Sample { body })
    }

    /// Looks at nothing but the slot of the only publisher, for about a microsecond: the less there is in this loop, the
    /// sooner a message is seen. Whether there is one.
    #[inline(never)]
    fn poll_briefly(&mut self) -> bool {
        let [source] = &mut *self.sources else { return false };
        source.inlet.pause();
        for look in 0..BRIEF_LOOKS {
            if source.inlet.is_ready() {
                return true;
            }
            if self.shared.changes() != self.seen {
                return false;
            }
            if look >= EAGER_LOOKS {
                pause();
            }
        }
        false
    }

    /// Calls `each` with every message that is there, and answers how many. Does not wait. Publishers are told of many
    /// messages at once, which is cheaper than one by one.
    ///
    /// At most as many as one publisher keeps are taken from each, so that it comes to an end.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), but `WouldBlock`: none is 0. If messages were there, the next call answers the
    /// error.
    #[inline]
    pub fn drain(&mut self, each: impl FnMut(&T)) -> Result<usize> {
        self.take_up_to(usize::MAX, 0, each)
    }

    /// Waits for a message, then calls `each` with it and with those behind it that are there, `count` at most. Answers
    /// how many.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). If messages were there, the next call answers the error.
    pub fn recv_many(&mut self, count: usize, mut each: impl FnMut(&T)) -> Result<usize> {
        if count == 0 {
            return Ok(0);
        }
        let taken = self.take_up_to(count, 0, &mut each)?;
        if taken > 0 {
            return Ok(taken);
        }
        each(&*self.recv()?);
        self.take_up_to(count, 1, each)
    }

    /// Takes what is there beside the `taken`, `count` in all, and answers how many these are; an error only if none.
    #[inline]
    fn take_up_to(&mut self, count: usize, mut taken: usize, mut each: impl FnMut(&T)) -> Result<usize> {
        self.membership.check()?;
        if self.shared.changes() != self.seen {
            self.refresh();
        }
        let mut errors = Vec::new();
        for source in &mut self.sources {
            let slots = source.inlet.reader().geometry().slots;
            let room = slots.min(count - taken);
            let some = drain_source::<T>(source, room, slots / 8, &mut each, &mut taken);
            errors.extend(some.err().map(|error| (source.line, error)));
        }
        if !errors.is_empty() {
            self.failed_all(errors, taken)?;
        }
        if taken > 0 { Ok(taken) } else { self.bury().map_or(Ok(0), Err) }
    }

    /// Answers the first error, unless messages were `taken`. What would not be met again is kept for the next call.
    #[cold]
    fn failed_all(&mut self, errors: Vec<(LineNumber, Error)>, taken: usize) -> Result<()> {
        let mut first = None;
        for (line, error) in errors {
            let error = self.failed(line, error);
            if taken == 0 && first.is_none() {
                first = Some(error);
            } else if error.kind() == ErrorKind::Corrupted {
                self.trouble.get_or_insert(error);
            }
        }
        self.show_news();
        first.map_or(Ok(()), Err)
    }

    /// Where the message came from that [`recv`](Self::recv), [`try_recv`](Self::try_recv) or
    /// [`recv_timeout`](Self::recv_timeout) answered just now; `None` if the last call answered none.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let source = self.sources.get(self.last?)?;
        let sequence = source.inlet.reader().next().checked_sub(1 + crate::structure::log::FIRST)?;
        Some(Origin { publisher: source.peer.0, sequence })
    }

    /// Received, lost, behind, connected. Publishers that have come or gone since the last call that receives do not show
    /// yet.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = self.past;
        for source in &self.sources {
            let reader = source.inlet.reader();
            sum.received += reader.received();
            // A hostile publisher may claim any number of these.
            sum.lost = sum.lost.saturating_add(reader.lost());
            sum.lag = sum.lag.saturating_add(reader.lag());
            sum.publishers += usize::from(!source.is_gone);
        }
        sum
    }
}

impl<T: Payload + ?Sized> Drop for Subscriber<T> {
    fn drop(&mut self) {
        if self.membership.check().is_err() {
            // A forked child: the places are the parent's.
            return;
        }
        self.shared.retire();
        for source in &self.sources {
            source.inlet.reader().retire();
        }
    }
}

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
impl<T: Payload + ?Sized> Subscriber<T> {
    pub(crate) fn poll_recv(&mut self) -> Option<Result<Sample<T>>> {
        not_yet(self.try_recv())
    }

    pub(crate) fn poll_recv_many(&mut self, count: usize, each: impl FnMut(&T)) -> Option<Result<usize>> {
        match self.take_up_to(count, 0, each) {
            Ok(0) if count > 0 => None,
            answer => Some(answer),
        }
    }

    pub(crate) fn source(&self) -> Arc<dyn crate::wait::Source> {
        Arc::clone(&self.shared) as Arc<_>
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }
}

#[cfg(feature = "tokio")]
fn not_yet<R>(answer: Result<R>) -> Option<Result<R>> {
    answer.map_or_else(|error| (!error.is_would_block()).then_some(Err(error)), |answer| Some(Ok(answer)))
}

impl<T: Payload + ?Sized> Waitable for Subscriber<T> {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared) as Arc<_>)
    }
}

/// Takes what one publisher has, telling it every so often.
#[inline(always)]
fn drain_source<T: Payload + ?Sized>(
    source: &mut Source,
    room: usize,
    stretch: usize,
    each: &mut impl FnMut(&T),
    taken: &mut usize,
) -> Result<()> {
    let mut inline = Inline::new();
    let (mut untold, mut rest) = (0, room);
    let outcome = loop {
        if rest == 0 {
            break Ok(());
        }
        match source.inlet.try_receive(&mut inline, T::COUNT, false) {
            Ok(Found::Nothing) => break Ok(()),
            Ok(Found::Inline) => each(T::of_items(inline.items())),
            Ok(Found::Held(items)) => each(T::of_items(items.items())),
            Ok(Found::Copied(items)) => each(T::of_items(&items)),
            Err(error) => break Err(error),
        }
        *taken += 1;
        rest -= 1;
        untold += 1;
        if untold > stretch {
            source.inlet.tell();
            untold = 0;
        }
    };
    if untold > 0 {
        source.inlet.tell();
    }
    outcome
}

impl<T: Payload + ?Sized> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
