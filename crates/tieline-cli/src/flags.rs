//! Every flag, once. Parser, `--help`, manual pages and completions are all made from this file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tieline_observe::model::Kind;
use tieline_observe::view::{Field, Group};
use tieline_os::Mode;
use tieline_os::process::Pid;
use tieline_os::sysv::Key;
use tieline_transport::addr::Key as AddressKey;
use tieline_transport::addr::quantity;
use tieline_transport::frame::Framing;

use crate::name;
use crate::transfer;

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
    for scheme in transfer::openable() {
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

/// Make a named object: FIFO, socket, queue, semaphore, shared memory
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline mk fifo /tmp/jobs --mode 660
  tieline mk mq /jobs --messages 10 --message-size 8K
  tieline mk sysv-shm --size 1M            # prints sysv-shm:id:N
  tieline mk sem /permits --value 4

It prints the address by which send, recv, sem and rm find what was made.

Channels of shm:NAME are not made beforehand: they live while somebody has them open. `tieline send` makes a
queue, `tieline pub` a topic, `tieline recv` a queue with create=yes and a stream with listen=yes.")]
pub(crate) struct Mk {
    #[command(subcommand)]
    pub(crate) object: MkObject,
    /// Print what was made as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum MkObject {
    /// A FIFO
    Fifo {
        /// Where
        path: PathBuf,
        #[command(flatten)]
        access: Permissions,
    },
    /// A Unix socket's name, for a server that will take it over
    ///
    /// Nobody is behind it yet: whoever calls is refused until a server binds it anew, as `tieline recv` does.
    Unix {
        /// Where
        path: PathBuf,
        /// Which type
        #[arg(long = "type", value_enum, default_value = "stream")]
        kind: SocketType,
        #[command(flatten)]
        access: Permissions,
    },
    /// POSIX shared memory
    #[command(visible_alias = "posix-shm")]
    Shm {
        /// Its name: a slash and up to 254 other characters
        name: String,
        /// How many bytes, such as 4096, 64K, 1M
        #[arg(long, value_parser = size)]
        size: u64,
        #[command(flatten)]
        access: Permissions,
    },
    /// A System V shared-memory segment
    SysvShm {
        /// Its key, such as 0x1234; without one it is private and only its identifier names it
        #[arg(value_parser = name::key)]
        key: Option<Key>,
        /// How many bytes
        #[arg(long, value_parser = size)]
        size: u64,
        #[command(flatten)]
        access: Permissions,
    },
    /// A POSIX message queue
    Mq {
        /// Its name: a slash and up to 254 other characters
        name: String,
        /// How many messages it holds
        #[arg(long, default_value_t = 10)]
        messages: u64,
        /// How many bytes a message may have
        #[arg(long, value_parser = size, default_value = "8192")]
        message_size: u64,
        #[command(flatten)]
        access: Permissions,
    },
    /// A System V message queue
    SysvMq {
        /// Its key; without one it is private
        #[arg(value_parser = name::key)]
        key: Option<Key>,
        /// How many bytes of messages it holds, if not the system's default
        #[arg(long, value_parser = size)]
        size: Option<u64>,
        #[command(flatten)]
        access: Permissions,
    },
    /// A POSIX named semaphore
    Sem {
        /// Its name: a slash and up to 250 other characters
        name: String,
        /// Its first value
        #[arg(long, default_value_t = 0)]
        value: u32,
        #[command(flatten)]
        access: Permissions,
    },
    /// A set of System V semaphores
    SysvSem {
        /// Its key; without one it is private
        #[arg(value_parser = name::key)]
        key: Option<Key>,
        /// The first value of each semaphore, such as 1 or 0,4,4
        #[arg(long, value_delimiter = ',', default_value = "0")]
        values: Vec<u16>,
        #[command(flatten)]
        access: Permissions,
    },
}

#[derive(Args)]
pub(crate) struct Permissions {
    /// Who may use it, in octal: exactly so, whatever the umask
    #[arg(long, default_value = "600")]
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SocketType {
    /// Bytes over a connection
    Stream,
    /// Messages without a connection
    Dgram,
    /// Messages over a connection
    Seqpacket,
}

/// Remove named objects
///
/// The address is that which `mk` printed, or any other of a named object: fifo:, unix:, mq:, sysv-mq:, posix-shm:,
/// sysv-shm:, sem:, sysv-sem:. Nothing else is removed: a path that is not a FIFO or a socket stays. Those who have
/// the object open go on, except that a System V queue or semaphore set is gone for everyone at once.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline rm fifo:/tmp/jobs mq:/jobs
  tieline rm sysv-shm:id:3 sysv-mq:0x1234
  tieline rm sem:/permits sysv-sem:0x77")]
pub(crate) struct Rm {
    /// What to remove
    #[arg(required = true)]
    pub(crate) objects: Vec<String>,
    /// An object that is not there is not an error
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Send standard input to an address
///
/// Without a framing flag, a byte stream is sent as it comes, and a message queue or datagram socket gets one message
/// for each line. A framing flag says how messages are marked off at the address if that carries plain bytes: each line
/// of standard input is one. If the address carries messages, or has a `frame` of its own, the flag says how they are
/// marked off in standard input.
///
/// A queue in shared memory, shm:NAME, is made if nobody offers the name. It lives while anybody has it open, so `send`
/// stays until its items are taken. If somebody listens there for a stream, that is connected; --listen waits for one.
///
/// A file: holds afterwards what was sent and nothing else, unless ?offset, ?length or ?capacity says which part of it
/// to write.
#[derive(Args)]
#[command(after_help = "\
Examples:
  echo hello | tieline send fifo:/tmp/jobs
  tieline send unix:/run/app.sock < big.file
  seq 5 | tieline send 'mq:/jobs?priority=3'
  ls *.png | tieline send shm:jobs                              # and stays until all are taken
  tieline send --whole udp:127.0.0.1:9000 < packet
  seq 5 | tieline send --length-prefixed tcp:localhost:9000     # lines here, lengths there
  tieline send --frame nul 'tcp:localhost:9000?frame=u32'       # NUL bytes here, lengths there")]
pub(crate) struct Send {
    /// Where to
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Wait for the other side to call, instead of calling it
    #[arg(long)]
    pub(crate) listen: bool,
}

/// Receive from an address to standard output
///
/// A socket address is waited at, unless --connect is given. Messages are written with a line feed behind each that
/// does not end with one. A framing flag says how messages are marked off at the address if that carries plain bytes;
/// if it carries messages, or has a `frame` of its own, how they are written to standard output.
///
/// What is at shm:NAME decides what is received: items of a queue, messages of a topic, the bytes of a stream that is
/// connected to its listener. With ?create=yes it waits at a new queue, with ?listen=yes for a stream.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline recv fifo:/tmp/jobs
  tieline recv --count 1 --timeout 5s mq:/jobs
  tieline recv --timeout 0 mq:/jobs              # what is there now, without waiting
  tieline recv shm:jobs | while read -r job; do work; done
  tieline recv 'shm:copy?listen=yes' > big.file  # and elsewhere: tieline send shm:copy < big.file
  tieline recv unix:/run/app.sock > big.file
  tieline recv --connect tcp:127.0.0.1:7")]
pub(crate) struct Recv {
    /// Where from
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Call the other side, instead of waiting for it to call
    #[arg(long)]
    pub(crate) connect: bool,
}

/// Join two addresses: what one sends, the other receives
///
/// Both directions at once, where both ends have both; otherwise from the first to the second. The end of one direction
/// is passed on and leaves the other open. A framing flag holds for both sides that carry bytes and have no `frame`: what
/// passes is cut into such messages, counted and checked, and marked off so on both sides. Without one the fastest way
/// the kernel has is used: bytes between descriptors are spliced and never copied here.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline connect 'tcp:127.0.0.1:8080?listen=yes' unix:/run/app.sock
  tieline connect fifo:/tmp/in 'exec:sort | uniq -c'
  tieline connect - tcp:example.org:80
  tieline connect 'udp:127.0.0.1:9000?listen=yes' mq:/jobs")]
pub(crate) struct Connect {
    /// One side
    pub(crate) first: String,
    /// The other side
    pub(crate) second: String,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    /// Only from the first to the second
    #[arg(long)]
    pub(crate) one_way: bool,
}

/// Publish standard input to a topic, latest value or event in shared memory
///
/// Every subscriber gets every message. A topic that somebody offers already keeps its type: of a topic of bytes each line
/// is a message, or what a framing flag marks off; of a topic of a type each line is a value as JSON, and a framing flag
/// says that it is a value's bytes. If nobody offers the name, it becomes a topic of bytes.
///
/// The topic lives while anybody publishes or subscribes. Whoever comes later gets only what comes later, and the last
/// --history messages if it asks for them.
///
/// If the name is that of a latest value, each message replaces it; if it is that of events, each line is an event's
/// number, with how often it happened behind it if not once, or both as JSON: {"id": 3, "times": 2}.
#[derive(Args)]
#[command(after_help = "\
Examples:
  vmstat 1 | tieline pub shm:load
  seq 1000 | tieline pub --rate 10 --subscribers 1 shm:ticks
  echo '{\"sensor\": 7, \"celsius\": 21.5}' | tieline pub --json shm:readings
  tieline pub --whole shm:pictures --subscribers 2 < picture.png")]
pub(crate) struct Pub {
    /// The topic, latest value or events, as shm:NAME
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) form: MessageForm,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// At most so many messages in a second; may be less than one
    #[arg(long, value_parser = rate, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Keep the last messages for subscribers that come later and ask for them
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) history: u32,
    #[command(flatten)]
    pub(crate) presence: Presence,
    /// The largest message in bytes, for topics of any length
    #[arg(long, value_parser = message_size, value_name = "SIZE", default_value = "16M")]
    pub(crate) max_message: usize,
    /// Give up after so long, such as 500ms, 5s, 2m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// Say at the end, on standard error, what was published
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// How long a publisher is there before and after its messages.
#[derive(Args)]
pub(crate) struct Presence {
    /// Wait for so many subscribers before the first message
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) subscribers: usize,
    /// Stay for so long after the last message, for subscribers that come later
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "0")]
    pub(crate) linger: Duration,
}

