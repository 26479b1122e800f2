//! Permits and tokens among real processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::Memfd;
use tieline_shm::ErrorKind;
use tieline_shm::sync::{MAX_PERMITS, Semaphore, Tokens};
use tieline_testkit::{PATIENCE, Peer, eventually, pause, role, soon, test_name};

use super::{Chance, peer, rounds, segment};

const LONG: Duration = PATIENCE;
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn so_many_and_no_more_have_a_permit() {
    for permits in [1, 2, MAX_PERMITS] {
        let pool = Semaphore::anonymous("pool", permits).unwrap();
        let theirs = Semaphore::from_fd(pool.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(theirs.permits(), permits as usize);
        let mut held: Vec<_> = (0..permits).map(|_| theirs.try_acquire().unwrap()).collect();
        assert_eq!(pool.available(), 0);
        assert_eq!(pool.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(pool.acquire_timeout(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.acquire_timeout(LONG).map(drop));
            pause(SHORT);
            assert!(!waiter.is_finished());
            held.pop();
            waiter.join().unwrap().unwrap();
        });
        drop(held);
        assert_eq!(pool.available(), permits as usize);
    }
    for permits in [0, MAX_PERMITS + 1] {
        assert_eq!(Semaphore::anonymous("pool", permits).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let tokens = Tokens::anonymous("tokens", 0).unwrap();
    let other = Semaphore::from_fd(tokens.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
}

#[test]
fn a_thread_that_ends_gives_its_permit_back() {
    let pool = Semaphore::anonymous("pool", 1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(pool.acquire().unwrap())).join().unwrap();
    });
    assert_eq!(pool.available(), 1);
    drop(pool.try_acquire().unwrap());
}

/// How many are inside, in memory beside the semaphore.
fn counter() -> (std::os::fd::OwnedFd, Mapping) {
    let memfd = Memfd::fixed("inside", 4096).unwrap();
    let memory = memfd.map(&MapOptions::new()).unwrap();
    (memfd.into(), memory)
}

#[test]
fn a_killed_holder_frees_its_permit_for_one_who_waits() {
    if let Some(me) = role() {
        let pool = Semaphore::from_fd(segment()).unwrap();
        let permit = pool.acquire().unwrap();
        me.say("in");
        me.wait_for("never");
        drop(permit);
        return;
    }
    soon("a permit that a killed one held", Duration::from_millis(10), || {
        let pool = Semaphore::anonymous("pool", 2).unwrap();
        let kept = pool.acquire().unwrap();
        let mut holder = peer(&test_name!(), "holder", pool.as_fd()).spawn();
        holder.wait_for("in");
        let told = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| (pool.acquire_timeout(LONG).map(drop), Instant::now()));
            pause(Duration::from_millis(5));
            let killed = Instant::now();
            holder.kill();
            let (answer, at) = waiter.join().unwrap();
            answer.unwrap();
            at.saturating_duration_since(killed)
        });
        drop(kept);
        assert_eq!(pool.available(), 2);
        told
    });
}

const STEPS: [&str; 11] = [
    "semaphore:taking",
    "semaphore:taken",
    "semaphore:taken:300",
    "semaphore:releasing",
    "semaphore:released",
    "semaphore:released:300",
    "semaphore:ringing",
    "semaphore:ringing:30",
    "semaphore:waits",
    "semaphore:woken",
    "semaphore:woken:30",
];

#[test]
fn a_death_at_any_step_loses_no_permit() {
    if let Some(me) = role() {
        let pool = Semaphore::from_fd(segment()).unwrap();
        me.say("ready");
        loop {
            drop(pool.acquire_timeout(LONG).unwrap());
        }
    }
    for step in STEPS {
        let pool = Semaphore::anonymous("pool", 2).unwrap();
        let mut victim =
            peer(&test_name!(), "victim", pool.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        let is_dead = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_dead.load(Ordering::Relaxed) {
                        let permit = pool.acquire_timeout(LONG).unwrap();
                        pause(Duration::from_micros(20));
                        drop(permit);
                    }
                });
            }
            assert!(!victim.exit_status().success(), "{step}: the victim was to die");
            is_dead.store(true, Ordering::Relaxed);
        });
        assert_eq!(pool.available(), 2, "{step}");
    }
}

