//! Numbers in an object that other users share: who has one is the kernel's word, whatever lies in the memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tieline_os::lock::{LockKind, RangeLock};
use tieline_testkit::{Peer, can_run_as, eventually, skip, test_name};

use super::actor::{Actor, Diary, TIMEOUT, answers, ask, directory, name_in, offer, peer, play};
use crate::error::ErrorKind;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::rendezvous::{Access, Allowed, Joined, MEMBERS_MAX, Name, Role, create, open};

const OTHER: u32 = 65_531;

/// Bytes from the start of the table to the first line, and from one line to the next.
const LINE_BYTES: usize = 64;

/// How many members an [`offer`] is for.
const MEMBERS: u32 = 8;

fn for_all() -> Access {
    Access::owner().publish(Allowed::Anyone).subscribe(Allowed::Anyone)
}

fn open_to_all(directory: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory, mode).unwrap();
}

fn found(name: &Name) -> Actor {
    let mut offer = offer(Role::Sharer);
    offer.access = for_all();
    Actor::start(create(name, offer, TIMEOUT).unwrap(), Diary::default())
}

/// Who was let in, and does what it likes: writes the values that it hears into all `alive` words, or locks all there is
/// on the roll.
fn scribble() -> bool {
    let Some(me) = tieline_testkit::role().filter(|me| me.name() == "scribbler") else { return false };
    let joined = open(&me.env("NAME").parse().unwrap(), offer(Role::Sharer), TIMEOUT).expect("let in");
    let words: Vec<_> = (1..=MEMBERS as usize)
        .map(|line| joined.core().unwrap().with_front(0).view::<AtomicU32>(line * LINE_BYTES).unwrap())
        .collect();
    me.say("in");
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
        match line.trim().parse() {
            Ok(value) => words.iter().for_each(|word| word.store(value, Ordering::Relaxed)),
            Err(_) => {
                let roll = joined.members().unwrap().roll().unwrap();
                for byte in 0..u64::from(2 * MEMBERS_MAX) {
                    let _ = RangeLock::try_lock(&**roll, LockKind::Exclusive, byte..byte + 1).map(std::mem::forget);
                }
            }
        }
        me.say("done");
        line.clear();
    }
    drop(joined);
    true
}

fn scribbler(test: String, name: &Name) -> Peer {
    let mut peer = Peer::of(test).role("scribbler").env("NAME", format!("{name}?owner=0")).user(OTHER).spawn();
    peer.wait_for("in");
    peer
}

fn write(scribbler: &mut Peer, value: u32) {
    scribbler.say(&value.to_string());
    scribbler.wait_for("done");
}

fn join(name: &Name) -> Joined {
    open(name, offer(Role::Sharer), TIMEOUT).expect("there is room")
}

