//! Copying until the end, in one call or in steps.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::engine::{Engine, Halt, How, Progress, Side, Sort, sort_of};
use crate::error::{Error, Result};
use crate::wait::{Wait, timespec, wait_for};

const OPERATION: &str = "copy";

/// Copies from one descriptor to another until the source ends or `limit` bytes are copied, by the fastest way the two
/// allow.
///
/// Files, pipes, FIFOs, stream sockets, terminals and devices, in any pairing and in blocking or non-blocking mode.
/// Positions of files are used and advanced. Waits as long as source and sink make it wait; for a deadline, progress or
/// a way to stop it use [`Copier`]. If the sink dies while the source is idle, that ends the copy too.
///
/// From pipe to pipe, what was a packet stays one, so the last reader must read with at least
/// [`PIPE_BUF`](crate::pipe::PIPE_BUF) bytes if the first writer is in packet mode. To anything else packets are bytes.
///
/// The kernel can refuse a way midway, or a file can change its nature; then a plainer way goes on where the other
/// ended.
///
/// ```
/// use tieline_os::{pipe, transfer};
/// let (reader, writer) = pipe::pipe()?;
/// let (out, sink) = pipe::pipe()?;
/// writer.write_all(b"abc")?;
/// drop(writer);
/// assert_eq!(transfer::copy(&reader, &sink, None)?.bytes, 3);
/// assert_eq!(out.available()?, 3);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// [`CopyError`] says why, how many bytes arrived, and has the bytes that were taken and could not be given. `PeerGone`
/// if the sink's other end is gone; `InvalidInput` if a side is a directory or a socket that carries messages, both are
/// the same pipe, or both are the same file and there is no limit; otherwise what reading or writing answered.
pub fn copy(from: impl AsFd, to: impl AsFd, limit: Option<u64>) -> Result<Outcome, CopyError> {
    let mut copier = Copier::new(from, to)?;
    if let Some(limit) = limit {
        copier = copier.limit(limit);
    }
    copier.run(|_| ControlFlow::Continue(()))
}

/// What a copy has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How many bytes the sink took.
    pub bytes: u64,
    /// The way the last of them went.
    pub how: How,
}

/// What one step of a [`Copier`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Bytes moved.
    Moved {
        /// Bytes taken from the source.
        accepted: u64,
        /// Bytes given to the sink, which may have been accepted earlier.
        delivered: u64,
    },
    /// Everything is delivered: the source has ended, or the limit is reached.
    Done,
    /// The descriptor of [`Copier::stop_on`] is readable. Further steps say the same until it no longer is.
    Stopped,
}

/// A copy in steps: for relays, progress bars, deadlines, and for stopping.
///
/// Each step moves up to a mebibyte (16 between files). Between steps the counts are exact, and whatever a step answers,
/// an error too, the next step goes on where it ended: a byte once taken from the source is delivered, or kept here and
/// counted as [`pending`](Self::pending). A signal neither ends a step nor loses anything.
///
/// While something bounds the waiting (a deadline, `try_step`, a stop descriptor) nothing waits inside the kernel on a
/// socket or terminal, even in blocking mode; to a socket in blocking mode that costs the way without copies, to one in
/// non-blocking mode nothing.
///
/// A relay in both directions is two of these, and the end of one direction is told to the other side by
/// `shutdown`, which this does not do.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tieline_os::{pipe, transfer::{Copier, Step}};
/// let (reader, writer) = pipe::pipe()?;
/// let (_out, sink) = pipe::pipe()?;
/// writer.write_all(b"abc")?;
/// let mut copier = Copier::new(&reader, &sink)?.deadline(Instant::now() + Duration::from_secs(1));
/// assert_eq!(copier.step()?, Step::Moved { accepted: 3, delivered: 3 });
/// assert!(copier.try_step().unwrap_err().is_would_block());
/// drop(writer);
/// assert_eq!(copier.step()?, Step::Done);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[must_use = "nothing is copied until `step` or `run` is called"]
pub struct Copier<S, D> {
    source: S,
    sink: D,
    engine: Engine,
    same_file: bool,
    deadline: Option<Instant>,
    stop: Option<OwnedFd>,
    blocked_on: Option<Side>,
}

