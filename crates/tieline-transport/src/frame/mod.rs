//! Framing: where one message ends and the next begins, when a facility carries only bytes.
//!
//! Four ways, chosen by a [`Framing`]: a delimiter behind each message (lines), a length before each message, none at
//! all, where whatever arrives at once is a message, or the end of the stream, which is one message then. [`Decoder`]
//! cuts, [`Encoder`] joins; both are pure, work on byte slices, and copy a message at most once.
//!
//! The invariant: a decoder never holds more than one message of the largest size and one read-ahead, whatever a peer
//! sends, and checks every length before it makes room for it.
//!
//! | framing | text | a message may contain | a stream cut short |
//! |---|---|---|---|
//! | delimiter | `line`, `nul`, `byte:0x1e` | anything but the delimiter | ends with its last, unfinished message |
//! | lax delimiter | `text` | anything, and is then read as several; a line feed at its end is not doubled | as above |
//! | length | `u8`, `u16`, `u32`, `u64`, each with `le` for the low byte first | anything | is an error |
//! | none | `raw` | anything | ends |
//! | the whole stream | `whole` | anything | ends, with the message |
//!
//! Behind a comma stands the largest message, if it is not the default: `line,4K`.

mod decoder;
mod encoder;
mod error;

use std::fmt;
use std::str::FromStr;

pub use self::decoder::Decoder;
pub use self::encoder::{Encoded, Encoder};
pub use self::error::{FrameError, FrameErrorKind};
use crate::addr::quantity::{parse_size, size};

/// How messages are marked off in a byte stream, and how long one may be.
///
/// ```
/// use tieline_transport::frame::{ByteOrder, Framing, Width};
/// assert_eq!(Framing::default(), Framing::length(Width::U32, ByteOrder::Big));
/// assert_eq!("line,4K".parse(), Ok(Framing::line().with_max_len(4096)));
/// assert_eq!(Framing::length(Width::U16, ByteOrder::Little).to_string(), "u16le");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    marks: Marks,
    max_len: usize,
    /// Whether a message may contain the delimiter.
    lax: bool,
}

/// What separates messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marks {
    /// Nothing: a chunk is a message.
    None,
    /// The end of the stream: all of it is one message. An empty stream is none.
    Whole,
    /// This byte behind each message.
    Delimiter(u8),
    /// The message's length before it.
    Length(Width, ByteOrder),
}

/// How many bytes a length takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One byte: messages up to 255 bytes.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
}

/// Which byte of a length comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The highest, as in Internet protocols.
    Big,
    /// The lowest.
    Little,
}

impl Framing {
    /// The largest message, unless [`with_max_len`](Self::with_max_len) says otherwise: 16 MiB. Large enough for a
    /// picture, small enough that a thousand hostile peers do not take the machine's memory.
    pub const DEFAULT_MAX_LEN: usize = 16 << 20;

    /// Each message ends with a line feed.
    #[must_use]
    pub const fn line() -> Self {
        Self::delimited(b'\n')
    }

    /// As [`line`](Self::line), but a message may contain line feeds: for people, who read on, and not for programs,
    /// which would find two messages in one. A message that ends with a line feed gets no second one.
    #[must_use]
    pub const fn text() -> Self {
        Self { lax: true, ..Self::line() }
    }

    /// Each message ends with `delimiter`.
    #[must_use]
    pub const fn delimited(delimiter: u8) -> Self {
        Self { marks: Marks::Delimiter(delimiter), max_len: Self::DEFAULT_MAX_LEN, lax: false }
    }

    /// Each message is preceded by its length.
    #[must_use]
    pub const fn length(width: Width, order: ByteOrder) -> Self {
        Self { marks: Marks::Length(width, order), max_len: Self::DEFAULT_MAX_LEN, lax: false }
    }

    /// What arrives at once is a message, cut at the largest size.
    #[must_use]
    pub const fn raw() -> Self {
        Self { marks: Marks::None, max_len: Self::DEFAULT_MAX_LEN, lax: false }
    }

    /// The whole stream is one message. What is written so has nothing between messages.
    #[must_use]
    pub const fn whole() -> Self {
        Self { marks: Marks::Whole, ..Self::raw() }
    }

