//! `cargo xtask tidy`: rules that no compiler knows. Every message says the way out.

mod corner;
mod layers;
mod prose;
mod source;

use crate::Outcome;

/// Checks the repository and prints every finding.
///
/// # Errors
/// If there is a finding, with their number; or if the repository cannot be read.
pub fn run(bless: bool) -> Outcome {
    if bless {
        source::bless()?;
    }
    let findings = findings()?;
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings of tidy", findings.len())) }
}

/// All findings, as sentences.
///
/// # Errors
/// If the repository cannot be read.
pub fn findings() -> Result<Vec<String>, String> {
    let mut findings = layers::check()?;
    findings.extend(source::check()?);
    findings.extend(corner::check()?);
    findings.extend(prose::check()?);
    Ok(findings)
}
