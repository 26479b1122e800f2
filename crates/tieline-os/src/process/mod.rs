//! Processes as the kernel groups and ends them: ids, groups, sessions, waiting for children, ties to the parent.
//!
//! Processes are started with [`std::process::Command`]; [`SpawnExt`] adds what it lacks between fork and exec. Groups
//! and sessions exist for terminals; see [`crate::job`].
//!
//! The invariant: a process id names a process only until its parent has reaped it. Whoever waits for a child owns
//! its id until then; every other holder of a bare id may address a stranger.
//!
//! # What survives
//! * **fork** (also inside `Command`): only the calling thread exists in the child; locks held by others stay locked
//!   there. Hence nothing but async-signal-safe calls between fork and exec.
//! * **exec**: descriptors without close-on-exec, the signal mask, ignored signals, group, session, working directory,
//!   the parent-death signal (unless the program is set-user-id). Not: handlers, threads, mappings, locks.
//! * **the parent's death**: children go to the nearest subreaper, else to process 1.
//!
//! # Which way of waiting for an end?
//! A child that this program started and whose status it wants: [`wait()`], or [`std::process::Child`] if the standard
//! library started it. Any process, child or not, with a deadline or beside other descriptors: [`crate::pidfd`].
//!
//! Sources: POSIX.1-2024 `waitid`, `setpgid`, `setsid`, `umask`; wait(2), credentials(7), prctl(2).

mod id;
mod inherited;
mod spawn;
mod wait;

pub(crate) use id::outside;
pub use id::{
    Credentials, ParsePidError, Pid, credentials, current, current_thread, group, group_of, new_session, parent,
    session_of, set_group, set_umask,
};
pub use inherited::{duplicate_descriptor, is_inheritable, was_closed_at_start, was_sigpipe_ignored_at_start};
pub use spawn::{SpawnExt, is_child_subreaper, parent_death_signal, set_child_subreaper, set_parent_death_signal};
pub use wait::{Change, Changes, Children, WaitStatus, try_peek, try_wait, wait, wait_timeout};
