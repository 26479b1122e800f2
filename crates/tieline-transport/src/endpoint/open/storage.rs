//! Shared memory and files: what has a length and bytes at offsets.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::Id;
use tieline_os::sysv::shm::Segment;
use tieline_os::{Access, ErrorKind as OsErrorKind, Mode};

use super::{Opened, no_id_chosen, one_way, sysv_key};
use crate::addr::{Address, Create, Options, SysvName};
use crate::endpoint::bytes::{ByteSink, ByteSource, Input, Output, Span};
use crate::endpoint::memory::{Memory, part};
use crate::endpoint::{Capabilities, Direction, Sink, Source, inherited, owner};
use crate::error::{Error, ErrorKind, Result};

pub(super) fn posix_memory(address: &Address, shm: &OsStr, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let access = if direction.sends() { Access::ReadWrite } else { Access::ReadOnly };
    let size = || options.capacity.ok_or_else(|| needs_capacity(address));
    let make = |size| SharedMemory::create(shm, size, mode);
    let (memory, made) = match options.create {
        Some(Create::New) => (make(size()?)?, true),
        Some(Create::Yes) => {
            let size = size()?;
            owner::made_or_opened(|| make(size), || SharedMemory::open(shm, Access::ReadWrite))?
        }
        Some(Create::No) | None => (SharedMemory::open(shm, access)?, false),
    };
    if made {
        owner::give_fd(address, &memory)?;
    }
    let (start, end) = part(options.offset.unwrap_or(0), options.length, memory.len()?, name)?;
    let span = Span { file: File::from(OwnedFd::from(memory)), left: Some(end - start), cut: false };
    of_span(address, span, start, direction, name)
}

pub(super) fn sysv_memory(
    address: &Address,
    segment: SysvName,
    direction: Direction,
    name: &Arc<str>,
) -> Result<Opened> {
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
    let memory = Memory::new(attachment, options.offset.unwrap_or(0), options.length, name)?;
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
pub(super) fn file(address: &Address, path: &Path, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let options = address.options();
    let mut open = OpenOptions::new();
    open.read(direction.receives()).write(direction.sends());
    // Asked not to wait, so that a FIFO of that name does not make us.
    open.custom_flags(O_NONBLOCK);
    let mode = options.mode.unwrap_or(Mode::OWNER);
    open.mode(mode.bits().into());
    if matches!(options.create, Some(Create::Yes | Create::New)) {
        open.write(true);
    }
    let refused = |error: &io::Error| match Error::system(format_args!("open {name}"), error) {
        error if error.kind() == ErrorKind::System(OsErrorKind::NotFound) => error.hint("create=yes makes it"),
        error => error,
    };
    let make = || open.clone().create_new(true).open(path).map_err(|error| refused(&error));
    let open = || open.open(path).map_err(|error| refused(&error));
    let (file, made) = match options.create {
        Some(Create::New) => (make()?, true),
        Some(Create::Yes) => owner::made_or_opened(make, open)?,
        Some(Create::No) | None => (open()?, false),
    };
    let meta = file.metadata().map_err(|error| refused(&error))?;
    if made {
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
        part(offset, options.length, size, name)?;
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
