//! Bytes that other processes can make the kernel hand us: attachments of messages, names of files, names of sockets.
//!
//! The kernel is real: a hostile sender does its worst over a socket pair, and what arrives is checked.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl, fstat};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, sendmsg};
use tieline_os::ErrorKind;
use tieline_os::inotify::{Inotify, What};
use tieline_os::unix::{Address, Datagram, Received, RecvOptions, SeqPacket, Stream};

use crate::Choices;

/// How many messages one input sends at most: each is a handful of system calls.
const MESSAGES_MAX: usize = 12;
/// In the byte that says how to receive: leave the message where it is.
const PEEK: u8 = 2;

/// Received attachments: no descriptor more than asked for, none lost on the way, none left open.
///
/// The sender puts write ends of one pipe into messages of all sorts; when both sides are gone, the read end must be
/// at its end, or a descriptor has leaked.
pub fn ancillary(data: &[u8]) {
    let mut choices = Choices(data);
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    fcntl_setfl(&read, OFlags::NONBLOCK).expect("a flag");
    let inode = fstat(&write).expect("an open descriptor").st_ino;
    let kind = choices.byte();
    let (sender, receiver) = Receiver::pair(kind);
    // How many descriptors each message on its way carries.
    let mut queued = VecDeque::new();
    for _ in 0..MESSAGES_MAX {
        if choices.is_empty() {
            break;
        }
        let (count, more, bytes) = (choices.byte(), choices.byte(), choices.byte());
        queued.extend(send(&sender, &write, [count.into(), more.into()], bytes));
        let (room, buffer, how) = (choices.byte(), choices.byte(), choices.byte());
        let Some(received) = receiver.receive(room.into(), buffer.into(), how) else { continue };
        assert!(
            received.fds.len() <= usize::from(room),
            "{} descriptors and {room} were asked for",
            received.fds.len()
        );
        if !matches!(receiver, Receiver::Stream(_)) {
            let attached = if how & PEEK == 0 { queued.pop_front() } else { queued.front().copied() };
            let attached: usize = attached.expect("a message that was sent");
            assert_eq!(received.fds.len(), attached.min(room.into()), "of {attached} descriptors");
            assert_eq!(received.control_truncated, attached > room.into());
        }
        assert!(received.len <= usize::from(buffer));
        for fd in &received.fds {
            assert_eq!(fstat(fd).expect("an open descriptor").st_ino, inode, "another file arrived");
            assert!(fcntl_getfd(fd).expect("an open descriptor").contains(FdFlags::CLOEXEC));
        }
        if let Some(credentials) = received.credentials {
            assert_eq!(credentials.pid, Some(std::process::id()));
        }
    }
    drop((sender, receiver, write));
    let answer = rustix::io::read(&read, &mut [0_u8; 1]);
    assert_eq!(answer, Ok(0), "a write end is still open somewhere");
}

/// Sends by plain system calls, with up to two control messages of descriptors and perhaps true credentials. Answers
/// how many descriptors went along, or `None` if nothing went.
fn send(sender: &OwnedFd, fd: &OwnedFd, counts: [usize; 2], style: u8) -> Option<usize> {
    let fds: Vec<BorrowedFd<'_>> = vec![fd.as_fd(); counts[0].max(counts[1])];
    let mut space = [MaybeUninit::<u8>::uninit(); 4096];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let mut attached = 0;
    for count in counts.into_iter().filter(|count| *count > 0) {
        if control.push(SendAncillaryMessage::ScmRights(&fds[..count])) {
            attached += count;
        }
    }
    if style & 1 == 1 {
        let own =
            UCred { pid: rustix::process::getpid(), uid: rustix::process::geteuid(), gid: rustix::process::getegid() };
        control.push(SendAncillaryMessage::ScmCredentials(own));
    }
    let bytes = vec![style; (style >> 1).into()];
    // More than SCM_MAX_FD, too many on their way, a full buffer: the kernel may refuse, and then nothing went.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(sender, &[IoSlice::new(&bytes)], &mut control, flags).is_ok().then_some(attached)
}

enum Receiver {
    Stream(Stream),
    Seqpacket(SeqPacket),
    Datagram(Datagram),
}

