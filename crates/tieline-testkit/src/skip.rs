//! Saying aloud that a machine cannot run a test.

use std::io::Write;
use std::process::{Command, Stdio};

/// Reports that `test` did not run and why.
///
/// The line goes to the real standard error, past the test runner's capture, and to the file named by
/// `TIELINE_SKIP_LOG`, from which `cargo xtask test` prints the list at its end.
pub fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("TIELINE_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Whether the machine has this program.
#[must_use]
pub fn has_command(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