    /// The same with another largest message. Zero counts as one.
    #[must_use]
    pub const fn with_max_len(mut self, bytes: usize) -> Self {
        self.max_len = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// The same with this largest message, if it says none of its own; `16M` written out is none of its own.
    #[must_use]
    pub const fn or_max_len(self, bytes: usize) -> Self {
        if self.max_len == Self::DEFAULT_MAX_LEN { self.with_max_len(bytes) } else { self }
    }

    /// What separates messages.
    #[must_use]
    pub const fn marks(self) -> Marks {
        self.marks
    }

    /// The largest message in bytes: the limit, or what the length's width can say.
    #[must_use]
    pub fn max_len(self) -> usize {
        match self.marks {
            Marks::Length(width, _) => self.max_len.min(width.max()),
            Marks::None | Marks::Whole | Marks::Delimiter(_) => self.max_len,
        }
    }
}

impl Default for Framing {
    /// A length of four bytes, the highest first.
    fn default() -> Self {
        Self::length(Width::U32, ByteOrder::Big)
    }
}

impl Width {
    const ALL: [Self; 4] = [Self::U8, Self::U16, Self::U32, Self::U64];

    /// Its size in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    fn max(self) -> usize {
        let bits = 8 * self.len_bytes();
        1_usize.checked_shl(bits.try_into().unwrap_or(u32::MAX)).map_or(usize::MAX, |beyond| beyond - 1)
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.marks {
            Marks::None => f.write_str("raw")?,
            Marks::Whole => f.write_str("whole")?,
            Marks::Delimiter(b'\n') if self.lax => f.write_str("text")?,
            Marks::Delimiter(b'\n') => f.write_str("line")?,
            Marks::Delimiter(0) => f.write_str("nul")?,
            Marks::Delimiter(byte) => write!(f, "byte:{byte:#04x}")?,
            Marks::Length(width, order) => {
                f.write_str(width.name())?;
                // One byte has no order.
                if order == ByteOrder::Little && width != Width::U8 {
                    f.write_str("le")?;
                }
            }
        }
        if self.max_len == Self::DEFAULT_MAX_LEN {
            return Ok(());
        }
        write!(f, ",{}", size(self.max_len as u64))
    }
}

/// The text is not a framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFramingError(String);

impl fmt::Display for ParseFramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = "write raw, whole, line, text, nul, byte:0x1e, u8, u16, u32, u64 (or u16le, u32le, u64le), \
                     and behind a comma the largest message if not 16M";
        write!(f, "{:?} is not a framing; {forms}", self.0)
    }
}

impl std::error::Error for ParseFramingError {}

impl FromStr for Framing {
    type Err = ParseFramingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseFramingError(text.to_owned());
        let (marks, limit) = text.split_once(',').map_or((text, None), |(marks, limit)| (marks, Some(limit)));
        let framing = match marks {
            "text" => Self::text(),
            marks => Self { marks: Marks::parse(marks).ok_or_else(refused)?, ..Self::raw() },
        };
        let Some(limit) = limit else { return Ok(framing) };
        let limit = parse_size(limit).ok().and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        limit.map(|limit| framing.with_max_len(limit)).ok_or_else(refused)
    }
}

impl Marks {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "raw" => return Some(Self::None),
            "whole" => return Some(Self::Whole),
            "line" => return Some(Self::Delimiter(b'\n')),
            "nul" => return Some(Self::Delimiter(0)),
            _ => {}
        }
        if let Some(byte) = text.strip_prefix("byte:0x") {
            let digits = byte.len() <= 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
            return u8::from_str_radix(byte, 16).ok().filter(|_| digits).map(Self::Delimiter);
        }
        let (name, order) = match text.strip_suffix("le") {
            Some("u8") => return None,
            Some(name) => (name, ByteOrder::Little),
            None => (text.strip_suffix("be").unwrap_or(text), ByteOrder::Big),
        };
        let width = Width::ALL.into_iter().find(|width| width.name() == name)?;
        Some(Self::Length(width, order))
    }
}

#[cfg(test)]
mod tests;
