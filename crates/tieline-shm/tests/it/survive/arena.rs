//! A map in an arena, under a lock: a bank in which no money is lost, wherever a clerk dies.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use tieline_shm::sync::{LockError, Mutex, MutexGuard, MutexOptions};
use tieline_shm::{Arena, ArenaOptions, Error, ShmMap, ShmString};

use super::conduct::{Chance, End, Place};
use super::{Subject, given};

pub(super) struct Bank {
    arena: Arena,
    arena_fd: OwnedFd,
    lock: Mutex<u64>,
    chance: Chance,
    used: Option<u64>,
}

type Accounts = ShmMap<u64, i64>;

const ACCOUNTS: u64 = 50;
const MONEY: i64 = 1_000_000;

/// The lock, after the change of a dead holder was taken back; `None` if the holder is stopped.
fn enter<'a>(arena: &mut Arena, lock: &'a Mutex<u64>) -> Option<MutexGuard<'a, u64>> {
    match lock.lock_timeout(Duration::from_millis(50)) {
        Ok(guard) => Some(guard),
        Err(LockError::OwnerDied(guard)) => {
            arena.recover().expect("recovered");
            guard.mark_consistent();
            Some(guard)
        }
        Err(LockError::Failed(error)) => {
            assert!(error.is_timeout(), "{error}");
            None
        }
    }
}

fn work(arena: &mut Arena, lock: &Mutex<u64>, chance: &mut Chance) -> bool {
    let Some(mut guard) = enter(arena, lock) else { return false };
    let accounts: Accounts = arena.root().expect("readable").expect("made at the start");
    let (from, to) = (chance.below(ACCOUNTS), chance.below(ACCOUNTS));
    let amount = chance.below(1000) as i64;
    if from != to {
        let moved = arena.change(|change| {
            let before = accounts.remove(change, &from)?.unwrap_or_default();
            // Memory that is allocated and freed within the change.
            let note = ShmString::new(change, "moved")?;
            let target = accounts.remove(change, &to)?.unwrap_or_default();
            accounts.insert(change, &to, &(target + amount))?;
            accounts.insert(change, &from, &(before - amount))?;
            note.free(change)?;
            Ok::<_, Error>(())
        });
        moved.expect("moved");
        *guard += 1;
    }
    true
}

impl Subject for Bank {
    const ROLES: &'static [&'static str] = &["clerk"];
    const STEPS: &'static [&'static str] = &["arena"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[
        ("arena:put-back", "arena::recovery_may_be_interrupted"),
        ("arena:recovering", "arena::recovery_may_be_interrupted"),
    ];
    const BYSTANDER: Option<&'static str> = Some("clerk");

    fn start(_: &Place) -> Self {
        let mut arena = ArenaOptions::new("bank").create(1 << 18).expect("an arena");
        let made = arena.change(|change| {
            let accounts = Accounts::new(change)?;
            for account in 0..ACCOUNTS {
                accounts.insert(change, &account, &(MONEY / ACCOUNTS as i64))?;
            }
            change.set_root(accounts)?;
            Ok::<_, Error>(())
        });
        made.expect("made");
        let arena_fd = arena.try_clone_fd().expect("a descriptor");
        let lock = Mutex::anonymous(0, &MutexOptions::new()).expect("a lock");
        Self { arena, arena_fd, lock, chance: Chance::new(), used: None }
    }

    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        vec![("ARENA", self.arena_fd.as_fd()), ("LOCK", self.lock.as_fd())]
    }

    fn victim(_: &str, place: &Place) {
        let mut arena = Arena::accept(given("ARENA")).expect("the arena");
        let lock = Mutex::<u64>::from_fd(given("LOCK")).expect("the lock");
        let mut chance = Chance::new();
        place.ready();
        loop {
            work(&mut arena, &lock, &mut chance);
        }
    }

    fn round(&mut self, _: &str, end: &End) -> Option<Instant> {
        let Self { arena, lock, chance, .. } = self;
        while !end.is_dead() {
            work(arena, lock, chance);
        }
        while !work(arena, lock, chance) {
            end.is_dead();
        }
        let told = Instant::now();
        while !end.is_reaped() {}
        let _guard = loop {
            if let Some(guard) = enter(arena, lock) {
                break guard;
            }
            end.is_dead();
        };
        arena.check().expect("whole");
        let accounts: Accounts = arena.root().expect("readable").expect("made at the start");
        let all: Vec<(u64, i64)> =
            accounts.iter(arena).expect("readable").map(|entry| entry.expect("readable")).collect();
        assert_eq!(all.len() as u64, ACCOUNTS);
        assert_eq!(all.iter().map(|(_, money)| money).sum::<i64>(), MONEY, "money was lost or made");
        // The same accounts need the same memory in every round.
        let used = arena.usage().used;
        assert_eq!(*self.used.get_or_insert(used), used, "memory leaks");
        Some(told).filter(|_| end.was_ready())
    }
}
