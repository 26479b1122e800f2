//! Goes through the rounds: each contestant gets each subject once in a round, next to those it is compared with.
//!
//! A ratio is made of figures of the same round only, because a virtual machine's processors are not the same from one
//! minute to the next.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::contestant::{Contestant, Rank};
use super::goal;
use super::report::{Entry, Ratio, Report, Row, SCHEMA};
use super::stage::{Figure, Part};
use super::subject::{Subject, Touch, Unit, Wait};
use crate::conductor::Progress;
use crate::control::{Answer, Order, Outcome, Player, PlayerCommand};
use crate::facts;
use crate::plan::Placement;

/// How long a player may take beyond its window.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`run`] measures.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to start a player.
    pub player: PlayerCommand,
    /// Only subjects whose title contains one of these; all if empty.
    pub only: Vec<String>,
    /// What, and where the two processes run.
    pub subjects: Vec<(Subject, Placement)>,
    /// How long each single figure is measured.
    pub window: Duration,
    /// How often the whole list is gone through.
    pub rounds: usize,
}

impl Plan {
    /// Everything.
    #[must_use]
    pub fn full(player: PlayerCommand) -> Self {
        Self { player, only: Vec::new(), subjects: subjects(), window: Duration::from_millis(200), rounds: 3 }
    }

    /// Everything once and briefly: for a first look, and for tests.
    #[must_use]
    pub fn quick(player: PlayerCommand) -> Self {
        Self { window: Duration::from_millis(20), rounds: 1, ..Self::full(player) }
    }
}

/// Every subject where it makes sense: what polls needs a processor for each end. Where there is but one, all the rest
/// is measured on it.
fn subjects() -> Vec<(Subject, Placement)> {
    let round_trip = |bytes, wait| Subject::RoundTrip { bytes, wait };
    let mut two = Vec::new();
    two.extend([8, 64, 1024].map(|bytes| round_trip(bytes, Wait::Poll)));
    two.extend([64 << 10, 1 << 20, 8 << 20].map(|bytes| Subject::Loan { bytes, touch: Touch::Ends }));
    two.extend([64 << 10, 1 << 20].map(|bytes| Subject::Loan { bytes, touch: Touch::Every }));
    two.extend([(64, 1), (64, 16), (1 << 20, 1)].map(|(bytes, batch)| Subject::Flood { bytes, batch }));
    let waiting = [Wait::Block, Wait::Adaptive, Wait::Await].map(|wait| round_trip(64, wait));
    two.extend(waiting);
    two.extend([1, 2, 10, 50, 100, 200].map(|subscribers| Subject::Publish { subscribers }));
    two.extend([false, true].map(|contended| Subject::Lock { contended }));
    two.extend([
        Subject::Memory { bytes: 1 << 20 },
        Subject::Descriptors,
        Subject::Mappings,
        Subject::Join,
        Subject::Idle,
    ]);
    let on = |placement| move |subject| (subject, placement);
    if Placement::TwoCpus.cpus().is_none() {
        return two.into_iter().map(on(Placement::OneCpu)).collect();
    }
    two.into_iter().map(on(Placement::TwoCpus)).chain(waiting.map(on(Placement::OneCpu))).collect()
}

