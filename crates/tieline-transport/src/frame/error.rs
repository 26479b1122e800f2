//! Why a byte stream cannot be cut into messages, or a message not be put into it.

use std::fmt;

/// Why framing failed: which message, which limit.
///
/// A [`Decoder`](super::Decoder) that has failed stays failed: where the next message begins cannot be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    pub(super) kind: FrameErrorKind,
    pub(super) message: u64,
}

/// What sort of fault a [`FrameError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// The message is longer than allowed.
    TooLong {
        /// Its length in bytes, as far as known: with a delimiter at least this.
        len: u64,
        /// The largest length allowed.
        limit: usize,
    },
    /// The stream ended inside a message.
    Truncated {
        /// How many bytes of it (or of its length) are there.
        have: usize,
        /// How many there should be, if the length was there.
        expected: Option<usize>,
    },
    /// The message contains the delimiter and would arrive as two.
    DelimiterInside {
        /// The delimiter.
        delimiter: u8,
        /// Where in the message it stands.
        position: usize,
    },
}

impl FrameError {
    /// What sort of fault it is.
    #[must_use]
    pub fn kind(&self) -> FrameErrorKind {
        self.kind
    }

    /// Which message of the stream it is, counted from 1.
    #[must_use]
    pub fn message(&self) -> u64 {
        self.message
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.message;
        match self.kind {
            FrameErrorKind::TooLong { len, limit } => write!(
                f,
                "message {number} has {len} bytes or more, the largest allowed is {limit}; \
                 raise the framing's limit or check that both sides use the same framing"
            ),
            FrameErrorKind::Truncated { have, expected: Some(expected) } => {
                write!(f, "the stream ended inside message {number}, after {have} of its {expected} bytes")
            }
            FrameErrorKind::Truncated { have, expected: None } => {
                write!(f, "the stream ended inside the length of message {number}, after {have} bytes of it")
            }
            FrameErrorKind::DelimiterInside { delimiter, position } => write!(
                f,
                "message {number} contains the delimiter {delimiter:#04x} at byte {position} and would arrive as two; \
                 use a length framing such as u32, or raw"
            ),
        }
    }
}

impl std::error::Error for FrameError {}
