//! The kept corpus replays: every input that was ever worth keeping is checked in the plain test run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tieline_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The file names in a folder, without ending.
fn stems(name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(name)).expect("the folder is there");
    let stem = |entry: fs::DirEntry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries.filter_map(|entry| stem(entry.expect("readable"))).collect()
}

#[test]
fn every_target_has_a_file_a_corpus_and_a_line_in_the_manifest() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("a manifest");
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(paths.map(str::to_owned).collect::<BTreeSet<_>>(), names);
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target");
    let mut count = 0;
    for entry in fs::read_dir(folder("corpus").join(name)).expect("a corpus") {
        let path = entry.expect("readable").path();
        let data = fs::read(&path).expect("readable");
        // Shown only if the test fails: the last line names the input.
        println!("{}", path.display());
        target(&data);
        // What is cut short is the commonest accident.
        let step = data.len() / 64 + 1;
        (0..data.len()).step_by(step).for_each(|len| target(&data[..len]));
        count += 1;
    }
    assert!(count > 0, "the corpus of {name} is empty");
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_replays() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), here);
        }
    };
}

replays! {
    address
    ancillary
    decoder
    encoder
    framing
    inotify
    meeting
    mode
    pid
    quantity
    recording
    schema
    segment
    signal
    sysv_key
    topic_line
    topic_log
    unix_name
    vsock_address
}
