//! The two halves of an endpoint that keeps message boundaries.
//!
//! The invariant: a message is taken whole or not at all. One that is longer than the room for it is an error that
//! names both lengths, never a shortened message.

use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tieline_os::poll::Interest;
use tieline_os::posix::mq::MessageQueue;
use tieline_os::sysv::msg::{self as sysv, MessageType, Oversized, Selector};
use tieline_os::{udp, unix};

use super::bytes::if_now;
use super::shm::{Inbox, Outbox};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{Patience, Woken};

/// The half of a message endpoint that receives.
#[derive(Debug)]
pub struct MessageSource {
    input: Input,
    buffer: Vec<u8>,
    naps: Naps,
}

/// The half of a message endpoint that sends.
#[derive(Debug)]
pub struct MessageSink {
    output: Output,
    naps: Naps,
}

#[derive(Debug)]
pub(super) enum Input {
    Udp(Arc<udp::Socket>, Option<Answers<SocketAddr>>),
    Datagram(Arc<unix::Datagram>, Option<Answers<unix::Address>>),
    SeqPacket(Arc<unix::SeqPacket>),
    Mq(Arc<Queue>),
    Shm(Box<Inbox>),
    Sysv(sysv::MessageQueue, Selector),
}

#[derive(Debug)]
pub(super) enum Output {
    Udp(Arc<udp::Socket>, Option<Answers<SocketAddr>>),
    Datagram(Arc<unix::Datagram>, Option<Answers<unix::Address>>),
    SeqPacket(Arc<unix::SeqPacket>),
    Mq(Arc<Queue>, u32),
    Shm(Box<Outbox>),
    Sysv(sysv::MessageQueue, MessageType),
    Closed,
}

/// Who sent last: the one that a socket without a connection answers.
pub(super) type Answers<A> = Arc<Mutex<Option<A>>>;

/// A POSIX queue and the name it was opened by.
pub(super) struct Queue(pub(super) MessageQueue);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("attributes", &self.0.attributes()).finish()
    }
}

/// What an attempt to receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A message of this length, in the buffer.
    Message(usize),
    /// Nothing now.
    Nothing,
    /// No more will come.
    End,
}

/// Pauses between questions to what cannot be polled: short at first, and never so long that anybody would notice.
#[derive(Debug, Default)]
struct Naps {
    waited: Duration,
}

impl Naps {
    const SHORTEST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(10);

    fn take(&mut self, patience: Patience<'_>) -> Result<Woken> {
        let pause = (self.waited / 8).clamp(Self::SHORTEST, Self::LONGEST);
        self.waited += pause;
        patience.nap(pause)
    }
}

impl MessageSource {
    /// `largest` is the longest message that can be received.
    pub(super) fn new(input: Input, largest: usize) -> Self {
        Self { input, buffer: vec![0; largest], naps: Naps::default() }
    }

