//! Flags of the verbs for topics, latest values and events in shared memory: `pub`, `sub`, `record`, `replay`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tieline_os::Mode;
use tieline_shm::Access;
use tieline_transport::frame::Framing;

use super::values::{duration, message_size, size};

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
    #[command(flatten)]
    pub(crate) offer: TopicOffer,
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

/// What a topic that is published keeps, and for whom.
#[derive(Args)]
pub(crate) struct TopicOffer {
    /// Keep the last messages for subscribers that come later and ask for them
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) history: u32,
    /// Who may take part in a topic that nobody offers yet, in octal: read is to subscribe, write to publish [default: 600]
    ///
    /// Other users also need to reach the name: give it as a path. They are not waited for, so they need --slow
    /// drop-oldest or such.
    #[arg(long, value_parser = access)]
    pub(crate) mode: Option<Access>,
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
    #[command(flatten)]
    pub(crate) offer: TopicOffer,
    #[command(flatten)]
    pub(crate) presence: Presence,
    /// Only show what is inside
    #[arg(long, conflicts_with_all = ["topic", "repeat", "count", "history", "mode", "subscribers", "linger"])]
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

/// A number above zero, of which a second or a message has a share that can be waited for.
fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (1e-6..=1e9).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{text} is not between 0.000001 and 1000000000"))
    }
}

fn access(text: &str) -> Result<Access, String> {
    let mode: Mode = text.parse().map_err(|error| format!("{error}"))?;
    Access::from_mode(mode.bits().into()).ok_or_else(|| {
        format!("of a topic, {text} has no meaning: the user has 6, the group 0, 2, 4 or 6, and others no more than it")
    })
}

fn rate(text: &str) -> Result<f64, String> {
    factor(text)
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" { Ok(Speed::Max) } else { factor(text).map(Speed::Times) }
}
