//! Round trip of small messages through a relay, `tieline connect` and socat, and without one, which is the floor.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::Outcome;
use crate::child::Running;
use crate::machine::{Machine, root};
use crate::placement::{Placement, Processors};
use crate::player::until_connected;
use crate::statistics::{Spread, percentile, table};

/// What to compare.
#[derive(Args)]
pub(crate) struct Flags {
    /// How many rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Round trips in each round
    #[arg(long, default_value_t = 10_000)]
    trips: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// On which processors the processes are
    #[arg(long, value_enum, default_value = "one")]
    placement: Placement,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the table to bench/results/latency.md
    #[arg(long)]
    record: bool,
}

/// A stream of bytes to or from anyone.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Waits for the one caller.
type Accept = Box<dyn FnOnce() -> std::io::Result<Box<dyn Stream>> + Send>;

#[derive(Clone)]
enum Meeting {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    None,
    Tieline,
    Socat,
}

/// Round trips of one relay between two sorts of socket, in microseconds: a figure of each round.
struct Row {
    name: String,
    relay: Relay,
    median: Vec<f64>,
    slow: Vec<f64>,
}

const PATHS: [(&str, &str); 3] = [("unix", "unix"), ("tcp", "unix"), ("tcp", "tcp")];
const RELAYS: [Relay; 3] = [Relay::None, Relay::Tieline, Relay::Socat];
/// How long an end may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(flags: &Flags, tieline: &FilePath) -> Outcome {
    let machine = Machine::look();
    let processors = Processors::new(flags.placement)?;
    let folder = tempfile::tempdir().map_err(|error| format!("make a folder: {error}"))?;
    let mut rows = Vec::new();
    for (from, to) in PATHS {
        let mut here: Vec<Row> = RELAYS.iter().map(|relay| Row::new(format!("{from}→{to}"), *relay)).collect();
        for _ in 0..flags.rounds {
            for row in &mut here {
                let (near, far) = (meeting(from, "near", folder.path())?, meeting(to, "far", folder.path())?);
                let mut trips = round(flags, &processors, (tieline, row.relay), &near, &far)?;
                trips.sort_unstable();
                row.median.push(percentile(&trips, 0.5) as f64 / 1e3);
                row.slow.push(percentile(&trips, 0.99) as f64 / 1e3);
            }
        }
        rows.extend(here);
    }
    let text = format!("## Round trips of {} bytes, in microseconds\n\n{}", flags.size, show(&rows));
    if flags.json {
        let report = json!({ "machine": machine.json(), "results": rows.iter().map(Row::json).collect::<Vec<_>>() });
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        println!("{text}");
    }
    if flags.record {
        let page = root().join("bench/results/latency.md");
        let text = format!("# Latency of relays\n\n{}\n{text}", machine.text());
        fs::write(&page, text).map_err(|error| format!("write {}: {error}", page.display()))?;
    }
    Ok(())
}

impl Row {
    fn new(name: String, relay: Relay) -> Self {
        Self { name, relay, median: Vec::new(), slow: Vec::new() }
    }

    fn json(&self) -> Value {
        json!({
            "path": self.name,
            "relay": self.relay.name(),
            "p50_us": Spread::of(&self.median).as_ref().map(Spread::json),
            "p99_us": Spread::of(&self.slow).as_ref().map(Spread::json),
        })
    }
}

impl Relay {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tieline => "tieline",
            Self::Socat => "socat",
        }
    }

    fn command(self, near: &Meeting, far: &Meeting, tieline: &FilePath) -> Option<Command> {
        let (program, listen, call) = match self {
            Self::None => return None,
            Self::Tieline => {
                let address = |meeting: &Meeting| match meeting {
                    Meeting::Unix(path) => format!("unix:{}", path.display()),
                    Meeting::Tcp(address) => format!("tcp:{address}"),
                };
                (tieline, format!("{}?listen=yes", address(near)), address(far))
            }
            Self::Socat => {
                let listen = match near {
                    Meeting::Unix(path) => format!("UNIX-LISTEN:{}", path.display()),
                    Meeting::Tcp(address) => format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,nodelay", address.port()),
                };
                let call = match far {
                    Meeting::Unix(path) => format!("UNIX-CONNECT:{}", path.display()),
                    Meeting::Tcp(address) => format!("TCP:{address},nodelay"),
                };
                (FilePath::new("socat"), listen, call)
            }
        };
        let mut command = Command::new(program);
        if self == Self::Tieline {
            command.arg("connect");
        }
        command.args([listen, call]).stdin(Stdio::null()).stdout(Stdio::null());
        Some(command)
    }
}

