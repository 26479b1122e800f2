//! Standard output as C's stdio writes it, so that what a reader sees is the same down to the order in which output
//! and messages arrive, and down to what happens when it cannot be written.

use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use tieline_os::process;
use tieline_os::signal::{self, Signal};

/// How much stdio keeps before it writes, to anything but a terminal.
const BUFFER_BYTES: usize = 4096;

/// Buffered standard output. Nothing is reported before [`Out::close`].
pub(crate) struct Out {
    buffer: Vec<u8>,
    by_line: bool,
    /// A write in the middle has failed; what for is forgotten, as stdio forgets it.
    failed: bool,
}

/// What came of standard output.
pub(crate) enum Closed {
    /// Also if nobody reads any more, or standard output was closed: who arranged that does not want to hear of it.
    Well,
    /// Output is lost; the reason, where it is still known.
    Lost(Option<Errno>),
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::new(), by_line: io::stdout().is_terminal(), failed: false }
    }

    /// Takes bytes to print.
    pub(crate) fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.buffer.extend_from_slice(bytes.as_ref());
        let ready = if self.by_line {
            self.buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
        } else {
            self.buffer.len() / BUFFER_BYTES * BUFFER_BYTES
        };
        if ready > 0 {
            let bytes: Vec<u8> = self.buffer.drain(..ready).collect();
            self.failed |= write(&bytes).is_err();
        }
    }

    /// Writes what is left and tells how it went.
    pub(crate) fn close(&mut self) -> Closed {
        if self.failed {
            return Closed::Lost(None);
        }
        match write(&std::mem::take(&mut self.buffer)) {
            Ok(()) | Err(Errno::BADF | Errno::PIPE) => Closed::Well,
            Err(errno) => Closed::Lost(Some(errno)),
        }
    }
}

/// Writes all of it to standard output, past Rust's own buffer.
fn write(bytes: &[u8]) -> Result<(), Errno> {
    if !bytes.is_empty() && process::was_closed_at_start(1) {
        return Err(Errno::BADF);
    }
    write_all(rustix::stdio::stdout(), bytes)
}

/// Writes all of it. A pipe that nobody reads is the end of the process, unless whoever started it had `SIGPIPE` ignored:
/// C programs do not ignore it by themselves.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => {
                if errno == Errno::PIPE && !process::was_sigpipe_ignored_at_start() {
                    let _ = signal::set_default(Signal::PIPE).and_then(|_| signal::raise(Signal::PIPE));
                }
                return Err(errno);
            }
        }
    }
    Ok(())
}
