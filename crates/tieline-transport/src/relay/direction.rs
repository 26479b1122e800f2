//! One direction of a relay: which pump it takes, and how every pump waits, stops and reports.
//!
//! The invariant: a pump waits only through [`Terms::pause`], so every direction ends for the same reasons.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Clock, Counter, End, Flow, bytes, messages};
use crate::endpoint::{Amount, Receiver, Sender, Sink, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Framing, Marks};
use crate::stop::{Patience, Stop, Woken};

/// What a direction is bound by.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) stop: Option<&'a Stop>,
    /// The other direction's word that it has failed.
    pub(super) abort: Option<&'a Stop>,
    pub(super) deadline: Option<Instant>,
    /// How long the sink may take nothing while there is something to give.
    pub(super) sink_timeout: Option<Duration>,
    pub(super) clock: &'a Clock,
    pub(super) grace: Duration,
    /// Whether nothing comes back, so that the end of the sink's connection can be waited for.
    pub(super) alone: bool,
    pub(super) max_messages: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    /// Of the source's bytes and of the sink's.
    pub(super) framings: (Framing, Framing),
    /// Whether even bytes to bytes go message by message.
    pub(super) by_message: bool,
}

/// What a pump could not deliver.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) bytes: Vec<u8>,
    /// Of whole messages.
    pub(super) whole: Amount,
    /// Bytes of a message that has not come whole.
    pub(super) part: u64,
    /// How many messages, delivered or not, hold line feeds that now divide them.
    pub(super) divided: u64,
    /// Where in `bytes` the message stands that was at hand.
    pub(super) at_hand: Option<Range<usize>>,
}

impl Left {
    /// Bytes that are moved without regard to messages.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { whole: Amount { messages: 0, bytes: bytes.len() as u64 }, bytes, ..Self::default() }
    }
}

/// Moves until something ends it.
pub(super) fn run(source: Source, sink: Sink, terms: &Terms<'_>, counter: &Counter) -> Flow {
    let (end, left) = match (source, sink) {
        (Source::Bytes(source), Sink::Bytes(sink)) if !terms.by_message => bytes::pump(source, sink, terms, counter),
        (Source::Bytes(source), Sink::Bytes(mut sink)) if terms.max_bytes.is_none() && source.is_fed_by(&sink) => {
            sink.leave_as_it_was();
            let text = "cannot copy: source and sink are the same file, which would grow or be torn";
            (End::Failed(Error::new(ErrorKind::InvalidInput, text).hint("write to another file")), Left::default())
        }
        (source, sink) => {
            let (receiver, sender) =
                (Receiver::new(source, fitting(terms.framings.0, &sink)), Sender::new(sink, terms.framings.1));
            messages::pump(receiver, sender, terms, counter)
        }
    };
    if end.ends_both()
        && let Some(abort) = terms.abort
    {
        abort.request();
    }
    Flow {
        bytes: counter.bytes(),
        messages: counter.messages(),
        end,
        undelivered: left.bytes,
        undelivered_messages: left.whole.messages,
        undelivered_bytes: left.whole.bytes,
        undelivered_part: left.part,
        divided_messages: left.divided,
        at_hand: left.at_hand,
    }
}

/// Bytes without marks have no messages that could be too large: they are cut to what the sink takes.
fn fitting(framing: Framing, sink: &Sink) -> Framing {
    match sink {
        Sink::Messages(sink) if framing.marks() == Marks::None => {
            let largest = sink.max_message().unwrap_or(usize::MAX);
            framing.with_max_len(framing.max_len().min(largest))
        }
        _ => framing,
    }
}

