//! A meeting point of threads in several processes: [`Barrier`].

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::words::{self, BarrierWords, Member};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::robust::Thread;
use crate::segment::{Details, Fact};
use crate::sync::line::{self, Line};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// The largest number of participants.
pub const MAX_PARTICIPANTS: u32 = words::MAX_PARTICIPANTS as u32;

/// A point at which a number of threads, in whichever processes, wait for each other, again and again.
///
/// A thread [joins](Self::join) once and then [waits](Participant::wait) at the end of each of its steps; nobody passes
/// before all have come. One of them, whoever saw that all had come, is the leader of that meeting.
///
/// ```
/// use tieline_shm::sync::Barrier;
///
/// let steps = Barrier::anonymous("steps", 2)?;
/// std::thread::scope(|scope| {
///     let peer = scope.spawn(|| {
///         // A peer that was sent the descriptor:
///         let steps = Barrier::from_fd(steps.as_fd().try_clone_to_owned().unwrap())?;
///         let me = steps.join()?;
///         Ok::<_, tieline_shm::Error>((me.wait()?, me.wait()?))
///     });
///     let me = steps.join()?;
///     let mine = (me.wait()?, me.wait()?);
///     let theirs = peer.join().unwrap()?;
///     assert!(mine.0 != theirs.0 && mine.1 != theirs.1, "each meeting has one leader");
///     Ok::<_, tieline_shm::Error>(())
/// })?;
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Death
/// When a participant dies, at any instruction, every other one is told once, by `PeerGone`: at the meeting it waits
/// in, before it passes, or else at its next one. Nobody waits for the dead any more: who wants to go on with fewer
/// calls [`wait`](Participant::wait) again, which continues the same meeting; who does not, drops its place. A new
/// participant may [join](Self::join) in the dead one's place, and is told of those only who die after it has joined. A thread that is only stopped (`SIGSTOP`) is waited for.
///
/// Before it has joined a thread is unknown: if one of those expected never comes, the first meeting waits for it, so
/// give the first wait a deadline.
///
/// # Limits
/// At most [`MAX_PARTICIPANTS`] (127: as many as the kernel watches in one sleep beside the barrier itself). Each wait
/// looks at all participants. Before Linux 5.16 a death is noticed up to 20 ms later. Whoever shares a barrier is
/// trusted: it can write who has come.
pub struct Barrier {
    words: BarrierWords,
    place: Place,
}

/// A thread's place at a barrier. Dropping it leaves: nobody waits for this place any more. Not to be sent to another
/// thread.
///
/// In a child made by `fork` an inherited place is none: `wait` answers `Forked`, and dropping it does nothing.
#[must_use = "the place is given up when this is dropped"]
pub struct Participant<'a> {
    barrier: &'a Barrier,
    member: RefCell<Member>,
    not_send: PhantomData<*const ()>,
}

impl Barrier {
    /// Makes a barrier in a segment of its own; `label` is for people who look at it.
    ///
    /// # Errors
    /// `InvalidInput` for no participants or more than [`MAX_PARTICIPANTS`]; `OutOfMemory`, `LimitReached`
    /// (descriptors), `System`.
    pub fn anonymous(label: &str, participants: u32) -> Result<Self> {
        Self::over(Place::anonymous(label, Self::plan(participants)?)?, label)
    }

    /// The barrier whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a barrier"; participants: u32; participants);

    fn form() -> Form {
        Form::lock(LAYOUT_HASH, "a barrier")
    }

    fn plan(participants: u32) -> Result<Plan<'static>> {
        if !(1..=MAX_PARTICIPANTS).contains(&participants) {
            return Err(Error::new("create a barrier", ErrorKind::InvalidInput)
                .because(format!("it can have 1 to {MAX_PARTICIPANTS} participants, not {participants}")));
        }
        Ok(Plan::new(Self::form(), size_of::<Line>() * (1 + participants as usize), move |segment| {
            let facts = [Fact::words("barrier place", size_of::<Line>(), participants as usize, size_of::<Line>())];
            segment.describe(&Details { version: 1, facts: &facts, ..Details::default() })?;
            line::make(&*segment.view::<Line>(0)?, FORM, participants);
            Ok(())
        }))
    }

    fn over(place: Place, _: &str) -> Result<Self> {
        let segment = place.segment();
        let head = segment.view::<Line>(0)?;
        let (_, participants) = line::attach(&head, |form| form == FORM, words::MAX_PARTICIPANTS)?;
        let places = segment.slice::<Line>(size_of::<Line>(), participants)?;
        Ok(Self { words: BarrierWords::new(head, places), place })
    }

    /// The descriptor to send to peers that shall share the barrier.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// How many meetings there have been, modulo 2³².
    #[must_use]
    pub fn meetings(&self) -> u32 {
        self.words.generation()
    }

    /// Takes a place for the calling thread: a free one, else that of one who has left or died. Does not block.
    ///
    /// The next meeting waits for it.
    ///
    /// # Errors
    /// `LimitReached`: all places are taken, or this thread holds as many places and locks as can be watched over.
    /// `Unsupported`: no robust lists here.
    pub fn join(&self) -> Result<Participant<'_>> {
        let member = RefCell::new(self.words.join(line::thread("join a barrier")?)?);
        Ok(Participant { barrier: self, member, not_send: PhantomData })
    }
}

impl Participant<'_> {
    /// Waits until everyone has come; answers `true` to one of them, the leader.
    ///
    /// # Errors
    /// `PeerGone`: a participant died since this one was last told; wait again to go on without it. `Forked`: the place
    /// is the parent's. `System`.
    #[doc(alias = "pthread_barrier_wait")]
    pub fn wait(&self) -> Result<bool> {
        self.wait_until(Until::Forever)
    }

    /// [`wait`](Self::wait) for at most `timeout`, on the monotonic clock.
    ///
    /// Who is out of time has come all the same: the others may pass, and waiting again continues the same meeting.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as `wait`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(Until::At(Deadline::after(timeout)))
    }

    /// Says that this one has come, and passes if everyone has; never waits. Ask again until it passes.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<bool> {
        self.wait_until(Until::Now)
    }

    fn wait_until(&self, until: Until) -> Result<bool> {
        self.barrier.words.wait(Thread::current()?, &mut self.member.borrow_mut(), until)
    }
}

impl Drop for Participant<'_> {
    fn drop(&mut self) {
        // In a forked child the thread is another one, and holds nothing.
        if let Ok(thread) = Thread::current() {
            self.barrier.words.leave(thread, &self.member.borrow());
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if self.words.is_held_here() {
            // A place was forgotten: the thread's list of what it holds names this memory.
            std::mem::forget(self.words.clone());
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("meetings", &self.meetings()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Participant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant").field("barrier", self.barrier).finish_non_exhaustive()
    }
}

/// "BA", version 1.
const FORM: u32 = 0x4241_0100;

/// What a segment says whose body is a barrier.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"barrier\x01");
