//! Flags of the verbs that move bytes and messages between addresses: `send`, `recv`, `connect`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tieline_transport::frame::Framing;

use super::values::{duration, message_size, size};

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
