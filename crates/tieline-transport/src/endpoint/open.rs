//! From an address to what stands there: one function per scheme.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::{self as sysv_msg, Selector};
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Key as SysvKey};
use tieline_os::unix::BindOptions;
use tieline_os::{Access, ErrorKind as OsErrorKind, Mode, fifo, tcp, udp, unix, vsock};

use super::bytes::{ByteSink, ByteSource, Input, Output, Socket, Span};
use super::memory::{Memory, part};
use super::messages::{self, MessageSink, MessageSource, Queue};
use super::{Capabilities, Direction, Endpoint, Listener, Peer, Running, Sink, Source, exec, inherited, owner};
use crate::addr::{Address, Authority, Cid, Create, Host, Key, Options, Scheme, SysvName, Target, UnixName};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Patience;

/// The longest message that is received from a Unix socket unless `message-size` says otherwise: what the usual send
/// buffer lets through, and some.
pub(super) const UNIX_MESSAGE_ROOM: usize = 256 << 10;
/// The same of UDP: no datagram is longer.
pub(super) const DATAGRAM_ROOM: usize = 64 << 10;
/// A POSIX queue that is created without sizes has those that every user may have.
const QUEUE: Attributes = Attributes { capacity: 10, message_size: 8192 };

/// The parts of an endpoint before it knows its address.
#[derive(Default)]
pub(super) struct Opened {
    source: Option<Source>,
    sink: Option<Sink>,
    capabilities: Capabilities,
    peer: Option<Peer>,
    running: Option<Running>,
}

impl Opened {
    pub(super) fn into_endpoint(self, address: &Address) -> Endpoint {
        let Self { source, sink, capabilities, peer, running } = self;
        let framing = address.options().frame;
        Endpoint { address: address.clone(), source, sink, capabilities, peer, running, framing }
    }
}

pub(super) fn open(address: &Address, direction: Direction, patience: Patience<'_>) -> Result<Endpoint> {
    let listen = address.options().listen == Some(true);
    check_options(address, listen)?;
    let name = called(address);
    let options = address.options();
    let opened = match address.target() {
        Target::Unix(_) | Target::UnixSeqpacket(_) | Target::Tcp(_) | Target::Vsock { .. } if listen => {
            return accept_one(address, direction, patience);
        }
        Target::Unix(at) => {
            let at = unix_address(at)?;
            let connect = |slice| unix::Stream::connect_timeout(&at, slice);
            let stream = patience.in_slices(&format!("connect to {name}"), connect)?;
            set_buffers(
                options,
                |bytes| stream.set_send_buffer_bytes(bytes),
                |bytes| stream.set_recv_buffer_bytes(bytes),
            )?;
            of_unix(stream, direction, &name)?
        }
        Target::UnixSeqpacket(at) => {
            let at = unix_address(at)?;
            let connect = |slice| unix::SeqPacket::connect_timeout(&at, slice);
            let socket = patience.in_slices(&format!("connect to {name}"), connect)?;
            set_buffers(
                options,
                |bytes| socket.set_send_buffer_bytes(bytes),
                |bytes| socket.set_recv_buffer_bytes(bytes),
            )?;
            of_seqpacket(socket, direction, address)?
        }
        Target::Tcp(at) => {
            let addresses = socket_addresses(at, false)?;
            let stream = match patience.remaining() {
                Some(left) => tcp::Stream::connect_timeout(addresses.as_slice(), left)?,
                None => tcp::Stream::connect(addresses.as_slice())?,
            };
            set_buffers(
                options,
                |bytes| stream.set_send_buffer_bytes(bytes),
                |bytes| stream.set_recv_buffer_bytes(bytes),
            )?;
            of_tcp(stream, direction, &name)?
        }
        Target::Vsock { cid, port } => {
            let at = vsock_address(*cid, *port);
            let stream = match patience.remaining() {
                Some(left) => vsock::Stream::connect_timeout(at, left)?,
                None => vsock::Stream::connect(at)?,
            };
            of_stream(Socket::Vsock(Arc::new(stream)), direction, &name)
        }
        Target::UnixDatagram(at) => unix_datagram(address, at, direction)?,
        Target::Udp(at) => udp_socket(address, at, direction)?,
        Target::Pipe => anonymous_pipe(options, direction, &name)?,
        Target::Fd { read, write } => by_number(*read, *write, options, direction, &name)?,
        Target::Stdio => Opened {
            source: direction.receives().then(|| inherited::source(inherited::stdin()?, &name, options)).transpose()?,
            sink: direction.sends().then(|| inherited::sink(inherited::stdout()?, &name, options)).transpose()?,
            capabilities: Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() },
            ..Opened::default()
        },
        Target::Fifo(path) => named_pipe(address, path, direction, patience, &name)?,
        Target::Mq(queue) => posix_queue(address, queue, direction)?,
        Target::SysvMq(queue) => sysv_queue(address, *queue, direction)?,
        Target::PosixShm(memory) => posix_memory(address, memory, direction, &name)?,
        Target::SysvShm(segment) => sysv_memory(address, *segment, direction, &name)?,
        Target::File(path) => file(address, path, direction, &name)?,
        Target::Exec(command) => {
            let (source, sink, running) = exec::open(command, direction, &name)?;
            let capabilities = Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() };
            Opened { source, sink, capabilities, peer: None, running: Some(running) }
        }
        _ => return Err(not_in_this_build(address)),
    };
    Ok(opened.into_endpoint(address))
}

