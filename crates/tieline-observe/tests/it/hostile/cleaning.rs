//! Objects that change between the plan to remove them and the removal: what is in use or another is left alone.

use std::collections::BTreeMap;

use tieline_observe::clean::{self, Outcome, Rules, Step};
use tieline_observe::model::Kind;
use tieline_os::posix::mq::{Attributes, MessageQueue as PosixQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::Key;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::{Access, Mode};
use tieline_testkit::zoo::{Language, Species, Specimen, keep_if_told};
use tieline_testkit::{Isolation, Namespace, skip, test_name};

use super::mount;

/// What this test may remove: kinds of which its namespaces and its `/dev/shm` hold none but its own. A socket's file lies
/// in a directory that it shares with the whole machine, so none is ever planned here.
const OWN: [Kind; 6] = [Kind::SysvShm, Kind::SysvMq, Kind::SysvSem, Kind::PosixShm, Kind::PosixMq, Kind::PosixSem];

/// Everything of ours that has no user now, be it ever so young.
fn plan() -> Vec<Step> {
    let snapshot = crate::zoo::full().take().unwrap();
    let mut rules = Rules::new();
    rules.minimum_age = std::time::Duration::ZERO;
    rules.unused = true;
    rules.kinds = Some(OWN.to_vec());
    let steps = clean::plan(&snapshot, &rules);
    assert!(steps.iter().all(|step| OWN.contains(&step.kind())), "{steps:?}");
    steps
}

fn key(step: &Step) -> String {
    format!("{} {}", step.kind(), step.name())
}

fn segment() -> Segment {
    Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap()
}

fn shared(name: &str) -> SharedMemory {
    SharedMemory::create(name, 4096, Mode::OWNER).unwrap()
}

fn queue(name: &str) -> PosixQueue {
    let size = Attributes { capacity: 2, message_size: 8 };
    PosixQueue::create(name, size, Access::ReadWrite, Mode::OWNER).unwrap()
}

#[test]
fn what_changed_since_the_plan_is_left_alone() {
    let test = test_name!();
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test) == Isolation::Done {
        return;
    }
    if !mount(&["-t", "tmpfs", "none", "/dev/shm"]) {
        skip!("this machine does not let us mount a /dev/shm");
    }
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    let mut expect = |kind: Kind, name: &str, outcome| expected.insert(format!("{kind} {name}"), outcome);

    let segments = [segment(), segment(), segment()];
    let sets = [1_u16, 2, 3].map(|count| SemaphoreSet::create(Key::PRIVATE, count, Mode::OWNER).unwrap());
    let queues = [(); 3].map(|()| MessageQueue::create(Key::PRIVATE, Mode::OWNER).unwrap());
    for (index, outcome) in ["removed", "gone", "changed"].into_iter().enumerate() {
        expect(Kind::SysvShm, &segments[index].id().number().to_string(), outcome);
        expect(Kind::SysvSem, &sets[index].id().number().to_string(), outcome);
        expect(Kind::SysvMq, &queues[index].id().number().to_string(), outcome);
        let name = format!("/{outcome}");
        drop((shared(&name), queue(&name), NamedSemaphore::create(&name, 1, Mode::OWNER).unwrap()));
        for kind in [Kind::PosixShm, Kind::PosixSem, Kind::PosixMq] {
            expect(kind, &name, outcome);
        }
    }
    // Has the name of one that is planned, but is another object by then.
    drop(shared("/replaced"));
    expect(Kind::PosixShm, "/replaced", "changed");

    let steps = plan();
    let planned: Vec<String> = steps.iter().map(key).collect();
    for name in expected.keys() {
        assert!(planned.contains(name), "{name} has no user, and is not among {planned:?}");
    }

    let [kept, removed, used] = segments;
    removed.remove().unwrap();
    let attachment = used.attach().unwrap();
    let [kept_set, removed_set, used_set] = sets;
    removed_set.remove().unwrap();
    used_set.set_value(0, 3).unwrap();
    let [kept_queue, removed_queue, used_queue] = queues;
    removed_queue.remove().unwrap();
    used_queue.send(1, b"new").unwrap();
    SharedMemory::unlink("/gone").unwrap();
    NamedSemaphore::unlink("/gone").unwrap();
    PosixQueue::unlink("/gone").unwrap();
    let opened = (
        SharedMemory::open("/changed", Access::ReadOnly).unwrap(),
        NamedSemaphore::open("/changed").unwrap(),
        PosixQueue::open("/changed", Access::ReadOnly).unwrap(),
    );
    SharedMemory::unlink("/replaced").unwrap();
    drop(shared("/replaced"));

    let outcomes = clean::perform(&steps).unwrap();
    let word = |outcome: &Outcome| match outcome {
        Outcome::Removed => "removed",
        Outcome::Gone => "gone",
        Outcome::Changed => "changed",
        Outcome::Failed(error) => panic!("{error}"),
        other => panic!("{other:?}"),
    };
    let came: BTreeMap<String, &str> = steps.iter().map(key).zip(outcomes.iter().map(word)).collect();
    assert_eq!(came, expected);

    assert!(kept.stat().is_err() && kept_set.stat().is_err() && kept_queue.stat().is_err(), "they were removed");
    assert_eq!(used.stat().unwrap().attachments, 1);
    assert_eq!(used_set.values().unwrap(), [3, 0, 0]);
    assert_eq!(used_queue.stat().unwrap().messages, 1);
    let left: std::collections::BTreeSet<_> =
        std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["changed", "replaced", "sem.changed"].map(Into::into).into());
    drop((attachment, opened));
}

