//! Events between real processes.

use std::path::Path;
use std::time::{Duration, Instant};

use tieline_shm::event::{Event, Fired};
use tieline_shm::{ErrorKind, Name, WaitSet, Waiting};
use tieline_testkit::{PATIENCE, Peer, role, soon, test_name};

fn event(directory: &Path, ids: u32) -> Event {
    let name = Name::new(&format!("{}/event", directory.display())).unwrap();
    Event::options().ids(ids).open_or_create(&name).unwrap()
}

fn told(fired: &[Fired]) -> Vec<(u32, u64)> {
    fired.iter().map(|fired| (fired.id, fired.times)).collect()
}

#[test]
fn each_listener_is_told_of_each_event_and_how_often() {
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 10);
    event.notify(9).unwrap();
    let (mut one, mut two) = (event.listener(), event.listener());
    let mut fired = Vec::new();
    assert!(one.try_wait(&mut fired).unwrap_err().is_would_block());
    assert!(one.wait_timeout(&mut fired, Duration::from_millis(2)).unwrap_err().is_timeout());
    event.notify(3).unwrap();
    event.notify_times(0, 4).unwrap();
    event.notify(3).unwrap();
    one.wait(&mut fired).unwrap();
    assert_eq!(told(&fired), [(0, 4), (3, 2)]);
    event.notify(9).unwrap();
    two.wait(&mut fired).unwrap();
    assert_eq!(told(&fired), [(0, 4), (3, 2), (9, 1)]);
    assert_eq!(event.notify(10).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let name = Name::new(&format!("{}/event", directory.path().display())).unwrap();
    for (ids, members) in [(0, 1), (Event::IDS_MAX + 1, 1), (1, 0), (1, u32::MAX)] {
        let refused = Event::options().ids(ids).members(members).create(&name).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(Event::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    let first = Event::options().ids(7).create(&name).unwrap();
    assert_eq!(Event::create(&name).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(Event::options().ids(3).open(&name).unwrap().ids(), 7, "the creator's count is everybody's");
    assert_eq!(first.ids(), 7);
}

/// Several processes notify, one is killed in the middle: every count of the others arrives.
#[test]
fn nothing_counted_by_the_living_is_lost() {
    const TIMES: u64 = 3000;
    if let Some(me) = role() {
        let event = event(Path::new(&me.env("DIRECTORY")), 8);
        let id = me.env("ID").parse().unwrap();
        me.say("ready");
        me.wait_for("go");
        (0..TIMES).for_each(|_| event.notify(id).unwrap());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 8);
    let mut listener = event.listener().waiting(Waiting::Block);
    let start = |id: u32, step: &str| {
        let peer = Peer::of(test_name!()).role("notifier").env("DIRECTORY", directory.path());
        let mut peer = peer.env("ID", id.to_string()).env("TIELINE_STEP", step).spawn();
        peer.wait_for("ready");
        peer
    };
    let mut peers: Vec<_> = (0..3).map(|id| start(id, "none")).collect();
    let mut dying: Vec<_> = ["event:counted", "event:totalled", "wait:cleared", "wait:turned"]
        .iter()
        .map(|step| start(7, &format!("kill:{step}:20")))
        .collect();
    peers.iter_mut().chain(&mut dying).for_each(|peer| peer.say("go"));
    let mut counts = [0; 8];
    let mut fired = Vec::new();
    while counts[..3] != [TIMES; 3] {
        listener.wait_timeout(&mut fired, PATIENCE).unwrap();
        fired.iter().for_each(|fired| counts[fired.id as usize] += fired.times);
    }
    peers.into_iter().for_each(Peer::succeeds);
}

/// Killed listeners leave nothing: notifying goes on, at once.
#[test]
fn a_killed_listener_disturbs_nobody() {
    if let Some(me) = role() {
        let event = event(Path::new(&me.env("DIRECTORY")), 1);
        let mut listener = event.listener().waiting(Waiting::Block);
        me.say("ready");
        let _ = listener.wait(&mut Vec::new());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 1);
    for step in ["none", "kill:wait:fenced", "kill:wait:announced"] {
        let peer = Peer::of(test_name!()).role("listener").env("DIRECTORY", directory.path());
        let mut peer = peer.env("TIELINE_STEP", step).spawn();
        peer.wait_for("ready");
        if step == "none" {
            peer.sleeps();
        }
        peer.kill();
        let mut listener = event.listener().waiting(Waiting::Block);
        let started = Instant::now();
        event.notify(0).unwrap();
        listener.wait_timeout(&mut Vec::new(), PATIENCE).unwrap();
        assert!(started.elapsed() < PATIENCE / 2);
    }
}

/// A notifier killed before it could wake: listeners are woken all the same, soon after the death.
#[test]
fn a_notifier_s_death_wakes_whom_it_did_not() {
    if let Some(me) = role() {
        let event = event(Path::new(&me.env("DIRECTORY")), 1);
        me.say("ready");
        me.wait_for("go");
        event.notify(0).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 1);
    let told_after = |step: &str| {
        let peer = Peer::of(test_name!()).role("notifier").env("DIRECTORY", directory.path());
        let mut peer = peer.env("TIELINE_STEP", step).spawn();
        peer.wait_for("ready");
        let mut listener = event.listener().waiting(Waiting::Block);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
            listener.wait_timeout(&mut Vec::new(), PATIENCE).unwrap();
            Instant::now()
        });
        let thread_id = told.recv().unwrap();
        tieline_testkit::eventually("the listener sleeps", || tieline_testkit::sleeps(thread_id));
        peer.say("go");
        assert!(!peer.exit_status().success(), "{step}: it was not killed");
        let known = Instant::now();
        thread.join().unwrap().saturating_duration_since(known)
    };
    for step in ["kill:wait:cleared", "kill:wait:turned"] {
        soon(step, Duration::from_millis(10), || told_after(step));
    }
}

#[test]
fn a_wait_set_tells_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 2);
    let mut listener = event.listener();
    let mut set = WaitSet::new().unwrap();
    set.attach(&listener, 1).unwrap();
    let (mut ready, mut fired) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        assert!(set.try_wait(&mut ready).is_err());
        event.notify(1).unwrap();
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        listener.try_wait(&mut fired).unwrap();
        assert_eq!(told(&fired), [(1, 1)]);
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_is_told_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 1);
    let mut listener = tieline_shm::aio::event::Listener::from(event.listener());
    let notifying = std::thread::spawn(move || {
        for _ in 0..500 {
            event.notify(0).unwrap();
            tieline_testkit::pause(Duration::from_micros(100));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut fired, mut times) = (Vec::new(), 0);
        while times < 500 {
            tokio::time::timeout(PATIENCE, listener.wait(&mut fired)).await.unwrap().unwrap();
            times += fired[0].times;
        }
    });
    notifying.join().unwrap();
}

