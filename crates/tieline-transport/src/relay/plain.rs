//! Bytes to bytes through a buffer, where a side is a memory without a descriptor.

use super::direction::{Giving, Left, Terms, sink_end, source_end};
use super::{Counter, End};
use crate::endpoint::{ByteSink, ByteSource};

/// As much as the processor's caches like.
const BUFFER: usize = 256 << 10;

pub(super) fn copy(source: &mut ByteSource, sink: &mut ByteSink, terms: &Terms<'_>, counter: &Counter) -> (End, Left) {
    let mut buffer = vec![0; BUFFER];
    let mut taken = 0;
    loop {
        let allowed = terms.max_bytes.map_or(u64::MAX, |limit| limit - taken);
        let len = usize::try_from(allowed).unwrap_or(BUFFER).min(BUFFER);
        if len == 0 {
            return (End::LimitReached, Left::default());
        }
        if let Some(end) = terms.interruption() {
            return (end, Left::default());
        }
        let count = match source.attempt_read(&mut buffer[..len]) {
            Ok(Some(0)) => return (End::SourceEnded, Left::default()),
            Ok(Some(count)) => count,
            Ok(None) => match terms.pause(|patience| source.wait(patience, sink.watched())) {
                Some(end) => return (end, Left::default()),
                None => continue,
            },
            Err(error) => return (source_end(error), Left::default()),
        };
        taken += count as u64;
        if let Some((end, given)) = give(&buffer[..count], sink, terms, counter) {
            return (end, Left { bytes: buffer[given..count].to_vec(), messages: 0, divided: 0 });
        }
    }
}

/// Gives all of `bytes`, or says why not and how many were given.
fn give(bytes: &[u8], sink: &mut ByteSink, terms: &Terms<'_>, counter: &Counter) -> Option<(End, usize)> {
    let mut given = 0;
    let mut giving = Giving::default();
    while given < bytes.len() {
        match sink.attempt_write(&bytes[given..]) {
            Ok(Some(count)) => {
                given += count;
                giving.took();
                counter.add(0, count as u64);
                terms.clock.tick();
            }
            Ok(None) if giving.wait(terms, |patience| sink.wait(patience)) => {}
            Ok(None) => break,
            Err(error) => return Some((sink_end(error), given)),
        }
    }
    giving.end().map(|end| (end, given))
}
