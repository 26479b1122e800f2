//! Unix, TCP, UDP and vsock sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tieline_os::{tcp, udp, unix, vsock};

use super::Opened;
use crate::addr::{Address, Authority, Cid, Host, Target, UnixName};
use crate::endpoint::bytes::{ByteSink, ByteSource, Input, Output, Socket};
use crate::endpoint::listener::{bind_options, of_parts, reachable};
use crate::endpoint::messages::{self, MessageSink, MessageSource};
use crate::endpoint::{Capabilities, Direction, Peer, Sink, Source, owner};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Patience;

/// The longest message that is received from a Unix socket unless `message-size` says otherwise: what the usual send
/// buffer lets through, and some.
pub(in crate::endpoint) const UNIX_MESSAGE_ROOM: usize = 256 << 10;
/// The same of UDP: no datagram is longer.
pub(in crate::endpoint) const DATAGRAM_ROOM: usize = 64 << 10;
/// How much a stream to a Unix socket may be ahead of its reader unless `capacity` says otherwise, as far as the system
/// allows: as wide as a busy pipe. The usual buffer is a quarter of it, which means more changes between processes.
const UNIX_STREAM_ROOM: usize = 1 << 20;

/// Makes both buffers of a socket as large as the option `capacity` says, if it does.
macro_rules! set_buffers {
    ($socket:expr, $options:expr) => {
        if let Some(bytes) = $options.capacity {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            $socket.set_send_buffer_bytes(bytes)?;
            $socket.set_recv_buffer_bytes(bytes)?;
        }
    };
}

pub(super) fn unix(
    address: &Address,
    at: &UnixName,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let at = unix_address(at)?;
    let connect = |slice| unix::Stream::connect_timeout(&at, slice);
    let stream = patience.in_slices(&format!("connect to {name}"), connect)?;
    set_buffers!(stream, address.options());
    if address.options().capacity.is_none() && stream.send_buffer_bytes()? < UNIX_STREAM_ROOM {
        // The system gives as much of it as it allows.
        stream.set_send_buffer_bytes(UNIX_STREAM_ROOM)?;
    }
    of_unix(stream, direction, name)
}

pub(super) fn seqpacket(
    address: &Address,
    at: &UnixName,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let at = unix_address(at)?;
    let connect = |slice| unix::SeqPacket::connect_timeout(&at, slice);
    let socket = patience.in_slices(&format!("connect to {name}"), connect)?;
    set_buffers!(socket, address.options());
    of_seqpacket(socket, direction, address)
}

pub(super) fn tcp(
    address: &Address,
    at: &Authority,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let (at, left) = (at.clone(), patience.remaining());
    let stream = patience.in_thread(&format!("connect to {name}"), move || {
        let addresses = socket_addresses(&at, false)?;
        Ok(match left {
            Some(left) => tcp::Stream::connect_timeout(addresses.as_slice(), left)?,
            None => tcp::Stream::connect(addresses.as_slice())?,
        })
    })?;
    set_buffers!(stream, address.options());
    of_tcp(stream, direction, name)
}

pub(super) fn vsock(
    cid: Cid,
    port: u32,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let (at, left) = (vsock_address(cid, port), patience.remaining());
    let stream = patience.in_thread(&format!("connect to {name}"), move || {
        Ok(match left {
            Some(left) => vsock::Stream::connect_timeout(at, left)?,
            None => vsock::Stream::connect(at)?,
        })
    })?;
    Ok(of_stream(Socket::Vsock(Arc::new(stream)), direction, name))
}

pub(in crate::endpoint) fn unix_address(name: &UnixName) -> Result<unix::Address> {
    Ok(match name {
        UnixName::Path(path) => unix::Address::path(path)?,
        UnixName::Abstract(name) => unix::Address::abstract_name(name)?,
    })
}

pub(in crate::endpoint) fn vsock_address(cid: Cid, port: u32) -> vsock::Address {
    let cid = match cid {
        Cid::Any => vsock::Address::ANY,
        Cid::Host => vsock::Address::HOST,
        Cid::Local => vsock::Address::LOCAL,
        Cid::Guest(cid) => cid,
    };
    vsock::Address::new(cid, port)
}

/// The addresses of a host; `*` is every one of this host, for listening.
pub(in crate::endpoint) fn socket_addresses(at: &Authority, listen: bool) -> Result<Vec<SocketAddr>> {
    match &at.host {
        Host::Any if listen => {
            // The IPv6 one takes IPv4 too, where there is IPv6 at all.
            let every: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
            Ok(every.map(|every| SocketAddr::new(every, at.port)).to_vec())
        }
        Host::Any => {
            let text = format!("cannot connect to {at}: * is every address of this host, to listen at");
            Err(Error::new(ErrorKind::InvalidInput, text).hint("name the host, or add listen=yes"))
        }
        Host::V4(host) => Ok(vec![SocketAddr::new((*host).into(), at.port)]),
        Host::V6(host) => Ok(vec![SocketAddr::new((*host).into(), at.port)]),
        Host::Name(host) => match (host.as_str(), at.port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(Error::new(ErrorKind::UnknownHost, format!("cannot find the host {host}: {error}"))),
        },
    }
}

pub(in crate::endpoint) fn of_unix(stream: unix::Stream, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let credentials = stream.peer_credentials()?;
    let mut opened = of_stream(Socket::Unix(Arc::new(stream)), direction, name);
    opened.capabilities.fds = true;
    opened.capabilities.peer_identity = true;
    opened.peer = Some(identity(credentials));
    Ok(opened)
}

