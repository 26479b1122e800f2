//! Joining messages into a byte stream.

use std::io::IoSlice;

use super::decoder::find;
use super::error::{FrameError, FrameErrorKind};
use super::{ByteOrder, Framing, Marks, Width};

/// Puts marks around messages. It copies nothing and allocates nothing.
///
/// ```
/// use tieline_transport::frame::{Encoder, Framing};
/// let mut encoder = Encoder::new(Framing::default());
/// let mut stream = Vec::new();
/// encoder.encode(b"hello").unwrap().append_to(&mut stream);
/// assert_eq!(stream, b"\0\0\0\x05hello");
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    framing: Framing,
    count: u64,
    divided: u64,
}

/// A message between its marks: the bytes to write, in up to three parts.
#[derive(Clone, Copy, Debug)]
#[must_use = "the encoder writes nothing; the caller does"]
pub struct Encoded<'a> {
    head: [u8; 8],
    head_len: usize,
    message: &'a [u8],
    tail: Option<[u8; 1]>,
}

impl Encoder {
    /// An encoder at the start of a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, count: 0, divided: 0 }
    }

    /// How many messages it has encoded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them hold the delimiter inside, so that a reader finds several in each: never with strict framings.
    #[must_use]
    pub fn divided(&self) -> u64 {
        self.divided
    }

    /// Marks off one message. With [`Framing::text`] one that ends with a line feed already gets no second one.
    ///
    /// # Errors
    /// `TooLong` if it is longer than the framing allows (`raw` and `whole` take any length), `DelimiterInside` if it
    /// contains the delimiter. The stream is as it was, and the next message may follow.
    pub fn encode<'a>(&mut self, message: &'a [u8]) -> Result<Encoded<'a>, FrameError> {
        let plain = Encoded { head: [0; 8], head_len: 0, message, tail: None };
        let limit = self.framing.max_len();
        let encoded = match self.framing.marks() {
            Marks::None | Marks::Whole => plain,
            _ if message.len() > limit => {
                return Err(self.refused(FrameErrorKind::TooLong { len: message.len() as u64, limit }));
            }
            Marks::Length(width, order) => {
                let head = length_bytes(message.len() as u64, width, order);
                Encoded { head, head_len: width.len_bytes(), ..plain }
            }
            Marks::Delimiter(delimiter) => match find(delimiter, message) {
                None => Encoded { tail: Some([delimiter]), ..plain },
                Some(position) if !self.framing.lax => {
                    return Err(self.refused(FrameErrorKind::DelimiterInside { delimiter, position }));
                }
                Some(position) => {
                    self.divided += u64::from(position + 1 < message.len());
                    let is_ended = message.last() == Some(&delimiter);
                    Encoded { tail: (!is_ended).then_some([delimiter]), ..plain }
                }
            },
        };
        self.count += 1;
        Ok(encoded)
    }

    fn refused(&self, kind: FrameErrorKind) -> FrameError {
        FrameError { kind, message: self.count + 1 }
    }
}

impl Encoded<'_> {
    /// How many bytes it is with its marks.
    #[expect(clippy::len_without_is_empty, reason = "an empty message is not of length zero here; nobody asks")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.head_len + self.message.len() + usize::from(self.tail.is_some())
    }

    /// The parts in order, for a gathering write; some may be empty.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len], self.message, self.tail.as_ref().map_or(&[], |tail| tail.as_slice())]
    }

    /// The same as the system's I/O vectors.
    #[must_use]
    pub fn io_slices(&self) -> [IoSlice<'_>; 3] {
        self.parts().map(IoSlice::new)
    }

    /// Copies it behind `stream`.
    pub fn append_to(&self, stream: &mut Vec<u8>) {
        stream.reserve(self.len());
        self.parts().iter().for_each(|part| stream.extend_from_slice(part));
    }
}

/// The length in the first bytes of the array.
fn length_bytes(len: u64, width: Width, order: ByteOrder) -> [u8; 8] {
    match order {
        ByteOrder::Little => len.to_le_bytes(),
        ByteOrder::Big => {
            let mut bytes = len.to_be_bytes();
            bytes.rotate_left(8 - width.len_bytes());
            bytes
        }
    }
}
