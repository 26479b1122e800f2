//! Recording topics and playing them again: whole, in parts, torn and damaged.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_shm::recording::{Player, part_path};
use tieline_shm::topic::{Subscriber, Topic};
use tieline_testkit::until;

use crate::support::{Job, Place, run, run_with, tieline};
use crate::topics::{Reading, bare, exists, lines, publisher, reading};

/// Records what `input` makes a publisher say.
fn record(place: &Place, topic: &str, input: &[u8], flags: &[&str]) -> String {
    let file = place.text("a.rec");
    let mut publisher = publisher(&["--subscribers", "1"], topic);
    let recorder = Job::start(tieline([&["record"], flags, &[topic, &file]].concat()));
    publisher.write(input);
    publisher.end().well();
    recorder.end().well();
    file
}

#[test]
fn a_recording_is_played_again() {
    let place = Place::new();
    let topic = place.at("shm", "tape");
    let file = record(&place, &topic, lines(300).as_bytes(), &[]);
    let listed = run(&["replay", "--list", &file]).well();
    for word in ["300 messages of 792 bytes", &topic, "PUBLISHER", "\nbytes\n"] {
        assert!(listed.text().contains(word), "no {word}: {}", listed.text());
    }
    let json: serde_json::Value =
        serde_json::from_str(run(&["replay", "--list", "--json", &file]).well().text()).unwrap();
    assert_eq!((&json["messages"], &json["end"], &json["lost"]), (&300.into(), &"complete".into(), &0.into()));
    assert_eq!(json["publishers"][0]["missing"], 0);

    let player = Job::start(tieline(["replay", "-v", "--speed", "max", "--subscribers", "1", &file]));
    exists(&topic);
    let said = run(&["sub", &topic]).well();
    assert_eq!(said.text(), lines(300), "to where it came from");
    assert!(player.end().err.contains("300 messages"));

    let elsewhere = place.at("shm", "elsewhere");
    let arguments = ["replay", "--loop", "--speed", "max", "--count", "450", "--subscribers", "1", &file, &elsewhere];
    let player = Job::start(tieline(arguments));
    exists(&elsewhere);
    assert_eq!(run(&["sub", &elsewhere]).well().text(), format!("{}{}", lines(300), lines(150)));
    player.end().well();

    let _other = Topic::<Reading>::create(bare(&place.at("shm", "other"))).unwrap().publisher().unwrap();
    run(&["replay", &file, &place.at("shm", "other")]).failed(2, &["another type", "--list"]);
    run(&["record", &topic, &file]).failed(3, &["nobody offers"]);
}

#[test]
fn a_recording_of_values_keeps_their_type_and_their_pace() {
    let place = Place::new();
    let topic = place.at("shm", "typed");
    let file = place.text("typed.rec");
    let owner = Topic::<Reading>::create(bare(&topic)).unwrap().publisher().unwrap();
    let recorder = Job::start(tieline(["record", &topic, &file]));
    until("the recorder is there", || (owner.subscribers() == 1).then_some(()));
    let value = |sensor: u32| format!("{{\"sensor\":{sensor},\"unit\":\"Calibrated\",\"celsius\":21.5}}\n");
    let values = value(1) + &value(2);
    run_with(&["pub", "--rate", "3", "--subscribers", "1", &topic], values.as_bytes()).well();
    drop(owner);
    recorder.end().well();

    let again = place.at("shm", "again");
    let player = Job::start(tieline(["replay", "--subscribers", "1", &file, &again]));
    exists(&again);
    let begun = Instant::now();
    let mut library: Subscriber<Reading> = Topic::open(bare(&again)).unwrap().subscriber().unwrap();
    // It begins when we subscribe, at the earliest; the pace is that at which the recorder heard them.
    assert_eq!(*library.recv().unwrap(), reading(1));
    assert_eq!(*library.recv().unwrap(), reading(2));
    let took = begun.elapsed();
    let at_ns: Vec<u64> = times(Path::new(&file));
    let recorded = Duration::from_nanos(at_ns[1] - at_ns[0]);
    assert!(took >= recorded, "{took:?}, and there were {recorded:?} between the two");
    player.end().well();
    // Somebody who has another type is told so, and nothing is published.
    let file_of = |what: &str| run(&["replay", "--list", what]).well();
    assert!(file_of(&file).text().contains("celsius: f64"));
}

/// When each message was recorded.
fn times(recording: &Path) -> Vec<u64> {
    let mut player = Player::open(recording).unwrap();
    let mut all = Vec::new();
    while let Some(message) = player.next().unwrap() {
        all.push(message.at_ns);
    }
    all
}

