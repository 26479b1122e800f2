//! The tools that stand in for util-linux's: the same command lines for both, and not one byte of difference.
//!
//! The command lines and objects are random. The seed is printed and can be set (`TIELINE_SEED`), and there is more of
//! everything with `TIELINE_COMPAT_ROUNDS` (20 unless set). `TIELINE_UTIL_LINUX_NEW` names a folder with the tools of
//! util-linux 2.43, which are then compared too.

mod ends;
mod lsipc;
mod objects;
mod posix;
mod removing;
mod showing;
mod twins;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{TIELINE, code_of};

/// Tools of util-linux to compare with.
pub(crate) struct Reference {
    folder: PathBuf,
    /// What `ipcs --version` says.
    version: String,
    /// What to tell ours.
    compat: &'static str,
}

impl Reference {
    /// Those that are here, or why there are none.
    pub(crate) fn all() -> Vec<Result<Self, String>> {
        // Not by PATH, where links to ours may stand.
        let mut all = vec![Self::look("/usr/bin".into(), "2.38")];
        if let Some(folder) = std::env::var_os("TIELINE_UTIL_LINUX_NEW") {
            all.push(Self::look(folder.into(), "2.43"));
        }
        all
    }

    fn look(folder: PathBuf, compat: &'static str) -> Result<Self, String> {
        let mut reference = Self { folder, version: String::new(), compat };
        let output = Command::new(reference.program("ipcs")).arg("--version").output();
        let output = output.map_err(|error| format!("there is no ipcs to compare with: {error}"))?;
        reference.version = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if !reference.version.starts_with(&format!("ipcs from util-linux {compat}")) {
            return Err(format!("this machine has «{}», not util-linux {compat}", reference.version));
        }
        eprintln!("compared with: {}", reference.version);
        Ok(reference)
    }

    fn program(&self, tool: &str) -> PathBuf {
        self.folder.join(tool)
    }

    /// A command line for theirs and the same for ours, under the same name.
    fn pair<S: AsRef<OsStr>>(&self, tool: &str, words: &[S]) -> [Command; 2] {
        let (mut theirs, mut ours) = (Command::new(self.program(tool)), Command::new(TIELINE));
        ours.arg(format!("--compat={}", self.compat));
        for command in [theirs.arg0(tool), ours.arg0(tool)] {
            command.args(words).env("LC_ALL", "C").env_remove("TIELINE_COMPAT").env_remove("POSIXLY_CORRECT");
        }
        [theirs, ours]
    }

    /// Runs both and compares, with `setting` applied to both.
    #[track_caller]
    fn compare<S: AsRef<OsStr>>(&self, tool: &str, words: &[S], setting: impl Fn(&mut Command)) {
        let [mut theirs, ours] = self.pair(tool, words).map(|mut command| {
            setting(&mut command);
            command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"))
        });
        if theirs.status.code().is_none() {
            // They crash on some input. Ours must not.
            assert!(ours.status.code().is_some(), "{tool} {:?} died: {}", shown(words), ours.status);
            return;
        }
        theirs.stdout = self.released(&theirs.stdout);
        let [theirs, ours] = [theirs, ours].map(|output| Outcome::of(&output));
        assert!(
            theirs == ours,
            "{tool} {:?}\n--- {} gives\n{theirs}--- ours gives\n{ours}",
            shown(words),
            self.version
        );
    }

    /// Their output, with the suffix of an unreleased 2.43 taken off.
    fn released(&self, output: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(output);
        let package = self.version.trim_start_matches("ipcs from ");
        if self.compat == "2.43" && text.contains(package) {
            return text.replace(package, "util-linux 2.43").into_bytes();
        }
        output.to_vec()
    }
}

fn shown<S: AsRef<OsStr>>(words: &[S]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect()
}

/// What a run gave, to the byte.
#[derive(PartialEq)]
struct Outcome {
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Outcome {
    fn of(output: &Output) -> Self {
        Self { code: code_of(output.status), out: output.stdout.clone(), err: output.stderr.clone() }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, bytes) in [("stdout", &self.out), ("stderr", &self.err)] {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                writeln!(f, "{name}: {:?}", String::from_utf8_lossy(line))?;
            }
        }
        writeln!(f, "exit code: {}", self.code)
    }
}

/// How often a random test does its round.
fn rounds() -> u64 {
    std::env::var("TIELINE_COMPAT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

/// Random numbers that a seed repeats (`SplitMix64`).
pub(crate) struct Dice(u64);

impl Dice {
    /// From `TIELINE_SEED` or the clock; it is printed, for when the test fails.
    pub(crate) fn new(test: &str) -> Self {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        let seed = std::env::var("TIELINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        eprintln!("{test}: TIELINE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// In one of so many cases.
    pub(crate) fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
