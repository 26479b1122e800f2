//! Hostile peers, through the public API: processes of another user that were let in, and then do what they like with
//! the memory, the descriptors and the sockets they were given.
//!
//! Each [`Scene`] has a *victim* process, an *attacker* of another user, and where others take part, honest peers. The
//! victim must answer every call within bounds, stay alive, cost no more than before when the attacker is gone, and
//! serve the honest ones undisturbed.

mod attack;
mod raw;
mod scenes;

use std::any::Any;
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_shm::{Access, Allowed};
use tieline_testkit::{PATIENCE, Peer, role, test_name};

/// Who attacks.
const ATTACKER: u32 = 65534;
/// Who is honest, and neither the victim's user nor the attacker's.
const HONEST: u32 = 65533;
/// How long each kind of attack goes on.
const TIME: Duration = Duration::from_millis(500);
/// The longest that a call of the victim with a deadline of 50 ms may take, on a busy machine, and one that joins a topic
/// whose publishers say nothing, for whom it waits a second.
const CALL_MAX: Duration = Duration::from_secs(10);

/// How many descriptors one attacker may cost at a time: those who connected and say nothing, and its 20 memberships.
const DESCRIPTORS_MAX: usize = 160;

trait Scene: Sized + 'static {
    /// The victim's side, and what honest peers are needed in its process.
    fn start(name: &str) -> Self;

    /// What an attacker joins as; what it gets is its own to destroy.
    fn join(name: &str) -> tieline_shm::Result<Box<dyn Any>>;

    /// One use, while the attacker is there.
    fn work(&mut self);

    /// That honest ones are served, when the attacker is gone.
    fn after(&mut self);

    /// An honest peer of a third user: works until the victim's end.
    const HONEST_PEER: Option<fn(&str)> = None;
}

fn access() -> Access {
    listening().publish(Allowed::Users(vec![ATTACKER, HONEST]))
}

/// For attackers that may not publish.
fn listening() -> Access {
    Access::owner().subscribe(Allowed::Users(vec![ATTACKER, HONEST]))
}

/// The name as users other than its owner must write it.
fn foreign(name: &str) -> String {
    format!("{name}?owner=0")
}