/// How messages of a topic look outside of it.
#[derive(Args)]
pub(crate) struct MessageForm {
    /// One message for each line
    #[arg(long, group = "form")]
    pub(crate) lines: bool,
    /// Each message after its length, as four bytes, most significant first
    #[arg(long, group = "form")]
    pub(crate) length_prefixed: bool,
    /// Bytes as they come: each chunk that is read is one message, and nothing is put between messages
    #[arg(long, group = "form")]
    pub(crate) raw: bool,
    /// Everything up to the end is one message
    #[arg(long, group = "form")]
    pub(crate) whole: bool,
    /// Any other framing: line, nul, byte:0x1e, u8, u16, u32le, u64 …
    #[arg(long, group = "form", value_name = "FRAMING")]
    pub(crate) frame: Option<Framing>,
    /// Each line is a value as JSON, by the topic's own layout; what is said on standard error is JSON, too
    #[arg(long, group = "form")]
    pub(crate) json: bool,
}

/// Print the messages of a topic, the changes of a latest value, or events, in shared memory
///
/// Of a topic of bytes each message is written with a line feed behind it if it does not end with one, or as a framing
/// flag says; of a topic of a type each is a line of JSON, and with a framing flag its bytes. It ends when the last
/// publisher has gone. Messages that were lost are counted on standard error.
///
/// Of a latest value the one that is there is written first, then each newer one that is seen; of events the number and
/// how often it happened since it was last told, or both as JSON. Neither ends by itself, and --from and --slow mean
/// nothing for them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline sub shm:load
  tieline sub --follow shm:load                  # also waits for the first publisher, and for the next
  tieline sub --count 1 --timeout 5s shm:readings
  tieline sub --from oldest --timeout 0 shm:ticks
  tieline sub --slow latest shm:camera | while read -r frame; do work; done
  tieline sub shm:doors | while read -r id times; do work; done")]
