//! Machines that are against the viewer: processes that come and go, names made to deceive, no privilege, too much of
//! everything. Each scan answers rightly with what it could see, and counts what it could not.

mod cleaning;
mod names;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use tieline_observe::model::{Detail, Evidence, How, Identity, Kind, Role, UnseenWhat};
use tieline_observe::{Scan, Snapshot};
use tieline_os::Mode;
use tieline_os::eventfd::EventFd;
use tieline_os::pipe::pipe;
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_testkit::zoo::{Language, Species, Specimen, keep_if_told};
use tieline_testkit::{
    Isolation, Namespace, PATIENCE, Peer, alone, can_run_as, pause, role, skip, tells_true_devices, test_name,
};

use crate::{may_look_inside, namespace_of, zoo};

fn look() -> Snapshot {
    zoo::full().take().expect("this machine has a /proc")
}

/// A user without any right.
const NOBODY: u32 = 65_534;

/// Processes that begin and end all the time are either in the picture or not; all others are seen as ever.
#[test]
fn processes_that_come_and_go_disturb_nothing() {
    let test = test_name!();
    if keep_if_told() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    let restless = Species { language: Language::Rust, name: "forks" };
    let names = ["anonymous", "fifo", "flock", "memfd", "pipe", "shared-table", "unix-accepted"];
    let calm = names.map(|name| Species { language: Language::C, name });
    let specimens: Vec<Specimen> =
        [restless; 4].iter().chain(&calm).zip(100..).map(|(species, seed)| species.keep(&test, seed)).collect();
    let mut wrong = Vec::new();
    for _ in 0..20 {
        wrong.extend(zoo::differences(&look(), &specimens));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A process that has the number of one that ended is not taken for it.
#[test]
fn a_number_that_was_used_again_is_another_process() {
    let test = test_name!();
    if let Some(me) = role() {
        if me.name() == "maker" {
            let segment = Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap();
            me.say(&segment.id().number().to_string());
        } else {
            me.say("here");
            me.wait_for("end");
        }
        return;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map_while(|word| word.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(14)) {
        skip!("a pid namespace has no pid_max of its own before Linux 6.14");
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount, Namespace::Pid], &test) == Isolation::Done {
        return;
    }
    if !mount(&["-t", "proc", "proc", "/proc"]) {
        skip!("this machine does not let us mount a procfs");
    }
    if std::fs::write("/proc/sys/kernel/pid_max", "400").is_err() {
        skip!("this machine does not let us set pid_max of our own namespace");
    }
    // A small process that ends at once, and its number. The numbers below 300 are given out once only.
    let pass = || Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id())).unwrap();
    while pass() < 320 {}
    let mut maker = Peer::of(&test).role("maker").spawn();
    let number = maker.id();
    let id: i32 = maker.hear().parse().unwrap();
    maker.succeeds();
    let segment = RemoveOnDrop::new(Segment::from_id(tieline_os::sysv::Id::new(id)));
    // The kernel keeps the moment in whole seconds: only a process that began in a later one is surely another.
    pause(Duration::from_millis(2_100));
    let deadline = Instant::now() + PATIENCE;
    let mut another = loop {
        assert!(Instant::now() < deadline, "the number {number} does not come again");
        // A process that is large, and whose threads have numbers too, only where the number may be the next.
        if pass() + 1 == number {
            let peer = Peer::of(&test).role("another").spawn();
            if peer.id() == number {
                break peer;
            }
        }
    };
    another.wait_for("here");

    let snapshot = look();
    let namespace = namespace_of(std::process::id(), "ipc");
    let identity = Identity::SystemV { kind: Kind::SysvShm, namespace, id };
    let object = snapshot.object_with(identity).expect("the segment was found");
    let Detail::SysvShm(detail) = &object.detail else { panic!("{object:?}") };
    assert_eq!(detail.creator, number, "the kernel remembers its maker's number");
    assert_eq!(snapshot.holders(object.reference).count(), 0, "who has that number now did not make it");
    let findings = snapshot.findings().iter().filter(|finding| finding.object == Some(object.reference));
    let evidence: Vec<&Evidence> = findings.flat_map(|finding| &finding.evidence).collect();
    assert!(evidence.contains(&&Evidence::CreatorPidReused { pid: number }), "{evidence:?}");

    // And who made one now is called its maker.
    let own = RemoveOnDrop::new(Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap());
    let snapshot = look();
    let identity = Identity::SystemV { kind: Kind::SysvShm, namespace, id: own.id().number() };
    let own = snapshot.object_with(identity).expect("the segment was found").reference;
    let makers: Vec<u32> = snapshot
        .holders(own)
        .filter(|hold| hold.how == How::Remembered(Role::Creator))
        .map(|hold| snapshot.process(hold.process).pid)
        .collect();
    assert_eq!(makers, [std::process::id()]);
    another.say("end");
    drop(segment);
}

