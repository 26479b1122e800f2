//! Arenas between real processes: killed, stopped, lied to, kept in files.

mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tieline_shm::{Arena, ArenaOptions, Error, ErrorKind, Opened, Recovered, ShmMap, ShmString, ShmVec};
use tieline_testkit::{PATIENCE, Peer, PeerBuilder, Role, test_name};

type Prices = ShmMap<u32, [u64; 3]>;

fn options() -> ArenaOptions {
    ArenaOptions::new("state")
}

/// A file is the simplest way to have one arena in two processes.
fn open(path: &Path) -> Arena {
    options().open_or_create_file(path, 256 * 1024).unwrap()
}

fn file_of(me: &Role) -> PathBuf {
    me.env("FILE").into()
}

fn content(arena: &Arena) -> BTreeMap<u32, [u64; 3]> {
    let map: Prices = arena.root().unwrap().expect("it was set");
    map.iter(arena).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What each change of the killed process does: never may it be seen in part.
fn next(arena: &mut Arena, round: u64) -> Result<(), Error> {
    arena.change(|change| {
        let map: Prices = change.root()?.expect("it was set");
        for key in 0..12 {
            map.insert(change, &key, &[round; 3])?;
        }
        // Another number of entries each time, so that the table is written anew now and then.
        for key in 12..12 + (round % 7 * 5) as u32 {
            map.insert(change, &key, &[round; 3])?;
        }
        for key in 12 + (round % 7 * 5) as u32..60 {
            map.remove(change, &key)?;
        }
        Ok(())
    })
}

fn is_whole(content: &BTreeMap<u32, [u64; 3]>) -> Option<u64> {
    let round = content.get(&0)?[0];
    let len = 12 + (round % 7 * 5) as usize;
    (content.len() == len && content.values().all(|value| *value == [round; 3])).then_some(round)
}

fn make(path: &Path) -> Arena {
    let mut arena = open(path);
    let map = arena.change(|change| {
        let map = Prices::new(change)?;
        change.set_root(map)?;
        Ok::<_, Error>(map)
    });
    map.unwrap();
    next(&mut arena, 0).unwrap();
    arena
}

fn writer(test: String, path: &Path) -> PeerBuilder {
    Peer::of(test).role("writer").env("FILE", path)
}

fn write_forever(me: &Role) {
    let mut arena = open(&file_of(me));
    me.say("open");
    for round in 1.. {
        next(&mut arena, round).unwrap();
    }
}

/// Killed at each named step, at several passings of it: the state is that before or after one change.
#[test]
fn a_writer_killed_at_any_step_leaves_a_whole_state() {
    if let Some(me) = tieline_testkit::role() {
        return write_forever(&me);
    }
    let steps = ["owned", "noted", "before-store", "before-commit", "committed", "closing"];
    for step in steps {
        for passing in [1, 2, 5, 90] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("arena");
            let mut ours = make(&path);
            let wanted = format!("kill:arena:{step}:{passing}");
            let mut peer = writer(test_name!(), &path).env("TIELINE_STEP", wanted).spawn();
            assert!(!peer.exit_status().success(), "{step} is passed");
            assert!(ours.is_change_open(), "{step}: the death can be seen");
            assert_eq!(next(&mut ours, 1).unwrap_err().kind(), ErrorKind::OwnerDied);
            assert_eq!(ours.recover().unwrap(), Recovered::TakenBack);
            assert_eq!(ours.recover().unwrap(), Recovered::Nothing);
            ours.check().unwrap();
            let content = content(&ours);
            assert!(is_whole(&content).is_some(), "{step} {passing}: {content:?}");
            next(&mut ours, 3).unwrap();
            ours.check().unwrap();
        }
    }
}

