//! Message by message, whatever carries them.
//!
//! The invariant: a message is in one of four places: in the source, at hand, waiting in the sender, or gone; what is
//! at hand or waits when the direction ends is handed back.

use std::time::Instant;

use super::direction::{Giving, Left, Terms, sink_end, source_end};
use super::{Counter, End};
use crate::endpoint::{Next, Receiver, Sender};
use crate::stop::Woken;

pub(super) fn pump(mut receiver: Receiver, mut sender: Sender, terms: &Terms<'_>, counter: &Counter) -> (End, Left) {
    let (end, held) = relay(&mut receiver, &mut sender, terms, counter);
    let mut end = flush_at_the_end(end, &mut sender, terms, counter);
    // Whoever ends it before the source has ended learns as well what is lost by that, without waiting for it.
    let leaves_in_order = end.is_natural() || matches!(end, End::Stopped | End::TimedOut);
    if leaves_in_order && let Err(error) = sender.linger(terms.lingering()) {
        end = End::Failed(error);
    }
    let divided = sender.divided();
    let (waiting, whole) = sender.waiting();
    let mut left = Left { bytes: waiting.to_vec(), whole, part: 0, divided, at_hand: None };
    if let Some(held) = held {
        left.whole.add(held.len());
        left.at_hand = Some(left.bytes.len()..left.bytes.len() + held.len());
        left.bytes.extend(held);
    }
    left.bytes.extend(receiver.rest());
    left.part = receiver.count_rest(&mut left.whole);
    if let Some(patience) = terms.settling(&end) {
        sender.settle(patience);
    }
    receiver.finish();
    if counter.is_zero() && !end.is_natural() {
        sender.leave_as_it_was();
    }
    match (sender.close_confirmed(terms.confirming(&end)), end) {
        (Err(error), End::SourceEnded | End::LimitReached) => (sink_end(error), left),
        (_, end) => (end, left),
    }
}

/// Moves until something ends it; hands back the message that was at hand then, if it was not given.
fn relay(receiver: &mut Receiver, sender: &mut Sender, terms: &Terms<'_>, counter: &Counter) -> (End, Option<Vec<u8>>) {
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    loop {
        let is_enough = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count >= limit);
        if is_enough(terms.max_messages, messages) || is_enough(terms.max_bytes, bytes) {
            return (End::LimitReached, None);
        }
        if let Some(end) = terms.interruption() {
            return (end, None);
        }
        let next = match receiver.attempt() {
            Ok(next) => next,
            Err(error) => return (source_end(error), None),
        };
        let range = match next {
            Next::Message(range) => range,
            Next::End => return (End::SourceEnded, None),
            Next::Nothing => {
                // Nothing more to collect: what waits must not wait for it.
                if let Some(end) = flush(sender, terms, counter) {
                    return (end, None);
                }
                match terms.pause(|patience| receiver.wait(patience, sender.watched())) {
                    Some(end) => return (end, None),
                    None => continue,
                }
            }
        };
        let message = receiver.message(range);
        messages += 1;
        bytes += message.len() as u64;
        let answer = give(message, sender, terms);
        note(sender, terms, counter);
        if let Some((end, given)) = answer {
            return (end, (!given).then(|| message.to_vec()));
        }
    }
}

/// Gives one message to the sender; `None` if it took it, otherwise why this is the end and whether it took it still.
fn give(message: &[u8], sender: &mut Sender, terms: &Terms<'_>) -> Option<(End, bool)> {
    let mut giving = Giving::default();
    loop {
        match sender.accept(message) {
            Ok(true) => return giving.end().map(|end| (end, true)),
            Ok(false) if giving.wait(terms, |patience| sender.wait(patience)) => {}
            Ok(false) => return giving.end().map(|end| (end, false)),
            Err(error) => return Some((sink_end(error), false)),
        }
    }
}

/// Sends what waits in the sender, or says why not.
fn flush(sender: &mut Sender, terms: &Terms<'_>, counter: &Counter) -> Option<End> {
    let mut refused = None;
    loop {
        let answer = sender.attempt_flush();
        if note(sender, terms, counter) {
            refused = None;
        }
        match answer {
            Ok(true) => return None,
            Ok(false) => {
                let refused = *refused.get_or_insert_with(Instant::now);
                if let Some(end) = terms.pause_for_sink(refused, |patience| sender.wait(patience)) {
                    return Some(end);
                }
            }
            Err(error) => return Some(sink_end(error)),
        }
    }
}

/// Sends what still waits when the direction ends: at its leisure after a natural end, within the grace after a request
/// to stop.
fn flush_at_the_end(end: End, sender: &mut Sender, terms: &Terms<'_>, counter: &Counter) -> End {
    if end.is_natural() || matches!(end, End::SourceBroken(_)) {
        return flush(sender, terms, counter).unwrap_or(end);
    }
    let Some(patience) = terms.grace(&end) else { return end };
    while let Ok(false) = sender.attempt_flush() {
        if !matches!(sender.wait(patience), Ok(Woken::Ready)) {
            break;
        }
    }
    note(sender, terms, counter);
    end
}

/// Counts what has gone; says whether anything has.
fn note(sender: &mut Sender, terms: &Terms<'_>, counter: &Counter) -> bool {
    let gone = sender.take_gone();
    if gone.messages > 0 {
        counter.add(gone.messages, gone.bytes);
        terms.clock.tick();
    }
    gone.messages > 0
}
