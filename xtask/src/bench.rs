//! `cargo xtask bench`: the comparisons with other systems, which live in the `bench/` workspace.

use crate::{Outcome, cargo, run as step};

/// Runs the comparison named first in `rest` with the remaining arguments; without one, lists them.
///
/// # Errors
/// If the comparison does not build or fails.
pub fn run(rest: &[String]) -> Outcome {
    let mut bench = cargo(&["run", "--release", "--manifest-path", "bench/Cargo.toml"]);
    if rest.first().is_some_and(|word| word == "shm") {
        // Between libraries; those of others take half a minute to build, which the other comparisons do not need.
        bench.args(["--features", "shm"]);
    } else {
        // The other comparisons drive the `tieline` command itself, as a user would.
        step(&mut cargo(&["build", "--release", "--package", "tieline-cli"]))?;
    }
    if rest.iter().any(|word| word == "observe") {
        step(&mut cargo(&["build", "--release", "--package", "tieline-observe", "--example", "scan"]))?;
    }
    step(bench.arg("--").args(rest))
}
