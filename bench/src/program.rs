//! The programs that are compared, and the command line a user would type for each path.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};

use clap::ValueEnum;

use crate::path::{Path, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Tieline,
    Cat,
    Socat,
    /// Socat with blocks of 1 MiB instead of 8 KiB
    SocatWide,
    Nc,
    Pv,
    /// No program: the sink reads what the source writes, which is as fast as any program could be
    Bare,
}

/// How a program gets at one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// As its standard input or output, opened for it
    Standard,
    /// By a name on its command line
    Named,
}

/// Where one end is.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) place: Place,
    /// Of everything that has a name in the file system.
    pub(crate) path: PathBuf,
    pub(crate) tcp: SocketAddr,
}

/// A command line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<String>,
    pub(crate) input: Attach,
    pub(crate) output: Attach,
}

impl Program {
    /// The command for a path, or `None` if nobody would use this program for it.
    pub(crate) fn line(self, from: &Location, to: &Location, tieline: &FilePath) -> Option<Line> {
        let (arguments, input, output) = match self {
            Self::Tieline => tieline_arguments(from, to)?,
            Self::Cat => (vec![], Attach::Standard, Attach::Standard),
            Self::Socat => socat_arguments(from, to, &[])?,
            Self::SocatWide => socat_arguments(from, to, &["-b", "1048576"])?,
            Self::Nc => nc_arguments(from, to)?,
            Self::Pv => pv_arguments(from, to)?,
            Self::Bare => return None,
        };
        let program = match self {
            Self::Tieline => tieline.into(),
            Self::Cat => "cat".into(),
            Self::Socat | Self::SocatWide => "socat".into(),
            Self::Nc => "nc".into(),
            Self::Pv => "pv".into(),
            Self::Bare => return None,
        };
        Some(Line { program, arguments, input, output })
    }

    /// Whether this machine has it.
    pub(crate) fn is_here(self, tieline: &FilePath) -> bool {
        let name = match self {
            Self::Tieline => return tieline.exists(),
            Self::Bare => return true,
            Self::SocatWide => "socat".to_owned(),
            other => other.to_string(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(&name).exists())
    }

    /// Whether the goal is measured against it. The others are there to see how far there is to go.
    pub(crate) fn is_goal(self) -> bool {
        matches!(self, Self::Cat | Self::Socat)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tieline => "tieline",
            Self::Cat => "cat",
            Self::Socat => "socat",
            Self::SocatWide => "socat -b 1M",
            Self::Nc => "nc",
            Self::Pv => "pv",
            Self::Bare => "nothing",
        })
    }
}

type Arguments = (Vec<String>, Attach, Attach);

fn tieline_arguments(from: &Location, to: &Location) -> Option<Arguments> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Some(match (from.place, to.place) {
        (Place::Pipe, Place::Pipe | Place::File) => {
            (words(&["connect", "--one-way", "fd:0", "fd:1"]), Attach::Standard, Attach::Standard)
        }
        (Place::File | Place::Pipe, _) if to.place != Place::Pipe && to.place != Place::File => {
            (words(&["send", &to.address()]), Attach::Standard, Attach::Named)
        }
        (_, Place::Pipe | Place::File) => (words(&["recv", &from.address()]), Attach::Named, Attach::Standard),
        (Place::Unix | Place::Tcp, _) => {
            let listen = format!("{}?listen=yes", from.address());
            (words(&["connect", &listen, &to.address()]), Attach::Named, Attach::Named)
        }
        _ => (words(&["connect", &from.address(), &to.address()]), Attach::Named, Attach::Named),
    })
}

fn socat_arguments(from: &Location, to: &Location, extra: &[&str]) -> Option<Arguments> {
    let (path, port) = (from.path.display(), from.tcp.port());
    let (left, input) = match from.place {
        Place::Pipe => ("STDIN".to_owned(), Attach::Standard),
        Place::File | Place::PosixShm | Place::Fifo => (format!("OPEN:{path},rdonly"), Attach::Named),
        Place::Unix => (format!("UNIX-LISTEN:{path}"), Attach::Named),
        Place::Tcp => (format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"), Attach::Named),
    };
    let path = to.path.display();
    let (right, output) = match to.place {
        Place::Pipe | Place::File => ("STDOUT".to_owned(), Attach::Standard),
        Place::Fifo => (format!("OPEN:{path},wronly"), Attach::Named),
        Place::Unix => (format!("UNIX-CONNECT:{path}"), Attach::Named),
        Place::Tcp => (format!("TCP:{}", to.tcp), Attach::Named),
        Place::PosixShm => return None,
    };
    let both_ways = matches!(from.place, Place::Unix | Place::Tcp) && matches!(to.place, Place::Unix | Place::Tcp);
    let mut arguments: Vec<String> = extra.iter().map(|word| (*word).to_owned()).collect();
    arguments.extend((!both_ways).then(|| "-u".to_owned()));
    arguments.extend([left, right]);
    Some((arguments, input, output))
}

fn nc_arguments(from: &Location, to: &Location) -> Option<Arguments> {
    let line = |words: &[&str], location: &Location| {
        let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match location.place {
            Place::Unix => arguments.extend(["-U".to_owned(), location.path.display().to_string()]),
            _ => arguments.extend([location.tcp.ip().to_string(), location.tcp.port().to_string()]),
        }
        arguments
    };
    match (from.place, to.place) {
        (Place::File | Place::Pipe, Place::Unix | Place::Tcp) => {
            Some((line(&["-N"], to), Attach::Standard, Attach::Named))
        }
        (Place::Unix | Place::Tcp, Place::File | Place::Pipe) => {
            Some((line(&["-d", "-l"], from), Attach::Named, Attach::Standard))
        }
        _ => None,
    }
}

fn pv_arguments(from: &Location, to: &Location) -> Option<Arguments> {
    let fits = matches!(from.place, Place::File | Place::PosixShm | Place::Pipe)
        && matches!(to.place, Place::Pipe | Place::File | Place::Fifo);
    fits.then(|| (vec!["-q".to_owned()], Attach::Standard, Attach::Standard))
}

impl Location {
    /// As a tieline address.
    fn address(&self) -> String {
        let path = self.path.display();
        match self.place {
            Place::File => format!("file:{path}"),
            Place::PosixShm => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy();
                format!("posix-shm:/{name}")
            }
            Place::Pipe => "stdio:".to_owned(),
            Place::Fifo => format!("fifo:{path}"),
            Place::Unix => format!("unix:{path}"),
            Place::Tcp => format!("tcp:{}", self.tcp),
        }
    }
}

impl Path {
    /// The programs somebody might use for it, apart from ours.
    pub(crate) fn rivals(self) -> Vec<Program> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let at = |place| Location { place, path: "/x".into(), tcp: nowhere };
        let (from, to) = (at(self.from), at(self.to));
        let all = Program::value_variants().iter().copied();
        let fits = |program: &Program| match program {
            Program::Bare => self.bare().is_some(),
            program => program.line(&from, &to, FilePath::new("tieline")).is_some(),
        };
        all.filter(fits).collect()
    }
}