    /// Receives a message, waiting until there is one; `None` if no more will come.
    ///
    /// # Errors
    /// `TooLarge` for a message that is longer than the largest that can be received; `PeerGone` if the connection
    /// broke; `System` for what else the kernel refuses.
    pub fn recv(&mut self) -> Result<Option<&[u8]>> {
        self.recv_patiently(Patience::default())
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<&[u8]>> {
        self.recv_patiently(Patience::new(None, Some(timeout)))
    }

    pub(crate) fn recv_patiently(&mut self, patience: Patience<'_>) -> Result<Option<&[u8]>> {
        loop {
            match self.attempt_recv()? {
                Arrival::Message(len) => return Ok(Some(&self.buffer[..len])),
                Arrival::End => return Ok(None),
                Arrival::Nothing => self.wait(patience, None)?.or_else_error("receive a message")?,
            }
        }
    }

    /// Receives without waiting.
    pub(crate) fn attempt_recv(&mut self) -> Result<Arrival> {
        if let Input::Shm(inbox) = &mut self.input {
            return inbox.attempt(&mut self.buffer);
        }
        let buffer = self.buffer.as_mut_slice();
        let room = buffer.len();
        // What came, and how long it was.
        let lengths = match &self.input {
            Input::Udp(socket, None) => if_now(socket.try_recv(buffer))?.map(|packet| (packet.len, packet.full_len)),
            Input::Udp(socket, Some(answers)) => if_now(socket.try_recv_from(buffer))?.map(|(packet, sender)| {
                remember(answers, sender);
                (packet.len, packet.full_len)
            }),
            Input::Datagram(socket, None) => {
                if_now(socket.try_recv(buffer))?.map(|packet| (packet.len, packet.full_len))
            }
            Input::Datagram(socket, Some(answers)) => if_now(socket.try_recv_from(buffer))?.map(|(packet, sender)| {
                remember(answers, sender);
                (packet.len, packet.full_len)
            }),
            Input::SeqPacket(socket) => match if_now(socket.try_recv(buffer))? {
                Some(None) => return Ok(Arrival::End),
                answer => answer.flatten().map(|packet| (packet.len, packet.full_len)),
            },
            Input::Mq(queue) => if_now(queue.0.try_receive(buffer))?.map(|message| (message.len, message.len)),
            Input::Shm(_) => None,
            Input::Sysv(queue, selector) => if_now(queue.try_receive(*selector, Oversized::Refuse, buffer))?
                .map(|message| (message.len, message.len)),
        };
        match lengths {
            None => Ok(Arrival::Nothing),
            Some((len, full_len)) if full_len > len => {
                let text = format!("a message of {full_len} bytes came, the largest that can be received is {room}");
                Err(Error::new(ErrorKind::TooLarge, text).hint("raise message-size; the message is lost"))
            }
            Some((len, _)) => {
                self.naps = Naps::default();
                Ok(Arrival::Message(len))
            }
        }
    }

    /// The first `len` bytes of the message that came last.
    pub(crate) fn message(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }

    /// Waits until receiving is worth another attempt, and meanwhile for `watched` to fail.
    pub(crate) fn wait(&mut self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        if let Input::Shm(inbox) = &mut self.input {
            return inbox.wait(patience, watched);
        }
        let fd = match &self.input {
            Input::Udp(socket, _) => socket.as_fd(),
            Input::Datagram(socket, _) => socket.as_fd(),
            Input::SeqPacket(socket) => socket.as_fd(),
            Input::Mq(queue) => queue.0.as_fd(),
            Input::Shm(_) | Input::Sysv(..) => return self.naps.take(patience),
        };
        patience.wait(Some(fd), Interest::READABLE, watched)
    }

    /// Closes it: a connected sender is told that nobody receives any more.
    pub fn finish(self) {
        if let Input::SeqPacket(socket) = &self.input {
            let _ = socket.shutdown(net::Shutdown::Read);
        }
    }
}

impl MessageSink {
    pub(super) fn new(output: Output) -> Self {
        Self { output, naps: Naps::default() }
    }

    /// Sends a message, waiting until there is room for it.
    ///
    /// # Errors
    /// `TooLarge` if it is longer than the endpoint takes; `PeerGone` if nobody is there to receive; `InvalidInput` if
    /// nobody has written to us yet whom we could answer; `System` for what else the kernel refuses.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        self.send_patiently(message, Patience::default())
    }

