//! Hostile input for everything in Tieline that decodes: one function per decoder, which takes any bytes and panics
//! if a promise is broken.
//!
//! A fuzzing engine calls them with bytes it invents (`fuzz_targets/`); `tests/replay.rs` calls them with the bytes
//! kept in `corpus/`. The promises are checked against small oracles written another way, not only against panics.

#![forbid(unsafe_code)]

mod kernel;
mod memory;
mod stream;
mod text;
mod topic;

pub use kernel::{ancillary, inotify, unix_name};
pub use memory::{meeting, recording, schema, segment, topic_line};
pub use stream::{decoder, encoder};
pub use text::{address, framing, mode, pid, quantity, signal, sysv_key, vsock_address};
pub use topic::topic_log;

/// A check of one decoder.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus and of its file in `fuzz_targets/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("ancillary", ancillary),
    ("decoder", decoder),
    ("encoder", encoder),
    ("framing", framing),
    ("inotify", inotify),
    ("meeting", meeting),
    ("mode", mode),
    ("pid", pid),
    ("quantity", quantity),
    ("recording", recording),
    ("schema", schema),
    ("segment", segment),
    ("signal", signal),
    ("sysv_key", sysv_key),
    ("topic_line", topic_line),
    ("topic_log", topic_log),
    ("unix_name", unix_name),
    ("vsock_address", vsock_address),
];

/// Bytes to decide by: small numbers off the front of the input; zeros when it is used up.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next `len` bytes, or what is left.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
