//! Bytes into messages, whoever wrote the bytes.

use std::io::{self, Read};

use super::block::{self, Crc, END, Fields, HEAD, HEADER, MAGIC, MESSAGE, MESSAGE_HEAD, SMALL_MAX};
use super::writer::failed;
use super::{Ending, Header, Message, PAYLOAD_MAX_BYTES};
use crate::error::{Error, ErrorKind, Result};

const READ: &str = "read the recording";

/// Reads a recording, or a part of one, from anything. Each message is two reads; give it a buffer.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    /// So many bytes are whole.
    at: u64,
    last_ns: u64,
    messages: u64,
    /// The body of the last block.
    body: Vec<u8>,
    ending: Option<Ending>,
}

/// What comes next.
enum Block {
    Of(u32),
    End,
    /// Fewer bytes than the block has, or none that anybody wrote.
    Torn,
    Damaged,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `Corrupted` if it is no recording, or not even its header is whole; `System`: of reading.
    pub fn new(mut from: R) -> Result<Self> {
        let wrong = |why: &'static str| Error::new(READ, ErrorKind::Corrupted).because(why);
        let mut magic = [0; MAGIC.len()];
        let len = fill(&mut from, &mut magic)?;
        if len < MAGIC.len() || magic != MAGIC {
            return Err(wrong("it does not begin as one of `tieline record` does"));
        }
        let mut body = Vec::new();
        let header = match next_block(&mut from, &mut body)? {
            Block::Of(HEADER) => block::parse_header(&body),
            _ => None,
        };
        let header = header.ok_or_else(|| wrong("its header is not whole"))?;
        let at = (MAGIC.len() + HEAD + body.len()) as u64;
        Ok(Self { from, header, at, last_ns: 0, messages: 0, body, ending: None })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next message; `None` at the [end](Self::ending), whichever that is.
    ///
    /// # Errors
    /// `System`: of reading.
    #[expect(clippy::should_implement_trait, reason = "a message borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>> {
        while self.ending.is_none() {
            let block = next_block(&mut self.from, &mut self.body)?;
            match self.take(&block) {
                Ok(true) => return Ok(self.current()),
                Ok(false) => {}
                Err(ending) => self.ending = Some(ending),
            }
        }
        Ok(None)
    }

    /// The message that the body is.
    pub(super) fn current(&self) -> Option<Message<'_>> {
        let mut head = Fields(&self.body);
        let (publisher, sequence, at_ns) = (head.u64()?, head.u64()?, head.u64()?);
        Some(Message { publisher, sequence, at_ns, payload: head.0 })
    }

    /// How it ends, once [`next`](Self::next) has answered `None`.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whether the block is a message; an error if it is the end.
    fn take(&mut self, block: &Block) -> Result<bool, Ending> {
        let damaged = Ending::Damaged { at: self.at };
        let is_message = match block {
            Block::Of(MESSAGE) => {
                let at_ns = self.body.get(16..MESSAGE_HEAD).and_then(|bytes| bytes.try_into().ok());
                let at_ns = at_ns.map(u64::from_le_bytes).filter(|at_ns| *at_ns >= self.last_ns).ok_or(damaged)?;
                self.last_ns = at_ns;
                self.messages += 1;
                true
            }
            Block::Of(END) => {
                let mut fields = Fields(&self.body);
                let (messages, lost, continues) = (fields.u64(), fields.u64(), fields.u32());
                let (Some(messages), Some(lost), Some(continues @ 0..=1)) = (messages, lost, continues) else {
                    return Err(damaged);
                };
                if messages != self.messages {
                    return Err(damaged);
                }
                return Err(Ending::Complete { lost, continues: continues == 1 });
            }
            // Two headers are none; what later versions add is passed over.
            Block::Of(HEADER) | Block::Damaged => return Err(damaged),
            Block::Of(_) => false,
            Block::End | Block::Torn => return Err(Ending::Torn { at: self.at }),
        };
        self.at += (HEAD + self.body.len()) as u64;
        Ok(is_message)
    }
}

/// Reads a block; its body replaces what was in `body`.
fn next_block(from: &mut impl Read, body: &mut Vec<u8>) -> Result<Block> {
    let mut head = [0; HEAD];
    match fill(from, &mut head)? {
        0 => return Ok(Block::End),
        HEAD => {}
        _ => return Ok(Block::Torn),
    }
    // After a power cut there may be zeros where a block was being written.
    if head == [0; HEAD] {
        return Ok(Block::Torn);
    }
    let mut fields = Fields(&head);
    let (Some(len), Some(kind), Some(sum)) = (fields.u32(), fields.u32(), fields.u32()) else {
        return Ok(Block::Torn);
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let most = if kind == MESSAGE { MESSAGE_HEAD + PAYLOAD_MAX_BYTES } else { SMALL_MAX };
    if len > most {
        return Ok(Block::Damaged);
    }
    body.clear();
    // It grows with what is really there, whatever the head claims.
    let taken = from.take(len as u64).read_to_end(body).map_err(|error| failed(READ, &error))?;
    if taken < len {
        return Ok(Block::Torn);
    }
    let is_whole = Crc::new().over(&head[..8]).over(body).value() == sum;
    Ok(if is_whole { Block::Of(kind) } else { Block::Damaged })
}

/// Reads until the buffer is full or there is no more; how much there was.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match from.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(READ, &error)),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests;
