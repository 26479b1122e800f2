//! One address for every way two processes can talk, and the engine that moves bytes and messages between them.
//!
//! * [`addr`] reads and writes addresses: `unix:/run/app.sock`, `mq:/jobs?priority=3`, `exec:gzip -d`.
//! * [`frame`] cuts a byte stream into messages and joins messages into a byte stream.
//!
//! Nothing here knows of calls, patterns or brokers; and nothing here is unsafe: the kernel is spoken to by
//! `tieline-os` alone.

#![forbid(unsafe_code)]

pub mod addr;
pub mod frame;
