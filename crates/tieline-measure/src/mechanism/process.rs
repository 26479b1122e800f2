//! Whole memory handed over: read out of the other process, or passed as a fresh memory file.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, Seals};
use tieline_os::pipe::{PipeReader, PipeWriter, pipe};
use tieline_os::process_memory::ProcessMemory;
use tieline_os::unix::{RecvOptions, SendOptions, SeqPacket};

use super::pipes::read_whole;
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "process memory";

pub(super) static READV: Readv = Readv {
    description: Description::new(
        "process_vm_readv",
        FAMILY,
        "the receiver reads the sender's memory; a pipe says where, another says that it is done",
    ),
};
pub(super) static MEMFD: MemoryFile = MemoryFile {
    description: Description::new(
        "memfd-passing",
        FAMILY,
        "each message a fresh memory file, passed over a Unix socket and mapped",
    ),
};

/// How many messages may wait to be read out of the sender's memory.
const BUFFERS: usize = 8;
const ADDRESS_BYTES: usize = size_of::<usize>();

pub(super) struct Readv {
    description: Description,
}

impl Mechanism for Readv {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        // For each direction a pipe of addresses, and one of receipts that runs against it.
        let [there, there_receipts, back, back_receipts] = [pipe(), pipe(), pipe(), pipe()];
        let offer = |outgoing: PipeWriter, receipts: PipeReader, incoming: PipeReader, received: PipeWriter| {
            Offer::of_descriptors([outgoing.into(), receipts.into(), incoming.into(), received.into()])
        };
        let (there, there_receipts) = (there.sentence()?, there_receipts.sentence()?);
        let (back, back_receipts) = (back.sentence()?, back_receipts.sentence()?);
        Ok(Prepared::new([
            offer(there.1, there_receipts.0, back.0, back_receipts.1),
            offer(back.1, back_receipts.0, there.0, there_receipts.1),
        ]))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let descriptors: [OwnedFd; 4] =
            offer.descriptors.try_into().map_err(|_| "four pipes should have come with the order".to_owned())?;
        let [outgoing, receipts, incoming, received] = descriptors;
        let stride = joining.largest.next_multiple_of(64);
        Ok(Box::new(ReadvLink {
            peer: ProcessMemory::open(joining.peer.cast_unsigned()).sentence()?,
            outgoing: PipeWriter::from_fd(outgoing).sentence()?,
            receipts: PipeReader::from_fd(receipts).sentence()?,
            incoming: PipeReader::from_fd(incoming).sentence()?,
            received: PipeWriter::from_fd(received).sentence()?,
            memory: Mapping::anonymous(stride * BUFFERS).sentence()?,
            stride,
            next: 0,
            unread: 0,
        }))
    }
}

struct ReadvLink {
    peer: ProcessMemory,
    outgoing: PipeWriter,
    receipts: PipeReader,
    incoming: PipeReader,
    received: PipeWriter,
    memory: Mapping,
    stride: usize,
    next: usize,
    unread: usize,
}

impl Link for ReadvLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        if self.unread == BUFFERS {
            let mut receipts = [0; BUFFERS];
            self.unread -= self.receipts.read(&mut receipts).sentence()?;
        }
        let offset = self.next * self.stride;
        self.next = (self.next + 1) % BUFFERS;
        self.memory.write(offset, message).sentence()?;
        let address = self.memory.as_ptr().addr() + offset;
        self.outgoing.write_all(&address.to_ne_bytes()).sentence()?;
        self.unread += 1;
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let mut address = [0; ADDRESS_BYTES];
        read_whole(&mut address, |rest| self.incoming.read(rest))?;
        self.peer.read_exact(usize::from_ne_bytes(address), buffer).sentence()?;
        self.received.write_all(&[1]).sentence()
    }
}

pub(super) struct MemoryFile {
    description: Description,
}

impl Mechanism for MemoryFile {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let (first, second) = SeqPacket::pair().sentence()?;
        Ok(Prepared::new([first, second].map(|end| Offer::of_descriptors([OwnedFd::from(end)]))))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let descriptor = offer.descriptors.into_iter().next().ok_or("no socket came with the order")?;
        Ok(Box::new(MemoryFileLink { socket: SeqPacket::from_fd(descriptor).sentence()? }))
    }
}

struct MemoryFileLink {
    socket: SeqPacket,
}

impl Link for MemoryFileLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let memory = Memfd::fixed("tieline-message", message.len() as u64).sentence()?;
        memory.map(&MapOptions::new()).sentence()?.write(0, message).sentence()?;
        let descriptors = [memory.as_fd()];
        self.socket.send_with(&[IoSlice::new(&[1])], SendOptions::new().fds(&descriptors)).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let mut byte = [0];
        let received = self.socket.recv_with(&mut [IoSliceMut::new(&mut byte)], RecvOptions::new().max_fds(1));
        let received = received.sentence()?.ok_or("the other end closed in the middle")?;
        let descriptor = received.fds.into_iter().next().ok_or("no memory came with the message")?;
        let memory = Memfd::from_fd(descriptor, Seals::SHRINK).sentence()?;
        memory.map(&MapOptions::new()).sentence()?.read(0, buffer).sentence()
    }
}
