//! The messages of a topic in files, with their publishers, numbers and times, to be looked at or published again.
//!
//! ```
//! use tieline_shm::recording::{Player, Recorder, RecorderOptions};
//! use tieline_shm::untyped::Carried;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let file = folder.path().join("camera.rec");
//! let mut recorder = Recorder::create(&file, "camera", &Carried::of::<[u8]>(), RecorderOptions::default())?;
//! recorder.write(1, 0, b"a frame")?;
//! recorder.finish(0)?;
//!
//! let mut player = Player::open(&file)?;
//! assert_eq!(player.header().topic, "camera");
//! let message = player.next()?.unwrap();
//! assert_eq!((message.sequence, message.payload), (0, &b"a frame"[..]));
//! assert!(player.next()?.is_none());
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! [`Recorder`] and [`Player`] have one file, or numbered ones of a limited size; [`Writer`] and [`Reader`] are the
//! format alone, over anything that can be written or read. The bytes are described in `docs/formats/recording.md`.
//!
//! The invariant: what a recording holds before its first torn or damaged byte is read, each message whole or not at
//! all; and no bytes, whoever made them, make the reader panic, hang, or take more memory than the file has.
//!
//! It knows nothing of channels: whoever has messages writes them here.

mod block;
mod parts;
mod reader;
mod writer;

pub use parts::{Player, Recorder, RecorderOptions, part_path};
pub use reader::Reader;
pub use writer::Writer;

use crate::untyped::Carried;

/// The most bytes a message may have.
pub const PAYLOAD_MAX_BYTES: usize = 1 << 30;

/// What the end of a recording, or of a part of one, adds to its length.
pub const END_BYTES: u64 = (block::HEAD + block::END_BODY) as u64;

/// What a recording, or a part of one, says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The same in all parts of a recording, and in no other recording.
    pub id: u64,
    /// Which part: 0 for a recording of one file, otherwise from 1.
    pub part: u32,
    /// When the recording began, in nanoseconds of the wall clock since 1970.
    pub started_ns: u64,
    /// The topic's name.
    pub topic: String,
    /// What its messages are.
    pub carried: Carried,
}

/// A recorded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which publisher sent it: a number for each.
    pub publisher: u64,
    /// Which of that publisher's messages it is.
    pub sequence: u64,
    /// When it was received, in nanoseconds since the recording began. Never less than the one before has.
    pub at_ns: u64,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// How a recording, or a part of one, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// As it should.
    Complete {
        /// How many messages the recorder has lost so far, because it was too slow.
        lost: u64,
        /// Whether a further part follows.
        continues: bool,
    },
    /// In the middle of something, or without an end: whoever recorded it died, or is not done.
    Torn {
        /// So many bytes are whole.
        at: u64,
    },
    /// With bytes that nobody wrote so; what comes after them is not read.
    Damaged {
        /// So many bytes are whole.
        at: u64,
    },
}
