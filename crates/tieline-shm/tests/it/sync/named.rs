//! Locks by name.

use std::time::Duration;

use tempfile::TempDir;
use tieline_shm::sync::{
    Barrier, Condvar, LockError, Monitor, Mutex, MutexKind, MutexOptions, Once, OnceCell, RawMutex, RwLock,
    RwLockOptions, Semaphore, Tokens,
};
use tieline_shm::{Error, ErrorKind, Name};
use tieline_testkit::{PATIENCE, Peer, eventually, role, test_name, until};

/// The name in a directory of the test's own.
fn name(directory: &TempDir, name: &str) -> Name {
    Name::new(&format!("{}/{name}", directory.path().display())).unwrap()
}

fn name_of_parent() -> Name {
    Name::new(&std::env::var("NAME").expect("the parent names it")).unwrap()
}

fn peer(test: &str, role: &str, name: &Name) -> Peer {
    Peer::of(test).role(role).env("NAME", name.to_string()).spawn()
}

/// Each sort of lock is the same lock for whoever opens its name, and forgotten when the last has left.
#[test]
fn a_name_leads_to_the_one_lock() {
    let directory = tempfile::tempdir().unwrap();
    let at = |text| name(&directory, text);

    let (mine, theirs) = (Mutex::create(at("mutex"), 1_u64).unwrap(), Mutex::<u64>::open(at("mutex")).unwrap());
    *mine.lock().unwrap() += 1;
    assert_eq!(*theirs.lock().unwrap(), 2);
    assert_eq!(*Mutex::open_or_create(at("mutex"), 77_u64).unwrap().lock().unwrap(), 2, "it was there");

    let options = MutexOptions::new().kind(MutexKind::Recursive);
    let (mine, theirs) = (RawMutex::create(at("raw"), &options).unwrap(), RawMutex::open(at("raw")).unwrap());
    let held = mine.lock().unwrap();
    assert_eq!((theirs.kind(), theirs.owner()), (MutexKind::Recursive, mine.owner()));
    drop(held);

    let options = RwLockOptions::new().readers(3);
    let mine = RwLock::open_or_create_with(at("rwlock"), [0_u32; 100], &options).unwrap();
    let theirs = RwLock::<[u32; 100]>::open(at("rwlock")).unwrap();
    mine.write().unwrap()[99] = 5;
    assert_eq!((theirs.read().unwrap()[99], theirs.readers()), (5, 3));

    let (mine, theirs) = (Semaphore::create(at("semaphore"), 2).unwrap(), Semaphore::open(at("semaphore")).unwrap());
    let permit = mine.acquire().unwrap();
    assert_eq!((theirs.permits(), theirs.available()), (2, 1));
    drop(permit);

    let (mine, theirs) = (Tokens::create(at("tokens"), 3).unwrap(), Tokens::open(at("tokens")).unwrap());
    mine.take().unwrap();
    assert_eq!(theirs.count(), 2);

    let (mine, theirs) = (Barrier::create(at("barrier"), 1).unwrap(), Barrier::open(at("barrier")).unwrap());
    mine.join().unwrap().wait().unwrap();
    assert_eq!(theirs.meetings(), 1);

    let (mine, theirs) = (OnceCell::<u16>::create(at("cell")).unwrap(), OnceCell::<u16>::open(at("cell")).unwrap());
    mine.get_or_init(|| 7411).unwrap();
    assert_eq!(theirs.get().unwrap(), Some(7411));

    let (mine, theirs) = (Once::open_or_create(at("once")).unwrap(), Once::open(at("once")).unwrap());
    mine.call_once(|| ()).unwrap();
    assert!(theirs.is_done());

    type Level = Monitor<u64, 2>;
    let (mine, theirs) = (Level::create(at("monitor"), 4).unwrap(), Level::open(at("monitor")).unwrap());
    *mine.lock().unwrap() += 1;
    assert_eq!(*theirs.when(1, |level| *level == 5).unwrap(), 5);

    let (mine, theirs) = (Condvar::create(at("condvar")).unwrap(), Condvar::open(at("condvar")).unwrap());
    let lock = Mutex::create(at("of-the-condvar"), false).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            *lock.lock().unwrap() = true;
            mine.notify_one();
        });
        let mut is_set = lock.lock().unwrap();
        while !*is_set {
            is_set = theirs.wait(is_set).unwrap();
        }
    });

    drop(lock);
    assert_eq!(Mutex::<bool>::open(at("of-the-condvar")).unwrap_err().kind(), ErrorKind::NotFound, "the last has left");
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let at = name(&directory, "limit");
    let limit = Mutex::create(&at, 5_u32).unwrap();
    assert_eq!(Mutex::create(&at, 5_u32).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let refusals: [Error; 3] = [
        Mutex::<u64>::open(&at).unwrap_err(),
        RwLock::<u32>::open(&at).unwrap_err(),
        Semaphore::open_or_create(&at, 5).unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.kind(), ErrorKind::Mismatch);
        assert!(refused.to_string().contains("a mutex of"), "{refused}");
    }
    assert_eq!(Mutex::create("no name", 5_u32).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Semaphore::create(name(&directory, "none"), 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    // A lock with a name may be handed on by its descriptor, too.
    let handed = Mutex::<u32>::from_fd(limit.as_fd().try_clone_to_owned().unwrap()).unwrap();
    *limit.lock().unwrap() = 6;
    assert_eq!(*handed.lock().unwrap(), 6);
}

#[test]
fn a_lock_can_be_open_so_many_times() {
    if !tieline_testkit::room_for_descriptors(900) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let directory = tempfile::tempdir().unwrap();
    let at = name(&directory, "popular");
    let _first = Tokens::create(&at, 0).unwrap();
    let mut handles: Vec<Tokens> = (1..256).map(|_| Tokens::open(&at).unwrap()).collect();
    assert_eq!(Tokens::open(&at).unwrap_err().kind(), ErrorKind::LimitReached);
    handles.pop();
    // The host learns of it in its own time.
    until("a place is free again", || match Tokens::open(&at) {
        Ok(tokens) => Some(tokens),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::LimitReached);
            None
        }
    });
}

