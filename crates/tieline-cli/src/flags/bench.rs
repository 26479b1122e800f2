//! Flags of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{duration, size};

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
