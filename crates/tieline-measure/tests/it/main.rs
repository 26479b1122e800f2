//! The measurements, on the real kernel with real players.

mod shm;

use std::time::Duration;

use tieline_measure::{Description, Placement, Plan, PlayerCommand, Report, chart, mechanisms};
use tieline_testkit::{eventually, pause, role, skip, skipped, test_name};

/// A plan whose players are copies of the test `test`, which must begin with [`play_if_player`].
fn plan(test: &str, only: &[&str]) -> Plan {
    let player = PlayerCommand::this_executable([test, "--exact", "--nocapture"]).unwrap();
    let player = player.env("TIELINE_TEST_ROLE", "player");
    Plan {
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        window: Duration::from_millis(5),
        round_trip_bytes: vec![64, 4096],
        throughput_bytes: vec![64, 65536],
        ring_processes: Vec::new(),
        ..Plan::quick(player)
    }
}

fn play_if_player() -> bool {
    if role().is_none() {
        return false;
    }
    tieline_measure::play().unwrap();
    true
}

fn run(plan: &Plan) -> Report {
    tieline_measure::run(plan, &mut |_| {}).unwrap()
}

#[test]
fn every_mechanism_gives_every_figure_it_can() {
    if play_if_player() {
        return;
    }
    // On one processor, so that the test does not need two; polling without yielding would take seconds there. And
    // without signals: a player with the test runner's threads cannot block them everywhere. The command's own tests
    // measure both with a player that has one thread.
    let is_tested = |mechanism: &&Description| mechanism.name != "shm-spin" && mechanism.family != "signals";
    let names: Vec<_> = mechanisms().filter(is_tested).map(|mechanism| mechanism.name).collect();
    let plan = Plan { placements: vec![Placement::OneCpu], ..plan(&test_name!(), &names) };
    let report = run(&plan);
    for mechanism in mechanisms().filter(is_tested) {
        let row = report.rows.iter().find(|row| row.mechanism == mechanism.name).unwrap();
        if mechanism.family == "I/O ring" && !row.missing.is_empty() {
            assert!(row.missing.iter().all(|why| why.contains("ring")), "{row:?}");
            continue;
        }
        // What a sandbox may forbid, and what a user with a small RLIMIT_NOFILE may not have on its way.
        let refusals = [("process_vm", "EPERM"), ("memfd-passing", "ETOOMANYREFS")];
        let is_refused = |(name, why): &(&str, &str)| {
            mechanism.name.starts_with(name) && row.missing.iter().any(|missing| missing.contains(why))
        };
        if refusals.iter().any(is_refused) {
            skipped(&test_name!(), &format!("{}: {}", mechanism.name, row.missing[0]));
            continue;
        }
        assert_eq!(row.missing, [] as [&str; 0], "{}", mechanism.name);
        let trips = plan.round_trip_bytes.iter().filter(|bytes| **bytes <= mechanism.largest).count();
        assert_eq!(row.round_trips.len(), trips.max(1), "{}", mechanism.name);
        for figures in &row.round_trips {
            assert!(figures.count > 0 && figures.min_ns > 0, "{figures:?}");
            assert!(figures.min_ns <= figures.p50_ns && figures.p50_ns <= figures.p99_ns, "{figures:?}");
        }
        for flood in &row.throughput {
            assert!(flood.messages_per_second > 0.0 && (flood.lost == 0.0 || mechanism.lossy), "{flood:?}");
        }
    }
    assert!(report.facts.iter().all(|fact| fact.value > 0.0), "{:?}", report.facts);
    assert!(chart(&report).unwrap().contains("unix-stream"));
}

#[test]
fn ends_on_two_processors_are_told_apart_from_ends_on_one() {
    if play_if_player() {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() < 2 {
        skip!("this machine has one processor");
    }
    for (placement, apart) in [(Placement::TwoCpus, true), (Placement::OneCpu, false)] {
        let plan = Plan { placements: vec![placement], ..plan(&test_name!(), &["fifo"]) };
        // How quick they are tells it too, but not on a machine that has other things to do.
        eventually("both players are seen where they belong", || {
            std::thread::scope(|scope| {
                let running = scope.spawn(|| run(&plan));
                let mut seen = Vec::new();
                while !running.is_finished() {
                    seen.extend(pinned_players(&test_name!()));
                    pause(Duration::from_millis(1));
                }
                let report = running.join().unwrap();
                assert!(report.rows.iter().all(|row| row.placement == placement), "{placement}");
                assert!(seen.iter().all(|[one, other]| (one != other) == apart), "{placement}: {seen:?}");
                !seen.is_empty()
            })
        });
    }
}

/// The processors of the two players of this test, if both are pinned to one each at this moment.
fn pinned_players(test: &str) -> Option<[usize; 2]> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = children.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let cpu_of = |child: String| {
        let arguments = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
        let is_ours = arguments.split('\0').any(|argument| argument == test);
        // A thread of the runner's plays.
        let threads = std::fs::read_dir(format!("/proc/{child}/task")).ok().filter(|_| is_ours)?.flatten();
        let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
        statuses.into_iter().find_map(|status| {
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            list.trim().parse().ok()
        })
    };
    children.filter_map(cpu_of).collect::<Vec<_>>().try_into().ok()
}

#[test]
fn a_token_goes_round_a_ring_of_processes() {
    if play_if_player() {
        return;
    }
    let plan = Plan { ring_processes: vec![2, 5], ..plan(&test_name!(), &["pipe"]) };
    let report = run(&plan);
    let points: Vec<_> = report.ring.iter().map(|point| (point.mechanism, point.processes)).collect();
    assert_eq!(points, [("pipe", 2), ("pipe", 5)]);
    assert!(report.ring.iter().all(|point| point.hop_ns > 0.0));
    assert!(report.claims.iter().any(|claim| claim.claim.contains("more processes")));
    // Each count that was measured has a tick; what has no throughput stands in no panel of throughput.
    let drawn = chart(&report).unwrap();
    let (_, ring) = drawn.split_once("A token passed round").expect("the ring has a panel");
    let has_tick = |text: &str| ring.lines().any(|line| line.trim() == text);
    assert!(has_tick("2") && has_tick("5"), "{ring}");
}

/// The player here is a program that ends at once.
#[test]
fn a_player_that_dies_costs_a_row_not_the_run() {
    let player = PlayerCommand::this_executable(["--list"]).unwrap();
    let plan = Plan { player, placements: vec![Placement::OneCpu], ..plan("", &["fifo"]) };
    let report = run(&plan);
    assert!(report.rows[0].round_trips.is_empty());
    assert!(report.rows[0].missing[0].contains("measuring process"), "{:?}", report.rows[0].missing);
}

#[test]
fn a_wish_for_nothing_is_refused_with_what_there_is() {
    let refused = tieline_measure::run(&plan("", &["carrier-pigeon"]), &mut |_| {}).unwrap_err();
    assert!(refused.contains("has carrier-pigeon in its name") && refused.contains("unix-stream"), "{refused}");
}
