//! Sockets: the calls rustix lacks or cannot do safely for us.
//!
//! Why not rustix for these: its `UCred` cannot hold process id 0, which the kernel does report for a sender outside
//! the receiver's pid namespace; its ancillary iterator drops `SCM_PIDFD` without closing the descriptor in it. Names
//! and control messages are built and read as plain bytes here, so that only the system calls are unsafe.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use rustix::io::Errno;

use super::check;

// Numbers the libc crate does not have (0.2.191). Source: include/uapi/asm-generic/socket.h of Linux 6.18, except
// SCM_PIDFD, which is in include/linux/socket.h.
pub(crate) const SO_MEMINFO: c_int = 55;
pub(crate) const SO_PEERGROUPS: c_int = 59;
pub(crate) const SO_PASSPIDFD: c_int = 76;
pub(crate) const SO_PEERPIDFD: c_int = 77;
pub(crate) const SO_PASSRIGHTS: c_int = 83;
const SCM_PIDFD: c_int = 0x04;

/// The most descriptors one message may carry: `SCM_MAX_FD` of include/net/scm.h.
pub(crate) const MAX_FDS: usize = 253;

/// The largest socket name there is (`sockaddr_storage`).
const NAME_MAX_BYTES: usize = 128;

/// A socket name as the kernel sees it: the address family in native byte order, then what the family defines.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawName {
    bytes: [u8; NAME_MAX_BYTES],
    len: socklen_t,
}

impl RawName {
    /// No name at all, with room for the kernel to write one.
    pub(crate) const EMPTY: Self = Self { bytes: [0; NAME_MAX_BYTES], len: 0 };

    /// A name of `family` with these bytes after the family.
    pub(crate) fn new(family: c_int, rest: &[u8]) -> Self {
        let mut name = Self::EMPTY;
        let family = u16::try_from(family).expect("address families are small");
        name.bytes[..2].copy_from_slice(&family.to_ne_bytes());
        name.bytes[2..2 + rest.len()].copy_from_slice(rest);
        name.len = (2 + rest.len()) as socklen_t;
        name
    }

    /// What follows the family; empty if the kernel wrote no name or one of another family.
    pub(crate) fn rest(&self, family: c_int) -> &[u8] {
        let len = (self.len as usize).min(NAME_MAX_BYTES);
        match &self.bytes[..len] {
            [low, high, rest @ ..] if c_int::from(u16::from_ne_bytes([*low, *high])) == family => rest,
            _ => &[],
        }
    }
}

pub(crate) fn bind(fd: BorrowedFd<'_>, name: &RawName) -> Result<(), Errno> {
    // SAFETY: name.bytes is readable for name.len <= 128 bytes, which `RawName::new` and the kernel guarantee.
    check(unsafe { libc::bind(fd.as_raw_fd(), name.bytes.as_ptr().cast(), name.len) }).map(drop)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, name: &RawName) -> Result<(), Errno> {
    // SAFETY: as for bind.
    check(unsafe { libc::connect(fd.as_raw_fd(), name.bytes.as_ptr().cast(), name.len) }).map(drop)
}

#[doc(alias = "getsockname")]
pub(crate) fn local_name(fd: BorrowedFd<'_>) -> Result<RawName, Errno> {
    let mut name = RawName { len: NAME_MAX_BYTES as socklen_t, ..RawName::EMPTY };
    // SAFETY: the kernel writes at most name.len = 128 bytes into the 128 of name.bytes, and the length beside them.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), name.bytes.as_mut_ptr().cast(), &raw mut name.len) })?;
    Ok(name)
}

#[doc(alias = "getpeername")]
pub(crate) fn peer_name(fd: BorrowedFd<'_>) -> Result<RawName, Errno> {
    let mut name = RawName { len: NAME_MAX_BYTES as socklen_t, ..RawName::EMPTY };
    // SAFETY: as for local_name.
    check(unsafe { libc::getpeername(fd.as_raw_fd(), name.bytes.as_mut_ptr().cast(), &raw mut name.len) })?;
    Ok(name)
}