fn accept_one(address: &Address, direction: Direction, patience: Patience<'_>) -> Result<Endpoint> {
    let listener = Listener::bind(address)?;
    let mut endpoint = listener.accept_patiently(direction, patience)?;
    endpoint.address = address.clone();
    Ok(endpoint)
}

fn not_in_this_build(address: &Address) -> Error {
    let available: Vec<&str> = Scheme::all().filter(|scheme| scheme.is_available()).map(Scheme::name).collect();
    let text = format!("cannot open {address}: this build has no transport for {}:", address.scheme());
    Error::new(ErrorKind::NotInThisBuild, text).hint(format_args!("it has {}", available.join(", ")))
}

/// Refuses what the options say of creating where nothing is created: they would have no effect.
pub(super) fn check_options(address: &Address, listen: bool) -> Result<()> {
    let options = address.options();
    let sockets = address.scheme().options().contains(&Key::Listen);
    let creates = if sockets {
        listen || options.bind.is_some()
    } else {
        matches!(options.create, Some(Create::Yes | Create::New))
    };
    for (key, present) in [(Key::Mode, options.mode.is_some()), (Key::Owner, options.owner.is_some())] {
        if present && !creates {
            let way = if sockets { "listen=yes" } else { "create=yes" };
            let text = format!("cannot open {address}: option {key} says something of what is created, and nothing is");
            return Err(Error::new(ErrorKind::InvalidInput, text).hint(format_args!("add {way} or leave {key} out")));
        }
    }
    Ok(())
}

/// How an address is called in errors: without its options.
pub(super) fn called(address: &Address) -> Arc<str> {
    format!("{}:{}", address.scheme(), address.target()).into()
}

pub(super) fn no_half(address: &Address, verb: &str) -> Error {
    let text = format!("cannot {verb} by {address}: it was not opened for that, or that half was taken out before");
    Error::new(ErrorKind::InvalidInput, text)
}

fn one_way(address: &Address) -> Error {
    let text = format!("cannot open {address} for both directions: what is written there would be read again");
    Error::new(ErrorKind::InvalidInput, text).hint("open it only to receive or only to send")
}

// Sockets.

pub(super) fn unix_address(name: &UnixName) -> Result<unix::Address> {
    Ok(match name {
        UnixName::Path(path) => unix::Address::path(path)?,
        UnixName::Abstract(name) => unix::Address::abstract_name(name)?,
    })
}

pub(super) fn vsock_address(cid: Cid, port: u32) -> vsock::Address {
    let cid = match cid {
        Cid::Any => vsock::Address::ANY,
        Cid::Host => vsock::Address::HOST,
        Cid::Local => vsock::Address::LOCAL,
        Cid::Guest(cid) => cid,
    };
    vsock::Address::new(cid, port)
}

