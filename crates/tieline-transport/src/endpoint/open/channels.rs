//! Channels in shared memory: what is at the name decides what is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tieline_shm::queue::{Queue, QueueOptions};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::topic::Topic;
use tieline_shm::untyped::{self, Carried, Contents, Found};
use tieline_shm::{Access, ErrorKind as ShmErrorKind, Kind, WaitSet};

use super::Opened;
use super::sockets::of_messages;
use crate::addr::{Address, Create};
use crate::endpoint::shm::{From, Inbox, Into, Outbox, halves};
use crate::endpoint::{
    ByteInput, ByteOutput, ByteSink, ByteSource, Capabilities, Direction, MessageSink, MessageSource, Peer, Sink,
    Source, messages,
};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{CHANNEL, Patience};

/// The largest message that is published to a topic of messages of any length.
const PUBLISH_MAX_BYTES: usize = 16 << 20;

/// Who offers a name answers at once, as the kernel does, and on a busy machine a little later: not to wait for others
/// does not mean not to wait for that.
const ANSWER: Duration = Duration::from_secs(1);

pub(super) fn open(address: &Address, path: &Path, direction: Direction, called: &Arc<str>) -> Result<Opened> {
    let name = name(address, path)?;
    let create = address.options().create;
    let found = match untyped::look(&name) {
        Err(error) if error.kind() == ShmErrorKind::NotFound && path.parent().is_none_or(is_there) => None,
        found => Some(found?),
    };
    match found {
        Some(_) if create == Some(Create::New) => {
            let text = format!("cannot create {address}: somebody offers this name already");
            Err(Error::new(ErrorKind::System(tieline_os::ErrorKind::AlreadyExists), text))
        }
        Some(found) => by_kind(address, &name, &found, direction, called),
        // Whoever sends to a name that nobody has makes a queue of it, unless told not to.
        None if matches!(create, Some(Create::Yes | Create::New)) || (create.is_none() && direction.sends()) => {
            queue(options(address)?.open_or_create(&name)?, Contents::Bytes, direction)
        }
        None => {
            let text = format!("cannot open {address}: nobody offers this name");
            let hint = "`tieline send` makes a queue of it, `tieline pub` a topic; create=yes waits at a new queue, listen=yes for a stream";
            Err(Error::new(ErrorKind::System(tieline_os::ErrorKind::NotFound), text).hint(hint))
        }
    }
}

/// Waits at the name for one peer that connects a stream.
pub(super) fn listen(
    address: &Address,
    path: &Path,
    direction: Direction,
    patience: Patience<'_>,
    called: &Arc<str>,
    announce: &mut dyn FnMut(&Address),
) -> Result<Opened> {
    if address.options().create.is_some() || address.options().message_size.is_some() {
        let text = format!("cannot open {address}: listen is for a stream, create and message-size for a queue");
        return Err(Error::new(ErrorKind::InvalidInput, text));
    }
    let name = name(address, path)?;
    let mut options = Listener::options().backlog(1).access(access(address)?);
    if let Some(capacity) = address.options().capacity {
        options = options.capacity(usize::try_from(capacity).unwrap_or(usize::MAX));
    }
    let listener = options.bind(&name)?;
    announce(address);
    let mut set = WaitSet::new()?;
    set.attach(&listener, CHANNEL)?;
    loop {
        match listener.try_accept() {
            Err(error) if error.is_would_block() => {}
            accepted => return Ok(stream(accepted?, direction, called)),
        }
        patience.wait_for_channel(&mut set, None)?.or_else_error(&format!("wait for a peer at {called}"))?;
    }
}

fn stream(stream: Stream, direction: Direction, called: &Arc<str>) -> Opened {
    let peer = Some(Peer { process: None, user: Some(stream.peer_uid()), group: None, address: None });
    let capabilities =
        Capabilities { duplex: true, ordered: true, reliable: true, peer_identity: true, ..Capabilities::default() };
    let (source, mut sink) = halves(stream);
    let mut opened = Opened { capabilities, peer, ..Opened::default() };
    if direction.sends() {
        opened.sink = Some(Sink::Bytes(ByteSink::new(ByteOutput::Stream(Box::new(sink)), called)));
    } else {
        sink.shutdown();
    }
    if direction.receives() {
        opened.source = Some(Source::Bytes(ByteSource::new(ByteInput::Stream(Box::new(source)), called)));
    }
    opened
}

/// A name without a directory lies in one that is made when it is needed.
fn is_there(directory: &Path) -> bool {
    directory.as_os_str().is_empty() || directory.exists()
}

