//! The models of `tieline-shm`: its structures under loom, which tries the orders in which threads and stores may come;
//! and the protocols in `models/`, under Spin.
//!
//! Those for loom are unit tests named `model_*`, built with `--cfg model` into a target folder of their own, so that neither
//! build spoils the other's cache.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, cargo};

/// What a run of models came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Models {
    /// How many were checked.
    pub models: u64,
    /// How many failed.
    pub failed: u64,
    /// How many orders of events they went through, all together.
    pub executions: u64,
}

impl Models {
    /// Adds what a line of the runner's output says: `NAME: N executions`, or the runner's own summary.
    fn read(&mut self, line: &str) {
        if let Some(count) = line.strip_suffix(" executions").and_then(|rest| rest.rsplit(' ').next()) {
            self.executions += count.parse::<u64>().unwrap_or_default();
        }
        if let Some((passed, failed)) = crate::test::passed_and_failed(line) {
            self.models += (passed + failed) as u64;
            self.failed += failed as u64;
        }
    }
}

/// Checks every model, each search for at most `each` (loom's `LOOM_MAX_DURATION`; one that is not through by then counts
/// as checked as far as it came). Searches for planted bugs go on until they are found.
///
/// # Errors
/// If they do not build, if one fails, or if there are none.
pub fn run(each: Duration) -> Result<Models, String> {
    let mut command =
        cargo(&["test", "--package", "tieline-shm", "--lib", "--release", "--target-dir", "target/model"]);
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command
        .args(["model_", "--", "--nocapture"])
        .env("RUSTFLAGS", format!("{flags} --cfg model"))
        .env("LOOM_MAX_DURATION", each.as_secs().max(1).to_string());
    let begin = Instant::now();
    let mut models = Models::default();
    let done = watched(&mut command, |line| {
        models.read(line);
        println!("{line}");
    });
    let Models { models: count, executions, .. } = models;
    println!("models: {count}, {executions} executions, {} s", begin.elapsed().as_secs());
    done?;
    if count == 0 {
        return Err("there are no models; they are tests of tieline-shm named model_*".to_owned());
    }
    Ok(models)
}

/// Checks the Spin models and their planted mistakes, all or without the largest searches; how many, or `None` where
/// there is no spin.
///
/// # Errors
/// If one does not hold, or a planted mistake is not found.
pub fn spin(quick: bool) -> Result<Option<u64>, String> {
    let starts = |program: &str, flag: &str| {
        Command::new(program)
            .arg(flag)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    };
    // What spin makes is a program in C.
    if !starts("spin", "-V") || !starts("cc", "--version") {
        eprintln!("xtask: no spin or no C compiler here (Debian has packages), so models/ is not checked");
        return Ok(None);
    }
    let mut command = Command::new(crate::root().join("models/check.sh"));
    let mut count = 0;
    watched(command.args(quick.then_some("--quick")), |line| {
        count += u64::from(line.starts_with("holds: ") || line.starts_with("found: "));
        println!("{line}");
    })?;
    Ok(Some(count))
}

/// Runs the command and hands over each line of its standard output.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn watched(command: &mut Command, mut line_read: impl FnMut(&str)) -> Outcome {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("xtask: {shown}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{shown} cannot be started: {error}"))?;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        line_read(&line);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("{shown} was lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Models;

    #[test]
    fn executions_and_tests_are_added_up() {
        let mut models = Models::default();
        for line in [
            "two producers: 1200 executions",
            "test queue::model_x ... one consumer: 34 executions",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.00s",
            "executions",
        ] {
            models.read(line);
        }
        assert_eq!(models, Models { models: 3, failed: 1, executions: 1234 });
    }
}
