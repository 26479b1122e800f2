//! The tasks behind `cargo xtask`, as a library so that `tidy` is also an ordinary test.

use std::path::{Path, PathBuf};
use std::process::Command;

pub mod bench;
pub mod ci;
pub mod conformance;
pub mod fuzz;
pub mod models;
pub mod soak;
pub mod test;
pub mod tidy;

/// What a task answers: nothing, or a sentence that says what failed.
pub type Outcome = Result<(), String>;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}

/// A `cargo` that works on the repository.
#[must_use]
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs `command`, which prints for itself.
///
/// # Errors
/// If it cannot be started or fails; the sentence names it.
pub fn run(command: &mut Command) -> Outcome {
    let line = format!("{command:?}").replace('"', "");
    eprintln!("xtask: {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{line} failed: {status}")),
        Err(error) => Err(format!("{line} cannot be started: {error}")),
    }
}
