//! Receiving blocked signals one at a time, without a handler.

use rustix::io::Errno;

use super::mask::require_blocked;
use super::{SignalInfo, SignalSet};
use crate::Duration;
use crate::error::{Error, Result};
use crate::sys;
use crate::wait::Wait;

const OPERATION: &str = "wait for a signal";

/// Takes the next of `signals` that is pending for this thread or its process; waits until there is one.
///
/// All of them must be blocked in *every* thread, or another thread takes them by its handler or default action; that
/// the calling thread blocks them is checked. Of several that are pending the lowest number comes first. Other
/// signals with a handler run it meanwhile and do not end the wait.
///
/// ```
/// use tieline_os::signal::{self, Blocked, Cause, Signal};
/// let _blocked = Blocked::new(Signal::USR1)?;
/// signal::raise(Signal::USR1)?;
/// let info = signal::wait(Signal::USR1)?;
/// assert_eq!((info.signal(), info.cause()), (Signal::USR1, Cause::SentToThread));
/// assert!(signal::try_wait(Signal::USR1).unwrap_err().is_would_block());
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// See [sigwaitinfo(2)](https://man7.org/linux/man-pages/man2/sigtimedwait.2.html).
///
/// # Errors
/// `InvalidInput` if `signals` is empty or the calling thread does not block all of it.
#[doc(alias = "sigwait")]
#[doc(alias = "sigwaitinfo")]
pub fn wait(signals: impl Into<SignalSet>) -> Result<SignalInfo> {
    receive(signals.into(), Wait::Forever)
}

/// As [`wait`], but answers at once.
///
/// # Errors
/// `WouldBlock` if none is pending; else as [`wait`].
pub fn try_wait(signals: impl Into<SignalSet>) -> Result<SignalInfo> {
    receive(signals.into(), Wait::Never)
}

/// As [`wait`], for at most `timeout`.
///
/// # Errors
/// `TimedOut` if none came in time; else as [`wait`].
#[doc(alias = "sigtimedwait")]
pub fn wait_timeout(signals: impl Into<SignalSet>, timeout: Duration) -> Result<SignalInfo> {
    receive(signals.into(), Wait::timeout(timeout))
}

fn receive(signals: SignalSet, wait: Wait) -> Result<SignalInfo> {
    require_blocked(OPERATION, signals)?;
    loop {
        match sys::signal::wait(signals.bits(), wait.remaining()) {
            Ok(raw) => {
                if let Some(info) = SignalInfo::from_raw(raw) {
                    return Ok(info);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait.is_over() => return Err(Error::new(OPERATION, wait.gave_up())),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(Error::new(OPERATION, errno)),
        }
    }
}