pub(crate) struct Sub {
    /// The topic, latest value or events, as shm:NAME
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) form: MessageForm,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Give up after so long, such as 500ms, 5s, 2m; 0 takes what is there without waiting
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) listening: Listening,
    /// Say, on standard error, when it listens, and at the end what was received
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// How a topic is subscribed to.
#[derive(Args)]
pub(crate) struct Listening {
    /// Where to begin: with the oldest message that publishers have kept, or with what comes
    #[arg(long, value_enum, default_value = "newest", value_name = "WHERE")]
    pub(crate) from: Start,
    /// What happens when messages come faster than they are taken
    #[arg(long, value_enum, default_value = "block", value_name = "POLICY")]
    pub(crate) slow: Slow,
    /// Wait until somebody offers the topic, and go on when the last publisher has gone
    ///
    /// What a publisher says in the moment before it is found is not heard; `tieline pub --subscribers 1` waits for that.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// What publishers have kept for those who come late
    Oldest,
    /// What is published from now on
    Newest,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slow {
    /// The publisher waits: nothing is lost
    Block,
    /// The oldest messages are lost
    DropOldest,
    /// The newest messages are lost: those that are kept are taken first
    DropNewest,
    /// All messages but the newest are lost
    Latest,
    /// It ends, with exit code 9
    Disconnect,
}

/// Record a topic in shared memory to a file
///
/// Every message is written with its publisher, its number and the time at which it came. Publishers wait for the
/// recorder if it is too slow, unless --slow says otherwise. It ends with the last publisher, on a signal, or at a
/// limit; whenever it dies, what it had written can be played.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline record shm:readings readings.rec
  tieline record --follow --rotate 1G shm:camera camera.rec    # camera.rec.0001, camera.rec.0002, …
  tieline record --duration 10m --slow drop-oldest shm:camera camera.rec")]
pub(crate) struct Record {
    /// The topic, as shm:NAME
    pub(crate) topic: String,
    /// The file
    pub(crate) file: PathBuf,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop after so long, such as 10s, 5m, 1h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Stop before the recording would have more than so many bytes, in all its files
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) max_size: Option<u64>,
    /// Begin a new file, FILE.0001, FILE.0002 and so on, whenever one would have more than so many bytes
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) rotate: Option<u64>,
    /// Write over files that are there
    #[arg(long, short)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) listening: Listening,
    /// Say, on standard error, when it listens, and at the end what was recorded
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Say the same as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Publish a recording again, or show what is in it
///
/// The messages go to the topic from which they came, or to the one named, in their order and at their pace. A recording
/// whose end is torn, because its recorder died, is played up to there.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline replay --list readings.rec
  tieline replay readings.rec shm:test
  tieline replay --speed max --subscribers 1 readings.rec
  tieline replay --loop --speed 0.5 camera.rec")]
