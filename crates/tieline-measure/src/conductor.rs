//! Goes through the plan: makes each mechanism, starts its players, asks for one figure, takes everything down again.
//!
//! Every figure has processes and objects of its own, so that nothing is left over from the one before; the repeats
//! go round the whole list, so that a slow minute of the machine touches every row once rather than one row always.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::control::{Answer, Order, Outcome, Player};
use crate::link::{End, Prepared};
use crate::mechanism::{self, Description, Mechanism};
use crate::plan::{Placement, Plan};
use crate::report::{Report, RoundTrips, Row, SCHEMA, ScalingPoint, Throughput, median};
use crate::{claims, facts};

/// How long a player may take beyond the window it was given.
const PATIENCE: Duration = Duration::from_secs(5);
/// The mechanisms that join the processes of the token ring.
const RING_MECHANISMS: &[&str] = &["pipe", "unix-stream", "shm-futex", "sysv-sem+shm"];
/// The payload of the token, in bytes.
const TOKEN_BYTES: usize = 64;

/// How far a run is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// How many figures are measured.
    pub done: usize,
    /// How many there will be.
    pub total: usize,
    /// What is being measured now.
    pub now: String,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.done, self.total, self.now)
    }
}

/// Runs the plan and tells `progress` before each figure.
///
/// It takes `repeats × window` for each figure, a few milliseconds for each pair of processes, and for a mechanism that
/// hangs a few seconds. What fails is said in the report's rows.
///
/// # Errors
/// If the plan asks for nothing: no mechanism of that name, or no placement this machine has processors for.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&Progress)) -> Result<Report, String> {
    let placements: Vec<_> = plan.placements.iter().copied().filter(|placement| placement.cpus().is_some()).collect();
    let chosen: Vec<_> = mechanism::all().iter().copied().filter(|mechanism| wanted(plan, mechanism)).collect();
    let ring: Vec<_> = if plan.ring_processes.is_empty() {
        Vec::new()
    } else {
        chosen.iter().filter(|mechanism| RING_MECHANISMS.contains(&mechanism.description().name)).collect()
    };
    if chosen.is_empty() {
        let names: Vec<_> = mechanism::all().iter().map(|mechanism| mechanism.description().name).collect();
        let wanted = plan.only.join(" or ");
        return Err(format!("no mechanism has {wanted} in its name; there are {}", names.join(", ")));
    }
    if placements.is_empty() {
        return Err("this process may use only one processor; measure with both ends on one cpu".to_owned());
    }
    let mut machine = facts::machine(plan);
    let cells = cells(plan, &chosen, &placements);
    let rounds = ring.len() * plan.ring_processes.len();
    let mut state = Progress { done: 0, total: (cells.len() + rounds) * plan.repeats, now: String::new() };
    let mut step = |now: String| {
        state.now = now;
        progress(&state);
        state.done += 1;
    };

    let mut found: BTreeMap<usize, Vec<Outcome<Figure>>> = BTreeMap::new();
    let mut hops: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for _ in 0..plan.repeats.max(1) {
        for (index, cell) in cells.iter().enumerate() {
            step(cell.to_string());
            found.entry(index).or_default().push(cell.measure(plan));
        }
        for (which, mechanism) in ring.iter().enumerate() {
            for &processes in &plan.ring_processes {
                step(format!("{} among {processes} processes", mechanism.description().name));
                if let Ok(hop) = token_ring(plan, **mechanism, processes) {
                    hops.entry((which, processes)).or_default().push(hop);
                }
            }
        }
    }

    machine.figures = found.len();
    machine.unsteady_figures = found.values().filter(|repeats| is_unsteady(repeats)).count();
    let rows = rows(&cells, found);
    let ring: Vec<_> = hops
        .into_iter()
        .map(|((which, processes), values)| ScalingPoint {
            mechanism: ring[which].description().name,
            processes,
            hop_ns: median(values),
        })
        .collect();
    let facts = facts::measure();
    let claims = claims::weigh(&facts, &rows, &ring);
    Ok(Report { schema: SCHEMA, machine, facts, rows, ring, claims })
}

fn wanted(plan: &Plan, mechanism: &&'static dyn Mechanism) -> bool {
    let name = mechanism.description().name;
    plan.only.is_empty() || plan.only.iter().any(|part| name.contains(part.as_str()))
}

/// One figure to measure.
struct Cell {
    mechanism: &'static dyn Mechanism,
    placement: Placement,
    subject: Subject,
}

#[derive(Clone, Copy)]
enum Subject {
    RoundTrips(usize),
    Throughput(usize),
}

enum Figure {
    RoundTrips(RoundTrips),
    Throughput(Throughput),
}

impl Figure {
    fn value(&self) -> f64 {
        match self {
            Self::RoundTrips(trips) => trips.p50_ns as f64,
            Self::Throughput(flood) => flood.bytes_per_second,
        }
    }
}

