//! `cargo xtask test`: every test, on a machine that has nothing but Rust and a Debian base.

use std::fs;
use std::process::{Command, Stdio};

use crate::{Outcome, cargo, root, run as step};

/// The programs the tests talk to, and the Debian package that holds each.
///
/// They are peers made by others: a test that finds one missing is skipped, and says so.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("ipcs", "util-linux-extra"),
    ("nc", "netcat-openbsd"),
    ("pv", "pv"),
    ("python3", "python3"),
    ("setsid", "util-linux"),
    ("socat", "socat"),
];

/// The fuzz workspace without its engine: every kept input against every check, in seconds and on any toolchain.
const REPLAY: &[&str] = &["test", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"];

/// Installs what is missing, runs `cargo test` over the workspace with `rest` added, and without a `rest` also replays
/// the kept corpus of the fuzz targets.
///
/// # Errors
/// If a test fails. A package that cannot be installed is a warning: its tests are skipped and listed at the end.
pub fn run(rest: &[String]) -> Outcome {
    install_missing();
    let log = root().join("target/skipped-tests.log");
    fs::create_dir_all(root().join("target")).map_err(|error| format!("cannot make target/: {error}"))?;
    let _ = fs::remove_file(&log);
    let mut test = cargo(&["test", "--workspace", "--all-features"]);
    let answer = step(test.args(rest).env("TIELINE_SKIP_LOG", &log));
    if let Ok(skipped) = fs::read_to_string(&log) {
        eprintln!("xtask: tests that this machine could not run:\n{skipped}");
    }
    answer?;
    if rest.is_empty() { step(&mut cargo(REPLAY)) } else { Ok(()) }
}

fn install_missing() {
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return;
    }
    let names = packages.join(" ");
    let install = format!("apt-get update -qq && apt-get install -qq -y --no-install-recommends {names}");
    let mut command = if quietly("test \"$(id -u)\" = 0") {
        Command::new("sh")
    } else if quietly("sudo -n true") {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        eprintln!("xtask: not root, so not installed: {names}; the tests that need them will be skipped");
        return;
    };
    // Each package by itself would be kinder to unknown names, but one transaction is many times faster.
    let installed = step(command.args(["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()));
    if let Err(reason) = installed {
        eprintln!("xtask: {reason}; the tests that need {names} will be skipped");
    }
}

fn has(program: &str) -> bool {
    quietly(&format!("command -v {program}"))
}

fn quietly(script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}
