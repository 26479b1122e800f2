//! Cutting a byte stream into messages.

use std::ops::Range;

use super::error::{FrameError, FrameErrorKind};
use super::{ByteOrder, Framing, Marks, Width};

/// How much is read at once where the framing does not ask for more: one pipe's worth.
const READ_AHEAD: usize = 64 << 10;
/// The least space worth a read; with less, what is held moves to the front or the buffer grows.
const LEAST_READ: usize = READ_AHEAD / 2;

/// Cuts a byte stream into messages, however the stream is chopped.
///
/// Bytes go in by [`space`](Self::space) and [`filled`](Self::filled) (to read straight into the decoder) or by
/// [`push`](Self::push); messages come out of [`next_message`](Self::next_message) until it has none, and when the
/// stream has ended, the last one out of [`finish`](Self::finish).
///
/// ```
/// use tieline_transport::frame::{Decoder, Framing};
/// let mut decoder = Decoder::new(Framing::line());
/// decoder.push(b"one\ntwo\nthr");
/// assert_eq!(decoder.next_message().unwrap(), Some(&b"one"[..]));
/// assert_eq!(decoder.next_message().unwrap(), Some(&b"two"[..]));
/// assert_eq!(decoder.next_message().unwrap(), None);
/// decoder.push(b"ee");
/// assert_eq!(decoder.next_message().unwrap(), None);
/// assert_eq!(decoder.finish().unwrap(), Some(&b"three"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    framing: Framing,
    /// `start..end` came in and has not gone out; behind `end` is space.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How far behind `start` there is known to be no delimiter.
    searched: usize,
    count: u64,
    failed: Option<FrameError>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), start: 0, end: 0, searched: 0, count: 0, failed: None }
    }

    /// How many messages have come out.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes have come in that belong to no message yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Room to read into; tell [`filled`](Self::filled) how much of it was used.
    ///
    /// It is never empty if [`next_message`](Self::next_message) has been called until it had none.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end, self.searched) = (0, 0, 0);
        }
        let bound = self.bound();
        if self.buffer.len() - self.end < LEAST_READ.min(bound - self.pending()) {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.pending());
            }
            // Room grows with what has really come, never with what a length promises.
            let grown = (self.end + READ_AHEAD).max(2 * self.end).min(bound);
            if self.buffer.len() < grown {
                // Exactly, or the vector would take up to twice the bound.
                self.buffer.reserve_exact(grown - self.buffer.len());
                self.buffer.resize(grown, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Takes over the first `len` bytes of the last [`space`](Self::space).
    ///
    /// # Panics
    /// If there was less space.
    pub fn filled(&mut self, len: usize) {
        assert!(len <= self.buffer.len() - self.end, "more than there was space for");
        self.end += len;
    }

    /// Copies in as much of `bytes` as there is room for and returns how much that was; less than all only if
    /// messages wait to be taken out.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let space = self.space();
            let len = space.len().min(bytes.len() - taken);
            if len == 0 {
                break;
            }
            space[..len].copy_from_slice(&bytes[taken..taken + len]);
            self.filled(len);
            taken += len;
        }
        taken
    }

    /// The next whole message, without its marks; `None` when more bytes are needed.
    ///
    /// # Errors
    /// `TooLong`, as soon as that is certain. The decoder stays failed.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.next_range()?.map(|range| &self.buffer[range]))
    }

    /// The last message of a stream that has ended, to be asked when [`next_message`](Self::next_message) has none.
    ///
    /// # Errors
    /// `Truncated` if the stream ended inside a message whose length was promised.
    pub fn finish(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.finish_range()?.map(|range| &self.buffer[range]))
    }

    /// The bytes that belong to no message yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The message that [`next_range`](Self::next_range) has just said.
    pub(crate) fn message(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// As [`next_message`](Self::next_message), as a range for [`message`](Self::message), which borrows less.
    pub(crate) fn next_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.framing.marks() {
            Marks::None => Ok(self.next_chunk()),
            Marks::Whole if self.pending() > self.framing.max_len() => {
                let (len, limit) = (self.pending() as u64, self.framing.max_len());
                Err(self.fail(FrameErrorKind::TooLong { len, limit }))
            }
            Marks::Whole => Ok(None),
            Marks::Delimiter(delimiter) => self.next_delimited(delimiter),
            Marks::Length(width, order) => self.next_measured(width, order),
        }
    }

    /// As [`finish`](Self::finish), as a range.
    pub(crate) fn finish_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let have = self.pending();
        match self.framing.marks() {
            _ if have == 0 => Ok(None),
            Marks::None | Marks::Whole | Marks::Delimiter(_) => Ok(Some(self.take(0, have, 0))),
            Marks::Length(width, order) => {
                let head = width.len_bytes();
                let expected = self.length(width, order).and_then(|len| usize::try_from(len).ok());
                let have = if expected.is_some() { have - head } else { have };
                Err(self.fail(FrameErrorKind::Truncated { have, expected }))
            }
        }
    }

    fn next_chunk(&mut self) -> Option<Range<usize>> {
        let len = self.pending().min(self.framing.max_len());
        (len > 0).then(|| self.take(0, len, 0))
    }

    fn next_delimited(&mut self, delimiter: u8) -> Result<Option<Range<usize>>, FrameError> {
        let unknown = &self.buffer[self.start + self.searched..self.end];
        let limit = self.framing.max_len();
        let found = find(delimiter, unknown).map(|index| self.searched + index);
        let len = found.unwrap_or_else(|| self.pending());
        if len > limit {
            return Err(self.fail(FrameErrorKind::TooLong { len: len as u64, limit }));
        }
        if found.is_none() {
            self.searched = len;
            return Ok(None);
        }
        Ok(Some(self.take(0, len, 1)))
    }

    fn next_measured(&mut self, width: Width, order: ByteOrder) -> Result<Option<Range<usize>>, FrameError> {
        let Some(len) = self.length(width, order) else { return Ok(None) };
        let limit = self.framing.max_len();
        let Some(short) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
            return Err(self.fail(FrameErrorKind::TooLong { len, limit }));
        };
        let head = width.len_bytes();
        let whole = self.pending() - head >= short;
        Ok(whole.then(|| self.take(head, short, 0)))
    }

    /// The length at the start of what is pending, if all its bytes are there.
    fn length(&self, width: Width, order: ByteOrder) -> Option<u64> {
        let bytes = self.buffer[self.start..self.end].get(..width.len_bytes())?;
        let shift = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(match order {
            ByteOrder::Big => bytes.iter().fold(0, shift),
            ByteOrder::Little => bytes.iter().rev().fold(0, shift),
        })
    }

    /// Hands out `len` bytes after `head` and forgets them with `tail` more.
    fn take(&mut self, head: usize, len: usize, tail: usize) -> Range<usize> {
        let from = self.start + head;
        self.start = from + len + tail;
        self.searched = 0;
        self.count += 1;
        from..from + len
    }

    fn fail(&mut self, kind: FrameErrorKind) -> FrameError {
        let error = FrameError { kind, message: self.count + 1 };
        self.failed = Some(error.clone());
        error
    }

    /// The most that is ever held: one message with its marks, and the read-ahead.
    fn bound(&self) -> usize {
        let marks = match self.framing.marks() {
            Marks::None | Marks::Whole => 0,
            Marks::Delimiter(_) => 1,
            Marks::Length(width, _) => width.len_bytes(),
        };
        self.framing.max_len().saturating_add(marks).saturating_add(READ_AHEAD)
    }
}

/// Where `byte` first stands in `bytes`.
///
/// It looks at 64 bytes at once, in a form that the compiler turns into vector instructions.
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let hit = |block: &[u8; BLOCK]| block.iter().fold(false, |hit, other| hit | (*other == byte));
    let (from, tail) = match blocks.iter().position(hit) {
        Some(index) => (index * BLOCK, blocks[index].as_slice()),
        None => (blocks.len() * BLOCK, rest),
    };
    tail.iter().position(|other| *other == byte).map(|index| from + index)
}
