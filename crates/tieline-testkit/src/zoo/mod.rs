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
//! | `lock LABEL PID posix\|ofd\|flock\|lease held\|shared\|waiting [FIRST LAST]` | a process has locked it (with others, if shared), or waits to |
//! | `link LABEL LABEL peer\|pending\|watches\|sends-to` | two objects belong together |
//! | `wait LABEL PID WHAT [DETAIL]` | a process sleeps on it, or is about to |
//! | `notified LABEL PID` | a process is to be told of the queue's next message |
//! | `remembered LABEL PID ROLE` | the kernel remembers the process for it |
//! | `ready` | all is made and told |
//!
//! What is not told is not so: an object has no other holders than those of its lines.

mod rust;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

pub use rust::keep_if_told;

use crate::namespace::Namespace;
use crate::skip::has_command;
use crate::wait::{PATIENCE, eventually};

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
    /// The test program itself, in another role.
    Rust,
    /// Run by `sh`.
    Shell,
}

const C: &[&str] = &[
    "anonymous",
    "anonymous-shm",
    "fifo",
    "fifo-both",
    "fifo-opener",
    "flock",
    "flock",
    "flock-inherited",
    "flock-shared",
    "io-uring",
    "lease",
    "memfd",
    "ofd-lock",
    "ofd-lock-inherited",
    "ofd-lock-shared",
    "pipe",
    "pipe-full",
    "pipe-reader-waits",
    "pipe-writer-waits",
    "posix-lock",
    "posix-lock-shared",
    "posix-mq",
    "posix-mq-notified",
    "posix-mq-waited",
    "posix-sem",
    "posix-sem-waited",
    "posix-shm",
    "posix-shm-locked",
    "posix-shm-unlinked",
    "shared-table",
    "sysv-msg",
    "sysv-msg-full",
    "sysv-msg-waited",
    "sysv-sem",
    "sysv-sem-waited",
    "sysv-shm",
    "sysv-shm-left",
    "sysv-shm-removed",
    "unix-abstract",
    "unix-accepted",
    "unix-accepting",
    "unix-crowd",
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
        let ring = Self { language: Language::C, name: "io-uring" };
        if all.contains(&ring) && !Command::new(compiled()).arg("has-io-uring").status().is_ok_and(|it| it.success()) {
            crate::skipped(test, "no io_uring for us: its keeper was left out");
            all.retain(|one| *one != ring);
        }
        all.extend(rust::SPECIES.iter().map(|&(name, _)| Self { language: Language::Rust, name }));
        all
    }

    /// Starts its keeper and waits until all is made, and those who are to sleep do. `seed` varies the amounts; `test` is
    /// the name of the calling test, which begins with [`keep_if_told`], for the keepers in Rust.
    ///
    /// The keeper ends with the thread that started it.
    ///
    /// # Panics
    /// If the keeper fails.
    #[must_use]
    pub fn keep(self, test: &str, seed: u32) -> Specimen {
        Specimen::new(self, test, seed, &[])
    }

    /// The same in new namespaces of these kinds. With [mounts](Namespace::Mount) of its own it has a `/dev/shm` of its
    /// own too, which goes with it.
    ///
    /// # Panics
    /// If the keeper fails, or the machine does not let us make them; see [`Namespace::can_make`].
    #[must_use]
    pub fn keep_in(self, namespaces: &[Namespace], test: &str, seed: u32) -> Specimen {
        Specimen::new(self, test, seed, namespaces)
    }

    /// Whether it makes objects that an IPC namespace of its own keeps from everybody else's.
    #[must_use]
    pub fn lives_in_ipc_namespace(self) -> bool {
        self.name.starts_with("sysv-") || self.name.starts_with("posix-mq")
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
    /// What varied its amounts.
    pub seed: u32,
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
    /// Who is to be told of a message: label, process.
    pub notified: Vec<(String, u32)>,
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

    /// All facts, by their keys.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.facts.iter().map(|(key, value)| (key.as_str(), value.as_str()))
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
    /// `r`, `w`, `rw`, or `-` for neither.
    pub access: String,
}

