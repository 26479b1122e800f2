//! Publish and subscribe: each message goes to every subscriber.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::topic::Topic;
//!
//! let camera = Topic::<[u8; 64]>::open_or_create("camera")?; // in any number of processes
//! let mut frames = camera.subscriber()?;
//! let publisher = camera.publisher()?;
//! publisher.publish(&[7; 64])?;
//! assert_eq!(frames.recv()?[0], 7);
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! A publisher writes each message once, however many subscribers there are; no process copies for another. Small
//! messages (up to 112 bytes) are copied out when they are received. Larger ones stay where the publisher wrote them
//! and are read there: a [`Sample`] keeps the place from being reused until it is dropped. A publisher can also write
//! them there in the first place: [`Publisher::loan`].
//!
//! # What may be sent
//! Values of a [`ShmSafe`](crate::ShmSafe) type (`Topic<Frame>`), or slices of such, of any length up to a maximum
//! (`Topic<[Frame]>`, `Topic<[u8]>` for bytes). All who meet at a name must agree on the type's layout.
//!
//! # When a subscriber does not keep up
//! Each publisher keeps a number of messages ([`PublisherOptions::depth`]). What happens to a subscriber that falls
//! behind by more is that subscriber's choice, its [`Policy`]:
//!
//! | policy | the publisher | the subscriber | for |
//! |---|---|---|---|
//! | [`Block`](Policy::Block), unless told otherwise | waits | loses nothing | work that must be complete |
//! | [`DropOldest`](Policy::DropOldest) | goes on | loses the oldest | logs, measurements |
//! | [`DropNewest`](Policy::DropNewest) | goes on, and copies for it | loses the newest | what must begin at the beginning |
//! | [`SkipToLatest`](Policy::SkipToLatest) | goes on | receives the newest, loses all between | displays, control loops |
//! | [`Disconnect`](Policy::Disconnect) | goes on | is told [`Lagged`](crate::ErrorKind::Lagged), for good | who must not lose anything unnoticed |
//!
//! What was lost is counted ([`Subscriber::counters`]). A publisher that waits can be given a deadline
//! ([`Publisher::publish_timeout`]), or a descriptor that ends the wait ([`Publisher::publish_unless`]); a subscriber that
//! leaves or dies is not waited for. Whom it waits for at all is the publisher's choice, see [several
//! users](#several-users).
//!
//! # Order
//! Messages of one publisher arrive in order. Between publishers there is no order; a subscriber takes turns among
//! them. A subscriber that is there when a publisher comes, or was there before, gets all it publishes; one that comes
//! later gets the last messages if it asks for [`history`](SubscriberOptions::history). "There" is a subscriber once its
//! opening has returned. The exception is a publisher that was stopped (`SIGSTOP`, a debugger) meanwhile, or took longer
//! than five seconds to answer (another user's, one second): it is not waited for, and its messages come from the one on
//! at which it goes on and lets the subscriber in, with as many before that as were asked for as history.
//!
//! # Several users
//! The creator says who may publish and who may subscribe ([`Topic::access`]). Nobody but a publisher can write what it
//! publishes, and what it publishes is checked where it is received, and copied first by subscribers of other users. A
//! publisher that writes nonsense is cut off, and its subscribers get [`Corrupted`](crate::ErrorKind::Corrupted) once,
//! with its process and user; other publishers are heard as before.
//!
//! What a subscriber of another user could do to a publisher is to hold it up. So a publisher waits only for subscribers
//! of its own user, of root, and of the user who created the topic. Another one that subscribes with [`Policy::Block`]
//! gets [`PermissionDenied`](crate::ErrorKind::PermissionDenied): when it subscribes, or, if the publisher comes
//! later, when it receives. It can choose another policy, or the publisher can be made with
//! [`waits_for`](PublisherOptions::waits_for). A publisher that must never wait, for nobody, says
//! [`waits_for_nobody`](PublisherOptions::waits_for_nobody). Samples that such guests hold can take a quarter of
//! the memory for large messages at most: more of them are refused
//! ([`LimitReached`](crate::ErrorKind::LimitReached)).
//!
//! # Death
//! A process that dies, at any instruction, leaves no half message: what it had published is received, then, if it was
//! the last publisher, [`PeerGone`](crate::ErrorKind::PeerGone), once. A publisher that waits for a subscriber goes on
//! within milliseconds of its death, and what the dead held is free again.
//!
//! # Threads and limits
//! A [`Publisher`] and a [`Subscriber`] belong to one thread at a time, and may be moved: have one for each thread. A
//! [`Sample`] may go to any thread. A publisher keeps at most 2^24 messages, of at most 2^40 bytes each.
//!
//! A subscriber that waits for more than 127 publishers, or for any before Linux 5.16 (`futex_waitv`), sleeps until one
//! rings a bell: two system calls more for each wake-up. Publishers of other users cannot ring it; threads of the
//! subscriber's process sleep for 127 of them each, and those need Linux 5.16. Before that, receive from other users without
//! waiting, or with [`Waiting::Poll`](crate::Waiting::Poll).
//!
//! The memory is `docs/formats/shm-topic.md`, to the byte; why it is so, `docs/adr/0009-one-log-per-publisher.md`.

