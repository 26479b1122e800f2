//! One run: ends are made, source, program and sink are started between them, time and processor time are taken.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::Outcome;
use crate::child::Running;
use crate::path::{Path, Place};
use crate::placement::Processors;
use crate::player::{At, Fate, PATTERN_BYTES, matches, now, pattern};
use crate::program::{Attach, Location, Program};

/// How long one run may take. A program that hangs is an error, not a wait without end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much lies in memory at most, as input and again as output.
const FILE_MAX_BYTES: u64 = 2 << 30;
const STREAM_MAX_BYTES: u64 = 32 << 30;
const FIRST_BYTES: u64 = 128 << 20;
/// Not a multiple of anything, so that ends that are cut off show.
const CHECK_BYTES: u64 = (9 << 20) + 12_345;

pub(super) struct Bench {
    tieline: PathBuf,
    folder: TempDir,
    /// The input as POSIX shared memory, removed with this.
    shared: tempfile::TempPath,
    processors: Processors,
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    bytes: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Sample {
    /// Gigabytes (10⁹) a second.
    pub(super) fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e9
    }

    /// Seconds of processor time of the program alone.
    pub(super) fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu_seconds * 1e9 / self.bytes as f64
    }
}

/// The open ends of a run.
#[derive(Default)]
struct Ends {
    program_input: Option<OwnedFd>,
    program_output: Option<OwnedFd>,
    source: Option<(Option<OwnedFd>, At)>,
    sink: Option<(Option<OwnedFd>, At, Option<&'static str>)>,
}

impl Bench {
    pub(super) fn new(tieline: &FilePath, folder: &FilePath, processors: Processors) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("tieline-bench-").tempdir_in(folder);
        let folder = folder.map_err(|error| format!("make a folder: {error}"))?;
        let shared = tempfile::Builder::new().prefix("tieline-bench-").tempfile_in("/dev/shm");
        let shared = shared.map_err(|error| format!("make shared memory: {error}"))?.into_temp_path();
        Ok(Self { tieline: tieline.to_owned(), folder, shared, processors })
    }

    pub(super) fn tieline(&self) -> &FilePath {
        &self.tieline
    }

    /// The program moves every byte, in order.
    pub(super) fn check(&self, path: Path, program: Program) -> Outcome {
        self.play(path, program, CHECK_BYTES, Fate::Check).map(drop)
    }

    /// How many bytes make a run as long as wanted.
    pub(super) fn calibrate(&self, path: Path, program: Program, fate: Fate, seconds: f64) -> Outcome<u64> {
        let most = if path.is_prepared() || path.to == Place::File { FILE_MAX_BYTES } else { STREAM_MAX_BYTES };
        let mut bytes = FIRST_BYTES;
        loop {
            let took = self.play(path, program, bytes, fate)?.seconds;
            if took >= seconds || bytes >= most {
                return Ok(bytes);
            }
            let factor = (seconds * 1.25 / took).clamp(1.25, 16.0);
            bytes = ((bytes as f64 * factor) as u64).next_multiple_of(PATTERN_BYTES as u64).min(most);
        }
    }

    pub(super) fn run(&self, path: Path, program: Program, bytes: u64, fate: Fate) -> Outcome<Sample> {
        self.play(path, program, bytes, fate).map_err(|reason| format!("{path}, {program}: {reason}"))
    }

    fn play(&self, path: Path, program: Program, bytes: u64, fate: Fate) -> Outcome<Sample> {
        if program == Program::Bare {
            return self.play_bare(path, bytes, fate);
        }
        let (from, to) = (self.location(path.from, "in")?, self.location(path.to, "out")?);
        let line = program.line(&from, &to, &self.tieline).ok_or("it does not fit this path")?;
        let mut ends = Ends::default();
        self.prepare_input(&mut ends, &from, line.input, bytes)?;
        prepare_output(&mut ends, &to, line.output)?;

        self.processors.for_ends()?;
        let sink = match ends.sink.take() {
            None => None,
            Some((input, at, accept)) => Some(start_sink(input, &at, accept, fate)?),
        };
        // Opening a FIFO waits for the other side, which has just been started.
        if to.place == Place::Fifo && line.output == Attach::Standard {
            ends.program_output = Some(opened(OpenOptions::new().write(true), &to.path)?);
        }
        let source_first = from.place == Place::Fifo && line.input == Attach::Standard;
        let start_source_of = |ends: &mut Ends| -> Outcome<Option<Running>> {
            let Some((output, at)) = ends.source.take() else { return Ok(None) };
            start_source(output, &at, bytes, false).map(Some)
        };
        let mut source = None;
        if source_first {
            source = start_source_of(&mut ends)?;
            ends.program_input = Some(opened(OpenOptions::new().read(true), &from.path)?);
        }

        self.processors.for_program()?;
        let mut began = now();
        let mut command = Command::new(&line.program);
        command.args(&line.arguments).stderr(Stdio::piped());
        command.stdin(standard(ends.program_input.take())).stdout(standard(ends.program_output.take()));
        let mut moved = Running::start(&mut command)?;
        self.processors.for_ends()?;
        if !source_first {
            source = start_source_of(&mut ends)?;
        }

        if let Some(mut source) = source {
            let answer = source.wait(PATIENCE);
            let said = source.complaints();
            began = match answer {
                Ok(ended) if ended.status.success() => said.parse().map_err(|_| format!("the source said {said:?}"))?,
                other => {
                    moved.stop();
                    let why = other.err().unwrap_or(said);
                    return Err(format!("the source failed: {why}; the program said: {}", moved.complaints()));
                }
            };
        }
        let cost = moved.wait(PATIENCE)?;
        if !cost.status.success() {
            return Err(format!("it failed ({}): {}", cost.status, moved.complaints()));
        }
        let ended = match sink {
            Some(sink) => finish(sink, bytes)?,
            None => now(),
        };
        if to.place == Place::File {
            check_file(&to.path, bytes, fate == Fate::Check)?;
        }
        let seconds = ended.saturating_sub(began) as f64 / 1e9;
        Ok(Sample { bytes, seconds, cpu_seconds: cost.cpu_seconds })
    }

