//! `cargo xtask fuzz`: one fuzz target for a while, on the toolchain that is there.

use std::fs;

use crate::{Outcome, cargo, root, run as step};

/// Runs `target` for so many seconds, starting from the kept corpus; without a target, lists them.
///
/// What is found on the way is kept in `fuzz/target/found`, out of the repository; an input that breaks something is
/// in `fuzz/artifacts`, and belongs into `fuzz/corpus` with the fix.
///
/// # Errors
/// If cargo-fuzz is missing, if there is no such target, or if an input breaks it.
pub fn run(target: Option<&str>, seconds: u32) -> Outcome {
    // The sanitizer's flag is one of the unstable ones; this lets a stable compiler take it.
    let fuzz = |arguments: &[&str]| {
        let mut command = cargo(&["fuzz"]);
        command.args(arguments).current_dir(root().join("fuzz")).env("RUSTC_BOOTSTRAP", "1");
        command
    };
    let Some(target) = target else { return step(&mut fuzz(&["list"])) };
    let found = root().join("fuzz/target/found").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("cannot make {}: {error}", found.display()))?;
    let kept = format!("corpus/{target}");
    let mut command = fuzz(&["run", target]);
    command.arg(&found).args([&kept, "--", &format!("-max_total_time={seconds}"), "-timeout=10"]);
    step(&mut command)
}
