//! `cargo xtask`: what a person and the CI machine run. `cargo xtask --help` lists it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tieline's own tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then run every test: unit, integration, conformance, end-to-end, documentation
    Test {
        /// Arguments for `cargo test`, such as a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Check what no compiler checks: layers, unsafe code, words of unfinished work, documentation, the README
    Tidy {
        /// Accept the present number of unsafe blocks of each file as the new list
        #[arg(long)]
        bless: bool,
    },
    /// Everything a change must pass: format, lints, documentation, tidy, tests
    Ci,
    /// Run the comparisons of the bench workspace; without a name, list them
    Bench {
        /// The comparison and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run a suite of tests that others wrote, fetched for it; without a name, list them
    Conformance {
        /// The suite
        suite: Option<String>,
    },
    /// Search for inputs that break a decoder (needs cargo-fuzz and a C++ compiler); without a name, list the targets
    Fuzz {
        /// The target
        target: Option<String>,
        /// For how many seconds
        #[arg(long, default_value_t = 300)]
        seconds: u32,
    },
    /// Run the long suites: more than 10,000 kills, attacks, and the Spin models
    Soak {
        /// Only suites whose name contains this: of kills, `told`, `stress`, `spin`; and `models`, loom's, only if named
        only: Vec<String>,
        /// Rounds of each suite
        #[arg(long, default_value_t = 600)]
        rounds: u64,
        /// Minutes for all suites together, after building
        #[arg(long, default_value_t = 25)]
        minutes: u64,
        /// Add the result to docs/soak.md
        #[arg(long)]
        record: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test { rest } => xtask::test::run(&rest),
        Task::Tidy { bless } => xtask::tidy::run(bless),
        Task::Ci => xtask::ci::run(),
        Task::Bench { rest } => xtask::bench::run(&rest),
        Task::Conformance { suite } => xtask::conformance::run(suite.as_deref()),
        Task::Soak { only, rounds, minutes, record } => {
            xtask::soak::run(&xtask::soak::Budget { rounds, minutes, only, record })
        }
        Task::Fuzz { target, seconds } => xtask::fuzz::run(target.as_deref(), seconds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
