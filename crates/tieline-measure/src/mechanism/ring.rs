//! The I/O ring: the same pipe and the same socket, with `io_uring` in place of the plain calls.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tieline_os::pipe::{PipeReader, PipeWriter};
use tieline_os::ring::{Operation, Ring};
use tieline_os::unix::Stream;

use super::pipes::two;
use super::{Description, Mechanism, pipes, unix};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "I/O ring";
/// One operation is under way at a time: this measures an exchange one to one.
const ENTRIES: u32 = 4;

pub(super) static PIPE: RingPipe = RingPipe {
    description: Description::new("io_uring-pipe", FAMILY, "two pipes, read and written through an I/O ring"),
};
pub(super) static STREAM: RingStream = RingStream {
    description: Description::new("io_uring-unix", FAMILY, "a Unix stream socket, used through an I/O ring"),
};

pub(super) struct RingPipe {
    description: Description,
}

impl Mechanism for RingPipe {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        pipes::PIPE.prepare(largest)
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let [reader, writer] = two(offer)?;
        let reader = Arc::new(PipeReader::from_fd(reader).sentence()?);
        let writer = Arc::new(PipeWriter::from_fd(writer).sentence()?);
        Ok(Box::new(RingLink {
            ring: Ring::new(ENTRIES).sentence()?,
            buffer: Vec::new(),
            write: move |buffer| Operation::write(writer.clone(), buffer),
            read: move |buffer| Operation::read(reader.clone(), buffer),
        }))
    }
}

pub(super) struct RingStream {
    description: Description,
}

impl Mechanism for RingStream {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        unix::STREAM.prepare(largest)
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let descriptor: OwnedFd = offer.descriptors.into_iter().next().ok_or("no socket came with the order")?;
        let socket = Arc::new(Stream::from_fd(descriptor).sentence()?);
        let other = socket.clone();
        Ok(Box::new(RingLink {
            ring: Ring::new(ENTRIES).sentence()?,
            buffer: Vec::new(),
            write: move |buffer| Operation::send(socket.clone(), buffer),
            read: move |buffer| Operation::recv(other.clone(), buffer),
        }))
    }
}

struct RingLink<W, R> {
    ring: Ring,
    /// Goes into each operation and comes back with its completion.
    buffer: Vec<u8>,
    write: W,
    read: R,
}

impl<W, R> RingLink<W, R> {
    fn run(&mut self, operation: Operation) -> Outcome<usize> {
        self.ring.push(operation, 0).map_err(|refused| refused.to_string())?;
        let completion = self.ring.wait().sentence()?;
        self.buffer = completion.buffer;
        completion.result.sentence()
    }
}

impl<W: FnMut(Vec<u8>) -> Operation, R: FnMut(Vec<u8>) -> Operation> Link for RingLink<W, R> {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let mut sent = 0;
        while sent < message.len() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            buffer.extend_from_slice(&message[sent..]);
            let operation = (self.write)(buffer);
            sent += self.run(operation)?;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut room = std::mem::take(&mut self.buffer);
            room.resize(buffer.len() - filled, 0);
            let operation = (self.read)(room);
            match self.run(operation)? {
                0 => return Err("the other end closed in the middle".to_owned()),
                count => {
                    buffer[filled..filled + count].copy_from_slice(&self.buffer[..count]);
                    filled += count;
                }
            }
        }
        Ok(())
    }
}
