//! What `tieline who` is asked about.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Kind, Text};

/// One thing that people ask about, as they write it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// A plain number: the process of that id, and whatever is at that port.
    Number(u32),
    /// A process by its name.
    Process(Text),
    /// `PID:FD`.
    Descriptor {
        /// The process.
        pid: u32,
        /// Its descriptor.
        fd: i32,
    },
    /// `pipe:[N]`.
    Pipe(u64),
    /// `socket:[N]`.
    Socket(u64),
    /// `file:[MAJOR:MINOR:INODE]`.
    File {
        /// Device number as `stat` gives it.
        device: u64,
        /// Inode number.
        inode: u64,
    },
    /// `shm:ID`, `msg:ID`, `sem:ID`, each also with a key in hexadecimal.
    SystemV {
        /// Segment, queue or set.
        kind: Kind,
        /// By its identifier, or by its key.
        by: SystemVName,
        /// In the namespace of that number; in any without.
        namespace: Option<u64>,
    },
    /// A path, or the `/name` of a POSIX object.
    Name {
        /// As given.
        name: Text,
        /// Only objects of these kinds; of any if empty.
        kinds: &'static [Kind],
        /// Device and inode of the file there is at that path, if any; whoever parses a query does not look.
        file: Option<(u64, u64)>,
        /// Whether somebody looked, and there is none.
        is_missing: bool,
    },
    /// `@name`: an abstract Unix socket. The name has its `@`.
    Abstract(Text),
    /// A port.
    Port {
        /// TCP or UDP only; both without.
        kind: Option<Kind>,
        /// At this address only.
        host: Option<IpAddr>,
        /// Its number.
        port: u16,
    },
    /// `memfd:NAME`.
    Memfd(Text),
    /// `shm:NAME`: a channel, lock or arena of `tieline-shm` by its name, or by its directory and name.
    Segment(Text),
    /// `eventfd:N` and what else has a number of its own.
    Numbered {
        /// What it is.
        kind: Kind,
        /// Its number.
        number: u64,
    },
}

/// By what a System V object is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemVName {
    /// Its identifier.
    Id(i32),
    /// Its key.
    Key(i32),
}

/// Why a text asks about nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseQueryError {
    text: Text,
    why: &'static str,
}

impl fmt::Display for ParseQueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.text, self.why)
    }
}

impl std::error::Error for ParseQueryError {}

impl Query {
    /// Reads a query. It is bytes, because paths are.
    ///
    /// # Errors
    /// If a number or address in it is none, or the scheme before the colon is unknown.
    pub fn parse(text: &[u8]) -> Result<Self, ParseQueryError> {
        let refuse = |why| ParseQueryError { text: Text::from(text), why };
        if text.is_empty() {
            return Err(refuse("name a process, an object, a path or a port"));
        }
        if text.starts_with(b"@") {
            return Ok(Self::Abstract(Text::from(text)));
        }
        let scheme = text.iter().position(|&byte| byte == b':').map(|colon| (&text[..colon], &text[colon + 1..]));
        match scheme {
            Some((scheme, rest)) if !scheme.contains(&b'/') => Self::schemed(scheme, rest).map_err(refuse),
            _ if text.contains(&b'/') => Ok(Self::name(text, &[])),
            _ => Ok(digits(text).map_or_else(|| Self::Process(Text::from(text)), Self::Number)),
        }
    }

