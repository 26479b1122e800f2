//! Signals that ask a transfer to end: the first lets it end in order, the second ends it at once.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tieline_os::poll::{Interest, PollSet};
use tieline_os::signal::{self, Disposition, Signal, SignalSet};
use tieline_transport::Stop;

use crate::exit::{self, Code, Failure, Outcome};

/// The signals of this process, received.
pub(crate) struct Interrupts {
    pub(crate) stop: Stop,
    came: Arc<AtomicU8>,
    wanted: SignalSet,
}

/// How much later than a command we may notice a signal that was sent to both, on a busy machine.
const SAME_MOMENT: Duration = Duration::from_millis(500);

impl Interrupts {
    /// Receives SIGINT, SIGTERM and SIGHUP from now on, except those that our parent told us to ignore (nohup, and
    /// shells for what runs in the background).
    pub(crate) fn install() -> Outcome<Self> {
        let stop = Stop::new()?;
        let came = Arc::new(AtomicU8::new(0));
        let mut wanted = SignalSet::EMPTY;
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            if signal::disposition(signal)? != Disposition::Ignored {
                wanted.insert(signal);
            }
        }
        if !wanted.is_empty() {
            let pipe = signal::Pipe::new(wanted)?;
            let (elsewhere, noted) = (stop.clone(), Arc::clone(&came));
            let watch = move || {
                while let Ok(info) = pipe.receive() {
                    let number = u8::try_from(info.signal().number()).unwrap_or(u8::MAX);
                    // Relaxed: the request to stop, which follows, orders it.
                    match noted.swap(number, Ordering::Relaxed) {
                        0 => elsewhere.request(),
                        _ => std::process::exit(Code::Signalled(number).number().into()),
                    }
                }
            };
            let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
            thread.map_err(|error| {
                Failure::new(Code::Limit, format_args!("cannot start a thread: {}", exit::reason(&error).1))
            })?;
        }
        Ok(Self { stop, came, wanted })
    }

    /// The signal that came, or that is about to come because one of these commands was ended by it: the keyboard's
    /// signals go to a whole process group at once, and the end of a command may be seen before our own signal is.
    pub(crate) fn signal_of_the_group<'a>(
        &self,
        mut commands: impl Iterator<Item = &'a ExitStatus>,
    ) -> Outcome<Option<Signal>> {
        let ends_us = |number: i32| self.wanted.iter().any(|signal| signal.number() == number);
        let ended = |status: &ExitStatus| status.signal().or(status.code().map(|code| code - 128)).is_some_and(ends_us);
        if self.signal().is_none() && commands.any(ended) {
            let mut set = PollSet::new();
            set.add(&self.stop, Interest::READABLE);
            match set.wait_timeout(SAME_MOMENT) {
                Err(error) if error.is_timeout() => {}
                answer => drop(answer?),
            }
        }
        Ok(self.signal())
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<Signal> {
        Signal::new(self.came.load(Ordering::Relaxed).into())
    }
}

/// The exit code of a process that a signal ended.
pub(crate) fn code(signal: Signal) -> Code {
    Code::Signalled(u8::try_from(signal.number()).unwrap_or_default())
}
