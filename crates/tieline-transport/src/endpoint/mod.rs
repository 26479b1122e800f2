//! What stands behind an address, opened: a byte stream, a message endpoint, or a part of a memory or file.
//!
//! An [`Endpoint`] has a half to receive from ([`Source`]), a half to send to ([`Sink`]), or both, and says what it can
//! do ([`Capabilities`]). The halves can be taken apart and used from two threads; [`Receiver`] and [`Sender`] make
//! messages of either kind of half, and [`crate::relay`] joins two endpoints.
//!
//! | what | schemes | halves |
//! |---|---|---|
//! | bytes, both ways | `unix` `tcp` `vsock` `exec` `stdio` `fd` `pipe` | [`ByteSource`], [`ByteSink`] |
//! | bytes, one way at a time | `fifo`, and `file` `posix-shm` `sysv-shm` with a known length | the same |
//! | messages | `unix-seqpacket` `unix-dgram` `udp` `mq` `sysv-mq`, and `shm` queues and topics | [`MessageSource`], [`MessageSink`] |
//!
//! The invariant: a descriptor that other processes may share keeps its flags; opening has no effect on what exists but
//! what the address's options ask for.

mod bytes;
mod exec;
mod inherited;
mod listener;
mod memory;
mod message;
mod messages;
mod open;
mod owner;
mod shm;

use std::fmt;
use std::time::Duration;

pub use self::bytes::{ByteSink, ByteSource};
pub(crate) use self::bytes::{Input as ByteInput, Output as ByteOutput};
pub use self::exec::Running;
pub use self::inherited::check_inherited;
pub use self::listener::Listener;
pub(crate) use self::message::{Amount, Next};
pub use self::message::{Receiver, Sender};
pub(crate) use self::messages::Arrival;
pub use self::messages::{MessageSink, MessageSource};
use crate::addr::Address;
use crate::error::Result;
use crate::frame::Framing;
use crate::stop::{Patience, Stop};

/// What the opener wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Only receive, or read.
    Receive,
    /// Only send, or write.
    Send,
    /// Both.
    Both,
}

impl Direction {
    /// Whether receiving is wanted.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::Receive | Self::Both)
    }

    /// Whether sending is wanted.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::Send | Self::Both)
    }
}

/// What an endpoint can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Both directions, independent of each other: what is sent is not received again by ourselves.
    pub duplex: bool,
    /// Messages keep their boundaries.
    pub boundaries: bool,
    /// What is received comes in the order in which it was sent.
    pub ordered: bool,
    /// What was sent is received, as long as both sides live.
    pub reliable: bool,
    /// Descriptors can be sent along.
    pub fds: bool,
    /// The kernel vouches for who the peer is.
    pub peer_identity: bool,
    /// The longest message, where there is a limit that is known.
    pub max_message: Option<usize>,
    /// How many bytes there are, where that is known beforehand.
    pub length: Option<u64>,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its process id, as this process sees it.
    pub process: Option<u32>,
    /// Its user id.
    pub user: Option<u32>,
    /// Its group id.
    pub group: Option<u32>,
    /// Its network address.
    pub address: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |word, value: Option<u32>| value.map(|value| format!("{word} {value}"));
        let words = [self.address.clone(), number("pid", self.process), number("uid", self.user)];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "unknown" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

/// The half that is received from.
#[derive(Debug)]
pub enum Source {
    /// Bytes without boundaries.
    Bytes(ByteSource),
    /// Messages.
    Messages(MessageSource),
}

/// The half that is sent to.
#[derive(Debug)]
pub enum Sink {
    /// Bytes without boundaries.
    Bytes(ByteSink),
    /// Messages.
    Messages(MessageSink),
}

