//! Keepers in Rust: the test program itself, re-executed in the role of a keeper.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSlice, Read, Write, pipe};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};

use crate::peer::{MARK, ROLE};

const KEEPER: &str = "keeper of the zoo";
const WORDS: [&str; 3] = ["ZOO_SPECIES", "ZOO_DIRECTORY", "ZOO_PREFIX"];
const SEED: &str = "ZOO_SEED";

/// What can be kept, and how it is made. What is given back is kept until the end.
pub(super) const SPECIES: &[(&str, Make)] = &[
    ("descriptors", descriptors),
    ("forks", forks),
    ("pidfd", process_descriptor),
    ("sent-descriptor", sent_descriptor),
    ("threads", threads),
];

/// How many descriptors the process with many has.
const MANY: usize = 5_000;

/// What a keeper keeps until its end.
type Kept = Box<dyn std::any::Any>;
type Make = fn(&Keeper) -> Kept;

/// The test program as a keeper, without its words.
pub(super) fn keeper(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test program has a path"));
    command.args([test, "--exact", "--nocapture", "--include-ignored"]).env(ROLE, KEEPER);
    command
}

/// Gives the keeper its words.
pub(super) fn tell(command: &mut Command, words: [&OsStr; 3], seed: u32) {
    command.envs(WORDS.into_iter().zip(words)).env(SEED, seed.to_string());
}

/// If this process was started as a keeper of the zoo, keeps until told to end, and returns true: the test then returns
/// at once. A test that uses the zoo begins with it.
///
/// # Panics
/// If the keeper cannot make what it was asked for.
#[must_use]
pub fn keep_if_told() -> bool {
    if std::env::var(ROLE).is_ok_and(|role| role == KEEPER) {
        Keeper::new().keep();
        return true;
    }
    false
}

/// A keeper at work.
#[derive(Debug)]
pub(super) struct Keeper {
    species: String,
    seed: u32,
}

impl Keeper {
    fn new() -> Self {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).expect("the parent sets a number");
        let species = std::env::var(WORDS[0]).expect("the parent sets a word");
        Self { species, seed }
    }

    fn keep(&self) {
        set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
        let species = SPECIES.iter().find(|(name, _)| *name == self.species);
        let (_, make) = species.unwrap_or_else(|| panic!("no species {}", self.species));
        let _kept = make(self);
        say("ready");
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
    }
}

fn say(line: &str) {
    // The newline first ends a line of the test runner's.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

fn object(label: &str, kind: &str, fd: impl AsFd, facts: &[(&str, String)]) {
    let status = File::from(fd.as_fd().try_clone_to_owned().expect("room for a descriptor")).metadata();
    let status = status.expect("an open file has a status");
    let facts: String = facts.iter().map(|(key, value)| format!("\t{key}={value}")).collect();
    say(&format!("object\t{label}\t{kind}\tdevice={}\tinode={}{facts}", status.dev(), status.ino()));
}

fn hold(label: &str, fd: &impl AsRawFd, access: &str) {
    hold_of(std::process::id(), label, fd.as_raw_fd(), access);
}

fn hold_of(pid: u32, label: &str, fd: i32, access: &str) {
    say(&format!("hold\t{label}\t{pid}\tfd\t{fd}\t{access}"));
}

fn used(bytes: usize) -> Vec<(&'static str, String)> {
    vec![("used", bytes.to_string()), ("unit", "bytes".to_owned())]
}

/// Threads share their descriptors: each end has one holder, the process, however many threads use it.
fn threads(keeper: &Keeper) -> Kept {
    let (reader, mut writer) = pipe().expect("a pipe");
    let bytes = keeper.seed as usize % 4096;
    writer.write_all(&vec![0; bytes]).expect("it fits");
    for _ in 0..3 {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    object("pipe", "pipe", &reader, &used(bytes));
    hold("pipe", &reader, "r");
    hold("pipe", &writer, "w");
    Box::new((reader, writer))
}

/// A pipe whose reading end lies in a socket's queue: sent, not received, in nobody's table.
fn sent_descriptor(_: &Keeper) -> Kept {
    let (reader, writer) = pipe().expect("a pipe");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    {
        let fds = [reader.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&ours, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("it fits");
    }
    // The writer has somebody to write to, though nobody holds that end.
    let mut facts = used(0);
    facts.push(("ends", "2".to_owned()));
    object("pipe", "pipe", &writer, &facts);
    hold("pipe", &writer, "w");
    drop(reader);
    object("ours", "unix", &ours, &[("queued", "0".to_owned())]);
    hold("ours", &ours, "rw");
    object("theirs", "unix", &theirs, &[("queued", "1".to_owned()), ("in-flight", "1".to_owned())]);
    hold("theirs", &theirs, "rw");
    say("link\tours\ttheirs\tpeer");
    Box::new((writer, ours, theirs))
}

/// A descriptor of a process, which is this one.
fn process_descriptor(_: &Keeper) -> Kept {
    let own = std::process::id();
    let pid = own.try_into().ok().and_then(Pid::from_raw).expect("a process id");
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).expect("this process is there");
    say(&format!("object\tprocess\tpidfd\ttarget={own}"));
    hold("process", &descriptor, "rw");
    Box::new(descriptor)
}

/// A process with many descriptors: many of one pipe, and a few of others.
fn descriptors(keeper: &Keeper) -> Kept {
    let (reader, writer) = pipe().expect("a pipe");
    object("pipe", "pipe", &reader, &used(0));
    hold("pipe", &writer, "w");
    let room = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let mut raised = room;
    raised.current = room.maximum;
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let mut readers: Vec<OwnedFd> = vec![reader.into()];
    let most = MANY + keeper.seed as usize % 100;
    while readers.len() < most {
        // As many as the limit of this machine lets us have.
        let Ok(another) = readers[0].try_clone() else { break };
        readers.push(another);
    }
    for reader in &readers {
        hold("pipe", reader, "r");
    }
    Box::new((readers, writer))
}

/// A process that starts others all the time, which end at once, beside a pipe that none of them ever has.
fn forks(_: &Keeper) -> Kept {
    // The shell is ended with the keeper's group, at the latest.
    let mut restless = Command::new("sh");
    restless.args(["-c", "while kill -0 $PPID; do /bin/true; done"]).stdin(Stdio::null()).stdout(Stdio::null());
    let restless = restless.spawn().expect("a shell");
    let (reader, writer) = pipe().expect("a pipe");
    object("pipe", "pipe", &writer, &used(0));
    hold("pipe", &reader, "r");
    hold("pipe", &writer, "w");
    Box::new((reader, writer, restless))
}
