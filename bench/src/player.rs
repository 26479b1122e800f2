//! The two ends of every measurement: a source and a sink that cost next to nothing, so that neither is what is
//! measured. They are processes of their own, like the programs they stand for.
//!
//! The source hands out pages of one memory file and copies nothing. The sink lets the kernel throw pages away
//! (`discard`), or reads them into memory as a real consumer would (`read`), or compares every byte (`check`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// The pattern that is sent again and again.
pub(crate) const PATTERN_BYTES: usize = 1 << 20;

/// How much a source that copies writes at once.
const COPIED_BYTES: usize = 256 << 10;

/// How long a source tries to reach a program that is still starting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an end is, if it is not the standard input or output.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct At {
    /// Open this FIFO
    #[arg(long)]
    open: Option<PathBuf>,
    /// Call this Unix socket until it answers
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Call this TCP port until it answers
    #[arg(long)]
    tcp: Option<SocketAddr>,
}

/// Writes a number of bytes and says when it began.
#[derive(Args)]
pub(crate) struct Source {
    /// How many
    #[arg(long)]
    bytes: u64,
    /// Copy them from memory as most programs do, instead of handing out pages
    #[arg(long)]
    copy: bool,
    #[command(flatten)]
    at: At,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fate {
    /// The kernel throws them away; they are never looked at
    Discard,
    /// They are read into memory
    Read,
    /// They are read, and must be what the source sent
    Check,
}

/// Swallows bytes until the end; says how many and when.
#[derive(Args)]
pub(crate) struct Sink {
    /// What becomes of them
    #[arg(long, value_enum)]
    fate: Fate,
    /// Standard input is a listening socket of this sort
    #[arg(long, value_enum)]
    accept: Option<Accept>,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accept {
    Unix,
    Tcp,
}

impl Source {
    /// Writes, then prints the time of the first byte to standard error.
    pub(crate) fn run(self) -> Outcome {
        let to = self.at.open(true)?.map_or_else(|| duplicate(io::stdout().as_fd()), Ok)?;
        let memory = said("make a memory file", memfd_create("pattern", MemfdFlags::CLOEXEC))?;
        let pattern = pattern();
        File::from(duplicate(memory.as_fd())?).write_all(&pattern).map_err(|error| format!("fill memory: {error}"))?;
        let began = now();
        let mut left = self.bytes;
        while left > 0 {
            let mut offset = (self.bytes - left) % PATTERN_BYTES as u64;
            let len = left.min(PATTERN_BYTES as u64 - offset) as usize;
            let answer = if self.copy {
                let start = offset as usize;
                rustix::io::write(&to, &pattern[start..start + len.min(COPIED_BYTES)])
            } else {
                sendfile(&to, &memory, Some(&mut offset), len)
            };
            match answer {
                Ok(0) => return Err("the memory file ended".to_owned()),
                Ok(sent) => left -= sent as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(format!("the source cannot write: {errno}")),
            }
        }
        drop(to);
        eprintln!("{began}");
        Ok(())
    }
}

impl Sink {
    /// Swallows, then prints the number of bytes and the time of the end to standard output.
    pub(crate) fn run(self) -> Outcome {
        let input = duplicate(io::stdin().as_fd())?;
        let from = match self.accept {
            Some(Accept::Unix) => UnixListener::from(input).accept().map(|(stream, _)| OwnedFd::from(stream)),
            Some(Accept::Tcp) => TcpListener::from(input).accept().map(|(stream, _)| OwnedFd::from(stream)),
            None => Ok(self.at.open(false)?.unwrap_or(input)),
        }
        .map_err(|error| format!("the sink cannot accept: {error}"))?;
        let count = match self.fate {
            Fate::Discard => discard(&from),
            Fate::Read => read(from, |_, _| true),
            Fate::Check => {
                let pattern = pattern();
                read(from, |offset, bytes| matches(&pattern, offset, bytes))
            }
        };
        println!("{} {}", count?, now());
        Ok(())
    }
}

fn discard(from: &OwnedFd) -> Outcome<u64> {
    let null = OpenOptions::new().write(true).open("/dev/null").map_err(|error| format!("open /dev/null: {error}"))?;
    let (out, into) = said("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
    // Only our own pipe is widened; the one that is measured stays as its maker left it.
    let _ = fcntl_setpipe_size(&into, PATTERN_BYTES);
    let is_pipe = said("look at the input", rustix::fs::fstat(from))
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo)?;
    let through = |from: &OwnedFd, to: &dyn Fn(&OwnedFd, usize) -> rustix::io::Result<usize>| loop {
        match to(from, PATTERN_BYTES) {
            Err(Errno::INTR) => {}
            other => break said("discard", other),
        }
    };
    let mut count = 0;
    loop {
        let took = if is_pipe {
            through(from, &|from, len| splice(from, None, &null, None, len, SpliceFlags::MOVE))?
        } else {
            let took = through(from, &|from, len| splice(from, None, &into, None, len, SpliceFlags::MOVE))?;
            let mut left = took;
            while left > 0 {
                left -= through(&out, &|out, _| splice(out, None, &null, None, left, SpliceFlags::MOVE))?;
            }
            took
        };
        if took == 0 {
            return Ok(count);
        }
        count += took as u64;
    }
}

fn read(from: OwnedFd, mut good: impl FnMut(u64, &[u8]) -> bool) -> Outcome<u64> {
    let mut file = File::from(from);
    let mut buffer = vec![0; 256 << 10];
    let mut count = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Ok(len) if good(count, &buffer[..len]) => count += len as u64,
            Ok(_) => return Err(format!("other bytes came than were sent, behind byte {count}")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the sink cannot read: {error}")),
        }
    }
}

impl At {
    pub(crate) fn fifo(path: PathBuf) -> Self {
        Self { open: Some(path), ..Self::default() }
    }

