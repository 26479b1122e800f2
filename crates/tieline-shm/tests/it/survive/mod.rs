//! What everything in this crate promises when processes die or are frozen, checked the same way for each: a contract
//! suite over the public API.
//!
//! For each [`Subject`] a process of its own, the *conductor*, holds the surviving handles. In every round a *victim*
//! process joins and works in one of the subject's roles, and meets a [`Fate`](conduct::Fate): killed at any instant,
//! killed at a named step, or frozen at one and thawed later. Meanwhile and afterwards the conductor works on and checks
//! the subject's invariant; a *bystander* process, where the subject has one, works through all rounds. After each round
//! the conductor counts its descriptors, threads and mappings, and the files of the runtime directory ([`census`]).
//! How soon a survivor that waits is told of a death is measured apart, where nothing else goes on ([`told`]).
//!
//! The steps are read from the sources ([`steps`]): a new one is tested without being listed here.

mod arena;
mod census;
mod conduct;
mod latest;
mod locks;
mod queue;
mod reqres;
mod steps;
mod stream;
mod told;
mod topic;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use conduct::{End, Place};

/// What processes do together, and how one sees that no death did harm.
pub(crate) trait Subject: Sized {
    /// What a victim can be.
    const ROLES: &'static [&'static str];
    /// The first parts of the names of the steps that are passed.
    const STEPS: &'static [&'static str];
    /// Steps of these that no victim need pass, and where they are tested.
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[];
    /// The role of a process that works through all rounds and must be alive at the end.
    const BYSTANDER: Option<&'static str> = None;

    /// The survivors' side.
    fn start(place: &Place) -> Self;

    /// Descriptors that victims get, by name.
    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        Vec::new()
    }

    /// A victim: says [`Place::ready`] when it has joined, then works without end.
    fn victim(role: &str, place: &Place);

    /// Lets the survivors learn, without waiting, what they learn only when they look.
    fn look(&mut self) {}

    /// Works with the victim until it is dead, and then until its death has shown and all is as before. Answers when it
    /// showed, if it had to.
    fn round(&mut self, role: &str, end: &End) -> Option<Instant>;
}

macro_rules! subjects {
    ($($name:ident: $subject:ty,)*) => {
        $(mod $name {
            use tieline_testkit::test_name;

            use super::*;

            #[test]
            fn survives_deaths_at_any_instant() {
                conduct::at_any_instant::<$subject>(&test_name!(), conduct::Rounds::few());
            }

            #[test]
            fn survives_deaths_and_freezes_at_every_step() {
                conduct::at_every_step::<$subject>(&test_name!(), false);
            }

            #[test]
            #[ignore = "a long suite, for cargo xtask soak"]
            fn soak_deaths_at_any_instant() {
                conduct::at_any_instant::<$subject>(&test_name!(), conduct::Rounds::asked_for());
            }

            #[test]
            #[ignore = "a long suite, for cargo xtask soak"]
            fn soak_deaths_and_freezes_at_every_step() {
                conduct::at_every_step::<$subject>(&test_name!(), true);
            }
        })*

        /// Which steps somebody passes.
        fn passed_by_somebody() -> Vec<&'static str> {
            let mut all = Vec::new();
            $(all.extend_from_slice(<$subject as Subject>::STEPS);)*
            all
        }
    };
}

subjects! {
    arenas: arena::Bank,
    barriers: locks::Meetings,
    condvars: locks::Signals,
    events: latest::Bells,
    fair_rwlocks: locks::RwLocks<true>,
    inheriting_mutexes: locks::Mutexes<true>,
    latest_values: latest::Values,
    mutexes: locks::Mutexes<false>,
    queues: queue::Jobs,
    request_response: reqres::Calls,
    rwlocks: locks::RwLocks<false>,
    semaphores: locks::Permits,
    streams: stream::Bytes,
    topics_blocking: topic::Topics<0>,
    topics_disconnecting: topic::Topics<3>,
    topics_dropping_oldest: topic::Topics<1>,
    topics_skipping: topic::Topics<2>,
}

#[test]
fn every_step_in_the_sources_is_some_subjects_or_tested_elsewhere() {
    let passed = passed_by_somebody();
    let orphans: Vec<String> = steps::all()
        .into_iter()
        .filter(|step| {
            let family = step.split_once(':').map_or(step.as_str(), |(family, _)| family);
            !passed.contains(&family) && !steps::ELSEWHERE.iter().any(|(name, _)| *name == family)
        })
        .collect();
    assert!(orphans.is_empty(), "nobody is ended at {orphans:?}");
}

/// Negative controls: bugs that the suites must not overlook.
mod controls {
    use tieline_testkit::test_name;

    use super::*;

    #[test]
    fn a_publisher_that_heeds_no_gate_is_noticed() {
        conduct::notices::<topic::Topics<0>>(&test_name!(), "NoGate");
    }

    #[test]
    fn a_reader_that_does_not_look_again_is_noticed() {
        conduct::notices::<topic::Topics<1>>(&test_name!(), "NoGuard");
    }

    #[test]
    fn a_recovery_that_tells_nobody_is_noticed() {
        conduct::notices::<queue::Jobs>(&test_name!(), "RecoverWithoutNotice");
    }

    #[test]
    fn a_value_that_is_not_checked_after_reading_is_noticed() {
        conduct::notices::<latest::Values>(&test_name!(), "ReadWithoutCheck");
    }
}

/// A descriptor that the conductor gave this victim.
pub(crate) fn given(name: &str) -> OwnedFd {
    let path = std::env::var(name).expect("the conductor gives it");
    std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the conductor lives").into()
}
