//! Messages over anything: a message endpoint's own, or bytes with a framing.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Arrival, ByteSink, ByteSource, MessageSink, MessageSource, Sink, Source, at_most};
use crate::error::Result;
use crate::frame::{Decoder, Encoder, Framing};
use crate::stop::{Patience, Stop, Woken};

/// Receives messages.
#[derive(Debug)]
pub struct Receiver(From);

#[derive(Debug)]
enum From {
    Bytes { source: ByteSource, decoder: Decoder, ended: bool },
    Messages { source: MessageSource, count: u64 },
}

/// Where a message is, until the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Message(Range<usize>),
    Nothing,
    End,
}

impl Receiver {
    /// Messages from a half; `framing` counts only where it carries bytes.
    #[must_use]
    pub fn new(source: Source, framing: Framing) -> Self {
        Self(match source {
            Source::Bytes(source) => From::Bytes { source, decoder: Decoder::new(framing), ended: false },
            Source::Messages(source) => From::Messages { source, count: 0 },
        })
    }

    /// Receives a message, waiting until there is one; `None` if no more will come.
    ///
    /// # Errors
    /// `TooLarge` or `Framing` for what is no message; otherwise as [`ByteSource::read`] and [`MessageSource::recv`].
    pub fn recv(&mut self) -> Result<Option<&[u8]>> {
        self.recv_patiently(Patience::default())
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, and nothing is lost; as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<&[u8]>> {
        self.recv_patiently(at_most(timeout))
    }

    /// As [`recv`](Self::recv), until asked to stop or, with a `timeout`, for at most so long.
    ///
    /// # Errors
    /// `Stopped` and `TimedOut`, and nothing is lost; as [`recv`](Self::recv).
    pub fn recv_until(&mut self, stop: &Stop, timeout: Option<Duration>) -> Result<Option<&[u8]>> {
        self.recv_patiently(Patience::new(Some(stop), timeout))
    }

    fn recv_patiently(&mut self, patience: Patience<'_>) -> Result<Option<&[u8]>> {
        loop {
            match self.attempt()? {
                Next::Message(range) => return Ok(Some(self.message(range))),
                Next::End => return Ok(None),
                Next::Nothing => self.wait(patience, None)?.or_else_error("receive a message")?,
            }
        }
    }

    pub(crate) fn attempt(&mut self) -> Result<Next> {
        match &mut self.0 {
            From::Messages { source, count } => {
                match source.attempt_recv().map_err(|error| error.at_message(*count + 1))? {
                    Arrival::Message(len) => {
                        *count += 1;
                        Ok(Next::Message(0..len))
                    }
                    Arrival::Nothing => Ok(Next::Nothing),
                    Arrival::End => Ok(Next::End),
                }
            }
            From::Bytes { source, decoder, ended } => loop {
                if let Some(range) = decoder.next_range()? {
                    return Ok(Next::Message(range));
                }
                if *ended {
                    return Ok(decoder.finish_range()?.map_or(Next::End, Next::Message));
                }
                match source.attempt_read(decoder.space())? {
                    None => return Ok(Next::Nothing),
                    Some(0) => *ended = true,
                    Some(count) => decoder.filled(count),
                }
            },
        }
    }

    pub(crate) fn message(&self, range: Range<usize>) -> &[u8] {
        match &self.0 {
            From::Messages { source, .. } => source.message(range.end),
            From::Bytes { decoder, .. } => decoder.message(range),
        }
    }

    pub(crate) fn wait(&mut self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        match &mut self.0 {
            From::Bytes { source, .. } => source.wait(patience, watched),
            From::Messages { source, .. } => source.wait(patience, watched),
        }
    }

    /// Bytes that came in and are no whole message yet.
    pub(crate) fn rest(&self) -> &[u8] {
        match &self.0 {
            From::Bytes { decoder, .. } => decoder.rest(),
            From::Messages { .. } => &[],
        }
    }

    /// Adds the whole messages among them to `whole`, and says how many bytes are left of one that has not come whole.
    /// Nothing can be received afterwards.
    pub(crate) fn count_rest(&mut self, whole: &mut Amount) -> u64 {
        let From::Bytes { decoder, ended, .. } = &mut self.0 else { return 0 };
        while let Ok(Some(range)) = decoder.next_range() {
            whole.add(range.len());
        }
        if *ended && let Ok(Some(range)) = decoder.finish_range() {
            whole.add(range.len());
        }
        decoder.pending() as u64
    }

    /// Closes it: a connected sender is told that nobody receives any more.
    pub fn finish(self) {
        match self.0 {
            From::Bytes { source, .. } => source.finish(),
            From::Messages { source, .. } => source.finish(),
        }
    }
}

/// Sends messages.
#[derive(Debug)]
pub struct Sender {
    to: To,
    /// Messages that have gone out whole.
    count: u64,
    /// Those of them that nobody has asked for yet.
    gone: Amount,
}

#[derive(Debug)]
enum To {
    Bytes(Framed),
    Messages(MessageSink),
}

/// Messages on their way into a byte stream: several small ones go with one system call.
#[derive(Debug)]
struct Framed {
    sink: ByteSink,
    encoder: Encoder,
    waiting: Vec<u8>,
    /// How much of `waiting` the sink has taken.
    taken: usize,
    /// Where each message in `waiting` ends, and how long it was before framing.
    ends: VecDeque<(usize, usize)>,
}

/// Messages, and their bytes without framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// Counts one message more.
    pub(crate) fn add(&mut self, len: usize) {
        self.messages += 1;
        self.bytes += len as u64;
    }
}

