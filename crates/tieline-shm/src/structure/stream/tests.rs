//! The byte ring against a plain oracle, and among threads.

use std::collections::VecDeque;
use std::mem::offset_of;

use proptest::prelude::*;
use tieline_testkit::data;

use super::*;
use crate::Waiting;
use crate::segment::{Kind, Purpose, Segment};
use crate::wait::Until;

fn ring(capacity: usize) -> Ring {
    let purpose = Purpose { kind: Kind::Stream, name: "test", layout_hash: 0 };
    let segment = Segment::create(&purpose, size_of::<Control>() + capacity).unwrap();
    let cells = segment.slice(size_of::<Control>(), capacity / 8).unwrap();
    Ring::new(segment.view(0).unwrap(), Cells::new(cells)).unwrap()
}

fn pair(capacity: usize) -> (Writer, Reader) {
    let ring = ring(capacity);
    (ring.clone().writer(), ring.reader())
}

fn wait<R>(count: &EventCount, mut attempt: impl FnMut() -> Result<R>) -> Result<R> {
    count.wait(Waiting::Adaptive, Until::Forever, READ, || match attempt() {
        Err(error) if error.is_would_block() => None,
        answer => Some(answer),
    })?
}

#[test]
fn the_layout_is_that_of_the_format_page() {
    assert_eq!(offset_of!(Control, writer), 0);
    assert_eq!(offset_of!(Control, reader), 128);
    assert_eq!(offset_of!(Side, position), 0);
    assert_eq!(offset_of!(Side, is_closed), 8);
    assert_eq!(offset_of!(Control, bytes), 256);
    assert_eq!(offset_of!(Control, room), 320);
    assert_eq!(size_of::<Control>(), 384);
}

#[test]
fn what_was_written_before_the_end_is_read_before_the_end() {
    let (mut writer, mut reader) = pair(64);
    let mut buffer = [0; 100];
    assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
    assert_eq!(writer.try_write(&data(100)).unwrap(), 64);
    assert!(writer.try_write(b"x").unwrap_err().is_would_block());
    writer.close();
    assert_eq!(reader.try_read(&mut buffer).unwrap(), 64);
    assert_eq!(buffer[..64], data(100)[..64]);
    assert_eq!(reader.try_read(&mut buffer).unwrap(), 0);
    reader.close();
    assert_eq!(writer.try_write(b"x").unwrap_err().kind(), ErrorKind::PeerGone);
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize),
    Read(usize),
    Consume(usize),
}

proptest! {
    #[test]
    fn any_list_of_operations_does_what_the_oracle_says(
        log2 in 3..10_u32,
        start in prop_oneof![Just(0), Just(u64::MAX - 100)],
        ops in prop::collection::vec(prop_oneof![
            (0..700_usize).prop_map(Op::Write),
            (0..700_usize).prop_map(Op::Read),
            (0..700_usize).prop_map(Op::Consume),
        ], 1..100),
    ) {
        let capacity = 1_usize << log2;
        let (mut writer, mut reader) = pair(capacity);
        // As after a long life.
        writer.ring.control.writer.position.store(start, Ordering::Relaxed);
        writer.ring.control.reader.position.store(start, Ordering::Relaxed);
        (writer.tail, writer.head, reader.tail, reader.head) = (start, start, start, start);
        let mut oracle = VecDeque::new();
        let mut next = 0_u8;
        for op in ops {
            match op {
                Op::Write(len) => {
                    let bytes: Vec<u8> = (0..len).map(|index| next.wrapping_add(index as u8)).collect();
                    let room = capacity - oracle.len();
                    match writer.try_write(&bytes) {
                        Ok(written) => {
                            prop_assert_eq!(written, len.min(room));
                            oracle.extend(&bytes[..written]);
                            next = next.wrapping_add(written as u8);
                        }
                        Err(error) => prop_assert!(error.is_would_block() && room == 0),
                    }
                }
                Op::Read(len) => {
                    let mut buffer = vec![0; len];
                    match reader.try_read(&mut buffer) {
                        // What came after its last look may be left for the next time.
                        Ok(read) => {
                            prop_assert!(read <= oracle.len() && (read > 0 || len == 0));
                            let expected: Vec<u8> = oracle.drain(..read).collect();
                            prop_assert_eq!(&buffer[..read], expected);
                        }
                        Err(error) => prop_assert!(error.is_would_block() && oracle.is_empty()),
                    }
                }
                Op::Consume(most) => {
                    let Ok(span) = reader.try_peek() else {
                        prop_assert!(oracle.is_empty());
                        continue;
                    };
                    let mut seen = vec![0; span.len];
                    reader.ring.cells.copy_out(span.offset, &mut seen);
                    let len = most.min(span.len);
                    let expected: Vec<u8> = oracle.drain(..len).collect();
                    prop_assert_eq!(&seen[..len], expected);
                    reader.consume(len);
                }
            }
        }
    }

    #[test]
    fn garbage_in_the_memory_is_survived(places in prop::collection::vec((0..4_usize, any::<u64>()), 1..20)) {
        let (mut writer, mut reader) = pair(64);
        for (place, value) in places {
            let control = writer.ring.control.clone();
            let word = [
                &control.writer.position,
                &control.reader.position,
                &control.writer.is_closed,
                &control.reader.is_closed,
            ][place];
            word.store(value, Ordering::Relaxed);
            let _ = writer.try_write(&data(100));
            let _ = reader.try_read(&mut [0; 100]);
        }
    }
}

#[test]
fn a_lying_position_is_an_error() {
    let (mut writer, mut reader) = pair(64);
    writer.ring.control.writer.position.store(65, Ordering::Relaxed);
    assert_eq!(reader.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(writer.try_write(&[0; 64]).unwrap(), 64);
    writer.ring.control.reader.position.store(65, Ordering::Relaxed);
    assert_eq!(writer.try_write(&[0]).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn a_mebibyte_comes_through_a_small_ring_between_threads() {
    let (mut writer, mut reader) = pair(4096);
    let sent = data(1 << 20);
    std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            let ring = writer.ring.clone();
            let mut rest = &sent[..];
            for len in (1..).map(|index| (index * 37) % 9000 + 1) {
                let part = len.min(rest.len());
                let written = wait(&ring.control.room, || writer.try_write(&rest[..part])).unwrap();
                rest = &rest[written..];
                if rest.is_empty() {
                    break;
                }
            }
            writer.close();
        });
        let ring = reader.ring.clone();
        let (mut received, mut buffer) = (Vec::new(), vec![0; 5000]);
        loop {
            let read = wait(&ring.control.bytes, || reader.try_read(&mut buffer)).unwrap();
            if read == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..read]);
        }
        tieline_testkit::assert_same(&received, sent);
    });
}
