//! Loom models of the barrier, with the death of one participant at each named step.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};

use super::words::BarrierWords;
use crate::ErrorKind;
use crate::model::{explore, must_notice, name_in};
use crate::raw::View;
use crate::raw::robust::{Thread, model::live};
use crate::sync::line::Line;
use crate::wait::Until;

/// `count` participants meet twice; each counts its arrivals, and after the barrier sees those of all who live. One
/// that is told of a death waits again.
fn meet(bound: usize, count: u32, rounds: u32, dies_at: Option<&'static str>, leaves: bool) {
    explore(dies_at.unwrap_or("barrier"), bound, move || {
        let places: Box<[Line]> = (0..count).map(|_| Line::new()).collect();
        let words = BarrierWords::new(View::leak(Box::new(Line::new())), View::leak(places));
        let arrived = Arc::new(AtomicU32::new(0));
        let leaders = Arc::new(AtomicU32::new(0));
        let one_may_miss = dies_at.is_some() || leaves;
        let life = move |words: BarrierWords, arrived: Arc<AtomicU32>, leaders: Arc<AtomicU32>, goes: bool| {
            let me = Thread::current().unwrap();
            let mut member = words.join(me).unwrap();
            let rounds = if goes { 1 } else { rounds };
            for round in 1..=rounds {
                arrived.fetch_add(1, Ordering::SeqCst);
                loop {
                    match words.wait(me, &mut member, Until::Forever) {
                        Ok(leads) => {
                            leaders.fetch_add(u32::from(leads), Ordering::SeqCst);
                            break;
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::PeerGone),
                    }
                }
                let here = if one_may_miss { count - 1 } else { count };
                assert!(arrived.load(Ordering::SeqCst) >= here * round, "somebody passed too early");
            }
            words.leave(me, &member);
        };
        let others: Vec<_> = (2..=count)
            .map(|id| {
                let (words, arrived, leaders) = (words.clone(), Arc::clone(&arrived), Arc::clone(&leaders));
                loom::thread::spawn(move || live(id, None, || life(words, arrived, leaders, false)).unwrap())
            })
            .collect();
        let theirs = Arc::clone(&leaders);
        live(1, dies_at.map(|step| (step, 1)), || life(words, arrived, theirs, leaves));
        for other in others {
            other.join().unwrap();
        }
        let leaders = leaders.load(Ordering::SeqCst);
        assert!(leaders <= rounds && (one_may_miss || leaders == rounds), "{leaders} leaders of {rounds} rounds");
    });
}

#[test]
fn model_barrier() {
    meet(3, 2, 2, None, false);
    meet(2, 3, 1, None, false);
}

#[test]
fn model_barrier_one_leaves() {
    meet(2, 2, 2, None, true);
}

#[test]
fn model_barrier_and_death() {
    for step in [
        "barrier:place-taken",
        "barrier:joined",
        "barrier:arriving",
        "barrier:arrived",
        "barrier:sleeps",
        "barrier:complete",
        "barrier:finished",
        "barrier:leaving",
        "barrier:left",
    ] {
        meet(2, 2, 1, Some(step), false);
        meet(1, 3, 1, Some(step), false);
    }
}

/// Negative controls: each planted bug must be found by the model named.
#[test]
fn model_controls() {
    let found = |bug, model| must_notice(&name_in(module_path!(), model), bug);
    found("arrival is not looked at", "model_barrier");
    found("dead are not watched", "model_barrier_and_death");
}
