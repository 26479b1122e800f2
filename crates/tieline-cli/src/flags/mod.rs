//! Every flag, once. Parser, `--help`, manual pages and completions are all made from these files.

mod bench;
mod compat;
mod objects;
mod seeing;
mod topics;
mod transfer;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tieline_transport::addr::Key as AddressKey;

pub(crate) use self::bench::{Bench, BenchOs, BenchShm, BenchSubject, Place};
pub(crate) use self::compat::{Ipcmk, Ipcrm, Ipcs, Lsipc};
pub(crate) use self::objects::{Mk, MkObject, Rm, Sem, SemAction, Signal, SocketType};
pub(crate) use self::seeing::{Clean, Leaks, Limits, Locks, Ls, Who};
pub(crate) use self::topics::{
    Listening, MessageForm, Presence, Pub, Record, Replay, Slow, Speed, Start, Sub, TopicOffer,
};
pub(crate) use self::transfer::{Connect, Recv, Send, Transfer, When};
use crate::transfer::openable;

/// The direct line between any two processes
///
/// Sees, makes, feeds, joins and measures every inter-process communication mechanism of this machine, with programs
/// made by anyone at the other end.
#[derive(Parser)]
#[command(name = "tieline", version, propagate_version = true, max_term_width = 100)]
#[command(after_long_help = addresses_and_codes())]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What stands below the flags: how to write addresses, and what the exit codes mean.
fn addresses_and_codes() -> String {
    format!("{ADDRESSES}\n\nOptions of addresses:\n{}\n\nOptions by scheme:\n{}\n\n{CODES}", options(), by_scheme())
}

const ADDRESSES: &str = "\
Addresses:
  -  stdio:  fd:N  fd:N,M            standard input and output, inherited descriptors
  fifo:/path                         a FIFO
  unix:/path  unix:@name             a Unix stream socket, by path or abstract name
  unix-dgram:…  unix-seqpacket:…     the two other types
  tcp:HOST:PORT  udp:HOST:PORT       the network, and loopback
  vsock:CID:PORT                     between a virtual machine and its host
  mq:/name                           a POSIX message queue
  sysv-mq:KEY  sysv-mq:id:N          a System V message queue
  posix-shm:/name                    POSIX shared memory
  sysv-shm:KEY  sysv-shm:id:N        System V shared memory
  shm:NAME  shm:/path/NAME           a queue or stream in shared memory; pub and sub: a topic, latest
                                     value or events; record and replay: a topic
  file:/path                         a file
  exec:COMMAND                       the standard input and output of a shell command

Options stand behind a question mark, joined by &, as in 'mq:/jobs?priority=3&timeout=5s'; quote
them for the shell. A socket address with listen=yes waits for the other side instead of calling it.";

const CODES: &str = "\
Exit codes:
  0      done
  1      refused by the system
  2      wrong usage
  3      no such object
  4      not permitted
  5      exists already
  6      would have to wait, and was told not to
  7      the deadline passed
  8      nobody is at the other end, or nobody any more
  9      a limit is reached, or a message is too large
  10     not supported here
  141    standard output was closed by who read it
  128+N  ended by signal N";

/// Every option with an example and its meaning.
fn options() -> String {
    let line = |key: AddressKey| format!("  {:<24}  {}", format!("{key}={}", key.example()), key.summary());
    AddressKey::ALL.map(line).join("\n")
}

/// Which options each scheme takes that the verbs can open; those that take the same share a line.
fn by_scheme() -> String {
    let mut rows: Vec<(String, &[AddressKey])> = Vec::new();
    for scheme in openable() {
        match rows.iter_mut().find(|(_, options)| *options == scheme.options()) {
            Some((schemes, _)) => *schemes += &format!("  {scheme}:"),
            None => rows.push((format!("{scheme}:"), scheme.options())),
        }
    }
    let line = |(schemes, options): &(String, &[AddressKey])| {
        let names: Vec<&str> = options.iter().map(|key| key.name()).collect();
        let names = if names.is_empty() { "none: all of it is the command".to_owned() } else { names.join(", ") };
        format!("  {schemes:<32}{names}")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    Bench(Bench),
    Clean(Clean),
    Completions(Completions),
    Connect(Connect),
    Ipcmk(Ipcmk),
    Ipcrm(Ipcrm),
    Ipcs(Ipcs),
    Leaks(Leaks),
    Limits(Limits),
    Locks(Locks),
    Ls(Ls),
    Lsipc(Lsipc),
    Man(Man),
    Mk(Mk),
    Pub(Pub),
    Record(Record),
    Recv(Recv),
    Replay(Replay),
    Rm(Rm),
    Sem(Sem),
    Send(Send),
    Signal(Signal),
    Sub(Sub),
    Who(Who),
}

/// Print the completions of a shell
#[derive(Args)]
#[command(after_help = "Example:\n  tieline completions bash > /etc/bash_completion.d/tieline")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write all of them into a folder
#[derive(Args)]
#[command(after_help = "Examples:\n  tieline man | man -l -\n  tieline man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Where to write tieline.1 and one page for each verb
    pub(crate) folder: Option<PathBuf>,
}

/// The same command line, but a minus sign begins a value where one is due: `--count -1` is then refused as a count,
/// not as a flag that nobody knows.
pub(crate) fn lenient(command: clap::Command) -> clap::Command {
    let lenient_argument = |argument: clap::Arg| {
        if argument.is_positional() {
            argument.allow_negative_numbers(true)
        } else if argument.get_action().takes_values() {
            argument.allow_hyphen_values(true)
        } else {
            argument
        }
    };
    command.mut_args(lenient_argument).mut_subcommands(lenient)
}

impl Verb {
    /// Whether the answer, and so the refusal, shall be JSON.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Bench(Bench { subject: BenchSubject::Os(flags) }) => flags.json,
            Self::Bench(Bench { subject: BenchSubject::Shm(flags) }) => flags.json,
            Self::Clean(flags) => flags.json,
            Self::Leaks(flags) => flags.json,
            Self::Limits(flags) => flags.json,
            Self::Locks(flags) => flags.json,
            Self::Ls(flags) => flags.json,
            Self::Mk(flags) => flags.json,
            Self::Pub(flags) => flags.form.json,
            Self::Record(flags) => flags.json,
            Self::Replay(flags) => flags.json,
            Self::Rm(flags) => flags.json,
            Self::Sem(flags) => flags.json,
            Self::Signal(flags) => flags.json,
            Self::Sub(flags) => flags.form.json,
            Self::Who(flags) => flags.json,
            Self::Send(flags) => flags.transfer.json,
            Self::Recv(flags) => flags.transfer.json,
            Self::Connect(flags) => flags.transfer.json,
            Self::Bench(_)
            | Self::Completions(_)
            | Self::Ipcmk(_)
            | Self::Ipcrm(_)
            | Self::Ipcs(_)
            | Self::Lsipc(_)
            | Self::Man(_) => false,
        }
    }
}
