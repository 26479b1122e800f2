//! The classic problems, as the examples solve them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The example's program. Cargo builds examples beside the tests, unless asked for one test only. `None` where that was not
/// done and cannot be: another user's tree, a machine that has only the tests.
fn program(name: &str) -> Option<PathBuf> {
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
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(_) | Err(_) if !built.exists() => return None,
        // What was built with the tests will do.
        Ok(_) | Err(_) => {}
    }
    Some(built)
}

fn runs(name: &str) {
    let Some(program) = program(name) else {
        return tieline_testkit::skipped(&format!("sync::classics::{name}"), "the example is not built, and cannot be");
    };
    let mut child = Command::new(program).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Less than 2 s on a machine with nothing else to do.
    let ended = tieline_testkit::until(&format!("the example {name} ends"), || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(ended.success(), "{name}: {ended}: {said}");
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
