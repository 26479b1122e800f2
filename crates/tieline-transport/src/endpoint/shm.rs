//! Channels of `tieline-shm` as endpoints: a queue or a topic, of bytes or of a type we were not compiled with, and streams.
//!
//! The invariant: what leaves here is what the channel carries, because everybody else at the channel counts on it; and
//! whoever waits is woken by the channel or by a request to stop, not by the clock.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_os::ErrorKind as OsErrorKind;
use tieline_shm::queue::{Delivery, Queue};
use tieline_shm::stream::{ReadHalf, Stream, WriteHalf};
use tieline_shm::topic::{Publisher, Sample, Subscriber};
use tieline_shm::untyped::Contents;
use tieline_shm::{ErrorKind as ShmErrorKind, WaitSet, Waitable};

use super::Arrival;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{CHANNEL, Patience, Woken};

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Inbox {
    from: From,
    /// The message that came last: what is not acknowledged when we die is delivered to another.
    current: Option<Delivery<[u8]>>,
    has_ended: bool,
    sleep: Sleep,
}

#[derive(Debug)]
pub(crate) enum From {
    Queue(Queue<[u8]>),
    Topic(Box<Subscriber<[u8]>>),
}

enum Came {
    Item(Delivery<[u8]>),
    Message(Box<Sample<[u8]>>),
    End,
}

/// What a channel is waited for with, made when first needed.
#[derive(Debug, Default)]
struct Sleep(Option<Box<WaitSet>>);

impl Sleep {
    /// Waits until the channel, always the same one, is ready.
    fn wait(
        &mut self,
        channel: &impl Waitable,
        patience: Patience<'_>,
        watched: Option<BorrowedFd<'_>>,
    ) -> Result<Woken> {
        let set = match &mut self.0 {
            Some(set) => set,
            none => {
                let mut set = WaitSet::new()?;
                set.attach(channel, CHANNEL)?;
                none.insert(Box::new(set))
            }
        };
        patience.wait_for_channel(set, watched)
    }
}

impl Inbox {
    pub(crate) fn new(from: From) -> Self {
        Self { from, current: None, has_ended: false, sleep: Sleep::default() }
    }

    /// Receives into `buffer`, which becomes as long as the message.
    pub(crate) fn attempt(&mut self, buffer: &mut Vec<u8>) -> Result<Arrival> {
        // Whoever asks for the next one has done with the last one.
        self.acknowledge()?;
        if self.has_ended {
            return Ok(Arrival::End);
        }
        let Some(came) = self.receive()? else { return Ok(Arrival::Nothing) };
        buffer.clear();
        match came {
            Came::Item(item) => {
                buffer.extend_from_slice(&item);
                self.current = Some(item);
            }
            Came::Message(message) => buffer.extend_from_slice(&message),
            Came::End => {
                self.has_ended = true;
                return Ok(Arrival::End);
            }
        }
        Ok(Arrival::Message(buffer.len()))
    }

    /// Waits until another attempt is worth while.
    pub(crate) fn wait(&mut self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        self.acknowledge()?;
        if self.has_ended {
            return Ok(Woken::Ready);
        }
        match &self.from {
            From::Queue(queue) => self.sleep.wait(queue, patience, watched),
            From::Topic(topic) => self.sleep.wait(&**topic, patience, watched),
        }
    }

    fn acknowledge(&mut self) -> Result<()> {
        match self.current.take() {
            Some(item) => Ok(item.ack()?),
            None => Ok(()),
        }
    }

    fn receive(&mut self) -> Result<Option<Came>> {
        let answer = match &mut self.from {
            From::Queue(queue) => queue.try_recv().map(Came::Item),
            From::Topic(topic) => topic.try_recv().map(|sample| Came::Message(Box::new(sample))),
        };
        match answer {
            Err(error) if error.is_would_block() => Ok(None),
            // The last publisher has gone, as a writer that closes its end of a pipe.
            Err(error) if error.kind() == ShmErrorKind::PeerGone => Ok(Some(Came::End)),
            answer => Ok(answer.map(Some)?),
        }
    }
}

/// Between two looks whether the items of a queue were taken, of which nobody is told: an eighth of what was waited.
const SHORTEST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The sending end.
#[derive(Debug)]
pub(crate) struct Outbox {
    into: Into,
    /// What everybody there counts on.
    contents: Contents,
    sleep: Sleep,
}

#[derive(Debug)]
pub(crate) enum Into {
    Queue(Queue<[u8]>),
    Topic(Box<Publisher<[u8]>>),
}

impl Outbox {
    pub(crate) fn new(into: Into, contents: Contents) -> Self {
        Self { into, contents, sleep: Sleep::default() }
    }

    pub(crate) fn max_message(&self) -> Option<usize> {
        match (&self.into, self.contents.len_bytes()) {
            (_, Some(len)) => Some(len),
            (Into::Queue(queue), None) => Some(queue.payload_max_bytes()),
            (Into::Topic(_), None) => None,
        }
    }