/// One round: an echo at the far end, a caller at the near one, the relay between.
fn round(
    flags: &Flags,
    processors: &Processors,
    (tieline, relay): (&FilePath, Relay),
    near: &Meeting,
    far: &Meeting,
) -> Outcome<Vec<u64>> {
    processors.for_ends()?;
    let listener = far.listen()?;
    let echo = std::thread::spawn(move || {
        let Ok(mut stream) = listener() else { return };
        let mut buffer = [0; 64 << 10];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                return;
            }
        }
    });
    let command = relay.command(near, far, tieline);
    let meet = if command.is_some() { near } else { far };
    processors.for_program()?;
    let relay = command.map(|mut command| Running::start(&mut command)).transpose()?;
    processors.for_ends()?;
    let mut stream = meet.call()?;
    let (message, mut answer) = (vec![7; flags.size], vec![0; flags.size]);
    let mut trips = Vec::with_capacity(flags.trips);
    // The first tenth warms up.
    for trip in 0..flags.trips + flags.trips / 10 {
        let start = Instant::now();
        let done = stream.write_all(&message).and_then(|()| stream.read_exact(&mut answer));
        done.map_err(|error| format!("round trip {trip}: {error}"))?;
        if trip >= flags.trips / 10 {
            trips.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    drop(stream);
    if let Some(mut relay) = relay {
        relay.wait(PATIENCE)?;
    }
    echo.join().map_err(|_| "the echo panicked".to_owned())?;
    Ok(trips)
}

impl Meeting {
    fn listen(&self) -> Outcome<Accept> {
        let listening = match self {
            Self::Unix(path) => UnixListener::bind(path).map(|listener| {
                let accept = move || listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Stream>);
                Box::new(accept) as Accept
            }),
            Self::Tcp(address) => TcpListener::bind(address).map(|listener| {
                let accept = move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                };
                Box::new(accept) as Accept
            }),
        };
        listening.map_err(|error| format!("listen: {error}"))
    }

    fn call(&self) -> Outcome<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => {
                let stream = until_connected(|| UnixStream::connect(path))?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
                Ok(Box::new(stream))
            }
            Self::Tcp(address) => {
                let stream = until_connected(|| TcpStream::connect(address))?;
                let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
                set.map_err(|error| error.to_string())?;
                Ok(Box::new(stream))
            }
        }
    }
}

fn meeting(sort: &str, role: &str, folder: &FilePath) -> Outcome<Meeting> {
    if sort == "unix" {
        let path = folder.join(role);
        let _ = fs::remove_file(&path);
        return Ok(Meeting::Unix(path));
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    free.map(Meeting::Tcp).map_err(|error| format!("find a free port: {error}"))
}

fn show(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let figure = |figures: &[f64]| Spread::of(figures).map(|spread| spread.to_string()).unwrap_or_default();
        let socat = rows.iter().find(|other| other.name == row.name && other.relay == Relay::Socat);
        let ratios = socat.map(|socat| row.median.iter().zip(&socat.median).map(|(ours, theirs)| ours / theirs));
        let ratio = ratios.map(|ratios| figure(&ratios.collect::<Vec<_>>())).unwrap_or_default();
        vec![row.name.clone(), row.relay.name().to_owned(), figure(&row.median), figure(&row.slow), ratio]
    });
    table(&["path", "relay", "p50", "p99", "p50 / socat's"], &cells.collect::<Vec<_>>())
}
