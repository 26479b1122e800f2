//! A program in a terminal of its own, typed at and read by the test.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};

use crate::signals::usual_signals;
use crate::wait::{PATIENCE, pause, until};

/// A program whose controlling terminal is a pseudo-terminal, of which the test holds the other end.
///
/// ```no_run
/// use tieline_testkit::Pty;
///
/// let mut terminal = Pty::spawn(std::process::Command::new("sh"));
/// terminal.expect("$ ");
/// terminal.send("echo $((6 * 7))\n");
/// terminal.expect("42");
/// terminal.send("exit 3\n");
/// assert_eq!(terminal.exit_status().code(), Some(3));
/// ```
///
/// Dropping it kills the program and hangs up, which ends what the program left in the terminal.
#[derive(Debug)]
pub struct Pty {
    keyboard: File,
    screen: Arc<Screen>,
    seen: usize,
    child: Child,
}

/// How long others that use the terminal of a program that ended are given to let go of it.
const OTHERS_KEEP_IT: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shown {
    bytes: Vec<u8>,
    over: bool,
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // A test that fails in `expect` holds it, and what was shown is whole all the same.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pty {
    /// Runs `command` as the leader of a new session in a new terminal of 24 lines and 80 columns.
    ///
    /// # Panics
    /// If it cannot be started, or this machine has no pseudo-terminals or no `setsid` of util-linux.
    #[must_use]
    pub fn spawn(command: Command) -> Self {
        Self::spawn_sized(command, 24, 80)
    }

    /// As [`spawn`](Self::spawn), in a terminal of this size.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[must_use]
    pub fn spawn_sized(command: Command, rows: u16, columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = || open(&name, flags, Mode::empty()).expect("its other end");
        tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");

        // setsid(1) makes the session and takes the terminal, which the standard library cannot; then it becomes the
        // program, under the same process id.
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => setsid.env(key, value),
                None => setsid.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            setsid.current_dir(directory);
        }
        usual_signals(&mut setsid);
        let child = setsid.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().expect("start it by setsid");
        drop(setsid);

        let screen = Arc::new(Screen::default());
        let reader = File::from(ours.try_clone().expect("a second descriptor"));
        std::thread::spawn({
            let screen = Arc::clone(&screen);
            move || watch(reader, &screen)
        });
        Self { keyboard: File::from(ours), screen, seen: 0, child }
    }

    /// The process id of the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types `text`. Control characters mean what they mean on a keyboard: `"\x03"` is Ctrl-C, `"\x1a"` is Ctrl-Z.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn send(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Waits until `text` is shown after what was expected before, and returns what was shown up to and with it.
    ///
    /// Lines end in `"\r\n"`, and typed text is shown too while the terminal echoes.
    ///
    /// # Panics
    /// If it is not shown within [`PATIENCE`], or the terminal is over before.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = self.screen.lock();
        loop {
            let rest = &shown.bytes[self.seen..];
            if let Some(at) = find(rest, text.as_bytes()) {
                let end = at + text.len();
                self.seen += end;
                return String::from_utf8_lossy(&rest[..end]).into_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !shown.over && !left.is_zero(),
                "{text:?} was not shown; after what was expected before came {:?}",
                String::from_utf8_lossy(rest)
            );
            let waited = self.screen.changed.wait_timeout(shown, left);
            shown = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything shown so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().bytes).into_owned()
    }

    /// The terminal's modes as its programs have set them.
    ///
    /// # Panics
    /// If the terminal is gone.
    #[must_use]
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.keyboard).expect("the modes")
    }

    /// The process group in the foreground of the terminal.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn foreground(&self) -> u32 {
        tcgetpgrp(&self.keyboard).expect("a foreground group").as_raw_nonzero().get().cast_unsigned()
    }

    /// Changes the size of the window; the foreground gets `SIGWINCH`.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).expect("another size");
    }

    /// Waits for the end of the program, and until all that it has shown is in [`output`](Self::output), unless others
    /// go on using the terminal.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    pub fn exit_status(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the program in the terminal ends", || child.try_wait().expect("waitable"));
        let ended = Instant::now();
        // However slow the watcher is: what the program has shown is either noted or still there to be read.
        while !self.is_all_shown(ended) && ended.elapsed() < PATIENCE {
            pause(Duration::from_millis(1));
        }
        status
    }

    fn is_all_shown(&self, ended: Instant) -> bool {
        // Nothing is between the terminal and the notes while they are locked.
        let shown = self.screen.lock();
        shown.over || (ended.elapsed() >= OTHERS_KEEP_IT && !waits(&self.keyboard, Some(&Timespec::default())))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(foreground) = tcgetpgrp(&self.keyboard)
            && foreground.as_raw_nonzero().get().cast_unsigned() != self.child.id()
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process_group(foreground, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Notes what is shown until the last program closes the terminal, which reads as an error here.
fn watch(mut terminal: File, screen: &Screen) {
    let mut buffer = [0; 4096];
    let mut is_over = false;
    while !is_over {
        waits(&terminal, None);
        let mut shown = screen.lock();
        match terminal.read(&mut buffer) {
            Ok(count @ 1..) => shown.bytes.extend_from_slice(&buffer[..count]),
            _ => is_over = true,
        }
        shown.over = is_over;
        drop(shown);
        screen.changed.notify_all();
    }
}

/// Whether something, or the end, waits to be read; without a time, when it does.
fn waits(terminal: &File, time: Option<&Timespec>) -> bool {
    loop {
        match poll(&mut [PollFd::new(terminal, PollFlags::IN)], time) {
            Err(Errno::INTR) => {}
            answer => return answer.is_ok_and(|count| count > 0),
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1)).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Pty {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Pty::spawn_sized(command, 10, 33)
    }

    #[test]
    fn a_program_finds_itself_in_a_terminal_of_that_size() {
        let mut terminal = shell("tty; stty size; read line; echo \"got $line\"; stty size; exit 5");
        terminal.expect("/dev/pts/");
        terminal.expect("10 33");
        terminal.resize(20, 44);
        terminal.send("something\n");
        terminal.expect("got something");
        terminal.expect("20 44");
        assert_eq!(terminal.exit_status().code(), Some(5));
        assert!(terminal.output().contains("/dev/pts/"));
    }

    #[test]
    fn the_interrupt_key_reaches_the_program() {
        let mut terminal = shell("echo ready; exec sleep 60");
        terminal.expect("ready");
        terminal.send("\x03");
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(terminal.exit_status().signal(), Some(2));
    }

    #[test]
    #[should_panic(expected = "was not shown")]
    fn what_is_not_shown_fails_the_test() {
        shell("echo hello").expect("goodbye");
    }
}
