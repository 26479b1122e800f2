//! What stands between the scheme and the question mark: one typed value per scheme, how it is read and printed.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::error::{AddressError, AddressErrorKind};
use super::percent::{decode, decode_text, encode};
use super::piece::Piece;
use super::scheme::Scheme;

/// Which object an address means; one variant per scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A channel inside this process.
    Inproc(String),
    /// A shared-memory channel: a name, or a path if it begins with a slash.
    Shm(PathBuf),
    /// A Unix stream socket.
    Unix(UnixName),
    /// A Unix datagram socket.
    UnixDatagram(UnixName),
    /// A Unix socket of message records.
    UnixSeqpacket(UnixName),
    /// A new anonymous pipe.
    Pipe,
    /// Open descriptors: the one that is read, and the one that is written if it is another.
    Fd {
        /// Read, and written too if `write` is absent.
        read: u32,
        /// Written.
        write: Option<u32>,
    },
    /// Descriptors 0 and 1.
    Stdio,
    /// A named pipe.
    Fifo(PathBuf),
    /// A POSIX message queue; the name begins with a slash.
    Mq(OsString),
    /// A System V message queue.
    SysvMq(SysvName),
    /// A POSIX shared memory object; the name begins with a slash.
    PosixShm(OsString),
    /// A System V shared memory segment.
    SysvShm(SysvName),
    /// A file.
    File(PathBuf),
    /// A TCP connection.
    Tcp(Authority),
    /// UDP datagrams.
    Udp(Authority),
    /// A TLS connection.
    Tls(Authority),
    /// A QUIC connection.
    Quic(Authority),
    /// A WebSocket.
    Ws {
        /// The server.
        at: Authority,
        /// The path of the request, from its slash, or empty.
        path: String,
    },
    /// A WebSocket under TLS.
    Wss {
        /// The server.
        at: Authority,
        /// The path of the request, from its slash, or empty.
        path: String,
    },
    /// A socket between a virtual machine and its host.
    Vsock {
        /// Which machine.
        cid: Cid,
        /// Which port there.
        port: u32,
    },
    /// A command for `sh -c`.
    Exec(String),
    /// A service on this host.
    Local(String),
    /// A name at the hub.
    Hub {
        /// The name.
        name: String,
        /// Where the hub is, if not at its usual place.
        at: Option<Authority>,
    },
    /// A foreign system: its scheme, and the rest in that system's own grammar.
    Foreign {
        /// One of the foreign schemes.
        scheme: Scheme,
        /// Everything behind the colon.
        rest: String,
    },
}

/// The name of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A file of type socket.
    Path(PathBuf),
    /// A name in the abstract name space, without the leading NUL.
    Abstract(Vec<u8>),
}

/// How a System V object is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SysvName {
    /// By its key (the bits of a `key_t`), which is not zero.
    Key(u32),
    /// By its identifier.
    Id(i32),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port; zero means any free one, on listening.
    pub port: u16,
}

/// A host, as it stands in an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*`: every address of this host; only for listening.
    Any,
    /// A name to be looked up.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; in brackets.
    V6(Ipv6Addr),
}

/// The context identifier of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cid {
    /// Every one; only for listening.
    Any,
    /// The host, as seen from a guest.
    Host,
    /// This machine itself.
    Local,
    /// A guest.
    Guest(u32),
}

