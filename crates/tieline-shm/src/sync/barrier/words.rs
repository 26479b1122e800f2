//! The protocol of the barrier: everyone says in its own line how far it has come.
//!
//! There is no count of those who have arrived, which a death could falsify: whoever arrives looks at all lines, and
//! if nobody is missing, begins the next generation; anyone may, and one does. Who waits sleeps on the generation and
//! on the words of all participants, so that the kernel wakes one sleeper when a participant dies; that one wakes the
//! others.
//!
//! The invariant: a generation begins only when each participant has arrived in the one before, is dead, or has left.

use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::sync::kernel::{ANYONE, DIED, Kernel, Line, OWNER, WAITERS, Woken, has_passed, mark, model_fence};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const JOIN: &str = "join a barrier";
const WAIT: &str = "wait at a barrier";

/// As many as one sleep can watch beside the generation.
pub(crate) const MAX_PARTICIPANTS: usize = 127;

/// Stands in place of an owner who has left; no thread has this id.
const LEFT: u32 = OWNER;

/// The barrier's memory: the generation is the first line's `state`. A participant's `state` is the generation it
/// has finished arriving in, plus one; `more[0]` counts those who died in its place.
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
    told: Vec<u32>,
}

impl BarrierWords {
    /// At least one place and at most [`MAX_PARTICIPANTS`].
    pub(crate) fn new(head: View<Line>, places: View<[Line]>) -> Self {
        Self { head, places }
    }

    /// Takes a place: one that nobody had yet, else that of one who left or died.
    pub(crate) fn join<K: Kernel>(&self, kernel: &K) -> Result<Member> {
        let fresh = |seen: u32| seen & (OWNER | DIED) == 0;
        let given_up = |seen: u32| seen & OWNER == LEFT || seen & OWNER == 0;
        let place = self.take_place(kernel, fresh).or_else(|| self.take_place(kernel, given_up));
        let Some(place) = place else {
            return Err(Error::new(JOIN, ErrorKind::LimitReached).because("all places are taken"));
        };
        kernel.step("barrier:joined");
        let told = self.places.iter().map(deaths).collect();
        Ok(Member { place, arrived: None, told })
    }

    fn take_place<K: Kernel>(&self, kernel: &K, free: impl Fn(u32) -> bool) -> Option<usize> {
        let me = kernel.thread_id();
        self.places.iter().position(|line| {
            let seen = line.word.load(Ordering::SeqCst);
            if !free(seen) {
                return false;
            }
            kernel.begin(line);
            kernel.step("barrier:joining");
            let taken = line.word.compare_exchange(seen, me | seen & WAITERS, Ordering::SeqCst, Ordering::Relaxed);
            if taken.is_ok() {
                kernel.link(line);
                kernel.step("barrier:place-taken");
                if seen & DIED != 0 {
                    // Relaxed: only the owner of the place writes it. Dying before, we are the death to be counted.
                    line.more[0].fetch_add(1, Ordering::Relaxed);
                }
            }
            kernel.end();
            taken.is_ok()
        })
    }

    /// Leaves for good: nobody waits for this place any more.
    pub(crate) fn leave<K: Kernel>(&self, kernel: &K, member: &Member) {
        let line = &self.places[member.place];
        kernel.begin(line);
        kernel.unlink(line);
        kernel.step("barrier:leaving");
        let mut seen = line.word.load(Ordering::Relaxed);
        while let Err(now) =
            line.word.compare_exchange_weak(seen, LEFT | seen & WAITERS, Ordering::SeqCst, Ordering::Relaxed)
        {
            seen = now;
        }
        model_fence();
        kernel.end();
        self.finish(kernel, self.generation().load(Ordering::SeqCst));
        // The others look again, as after a death; they do not mind if we die before.
        kernel.unmark(&line.word);
    }

    /// Arrives, and waits for the others; `true` for the one who began the next generation.
    pub(crate) fn wait<K: Kernel>(&self, kernel: &K, member: &mut Member, until: Until) -> Result<bool> {
        let now = self.generation().load(Ordering::SeqCst);
        let mine = *member.arrived.get_or_insert(now);
        // Whoever was told of a death in mid-wait may find that the others went on meanwhile.
        if mine == now {
            kernel.step("barrier:arriving");
            // Release, with [finish]: what we did before the barrier. SeqCst: we see that we are the last, or the
            // last sees us.
            self.places[member.place].state.store(arrival(mine), Ordering::SeqCst);
            model_fence();
            kernel.step("barrier:arrived");
        }
        let waited = self.wait_for(kernel, member, mine, until);
        if waited.is_ok() {
            member.arrived = None;
        }
        waited
    }

