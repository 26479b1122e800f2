//! A machine with much to see: processes of our own that hold pipes, sockets and the rest.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use clap::Args;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, inotify, memfd_create};
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use crate::Outcome;

/// How the descriptors of a process divide: of a hundred, so many are ends of pipes and ends of Unix sockets, and the
/// rest event counters, epoll sets, timers, memory and watches in equal parts.
const PIPES: usize = 52;
const SOCKETS: usize = 36;
/// System V objects of each kind.
const SYSTEM_V: usize = 20;

/// Processes that hold something, until this is dropped or dies.
pub(super) struct Load {
    children: Vec<Child>,
    /// Each child ends when it reads the end of this pipe.
    line: Option<OwnedFd>,
}

impl Load {
    /// Starts so many processes that hold so many descriptors together; System V objects too, if they can do no harm in
    /// this IPC namespace.
    pub(super) fn make(processes: usize, descriptors: usize, system_v: bool) -> Outcome<Self> {
        raise_limit();
        let each = descriptors / processes.max(1);
        let (end, line) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| format!("make a pipe: {errno}"))?;
        let (said, word) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| format!("make a pipe: {errno}"))?;
        let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        let mut load = Self { children: Vec::new(), line: Some(line) };
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| format!("duplicate a descriptor: {error}"));
        for _ in 0..processes {
            let mut command = Command::new(&program);
            command.args(["holder", "--descriptors", &each.to_string()]).stdin(copy(&end)?).stdout(copy(&word)?);
            load.children.push(command.spawn().map_err(|error| format!("start a process: {error}"))?);
        }
        drop((end, word));
        // One byte from each, or the end if all have failed.
        let mut ready = 0;
        let mut said = fs::File::from(said);
        let mut buffer = [0; 512];
        while ready < processes {
            match said.read(&mut buffer) {
                Ok(0) | Err(_) => return Err(format!("only {ready} of {processes} processes could be started")),
                Ok(count) => ready += count,
            }
        }
        if system_v {
            for (flag, size) in [("-M", "65536"), ("-S", "4"), ("-Q", "")] {
                for _ in 0..SYSTEM_V {
                    let arguments = [flag, size].into_iter().filter(|word| !word.is_empty());
                    let made = Command::new("ipcmk").args(arguments).stdout(Stdio::null()).status();
                    if !made.is_ok_and(|status| status.success()) {
                        eprintln!("ipcmk {flag} failed: fewer System V objects");
                    }
                }
            }
        } else {
            eprintln!("no IPC namespace of our own can be had: no System V objects");
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.line = None;
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One process of the load.
#[derive(Args)]
pub(crate) struct Holder {
    /// How many descriptors to hold
    #[arg(long)]
    descriptors: usize,
}

impl Holder {
    pub(crate) fn run(&self) -> Outcome {
        raise_limit();
        let held = self.hold().map_err(|error| format!("hold descriptors: {error}"))?;
        let mut out = std::io::stdout();
        out.write_all(b".").and_then(|()| out.flush()).map_err(|error| format!("say that it is done: {error}"))?;
        // Until whoever started us closes the pipe, if only by dying.
        let _ = std::io::stdin().read(&mut [0]);
        drop(held);
        Ok(())
    }

    fn hold(&self) -> std::io::Result<Vec<OwnedFd>> {
        // Standard input, output and error are there already.
        let wanted = self.descriptors.saturating_sub(3);
        let mut held: Vec<OwnedFd> = Vec::with_capacity(wanted);
        while held.len() < wanted * PIPES / 100 {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            if held.len().is_multiple_of(10) {
                write(&writer, &[0; 100])?;
            }
            held.extend([reader, writer]);
        }
        while held.len() < wanted * (PIPES + SOCKETS) / 100 {
            let (one, other) = UnixStream::pair()?;
            held.extend([one.into(), other.into()]);
        }
        let mut kind = 0;
        while held.len() < wanted {
            held.push(match kind % 5 {
                0 => eventfd(7, EventfdFlags::CLOEXEC)?,
                1 => {
                    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                    for (number, watched) in (0_u64..).zip(held.iter().take(4)) {
                        epoll::add(&set, watched, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
                    }
                    set
                }
                2 => {
                    let memory = memfd_create(c"load", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
                    ftruncate(&memory, 4096)?;
                    memory
                }
                3 => timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?,
                // A user may have few of these; without one, another counter does as well.
                _ => inotify::init(inotify::CreateFlags::CLOEXEC).or_else(|_| eventfd(0, EventfdFlags::CLOEXEC))?,
            });
            kind += 1;
        }
        Ok(held)
    }
}

/// What there is to see on the whole machine.
pub(super) struct Seen {
    processes: usize,
    descriptors: usize,
    pipes: usize,
    sockets: usize,
}

/// Counts, without any of the programs that are compared.
pub(super) fn count_all() -> Seen {
    let mut seen = Seen { processes: 0, descriptors: 0, pipes: 0, sockets: 0 };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if process.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        seen.processes += 1;
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            seen.descriptors += 1;
            let link = fs::read_link(descriptor.path()).unwrap_or_default();
            let link = link.to_string_lossy();
            seen.pipes += usize::from(link.starts_with("pipe:"));
            seen.sockets += usize::from(link.starts_with("socket:"));
        }
    }
    seen
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, descriptors, pipes, sockets } = self;
        write!(f, "{processes} processes with {descriptors} descriptors, {pipes} of pipes and {sockets} of sockets")
    }
}

/// The soft limit is for programs that use `select`; this is none.
fn raise_limit() {
    let there = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: there.maximum, maximum: there.maximum });
}
