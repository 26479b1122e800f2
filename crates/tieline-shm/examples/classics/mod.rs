//! What the classic problems share: processes that are copies of this program and are handed segments.

use std::error::Error;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};

/// What an example may fail with.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Starts this program again in a role, and hands it segments (as paths that a child of ours can open).
pub(crate) fn start(role: &str, number: usize, segments: &[BorrowedFd<'_>]) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).arg(number.to_string());
    for segment in segments {
        command.arg(format!("/proc/{}/fd/{}", std::process::id(), segment.as_raw_fd()));
    }
    Ok(command.spawn()?)
}

/// The role of this process and its number; `None` in the process that the user started.
pub(crate) fn role() -> Option<(String, usize)> {
    let role = std::env::args().nth(1)?;
    let number = std::env::args().nth(2)?.parse().ok()?;
    Some((role, number))
}

/// The segment at this place of the list given to [`start`].
pub(crate) fn segment(at: usize) -> Outcome<OwnedFd> {
    let path = std::env::args().nth(3 + at).ok_or("no segment was handed over")?;
    Ok(File::options().read(true).write(true).open(path)?.into())
}

/// Waits for processes, each of which must end well.
pub(crate) fn finish(children: Vec<Child>) -> Outcome {
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("a process failed: {status}").into());
        }
    }
    Ok(())
}