/// Killed at random: 40 times here, more in the long suite (`TIELINE_SOAK_ROUNDS`).
#[test]
fn a_writer_killed_at_any_moment_leaves_a_whole_state() {
    if let Some(me) = tieline_testkit::role() {
        return write_forever(&me);
    }
    let rounds = std::env::var("TIELINE_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arena");
    let mut ours = make(&path);
    let mut in_the_middle = 0;
    for round in 0..100 * rounds {
        // And on, where the writers hardly get a turn before they are killed.
        if round >= rounds && in_the_middle > 0 {
            break;
        }
        let mut peer = writer(test_name!(), &path).spawn();
        peer.wait_for("open");
        let until = Instant::now() + Duration::from_micros(100 + round * 37 % 3000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        peer.kill();
        in_the_middle += u32::from(ours.recover().unwrap() == Recovered::TakenBack);
        ours.check().unwrap();
        let content = content(&ours);
        assert!(is_whole(&content).is_some(), "round {round}: {content:?}");
    }
    println!("{in_the_middle} died in the middle of a change, of {rounds} if that is enough");
    assert!(in_the_middle > 0, "none died where it matters");
}

/// The recovering process dies too, at the worst moments; the next one finishes.
#[test]
fn recovery_may_be_interrupted() {
    if let Some(me) = tieline_testkit::role() {
        if me.name() == "writer" {
            return write_forever(&me);
        }
        let mut arena = open(&file_of(&me));
        arena.recover().unwrap();
        return;
    }
    for (step, passing) in [("recovering", 1), ("put-back", 1), ("put-back", 20), ("closing", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arena");
        let mut ours = make(&path);
        let mut peer = writer(test_name!(), &path).env("TIELINE_STEP", "kill:arena:before-commit:2").spawn();
        assert!(!peer.exit_status().success());
        let wanted = format!("kill:arena:{step}:{passing}");
        let mut repairer =
            Peer::of(test_name!()).role("repairer").env("FILE", &path).env("TIELINE_STEP", wanted).spawn();
        assert!(!repairer.exit_status().success(), "{step} is passed");
        ours.recover().unwrap();
        ours.check().unwrap();
        assert_eq!(is_whole(&content(&ours)), Some(1), "{step}: the first change held, the second did not");
    }
}

/// Somebody recovers although the writer only stopped: the writer, awake again, finds out and changes nothing.
#[test]
fn a_stopped_writer_that_was_recovered_gives_up() {
    if let Some(me) = tieline_testkit::role() {
        let mut arena = open(&file_of(&me));
        let error = (1..).find_map(|round| next(&mut arena, round).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::NotRecoverable, "{error}");
        return;
    }
    for step in ["owned", "noted:50", "before-store:51", "before-commit:2"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arena");
        let mut ours = make(&path);
        let peer = writer(test_name!(), &path).env("TIELINE_STEP", format!("stop:arena:{step}")).spawn();
        peer.until_stopped();
        assert_eq!(ours.recover().unwrap(), Recovered::TakenBack);
        next(&mut ours, 5).unwrap();
        peer.signal(Signal::CONT);
        peer.succeeds();
        assert_eq!(is_whole(&content(&ours)), Some(5), "{step}");
    }
}

#[test]
fn a_file_is_recovered_by_whoever_opens_it() {
    if let Some(me) = tieline_testkit::role() {
        return write_forever(&me);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arena");
    drop(make(&path));
    assert_eq!(open(&path).opened(), Some(Opened::Clean));
    let mut peer = writer(test_name!(), &path).env("TIELINE_STEP", "kill:arena:before-store:30").spawn();
    assert!(!peer.exit_status().success());
    let again = open(&path);
    assert_eq!((again.opened(), again.usage().recoveries), (Some(Opened::ProcessDied), 1));
    assert_eq!(is_whole(&content(&again)), Some(0));
    again.check().unwrap();
    again.sync().unwrap();
}

/// A process that was killed while it made the file leaves none, or a whole one.
#[test]
fn a_file_is_an_arena_from_its_first_moment() {
    if let Some(me) = tieline_testkit::role() {
        open(&file_of(&me));
        return;
    }
    for (step, there) in [("segment-file:before-link", false), ("segment-file:after-link", true)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arena");
        let mut peer = writer(test_name!(), &path).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        assert!(!peer.exit_status().success());
        assert_eq!(path.exists(), there);
        let ours = open(&path);
        ours.check().unwrap();
        assert_eq!(ours.usage().used, 0);
    }
}

/// An attacker with every right to the memory writes nonsense all over it, all the time: the victim gets values and
/// errors, soon, and lives.
#[test]
fn an_attacker_causes_errors_only() {
    if let Some(me) = tieline_testkit::role() {
        let path = file_of(&me);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let memory = tieline_os::mapping::Mapping::of(&file, &tieline_os::mapping::MapOptions::new()).unwrap();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        me.say("attacking");
        loop {
            let burst = random() % 64;
            for _ in 0..burst {
                // Mostly where it hurts: the arena's words and its first blocks.
                let reach = if random() % 4 == 0 { memory.len() } else { 4096 + 512 + 20_000 };
                let place = 4096 + (random() as usize) % (reach - 4096);
                let flip = 1_u8 << (random() % 8);
                let mut byte = [0];
                memory.read(place, &mut byte).unwrap();
                memory.write(place, &[byte[0] ^ flip]).unwrap();
            }
            std::thread::yield_now();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arena");
    let mut arena = ArenaOptions::new("state").journal_entries(1024).open_or_create_file(&path, 64 * 1024).unwrap();
    // Put back now and then, so that the attack meets an arena that is not yet beyond help.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let memory = tieline_os::mapping::Mapping::of(&file, &tieline_os::mapping::MapOptions::new()).unwrap();
    let mut good = vec![0; memory.len()];
    memory.read(0, &mut good).unwrap();
    let mut peer = Peer::of(test_name!()).role("attacker").env("FILE", &path).spawn();
    peer.wait_for("attacking");
    let end = Instant::now() + Duration::from_secs(3);
    let (mut values, mut errors, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    for round in 0.. {
        // Longer, if attacker and victim hardly get a turn.
        let is_enough = errors > 0 && values > 0;
        if Instant::now() >= end && (is_enough || Instant::now() >= end + PATIENCE) {
            break;
        }
        if round % 8 == 0 {
            memory.write(0, &good).unwrap();
        }
        let begin = Instant::now();
        let answers = [
            arena.recover().map(|_| ()),
            arena.check(),
            arena.root::<Prices>().map(|_| ()),
            arena.change(|change| {
                let vec = ShmVec::<u64>::new(change)?;
                vec.extend_from_slice(change, &[7; 100])?;
                vec.pop(change)?;
                let text = ShmString::new(change, "some text")?;
                text.get(change)?;
                text.free(change)?;
                vec.free(change)
            }),
            arena.change(|change| {
                let map = Prices::new(change)?;
                for key in 0..20 {
                    map.insert(change, &key, &[1; 3])?;
                }
                map.iter(change)?.collect::<Result<Vec<_>, _>>()?;
                map.free(change)
            }),
        ];
        slowest = slowest.max(begin.elapsed());
        for answer in answers {
            match answer {
                Ok(()) => values += 1,
                Err(error) => {
                    errors += 1;
                    let told = [
                        ErrorKind::Corrupted,
                        ErrorKind::OwnerDied,
                        ErrorKind::Full,
                        ErrorKind::NotRecoverable,
                        ErrorKind::Mismatch,
                        ErrorKind::InvalidInput,
                        ErrorKind::TooLarge,
                    ];
                    assert!(told.contains(&error.kind()), "{error}");
                }
            }
        }
    }
    println!("{values} values, {errors} errors, slowest round {slowest:?}");
    assert!(errors > 0 && values > 0, "the attack hit nothing, or everything at once");
    // Some milliseconds, and the machine's share.
    assert!(slowest < PATIENCE / 2, "{slowest:?}");
}