    fn wait_for<K: Kernel>(&self, kernel: &K, member: &mut Member, mine: u32, until: Until) -> Result<bool> {
        let mut over = false;
        loop {
            if self.generation().load(Ordering::SeqCst) != mine {
                return Ok(false);
            }
            if self.learn_of_deaths(member) {
                self.wake_all(kernel);
                return Err(Error::new(WAIT, ErrorKind::PeerGone).because("a participant died; wait again to go on"));
            }
            if self.finish(kernel, mine) {
                return Ok(true);
            }
            if self.generation().load(Ordering::SeqCst) != mine {
                return Ok(false);
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(WAIT, ErrorKind::WouldBlock));
            }
            if over {
                return Err(Error::new(WAIT, ErrorKind::TimedOut));
            }
            kernel.step("barrier:sleeps");
            over = self.sleep(kernel, member, mine, until)?;
        }
    }

    /// Begins the next generation if nobody is missing in this one; answers whether this call did.
    fn finish<K: Kernel>(&self, kernel: &K, generation: u32) -> bool {
        // Acquire, with [wait]: what each did before it arrived.
        let complete = self.places.iter().all(|line| match line.word.load(Ordering::SeqCst) & (OWNER | DIED) {
            0 => false,
            LEFT => true,
            seen if seen & OWNER == 0 => true,
            _ => line.state.load(Ordering::SeqCst) == arrival(generation),
        });
        if !complete {
            return false;
        }
        kernel.step("barrier:complete");
        let next = generation.wrapping_add(1);
        // Release, with [wait_for]: through us, everyone's work before the barrier.
        let first = self.generation().compare_exchange(generation, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if first {
            kernel.step("barrier:finished");
            self.wake_all(kernel);
        }
        first
    }

    /// Sleeps until something may have changed; answers whether the deadline passed.
    fn sleep<K: Kernel>(&self, kernel: &K, member: &Member, mine: u32, until: Until) -> Result<bool> {
        let mut words: [(&AtomicU32, u32); MAX_PARTICIPANTS + 1] =
            [(self.generation(), mine); MAX_PARTICIPANTS + 1];
        let mut count = 1;
        for (at, line) in self.places.iter().enumerate() {
            let seen = line.word.load(Ordering::SeqCst);
            if at == member.place || seen & OWNER == 0 && seen & DIED != 0 {
                continue;
            }
            let Ok(marked) = mark(&line.word, seen) else {
                return Ok(has_passed(until));
            };
            words[count] = (&line.word, marked);
            count += 1;
        }
        model_fence();
        // With [learn_of_deaths]: who died before we looked at it is not in the list.
        if self.deaths_unknown_to(member) {
            return Ok(false);
        }
        Ok(match kernel.wait_any(&words[..count], until)? {
            Woken::At(0) => false,
            Woken::At(_) => {
                // By a death or a departure, of which the kernel tells one sleeper only.
                self.wake_all(kernel);
                false
            }
            Woken::Look => has_passed(until),
            Woken::TimedOut => true,
        })
    }

    fn wake_all<K: Kernel>(&self, kernel: &K) {
        kernel.wake(self.generation(), u32::MAX, ANYONE);
    }

    fn deaths_unknown_to(&self, member: &Member) -> bool {
        self.places.iter().zip(&member.told).any(|(line, told)| deaths(line) != *told)
    }

    /// Whether somebody died of whom `member` was not told; it is told now.
    fn learn_of_deaths(&self, member: &mut Member) -> bool {
        let mut news = false;
        for (line, told) in self.places.iter().zip(&mut member.told) {
            let deaths = deaths(line);
            news |= deaths != *told;
            *told = deaths;
        }
        news
    }

    fn generation(&self) -> &AtomicU32 {
        &self.head.state
    }
}

/// How many have died in this place.
fn deaths(line: &Line) -> u32 {
    let dead = u32::from(line.word.load(Ordering::SeqCst) & (OWNER | DIED) == DIED);
    // Relaxed: comes with the word.
    line.more[0].load(Ordering::Relaxed).wrapping_add(dead)
}

/// The state of one who has arrived in `generation`.
fn arrival(generation: u32) -> u32 {
    generation.wrapping_add(1)
}