fn cells(plan: &Plan, chosen: &[&'static dyn Mechanism], placements: &[Placement]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &mechanism in chosen {
        let Description { largest, round_trips, throughput, .. } = *mechanism.description();
        let trips = plan.round_trip_bytes.iter().filter(|_| round_trips).map(|&bytes| Subject::RoundTrips(bytes));
        let floods = plan.throughput_bytes.iter().filter(|_| throughput).map(|&bytes| Subject::Throughput(bytes));
        let mut subjects: Vec<_> = trips.chain(floods).filter(|subject| subject.bytes() <= largest).collect();
        if largest == 0 {
            // What carries no payload has one round trip, of nothing.
            subjects.push(Subject::RoundTrips(0));
        }
        for &placement in placements {
            cells.extend(subjects.iter().map(|&subject| Cell { mechanism, placement, subject }));
        }
    }
    cells
}

impl Subject {
    fn bytes(self) -> usize {
        match self {
            Self::RoundTrips(bytes) | Self::Throughput(bytes) => bytes,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.subject {
            Subject::RoundTrips(_) => "round trips",
            Subject::Throughput(_) => "throughput",
        };
        let name = self.mechanism.description().name;
        write!(f, "{name}, {}, {what} of {} bytes", self.placement, self.subject.bytes())
    }
}

impl Cell {
    fn measure(&self, plan: &Plan) -> Outcome<Figure> {
        let bytes = self.subject.bytes();
        let patience = plan.window * 2 + PATIENCE;
        let pair = Pair::start(plan, self.mechanism, self.placement, bytes)?;
        let [first, second] = &pair.players;
        match self.subject {
            Subject::RoundTrips(_) => {
                second.order(&Order::Echo { link: 0, bytes }, &[])?;
                first.order(&Order::RoundTrips { link: 0, bytes, window: plan.window }, &[])?;
                // Whoever fails first makes the other wait in vain, so the echo's own sentence is the better one.
                let answer = first.answer(patience).map_err(|reason| second.answer(Duration::ZERO).err_or(reason));
                match answer? {
                    Answer::RoundTrips(figures) => Ok(Figure::RoundTrips(figures)),
                    other => Err(format!("an answer to another question: {other:?}")),
                }
            }
            Subject::Throughput(_) => {
                second.order(&Order::Drain { link: 0, bytes }, &[])?;
                first.order(&Order::Flood { link: 0, bytes, window: plan.window }, &[])?;
                let answer = second.answer(patience).map_err(|reason| first.answer(Duration::ZERO).err_or(reason));
                match answer? {
                    Answer::Drained { messages, lost, elapsed } => {
                        Ok(Figure::Throughput(throughput(bytes, messages, lost, elapsed)))
                    }
                    other => Err(format!("an answer to another question: {other:?}")),
                }
            }
        }
    }
}

/// The sentence of whoever failed, rather than of whoever waited for it in vain.
pub(crate) fn better(other: Outcome<Answer>, reason: String) -> String {
    other.err_or(reason)
}

trait ErrOr {
    /// The sentence of the failure, or `reason` if there is no better one.
    fn err_or(self, reason: String) -> String;
}

impl ErrOr for Outcome<Answer> {
    fn err_or(self, reason: String) -> String {
        match self {
            Err(better) if better != crate::control::NO_ANSWER => better,
            _ => reason,
        }
    }
}

fn throughput(bytes: usize, messages: u64, lost: u64, elapsed: Duration) -> Throughput {
    let messages_per_second = messages as f64 / elapsed.as_secs_f64().max(1e-9);
    Throughput {
        payload_bytes: bytes,
        messages_per_second,
        bytes_per_second: messages_per_second * bytes as f64,
        lost: lost as f64 / (messages + lost).max(1) as f64,
    }
}

/// Two players on the two ends of a fresh mechanism.
struct Pair {
    // Dropped in this order: the processes first, then what they used.
    players: [Player; 2],
    _cleanup: Box<dyn std::any::Any>,
}

impl Pair {
    fn start(plan: &Plan, mechanism: &dyn Mechanism, placement: Placement, largest: usize) -> Outcome<Self> {
        let cpus = placement.cpus().ok_or("this process may use only one processor")?;
        let prepared = mechanism.prepare(largest)?;
        let players = [Player::start(&plan.player)?, Player::start(&plan.player)?];
        for (player, cpu) in players.iter().zip(cpus) {
            player.carry_out(&Order::Pin { cpu }, &[], PATIENCE)?;
        }
        let cleanup = join(mechanism, prepared, largest, [&players[0], &players[1]])?;
        Ok(Self { players, _cleanup: cleanup })
    }
}

/// Hands the two ends of a prepared mechanism to two players.
fn join(
    mechanism: &dyn Mechanism,
    prepared: Prepared,
    largest: usize,
    players: [&Player; 2],
) -> Outcome<Box<dyn std::any::Any>> {
    let Prepared { offers, cleanup } = prepared;
    let peers = [players[1].pid(), players[0].pid()];
    for (((offer, player), end), peer) in offers.into_iter().zip(players).zip([End::First, End::Second]).zip(peers) {
        let mechanism = mechanism.description().name.to_owned();
        let order = Order::Join { mechanism, end, words: offer.words, largest, peer };
        player.carry_out(&order, &offer.descriptors, PATIENCE)?;
    }
    Ok(cleanup)
}

/// Passes a token round a ring of processes on one processor; answers the median of one hop in nanoseconds.
fn token_ring(plan: &Plan, mechanism: &dyn Mechanism, processes: usize) -> Outcome<f64> {
    let cpu = Placement::OneCpu.cpus().ok_or("no processor")?[0];
    let players: Vec<Player> = (0..processes).map(|_| Player::start(&plan.player)).collect::<Outcome<_>>()?;
    for player in &players {
        player.carry_out(&Order::Pin { cpu }, &[], PATIENCE)?;
    }
    // Link i joins player i to its right neighbour. Player 0 holds its outgoing link first and the closing link
    // second; every other player holds its incoming link first.
    let mut cleanups = Vec::new();
    for left in 0..processes {
        let right = (left + 1) % processes;
        let prepared = mechanism.prepare(TOKEN_BYTES)?;
        cleanups.push(join(mechanism, prepared, TOKEN_BYTES, [&players[left], &players[right]])?);
    }
    for player in &players[1..] {
        player.order(&Order::Pass { from: 0, to: 1, bytes: TOKEN_BYTES }, &[])?;
    }
    let circulate = Order::Circulate { to: 0, from: 1, bytes: TOKEN_BYTES, window: plan.window };
    players[0].order(&circulate, &[])?;
    let answer = players[0].answer(plan.window * 2 + PATIENCE)?;
    drop(players);
    match answer {
        Answer::RoundTrips(figures) => Ok(figures.p50_ns as f64 / processes as f64),
        other => Err(format!("an answer to another question: {other:?}")),
    }
}

/// Whether one repeat says half as much again as another.
fn is_unsteady(repeats: &[Outcome<Figure>]) -> bool {
    let values = || repeats.iter().flatten().map(Figure::value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    most > 1.5 * least
}

/// Collects the repeats of each cell into rows.
fn rows(cells: &[Cell], mut found: BTreeMap<usize, Vec<Outcome<Figure>>>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        let Description { name, family, .. } = *cell.mechanism.description();
        if rows.last().is_none_or(|row| row.mechanism != name || row.placement != cell.placement) {
            rows.push(Row {
                mechanism: name,
                family,
                placement: cell.placement,
                round_trips: Vec::new(),
                throughput: Vec::new(),
                missing: Vec::new(),
            });
        }
        let row = rows.last_mut().expect("just pushed");
        let mut trips = Vec::new();
        let mut floods = Vec::new();
        let mut reason = None;
        for figure in found.remove(&index).unwrap_or_default() {
            match figure {
                Ok(Figure::RoundTrips(figures)) => trips.push(figures),
                Ok(Figure::Throughput(figures)) => floods.push(figures),
                Err(why) => reason = Some(format!("{} bytes: {why}", cell.subject.bytes())),
            }
        }
        match (trips.is_empty(), floods.is_empty()) {
            (false, _) => row.round_trips.push(middle_trips(&trips)),
            (_, false) => row.throughput.push(middle_throughput(&floods)),
            _ => row.missing.extend(reason),
        }
    }
    rows
}

fn middle_trips(repeats: &[RoundTrips]) -> RoundTrips {
    let of = |part: fn(&RoundTrips) -> f64| median(repeats.iter().map(part).collect());
    RoundTrips {
        payload_bytes: repeats[0].payload_bytes,
        count: repeats.iter().map(|figures| figures.count).sum(),
        p50_ns: of(|figures| figures.p50_ns as f64) as u64,
        p99_ns: of(|figures| figures.p99_ns as f64) as u64,
        min_ns: repeats.iter().map(|figures| figures.min_ns).min().unwrap_or(0),
        switches: of(|figures| figures.switches),
    }
}

fn middle_throughput(repeats: &[Throughput]) -> Throughput {
    let of = |part: fn(&Throughput) -> f64| median(repeats.iter().map(part).collect());
    Throughput {
        payload_bytes: repeats[0].payload_bytes,
        messages_per_second: of(|figures| figures.messages_per_second),
        bytes_per_second: of(|figures| figures.bytes_per_second),
        lost: of(|figures| figures.lost),
    }
}
