//! Bulk throughput: the same bytes from the same source to the same sink, with one program after the other between.
//!
//! Runs are interleaved (A B C A B C …), each round gives one ratio, and the median of the ratios counts: what else
//! the machine does meanwhile hits all of them.

mod report;
mod run;

use std::path::{Path as FilePath, PathBuf};

use clap::Args;

use self::report::Row;
use self::run::{Bench, Sample};
use crate::Outcome;
use crate::machine::Machine;
use crate::path::{PATHS, Path, Place};
use crate::placement::{Placement, Processors};
use crate::player::Fate;
use crate::program::Program;
use crate::statistics::Spread;

/// What to compare.
#[derive(Args)]
pub(crate) struct Flags {
    /// Only paths whose name contains this, such as unix or file→; may be given more than once
    #[arg(long)]
    only: Vec<String>,
    /// List the paths and the programs for each, and run nothing
    #[arg(long)]
    list: bool,
    /// The program that is compared with the others
    #[arg(long, value_enum, default_value = "tieline")]
    subject: Program,
    /// The others
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Program>,
    /// What the sink does with the bytes; without this, discard and read in turn
    #[arg(long, value_enum)]
    sink: Option<Fate>,
    /// How many rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each run shall take at least, in seconds
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// On which processors the processes are
    #[arg(long, value_enum, default_value = "one")]
    placement: Placement,
    /// Where files are put; in memory by default, so that no disk is measured
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the table to bench/results/throughput.md
    #[arg(long)]
    record: bool,
}

pub(crate) fn run(flags: &Flags, tieline: &FilePath) -> Outcome {
    let chosen = |path: &Path| flags.only.is_empty() || flags.only.iter().any(|part| path.to_string().contains(part));
    let paths: Vec<Path> = PATHS.iter().copied().filter(chosen).collect();
    if flags.list {
        for path in paths {
            let names: Vec<String> = programs(flags, path, tieline).iter().map(Program::to_string).collect();
            println!("{path}: {}", names.join(", "));
        }
        return Ok(());
    }
    if !flags.subject.is_here(tieline) {
        return Err(format!("{} is not there; build it with cargo build --release", tieline.display()));
    }
    let machine = Machine::look();
    let bench = Bench::new(tieline, &flags.folder, Processors::new(flags.placement)?)?;
    let mut rows = Vec::new();
    for path in paths {
        let fates: &[Fate] = match flags.sink {
            _ if path.to == Place::File => &[Fate::Read],
            Some(ref fate) => std::slice::from_ref(fate),
            None => &[Fate::Discard, Fate::Read],
        };
        for fate in fates {
            rows.push(measure(flags, &bench, path, *fate)?);
        }
    }
    report::print(&machine, &rows, flags.json)?;
    if flags.record { report::record(&machine, &rows) } else { Ok(()) }
}

/// The subject first, then the others that this machine has and that fit the path.
fn programs(flags: &Flags, path: Path, tieline: &FilePath) -> Vec<Program> {
    let wanted = |program: &Program| flags.against.is_empty() || flags.against.contains(program);
    let mut programs = path.rivals();
    programs.retain(|program| program.is_here(tieline) && *program != flags.subject && wanted(program));
    programs.insert(0, flags.subject);
    programs
}

fn measure(flags: &Flags, bench: &Bench, path: Path, fate: Fate) -> Outcome<Row> {
    let into = if path.to == Place::File {
        "file"
    } else if fate == Fate::Read {
        "read"
    } else {
        "discard"
    };
    let mut row = Row::new(path, into);
    let mut sizes = Vec::new();
    for program in programs(flags, path, bench.tieline()) {
        // A program that fails on a path is a result, not the end of the comparison.
        match bench.check(path, program).and_then(|()| bench.calibrate(path, program, fate, flags.seconds)) {
            Ok(bytes) => sizes.push((program, bytes)),
            Err(reason) => {
                eprintln!("{path} ({into}), {program}: {reason}");
                row.failed(program, reason);
            }
        }
    }
    if path.is_prepared() {
        // One file for all of them.
        let largest = sizes.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
        sizes.iter_mut().for_each(|(_, bytes)| *bytes = largest);
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sizes.len()];
    for round in 0..flags.rounds {
        for turn in 0..sizes.len() {
            // Each round begins with another, so that none always follows the same.
            let index = (round + turn) % sizes.len();
            let (program, bytes) = sizes[index];
            samples[index].push(bench.run(path, program, bytes, fate)?);
        }
    }
    let subject = sizes.iter().position(|(program, _)| *program == flags.subject).map(|index| samples[index].clone());
    for ((program, bytes), samples) in sizes.into_iter().zip(&samples) {
        let of = |figure: fn(&Sample) -> f64| Spread::of(&samples.iter().map(figure).collect::<Vec<_>>());
        let ratio = subject.as_ref().and_then(|subject| {
            let ratios = subject.iter().zip(samples).map(|(ours, theirs)| ours.rate() / theirs.rate());
            Spread::of(&ratios.collect::<Vec<_>>())
        });
        if let (Some(rate), Some(cpu)) = (of(Sample::rate), of(Sample::cpu_per_gigabyte)) {
            row.measured(program, bytes, rate, cpu, ratio);
        }
    }
    eprintln!("{}", row.line());
    Ok(row)
}
