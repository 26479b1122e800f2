//! What the examples of shared memory have in common: other processes, which are copies of the example in another role.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What an example may fail with.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Another process. Killed when it is dropped, so that a failing example leaves none behind.
pub(crate) struct Worker {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Its end tells the process that this one has died.
    _leash: Option<ChildStdin>,
}

impl Worker {
    /// Starts this program again in a role, about the object of this name.
    pub(crate) fn start(role: &str, name: &str) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.args([role, name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("a process without output")?;
        let leash = process.stdin.take();
        Ok(Self { process, lines: BufReader::new(output).lines(), _leash: leash })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints.
    pub(crate) fn hear(&mut self) -> Outcome<String> {
        Ok(self.lines.next().ok_or("a process ended too early")??)
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Outcome {
        Ok(self.process.kill()?)
    }

    /// Waits for it to end well.
    pub(crate) fn finish(mut self) -> Outcome {
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a process failed: {status}").into()) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The role of this process and the name it is about; `None` in the process that the user started.
pub(crate) fn role() -> Option<(String, String)> {
    let mut arguments = std::env::args().skip(1);
    let role = (arguments.next()?, arguments.next()?);
    // Whoever started us holds the other end, and writes nothing: it ends when that one dies.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().next();
        std::process::exit(1);
    });
    Some(role)
}

/// Tells whoever started this process. If that one has died, so does this one.
pub(crate) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

/// A name that no other run of an example has.
pub(crate) fn name_of(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}