pub(crate) struct Replay {
    /// The file; of numbered ones, the name without the number
    pub(crate) file: PathBuf,
    /// The topic, as shm:NAME, if it is not the recorded one
    pub(crate) topic: Option<String>,
    /// How much faster than it was: 2, 0.5, or max for as fast as it goes
    #[arg(long, value_parser = speed, value_name = "FACTOR", default_value = "1")]
    pub(crate) speed: Speed,
    /// Begin again at the end
    #[arg(long = "loop")]
    pub(crate) repeat: bool,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Keep the last messages for subscribers that come later and ask for them
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) history: u32,
    #[command(flatten)]
    pub(crate) presence: Presence,
    /// Only show what is inside
    #[arg(long, conflicts_with_all = ["topic", "repeat", "count", "history", "subscribers", "linger"])]
    pub(crate) list: bool,
    /// Say at the end, on standard error, what was published
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Show as JSON; without --list, say at the end, on standard error, what was published
    #[arg(long)]
    pub(crate) json: bool,
}

/// A pace of replaying.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    Times(f64),
    Max,
}

/// How bytes and messages travel.
#[derive(Args)]
pub(crate) struct Transfer {
    /// One message for each line; a message that holds line feeds is written as it is, and told at the end
    #[arg(long, group = "framing")]
    pub(crate) lines: bool,
    /// Each message after its length, as four bytes, most significant first
    #[arg(long, group = "framing")]
    pub(crate) length_prefixed: bool,
    /// Bytes as they come: each chunk that is read is one message, and nothing is put between messages
    #[arg(long, group = "framing")]
    pub(crate) raw: bool,
    /// Everything up to the end is one message, of at most --max-message
    #[arg(long, group = "framing")]
    pub(crate) whole: bool,
    /// Any other framing: line (refuses a line feed inside a message), nul, byte:0x1e, u8, u16, u32le, u64 …
    #[arg(long, group = "framing", value_name = "FRAMING")]
    pub(crate) frame: Option<Framing>,
    /// Stop after so many messages; a byte stream is counted in lines, or by its framing
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop after so many bytes, such as 512 or 1G; the message that reaches it goes whole
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) bytes: Option<u64>,
    /// The largest message in bytes
    #[arg(long, value_parser = message_size, value_name = "SIZE", default_value = "16M")]
    pub(crate) max_message: usize,
    /// Give up after so long, such as 500ms, 5s, 2m; 0 moves what can be moved without waiting
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// End when nothing has moved for so long; a success if anything had moved
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) idle: Option<Duration>,
    /// Show a progress bar on standard error
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) progress: When,
    /// Say, on standard error, where a peer can come, and at the end what was transferred
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Say at the end, on standard error, what was transferred and why it ended, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal that carries no data, once the transfer has taken a second
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Send a signal, or wait for one
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline signal TERM 4711
  tieline signal RTMIN+1 4711 --value 42   # queued, with a value
  tieline signal TERM 4711 --timeout 5s    # and wait until the process is gone
  tieline signal 0 4711                    # only ask whether it exists: exit code 0, 3 or 4
  tieline signal --wait USR1,USR2          # prints which came, from whom, with which value
  tieline signal --list")]
