//! `tieline-bench`: the `tieline` command against the programs people use today, on the same paths, in the same run.
//!
//! `throughput` moves bytes in bulk, `latency` bounces small messages, `observe` looks at the whole machine: every program
//! is started as a shell would start it, between the same source and the same sink, which are this program again in
//! another role. `shm` compares libraries, and is there only with the feature of that name.

#![deny(unsafe_code)]

mod child;
mod latency;
mod machine;
mod observe;
mod path;
mod placement;
mod player;
mod program;
#[cfg(feature = "shm")]
mod shm;
mod statistics;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What every fallible step here answers: a sentence that says what went wrong.
pub(crate) type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "tieline-bench", about = "Compare tieline with other programs")]
struct Cli {
    /// The tieline command to measure, if not the one in target/release
    #[arg(long, global = true)]
    tieline: Option<PathBuf>,
    #[command(subcommand)]
    comparison: Option<Comparison>,
}

#[derive(Subcommand)]
enum Comparison {
    /// Bulk throughput on every path: cat, socat, nc and pv between the same source and sink
    Throughput(throughput::Flags),
    /// Round trip of small messages through a relay: tieline connect and socat
    Latency(latency::Flags),
    /// One full look at the machine: lsof, lsfd, ss and lsipc on the same load
    Observe(observe::Flags),
    /// Channels and locks in shared memory: ours, the bare forms, ringfire, iceoryx2
    #[cfg(feature = "shm")]
    Shm(shm::Flags),
    /// One end of a measurement; started by the comparison
    #[cfg(feature = "shm")]
    #[command(hide = true)]
    ShmPlayer,
    /// Read every link of /proc/PID/fd; started by the comparisons
    #[command(hide = true)]
    Floor,
    /// Hold descriptors; started by the comparisons
    #[command(hide = true)]
    Holder(observe::Holder),
    /// Write bytes; started by the comparisons
    #[command(hide = true)]
    Source(player::Source),
    /// Swallow bytes; started by the comparisons
    #[command(hide = true)]
    Sink(player::Sink),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let tieline = cli.tieline.unwrap_or_else(|| machine::root().join("target/release/tieline"));
    let done = match cli.comparison {
        None => {
            println!("comparisons: throughput, latency, observe, shm (see --help, and throughput --list)");
            Ok(())
        }
        Some(Comparison::Throughput(flags)) => throughput::run(&flags, &tieline),
        Some(Comparison::Latency(flags)) => latency::run(&flags, &tieline),
        Some(Comparison::Observe(flags)) => observe::run(&flags, &tieline),
        #[cfg(feature = "shm")]
        Some(Comparison::Shm(flags)) => shm::run(&flags),
        #[cfg(feature = "shm")]
        Some(Comparison::ShmPlayer) => shm::play(),
        Some(Comparison::Floor) => observe::floor::run(),
        Some(Comparison::Holder(holder)) => holder.run(),
        Some(Comparison::Source(source)) => source.run(),
        Some(Comparison::Sink(sink)) => sink.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("tieline-bench: {reason}");
            ExitCode::FAILURE
        }
    }
}
