//! Loom models of the semaphore and of the tokens, with the death of one thread at each named step.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};

use super::tokens::TokenWords;
use super::words::PermitWords;
use crate::ErrorKind;
use crate::model::{explore, must_notice, name_in};
use crate::raw::View;
use crate::raw::robust::{Thread, model::live, step};
use crate::sync::line::Line;
use crate::wait::Until;

struct Pool {
    words: PermitWords,
    inside: AtomicU32,
    permits: u32,
}

impl Pool {
    fn use_one(&self) {
        let me = Thread::current().unwrap();
        let permit = self.words.acquire(me, Until::Forever).unwrap();
        assert!(self.inside.fetch_add(1, Ordering::SeqCst) < self.permits, "more inside than there are permits");
        self.inside.fetch_sub(1, Ordering::SeqCst);
        step("model:inside");
        self.words.release(me, permit);
    }
}

/// `threads` use one permit each, the first dies at the step; in the end all permits are free.
fn pool(bound: usize, permits: usize, threads: u32, dies_at: Option<&'static str>) {
    explore(dies_at.unwrap_or("pool"), bound, move || {
        let lines: Box<[Line]> = (0..permits).map(|_| Line::new()).collect();
        let words = PermitWords::new(View::leak(Box::new(Line::new())), View::leak(lines));
        let pool = Arc::new(Pool { words, inside: AtomicU32::new(0), permits: u32::try_from(permits).unwrap() });
        let others: Vec<_> = (2..=threads)
            .map(|id| {
                let pool = Arc::clone(&pool);
                loom::thread::spawn(move || live(id, None, || pool.use_one()).unwrap())
            })
            .collect();
        live(1, dies_at.map(|step| (step, 1)), || pool.use_one());
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(pool.words.available(), permits, "a permit is lost");
    });
}

const PERMIT_STEPS: &[&str] = &[
    "semaphore:taking",
    "semaphore:taken",
    "model:inside",
    "semaphore:releasing",
    "semaphore:released",
    "semaphore:ringing",
    "semaphore:waits",
    "semaphore:woken",
];

#[test]
fn model_permits() {
    pool(3, 1, 2, None);
    pool(2, 1, 3, None);
    pool(2, 2, 3, None);
}

#[test]
fn model_permits_and_death() {
    for step in PERMIT_STEPS {
        pool(2, 1, 3, Some(step));
    }
}

/// One or two takers, the first of which may die having taken nothing, and a poster that posts for all who live.
fn tokens(bound: usize, takers: u32, poster_dies: bool, dies_at: Option<&'static str>) {
    explore(dies_at.unwrap_or("tokens"), bound, move || {
        let words = TokenWords::new(View::leak(Box::new(Line::new())));
        let taker = |words: TokenWords| {
            let me = Thread::current().unwrap();
            words.take(me, Until::Forever).unwrap();
        };
        let others: Vec<_> = (2..=takers)
            .map(|id| {
                let words = words.clone();
                loom::thread::spawn(move || live(id, None, || taker(words)).unwrap())
            })
            .collect();
        let posts = words.clone();
        let poster_step = if poster_dies { dies_at } else { None };
        let poster = loom::thread::spawn(move || {
            let post = |count| move |posts: &TokenWords| posts.post(Thread::current().unwrap(), count).unwrap();
            // Who posts dies after the count was raised: the tokens are there.
            live(8, poster_step.map(|step| (step, 1)), || post(takers)(&posts));
        });
        let mine = words.clone();
        let taker_step = if poster_dies { None } else { dies_at };
        live(1, taker_step.map(|step| (step, 1)), || taker(mine));
        poster.join().unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert!(words.count() <= 1, "tokens were invented");
    });
}

#[test]
fn model_tokens() {
    tokens(3, 1, false, None);
    tokens(2, 2, false, None);
}

#[test]
fn model_tokens_and_death() {
    for step in ["tokens:waits", "tokens:woken", "tokens:waited"] {
        tokens(2, 2, false, Some(step));
    }
    for step in ["tokens:posted", "tokens:unmarking"] {
        tokens(2, 2, true, Some(step));
    }
}

#[test]
fn model_tokens_deadline() {
    explore("tokens with a deadline", 3, || {
        let words = TokenWords::new(View::leak(Box::new(Line::new())));
        let posts = words.clone();
        let poster =
            loom::thread::spawn(move || live(2, None, || posts.post(Thread::current().unwrap(), 1).unwrap()).unwrap());
        let taken = live(1, None, || {
            let deadline = tieline_os::futex::Deadline::after(std::time::Duration::ZERO);
            words.take(Thread::current().unwrap(), Until::At(deadline)).map_err(|error| error.kind())
        });
        poster.join().unwrap();
        match taken.unwrap() {
            Ok(()) => assert_eq!(words.count(), 0),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::TimedOut);
                assert_eq!(words.count(), 1);
            }
        }
    });
}

/// Negative controls: each planted bug must be found by the model named.
#[test]
fn model_controls() {
    let found = |bug, model| must_notice(&name_in(module_path!(), model), bug);
    found("bell is not rung", "model_permits");
    found("wait is not announced", "model_permits_and_death");
    found("token is not announced", "model_tokens_and_death");
    found("wake-up is not passed on", "model_tokens_and_death");
    found("bit is not set", "model_tokens_and_death");
}