pub(crate) struct Signal {
    /// The signal: a name or number, or 0 for none
    #[arg(required_unless_present_any = ["wait", "list"])]
    pub(crate) signal: Option<String>,
    /// The processes
    #[arg(required_unless_present_any = ["wait", "list"])]
    pub(crate) processes: Vec<Pid>,
    /// Queue the signal with this value
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) value: Option<i32>,
    /// The numbers are process groups
    #[arg(long, conflicts_with = "value")]
    pub(crate) group: bool,
    /// After sending, wait so long for the processes to end; with --wait, for a signal to come
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// Wait for one of these signals, separated by commas, and print it
    #[arg(long, value_delimiter = ',', value_name = "SIGNALS", conflicts_with_all = ["signal", "processes", "value", "group"])]
    pub(crate) wait: Vec<String>,
    /// List the signals of this system
    #[arg(long, conflicts_with_all = ["signal", "processes", "wait"])]
    pub(crate) list: bool,
    /// Say on standard error when the waiting has begun, and under which process id
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Wait for, post or read a semaphore
///
/// The semaphore is /name for a POSIX one (sem: may stand before it), sysv-sem:KEY or sysv-sem:id:N for a System V set,
/// with #INDEX behind it if the set has more than one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline sem wait /permits --timeout 5s && work; tieline sem post /permits
  tieline sem post 'sysv-sem:0x77#2' --count 3
  tieline sem get /permits")]
pub(crate) struct Sem {
    #[command(subcommand)]
    pub(crate) action: SemAction,
    /// Print what was done, or found, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum SemAction {
    /// Take a permit, waiting for one
    Wait {
        /// Which semaphore
        semaphore: String,
        /// Give up after so long; 0 means do not wait at all
        #[arg(long, value_parser = duration, value_name = "TIME")]
        timeout: Option<Duration>,
        /// How many permits: all of them or none
        ///
        /// System V takes them at once. Of a POSIX semaphore they are taken one by one, and given back if the last does
        /// not come in time.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32767))]
        count: u16,
    },
    /// Give a permit
    Post {
        /// Which semaphore
        semaphore: String,
        /// How many permits
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32767))]
        count: u16,
    },
    /// Print its value
    Get {
        /// Which semaphore
        semaphore: String,
    },
}

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

/// Measure what each mechanism of this machine costs
#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline bench os
  tieline bench os --only pipe --only unix
  tieline bench shm
  tieline bench os --json > report.json
  tieline bench os --chart ipc.svg")]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) subject: BenchSubject,
}

#[derive(Subcommand)]
pub(crate) enum BenchSubject {
    /// Every mechanism of the operating system, between two real processes
    Os(BenchOs),
    /// Shared memory: our channels and locks against the bare forms of the same
    Shm(BenchShm),
    /// One end of a measurement; started by `bench` itself
    #[command(hide = true)]
    Player,
}

