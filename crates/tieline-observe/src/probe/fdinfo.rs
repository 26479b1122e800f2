//! What `/proc/PID/fdinfo/N` tells of a descriptor, by kind.

use std::time::Duration;

use rustix::fs::OFlags;

use super::procfs::{parse, parse_base};
use crate::model::{Access, EventFd, IoUring, Kind};

/// The fields of one descriptor, each a line `name:` and its value.
#[derive(Clone, Copy)]
pub(super) struct FdInfo<'b>(pub(super) &'b [u8]);

impl<'b> FdInfo<'b> {
    /// The value of the first line of that name.
    fn field(self, name: &[u8]) -> Option<&'b [u8]> {
        self.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(b":")).map(<[u8]>::trim_ascii)
    }

    fn lines(self) -> impl Iterator<Item = &'b [u8]> {
        self.0.split(|&byte| byte == b'\n')
    }

    /// The flags of the open file description, without close-on-exec, which is the descriptor's own.
    pub(super) fn flags(self) -> u32 {
        let flags = self.field(b"flags").and_then(|digits| parse_base(digits, 8)).unwrap_or(0);
        flags as u32 & !OFlags::CLOEXEC.bits()
    }

    /// What two descriptors of one description cannot differ in, as one number: few kinds have nothing, and what they have
    /// spares most comparisons. An epoll set changes while it is used; its lowest entry is what stays longest.
    pub(super) fn trait_of(self, kind: Kind) -> u64 {
        let hash = |bytes: &[u8]| {
            bytes.iter().fold(7, |hash: u64, &byte| hash.rotate_left(9).wrapping_mul(31) ^ u64::from(byte))
        };
        let field = |name| self.field(name).map_or(0, hash);
        match kind {
            Kind::Epoll => self.watched().min_by_key(|one| one.fd).map_or(0, |lowest| {
                let inode = lowest.file.map_or(0, |(inode, _)| inode);
                inode.rotate_left(32) ^ u64::from(lowest.fd.unsigned_abs())
            }),
            Kind::SignalFd => field(b"sigmask"),
            Kind::TimerFd => field(b"clockid") ^ field(b"it_interval").rotate_left(1),
            Kind::IoUring => field(b"SqMask") ^ field(b"CqMask").rotate_left(1),
            _ => 0,
        }
    }

    /// The inode; from Linux 5.14.
    pub(super) fn inode(self) -> Option<u64> {
        parse(self.field(b"ino")?)
    }

    /// Descriptors that wait in the queue of a Unix socket; from Linux 5.6.
    pub(super) fn sent_descriptors(self) -> u32 {
        self.field(b"scm_fds").and_then(parse).unwrap_or(0)
    }

    /// An event counter and the number that names it, which it has from Linux 5.2.
    pub(super) fn eventfd(self) -> (EventFd, Option<u64>) {
        let count = self.field(b"eventfd-count").and_then(|digits| parse_base(digits, 16)).unwrap_or(0);
        let is_semaphore = self.field(b"eventfd-semaphore").is_some_and(|value| value == b"1");
        (EventFd { count, is_semaphore }, self.field(b"eventfd-id").and_then(parse))
    }

    /// What an epoll set watches, in its own order.
    pub(super) fn watched(self) -> impl Iterator<Item = Watched> {
        self.lines().filter_map(Watched::parse)
    }

    pub(super) fn signals(self) -> u64 {
        self.field(b"sigmask").and_then(|digits| parse_base(digits, 16)).unwrap_or(0)
    }

    /// The clock of a timer, and the time until it fires.
    pub(super) fn timer(self) -> (i32, Duration) {
        let clock = self.field(b"clockid").and_then(parse).unwrap_or(0);
        (clock, self.field(b"it_value").and_then(remaining).unwrap_or_default())
    }

    /// The process of a pidfd; `None` if it has ended or has no number here.
    pub(super) fn pid(self) -> Option<u32> {
        parse(self.field(b"Pid")?).filter(|&pid| pid != 0)
    }

    pub(super) fn watches(self) -> u32 {
        u32::try_from(self.lines().filter(|line| line.starts_with(b"inotify wd:")).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn ring(self) -> IoUring {
        let value = |name: &[u8]| {
            let value = self.field(name)?;
            let number = value.strip_prefix(b"0x").map_or_else(|| parse(value), |digits| parse_base(digits, 16))?;
            u32::try_from(number).ok()
        };
        // Head and tail are counters that wrap around; their distance is what lies between.
        let pending = |head: &[u8], tail: &[u8]| {
            value(tail).zip(value(head)).map_or(0, |(tail, head): (u32, u32)| tail.wrapping_sub(head))
        };
        let entries = |mask: &[u8]| value(mask).map_or(0, |mask: u32| mask.saturating_add(1));
        IoUring {
            submissions_pending: pending(b"SqHead", b"SqTail"),
            completions_pending: pending(b"CqHead", b"CqTail"),
            submission_entries: entries(b"SqMask"),
            completion_entries: entries(b"CqMask"),
        }
    }
}

/// `(seconds, nanoseconds)`
fn remaining(value: &[u8]) -> Option<Duration> {
    let inner = value.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut parts = inner.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let (seconds, nanoseconds) = (parse(parts.next()?)?, parse(parts.next()?)?);
    // More than a second of nanoseconds would be no time of the kernel's.
    (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))
}