/// Eight processes, of which one is killed again and again; never are more inside than there are permits, as far as the
/// living know, and in the end all permits are there.
#[test]
fn deaths_at_random_instants_lose_no_permit() {
    if let Some(me) = role() {
        let pool = Semaphore::from_fd(segment()).unwrap();
        me.say("ready");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        drop(pool.acquire_timeout(LONG).unwrap());
                    }
                });
            }
        });
        return;
    }
    let pool = Semaphore::anonymous("pool", 3).unwrap();
    let mut chance = Chance(0x5eed);
    let mut victims: Vec<Peer> = Vec::new();
    for _ in 0..rounds(100) {
        while victims.len() < 8 {
            let mut victim = peer(&test_name!(), "victim", pool.as_fd()).spawn();
            victim.wait_for("ready");
            victims.push(victim);
        }
        pause(Duration::from_micros(chance.below(1500)));
        victims.swap_remove(chance.below(8) as usize).kill();
        drop(pool.acquire_timeout(LONG).expect("a permit is free again and again"));
    }
    drop(victims);
    assert_eq!(pool.available(), 3);
}

#[test]
fn a_binary_semaphore_excludes_between_eight_processes() {
    if let Some(me) = role() {
        let pool = Semaphore::from_fd(segment()).unwrap();
        let inside = std::fs::OpenOptions::new().read(true).write(true).open(me.env("INSIDE")).unwrap();
        let inside = Mapping::of(&inside, &MapOptions::new()).unwrap();
        let inside = inside.atomic_u32(0).unwrap();
        for _ in 0..500 {
            let permit = pool.acquire_timeout(LONG).unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two are inside");
            inside.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        }
        return;
    }
    let pool = Semaphore::anonymous("binary", 1).unwrap();
    let (fd, _memory) = counter();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&fd));
    let peers: Vec<_> =
        (0..8).map(|_| peer(&test_name!(), "user", pool.as_fd()).env("INSIDE", &path).spawn()).collect();
    peers.into_iter().for_each(Peer::succeeds);
}

