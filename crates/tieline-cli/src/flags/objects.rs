//! Flags of the verbs that make, remove and use what has a name: `mk`, `rm`, `sem`, and `signal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tieline_os::Mode;
use tieline_os::process::Pid;
use tieline_os::sysv::Key;

use super::values::{duration, size};
use crate::name;

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
