//! Messages into bytes.

use std::io::Write;

use super::block::{self, HEAD, MAGIC, MESSAGE_HEAD};
use super::{Header, Message, PAYLOAD_MAX_BYTES};
use crate::error::{Error, ErrorKind, Result};

const WRITE: &str = "write the recording";

/// Writes a recording, or a part of one, into anything. Each message is two writes; give it a buffer.
#[derive(Debug)]
pub struct Writer<W> {
    into: W,
    /// How many bytes were written.
    len: u64,
    last_ns: u64,
    messages: u64,
    /// A write failed: nothing can follow what may have been half written.
    is_broken: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// `System`: of writing.
    pub fn new(into: W, header: &Header) -> Result<Self> {
        let mut writer = Self { into, len: 0, last_ns: 0, messages: 0, is_broken: false };
        let body = block::header_body(header);
        writer.put(&[&MAGIC, &block::head(block::HEADER, &[&body]), &body])?;
        Ok(writer)
    }

    /// Writes a message. A time before that of the message before counts as the same.
    ///
    /// # Errors
    /// `TooLarge` for more than [`PAYLOAD_MAX_BYTES`]; `System`: of writing, and then all further calls fail.
    pub fn write(&mut self, message: &Message<'_>) -> Result<()> {
        if message.payload.len() > PAYLOAD_MAX_BYTES {
            return Err(Error::new(WRITE, ErrorKind::TooLarge));
        }
        self.last_ns = self.last_ns.max(message.at_ns);
        let head = block::message_head(message.publisher, message.sequence, self.last_ns);
        self.put(&[&block::head(block::MESSAGE, &[&head, message.payload]), &head, message.payload])?;
        self.messages += 1;
        Ok(())
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// How many bytes a message with so large a payload takes.
    #[must_use]
    pub fn message_len_bytes(payload: usize) -> u64 {
        (HEAD + MESSAGE_HEAD + payload) as u64
    }

    /// How many messages were written.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Hands what was written to the system.
    ///
    /// # Errors
    /// `System`: of writing.
    pub fn flush(&mut self) -> Result<()> {
        self.into.flush().map_err(|error| {
            self.is_broken = true;
            failed(WRITE, &error)
        })
    }

    /// Writes the end, and hands back what was written to.
    ///
    /// # Errors
    /// `System`: of writing.
    pub fn finish(mut self, lost: u64, continues: bool) -> Result<W> {
        let mut body = Vec::with_capacity(block::END_BODY);
        body.extend(self.messages.to_le_bytes());
        body.extend(lost.to_le_bytes());
        body.extend(u32::from(continues).to_le_bytes());
        self.put(&[&block::head(block::END, &[&body]), &body])?;
        self.flush()?;
        Ok(self.into)
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<()> {
        if self.is_broken {
            return Err(Error::new(WRITE, ErrorKind::System).because("writing failed before"));
        }
        for part in parts {
            if let Err(error) = self.into.write_all(part) {
                self.is_broken = true;
                return Err(failed(WRITE, &error));
            }
            self.len += part.len() as u64;
        }
        Ok(())
    }
}

/// An error of the system, as one of this crate.
pub(super) fn failed(operation: &'static str, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => {
            let system = tieline_os::Error::from_errno(operation, number);
            let reason = system.reason().unwrap_or_default();
            Error::new(operation, Error::system_refused(operation, system).kind()).because(reason)
        }
        None => Error::new(operation, ErrorKind::System).because(error.to_string()),
    }
}