pub(in crate::endpoint) fn of_tcp(stream: tcp::Stream, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    // A relay passes on what it has: waiting for more to fill a segment would only add delay.
    stream.set_nodelay(true)?;
    let address = stream.peer_address().ok().map(|address| address.to_string());
    let mut opened = of_stream(Socket::Tcp(Arc::new(stream)), direction, name);
    opened.peer = Some(Peer { process: None, user: None, group: None, address });
    Ok(opened)
}

/// The halves of a socket that was connected or accepted here.
pub(in crate::endpoint) fn of_stream(socket: Socket, direction: Direction, name: &Arc<str>) -> Opened {
    socket.never_wait();
    let source = direction.receives().then(|| Source::Bytes(ByteSource::new(Input::Socket(socket.clone()), name)));
    let sink = direction.sends().then(|| Sink::Bytes(ByteSink::new(Output::Socket(socket), name)));
    let capabilities = Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() };
    Opened { source, sink, capabilities, ..Opened::default() }
}

pub(in crate::endpoint) fn of_seqpacket(
    socket: unix::SeqPacket,
    direction: Direction,
    address: &Address,
) -> Result<Opened> {
    let peer = identity(socket.peer_credentials()?);
    let socket = Arc::new(socket);
    let input = messages::Input::SeqPacket(Arc::clone(&socket));
    let output = messages::Output::SeqPacket(socket);
    let mut opened = of_messages(input, output, direction, room(address, UNIX_MESSAGE_ROOM));
    opened.capabilities = Capabilities { duplex: true, fds: true, peer_identity: true, ..opened.capabilities };
    opened.peer = Some(peer);
    Ok(opened)
}

pub(super) fn of_messages(
    input: messages::Input,
    output: messages::Output,
    direction: Direction,
    room: usize,
) -> Opened {
    let sink = MessageSink::new(output);
    let capabilities = Capabilities {
        boundaries: true,
        ordered: true,
        reliable: true,
        max_message: sink.max_message(),
        ..Capabilities::default()
    };
    Opened {
        source: direction.receives().then(|| Source::Messages(MessageSource::new(input, room))),
        sink: direction.sends().then_some(Sink::Messages(sink)),
        capabilities,
        ..Opened::default()
    }
}

fn identity(credentials: unix::Credentials) -> Peer {
    Peer { process: credentials.pid, user: Some(credentials.uid), group: Some(credentials.gid), address: None }
}

pub(super) fn room(address: &Address, usual: usize) -> usize {
    address.options().message_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usual)
}

pub(super) fn datagram(
    address: &Address,
    at: &UnixName,
    direction: Direction,
    announce: &mut dyn FnMut(&Address),
) -> Result<Opened> {
    let options = address.options();
    let at = unix_address(at)?;
    let (socket, answers) = if options.listen == Some(true) {
        let socket = bind_datagram(address, &at)?;
        announce(&reachable(address)?);
        (socket, Some(messages::Answers::default()))
    } else {
        let socket = match address.bind() {
            Some(Target::UnixDatagram(own)) => bind_datagram(address, &unix_address(&own)?)?,
            // Without a name of our own nobody can answer.
            _ if direction.receives() => unix::Datagram::bind(&unix::Address::UNNAMED)?,
            _ => unix::Datagram::unbound()?,
        };
        socket.connect(&at)?;
        (socket, None)
    };
    set_buffers!(socket, options);
    let socket = Arc::new(socket);
    let input = messages::Input::Datagram(Arc::clone(&socket), answers.clone());
    let output = messages::Output::Datagram(socket, answers);
    let mut opened = of_messages(input, output, direction, room(address, UNIX_MESSAGE_ROOM));
    opened.capabilities = Capabilities { duplex: true, fds: true, ..opened.capabilities };
    Ok(opened)
}

/// Binds to a name of our own, for whom the address says.
fn bind_datagram(address: &Address, own: &unix::Address) -> Result<unix::Datagram> {
    let socket = unix::Datagram::bind_with(own, bind_options(address))?;
    if let Some(path) = own.as_path() {
        owner::give_path(address, path)?;
    }
    Ok(socket)
}

pub(super) fn udp(
    address: &Address,
    at: &Authority,
    direction: Direction,
    announce: &mut dyn FnMut(&Address),
) -> Result<Opened> {
    let options = address.options();
    let listen = options.listen == Some(true);
    let addresses = socket_addresses(at, listen)?;
    let (socket, answers) = if listen {
        let socket = udp::Socket::bind(addresses.as_slice())?;
        let target = Target::Udp(Authority { port: socket.local_address()?.port(), ..at.clone() });
        announce(&reachable(&of_parts(target, options.clone())?)?);
        (socket, Some(messages::Answers::default()))
    } else {
        let own = match address.bind() {
            Some(Target::Udp(own)) => socket_addresses(&own, true)?,
            // Any port of the family that the first address is of.
            _ if addresses.first().is_some_and(SocketAddr::is_ipv6) => vec![(Ipv6Addr::UNSPECIFIED, 0).into()],
            _ => vec![(Ipv4Addr::UNSPECIFIED, 0).into()],
        };
        let socket = udp::Socket::bind(own.as_slice())?;
        socket.connect(addresses.as_slice())?;
        (socket, None)
    };
    set_buffers!(socket, options);
    let peer = socket.peer_address().ok().map(|address| address.to_string());
    let socket = Arc::new(socket);
    let input = messages::Input::Udp(Arc::clone(&socket), answers.clone());
    let mut opened =
        of_messages(input, messages::Output::Udp(socket, answers), direction, room(address, DATAGRAM_ROOM));
    opened.capabilities = Capabilities { duplex: true, ordered: false, reliable: false, ..opened.capabilities };
    opened.peer = peer.map(|address| Peer { process: None, user: None, group: None, address: Some(address) });
    Ok(opened)
}
