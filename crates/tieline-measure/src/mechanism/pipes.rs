//! Pipes and FIFOs, plain, with a larger buffer, and with vmsplice in place of write.

use std::os::fd::OwnedFd;

use tieline_os::Mode;
use tieline_os::fifo;
use tieline_os::mapping::Mapping;
use tieline_os::pipe::{PipeReader, PipeWriter, pipe};
use tieline_os::transfer::vmsplice;

use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "pipes";
/// What the system lets an ordinary user ask for (`fs.pipe-max-size`).
const LARGE_BYTES: usize = 1 << 20;

pub(super) static PIPE: Pipe =
    Pipe { description: Description::new("pipe", FAMILY, "two pipes of the usual 64 KiB"), capacity: None };
pub(super) static LARGE_PIPE: Pipe =
    Pipe { description: Description::new("pipe-1M", FAMILY, "two pipes of 1 MiB"), capacity: Some(LARGE_BYTES) };

pub(super) static FIFO: Fifo = Fifo { description: Description::new("fifo", FAMILY, "two FIFOs: pipes with names") };
pub(super) static VMSPLICE: Vmsplice = Vmsplice {
    description: Description::new(
        "vmsplice",
        FAMILY,
        "two pipes of 1 MiB; the sender lends its pages, the receiver copies them out",
    ),
};

pub(super) struct Pipe {
    description: Description,
    capacity: Option<usize>,
}

impl Mechanism for Pipe {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let [(there_out, there_in), (back_out, back_in)] = [pipe().sentence()?, pipe().sentence()?];
        if let Some(bytes) = self.capacity {
            for writer in [&there_in, &back_in] {
                writer.set_capacity(bytes).sentence()?;
            }
        }
        let offer = |reader: PipeReader, writer: PipeWriter| {
            Offer::of_descriptors([OwnedFd::from(reader), OwnedFd::from(writer)])
        };
        Ok(Prepared::new([offer(back_out, there_in), offer(there_out, back_in)]))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let [reader, writer] = two(offer)?;
        let (reader, writer) = (PipeReader::from_fd(reader).sentence()?, PipeWriter::from_fd(writer).sentence()?);
        Ok(Box::new(PipeLink { reader, writer }))
    }
}

/// The two descriptors of an offer.
pub(super) fn two(offer: Offer) -> Outcome<[OwnedFd; 2]> {
    offer.descriptors.try_into().map_err(|_| "two descriptors should have come with the order".to_owned())
}

struct PipeLink {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Link for PipeLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.writer.write_all(message).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        read_whole(buffer, |rest| self.reader.read(rest))
    }
}

/// Reads until the buffer is full: a byte stream keeps no message together.
pub(super) fn read_whole(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> tieline_os::Result<usize>,
) -> Outcome<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..]).sentence()? {
            0 => return Err("the other end closed in the middle".to_owned()),
            count => filled += count,
        }
    }
    Ok(())
}

pub(super) struct Fifo {
    description: Description,
}

impl Mechanism for Fifo {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let folder = tempfile::tempdir().sentence()?;
        let ends = ["there", "back"].map(|name| {
            let path = folder.path().join(name);
            fifo::create(&path, Mode::OWNER).and_then(|()| fifo::open_both(&path)).sentence()
        });
        let [there, back] = ends;
        let ((there_out, there_in), (back_out, back_in)) = (there?, back?);
        let offer = |reader: PipeReader, writer: PipeWriter| {
            Offer::of_descriptors([OwnedFd::from(reader), OwnedFd::from(writer)])
        };
        let offers = [offer(back_out, there_in), offer(there_out, back_in)];
        Ok(Prepared { offers, cleanup: Box::new(folder) })
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        PIPE.join(joining, offer)
    }
}

pub(super) struct Vmsplice {
    description: Description,
}

impl Mechanism for Vmsplice {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        LARGE_PIPE.prepare(largest)
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let [reader, writer] = two(offer)?;
        let (reader, writer) = (PipeReader::from_fd(reader).sentence()?, PipeWriter::from_fd(writer).sentence()?);
        let lent = Lent::new(joining.largest, writer.capacity().sentence()?)?;
        Ok(Box::new(VmspliceLink { reader, writer, lent }))
    }
}

/// Buffers lent in turn. There are so many that one is written again only when the pipe cannot hold its pages any
/// more: a pipe of N pages holds at most N pieces.
struct Lent {
    memory: Mapping,
    stride: usize,
    buffers: usize,
    next: usize,
}

const PAGE_BYTES: usize = 4096;

impl Lent {
    fn new(largest: usize, capacity: usize) -> Outcome<Self> {
        let stride = largest.next_multiple_of(PAGE_BYTES);
        let buffers = capacity / stride + 2;
        let buffers = if largest < PAGE_BYTES { capacity / PAGE_BYTES + 2 } else { buffers };
        let memory = Mapping::anonymous(stride * buffers).sentence()?;
        memory.fill(0, memory.len(), 0x5A).sentence()?;
        Ok(Self { memory, stride, buffers, next: 0 })
    }
}

struct VmspliceLink {
    reader: PipeReader,
    writer: PipeWriter,
    lent: Lent,
}

impl Link for VmspliceLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let mut start = self.lent.next * self.lent.stride;
        self.lent.next = (self.lent.next + 1) % self.lent.buffers;
        let end = start + message.len();
        // The buffers hold the payload already, as those of a program that produces in place do; what differs from
        // message to message is its number.
        self.lent.memory.write(start, &message[..8]).sentence()?;
        while start < end {
            start += vmsplice(&self.writer, &self.lent.memory, start..end).sentence()?;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        read_whole(buffer, |rest| self.reader.read(rest))
    }
}
