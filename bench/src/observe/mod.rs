//! One full look at a machine, `tieline` and the tools people use today, on a load that this program makes itself.
//!
//! Processor time is what counts: these tools all run on one thread, and wall time says more about what else runs.

pub(crate) mod floor;
mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::Outcome;
use crate::child::Running;
use crate::machine::{Machine, root};
use crate::statistics::{Spread, table};

pub(crate) use load::Holder;

/// What to compare.
#[derive(Args)]
pub(crate) struct Flags {
    /// How many rounds
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Processes that hold something
    #[arg(long, default_value_t = 320)]
    processes: usize,
    /// Descriptors that they hold, all together
    #[arg(long, default_value_t = 21_000)]
    descriptors: usize,
    /// Only commands with this text in them, and tieline
    #[arg(long)]
    only: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the table to bench/results/observe.md
    #[arg(long)]
    record: bool,
    /// Measure here; set when the comparison starts itself again in an IPC namespace of its own
    #[arg(long, hide = true)]
    inside: bool,
}

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// What others use, each as a shell would start it, and how much of its processor time ours may take.
const PEERS: [(&[&str], Option<f64>); 7] = [
    (&["lsof", "-n", "-P"], Some(0.15)),
    (&["lsof", "-n", "-P", "+E"], None),
    (&["lsfd"], Some(0.1)),
    (&["ss", "-xp"], None),
    (&["ss", "-xtunp"], None),
    (&["lsipc"], None),
    (&["ipcs", "-a"], None),
];

/// One command and its figures, one of each round.
struct Row {
    line: Vec<String>,
    goal: Option<f64>,
    is_ours: bool,
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// How much of its processor time the first command took in the same round.
    ratio: Vec<f64>,
    bytes: u64,
}

pub(crate) fn run(flags: &Flags, tieline: &Path) -> Outcome {
    if !flags.inside && isolated() {
        return again_inside();
    }
    let machine = Machine::look();
    let load = load::Load::make(flags.processes, flags.descriptors, flags.inside)?;
    let seen = load::count_all();
    eprintln!("{seen}");
    let mut rows = rows(flags, tieline)?;
    for round in 0..=flags.rounds {
        measure(&mut rows, round)?;
    }
    drop(load);
    let text = format!("{seen}\n\n{}", show(&rows));
    if flags.json {
        let report = json!({ "machine": machine.json(), "results": rows.iter().map(Row::json).collect::<Vec<_>>() });
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        println!("{text}");
    }
    if flags.record {
        let page = root().join("bench/results/observe.md");
        let text = format!("# One full look at the machine\n\n{}\n{text}", machine.text());
        fs::write(&page, text).map_err(|error| format!("write {}: {error}", page.display()))?;
    }
    Ok(())
}

