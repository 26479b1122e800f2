//! The same from text files: less is told, but everybody may read them, also those of namespaces that cannot be entered.
//!
//! Each function reads files of one process's `/proc/PID/net` and tells of the network namespace that the process lives
//! in. A name of a Unix socket may hold line ends, which nothing in the file sets apart: who binds such a name can make
//! lines that name sockets that are not there. [`Monitor`](super::Monitor) has no such trouble.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{InetDump, InetSocket, PlainSocket, State, UnixDump, UnixKind, UnixSocket};
use crate::error::{Error, Result};

const READ: &str = "read the list of sockets";

/// A listener, by the flags in the file `unix`.
const ACCEPTS: u32 = 0x1_0000;

/// The most that is read of one file, which the kernel makes as long as there are sockets.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// All Unix sockets of the network namespace of process `pid`: kind, name and whether they listen.
///
/// # Errors
/// `NotFound`: no such process, no `/proc`, or a kernel without Unix sockets.
pub fn unix(pid: u32) -> Result<UnixDump> {
    read(pid, "unix").map(UnixDump::of_text)
}

/// All TCP sockets of the network namespace of process `pid`.
///
/// # Errors
/// As [`unix`].
pub fn tcp(pid: u32) -> Result<InetDump> {
    inet(pid, ["tcp", "tcp6"])
}

/// How many TCP sockets the network namespace of process `pid` has, those without an address not counted.
///
/// # Errors
/// As [`unix`].
#[doc(alias = "sockstat")]
pub fn tcp_sockets(pid: u32) -> Result<u64> {
    let v4 = read(pid, "sockstat")?;
    let v6 = read(pid, "sockstat6").unwrap_or_default();
    Ok(in_use(&v4, b"TCP: ") + in_use(&v6, b"TCP6: "))
}

/// Reads a line such as `TCP: inuse 5 orphan 0 tw 2 alloc 9 mem 1`.
fn in_use(text: &[u8], protocol: &[u8]) -> u64 {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(protocol));
    let count = line.and_then(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip_while(|&word| word != "inuse");
        words.nth(1)?.parse().ok()
    });
    count.unwrap_or(0)
}

/// All UDP sockets of the network namespace of process `pid`.
///
/// # Errors
/// As [`unix`].
pub fn udp(pid: u32) -> Result<InetDump> {
    inet(pid, ["udp", "udp6"])
}

/// The netlink sockets of programs, and all packet and raw sockets, of the network namespace of process `pid`.
///
/// A family that the kernel does not have has none.
///
/// # Errors
/// `NotFound`: no such process, or no `/proc`.
pub fn others(pid: u32) -> Result<Vec<PlainSocket>> {
    type Parse = fn(&[&str]) -> Option<PlainSocket>;
    const FILES: [(&str, Parse); 6] = [
        ("netlink", netlink_line),
        ("packet", packet_line),
        ("raw", |fields| raw_line(fields, "RAW")),
        ("raw6", |fields| raw_line(fields, "RAWv6")),
        ("icmp", |fields| raw_line(fields, "PING")),
        ("icmp6", |fields| raw_line(fields, "PINGv6")),
    ];
    // So that a missing file below means a missing family.
    std::fs::metadata(format!("/proc/{pid}/net")).map_err(|error| failed(&error, pid, ""))?;
    let mut sockets = Vec::new();
    for (file, parse) in FILES {
        let text = read(pid, file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        sockets.extend(text.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            parse(&fields)
        }));
    }
    Ok(sockets)
}

fn inet(pid: u32, files: [&str; 2]) -> Result<InetDump> {
    let first = read(pid, files[0])?;
    // IPv6 may be switched off.
    let second = read(pid, files[1]).unwrap_or_default();
    Ok(InetDump::of_text(vec![first, second]))
}

fn read(pid: u32, file: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    let opened = std::fs::File::open(format!("/proc/{pid}/net/{file}"));
    opened
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| failed(&error, pid, file))?;
    Ok(text)
}

