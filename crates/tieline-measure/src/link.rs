//! What every mechanism looks like to the measurement: messages out, messages in.

use std::any::Any;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::control::Outcome;

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// The end that begins: it times, or sends the flood.
    First,
    /// The end that answers.
    Second,
}

impl End {
    /// 0 for the first, 1 for the second: the index of the direction in which this end sends.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// One end of a mechanism inside a player.
pub(crate) trait Link {
    /// Sends one message, waiting for room.
    fn send(&mut self, message: &[u8]) -> Outcome<()>;

    /// Waits for one message of exactly the buffer's length.
    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()>;
}

/// What an end needs to join: descriptors and words (names, identifiers).
#[derive(Debug, Default)]
pub(crate) struct Offer {
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) words: Vec<String>,
}

impl Offer {
    pub(crate) fn of_descriptors(descriptors: impl IntoIterator<Item = OwnedFd>) -> Self {
        Self { descriptors: descriptors.into_iter().collect(), words: Vec::new() }
    }
}

/// A mechanism that is ready to be joined by two processes.
pub(crate) struct Prepared {
    /// What the first and the second end get.
    pub(crate) offers: [Offer; 2],
    /// Removes named objects when it is dropped, after the players are gone.
    pub(crate) cleanup: Box<dyn Any>,
}

impl Prepared {
    /// Nothing to clean up: the last descriptor takes the object along.
    pub(crate) fn new(offers: [Offer; 2]) -> Self {
        Self { offers, cleanup: Box::new(()) }
    }

    /// What both ends open by the same words, and what removes it.
    pub(crate) fn named(words: Vec<String>, cleanup: impl Any) -> Self {
        let offer = || Offer { descriptors: Vec::new(), words: words.clone() };
        Self { offers: [offer(), offer()], cleanup: Box::new(cleanup) }
    }
}

/// What a player is told beside its offer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    /// Which end it is.
    pub(crate) end: End,
    /// The largest message that will be sent.
    pub(crate) largest: usize,
    /// The process id of the other end.
    pub(crate) peer: i32,
}

/// Where the sequence number of a message lies: its first eight bytes.
pub(crate) const SEQUENCE_BYTES: usize = 8;
/// The sequence number that ends an exchange.
pub(crate) const LAST: u64 = u64::MAX;

/// Writes the sequence number into a message.
pub(crate) fn number(message: &mut [u8], sequence: u64) {
    message[..SEQUENCE_BYTES].copy_from_slice(&sequence.to_le_bytes());
}

/// Reads the sequence number of a message.
pub(crate) fn sequence(message: &[u8]) -> u64 {
    u64::from_le_bytes(message[..SEQUENCE_BYTES].try_into().expect("eight bytes"))
}
