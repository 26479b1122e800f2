//! Arenas by name, whose writers are killed.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tieline_shm::sync::RwLockOptions;
use tieline_shm::{Error, ErrorKind, Name, SharedArena, ShmBox, ShmMap, ShmString, ShmVec};
use tieline_testkit::{PATIENCE, Peer, role, test_name};

type Pairs = ShmMap<u32, [u64; 2]>;

fn name_of(directory: &std::path::Path) -> Name {
    Name::new(&format!("{}/pairs", directory.display())).unwrap()
}

/// Two entries that are always equal.
fn set(pairs: &SharedArena, number: u64) -> Result<(), Error> {
    pairs.write()?.change(|change| {
        let map: Pairs = change.root_or_new()?;
        map.insert(change, &1, &[number; 2])?;
        map.insert(change, &2, &[number; 2])?;
        Ok(())
    })
}

fn get(pairs: &SharedArena) -> Option<[u64; 4]> {
    let arena = pairs.read_timeout(PATIENCE).unwrap();
    let map: Pairs = arena.root().unwrap()?;
    let [one, two] = [1, 2].map(|key| map.get(&arena, &key).unwrap().expect("both are there or none"));
    Some([one[0], one[1], two[0], two[1]])
}

#[test]
fn a_shared_arena_is_one_for_all_who_open_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let name = name_of(directory.path());
    assert_eq!(SharedArena::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    let options = SharedArena::options().lock(RwLockOptions::new().readers(5)).growable(4 << 20);
    let mine = options.create(&name, 64 * 1024).unwrap();
    assert_eq!(SharedArena::create(&name, 64 * 1024).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let theirs = SharedArena::open_or_create(&name, 32 * 1024).unwrap();
    assert_eq!(get(&theirs), None);
    set(&mine, 3).unwrap();
    assert_eq!(get(&theirs), Some([3; 4]));

    // An error takes the change back, and so does a panic; the lock is free afterwards.
    let failed = mine.write().unwrap().change(|change| {
        Pairs::new(change)?;
        Err::<(), _>(change.root::<ShmMap<u8, u8>>().unwrap_err())
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Mismatch);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        mine.write().unwrap().change(|change| -> Result<(), Error> {
            let map: Pairs = change.root_or_new()?;
            map.insert(change, &1, &[4; 2])?;
            panic!("in the middle")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(get(&theirs), Some([3; 4]));
    theirs.read().unwrap().check().unwrap();

    // It grows beyond what it began with.
    for key in 10..20_000 {
        let mut arena = theirs.write().unwrap();
        arena.change(|change| change.root_or_new::<Pairs>()?.insert(change, &key, &[1; 2])).unwrap();
    }
    let arena = mine.read().unwrap();
    assert_eq!(arena.root::<Pairs>().unwrap().unwrap().len(&arena).unwrap(), 19_992);
    assert!(theirs.try_read().is_ok(), "readers do not exclude each other");
    assert_eq!(theirs.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    arena.check().unwrap();
}

/// Every byte of an arena with a name, its lock and its members included, is flipped by a process that has it open: calls
/// with a deadline end in time, with a value or an error.
#[test]
fn an_attacker_of_a_shared_arena_causes_errors_only() {
    const TIMEOUT: Duration = Duration::from_millis(20);
    if let Some(me) = role() {
        let _pairs = SharedArena::open(name_of(me.env("DIRECTORY").as_ref())).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        // The page with its own line is mapped once more.
        let ours = maps.lines().filter(|line| line.contains("/memfd:tieline:arena"));
        let ranges = ours.filter_map(|line| line.split_once(' ')?.0.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let ranges = ranges.map(|(start, end)| (number(start), number(end)));
        let (start, end) = ranges.max_by_key(|(start, end)| end - start).expect("it is mapped");
        let memory = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
        me.say("attacking");
        let mut seed = 0x1234_5678_u64;
        loop {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The table of members, the lock, the arena's words and its first blocks.
            let at = start + (seed >> 20) % (end - start).min(0x8000);
            let mut byte = [0];
            memory.read_exact_at(&mut byte, at).unwrap();
            let _ = memory.write_at(&[byte[0] ^ [0xff, 0x01, 0x80, 0x10][(seed >> 62) as usize]], at);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut values, mut errors, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(3);
    let mut round = 0;
    let enough = |values, errors| values > 0 && errors > 0;
    // Longer, if attackers and victim hardly get a turn.
    while Instant::now() < end || (!enough(values, errors) && Instant::now() < end + PATIENCE) {
        // Anew each time: what an attacker has destroyed stays destroyed.
        round += 1;
        let folder = directory.path().join(round.to_string());
        std::fs::create_dir(&folder).unwrap();
        let pairs = SharedArena::create(name_of(&folder), 32 * 1024).unwrap();
        set(&pairs, 1).unwrap();
        let mut attacker = Peer::of(test_name!()).role("attacker").env("DIRECTORY", &folder).spawn();
        attacker.wait_for("attacking");
        let until = Instant::now() + Duration::from_millis(150);
        for number in (2..40).cycle().take_while(|_| Instant::now() < until) {
            let began = Instant::now();
            let read = pairs.read_timeout(TIMEOUT).and_then(|arena| {
                let Some(map) = arena.root::<Pairs>()? else { return Ok(()) };
                map.iter(&arena)?.collect::<Result<Vec<_>, _>>()?;
                map.get(&arena, &1)?;
                arena.check()
            });
            let wrote = pairs.write_timeout(TIMEOUT).and_then(|mut arena| {
                arena.change(|change| {
                    let map: Pairs = change.root_or_new()?;
                    map.insert(change, &number, &[1; 2])?;
                    let vec = ShmVec::<u64>::new(change)?;
                    vec.extend_from_slice(change, &[7; 50])?;
                    let text = ShmString::new(change, "text")?;
                    text.get(change)?;
                    let one = ShmBox::new(change, &5_u64)?;
                    one.get(change)?;
                    one.free(change)?;
                    text.free(change)?;
                    vec.free(change)
                })
            });
            slowest = slowest.max(began.elapsed());
            for answer in [read, wrote] {
                match answer {
                    Ok(()) => values += 1,
                    Err(_) => errors += 1,
                }
            }
        }
        attacker.kill();
        // What it scribbled on may make our own guards look like nobody's; no destructor may mind.
        drop(pairs);
    }
    println!("{values} values, {errors} errors, slowest round {slowest:?}, {round} attacks");
    assert!(enough(values, errors), "the attack hit nothing, or everything at once: {values} values, {errors} errors");
    // Some milliseconds, and the machine's share.
    assert!(slowest < PATIENCE / 2, "{slowest:?}");
}

/// A writer dies at each named step: those who come next, reading or writing, go on with all of a change or nothing.
#[test]
fn a_writer_that_is_killed_anywhere_leaves_nothing_half_done() {
    if role().is_some() {
        let pairs = SharedArena::open(name_of(std::env::var("DIRECTORY").unwrap().as_ref())).unwrap();
        for number in 1.. {
            set(&pairs, number).unwrap();
        }
    }
    let steps = [
        "arena:owned",
        "arena:noted",
        "arena:before-store",
        "arena:before-commit",
        "arena:committed",
        "rwlock:write-inside",
        "rwlock:write-whole",
    ];
    let mut taken_back = 0;
    for (step, passing) in steps.iter().flat_map(|step| [1, 2, 5].map(|passing| (step, passing))) {
        let directory = tempfile::tempdir().unwrap();
        let pairs = SharedArena::create(name_of(directory.path()), 64 * 1024).unwrap();
        let peer = Peer::of(test_name!()).role("writer").env("DIRECTORY", directory.path());
        let mut peer = peer.env("TIELINE_STEP", format!("kill:{step}:{passing}")).spawn();
        peer.exit_status();
        let seen = get(&pairs);
        assert!(seen.is_none_or(|seen| seen == [seen[0]; 4]), "{step}:{passing}: {seen:?}");
        taken_back += pairs.read().unwrap().usage().recoveries;
        set(&pairs, 1000).unwrap();
        assert_eq!(get(&pairs), Some([1000; 4]));
        pairs.read().unwrap().check().unwrap();
    }
    assert!(taken_back > 0, "no writer died in the middle of a change");
}
