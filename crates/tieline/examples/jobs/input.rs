//! Where lines come from: the keyboard, a script on the standard input, or an argument.

use std::collections::VecDeque;
use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tieline::os::signal::{Pipe, Signal};

const PROMPT: &str = "jobs> ";

/// A source of lines.
pub(crate) struct Input {
    lines: VecDeque<String>,
    from: From,
}

enum From {
    /// The lines are all there.
    Argument,
    /// The standard input, which the commands share: never a byte beyond the line is read.
    Script,
    /// A terminal, with the interrupts that come while nothing else runs.
    Keyboard(Pipe),
}

impl Input {
    pub(crate) fn text(text: &str) -> Self {
        Self { lines: text.lines().map(str::to_owned).collect(), from: From::Argument }
    }

    pub(crate) fn script() -> Self {
        Self { lines: VecDeque::new(), from: From::Script }
    }

    pub(crate) fn keyboard() -> tieline::os::Result<Self> {
        Ok(Self { lines: VecDeque::new(), from: From::Keyboard(Pipe::new(Signal::INT)?) })
    }

    /// The next line, without its end; none at the end of the input.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<String>> {
        match &self.from {
            From::Argument => Ok(self.lines.pop_front()),
            From::Script => line(|byte| rustix::io::read(io::stdin(), byte)),
            From::Keyboard(interrupts) => typed_line(interrupts),
        }
    }
}

/// A line that is typed after a prompt; an interrupt throws away what was typed, and prompts again.
fn typed_line(interrupts: &Pipe) -> io::Result<Option<String>> {
    // Those that came while the last command ran were not meant for the line to come.
    while interrupts.try_receive().is_ok() {}
    prompt()?;
    line(|byte| {
        loop {
            let stdin = io::stdin();
            let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(interrupts, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) if !ready[1].revents().is_empty() => {
                    while interrupts.try_receive().is_ok() {}
                    println!();
                    // The terminal itself has dropped the unfinished line.
                    prompt().map_err(|_| Errno::IO)?;
                }
                Ok(_) => return rustix::io::read(&stdin, &mut *byte),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    })
}

fn prompt() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(PROMPT.as_bytes()).and_then(|()| out.flush())
}

/// Reads byte by byte up to the end of a line, so that what follows is left for the commands that are started.
fn line(mut read: impl FnMut(&mut [u8; 1]) -> Result<usize, Errno>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    String::from_utf8(line).map(Some).map_err(|_| io::Error::other("the line is not UTF-8"))
}
