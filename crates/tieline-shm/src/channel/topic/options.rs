//! What may be chosen when a publisher or a subscriber is made.

use super::{Payload, Publisher, Subscriber, Topic};
use crate::error::Result;
use crate::rendezvous::Allowed;
use crate::structure::log::INLINE_MAX_BYTES;
use crate::wait::Waiting;

/// What happens to a subscriber that has fallen behind by as many messages as the publisher keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The publisher waits for it (or, with a deadline, gives up): nothing is lost. The publisher goes on at once when
    /// the subscriber leaves or dies.
    ///
    /// Whom it waits for is the publisher's decision: by default for subscribers of its own user, of root, and of the
    /// user who created the topic. Others are refused with
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied), see [`waits_for`](PublisherOptions::waits_for).
    #[default]
    Block,
    /// It loses the oldest messages, and goes on with the oldest that is safe to read: up to an eighth of the
    /// publisher's depth more than necessary, so that it does not lose the next one as well.
    DropOldest,
    /// It keeps what it has not received, and loses the newest messages: those that are published while it is behind
    /// by its [`depth`](SubscriberOptions::depth). The publisher does not wait.
    ///
    /// It costs the publisher something for each such subscriber: a copy of each message (of up to 112 bytes; larger
    /// ones are not copied), and a second log of that depth in memory. What it has not received also keeps the places
    /// of large messages from being reused; such subscribers together are left the places that the publisher does not
    /// need otherwise ([`max_payloads`](PublisherOptions::max_payloads)), and at least half of them, rounded down: a
    /// message for which there is no place left in that share is lost as well.
    DropNewest,
    /// It always receives the newest message, and loses all between.
    SkipToLatest,
    /// Its next call answers [`Lagged`](crate::ErrorKind::Lagged), and so do all that follow.
    Disconnect,
}

impl Policy {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::DropOldest => 2,
            Self::DropNewest => 3,
            Self::SkipToLatest => 4,
            Self::Disconnect => 5,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Block, Self::DropOldest, Self::DropNewest, Self::SkipToLatest, Self::Disconnect]
            .into_iter()
            .find(|policy| policy.number() == number)
    }
}

/// How to make a [`Publisher`].
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::topic::Topic;
///
/// let prices = Topic::<u64>::open_or_create("prices")?;
/// let publisher = prices.publisher_options().depth(64).history(10).open()?;
/// (1..=20).try_for_each(|price| publisher.publish(&price))?;
/// let mut late = prices.subscriber_options().history(3).open()?;
/// assert_eq!((*late.recv()?, *late.recv()?, *late.recv()?), (18, 19, 20));
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[must_use = "nothing is made before `open`"]
pub struct PublisherOptions<'a, T: Payload + ?Sized> {
    pub(super) topic: &'a Topic<T>,
    pub(super) depth: Option<usize>,
    pub(super) history: usize,
    pub(super) loans: usize,
    pub(super) payload_max_bytes: usize,
    pub(super) buckets: Option<usize>,
    pub(super) subscribers: usize,
    pub(super) held: usize,
    pub(super) waits_for: Option<Allowed>,
    pub(super) waiting: Waiting,
}

impl<'a, T: Payload + ?Sized> PublisherOptions<'a, T> {
    pub(super) fn new(topic: &'a Topic<T>) -> Self {
        let size = size_of::<T::Item>();
        Self {
            topic,
            depth: None,
            history: 0,
            loans: 2,
            payload_max_bytes: if T::COUNT.is_some() { size } else { 64 * 1024 },
            buckets: None,
            subscribers: 128,
            held: 2,
            waits_for: Some(Allowed::Owner),
            waiting: Waiting::default(),
        }
    }

    /// How many messages are kept for subscribers that fall behind, rounded up to a power of two.
    ///
    /// Unless told: 4 for types too large for a slot, as their memory is large, and 4096 for others.
    pub fn depth(mut self, messages: usize) -> Self {
        self.depth = Some(messages);
        self
    }

    /// How many of the last messages are kept for subscribers that come later and ask for them, at most half the
    /// depth; 0 unless told.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// How many loans may be out at once; 2 unless told.
    pub fn max_loans(mut self, loans: usize) -> Self {
        self.loans = loans;
        self
    }

    /// The most bytes of a message, for slices; 64 KiB unless told. Address space is taken for it, memory only when
    /// such messages are published.
    pub fn payload_max_bytes(mut self, bytes: usize) -> Self {
        if T::COUNT.is_none() {
            self.payload_max_bytes = bytes;
        }
        self
    }

    /// How many payloads too large for a slot the memory may hold at once, those held by subscribers included. Unless
    /// told, enough for all that may be kept, lent and held.
    pub fn max_payloads(mut self, count: usize) -> Self {
        self.buckets = Some(count);
        self
    }

