//! Shared memory: the floors, and what the conductor makes of contestants that fail.

use std::time::Duration;

use tieline_measure::shm::{
    Contestant, Exchange, Figure, LAST, Part, Plan, Rank, Report, Stage, Subject, Wait, contestants, round_trips, run,
};
use tieline_measure::{Placement, PlayerCommand, play_with};
use tieline_testkit::{role, test_name};

const TRIP: Subject = Subject::RoundTrip { bytes: 64, wait: Wait::Block };

fn plan(test: &str, subjects: &[Subject]) -> Plan {
    let player = PlayerCommand::this_executable([test, "--exact", "--nocapture"]).unwrap();
    let player = player.env("TIELINE_TEST_ROLE", "player");
    Plan {
        // On one processor, so that the test does not need two.
        subjects: subjects.iter().map(|subject| (*subject, Placement::OneCpu)).collect(),
        window: Duration::from_millis(5),
        rounds: 2,
        ..Plan::quick(player)
    }
}

/// Runs the plan with these contestants and the floors; `None` in a process that is a player.
fn measured(test: &str, subjects: &[Subject], more: &[&'static dyn Contestant]) -> Option<Report> {
    let mut all = contestants();
    all.extend(more);
    if role().is_some() {
        play_with(&all).unwrap();
        return None;
    }
    Some(run(&plan(test, subjects), &all, &mut |_| {}).unwrap())
}

#[test]
fn what_sleeps_and_locks_has_figures() {
    let lock = |contended| Subject::Lock { contended };
    let Some(report) = measured(&test_name!(), &[TRIP, lock(false), lock(true)], &[]) else { return };
    for (row, names) in report.rows.iter().zip([&["bare futex"][..], &["pthread robust", "std Mutex"], &["std Mutex"]])
    {
        for name in names {
            let entry = row.entries.iter().find(|entry| entry.name == *name).unwrap();
            assert_eq!(entry.failures, [] as [&str; 0], "{}, {name}", row.title);
            assert!(entry.rounds.len() == 2 && entry.rounds.iter().flatten().all(|figure| *figure > 0.0), "{entry:?}");
            assert!(entry.best.is_some() && entry.median.is_some(), "{entry:?}");
        }
    }
}

/// Ours, as fast as it can be made: it answers what it is told.
struct Liar {
    name: &'static str,
    play: fn(&Stage<'_>) -> Result<Option<Figure>, String>,
}

impl Contestant for Liar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn rank(&self) -> Rank {
        Rank::Ours
    }

    fn takes(&self, subject: Subject) -> bool {
        subject == TRIP
    }

    fn play(&self, _: Subject, stage: &Stage<'_>) -> Result<Option<Figure>, String> {
        (self.play)(stage)
    }
}

struct Wrong;

impl Exchange for Wrong {
    fn send(&mut self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn receive(&mut self) -> Result<u64, String> {
        Ok(LAST)
    }
}

#[test]
fn what_fails_costs_its_own_figure_only() {
    static HALF: Liar =
        Liar { name: "half", play: |stage| Ok((stage.part() == Part::First).then(|| Figure::plain(1.0))) };
    static WRONG: Liar = Liar { name: "wrong", play: |stage| round_trips(stage, Wrong) };
    static GONE: Liar = Liar { name: "gone", play: |_| std::process::abort() };
    static ALONE: Liar = Liar {
        name: "alone",
        play: |stage| if stage.part() == Part::First { stage.meet().map(|()| None) } else { Ok(None) },
    };
    let liars: [&'static dyn Contestant; 4] = [&HALF, &WRONG, &GONE, &ALONE];
    let Some(report) = measured(&test_name!(), &[TRIP], &liars) else { return };
    let row = &report.rows[0];
    let failures = |name: &str| {
        let entry = row.entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(entry.median.is_none(), !entry.failures.is_empty(), "{entry:?}");
        entry.failures.join("; ")
    };
    assert_eq!((failures("bare futex"), failures("half")), (String::new(), String::new()));
    assert!(failures("wrong").contains("came back as number"), "{}", failures("wrong"));
    assert!(failures("gone").contains("died"), "{}", failures("gone"));
    assert!(failures("alone").contains("left before the other"), "{}", failures("alone"));
    // A floor takes longer than nothing, and what has no figure has no ratio.
    let liars = ["half", "wrong", "gone", "alone"];
    let of_liars: Vec<_> = row.ratios.iter().filter(|ratio| liars.contains(&ratio.ours)).collect();
    let [half] = of_liars[..] else { panic!("{of_liars:?}") };
    assert_eq!((half.ours, half.against), ("half", "bare futex"));
    assert!(half.median < 1.0 && half.reached == Some(true), "{half:?}");
}