/// Reads the target of an address of `scheme`.
pub(super) fn parse(scheme: Scheme, piece: Piece<'_>) -> Result<Target, AddressError> {
    let form = Form(scheme);
    Ok(match scheme {
        Scheme::Inproc => Target::Inproc(form.name(piece)?),
        Scheme::Shm => Target::Shm(form.path(piece)?),
        Scheme::Unix => Target::Unix(form.unix(piece)?),
        Scheme::UnixDatagram => Target::UnixDatagram(form.unix(piece)?),
        Scheme::UnixSeqpacket => Target::UnixSeqpacket(form.unix(piece)?),
        Scheme::Pipe => form.nothing(piece).map(|()| Target::Pipe)?,
        Scheme::Fd => form.descriptors(piece)?,
        Scheme::Stdio => form.nothing(piece).map(|()| Target::Stdio)?,
        Scheme::Fifo => Target::Fifo(form.path(piece)?),
        Scheme::Mq => Target::Mq(form.slash_name(piece)?),
        Scheme::SysvMq => Target::SysvMq(form.sysv(piece)?),
        Scheme::PosixShm => Target::PosixShm(form.slash_name(piece)?),
        Scheme::SysvShm => Target::SysvShm(form.sysv(piece)?),
        Scheme::File => Target::File(form.path(piece)?),
        Scheme::Tcp => Target::Tcp(form.authority(slashes(piece))?),
        Scheme::Udp => Target::Udp(form.authority(slashes(piece))?),
        Scheme::Tls => Target::Tls(form.authority(slashes(piece))?),
        Scheme::Quic => Target::Quic(form.authority(slashes(piece))?),
        Scheme::Ws => form.authority_and_path(slashes(piece)).map(|(at, path)| Target::Ws { at, path })?,
        Scheme::Wss => form.authority_and_path(slashes(piece)).map(|(at, path)| Target::Wss { at, path })?,
        Scheme::Vsock => form.vsock(slashes(piece))?,
        Scheme::Exec => Target::Exec(form.verbatim(piece)?),
        Scheme::Local => Target::Local(form.name(piece)?),
        Scheme::Hub => form.hub(piece)?,
        Scheme::Amqp | Scheme::Amqps | Scheme::Mqtt | Scheme::Mqtts | Scheme::Nats => {
            Target::Foreign { scheme, rest: form.verbatim(piece)? }
        }
    })
}