    /// How many subscribers of one user may be there at once; 128 unless told. Those of users that the publisher does
    /// [not wait for](Self::waits_for) are all together at most so many that the samples they may
    /// [hold](Self::max_held) take a quarter of the [memory for payloads](Self::max_payloads): they cannot use it up.
    pub fn max_subscribers(mut self, count: usize) -> Self {
        self.subscribers = count;
        self
    }

    /// How many large samples each subscriber may hold at once; 2 unless told.
    pub fn max_held(mut self, count: usize) -> Self {
        self.held = count;
        self
    }

    /// Which other users' subscribers it waits for, if they ask for [`Policy::Block`]; none unless told. It always
    /// waits for those of its own user, of root, and of the user who created the topic ([`Allowed::Owner`]), unless it
    /// [waits for nobody](Self::waits_for_nobody).
    ///
    /// Who is waited for and does not read holds up the publisher, and so all other subscribers. A subscriber that
    /// asks for `Block` and may not is refused with [`PermissionDenied`](crate::ErrorKind::PermissionDenied); it may
    /// subscribe with any other policy. Of a [`Group`](Allowed::Group) are those whose effective group it is:
    /// supplementary groups do not count here.
    pub fn waits_for(mut self, whom: Allowed) -> Self {
        self.waits_for = Some(whom);
        self
    }

    /// Refuses every subscriber with [`Policy::Block`], also of its own user: nobody ever holds it up. Large
    /// messages still need memory that no subscriber holds ([`max_payloads`](Self::max_payloads)).
    pub fn waits_for_nobody(mut self) -> Self {
        self.waits_for = None;
        self
    }

    /// How to wait for subscribers.
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Joins the topic, and waits until those who subscribe already are connected, for 5 s at most (1 s for another
    /// user's). One that is stopped is waited for 200 ms; it is connected when it goes on, and gets what is published from
    /// then on.
    ///
    /// # Errors
    /// * `Mismatch`: the topic carries another type.
    /// * `PermissionDenied`, `NotFound`, `AlreadyExists`, `LimitReached`: of the name.
    /// * `OutOfMemory`: for the slots, which are backed by memory now.
    /// * `TooLarge`: the maximum payload is more than a tebibyte.
    /// * `InvalidInput`: the type's alignment is more than a page.
    pub fn open(self) -> Result<Publisher<T>> {
        Publisher::open(self)
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.payload_max_bytes > INLINE_MAX_BYTES
    }
}

/// How to make a [`Subscriber`].
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::topic::{Policy, Topic};
///
/// let prices = Topic::<u64>::open_or_create("prices")?;
/// let mut display = prices.subscriber_options().policy(Policy::SkipToLatest).open()?;
/// let publisher = prices.publisher()?;
/// (1..=20).try_for_each(|price| publisher.publish(&price))?;
/// assert_eq!(*display.recv()?, 20);
/// assert_eq!(display.counters().lost, 19);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[must_use = "nothing is made before `open`"]
pub struct SubscriberOptions<'a, T: Payload + ?Sized> {
    pub(super) topic: &'a Topic<T>,
    pub(super) policy: Policy,
    pub(super) depth: u64,
    pub(super) history: u64,
    pub(super) waiting: Waiting,
}

impl<'a, T: Payload + ?Sized> SubscriberOptions<'a, T> {
    pub(super) fn new(topic: &'a Topic<T>) -> Self {
        Self { topic, policy: Policy::default(), depth: 0, history: 0, waiting: Waiting::default() }
    }

    /// What happens when it does not keep up.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How many messages it may be behind before a publisher waits ([`Policy::Block`]) or drops the next
    /// ([`Policy::DropNewest`]), if that is less than the publisher's own depth. Of no effect for other policies.
    ///
    /// A subscriber that takes one message after the other tells its publishers for a sixteenth of the depth at a time, 32
    /// messages at most, until a call finds nothing; by so many fewer a publisher may be ahead of it meanwhile.
    pub fn depth(mut self, messages: usize) -> Self {
        self.depth = messages as u64;
        self
    }

    /// How many messages published before it came it wants from each publisher, as far as that one keeps them.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages as u64;
        self
    }

    /// How to wait for messages.
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Joins the topic, and waits until it is connected with those who publish already, for 5 s at most (1 s for another
    /// user's): what they publish after this has returned is received. One that is stopped is waited for 200 ms; it is
    /// connected when it goes on, and what it publishes before that is received only as [`history`](Self::history).
    ///
    /// # Errors
    /// * `Mismatch`: the topic carries another type.
    /// * `PermissionDenied`: of the name; or the policy is [`Policy::Block`], and the publishers that are there
    ///   [do not wait](PublisherOptions::waits_for) for subscribers of this user.
    /// * `NotFound`, `AlreadyExists`, `LimitReached`: of the name.
    pub fn open(self) -> Result<Subscriber<T>> {
        Subscriber::open(self)
    }
}
