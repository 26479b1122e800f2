//! Looking up only what the kernel has at hand, without speaking to a file system: one that another machine or somebody's
//! own program serves may never answer.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// The kernel says "not at hand" also if a name on the way is being changed, or if anything is mounted or unmounted
/// meanwhile, anywhere on the machine.
const ATTEMPTS: usize = 16;

/// Opens `path` under `from` as `within` says, as a place only (`O_PATH`).
///
/// # Errors
/// `AGAIN` if it is not at hand; `INVAL` before Linux 5.12, which cannot be asked so.
pub(super) fn open(
    from: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    within: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let (flags, within) = (flags | OFlags::PATH | OFlags::CLOEXEC, within | ResolveFlags::CACHED);
    let mut answer = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        answer = openat2(&from, path, flags, Mode::empty(), within);
        if !matches!(answer, Err(Errno::AGAIN)) {
            break;
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::fs::CWD;
    use tieline_testkit::skip;

    use super::*;

    /// Now and then the file of a socket was not found.
    #[test]
    fn a_file_is_found_while_others_mount() {
        let once = || Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !once().is_ok_and(|status| status.success()) {
            skip!("this process cannot make a mount namespace");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        // Making a namespace mounts all that is mounted, and its end unmounts it.
        let mut mounting = Command::new("unshare");
        mounting.args(["-m", "sh", "-c", "while unshare -m true; do :; done"]);
        let mut mounting = mounting.spawn().unwrap();
        let missed = (0..100_000).filter_map(|_| open(CWD, file.path(), OFlags::NOFOLLOW, ResolveFlags::empty()).err());
        let missed: Vec<Errno> = missed.collect();
        mounting.kill().unwrap();
        mounting.wait().unwrap();
        if missed.contains(&Errno::INVAL) || missed.contains(&Errno::NOSYS) || missed.contains(&Errno::PERM) {
            skip!("this kernel cannot be asked for what is at hand");
        }
        assert_eq!(missed, []);
    }
}
