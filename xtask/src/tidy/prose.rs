//! The README and the map say what is there: commands exist, crates and dependencies are listed.

use std::fs;

use crate::root;

const README_COMMANDS: [&str; 2] = ["cargo run --release -- ls", "cargo xtask test"];

pub(super) fn check() -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let readme = read("README.md")?;
    for command in README_COMMANDS {
        if !readme.contains(command) {
            findings.push(format!("README.md does not show its command `{command}`"));
        }
    }
    for verb in verbs(&readme) {
        if !root().join(format!("crates/tieline-cli/src/cmd/{verb}.rs")).exists()
            && !root().join(format!("crates/tieline-cli/src/cmd/{verb}/mod.rs")).exists()
        {
            findings.push(format!("README.md shows `tieline {verb}`, which is no command"));
        }
    }
    if !read(".ci/run")?.contains(README_COMMANDS[1]) {
        findings.push(format!(".ci/run does not call the README's test command `{}`", README_COMMANDS[1]));
    }
    let map = read("ARCHITECTURE.md")?;
    let manifest = read("Cargo.toml")?;
    let dependencies = manifest.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    for line in dependencies.unwrap_or_default().lines() {
        if let Some((name, _)) = line.split_once(" = ")
            && !name.starts_with("tieline")
            && !map.contains(&format!("`{name}`"))
        {
            findings.push(format!("ARCHITECTURE.md does not list `{name}`; say what it is for"));
        }
    }
    Ok(findings)
}

/// The verbs of the command that a text shows at a prompt, as in `$ tieline send …`.
fn verbs(text: &str) -> Vec<&str> {
    let prompts = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    let calls = prompts.flat_map(|line| line.split("tieline ").skip(1));
    let words = calls.filter_map(|rest| rest.split_whitespace().next());
    words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect()
}

fn read(name: &str) -> Result<String, String> {
    fs::read_to_string(root().join(name)).map_err(|error| format!("cannot read {name}: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn verbs_are_found_behind_a_prompt() {
        assert_eq!(
            super::verbs("$ echo hi | tieline send fifo:/x\n  $ tieline recv a\ntieline not this"),
            ["send", "recv"]
        );
    }
}
