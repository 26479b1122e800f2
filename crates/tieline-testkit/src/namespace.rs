//! A test in namespaces of its own, by re-executing it under `unshare`.

use std::process::{Command, Stdio};

use crate::skip::{has_command, skipped};

const INSIDE: &str = "TIELINE_TEST_ISOLATED";

/// A kind of Linux namespace; see namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// System V objects and POSIX message queues, with limits of their own.
    Ipc,
    /// Mounts.
    Mount,
    /// Network devices, addresses and abstract socket names; loopback is down at first.
    Net,
    /// Process ids; the test runs as a child of the first process.
    Pid,
    /// Clocks: the monotonic one is a million seconds ahead. Before Linux 6.1 only for children.
    Time,
    /// Users: a namespace in which this user is root and nobody else has a number.
    User,
}

/// Where a test is after [`Namespace::enter`] or [`alone`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "return from the test unless it is Inside"]
pub enum Isolation {
    /// In the namespaces, or alone: go on.
    Inside,
    /// Outside: the test has run inside, in another process, and passed; or was skipped. Return.
    Done,
}

/// Runs `test` again as the only one of a process.
///
/// The tests of a binary run beside each other in one process, and each may start others, which have all that the process
/// has until they become other programs. Who counts what this process has does it here.
///
/// # Panics
/// If the test fails there.
pub fn alone(test: &str) -> Isolation {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return Isolation::Inside;
    }
    run_inside(Command::new(std::env::current_exe().expect("the running test binary")), test);
    Isolation::Done
}

/// Runs that test by this command, which is the test binary, perhaps in new surroundings.
fn run_inside(mut command: Command, test: &str) {
    let status = command
        .arg(test)
        .args(["--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, test)
        // A second report of the same test would only be miscounted; a failure tells its story on standard error.
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(status.success(), "failed in a process of its own: {status}");
}

impl Namespace {
    /// Runs `test` again inside new namespaces of these kinds (and a user namespace, if not root).
    ///
    /// ```no_run
    /// use tieline_testkit::{Isolation, Namespace, test_name};
    /// // #[test]
    /// fn queues_can_be_larger() {
    ///     if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
    ///         return;
    ///     }
    ///     // alone here
    /// }
    /// ```
    ///
    /// # Panics
    /// If the test fails inside.
    pub fn enter(kinds: &[Self], test: &str) -> Isolation {
        if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
            return Isolation::Inside;
        }
        let allowed = Self::can_make(kinds);
        if !allowed {
            skipped(test, &format!("this machine does not let us make {kinds:?} namespaces"));
            return Isolation::Done;
        }
        let mut unshare = Self::unshare(kinds);
        unshare.arg(std::env::current_exe().expect("the running test binary"));
        run_inside(unshare, test);
        Isolation::Done
    }

    /// Whether this machine lets us make namespaces of these kinds.
    #[must_use]
    pub fn can_make(kinds: &[Self]) -> bool {
        has_command("unshare") && Self::unshare(kinds).arg("true").output().is_ok_and(|out| out.status.success())
    }

    /// Whether this machine lets us mount a file system in a mount namespace of our own: some let us make the namespace,
    /// and nothing of it.
    #[must_use]
    pub fn can_mount() -> bool {
        let mut mount = Self::unshare(&[Self::Mount]);
        mount.args(["mount", "-t", "tmpfs", "none", "/dev/shm"]);
        has_command("unshare") && mount.output().is_ok_and(|out| out.status.success())
    }

    /// Whether this user has another number inside: only root may make namespaces without one of users, in which whoever
    /// makes it is root.
    #[must_use]
    pub fn renames_us() -> bool {
        !rustix::process::geteuid().is_root()
    }

    /// The command that runs another one, to be added to it, in new namespaces.
    pub(crate) fn unshare(kinds: &[Self]) -> Command {
        let mut unshare = Command::new("unshare");
        for kind in kinds {
            unshare.args(match kind {
                Self::Ipc => &["--ipc"] as &[&str],
                Self::Mount => &["--mount"],
                Self::Net => &["--net"],
                Self::Pid => &["--pid", "--fork", "--kill-child"],
                Self::Time => &["--time", "--monotonic", "1000000"],
                Self::User => &["--user", "--map-root-user"],
            });
        }
        if !rustix::process::geteuid().is_root() && !kinds.contains(&Self::User) {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare
    }

    /// The same command in new namespaces of these kinds.
    pub(crate) fn around(kinds: &[Self], command: &Command) -> Command {
        let mut around = Self::unshare(kinds);
        around.arg(command.get_program()).args(command.get_args());
        around.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        around
    }
}