impl Terms<'_> {
    /// Waits by `wait`, which gets how long it may, until it is worth going on (`None`) or there is a reason to end.
    pub(super) fn pause(&self, wait: impl FnMut(Patience<'_>) -> Result<Woken>) -> Option<End> {
        self.pause_until(self.deadline, wait)
    }

    /// The same for the sink, which has taken nothing since `refused` and must take something within its own time.
    pub(super) fn pause_for_sink(
        &self,
        refused: Instant,
        wait: impl FnMut(Patience<'_>) -> Result<Woken>,
    ) -> Option<End> {
        let in_time = self.sink_timeout.and_then(|timeout| refused.checked_add(timeout));
        self.pause_until([self.deadline, in_time].into_iter().flatten().min(), wait)
    }

    fn pause_until(&self, end: Option<Instant>, mut wait: impl FnMut(Patience<'_>) -> Result<Woken>) -> Option<End> {
        loop {
            let idle_at = self.clock.idle_at();
            let deadline = [end, idle_at].into_iter().flatten().min();
            match wait(Patience { stop: self.stop, other: self.abort, deadline }) {
                Ok(Woken::Ready) => return None,
                Ok(Woken::Watched) => return Some(End::SinkGone),
                Ok(Woken::Stopped) => return Some(self.why_stopped()),
                Ok(Woken::TimedOut) if is_past(end) => return Some(End::TimedOut),
                // The other direction may have moved something since.
                Ok(Woken::TimedOut) if self.clock.idle_at() == idle_at => return Some(End::Idle),
                Ok(Woken::TimedOut) => {}
                Err(error) => return Some(End::Failed(error)),
            }
        }
    }

    /// A reason to take nothing more, looked at between two moves, because a source that never pauses must not
    /// outrun a request to stop.
    pub(super) fn interruption(&self) -> Option<End> {
        let requested = |stop: Option<&Stop>| stop.is_some_and(Stop::is_requested);
        if requested(self.stop) || requested(self.abort) {
            Some(self.why_stopped())
        } else if self.is_over() {
            Some(End::TimedOut)
        } else {
            None
        }
    }

    /// How long what was taken may still be given, when the end came in the middle.
    pub(super) fn grace(&self, end: &End) -> Option<Patience<'static>> {
        let in_the_middle = matches!(end, End::Stopped | End::OtherFailed | End::Failed(_) | End::Idle | End::TimedOut);
        in_the_middle.then(|| Patience::new(None, Some(self.grace)))
    }

    /// How long to wait, at this end, until the sink's peer has what was given. When the source has ended nothing
    /// unread is left that could make closing a reset.
    pub(super) fn settling(&self, end: &End) -> Option<Patience<'static>> {
        match end {
            End::SourceEnded | End::SourceBroken(_) | End::SinkGone => None,
            _ => Some(Patience::new(None, Some(self.grace))),
        }
    }

    /// How long to look, at a natural end, whether the sink's peer has got everything.
    pub(super) fn confirming(&self, end: &End) -> Option<Patience<'_>> {
        let until = Instant::now().checked_add(self.grace);
        let deadline = [until, self.deadline].into_iter().flatten().min();
        (self.alone && end.is_natural()).then_some(Patience { stop: self.stop, other: None, deadline })
    }

    /// How long what was given may keep us, where it depends on us.
    pub(super) fn lingering(&self) -> Patience<'_> {
        let now = self.sink_timeout.filter(Duration::is_zero).map(|_| Instant::now());
        Patience { stop: self.stop, other: self.abort, deadline: now.or(self.deadline) }
    }

    fn why_stopped(&self) -> End {
        if self.stop.is_some_and(Stop::is_requested) { End::Stopped } else { End::OtherFailed }
    }

    fn is_over(&self) -> bool {
        is_past(self.deadline)
    }
}

/// The attempts to give one thing to a sink that may refuse it for a while.
///
/// The deadlines are those of the first refusal and of the first reason to end: a sink that cannot be polled is asked
/// again and again, and must not begin anew each time.
#[derive(Debug, Default)]
pub(super) struct Giving {
    refused: Option<Instant>,
    ending: Option<(End, Option<Patience<'static>>)>,
}

impl Giving {
    /// Waits after a refusal, and says whether another attempt may be made.
    pub(super) fn wait(&mut self, terms: &Terms<'_>, mut wait: impl FnMut(Patience<'_>) -> Result<Woken>) -> bool {
        let refused = *self.refused.get_or_insert_with(Instant::now);
        match &self.ending {
            None => {
                let end = terms.pause_for_sink(refused, wait);
                self.ending = end.map(|end| {
                    let grace = terms.grace(&end);
                    (end, grace)
                });
                true
            }
            // What was taken may still be given for a while.
            Some((_, Some(grace))) => matches!(wait(*grace), Ok(Woken::Ready)),
            Some((_, None)) => false,
        }
    }

    /// The sink took something.
    pub(super) fn took(&mut self) {
        self.refused = None;
    }

    /// The reason to end, if there was one.
    pub(super) fn end(self) -> Option<End> {
        self.ending.map(|(end, _)| end)
    }
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// The end that an error of the sink means.
pub(super) fn sink_end(error: Error) -> End {
    if error.is_peer_dead() { End::SinkGone } else { End::Failed(error) }
}

/// The end that an error of the source means.
pub(super) fn source_end(error: Error) -> End {
    if error.is_peer_dead() { End::SourceBroken(error) } else { End::Failed(error) }
}