/// Whether this machine lets us: some let us make the namespace for it, and nothing of it.
fn mount(words: &[&str]) -> bool {
    Command::new("mount").args(words).status().is_ok_and(|status| status.success())
}

fn unseen(snapshot: &Snapshot, what: UnseenWhat) -> u64 {
    snapshot.unseen().iter().filter(|unseen| unseen.what == what).map(|unseen| unseen.count).sum()
}

/// What a viewer without privilege says: whether it sees that process, what of it, and what it missed.
fn view_of_nobody(me: &tieline_testkit::Role) {
    let (reader, writer) = pipe().unwrap();
    writer.write_all(b"own").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(
        &File::from(reader.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap(),
    );
    let snapshot = look();
    let own = snapshot.object_with(Identity::Pipe { inode }).expect("its own pipe was found");
    let ends = snapshot.holders(own.reference).filter(|hold| matches!(hold.how, How::Descriptor { .. })).count();
    assert_eq!((ends, own.fill.map(|fill| fill.used)), (2, Some(3)), "{own:?}");
    let keeper: u32 = me.env("KEEPER").parse().unwrap();
    let other = snapshot.process_with_pid(keeper);
    let held = other.map(|other| snapshot.held_by(other.reference).filter(|hold| hold.how.is_use()).count());
    let what = [UnseenWhat::Processes, UnseenWhat::Descriptors, UnseenWhat::Mappings, UnseenWhat::Waits];
    let missed = what.map(|what| unseen(&snapshot, what));
    me.say(&format!("{held:?} {missed:?}"));
}

#[test]
fn without_privilege_the_rest_is_counted() {
    let test = test_name!();
    if let Some(me) = role().filter(|_| std::env::var_os("KEEPER").is_some()) {
        return view_of_nobody(&me);
    }
    if keep_if_told() {
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("only root can run the viewer as another user, and the test program must be readable to it");
    }
    let specimen = Species { language: Language::C, name: "pipe" }.keep(&test, 5);
    // In a pid namespace, as containers have, those outside are hidden from everybody.
    let hidden_from_all = unseen(&look(), UnseenWhat::Processes) > 0;
    let mut viewer = Peer::of(&test).role("viewer").env("KEEPER", specimen.keeper().to_string()).user(NOBODY).spawn();
    let answer = viewer.hear();
    viewer.succeeds();
    // The process is seen, nothing that it holds, and that is said.
    let Some(missed) = answer.strip_prefix("Some(0) ") else { panic!("{answer}") };
    let missed: Vec<u64> =
        missed.trim_matches(['[', ']']).split(", ").map(|word| word.parse().expect("a number")).collect();
    assert!(missed[0] == 0 || hidden_from_all, "no process is hidden: {answer}");
    assert!(missed[1..].iter().all(|&count| count >= 2), "keeper and child could not be looked into: {answer}");
}

#[test]
fn processes_that_proc_hides_are_counted() {
    let test = test_name!();
    if let Some(me) = role().filter(|_| std::env::var_os("KEEPER").is_some()) {
        return view_of_nobody(&me);
    }
    if keep_if_told() {
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("only root can run the viewer as another user, and the test program must be readable to it");
    }
    if Namespace::enter(&[Namespace::Mount, Namespace::Pid], &test) == Isolation::Done {
        return;
    }
    if !mount(&["-t", "proc", "-o", "hidepid=2", "proc", "/proc"]) {
        skip!("this machine does not let us mount a procfs");
    }
    let specimen = Species { language: Language::C, name: "pipe" }.keep(&test, 5);
    let mut viewer = Peer::of(&test).role("viewer").env("KEEPER", specimen.keeper().to_string()).user(NOBODY).spawn();
    let answer = viewer.hear();
    viewer.succeeds();
    let Some(missed) = answer.strip_prefix("None ") else { panic!("it sees a hidden process: {answer}") };
    let missed: u64 = missed.trim_start_matches('[').split(", ").next().unwrap().parse().unwrap();
    assert!(missed >= 1, "the hidden processes are not counted: {answer}");
}

/// Each of several processes has as many descriptors as it may: most of one pipe, some of counters of its own.
#[test]
fn two_hundred_thousand_descriptors_are_all_seen() {
    const WANTED: usize = 200_000;
    const COUNTERS: usize = 100;
    let test = test_name!();
    if let Some(me) = role() {
        let wanted: usize = me.env("COUNT").parse().unwrap();
        let shared = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let counters: Vec<EventFd> = (0..COUNTERS).map(|_| EventFd::new(7).unwrap()).collect();
        let kept: Vec<OwnedFd> = (COUNTERS + 1..wanted).map(|_| shared.try_clone().unwrap()).collect();
        me.say("open");
        // Its standard input is the pipe: the end of this process is the parent's to bring about.
        pause(PATIENCE * 3);
        drop((counters, kept));
        return;
    }
    // Its memory is measured.
    if alone(&test) == Isolation::Done {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20);
    let each = usize::try_from(limit).unwrap_or(usize::MAX).min(50_000) - 200;
    let processes = WANTED.div_ceil(each);
    if processes > 40 {
        skip!("a process may have {limit} descriptors only");
    }
    let each = WANTED.div_ceil(processes);
    let raised = rustix::process::Rlimit { current: Some(limit), maximum: Some(limit) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("up to the hard limit");
    let (reader, _writer) = pipe().unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(
        &File::from(reader.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap(),
    );
    let mut peers: Vec<Peer> = (0..processes)
        .map(|_| {
            let end = reader.as_fd().try_clone_to_owned().unwrap();
            Peer::of(&test).role("many").env("COUNT", each.to_string()).stdin(end).spawn()
        })
        .collect();
    for peer in &mut peers {
        peer.wait_for("open");
    }
    let before = peak_memory();
    let snapshot = Scan::new().take().unwrap();
    // Of our own: what the machine does besides is not the question.
    let (took, grew) = (snapshot.taken().cpu, peak_memory().saturating_sub(before));
    println!("{} descriptors of {processes} processes in {took:?}, {} MB", each * processes, grew >> 20);

    let object = snapshot.object_with(Identity::Pipe { inode }).expect("the pipe was found");
    for peer in &peers {
        let process = snapshot.process_with_pid(peer.id()).expect("the peer was found");
        let counted = process.descriptors.expect("its descriptors could be read") as usize;
        assert!(counted >= each, "{counted} of {each}");
        let held = snapshot.held_by(process.reference);
        let (of_pipe, others): (Vec<_>, Vec<_>) = held.partition(|hold| hold.object == object.reference);
        // Its standard input and the first duplicate of it come to the rest.
        assert_eq!(of_pipe.len(), each - COUNTERS + 1);
        let counters = others.iter().map(|hold| snapshot.object(hold.object));
        let counters =
            counters.filter(|object| matches!(object.detail, Detail::EventFd(counter) if counter.count == 7));
        assert_eq!(counters.count(), COUNTERS);
    }
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(grew < 400 << 20, "{} MB for {WANTED} descriptors", grew >> 20);
}

/// The most memory that this process had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
