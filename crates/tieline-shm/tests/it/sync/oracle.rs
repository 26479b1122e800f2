//! Lists of operations by three threads, held against plain descriptions of the locks.

use std::mem::{forget, replace};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use proptest::prelude::*;
use tieline_shm::ErrorKind;
use tieline_shm::sync::{Barrier, LockError, MutexKind, MutexOptions, Participant, RawMutex, RawMutexGuard};

const THREADS: usize = 3;

/// A thread that does what it is told and says what came of it.
struct Worker<'scope, S, A> {
    tell: Sender<S>,
    told: Receiver<A>,
    life: ScopedJoinHandle<'scope, ()>,
}

impl<'scope, S: Send + 'scope, A: Send + 'scope> Worker<'scope, S, A> {
    fn start(scope: &'scope Scope<'scope, '_>, life: impl FnOnce(&Receiver<S>, &Sender<A>) + Send + 'scope) -> Self {
        let (tell, steps) = channel();
        let (answers, told) = channel();
        Self { tell, told, life: scope.spawn(move || life(&steps, &answers)) }
    }

    fn asked(&self, step: S) -> A {
        self.tell.send(step).unwrap();
        self.told.recv().unwrap()
    }

    /// Tells it to die, and waits until the kernel has seen to what it held.
    fn dies(self, step: S) {
        self.tell.send(step).unwrap();
        self.life.join().unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    TryLock,
    Lock,
    Repair,
    Unlock,
    Die,
}

fn locker(lock: &RawMutex, steps: &Receiver<Step>, answers: &Sender<Option<ErrorKind>>) {
    let mut held: Vec<RawMutexGuard<'_>> = Vec::new();
    while let Ok(step) = steps.recv() {
        let locked = match step {
            Step::TryLock => lock.try_lock(),
            Step::Lock => lock.lock_timeout(Duration::from_millis(1)),
            Step::Repair | Step::Unlock => {
                if let Step::Unlock = step {
                    held.pop();
                } else if let Some(guard) = held.last() {
                    guard.mark_consistent();
                }
                answers.send(None).unwrap();
                continue;
            }
            Step::Die => return forget(held),
        };
        let answer = match locked {
            Ok(guard) => {
                held.push(guard);
                None
            }
            Err(LockError::OwnerDied(guard)) => {
                held.push(guard);
                Some(ErrorKind::OwnerDied)
            }
            Err(LockError::Failed(error)) => Some(error.kind()),
        };
        answers.send(answer).unwrap();
    }
    // The test is over, whatever is held.
    forget(held);
}

/// A mutex as it is described to people.
#[derive(Debug, Default)]
struct PlainMutex {
    owner: Option<usize>,
    depth: usize,
    /// The last owner that died was not followed by one that repaired.
    is_orphaned: bool,
    is_given_up: bool,
}

impl PlainMutex {
    fn lock(&mut self, who: usize, kind: MutexKind, busy: ErrorKind) -> Option<ErrorKind> {
        if self.owner == Some(who) {
            return match kind {
                MutexKind::Recursive => {
                    self.depth += 1;
                    None
                }
                MutexKind::ErrorChecking => Some(ErrorKind::Deadlock),
                _ => Some(busy),
            };
        }
        if self.owner.is_some() {
            return Some(busy);
        }
        if self.is_given_up {
            return Some(ErrorKind::NotRecoverable);
        }
        (self.owner, self.depth) = (Some(who), 1);
        self.is_orphaned.then_some(ErrorKind::OwnerDied)
    }

    fn unlock(&mut self, who: usize) {
        if self.owner == Some(who) {
            self.depth -= 1;
            if self.depth == 0 {
                self.owner = None;
                self.is_given_up |= self.is_orphaned;
            }
        }
    }

    fn repair(&mut self, who: usize) {
        self.is_orphaned &= self.owner != Some(who);
    }