fn failed(error: &std::io::Error, pid: u32, file: &str) -> Error {
    Error::new(READ, crate::descriptor::errno_of(error)).on(format_args!("/proc/{pid}/net/{file}"))
}

pub(super) fn unix_lines(text: &[u8]) -> impl Iterator<Item = UnixSocket<'_>> {
    text.split(|&byte| byte == b'\n').skip(1).filter_map(unix_line)
}

/// Reads a line such as `0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/name`.
fn unix_line(line: &[u8]) -> Option<UnixSocket<'_>> {
    let (number, mut rest) = field(line)?;
    number.strip_suffix(b":")?;
    let mut next = || {
        let (field, behind) = field(rest)?;
        rest = behind;
        std::str::from_utf8(field).ok()
    };
    next()?;
    next()?;
    let flags = u32::from_str_radix(next()?, 16).ok()?;
    let kind = UnixKind::of(i32::from_str_radix(next()?, 16).ok()?)?;
    let state = u8::from_str_radix(next()?, 16).ok()?;
    let inode: u32 = next()?.parse().ok()?;
    let state = match state {
        _ if flags & ACCEPTS != 0 => State::Listen,
        3 => State::Established,
        2 => State::SynSent,
        _ => State::Close,
    };
    // One blank, then the name with whatever blanks it has itself.
    let name = rest.strip_prefix(b" ").filter(|name| !name.is_empty());
    (inode != 0).then_some(UnixSocket { name, ..UnixSocket::plain(kind, state, inode) })
}

/// The first word and what is behind it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|&byte| byte != b' ')?;
    let word = &bytes[start..];
    let end = word.iter().position(|&byte| byte == b' ').unwrap_or(word.len());
    Some(word.split_at(end))
}

pub(super) fn inet_lines(text: &[u8]) -> impl Iterator<Item = InetSocket> {
    text.split(|&byte| byte == b'\n').skip(1).filter_map(inet_line)
}

/// Reads a line such as `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 633 …`.
fn inet_line(line: &[u8]) -> Option<InetSocket> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    fields.next()?.strip_suffix(':')?;
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = State::of(u8::from_str_radix(fields.next()?, 16).ok()?);
    let (send, receive) = fields.next()?.split_once(':')?;
    let uid = fields.nth(2)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    if matches!(state, State::TimeWait | State::SynReceived) {
        return None;
    }
    Some(InetSocket {
        state,
        local,
        remote: Some(remote).filter(|remote| remote.port() != 0),
        inode,
        uid,
        receive_queue: u32::from_str_radix(receive, 16).ok()?,
        send_queue: u32::from_str_radix(send, 16).ok()?,
        memory: None,
        tcp: None,
    })
}

/// Reads `0100007F:1F90`: words of 32 bits whose memory is in the network's byte order, printed as the machine's numbers.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// `sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode`. The kernel's own ends have the port id ("Pid") 0.
fn netlink_line(fields: &[&str]) -> Option<PlainSocket> {
    let &[_, protocol, port_id, _, receive, _, _, _, _, inode] = fields else { return None };
    let protocol = match protocol.parse::<u32>().ok()? {
        0 => "NETLINK_ROUTE",
        2 => "NETLINK_USERSOCK",
        4 => "NETLINK_SOCK_DIAG",
        5 => "NETLINK_NFLOG",
        6 => "NETLINK_XFRM",
        7 => "NETLINK_SELINUX",
        8 => "NETLINK_ISCSI",
        9 => "NETLINK_AUDIT",
        10 => "NETLINK_FIB_LOOKUP",
        11 => "NETLINK_CONNECTOR",
        12 => "NETLINK_NETFILTER",
        15 => "NETLINK_KOBJECT_UEVENT",
        16 => "NETLINK_GENERIC",
        18 => "NETLINK_SCSITRANSPORT",
        19 => "NETLINK_ECRYPTFS",
        20 => "NETLINK_RDMA",
        21 => "NETLINK_CRYPTO",
        _ => "NETLINK",
    };
    if port_id.parse::<u32>().ok()? == 0 {
        return None;
    }
    Some(PlainSocket { inode: inode.parse().ok()?, protocol, uid: None, receive_queue: receive.parse().ok() })
}

