//! A zoo of processes that talk in known shapes, to compare a viewer with.
//!
//! A *specimen* is one keeper program that makes one *species*: objects, the processes that hold them, their links, locks
//! and waits. It says what it made, line by line, from what it knows as the maker: the numbers its own system calls
//! returned, never from a look at itself from outside. Keepers are written in several languages, because each language's
//! library makes the same objects in its own way.
//!
//! The lines, fields separated by tabs; a label is a word within one specimen:
//!
//! | line | meaning |
//! |---|---|
//! | `object LABEL KIND KEY=VALUE…` | an object; the keys are facts about it, see [`Object::fact`] |
//! | `hold LABEL PID fd N ACCESS` | a process has it open |
//! | `hold LABEL PID map ACCESS` | a process has it in its address space |
//! | `lock LABEL PID posix\|ofd\|flock held\|waiting [FIRST LAST]` | a process has locked it, or waits to |
//! | `link LABEL LABEL peer\|pending\|watches\|sends-to` | two objects belong together |
//! | `wait LABEL PID WHAT [DETAIL]` | a process sleeps on it, or is about to |
//! | `remembered LABEL PID ROLE` | the kernel remembers the process for it |
//! | `ready` | all is made and told |
//!
//! What is not told is not so: an object has no other holders than those of its lines.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::skip::has_command;

/// One way to make a species.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Species {
    /// In which language its keeper is written.
    pub language: Language,
    /// What it makes.
    pub name: &'static str,
}

/// What a keeper is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Compiled when first needed.
    C,
    /// Run by `python3`.
    Python,
    /// Run by `sh`.
    Shell,
}

const C: &[&str] = &[
    "anonymous",
    "anonymous-shm",
    "fifo",
    "fifo-opener",
    "flock",
    "memfd",
    "ofd-lock",
    "pipe",
    "pipe-full",
    "posix-lock",
    "posix-mq",
    "posix-sem",
    "posix-sem-waited",
    "posix-shm",
    "sysv-msg",
    "sysv-msg-waited",
    "sysv-sem",
    "sysv-sem-waited",
    "sysv-shm",
    "sysv-shm-removed",
    "unix-abstract",
    "unix-accepted",
    "unix-datagram",
    "unix-dgram",
    "unix-listener",
    "unix-seqpacket",
    "unix-stream",
];

const PYTHON: &[&str] =
    &["mapped-file", "python-duplex-pipe", "python-pipe", "python-shared-memory", "record-lock", "tcp", "tcp6", "udp"];

const SHELL: &[&str] = &["pipeline"];

impl Species {
    /// Every species in every language that this machine can run. Says aloud which language is missing, in the name of
    /// `test`.
    #[must_use]
    pub fn all(test: &str) -> Vec<Self> {
        let mut all = Vec::new();
        let languages = [(Language::C, "cc", C), (Language::Python, "python3", PYTHON), (Language::Shell, "sh", SHELL)];
        for (language, program, names) in languages {
            if has_command(program) {
                all.extend(names.iter().map(|&name| Self { language, name }));
            } else {
                crate::skipped(test, &format!("no {program}: the keepers in {language:?} were left out"));
            }
        }
        all
    }

    /// Starts its keeper and waits until all is made. `seed` varies the amounts.
    ///
    /// # Panics
    /// If the keeper fails.
    #[must_use]
    pub fn keep(self, seed: u32) -> Specimen {
        Specimen::new(self, seed)
    }
}

impl fmt::Display for Species {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.name, self.language)
    }
}

