//! Joining two endpoints: what comes out of one goes into the other, one way or both ways.
//!
//! [`Relay`] says under which conditions (limits, deadlines, a way to stop), [`Outcome`] and [`Flow`] say afterwards
//! what was moved and why each direction ended, [`Progress`] says so meanwhile.
//!
//! The invariant: what was taken from a source is given to the sink, or handed back in [`Flow::undelivered`]. Nothing
//! is taken that is known to have nowhere to go.
//!
//! # How it moves
//! | from → to | by |
//! |---|---|
//! | bytes → bytes | [`tieline_os::transfer`]: splice, sendfile, or read and write, whichever the two allow |
//! | bytes → messages | the framing of the source cuts messages, one at a time; `raw` ones as large as the sink takes |
//! | messages → bytes | the framing of the sink marks them; small ones share a system call |
//! | messages → messages | one to one |
//! | bytes → bytes, for which two different framings were asked, or [`Relay::by_message`] | messages in between |
//!
//! # How an end travels
//! When a source ends, its sink is told (half-close) and the other direction goes on until it ends itself. When a sink
//! is gone, its source is closed for reading, so that who writes there is told. A fault (a message too large for the
//! sink, bytes that are no frame) ends both directions at once, because going on would hide it.
//!
//! # Why threads
//! Each direction is a loop of one call that moves and, only if that could not be done at once or a single message has
//! just left the source empty, one poll that waits for the side in the way, the request to stop, and the death of the
//! sink. Two directions are two threads, the caller's
//! and one more. One thread with epoll would need two more calls per turn for registering interest in the side that
//! blocks, would share one core between the directions, and System V queues cannot be polled at all. Blocking calls
//! in the kernel would save the poll, but could not be asked to stop without a signal.

mod bytes;
mod direction;
mod messages;
mod plain;

use std::fmt;
use std::ops::Range;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::direction::Terms;
use crate::addr::Address;
use crate::endpoint::{Endpoint, Running, Sink, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Framing;
use crate::stop::{Patience, Stop};

/// Under which conditions two endpoints are joined. The default: until both ends have ended.
///
/// ```
/// use tieline_transport::addr::Address;
/// use tieline_transport::endpoint::{Direction, Endpoint};
/// use tieline_transport::relay::Relay;
/// let from: Address = "exec:printf 'one\\ntwo\\n'".parse()?;
/// let to: Address = "file:/dev/null".parse()?;
/// let flow = Relay::new().one_way(
///     Endpoint::open(&from, Direction::Receive)?,
///     Endpoint::open(&to, Direction::Send)?,
/// )?.forward;
/// assert_eq!(flow.bytes, 8);
/// assert!(flow.end.is_natural());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Relay {
    stop: Option<Stop>,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    sink_timeout: Option<Duration>,
    grace: Duration,
    max_messages: Option<u64>,
    max_bytes: Option<u64>,
    framings: Option<[Framing; 2]>,
    by_message: bool,
    progress: Progress,
}

/// How far a relay is; shared, so that another thread can show it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// From the first endpoint to the second.
    pub forward: Counter,
    /// From the second to the first.
    pub backward: Counter,
}

/// What has been moved in one direction. Clones are the same counter.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    messages: AtomicU64,
    first: OnceLock<Instant>,
}

impl Progress {
    /// When the first bytes or the first message had been moved, in whichever direction that was.
    #[must_use]
    pub fn first_moved(&self) -> Option<Instant> {
        [self.forward.first_moved(), self.backward.first_moved()].into_iter().flatten().min()
    }
}

impl Counter {
    /// When the sink took something for the first time.
    #[must_use]
    pub fn first_moved(&self) -> Option<Instant> {
        self.0.first.get().copied()
    }

