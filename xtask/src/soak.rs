//! `cargo xtask soak`: the long suites, whose result is kept.
//!
//! A long suite is a test named `soak_*` that is marked `#[ignore]`. It takes its budget from the environment: it goes on
//! until it has done `TIELINE_SOAK_ROUNDS` rounds or `TIELINE_SOAK_SECONDS` have passed, whichever comes first, and prints
//! `NAME: N rounds`. Then the tests of every day that take chances, with as many rounds; the Spin models; and, only if
//! asked for by name, because they fill any time, the loom models.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::models::{self, watched};
use crate::{Outcome, cargo, root};

/// Where the results are kept.
const RECORD: &str = "docs/soak.md";

/// Suites of every day that take chances, and take more here: what their names have in common.
const STRESS: &[&str] = &["any_moment", "hostile::", "random", "stress"];

/// How long, and what.
#[derive(Debug)]
pub struct Budget {
    /// Rounds of each suite.
    pub rounds: u64,
    /// Minutes for all, without building.
    pub minutes: u64,
    /// Only suites whose name contains one of these; all but `models` if empty.
    pub only: Vec<String>,
    /// Whether the result is added to the record.
    pub record: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Report {
    suites: Vec<Suite>,
    /// `told KIND: median A, p99 B, at most C, of N, load L`.
    told: Vec<String>,
}

/// One suite's line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Suite {
    name: String,
    /// Rounds, executions of models, or tests.
    count: u64,
    unit: &'static str,
    seconds: u64,
    failed: bool,
}

