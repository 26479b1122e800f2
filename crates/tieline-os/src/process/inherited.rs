//! What a process was given by the one that started it: descriptors, and whether SIGPIPE is ignored.

use std::os::fd::{OwnedFd, RawFd};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{process as sys, start};

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

/// A duplicate, closed on exec, of the descriptor of this process that has this number; for a program that is told by
/// number what it was given when it was started. The descriptor itself stays open and keeps its flags.
///
/// Whoever owns the descriptor shares the open file from then on: ask [`is_inheritable`] first, if the number comes from
/// others. Does not block.
///
/// ```
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
///
/// let (mut reader, writer) = std::io::pipe()?;
/// let twin = tieline_os::process::duplicate_descriptor(writer.as_raw_fd())?;
/// std::fs::File::from(twin).write_all(b"through the twin")?;
/// drop(writer);
/// assert_eq!(std::io::read_to_string(&mut reader)?, "through the twin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidInput` if none of this number is open, `LimitReached`.
#[doc(alias = "F_DUPFD_CLOEXEC")]
pub fn duplicate_descriptor(number: RawFd) -> Result<OwnedFd> {
    sys::duplicate_descriptor(number).map_err(|errno| {
        let error = Error::new("duplicate descriptor", errno).on(number);
        match errno {
            rustix::io::Errno::BADF => error.sorted_as(ErrorKind::InvalidInput),
            _ => error,
        }
    })
}

/// Whether a standard descriptor (0, 1 or 2) was closed when the program began, as by `>&-`, and is only held open by
/// the runtime. Any other number was not.
///
/// Before `main` Rust's runtime opens the null device in the place of each of the three that is closed, so that no
/// other file gets the number; from then on reading finds an end and writing loses everything without an error. This was
/// asked before that, when the program was loaded, so a null device that the parent gave is not mistaken for it. In a
/// library that a program loads later (`dlopen`) it speaks of the moment of loading.
///
/// ```
/// assert!(!tieline_os::process::was_closed_at_start(1), "somebody reads what this test prints");
/// ```
#[must_use]
pub fn was_closed_at_start(number: RawFd) -> bool {
    u8::try_from(number).is_ok_and(|number| number < 3 && start::was_closed(number))
}

/// Whether this program was started with `SIGPIPE` ignored, as by `trap '' PIPE`.
///
/// Rust's runtime ignores the signal before `main` in any case, so that a write nobody reads is an error and not the end;
/// [`signal::disposition`](crate::signal::disposition) tells only that. A program that shall die of a broken pipe unless
/// its parent said otherwise asks this.
///
/// ```
/// use tieline_os::{process, signal::{self, Signal}};
/// if !process::was_sigpipe_ignored_at_start() {
///     signal::set_default(Signal::PIPE)?;
/// }
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "SIGPIPE")]
#[must_use]
pub fn was_sigpipe_ignored_at_start() -> bool {
    start::was_sigpipe_ignored()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_duplicate_is_of_the_same_file_and_closed_on_exec() {
        let (reader, writer) = std::io::pipe().unwrap();
        let again = duplicate_descriptor(writer.as_raw_fd()).unwrap();
        assert!(!is_inheritable(again.as_raw_fd()).unwrap());
        rustix::io::write(&again, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 2]), Ok(1));
        for none in [1_000_000, -1] {
            let error = duplicate_descriptor(none).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(&none.to_string()), "{error}");
        }
    }

    #[test]
    fn what_we_open_is_not_inherited_and_what_is_closed_neither() {
        assert!(is_inheritable(2).unwrap());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(!is_inheritable(reader.as_raw_fd()).unwrap());
        assert!(!is_inheritable(1_000_000).unwrap());
        assert!(!is_inheritable(-1).unwrap());
    }
}
