//! Job control: which process group a terminal listens to, and stopping and continuing groups.
//!
//! A terminal belongs to one session. One process group of that session is its foreground: that group gets the
//! signals of the keyboard (Ctrl-C, Ctrl-Z, Ctrl-\) and may read. Every other group is in the background: a read stops
//! it by `SIGTTIN`, a change of the terminal by `SIGTTOU`. A shell puts each pipeline into a group of its own, makes
//! it the foreground, waits until it ends or stops, and takes the foreground back.
//!
//! The invariant: changes made through [`Terminal`] never stop the caller; `SIGTTOU` is held back in its thread
//! meanwhile. A shell takes the terminal back exactly when it is in the background.
//!
//! # Handing over without a race
//! A pipeline must be whole and have the terminal before its first program reads from it, or the whole group is
//! stopped by `SIGTTIN`. Worse, a child that is stopped between fork and exec, by that or by Ctrl-Z, hangs its parent:
//! `Command::spawn` returns only after the exec. So programs should wait, after an exec and with the stop signals
//! blocked, until their shell opens a gate; the example shows it in `gate.rs`. `process_group` of the standard library
//! acts in the child before the exec, so that the group is right when `spawn` returns.
//!
//! The example `jobs` of the crate `tieline` is a small shell made of this module, [`crate::process`] and
//! [`crate::signal`].
//!
//! Sources: POSIX.1-2024 chapter 11 "General Terminal Interface", `tcsetpgrp`, `tcgetattr`; termios(3), credentials(7),
//! `tty_ioctl(4)`.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{self, LocalModes, OptionalActions, Termios, Winsize};

use crate::error::{During, Error, ErrorKind, Result};
use crate::process::{self, Pid};
use crate::signal::{self, Blocked, Signal};
use crate::sys::process as sys;

/// Stops every process of `group`; they cannot prevent it.
///
/// # Errors
/// As [`signal::send_to_group`].
pub fn stop(group: Pid) -> Result<()> {
    signal::send_to_group(group, Signal::STOP)
}

/// Asks every process of `group` to stop, as Ctrl-Z does; they may handle or ignore it.
///
/// An orphaned group (no member has a parent in another group of the same session) does not stop by this.
///
/// # Errors
/// As [`signal::send_to_group`].
pub fn suspend(group: Pid) -> Result<()> {
    signal::send_to_group(group, Signal::TSTP)
}

/// Lets every stopped process of `group` go on.
///
/// # Errors
/// As [`signal::send_to_group`].
pub fn resume(group: Pid) -> Result<()> {
    signal::send_to_group(group, Signal::CONT)
}

/// A terminal, by any descriptor of it.
///
/// Calls fail with [`ErrorKind::Other`] (`EIO`) once the terminal has hung up.
///
/// ```
/// use tieline_os::job::Terminal;
/// # fn main() -> Result<(), tieline_os::Error> {
/// let Ok(terminal) = Terminal::open() else {
///     return Ok(()); // this session has no terminal
/// };
/// let kept = terminal.keep_modes()?;
/// terminal.set_modes(&terminal.modes()?.with_echo(false))?; // to type a password
/// drop(kept); // as it was before, also if we panicked
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Terminal<Fd = OwnedFd> {
    fd: Fd,
}

/// The size of a terminal's window, in characters.
#[doc(alias = "winsize")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Terminal {
    /// The controlling terminal of this process's session, whatever its standard streams are.
    ///
    /// # Errors
    /// `NotFound` if the session has none.
    #[doc(alias = "/dev/tty")]
    pub fn open() -> Result<Self> {
        const PATH: &str = "/dev/tty";
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(PATH, flags, Mode::empty()).map_err(|errno| {
            let error = Error::new("open the controlling terminal", errno).on(PATH);
            match errno {
                Errno::NXIO => error.sorted_as(ErrorKind::NotFound).hint("this session has none"),
                _ => error,
            }
        })?;
        Ok(Self { fd })
    }
}

impl<Fd: AsFd> Terminal<Fd> {
    /// The terminal behind `fd`, such as `std::io::stdin()`.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a terminal.
    #[doc(alias = "isatty")]
    pub fn of(fd: Fd) -> Result<Self> {
        if termios::isatty(&fd) {
            Ok(Self { fd })
        } else {
            Err(Error::new("use a descriptor as a terminal", Errno::NOTTY).sorted_as(ErrorKind::InvalidInput))
        }
    }

    /// The group in the foreground. It may have ended already, and nobody taken its place.
    ///
    /// # Errors
    /// `InvalidInput` if it is not the controlling terminal of this process, `NotFound` if the group lies outside this
    /// pid namespace.
    #[doc(alias = "tcgetpgrp")]
    pub fn foreground(&self) -> Result<Pid> {
        const OPERATION: &str = "read the foreground of the terminal";
        termios::tcgetpgrp(&self.fd).map(Pid::from_kernel).map_err(|errno| match errno {
            // What the library below makes of a group without a number.
            Errno::OPNOTSUPP => process::outside(OPERATION),
            _ => refused(OPERATION, errno),
        })
    }

