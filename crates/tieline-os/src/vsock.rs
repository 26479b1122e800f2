//! vsock: byte streams between a virtual machine and its host, or its siblings, without a network.
//!
//! An address is a context id, which names the machine, and a port. It needs a transport in the kernel: virtio or
//! vmci inside a guest, vhost on a host, `vsock_loopback` for talking to oneself. Where there is none, connecting
//! fails as `Unsupported`. See vsock(7).

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{During, Error, ErrorKind, Result};
use crate::socket::{self, byte_stream, common_socket};
use crate::sys::socket as sys;
use crate::wait::Wait;

/// A machine and a port on it. Written `CID:PORT`, both decimal.
///
/// ```
/// use tieline_os::vsock::Address;
/// let address: Address = "2:1024".parse().unwrap();
/// assert_eq!((address.cid, address.to_string().as_str()), (Address::HOST, "2:1024"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[doc(alias = "sockaddr_vm")]
pub struct Address {
    /// The machine's context id.
    pub cid: u32,
    /// The port; below 1024 for privileged processes, [`Address::ANY`] for one of the kernel's choice.
    pub port: u32,
}

impl Address {
    /// Any context id of this machine, or any free port: for binding.
    #[doc(alias = "VMADDR_CID_ANY", alias = "VMADDR_PORT_ANY")]
    pub const ANY: u32 = u32::MAX;
    /// This machine itself (needs the loopback transport).
    #[doc(alias = "VMADDR_CID_LOCAL")]
    pub const LOCAL: u32 = 1;
    /// The host of this virtual machine.
    #[doc(alias = "VMADDR_CID_HOST")]
    pub const HOST: u32 = 2;

    /// A machine and a port.
    #[must_use]
    pub const fn new(cid: u32, port: u32) -> Self {
        Self { cid, port }
    }

    /// `struct sockaddr_vm` of `include/uapi/linux/vm_sockets.h`: family, two reserved bytes, port, cid, flags, zeros.
    fn to_raw(self) -> sys::RawName {
        let mut rest = [0; 14];
        rest[2..6].copy_from_slice(&self.port.to_ne_bytes());
        rest[6..10].copy_from_slice(&self.cid.to_ne_bytes());
        sys::RawName::new(libc::AF_VSOCK, &rest)
    }

    fn from_raw(name: &sys::RawName) -> Result<Self, Errno> {
        match name.rest(libc::AF_VSOCK) {
            [_, _, p0, p1, p2, p3, c0, c1, c2, c3, ..] => Ok(Self {
                cid: u32::from_ne_bytes([*c0, *c1, *c2, *c3]),
                port: u32::from_ne_bytes([*p0, *p1, *p2, *p3]),
            }),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.cid, self.port)
    }
}

/// The text is not `CID:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vsock address {:?} is not CID:PORT, two numbers below 4294967296 such as 2:1024", self.0)
    }
}

impl std::error::Error for ParseAddressError {}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // u32's parser takes a leading plus.
        let number =
            |digits: &str| digits.starts_with(|first: char| first.is_ascii_digit()).then(|| digits.parse().ok());
        let parsed = text.split_once(':').and_then(|(cid, port)| Some(Self::new(number(cid)??, number(port)??)));
        parsed.ok_or_else(|| ParseAddressError(text.to_owned()))
    }
}

/// The context id of this machine, as its hypervisor gave it.
///
/// # Errors
/// `Unsupported` if the machine has no vsock device; `PermissionDenied` if `/dev/vsock` may not be opened.
#[doc(alias = "IOCTL_VM_SOCKETS_GET_LOCAL_CID")]
pub fn local_cid() -> Result<u32> {
    const OPERATION: &str = "ask for this machine's vsock context id";
    let missing = |errno| match errno {
        Errno::NOENT | Errno::NXIO | Errno::NODEV => unsupported(OPERATION, errno),
        errno => Error::new(OPERATION, errno),
    };
    let device = rustix::fs::open("/dev/vsock", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(missing)?;
    sys::vsock_local_cid(device.as_fd()).map_err(missing)
}

/// A vsock connection: bytes in order, complete, without message boundaries.
///
/// When the process at the other end dies, what it had sent can still be read, then 0 (the end) is read, and sending
/// fails with `PeerGone`. When its whole machine dies, the connection is reset.
///
/// ```
/// use tieline_os::vsock::{Address, Listener, Stream};
/// # fn main() -> Result<(), tieline_os::Error> {
/// let listener = match Listener::bind(Address::new(Address::LOCAL, Address::ANY)) {
///     Err(error) if error.is_unsupported() => return Ok(()), // no vsock, or no loopback, on this machine
///     listener => listener?,
/// };
/// let client = Stream::connect(listener.local_address()?)?;
/// let server = listener.accept()?;
/// client.send(b"hello")?;
/// assert_eq!(server.recv(&mut [0; 8])?, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[doc(alias = "AF_VSOCK")]
pub struct Stream {
    fd: OwnedFd,
}

impl Stream {
    /// Connects, waiting as long as the transport lets it (2 s by default).
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks vsock or a transport to that machine; `PeerGone` (`ECONNRESET`,
    /// `ECONNREFUSED`) if nobody listens there; `TimedOut` if nobody answers.
    pub fn connect(address: Address) -> Result<Self> {
        Self::connect_within(address, Wait::Forever)
    }

    /// [`connect`](Self::connect) that waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(address: Address, timeout: Duration) -> Result<Self> {
        Self::connect_within(address, Wait::timeout(timeout))
    }

    /// Takes over a descriptor that is a vsock connection.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else, a listener included; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::VSOCK], SocketType::STREAM, false)?;
        Ok(Self { fd })
    }

    /// This end's address.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Address> {
        local_address(&self.fd)
    }

    /// The other end's address: its context id is vouched for by the hypervisor.
    ///
    /// # Errors
    /// `PeerGone` (`ENOTCONN`) if the connection has ended.
    #[doc(alias = "getpeername")]
    pub fn peer_address(&self) -> Result<Address> {
        sys::peer_name(self.fd.as_fd())
            .and_then(|raw| Address::from_raw(&raw))
            .during("read the address of a vsock stream's peer")
    }

    fn connect_within(address: Address, wait: Wait) -> Result<Self> {
        const OPERATION: &str = "connect by vsock to";
        let fd = socket::open(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::NONBLOCK)?;
        let raw = address.to_raw();
        if address.cid == Address::LOCAL {
            // Without the loopback transport a guest's kernel would ask the host, and wait for an answer in vain;
            // but it knows at once whether the address can be its own.
            let own = Address::new(Address::LOCAL, Address::ANY).to_raw();
            sys::bind(fd.as_fd(), &own).map_err(|errno| unsupported(OPERATION, errno).on(address))?;
        }
        socket::connect_and_wait(fd.as_fd(), wait, || sys::connect(fd.as_fd(), &raw)).map_err(|errno| match errno {
            Errno::NODEV | Errno::NETUNREACH | Errno::ADDRNOTAVAIL => unsupported(OPERATION, errno).on(address),
            errno => Error::new(OPERATION, errno).on(address),
        })?;
        Ok(Self { fd })
    }
}