    /// Bytes that the sink has taken: of messages without their framing, otherwise of the stream.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Messages that the sink has taken; always 0 where bytes are moved without regard to messages.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.0.messages.load(Ordering::Relaxed)
    }

    fn is_zero(&self) -> bool {
        self.bytes() == 0 && self.messages() == 0
    }

    /// Relaxed: a count orders nothing; the final figures come with the join of the thread that counts.
    fn add(&self, messages: u64, bytes: u64) {
        self.0.first.get_or_init(Instant::now);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if messages > 0 {
            self.0.messages.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

/// What was moved in one direction, and why it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Flow {
    /// Bytes that the sink has taken; see [`Counter::bytes`].
    pub bytes: u64,
    /// Messages that the sink has taken; see [`Counter::messages`].
    pub messages: u64,
    /// Why it ended.
    pub end: End,
    /// What was taken from the source and the sink did not take: first what was cut into messages already, in the form
    /// in which it would have been written, then the rest as it came.
    pub undelivered: Vec<u8>,
    /// How many whole messages that is; 0 where bytes are moved without regard to messages.
    pub undelivered_messages: u64,
    /// How many bytes these messages have without their framing; where bytes are moved without regard to messages, how
    /// many it is.
    pub undelivered_bytes: u64,
    /// How many more bytes there are, of a message that has not come whole.
    pub undelivered_part: u64,
    /// How many messages hold line feeds inside and went into a stream of lines, where each is several now: only with
    /// [`Framing::text`].
    pub divided_messages: u64,
    /// Where in `undelivered` the message stands, without framing, that the sink was to take next when this ended: if
    /// it failed by that message (too large, or not to be framed so), this is the one.
    pub at_hand: Option<Range<usize>>,
}

/// Why a direction ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// The source ended, and the sink was told.
    SourceEnded,
    /// The limit of messages or bytes was reached, and the sink was told.
    LimitReached,
    /// Nobody takes anything from the sink any more.
    SinkGone,
    /// The connection of the source broke; what had come before was delivered.
    SourceBroken(Error),
    /// Nothing moved in either direction for as long as was allowed.
    Idle,
    /// The time was up.
    TimedOut,
    /// Somebody asked to stop.
    Stopped,
    /// The other direction failed.
    OtherFailed,
    /// It failed: a message too large, bytes that are no frame, a fault of the system.
    Failed(Error),
}

impl End {
    /// Whether it is one of the ways in which a direction should end: the source's end, a limit.
    #[must_use]
    pub fn is_natural(&self) -> bool {
        matches!(self, Self::SourceEnded | Self::LimitReached)
    }

    /// The error, if it is one.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::SourceBroken(error) | Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the other direction must end too.
    fn ends_both(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Idle | Self::TimedOut | Self::Stopped)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceEnded => f.write_str("the source ended"),
            Self::LimitReached => f.write_str("the limit was reached"),
            Self::SinkGone => f.write_str("nobody takes anything from the sink any more"),
            Self::SourceBroken(error) => write!(f, "the connection of the source broke: {error}"),
            Self::Idle => f.write_str("nothing moved for too long"),
            Self::TimedOut => f.write_str("the time was up"),
            Self::Stopped => f.write_str("it was asked to stop"),
            Self::OtherFailed => f.write_str("the other direction failed"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// What a relay has done.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "how the moving ended, and what could not be delivered, is told only here"]
pub struct Outcome {
    /// From the first endpoint to the second.
    pub forward: Flow,
    /// From the second to the first, if it went both ways.
    pub backward: Option<Flow>,
    /// How the commands of `exec:` endpoints ended, by address.
    pub exits: Vec<(Address, ExitStatus)>,
}

/// How long what was taken may still be given when the end comes in the middle.
const GRACE: Duration = Duration::from_secs(1);

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

impl Relay {
    /// Until both ends have ended.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stop: None,
            timeout: None,
            idle_timeout: None,
            sink_timeout: None,
            grace: GRACE,
            max_messages: None,
            max_bytes: None,
            framings: None,
            by_message: false,
            progress: Progress::default(),
        }
    }

    /// Ends when asked: nothing more is taken; what was taken is given, if the sink takes it within the grace.
    #[must_use]
    pub fn stop_on(mut self, stop: &Stop) -> Self {
        self.stop = Some(stop.clone());
        self
    }

    /// Ends after `timeout` at the latest.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Ends when nothing has moved in either direction for this long.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Ends when a sink has taken nothing for this long while there was something to give; a source may take its time.
    #[must_use]
    pub fn sink_timeout(mut self, timeout: Duration) -> Self {
        self.sink_timeout = Some(timeout);
        self
    }