/// Whatever the rules: what somebody has, or waits for, is not even planned.
#[test]
fn nothing_in_use_is_ever_planned() {
    let test = test_name!();
    if keep_if_told() {
        return;
    }
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test) == Isolation::Done {
        return;
    }
    if !mount(&["-t", "tmpfs", "none", "/dev/shm"]) {
        skip!("this machine does not let us mount a /dev/shm");
    }
    let used = [
        "posix-mq",
        "posix-mq-notified",
        "posix-mq-waited",
        "posix-sem",
        "posix-sem-waited",
        "posix-shm",
        "posix-shm-locked",
        "sysv-msg-full",
        "sysv-msg-waited",
        "sysv-sem-waited",
        "sysv-shm",
        "unix-listener",
    ];
    let specimens: Vec<Specimen> =
        used.into_iter().map(|name| Species { language: Language::C, name }.keep(&test, 77)).collect();
    // Somebody must be there who is to be planned, or the test would say nothing.
    let left = Species { language: Language::C, name: "sysv-shm-left" }.keep(&test, 78);
    let steps = plan();
    let planned: Vec<String> = steps.iter().map(key).collect();
    assert_eq!(planned, [format!("sysv-shm {}", left.objects[0].fact("id").unwrap())]);
    let outcomes = clean::perform(&steps).unwrap();
    assert!(matches!(outcomes[..], [Outcome::Removed]), "{outcomes:?}");
    let snapshot = crate::zoo::full().take().unwrap();
    let wrong = crate::zoo::differences(&snapshot, &specimens);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What its maker may still come back to is not left behind, so it is removed only by who says that he knows better.
#[test]
fn what_a_living_process_made_is_no_orphan() {
    let test = test_name!();
    if Namespace::enter(&[Namespace::Ipc], &test) == Isolation::Done {
        return;
    }
    let own = segment();
    let snapshot = crate::zoo::full().take().unwrap();
    let mut rules = Rules::new();
    rules.minimum_age = std::time::Duration::ZERO;
    assert_eq!(clean::plan(&snapshot, &rules).iter().filter(|step| step.kind() == Kind::SysvShm).count(), 0);
    rules.unused = true;
    assert_eq!(clean::plan(&snapshot, &rules).iter().filter(|step| step.kind() == Kind::SysvShm).count(), 1);
    own.remove().unwrap();
}