/// One keeper at work, and what it says that it made. Dropping it ends the keeper and removes what it made.
#[derive(Debug)]
pub struct Specimen {
    /// What it is.
    pub species: Species,
    /// What it made.
    pub objects: Vec<Object>,
    /// Who holds what.
    pub holds: Vec<Hold>,
    /// Who locked what, or waits to.
    pub locks: Vec<Lock>,
    /// What belongs to what: from, to, how.
    pub links: Vec<(String, String, String)>,
    /// Who sleeps on what.
    pub waits: Vec<Wait>,
    /// Whom the kernel remembers: label, process, role.
    pub remembered: Vec<(String, u32, String)>,
    keeper: Child,
    /// Its end is the keeper's sign to go.
    stdin: Option<ChildStdin>,
    /// Removed with the specimen.
    _directory: tempfile::TempDir,
    prefix: String,
}

/// An object, as its maker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its word within the specimen.
    pub label: String,
    /// What it is.
    pub kind: String,
    facts: BTreeMap<String, String>,
}

impl Object {
    /// One fact: `device`, `inode`, `id` (System V), `name`, `used`, `capacity`, `unit`, `mode`, `size`, `value`, …;
    /// `None` if the maker said nothing about it.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// A fact that is a number.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.fact(key).map(|value| value.parse().expect("the keeper writes numbers as numbers"))
    }
}

/// A process that holds an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// The object's label.
    pub label: String,
    /// The process.
    pub pid: u32,
    /// Its descriptor; `None` for a mapping.
    pub fd: Option<i32>,
    /// `r`, `w` or `rw`.
    pub access: String,
}

/// A lock, held or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The file's label.
    pub label: String,
    /// The process.
    pub pid: u32,
    /// `posix`, `ofd` or `flock`.
    pub kind: String,
    /// Whether it is held.
    pub is_held: bool,
    /// First and last byte; `None` for the whole file.
    pub range: Option<(u64, u64)>,
}

/// A process that sleeps on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The object's label.
    pub label: String,
    /// The process.
    pub pid: u32,
    /// `open`, `futex`, `message`, `semaphores`, `read`, `write`.
    pub what: String,
    /// The message type, or `INDEX:CHANGE` of a semaphore; empty otherwise.
    pub detail: String,
}

impl Specimen {
    fn new(species: Species, seed: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the specimen");
        let prefix = format!("zoo-{}-{seed}", directory.path().file_name().map_or_else(String::new, safe));
        let mut command = match species.language {
            Language::C => Command::new(compiled()),
            Language::Python => interpreted("python3", include_str!("keeper.py")),
            Language::Shell => interpreted("sh", include_str!("keeper.sh")),
        };
        let mut keeper = command
            .args([species.name.as_ref(), directory.path().as_os_str(), prefix.as_ref(), seed.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("the keeper of {species} cannot be started: {error}"));
        let stdout = keeper.stdout.take().expect("it was asked for");
        let mut specimen = Self {
            species,
            objects: Vec::new(),
            holds: Vec::new(),
            locks: Vec::new(),
            links: Vec::new(),
            waits: Vec::new(),
            remembered: Vec::new(),
            stdin: keeper.stdin.take(),
            keeper,
            _directory: directory,
            prefix,
        };
        specimen.hear(stdout);
        specimen
    }

    /// The process id of the keeper.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// The object with that label.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn object(&self, label: &str) -> &Object {
        let labelled = self.objects.iter().find(|object| object.label == label);
        labelled.unwrap_or_else(|| panic!("{}: no object is called {label}", self.species))
    }

