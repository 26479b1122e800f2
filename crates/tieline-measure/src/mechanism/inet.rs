//! TCP and UDP over loopback.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use tieline_os::{tcp, udp};

use super::pipes::read_whole;
use super::unix::{send_whole, whole};
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "loopback";
/// A datagram of IPv4 less its two headers.
const LARGEST_DATAGRAM_BYTES: usize = 65_507;

pub(super) static TCP: Tcp =
    Tcp { description: Description::new("tcp", FAMILY, "TCP over loopback, without delay (TCP_NODELAY)") };
pub(super) static UDP: Udp = Udp {
    description: Description {
        largest: LARGEST_DATAGRAM_BYTES,
        lossy: true,
        ..Description::new("udp", FAMILY, "UDP over loopback; a flood loses messages")
    },
};

pub(super) struct Tcp {
    description: Description,
}

impl Mechanism for Tcp {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let listener = tcp::Listener::bind((Ipv4Addr::LOCALHOST, 0)).sentence()?;
        let first = tcp::Stream::connect(listener.local_address().sentence()?).sentence()?;
        let (second, _) = listener.accept().sentence()?;
        for end in [&first, &second] {
            end.set_nodelay(true).sentence()?;
        }
        Ok(Prepared::new([first, second].map(|end| Offer::of_descriptors([OwnedFd::from(end)]))))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        Ok(Box::new(tcp::Stream::from_fd(one(offer)?).sentence()?))
    }
}

fn one(offer: Offer) -> Outcome<OwnedFd> {
    offer.descriptors.into_iter().next().ok_or_else(|| "no socket came with the order".to_owned())
}

impl Link for tcp::Stream {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        send_whole(message, |rest| tcp::Stream::send(self, rest))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        read_whole(buffer, |rest| self.recv(rest))
    }
}

pub(super) struct Udp {
    description: Description,
}

impl Mechanism for Udp {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let socket = || udp::Socket::bind((Ipv4Addr::LOCALHOST, 0)).sentence();
        let (first, second) = (socket()?, socket()?);
        first.connect(second.local_address().sentence()?).sentence()?;
        second.connect(first.local_address().sentence()?).sentence()?;
        Ok(Prepared::new([first, second].map(|end| Offer::of_descriptors([OwnedFd::from(end)]))))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        Ok(Box::new(udp::Socket::from_fd(one(offer)?).sentence()?))
    }
}

impl Link for udp::Socket {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        udp::Socket::send(self, message).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        whole(self.recv(buffer).sentence()?, buffer.len())
    }
}
