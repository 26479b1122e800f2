//! Which room may use which: the one table, compared with the manifests.

use serde_json::Value;

use crate::cargo;

/// Every crate and the crates of ours it may use, lowest first. A new line here is an architectural decision and
/// comes with a page in `docs/adr/`.
const LAYERS: &[(&str, &[&str])] = &[
    ("tieline-os", &[]),
    ("tieline-macros", &[]),
    ("tieline-testkit", &[]),
    ("tieline-shm", &["tieline-macros", "tieline-os"]),
    ("tieline-transport", &["tieline-os", "tieline-shm"]),
    ("tieline-measure", &["tieline-os", "tieline-shm", "tieline-transport"]),
    ("tieline-observe", &["tieline-os", "tieline-shm"]),
    ("tieline", &["tieline-os", "tieline-shm", "tieline-transport", "tieline-observe"]),
    (
        "tieline-cli",
        &["tieline-os", "tieline-shm", "tieline-transport", "tieline-measure", "tieline-observe", "tieline"],
    ),
    ("xtask", &[]),
];

pub(super) fn check() -> Result<Vec<String>, String> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata printed no JSON: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut findings = Vec::new();
    for (package, name) in packages.iter().zip(&names) {
        let Some((_, allowed)) = LAYERS.iter().find(|(room, _)| room == name) else {
            findings
                .push(format!("crate {name} is not in the table of xtask/src/tidy/layers.rs; add it with its layer"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            let ours = names.contains(&used);
            // A crate may ask for more of its own features in its tests.
            let tests_may = for_tests && (used == "tieline-testkit" || used == *name);
            if ours && !allowed.contains(&used) && !tests_may {
                findings.push(format!(
                    "{name} uses {used}, which its layer does not allow; move the code, or change the layers with an ADR"
                ));
            }
        }
    }
    for (room, _) in LAYERS {
        if !names.contains(room) {
            findings.push(format!("the layer table knows {room}, but there is no such crate; remove the line"));
        }
    }
    Ok(findings)
}