    fn hear(&mut self, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap_or_else(|error| panic!("{}: {error}", self.species));
            let words: Vec<&str> = line.split('\t').collect();
            if words == ["ready"] {
                return;
            }
            self.learn(&words).unwrap_or_else(|| panic!("{} said {line:?}", self.species));
        }
        panic!("the keeper of {} ended before all was made: {:?}", self.species, self.keeper.wait());
    }

    fn learn(&mut self, words: &[&str]) -> Option<()> {
        match *words {
            ["object", label, kind, ref facts @ ..] => {
                let fact = |fact: &&str| fact.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
                let facts = facts.iter().map(fact).collect::<Option<_>>()?;
                self.objects.push(Object { label: label.to_owned(), kind: kind.to_owned(), facts });
            }
            ["hold", label, pid, "fd", fd, access] => {
                let (pid, fd) = (pid.parse().ok()?, Some(fd.parse().ok()?));
                self.holds.push(Hold { label: label.to_owned(), pid, fd, access: access.to_owned() });
            }
            ["hold", label, pid, "map", access] => {
                let pid = pid.parse().ok()?;
                self.holds.push(Hold { label: label.to_owned(), pid, fd: None, access: access.to_owned() });
            }
            ["lock", label, pid, kind, state, ref range @ ..] => {
                let range = match *range {
                    [first, last] => Some((first.parse().ok()?, last.parse().ok()?)),
                    _ => None,
                };
                let (label, kind, is_held) = (label.to_owned(), kind.to_owned(), state == "held");
                self.locks.push(Lock { label, pid: pid.parse().ok()?, kind, is_held, range });
            }
            ["link", from, to, how] => self.links.push((from.to_owned(), to.to_owned(), how.to_owned())),
            ["wait", label, pid, what, ref detail @ ..] => {
                let detail = detail.first().copied().unwrap_or_default().to_owned();
                let (label, what) = (label.to_owned(), what.to_owned());
                self.waits.push(Wait { label, pid: pid.parse().ok()?, what, detail });
            }
            ["remembered", label, pid, role] => {
                self.remembered.push((label.to_owned(), pid.parse().ok()?, role.to_owned()));
            }
            _ => return None,
        }
        Some(())
    }
}

impl Drop for Specimen {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
        // Names that outlive their makers, all of them this specimen's by their prefix.
        for directory in ["/dev/shm", "/dev/mqueue"] {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(&self.prefix) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

fn safe(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect()
}

fn interpreted(interpreter: &str, program: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.args(["-c", program]);
    if interpreter == "sh" {
        command.arg("keeper");
    }
    command
}

/// The keeper in C, compiled when first needed beside the test program, under a name that changes with its source.
fn compiled() -> &'static Path {
    static KEEPER: OnceLock<PathBuf> = OnceLock::new();
    KEEPER.get_or_init(|| {
        const SOURCE: &str = include_str!("keeper.c");
        let test = std::env::current_exe().expect("a test program has a path");
        let beside = test.parent().expect("a program lies in a directory");
        let mut hasher = DefaultHasher::new();
        SOURCE.hash(&mut hasher);
        let program = beside.join(format!("zoo-keeper-{:016x}", hasher.finish()));
        if !program.exists() {
            // Another test may do the same now: each compiles in a directory of its own, and the last one counts.
            let directory = tempfile::tempdir_in(beside).expect("a directory for the keeper");
            let source = directory.path().join("keeper.c");
            let made = directory.path().join("keeper");
            std::fs::write(&source, SOURCE).expect("the source is written");
            let status = Command::new("cc").args(["-O1", "-o"]).arg(&made).arg(&source).arg("-lrt").status();
            assert!(status.is_ok_and(|status| status.success()), "the keeper in C does not compile");
            std::fs::rename(&made, &program).expect("the keeper is put in its place");
        }
        program
    })
}

#[cfg(test)]
mod tests {
    use super::Species;
    use crate::{Isolation, Namespace};

    /// Every keeper can make its species, and leaves nothing.
    #[test]
    fn every_species_can_be_kept() {
        let test = crate::test_name!();
        if Namespace::enter(&[Namespace::Ipc], &test) == Isolation::Done {
            return;
        }
        for (seed, species) in (1000..).zip(Species::all(&test)) {
            let specimen = species.keep(seed);
            assert!(!specimen.objects.is_empty(), "{species}");
            for hold in &specimen.holds {
                specimen.object(&hold.label);
            }
            let prefix = specimen.prefix.clone();
            drop(specimen);
            let left = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
            let left: Vec<_> =
                left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains(&prefix)).collect();
            assert!(left.is_empty(), "{species} left {left:?}");
        }
    }
}
