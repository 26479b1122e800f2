//! The protocol of the barrier: everyone says in its own line how far it has come.
//!
//! There is no count of those who have arrived, which a death could falsify: whoever arrives looks at all lines, and
//! if nobody is missing, begins the next generation; anyone may, and one does. Who waits sleeps on the generation and
//! on the words of all participants, so that the kernel wakes one sleeper when a participant dies; that one wakes the
//! others.
//!
//! The invariant: a generation begins only when each participant has arrived in the one before, is dead, or has left.

use tieline_os::futex::AnyWaited;

use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering};
#[cfg(not(model))]
use crate::raw::robust::is_held_here;
use crate::raw::robust::{Thread, low, planted, step};
use crate::sync::line::{DIED, Line, OWNER, WAITERS, mark, model_fence, watch};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const JOIN: &str = "join a barrier";
const WAIT: &str = "wait at a barrier";

/// As many as one sleep can watch beside the generation.
pub(crate) const MAX_PARTICIPANTS: usize = 127;

/// Set in the high half of a place's word when its owner has left. The low half has no owner then, so that the kernel
/// wakes somebody if the leaver dies before it has.
const LEFT: u64 = 1 << 32;

/// Above it: how many owners of the place have died whose place was taken again. So that who takes it counts the death
/// in the same instant, and nobody who looks meanwhile sees fewer deaths than there were.
const DEATHS_SHIFT: u32 = 33;
const DEATHS: u64 = u64::MAX << DEATHS_SHIFT;

/// The barrier's memory: the generation is the first line's word. A participant's `note` is the generation it
/// has finished arriving in, plus one; the high half of its word counts those who died in its place.
#[derive(Clone, Debug)]
pub(crate) struct BarrierWords {
    head: View<Line>,
    places: View<[Line]>,
}

/// What a participant remembers by itself.
#[derive(Debug)]
pub(crate) struct Member {
    place: usize,
    /// The generation it has arrived in and not heard the end of.
    arrived: Option<u32>,
    /// For each place, how many deaths it was told of.
    told: Vec<u64>,
}

impl BarrierWords {
    /// At least one place and at most [`MAX_PARTICIPANTS`].
    pub(crate) fn new(head: View<Line>, places: View<[Line]>) -> Self {
        Self { head, places }
    }

    /// Takes a place: one that nobody had yet, else that of one who left or died.
    pub(crate) fn join(&self, thread: Thread) -> Result<Member> {
        let fresh = |seen: u64| seen & (OWNER | DIED | LEFT) == 0;
        let given_up = |seen: u64| seen & OWNER == 0;
        let place = self.take_place(thread, fresh).or_else(|| self.take_place(thread, given_up));
        let Some(place) = place else {
            return Err(Error::new(JOIN, ErrorKind::LimitReached).because("all places are taken"));
        };
        step("barrier:joined");
        // Of whom it finds dead it was never to be told.
        let told = self.places.iter().map(|line| deaths(line.word().load(Ordering::SeqCst))).collect();
        Ok(Member { place, arrived: None, told })
    }