/// The addresses of a host; `*` is every one of this host, for listening.
pub(super) fn socket_addresses(at: &Authority, listen: bool) -> Result<Vec<SocketAddr>> {
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

fn set_buffers(
    options: &Options,
    send: impl FnOnce(usize) -> tieline_os::Result<usize>,
    receive: impl FnOnce(usize) -> tieline_os::Result<usize>,
) -> Result<()> {
    let Some(bytes) = options.capacity else { return Ok(()) };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    send(bytes)?;
    receive(bytes)?;
    Ok(())
}

pub(super) fn of_unix(stream: unix::Stream, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let credentials = stream.peer_credentials()?;
    let mut opened = of_stream(Socket::Unix(Arc::new(stream)), direction, name);
    opened.capabilities.fds = true;
    opened.capabilities.peer_identity = true;
    opened.peer = Some(identity(credentials));
    Ok(opened)
}

pub(super) fn of_tcp(stream: tcp::Stream, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    // A relay passes on what it has: waiting for more to fill a segment would only add delay.
    stream.set_nodelay(true)?;
    let address = stream.peer_address().ok().map(|address| address.to_string());
    let mut opened = of_stream(Socket::Tcp(Arc::new(stream)), direction, name);
    opened.peer = Some(Peer { process: None, user: None, group: None, address });
    Ok(opened)
}

pub(super) fn of_stream(socket: Socket, direction: Direction, name: &Arc<str>) -> Opened {
    let source = direction.receives().then(|| Source::Bytes(ByteSource::new(Input::Socket(socket.clone()), name)));
    let sink = direction.sends().then(|| Sink::Bytes(ByteSink::new(Output::Socket(socket), name)));
    let capabilities = Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() };
    Opened { source, sink, capabilities, ..Opened::default() }
}

pub(super) fn of_seqpacket(socket: unix::SeqPacket, direction: Direction, address: &Address) -> Result<Opened> {
    let peer = identity(socket.peer_credentials()?);
    let socket = Arc::new(socket);
    let input = messages::Input::SeqPacket(Arc::clone(&socket));
    let output = messages::Output::SeqPacket(socket);
    let mut opened = of_messages(input, output, direction, room(address, UNIX_MESSAGE_ROOM));
    opened.capabilities = Capabilities { duplex: true, fds: true, peer_identity: true, ..opened.capabilities };
    opened.peer = Some(peer);
    Ok(opened)
}

fn of_messages(input: messages::Input, output: messages::Output, direction: Direction, room: usize) -> Opened {
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

fn room(address: &Address, usual: usize) -> usize {
    address.options().message_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usual)
}

fn unix_datagram(address: &Address, at: &UnixName, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let at = unix_address(at)?;
    let bind = BindOptions::new().mode(options.mode.unwrap_or_default());
    let (socket, answers) = if options.listen == Some(true) {
        let socket = unix::Datagram::bind_with(&at, bind)?;
        if let Some(path) = at.as_path() {
            owner::give_path(address, path)?;
        }
        (socket, Some(messages::Answers::default()))
    } else {
        let socket = match address.bind() {
            Some(Target::UnixDatagram(own)) => unix::Datagram::bind_with(&unix_address(&own)?, bind)?,
            // Without a name of our own nobody can answer.
            _ if direction.receives() => unix::Datagram::bind(&unix::Address::UNNAMED)?,
            _ => unix::Datagram::unbound()?,
        };
        socket.connect(&at)?;
        (socket, None)
    };
    set_buffers(options, |bytes| socket.set_send_buffer_bytes(bytes), |bytes| socket.set_recv_buffer_bytes(bytes))?;
    let socket = Arc::new(socket);
    let input = messages::Input::Datagram(Arc::clone(&socket), answers.clone());
    let output = messages::Output::Datagram(socket, answers);
    let mut opened = of_messages(input, output, direction, room(address, UNIX_MESSAGE_ROOM));
    opened.capabilities = Capabilities { duplex: true, fds: true, ..opened.capabilities };
    Ok(opened)
}