/// What stands behind an address, opened.
///
/// ```
/// use tieline_transport::addr::Address;
/// use tieline_transport::endpoint::{Direction, Endpoint};
/// let sorter: Address = "exec:sort".parse()?;
/// let mut sorter = Endpoint::open(&sorter, Direction::Both)?;
/// let mut to_it = sorter.sender()?;
/// for word in ["pear", "apple"] {
///     to_it.send(word.as_bytes())?;
/// }
/// to_it.finish()?;
/// let mut from_it = sorter.receiver()?;
/// assert_eq!(from_it.recv()?, Some(&b"apple"[..]));
/// assert_eq!(from_it.recv()?, Some(&b"pear"[..]));
/// assert_eq!(from_it.recv()?, None);
/// assert!(sorter.running().unwrap().wait()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    source: Option<Source>,
    sink: Option<Sink>,
    capabilities: Capabilities,
    peer: Option<Peer>,
    running: Option<Running>,
    /// What must live as long as the halves do, such as a socket file that is removed in the end.
    framing: Option<Framing>,
}

impl Endpoint {
    /// Opens what stands behind `address`. With `listen=yes` that is the first peer who comes.
    ///
    /// It waits as long as the address's `timeout` says, for ever without one: for a connection to be taken, a peer to
    /// come, the other end of a FIFO to be opened.
    ///
    /// # Errors
    /// * `NotInThisBuild`: the scheme's transport is not in this build; the text lists those that are.
    /// * `InvalidInput`: options and direction do not go together.
    /// * `TimedOut`; `PeerGone`: nobody is there; `UnknownHost`.
    /// * `System`: what else the kernel refuses, such as a missing object or permission.
    pub fn open(address: &Address, direction: Direction) -> Result<Self> {
        open::open(address, direction, Patience::new(None, address.options().timeout), &mut |_| ())
    }

    /// As [`open`](Self::open), until asked to stop.
    ///
    /// # Errors
    /// `Stopped`; as [`open`](Self::open).
    pub fn open_until(address: &Address, direction: Direction, stop: &Stop) -> Result<Self> {
        Self::open_announced(address, direction, stop, |_| ())
    }

    /// As [`open_until`](Self::open_until); `announce` is told the address by which a peer reaches us as soon as one
    /// can, if this address is listened at: with the port that the kernel chose if it was 0.
    ///
    /// # Errors
    /// As [`open_until`](Self::open_until).
    pub fn open_announced(
        address: &Address,
        direction: Direction,
        stop: &Stop,
        mut announce: impl FnMut(&Address),
    ) -> Result<Self> {
        open::open(address, direction, Patience::new(Some(stop), address.options().timeout), &mut announce)
    }

    /// The address it was opened by.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Who is at the other end, where the kernel tells.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The child process of an `exec:` endpoint.
    pub fn running(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    /// The framing that the address asks for, if it does.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// Takes out the half to receive from; `None` if there is none, or it was taken before.
    pub fn take_source(&mut self) -> Option<Source> {
        self.source.take()
    }

    /// Takes out the half to send to; `None` if there is none, or it was taken before.
    pub fn take_sink(&mut self) -> Option<Sink> {
        self.sink.take()
    }

    /// Takes out the child process, whose end is then the caller's to wait for.
    pub fn take_running(&mut self) -> Option<Running> {
        self.running.take()
    }

    /// Takes out the half to receive from, as messages: its own, or those that the framing of the address (lines, if it
    /// has none) finds in the bytes.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such half.
    pub fn receiver(&mut self) -> Result<Receiver> {
        let framing = self.framing.unwrap_or(Framing::line());
        self.take_source()
            .map(|source| Receiver::new(source, framing))
            .ok_or_else(|| open::no_half(&self.address, "receive"))
    }

    /// Takes out the half to send to, as messages; bytes get the framing of the address, or line feeds.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such half.
    pub fn sender(&mut self) -> Result<Sender> {
        let framing = self.framing.unwrap_or(Framing::line());
        self.take_sink().map(|sink| Sender::new(sink, framing)).ok_or_else(|| open::no_half(&self.address, "send"))
    }
}

/// How long a caller waits, by a plain duration.
pub(crate) fn at_most(timeout: Duration) -> Patience<'static> {
    Patience::new(None, Some(timeout))
}
