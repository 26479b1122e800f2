//! `cargo xtask ci`: everything a change must pass, cheapest first.

use crate::{Outcome, cargo, run as step, test, tidy};

/// Runs all checks in turn and stops at the first that fails.
///
/// # Errors
/// The sentence of the check that failed.
pub fn run() -> Outcome {
    step(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run(false)?;
    step(&mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))?;
    // The fuzz workspace without its engine, which wants a C++ compiler.
    for (other, features) in [("bench/Cargo.toml", "--all-features"), ("fuzz/Cargo.toml", "--no-default-features")] {
        step(&mut cargo(&["fmt", "--manifest-path", other, "--check"]))?;
        let flags = ["--all-targets", features, "--", "-D", "warnings"];
        step(cargo(&["clippy", "--manifest-path", other]).args(flags))?;
    }
    step(&mut cargo(&["test", "--manifest-path", "bench/Cargo.toml"]))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"]);
    step(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    test::run(&[])
}
