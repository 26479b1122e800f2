//! Measures the mechanisms whose names contain the arguments, and prints the claims and the JSON report.
//!
//! `cargo run --release -p tieline-measure --example mechanisms -- pipe unix`

use tieline_measure::{Plan, PlayerCommand};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.first().is_some_and(|first| first == "player") {
        return Ok(tieline_measure::play()?);
    }
    let player = PlayerCommand::this_executable(["player"])?;
    let plan = Plan { only: names, ..Plan::quick(player) };
    let report = tieline_measure::run(&plan, &mut |progress| eprintln!("{progress}"))?;
    for claim in &report.claims {
        eprintln!("{}: {}", claim.claim, claim.here);
    }
    if let Some(file) = std::env::var_os("CHART") {
        std::fs::write(file, tieline_measure::chart(&report)?)?;
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