/// One entry of an epoll set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    /// The descriptor's number in the process that added it.
    pub(super) fd: i32,
    /// Inode and device of the file, the device as the kernel writes it; from Linux 4.16.
    pub(super) file: Option<(u64, u64)>,
}

impl Watched {
    /// `tfd:        5 events:       19 data:                5  pos:0 ino:61ef sdev:7`, inode and device in hexadecimal.
    fn parse(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"tfd:")?;
        let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let fd = parse(words.next()?)?;
        let mut number = |name: &[u8]| parse_base(words.find_map(|word| word.strip_prefix(name))?, 16);
        let inode = number(b"ino:");
        let file = inode.and_then(|inode| Some((inode, number(b"sdev:")?)));
        Some(Self { fd, file })
    }
}

/// What may be done through a descriptor with these flags.
pub(super) fn access(flags: u32) -> Access {
    if flags & OFlags::PATH.bits() != 0 {
        return Access::NONE;
    }
    match flags & OFlags::ACCMODE.bits() & !OFlags::PATH.bits() {
        0 => Access::READ,
        1 => Access::WRITE,
        2 => Access::BOTH,
        // Neither reading nor writing, but `ioctl`: a custom of Linux.
        _ => Access::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMON: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\n";

    fn all(text: &[u8]) {
        let info = FdInfo(text);
        let _ = (info.flags(), info.inode(), info.eventfd(), info.watched().count(), info.signals());
        let _ = (info.timer(), info.pid(), info.watches(), info.ring());
        let _ = Kind::ALL.iter().map(|&kind| info.trait_of(kind)).max();
    }

    #[test]
    fn close_on_exec_is_not_the_descriptions() {
        let info = FdInfo(COMMON.as_bytes());
        assert_eq!((info.flags(), info.inode()), (2, Some(1057)));
        assert_eq!(access(info.flags()), Access::BOTH);
        assert_eq!(access(OFlags::PATH.bits()), Access::NONE);
    }

    #[test]
    fn each_kind_is_read_in_the_kernels_words() {
        let text = format!("{COMMON}eventfd-count:               1f\neventfd-id: 7\neventfd-semaphore: 1\n");
        assert_eq!(FdInfo(text.as_bytes()).eventfd(), (EventFd { count: 31, is_semaphore: true }, Some(7)));
        let text = format!("{COMMON}sigmask:\t0000000000000a00\n");
        assert_eq!(FdInfo(text.as_bytes()).signals(), 0xa00);
        let text =
            format!("{COMMON}clockid: 1\nticks: 0\nsettime flags: 00\nit_value: (49, 406829)\nit_interval: (1, 0)\n");
        assert_eq!(FdInfo(text.as_bytes()).timer(), (1, Duration::new(49, 406_829)));
        let text = format!("{COMMON}Pid:\t4711\nNSpid:\t4711\t1\n");
        assert_eq!(FdInfo(text.as_bytes()).pid(), Some(4711));
        assert_eq!(FdInfo(b"Pid:\t-1\n").pid(), None);
        let text = format!("{COMMON}inotify wd:2 ino:1 sdev:1 mask:2\ninotify wd:1 ino:9 sdev:1 mask:2\n");
        assert_eq!(FdInfo(text.as_bytes()).watches(), 2);
        let ring =
            "SqMask:\t0x7\nSqHead:\t4294967294\nSqTail:\t1\nCachedSqHead:\t0\nCqMask:\t0xf\nCqHead:\t2\nCqTail:\t6\n";
        let ring = FdInfo(ring.as_bytes()).ring();
        assert_eq!((ring.submissions_pending, ring.completions_pending), (3, 4));
        assert_eq!((ring.submission_entries, ring.completion_entries), (8, 16));
    }

    #[test]
    fn an_epoll_set_tells_descriptor_inode_and_device() {
        let text = "tfd:        5 events:       19 data:                5  pos:0 ino:61ef sdev:7\n\
                    tfd:       12 events:        1 data: ffffffffffffffff\n";
        let watched: Vec<_> = FdInfo(text.as_bytes()).watched().collect();
        assert_eq!(watched, [Watched { fd: 5, file: Some((0x61ef, 7)) }, Watched { fd: 12, file: None }]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_parser(text in prop::collection::vec(any::<u8>(), 0..512)) {
            all(&text);
        }

        #[test]
        fn no_value_breaks_a_parser(
            name in prop::sample::select(vec![
                "flags", "ino", "eventfd-count", "eventfd-id", "sigmask", "clockid", "it_value", "Pid", "SqMask",
                "SqHead", "SqTail", "CqMask", "CqHead", "CqTail", "tfd",
            ]),
            value in "[ \t]*[-(]?[0-9a-fx,() :a-z]{0,40}",
        ) {
            all(format!("{name}:{value}\n").as_bytes());
        }
    }
}