/// What a figure is about.
type Key = (usize, &'static str);
/// What a round brought: value and 99th percentile.
type Round = Outcome<(f64, Option<f64>)>;

/// Runs the plan with these contestants, which the players must know too, and tells `progress` before each figure.
///
/// # Errors
/// If the plan asks for nothing that any of them does on this machine.
pub fn run(
    plan: &Plan,
    contestants: &[&'static dyn Contestant],
    progress: &mut dyn FnMut(&Progress),
) -> Result<Report, String> {
    let wanted = |subject: Subject| {
        let title = subject.to_string();
        plan.only.is_empty() || plan.only.iter().any(|part| title.contains(part.as_str()))
    };
    let takers = |subject: Subject| contestants.iter().copied().filter(move |who| who.takes(subject));
    let cells: Vec<_> = plan
        .subjects
        .iter()
        .copied()
        .filter(|(subject, placement)| {
            let possible = placement.cpus().is_some() && !(subject.polls() && *placement == Placement::OneCpu);
            wanted(*subject) && possible && takers(*subject).next().is_some()
        })
        .collect();
    if cells.is_empty() {
        let titles: Vec<String> = plan.subjects.iter().map(|(subject, _)| subject.to_string()).collect();
        return Err(format!("there is nothing of that name to measure here; there are: {}", titles.join(", ")));
    }
    let mut machine = facts::machine_of(plan.window, plan.rounds);
    let total = cells.iter().map(|(subject, _)| takers(*subject).count()).sum::<usize>() * plan.rounds;
    let mut state = Progress { done: 0, total, now: String::new() };
    let mut found: HashMap<Key, Vec<Round>> = HashMap::new();
    for round in 0..plan.rounds {
        for (index, (subject, placement)) in cells.iter().enumerate() {
            let mut turn: Vec<_> = takers(*subject).collect();
            let first = round % turn.len();
            turn.rotate_left(first);
            for contestant in turn {
                state.now = format!("{}, {subject}, {placement}", contestant.name());
                progress(&state);
                state.done += 1;
                let figure = measure(plan, contestant, *subject, *placement);
                found.entry((index, contestant.name())).or_default().push(figure);
            }
        }
    }
    machine.figures = found.len();
    machine.unsteady_figures = found.values().filter(|rounds| is_unsteady(rounds)).count();
    let rows = rows(&cells, contestants, &found);
    Ok(Report { schema: SCHEMA, machine, rows })
}

fn measure(plan: &Plan, contestant: &dyn Contestant, subject: Subject, placement: Placement) -> Round {
    let cpus = placement.cpus().ok_or("this process may use only one processor")?;
    let folder = Folder::new()?;
    // What has names in a runtime directory has one of its own.
    let runtime = folder.0.path().join("run");
    fs::DirBuilder::new().mode(0o700).create(&runtime).map_err(|error| format!("cannot make a folder: {error}"))?;
    let command = plan.player.clone().env("TIELINE_RUNTIME_DIR", &runtime);
    let players = [Player::start(&command)?, Player::start(&command)?];
    for (player, part) in players.iter().zip([Part::First, Part::Second]) {
        let cpu = cpus[usize::from(part == Part::Second)];
        player.carry_out(&Order::Pin { cpu }, &[], PATIENCE)?;
        let order = Order::Play {
            contestant: contestant.name().to_owned(),
            subject,
            part,
            folder: folder.0.path().to_owned(),
            window: plan.window,
            cpus,
        };
        player.order(&order, &[])?;
    }
    let answer = lead(&players, subject, plan.window * 2 + subject.extra_time() + PATIENCE);
    drop(players);
    contestant.clean_up(folder.0.path());
    answer.map(|figure| (figure.value, figure.p99))
}

/// Lets the players go on whenever both have come to the same point, until both have ended.
fn lead(players: &[Player; 2], subject: Subject, patience: Duration) -> Outcome<Figure> {
    let deadline = Instant::now() + patience;
    let mut figures: [Option<Option<Figure>>; 2] = [None, None];
    let mut here = [false; 2];
    while figures.iter().any(Option::is_none) {
        for (index, player) in players.iter().enumerate() {
            if here[index] || figures[index].is_some() {
                continue;
            }
            let answer = player.answer(deadline.saturating_duration_since(Instant::now()));
            // Whoever fails makes the other wait in vain, so its sentence is the better one.
            let other = &players[1 - index];
            match answer.map_err(|reason| crate::conductor::better(other.answer(Duration::ZERO), reason))? {
                Answer::Here => here[index] = true,
                Answer::Figure(figure) => figures[index] = Some(figure),
                other => return Err(format!("an answer to another question: {other:?}")),
            }
        }
        match here {
            [true, true] => {
                players.iter().try_for_each(|player| player.order(&Order::GoOn, &[]))?;
                here = [false; 2];
            }
            [false, false] => {}
            _ if figures.iter().any(Option::is_some) => return Err("one end has left before the other".to_owned()),
            _ => {}
        }
    }
    let figures: Vec<Figure> = figures.into_iter().flatten().flatten().collect();
    let values = figures.iter().map(|figure| figure.value);
    let value = if subject.is_of_either() { values.fold(0.0, f64::max) } else { values.sum() };
    let p99 = figures.first().and_then(|figure| figure.p99);
    if figures.is_empty() { Err("nobody had a figure".to_owned()) } else { Ok(Figure { value, p99 }) }
}

/// A folder in memory, so that no disk is part of a figure.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Outcome<Self> {
        let in_memory = PathBuf::from("/dev/shm");
        let parent = if fs::metadata(&in_memory).is_ok() { in_memory } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("tieline-measure-").tempdir_in(parent);
        folder.map(Self).map_err(|error| format!("cannot make a folder: {error}"))
    }
}

