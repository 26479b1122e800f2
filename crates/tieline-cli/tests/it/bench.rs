//! `bench os` and `bench shm`: they run, their tables fit, the chart stands alone.

use std::fs;

use tieline_testkit::{has_command, skip};

use crate::support::{Place, run, run_measuring, run_measuring_under};

#[test]
fn a_quick_run_has_tables_and_a_chart() {
    let place = Place::new();
    for file in ["chart.svg", "chart.html"] {
        let chart = place.text(file);
        let said = run_measuring(&[
            "bench", "os", "--quick", "--window", "5ms", "--only", "pipe", "--sizes", "64,1M", "--chart", &chart,
        ])
        .well();
        for word in
            ["Round trip in µs", "Throughput one way", "A token going round", "What single steps cost", "pipe", "1 MiB"]
        {
            assert!(said.text().contains(word), "no {word:?} in:\n{}", said.text());
        }
        // The units stand over the columns.
        let units = said.text().lines().find(|line| line.contains("GB/s") && !line.contains("way")).unwrap();
        assert!(units.split_whitespace().all(|unit| ["M/s", "GB/s"].contains(&unit)), "{units}");
        let verdicts = ["true here", "false here", "depends"];
        assert!(verdicts.iter().any(|verdict| said.text().contains(verdict)), "no verdict in:\n{}", said.text());
        let widest = said.text().lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{widest:?} columns:\n{}", said.text());
        let drawn = fs::read_to_string(&chart).unwrap();
        assert!(drawn.contains("<svg") && drawn.contains("</svg>"));
        assert_eq!(drawn.starts_with("<!doctype html>"), file.ends_with("html"));
        // Nothing is fetched from anywhere; a name space is no link.
        let links = drawn.replace("http://www.w3.org/", "");
        assert!(!links.contains("http://") && !links.contains("https://") && !links.contains("<script"), "{file}");
    }
}

#[test]
fn one_placement_only() {
    let flags = ["--quick", "--window", "5ms", "--only", "eventfd", "--placement", "one", "--sizes", "64"];
    let said = run_measuring(&[&["bench", "os"], &flags[..]].concat()).well();
    assert!(said.text().contains("both processes on one processor"));
    assert!(!said.text().contains("processor of its own"), "{}", said.text());
}

#[test]
fn what_is_refused_is_refused_before_measuring() {
    run(&["bench", "os", "--chart", "/no/such/folder/chart.svg"]).failed(3, &["/no/such/folder"]);
    run(&["bench", "os", "--chart", "chart.png"]).failed(2, &[".svg or .html"]);
    run(&["bench", "os", "--only", "nope"]).failed(2, &["has nope in its name", "unix-stream"]);
    run(&["bench", "player"]).failed(1, &["measurement itself"]);
}

/// Given a limit that lets no mechanism of the run work, then the report says so, and so does the exit code; if another
/// could be measured, it is a success, and the report says what is missing.
#[test]
fn a_run_that_could_measure_nothing_fails() {
    if !has_command("prlimit") {
        skip!("prlimit of util-linux is not installed");
    }
    let under_limit = |flags: &[&str]| {
        let bench =
            ["bench", "os", "--quick", "--window", "1ms", "--placement", "one", "--sizes", "64", "--bulk", "64"];
        let arguments = [&bench[..], &["--only", "posix-mq"], flags].concat();
        run_measuring_under(&["prlimit", "--msgqueue=0"], &arguments)
    };
    let said = under_limit(&[]).failed(1, &["no mechanism could be measured: posix-mq", "RLIMIT_MSGQUEUE"]);
    assert!(said.text().contains("What could not be measured"), "{}", said.text());
    let said = under_limit(&["--json"]);
    let error: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!((said.code, &error["error"]["kind"]), (1, &"failed".into()));
    let report: serde_json::Value = serde_json::from_slice(&said.out).expect("JSON");
    assert!(!report["rows"][0]["missing"].as_array().unwrap().is_empty());
    let said = under_limit(&["--only", "eventfd"]).well();
    assert!(said.text().contains("What could not be measured"), "{}", said.text());
}

#[test]
fn the_list_names_every_mechanism() {
    let said = run(&["bench", "os", "--list"]).well();
    for name in tieline_measure::mechanisms().map(|mechanism| mechanism.name) {
        assert!(said.text().lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn the_help_tells_syntax_and_defaults() {
    let help = run(&["bench", "os", "--help"]).well();
    for word in ["SIZE,…", "64,4K,64K,1M", "60ms", "--repeats <N>"] {
        assert!(help.text().contains(word), "no {word} in:\n{}", help.text());
    }
}

#[test]
fn shared_memory_is_measured_against_the_bare_forms() {
    let flags = ["--quick", "--window", "5ms", "--only", "lock", "--only", "blocking"];
    let said = run_measuring(&[&["bench", "shm"], &flags[..]].concat()).well();
    for word in ["bare futex", "pthread robust", "std Mutex", "lock and unlock", "round trip 64 B, blocking", "1 cpu"] {
        assert!(said.text().contains(word), "no {word:?} in:\n{}", said.text());
    }
    assert!(!said.text().contains("could not be measured"), "{}", said.text());
    let widest = said.text().lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?} columns:\n{}", said.text());
    run(&["bench", "shm", "--only", "nope"]).failed(2, &["nothing of that name", "round trip 64 B, polling"]);
}
