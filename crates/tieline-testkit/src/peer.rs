//! A second process: the same test, re-executed in a role.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Namespace;
use crate::wait::{PATIENCE, until};

pub(crate) const ROLE: &str = "TIELINE_TEST_ROLE";
/// Marks our lines among what the test runner prints on the same stream.
pub(crate) const MARK: &str = "@tieline ";

/// The role of this process, if it was started by [`PeerBuilder::spawn`].
#[must_use]
pub fn role() -> Option<Role> {
    std::env::var(ROLE).ok().map(|name| Role { name })
}

/// What a peer process knows of itself.
#[derive(Debug)]
pub struct Role {
    name: String,
}

impl Role {
    /// The role's name, as given to [`PeerBuilder::role`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value the parent set with [`PeerBuilder::env`].
    ///
    /// # Panics
    /// If it is not set.
    #[must_use]
    pub fn env(&self, key: &str) -> String {
        std::env::var(key).unwrap_or_else(|_| panic!("the parent did not set {key}"))
    }

    /// Tells the parent a word; [`Peer::wait_for`] or [`Peer::hear`] receives it.
    ///
    /// # Panics
    /// If the parent is gone.
    pub fn say(&self, word: &str) {
        // Straight to the stream: the runner captures only the print macros. The newline first ends a line of its.
        let mut out = std::io::stdout().lock();
        let sent = out.write_all(format!("\n{MARK}{word}\n").as_bytes()).and_then(|()| out.flush());
        sent.expect("the parent listens");
    }

    /// Waits for a word from the parent ([`Peer::say`]); ends the process if the parent is gone.
    ///
    /// # Panics
    /// If another word comes.
    pub fn wait_for(&self, word: &str) {
        // Byte by byte: what follows on the stream may be meant for somebody else.
        let mut line = Vec::new();
        let mut stdin = std::io::stdin().lock();
        let mut byte = [0];
        while stdin.read_exact(&mut byte).is_ok() {
            if byte[0] == b'\n' {
                assert_eq!(String::from_utf8_lossy(&line), word, "the parent said another word");
                return;
            }
            line.push(byte[0]);
        }
        std::process::exit(0);
    }
}

/// Whether a peer can be run as this user: we are root, and the user may execute the test binary where it lies and enter
/// the directory for temporary files.
///
/// # Panics
/// If the running executable cannot be found.
#[must_use]
pub fn can_run_as(uid: u32) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let program = std::env::current_exe().expect("the running test binary");
    let mut command = Command::new(program);
    command.arg("--list").current_dir(std::env::temp_dir()).uid(uid).gid(uid);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A peer that is about to be started.
#[derive(Debug)]
pub struct PeerBuilder {
    command: Command,
    talks: bool,
}

/// A running peer. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    words: Receiver<String>,
}

impl Peer {
    /// A copy of this test binary that will run only `test`; see [`test_name!`](crate::test_name).
    ///
    /// # Panics
    /// If the running executable cannot be found.
    #[must_use]
    pub fn of(test: impl AsRef<OsStr>) -> PeerBuilder {
        let mut command = Command::new(std::env::current_exe().expect("the running test binary"));
        command.arg(test).args(["--exact", "--nocapture", "--include-ignored"]);
        PeerBuilder { command, talks: true }
    }

    /// The peer's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the peer a word, for [`Role::wait_for`].
    ///
    /// # Panics
    /// If the peer is gone or its stdin was given away.
    pub fn say(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is ours");
        stdin.write_all(format!("{word}\n").as_bytes()).expect("the peer lives");
    }

    /// The next word the peer says.
    ///
    /// # Panics
    /// If it says none within [`PATIENCE`].
    pub fn hear(&mut self) -> String {
        self.words.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the peer said nothing: {error}"))
    }

