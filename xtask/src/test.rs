//! `cargo xtask test`: every test, on a machine that has nothing but Rust and a Debian base.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Outcome, cargo, conformance, models, root, run as step};

/// The programs the tests talk to, and the Debian package that holds each.
///
/// They are peers made by others: a test that finds one missing is skipped, and says so.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("fish", "fish"),
    ("ipcs", "util-linux-extra"),
    ("nc", "netcat-openbsd"),
    ("pv", "pv"),
    ("python3", "python3"),
    ("setsid", "util-linux"),
    ("socat", "socat"),
    ("spin", "spin"),
    ("zsh", "zsh"),
];

/// The tests of the workspace: one run names all that fail, not only those of the first binary.
const TESTS: &[&str] = &["test", "--workspace", "--all-features", "--no-fail-fast"];

/// The fuzz workspace without its engine: every kept input against every check, in seconds and on any toolchain.
const REPLAY: &[&str] = &["test", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"];

/// How long a model may take here; `cargo xtask soak` lets it come to its end.
pub(crate) const EACH_MODEL: Duration = Duration::from_secs(25);

/// Installs what is missing, runs `cargo test` over the workspace with `rest` added, and without a `rest` also replays
/// the kept corpus of the fuzz targets, checks the models as far as a short time goes, and runs the suites of others.
///
/// # Errors
/// If a test fails. A package that cannot be installed is a warning: its tests are skipped and listed at the end.
pub fn run(rest: &[String]) -> Outcome {
    install_missing();
    let log = root().join("target/skipped-tests.log");
    fs::create_dir_all(root().join("target")).map_err(|error| format!("cannot make target/: {error}"))?;
    let _ = fs::remove_file(&log);
    let mut counts = Counts { is_whole: rest.is_empty(), ..Counts::default() };
    let mut test = cargo(TESTS);
    let mut answer = counts.add(test.args(rest).env("TIELINE_SKIP_LOG", &log));
    if answer.is_ok() && rest.is_empty() {
        answer = counts.add(&mut cargo(REPLAY));
    }
    if answer.is_ok() && rest.is_empty() {
        answer = models::run(EACH_MODEL).map(|models| counts.passed += models.models as usize);
    }
    if answer.is_ok() && rest.is_empty() {
        answer = models::spin(true).map(|count| counts.passed += usize::try_from(count.unwrap_or(0)).unwrap_or(0));
    }
    if answer.is_ok() && rest.is_empty() {
        answer = conformance::run(Some("ipcs"));
    }
    let skipped = fs::read_to_string(&log).unwrap_or_default();
    if !skipped.is_empty() {
        eprintln!("xtask: tests that this machine could not run:\n{skipped}");
    }
    // A test that is skipped counts as passed by the runner; here it does not.
    let skips = skipped.lines().count();
    println!("tests: {} passed, {} failed, {skips} skipped", counts.passed.saturating_sub(skips), counts.failed);
    answer
}

/// What the runs of `cargo test` came to, all together.
#[derive(Default)]
struct Counts {
    /// Whether every test is run.
    is_whole: bool,
    passed: usize,
    failed: usize,
}

impl Counts {
    /// Runs the command, passes on what it prints, and adds what its summaries say.
    fn add(&mut self, command: &mut Command) -> Outcome {
        models::watched(command, |line| {
            println!("{line}");
            match summary(line) {
                // A test that runs itself again in namespaces of its own prints a summary of that one test.
                Some((.., filtered_out)) if filtered_out > 0 && self.is_whole => {}
                Some((passed, failed, _)) => {
                    self.passed += passed;
                    self.failed += failed;
                }
                None => {}
            }
        })
    }
}

/// Passed and failed of a summary line of the test runner, if the line is one.
pub(crate) fn passed_and_failed(line: &str) -> Option<(usize, usize)> {
    summary(line).map(|(passed, failed, _)| (passed, failed))
}

/// Passed, failed and filtered out of a summary such as `test result: ok. 7 passed; 0 failed; …`.
fn summary(line: &str) -> Option<(usize, usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some((count("passed")?, count("failed")?, count("filtered out")?))
}

fn install_missing() {
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return;
    }
    let names = packages.join(" ");
    // Without a network it shall not take long to find that out.
    let apt_get = "apt-get -qq -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1";
    let install = format!("timeout 300 {apt_get} update && {apt_get} install -y --no-install-recommends {names}");
    let mut command = if quietly("test \"$(id -u)\" = 0") {
        Command::new("sh")
    } else if quietly("sudo -n true") {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        eprintln!("xtask: not root, so not installed: {names}; the tests that need them will be skipped");
        return;
    };
    // Each package by itself would be kinder to unknown names, but one transaction is many times faster.
    let installed = step(command.args(["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()));
    if let Err(reason) = installed {
        eprintln!("xtask: {reason}; the tests that need {names} will be skipped");
    }
}

fn has(program: &str) -> bool {
    quietly(&format!("command -v {program}"))
}

fn quietly(script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    #[test]
    fn summaries_are_read() {
        let line =
            "test result: FAILED. 72 passed; 7 failed; 0 ignored; 0 measured; 0 filtered out; finished in 81.34s";
        assert_eq!(super::summary(line), Some((72, 7, 0)));
        assert_eq!(super::summary("running 3 tests"), None);
    }
}
