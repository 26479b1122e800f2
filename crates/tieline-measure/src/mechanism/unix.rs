//! Unix sockets of the three types. A pair is measured: pathname and abstract sockets are the same once connected.

use std::os::fd::OwnedFd;

use tieline_os::Packet;
use tieline_os::unix::{Datagram, SeqPacket, Stream};

use super::pipes::read_whole;
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "Unix sockets";
/// What the kernel gives a socket that does not ask.
const USUAL_BUFFER_BYTES: usize = 212_992;

pub(super) static STREAM: Socket =
    Socket { description: Description::new("unix-stream", FAMILY, "a Unix stream socket"), kind: Kind::Stream };
pub(super) static DATAGRAM: Socket =
    Socket { description: Description::new("unix-dgram", FAMILY, "a Unix datagram socket"), kind: Kind::Datagram };
pub(super) static SEQPACKET: Socket = Socket {
    description: Description::new("unix-seqpacket", FAMILY, "a Unix sequenced-packet socket"),
    kind: Kind::SeqPacket,
};

#[derive(Clone, Copy)]
enum Kind {
    Stream,
    Datagram,
    SeqPacket,
}

pub(super) struct Socket {
    description: Description,
    kind: Kind,
}

impl Mechanism for Socket {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        // A message must fit the sender's buffer, and a few of them for a flood.
        let room = (4 * largest).max(USUAL_BUFFER_BYTES);
        let ends: [OwnedFd; 2] = match self.kind {
            Kind::Stream => both(Stream::pair().sentence()?),
            Kind::Datagram => {
                let (first, second) = Datagram::pair().sentence()?;
                for end in [&first, &second] {
                    end.set_send_buffer_bytes(room).sentence()?;
                }
                both((first, second))
            }
            Kind::SeqPacket => {
                let (first, second) = SeqPacket::pair().sentence()?;
                for end in [&first, &second] {
                    end.set_send_buffer_bytes(room).sentence()?;
                }
                both((first, second))
            }
        };
        Ok(Prepared::new(ends.map(|end| Offer::of_descriptors([end]))))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let descriptor = offer.descriptors.into_iter().next().ok_or("no socket came with the order")?;
        Ok(match self.kind {
            Kind::Stream => Box::new(Stream::from_fd(descriptor).sentence()?),
            Kind::Datagram => Box::new(Datagram::from_fd(descriptor).sentence()?),
            Kind::SeqPacket => Box::new(SeqPacket::from_fd(descriptor).sentence()?),
        })
    }
}

fn both<T: Into<OwnedFd>>((first, second): (T, T)) -> [OwnedFd; 2] {
    [first.into(), second.into()]
}

impl Link for Stream {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        send_whole(message, |rest| Stream::send(self, rest))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        read_whole(buffer, |rest| self.recv(rest))
    }
}

impl Link for Datagram {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Datagram::send(self, message).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        whole(self.recv(buffer).sentence()?, buffer.len())
    }
}

impl Link for SeqPacket {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        SeqPacket::send(self, message).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let packet = self.recv(buffer).sentence()?.ok_or("the other end closed in the middle")?;
        whole(packet, buffer.len())
    }
}

/// Sends until all is sent: a stream may take a part.
pub(super) fn send_whole(message: &[u8], mut send: impl FnMut(&[u8]) -> tieline_os::Result<usize>) -> Outcome<()> {
    let mut sent = 0;
    while sent < message.len() {
        sent += send(&message[sent..]).sentence()?;
    }
    Ok(())
}

/// Checks that a message came as long as it was sent.
pub(super) fn whole(packet: Packet, expected: usize) -> Outcome<()> {
    if packet.full_len == expected {
        Ok(())
    } else {
        Err(format!("a message of {} bytes came where {expected} were sent", packet.full_len))
    }
}