/// Runs the suites one after the other, says what came of each, and keeps it if asked to.
///
/// # Errors
/// If a suite fails, does not say how many rounds it did, or none is named so.
pub fn run(budget: &Budget) -> Outcome {
    let wanted = |suite: &str| {
        if budget.only.is_empty() { suite != "models" } else { budget.only.iter().any(|part| suite.contains(part)) }
    };
    let mut suites = suites()?;
    suites.extend(["stress", "spin", "models"].map(str::to_owned));
    suites.retain(|suite| wanted(suite));
    if suites.is_empty() {
        return Err(format!("no suite has {} in its name", budget.only.join(" or ")));
    }
    let end = Instant::now() + Duration::from_secs(budget.minutes * 60);
    let mut report = Report::default();
    for (index, suite) in suites.iter().enumerate() {
        // Its share of what the others have left.
        let share = end.saturating_duration_since(Instant::now()) / u32::try_from(suites.len() - index).unwrap_or(1);
        let begin = Instant::now();
        let mut line = match suite.as_str() {
            "models" => all_models(share),
            "spin" => spin(),
            "stress" => report.watch("stress", STRESS, "tests", budget, share),
            suite => report.watch(suite, &["--ignored", "--exact", suite], "rounds", budget, share),
        };
        line.seconds = begin.elapsed().as_secs();
        report.suites.push(line);
    }
    print!("\n{}", report.text(budget));
    if budget.record {
        record(&report.text(budget))?;
    }
    let failed: Vec<&str> = report.failed().map(|suite| suite.name.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// `cargo test` on the long suites, with everything that our own tests switch on.
fn long_tests() -> Command {
    cargo(&["test", "--release", "--package", "tieline-shm", "--all-features", "--lib", "--tests", "--"])
}

/// The names of the long suites, as the test runner has them.
fn suites() -> Result<Vec<String>, String> {
    let output = long_tests().args(["--list", "--ignored", "soak_"]).output();
    let output = output.map_err(|error| format!("cargo test cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("the long suites do not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

impl Report {
    /// Runs the tests that `arguments` choose.
    fn watch(&mut self, name: &str, arguments: &[&str], unit: &'static str, budget: &Budget, share: Duration) -> Suite {
        let mut command = long_tests();
        command
            .args(arguments)
            .arg("--nocapture")
            .env("TIELINE_SOAK_ROUNDS", budget.rounds.to_string())
            .env("TIELINE_SOAK_SECONDS", share.as_secs().to_string());
        let mut suite = Suite { name: name.to_owned(), unit, ..Suite::default() };
        let done = watched(&mut command, |line| {
            suite.read(line);
            if line.starts_with("told ") {
                self.told.push(line.to_owned());
            }
            println!("{line}");
        });
        if let Err(reason) = &done {
            eprintln!("xtask: {reason}");
        } else if suite.count == 0 {
            eprintln!("xtask: {name} did not say `NAME: N {unit}`, so it is not known to have done any");
        }
        suite.failed = done.is_err() || suite.count == 0;
        suite
    }

    fn failed(&self) -> impl Iterator<Item = &Suite> {
        self.suites.iter().filter(|suite| suite.failed)
    }

    /// As it is kept.
    fn text(&self, budget: &Budget) -> String {
        let rounds: u64 = self.suites.iter().filter(|suite| suite.unit == "rounds").map(|suite| suite.count).sum();
        let seconds: u64 = self.suites.iter().map(|suite| suite.seconds).sum();
        let Budget { rounds: each, minutes, only, .. } = budget;
        let only: String = only.iter().map(|part| format!(" {part}")).collect();
        let mut text = format!(
            "## {}, {}\n\n`cargo xtask soak{only} --rounds {each} --minutes {minutes}` on {}: {rounds} processes \
             killed or frozen, {seconds} s. ",
            date(),
            commit(),
            machine()
        );
        let failed: Vec<&str> = self.failed().map(|suite| suite.name.as_str()).collect();
        if failed.is_empty() {
            text.push_str(
                "Failures: 0. Stuck survivors: 0. Lost or duplicated: 0. Leaked descriptors, threads, mappings, files: 0.\n",
            );
        } else {
            let _ = writeln!(text, "**Failed: {}.**", failed.join(", "));
        }
        text.push_str("\n| suite | | seconds | failed |\n|---|---|---|---|\n");
        for Suite { name, count, unit, seconds, failed } in &self.suites {
            let failed = if *failed { "**yes**" } else { "no" };
            let _ = writeln!(text, "| {name} | {count} {unit} | {seconds} | {failed} |");
        }
        if !self.told.is_empty() {
            text.push_str(
                "\n| a survivor is told after | median | p99 | at most | of | load |\n|---|---|---|---|---|---|\n",
            );
            for row in self.told.iter().filter_map(|line| told(line)) {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
        }
        text.push('\n');
        text
    }
}

impl Suite {
    /// Adds what a line of the runner's output says: `NAME: N rounds`, or for tests the runner's own summary.
    fn read(&mut self, line: &str) {
        let rounds = line.strip_suffix(" rounds").and_then(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
        let tests = crate::test::passed_and_failed(line).map(|(passed, failed)| (passed + failed) as u64);
        self.count += if self.unit == "rounds" { rounds } else { tests }.unwrap_or(0);
    }
}

/// The cells of a line that says when survivors were told.
fn told(line: &str) -> Option<[&str; 6]> {
    let (kind, rest) = line.strip_prefix("told ")?.split_once(": median ")?;
    let (median, rest) = rest.split_once(", p99 ")?;
    let (p99, rest) = rest.split_once(", at most ")?;
    let (most, rest) = rest.split_once(", of ")?;
    let (count, load) = rest.split_once(", load ")?;
    Some([kind, median, p99, most, count, load])
}

fn all_models(share: Duration) -> Suite {
    // Two at a time; as many as there are, each may take as long as the quick run lets it, or longer.
    let answer = models::run((share / 40).max(crate::test::EACH_MODEL));
    if let Err(reason) = &answer {
        eprintln!("xtask: {reason}");
    }
    Suite {
        name: answer.as_ref().map_or_else(|_| "models".to_owned(), |models| format!("{} models", models.models)),
        count: answer.as_ref().map_or(0, |models| models.executions),
        unit: "executions",
        seconds: 0,
        failed: answer.is_err(),
    }
}

fn spin() -> Suite {
    let answer = models::spin(false);
    if let Err(reason) = &answer {
        eprintln!("xtask: {reason}");
    }
    let count = *answer.as_ref().ok().and_then(Option::as_ref).unwrap_or(&0);
    Suite { name: "spin".to_owned(), count, unit: "models and controls", seconds: 0, failed: answer.is_err() }
}

fn record(text: &str) -> Outcome {
    let file = root().join(RECORD);
    let before = fs::read_to_string(&file).map_err(|error| format!("cannot read {RECORD}: {error}"))?;
    fs::write(&file, format!("{}\n\n{}\n", before.trim_end(), text.trim_end()))
        .map_err(|error| format!("cannot write {RECORD}: {error}"))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn date() -> String {
    said("date", &["--utc", "+%Y-%m-%d"])
}

fn commit() -> String {
    let changed = if said("git", &["status", "--porcelain", "crates"]).is_empty() { "" } else { " with changes" };
    said("git", &["rev-parse", "--short=12", "HEAD"]) + changed
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} cpus, {}", cpus, said("uname", &["-srm"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_and_figures_are_read_from_what_the_suites_say() {
        let mut suite = Suite { unit: "rounds", ..Suite::default() };
        suite.read("survive::mutexes::soak_deaths_at_any_instant: 600 rounds");
        suite.read("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.00s");
        assert_eq!(suite.count, 600);
        let mut stress = Suite { unit: "tests", ..Suite::default() };
        stress.read("test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.00s");
        assert_eq!(stress.count, 7);
        let line = "told queue, producer: median 1.20ms, p99 3.40ms, at most 5.00ms, of 101, load 0.70";
        assert_eq!(told(line), Some(["queue, producer", "1.20ms", "3.40ms", "5.00ms", "101", "0.70"]));
        assert_eq!(told("told nothing"), None);
    }

    #[test]
    fn a_report_says_what_failed_and_how_many_were_killed() {
        let suite =
            |name: &str, failed| Suite { name: name.to_owned(), count: 600, unit: "rounds", seconds: 9, failed };
        let budget = Budget { rounds: 600, minutes: 25, only: Vec::new(), record: false };
        let mut report = Report { suites: vec![suite("one", false), suite("two", false)], told: Vec::new() };
        assert!(report.text(&budget).contains("1200 processes killed or frozen, 18 s. Failures: 0."));
        report.suites[1].failed = true;
        let text = report.text(&budget);
        assert!(text.contains("**Failed: two.**") && text.contains("| two | 600 rounds | 9 | **yes** |"), "{text}");
    }
}
