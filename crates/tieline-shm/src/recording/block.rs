//! The pieces of a recording: `docs/formats/recording.md` has the picture.

use super::Header;
use crate::untyped::Carried;

/// What every file begins with. The line feeds show a copy that was taken for text.
pub(super) const MAGIC: [u8; 8] = *b"TLREC\r\n\x01";

/// The bytes before each block's body: length, kind, checksum.
pub(super) const HEAD: usize = 12;

/// The bytes of a message before its payload.
pub(super) const MESSAGE_HEAD: usize = 24;

/// The bytes of an end's body.
pub(super) const END_BODY: usize = 20;

/// The most bytes of a body that is no message.
pub(super) const SMALL_MAX: usize = 64 * 1024;

pub(super) const HEADER: u32 = 1;
pub(super) const MESSAGE: u32 = 2;
pub(super) const END: u32 = 3;

/// The head of a block whose body consists of these parts.
pub(super) fn head(kind: u32, parts: &[&[u8]]) -> [u8; HEAD] {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut head = [0; HEAD];
    // Bodies are at most PAYLOAD_MAX_BYTES and a little.
    head[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head[4..8].copy_from_slice(&kind.to_le_bytes());
    let sum = parts.iter().fold(Crc::new().over(&head[..8]), |sum, part| sum.over(part));
    head[8..].copy_from_slice(&sum.value().to_le_bytes());
    head
}

pub(super) fn message_head(publisher: u64, sequence: u64, at_ns: u64) -> [u8; MESSAGE_HEAD] {
    let mut head = [0; MESSAGE_HEAD];
    head[..8].copy_from_slice(&publisher.to_le_bytes());
    head[8..16].copy_from_slice(&sequence.to_le_bytes());
    head[16..].copy_from_slice(&at_ns.to_le_bytes());
    head
}

pub(super) fn header_body(header: &Header) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(header.id.to_le_bytes());
    body.extend(header.started_ns.to_le_bytes());
    body.extend(header.carried.hash().to_le_bytes());
    body.extend(header.part.to_le_bytes());
    for text in [&*header.topic, header.carried.layout()] {
        let text = &text[..text.floor_char_boundary(SMALL_MAX / 4)];
        body.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        body.extend(text.as_bytes());
    }
    body
}

/// `None` if the bytes are no header.
pub(super) fn parse_header(body: &[u8]) -> Option<Header> {
    let mut from = Fields(body);
    let (id, started_ns, hash, part) = (from.u64()?, from.u64()?, from.u64()?, from.u32()?);
    let (topic, layout) = (from.text()?, from.text()?);
    // Later versions may add fields.
    Some(Header { id, part, started_ns, topic, carried: Carried::new(hash, layout) })
}

/// Numbers and texts off the front of a body.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Control characters do not reach anybody's terminal.
    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        let text = String::from_utf8_lossy(bytes);
        Some(text.chars().map(|letter| if letter.is_control() && letter != '\n' { '?' } else { letter }).collect())
    }
}

/// CRC-32 as of zip, PNG and Ethernet (polynomial EDB88320, reflected), eight bytes at a time as of Kounavis and Berry,
/// "A Systematic Approach to Building High Performance Software-Based CRC Generators" (2005).
#[derive(Clone, Copy)]
pub(super) struct Crc(u32);

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

impl Crc {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    #[must_use]
    pub(super) fn over(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let word = u64::from_le_bytes(*eight) ^ u64::from(sum);
            let byte = |place: usize| (word >> (8 * place) & 0xff) as usize;
            sum = (0..8).fold(0, |sum, place| sum ^ TABLES[7 - place][byte(place)]);
        }
        for byte in rest {
            sum = sum >> 8 ^ TABLES[0][((sum ^ u32::from(*byte)) & 0xff) as usize];
        }
        Self(sum)
    }

    pub(super) fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(Crc::new().over(b"123456789").value(), 0xcbf4_3926, "the check value of every CRC catalogue");
        assert_eq!(Crc::new().over(b"").value(), 0);
        let text = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(Crc::new().over(text).value(), 0x414f_a339);
        assert_eq!(Crc::new().over(&text[..3]).over(&text[3..]).value(), 0x414f_a339, "however it is cut");
    }
}
