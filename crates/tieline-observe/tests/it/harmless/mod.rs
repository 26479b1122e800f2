//! Looking is harmless: what others do comes out the same while scans run in a loop.

mod acts;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use tieline_observe::model::{Detail, Object};
use tieline_observe::{Scan, Snapshot};
use tieline_os::inotify::{Inotify, What};
use tieline_os::lock::{LockKind, RangeLock};
use tieline_os::memfd::{Memfd, MemfdOptions};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Mode, fifo};
use tieline_testkit::zoo::{Language, Species, Specimen, keep_if_told};
use tieline_testkit::{Isolation, Namespace, Peer, eventually, role, skip, sleeps, test_name};

use crate::zoo;

/// Everything that a scan can be told to do.
fn scan() -> Scan {
    zoo::full().socket_files(true).limits_of_processes(true)
}

fn look() -> Snapshot {
    scan().take().expect("this machine has a /proc")
}

/// Scans in a loop until it is dropped.
struct Scanner {
    stop: Arc<AtomicBool>,
    scans: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Scanner {
    fn start() -> Self {
        let (stop, scans) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let thread = std::thread::spawn({
            let (stop, scans) = (Arc::clone(&stop), Arc::clone(&scans));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(look());
                    scans.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, scans, thread: Some(thread) }
    }

    fn scans(&self) -> u32 {
        self.scans.load(Ordering::Relaxed)
    }

    /// Until `count` more scans have begun and ended, each in its time.
    fn let_scan(&self, count: u32) {
        let begun = self.scans() + 1;
        for end in begun..=begun + count {
            eventually("a scan ends", || self.scans() >= end);
        }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("no scan panics");
        }
    }
}

/// One act after the other, each without and then with scans in a loop: the answers are the same.
#[test]
fn what_others_do_has_the_same_answers() {
    let test = test_name!();
    if let Some(me) = role() {
        return acts::play(&me);
    }
    if Namespace::enter(&[Namespace::Ipc], &test) == Isolation::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut actor = Peer::of(&test).role("actor").env("DIRECTORY", directory.path()).spawn();
    for act in acts::NAMES {
        actor.say(act);
        let alone = actor.hear();
        let scanner = Scanner::start();
        scanner.let_scan(1);
        let mut watched = Vec::new();
        for _ in 0..3 {
            actor.say(act);
            watched.push(actor.hear());
        }
        let scans = scanner.scans();
        drop(scanner);
        for watched in watched {
            assert_eq!(watched, alone, "{act}: not the same while {scans} scans ran");
        }
    }
}

/// A scan duplicates an end of a pipe for a moment. That it does not close with its owner's may be seen, so long.
#[test]
fn the_end_of_a_pipe_comes_with_its_last_holder() {
    let test = test_name!();
    if let Some(me) = role() {
        return acts::play(&me);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut actor = Peer::of(&test).role("actor").env("DIRECTORY", directory.path()).spawn();
    let mut ends = |what: &str| {
        actor.say(what);
        acts::Ends::parse(&actor.hear())
    };
    for what in acts::ENDS {
        let alone = ends(what);
        let scanner = Scanner::start();
        scanner.let_scan(1);
        let mut watched = ends(what);
        while scanner.scans() < 8 {
            watched = watched.and(&ends(what));
        }
        drop(scanner);
        println!("{what}: alone {alone:?}, watched {watched:?}");
        // Other tests, and others on the machine, may look at any time. The moment is of microseconds, and of a
        // scheduler's turns where the machine is busy: each comes, and few come late.
        for ends in [alone, watched] {
            assert!(ends.late * 20 <= ends.count, "{what}: {ends:?}");
        }
    }
}

#[test]
fn a_fifo_that_nobody_opens_stays_waited_for() {
    let test = test_name!();
    if keep_if_told() {
        return;
    }
    let specimen = Species { language: Language::C, name: "fifo-opener" }.keep(&test, 1);
    let fifo = specimen.object("fifo").fact("name").expect("a FIFO has a path").to_owned();
    let opener = specimen.waits[0].pid;
    let scanner = Scanner::start();
    scanner.let_scan(20);
    assert!(sleeps(opener), "it waits for somebody to open the other end");
    let folder = format!("/proc/{opener}/fd");
    let opened = || {
        let open = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|path| path == Path::new(&fifo))
    };
    assert!(!opened(), "it has opened its end");
    let _reader = fifo::try_open_reader(&fifo).unwrap();
    eventually("the writer gets through", || {
        !Path::new(&format!("/proc/{opener}")).exists() || !sleeps(opener) || opened()
    });
}

#[test]
fn the_whole_zoo_stays_as_it_is() {
    let test = test_name!();
    let Some(all) = zoo::species(&test) else { return };
    let specimens: Vec<Specimen> = (5_000..).zip(all).map(|(seed, species)| species.keep(&test, seed)).collect();
    let first = look();
    let scanner = Scanner::start();
    scanner.let_scan(30);
    drop(scanner);
    let last = look();
    let wrong = zoo::differences(&last, &specimens);
    assert!(wrong.is_empty(), "after the scans the zoo is not what it was:\n{}", wrong.join("\n"));
    let keepers: BTreeSet<u32> = specimens.iter().flat_map(Specimen::processes).collect();
    let (first, last) = (portraits(&first, &keepers), portraits(&last, &keepers));
    assert!(first.len() > specimens.len(), "the portraits show the zoo");
    let changed: Vec<_> = first.symmetric_difference(&last).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

/// All that is known of what these processes hold, but for what changes by itself.
fn portraits(snapshot: &Snapshot, processes: &BTreeSet<u32>) -> BTreeSet<String> {
    let holding = snapshot.holds().iter().filter(|hold| processes.contains(&snapshot.process(hold.process).pid));
    let held: BTreeSet<_> = holding.map(|hold| hold.object).collect();
    let portrait = |object: &Object| {
        let Object { identity, kind, name, namespace, owner, mode, fill, changed, detail, .. } = object;
        let detail = match detail {
            Detail::TimerFd { clock, .. } => format!("{clock}"),
            other => format!("{other:?}"),
        };
        format!("{kind} {identity:?} {name:?} {namespace:?} {owner:?} {mode:?} {fill:?} {changed:?} {detail}")
    };
    held.into_iter().map(|object| portrait(snapshot.object(object))).collect()
}

/// A record lock of a process goes when that process closes any descriptor of the file: a scan that opened the file, or
/// got a duplicate of another's descriptor of it, would unlock it under the feet of the program that scans.
#[test]
fn the_scanning_process_keeps_its_own_locks() {
    let test = test_name!();
    if let Some(me) = role() {
        let paths: Vec<String> = me.env("FILES").split(':').map(str::to_owned).collect();
        let open = |path: &String| File::options().read(true).write(true).open(path).unwrap();
        let files: Vec<File> = paths.iter().map(open).collect();
        me.say("open");
        me.wait_for("try");
        for (path, file) in paths.iter().zip(&files) {
            let got = RangeLock::try_lock(file, LockKind::Exclusive, ..);
            me.say(&format!("{path} {}", if got.is_ok() { "is free" } else { "is locked" }));
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ordinary = directory.path().join("ordinary");
    let pipe = directory.path().join("pipe");
    fifo::create(&pipe, Mode::OWNER).unwrap();
    let memory = Memfd::create("locked", &MemfdOptions::new()).unwrap();
    let memory_path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsFd::as_fd(&memory).as_raw_fd());
    let name = format!("/tieline-harmless-{}", std::process::id());
    let shared = SharedMemory::create(&name, 4096, Mode::OWNER).unwrap();
    let semaphore = NamedSemaphore::create(&name, 1, Mode::OWNER).unwrap();
    let paths = [
        ordinary.to_str().unwrap().to_owned(),
        pipe.to_str().unwrap().to_owned(),
        memory_path,
        format!("/dev/shm{name}"),
        format!("/dev/shm/sem.{}", &name[1..]),
    ];
    let open = |path: &String| File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let locks: Vec<RangeLock<File>> =
        paths.iter().map(|path| RangeLock::try_lock_as_process(open(path), LockKind::Exclusive, ..).unwrap()).collect();
    let mut peer = Peer::of(&test).role("other").env("FILES", paths.join(":")).spawn();
    peer.wait_for("open");
    for _ in 0..10 {
        drop(look());
    }
    peer.say("try");
    let answers: Vec<String> = paths.iter().map(|_| peer.hear()).collect();
    peer.succeeds();
    drop((locks, shared, semaphore));
    SharedMemory::unlink(&name).unwrap();
    NamedSemaphore::unlink(&name).unwrap();
    let expected: Vec<String> = paths.iter().map(|path| format!("{path} is locked")).collect();
    assert_eq!(answers, expected);
}

#[test]
fn a_scan_leaves_no_trace() {
    let test = test_name!();
    if keep_if_told() {
        return;
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test) == Isolation::Done {
        return;
    }
    if !Command::new("mount").args(["-t", "tmpfs", "none", "/dev/shm"]).status().is_ok_and(|status| status.success()) {
        skip!("this machine does not let us mount a /dev/shm");
    }
    let names = ["fifo", "memfd", "posix-mq", "posix-sem", "posix-shm", "sysv-shm", "unix-listener"];
    let keep = |name| Species { language: Language::C, name }.keep(&test, 11);
    let specimens: Vec<Specimen> = names.into_iter().map(keep).collect();
    let paths: Vec<String> = specimens
        .iter()
        .flat_map(|specimen| specimen.objects.iter().filter_map(|object| object.fact("name")))
        .flat_map(|name| [name.to_owned(), format!("/dev/shm{name}"), format!("/dev/shm/sem.{}", &name[1..])])
        .filter(|path| Path::new(path).exists())
        .collect();
    assert!(paths.len() >= 4, "{paths:?}");
    let mut watcher = Inotify::new().unwrap();
    let others = What::all() - What::OPENED - What::ACCESSED - What::CLOSED_AFTER_READING;
    watcher.watch("/dev/shm", others).unwrap();
    for path in &paths {
        // Opened as well as changed: nobody's pipe, socket or memory is opened. A semaphore is read to tell its value.
        let what = if path.contains("/sem.") { others } else { others | What::OPENED | What::ACCESSED };
        watcher.watch(path, what).unwrap();
    }
    // The first scan may leave in the process what it needs once.
    drop(look());
    let before = Traces::new(&paths);
    for _ in 0..200 {
        drop(look());
    }
    assert_eq!(Traces::new(&paths), before);
    let event = watcher.try_read();
    assert!(event.as_ref().is_err_and(tieline_os::Error::is_would_block), "a file was touched: {event:?}");
}

/// What a scan might leave behind.
#[derive(Debug, PartialEq)]
struct Traces {
    descriptors: usize,
    threads: usize,
    children: String,
    mounts: String,
    shared_memory: BTreeSet<std::ffi::OsString>,
    /// Access, modification and change of each file.
    times: Vec<[i64; 6]>,
}

impl Traces {
    fn new(paths: &[String]) -> Self {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        let children = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
            let mut all: Vec<String> =
                lists.flat_map(|list| list.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
            all.sort();
            all.concat()
        };
        let times = |path: &String| {
            let file = std::fs::symlink_metadata(path).unwrap();
            [file.atime(), file.atime_nsec(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
        };
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children(),
            mounts: std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
            shared_memory: std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name()).collect(),
            times: paths.iter().map(times).collect(),
        }
    }
}
