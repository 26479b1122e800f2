//! The corner list: surprising behaviour of the operating system's IPC, one test a line.
//!
//! Every test is named `lineNNN_` and what happens, and says given, when and then in its documentation. `cargo xtask
//! tidy` checks that no number from 1 to 112 is missing.

mod file_locks;
mod futex;
mod inet;
mod pidfd;
mod pipes;
mod posix_mq;
mod posix_sem;
mod posix_shm;
mod pthread;
mod readiness;
mod signals;
mod sysv;
mod unix_sockets;