    /// The same without a program: the bound of what any of them can reach.
    fn play_bare(&self, path: Path, bytes: u64, fate: Fate) -> Outcome<Sample> {
        let place = path.bare().ok_or("there is no way without a program")?;
        self.processors.for_ends()?;
        let (began, ended): (u64, u64);
        if path.is_prepared() {
            let from = self.location(place, "in")?;
            fill(&from.path, bytes)?;
            let input = opened(OpenOptions::new().read(true), &from.path)?;
            began = now();
            ended = finish(start_sink(Some(input), &At::default(), None, fate)?, bytes)?;
        } else {
            let (into, out) =
                if place == Place::Pipe { pipe().map(|(out, into)| (into, out)) } else { connection(place) }?;
            // Pages that are moved into a TCP connection within the host cost more than bytes that are copied.
            let copy = path.to == Place::Tcp && path.from != Place::Tcp;
            let sink = start_sink(Some(out), &At::default(), None, fate)?;
            let mut source = start_source(Some(into), &At::default(), bytes, copy)?;
            source.wait(PATIENCE)?;
            let said = source.complaints();
            began = said.parse().map_err(|_| format!("the source said {said:?}"))?;
            ended = finish(sink, bytes)?;
        }
        Ok(Sample { bytes, seconds: ended.saturating_sub(began) as f64 / 1e9, cpu_seconds: 0.0 })
    }

    /// A fresh name or port, which nobody uses yet.
    fn location(&self, place: Place, role: &str) -> Outcome<Location> {
        let path = match place {
            Place::PosixShm => self.shared.to_path_buf(),
            _ => self.folder.path().join(format!("{place}-{role}")),
        };
        if matches!(place, Place::Fifo | Place::Unix) || (place == Place::File && role == "out") {
            let _ = fs::remove_file(&path);
        }
        if place == Place::Fifo {
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|errno| format!("make a FIFO: {errno}"))?;
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        Ok(Location { place, path, tcp: free.map_err(|error| format!("find a free port: {error}"))? })
    }

    fn prepare_input(&self, ends: &mut Ends, from: &Location, attach: Attach, bytes: u64) -> Outcome {
        match (from.place, attach) {
            (Place::File | Place::PosixShm, _) => {
                fill(&from.path, bytes)?;
                if attach == Attach::Standard {
                    ends.program_input = Some(opened(OpenOptions::new().read(true), &from.path)?);
                }
            }
            (Place::Pipe, _) => {
                let (read, write) = pipe()?;
                ends.program_input = Some(read);
                ends.source = Some((Some(write), At::default()));
            }
            (Place::Fifo, _) => ends.source = Some((None, At::fifo(from.path.clone()))),
            (Place::Unix, Attach::Named) => ends.source = Some((None, At::unix(from.path.clone()))),
            (Place::Tcp, Attach::Named) => ends.source = Some((None, At::tcp(from.tcp))),
            (Place::Unix | Place::Tcp, Attach::Standard) => {
                let (near, far) = connection(from.place)?;
                ends.program_input = Some(near);
                ends.source = Some((Some(far), At::default()));
            }
        }
        Ok(())
    }
}