/// `sk RefCnt Type Proto Iface R Rmem User Inode`.
fn packet_line(fields: &[&str]) -> Option<PlainSocket> {
    let &[_, _, _, _, _, _, receive, uid, inode] = fields else { return None };
    Some(PlainSocket {
        inode: inode.parse().ok()?,
        protocol: "PACKET",
        uid: uid.parse().ok(),
        receive_queue: receive.parse().ok(),
    })
}

/// As [`inet_line`].
fn raw_line(fields: &[&str], protocol: &'static str) -> Option<PlainSocket> {
    let (_, receive) = fields.get(4)?.split_once(':')?;
    Some(PlainSocket {
        inode: fields.get(9)?.parse().ok()?,
        protocol,
        uid: fields.get(7)?.parse().ok(),
        receive_queue: u64::from_str_radix(receive, 16).ok(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_a_unix_socket() {
        let line = b"00000000948563f0: 00000003 00000000 00010000 0005 01   630 /run/a b";
        let socket = unix_line(line).unwrap();
        assert_eq!((socket.kind, socket.state, socket.inode), (UnixKind::SeqPacket, State::Listen, 630));
        assert_eq!(socket.name, Some(b"/run/a b".as_slice()));
        let nameless = unix_line(b"0000000000000000: 00000003 00000000 00000000 0001 03 12345").unwrap();
        assert_eq!((nameless.state, nameless.name), (State::Established, None));
    }

    #[test]
    fn lines_of_tcp_in_both_families() {
        let little_endian = cfg!(target_endian = "little");
        let v4 = if little_endian { "0100007F" } else { "7F000001" };
        let line = format!("  0: {v4}:07E8 00000000:0000 0A 00000001:00000002 00:00000000 00000000  7 0 633 1 0 100 0");
        let socket = inet_line(line.as_bytes()).unwrap();
        assert_eq!((socket.local, socket.remote), ("127.0.0.1:2024".parse().unwrap(), None));
        assert_eq!((socket.send_queue, socket.receive_queue, socket.uid, socket.inode), (1, 2, 7, 633));
        let last = if little_endian { "01000000" } else { "00000001" };
        let one = format!("{:024}{last}", 0);
        let line = format!("1: {one}:0050 {one}:0051 01 00000000:00000000 00:00000000 00000000 0 0 9 1");
        let socket = inet_line(line.as_bytes()).unwrap();
        assert_eq!((socket.local, socket.remote), ("[::1]:80".parse().unwrap(), Some("[::1]:81".parse().unwrap())));
    }

    #[test]
    fn the_kernels_ends_of_netlink_are_left_out() {
        let line = "0 16 4711 00000000 5 0 0 2 0 563";
        let fields: Vec<&str> = line.split(' ').collect();
        let socket = netlink_line(&fields).unwrap();
        assert_eq!((socket.inode, socket.protocol, socket.receive_queue), (563, "NETLINK_GENERIC", Some(5)));
        let fields: Vec<&str> = "0 16 0 00000000 0 0 0 2 0 563".split(' ').collect();
        assert_eq!(netlink_line(&fields), None);
    }

    #[test]
    fn sockets_in_use_are_counted() {
        let text = b"sockets: used 9\nTCP: inuse 5 orphan 0 tw 2 alloc 9 mem 1\nUDP: inuse 3 mem 0\n";
        assert_eq!((in_use(text, b"TCP: "), in_use(text, b"TCP6: "), in_use(b"TCP: inuse", b"TCP: ")), (5, 0, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_give_sockets_or_none(bytes in vec(any::<u8>(), 0..400), words in "[ 0-9A-F:\n]{0,300}") {
            for text in [bytes.as_slice(), words.as_bytes()] {
                let lines = text.iter().filter(|&&byte| byte == b'\n').count();
                prop_assert!(unix_lines(text).count() <= lines);
                prop_assert!(inet_lines(text).count() <= lines);
            }
        }
    }
}