/// A lock, held or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The file's label.
    pub label: String,
    /// The process.
    pub pid: u32,
    /// `posix`, `ofd`, `flock` or `lease`.
    pub kind: String,
    /// Whether it is held.
    pub is_held: bool,
    /// Whether others may have it too. A lease is for reading.
    pub is_shared: bool,
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
    /// `accept`, `connect`, `futex`, `lock`, `message`, `open`, `read`, `room`, `semaphores`, `write`.
    pub what: String,
    /// The path that is to be opened, the message type, the bytes that want room, or `INDEX:CHANGE` of a semaphore; empty otherwise.
    pub detail: String,
}

impl Specimen {
    fn new(species: Species, test: &str, seed: u32, namespaces: &[Namespace]) -> Self {
        let directory = crate::directory();
        let prefix = format!("zoo-{}-{seed}", directory.path().file_name().map_or_else(String::new, safe));
        let program = match species.language {
            Language::C => Command::new(compiled()),
            Language::Python => interpreted("python3", include_str!("keeper.py")),
            Language::Rust => rust::keeper(test),
            Language::Shell => interpreted("sh", include_str!("keeper.sh")),
        };
        let mut command = settled(namespaces, program);
        let words = [species.name.as_ref(), directory.path().as_os_str(), prefix.as_ref()];
        if species.language == Language::Rust {
            rust::tell(&mut command, words, seed);
        } else {
            command.args(words).arg(seed.to_string());
        }
        // Its group is what is killed if it does not end, and in any case after its end.
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper =
            command.spawn().unwrap_or_else(|error| panic!("the keeper of {species} cannot be started: {error}"));
        let stdout = keeper.stdout.take().expect("it was asked for");
        let mut specimen = Self {
            species,
            seed,
            objects: Vec::new(),
            holds: Vec::new(),
            locks: Vec::new(),
            links: Vec::new(),
            waits: Vec::new(),
            notified: Vec::new(),
            remembered: Vec::new(),
            stdin: keeper.stdin.take(),
            keeper,
            _directory: directory,
            prefix,
        };
        specimen.hear(stdout);
        specimen.settle();
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

    /// Every process that it spoke of, each once.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<u32> {
        let holding = self.holds.iter().map(|hold| hold.pid);
        let locking = self.locks.iter().map(|lock| lock.pid);
        holding.chain(locking).chain(self.waits.iter().map(|wait| wait.pid)).chain([self.keeper()]).collect()
    }

    /// Listens until all is made, in a thread of its own, because a child of the keeper may keep the pipe open for ever.
    fn hear(&mut self, stdout: ChildStdout) {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // To the end, though nobody listens any more: who speaks to nobody gets an error.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                panic!("the keeper of {} ended or fell silent before all was made; it said:\n{said}", self.species);
            };
            // The runner of a Rust keeper's test speaks on the same stream.
            let line = match self.species.language {
                Language::Rust => line.strip_prefix(crate::peer::MARK),
                _ => Some(line.as_str()),
            };
            let Some(line) = line else { continue };
            if line == "ready" {
                return;
            }
            said.push_str(line);
            said.push('\n');
            let words: Vec<&str> = line.split('\t').collect();
            self.learn(&words).unwrap_or_else(|| panic!("the keeper of {} said {line:?}", self.species));
        }
    }

    /// Until those who are to sleep do: to sleep is the last that they do, and nothing before it does.
    fn settle(&self) {
        let waiting = self.locks.iter().filter(|lock| !lock.is_held).map(|lock| lock.pid);
        for pid in waiting.chain(self.waits.iter().map(|wait| wait.pid)) {
            eventually("the keeper's child sleeps", || crate::sleeps(pid));
        }
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
                let is_shared = state == "shared" || kind == "lease";
                let (label, kind, is_held) = (label.to_owned(), kind.to_owned(), state != "waiting");
                self.locks.push(Lock { label, pid: pid.parse().ok()?, kind, is_held, is_shared, range });
            }
            ["link", from, to, how] => self.links.push((from.to_owned(), to.to_owned(), how.to_owned())),
            ["wait", label, pid, what, ref detail @ ..] => {
                let detail = detail.first().copied().unwrap_or_default().to_owned();
                let (label, what) = (label.to_owned(), what.to_owned());
                self.waits.push(Wait { label, pid: pid.parse().ok()?, what, detail });
            }
            ["notified", label, pid] => self.notified.push((label.to_owned(), pid.parse().ok()?)),
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
        let ended = end_of(self.keeper());
        // Before it is reaped, so that its group cannot be another's.
        let group = self.keeper().try_into().ok().and_then(Pid::from_raw).expect("a process id");
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.keeper.wait();
        // Who died by the signal lets go of what it held a moment later.
        let deadline = Instant::now() + PATIENCE;
        let mut left = self.processes();
        left.remove(&self.keeper());
        while Instant::now() < deadline && left.iter().any(|&pid| lives(pid)) {
            crate::pause(Duration::from_millis(1));
        }
        // Names that outlive their makers, all of them this specimen's by their prefix.
        for directory in ["/dev/shm", "/dev/mqueue"] {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(&self.prefix) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
        if !std::thread::panicking() {
            assert!(ended, "the keeper of {} did not end by itself and was killed", self.species);
        }
    }
}