fn prepare_output(ends: &mut Ends, to: &Location, attach: Attach) -> Outcome {
    match (to.place, attach) {
        (Place::File | Place::PosixShm, _) => {
            ends.program_output = Some(opened(OpenOptions::new().write(true).create(true).truncate(true), &to.path)?);
        }
        (Place::Pipe, _) => {
            let (read, write) = pipe()?;
            ends.program_output = Some(write);
            ends.sink = Some((Some(read), At::default(), None));
        }
        (Place::Fifo, _) => ends.sink = Some((None, At::fifo(to.path.clone()), None)),
        (Place::Unix, Attach::Named) => {
            let listener = UnixListener::bind(&to.path).map_err(|error| format!("listen: {error}"))?;
            ends.sink = Some((Some(listener.into()), At::default(), Some("unix")));
        }
        (Place::Tcp, Attach::Named) => {
            let listener = listen_at(to.tcp)?;
            ends.sink = Some((Some(listener.into()), At::default(), Some("tcp")));
        }
        (Place::Unix | Place::Tcp, Attach::Standard) => {
            let (near, far) = connection(to.place)?;
            ends.program_output = Some(near);
            ends.sink = Some((Some(far), At::default(), None));
        }
    }
    Ok(())
}

/// Starts a process that swallows what comes from `input` or is found where `at` says.
fn start_sink(input: Option<OwnedFd>, at: &At, accept: Option<&'static str>, fate: Fate) -> Outcome<Running> {
    let mut command = Command::new(myself()?);
    command.args(["sink", "--fate", fate_name(fate)]).args(at.arguments());
    command.args(accept.into_iter().flat_map(|sort| ["--accept", sort]));
    Running::start(command.stdin(standard(input)).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Starts a process that writes `bytes` bytes into `output` or where `at` says.
fn start_source(output: Option<OwnedFd>, at: &At, bytes: u64, copy: bool) -> Outcome<Running> {
    let mut command = Command::new(myself()?);
    command.args(["source", "--bytes", &bytes.to_string()]).args(copy.then_some("--copy")).args(at.arguments());
    Running::start(command.stdin(Stdio::null()).stdout(standard(output)).stderr(Stdio::piped()))
}

fn myself() -> Outcome<PathBuf> {
    std::env::current_exe().map_err(|error| format!("find myself: {error}"))
}

/// Reads the sink's report: everything came, and when. The program has ended, so the sink is about to.
fn finish(mut sink: Running, bytes: u64) -> Outcome<u64> {
    sink.wait(PATIENCE)?;
    let report = sink.output();
    let numbers: Vec<u64> = report.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [count, time] if count == bytes => Ok(time),
        [count, _] => Err(format!("{count} bytes of {bytes} arrived")),
        _ => Err(format!("the sink failed: {}", sink.complaints())),
    }
}

fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Discard => "discard",
        Fate::Read => "read",
        Fate::Check => "check",
    }
}

fn standard(fd: Option<OwnedFd>) -> Stdio {
    fd.map_or_else(Stdio::null, Stdio::from)
}

fn opened(options: &OpenOptions, path: &FilePath) -> Outcome<OwnedFd> {
    options.open(path).map(OwnedFd::from).map_err(|error| format!("open {}: {error}", path.display()))
}

fn pipe() -> Outcome<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| format!("make a pipe: {errno}"))
}

fn connection(place: Place) -> Outcome<(OwnedFd, OwnedFd)> {
    let pair = || -> std::io::Result<(OwnedFd, OwnedFd)> {
        if place == Place::Unix {
            let (near, far) = UnixStream::pair()?;
            return Ok((near.into(), far.into()));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        Ok((near.into(), listener.accept()?.0.into()))
    };
    pair().map_err(|error| format!("make a connection: {error}"))
}

fn listen_at(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address).map_err(|error| format!("listen on {address}: {error}"))
}

/// Makes the input file, unless it is there from the last run.
fn fill(path: &FilePath, bytes: u64) -> Outcome {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes) {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let pattern = pattern();
        let mut left = bytes;
        while left > 0 {
            let len = left.min(PATTERN_BYTES as u64);
            file.write_all(&pattern[..len as usize])?;
            left -= len;
        }
        Ok(())
    };
    write().map_err(|error| format!("write {}: {error}", path.display()))
}

/// The output file is complete, and if asked for, right.
fn check_file(path: &FilePath, bytes: u64, every_byte: bool) -> Outcome {
    let mut file = File::open(path).map_err(|error| format!("open the output: {error}"))?;
    let len = file.metadata().map_err(|error| format!("look at the output: {error}"))?.len();
    if len != bytes {
        return Err(format!("the output file has {len} bytes, not {bytes}"));
    }
    if every_byte {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| format!("read the output: {error}"))?;
        if !matches(&pattern(), 0, &content) {
            return Err("the output file has other bytes than the input".to_owned());
        }
    }
    fs::remove_file(path).map_err(|error| format!("remove the output: {error}"))
}