byte_stream!(Stream);
common_socket!(Stream);

/// Accepts vsock connections on a port.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Listens, with a backlog of 128; [`Address::ANY`] as context id and port takes what there is.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks vsock; `AlreadyExists` if another socket has the port; `PermissionDenied` for
    /// a port below 1024 without privilege; `Unsupported` (`EADDRNOTAVAIL`) if the context id is not this machine's.
    #[doc(alias = "listen")]
    pub fn bind(address: Address) -> Result<Self> {
        const OPERATION: &str = "listen by vsock at";
        let fd = socket::open(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::NONBLOCK)?;
        let bound = sys::bind(fd.as_fd(), &address.to_raw()).and_then(|()| rustix::net::listen(&fd, 128));
        bound.map_err(|errno| match errno {
            Errno::ADDRNOTAVAIL | Errno::NODEV => unsupported(OPERATION, errno).on(address),
            Errno::ACCESS => {
                Error::new(OPERATION, errno).on(address).hint("ports below 1024 are for privileged processes")
            }
            errno => Error::new(OPERATION, errno).on(address),
        })?;
        Ok(Self { fd })
    }

    /// Takes over a listening socket and makes its description non-blocking, for everyone who shares it.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        socket::check_kind(fd.as_fd(), &[AddressFamily::VSOCK], SocketType::STREAM, true)?;
        rustix::io::ioctl_fionbio(&fd, true).during("take over a socket")?;
        Ok(Self { fd })
    }

    /// Waits for a client and accepts it.
    ///
    /// # Errors
    /// `LimitReached` (`EMFILE`, `ENFILE`) without a free descriptor: the client still waits.
    #[doc(alias = "accept4")]
    pub fn accept(&self) -> Result<Stream> {
        self.accept_within(Wait::Forever)
    }

    /// [`accept`](Self::accept) that never waits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and `WouldBlock`, without allocating, if nobody waits.
    pub fn try_accept(&self) -> Result<Stream> {
        self.accept_within(Wait::Never)
    }

    /// [`accept`](Self::accept) that waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and `TimedOut`.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Stream> {
        self.accept_within(Wait::timeout(timeout))
    }

    /// The address listened at, with the port the kernel chose.
    ///
    /// # Errors
    /// None is expected on an open socket.
    #[doc(alias = "getsockname")]
    pub fn local_address(&self) -> Result<Address> {
        local_address(&self.fd)
    }

    fn accept_within(&self, wait: Wait) -> Result<Stream> {
        socket::accept(self.fd.as_fd(), wait, || rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC))
            .map(|fd| Stream { fd })
            .map_err(socket::accept_error)
    }
}

common_socket!(Listener);

fn local_address(fd: &OwnedFd) -> Result<Address> {
    sys::local_name(fd.as_fd()).and_then(|raw| Address::from_raw(&raw)).during("read the address of a vsock socket")
}

fn unsupported(operation: &'static str, errno: Errno) -> Error {
    Error::new(operation, errno)
        .sorted_as(ErrorKind::Unsupported)
        .hint("this machine has no vsock transport there (virtio, vhost, vmci, or the module vsock_loopback)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_text_and_kernel_form() {
        for address in [Address::new(0, 0), Address::new(3, 1024), Address::new(Address::ANY, Address::ANY)] {
            assert_eq!(address.to_string().parse(), Ok(address));
            assert_eq!(Address::from_raw(&address.to_raw()), Ok(address));
        }
        assert!(Address::from_raw(&sys::RawName::EMPTY).is_err());
        for wrong in ["", ":", "1", "1:", ":1", "+1:2", "1:+2", "-1:2", "4294967296:1", "1:2:3", " 1:2"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?} was taken");
        }
    }
}