fn is_unsteady(rounds: &[Round]) -> bool {
    let values = || rounds.iter().flatten().map(|(value, _)| *value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    most > 1.5 * least
}

fn rows(
    cells: &[(Subject, Placement)],
    contestants: &[&'static dyn Contestant],
    found: &HashMap<Key, Vec<Round>>,
) -> Vec<Row> {
    let entries: BTreeMap<usize, Vec<Entry>> = cells
        .iter()
        .enumerate()
        .map(|(index, (subject, _))| (index, entries(index, subject.unit(), contestants, found)))
        .collect();
    let find = |subject: Subject, placement: Placement, name: &str| {
        let index = cells.iter().position(|cell| *cell == (subject, placement))?;
        entries[&index].iter().find(|entry| entry.name == name)
    };
    let mut rows = Vec::new();
    for (index, (subject, placement)) in cells.iter().enumerate() {
        let mut ratios = Vec::new();
        for ours in entries[&index].iter().filter(|entry| entry.rank == Rank::Ours) {
            let goals = goal::of(*subject, *placement == Placement::OneCpu);
            for comparison in &goals {
                let elsewhere = (comparison.subject != *subject).then(|| comparison.subject.to_string());
                let other = find(comparison.subject, *placement, comparison.against.unwrap_or(ours.name));
                ratios.extend(other.and_then(|other| Ratio::of(ours, other, elsewhere, Some(comparison.goal))));
            }
            let others = entries[&index].iter().filter(|entry| entry.rank != Rank::Ours);
            for other in others {
                let is_goal = |it: &goal::Comparison| it.against == Some(other.name) && it.subject == *subject;
                if !goals.iter().any(is_goal) {
                    ratios.extend(Ratio::of(ours, other, None, None));
                }
            }
        }
        // Where ours is compared with ours, whether less is possible: the same of the floors.
        let own = goal::of(*subject, *placement == Placement::OneCpu);
        for comparison in own.iter().filter(|comparison| comparison.against.is_none()) {
            for floor in entries[&index].iter().filter(|entry| entry.rank == Rank::Floor) {
                let elsewhere = Some(comparison.subject.to_string());
                let other = find(comparison.subject, *placement, floor.name);
                ratios.extend(other.and_then(|other| Ratio::of(floor, other, elsewhere, None)));
            }
        }
        rows.push(Row {
            subject: *subject,
            title: subject.to_string(),
            placement: *placement,
            unit: subject.unit(),
            entries: entries[&index].clone(),
            ratios,
        });
    }
    rows
}

fn entries(
    index: usize,
    unit: Unit,
    contestants: &[&'static dyn Contestant],
    found: &HashMap<Key, Vec<Round>>,
) -> Vec<Entry> {
    let entry = |who: &&'static dyn Contestant| {
        let rounds = found.get(&(index, who.name()))?;
        Some(Entry::of(who.name(), who.rank(), unit, rounds))
    };
    contestants.iter().filter_map(entry).collect()
}