impl<S: AsFd, D: AsFd> Copier<S, D> {
    /// Prepares a copy; nothing is moved yet.
    ///
    /// # Errors
    /// `InvalidInput` if a side is a directory or a socket that carries messages, or both are the same pipe.
    pub fn new(source: S, sink: D) -> Result<Self> {
        let (from, from_stat) = sort_of(source.as_fd()).map_err(|errno| unfit("source", errno))?;
        let (to, to_stat) = sort_of(sink.as_fd()).map_err(|errno| unfit("sink", errno))?;
        let same = (from_stat.st_dev, from_stat.st_ino) == (to_stat.st_dev, to_stat.st_ino);
        if same && from == Sort::Pipe {
            return Err(Error::invalid(OPERATION, "source and sink are the same pipe"));
        }
        Ok(Self {
            source,
            sink,
            engine: Engine::new(from, to),
            same_file: same && from == Sort::File,
            deadline: None,
            stop: None,
            blocked_on: None,
        })
    }

    /// Ends after `bytes` bytes altogether.
    pub fn limit(mut self, bytes: u64) -> Self {
        self.engine.set_limit(bytes);
        self
    }

    /// Makes the source or the sink, if it is a pipe or FIFO of the usual capacity (16 pages), wider once that much was
    /// moved: a mebibyte if its pages are moved, 256 KiB if its bytes are copied. That is fewer calls and fewer changes
    /// between processes for the same bytes.
    ///
    /// It is seen by all who have the pipe (more fits before its writer waits) and outlasts the copy. A pipe of another
    /// capacity was sized by somebody and stays as it is; so does one that the kernel will not widen, because the user
    /// holds too much in pipes already (`pipe-user-pages-soft` in pipe(7)).
    pub fn widen_pipes(mut self, source: bool, sink: bool) -> Self {
        self.engine.set_widen(source, sink);
        self
    }

    /// No step waits beyond this moment.
    pub fn deadline(mut self, moment: Instant) -> Self {
        self.deadline = Some(moment);
        self
    }

    /// Makes steps end with [`Step::Stopped`] when `fd` becomes readable: an eventfd, a pipe, a signalfd, a pidfd.
    ///
    /// It is looked at before each step and during each wait, never read. The copier keeps a duplicate.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is left.
    pub fn stop_on(mut self, fd: impl AsFd) -> Result<Self> {
        let duplicate = fcntl_dupfd_cloexec(fd, 0).map_err(|errno| Error::new("keep a stop descriptor", errno))?;
        self.stop = Some(duplicate);
        Ok(self)
    }

    /// Moves what can be moved at once.
    ///
    /// # Errors
    /// `WouldBlock` if nothing can; [`blocked_on`](Self::blocked_on) says which side to wait for. Others as
    /// [`step`](Self::step).
    pub fn try_step(&mut self) -> Result<Step> {
        self.advance(Wait::Never)
    }

    /// Waits until something can be moved, and moves it.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; `PeerGone` if the sink's other end is gone; otherwise what reading or writing
    /// answered. Nothing is lost: see [`pending`](Self::pending) and [`take_pending`](Self::take_pending).
    pub fn step(&mut self) -> Result<Step> {
        self.advance(self.deadline.map_or(Wait::Forever, Wait::Until))
    }

