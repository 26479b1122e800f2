//! A part of shared memory, read or written from its start to its end.

use std::sync::Arc;

use tieline_os::sysv::shm::Attachment;

use crate::error::{Error, ErrorKind, Result};

/// A part of an attached segment, and how far it has been read or written.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    attachment: Arc<Attachment>,
    position: usize,
    end: usize,
}

impl Memory {
    /// The `length` bytes from `offset`, or all from there on.
    pub(crate) fn new(attachment: Attachment, offset: u64, length: Option<u64>, name: &str) -> Result<Self> {
        let size = attachment.len() as u64;
        let (position, end) = part(offset, length, size, name)?;
        // Both lie within the attachment's length, which is a usize.
        Ok(Self { attachment: Arc::new(attachment), position: position as usize, end: end as usize })
    }

    pub(crate) fn remaining(&self) -> u64 {
        (self.end - self.position) as u64
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = buffer.len().min(self.end - self.position);
        self.attachment.read(self.position, &mut buffer[..len])?;
        self.position += len;
        Ok(len)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let len = bytes.len().min(self.end - self.position);
        if len == 0 && !bytes.is_empty() {
            let text = format!("the shared memory is full: it ends at byte {}", self.end);
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        self.attachment.write(self.position, &bytes[..len])?;
        self.position += len;
        Ok(len)
    }
}

/// The first byte and the end of a part of `name`, which has `size` bytes.
pub(crate) fn part(offset: u64, length: Option<u64>, size: u64, name: &str) -> Result<(u64, u64)> {
    let end = length.map_or(Some(size.max(offset)), |length| offset.checked_add(length));
    match end {
        Some(end) if offset <= size && end <= size => Ok((offset, end)),
        _ => {
            let length = length.map(|length| format!(" and length {length}")).unwrap_or_default();
            let verb = if length.is_empty() { "lies" } else { "reach" };
            let text = format!("cannot use {name}: offset {offset}{length} {verb} outside its {size} bytes");
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}
