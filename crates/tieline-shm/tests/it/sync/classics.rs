//! The classic problems, as the examples solve them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The example's program. Cargo builds examples beside the tests, unless asked for one test only.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--example", name]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if let Some(target) = built.ancestors().nth(3) {
        cargo.arg("--target-dir").arg(target);
    }
    assert!(cargo.status().unwrap().success(), "the example {name} does not build");
    built
}

fn runs(name: &str) {
    let program = program(name);
    let started = Instant::now();
    let mut child = Command::new(program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = tieline_testkit::until(&format!("the example {name} ends"), || child.try_wait().unwrap());
    let took = started.elapsed();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(ended.success(), "{name}: {ended}: {said}");
    // Less than 2 s on a machine with nothing else to do.
    assert!(took < Duration::from_secs(10), "{name} took {took:?}");
}

#[test]
fn bounded_buffer() {
    runs("bounded_buffer");
}

#[test]
fn bounded_pool() {
    runs("bounded_pool");
}

#[test]
fn philosophers() {
    runs("philosophers");
}

#[test]
fn readers_writers() {
    runs("readers_writers");
}

#[test]
fn monitor() {
    runs("monitor");
}