    /// As [`step`](Self::step), waiting for `timeout` and until the deadline at most.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_timeout(&mut self, timeout: Duration) -> Result<Step> {
        let wait = match (Wait::timeout(timeout), self.deadline) {
            (Wait::Until(moment), Some(deadline)) => Wait::Until(moment.min(deadline)),
            (wait, None) => wait,
            (_, Some(deadline)) => Wait::Until(deadline),
        };
        self.advance(wait)
    }

    /// Steps until the copy is done, it is stopped, or `progress` (asked after each step) breaks.
    ///
    /// It may be called again after a break, a stop or an error that has passed.
    ///
    /// # Errors
    /// As [`step`](Self::step); the error carries the bytes that were taken and could not be given, unless time ran out
    /// ([`CopyError`] tells more).
    pub fn run(&mut self, mut progress: impl FnMut(&Self) -> ControlFlow<()>) -> Result<Outcome, CopyError> {
        loop {
            match self.step() {
                Ok(Step::Done | Step::Stopped) => return Ok(self.outcome()),
                Ok(Step::Moved { .. }) => {
                    if progress(self).is_break() {
                        return Ok(self.outcome());
                    }
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// How many bytes were taken from the source.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.engine.accepted()
    }

    /// How many bytes the sink has taken. A socket or pipe that has taken them has not delivered them to its reader yet.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.engine.delivered()
    }

    /// How many bytes were taken from the source and are kept here, because the sink has not taken them yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.accepted() - self.delivered()
    }

    /// Hands out the pending bytes, for a caller that gives up on the sink. They then count as delivered by the caller:
    /// the copier forgets them.
    ///
    /// # Errors
    /// None that a healthy machine gives.
    pub fn take_pending(&mut self) -> Result<Vec<u8>> {
        self.engine.take_held().map_err(|errno| Error::new("take back bytes on their way", errno))
    }

    /// The way the last bytes went; before the first, the way to be tried.
    #[must_use]
    pub fn how(&self) -> How {
        self.engine.went()
    }

    /// Whether another step would probably find nothing to move, since the last one left the source empty: who is going
    /// to wait in a way of their own may as well do so at once. A guess, and about this moment.
    #[must_use]
    pub fn source_seems_empty(&self) -> bool {
        self.engine.source_seems_empty()
    }

    /// Which side the last step had to wait for, if it had to: what an event loop should watch.
    #[must_use]
    pub fn blocked_on(&self) -> Option<Side> {
        self.blocked_on
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The sink.
    #[must_use]
    pub fn sink(&self) -> &D {
        &self.sink
    }

    fn outcome(&self) -> Outcome {
        Outcome { bytes: self.delivered(), how: self.how() }
    }

    fn failed(&mut self, error: Error) -> CopyError {
        let delivered = self.delivered();
        // After a time-out the copy can go on, so the bytes stay where they are.
        let undelivered = if error.is_timeout() { Vec::new() } else { self.take_pending().unwrap_or_default() };
        CopyError { error, accepted: self.accepted(), delivered, undelivered }
    }

    fn advance(&mut self, wait: Wait) -> Result<Step> {
        if self.same_file && self.engine.limit().is_none() {
            return Err(Error::invalid(OPERATION, "source and sink are the same file, which would grow without end"));
        }
        self.blocked_on = None;
        self.turn(wait).map_err(|errno| self.why(errno))
    }

    fn turn(&mut self, wait: Wait) -> Result<Step, Errno> {
        let may_wait = matches!(wait, Wait::Forever) && self.stop.is_none();
        let mut in_vain = self.engine.source_seems_empty() && !wait.is_over();
        loop {
            if self.is_stopped()? {
                return Ok(Step::Stopped);
            }
            let answer = match std::mem::take(&mut in_vain) {
                true => Err(Halt::Blocked(Side::Source)),
                false => self.engine.attempt(self.source.as_fd(), self.sink.as_fd(), may_wait),
            };
            match answer {
                Ok(Progress::Moved { accepted, delivered }) => return Ok(Step::Moved { accepted, delivered }),
                Ok(Progress::Done) => return Ok(Step::Done),
                Err(Halt::Failed(Errno::INTR)) => {}
                Err(Halt::Failed(errno)) => return Err(errno),
                Err(Halt::Blocked(side)) => {
                    self.blocked_on = Some(side);
                    if wait.is_over() {
                        return Err(wait.gave_up());
                    }
                    self.wait_on(side, wait)?;
                }
            }
        }
    }

    fn is_stopped(&self) -> Result<bool, Errno> {
        let Some(stop) = &self.stop else { return Ok(false) };
        match wait_for(stop, PollFlags::IN, Wait::Never) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until the side is ready, the stop descriptor is readable, or the sink is seen to be dead.
    fn wait_on(&self, side: Side, wait: Wait) -> Result<(), Errno> {
        let (source, sink) = (self.source.as_fd(), self.sink.as_fd());
        // A source at its end must not be watched while the sink is full, or the wait would end at once again and again.
        let watched: (BorrowedFd<'_>, PollFlags) = match side {
            Side::Source => (source, PollFlags::IN),
            Side::Sink => (sink, PollFlags::OUT),
        };
        // A poll shows errors and hang-ups unasked, so what they would tell nothing of is not polled at all.
        let death = if self.engine.sink_death().is_empty() { watched.0 } else { sink };
        let (stop, stop_events) = match &self.stop {
            Some(stop) => (stop.as_fd(), PollFlags::IN),
            None => (watched.0, PollFlags::empty()),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(watched.0, watched.1),
            PollFd::from_borrowed_fd(death, PollFlags::empty()),
            PollFd::from_borrowed_fd(stop, stop_events),
        ];
        loop {
            let timeout = wait.remaining().map(timespec);
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) if wait.is_over() => return Err(wait.gave_up()),
                Ok(0) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        if side == Side::Source && fds[0].revents().is_empty() && fds[1].revents().intersects(self.engine.sink_death())
        {
            return Err(Errno::PIPE);
        }
        Ok(())
    }

    fn why(&self, errno: Errno) -> Error {
        let error = Error::new(OPERATION, errno);
        match (errno, self.pending()) {
            (Errno::AGAIN | Errno::TIMEDOUT, _) => error,
            (_, 0) => error.hint(format!("{} bytes had arrived", self.delivered())),
            (_, pending) => error.hint(format!(
                "{} bytes had arrived, {pending} were taken from the source and could not be given",
                self.delivered()
            )),
        }
    }
}

impl<S: fmt::Debug, D: fmt::Debug> fmt::Debug for Copier<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier")
            .field("source", &self.source)
            .field("sink", &self.sink)
            .field("how", &self.engine.went())
            .field("accepted", &self.engine.accepted())
            .field("delivered", &self.engine.delivered())
            .finish_non_exhaustive()
    }
}