    pub(crate) fn unix(path: PathBuf) -> Self {
        Self { unix: Some(path), ..Self::default() }
    }

    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self { tcp: Some(address), ..Self::default() }
    }

    /// As arguments of a player.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let path = |path: &PathBuf| path.display().to_string();
        let pairs = [
            ("--open", self.open.as_ref().map(path)),
            ("--unix", self.unix.as_ref().map(path)),
            ("--tcp", self.tcp.map(|address| address.to_string())),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
    }

    fn open(&self, write: bool) -> Outcome<Option<OwnedFd>> {
        if let Some(path) = &self.open {
            let file = OpenOptions::new().write(write).read(!write).open(path);
            return file.map(|file| Some(file.into())).map_err(|error| format!("open {}: {error}", path.display()));
        }
        if let Some(path) = &self.unix {
            return until_connected(|| UnixStream::connect(path)).map(|stream| Some(stream.into()));
        }
        match self.tcp {
            Some(address) => until_connected(|| TcpStream::connect(address)).map(|stream| Some(stream.into())),
            None => Ok(None),
        }
    }
}

/// Calls a program that is about to listen.
pub(crate) fn until_connected<T>(connect: impl Fn() -> io::Result<T>) -> Outcome<T> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match connect() {
            Ok(stream) => return Ok(stream),
            Err(error) if std::time::Instant::now() > deadline => return Err(format!("nobody listens: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Bytes without a period shorter than themselves, so that lost and doubled pages show.
pub(crate) fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..PATTERN_BYTES / 8).flat_map(|_| next()).collect()
}

/// Whether `bytes` are what the repeated pattern has from `offset`.
pub(crate) fn matches(pattern: &[u8], offset: u64, mut bytes: &[u8]) -> bool {
    let mut at = (offset % pattern.len() as u64) as usize;
    while !bytes.is_empty() {
        let len = bytes.len().min(pattern.len() - at);
        if bytes[..len] != pattern[at..at + len] {
            return false;
        }
        bytes = &bytes[len..];
        at = 0;
    }
    true
}

/// Nanoseconds of the clock that all processes share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> Outcome<OwnedFd> {
    fd.try_clone_to_owned().map_err(|error| format!("duplicate a descriptor: {error}"))
}

fn said<T>(what: &str, answer: rustix::io::Result<T>) -> Outcome<T> {
    answer.map_err(|errno| format!("{what}: {errno}"))
}
