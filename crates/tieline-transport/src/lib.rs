//! One address for every way two processes can talk, and the engine that moves bytes and messages between them.
//!
//! * [`addr`] reads and writes addresses: `unix:/run/app.sock`, `mq:/jobs?priority=3`, `exec:gzip -d`.
//! * [`frame`] cuts a byte stream into messages and joins messages into a byte stream.
//! * [`endpoint`] opens what stands behind an address: a byte stream, a message endpoint, or a memory.
//! * [`relay`] joins two of them, and moves what comes out of one into the other until it ends.
//!
//! Nothing here knows of calls, patterns or brokers; and nothing here is unsafe: the kernel is spoken to by
//! `tieline-os` alone.

#![forbid(unsafe_code)]

pub mod addr;
pub mod endpoint;
mod error;
pub mod frame;
pub mod relay;
mod stop;

pub use error::{Error, ErrorKind, Result};
pub use stop::Stop;