fn unfit(side: &str, errno: Errno) -> Error {
    let error = Error::new(OPERATION, errno);
    match errno {
        Errno::PROTOTYPE => error.hint(format!(
            "the {side} is a socket that carries messages, whose bounds a copy would lose; receive and send them instead"
        )),
        Errno::ISDIR => error.hint(format!("the {side} is a directory")),
        _ => error,
    }
}

/// A copy that failed: why, how far it had got, and the bytes that were on their way.
///
/// After a time-out no bytes are on their way here: they stay in the [`Copier`], which can go on.
pub struct CopyError {
    error: Error,
    accepted: u64,
    delivered: u64,
    undelivered: Vec<u8>,
}

impl CopyError {
    /// Why.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// How many bytes were taken from the source.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many bytes the sink has taken.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The bytes that were taken from the source and that the sink did not take.
    #[must_use]
    pub fn undelivered(&self) -> &[u8] {
        &self.undelivered
    }

    /// The bytes that were taken from the source and that the sink did not take, to keep.
    #[must_use]
    pub fn into_undelivered(self) -> Vec<u8> {
        self.undelivered
    }
}

impl From<Error> for CopyError {
    /// An error before the first byte.
    fn from(error: Error) -> Self {
        Self { error, accepted: 0, delivered: 0, undelivered: Vec::new() }
    }
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        error.error
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        error.error.into()
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyError")
            .field("error", &self.error)
            .field("accepted", &self.accepted)
            .field("delivered", &self.delivered)
            .field("undelivered_len", &self.undelivered.len())
            .finish()
    }
}

impl std::error::Error for CopyError {}