impl Receiver {
    fn pair(kind: u8) -> (OwnedFd, Self) {
        let (sender, receiver) = match kind % 3 {
            0 => Stream::pair().map(|(one, other)| (one.into(), Self::Stream(other))),
            1 => SeqPacket::pair().map(|(one, other)| (one.into(), Self::Seqpacket(other))),
            _ => Datagram::pair().map(|(one, other)| (one.into(), Self::Datagram(other))),
        }
        .expect("a pair of sockets");
        if kind & 0x80 != 0 {
            match &receiver {
                Self::Stream(socket) => socket.set_pass_credentials(true),
                Self::Seqpacket(_) => Ok(()),
                Self::Datagram(socket) => socket.set_pass_credentials(true),
            }
            .expect("an option");
        }
        (sender, receiver)
    }

    fn receive(&self, max_fds: usize, buffer: usize, how: u8) -> Option<Received> {
        let mut options = RecvOptions::new().max_fds(max_fds);
        if how & PEEK != 0 {
            options = options.peek();
        }
        let mut bytes = vec![0; buffer];
        let (front, back) = bytes.split_at_mut(usize::from(how >> 2).min(buffer));
        let slices = &mut [IoSliceMut::new(front), IoSliceMut::new(back)];
        let answer = match self {
            Self::Stream(socket) => socket.try_recv_with(slices, options),
            Self::Seqpacket(socket) => {
                socket.try_recv_with(slices, options).map(|received| received.expect("the sender is alive"))
            }
            Self::Datagram(socket) => socket.try_recv_with(slices, options),
        };
        match answer {
            Ok(received) => Some(received),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                None
            }
        }
    }
}

/// Names that others give to files in a watched directory come out of inotify as they are.
pub fn inotify(data: &[u8]) {
    let mut seen = BTreeSet::new();
    let names: Vec<&OsStr> = data
        .split(|byte| matches!(byte, b'/' | 0))
        .filter(|name| !matches!(*name, b"" | b"." | b"..") && name.len() <= 255 && seen.insert(*name))
        .map(OsStr::from_bytes)
        .take(MESSAGES_MAX)
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let mut inotify = Inotify::new().expect("a queue");
    let watch = inotify.watch(folder.path(), What::CREATED | What::REMOVED).expect("a watch");
    for name in &names {
        rustix::fs::mkdir(folder.path().join(name), 0o700.into()).expect("a folder");
    }
    for name in names.iter().rev() {
        rustix::fs::rmdir(folder.path().join(name)).expect("removed");
    }
    let created = names.iter().map(|name| (What::CREATED, *name));
    for (what, name) in created.chain(names.iter().rev().map(|name| (What::REMOVED, *name))) {
        let event = inotify.try_read().expect("an event");
        assert_eq!((event.watch, event.what, event.name.as_deref()), (Some(watch), what, Some(name)));
        assert!(event.is_directory && event.cookie.is_none());
    }
    assert_eq!(inotify.try_read().map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
}

/// Names of Unix sockets: any bytes are a name or refused; a name that was taken is what the peer sees.
pub fn unix_name(data: &[u8]) {
    let path = Path::new(OsStr::from_bytes(data));
    let address = Address::path(path);
    assert_eq!(address.is_ok(), !data.is_empty() && !data.contains(&0));
    if let Ok(address) = address {
        assert_eq!((address.as_path(), address.as_abstract()), (Some(path), None));
        assert!(!address.to_string().is_empty());
    }
    let address = Address::abstract_name(data);
    assert_eq!(address.is_ok(), data.len() <= 107);
    let Ok(address) = address else { return };
    assert_eq!((address.as_path(), address.as_abstract()), (None, Some(data)));
    // The name space is everybody's: a name may be in use.
    let sender = match Datagram::bind(&address) {
        Ok(socket) => socket,
        Err(error) => return assert_eq!(error.errno(), Some(Errno::ADDRINUSE.raw_os_error()), "{error}"),
    };
    assert_eq!(sender.local_address().expect("its name"), address);
    let receiver = Datagram::bind(&Address::UNNAMED).expect("a free name");
    let to = receiver.local_address().expect("its name");
    sender.try_send_to(b"hello", &to).expect("sent");
    let (packet, from) = receiver.try_recv_from(&mut [0; 8]).expect("received");
    assert_eq!((packet.len, from), (5, address));
}
