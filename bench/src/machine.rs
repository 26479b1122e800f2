//! What a figure was measured on: machine, kernel, commit, date, command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Where and when.
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    memory_gib: u64,
    kernel: String,
    load: String,
    commit: String,
    date: String,
    command: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let file = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kibibytes = field(&file("/proc/meminfo"), "MemTotal");
        let kibibytes = kibibytes.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let changed = if said("git", &["status", "--porcelain", "crates"]).is_empty() { "" } else { " with changes" };
        Self {
            processor: field(&file("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            memory_gib: kibibytes.unwrap_or_default() >> 20,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: file("/proc/loadavg").split(' ').take(2).collect::<Vec<_>>().join(" "),
            commit: said("git", &["rev-parse", "--short=12", "HEAD"]) + changed,
            date: said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
            command: format!("cargo xtask bench {}", arguments.join(" ")),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
            "load_before": self.load,
            "commit": self.commit,
            "date": self.date,
            "command": self.command,
        })
    }

    pub(crate) fn text(&self) -> String {
        let Self { processor, processors, memory_gib, kernel, load, commit, date, command } = self;
        format!(
            "* machine: {processor}, {processors} processors, {memory_gib} GiB; Linux {kernel}; load before: {load}\n\
             * commit: {commit}\n* date: {date}\n* command: `{command}`\n"
        )
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