/// Joins until there is no room; which numbers are had then, with those in `others`.
fn fill(name: &Name, others: impl IntoIterator<Item = u32>) -> Vec<Joined> {
    let mut numbers: BTreeSet<u32> = others.into_iter().collect();
    let mut joined = Vec::new();
    while numbers.len() < MEMBERS as usize {
        let one = tieline_testkit::until("there is room", || open(name, offer(Role::Sharer), TIMEOUT).ok());
        let number = one.member().expect("sharers have one");
        assert!(number < MEMBERS && numbers.insert(number), "{number} is somebody else's: {numbers:?}");
        joined.push(one);
    }
    let error = open(name, offer(Role::Sharer), TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
    joined
}

/// Alive as somebody, alive as the host, undoing what the dead held, dead, both, and nobody.
fn lies() -> [u32; 6] {
    [123, std::process::id(), 0x8000_0000 | 123, 0x4000_0000, u32::MAX, 0]
}

#[test]
fn who_writes_over_the_numbers_takes_none_of_them_along() {
    if scribble() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    for lie in lies() {
        let name = name_in(directory.path(), &format!("lie-{lie:x}"));
        let host = found(&name);
        let mut scribbler = scribbler(test_name!(), &name);
        write(&mut scribbler, lie);
        let (early, late) = (join(&name), join(&name));
        write(&mut scribbler, lie);
        assert_eq!((host.membership.member(), early.member(), late.member()), (Some(0), Some(2), Some(3)), "{lie:x}");
        drop(late);
        scribbler.kill();
        drop(fill(&name, [0, 2]));
    }
}

#[test]
fn who_locks_all_numbers_keeps_others_out_as_long_as_it_lives_and_is_told_of() {
    if scribble() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    let name = name_in(directory.path(), "locks");
    let host = found(&name);
    let early = join(&name);
    let mut scribbler = scribbler(test_name!(), &name);
    scribbler.say("lock");
    scribbler.wait_for("done");
    let error = open(&name, offer(Role::Sharer), TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    assert!(error.to_string().contains("keep more than their own"), "{error}");
    assert!(open(&name, offer(Role::Reader), TIMEOUT).is_ok(), "who needs no number comes in");
    scribbler.kill();
    drop(fill(&name, [0, 1]));
    drop((host, early));
}

/// As soon as one is killed another comes in, also while the kernel still closes what the dead one had open.
#[test]
fn the_number_of_who_was_killed_just_now_is_waited_for() {
    if play() {
        return;
    }
    let directory = directory();
    open_to_all(directory.path());
    let name = name_in(directory.path(), "just-now");
    let host = found(&name);
    let rest: Vec<_> = (2..MEMBERS).map(|_| join(&name)).collect();
    for _ in 0..20 {
        let mut victim = peer(test_name!(), &name, Role::Sharer, "open").spawn();
        victim.wait_for("joined");
        victim.signal(rustix::process::Signal::KILL);
        host.diary.wait("gone", 1, super::actor::is_departed);
        let full = |error: &crate::error::Error| error.to_string().contains("has as many");
        let one = tieline_testkit::until("the host has heard", || match open(&name, offer(Role::Sharer), TIMEOUT) {
            Err(error) if full(&error) => None,
            answer => Some(answer),
        });
        drop(one.expect("there is a number"));
    }
    drop(rest);
}

#[test]
fn a_number_of_one_that_is_stopped_is_not_given_to_another_by_a_new_host() {
    if scribble() || play() {
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    open_to_all(directory.path());
    for lie in lies() {
        let name = name_in(directory.path(), &format!("lie-{lie:x}"));
        let mut host = peer(test_name!(), &name, Role::Sharer, "create").env("ACTOR_FOR_ALL", "1").spawn();
        host.wait_for("created");
        let mut stopped = peer(test_name!(), &name, Role::Sharer, "open").spawn();
        stopped.wait_for("joined");
        let heir = Actor::open(&name, Role::Sharer);
        let mut scribbler = scribbler(test_name!(), &name);
        stopped.stop();
        host.kill();
        eventually("there is a new host", || heir.membership.is_host());
        write(&mut scribbler, lie);
        scribbler.kill();
        let others = fill(&name, [1, 2]);
        stopped.signal(rustix::process::Signal::CONT);
        assert_eq!(ask(&mut stopped, "member"), "Some(1)");
        answers(&mut stopped, "host", "false");
        drop(others);
    }
}

#[test]
fn numbers_survive_death_at_any_point_of_giving_and_taking_them() {
    if play() {
        return;
    }
    let directory = directory();
    open_to_all(directory.path());
    let both = ["members:giving", "members:given", "meet:admitted"].map(|point| (point, true));
    let points = ["meet:joined", "alive:taken", "members:claimed", "members:leaving"].map(|point| (point, false));
    for (point, host_dies) in both.into_iter().chain(points) {
        let name = name_in(directory.path(), &point.replace(':', "-"));
        let step = |dies: bool, passing| if dies { format!("kill:{point}:{passing}") } else { String::new() };
        let mut host = peer(test_name!(), &name, Role::Sharer, "create")
            .env("ACTOR_FOR_ALL", "1")
            .env("TIELINE_STEP", step(host_dies, 2))
            .spawn();
        host.wait_for("created");
        let heir = Actor::open(&name, Role::Sharer);
        let mut victim =
            peer(test_name!(), &name, Role::Sharer, "open").env("TIELINE_STEP", step(!host_dies, 1)).spawn();
        if host_dies {
            victim.wait_for("joined");
            assert!(!host.exit_status().success(), "{point}");
            eventually("there is a new host", || heir.membership.is_host());
            let number = ask(&mut victim, "member");
            assert_ne!(number, format!("{:?}", heir.membership.member()));
            victim.kill();
        } else {
            if point == "members:leaving" {
                victim.wait_for("joined");
                victim.say("leave");
            }
            assert!(!victim.exit_status().success(), "{point}");
            host.kill();
            eventually("there is a new host", || heir.membership.is_host());
        }
        drop(fill(&name, heir.membership.member()));
    }
}

#[test]
fn a_number_is_not_given_while_somebody_undoes_what_its_dead_holder_held() {
    use crate::raw::alive::Register;
    use crate::rendezvous::Members;
    use crate::rendezvous::roll::Roll;
    use crate::segment::{Kind, Purpose, Segment};

    let purpose = Purpose { kind: Kind::Queue, name: "members", layout_hash: 0 };
    let segment = Arc::new(Segment::create(&purpose, Members::bytes(3)).unwrap());
    let host = Members::create(&segment, 3).unwrap().with_roll(Roll::create("numbers").unwrap());
    let registration = Register::this_thread().unwrap();
    let own = host.claim(registration.register()).unwrap();
    let enter = || {
        let (number, roll) = host.give(registration.register(), |_| ()).unwrap().expect("one is free");
        Members::open(&segment, 3).unwrap().with_roll(Roll::accept(roll, Some(number)))
    };
    // One that dies, and one that undoes what it held.
    let dead = {
        let theirs = enter();
        std::thread::spawn(move || {
            let registration = Register::this_thread().unwrap();
            let member = theirs.claim(registration.register()).unwrap();
            // It is the kernel that marks the word at the thread's end.
            std::mem::forget(registration);
            (member, theirs)
        })
        .join()
        .unwrap()
    };
    let other = enter();
    let other_member = other.claim(registration.register()).unwrap();
    assert!(
        host.is_dead(1) && host.give(registration.register(), |_| ()).unwrap().is_none(),
        "the description of the dead one is open"
    );
    drop(dead);
    let mut undone = Vec::new();
    let freed = other.recover(registration.register(), |number| {
        assert!(host.give(registration.register(), |number| panic!("{number} is being undone")).unwrap().is_none());
        undone.push(number);
    });
    assert_eq!((freed.unwrap(), undone), (1, vec![1]));
    let mut again = Vec::new();
    let (number, _roll) =
        host.give(registration.register(), |number| again.push(number)).unwrap().expect("it is free now");
    assert_eq!((number, again), (1, vec![1]), "whatever the word says, what the last holder held is undone before");
    drop((own, other_member));
}
