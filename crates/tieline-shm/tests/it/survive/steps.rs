//! The named steps, as they stand in the sources.

use std::collections::BTreeSet;
use std::path::Path;

/// Families of steps that no subject passes, and where they are tested.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("alive", "rendezvous::tests::death"),
    ("meet", "rendezvous::tests::election"),
    ("members", "rendezvous::tests::members"),
    ("model", "models only"),
    ("once", "sync::once"),
    ("segment-file", "segment::file"),
    ("side", "topic::policies_newest"),
    ("tokens", "sync::semaphore"),
    ("succession", "reqres"),
    ("wait", "waiting"),
];

/// All names.
pub(super) fn all() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    assert!(names.len() > 50, "the sources were not found");
    names
}

/// Those of these families.
pub(super) fn of(families: &[&str]) -> Vec<String> {
    let is_ours = |name: &String| name.split_once(':').is_some_and(|(family, _)| families.contains(&family));
    all().into_iter().filter(is_ours).collect()
}

fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            for (at, _) in text.match_indices("step(") {
                let rest = text[at + "step(".len()..].trim_start();
                if let Some((name, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
                    && name.contains(':')
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}
