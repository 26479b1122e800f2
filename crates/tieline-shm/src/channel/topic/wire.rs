//! What publisher and subscriber say to each other over their line: four messages, little-endian.
//!
//! | bytes | subscribe | admitted | refused |
//! |---|---|---|---|
//! | 0 | 1 | 2 | 3 |
//! | 1 | policy | 0 | 0 |
//! | 4..8 | 0 | number of the entry in the roster | 0 |
//! | 8..16 | depth; 0 for the log's own | number of the first message | reason |
//! | 16..24 | history | 0 | 0 |
//!
//! With `admitted` travel the log's descriptor (read-only) and the roster's. A subscriber that has mapped both says so
//! with a message that begins with 4 and is zero otherwise.

use super::options::Policy;
use crate::error::{Error, ErrorKind, Result};

/// Of these messages, and of the two segments' contents.
pub(super) const VERSION: u8 = 1;

const LEN: usize = 24;

/// A subscriber's wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscribe {
    pub(super) policy: Policy,
    pub(super) depth: u64,
    pub(super) history: u64,
}

/// A publisher's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) entry: u32,
    pub(super) start: u64,
}

/// A subscriber has mapped what it was sent, and will see what is published from now on.
pub(super) const READY: [u8; LEN] = {
    let mut bytes = [0; LEN];
    bytes[0] = 4;
    bytes
};

/// A publisher's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: ErrorKind,
}

/// What a refusal can say; anything else is told as the first.
const REASONS: [ErrorKind; 4] =
    [ErrorKind::System, ErrorKind::LimitReached, ErrorKind::OutOfMemory, ErrorKind::PermissionDenied];

impl Refused {
    pub(super) fn encode(self) -> [u8; LEN] {
        let reason = REASONS.iter().position(|kind| *kind == self.kind).unwrap_or(0);
        message([3, 0], 0, reason as u64, 0)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, zero, reason, none) = fields(bytes)?;
        let reason = REASONS.get(usize::try_from(reason).ok()?)?;
        (kind == [3, 0] && zero == 0 && none == 0).then_some(Self { kind: *reason })
    }
}

impl Subscribe {
    pub(super) fn encode(self) -> [u8; LEN] {
        message([1, self.policy.number()], 0, self.depth, self.history)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, zero, depth, history) = fields(bytes)?;
        let policy = Policy::from_number(kind[1])?;
        (kind[0] == 1 && zero == 0).then_some(Self { policy, depth, history })
    }
}

impl Admitted {
    pub(super) fn encode(self) -> [u8; LEN] {
        message([2, 0], self.entry, self.start, 0)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, entry, start, zero) = fields(bytes)?;
        (kind == [2, 0] && zero == 0).then_some(Self { entry, start })
    }
}

/// What the bytes mean, as bytes again; `None` if nothing. For the fuzzer.
#[cfg(feature = "steps")]
pub(crate) fn reread(bytes: &[u8]) -> Option<Vec<u8>> {
    let subscribe = || Subscribe::decode(bytes).map(Subscribe::encode);
    let admitted = || Admitted::decode(bytes).map(Admitted::encode);
    let refused = || Refused::decode(bytes).map(Refused::encode);
    subscribe().or_else(admitted).or_else(refused).map(Vec::from)
}

fn message(kind: [u8; 2], small: u32, first: u64, second: u64) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..2].copy_from_slice(&kind);
    bytes[4..8].copy_from_slice(&small.to_le_bytes());
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    bytes[16..].copy_from_slice(&second.to_le_bytes());
    bytes
}

fn fields(bytes: &[u8]) -> Option<([u8; 2], u32, u64, u64)> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let word = |start: usize| bytes[start..start + 8].try_into().map(u64::from_le_bytes).ok();
    let small = bytes[4..8].try_into().map(u32::from_le_bytes).ok()?;
    Some(([bytes[0], bytes[1]], small, word(8)?, word(16)?))
}

/// Whether the topic's creator speaks as we do.
pub(super) fn check_version(config: &[u8]) -> Result<()> {
    match config {
        [VERSION] => Ok(()),
        _ => {
            Err(Error::new("join a topic", ErrorKind::Mismatch)
                .because("it was made by another version of this library"))
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let subscribe = Subscribe { policy: Policy::SkipToLatest, depth: 1 << 40, history: 7 };
        assert_eq!(Subscribe::decode(&subscribe.encode()), Some(subscribe));
        let admitted = Admitted { entry: 9, start: u64::MAX };
        assert_eq!(Admitted::decode(&admitted.encode()), Some(admitted));
        let refused = Refused { kind: ErrorKind::LimitReached };
        assert_eq!(Refused::decode(&refused.encode()), Some(refused));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Subscribe { policy: Policy::Block, depth: 0, history: 0 }.encode();
        assert_eq!(Admitted::decode(&good), None);
        assert_eq!(Subscribe::decode(&good[..23]), None);
        let mut unknown = good;
        unknown[1] = 99;
        assert_eq!(Subscribe::decode(&unknown), None);
    }
}