/// `tcp://host:port` is what many write; it means `tcp:host:port`.
fn slashes(piece: Piece<'_>) -> Piece<'_> {
    piece.strip("//").unwrap_or(piece)
}

/// The parsers of the parts; each knows the scheme only to say in an error what is wanted.
#[derive(Clone, Copy)]
struct Form(Scheme);

impl Form {
    fn wrong(self, at: usize, what: impl Into<String>) -> AddressError {
        let Self(scheme) = self;
        let how = format!("write {}, for example {}", scheme.form(), scheme.example());
        AddressError::new(AddressErrorKind::Target, at, what, how)
    }

    fn nothing(self, piece: Piece<'_>) -> Result<(), AddressError> {
        if piece.is_empty() {
            return Ok(());
        }
        let what = format!("nothing can stand behind {}:", self.0);
        if self.0 == Scheme::Pipe {
            let how = format!("for a named pipe write fifo:{}, for an anonymous one pipe:", piece.text);
            return Err(AddressError::new(AddressErrorKind::Target, piece.at, what, how));
        }
        Err(self.wrong(piece.at, what))
    }

    fn verbatim(self, piece: Piece<'_>) -> Result<String, AddressError> {
        if piece.is_empty() {
            return Err(self.wrong(piece.at, format!("nothing stands behind {}:", self.0)));
        }
        self.without_nul(piece, piece.text.to_owned().into_bytes())?;
        Ok(piece.text.to_owned())
    }

    fn name(self, piece: Piece<'_>) -> Result<String, AddressError> {
        let name = decode_text(piece)?;
        self.bytes(piece, name.clone().into_bytes())?;
        Ok(name)
    }

    fn path(self, piece: Piece<'_>) -> Result<PathBuf, AddressError> {
        let bytes = self.bytes(piece, decode(piece)?)?;
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }

    fn unix(self, piece: Piece<'_>) -> Result<UnixName, AddressError> {
        match piece.strip("@") {
            // Any byte may be part of an abstract name, NUL too.
            Some(name) if name.is_empty() => Err(self.wrong(name.at, "the abstract name is empty")),
            Some(name) => Ok(UnixName::Abstract(decode(name)?)),
            None => self.path(piece).map(UnixName::Path),
        }
    }

    fn slash_name(self, piece: Piece<'_>) -> Result<OsString, AddressError> {
        let bytes = self.bytes(piece, decode(piece)?)?;
        match bytes.as_slice() {
            [b'/', rest @ ..] if !rest.is_empty() && !rest.contains(&b'/') => Ok(OsString::from_vec(bytes)),
            _ => Err(self.wrong(piece.at, "the name must be one slash and a word without a slash")),
        }
    }

    fn sysv(self, piece: Piece<'_>) -> Result<SysvName, AddressError> {
        if let Some(id) = piece.strip("id:") {
            let wrong = || self.wrong(id.at, format!("{:?} is not an identifier (a number from 0 on)", id.text));
            return number(id.text).and_then(|id| i32::try_from(id).ok()).map(SysvName::Id).ok_or_else(wrong);
        }
        let key = match piece.text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')),
            None => number(piece.text),
        };
        match key {
            Some(0) => Err(self.wrong(piece.at, "key 0 (IPC_PRIVATE) makes an object that no address can find again")),
            Some(key) => Ok(SysvName::Key(key)),
            None => {
                let what = format!("{:?} is not a key (a number of 32 bits, such as 0x7469)", piece.text);
                Err(self.wrong(piece.at, what))
            }
        }
    }

    fn descriptors(self, piece: Piece<'_>) -> Result<Target, AddressError> {
        let descriptor = |part: Piece<'_>| {
            let number = number(part.text).filter(|number| i32::try_from(*number).is_ok());
            number.ok_or_else(|| self.wrong(part.at, format!("{:?} is not a descriptor's number", part.text)))
        };
        match piece.split(',') {
            Some((read, write)) => Ok(Target::Fd { read: descriptor(read)?, write: Some(descriptor(write)?) }),
            None => Ok(Target::Fd { read: descriptor(piece)?, write: None }),
        }
    }

    fn authority(self, piece: Piece<'_>) -> Result<Authority, AddressError> {
        let Some((host, port)) = piece.split_last(':').filter(|(_, port)| !port.text.contains(']')) else {
            return Err(self.wrong(piece.end(), "there is no port behind the host"));
        };
        let host = self.host(host)?;
        let number = number(port.text).and_then(|port| u16::try_from(port).ok());
        let port = number
            .ok_or_else(|| self.wrong(port.at, format!("{:?} is not a port (a number from 0 to 65535)", port.text)))?;
        Ok(Authority { host, port })
    }

    fn host(self, piece: Piece<'_>) -> Result<Host, AddressError> {
        if let Some(inner) = piece.strip("[") {
            let address = inner.text.strip_suffix(']').and_then(|text| text.parse().ok());
            let wrong = || self.wrong(piece.at, format!("{:?} is not an IPv6 address in brackets", piece.text));
            return address.map(Host::V6).ok_or_else(wrong);
        }
        if piece.text == "*" {
            return Ok(Host::Any);
        }
        if piece.is_empty() {
            return Err(self.wrong(piece.at, "there is no host (localhost is this one, * is every address of it)"));
        }
        if piece.text.contains(':') {
            return Err(self.wrong(piece.at, format!("an IPv6 address stands in brackets: [{}]", piece.text)));
        }
        if piece.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            let wrong = || self.wrong(piece.at, format!("{:?} is not an IPv4 address", piece.text));
            return piece.text.parse().map(Host::V4).map_err(|_| wrong());
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match piece.text.bytes().position(|byte| !letter(byte)) {
            None if piece.text.len() <= MAX_HOST_NAME => Ok(Host::Name(piece.text.to_owned())),
            None => Err(self.wrong(piece.at, format!("the host name is longer than {MAX_HOST_NAME} letters"))),
            Some(index) => Err(self.wrong(piece.at + index, "a host name has letters, digits, dots, - and _ only")),
        }
    }

    fn authority_and_path(self, piece: Piece<'_>) -> Result<(Authority, String), AddressError> {
        let end = piece.text.find('/').unwrap_or(piece.text.len());
        let (at, path) = piece.text.split_at(end);
        let path = decode_text(Piece { text: path, at: piece.at + end })?;
        Ok((self.authority(Piece { text: at, at: piece.at })?, path))
    }

    fn vsock(self, piece: Piece<'_>) -> Result<Target, AddressError> {
        let Some((cid, port)) = piece.split(':') else {
            return Err(self.wrong(piece.end(), "there is no port behind the context identifier"));
        };
        let cid = match cid.text {
            "any" => Cid::Any,
            "host" => Cid::Host,
            "local" => Cid::Local,
            text => {
                // 0 is the hypervisor, 1 is local, 2 is the host, 2^32-1 is any: those have names.
                let guest = number(text).filter(|cid| (3..u32::MAX).contains(cid));
                let what = || format!("{text:?} is not a guest's context identifier (a number from 3 on)");
                Cid::Guest(guest.ok_or_else(|| self.wrong(cid.at, what()))?)
            }
        };
        let wrong = || self.wrong(port.at, format!("{:?} is not a port (a number of 32 bits)", port.text));
        Ok(Target::Vsock { cid, port: number(port.text).ok_or_else(wrong)? })
    }

    fn hub(self, piece: Piece<'_>) -> Result<Target, AddressError> {
        let (name, at) = match piece.split('@') {
            Some((name, at)) => (name, Some(self.authority(at)?)),
            None => (piece, None),
        };
        Ok(Target::Hub { name: self.name(name)?, at })
    }

    fn bytes(self, piece: Piece<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, AddressError> {
        if bytes.is_empty() {
            return Err(self.wrong(piece.at, format!("nothing stands behind {}:", self.0)));
        }
        self.without_nul(piece, bytes)
    }

    fn without_nul(self, piece: Piece<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, AddressError> {
        if bytes.contains(&0) { Err(self.wrong(piece.at, "no NUL can be part of it")) } else { Ok(bytes) }
    }
}

/// The longest name the domain name system has.
const MAX_HOST_NAME: usize = 253;

/// A number without a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Target {
    /// The scheme it belongs to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Inproc(_) => Scheme::Inproc,
            Self::Shm(_) => Scheme::Shm,
            Self::Unix(_) => Scheme::Unix,
            Self::UnixDatagram(_) => Scheme::UnixDatagram,
            Self::UnixSeqpacket(_) => Scheme::UnixSeqpacket,
            Self::Pipe => Scheme::Pipe,
            Self::Fd { .. } => Scheme::Fd,
            Self::Stdio => Scheme::Stdio,
            Self::Fifo(_) => Scheme::Fifo,
            Self::Mq(_) => Scheme::Mq,
            Self::SysvMq(_) => Scheme::SysvMq,
            Self::PosixShm(_) => Scheme::PosixShm,
            Self::SysvShm(_) => Scheme::SysvShm,
            Self::File(_) => Scheme::File,
            Self::Tcp(_) => Scheme::Tcp,
            Self::Udp(_) => Scheme::Udp,
            Self::Tls(_) => Scheme::Tls,
            Self::Quic(_) => Scheme::Quic,
            Self::Ws { .. } => Scheme::Ws,
            Self::Wss { .. } => Scheme::Wss,
            Self::Vsock { .. } => Scheme::Vsock,
            Self::Exec(_) => Scheme::Exec,
            Self::Local(_) => Scheme::Local,
            Self::Hub { .. } => Scheme::Hub,
            Self::Foreign { scheme, .. } => *scheme,
        }
    }
}

