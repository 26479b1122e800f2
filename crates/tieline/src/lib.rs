//! The direct line between any two processes.
//!
//! A tie line is the direct circuit between two telephone exchanges. Tieline is that between two processes: every
//! inter-process communication mechanism of the operating system behind one set of conventions, and one address for
//! all of them.
//!
//! * [`os`]: the mechanisms themselves, one module each: pipes, FIFOs, Unix sockets, TCP and UDP, System V and POSIX
//!   queues, semaphores and shared memory, mappings, futexes, process-shared locks, signals, job control, and what one
//!   waits with. Thin and exact: the kernel's semantics, without its traps.
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
//! | share much data | [`os::memfd`] and [`os::mapping`] | no copy, no name, sealed | what a peer may write is input: copy, then check |
//! | share data by name | [`os::posix::shm`], [`os::sysv::shm`] | found without a connection | nobody removes it for you |
//! | count permits | [`os::posix::sem`] | fast, works everywhere | a dead holder's permit is gone |
//! | take several permits at once, or have them back after a crash | [`os::sysv::sem`] | atomic, undo | slow, and undo is not for producer and consumer |
//! | guard shared memory | [`os::pthread`] with a robust mutex | the next owner is told of a death | trusts everyone who can write the memory |
//! | lock a file or a range of it | [`os::lock`] | gone with its descriptor | advisory |
//! | wait for many things | [`os::epoll`], [`os::poll`] | | |
//! | know when a process ends | [`os::pidfd`] | cannot mistake another process for it | |
//! | cross machines | [`os::tcp`], [`os::udp`] | | UDP loses, even on loopback |
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

pub use tieline_os as os;
pub use tieline_transport as transport;
