//! Flags of the verbs that look, and of the one that tidies up: `ls`, `who`, `leaks`, `clean`, `limits`, `locks`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use tieline_observe::model::Kind;
use tieline_observe::view::{Field, Group};

use super::values::duration;

/// List every inter-process communication object: who holds which end, and how full it is
///
/// Pipes, FIFOs, sockets, shared memory, queues, semaphores, locked and mapped files, counters and timers, made by any
/// program. The two ends of a connection stand in one row; writers > readers, and <> between two who do both. Nothing
/// that is looked at is changed or opened.
#[derive(Args)]
#[command(after_help = columns_and_groups())]
pub(crate) struct Ls {
    /// Only these kinds, or groups of kinds
    #[arg(value_name = "KIND", value_parser = kind_words(), hide_possible_values = true)]
    pub(crate) kinds: Vec<String>,
    /// Under the processes that hold them, as a tree
    #[arg(long, conflicts_with_all = ["columns", "sort", "reverse"])]
    pub(crate) tree: bool,
    /// Only what this process has to do with, by id or name; may be given more than once
    #[arg(long, short, value_name = "PID|NAME")]
    pub(crate) process: Vec<String>,
    /// Only objects of this namespace: own, other, or a number
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Also what one process has to itself, and sockets of the kernel
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Which columns, separated by commas
    #[arg(long, short = 'o', value_name = "LIST", value_delimiter = ',', value_parser = field_words(), hide_possible_values = true)]
    pub(crate) columns: Vec<String>,
    /// By which column: figures with the largest first
    #[arg(long, value_name = "COLUMN", value_parser = field_words(), hide_possible_values = true)]
    pub(crate) sort: Option<String>,
    /// The other way round
    #[arg(long)]
    pub(crate) reverse: bool,
    /// No headings and no totals
    #[arg(long)]
    pub(crate) noheadings: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who is on the other end?
///
/// Answers in a sentence and a table. Ask about a process, one of its descriptors, an object or a port:
///
/// PID, PID:FD, NAME of a process; /path of a FIFO, socket, shared, mapped or locked file; /name of a POSIX queue,
/// semaphore or shared memory; @name of an abstract socket; pipe:[N], socket:[N], eventfd:[N] as /proc shows them;
/// shm:ID, msg:ID, sem:ID as ipcs shows them, or with a key, as in shm:0x1234; PORT, tcp:HOST:PORT, udp:PORT;
/// memfd:NAME; shm:NAME of a topic, queue or lock in shared memory; and the addresses that the other verbs take.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline who 4711                 # all conversations of a process
  tieline who 4711:5               # who is behind its descriptor 5
  tieline who 'pipe:[123456]'      # both ends of a pipe
  tieline who /run/app.sock        # the server, its clients, and who waits
  tieline who shm:393216           # everybody who has it attached
  tieline who shm:frames           # who publishes, who is behind by how much, who holds loans
  tieline who 5432                 # who listens at the port, and to whom it speaks")]
pub(crate) struct Who {
    /// A process, descriptor, object, path or port
    #[arg(value_name = "WHAT")]
    pub(crate) what: OsString,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was left behind: objects that nobody uses, files of sockets that are gone
///
/// Each finding stands there with what speaks for it and against it. Nothing is removed: that is what `clean` does, of
/// the sure ones.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline leaks
  tieline leaks semaphores         # only System V sets and POSIX semaphores
  tieline leaks --all              # also what is full, has one end only, or is open to everybody")]
pub(crate) struct Leaks {
    /// Only these kinds, or groups of kinds
    #[arg(value_name = "KIND", value_parser = kind_words(), hide_possible_values = true)]
    pub(crate) kinds: Vec<String>,
    /// Also what else is worth a look
    #[arg(long, short)]
    pub(crate) all: bool,
    /// No headings and no totals
    #[arg(long)]
    pub(crate) noheadings: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove what was left behind, after showing it
///
/// Only what leaves no doubt: who made it has ended, nobody has it open, mapped or waits for it, and it has not changed
/// for a while. It is shown first, with the call that removes it and the evidence; everything is looked at again at the
/// moment of removal, and what has changed meanwhile stays.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline clean --dry-run          # only say what would be removed, and why
  tieline clean sysv               # show, ask, remove
  tieline clean --under /run/app   # only what is there: sockets, and names in shared memory
  tieline clean --yes --older-than 1h semaphores")]
pub(crate) struct Clean {
    /// Only these kinds, or groups of kinds
    #[arg(value_name = "KIND", value_parser = kind_words(), hide_possible_values = true)]
    pub(crate) kinds: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only what has not changed for so long [default: 5m]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) older_than: Option<Duration>,
    /// Only socket files and names in this directory, or below it
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) under: Option<PathBuf>,
    /// Also what is merely unused now: its maker may live, or not everything could be seen
    #[arg(long)]
    pub(crate) unused: bool,
    /// Do not ask
    #[arg(long, short, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Print what was done, or would be, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The limits of inter-process communication, the nearest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline limits
  tieline limits --near            # those used to 80% or more, what happens then, and how to raise them
  tieline limits --near=50 --processes")]
pub(crate) struct Limits {
    /// Only those used to so many per cent or more
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "80",
        value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) near: Option<u8>,
    /// Also the limits of each process
    #[arg(long)]
    pub(crate) processes: bool,
    /// No headings and no totals
    #[arg(long)]
    pub(crate) noheadings: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which files are locked, by whom, and who waits behind whom
///
/// POSIX locks, those of open file descriptions (OFD), flock and leases, each with the processes that hold it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline locks
  tieline locks 4711               # what a process holds and waits for, and who is in its way
  tieline locks /var/lib/app.db")]
pub(crate) struct Locks {
    /// A process by id or name, or a file
    #[arg(value_name = "PID|PATH")]
    pub(crate) what: Option<OsString>,
    /// No headings and no totals
    #[arg(long)]
    pub(crate) noheadings: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The words for kinds and groups of kinds.
fn kind_words() -> PossibleValuesParser {
    let groups = Group::ALL.iter().map(|group| group.name);
    PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.name()).chain(groups))
}

fn field_words() -> PossibleValuesParser {
    PossibleValuesParser::new(Field::ALL.iter().map(|field| field.name()))
}

/// What stands below the flags of `ls`.
fn columns_and_groups() -> String {
    let columns: Vec<String> =
        Field::ALL.iter().map(|field| format!("  {:<12}{}", field.name(), field.meaning())).collect();
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let kinds: Vec<String> = kinds.chunks(9).map(|line| format!("  {}", line.join(" "))).collect();
    let group = |group: &Group| {
        let kinds: Vec<&str> = group.kinds.iter().map(|kind| kind.name()).collect();
        format!("  {:<14}{}", group.name, kinds.join(" "))
    };
    let groups: Vec<String> = Group::ALL.iter().map(group).collect();
    format!(
        "Columns:\n{}\n\nKinds:\n{}\n\nGroups of kinds:\n{}\n\n{LS_EXAMPLES}",
        columns.join("\n"),
        kinds.join("\n"),
        groups.join("\n")
    )
}

const LS_EXAMPLES: &str = "\
Examples:
  tieline ls                           # everything that two processes could talk through
  tieline ls pipes sockets             # only these
  tieline ls --tree --process nginx    # one program, with whom it speaks
  tieline ls --sort fill               # the fullest first
  tieline ls -o id,fill,who --noheadings pipe";