impl fmt::Display for Target {
    /// What stands between the scheme's colon and the options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inproc(name) | Self::Local(name) => text(name).fmt(f),
            Self::Shm(path) | Self::Fifo(path) | Self::File(path) => os(path.as_os_str()).fmt(f),
            Self::Unix(name) | Self::UnixDatagram(name) | Self::UnixSeqpacket(name) => name.fmt(f),
            Self::Pipe | Self::Stdio => Ok(()),
            Self::Fd { read, write: None } => write!(f, "{read}"),
            Self::Fd { read, write: Some(write) } => write!(f, "{read},{write}"),
            Self::Mq(name) | Self::PosixShm(name) => os(name).fmt(f),
            Self::SysvMq(name) | Self::SysvShm(name) => name.fmt(f),
            Self::Tcp(at) | Self::Udp(at) | Self::Tls(at) | Self::Quic(at) => at.fmt(f),
            Self::Ws { at, path } | Self::Wss { at, path } => write!(f, "{at}{}", text(path)),
            Self::Vsock { cid, port } => write!(f, "{cid}:{port}"),
            Self::Exec(command) => f.write_str(command),
            Self::Hub { name, at: None } => text(name).fmt(f),
            Self::Hub { name, at: Some(at) } => write!(f, "{}@{at}", text(name)),
            Self::Foreign { rest, .. } => f.write_str(rest),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstract(name) => write!(f, "@{}", encode(name, &['?'])),
            Self::Path(path) => {
                // A path that begins with the mark of abstract names must not look like one.
                let bytes = path.as_os_str().as_bytes();
                let rest = bytes.strip_prefix(b"@");
                if rest.is_some() {
                    f.write_str("%40")?;
                }
                encode(rest.unwrap_or(bytes), &['?']).fmt(f)
            }
        }
    }
}

impl fmt::Display for SysvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key:#x}"),
            Self::Id(id) => write!(f, "id:{id}"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_char('*'),
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Host => f.write_str("host"),
            Self::Local => f.write_str("local"),
            Self::Guest(cid) => cid.fmt(f),
        }
    }
}

fn text(text: &str) -> impl fmt::Display {
    encode(text.as_bytes(), &['?', '@'])
}

fn os(text: &OsStr) -> impl fmt::Display {
    encode(text.as_bytes(), &['?'])
}

impl From<&Path> for UnixName {
    /// The path, as it is; also if it begins with `@`.
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}
