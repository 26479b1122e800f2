//! What is emitted is what `docs/formats/json.md` says, field by field, both ways.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{Job, Object, Place, key, run, run_measuring, run_with, shell, tieline, unique};

const PAGE: &str = include_str!("../../../../docs/formats/json.md");

/// Of what the machine holds.
const SEEING: [&str; 6] =
    ["tieline.clean/1", "tieline.leaks/1", "tieline.limits/1", "tieline.locks/1", "tieline.ls/1", "tieline.who/1"];

/// The fields of each schema on the page.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut schemas: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut now = None;
    for line in PAGE.lines() {
        if let Some(schema) = line.strip_prefix("## ") {
            now = Some(schema.trim().to_owned());
        } else if let (Some(schema), Some(rest)) = (&now, line.strip_prefix("| `")) {
            let field = rest.split('`').next().unwrap().to_owned();
            assert!(schemas.entry(schema.clone()).or_default().insert(field.clone()), "{schema} has {field} twice");
        }
    }
    schemas
}

/// The paths of all leaves; null is a leaf that says nothing of what could be there.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(value, &path, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        _ => drop(found.insert(path.to_owned())),
    }
}

/// A null where an object may be is no field of its own.
fn is_empty_parent(field: &str, documented: &BTreeSet<String>) -> bool {
    documented.iter().any(|known| known.strip_prefix(field).is_some_and(|rest| rest.starts_with('.')))
}

fn documents() -> Vec<Value> {
    let place = Place::new();
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let mut out = |arguments: &[&str]| {
        let said = if arguments[0] == "bench" { run_measuring(arguments) } else { run(arguments) };
        let text = if said.out.is_empty() { said.err.clone().into_bytes() } else { said.out.clone() };
        texts.push(text.clone());
        serde_json::from_slice::<Value>(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:?}"))
    };
    let (name, key) = (unique("/tieline-json"), key());
    let made = [
        out(&["mk", "fifo", &place.text("f"), "--json"]),
        out(&["mk", "unix", &place.text("s"), "--json"]),
        out(&["mk", "shm", &name, "--size", "4K", "--json"]),
        out(&["mk", "sysv-shm", "--size", "4K", "--json"]),
        out(&["mk", "mq", &name, "--json"]),
        out(&["mk", "sysv-mq", &key, "--json"]),
        out(&["mk", "sem", &name, "--value", "3", "--json"]),
        out(&["mk", "sysv-sem", &key, "--values", "1,2", "--json"]),
    ];
    let objects: Vec<Object> = made.iter().map(|made| Object(made["address"].as_str().unwrap().to_owned())).collect();
    assert_eq!(
        made[5]["key"].as_str().map(|text| u32::from_str_radix(&text[2..], 16)),
        Some(u32::from_str_radix(&key[2..], 16))
    );
    assert_eq!(out(&["mk", "fifo", &place.text("f"), "--json"])["error"]["code"], 5);
    out(&["sem", "get", &name, "--json"]);
    out(&["sem", "wait", &name, "--json"]);
    out(&["sem", "post", &format!("{}#1", objects[7].0), "--json"]);
    out(&["rm", "--json", &objects[0].0, &place.at("fifo", "gone")]);
    out(&["rm", "--json", "--force", "--dry-run", &objects[1].0, &place.at("fifo", "gone")]);
    out(&["signal", "0", &std::process::id().to_string(), "999999999", "--json"]);
    out(&["signal", "CONT", &std::process::id().to_string(), "--value", "3", "--json"]);
    out(&["signal", "--list", "--json"]);
    out(&["bench", "os", "--list", "--json"]);
    out(&["bench", "os", "--quick", "--only", "pipe", "--only", "udp", "--only", "futex", "--window", "5ms", "--json"]);
    // Of each sort of figure one: all of them take long on a busy machine.
    let titles =
        ["64 B, blocking", "loan round trip 64 KiB", "flood 64 B by", "publish, 1 ", "publish, 2 ", "lock and unlock"];
    let only = titles.iter().flat_map(|title| ["--only", title]);
    out(&["bench", "shm", "--quick", "--window", "2ms", "--json"].into_iter().chain(only).collect::<Vec<_>>());
    out(&["ls", "--json", "pipes", "sysv"]);
    out(&["who", "--json", &std::process::id().to_string()]);
    out(&["leaks", "--json", "--all"]);
    out(&["clean", "--json", "--dry-run", "--older-than", "9999h"]);
    out(&["limits", "--json"]);
    out(&["locks", "--json"]);
    out(&["send", "--json", "nonsense:"]);
    out(&["recv", "--json", "--timeout", "0", &objects[4].0]);
    out(&["connect", "--json", "exec:true", "exec:false"]);
    out(&["connect", "--json", "exec:kill -9 $$", "exec:cat"]);

    let waiter = {
        let mut waiter = Job::start(tieline(["signal", "--wait", "USR1", "-v", "--json"]));
        waiter.expect_err("waits");
        run(&["signal", "USR1", &waiter.id().to_string(), "--value", "1"]).well();
        waiter.end()
    };
    texts.push(waiter.out);
    let mut waiting = Job::start(tieline(["recv", "--json", "--timeout", "50ms", "tcp:127.0.0.1:0"]));
    waiting.wait();
    texts.push(waiting.end().err.lines().next().unwrap().as_bytes().to_vec());
    // A transfer whose data goes elsewhere says what it did on standard error.
    let said = run_with(&["send", "--json", &objects[4].0], b"1\n2\n");
    texts.push(said.err.into_bytes());
    texts.extend(crate::recordings::reports().into_iter().map(String::into_bytes));
    texts.iter().map(|text| serde_json::from_slice(text).unwrap()).collect()
}