    fn die(&mut self, who: usize) {
        if self.owner == Some(who) {
            self.owner = None;
            self.is_orphaned = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_mutex_does_what_its_description_does(
        kind in 0..3_usize,
        inherit in proptest::bool::ANY,
        operations in proptest::collection::vec((0..THREADS, 0..16_u8), 0..60),
    ) {
        let kind = [MutexKind::Normal, MutexKind::Recursive, MutexKind::ErrorChecking][kind];
        let lock = RawMutex::anonymous(&MutexOptions::new().kind(kind).inherit_priority(inherit)).unwrap();
        let mut plain = PlainMutex::default();
        std::thread::scope(|scope| {
            let lock = &lock;
            let start = || Worker::start(scope, move |steps, answers| locker(lock, steps, answers));
            let mut workers = [start(), start(), start()];
            for (who, what) in operations {
                let step = match what {
                    0..=4 => Step::TryLock,
                    5..=6 => Step::Lock,
                    7..=8 => Step::Repair,
                    9..=13 => Step::Unlock,
                    _ => Step::Die,
                };
                let before = format!("{step:?} by {who} of {plain:?}, {kind:?}, inheriting: {inherit}");
                if let Step::Die = step {
                    replace(&mut workers[who], start()).dies(step);
                    plain.die(who);
                    continue;
                }
                let answer = workers[who].asked(step);
                let expected = match step {
                    Step::TryLock => plain.lock(who, kind, ErrorKind::WouldBlock),
                    Step::Lock => plain.lock(who, kind, ErrorKind::TimedOut),
                    Step::Unlock => {
                        plain.unlock(who);
                        None
                    }
                    _ => {
                        plain.repair(who);
                        None
                    }
                };
                assert_eq!(answer, expected, "{before}");
                assert_eq!(lock.is_locked(), plain.owner.is_some(), "{before}");
            }
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Join,
    Wait,
    Leave,
    Die,
}

fn participant(barrier: &Barrier, moves: &Receiver<Move>, answers: &Sender<Result<bool, ErrorKind>>) {
    let mut place: Option<Participant<'_>> = None;
    while let Ok(what) = moves.recv() {
        let answer = match (what, &place) {
            (Move::Join, _) => barrier.join().map(|joined| place.replace(joined).is_some()),
            (Move::Wait, Some(me)) => me.try_wait(),
            (Move::Leave, _) => Ok(place.take().is_some()),
            _ => return forget(place),
        };
        answers.send(answer.map_err(|error| error.kind())).unwrap();
    }
}

/// A barrier as it is described to people: who takes part, where each is, and whose death each has to be told.
#[derive(Debug, Default)]
struct PlainBarrier {
    meetings: u32,
    never_taken: usize,
    members: [Option<PlainMember>; THREADS],
}

#[derive(Clone, Copy, Debug, Default)]
struct PlainMember {
    /// In which meeting it waits, and has not heard the end of.
    waits: Option<u32>,
    /// In which meeting it arrived last.
    arrived: Option<u32>,
    has_news: bool,
}

impl PlainBarrier {
    fn wait(&mut self, who: usize) -> Result<bool, ErrorKind> {
        let now = self.meetings;
        let mut me = self.members[who].expect("it has joined");
        let mine = *me.waits.get_or_insert(now);
        if mine == now {
            me.arrived = Some(now);
        }
        let news = std::mem::take(&mut me.has_news);
        self.members[who] = Some(me);
        if news {
            return Err(ErrorKind::PeerGone);
        }
        let leads = mine == now;
        let all_have_come = self.members.iter().flatten().all(|member| member.arrived == Some(now));
        if leads && (self.never_taken > 0 || !all_have_come) {
            return Err(ErrorKind::WouldBlock);
        }
        self.meetings += u32::from(leads);
        self.members[who] = Some(PlainMember { waits: None, ..me });
        Ok(leads)
    }

    fn leave(&mut self, who: usize, dies: bool) -> bool {
        let was = self.members[who].take().is_some();
        if was && dies {
            self.members.iter_mut().flatten().for_each(|member| member.has_news = true);
        }
        was
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_barrier_does_what_its_description_does(
        operations in proptest::collection::vec((0..THREADS, 0..16_u8), 0..80),
    ) {
        let barrier = Barrier::anonymous("steps", THREADS as u32).unwrap();
        let mut plain = PlainBarrier { never_taken: THREADS, ..PlainBarrier::default() };
        std::thread::scope(|scope| {
            let barrier = &barrier;
            let start = || Worker::start(scope, move |moves, answers| participant(barrier, moves, answers));
            let mut workers = [start(), start(), start()];
            for (who, what) in operations {
                let what = match (what, plain.members[who]) {
                    (15, _) => Move::Die,
                    (_, None) => Move::Join,
                    (14, _) => Move::Leave,
                    _ => Move::Wait,
                };
                let before = format!("{what:?} by {who} of {plain:?}");
                if let Move::Die = what {
                    replace(&mut workers[who], start()).dies(what);
                    plain.leave(who, true);
                    continue;
                }
                let answer = workers[who].asked(what);
                let expected = match what {
                    Move::Join => {
                        plain.members[who] = Some(PlainMember::default());
                        plain.never_taken = plain.never_taken.saturating_sub(1);
                        Ok(false)
                    }
                    Move::Wait => plain.wait(who),
                    _ => Ok(plain.leave(who, false)),
                };
                assert_eq!(answer, expected, "{before}");
                assert_eq!(barrier.meetings(), plain.meetings, "{before}");
            }
        });
    }
}
