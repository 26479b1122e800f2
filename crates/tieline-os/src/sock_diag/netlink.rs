//! Netlink's bytes: messages of a dump, attributes of a message. Every length is checked; what does not fit ends the walk.

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// What a message is, by its `nlmsg_type`.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;
/// The least type that is not netlink's own.
pub(super) const FIRST_OF_FAMILY: u16 = 16;

/// A flag of each message: the table changed during the dump.
pub(super) const DUMP_INTERRUPTED: u16 = 0x10;

/// Headers and attributes begin at multiples of this.
pub(super) const ALIGNMENT: usize = 4;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of some bytes, one behind the other.
#[derive(Clone, Debug)]
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let body = self.0.get(HEADER..len)?;
        let message =
            Message { kind: u16_at(self.0, 4)?, flags: u16_at(self.0, 6)?, sequence: u32_at(self.0, 8)?, body };
        self.0 = self.0.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes of a message: number and content.
#[derive(Clone, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let number = u16_at(self.0, 2)?;
        let content = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((number, content))
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number in the network's byte order.
pub(super) fn u16_of_network(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, len: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(len.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn messages_follow_each_other_aligned() {
        let mut bytes = message(20, 19, b"abc\0");
        bytes.extend(message(DONE, 16, b""));
        let found: Vec<(u16, &[u8])> = Messages(&bytes).map(|message| (message.kind, message.body)).collect();
        assert_eq!(found, [(20, b"abc".as_slice()), (DONE, b"")]);
    }

    #[test]
    fn a_length_that_lies_ends_the_walk() {
        for len in [0, 15, 21, u32::MAX] {
            assert_eq!(Messages(&message(20, len, b"abcd")).count(), 0, "{len}");
        }
        for len in [0_u16, 3, 9, u16::MAX] {
            let mut attribute = len.to_ne_bytes().to_vec();
            attribute.extend([0; 6]);
            assert_eq!(Attributes(&attribute).count(), 0, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER + 1);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ALIGNMENT + 1);
        }
    }
}