    /// How long what was taken may still be given after the request to stop, a fault, or the end of the time; one
    /// second by default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Each direction ends after this many messages. Bytes are counted as messages by their framing then.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = Some(messages);
        self
    }

    /// Each direction ends after this many bytes; of messages, with the one that reaches it: how long a message is shows
    /// only when it has been taken, and what has been taken is given whole.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// The framing of byte streams whose address has no `frame`; lines if this is not called.
    #[must_use]
    pub fn framing(self, framing: Framing) -> Self {
        self.framings(framing, framing)
    }

    /// As [`framing`](Self::framing), with one for each of the two endpoints. Between two byte streams with different
    /// marks messages are cut and marked anew.
    #[must_use]
    pub fn framings(mut self, first: Framing, second: Framing) -> Self {
        self.framings = Some([first, second]);
        self
    }

    /// Cuts, checks and counts messages even between two byte streams that are framed alike. Otherwise such bytes pass as
    /// they are, which is faster, and whether they are frames nobody looks.
    #[must_use]
    pub fn by_message(mut self) -> Self {
        self.by_message = true;
        self
    }

    /// How far this relay is, for another thread to show while it runs.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Moves what comes out of `from` into `to` until it ends. Blocks.
    ///
    /// Commands of `exec:` are waited for; after a request to stop or a deadline they are ended.
    ///
    /// When `from` has ended and `to` is a TCP connection, the end of that is waited for too, within the grace: a peer
    /// that has died without having read everything resets it, which is [`End::SinkGone`]. A peer that is still there
    /// after the grace may have read everything or not.
    ///
    /// # Errors
    /// `InvalidInput` if `from` was not opened to receive or `to` not to send. How the moving ends, well or badly, is
    /// in the [`Outcome`].
    pub fn one_way(self, mut from: Endpoint, mut to: Endpoint) -> Result<Outcome> {
        let [of_from, of_to] = self.framings_of(&from, &to);
        let reframe = self.reframes(&from, &to);
        let (source, sink) = (source_of(&mut from)?, sink_of(&mut to)?);
        let clock = Clock::new(self.idle_timeout);
        let terms = self.terms(&clock, None, (of_from, of_to), reframe);
        let forward = direction::run(source, sink, &terms, &self.progress.forward);
        let exits = self.conclude([from, to], terms.deadline, forward.end.ends_both());
        Ok(Outcome { forward, backward: None, exits })
    }

    /// Moves what comes out of each into the other until both have ended. Blocks, and uses one more thread.
    ///
    /// # Errors
    /// `InvalidInput` if one was not opened for both directions, or cannot be (what is written to it would be read
    /// again); `System` if no thread can be started.
    pub fn both_ways(self, mut a: Endpoint, mut b: Endpoint) -> Result<Outcome> {
        for endpoint in [&a, &b] {
            if !endpoint.capabilities().duplex {
                let text = format!("cannot join {} both ways: it has one direction at a time", endpoint.address());
                return Err(Error::new(ErrorKind::InvalidInput, text).hint("move one way only"));
            }
        }
        let [of_a, of_b] = self.framings_of(&a, &b);
        let reframe = self.reframes(&a, &b);
        let halves = (source_of(&mut a)?, sink_of(&mut b)?, source_of(&mut b)?, sink_of(&mut a)?);
        let (from_a, to_b, from_b, to_a) = halves;
        let clock = Clock::new(self.idle_timeout);
        let abort = Stop::new()?;
        let forth = self.terms(&clock, Some(&abort), (of_a, of_b), reframe);
        let back = self.terms(&clock, Some(&abort), (of_b, of_a), reframe);
        let deadline = forth.deadline;
        let (forward, backward) = std::thread::scope(|scope| {
            let backward = std::thread::Builder::new()
                .name("tieline-relay".to_owned())
                .spawn_scoped(scope, || direction::run(from_b, to_a, &back, &self.progress.backward))
                .map_err(|error| Error::system("start a thread for the second direction", &error))?;
            let forward = direction::run(from_a, to_b, &forth, &self.progress.forward);
            let backward = backward.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Error>((forward, backward))
        })?;
        let hasty = forward.end.ends_both() || backward.end.ends_both();
        let exits = self.conclude([a, b], deadline, hasty);
        Ok(Outcome { forward, backward: Some(backward), exits })
    }

    /// The framings that were asked for: by the addresses first, then by the caller.
    fn asked_framings(&self, a: &Endpoint, b: &Endpoint) -> [Option<Framing>; 2] {
        let [of_a, of_b] = self.framings.map_or([None; 2], |framings| framings.map(Some));
        [a.framing().or(of_a), b.framing().or(of_b)]
    }

    fn framings_of(&self, a: &Endpoint, b: &Endpoint) -> [Framing; 2] {
        self.asked_framings(a, b).map(|framing| framing.unwrap_or(Framing::line()))
    }

    /// Whether bytes must be cut and marked anew because the two sides are to be framed differently.
    fn reframes(&self, a: &Endpoint, b: &Endpoint) -> bool {
        matches!(self.asked_framings(a, b), [Some(a), Some(b)] if a.marks() != b.marks())
    }

    fn terms<'a>(
        &'a self,
        clock: &'a Clock,
        abort: Option<&'a Stop>,
        framings: (Framing, Framing),
        reframe: bool,
    ) -> Terms<'a> {
        Terms {
            stop: self.stop.as_ref(),
            abort,
            deadline: self.timeout.and_then(|timeout| clock.begun.checked_add(timeout)),
            sink_timeout: self.sink_timeout,
            clock,
            grace: self.grace,
            alone: abort.is_none(),
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            framings,
            by_message: reframe || self.by_message || self.max_messages.is_some(),
        }
    }

    /// Waits for the children of the endpoints, or ends them if the relay ended in haste.
    fn conclude(&self, endpoints: [Endpoint; 2], deadline: Option<Instant>, hasty: bool) -> Vec<(Address, ExitStatus)> {
        let mut exits = Vec::new();
        for mut endpoint in endpoints {
            let Some(mut running) = endpoint.take_running() else { continue };
            let patience = Patience { stop: self.stop.as_ref(), other: None, deadline };
            let status = if hasty { end_soon(&mut running) } else { running.conclude(patience) };
            exits.extend(status.ok().map(|status| (endpoint.address().clone(), status)));
        }
        exits
    }
}