/// Whether a command can have an IPC namespace of its own here: what is made in it is gone when it ends, however it ends.
fn isolated() -> bool {
    let quiet = Command::new("unshare").args(["--ipc", "true"]).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn again_inside() -> Outcome {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut command = Command::new("unshare");
    command.arg("--ipc").arg(program).args(std::env::args_os().skip(1)).arg("--inside");
    let status = command.status().map_err(|error| format!("start unshare: {error}"))?;
    if status.success() { Ok(()) } else { Err("the comparison failed in its namespace".to_owned()) }
}

/// The commands that are there; who is missing is told.
fn rows(flags: &Flags, tieline: &Path) -> Outcome<Vec<Row>> {
    let mut rows: Vec<Row> = ours(tieline)?.into_iter().map(|line| Row::new(line, None, true)).collect();
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    rows.push(Row::new(vec![program.to_string_lossy().into_owned(), "floor".to_owned()], None, false));
    for (line, goal) in PEERS {
        let line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        if flags.only.as_ref().is_some_and(|only| !line.join(" ").contains(only.as_str())) {
            continue;
        }
        let quiet = Command::new(&line[0]).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match quiet {
            Ok(_) => rows.push(Row::new(line, goal, false)),
            Err(error) => eprintln!("skipped {}: {error}", line.join(" ")),
        }
    }
    Ok(rows)
}

/// Our own command lines: `tieline ls` of a command that has it, else the library's example that prints the same.
fn ours(tieline: &Path) -> Outcome<Vec<Vec<String>>> {
    let knows = Command::new(tieline).args(["ls", "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if knows.is_ok_and(|status| status.success()) {
        let line = |more: &[&str]| {
            let words = ["ls"].iter().chain(more).map(|&word| word.to_owned());
            std::iter::once(tieline.to_string_lossy().into_owned()).chain(words).collect()
        };
        return Ok(vec![line(&[]), line(&["--json"])]);
    }
    let example: PathBuf = root().join("target/release/examples/scan");
    if !example.exists() {
        return Err(format!("{} is not built; use cargo xtask bench observe", example.display()));
    }
    Ok(vec![vec![example.to_string_lossy().into_owned()]])
}

/// Runs every command once, in an order that changes from round to round. The first round warms up and does not count.
fn measure(rows: &mut [Row], round: usize) -> Outcome {
    let first = rows.len().min(1) * round % rows.len().max(1);
    let mut figures = vec![(0.0, 0.0); rows.len()];
    for step in 0..rows.len() {
        let index = (first + step) % rows.len();
        let row = &mut rows[index];
        let output = tempfile::tempfile().map_err(|error| format!("make a file: {error}"))?;
        let into = output.try_clone().map_err(|error| format!("duplicate a descriptor: {error}"))?;
        let mut command = Command::new(&row.line[0]);
        command.args(&row.line[1..]).stdin(Stdio::null()).stdout(into).stderr(Stdio::null());
        let begun = Instant::now();
        let ended = Running::start(&mut command)?.wait(PATIENCE)?;
        figures[index] = (ended.cpu_seconds, begun.elapsed().as_secs_f64());
        row.bytes = output.metadata().map_or(0, |file| file.len());
        // lsof and lsfd end with 1 if any process vanished while they looked.
        if row.is_ours && !ended.status.success() {
            return Err(format!("{} failed: {}", row.name(), ended.status));
        }
    }
    if round > 0 {
        let reference = figures.first().map_or(0.0, |figure| figure.0);
        for (row, (cpu, wall)) in rows.iter_mut().zip(figures) {
            row.cpu.push(cpu * 1e3);
            row.wall.push(wall * 1e3);
            row.ratio.push(reference / cpu);
        }
    }
    Ok(())
}

impl Row {
    fn new(line: Vec<String>, goal: Option<f64>, is_ours: bool) -> Self {
        Self { line, goal, is_ours, cpu: Vec::new(), wall: Vec::new(), ratio: Vec::new(), bytes: 0 }
    }

    /// The command line, its program without a folder.
    fn name(&self) -> String {
        if self.line[1..] == ["floor"] {
            return "(bare readlink)".to_owned();
        }
        let program = Path::new(&self.line[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words = std::iter::once(program).chain(self.line[1..].iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    }

    fn verdict(&self) -> String {
        let ratio = Spread::of(&self.ratio).map_or(f64::INFINITY, |ratio| ratio.median);
        match self.goal {
            None => String::new(),
            Some(goal) if ratio <= goal => format!("{goal}: met"),
            Some(goal) => format!("{goal}: missed"),
        }
    }

    fn cells(&self) -> Vec<String> {
        let milliseconds = |figures: &[f64]| {
            let spread = Spread::of(figures);
            spread.map_or_else(String::new, |Spread { median, least, greatest }| {
                format!("{median:.0} ({least:.0}–{greatest:.0})")
            })
        };
        let ratio = Spread::of(&self.ratio).map_or_else(String::new, |Spread { median, least, greatest }| {
            format!("{median:.3} ({least:.3}–{greatest:.3})")
        });
        let kilobytes = format!("{}", self.bytes / 1000);
        vec![self.name(), milliseconds(&self.cpu), milliseconds(&self.wall), kilobytes, ratio, self.verdict()]
    }

    fn json(&self) -> Value {
        let spread = |figures: &[f64]| Spread::of(figures).map(|spread| spread.json());
        json!({
            "command": self.name(),
            "cpu_ms": spread(&self.cpu),
            "wall_ms": spread(&self.wall),
            "ratio": spread(&self.ratio),
            "goal": self.goal,
            "output_bytes": self.bytes,
        })
    }
}

fn show(rows: &[Row]) -> String {
    let ours = rows.first().map(Row::name).unwrap_or_default();
    let ratio = format!("{ours} / this");
    let heads = ["command", "processor time, ms", "wall time, ms", "prints, kB", &ratio, "goal"];
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    format!(
        "Whole processes, interleaved; medians of {} rounds, with the least and the greatest. \
         The ratio is of processor time, and below 1 where ours takes less.\n\n{}",
        rows.first().map_or(0, |row| row.cpu.len()),
        table(&heads, &cells)
    )
}
