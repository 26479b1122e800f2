//! From an address to what stands there: the choice by scheme, and what all schemes share.

mod channels;
mod pipes;
mod queues;
mod sockets;
mod storage;

use std::sync::Arc;

use tieline_os::sysv::Key as SysvKey;

pub(super) use self::sockets::{
    DATAGRAM_ROOM, UNIX_MESSAGE_ROOM, of_seqpacket, of_stream, of_tcp, of_unix, socket_addresses, unix_address,
    vsock_address,
};
use super::{Capabilities, Direction, Endpoint, Listener, Peer, Running, Sink, Source, exec};
use crate::addr::{Address, Create, Key, Scheme, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Patience;

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
        let Self { mut source, mut sink, capabilities, peer, running } = self;
        let sized = address.options().capacity.is_some();
        if let Some(Source::Bytes(source)) = &mut source {
            source.sized = sized;
        }
        if let Some(Sink::Bytes(sink)) = &mut sink {
            sink.sized = sized;
        }
        let framing = address.options().frame;
        Endpoint { address: address.clone(), source, sink, capabilities, peer, running, framing }
    }
}

/// Opens; `announce` is told where peers find us, as soon as they do.
pub(super) fn open(
    address: &Address,
    direction: Direction,
    patience: Patience<'_>,
    announce: &mut dyn FnMut(&Address),
) -> Result<Endpoint> {
    let listen = address.options().listen == Some(true);
    check_options(address, listen)?;
    let name = called(address);
    let options = address.options();
    let opened = match address.target() {
        Target::Unix(_) | Target::UnixSeqpacket(_) | Target::Tcp(_) | Target::Vsock { .. } if listen => {
            return accept_one(address, direction, patience, announce);
        }
        Target::Unix(at) => sockets::unix(address, at, direction, patience, &name)?,
        Target::UnixSeqpacket(at) => sockets::seqpacket(address, at, direction, patience, &name)?,
        Target::Tcp(at) => sockets::tcp(address, at, direction, patience, &name)?,
        Target::Vsock { cid, port } => sockets::vsock(*cid, *port, direction, patience, &name)?,
        Target::UnixDatagram(at) => sockets::datagram(address, at, direction, announce)?,
        Target::Udp(at) => sockets::udp(address, at, direction, announce)?,
        Target::Pipe => pipes::anonymous(options, direction, &name)?,
        Target::Fd { read, write } => pipes::by_number(*read, *write, options, direction, &name)?,
        Target::Stdio => pipes::standard(options, direction, &name)?,
        Target::Fifo(path) => pipes::named(address, path, direction, patience, &name)?,
        Target::Mq(queue) => queues::posix(address, queue, direction)?,
        Target::SysvMq(queue) => queues::sysv(address, *queue, direction)?,
        Target::PosixShm(memory) => storage::posix_memory(address, memory, direction, &name)?,
        Target::SysvShm(segment) => storage::sysv_memory(address, *segment, direction, &name)?,
        Target::File(path) => storage::file(address, path, direction, &name)?,
        Target::Shm(name) if listen => {
            channels::listen(address, name, direction, patience, &called(address), announce)?
        }
        Target::Shm(at) => channels::open(address, at, direction, &name)?,
        Target::Exec(command) => {
            let (source, sink, running) = exec::open(command, direction, &name)?;
            let capabilities = Capabilities { duplex: true, ordered: true, reliable: true, ..Capabilities::default() };
            Opened { source, sink, capabilities, peer: None, running: Some(running) }
        }
        _ => return Err(not_in_this_build(address)),
    };
    Ok(opened.into_endpoint(address))
}

fn accept_one(
    address: &Address,
    direction: Direction,
    patience: Patience<'_>,
    announce: &mut dyn FnMut(&Address),
) -> Result<Endpoint> {
    let listener = Listener::bind(address)?;
    announce(listener.address());
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
    // There it says whose object is meant.
    let is_shm = address.scheme() == Scheme::Shm;
    let creates = if is_shm {
        listen || matches!(options.create, Some(Create::Yes | Create::New))
    } else if sockets {
        listen || options.bind.is_some()
    } else {
        matches!(options.create, Some(Create::Yes | Create::New))
    };
    for (key, present) in [(Key::Mode, options.mode.is_some()), (Key::Owner, options.owner.is_some() && !is_shm)] {
        if present && !creates {
            let way = if sockets && !is_shm { "listen=yes" } else { "create=yes" };
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

fn sysv_key(key: u32) -> SysvKey {
    SysvKey::new(key.cast_signed())
}

fn no_id_chosen(address: &Address) -> Error {
    let text = format!("cannot create {address}: the kernel chooses the identifier");
    Error::new(ErrorKind::InvalidInput, text).hint("create it by a key")
}
