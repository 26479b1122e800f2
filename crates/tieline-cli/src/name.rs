//! The objects that `mk` makes, `rm` removes and `sem` uses: one text for each, which all of them read and print.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use tieline_os::sysv::{Id, Key, ParseKeyError};
use tieline_transport::addr::{Address, Options, Scheme, SysvName, Target, UnixName};

use crate::exit::{Failure, Outcome};

/// An object with a name that outlives the process that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Fifo(PathBuf),
    Unix(Scheme, PathBuf),
    Mq(OsString),
    SysvMq(Handle),
    PosixShm(OsString),
    SysvShm(Handle),
    Sem(OsString),
    SysvSem(Handle),
}

/// How a System V object is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    Key(Key),
    Id(Id),
}

impl Handle {
    fn of(name: SysvName) -> Self {
        match name {
            SysvName::Key(key) => Self::Key(Key::new(key.cast_signed())),
            SysvName::Id(id) => Self::Id(Id::new(id)),
        }
    }

    /// `KEY` or `id:N`.
    fn parse(text: &str) -> Outcome<Self> {
        if let Some(number) = text.strip_prefix("id:") {
            let id = number.parse().ok().filter(|id: &i32| *id >= 0 && number.starts_with(|first| first != '+'));
            let refused =
                || Failure::usage(format_args!("{number:?} is no identifier: write id: and digits, as `ipcs` does"));
            return id.map(|id| Self::Id(Id::new(id))).ok_or_else(refused);
        }
        match key(text).map_err(Failure::usage)? {
            Key::PRIVATE => Err(Failure::usage("key 0 is private and names nothing: write id:N, as `mk` printed it")),
            key => Ok(Self::Key(key)),
        }
    }

    fn into_name(self) -> SysvName {
        match self {
            Self::Key(key) => SysvName::Key(key.number().cast_unsigned()),
            Self::Id(id) => SysvName::Id(id.number()),
        }
    }
}

/// A System V key as people write it. A number below zero is a flag that went astray, not a key.
pub(crate) fn key(text: &str) -> Result<Key, String> {
    let key: Key = text.parse().map_err(|error: ParseKeyError| error.to_string())?;
    if text.starts_with('-') {
        let number = key.number();
        return Err(format!("{text:?} is no key: a key has no sign; the one that C calls {number} is {number:#x}"));
    }
    Ok(key)
}

impl Named {
    /// The schemes of all of them.
    pub(crate) const SCHEMES: [&str; 10] = [
        "fifo",
        "unix",
        "unix-dgram",
        "unix-seqpacket",
        "mq",
        "sysv-mq",
        "posix-shm",
        "sysv-shm",
        Self::SEMAPHORES[0],
        Self::SEMAPHORES[1],
    ];

    /// The schemes of semaphores, which nothing can be sent to.
    pub(crate) const SEMAPHORES: [&str; 2] = ["sem", "sysv-sem"];

