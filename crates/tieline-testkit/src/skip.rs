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

/// Whether files of the temporary directory have, for who asks for their status, the device number by which the kernel
/// knows their file system in its lists of locks and sockets. btrfs and unions of several file systems tell another.
#[must_use]
pub fn tells_true_devices() -> bool {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    let look = || {
        let file = tempfile::tempfile().ok()?;
        let told = file.metadata().ok()?.dev();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let line = mounts.lines().find(|line| line.split(' ').next() == Some(mount))?;
        let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
        Some(told == rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
    };
    // Where nothing tells it, the usual is assumed.
    look().unwrap_or(true)
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