/// A child whose input has just ended gets a moment to end by itself.
fn end_soon(running: &mut Running) -> Result<ExitStatus> {
    running.conclude(Patience::new(None, Some(Duration::from_millis(100))))
}

fn source_of(endpoint: &mut Endpoint) -> Result<Source> {
    let source = endpoint.take_source();
    source.ok_or_else(|| not_opened(endpoint, "receive"))
}

fn sink_of(endpoint: &mut Endpoint) -> Result<Sink> {
    let sink = endpoint.take_sink();
    sink.ok_or_else(|| not_opened(endpoint, "send"))
}

fn not_opened(endpoint: &Endpoint, verb: &str) -> Error {
    let text = format!("cannot {verb} by {}: it was not opened for that", endpoint.address());
    Error::new(ErrorKind::InvalidInput, text)
}

/// When something moved last, in either direction.
#[derive(Debug)]
struct Clock {
    begun: Instant,
    idle_timeout: Option<Duration>,
    /// Nanoseconds from `begun`; not kept if nobody asks.
    moved: AtomicU64,
}

impl Clock {
    fn new(idle_timeout: Option<Duration>) -> Self {
        Self { begun: Instant::now(), idle_timeout, moved: AtomicU64::new(0) }
    }

    fn tick(&self) {
        if self.idle_timeout.is_some() {
            let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // Relaxed: the other direction may see it a moment later and only waits longer by that moment.
            self.moved.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// When it has been idle for too long, as far as is known now.
    fn idle_at(&self) -> Option<Instant> {
        let moved = Duration::from_nanos(self.moved.load(Ordering::Relaxed));
        self.begun.checked_add(moved)?.checked_add(self.idle_timeout?)
    }
}
