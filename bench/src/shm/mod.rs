//! Shared memory: our channels and locks, the floors, and what others made, in one run.
//!
//! The conductor, the floors and ours are those of `tieline bench shm`; here the peers join in.

mod iceoryx;
mod report;
mod ringfire;
mod tokio_socket;
mod tokio_topic;

use std::fs;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use tieline_measure::PlayerCommand;
use tieline_measure::shm::{Contestant, Plan, contestants, run as measure};

use crate::machine::Machine;
use crate::{Outcome, machine};

/// Flags of the comparison.
#[derive(Args)]
pub(crate) struct Flags {
    /// Only subjects whose title contains this; may be given more than once
    #[arg(long, value_name = "TITLE")]
    only: Vec<String>,
    /// Only contestants whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    who: Vec<String>,
    /// How often the whole list is gone through
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each figure is measured, in milliseconds
    #[arg(long, default_value_t = 300)]
    window_ms: u64,
    /// Write results/shm.md
    #[arg(long)]
    record: bool,
    /// Print the figures of all rounds as JSON
    #[arg(long)]
    json: bool,
}

/// One end of a measurement; started by the comparison.
pub(crate) fn play() -> Outcome {
    tieline_measure::play_with(&everyone())
}

pub(crate) fn run(flags: &Flags) -> Outcome {
    let machine = Machine::look();
    let player = PlayerCommand::this_executable(["shm-player"]).map_err(|error| error.to_string())?;
    let plan = Plan {
        only: flags.only.clone(),
        rounds: flags.rounds.max(1),
        window: Duration::from_millis(flags.window_ms),
        ..Plan::full(player)
    };
    let wanted =
        |who: &&dyn Contestant| flags.who.is_empty() || flags.who.iter().any(|part| who.name().contains(part.as_str()));
    let who: Vec<_> = everyone().into_iter().filter(wanted).collect();
    let is_lively = std::io::stderr().is_terminal();
    let report = measure(&plan, &who, &mut |progress| {
        if is_lively {
            eprint!("\r\x1b[K{progress}");
            let _ = std::io::stderr().flush();
        }
    })?;
    if is_lively {
        eprint!("\r\x1b[K");
    }
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    let text = report::page(&machine, &report);
    print!("{text}");
    if flags.record {
        let file = machine::root().join("bench/results/shm.md");
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}

/// Floors, ours, peers.
fn everyone() -> Vec<&'static dyn Contestant> {
    let mut all = contestants();
    all.extend([&ringfire::RINGFIRE as &dyn Contestant, &iceoryx::ICEORYX, &tokio_socket::SOCKET, &tokio_topic::TOPIC]);
    all
}
