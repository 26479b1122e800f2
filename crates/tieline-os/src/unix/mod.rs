//! Unix sockets: connections and messages between processes of one machine, which can carry descriptors.
//!
//! Which one do I want?
//!
//! | | keeps message boundaries | connected | many senders to one socket | 1 MiB in one send |
//! |---|---|---|---|---|
//! | [`Stream`] | no | yes | by accepting | yes |
//! | [`SeqPacket`] | yes | yes | by accepting | with a larger send buffer |
//! | [`Datagram`] | yes | if wanted | yes | with a larger send buffer |
//!
//! None of them loses or reorders anything: a sender waits while the receiver is full. All carry descriptors
//! ([`SendOptions`], [`RecvOptions`]) and can tell who the sender is ([`Credentials`], pidfd). The connected ones end
//! at once when the process at the other end dies, however it dies.
//!
//! Names are [`Address`]es. A socket file outlives its process; [`StreamListener::bind`], [`SeqPacketListener::bind`]
//! and [`Datagram::bind`] replace the file of a dead process and never that of a live one.
//!
//! The invariants: every descriptor is close-on-exec, received ones too; no descriptor that comes is ever leaked;
//! the shared `O_NONBLOCK` flag of a connection is never touched. See unix(7), and POSIX `<sys/un.h>`.

mod address;
mod bind;
mod datagram;
mod listener;
mod message;
mod name;
mod peer;
mod seqpacket;
mod stream;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{During, Error, Result};
use crate::socket;
use crate::sys::socket as sys;
use crate::wait::Wait;

pub use address::Address;
pub use bind::{BindOptions, unlink};
pub use datagram::Datagram;
pub use listener::{SeqPacketListener, StreamListener};
pub use message::{Credentials, Received, RecvOptions, SendOptions};
pub use seqpacket::SeqPacket;
pub use stream::Stream;

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).during("make a pair of sockets")
}

/// A new socket connected to the listener at `address`.
///
/// A full backlog is `EAGAIN` on a Unix socket, never `EINPROGRESS`, and there is nothing to poll for. But a blocking
/// connect sleeps in the kernel for `SO_SNDTIMEO`, and nobody else has this socket yet, so the option is ours to use.
fn connect(kind: SocketType, address: &Address, wait: Wait) -> Result<OwnedFd> {
    const OPERATION: &str = "connect to Unix socket";
    let target = name::Existing::of(address, OPERATION)?;
    let never = matches!(wait, Wait::Never);
    let flags = if never { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
    let fd = socket::open(AddressFamily::UNIX, kind, flags)?;
    let answer = loop {
        if let Wait::Until(_) = wait {
            // Zero would mean "for ever", and the kernel cannot count for ever: coming back after an hour is as good.
            let left = wait.remaining().unwrap_or_default();
            let left = left.clamp(Duration::from_micros(1), Duration::from_secs(3600));
            set_socket_timeout(&fd, Timeout::Send, Some(left)).during(OPERATION)?;
        }
        match sys::connect(fd.as_fd(), target.raw()) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if never || wait.is_over() => break Err(wait.gave_up()),
            Err(Errno::AGAIN) => {}
            answer => break answer,
        }
    };
    answer.map_err(|errno| connect_error(OPERATION, address, errno))?;
    match wait {
        Wait::Never => rustix::io::ioctl_fionbio(&fd, false).during(OPERATION)?,
        Wait::Until(_) => set_socket_timeout(&fd, Timeout::Send, None).during(OPERATION)?,
        Wait::Forever => {}
    }
    Ok(fd)
}

fn connect_error(operation: &'static str, address: &Address, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    if errno == Errno::AGAIN {
        return error;
    }
    let error = error.on(address);
    match errno {
        Errno::CONNREFUSED if address.as_path().is_some() => {
            error.hint("no process listens there: the file is what a dead one left, or is no socket")
        }
        Errno::CONNREFUSED => error.hint("no socket of this network namespace has that name"),
        Errno::NOENT => error.hint("is the other process running?"),
        Errno::PROTOTYPE => error.hint("the socket there is of another type (stream, seqpacket or datagram)"),
        Errno::ACCESS => error.hint("write permission on the file and search permission on its directories are needed"),
        _ => error,
    }
}
