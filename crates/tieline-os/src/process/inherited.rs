//! Which descriptors a process was given by the one that started it.

use std::os::fd::{AsFd, RawFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

use crate::error::{During, Error, Result};
use crate::sys::process as sys;

/// Whether the descriptor of this number is open and stays open across an exec.
///
/// Right after the start of a program this tells what its parent gave it: what was inherited has come through an exec
/// and so cannot be close-on-exec, while everything that this crate and the standard library open is. A program that
/// clears the flag itself, to give a descriptor to a child, sees that one as inherited too.
///
/// A number that is not open is `Ok(false)`.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use tieline_os::process;
/// let (ours, _) = std::io::pipe()?;
/// assert!(process::is_inheritable(0)?, "standard input");
/// assert!(!process::is_inheritable(ours.as_raw_fd())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// None in a usual process.
#[doc(alias = "FD_CLOEXEC", alias = "F_GETFD")]
pub fn is_inheritable(number: RawFd) -> Result<bool> {
    match sys::descriptor_flags(number) {
        Ok(flags) => Ok(flags & sys::CLOSE_ON_EXEC == 0),
        Err(rustix::io::Errno::BADF) => Ok(false),
        Err(errno) => Err(Error::new("look at a descriptor", errno).on(number)),
    }
}

/// Whether a standard stream was closed when the program started, as by `>&-`, and is only held open by the runtime.
///
/// Before `main` Rust's runtime opens the null device in the place of each of the three that is closed, so that no
/// other file gets the number; from then on reading finds an end and writing loses everything without an error. It
/// opens it for reading and writing, which is all there is to tell it by: a redirection of a shell (`< /dev/null`,
/// `> /dev/null`) is for one of the two, but some parents (Python's `DEVNULL`, `daemon(3)`) open it for both, and
/// then this says "closed" although nobody closed anything. Either way nothing that is written there arrives.
///
/// # Errors
/// None in a usual process.
pub fn was_closed_at_start(stream: impl AsFd) -> Result<bool> {
    /// Major number 1, minor 3: null(4).
    const NULL_DEVICE: (u32, u32) = (1, 3);
    const DURING: &str = "look at a standard stream";
    let stat = fstat(&stream).during(DURING)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != NULL_DEVICE {
        return Ok(false);
    }
    Ok(fcntl_getfl(&stream).during(DURING)? & OFlags::RWMODE == OFlags::RDWR)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_we_open_is_not_inherited_and_what_is_closed_neither() {
        assert!(is_inheritable(2).unwrap());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(!is_inheritable(reader.as_raw_fd()).unwrap());
        assert!(!is_inheritable(1_000_000).unwrap());
        assert!(!is_inheritable(-1).unwrap());
    }

    #[test]
    fn the_null_device_for_both_is_the_runtimes() {
        let null = |read: bool, write: bool| OpenOptions::new().read(read).write(write).open("/dev/null").unwrap();
        assert!(was_closed_at_start(null(true, true)).unwrap());
        assert!(!was_closed_at_start(null(true, false)).unwrap());
        assert!(!was_closed_at_start(null(false, true)).unwrap());
        let zero = OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap();
        assert!(!was_closed_at_start(zero).unwrap());
    }
}
