//! Models: every order of events that a few threads can have, tried by loom; and planted bugs, which a model must notice.
//!
//! A model is a test named `model_*`; `cargo xtask test` runs them all, each search for at most a time that the environment
//! gives (`LOOM_MAX_DURATION`). A search for a planted bug has as long as it takes: on a slow machine too it is found.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::raw::{PLANT, planted};

/// Far more than any model has in one order of events, so that who runs in circles is found out.
const MAX_BRANCHES: usize = 100_000;
/// How many orders are tried between two looks at the clock.
const ORDERS_PER_LOOK: usize = 1000;
const MAX_DURATION: &str = "LOOM_MAX_DURATION";

/// Tries every order of the events in `run` with at most so many preemptions (`None`: all there are), and prints how many there
/// were.
pub(crate) fn explore(name: &str, preemptions: impl Into<Option<usize>>, run: impl Fn() + Send + Sync + 'static) {
    search(name, preemptions.into(), None, run);
}

/// As [`explore`], for at most this time.
pub(crate) fn explore_for(time: Duration, name: &str, preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    search(name, Some(preemptions), Some(time), run);
}

fn search(name: &str, preemptions: Option<usize>, time: Option<Duration>, run: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = MAX_BRANCHES;
    builder.checkpoint_interval = ORDERS_PER_LOOK;
    builder.max_duration = time.or(builder.max_duration);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let bound = preemptions.map_or(String::new(), |most| format!(", at most {most} preemptions"));
    println!("{name}{bound}: {} executions", executions.load(Ordering::Relaxed));
}

/// Demands that `run`, a part of the test of this name, fails where `bug` is planted.
pub(crate) fn must_fail(test: &str, bug: &str, run: impl FnOnce()) {
    if planted() == Some(bug) {
        run();
    } else {
        must_notice(test, bug);
    }
}

/// Demands that the test of this name fails where `bug` is planted.
///
/// It runs in a process of its own, because loom does not survive a deadlock that it finds.
pub(crate) fn must_notice(test: &str, bug: &str) {
    let mut planted = Command::new(std::env::current_exe().expect("the running test binary"));
    planted.args([test, "--exact"]).env(PLANT, bug).env_remove(MAX_DURATION);
    let output = planted.output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "there is no model {test}");
    assert!(!output.status.success(), "{test} does not notice the planted bug: {bug}");
}

/// The name of the test `test` in the module `module`, which is its `module_path!()`, as the runner knows it.
pub(crate) fn name_in(module: &str, test: &str) -> String {
    let (_crate, module) = module.split_once("::").expect("a module of this crate");
    format!("{module}::{test}")
}