fn is_attacker() -> bool {
    rustix::process::geteuid().as_raw() == ATTACKER
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// How long this process runs in so long a time, without being asked to.
fn work_of(time: Duration) -> Duration {
    let used = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let before = used();
    tieline_testkit::pause(time);
    let after = used();
    let nanos = |time: rustix::time::Timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
    Duration::from_nanos(u64::try_from(nanos(after) - nanos(before)).expect("time does not run backwards"))
}

/// Sooner or later: a slow machine may still be busy with what was to be done.
fn is_idle(when: &str) -> Duration {
    let begin = Instant::now();
    loop {
        let busy = work_of(Duration::from_millis(100));
        if busy < Duration::from_millis(30) {
            return busy;
        }
        assert!(begin.elapsed() < PATIENCE / 2, "{when} we are busy with nothing: {busy:?} of 100 ms");
    }
}

/// Whoever joins when the attacker is gone comes in, whatever that has written over.
fn comes_late<S: Scene>(attack: &str, name: &str, scene: &mut S) {
    let begin = Instant::now();
    let (join, name) = (S::join, name.to_owned());
    let late = std::thread::spawn(move || join(&name).map(drop));
    while !late.is_finished() {
        scene.work();
        assert!(begin.elapsed() < PATIENCE / 2, "after {attack} joining takes too long");
    }
    if let Err(error) = late.join().expect("an answer") {
        panic!("after {attack}: {error}");
    }
}

fn play<S: Scene>(test: &str) {
    match role() {
        None => {
            if !tieline_testkit::can_run_as(ATTACKER) || !tieline_testkit::can_run_as(HONEST) {
                return tieline_testkit::skipped(test, "needs root, to run peers as other users");
            }
            let mut victim = Peer::of(test).role("victim").spawn();
            loop {
                match victim.hear().as_str() {
                    "done" => break,
                    words => println!("{words}"),
                }
            }
            victim.succeeds();
        }
        Some(me) if me.name() == "victim" => {
            let directory = tempfile::tempdir().expect("a directory");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.path(), mode).expect("ours");
            let name = format!("{}/object", directory.path().display());
            let mut scene = S::start(&name);
            let honest = S::HONEST_PEER.map(|_| {
                let mut peer = Peer::of(test).role("honest").env("NAME", foreign(&name)).user(HONEST).spawn();
                peer.wait_for("ready");
                peer
            });
            // The first time costs what lasts: the one who answers for the name may be another afterwards.
            one_attack(test, attack::ALL[0], &name, &mut scene);
            scene.after();
            tieline_testkit::pause(Duration::from_millis(100));
            for attack in attack::ALL {
                let before = (descriptors(), threads());
                let (longest, most) = one_attack(test, attack, &name, &mut scene);
                assert!(most <= before.0 + DESCRIPTORS_MAX, "{attack}: {} -> {most} descriptors", before.0);
                scene.after();
                comes_late(attack, &name, &mut scene);
                scene.after();
                let begin = Instant::now();
                while descriptors() > before.0 || threads() > before.1 {
                    let kept = (descriptors(), threads());
                    assert!(begin.elapsed() < PATIENCE / 2, "{attack} costs us {before:?} -> {kept:?}");
                    scene.after();
                }
                let idle = is_idle(&format!("after {attack}"));
                let (before, _) = before;
                me.say(&format!("{attack}: longest call {longest:?}, descriptors {before} -> {most}, idle {idle:?}"));
                if let Some(honest) = &honest {
                    let alive = Path::new("/proc").join(honest.id().to_string()).join("stat");
                    let stat = std::fs::read_to_string(alive).expect("the honest one is our child");
                    assert!(!stat.contains(") Z"), "{attack} disturbed an honest peer");
                }
            }
            me.say("done");
        }
        Some(me) => {
            let name = me.env("NAME");
            // Ends with the victim, however that ends.
            std::thread::spawn(|| role().expect("our role").wait_for("never"));
            match (me.name(), S::HONEST_PEER) {
                ("honest", Some(honest)) => honest(&name),
                (attack, _) => attack::run(attack, &me, &name, S::join),
            }
        }
    }
}

/// The longest call, and the most descriptors at once.
fn one_attack<S: Scene>(test: &str, attack: &str, name: &str, scene: &mut S) -> (Duration, usize) {
    let mut attacker = Peer::of(test).role(attack).env("NAME", foreign(name)).user(ATTACKER).spawn();
    let (mut longest, mut most) = (Duration::ZERO, 0);
    let mut begin = Instant::now();
    let mut is_there = false;
    while !is_there || begin.elapsed() < TIME {
        let call = Instant::now();
        scene.work();
        longest = longest.max(call.elapsed());
        most = most.max(descriptors());
        if !is_there {
            assert!(begin.elapsed() < PATIENCE / 2, "the attacker does not come in");
            if attacker.said("ready") {
                (is_there, begin) = (true, Instant::now());
            }
        }
    }
    if ["keep", "linger"].contains(&attack) {
        // It sits there.
        is_idle(&format!("during {attack}"));
    }
    assert!(attacker.is_running(), "{attack}: the attacker found a check that did not hold");
    attacker.kill();
    assert!(longest < CALL_MAX, "{attack}: a call took {longest:?}");
    (longest, most)
}

macro_rules! scenes {
    ($($name:ident: $scene:ty,)*) => {
        $(
            #[test]
            fn $name() {
                play::<$scene>(&test_name!());
            }
        )*
    };
}

scenes! {
    a_client_attacks_a_server: scenes::Served,
    a_listener_attacks_who_connects: scenes::Linked,
    a_member_attacks_a_queue: scenes::Shared,
    a_member_attacks_events: scenes::Rung,
    a_publisher_attacks_subscribers: scenes::Heard,
    a_reader_attacks_a_writer: scenes::Read,
    a_server_attacks_clients: scenes::Asked,
    a_stream_attacks_its_other_end: scenes::Streamed,
    a_subscriber_attacks_a_publisher: scenes::Told,
    a_writer_attacks_readers: scenes::Written,
}