/// An option whose value is one `int`.
#[doc(alias = "getsockopt")]
pub(crate) fn int_option(fd: BorrowedFd<'_>, name: c_int) -> Result<c_int, Errno> {
    let mut value = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    let to = (&raw mut value).cast::<c_void>();
    // SAFETY: the kernel writes at most len = 4 bytes to value, and the length to len.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, to, &raw mut len) })?;
    Ok(value)
}

#[doc(alias = "setsockopt")]
pub(crate) fn set_int_option(fd: BorrowedFd<'_>, name: c_int, value: c_int) -> Result<(), Errno> {
    let from = (&raw const value).cast::<c_void>();
    let len = size_of::<c_int>() as socklen_t;
    // SAFETY: value is readable for its 4 bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, from, len) }).map(drop)
}

/// An option whose value is a row of 32-bit words; answers how many there are. `ERANGE` and the needed number of
/// words come back together when `words` is too short for `SO_PEERGROUPS`.
pub(crate) fn words_option(fd: BorrowedFd<'_>, name: c_int, words: &mut [u32]) -> (Result<(), Errno>, usize) {
    let mut len = size_of_val(words) as socklen_t;
    let to = words.as_mut_ptr().cast::<c_void>();
    // SAFETY: the kernel writes at most len bytes, which is the size of words, and any bits make a u32.
    let answer = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, to, &raw mut len) };
    (check(answer).map(drop), len as usize / 4)
}

/// The process at the other end, by a new close-on-exec descriptor.
#[doc(alias = "SO_PEERPIDFD")]
pub(crate) fn peer_pidfd(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let raw = int_option(fd, SO_PEERPIDFD)?;
    // SAFETY: the kernel has just installed this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Process, user and group of the other end, as `struct ucred` has them.
#[doc(alias = "SO_PEERCRED")]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<[u32; 3], Errno> {
    let mut words = [0; 3];
    words_option(fd, libc::SO_PEERCRED, &mut words).0?;
    Ok(words)
}

/// Bytes that wait to be received.
#[doc(alias = "SIOCINQ")]
pub(crate) fn unread_bytes(fd: BorrowedFd<'_>) -> Result<c_int, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD (the number of SIOCINQ) writes one int to its argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(bytes)
}

/// Bytes sent and not yet taken by the other end.
#[doc(alias = "SIOCOUTQ")]
pub(crate) fn unsent_bytes(fd: BorrowedFd<'_>) -> Result<c_int, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: TIOCOUTQ (the number of SIOCOUTQ) writes one int to its argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes)
}

/// The context id of this machine, from an open `/dev/vsock`.
#[doc(alias = "IOCTL_VM_SOCKETS_GET_LOCAL_CID")]
pub(crate) fn vsock_local_cid(device: BorrowedFd<'_>) -> Result<u32, Errno> {
    // _IO(7, 0xb9) of include/uapi/linux/vm_sockets.h.
    const GET_LOCAL_CID: libc::Ioctl = 0x07b9;
    let mut cid: u32 = 0;
    // SAFETY: on /dev/vsock this writes one u32 to its argument; other devices do not know the number.
    check(unsafe { libc::ioctl(device.as_raw_fd(), GET_LOCAL_CID, &raw mut cid) })?;
    Ok(cid)
}

/// What goes with the bytes of a message.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attached<'a> {
    pub(crate) to: Option<&'a RawName>,
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// Process, user and group, in the order of `struct ucred`.
    pub(crate) credentials: Option<[u32; 3]>,
}