    fn take_place(&self, thread: Thread, free: impl Fn(u64) -> bool) -> Option<usize> {
        let me = u64::from(thread.id());
        self.places.iter().position(|line| {
            loop {
                let seen = line.word().load(Ordering::SeqCst);
                if !free(seen) {
                    return false;
                }
                thread.begin(&line.robust);
                step("barrier:joining");
                let new = me | seen & WAITERS | counted(deaths(seen));
                let taken = line.word().compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed).is_ok();
                if taken {
                    thread.link(&line.robust);
                    step("barrier:place-taken");
                    // Whoever was here before may have arrived; we have not. Nobody arrives in a generation that is over.
                    line.robust.note.store(self.generation(), Ordering::SeqCst);
                }
                thread.end();
                if taken {
                    return true;
                }
            }
        })
    }

    /// Leaves for good: nobody waits for this place any more.
    pub(crate) fn leave(&self, thread: Thread, member: &Member) {
        let line = &self.places[member.place];
        thread.begin(&line.robust);
        if !thread.unlink(&line.robust) {
            // Inherited by fork: the place is the parent's.
            thread.end();
            return;
        }
        step("barrier:leaving");
        let mut seen = line.word().load(Ordering::Relaxed);
        loop {
            let new = LEFT | seen & (WAITERS | DEATHS);
            match line.word().compare_exchange_weak(seen, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        model_fence();
        step("barrier:left");
        // The others look again, as after a death.
        line.robust.unmark();
        thread.end();
    }

    /// Arrives, and waits for the others; `true` for the one who began the next generation.
    pub(crate) fn wait(&self, thread: Thread, member: &mut Member, until: Until) -> Result<bool> {
        if !thread.holds(&self.places[member.place].robust) {
            return Err(Error::new(WAIT, ErrorKind::Forked));
        }
        let now = self.generation();
        let mine = *member.arrived.get_or_insert(now);
        // Whoever was told of a death in mid-wait may find that the others went on meanwhile.
        if mine == now {
            step("barrier:arriving");
            // Release, with [finish]: what we did before the barrier. SeqCst: we see that we are the last, or the
            // last sees us.
            self.places[member.place].robust.note.store(arrival(mine), Ordering::SeqCst);
            model_fence();
            step("barrier:arrived");
        }
        let waited = self.wait_for(member, mine, until);
        if waited.is_ok() {
            member.arrived = None;
        }
        waited
    }

    fn wait_for(&self, member: &mut Member, mine: u32, until: Until) -> Result<bool> {
        let mut over = false;
        loop {
            // First of all, so that nobody passes without knowing whom the others went on without.
            if self.learn_of_deaths(member) {
                self.wake_all();
                return Err(Error::new(WAIT, ErrorKind::PeerGone).because("a participant died; wait again to go on"));
            }
            if self.generation() != mine {
                return Ok(false);
            }
            if self.finish(mine) {
                return Ok(true);
            }
            if self.generation() != mine {
                return Ok(false);
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(WAIT, ErrorKind::WouldBlock));
            }
            if over {
                return Err(Error::new(WAIT, ErrorKind::TimedOut));
            }
            step("barrier:sleeps");
            over = self.sleep(member, mine, until)?;
        }
    }

    /// Whether nobody is missing in a generation in which somebody has come.
    fn is_complete(&self, generation: u32) -> bool {
        let mut has_come = false;
        // Acquire, with [wait]: what each did before it arrived.
        let nobody_misses =
            self.places.iter().all(|line| match line.word().load(Ordering::SeqCst) & (OWNER | DIED | LEFT) {
                0 => false,
                seen if seen & OWNER == 0 => true,
                _ => {
                    let has = line.robust.note.load(Ordering::SeqCst) == arrival(generation);
                    has_come |= has;
                    has || planted("arrival is not looked at")
                }
            });
        nobody_misses && has_come
    }

    /// Begins the next generation if nobody is missing in this one; answers whether this call did.
    fn finish(&self, generation: u32) -> bool {
        if !self.is_complete(generation) {
            return false;
        }
        step("barrier:complete");
        let next = generation.wrapping_add(1);
        // Release, with [wait_for]: through us, everyone's work before the barrier.
        let (now, next) = (u64::from(generation), u64::from(next));
        let first = self.head.word().compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if first {
            step("barrier:finished");
            self.wake_all();
        }
        first
    }

    /// Sleeps until something may have changed; answers whether the deadline passed.
    fn sleep(&self, member: &Member, mine: u32, until: Until) -> Result<bool> {
        let mut words: [(&AtomicU64, u32); MAX_PARTICIPANTS + 1] = [(self.head.word(), mine); MAX_PARTICIPANTS + 1];
        let mut count = 1;
        for (at, line) in self.places.iter().enumerate() {
            let seen = line.word().load(Ordering::SeqCst);
            if at == member.place || planted("dead are not watched") {
                continue;
            }
            let Ok(marked) = mark(line.word(), seen) else {
                return Ok(until.has_passed());
            };
            words[count] = (line.word(), low(marked));
            count += 1;
        }
        model_fence();
        // Who died or left before we marked its word will wake nobody.
        if self.deaths_unknown_to(member) || self.is_complete(mine) {
            return Ok(false);
        }
        Ok(match watch(&self.head.robust, &words[..count], until)? {
            AnyWaited::Woken(0) => false,
            AnyWaited::Woken(_) => {
                // By a death or a departure, of which the kernel tells one sleeper only.
                self.wake_all();
                false
            }
            AnyWaited::Changed => until.has_passed(),
            AnyWaited::TimedOut => true,
        })
    }

    fn wake_all(&self) {
        self.head.robust.wake(u32::MAX);
    }

    fn deaths_unknown_to(&self, member: &Member) -> bool {
        let now = |line: &Line| deaths(line.word().load(Ordering::SeqCst));
        self.places.iter().zip(&member.told).any(|(line, told)| now(line) != *told)
    }

    /// Whether somebody died of whom `member` was not told; it is told now.
    fn learn_of_deaths(&self, member: &mut Member) -> bool {
        let mut news = false;
        for (line, told) in self.places.iter().zip(&mut member.told) {
            let deaths = deaths(line.word().load(Ordering::SeqCst));
            if deaths != *told {
                news = true;
                *told = deaths;
            }
        }
        news
    }

    /// Whether a thread of this process has a place.
    #[cfg(not(model))]
    pub(crate) fn is_held_here(&self) -> bool {
        let word = |line: &Line| low(line.word().load(Ordering::Relaxed));
        self.places.iter().any(|line| is_held_here(word(line)))
    }

    pub(crate) fn generation(&self) -> u32 {
        // SeqCst, with [wait] and [finish]: what everyone did before the barrier.
        low(self.head.word().load(Ordering::SeqCst))
    }
}

/// How many have died in the place with this word, modulo what fits.
fn deaths(word: u64) -> u64 {
    let dead = u64::from(word & (OWNER | DIED) == DIED);
    ((word >> DEATHS_SHIFT) + dead) << DEATHS_SHIFT >> DEATHS_SHIFT
}

/// Their place in a word.
fn counted(deaths: u64) -> u64 {
    deaths << DEATHS_SHIFT
}

/// The state of one who has arrived in `generation`.
fn arrival(generation: u32) -> u32 {
    generation.wrapping_add(1)
}