/// From this many bytes on, what waits is sent before more is taken.
const BATCH: usize = 64 << 10;

impl Sender {
    /// Messages into a half; `framing` counts only where it carries bytes.
    #[must_use]
    pub fn new(sink: Sink, framing: Framing) -> Self {
        let to = match sink {
            Sink::Bytes(sink) => To::Bytes(Framed {
                sink,
                encoder: Encoder::new(framing),
                waiting: Vec::new(),
                taken: 0,
                ends: VecDeque::new(),
            }),
            Sink::Messages(sink) => To::Messages(sink),
        };
        Self { to, count: 0, gone: Amount::default() }
    }

    /// Sends a message, waiting until there is room for it.
    ///
    /// # Errors
    /// `TooLarge` or `Framing` if it cannot be sent so; otherwise as [`ByteSink::write_all`] and [`MessageSink::send`].
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        self.send_patiently(message, Patience::default())
    }

    /// As [`send`](Self::send), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`: over a byte stream a part of the message may have gone, and the next call sends the rest first; as
    /// [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<()> {
        self.send_patiently(message, at_most(timeout))
    }

    fn send_patiently(&mut self, message: &[u8], patience: Patience<'_>) -> Result<()> {
        while !self.accept(message)? {
            self.wait(patience)?.or_else_error("send a message")?;
        }
        while !self.attempt_flush()? {
            self.wait(patience)?.or_else_error("send a message")?;
        }
        Ok(())
    }

    /// Takes a message if there is room, and says whether. It may wait here until the next [`attempt_flush`].
    ///
    /// [`attempt_flush`]: Self::attempt_flush
    pub(crate) fn accept(&mut self, message: &[u8]) -> Result<bool> {
        match &mut self.to {
            To::Messages(sink) => {
                let sent = sink.attempt_send(message).map_err(|error| error.at_message(self.count + 1))?.is_some();
                if sent {
                    self.count += 1;
                    self.gone.add(message.len());
                }
                Ok(sent)
            }
            To::Bytes(framed) => {
                if framed.waiting.len() - framed.taken >= BATCH {
                    framed.attempt_flush(&mut self.gone)?;
                    if framed.waiting.len() - framed.taken >= BATCH {
                        return Ok(false);
                    }
                }
                framed.encoder.encode(message)?.append_to(&mut framed.waiting);
                framed.ends.push_back((framed.waiting.len(), message.len()));
                Ok(true)
            }
        }
    }

    /// Sends what waits, as far as there is room; says whether nothing waits any more.
    pub(crate) fn attempt_flush(&mut self) -> Result<bool> {
        match &mut self.to {
            To::Messages(_) => Ok(true),
            To::Bytes(framed) => {
                framed.attempt_flush(&mut self.gone)?;
                Ok(framed.waiting.is_empty())
            }
        }
    }

    /// What has gone out since the last time this was asked.
    pub(crate) fn take_gone(&mut self) -> Amount {
        std::mem::take(&mut self.gone)
    }

    /// As [`Encoder::divided`].
    pub(crate) fn divided(&self) -> u64 {
        match &self.to {
            To::Messages(_) => 0,
            To::Bytes(framed) => framed.encoder.divided(),
        }
    }

    /// What waits to be sent, and which messages: the first of them may have gone in part.
    pub(crate) fn waiting(&self) -> (&[u8], Amount) {
        let mut amount = Amount::default();
        match &self.to {
            To::Messages(_) => (&[], amount),
            To::Bytes(framed) => {
                framed.ends.iter().for_each(|(_, len)| amount.add(*len));
                (&framed.waiting[framed.taken..], amount)
            }
        }
    }

    pub(crate) fn wait(&mut self, patience: Patience<'_>) -> Result<Woken> {
        match &mut self.to {
            To::Bytes(framed) => framed.sink.wait(patience),
            To::Messages(sink) => sink.wait(patience),
        }
    }

    /// As [`ByteSink::settle`].
    pub(crate) fn settle(&self, patience: Patience<'_>) {
        if let To::Bytes(framed) = &self.to {
            framed.sink.settle(patience);
        }
    }

    /// As [`MessageSink::linger`].
    pub(crate) fn linger(&self, patience: Patience<'_>) -> Result<()> {
        match &self.to {
            To::Bytes(_) => Ok(()),
            To::Messages(sink) => sink.linger(patience),
        }
    }

    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.to {
            To::Bytes(framed) => framed.sink.watched(),
            To::Messages(sink) => sink.watched(),
        }
    }

    /// Says that nothing more will come, where that can be said.
    ///
    /// # Errors
    /// As [`ByteSink::finish`].
    pub fn finish(mut self) -> Result<()> {
        self.close()
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        self.close_confirmed(None)
    }

    /// As [`ByteSink::leave_as_it_was`].
    pub(crate) fn leave_as_it_was(&mut self) {
        if let To::Bytes(framed) = &mut self.to {
            framed.sink.leave_as_it_was();
        }
    }

    /// As [`ByteSink::close_confirmed`].
    pub(crate) fn close_confirmed(&mut self, patience: Option<Patience<'_>>) -> Result<()> {
        match &mut self.to {
            To::Bytes(framed) => framed.sink.close_confirmed(patience),
            To::Messages(sink) => {
                sink.close();
                Ok(())
            }
        }
    }
}

impl Framed {
    /// Writes what waits, as far as there is room, and adds to `gone` what has gone out whole, even if it fails.
    fn attempt_flush(&mut self, gone: &mut Amount) -> Result<()> {
        let answer = self.write();
        while let Some(&(end, len)) = self.ends.front()
            && end <= self.taken
        {
            gone.add(len);
            self.ends.pop_front();
        }
        if self.taken == self.waiting.len() {
            self.waiting.clear();
            self.taken = 0;
        }
        answer
    }

    fn write(&mut self) -> Result<()> {
        while self.taken < self.waiting.len() {
            match self.sink.attempt_write(&self.waiting[self.taken..])? {
                None => break,
                Some(count) => self.taken += count,
            }
        }
        Ok(())
    }
}