    /// Sends without waiting; `None` if there is no room now.
    pub(crate) fn attempt(&mut self, message: &[u8]) -> Result<Option<()>> {
        if let Err(unfit) = self.contents.check(message) {
            let text = format!("cannot send a message of {} bytes: {unfit}", message.len());
            return Err(Error::new(ErrorKind::Framing, text).hint("`tieline pub --json` makes values of JSON"));
        }
        let answer = match &self.into {
            Into::Queue(queue) => queue.try_send(message),
            Into::Topic(topic) => topic.try_publish(message),
        };
        match answer {
            Ok(()) => Ok(Some(())),
            Err(error) if error.is_would_block() || error.kind() == ShmErrorKind::Full => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until another attempt is worth while; `None` where nothing tells, and it has to be asked again.
    pub(crate) fn wait(&mut self, patience: Patience<'_>) -> Option<Result<Woken>> {
        match &self.into {
            Into::Queue(queue) => Some(self.sleep.wait(&queue.room(), patience, None)),
            Into::Topic(_) => None,
        }
    }

    /// Waits until nothing that was sent depends on us: a queue lives only while somebody has it open, so its items
    /// would be lost if we left before they are taken. A topic's subscribers have what was published.
    pub(crate) fn linger(&self, patience: Patience<'_>) -> Result<()> {
        let Into::Queue(queue) = &self.into else { return Ok(()) };
        let (mut pause, mut waited) = (SHORTEST_PAUSE, Duration::ZERO);
        loop {
            let left = queue.counters().waiting;
            if left == 0 {
                return Ok(());
            }
            let kind = match patience.nap(pause)? {
                Woken::Stopped => ErrorKind::Stopped,
                Woken::TimedOut if left == queue.counters().waiting => ErrorKind::TimedOut,
                _ => {
                    waited += pause;
                    pause = (waited / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                    continue;
                }
            };
            let (were, are) = if left == 1 { ("was", "it is") } else { ("were", "they are") };
            let text = format!("cannot leave the queue: {left} of its items {were} not taken by anybody");
            return Err(Error::new(kind, text).hint(format!("{are} lost when nobody has it open any more")));
        }
    }
}

/// The half of a stream that is read.
#[derive(Debug)]
pub(crate) struct StreamSource {
    half: ReadHalf,
    sleep: Mutex<Sleep>,
}

impl StreamSource {
    /// Reads what is there, 0 at the end; `None` if nothing is there now.
    pub(crate) fn attempt(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        if_now(self.half.try_read(buffer))
    }

    pub(crate) fn wait(&self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        let mut sleep = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        sleep.wait(&self.half, patience, watched)
    }
}

/// The half of a stream that is written.
#[derive(Debug)]
pub(crate) struct StreamSink {
    half: WriteHalf,
    sleep: Mutex<Sleep>,
}

impl StreamSink {
    /// Writes what fits; `None` if nothing does now.
    pub(crate) fn attempt(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        if_now(self.half.try_write(bytes))
    }

    pub(crate) fn wait(&self, patience: Patience<'_>) -> Result<Woken> {
        let mut sleep = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        sleep.wait(&self.half, patience, None)
    }

    /// Says that nothing more will come.
    pub(crate) fn shutdown(&mut self) {
        self.half.shutdown();
    }

    /// Shows a hang-up when the peer is gone.
    pub(crate) fn peer(&self) -> BorrowedFd<'_> {
        self.half.peer()
    }
}

/// Both halves of a stream.
pub(crate) fn halves(stream: Stream) -> (StreamSource, StreamSink) {
    let (read, write) = stream.split();
    (StreamSource { half: read, sleep: Mutex::default() }, StreamSink { half: write, sleep: Mutex::default() })
}

fn if_now<T>(answer: tieline_shm::Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_would_block() => Ok(None),
        answer => Ok(answer.map(Some)?),
    }
}

impl std::convert::From<tieline_shm::Error> for Error {
    fn from(error: tieline_shm::Error) -> Self {
        let kind = match error.kind() {
            ShmErrorKind::InvalidInput | ShmErrorKind::Mismatch => ErrorKind::InvalidInput,
            ShmErrorKind::TooLarge => ErrorKind::TooLarge,
            ShmErrorKind::WouldBlock => ErrorKind::WouldBlock,
            ShmErrorKind::TimedOut => ErrorKind::TimedOut,
            ShmErrorKind::PeerGone | ShmErrorKind::OwnerDied => ErrorKind::PeerGone,
            ShmErrorKind::NotFound => ErrorKind::System(OsErrorKind::NotFound),
            ShmErrorKind::AlreadyExists => ErrorKind::System(OsErrorKind::AlreadyExists),
            ShmErrorKind::PermissionDenied => ErrorKind::System(OsErrorKind::PermissionDenied),
            ShmErrorKind::Full | ShmErrorKind::LimitReached | ShmErrorKind::Lagged => {
                ErrorKind::System(OsErrorKind::LimitReached)
            }
            ShmErrorKind::OutOfMemory => ErrorKind::System(OsErrorKind::OutOfMemory),
            ShmErrorKind::Unsupported => ErrorKind::System(OsErrorKind::Unsupported),
            _ => ErrorKind::System(OsErrorKind::Other),
        };
        Self::new(kind, error.to_string())
    }
}
