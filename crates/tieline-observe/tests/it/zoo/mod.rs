//! The zoo: processes that talk in known shapes, and what a scan says of them.
//!
//! `TIELINE_ZOO_COMBINATIONS` sets how many random combinations are compared (20 without), `TIELINE_ZOO_SEED` the seed
//! of the first; each says its seed when it fails, and counts it up by one.

mod truth;

use std::time::{SystemTime, UNIX_EPOCH};

use tieline_observe::{Scan, Snapshot};
use tieline_testkit::zoo::{Language, Species, Specimen, keep_if_told};
use tieline_testkit::{Isolation, Namespace, skip, skipped, tells_true_devices, test_name};

pub(crate) use truth::differences;

use crate::may_look_inside;

/// Everything that a scan can see.
pub(crate) fn full() -> Scan {
    Scan::new().waits(true)
}

fn look() -> Snapshot {
    full().take().expect("this machine has a /proc")
}

/// The species of this test, which may now be in an IPC namespace of its own; `None` to return.
pub(crate) fn species(test: &str) -> Option<Vec<Species>> {
    if keep_if_told() {
        return None;
    }
    if !may_look_inside() {
        skipped(test, "we may not look into other processes here");
        return None;
    }
    if !tells_true_devices() {
        skipped(test, "files of the temporary directory have other numbers than in the kernel's lists");
        return None;
    }
    if Namespace::can_make(&[Namespace::Ipc]) {
        return (Namespace::enter(&[Namespace::Ipc], test) == Isolation::Inside).then(|| Species::all(test));
    }
    skipped(test, "System V objects and queues: this machine does not let us make an IPC namespace");
    Some(Species::all(test).into_iter().filter(|one| !one.lives_in_ipc_namespace()).collect())
}

fn named(language: Language, name: &'static str) -> Species {
    Species { language, name }
}

#[test]
fn each_species_is_seen_as_its_maker_says() {
    let test = test_name!();
    let Some(all) = species(&test) else { return };
    let mut wrong = Vec::new();
    for (seed, species) in (7_000..).zip(all) {
        for seed in [seed, seed + 1_001] {
            let specimens = [species.keep(&test, seed)];
            wrong.extend(differences(&look(), &specimens));
        }
    }
    assert!(wrong.is_empty(), "the snapshot is wrong:\n{}", wrong.join("\n"));
}

#[test]
fn any_combination_is_seen_as_its_makers_say() {
    let test = test_name!();
    let Some(all) = species(&test) else { return };
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let combinations: u64 = variable("TIELINE_ZOO_COMBINATIONS").unwrap_or(20);
    let first = variable("TIELINE_ZOO_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        now * 1_000
    });
    for seed in first..first + combinations {
        let mut random = Random(seed);
        let count = 5 + random.below(8);
        let choose = |random: &mut Random| all[usize::try_from(random.below(all.len() as u64)).expect("an index")];
        let mut specimens: Vec<Specimen> = Vec::new();
        for _ in 0..count {
            let species = choose(&mut random);
            specimens.push(species.keep(&test, random.small()));
        }
        // Two of one kind must not be taken for one.
        specimens.push(specimens[0].species.keep(&test, random.small()));
        let wrong = differences(&look(), &specimens);
        let zoo: Vec<String> = specimens.iter().map(|one| one.species.to_string()).collect();
        assert!(
            wrong.is_empty(),
            "TIELINE_ZOO_SEED={seed} TIELINE_ZOO_COMBINATIONS=1: with {}, the snapshot is wrong:\n{}",
            zoo.join(", "),
            wrong.join("\n")
        );
    }
}

#[test]
fn what_lives_in_other_namespaces_is_found_and_named_by_them() {
    let test = test_name!();
    if keep_if_told() {
        return;
    }
    if !rustix::process::geteuid().is_root()
        || !may_look_inside()
        || !tells_true_devices()
        || !Namespace::can_make(&[Namespace::Ipc, Namespace::Net])
    {
        skip!("only root may look into other namespaces, on a machine that lets it make them");
    }
    let homes: [(Namespace, &[&str]); 3] = [
        (
            Namespace::Ipc,
            &[
                "posix-mq",
                "posix-mq-waited",
                "sysv-msg",
                "sysv-msg-waited",
                "sysv-sem-waited",
                "sysv-shm",
                "sysv-shm-left",
            ],
        ),
        (
            Namespace::Net,
            &["unix-abstract", "unix-accepted", "unix-crowd", "unix-datagram", "unix-listener", "unix-stream"],
        ),
        (Namespace::Mount, &["fifo", "fifo-both", "flock", "memfd", "posix-sem", "posix-shm", "unix-listener"]),
    ];
    let mut wrong = Vec::new();
    for (home, names) in homes {
        if home == Namespace::Mount && !Namespace::can_mount() {
            skipped(&test, "another /dev/shm: this machine does not let us mount one");
            continue;
        }
        let specimens: Vec<Specimen> =
            (2_000..).zip(names).map(|(seed, name)| named(Language::C, name).keep_in(&[home], &test, seed)).collect();
        let snapshot = look();
        wrong.extend(differences(&snapshot, &specimens));
        for specimen in &specimens {
            let spaces = snapshot.process_with_pid(specimen.keeper()).expect("the keeper is there").namespaces;
            let (inode, own) = match home {
                Namespace::Ipc => (spaces.ipc, snapshot.viewer().namespaces.ipc),
                Namespace::Net => (spaces.net, snapshot.viewer().namespaces.net),
                _ => (spaces.mnt, snapshot.viewer().namespaces.mnt),
            };
            assert_ne!(inode, own, "{}: it was to be elsewhere", specimen.species);
            let listed = snapshot.namespaces().iter().find(|space| Some(space.inode) == inode);
            match listed {
                Some(space) if space.is_listed && !space.is_own && space.named_after.is_some() => {}
                other => wrong.push(format!("{}: its namespace is told as {other:?}", specimen.species)),
            }
        }
    }
    assert!(wrong.is_empty(), "the snapshot is wrong:\n{}", wrong.join("\n"));
}

/// A generator of numbers that are random enough to choose by (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.below(1_000_000)).expect("it is small")
    }
}