    /// As [`send`](Self::send), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, and then nothing was sent; as [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<()> {
        self.send_patiently(message, Patience::new(None, Some(timeout)))
    }

    pub(crate) fn send_patiently(&mut self, message: &[u8], patience: Patience<'_>) -> Result<()> {
        while self.attempt_send(message)?.is_none() {
            self.wait(patience)?.or_else_error("send a message")?;
        }
        Ok(())
    }

    /// The longest message it takes, if that is known.
    #[must_use]
    pub fn max_message(&self) -> Option<usize> {
        // A Unix socket takes what fits its send buffer with a little of the kernel's own.
        let buffered = |bytes: tieline_os::Result<usize>| bytes.ok().map(|bytes| bytes.saturating_sub(32));
        match &self.output {
            Output::Udp(..) => Some(udp::Socket::MAX_BYTES),
            Output::Datagram(socket, _) => buffered(socket.send_buffer_bytes()),
            Output::SeqPacket(socket) => buffered(socket.send_buffer_bytes()),
            Output::Mq(queue, _) => Some(queue.0.message_size()),
            Output::Sysv(queue, _) => {
                let limit = sysv::limits().ok()?.message_max_bytes;
                let capacity = queue.stat().ok().and_then(|stat| usize::try_from(stat.capacity_bytes).ok());
                Some(capacity.map_or(limit, |capacity| capacity.min(limit)))
            }
            Output::Shm(outbox) => outbox.max_message(),
            Output::Closed => None,
        }
    }

    /// Sends without waiting; `None` if there is no room now.
    pub(crate) fn attempt_send(&mut self, message: &[u8]) -> Result<Option<()>> {
        if let Output::Shm(outbox) = &mut self.output {
            return outbox.attempt(message);
        }
        let answer = match &self.output {
            Output::Udp(socket, None) => socket.try_send(message),
            Output::Udp(socket, Some(answers)) => socket.try_send_to(message, who_to_answer(answers)?),
            Output::Datagram(socket, None) => socket.try_send(message),
            Output::Datagram(socket, Some(answers)) => socket.try_send_to(message, &who_to_answer(answers)?),
            Output::SeqPacket(socket) => socket.try_send(message),
            Output::Mq(queue, priority) => queue.0.try_send(message, *priority),
            Output::Sysv(queue, kind) => queue.try_send(*kind, message),
            Output::Shm(_) | Output::Closed => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "cannot send a message: the endpoint was finished before",
                ));
            }
        };
        match if_now(answer) {
            Err(error) if error.kind() == ErrorKind::TooLarge => Err(self.too_large(message.len())),
            Ok(Some(())) => {
                self.naps = Naps::default();
                Ok(Some(()))
            }
            // A message above the queue's capacity would wait for ever; worth asking only now that it would wait.
            Ok(None) if self.exceeds_capacity(message.len()) => Err(self.too_large(message.len())),
            answer => answer,
        }
    }

    fn exceeds_capacity(&self, len: usize) -> bool {
        matches!(self.output, Output::Sysv(..)) && self.max_message().is_some_and(|limit| len > limit)
    }

    fn too_large(&self, len: usize) -> Error {
        let limit = self.max_message().map_or_else(|| "less".to_owned(), |limit| limit.to_string());
        let text = format!("a message of {len} bytes cannot be sent: the largest the endpoint takes is {limit}");
        let how = match &self.output {
            Output::Mq(..) => "create the queue with a larger message-size",
            Output::Sysv(..) => "raise the queue's capacity, or kernel.msgmax",
            Output::Datagram(..) | Output::SeqPacket(_) => "raise the socket's capacity",
            Output::Udp(..) | Output::Shm(_) | Output::Closed => "send it in parts, or over a stream",
        };
        Error::new(ErrorKind::TooLarge, text).hint(how)
    }

    /// Waits until sending is worth another attempt.
    pub(crate) fn wait(&mut self, patience: Patience<'_>) -> Result<Woken> {
        if let Output::Shm(outbox) = &mut self.output
            && let Some(woken) = outbox.wait(patience)
        {
            return woken;
        }
        match self.output.fd() {
            Some(fd) => patience.wait(Some(fd), Interest::WRITABLE, None),
            None => self.naps.take(patience),
        }
    }

    /// What shows that nobody receives any more, while nothing is sent.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.output {
            Output::SeqPacket(socket) => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// Waits until what was sent does not depend on us any more.
    ///
    /// # Errors
    /// `TimedOut`, `Stopped`: how much depends on us still.
    pub(crate) fn linger(&self, patience: Patience<'_>) -> Result<()> {
        match &self.output {
            Output::Shm(outbox) => outbox.linger(patience),
            _ => Ok(()),
        }
    }

    /// Says that nothing more will come, where that can be said.
    pub fn finish(mut self) {
        self.close();
    }

    pub(crate) fn close(&mut self) {
        if let Output::SeqPacket(socket) = std::mem::replace(&mut self.output, Output::Closed) {
            let _ = socket.shutdown(net::Shutdown::Write);
        }
    }
}

impl Output {
    /// What can be polled for room; a System V queue cannot.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Udp(socket, _) => Some(socket.as_fd()),
            Self::Datagram(socket, _) => Some(socket.as_fd()),
            Self::SeqPacket(socket) => Some(socket.as_fd()),
            Self::Mq(queue, _) => Some(queue.0.as_fd()),
            Self::Shm(_) | Self::Sysv(..) | Self::Closed => None,
        }
    }
}

fn remember<A>(answers: &Answers<A>, sender: A) {
    *answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
}

fn who_to_answer<A: Clone>(answers: &Answers<A>) -> Result<A> {
    answers.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
        let text = "cannot send a message: nobody has written to this address yet, so there is nobody to answer";
        Error::new(ErrorKind::InvalidInput, text)
    })
}
