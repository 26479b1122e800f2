//! The examples, as their users run them.

mod job;
mod shm;

use std::path::PathBuf;

/// An example, which `cargo test` builds beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        example.exists(),
        "{} is missing; build it by `cargo build -p tieline --example {name}`",
        example.display()
    );
    example
}