    fn schemed(scheme: &[u8], rest: &[u8]) -> Result<Self, &'static str> {
        if scheme.is_empty() {
            return Self::port(None, rest);
        }
        if let Some(pid) = digits(scheme) {
            let fd = digits(rest).ok_or("write PID:FD, two numbers")?;
            return Ok(Self::Descriptor { pid, fd });
        }
        Ok(match scheme {
            b"pipe" => Self::Pipe(bracketed(rest).ok_or(INODE)?),
            b"socket" => Self::Socket(bracketed(rest).ok_or(INODE)?),
            b"pid" => Self::Number(digits(rest).ok_or("write pid: and the number of a process")?),
            b"eventfd" => Self::Numbered { kind: Kind::EventFd, number: bracketed(rest).ok_or(INODE)? },
            b"pidfd" => Self::Numbered { kind: Kind::PidFd, number: bracketed(rest).ok_or(INODE)? },
            b"memfd" => Self::Memfd(Text::from(rest)),
            b"shm" if rest.starts_with(b"/") => Self::name(rest, NAMED_SHM),
            b"sem" if rest.starts_with(b"/") => Self::name(rest, &[Kind::PosixSem]),
            b"shm" => match Self::system_v(Kind::SysvShm, rest, false) {
                Err(_) if is_segment_name(rest) => Self::Segment(Text::from(rest)),
                answer => {
                    answer.map_err(|_| "write shm:NAME, shm:/NAME, shm: and the identifier in digits or the key")?
                }
            },
            b"sem" => Self::system_v(Kind::SysvSem, rest, false)?,
            b"msg" => Self::system_v(Kind::SysvMq, rest, false)?,
            b"sysv-shm" => Self::system_v(Kind::SysvShm, rest, true)?,
            b"sysv-sem" => Self::system_v(Kind::SysvSem, rest, true)?,
            b"sysv-mq" => Self::system_v(Kind::SysvMq, rest, true)?,
            b"mq" => Self::name(rest, &[Kind::PosixMq]),
            b"posix-shm" => Self::name(rest, &[Kind::PosixShm]),
            b"fifo" => Self::name(rest, &[Kind::Fifo]),
            b"file" if rest.starts_with(b"[") => Self::file(rest)?,
            b"file" => Self::name(rest, &[]),
            b"unix" | b"unix-dgram" | b"unix-seqpacket" if rest.starts_with(b"@") => Self::Abstract(Text::from(rest)),
            b"unix" => Self::name(rest, &[Kind::UnixStream]),
            b"unix-dgram" => Self::name(rest, &[Kind::UnixDatagram]),
            b"unix-seqpacket" => Self::name(rest, &[Kind::UnixSeqpacket]),
            b"tcp" => Self::port(Some(Kind::Tcp), rest)?,
            b"udp" => Self::port(Some(Kind::Udp), rest)?,
            _ => return Err(SCHEMES),
        })
    }

    fn name(name: &[u8], kinds: &'static [Kind]) -> Self {
        Self::Name { name: Text::from(name), kinds, file: None, is_missing: false }
    }

    fn file(rest: &[u8]) -> Result<Self, &'static str> {
        const HOW: &str = "write file:[MAJOR:MINOR:INODE], as the id of `ls` has it";
        let inside = rest.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(HOW)?;
        let mut parts = inside.split(|&byte| byte == b':');
        let (major, minor) = (parts.next().and_then(digits), parts.next().and_then(digits));
        let inode = parts.next().and_then(digits).filter(|_| parts.next().is_none());
        let (Some(major), Some(minor), Some(inode)) = (major, minor, inode) else { return Err(HOW) };
        Ok(Self::File { device: rustix::fs::makedev(major, minor), inode })
    }

    /// `ID`, `0xKEY`, each perhaps with `@NAMESPACE`; `id:ID` and keys in any base where the address form is used.
    fn system_v(kind: Kind, rest: &[u8], is_address: bool) -> Result<Self, &'static str> {
        const HOW: &str = "write the identifier in digits, or the key as 0x and hexadecimal digits";
        let (name, namespace) = match rest.iter().position(|&byte| byte == b'@') {
            Some(at) => (&rest[..at], Some(digits(&rest[at + 1..]).ok_or(HOW)?)),
            None => (rest, None),
        };
        let by = if let Some(id) = name.strip_prefix(b"id:") {
            SystemVName::Id(digits(id).ok_or(HOW)?)
        } else if let Some(key) = name.strip_prefix(b"0x") {
            let text = std::str::from_utf8(key).ok().filter(|key| !key.starts_with('+')).ok_or(HOW)?;
            SystemVName::Key(u32::from_str_radix(text, 16).map_err(|_| HOW)?.cast_signed())
        } else if is_address {
            SystemVName::Key(digits::<u32>(name).ok_or(HOW)?.cast_signed())
        } else {
            SystemVName::Id(digits(name).ok_or(HOW)?)
        };
        Ok(Self::SystemV { kind, by, namespace })
    }

    /// `PORT` or `HOST:PORT`.
    fn port(kind: Option<Kind>, rest: &[u8]) -> Result<Self, &'static str> {
        const HOW: &str = "write a port, or HOST:PORT with an address of digits (or localhost) as the host";
        let text = std::str::from_utf8(rest).map_err(|_| HOW)?;
        let (host, port) = text.rsplit_once(':').map_or(("", text), |(host, port)| (host, port));
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            "" | "*" => None,
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => Some(host.parse().map_err(|_| HOW)?),
        };
        let port = digits(port.as_bytes()).ok_or(HOW)?;
        Ok(Self::Port { kind, host, port })
    }

    /// The path that may be one of a file, for who wants to look which file that is.
    #[must_use]
    pub fn path(&self) -> Option<&Text> {
        match self {
            Self::Name { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The same query, knowing which file its path leads to.
    #[must_use]
    pub fn located(mut self, device: u64, inode: u64) -> Self {
        if let Self::Name { file, .. } = &mut self {
            *file = Some((device, inode));
        }
        self
    }

    /// The same query, knowing that its path leads to nothing.
    #[must_use]
    pub fn missing(mut self) -> Self {
        if let Self::Name { is_missing, .. } = &mut self {
            *is_missing = true;
        }
        self
    }
}

/// What has a name that begins with a slash behind `shm:`: POSIX memory, and our own in a directory that was named.
pub(super) const NAMED_SHM: &[Kind] = &[
    Kind::PosixShm,
    Kind::ShmTopic,
    Kind::ShmQueue,
    Kind::ShmStream,
    Kind::ShmCalls,
    Kind::ShmLatest,
    Kind::ShmEvent,
    Kind::ShmLocks,
    Kind::ShmArena,
    Kind::ShmMemory,
];

/// Whether `tieline-shm` takes it as a name, and it can be no number of the kernel's.
fn is_segment_name(name: &[u8]) -> bool {
    let is_number = name.iter().all(u8::is_ascii_digit) || name.starts_with(b"0x") || name.contains(&b':');
    !is_number && std::str::from_utf8(name).is_ok_and(|name| tieline_shm::Name::new(name).is_ok())
}

const INODE: &str = "write the number behind the colon, plain or in brackets";
const SCHEMES: &str = "write PID, PID:FD, a path, /name, @name, a port, or one of pipe: socket: shm: sem: msg: mq: fifo: \
    unix: tcp: udp: memfd: eventfd: pid: file: before it";

fn digits<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// `N` or `[N]`.
fn bracketed(text: &[u8]) -> Option<u64> {
    let inside = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]"));
    digits(inside.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Query {
        Query::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_way_to_ask_is_understood() {
        assert_eq!(parse("4711"), Query::Number(4711));
        assert_eq!(parse("pid:4711"), Query::Number(4711));
        assert_eq!(parse("4711:5"), Query::Descriptor { pid: 4711, fd: 5 });
        assert_eq!(parse("pipe:[12]"), Query::Pipe(12));
        assert_eq!(parse("socket:12"), Query::Socket(12));
        assert_eq!(parse("postgres"), Query::Process(Text::from("postgres")));
        assert_eq!(parse("@a b"), Query::Abstract(Text::from("@a b")));
        assert_eq!(parse("unix:@x"), Query::Abstract(Text::from("@x")));
        assert_eq!(parse("/a:b"), Query::name(b"/a:b", &[]));
        assert_eq!(parse("./a"), Query::name(b"./a", &[]));
        assert_eq!(parse("shm:/a"), Query::name(b"/a", NAMED_SHM));
        assert_eq!(parse("shm:frames"), Query::Segment(Text::from("frames")));
        assert_eq!(parse("shm:3cams"), Query::Segment(Text::from("3cams")));
        let shm = |by, namespace| Query::SystemV { kind: Kind::SysvShm, by, namespace };
        assert_eq!(parse("shm:3"), shm(SystemVName::Id(3), None));
        assert_eq!(parse("shm:3@4026"), shm(SystemVName::Id(3), Some(4026)));
        assert_eq!(parse("shm:0xffffffff"), shm(SystemVName::Key(-1), None));
        assert_eq!(parse("sysv-shm:id:3"), shm(SystemVName::Id(3), None));
        assert_eq!(parse("sysv-shm:77"), shm(SystemVName::Key(77), None));
        let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(parse("tcp:localhost:80"), Query::Port { kind: Some(Kind::Tcp), host: loopback, port: 80 });
        let six = Some("::1".parse().unwrap());
        assert_eq!(parse("udp:[::1]:53"), Query::Port { kind: Some(Kind::Udp), host: six, port: 53 });
        assert_eq!(parse(":5432"), Query::Port { kind: None, host: None, port: 5432 });
        assert_eq!(parse("memfd:x y"), Query::Memfd(Text::from("x y")));
        assert_eq!(parse("eventfd:[3]"), Query::Numbered { kind: Kind::EventFd, number: 3 });
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(parse("file:[8:1:99]"), Query::File { device, inode: 99 });
        assert!(matches!(Query::parse(b"/\xff"), Ok(Query::Name { .. })), "a path is bytes");
    }

    #[test]
    fn what_is_none_is_refused_with_the_way_to_write_it() {
        for text in [
            "",
            "pipe:x",
            "shm:x/y",
            "shm:-x",
            "shm:0x+1",
            "1:x",
            "nonsense:1",
            "tcp:host:1",
            "tcp:1:70000",
            "file:[1:2]",
            "shm:99999999999",
        ] {
            let error = Query::parse(text.as_bytes()).expect_err(text);
            assert!(error.to_string().starts_with(&format!("{text:?}: ")), "{error}");
        }
        let hostile = Query::parse(b"x:\x1b[2J").expect_err("no scheme").to_string();
        assert!(!hostile.contains('\x1b'), "{hostile:?}");
    }

    proptest::proptest! {
        /// The command line is anybody's: it is a question or is refused in text that a terminal may show.
        #[test]
        fn any_bytes_are_a_query_or_a_refusal(
            scheme in "|[a-z-]{1,8}:|[0-9]{1,20}:|/|@",
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..24),
        ) {
            let text = [scheme.as_bytes(), &rest].concat();
            if let Err(error) = Query::parse(&text) {
                let said = error.to_string();
                assert!(!said.chars().any(char::is_control), "{said:?}");
            }
        }
    }
}
