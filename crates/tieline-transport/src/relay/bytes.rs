//! Bytes to bytes between descriptors, by the kernel's fastest way.
//!
//! The invariant is that of [`Copier`]: a byte once taken is given, or kept and handed back.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use tieline_os::poll::Interest;
use tieline_os::transfer::{Copier, Side, Step};

use super::direction::{Left, Terms, sink_end, source_end};
use super::{Counter, End, plain};
use crate::endpoint::{ByteInput, ByteOutput, ByteSink, ByteSource};
use crate::error::Error;
use crate::stop::{Patience, Woken};

pub(super) fn pump(mut source: ByteSource, mut sink: ByteSink, terms: &Terms<'_>, counter: &Counter) -> (End, Left) {
    let (end, left) = match (source.input.fd(), sink.output.fd()) {
        (Some(from), Some(to)) => match Copier::new(from, to) {
            Ok(copier) => copy(copier.widen_pipes(!source.sized, !sink.sized), &source, &sink, terms, counter),
            Err(error) => (End::Failed(error.into()), Left::default()),
        },
        // A memory has no descriptor.
        _ => plain::copy(&mut source, &mut sink, terms, counter),
    };
    let (end, left) = match end {
        End::LimitReached if is_full(&sink, counter, terms) => overflow(&mut source, &sink, terms, left),
        end => (end, left),
    };
    if let Some(patience) = terms.settling(&end) {
        sink.settle(patience);
    }
    source.finish();
    if counter.is_zero() && !end.is_natural() {
        sink.leave_as_it_was();
    }
    match (sink.close_confirmed(terms.confirming(&end)), end) {
        (Err(error), End::SourceEnded | End::LimitReached) => (sink_end(error), left),
        (_, end) => (end, left),
    }
}

fn copy(
    mut copier: Copier<BorrowedFd<'_>, BorrowedFd<'_>>,
    source: &ByteSource,
    sink: &ByteSink,
    terms: &Terms<'_>,
    counter: &Counter,
) -> (End, Left) {
    let (from, to) = (*copier.source(), *copier.sink());
    let part = part_of(source);
    let limit = [part, room_of(sink), terms.max_bytes].into_iter().flatten().min();
    if let Some(limit) = limit {
        copier = copier.limit(limit);
    }
    let await_source = || terms.pause(|patience| patience.wait(Some(from), Interest::READABLE, sink.watched()));
    let await_sink =
        || terms.pause_for_sink(Instant::now(), |patience| patience.wait(Some(to), Interest::WRITABLE, None));
    let end = loop {
        if let Some(end) = terms.interruption() {
            break end;
        }
        let interruption = match copier.try_step() {
            Ok(Step::Moved { delivered, .. }) => {
                counter.add(0, delivered);
                terms.clock.tick();
                // Of single messages the next one is waited for, which spares a call that finds nothing.
                if copier.source_seems_empty() { await_source() } else { None }
            }
            Ok(Step::Done) if limit.is_none_or(|limit| copier.delivered() < limit || part == Some(limit)) => {
                break End::SourceEnded;
            }
            Ok(_) => break End::LimitReached,
            Err(error) if error.is_would_block() => match copier.blocked_on() {
                Some(Side::Sink) => await_sink(),
                _ => await_source(),
            },
            Err(error) => break why_failed(error.into(), copier.pending(), source, sink),
        };
        if let Some(end) = interruption {
            break end;
        }
    };
    if let Some(patience) = terms.grace(&end) {
        deliver(&mut copier, patience, counter);
    }
    (end, Left::of_bytes(copier.take_pending().unwrap_or_default()))
}

/// Gives what was taken, as long as `patience` lasts. What cannot be given stays in the copier.
fn deliver(copier: &mut Copier<BorrowedFd<'_>, BorrowedFd<'_>>, patience: Patience<'_>, counter: &Counter) {
    // While something is pending, a step takes nothing more.
    while copier.pending() > 0 {
        match copier.try_step() {
            Ok(Step::Moved { delivered, .. }) => counter.add(0, delivered),
            Err(error) if error.is_would_block() => {
                let sink = *copier.sink();
                if !matches!(patience.wait(Some(sink), Interest::WRITABLE, None), Ok(Woken::Ready)) {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// How many bytes the source has, if only a part of it is meant.
fn part_of(source: &ByteSource) -> Option<u64> {
    match &source.input {
        ByteInput::File(span) => span.left,
        _ => None,
    }
}

/// How many bytes the sink takes, if there is a bound.
fn room_of(sink: &ByteSink) -> Option<u64> {
    match &sink.output {
        ByteOutput::File(span) => span.left,
        _ => None,
    }
}

/// Whether it was the sink's bound that was reached.
fn is_full(sink: &ByteSink, counter: &Counter, terms: &Terms<'_>) -> bool {
    room_of(sink) == Some(counter.bytes()) && terms.max_bytes != room_of(sink)
}

/// The sink's part is full. If the source has more, that is a fault, and what shows it is handed back.
fn overflow(source: &mut ByteSource, sink: &ByteSink, terms: &Terms<'_>, mut left: Left) -> (End, Left) {
    let mut more = [0];
    loop {
        match source.attempt_read(&mut more) {
            Ok(Some(0)) => return (End::SourceEnded, left),
            Ok(Some(_)) => {
                left.bytes.extend(more);
                left.whole.bytes += more.len() as u64;
                return (End::Failed(sink.full()), left);
            }
            Ok(None) => {
                if let Some(end) = terms.pause(|patience| source.wait(patience, sink.watched())) {
                    return (end, left);
                }
            }
            Err(error) => return (source_end(error), left),
        }
    }
}

/// A fault of the copy says which errno, not which side.
fn why_failed(error: Error, pending: u64, source: &ByteSource, sink: &ByteSink) -> End {
    if !error.is_peer_dead() {
        return End::Failed(error);
    }
    let from_socket = matches!(source.input, ByteInput::Socket(_));
    let to_socket = matches!(sink.output, ByteOutput::Socket(_));
    // Writing to nobody is EPIPE. A reset may be the source's or the sink's; the sink's leaves bytes undelivered.
    let at_sink = error.errno() == Some(EPIPE) || pending > 0 || (to_socket && !from_socket);
    if at_sink { End::SinkGone } else { End::SourceBroken(error) }
}

/// The errno of writing where nobody reads; the same number on every system.
const EPIPE: i32 = 32;