#[test]
fn tokens_are_counted() {
    let tokens = Tokens::anonymous("tokens", 2).unwrap();
    tokens.take().unwrap();
    tokens.try_take().unwrap();
    assert_eq!(tokens.try_take().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(tokens.take_timeout(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    tokens.post(i32::MAX.cast_unsigned()).unwrap();
    assert_eq!(tokens.post(1).unwrap_err().kind(), ErrorKind::LimitReached);
    assert_eq!(tokens.count(), i32::MAX.cast_unsigned());
}

/// A producer posts; consumers are killed, some of them in the moment they are chosen. What the dead did not take, the
/// living get.
#[test]
fn a_killed_waiter_does_not_swallow_a_token() {
    if let Some(me) = role() {
        let tokens = Tokens::from_fd(segment()).unwrap();
        me.say("ready");
        loop {
            tokens.take_timeout(LONG).unwrap();
        }
    }
    let tokens = Tokens::anonymous("tokens", 0).unwrap();
    let mut chance = Chance(0x707);
    let mut victims: Vec<Peer> = Vec::new();
    for round in 0..rounds(100) {
        while victims.len() < 3 {
            let mut victim = peer(&test_name!(), "victim", tokens.as_fd()).spawn();
            victim.wait_for("ready");
            victims.push(victim);
        }
        // The others sleep, so that the post chooses one; it dies about then.
        let victim = chance.below(3) as usize;
        tokens.post(1).unwrap();
        pause(Duration::from_micros(chance.below(60)));
        victims.swap_remove(victim).kill();
        tieline_testkit::until(&format!("round {round}: the token is taken"), || (tokens.count() == 0).then_some(()));
    }
}

#[test]
fn a_death_at_any_step_of_a_post_or_a_take_leaves_nobody_asleep_beside_a_token() {
    if let Some(me) = role() {
        let tokens = Tokens::from_fd(segment()).unwrap();
        me.say("ready");
        loop {
            if me.name() == "poster" {
                tokens.post(1).unwrap();
                pause(Duration::from_micros(50));
            } else {
                tokens.take_timeout(LONG).unwrap();
            }
        }
    }
    let steps = [
        ("poster", "tokens:posted"),
        ("poster", "tokens:posted:30"),
        ("poster", "tokens:unmarking"),
        ("taker", "tokens:waits"),
        ("taker", "tokens:woken"),
        ("taker", "tokens:woken:30"),
        ("taker", "tokens:waited"),
        ("taker", "tokens:waited:30"),
    ];
    for (name, step) in steps {
        let tokens = Tokens::anonymous("tokens", 0).unwrap();
        let mut taker = peer(&test_name!(), "taker", tokens.as_fd()).spawn();
        taker.wait_for("ready");
        let mut victim = peer(&test_name!(), name, tokens.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        let is_dead = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_dead.load(Ordering::Relaxed) {
                    tokens.post(1).unwrap();
                    pause(Duration::from_micros(200));
                }
            });
            assert!(!victim.exit_status().success(), "{step}: the victim was to die");
            is_dead.store(true, Ordering::Relaxed);
        });
        eventually(step, || tokens.count() == 0);
        tokens.post(1).unwrap();
        eventually(step, || tokens.count() == 0);
    }
}

#[test]
fn every_byte_flipped_by_another_process_gives_an_answer() {
    let timeout = Duration::from_millis(2);
    super::hostile(
        &test_name!(),
        || {
            let pool = Semaphore::anonymous("pool", 2).unwrap();
            (pool.as_fd().try_clone_to_owned().unwrap(), pool)
        },
        |pool| {
            let one = pool.acquire_timeout(timeout);
            let two = pool.acquire_timeout(timeout);
            drop(pool.acquire_timeout(timeout));
            drop((one, two));
        },
    );
    super::hostile(
        &test_name!(),
        || {
            let tokens = Tokens::anonymous("tokens", 0).unwrap();
            (tokens.as_fd().try_clone_to_owned().unwrap(), tokens)
        },
        |tokens| {
            let _ = tokens.post(1);
            let _ = tokens.take_timeout(timeout);
            let _ = tokens.take_timeout(timeout);
        },
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Any list of operations does what it does to a number.
    #[test]
    fn permits_are_a_number(permits in 1..6_u32, operations in proptest::collection::vec(0..8_usize, 0..60)) {
        let pool = Semaphore::anonymous("pool", permits).unwrap();
        let mut held = Vec::new();
        for operation in operations {
            if operation < 5 {
                match pool.try_acquire() {
                    Ok(permit) => held.push(permit),
                    Err(error) => {
                        assert!(error.is_would_block());
                        assert_eq!(held.len(), permits as usize);
                    }
                }
            } else if !held.is_empty() {
                drop(held.swap_remove(operation % held.len()));
            }
            assert_eq!(pool.available() + held.len(), permits as usize);
        }
    }

    #[test]
    fn tokens_are_a_number(start in 0..3_u32, operations in proptest::collection::vec(0..6_u32, 0..60)) {
        let tokens = Tokens::anonymous("tokens", start).unwrap();
        let mut count = start;
        for operation in operations {
            if operation < 3 {
                tokens.post(operation).unwrap();
                count += operation;
            } else {
                let taken = tokens.try_take();
                assert_eq!(taken.is_ok(), count > 0);
                count = count.saturating_sub(1);
            }
            assert_eq!(tokens.count(), count);
        }
    }
}