/// Sends one message or, on a stream, as many of the bytes as fit. At most [`MAX_FDS`] descriptors are taken; the
/// caller has refused more.
#[doc(alias = "sendmsg")]
pub(crate) fn send_message(
    fd: BorrowedFd<'_>,
    bytes: &[IoSlice<'_>],
    attached: Attached<'_>,
    flags: c_int,
) -> Result<usize, Errno> {
    let mut control = None;
    if let Some(credentials) = attached.credentials {
        control.get_or_insert_with(ControlWriter::new).push(libc::SCM_CREDENTIALS, credentials.into_iter());
    }
    if !attached.fds.is_empty() {
        let fds = attached.fds.iter().take(MAX_FDS).map(|fd| fd.as_raw_fd().cast_unsigned());
        control.get_or_insert_with(ControlWriter::new).push(libc::SCM_RIGHTS, fds);
    }
    let mut header = empty_header();
    if let Some(name) = attached.to {
        header.msg_name = name.bytes.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len;
    }
    header.msg_iov = bytes.as_ptr().cast_mut().cast();
    header.msg_iovlen = bytes.len() as _;
    if let Some(control) = &mut control {
        header.msg_control = control.buffer.0.as_mut_ptr().cast();
        header.msg_controllen = control.len as _;
    }
    // SAFETY: each pointer of the header is to a live local or argument with the length beside it; IoSlice is
    // documented to have the layout of iovec; sendmsg only reads through them.
    let sent = check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) })?;
    Ok(sent.cast_unsigned())
}

/// What came with the bytes of a message.
#[derive(Default)]
pub(crate) struct Came {
    /// Bytes received; the message's full length if `MSG_TRUNC` was asked for.
    pub(crate) len: usize,
    pub(crate) flags: c_int,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) credentials: Option<[u32; 3]>,
    pub(crate) pidfd: Option<OwnedFd>,
}

/// Receives one message or some bytes of a stream, with room for `max_fds` descriptors and everything else.
///
/// Descriptors come close-on-exec. Those beyond `max_fds` are closed, by the kernel or here, and `MSG_CTRUNC` is set
/// in the answer. `name`, if given, receives the sender's.
#[doc(alias = "recvmsg")]
pub(crate) fn receive_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    name: Option<&mut RawName>,
    max_fds: usize,
    flags: c_int,
) -> Result<Came, Errno> {
    let mut control = ControlBuffer([const { MaybeUninit::<u8>::uninit() }; CONTROL_MAX_BYTES]);
    let mut header = empty_header();
    header.msg_iov = buffers.as_mut_ptr().cast();
    header.msg_iovlen = buffers.len() as _;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control_room(max_fds) as _;
    let mut name = name;
    if let Some(name) = name.as_deref_mut() {
        header.msg_name = name.bytes.as_mut_ptr().cast();
        header.msg_namelen = NAME_MAX_BYTES as socklen_t;
    }
    // SAFETY: each pointer of the header is to memory we hold exclusively, with its length beside it; IoSliceMut is
    // documented to have the layout of iovec.
    let len = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags | libc::MSG_CMSG_CLOEXEC) })?;
    if let Some(name) = name {
        name.len = header.msg_namelen;
    }
    let mut came = Came { len: len.cast_unsigned(), flags: header.msg_flags, ..Came::default() };
    #[allow(clippy::unnecessary_cast, reason = "other C libraries have a socklen_t here")]
    let written = (header.msg_controllen as usize).min(CONTROL_MAX_BYTES);
    // SAFETY: the kernel has written the first msg_controllen bytes of the buffer, which we gave it.
    let written = unsafe { std::slice::from_raw_parts(control.0.as_ptr().cast::<u8>(), written) };
    read_control(written, &mut came);
    if came.fds.len() > max_fds {
        came.fds.truncate(max_fds);
        came.flags |= libc::MSG_CTRUNC;
    }
    Ok(came)
}