/// Waits until a child has ended, without reaping it; `false` if it does not.
fn end_of(child: u32) -> bool {
    let pid = child.try_into().ok().and_then(Pid::from_raw).expect("a process id");
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
            return true;
        }
        crate::pause(Duration::from_millis(1));
    }
    false
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

fn safe(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The keeper's command in these namespaces.
fn settled(namespaces: &[Namespace], keeper: Command) -> Command {
    if namespaces.is_empty() {
        return keeper;
    }
    if !namespaces.contains(&Namespace::Mount) {
        return Namespace::around(namespaces, &keeper);
    }
    let mut mounting = Command::new("sh");
    mounting.args(["-c", r#"mount -t tmpfs zoo /dev/shm && exec "$@""#, "sh"]);
    mounting.arg(keeper.get_program()).args(keeper.get_args());
    mounting.envs(keeper.get_envs().filter_map(|(key, value)| Some((key, value?))));
    Namespace::around(namespaces, &mounting)
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
        let mut program = beside.join(format!("zoo-keeper-{:016x}", hasher.finish()));
        if !program.exists() {
            // Another test may do the same now: each compiles in a directory of its own, and the last one counts.
            let directory = tempfile::tempdir_in(beside).unwrap_or_else(|_| {
                // Somebody else's directory: what is made is used by this process alone, and stays behind.
                let kept = tempfile::tempdir().expect("a directory for the keeper").keep();
                program = kept.join("keeper");
                tempfile::tempdir().expect("a directory for the keeper")
            });
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
    use std::process::Command;

    use super::Species;
    use crate::{Isolation, Namespace};

    /// Every keeper can make its species, and leaves nothing.
    #[test]
    fn every_species_can_be_kept() {
        let test = crate::test_name!();
        if super::keep_if_told() {
            return;
        }
        if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test) == Isolation::Done {
            return;
        }
        // The queues of this namespace, in a place where nobody cleans up after the keepers.
        let queues = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "mqueue", "none"]).arg(queues.path()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            crate::skip!("this machine does not let us mount where queues are shown");
        }
        for (seed, species) in (1000..).zip(Species::all(&test)) {
            let specimen = species.keep(&test, seed);
            assert!(!specimen.objects.is_empty(), "{species}");
            for hold in &specimen.holds {
                let _ = specimen.object(&hold.label);
            }
            let (prefix, processes) = (specimen.prefix.clone(), specimen.processes());
            drop(specimen);
            let left = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
            let left: Vec<_> =
                left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains(&prefix)).collect();
            assert!(left.is_empty(), "{species} left {left:?}");
            let left: Vec<_> = std::fs::read_dir(queues.path()).unwrap().flatten().collect();
            assert!(left.is_empty(), "{species} left {left:?}");
            for file in ["/proc/sysvipc/shm", "/proc/sysvipc/msg", "/proc/sysvipc/sem"] {
                let list = std::fs::read_to_string(file).unwrap_or_default();
                assert_eq!(list.lines().skip(1).count(), 0, "{species} left {list}");
            }
            let left: Vec<_> = processes.iter().filter(|&&pid| super::lives(pid)).collect();
            assert!(left.is_empty(), "{species} left the processes {left:?}");
        }
        let unmounted = Command::new("umount").arg(queues.path()).status().unwrap();
        assert!(unmounted.success(), "{unmounted}");
    }
}
