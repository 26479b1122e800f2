//! Recordings as they should be, torn at every byte, with every bit flipped, and lying.

use super::super::Writer;
use super::*;
use crate::untyped::Carried;

fn header() -> Header {
    let carried = Carried::new(7, "0: u32");
    Header { id: 1, part: 0, started_ns: 5, topic: "camera".to_owned(), carried }
}

const PAYLOADS: [&[u8]; 4] = [b"one", b"", b"\0\xff three", b"the fourth of them, a little longer than the others"];

/// A recording, and where each of its messages ends in it.
fn recording() -> (Vec<u8>, Vec<u64>) {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header()).unwrap();
    for (index, payload) in PAYLOADS.into_iter().enumerate() {
        let index = index as u64;
        writer.write(&Message { publisher: index % 2, sequence: index / 2, at_ns: 10 * index, payload }).unwrap();
        ends.push(writer.len_bytes());
    }
    writer.finish(3, false).unwrap();
    (bytes, ends)
}

/// The payloads that are read, and the end.
fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Ending)> {
    let mut reader = Reader::new(bytes)?;
    let mut payloads = Vec::new();
    while let Some(message) = reader.next()? {
        payloads.push(message.payload.to_vec());
    }
    assert!(reader.next()?.is_none(), "the end stays");
    Ok((payloads, reader.ending().expect("an end")))
}

#[test]
fn what_was_written_is_read() {
    let (bytes, _) = recording();
    let mut reader = Reader::new(&*bytes).unwrap();
    assert_eq!(reader.header(), &header());
    for (index, payload) in PAYLOADS.into_iter().enumerate() {
        let index = index as u64;
        let expected = Message { publisher: index % 2, sequence: index / 2, at_ns: 10 * index, payload };
        assert_eq!(reader.next().unwrap(), Some(expected));
    }
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.ending(), Some(Ending::Complete { lost: 3, continues: false }));
}

/// Whoever writes may die after any byte.
#[test]
fn a_torn_recording_is_read_up_to_there() {
    let (bytes, ends) = recording();
    let mut headless = 0;
    for len in 0..bytes.len() {
        let Ok((payloads, ending)) = read(&bytes[..len]) else {
            headless = len;
            continue;
        };
        let whole = ends.iter().filter(|end| **end <= len as u64).count();
        assert_eq!(payloads, PAYLOADS[..whole], "cut to {len}");
        assert!(matches!(ending, Ending::Torn { at } if at <= len as u64), "cut to {len}: {ending:?}");
    }
    assert!(headless < ends[0] as usize, "only without a header it is none");
    // Zeros are what a file system may leave behind the last whole block.
    let torn = [&bytes[..ends[1] as usize], &[0; 100][..]].concat();
    assert_eq!(read(&torn).unwrap(), (vec![b"one".to_vec(), Vec::new()], Ending::Torn { at: ends[1] }));
}

/// Every bit of it, one at a time: nothing wrong is ever given out.
#[test]
fn a_flipped_bit_is_found() {
    let (bytes, ends) = recording();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[place] ^= 1 << bit;
            let Ok((payloads, ending)) = read(&broken) else {
                assert!((place as u64) < ends[0], "a header that is not whole is refused");
                continue;
            };
            let whole = ends.iter().filter(|end| **end <= place as u64).count();
            assert_eq!(payloads, PAYLOADS[..whole], "bit {bit} of byte {place}");
            assert!(!matches!(ending, Ending::Complete { .. }), "bit {bit} of byte {place}: {ending:?}");
        }
    }
}

#[test]
fn a_claimed_length_is_not_believed() {
    let (bytes, ends) = recording();
    for claimed in [u32::MAX, 1 << 30, (1 << 30) + 25] {
        let mut lying = bytes[..ends[0] as usize].to_vec();
        lying.extend(claimed.to_le_bytes());
        lying.extend(MESSAGE.to_le_bytes());
        lying.extend([1; 40]);
        let mut reader = Reader::new(&*lying).unwrap();
        while reader.next().unwrap().is_some() {}
        assert!(reader.body.capacity() < 4096, "{} bytes for {}", reader.body.capacity(), lying.len());
    }
}

#[test]
fn blocks_of_later_versions_are_passed_over_and_time_does_not_run_backwards() {
    let (bytes, ends) = recording();
    let end = ends[0] as usize;
    let later = [&block::head(99, &[b"what is this"])[..], b"what is this"].concat();
    let with_later = [&bytes[..end], &later, &bytes[end..]].concat();
    assert_eq!(read(&with_later).unwrap().0.len(), 4);
    let again = [&bytes[..ends[3] as usize], &bytes[end..ends[1] as usize]].concat();
    assert_eq!(read(&again).unwrap().1, Ending::Damaged { at: ends[3] });
}
