//! Descriptors this process was born with: `fd:` and `stdio:`.
//!
//! The invariant: the process's own descriptor stays open and keeps its flags; a duplicate is used.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;

use tieline_os::pipe::{PipeReader, PipeWriter};
use tieline_os::{process, tcp, udp, unix, vsock};

use super::bytes::{ByteSink, ByteSource, Input, Output, Socket, Span};
use super::messages::{self, MessageSink, MessageSource};
use super::open::{DATAGRAM_ROOM, UNIX_MESSAGE_ROOM};
use super::{Direction, Sink, Source};
use crate::addr::{Address, Options, Target};
use crate::error::{Error, ErrorKind, Result};

/// Refuses an address whose descriptors this process was not given when it started.
///
/// `fd:N` opens whatever has that number, for a program that knows what it has opened itself. A program that takes its
/// addresses from others should ask here first, early: the number may be that of a file, a socket or a lock of its own,
/// of which whoever wrote the address knows nothing. What is closed, or closes on exec, was not inherited; see
/// [`tieline_os::process::is_inheritable`]. Addresses of other schemes are let through, except `stdio:` if the stream
/// that `direction` needs was closed; opening would refuse that too.
///
/// # Errors
/// `InvalidInput`, naming the number.
pub fn check_inherited(address: &Address, direction: Direction) -> Result<()> {
    let (read, written) = match address.target() {
        Target::Stdio => (0, 1),
        Target::Fd { read, write } => (*read, write.unwrap_or(*read)),
        _ => return Ok(()),
    };
    let wanted = [direction.receives().then_some(read), direction.sends().then_some(written)];
    for number in wanted.into_iter().flatten() {
        let raw = raw(number)?;
        if !process::is_inheritable(raw)? {
            let text = format!("cannot use descriptor {number}: it was not inherited");
            let how = format!("open it where the program is started, such as {number}< FILE in a shell");
            return Err(Error::new(ErrorKind::InvalidInput, text).hint(how));
        }
        check_standard(number)?;
    }
    Ok(())
}

/// A duplicate of a descriptor of this process, by number.
pub(super) fn duplicate(number: u32) -> Result<OwnedFd> {
    let refused = |error: tieline_os::Error| {
        let text = format!("cannot use descriptor {number} of this process: {error}");
        Error::new(Error::from(error).kind(), text)
    };
    let raw = raw(number)?;
    check_standard(number)?;
    process::duplicate_descriptor(raw).map_err(refused)
}

fn raw(number: u32) -> Result<RawFd> {
    i32::try_from(number).map_err(|_| {
        let text = format!("cannot use descriptor {number}: there are no descriptors of such a number");
        Error::new(ErrorKind::InvalidInput, text)
    })
}

/// Refuses a standard stream that was closed: the runtime has put the null device in its place, and what is written
/// there would be lost as if it had gone well.
fn check_standard(number: u32) -> Result<()> {
    let name = match number {
        0 => "standard input",
        1 => "standard output",
        2 => "standard error",
        _ => return Ok(()),
    };
    if !i32::try_from(number).is_ok_and(process::was_closed_at_start) {
        return Ok(());
    }
    let text = format!("cannot use the {name} (descriptor {number}): it is closed");
    let how = "for one that takes everything and gives nothing write /dev/null";
    Err(Error::new(ErrorKind::InvalidInput, text).hint(how))
}

pub(super) fn stdin() -> Result<OwnedFd> {
    check_standard(0)?;
    let fd = io::stdin().as_fd().try_clone_to_owned();
    fd.map_err(|error| Error::system("use the standard input", &error))
}

pub(super) fn stdout() -> Result<OwnedFd> {
    check_standard(1)?;
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map_err(|error| Error::system("use the standard output", &error))
}

/// What a descriptor turned out to be.
enum Sort {
    Pipe(OwnedFd),
    Stream(Socket),
    SeqPacket(Arc<unix::SeqPacket>),
    Datagram(Arc<unix::Datagram>),
    Udp(Arc<udp::Socket>),
    File(File),
    Device(File),
}

