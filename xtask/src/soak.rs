//! `cargo xtask soak`: the long suites, whose result is kept.
//!
//! A long suite is a test named `soak_*` that is marked `#[ignore]`. It takes its budget from the environment: it goes on
//! until it has done `TIELINE_SOAK_ROUNDS` rounds or `TIELINE_SOAK_SECONDS` have passed, whichever comes first, and prints
//! `NAME: N rounds`. The models are a long suite too: here each may take its time.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::models::{self, watched};
use crate::{Outcome, cargo, root};

/// Where the results are kept.
const RECORD: &str = "docs/soak.md";

/// How long, and what.
#[derive(Debug)]
pub struct Budget {
    /// Rounds of each suite.
    pub rounds: u64,
    /// Minutes of each suite, whatever the rounds.
    pub minutes: u64,
    /// Only suites whose name contains one of these; all if empty. `models` names the models.
    pub only: Vec<String>,
    /// Whether the result is added to the record.
    pub record: bool,
}

/// One line of the result.
struct Line {
    suite: String,
    /// Rounds, or executions of models.
    rounds: u64,
    unit: &'static str,
    seconds: u64,
    failed: bool,
}

/// Runs the suites one after the other, says what came of each, and keeps it if asked to.
///
/// # Errors
/// If a suite fails, does not say how many rounds it did, or none is named so.
pub fn run(budget: &Budget) -> Outcome {
    let wanted = |suite: &str| budget.only.is_empty() || budget.only.iter().any(|part| suite.contains(part.as_str()));
    let mut lines = Vec::new();
    for suite in suites()?.iter().filter(|suite| wanted(suite)) {
        lines.push(one(suite, budget));
    }
    if wanted("models") {
        lines.push(all_models(budget));
    }
    if lines.is_empty() {
        return Err(format!("no suite has {} in its name", budget.only.join(" or ")));
    }
    let rows: String = lines.iter().map(Line::to_string).collect();
    print!("\n{HEAD}{rows}");
    if budget.record {
        record(&rows)?;
    }
    let failed: Vec<&str> = lines.iter().filter(|line| line.failed).map(|line| line.suite.as_str()).collect();
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

fn one(suite: &str, budget: &Budget) -> Line {
    let begin = Instant::now();
    let mut rounds = None;
    let mut command = long_tests();
    command
        .args(["--ignored", "--exact", "--nocapture", suite])
        .env("TIELINE_SOAK_ROUNDS", budget.rounds.to_string())
        .env("TIELINE_SOAK_SECONDS", (budget.minutes * 60).to_string());
    let done = watched(&mut command, |line| {
        if let Some(count) = line.strip_suffix(" rounds").and_then(|rest| rest.rsplit(' ').next()) {
            rounds = count.parse().ok().or(rounds);
        }
        println!("{line}");
    });
    if let Err(reason) = &done {
        eprintln!("xtask: {reason}");
    } else if rounds.is_none() {
        eprintln!("xtask: {suite} did not say `NAME: N rounds`, so it is not known to have done any");
    }
    let failed = done.is_err() || rounds.is_none();
    Line {
        suite: suite.to_owned(),
        rounds: rounds.unwrap_or_default(),
        unit: "rounds",
        seconds: begin.elapsed().as_secs(),
        failed,
    }
}

fn all_models(budget: &Budget) -> Line {
    let begin = Instant::now();
    let answer = models::run(Duration::from_secs(budget.minutes * 60));
    if let Err(reason) = &answer {
        eprintln!("xtask: {reason}");
    }
    Line {
        suite: answer.as_ref().map_or_else(|_| "models".to_owned(), |models| format!("{} models", models.models)),
        rounds: answer.as_ref().map_or(0, |models| models.executions),
        unit: "executions",
        seconds: begin.elapsed().as_secs(),
        failed: answer.is_err(),
    }
}

const HEAD: &str = "| date | commit | machine | suite | rounds | seconds | failures |\n|---|---|---|---|---|---|---|\n";

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { suite, rounds, unit, seconds, failed } = self;
        let failures = if *failed { "**failed**" } else { "none" };
        let (date, commit, machine) = (date(), commit(), machine());
        writeln!(f, "| {date} | {commit} | {machine} | {suite} | {rounds} {unit} | {seconds} | {failures} |")
    }
}

fn record(rows: &str) -> Outcome {
    let file = root().join(RECORD);
    let mut text = fs::read_to_string(&file).unwrap_or_else(|_| {
        format!(
            "# Long suites\n\nWhat `cargo xtask soak --record` has found, oldest first. A round ends or freezes a process, or attacks one; an\n\
             execution is one order of the events of a model. `cargo xtask test` runs a part of the same.\n\n{HEAD}"
        )
    });
    let _ = write!(text, "{rows}");
    fs::write(&file, text).map_err(|error| format!("cannot write {RECORD}: {error}"))
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
