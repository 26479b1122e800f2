//! Waiting for peers at an address, one after another.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::poll::Interest;
use tieline_os::unix::{BindOptions, SeqPacketListener, StreamListener};
use tieline_os::{tcp, vsock};

use super::bytes::{Socket, if_now};
use super::open::{self, Opened};
use super::{Direction, Endpoint, owner};
use crate::addr::{Address, Authority, Cid, Host, Options, Target, UnixName};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{Patience, Stop};

/// Accepts peers who come to an address: `unix:`, `unix-seqpacket:`, `tcp:` and `vsock:`.
///
/// The other schemes have no connections; what stands there is opened by [`Endpoint::open`].
///
/// ```
/// use tieline_transport::addr::Address;
/// use tieline_transport::endpoint::{Direction, Endpoint, Listener};
/// let anywhere: Address = "tcp:127.0.0.1:0".parse()?;
/// let listener = Listener::bind(&anywhere)?;
/// let client = Endpoint::open(listener.address(), Direction::Both)?;
/// let server = listener.accept()?;
/// assert!(server.peer().unwrap().address.is_some());
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    address: Address,
    listening: Listening,
}

#[derive(Debug)]
enum Listening {
    Unix(StreamListener),
    SeqPacket(SeqPacketListener),
    Tcp(tcp::Listener),
    Vsock(vsock::Listener),
}

impl Listener {
    /// Takes the address and listens there, whether or not it says `listen=yes`.
    ///
    /// The file of a Unix socket is made with the address's `mode` and `owner` (only its owner may connect, if they
    /// say nothing) and is removed when the listener is dropped. If a socket file is there that nobody has bound, its
    /// place is taken: its mode and its owner go on, unless the address says otherwise, and the name stays in the end.
    ///
    /// # Errors
    /// `InvalidInput` if the scheme has no connections to accept, or the address says `listen=no`;
    /// `System(AlreadyExists)` if somebody listens there; `System(PermissionDenied)`; `UnknownHost`.
    pub fn bind(address: &Address) -> Result<Self> {
        if address.options().listen == Some(false) {
            let text = format!("cannot listen at {address}: it says listen=no");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        open::check_options(address, true)?;
        let bind = bind_options(address);
        let (target, listening) = match address.target() {
            Target::Unix(name) => {
                let listener = StreamListener::bind_with(&open::unix_address(name)?, bind)?;
                give(address, name)?;
                (address.target().clone(), Listening::Unix(listener))
            }
            Target::UnixSeqpacket(name) => {
                let listener = SeqPacketListener::bind_with(&open::unix_address(name)?, bind)?;
                give(address, name)?;
                (address.target().clone(), Listening::SeqPacket(listener))
            }
            Target::Tcp(at) => {
                let listener = tcp::Listener::bind(open::socket_addresses(at, true)?.as_slice())?;
                let port = listener.local_address()?.port();
                (Target::Tcp(Authority { port, ..at.clone() }), Listening::Tcp(listener))
            }
            Target::Vsock { cid, port } => {
                let listener = vsock::Listener::bind(open::vsock_address(*cid, *port))?;
                let port = listener.local_address()?.port;
                (Target::Vsock { cid: *cid, port }, Listening::Vsock(listener))
            }
            _ => {
                let text =
                    format!("cannot listen at {address}: only unix, unix-seqpacket, tcp and vsock have connections");
                return Err(Error::new(ErrorKind::InvalidInput, text).hint("open it as it is"));
            }
        };
        // A port that was chosen by the kernel is part of the address from now on.
        let address = of_parts(target, address.options().clone())?;
        Ok(Self { address: reachable(&address)?, listening })
    }

    /// Where a client finds it: the address it was bound by, with the port that the kernel chose if it was 0, and
    /// without options; `*` became `localhost`.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a peer and accepts it.
    ///
    /// # Errors
    /// `System(LimitReached)` without a free descriptor: the peer still waits.
    pub fn accept(&self) -> Result<Endpoint> {
        self.accept_patiently(Direction::Both, Patience::default())
    }

    /// As [`accept`](Self::accept), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`accept`](Self::accept).
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Endpoint> {
        self.accept_patiently(Direction::Both, super::at_most(timeout))
    }

    /// As [`accept`](Self::accept), until asked to stop.
    ///
    /// # Errors
    /// `Stopped`; as [`accept`](Self::accept).
    pub fn accept_until(&self, stop: &Stop) -> Result<Endpoint> {
        self.accept_patiently(Direction::Both, Patience::new(Some(stop), None))
    }

    pub(super) fn accept_patiently(&self, direction: Direction, patience: Patience<'_>) -> Result<Endpoint> {
        let name = open::called(&self.address);
        loop {
            let opened = match &self.listening {
                Listening::Unix(listener) => {
                    if_now(listener.try_accept())?.map(|stream| open::of_unix(stream, direction, &name))
                }
                Listening::SeqPacket(listener) => {
                    if_now(listener.try_accept())?.map(|socket| open::of_seqpacket(socket, direction, &self.address))
                }
                Listening::Tcp(listener) => {
                    if_now(listener.try_accept())?.map(|(stream, _)| open::of_tcp(stream, direction, &name))
                }
                Listening::Vsock(listener) => {
                    let stream = if_now(listener.try_accept())?;
                    stream.map(|stream| Ok(open::of_stream(Socket::Vsock(Arc::new(stream)), direction, &name)))
                }
            };
            match opened {
                Some(opened) => {
                    let opened: Opened = opened?;
                    return Ok(opened.into_endpoint(&self.address));
                }
                None => patience.wait_ready(self.as_fd(), Interest::READABLE, "accept a peer")?,
            }
        }
    }
}

impl AsFd for Listener {
    /// Readable while a peer waits to be accepted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listening {
            Listening::Unix(listener) => listener.as_fd(),
            Listening::SeqPacket(listener) => listener.as_fd(),
            Listening::Tcp(listener) => listener.as_fd(),
            Listening::Vsock(listener) => listener.as_fd(),
        }
    }
}

/// How the name of a Unix socket is taken.
pub(super) fn bind_options(address: &Address) -> BindOptions {
    let bind = BindOptions::new().take_over(true);
    address.options().mode.map_or(bind, |mode| bind.mode(mode))
}

fn give(address: &Address, name: &UnixName) -> Result<()> {
    match name {
        UnixName::Path(path) => owner::give_path(address, path),
        UnixName::Abstract(_) => Ok(()),
    }
}

/// The address for a client: without the options of the listener's side, and with a host one can connect to.
pub(super) fn reachable(address: &Address) -> Result<Address> {
    let target = match address.target() {
        Target::Tcp(Authority { host: Host::Any, port }) => {
            Target::Tcp(Authority { host: Host::Name("localhost".to_owned()), port: *port })
        }
        Target::Udp(Authority { host: Host::Any, port }) => {
            Target::Udp(Authority { host: Host::Name("localhost".to_owned()), port: *port })
        }
        Target::Vsock { cid: Cid::Any, port } => Target::Vsock { cid: Cid::Local, port: *port },
        target => target.clone(),
    };
    let mut options = Options::default();
    options.frame = address.options().frame;
    options.capacity = address.options().capacity;
    options.message_size = address.options().message_size;
    of_parts(target, options)
}

pub(super) fn of_parts(target: Target, options: Options) -> Result<Address> {
    Address::new(target, options).map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}