/// Takes possession of everything in the control messages the kernel has just written.
fn read_control(mut control: &[u8], came: &mut Came) {
    while let Some((header, _)) = control.split_first_chunk::<HEADER_BYTES>() {
        let field = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let len = usize::from_ne_bytes(header[..size_of::<usize>()].try_into().expect("a word"));
        let (level, kind) = (field(size_of::<usize>()), field(size_of::<usize>() + 4));
        let Some(data) = control.get(HEADER_BYTES..len) else { return };
        let mut words =
            data.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("chunks of four bytes")));
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => came.fds.extend(words.map(adopt)),
            (libc::SOL_SOCKET, SCM_PIDFD) => came.pidfd = words.next().filter(|raw| raw.cast_signed() >= 0).map(adopt),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                came.credentials = words.next().zip(words.next()).zip(words.next()).map(|((p, u), g)| [p, u, g]);
            }
            _ => {}
        }
        control = control.get(aligned(len)..).unwrap_or_default();
    }
}

/// Becomes the owner of a descriptor out of a control message.
fn adopt(raw: u32) -> OwnedFd {
    // SAFETY: recvmsg has installed this descriptor in our table for us; read_control passes each on exactly once.
    unsafe { OwnedFd::from_raw_fd(raw.cast_signed()) }
}

/// `struct cmsghdr` as the kernel has it: a `size_t` and two `int`s.
const HEADER_BYTES: usize = size_of::<usize>() + 8;

/// What each control message's length is rounded up to.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// Room for credentials, a pidfd and `fds` descriptors.
const fn control_room(fds: usize) -> usize {
    let fds = if fds > MAX_FDS { MAX_FDS } else { fds };
    let rights = if fds == 0 { 0 } else { aligned(HEADER_BYTES + 4 * fds) };
    aligned(HEADER_BYTES + 12) + aligned(HEADER_BYTES + 4) + rights
}

const CONTROL_MAX_BYTES: usize = control_room(MAX_FDS);

/// Control messages need the alignment of `cmsghdr`.
#[repr(C, align(8))]
struct ControlBuffer<T>([T; CONTROL_MAX_BYTES]);

struct ControlWriter {
    buffer: ControlBuffer<u8>,
    len: usize,
}

impl ControlWriter {
    fn new() -> Self {
        Self { buffer: ControlBuffer([0; CONTROL_MAX_BYTES]), len: 0 }
    }

    fn push(&mut self, kind: c_int, words: impl ExactSizeIterator<Item = u32>) {
        let len = HEADER_BYTES + 4 * words.len();
        let message = &mut self.buffer.0[self.len..self.len + aligned(len)];
        let (header, data) = message.split_at_mut(HEADER_BYTES);
        header[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
        header[size_of::<usize>()..][..4].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        header[size_of::<usize>() + 4..].copy_from_slice(&kind.to_ne_bytes());
        for (slot, word) in data.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_ne_bytes());
        }
        self.len += aligned(len);
    }
}

fn empty_header() -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which all-zero is a value; some C libraries add padding fields, so
    // it cannot be written out.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control bytes with a lying length end the reading; nothing is taken from them.
    #[test]
    fn broken_control_bytes_end_the_reading() {
        let mut writer = ControlWriter::new();
        writer.push(libc::SCM_CREDENTIALS, [1_u32, 2, 3].into_iter());
        let whole = &writer.buffer.0[..writer.len];
        let mut came = Came::default();
        read_control(whole, &mut came);
        assert_eq!(came.credentials, Some([1, 2, 3]));
        for len in [0_usize, 1, HEADER_BYTES - 1, whole.len() + 1, usize::MAX] {
            let mut lying = whole.to_vec();
            lying[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            let mut came = Came::default();
            read_control(&lying, &mut came);
            assert_eq!(came.credentials, None, "length {len}");
        }
        for cut in 0..whole.len() - 4 {
            let mut came = Came::default();
            read_control(&whole[..cut], &mut came);
            assert_eq!(came.credentials, None, "cut to {cut}");
        }
    }

    #[test]
    fn names_keep_family_and_bytes() {
        let name = RawName::new(libc::AF_UNIX, b"\0abc");
        assert_eq!(name.rest(libc::AF_UNIX), b"\0abc");
        assert_eq!(name.rest(libc::AF_VSOCK), b"");
        assert_eq!(RawName::EMPTY.rest(libc::AF_UNIX), b"");
    }
}