    /// Whether the peer has said exactly `word` by now, as the next of its words. Does not wait.
    ///
    /// # Panics
    /// If it said another.
    pub fn said(&mut self, word: &str) -> bool {
        match self.words.try_recv() {
            Ok(said) => {
                assert_eq!(said, word, "the peer said another word");
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the peer has not ended yet.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("waitable").is_none()
    }

    /// Waits until the peer says exactly `word`.
    ///
    /// # Panics
    /// If it says another, or none in time.
    pub fn wait_for(&mut self, word: &str) {
        assert_eq!(self.hear(), word, "the peer said another word");
    }

    /// Waits until every thread of the peer but the test runner's own sleeps in the kernel, which is how one sees that
    /// it blocks. In which call it sleeps is not looked at.
    ///
    /// # Panics
    /// If they do not all sleep within [`PATIENCE`].
    pub fn sleeps(&self) {
        let tasks = format!("/proc/{}/task", self.id());
        let pid = self.id().to_string();
        until("the peer sleeps", || {
            // The runner's main thread always sleeps; the test runs in a thread of its own.
            let threads = std::fs::read_dir(&tasks).ok()?;
            let workers: Vec<_> = threads.flatten().filter(|entry| *entry.file_name() != *pid.as_str()).collect();
            let asleep = |entry: &std::fs::DirEntry| {
                entry.file_name().to_str().and_then(|tid| tid.parse().ok()).is_some_and(crate::sleeps)
            };
            (!workers.is_empty() && workers.iter().all(asleep)).then_some(())
        });
    }

    /// Sends the peer a signal, such as `Signal::USR1`.
    ///
    /// # Panics
    /// If the peer is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("the peer lives");
    }

    /// Stops the peer, as `kill -STOP` does, and waits until all its threads have stopped: before that, some of them may
    /// still act.
    ///
    /// # Panics
    /// If the peer is gone, or not stopped within [`PATIENCE`].
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.until_stopped();
    }

    /// Waits until all threads of the peer have stopped, which it, or somebody else, sees to.
    ///
    /// # Panics
    /// If the peer is gone, or not stopped within [`PATIENCE`].
    pub fn until_stopped(&self) {
        let tasks = format!("/proc/{}/task", self.id());
        until("the peer is stopped", || {
            let threads = std::fs::read_dir(&tasks).expect("the peer lives");
            let is_stopped = |thread: std::fs::DirEntry| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            };
            threads.flatten().all(is_stopped).then_some(())
        });
    }

    /// Stops and continues the peer a few times while it sleeps in the kernel, which interrupts some system calls; it
    /// must go on to sleep.
    ///
    /// # Panics
    /// If it is gone, or does not sleep, before or after.
    pub fn stop_and_continue(&self) {
        self.sleeps();
        for _ in 0..3 {
            self.signal(Signal::STOP);
            self.signal(Signal::CONT);
        }
        self.sleeps();
    }

    /// Kills the peer as `kill -9` does, and reaps it.
    ///
    /// # Panics
    /// If it cannot be reaped.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("reaped");
    }

    /// Closes our end of the peer's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the peer's end.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    pub fn exit_status(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let child = &mut self.child;
        let status = until("the peer exits", || {
            let status = child.try_wait().expect("waitable");
            if status.is_none() && Instant::now() >= deadline {
                let _ = child.kill();
            }
            status
        });
        assert!(Instant::now() < deadline, "the peer did not end and was killed");
        status
    }

    /// Waits for the peer's end and checks that its part of the test passed.
    ///
    /// # Panics
    /// If it failed or did not end.
    pub fn succeeds(mut self) {
        let status = self.exit_status();
        assert!(status.success(), "the peer failed: {status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PeerBuilder {
    /// The role the peer finds in [`role`].
    #[must_use]
    pub fn role(self, name: &str) -> Self {
        self.env(ROLE, name)
    }

    /// Sets a variable the peer reads with [`Role::env`].
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.command.env(key.into(), value.into());
        self
    }

    /// Runs the peer as another user, with the group of the same number and no others; only root may.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    /// Runs the peer in new namespaces of these kinds (and a user namespace, if we are not root). Its id is that of the
    /// process inside. Whether this machine allows it, [`Namespace::can_make`] tells.
    ///
    /// # Panics
    /// For [`Namespace::Pid`], in which the peer would be a child of the process that we know.
    #[must_use]
    pub fn namespaces(mut self, kinds: &[Namespace]) -> Self {
        assert!(!kinds.contains(&Namespace::Pid), "the peer would not have the id that we know");
        self.command = Namespace::around(kinds, &self.command);
        self
    }

    /// Has the peer called `name` in its command line, which may be any text without NUL.
    #[must_use]
    pub fn called(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.arg0(name);
        self
    }

    /// Gives the peer `fd` as its standard input; then [`Peer::say`] cannot be used.
    #[must_use]
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.command.stdin(Stdio::from(fd));
        self.talks = false;
        self
    }

    /// Starts the peer.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> Peer {
        if self.talks {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self.command.stdout(Stdio::piped()).spawn().expect("start a peer process");
        let stdout = child.stdout.take().expect("piped");
        let (sender, words) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(word) = line.strip_prefix(MARK) {
                    let _ = sender.send(word.to_owned());
                }
            }
        });
        Peer { stdin: child.stdin.take(), child, words }
    }
}