    /// Reads an address of something that has a name.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        if let Some(name) = text.strip_prefix("sem:") {
            return Ok(Self::Sem(name.into()));
        }
        if let Some(handle) = text.strip_prefix("sysv-sem:") {
            return Handle::parse(handle).map(Self::SysvSem);
        }
        let address: Address = text.parse()?;
        Ok(match address.target() {
            Target::Fifo(path) => Self::Fifo(path.clone()),
            Target::Unix(UnixName::Path(path))
            | Target::UnixDatagram(UnixName::Path(path))
            | Target::UnixSeqpacket(UnixName::Path(path)) => Self::Unix(address.scheme(), path.clone()),
            Target::Unix(_) | Target::UnixDatagram(_) | Target::UnixSeqpacket(_) => {
                let why = "an abstract name has no file and vanishes with the last socket that is bound to it";
                return Err(Failure::usage(format_args!("cannot remove {address}: {why}")));
            }
            Target::Mq(name) => Self::Mq(name.clone()),
            Target::SysvMq(name) => Self::SysvMq(Handle::of(*name)),
            Target::PosixShm(name) => Self::PosixShm(name.clone()),
            Target::SysvShm(name) => Self::SysvShm(Handle::of(*name)),
            Target::File(path) => {
                let why = "a file is no object of inter-process communication; use rm(1)";
                return Err(Failure::usage(format_args!("will not remove {}: {why}", path.display())));
            }
            Target::Shm(_) => {
                let name = address.target().to_string();
                let meant = format_args!("POSIX shared memory is posix-shm:/{}", name.trim_start_matches('/'));
                let why = "a channel in shared memory vanishes with the last process that uses it";
                return Err(Failure::usage(format_args!("cannot remove {address}: {why}; {meant}")));
            }
            _ => {
                let known = "fifo:, unix:, mq:, sysv-mq:, posix-shm:, sysv-shm:, sem: and sysv-sem: have";
                return Err(Failure::usage(format_args!("{address} has no name that could be removed; {known}")));
            }
        })
    }

    /// The word of `mk` for it, which is also that of its address.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Fifo(_) => "fifo",
            Self::Unix(..) => "unix",
            Self::Mq(_) => "mq",
            Self::SysvMq(_) => "sysv-mq",
            Self::PosixShm(_) => "posix-shm",
            Self::SysvShm(_) => "sysv-shm",
            Self::Sem(_) => "sem",
            Self::SysvSem(_) => "sysv-sem",
        }
    }

    /// The command line that makes it.
    pub(crate) fn making(&self) -> String {
        let kind = self.kind();
        let key = |handle: &Handle| match handle {
            Handle::Key(key) => format!(" {:#x}", key.number()),
            // The kernel chooses the identifier.
            Handle::Id(_) => String::new(),
        };
        let rest = match self {
            Self::Fifo(path) | Self::Unix(_, path) => format!(" {}", path.display()),
            Self::Mq(name) | Self::Sem(name) => format!(" {}", name.display()),
            Self::PosixShm(name) => format!(" {} --size SIZE", name.display()),
            Self::SysvShm(handle) => format!("{} --size SIZE", key(handle)),
            Self::SysvMq(handle) | Self::SysvSem(handle) => key(handle),
        };
        format!("`tieline mk {kind}{rest}`")
    }

    fn target(&self) -> Option<Target> {
        Some(match self.clone() {
            Self::Fifo(path) => Target::Fifo(path),
            Self::Unix(Scheme::UnixDatagram, path) => Target::UnixDatagram(UnixName::Path(path)),
            Self::Unix(Scheme::UnixSeqpacket, path) => Target::UnixSeqpacket(UnixName::Path(path)),
            Self::Unix(_, path) => Target::Unix(UnixName::Path(path)),
            Self::Mq(name) => Target::Mq(name),
            Self::SysvMq(handle) => Target::SysvMq(handle.into_name()),
            Self::PosixShm(name) => Target::PosixShm(name),
            Self::SysvShm(handle) => Target::SysvShm(handle.into_name()),
            Self::Sem(_) | Self::SysvSem(_) => return None,
        })
    }
}

impl fmt::Display for Named {
    /// The address: what [`Named::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sem(name) => write!(f, "sem:{}", name.display()),
            // Semaphores are nothing to send to, so the grammar of addresses lacks them.
            Self::SysvSem(Handle::Key(key)) => write!(f, "sysv-sem:{:#x}", key.number()),
            Self::SysvSem(Handle::Id(id)) => write!(f, "sysv-sem:id:{id}"),
            named => match named.target().and_then(|target| Address::new(target, Options::default()).ok()) {
                Some(address) => address.fmt(f),
                None => write!(f, "{}", named.kind()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_printed() {
        let texts = [
            "fifo:/tmp/a%20b",
            "unix:/run/s",
            "unix-dgram:/run/s",
            "unix-seqpacket:/run/s",
            "mq:/jobs",
            "sysv-mq:0x1234",
            "sysv-mq:id:0",
            "posix-shm:/frames",
            "sysv-shm:0xffffffff",
            "sysv-shm:id:32769",
            "sem:/permits",
            "sysv-sem:0x77",
            "sysv-sem:0x80000000",
            "sysv-sem:id:7",
        ];
        for text in texts {
            assert_eq!(Named::parse(text).unwrap().to_string(), text);
            assert!(Named::SCHEMES.contains(&text.split(':').next().unwrap()), "{text}");
        }
        assert_eq!(Named::parse("mq:/jobs?priority=3").unwrap().to_string(), "mq:/jobs");
    }

    #[test]
    fn what_has_no_name_is_refused() {
        for text in ["unix:@abstract", "file:/etc/passwd", "tcp:h:1", "pipe:", "sysv-sem:", "sysv-sem:0", "jobs", ""] {
            assert!(Named::parse(text).is_err(), "{text:?} was taken");
        }
        for text in ["sysv-sem:id:", "sysv-sem:id:-1", "sysv-sem:id:+1", "sysv-sem:x", "sysv-sem:-5"] {
            assert!(Named::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