/// The half to read of a descriptor of any sort.
pub(super) fn source(fd: OwnedFd, name: &Arc<str>, options: &Options) -> Result<Source> {
    let room = |usual| options.message_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usual);
    let input = match sort_of(fd, name)? {
        Sort::Pipe(fd) => {
            let pipe = PipeReader::from_fd(fd)?;
            set_capacity(options, |bytes| pipe.set_capacity(bytes))?;
            Input::Pipe(pipe)
        }
        Sort::Stream(socket) => Input::Socket(socket),
        Sort::File(file) => Input::File(Span { file, left: None, cut: false }),
        Sort::Device(file) => Input::Device(file),
        Sort::SeqPacket(socket) => {
            let source = MessageSource::new(messages::Input::SeqPacket(socket), room(UNIX_MESSAGE_ROOM));
            return Ok(Source::Messages(source));
        }
        Sort::Datagram(socket) => {
            let source = MessageSource::new(messages::Input::Datagram(socket, None), room(UNIX_MESSAGE_ROOM));
            return Ok(Source::Messages(source));
        }
        Sort::Udp(socket) => {
            let source = MessageSource::new(messages::Input::Udp(socket, None), room(DATAGRAM_ROOM));
            return Ok(Source::Messages(source));
        }
    };
    Ok(Source::Bytes(ByteSource::new(input, name)))
}

/// The half to write of a descriptor of any sort.
pub(super) fn sink(fd: OwnedFd, name: &Arc<str>, options: &Options) -> Result<Sink> {
    let output = match sort_of(fd, name)? {
        Sort::Pipe(fd) => {
            let pipe = PipeWriter::from_fd(fd)?;
            set_capacity(options, |bytes| pipe.set_capacity(bytes))?;
            Output::Pipe(pipe)
        }
        Sort::Stream(socket) => Output::Socket(socket),
        Sort::File(file) => Output::File(Span { file, left: None, cut: false }),
        // It takes everything at once: no need to ask whether it is ready.
        Sort::Device(file) if is_null(&file) => Output::File(Span { file, left: None, cut: false }),
        Sort::Device(file) => Output::Device(file),
        Sort::SeqPacket(socket) => return Ok(Sink::Messages(MessageSink::new(messages::Output::SeqPacket(socket)))),
        Sort::Datagram(socket) => {
            return Ok(Sink::Messages(MessageSink::new(messages::Output::Datagram(socket, None))));
        }
        Sort::Udp(socket) => return Ok(Sink::Messages(MessageSink::new(messages::Output::Udp(socket, None)))),
    };
    Ok(Sink::Bytes(ByteSink::new(output, name)))
}

/// Whether it is `/dev/null`, by the numbers of null(4).
fn is_null(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0x103)
}

fn set_capacity(options: &Options, set: impl FnOnce(usize) -> tieline_os::Result<usize>) -> Result<()> {
    let Some(bytes) = options.capacity else { return Ok(()) };
    set(usize::try_from(bytes).unwrap_or(usize::MAX)).map(drop).map_err(Error::from)
}

fn sort_of(fd: OwnedFd, name: &str) -> Result<Sort> {
    let file = File::from(fd);
    let kind = file.metadata().map_err(|error| Error::system(format_args!("look at {name}"), &error))?.file_type();
    if kind.is_fifo() {
        return Ok(Sort::Pipe(file.into()));
    }
    if kind.is_socket() {
        return socket_of(&file.into(), name);
    }
    if kind.is_dir() {
        return Err(Error::new(ErrorKind::InvalidInput, format!("cannot use {name}: it is a directory")));
    }
    Ok(if kind.is_file() { Sort::File(file) } else { Sort::Device(file) })
}

/// Which socket it is, each sort being asked whether it is one of them.
fn socket_of(fd: &OwnedFd, name: &str) -> Result<Sort> {
    let copy = || fd.try_clone().map_err(|error| Error::system(format_args!("use {name}"), &error));
    if let Ok(stream) = unix::Stream::from_fd(copy()?) {
        return Ok(Sort::Stream(Socket::Unix(Arc::new(stream))));
    }
    if let Ok(stream) = tcp::Stream::from_fd(copy()?) {
        return Ok(Sort::Stream(Socket::Tcp(Arc::new(stream))));
    }
    if let Ok(stream) = vsock::Stream::from_fd(copy()?) {
        return Ok(Sort::Stream(Socket::Vsock(Arc::new(stream))));
    }
    if let Ok(socket) = unix::SeqPacket::from_fd(copy()?) {
        return Ok(Sort::SeqPacket(Arc::new(socket)));
    }
    if let Ok(socket) = unix::Datagram::from_fd(copy()?) {
        return Ok(Sort::Datagram(Arc::new(socket)));
    }
    if let Ok(socket) = udp::Socket::from_fd(copy()?) {
        return Ok(Sort::Udp(Arc::new(socket)));
    }
    let text = format!("cannot use {name}: it is a listening socket, or of a family this build does not know");
    Err(Error::new(ErrorKind::InvalidInput, text))
}