mod admission;
mod aside;
mod crowd;
mod loan;
mod options;
mod patience;
mod publisher;
mod sample;
mod sources;
#[cfg(feature = "steps")]
pub(crate) mod stranger;
mod subscriber;
mod wire;

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::payload::{self, Payload};
use super::untyped::Carried;
use crate::error::Result;
use crate::rendezvous::{self, Access, IntoName, Joined, Name, Offer, Role};
use crate::segment::Kind;

#[cfg(feature = "tokio")]
pub(crate) use admission::RoomAlarms;
pub use loan::{Loan, LoanUninit};
pub use options::{Policy, PublisherOptions, SubscriberOptions};
pub use publisher::Publisher;
pub use sample::Sample;
pub use subscriber::{Counters, Origin, Subscriber};
#[cfg(feature = "steps")]
pub(crate) use wire::reread;

/// How long joining a name may take: longer only if its host is stopped.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic by its name. Publishers and subscribers are made from it; it holds nothing itself.
pub struct Topic<T: Payload + ?Sized> {
    name: Name,
    access: Access,
    members: u32,
    how: How,
    /// We created it already, so that what comes next only opens it.
    is_created: AtomicBool,
    /// What it carries, if that is not what the type says.
    carried: Option<Carried>,
    of: PhantomData<fn(&T)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Create,
    Open,
    OpenOrCreate,
}

impl<T: Payload + ?Sized> Topic<T> {
    /// A topic that is joined if it is there and created if not, by the first publisher or subscriber made.
    ///
    /// # Errors
    /// `InvalidInput` if it is no [`Name`].
    pub fn open_or_create(name: impl IntoName) -> Result<Self> {
        Self::with(name, How::OpenOrCreate)
    }

    /// A topic that must be there when the first publisher or subscriber is made.
    ///
    /// # Errors
    /// `InvalidInput` if it is no [`Name`].
    pub fn open(name: impl IntoName) -> Result<Self> {
        Self::with(name, How::Open)
    }

    /// A topic that must not be there yet when the first publisher or subscriber is made.
    ///
    /// # Errors
    /// `InvalidInput` if it is no [`Name`].
    pub fn create(name: impl IntoName) -> Result<Self> {
        Self::with(name, How::Create)
    }

    fn with(name: impl IntoName, how: How) -> Result<Self> {
        Ok(Self {
            name: name.into_name()?,
            access: Access::owner(),
            members: 256,
            how,
            is_created: AtomicBool::new(false),
            carried: None,
            of: PhantomData,
        })
    }

    /// Who may publish and subscribe, if this creates the topic; otherwise its creator has decided.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How many publishers and subscribers may be there at once, if this creates the topic: 256 unless told.
    #[must_use]
    pub fn members(mut self, count: u32) -> Self {
        self.members = count;
        self
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// A publisher with the usual options.
    ///
    /// # Errors
    /// As [`PublisherOptions::open`].
    pub fn publisher(&self) -> Result<Publisher<T>> {
        self.publisher_options().open()
    }

    /// A subscriber with the usual options: the publisher waits for it.
    ///
    /// # Errors
    /// As [`SubscriberOptions::open`].
    pub fn subscriber(&self) -> Result<Subscriber<T>> {
        self.subscriber_options().open()
    }

    /// A publisher with options of choice.
    pub fn publisher_options(&self) -> PublisherOptions<'_, T> {
        PublisherOptions::new(self)
    }

    /// A subscriber with options of choice.
    pub fn subscriber_options(&self) -> SubscriberOptions<'_, T> {
        SubscriberOptions::new(self)
    }

    fn layout_hash(&self) -> u64 {
        self.carried.as_ref().map_or_else(payload::hash::<T>, Carried::hash)
    }

    fn join(&self, role: Role) -> Result<Joined> {
        let offer = Offer {
            kind: Kind::Log,
            role,
            layout_hash: self.layout_hash(),
            layout_text: self.carried.as_ref().map_or_else(payload::text::<T>, |carried| carried.layout().to_owned()),
            config: vec![wire::VERSION],
            access: self.access.clone(),
            members_max: self.members,
            core: None,
        };
        // Relaxed: a flag of this process, about nothing else in memory.
        let joined = match self.how {
            How::Create if !self.is_created.load(Ordering::Relaxed) => {
                rendezvous::create(&self.name, offer, JOIN_TIMEOUT)?
            }
            How::Open => rendezvous::open(&self.name, offer, JOIN_TIMEOUT)?,
            How::Create | How::OpenOrCreate => rendezvous::open_or_create(&self.name, offer, JOIN_TIMEOUT)?,
        };
        wire::check_version(joined.config())?;
        self.is_created.store(true, Ordering::Relaxed);
        Ok(joined)
    }
}

impl Topic<[u8]> {
    /// Messages of a type that this program was not compiled with, as bytes. Who publishes
    /// [checks](crate::untyped::Contents::check) them; values of one size want that size as
    /// [`payload_max_bytes`](PublisherOptions::payload_max_bytes).
    #[must_use]
    pub fn carrying(mut self, carried: Carried) -> Self {
        self.carried = Some(carried);
        self
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).finish_non_exhaustive()
    }
}
