//! Channels of `tieline-shm` as message endpoints: a queue or a topic, of bytes or of a type we were not compiled with.
//!
//! The invariant: what leaves here is what the channel carries, because everybody else at the channel counts on it; and
//! no wait is longer than a slice without looking whether somebody asks to stop.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tieline_os::ErrorKind as OsErrorKind;
use tieline_shm::ErrorKind as ShmErrorKind;
use tieline_shm::queue::{Delivery, Queue};
use tieline_shm::topic::{Publisher, Sample, Subscriber};
use tieline_shm::untyped::Contents;

use super::Arrival;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{Patience, Woken};

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Inbox {
    from: From,
    /// The message that came last: what is not acknowledged when we die is delivered to another.
    current: Option<Delivery<[u8]>>,
    /// What came while we waited.
    early: Option<Came>,
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

impl std::fmt::Debug for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::End) { "End" } else { "Message" })
    }
}

impl Inbox {
    pub(crate) fn new(from: From) -> Self {
        Self { from, current: None, early: None }
    }

    /// Receives into `buffer`, which becomes as long as the message.
    pub(crate) fn attempt(&mut self, buffer: &mut Vec<u8>) -> Result<Arrival> {
        // Whoever asks for the next one has done with the last one.
        self.acknowledge()?;
        let came = match self.early.take() {
            Some(came) => came,
            None => match self.receive(Duration::ZERO)? {
                Some(came) => came,
                None => return Ok(Arrival::Nothing),
            },
        };
        buffer.clear();
        match came {
            Came::Item(item) => {
                buffer.extend_from_slice(&item);
                self.current = Some(item);
            }
            Came::Message(message) => buffer.extend_from_slice(&message),
            Came::End => {
                self.early = Some(Came::End);
                return Ok(Arrival::End);
            }
        }
        Ok(Arrival::Message(buffer.len()))
    }

    /// Waits until there is something, and keeps it for the next attempt.
    pub(crate) fn wait(&mut self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        self.acknowledge()?;
        if self.early.is_some() {
            return Ok(Woken::Ready);
        }
        patience.in_pieces(watched, |piece| {
            self.early = self.receive(piece)?;
            Ok(self.early.is_some())
        })
    }

    fn acknowledge(&mut self) -> Result<()> {
        match self.current.take() {
            Some(item) => Ok(item.ack()?),
            None => Ok(()),
        }
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Came>> {
        let answer = match &mut self.from {
            From::Queue(queue) if timeout.is_zero() => queue.try_recv().map(Came::Item),
            From::Queue(queue) => queue.recv_timeout(timeout).map(Came::Item),
            From::Topic(topic) if timeout.is_zero() => topic.try_recv().map(|sample| Came::Message(Box::new(sample))),
            From::Topic(topic) => topic.recv_timeout(timeout).map(|sample| Came::Message(Box::new(sample))),
        };
        match answer {
            Err(error) if error.is_would_block() || error.is_timeout() => Ok(None),
            // The last publisher has gone, as a writer that closes its end of a pipe.
            Err(error) if error.kind() == ShmErrorKind::PeerGone => Ok(Some(Came::End)),
            answer => Ok(answer.map(Some)?),
        }
    }
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Outbox {
    into: Into,
    /// What everybody there counts on.
    contents: Contents,
}

#[derive(Debug)]
pub(crate) enum Into {
    Queue(Queue<[u8]>),
    Topic(Box<Publisher<[u8]>>),
}

impl Outbox {
    pub(crate) fn new(into: Into, contents: Contents) -> Self {
        Self { into, contents }
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

    /// Waits until nothing that was sent depends on us: a queue lives only while somebody has it open, so its items
    /// would be lost if we left before they are taken. A topic's subscribers have what was published.
    pub(crate) fn linger(&self, patience: Patience<'_>) -> Result<()> {
        let Into::Queue(queue) = &self.into else { return Ok(()) };
        let mut pause = Duration::from_micros(200);
        loop {
            let left = queue.counters().waiting;
            if left == 0 {
                return Ok(());
            }
            let kind = match patience.nap(pause)? {
                Woken::Stopped => ErrorKind::Stopped,
                Woken::TimedOut if left == queue.counters().waiting => ErrorKind::TimedOut,
                _ => {
                    pause = (pause * 2).min(Duration::from_millis(20));
                    continue;
                }
            };
            let text = format!("cannot leave the queue: {left} of its items were not taken by anybody");
            return Err(Error::new(kind, text).hint("they are lost when nobody has it open any more"));
        }
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