    /// Whether this process is in the foreground.
    ///
    /// # Errors
    /// As [`foreground`](Self::foreground).
    pub fn is_foreground(&self) -> Result<bool> {
        self.foreground().map(|group| Some(group) == process::group())
    }

    /// Puts `group`, a group of this session, into the foreground. Works from the background too.
    ///
    /// # Errors
    /// `InvalidInput` if it is not the controlling terminal of this process, `PermissionDenied` if `group` is of
    /// another session, `NotFound` if there is no such group.
    #[doc(alias = "tcsetpgrp")]
    pub fn set_foreground(&self, group: Pid) -> Result<()> {
        let _not_stopped = Blocked::new(Signal::TTOU)?;
        termios::tcsetpgrp(&self.fd, group.to_kernel())
            .map_err(|errno| refused("set the foreground of the terminal to group", errno).on(group))
    }

    /// The session whose controlling terminal it is.
    ///
    /// # Errors
    /// As [`foreground`](Self::foreground).
    #[doc(alias = "tcgetsid")]
    pub fn session(&self) -> Result<Pid> {
        const OPERATION: &str = "read the session of the terminal";
        let session = sys::session_of_terminal(self.fd.as_fd()).map_err(|errno| refused(OPERATION, errno))?;
        Pid::new(session).ok_or_else(|| process::outside(OPERATION))
    }

    /// How the terminal treats what is typed and shown.
    ///
    /// # Errors
    /// None on a living terminal.
    #[doc(alias = "tcgetattr")]
    pub fn modes(&self) -> Result<Modes> {
        termios::tcgetattr(&self.fd).map(Modes).during("read the terminal's modes")
    }

    /// Sets the modes once what was written has been shown. Works from the background too.
    ///
    /// Waits while the terminal is held up (Ctrl-S).
    ///
    /// # Errors
    /// None on a living terminal.
    #[doc(alias = "tcsetattr")]
    pub fn set_modes(&self, modes: &Modes) -> Result<()> {
        let _not_stopped = Blocked::new(Signal::TTOU)?;
        loop {
            match termios::tcsetattr(&self.fd, OptionalActions::Drain, &modes.0) {
                Err(Errno::INTR) => {}
                answer => return answer.during("set the terminal's modes"),
            }
        }
    }

    /// Keeps the modes of now, to be restored when the value is dropped.
    ///
    /// # Errors
    /// As [`modes`](Self::modes).
    pub fn keep_modes(&self) -> Result<KeptModes<'_, Fd>> {
        Ok(KeptModes { modes: self.modes()?, terminal: self })
    }

    /// The size of the window; zeros if nobody has set it. Changes are announced by `SIGWINCH` to the foreground.
    ///
    /// # Errors
    /// None on a living terminal.
    #[doc(alias = "TIOCGWINSZ")]
    #[doc(alias = "tcgetwinsize")]
    pub fn size(&self) -> Result<Size> {
        let size = termios::tcgetwinsize(&self.fd).during("read the terminal's size")?;
        Ok(Size { rows: size.ws_row, columns: size.ws_col })
    }

    /// Tells the terminal its size, for the programs in it; done by whoever draws the window.
    ///
    /// # Errors
    /// None on a living terminal.
    #[doc(alias = "TIOCSWINSZ")]
    #[doc(alias = "tcsetwinsize")]
    pub fn set_size(&self, size: Size) -> Result<()> {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        termios::tcsetwinsize(&self.fd, size).during("set the terminal's size")
    }
}

impl<Fd: AsFd> AsFd for Terminal<Fd> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn refused(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    match errno {
        Errno::NOTTY => error.sorted_as(ErrorKind::InvalidInput).hint("it is not this process's controlling terminal"),
        _ => error,
    }
}

/// How a terminal treats what is typed and shown: echo, lines or single keys, which keys send signals.
#[doc(alias = "termios")]
#[derive(Clone)]
pub struct Modes(Termios);

impl Modes {
    /// These modes, but every key is passed on as typed, at once, unseen, and without a meaning of its own.
    #[doc(alias = "cfmakeraw")]
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.0.make_raw();
        self
    }

    /// These modes, but with what is typed shown, or not (for a password).
    #[must_use]
    pub fn with_echo(mut self, on: bool) -> Self {
        self.0.local_modes.set(LocalModes::ECHO, on);
        self
    }

    /// Whether what is typed is shown.
    #[must_use]
    pub fn echoes(&self) -> bool {
        self.0.local_modes.contains(LocalModes::ECHO)
    }

    /// Whether what is typed is passed on line by line, after editing.
    #[must_use]
    pub fn is_by_line(&self) -> bool {
        self.0.local_modes.contains(LocalModes::ICANON)
    }
}

impl fmt::Debug for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Modes").field(&self.0).finish()
    }
}

/// The modes a terminal had; the drop restores them.
#[derive(Debug)]
#[must_use = "dropping it at once keeps nothing"]
pub struct KeptModes<'terminal, Fd: AsFd> {
    terminal: &'terminal Terminal<Fd>,
    modes: Modes,
}

impl<Fd: AsFd> Drop for KeptModes<'_, Fd> {
    fn drop(&mut self) {
        let _ = self.terminal.set_modes(&self.modes);
    }
}