fn udp_socket(address: &Address, at: &Authority, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let listen = options.listen == Some(true);
    let addresses = socket_addresses(at, listen)?;
    let (socket, answers) = if listen {
        (udp::Socket::bind(addresses.as_slice())?, Some(messages::Answers::default()))
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
    set_buffers(options, |bytes| socket.set_send_buffer_bytes(bytes), |bytes| socket.set_recv_buffer_bytes(bytes))?;
    let peer = socket.peer_address().ok().map(|address| address.to_string());
    let socket = Arc::new(socket);
    let input = messages::Input::Udp(Arc::clone(&socket), answers.clone());
    let mut opened =
        of_messages(input, messages::Output::Udp(socket, answers), direction, room(address, DATAGRAM_ROOM));
    opened.capabilities = Capabilities { duplex: true, ordered: false, reliable: false, ..opened.capabilities };
    opened.peer = peer.map(|address| Peer { process: None, user: None, group: None, address: Some(address) });
    Ok(opened)
}

// Pipes and descriptors.

fn anonymous_pipe(options: &Options, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    if direction != Direction::Both {
        let text = "cannot open pipe: for one direction: nobody else has the other end of a new pipe";
        return Err(Error::new(ErrorKind::InvalidInput, text).hint("open it for both"));
    }
    let (reader, writer) = tieline_os::pipe::pipe()?;
    if let Some(bytes) = options.capacity {
        writer.set_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    Ok(Opened {
        source: Some(Source::Bytes(ByteSource::new(Input::Pipe(reader), name))),
        sink: Some(Sink::Bytes(ByteSink::new(Output::Pipe(writer), name))),
        capabilities: Capabilities { ordered: true, reliable: true, ..Capabilities::default() },
        ..Opened::default()
    })
}

fn by_number(
    read: u32,
    write: Option<u32>,
    options: &Options,
    direction: Direction,
    name: &Arc<str>,
) -> Result<Opened> {
    let source = direction.receives().then(|| inherited::source(inherited::duplicate(read)?, name, options));
    let written = write.unwrap_or(read);
    let sink = direction.sends().then(|| inherited::sink(inherited::duplicate(written)?, name, options));
    let (source, sink) = (source.transpose()?, sink.transpose()?);
    let messages = matches!(source, Some(Source::Messages(_))) || matches!(sink, Some(Sink::Messages(_)));
    let max_message = match &sink {
        Some(Sink::Messages(sink)) => sink.max_message(),
        _ => None,
    };
    let length = match &source {
        Some(Source::Bytes(source)) => source.remaining(),
        _ => None,
    };
    let capabilities = Capabilities {
        duplex: true,
        boundaries: messages,
        ordered: true,
        reliable: true,
        max_message,
        length,
        ..Capabilities::default()
    };
    Ok(Opened { source, sink, capabilities, ..Opened::default() })
}

fn named_pipe(
    address: &Address,
    path: &Path,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let made = match options.create {
        Some(Create::New) => fifo::create(path, mode).map(|()| true)?,
        Some(Create::Yes) => fifo::create_if_absent(path, mode)?,
        Some(Create::No) | None => false,
    };
    if made {
        owner::give_path(address, path)?;
    }
    let capacity = |set: &dyn Fn(usize) -> tieline_os::Result<usize>| match options.capacity {
        Some(bytes) => set(usize::try_from(bytes).unwrap_or(usize::MAX)).map(drop).map_err(Error::from),
        None => Ok(()),
    };
    let what = format!("open {name}");
    let capabilities = Capabilities { ordered: true, reliable: true, ..Capabilities::default() };
    match direction {
        Direction::Both => Err(one_way(address)),
        Direction::Receive => {
            // Open throughout the wait, so that nothing is lost of a writer who comes and goes between two looks.
            let held = fifo::try_open_reader(path)?;
            let reader = patience.in_slices(&what, |slice| fifo::open_reader_timeout(path, slice))?;
            drop(held);
            capacity(&|bytes| reader.set_capacity(bytes))?;
            let source = Some(Source::Bytes(ByteSource::new(Input::Pipe(reader), name)));
            Ok(Opened { source, capabilities, ..Opened::default() })
        }
        Direction::Send => {
            let writer = patience.in_slices(&what, |slice| fifo::open_writer_timeout(path, slice))?;
            capacity(&|bytes| writer.set_capacity(bytes))?;
            let sink = Some(Sink::Bytes(ByteSink::new(Output::Pipe(writer), name)));
            Ok(Opened { sink, capabilities, ..Opened::default() })
        }
    }
}

// Queues.

fn posix_queue(address: &Address, name: &std::ffi::OsStr, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let access = match direction {
        Direction::Receive => Access::ReadOnly,
        Direction::Send => Access::WriteOnly,
        Direction::Both => Access::ReadWrite,
    };
    let size = |given: Option<u64>, usual| given.map_or(usual, |given| usize::try_from(given).unwrap_or(usize::MAX));
    let attributes = Attributes {
        capacity: size(options.capacity, QUEUE.capacity),
        message_size: size(options.message_size, QUEUE.message_size),
    };
    let mode = options.mode.unwrap_or_default();
    let queue = match options.create {
        Some(Create::New) => MessageQueue::create(name, attributes, access, mode)?,
        Some(Create::Yes) => MessageQueue::open_or_create(name, attributes, access, mode)?,
        Some(Create::No) | None => MessageQueue::open(name, access)?,
    };
    owner::give_fd(address, &queue)?;
    let room = queue.message_size();
    let queue = Arc::new(Queue(queue));
    let input = messages::Input::Mq(Arc::clone(&queue));
    let output = messages::Output::Mq(queue, options.priority.unwrap_or(0));
    let mut opened = of_messages(input, output, direction, room);
    // By priority first.
    opened.capabilities.ordered = false;
    Ok(opened)
}

fn sysv_key(key: u32) -> SysvKey {
    SysvKey::new(key.cast_signed())
}

fn sysv_queue(address: &Address, name: SysvName, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let queue = match (name, options.create) {
        (SysvName::Id(_), Some(Create::Yes | Create::New)) => return Err(no_id_chosen(address)),
        (SysvName::Id(id), _) => sysv_msg::MessageQueue::from_id(Id::new(id)),
        (SysvName::Key(key), Some(Create::New)) => sysv_msg::MessageQueue::create(sysv_key(key), mode)?,
        (SysvName::Key(key), Some(Create::Yes)) => sysv_msg::MessageQueue::open_or_create(sysv_key(key), mode)?,
        (SysvName::Key(key), _) => sysv_msg::MessageQueue::open(sysv_key(key))?,
    };
    // The id may be anybody's word; and a queue that is gone should be noticed here.
    queue.stat()?;
    if let Some(bytes) = options.capacity {
        queue.set_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    if let Some(ids) = owner::ids(address)? {
        queue.set_owner(ids.user, ids.group)?;
    }
    let kind = options.kind.unwrap_or(0);
    let selector = match kind {
        0 => Selector::Oldest,
        1.. => Selector::Type(kind),
        _ => Selector::UpToType(kind.saturating_neg()),
    };
    if direction.sends() && options.kind.is_some_and(|kind| kind < 1) {
        let text = format!("cannot send to {address}: a message's type must be above zero, not {kind}");
        return Err(Error::new(ErrorKind::InvalidInput, text));
    }
    let room = room(address, sysv_msg::limits()?.message_max_bytes);
    let input = messages::Input::Sysv(queue, selector);
    Ok(of_messages(input, messages::Output::Sysv(queue, kind.max(1)), direction, room))
}

fn no_id_chosen(address: &Address) -> Error {
    let text = format!("cannot create {address}: the kernel chooses the identifier");
    Error::new(ErrorKind::InvalidInput, text).hint("create it by a key")
}

// Memory and files.

fn posix_memory(address: &Address, shm: &std::ffi::OsStr, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let access = if direction.sends() { Access::ReadWrite } else { Access::ReadOnly };
    let size = || options.capacity.ok_or_else(|| needs_capacity(address));
    let memory = match options.create {
        Some(Create::New) => SharedMemory::create(shm, size()?, mode)?,
        Some(Create::Yes) => SharedMemory::open_or_create(shm, size()?, mode)?,
        Some(Create::No) | None => SharedMemory::open(shm, access)?,
    };
    owner::give_fd(address, &memory)?;
    let (start, end) = part(options.offset.unwrap_or(0), options.length, memory.len()?)?;
    let span = Span { file: File::from(OwnedFd::from(memory)), left: Some(end - start), cut: false };
    of_span(address, span, start, direction, name)
}

fn sysv_memory(address: &Address, segment: SysvName, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let size = || options.capacity.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let size = || size().ok_or_else(|| needs_capacity(address));
    let segment = match (segment, options.create) {
        (SysvName::Id(_), Some(Create::Yes | Create::New)) => return Err(no_id_chosen(address)),
        (SysvName::Id(id), _) => Segment::from_id(Id::new(id)),
        (SysvName::Key(key), Some(Create::New)) => Segment::create(sysv_key(key), size()?, mode)?,
        (SysvName::Key(key), Some(Create::Yes)) => Segment::open_or_create(sysv_key(key), size()?, mode)?,
        (SysvName::Key(key), _) => Segment::open(sysv_key(key))?,
    };
    if let Some(ids) = owner::ids(address)? {
        segment.set_owner(ids.user, ids.group)?;
    }
    let attachment = if direction.sends() { segment.attach()? } else { segment.attach_read_only()? };
    let memory = Memory::new(attachment, options.offset.unwrap_or(0), options.length)?;
    let length = Some(memory.remaining());
    let capabilities = Capabilities { ordered: true, reliable: true, length, ..Capabilities::default() };
    match direction {
        Direction::Both => Err(one_way(address)),
        Direction::Receive => {
            let source = Some(Source::Bytes(ByteSource::new(Input::Memory(memory), name)));
            Ok(Opened { source, capabilities, ..Opened::default() })
        }
        Direction::Send => {
            let sink = Some(Sink::Bytes(ByteSink::new(Output::Memory(memory), name)));
            Ok(Opened { sink, capabilities, ..Opened::default() })
        }
    }
}

fn needs_capacity(address: &Address) -> Error {
    let text = format!("cannot create {address}: its size is not given");
    Error::new(ErrorKind::InvalidInput, text).hint("add capacity, such as capacity=1M")
}

/// A file is read to its end. Written, it grows as needed, and is cut to what was written; with an `offset`, a `length`
/// or a `capacity` it is like a memory: only the bytes of that part change.
fn file(address: &Address, path: &Path, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let options = address.options();
    let mut open = OpenOptions::new();
    open.read(direction.receives()).write(direction.sends());
    // Asked not to wait, so that a FIFO of that name does not make us.
    open.custom_flags(O_NONBLOCK);
    let mode = options.mode.unwrap_or(Mode::OWNER);
    open.mode(mode.bits().into());
    match options.create {
        Some(Create::New) => open.create_new(true).write(true),
        Some(Create::Yes) => open.create(true).write(true),
        Some(Create::No) | None => &mut open,
    };
    let refused = |error: &std::io::Error| match Error::system(format_args!("open {name}"), error) {
        error if error.kind() == ErrorKind::System(OsErrorKind::NotFound) => error.hint("create=yes makes it"),
        error => error,
    };
    let file = open.open(path).map_err(|error| refused(&error))?;
    let meta = file.metadata().map_err(|error| refused(&error))?;
    if matches!(options.create, Some(Create::Yes | Create::New)) {
        owner::give_fd(address, &file)?;
    }
    if meta.file_type().is_fifo() {
        let text = format!("cannot open {name}: it is a FIFO");
        return Err(Error::new(ErrorKind::InvalidInput, text).hint(format_args!("write fifo:{}", address.target())));
    }
    if !meta.is_file() {
        return device(file, direction, name);
    }
    let size = match options.capacity {
        Some(capacity) if capacity > meta.len() && direction.sends() => {
            file.set_len(capacity).map_err(|error| refused(&error))?;
            capacity
        }
        _ => meta.len(),
    };
    let whole = options.offset.is_none() && options.length.is_none() && options.capacity.is_none();
    let offset = options.offset.unwrap_or(0);
    let left = match (options.length, options.capacity) {
        (Some(length), _) => Some(length),
        (None, Some(_)) => Some(size.saturating_sub(offset)),
        (None, None) => None,
    };
    if !direction.sends() {
        // A part that is not there cannot be read.
        part(offset, options.length, size)?;
    }
    of_span(address, Span { file, left, cut: whole && direction.sends() }, offset, direction, name)
}

/// `O_NONBLOCK` of `open(2)`, as in `asm-generic/fcntl.h`; the standard library has no name for it.
const O_NONBLOCK: i32 = 0o4000;

fn device(file: File, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let copy = file.try_clone().map_err(|error| Error::system(format_args!("use {name}"), &error))?;
    let source = direction.receives().then(|| inherited::source(file.into(), name, &Options::default()));
    let sink = direction.sends().then(|| inherited::sink(copy.into(), name, &Options::default()));
    let capabilities = Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() };
    Ok(Opened { source: source.transpose()?, sink: sink.transpose()?, capabilities, ..Opened::default() })
}

fn of_span(address: &Address, mut span: Span, start: u64, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    span.file.seek(SeekFrom::Start(start)).map_err(|error| Error::system(format_args!("seek in {name}"), &error))?;
    let capabilities = Capabilities { ordered: true, reliable: true, ..Capabilities::default() };
    match direction {
        Direction::Both => Err(one_way(address)),
        Direction::Receive => {
            let source = ByteSource::new(Input::File(span), name);
            let capabilities = Capabilities { length: source.remaining(), ..capabilities };
            Ok(Opened { source: Some(Source::Bytes(source)), capabilities, ..Opened::default() })
        }
        Direction::Send => {
            let capabilities = Capabilities { length: span.left, ..capabilities };
            let sink = Some(Sink::Bytes(ByteSink::new(Output::File(span), name)));
            Ok(Opened { sink, capabilities, ..Opened::default() })
        }
    }
}
