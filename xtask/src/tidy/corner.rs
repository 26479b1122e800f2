//! The corner list is whole: every line from 1 to 112 has its test.

use std::collections::BTreeMap;
use std::fs;

use super::source::rust_files;
use crate::root;

/// How many lines the corner list has.
const LINES: u32 = 112;

pub(super) fn check() -> Result<Vec<String>, String> {
    let mut seen: BTreeMap<u32, String> = BTreeMap::new();
    let mut findings = Vec::new();
    for file in rust_files(&root().join("crates/tieline-os/tests"))? {
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let mut previous = "";
        for line in text.lines() {
            let number = line.trim_start().strip_prefix("fn line").and_then(|rest| rest.get(..3)?.parse().ok());
            if let Some(number) = number {
                seen.insert(number, file.display().to_string());
                if previous.trim() != "#[test]" {
                    findings
                        .push(format!("{}: line {number} of the corner list is not a plain #[test]", file.display()));
                }
            }
            previous = line;
        }
    }
    for number in (1..=LINES).filter(|number| !seen.contains_key(number)) {
        findings
            .push(format!("line {number} of the corner list has no test; add fn line{number:03}_… to tests/it/corner"));
    }
    Ok(findings)
}