#[test]
fn a_recording_in_numbered_files_and_its_limits() {
    let place = Place::new();
    let topic = place.at("shm", "long");
    let file = record(&place, &topic, lines(300).as_bytes(), &["--rotate", "2K"]);
    let first = part_path(Path::new(&file), 1);
    assert!(first.exists() && !Path::new(&file).exists());
    assert!(fs::metadata(&first).unwrap().len() <= 2048);
    let listed = run(&["replay", "--list", &file]).well();
    assert!(listed.text().contains("300 messages") && listed.text().contains(" files."), "{}", listed.text());

    // Not the publisher that follows, which would take this recorder for the one that it waits for.
    let other = Topic::<[u8]>::create(bare(&topic)).unwrap().publisher().unwrap();
    run(&["record", "--rotate", "2K", &topic, &file]).failed(5, &["--force writes over it"]);
    drop(other);
    let mut publisher = publisher(&["--subscribers", "1"], &topic);
    let limited = place.text("limited.rec");
    let recorder = Job::start(tieline(["record", "--max-size", "1K", "--json", &topic, &limited]));
    publisher.write(lines(300).as_bytes());
    let said = recorder.end();
    assert_eq!(said.code, 0, "{}", said.err);
    let report: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    let bytes = report["bytes"].as_u64().unwrap();
    assert!((900..=1024).contains(&bytes), "{report}");
    assert_eq!(fs::metadata(&limited).unwrap().len(), bytes);
    let timed = place.text("timed.rec");
    let started = Instant::now();
    run(&["record", "--duration", "200ms", &topic, &timed]).well();
    assert!(started.elapsed() >= Duration::from_millis(200));
    publisher.end().well();
}

#[test]
fn the_recording_of_a_killed_recorder_is_played() {
    let place = Place::new();
    let topic = place.at("shm", "killed");
    let file = place.text("killed.rec");
    let mut publisher = publisher(&["--subscribers", "1"], &topic);
    let recorder = Job::start(tieline(["record", &topic, &file]));
    publisher.write(lines(50).as_bytes());
    // It hands to the system what it has whenever nothing comes.
    let listed = || run(&["replay", "--list", &file]).text().to_owned();
    until("all of it is in the file", || listed().contains("50 messages").then_some(()));
    recorder.signal("KILL");
    drop(recorder);
    publisher.end().well();
    // And a death in the middle of a write leaves half of a message.
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 5);
    fs::write(&file, &bytes).unwrap();
    let listed = run(&["replay", "--list", &file]).well();
    assert!(listed.text().contains("49 messages") && listed.text().contains("It has no end"), "{}", listed.text());
    let player = Job::start(tieline(["replay", "--speed", "max", "--subscribers", "1", &file]));
    exists(&topic);
    assert_eq!(run(&["sub", &topic]).well().text(), lines(49));
    let said = player.end();
    assert_eq!(said.code, 0);
    assert!(said.err.contains("has no end, as its recorder died or could not go on"), "{}", said.err);
    // Damage in the middle is a failure, after what is before it.
    bytes[600] ^= 1;
    fs::write(&file, &bytes).unwrap();
    run(&["replay", "--speed", "max", &file]).failed(1, &["is damaged behind byte", "messages went to"]);
    fs::write(&file, b"something else").unwrap();
    run(&["replay", &file]).failed(1, &["does not begin as"]);
}

/// Every report of these verbs, of a success and of a failure: for the page that describes them.
pub(crate) fn reports() -> Vec<String> {
    let place = Place::new();
    let topic = place.at("shm", "reports");
    let file = place.text("a.rec");
    let mut reports = Vec::new();
    let mut keep =
        |said: crate::support::Said| reports.push(if said.err.is_empty() { said.text().to_owned() } else { said.err });
    let publisher = Topic::<u32>::create(bare(&topic)).unwrap().publisher().unwrap();
    let subscribers = || publisher.subscribers();
    let recorder = Job::start(tieline(["record", "--json", &topic, &file]));
    let subscriber = Job::start(tieline(["sub", "--json", "--count", "9", &topic]));
    until("both are there", || (subscribers() == 2).then_some(()));
    keep(run_with(&["pub", "--json", &topic], b"1\n2\nthree\n"));
    recorder.signal("INT");
    keep(recorder.end());
    drop(publisher);
    let said = subscriber.end();
    assert_eq!(said.text(), "1\n2\n");
    keep(said);
    keep(run(&["replay", "--list", "--json", &file]));
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    keep(run(&["replay", "--json", "--speed", "max", &file]));
    reports
}
