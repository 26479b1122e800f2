//! `tieline mk`: makes one named object and prints its address.

use serde::Serialize;
use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::MessageQueue as SysvMessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Key, RemoveOnDrop};
use tieline_os::unix::{Address, BindOptions, Datagram, SeqPacketListener, StreamListener};
use tieline_os::{Access, Mode, fifo, process};
use tieline_transport::addr::Scheme;

use crate::exit::{Code, Failure, Outcome};
use crate::flags::{Mk, MkObject, SocketType};
use crate::name::{Handle, Named};
use crate::output;

/// What was made, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Made {
    schema: &'static str,
    kind: &'static str,
    address: String,
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<u32>>,
}

/// Why there is nothing to be made beforehand.
const CHANNELS: &str = "a channel in shared memory lives while somebody has it open; `tieline send` makes a queue, \
`tieline pub` a topic, `tieline recv` with create=yes a queue, with listen=yes a stream";

pub(crate) fn run(flags: Mk) -> Outcome {
    // `--mode` is meant exactly, as in mkfifo(1); and this process makes nothing else.
    process::set_umask(Mode::new(0).unwrap_or_default());
    // Nobody would learn what was made.
    output::check()?;
    let has_folder = matches!(flags.object, MkObject::Fifo { .. } | MkObject::Unix { .. });
    let made = make(flags.object).map_err(|failure| {
        let failure = failure.advised(Code::AlreadyExists, "if it is left over, `tieline rm` removes it");
        let forbidden = "the caller may not write in the folder it would be in";
        if has_folder { failure.advised(Code::PermissionDenied, forbidden) } else { failure }
    })?;
    let told =
        if flags.json { output::json(&made) } else { output::text(&format!("{}\n", output::plain(&made.address))) };
    told.map_err(|failure| {
        // What has no key is known to nobody but us: it goes rather than being lost.
        let is_private = made.id.is_some() && made.key.is_none();
        if is_private && Named::parse(&made.address).and_then(|named| super::rm::remove(&named)).is_ok() {
            return failure.and(format_args!("{} is removed again", made.address));
        }
        failure
    })
}

fn make(object: MkObject) -> Outcome<Made> {
    match object {
        MkObject::Fifo { path, access } => {
            fifo::create(&path, access.mode)?;
            Ok(made(&Named::Fifo(path), access.mode))
        }
        MkObject::Unix { path, kind, access } => {
            if path.as_os_str().as_encoded_bytes().starts_with(b"@") {
                let shown = path.display();
                let why = "an abstract name exists only while a socket is bound to it";
                let how = format_args!("`tieline recv unix:{shown}` waits there, and ./{shown} is a file of that name");
                return Err(Failure::usage(format_args!("cannot make {shown}: {why}; {how}")));
            }
            let address = Address::path(&path)?;
            let options = BindOptions::new().mode(access.mode).replace_dead(false).keep_file(true);
            let scheme = match kind {
                SocketType::Stream => StreamListener::bind_with(&address, options).map(|_| Scheme::Unix)?,
                SocketType::Dgram => Datagram::bind_with(&address, options).map(|_| Scheme::UnixDatagram)?,
                SocketType::Seqpacket => {
                    SeqPacketListener::bind_with(&address, options).map(|_| Scheme::UnixSeqpacket)?
                }
            };
            Ok(made(&Named::Unix(scheme, path), access.mode))
        }
        MkObject::Shm { name, size, access } => {
            if name.starts_with("shm:") {
                return Err(Failure::usage(format_args!("cannot make {name}: {CHANNELS}")));
            }
            SharedMemory::create(&name, size, access.mode)?;
            Ok(Made { size_bytes: Some(size), ..made(&Named::PosixShm(name.into()), access.mode) })
        }
        MkObject::SysvShm { key, size, access } => {
            let key = key.unwrap_or(Key::PRIVATE);
            let segment = Segment::create(key, in_memory(size)?, access.mode)?;
            let named = Named::SysvShm(handle(key, segment.id()));
            Ok(Made { size_bytes: Some(size), ..of_sysv(&named, key, segment.id(), access.mode) })
        }
        MkObject::Mq { name, messages, message_size, access } => {
            let size = Attributes { capacity: in_memory(messages)?, message_size: in_memory(message_size)? };
            MessageQueue::create(&name, size, Access::ReadWrite, access.mode)?;
            Ok(Made {
                messages: Some(messages),
                message_size_bytes: Some(message_size),
                ..made(&Named::Mq(name.into()), access.mode)
            })
        }
        MkObject::SysvMq { key, size, access } => {
            let key = key.unwrap_or(Key::PRIVATE);
            // A queue that cannot have the size that was asked for does not stay behind.
            let queue = RemoveOnDrop::new(SysvMessageQueue::create(key, access.mode)?);
            if let Some(size) = size {
                queue.set_capacity(in_memory(size)?)?;
            }
            let capacity = queue.stat().map(|stat| stat.capacity_bytes).ok();
            let queue = queue.keep();
            let named = Named::SysvMq(handle(key, queue.id()));
            Ok(Made { size_bytes: capacity, ..of_sysv(&named, key, queue.id(), access.mode) })
        }
        MkObject::Sem { name, value, access } => {
            NamedSemaphore::create(&name, value, access.mode)?;
            Ok(Made { values: Some(vec![value]), ..made(&Named::Sem(name.into()), access.mode) })
        }
        MkObject::SysvSem { key, values, access } => {
            let key = key.unwrap_or(Key::PRIVATE);
            let set = SemaphoreSet::create_initialised(key, &values, access.mode)?;
            let named = Named::SysvSem(handle(key, set.id()));
            let values = values.into_iter().map(u32::from).collect();
            Ok(Made { values: Some(values), ..of_sysv(&named, key, set.id(), access.mode) })
        }
    }
}

fn handle(key: Key, id: Id) -> Handle {
    if key == Key::PRIVATE { Handle::Id(id) } else { Handle::Key(key) }
}

fn in_memory(size: u64) -> Outcome<usize> {
    usize::try_from(size)
        .map_err(|_| Failure::new(Code::Limit, format_args!("{size} is more than this machine can address")))
}

fn made(named: &Named, mode: Mode) -> Made {
    Made {
        schema: "tieline.mk/1",
        kind: named.kind(),
        address: named.to_string(),
        mode: mode.to_string(),
        key: None,
        id: None,
        size_bytes: None,
        messages: None,
        message_size_bytes: None,
        values: None,
    }
}

fn of_sysv(named: &Named, key: Key, id: Id, mode: Mode) -> Made {
    let key = (key != Key::PRIVATE).then(|| key.to_string());
    Made { key, id: Some(id.number()), ..made(named, mode) }
}
