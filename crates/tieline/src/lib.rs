//! The direct line between any two processes.
//!
//! A tie line is the direct circuit between two telephone exchanges. Tieline is that between two processes: every
//! inter-process communication mechanism of the operating system behind one set of conventions, and one address for
//! all of them.
//!
//! * [`os`]: the mechanisms themselves, one module each: pipes, FIFOs, Unix sockets, TCP and UDP, System V and POSIX
//!   queues, semaphores and shared memory, mappings, futexes, process-shared locks, signals, job control, and what one
//!   waits with. Thin and exact: the kernel's semantics, without its traps.
//! * [`shm`]: memory that several processes map, and what one wants from it: channels without copies, locks that survive
//!   the death of their holder, data structures that no death leaves half changed. For speed, and for crashes.
//! * [`transport`]: addresses such as `unix:/run/app.sock` or `mq:/jobs`, endpoints behind them, framings, and a relay
//!   that joins any two.
//!
//! The command `tieline` does from the shell what this library does from Rust.
//!
//! # Which mechanism do I want?
//!
//! | I want to | take | because | and mind |
//! |---|---|---|---|
//! | stream bytes to a child | [`os::pipe`] | simplest, spliceable | the reader's end is an error, not a signal, in Rust |
//! | stream bytes to a program that is started by someone else | [`os::fifo`] | has a path | opening waits for the other side; use the deadline forms |
//! | talk both ways on one machine | [`os::unix::Stream`] | fast, carries descriptors and credentials | no message boundaries |
//! | the same with message boundaries | [`os::unix::SeqPacket`] | each message whole, in order, with an end | a short buffer cuts the message |
//! | send messages to whoever is there | [`os::unix::Datagram`] | never loses, unlike UDP | a full receiver makes the sender wait |
//! | leave messages for later, by urgency | [`os::posix::mq`] | priorities, notification | ten messages of 8 KiB unless limits are raised |
//! | leave messages for later, by type | [`os::sysv::msg`] | receive by type | identifiers outlive everyone; remove them |
//! | send the same to many, fast, without copying large things | [`shm::topic`] | publishing costs the same for 1 and for 200 subscribers | choose what happens to a slow one |
//! | give each job to one of several workers | [`shm::queue`] | a killed worker's job goes to another | such a job may have been done twice |
//! | call a server on this machine, fast | [`shm::reqres`] | no system call while both are busy; a dead server is an error within milliseconds | one server per name |
//! | a socket's stream without the kernel | [`shm::stream`] | `Read` and `Write`, several times a socket's speed | no descriptor to hand to `poll`; a wait set instead |
//! | see the newest value of something | [`shm::latest`] | the writer never waits, readers cannot disturb it | values between two looks are missed |
//! | be told that something happened, and how often | [`shm::event`] | never waits, coalesces | carries no data |
//! | lock what several processes change, by name | [`shm::sync`] | a holder's death is told to the next, in every sort of lock | whoever shares a lock is trusted |
//! | share a table, a list, a tree | [`shm::SharedArena`] | each change whole or not at all, whoever dies | values are copied in and out |
//! | share much data | [`os::memfd`] and [`os::mapping`] | no copy, no name, sealed | what a peer may write is input: copy, then check |
//! | share data by name | [`os::posix::shm`], [`os::sysv::shm`] | found without a connection | nobody removes it for you |
//! | count permits with a C program | [`os::posix::sem`] | fast, works everywhere | a dead holder's permit is gone; [`shm::sync::Semaphore`] has it back |
//! | take several permits at once | [`os::sysv::sem`] | atomic, undo | slow, and undo is not for producer and consumer |
//! | share a lock with a C program | [`os::pthread`] with a robust mutex | the next owner is told of a death | trusts everyone who can write the memory |
//! | lock a file or a range of it | [`os::lock`] | gone with its descriptor | advisory |
//! | build a lock of one's own | [`os::futex`] | no system call unless somebody waits | being woken proves nothing |
//! | wait for many things | [`os::poll`], [`os::epoll`] for very many | one call for all | System V objects and locks cannot be among them |
//! | wake one who waits so | [`os::eventfd`] | eight bytes, no buffer to fill | nobody is told when its holder dies |
//! | wait for a moment, or a beat | [`os::timerfd`] | counts what was missed | choose the clock |
//! | be told from outside to stop, or to read the configuration again | [`os::signal`] | any program can send one | they merge; no code of yours runs in a handler |
//! | know when a file appears or changes | [`os::inotify`] | no asking again and again | watch first, then look |
//! | know when a process ends | [`os::pidfd`] | cannot mistake another process for it | its exit status goes to the parent alone |
//! | start and stop programs at a terminal | [`os::process`], [`os::job`] | groups, sessions, foreground | a race at each step; the pages name them |
//! | move bytes from one descriptor to another | [`os::transfer`] | without copying, where the two allow it | what is moved is a reference: a file changed meanwhile shows |
//! | cross machines | [`os::tcp`], [`os::udp`] | every system has them | anybody may call; UDP loses, even on loopback |
//! | reach a virtual machine, or its host | [`os::vsock`] | needs no network | needs a transport in the kernel |
//! | start many reads and writes at once | `os::ring` (feature `io-uring`) | one call for all | often forbidden in containers |
//!
//! How fast each is on a given machine, `tieline bench os` measures.
//!
//! # Example
//!
//! ```
//! use tieline::os::unix::{RecvOptions, SendOptions, Stream};
//! use std::io::{IoSlice, IoSliceMut, Read, Write};
//! use std::os::fd::AsFd;
//!
//! // Hand the reading end of a pipe to another process over a Unix socket.
//! let (ours, theirs) = Stream::pair()?;
//! let (reader, mut writer) = tieline::os::pipe::pipe()?;
//! ours.send_with(&[IoSlice::new(b"a pipe for you")], SendOptions::new().fds(&[reader.as_fd()]))?;
//!
//! let mut note = [0; 32];
//! let received = theirs.recv_with(&mut [IoSliceMut::new(&mut note)], RecvOptions::new().max_fds(1))?;
//! let mut pipe = tieline::os::pipe::PipeReader::from_fd(received.fds.into_iter().next().unwrap())?;
//! writer.write_all(b"hello")?;
//! let mut hello = [0; 5];
//! pipe.read_exact(&mut hello)?;
//! assert_eq!(&hello, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

/// Who talks to whom on this machine, made by anyone (feature `observe`).
#[cfg(feature = "observe")]
#[doc(inline)]
pub use tieline_observe as observe;
pub use tieline_os as os;
pub use tieline_transport as transport;

/// Shared memory between processes: channels without copies, locks that survive a crash.
///
/// This is the crate [`tieline_shm`], whose page helps to choose and tells what all of it has in common.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline::shm::ShmSafe;
/// use tieline::shm::topic::Topic;
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Reading {
///     celsius: f64,
///     sensor: u64,
/// }
///
/// let readings = Topic::<Reading>::open_or_create("readings")?;
/// let mut subscriber = readings.subscriber()?; // in any number of processes
/// readings.publisher()?.publish(&Reading { celsius: 21.5, sensor: 7 })?;
/// assert_eq!(subscriber.recv()?.sensor, 7);
/// # Ok::<(), tieline::shm::Error>(())
/// ```
pub mod shm {
    /// Implements [`ShmSafe`](trait@tieline_shm::ShmSafe): the type may lie in memory that other processes map. The
    /// trait's page shows what is accepted.
    #[doc(inline)]
    pub use tieline_shm::ShmSafeOfFacade as ShmSafe;
    #[doc(inline)]
    pub use tieline_shm::*;
}

/// The README, so that its program is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