/// Of many processes that come at once, one makes the value; nobody sees it half made.
#[test]
fn of_many_who_come_at_once_one_makes_it() {
    if let Some(me) = role() {
        me.wait_for("go");
        let value = [u64::from(std::process::id()); 512];
        let found = RwLock::open_or_create(name_of_parent(), value).unwrap();
        let first = *found.read().unwrap();
        assert!(first.iter().all(|word| *word == first[0]), "half made");
        me.say(&format!("found {}", first[0]));
        me.wait_for("end");
        return;
    }
    for round in 0..super::rounds(5) {
        let directory = tempfile::tempdir().unwrap();
        let at = name(&directory, "settings");
        let mut peers: Vec<Peer> = (0..6).map(|_| peer(&test_name!(), "opener", &at)).collect();
        peers.iter_mut().for_each(|peer| peer.say("go"));
        let found: Vec<String> = peers.iter_mut().map(Peer::hear).collect();
        assert!(found.iter().all(|one| one == &found[0] && one.starts_with("found ")), "round {round}: {found:?}");
        for mut peer in peers {
            peer.say("end");
            peer.succeeds();
        }
    }
}

/// The holder of a lock that was opened by name is killed: the next is told, and the name does not stay behind.
#[test]
fn a_killed_holder_leaves_lock_and_name_usable() {
    if let Some(me) = role() {
        let lock = Mutex::<[u64; 2]>::open_or_create(name_of_parent(), [0, 0]).unwrap();
        let mut held = lock.lock().unwrap();
        held[0] += 1;
        me.say("half done");
        loop {
            std::thread::park();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let at = name(&directory, "pair");
    for _ in 0..super::rounds(5) {
        let mut holder = peer(&test_name!(), "holder", &at);
        holder.wait_for("half done");
        let lock = Mutex::<[u64; 2]>::open(&at).unwrap();
        assert!(lock.lock_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        holder.kill();
        match lock.lock_timeout(PATIENCE) {
            Err(LockError::OwnerDied(mut pair)) => {
                assert_eq!(*pair, [1, 0]);
                pair[1] = pair[0];
                pair.mark_consistent();
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(*lock.lock().unwrap(), [1, 1]);
        drop(lock);
        eventually("the name is free", || {
            Mutex::<[u64; 2]>::open(&at).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        });
    }
}
