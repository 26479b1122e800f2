//! Topics that tasks publish to and subscribe to.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, topic::Topic};
//!
//! let camera = Topic::<[u8; 64]>::open_or_create("camera")?; // in any number of processes
//! let mut frames = aio::topic::Subscriber::from(camera.subscriber()?);
//! let mut publisher = aio::topic::Publisher::from(camera.publisher()?);
//! publisher.publish(&[7; 64]).await?;
//! assert_eq!(frames.recv().await?[0], 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::fmt;

use super::Parker;
use crate::channel::payload::Payload;
use crate::error::Result;
use crate::topic::{self, Counters, RoomAlarms, Sample};

/// The receiving end of a topic, for tasks: made of a [`topic::Subscriber`].
pub struct Subscriber<T: Payload + ?Sized> {
    subscriber: topic::Subscriber<T>,
    parker: Parker,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    /// The next message. Waits until there is one.
    ///
    /// Cancelling it loses no message. The first call that sleeps binds the handle to its tokio runtime.
    ///
    /// # Errors
    /// As [`topic::Subscriber::recv`]: `PeerGone`, once, within milliseconds of the last publisher's death; `Lagged`;
    /// `LimitReached` if too many samples are held, or there is no descriptor left; `Corrupted`; `Forked`. `Unsupported`
    /// outside of a tokio runtime with input and output.
    pub async fn recv(&mut self) -> Result<Sample<T>> {
        let Self { subscriber, parker } = self;
        let source = subscriber.source();
        parker.wait(subscriber.how(), || source.alarms(), || subscriber.poll_recv()).await?
    }

    /// Waits for a message, then calls `each` with it and with those behind it that are there, `count` at most. Answers
    /// how many. Cancelling it loses nothing: `each` is called only when it will not wait any more.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_many(&mut self, count: usize, mut each: impl FnMut(&T)) -> Result<usize> {
        let Self { subscriber, parker } = self;
        let source = subscriber.source();
        parker.wait(subscriber.how(), || source.alarms(), || subscriber.poll_recv_many(count, &mut each)).await?
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// As [`topic::Subscriber::try_recv`].
    pub fn try_recv(&mut self) -> Result<Sample<T>> {
        self.subscriber.try_recv()
    }

    /// Received, lost, behind, connected.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.subscriber.counters()
    }

    /// The blocking twin, which is left as it is: what was not received yet is still there.
    #[must_use]
    pub fn into_inner(self) -> topic::Subscriber<T> {
        self.subscriber
    }
}

impl<T: Payload + ?Sized> From<topic::Subscriber<T>> for Subscriber<T> {
    fn from(subscriber: topic::Subscriber<T>) -> Self {
        Self { subscriber, parker: Parker::default() }
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscriber.fmt(f)
    }
}

/// The publishing end of a topic, for tasks: made of a [`topic::Publisher`].
///
/// Publishing waits only for subscribers with [`Policy::Block`](topic::Policy::Block); where there are none, the
/// blocking twin never waits, and is as good in a task.
pub struct Publisher<T: Payload + ?Sized> {
    publisher: topic::Publisher<T>,
    parker: Parker,
    room: RoomAlarms,
}

impl<T: Payload + ?Sized> Publisher<T> {
    /// Publishes a copy of `value`. Waits while a subscriber that is waited for has not read far enough; not for one
    /// that dies meanwhile.
    ///
    /// Cancelled, it has published nothing. The first call that sleeps binds the handle to its tokio runtime.
    ///
    /// # Errors
    /// As [`topic::Publisher::publish`]; `LimitReached` also if there is no descriptor left; `Unsupported` outside of
    /// a tokio runtime with input and output.
    pub async fn publish(&mut self, value: &T) -> Result<()> {
        let Self { publisher, parker, room } = self;
        parker.wait(publisher.how(), || room.of_all(), || publisher.poll_publish(value)).await?
    }

    /// [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    /// As [`topic::Publisher::try_publish`].
    pub fn try_publish(&mut self, value: &T) -> Result<()> {
        self.publisher.try_publish(value)
    }

    /// Waits until a message can be lent and sent without waiting, by [`try_loan`](topic::Publisher::try_loan) and
    /// [`try_send`](topic::Loan::try_send) of the [blocking twin](Self::get_ref): so large messages are written in place
    /// by tasks too.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = format!("{}/frames", folder.path().display());
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// use tieline_shm::{aio, topic::Topic};
    ///
    /// let mut frames = aio::topic::Publisher::from(Topic::<[u8]>::create(&name)?.publisher()?);
    /// frames.room().await?;
    /// let mut frame = frames.get_ref().try_loan_slice(10_000)?;
    /// frame.fill(7);
    /// frame.try_send()?;
    /// # Ok::<(), tieline_shm::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Cancelling it changes nothing. There may still be no room if a subscriber came meanwhile that is waited for.
    ///
    /// # Errors
    /// `OutOfMemory`; `Forked`; `LimitReached` if there is no descriptor left; `Unsupported` outside of a tokio runtime
    /// with input and output.
    pub async fn room(&mut self) -> Result<()> {
        let Self { publisher, parker, room } = self;
        parker.wait(publisher.how(), || room.of_all(), || publisher.poll_room()).await?
    }

    /// The blocking twin, for what never waits: `try_` forms and figures.
    #[must_use]
    pub fn get_ref(&self) -> &topic::Publisher<T> {
        &self.publisher
    }

    /// The blocking twin.
    #[must_use]
    pub fn into_inner(self) -> topic::Publisher<T> {
        self.publisher
    }
}

impl<T: Payload + ?Sized> From<topic::Publisher<T>> for Publisher<T> {
    fn from(publisher: topic::Publisher<T>) -> Self {
        let room = publisher.room_alarms();
        Self { publisher, parker: Parker::default(), room }
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.publisher.fmt(f)
    }
}