#[test]
fn the_page_and_the_command_agree() {
    let documented = documented();
    let has_one_processor = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
    let mut emitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for document in documents() {
        let schema = document["schema"].as_str().expect("a schema").to_owned();
        fields(&document, "", emitted.entry(schema).or_default());
    }
    assert_eq!(
        emitted.keys().collect::<Vec<_>>(),
        documented.keys().collect::<Vec<_>>(),
        "schemas that were emitted, and those on the page"
    );
    for (schema, fields) in &emitted {
        let known = &documented[schema];
        // What a machine holds differs from hour to hour. `tieline-observe` compares the page with snapshots that have
        // everything, both ways; here is shown that nothing else comes out of the command.
        if SEEING.contains(&schema.as_str()) {
            let forms = ["objects[]", "processes[]"];
            let is_shared = |field: &str| {
                let is_form = forms.iter().any(|form| known.contains(*form) && field.starts_with(form));
                is_form && documented["tieline.ls/1"].contains(field)
            };
            let unknown: Vec<_> = fields
                .iter()
                .filter(|field| {
                    !known.contains(*field) && !is_shared(field) && !is_empty_parent(field, &documented["tieline.ls/1"])
                })
                .collect();
            assert!(unknown.is_empty(), "{schema} has fields that the page lacks: {unknown:?}");
            continue;
        }
        let unknown: Vec<_> =
            fields.iter().filter(|field| !known.contains(*field) && !is_empty_parent(field, known)).collect();
        assert!(unknown.is_empty(), "{schema} has fields that the page lacks: {unknown:?}");
        // What may rightly be absent in a run without mishaps.
        let rare = |field: &str| {
            field.ends_with("missing[]")
                || field.ends_with("failures[]")
                || field.starts_with("claims[]")
                // What polls is measured on two processors.
                || (has_one_processor && ["rows[].subject.batch", "rows[].subject.touch"].contains(&field))
        };
        let missing: Vec<_> = known.iter().filter(|field| !fields.contains(*field) && !rare(field)).collect();
        assert!(missing.is_empty(), "{schema}: the page has fields that never came: {missing:?}");
    }
}

/// A failing command says what failed in the same words to people and to programs.
#[test]
fn errors_are_json_too() {
    let said = run(&["recv", "--json", "mq:/tieline-no-such"]);
    let error: Value = serde_json::from_str(said.err.trim()).unwrap();
    assert_eq!((said.code, &error["error"]["code"], &error["error"]["kind"]), (3, &3.into(), &"not-found".into()));
    assert!(error["error"]["sentence"].as_str().unwrap().contains("/tieline-no-such"));
}

/// Data on standard output, the report on standard error.
#[test]
fn a_report_does_not_mix_with_data() {
    let said = Job::start(shell("seq 3 | tieline recv --json --count 2 -")).end();
    assert_eq!((said.code, said.text()), (0, "1\n2\n"));
    let report: Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!((&report["forward"]["messages"], &report["forward"]["end"]), (&2.into(), &"limit-reached".into()));
}