/// Where the memory of this process begins and ends that is mapped from the start of a file whose name holds `what`.
fn mapping(what: &str) -> (u64, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(what) && line.contains(" 00000000 ")).expect("it is mapped");
    let (start, rest) = line.split_once('-').unwrap();
    let (end, _) = rest.split_once(' ').unwrap();
    (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
}

/// A member that writes rubbish over the whole structure, again and again: the others answer, in time, with values.
#[test]
fn a_member_that_writes_rubbish_everywhere_stops_nobody() {
    /// The header, and the table for 256 members; see `docs/formats/shm-event.md`.
    const STRUCTURE: u64 = 4096 + 16512;
    if let Some(me) = role() {
        use std::os::unix::fs::FileExt;
        let _event = event(Path::new(&me.env("DIRECTORY")), 8);
        let memory = std::fs::File::options().write(true).open("/proc/self/mem").unwrap();
        let (start, end) = mapping("memfd:tieline:event:event");
        me.say("ready");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for at in (start + STRUCTURE..end).cycle() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            memory.write_all_at(&random.to_le_bytes()[..1], at).unwrap();
        }
        unreachable!("there is memory to attack");
    }
    let directory = tempfile::tempdir().unwrap();
    let event = event(directory.path(), 8);
    let mut peer = Peer::of(test_name!()).role("attacker").env("DIRECTORY", directory.path()).spawn();
    peer.wait_for("ready");
    let mut listener = event.listener();
    let mut sleeper = event.listener().waiting(Waiting::Block);
    let mut set = WaitSet::new().unwrap();
    set.attach(&listener, 1).unwrap();
    let (mut fired, mut ready) = (Vec::new(), Vec::new());
    let (started, mut rubbish) = (Instant::now(), 0);
    for round in 0.. {
        // Until it has surely been hit, however little the attacker gets of the processor.
        if round >= 2000 && rubbish >= 50 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{round} rounds, {rubbish} times rubbish");
        event.notify(round % 8).unwrap();
        let _ = set.wait_timeout(&mut ready, Duration::from_micros(100));
        let _ = listener.wait_timeout(&mut fired, Duration::from_micros(100));
        let _ = sleeper.wait_timeout(&mut fired, Duration::from_micros(100));
        assert!(fired.len() <= 8);
        rubbish += fired.iter().filter(|fired| fired.times > 1 << 40).count();
    }
    peer.kill();
    event.notify(0).unwrap();
}