fn by_kind(address: &Address, name: &str, found: &Found, direction: Direction, called: &Arc<str>) -> Result<Opened> {
    let carried = found.carried();
    match found.kind() {
        Kind::Queue => {
            let contents = contents(address, &carried, direction)?;
            queue(options(address)?.carrying(carried).open(name)?, contents, direction)
        }
        Kind::Log if direction == Direction::Both => {
            let text = format!("cannot open {address} to send and receive: it is a topic, and would hear itself");
            Err(Error::new(ErrorKind::InvalidInput, text).hint("use one direction"))
        }
        Kind::Log => {
            let contents = contents(address, &carried, direction)?;
            topic(&Topic::open(name)?.carrying(carried), contents, direction)
        }
        Kind::Stream => {
            let connected = match address.options().timeout {
                Some(timeout) => Stream::connect_timeout(name, timeout.max(ANSWER)),
                None => Stream::connect(name),
            };
            Ok(stream(connected?, direction, called))
        }
        kind => {
            let text = format!("cannot open {address}: it is {}", found.what());
            let hint = match kind {
                Kind::Latest | Kind::Event => "`tieline pub` and `tieline sub` use it",
                _ => "a program of the library uses it; queues, topics and streams can be opened",
            };
            Err(Error::new(ErrorKind::InvalidInput, text).hint(hint))
        }
    }
}

/// Who receives takes whatever comes; who sends must know what the others expect.
fn contents(address: &Address, carried: &Carried, direction: Direction) -> Result<Contents> {
    match carried.contents() {
        Ok(contents) => Ok(contents),
        Err(_) if !direction.sends() => Ok(Contents::Bytes),
        Err(error) => {
            let text = format!("cannot send to {address}: its layout is not understood: {error}");
            Err(Error::new(ErrorKind::System(tieline_os::ErrorKind::Unsupported), text))
        }
    }
}

fn queue(queue: Queue<[u8]>, contents: Contents, direction: Direction) -> Result<Opened> {
    let input = messages::Input::Shm(Box::new(Inbox::new(From::Queue(queue.clone()))));
    let output = messages::Output::Shm(Box::new(Outbox::new(Into::Queue(queue), contents)));
    Ok(of_messages(input, output, direction, 0))
}

fn topic(topic: &Topic<[u8]>, contents: Contents, direction: Direction) -> Result<Opened> {
    let capabilities = Capabilities { boundaries: true, ordered: true, reliable: true, ..Capabilities::default() };
    let mut opened = Opened { capabilities, ..Opened::default() };
    if direction.receives() {
        let subscriber = topic.subscriber().map_err(|error| {
            let is_refusal = error.kind() == tieline_shm::ErrorKind::PermissionDenied;
            let error = Error::from(error);
            if is_refusal { error.hint("`tieline sub --slow drop-oldest` need not be waited for") } else { error }
        })?;
        let inbox = Inbox::new(From::Topic(Box::new(subscriber)));
        opened.source = Some(Source::Messages(MessageSource::new(messages::Input::Shm(Box::new(inbox)), 0)));
    } else {
        let publisher =
            topic.publisher_options().payload_max_bytes(contents.len_bytes().unwrap_or(PUBLISH_MAX_BYTES)).open()?;
        let sink =
            MessageSink::new(messages::Output::Shm(Box::new(Outbox::new(Into::Topic(Box::new(publisher)), contents))));
        opened.capabilities.max_message = sink.max_message();
        opened.sink = Some(Sink::Messages(sink));
    }
    Ok(opened)
}

/// The name as `tieline-shm` reads it.
fn name(address: &Address, path: &Path) -> Result<String> {
    let refused = |why: &str| Error::new(ErrorKind::InvalidInput, format!("cannot open {address}: {why}"));
    let path = path.to_str().ok_or_else(|| refused("the name is no UTF-8"))?;
    match &address.options().owner {
        None => Ok(path.to_owned()),
        Some(owner) => match (owner.user(), owner.group()) {
            (Some(user), None) if user.parse::<u32>().is_ok() => Ok(format!("{path}?owner={user}")),
            _ => Err(refused("owner is the number of the user whose object is meant")),
        },
    }
}

fn options(address: &Address) -> Result<QueueOptions<[u8]>> {
    let given = address.options();
    let mut options = Queue::<[u8]>::options();
    if let Some(capacity) = given.capacity {
        options = options.capacity(u32::try_from(capacity).unwrap_or(u32::MAX));
    }
    if let Some(size) = given.message_size {
        options = options.payload_max_bytes(usize::try_from(size).unwrap_or(usize::MAX));
    }
    if let Some(timeout) = given.timeout {
        options = options.join_timeout(timeout.max(ANSWER));
    }
    Ok(options.access(access(address)?))
}

/// Who may use what is made.
fn access(address: &Address) -> Result<Access> {
    let mode = address.options().mode.map_or(0o600, tieline_os::Mode::bits);
    // Whoever takes part sends and receives.
    let access = if matches!(mode, 0o600 | 0o660 | 0o666) { Access::from_mode(mode.into()) } else { None };
    access.ok_or_else(|| {
        let text = format!("cannot open {address}: what is in shared memory has the mode 600, 660 or 666");
        Error::new(ErrorKind::InvalidInput, text)
    })
}
