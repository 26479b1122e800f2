//! The paths that are measured: where the bytes come from, where they go, and what the goal is.

use std::fmt;

/// One end of a program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File,
    PosixShm,
    Pipe,
    Fifo,
    Unix,
    Tcp,
}

/// From one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) from: Place,
    pub(crate) to: Place,
}

/// In the order of the report.
pub(crate) const PATHS: &[Path] = &[
    Path::new(Place::File, Place::Pipe),
    Path::new(Place::Pipe, Place::Pipe),
    Path::new(Place::Pipe, Place::File),
    Path::new(Place::File, Place::File),
    Path::new(Place::File, Place::Unix),
    Path::new(Place::Pipe, Place::Unix),
    Path::new(Place::Unix, Place::Pipe),
    Path::new(Place::Unix, Place::File),
    Path::new(Place::Pipe, Place::Tcp),
    Path::new(Place::Tcp, Place::Pipe),
    Path::new(Place::Pipe, Place::Fifo),
    Path::new(Place::Fifo, Place::Pipe),
    Path::new(Place::PosixShm, Place::Pipe),
    Path::new(Place::Tcp, Place::Unix),
    Path::new(Place::Unix, Place::Tcp),
    Path::new(Place::Unix, Place::Unix),
    Path::new(Place::Fifo, Place::Unix),
];

impl Path {
    const fn new(from: Place, to: Place) -> Self {
        Self { from, to }
    }

    /// How many times the speed of a program that copies is asked for. Into a file the kernel itself must copy, so
    /// there is nothing to be won by splicing.
    pub(crate) fn goal(self) -> f64 {
        if self.to == Place::File { 1.0 } else { 2.0 }
    }

    /// Whether all of the input lies there before the program starts.
    pub(crate) fn is_prepared(self) -> bool {
        matches!(self.from, Place::File | Place::PosixShm)
    }

    /// Where the sink would read from if there were no program: of the two places the one that costs more, since a
    /// program must deal with both. `None` into a file, which only a program can write.
    pub(crate) fn bare(self) -> Option<Place> {
        let has = |place| self.from == place || self.to == place;
        match self.from {
            _ if self.to == Place::File => None,
            Place::File | Place::PosixShm => Some(self.from),
            _ => [Place::Tcp, Place::Unix].into_iter().find(|place| has(*place)).or(Some(Place::Pipe)),
        }
    }

    /// Whether the program joins two sockets, or something to a socket it must serve.
    pub(crate) fn is_relay(self) -> bool {
        matches!(self.from, Place::Unix | Place::Tcp | Place::Fifo) && matches!(self.to, Place::Unix | Place::Tcp)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relay = if self.is_relay() { "relay " } else { "" };
        write!(f, "{relay}{}→{}", self.from, self.to)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::PosixShm => "posix-shm",
            Self::Pipe => "pipe",
            Self::Fifo => "fifo",
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        })
    }
}
