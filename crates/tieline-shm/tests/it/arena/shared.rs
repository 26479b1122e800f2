//! Arenas by name, whose writers are killed.

use tieline_shm::sync::RwLockOptions;
use tieline_shm::{Error, ErrorKind, Name, SharedArena, ShmMap};
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
        Err::<(), _>(Error::from(change.root::<ShmMap<u8, u8>>().unwrap_err()))
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