#[derive(Args)]
pub(crate) struct BenchOs {
    /// Only mechanisms whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Payload sizes of the round trips, separated by commas [default: 64,4K,64K]
    #[arg(long, value_delimiter = ',', value_parser = size, value_name = "SIZE,…")]
    pub(crate) sizes: Vec<u64>,
    /// Payload sizes of the one-way throughput, separated by commas [default: 64,4K,64K,1M]
    #[arg(long, value_delimiter = ',', value_parser = size, value_name = "SIZE,…")]
    pub(crate) bulk: Vec<u64>,
    /// Measure each figure once and briefly
    #[arg(long)]
    pub(crate) quick: bool,
    /// How long each figure is measured [default: 60ms; with --quick 20ms]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) window: Option<Duration>,
    /// How often each figure is measured; the median counts [default: 3; with --quick 1]
    #[arg(long, value_name = "N")]
    pub(crate) repeats: Option<usize>,
    /// Only with both ends on one processor, or only on two
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) placement: Option<Place>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the chart here: an SVG, or an HTML page around it if the name ends in .html
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// List what can be measured
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tieline bench shm --quick
  tieline bench shm --only polling --only flood
  tieline bench shm --json > report.json")]
pub(crate) struct BenchShm {
    /// Only what has this in its title, such as polling, blocking, flood, loan, publish, lock; may be given more than once
    #[arg(long, value_name = "TITLE")]
    pub(crate) only: Vec<String>,
    /// Measure each figure once and briefly
    #[arg(long)]
    pub(crate) quick: bool,
    /// How long each figure is measured [default: 200ms; with --quick 20ms]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) window: Option<Duration>,
    /// How often everything is measured in turn; the median counts [default: 3; with --quick 1]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// Both ends share a processor
    One,
    /// Each end has a processor of its own
    Two,
}

/// Make System V objects, as util-linux's ipcmk does
///
/// Options, output and exit codes are those of ipcmk(1); `tieline ipcmk --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcmk --shmem 64K --mode 600
  tieline ipcmk --compat=2.43 --posix-mqueue --name /jobs")]
pub(crate) struct Ipcmk {
    #[command(flatten)]
    words: Words,
}

/// Remove System V objects, as util-linux's ipcrm does
///
/// Options, output and exit codes are those of ipcrm(1); `tieline ipcrm --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcrm --shmem-id 32770
  tieline ipcrm --queue-key 0x77
  tieline ipcrm --compat=2.43 --posix-semaphore /permits")]
pub(crate) struct Ipcrm {
    #[command(flatten)]
    words: Words,
}

/// Show System V objects, as util-linux's ipcs does
///
/// Options, output and exit codes are those of ipcs(1); `tieline ipcs --help` lists them. --compat=2.43 in front of them,
/// or `TIELINE_COMPAT=2.43` in the environment, asks for that version of util-linux.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcs
  tieline ipcs --shmems --pid
  tieline ipcs --limits --human
  ln -s $(command -v tieline) /usr/local/bin/ipcs   # and the old name is ours")]
pub(crate) struct Ipcs {
    #[command(flatten)]
    words: Words,
}

/// List System V objects and limits as a table, as util-linux's lsipc does
///
/// Options, output and exit codes are those of lsipc(1); `tieline lsipc --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline lsipc
  tieline lsipc --shmems --output +ATTACH,CUSER
  tieline lsipc --semaphores --id 3
  tieline lsipc --compat=2.43 --posix-shmems --json")]
pub(crate) struct Lsipc {
    #[command(flatten)]
    words: Words,
}

/// A command line that is not read here but by [`compat`](crate::compat); this is for help, manual pages, completions.
#[derive(Args)]
struct Words {
    /// Options as the tool of util-linux has them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    _words: Vec<OsString>,
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

/// A size for a flag.
fn size(text: &str) -> Result<u64, String> {
    quantity::parse_size(text).map_err(|error| error.to_string())
}

/// A size of something that is held in memory.
fn message_size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(size(text)?).map_err(|_| format!("{text} is more than this machine can address"))?;
    if size == 0 { Err("a message has one byte at least".to_owned()) } else { Ok(size) }
}

/// A number above zero, of which a second or a message has a share that can be waited for.
fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (1e-6..=1e9).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{text} is not between 0.000001 and 1000000000"))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    factor(text)
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" { Ok(Speed::Max) } else { factor(text).map(Speed::Times) }
}

/// A length of time for a flag; zero needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { quantity::parse_duration(text).map_err(|error| error.to_string()) }
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
