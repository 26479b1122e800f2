//! Channels and locks of `tieline-shm`, made by real peers, seen without joining them.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::Signal;
use tieline_observe::clean::{self, Rules};
use tieline_observe::model::{
    Detail, Evidence, FindingKind, How, Kind, LinkKind, LockKind, Member, Object, Segment, UnseenWhat, UnseenWhy,
    WaitReason,
};
use tieline_observe::view::{Field, Order, Query, Selection, Users, View};
use tieline_observe::{Scan, Snapshot};
use tieline_os::lock::{LockKind as RangeKind, RangeLock};
use tieline_os::mapping::MapOptions;
use tieline_os::memfd::Memfd;
use tieline_shm::event::Event;
use tieline_shm::inspect::{Live, Policy};
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::sync::{LockError, MutexOptions, RawMutex};
use tieline_shm::topic::{Policy as SubscriberPolicy, Topic};
use tieline_testkit::{Peer, can_run_as, pause, role, skip, test_name, until};

use super::{look, may_look_inside};

/// Large enough to lie in the pool, so that a sample of it is a loan.
type Frame = [u64; 512];

fn place(directory: &Path, name: &str) -> String {
    format!("{}/{name}", directory.display())
}

/// A directory by the name that `/proc` has for it.
///
/// It lies where a scan looks for what dead names leave, whatever `TMPDIR` says.
fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir_in("/tmp").expect("a directory");
    let path = directory.path().canonicalize().expect("its path");
    (directory, path)
}

/// Whether this test's processes have it: others on the machine may run the same tests.
fn is_ours(snapshot: &Snapshot, object: &Object) -> bool {
    let own = std::process::id();
    let parent = snapshot.process_with_pid(own).map(|process| process.parent);
    snapshot.holders(object.reference).any(|hold| {
        let process = snapshot.process(hold.process);
        process.pid == own || process.parent == own || Some(process.pid) == parent
    })
}

fn named<'s>(snapshot: &'s Snapshot, kind: Kind, name: &str) -> Option<(&'s Object, &'s Segment)> {
    let is_called = |object: &Object| object.name.as_ref().is_some_and(|own| own.to_string() == name);
    let is_it = |object: &&Object| object.kind == kind && is_called(object) && is_ours(snapshot, object);
    let object = snapshot.objects().iter().find(is_it)?;
    match &object.detail {
        Detail::Segment(segment) => Some((object, segment)),
        other => panic!("{other:?}"),
    }
}

fn member(segment: &Segment, pid: u32) -> Option<Member> {
    segment.of_process(pid).next().cloned()
}

fn said(snapshot: &Snapshot, query: &str) -> String {
    let view = View::new(snapshot, Users::default());
    let answers = view.who(&Query::parse(query.as_bytes()).expect("a query"));
    let mut text = String::new();
    for answer in answers {
        text += &answer.sentences.join("\n");
        for row in &answer.grid.rows {
            text += &format!("\n{}", row.cells.join(" | "));
        }
    }
    text
}

fn peer(test: String, role: &str, directory: &Path) -> Peer {
    Peer::of(test).role(role).env("PLACE", directory.display().to_string()).spawn()
}

/// A peer that takes an item of the queue of that name.
fn worker(test: String, directory: &Path, queue: &str) -> Peer {
    let place = directory.display().to_string();
    let mut worker = Peer::of(test).role("worker").env("PLACE", place).env("QUEUE", queue).spawn();
    worker.wait_for("taken");
    worker
}

fn as_peer() -> bool {
    let Some(me) = role() else { return false };
    let at = |name: &str| place(Path::new(&me.env("PLACE")), name);
    match me.name() {
        "publisher" => {
            let publisher = Topic::<Frame>::open_or_create(&at("frames")).unwrap().publisher().unwrap();
            until("a subscriber", || (publisher.subscribers() > 0).then_some(()));
            for number in 0..5 {
                publisher.publish(&[number; 512]).unwrap();
            }
            me.say("published");
            pause(tieline_testkit::PATIENCE);
        }
        "subscriber" => {
            let mut subscriber = Topic::<Frame>::open_or_create(&at("frames")).unwrap().subscriber().unwrap();
            me.say("subscribed");
            let held = subscriber.recv().unwrap();
            me.say("holds");
            me.wait_for("go on");
            drop(held);
            while subscriber.recv().is_ok() {}
        }
        "worker" => {
            let queue = Queue::<u64>::open_or_create(at(&me.env("QUEUE"))).unwrap();
            let _taken = queue.recv().unwrap();
            me.say("taken");
            pause(tieline_testkit::PATIENCE);
        }
        "locker" => {
            let mutex = RawMutex::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
            match mutex.lock() {
                Ok(_guard) => {
                    me.say("locked");
                    pause(tieline_testkit::PATIENCE);
                }
                Err(LockError::OwnerDied(_)) => me.say("inherited"),
                Err(error) => panic!("{error:?}"),
            }
        }
        "owner" => {
            let _queue = Queue::<u64>::create(at("errands")).unwrap();
            me.say("made");
            pause(tieline_testkit::PATIENCE);
        }
        "caller" => {
            let _stream = Stream::connect(at("line")).unwrap();
            let event = Event::open(at("bell")).unwrap();
            event.notify(0).unwrap();
            event.notify(3).unwrap();
            let topic = Topic::<u32>::open(at("prices")).unwrap();
            let _subscriber = topic.subscriber_options().policy(SubscriberPolicy::DropNewest).depth(4).open().unwrap();
            let _reader = Latest::<u32>::at(at("pose")).unwrap().reader().unwrap();
            let client = Client::<u32, [u8]>::connect(at("sums")).unwrap();
            let pending = client.start(&7).unwrap();
            me.say("waits");
            let _answer = pending.wait().unwrap();
            me.say("answered");
            pause(tieline_testkit::PATIENCE);
        }
        "viewer" => {
            let snapshot = look();
            let is_refused = snapshot
                .unseen()
                .iter()
                .any(|unseen| unseen.what == UnseenWhat::Mappings && unseen.why == UnseenWhy::NoPermission);
            me.say(if is_refused && named(&snapshot, Kind::ShmQueue, "private").is_none() { "hidden" } else { "seen" });
        }
        other => panic!("{other}"),
    }
    true
}

#[test]
fn a_slow_subscriber_and_what_it_holds_are_seen() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let (_kept, directory) = directory();
    let mut subscriber = peer(test_name!(), "subscriber", &directory);
    subscriber.wait_for("subscribed");
    let mut publisher = peer(test_name!(), "publisher", &directory);
    publisher.wait_for("published");
    subscriber.wait_for("holds");

    let snapshot = Scan::new().waits(true).take().unwrap();
    let (object, segment) = named(&snapshot, Kind::ShmTopic, "frames").expect("a topic");
    let one = member(segment, subscriber.id()).expect("a subscriber");
    let reading = one.reading.expect("it reads");
    assert_eq!((reading.lag, reading.held, reading.received, reading.lost), (4, 1, 1, 0));
    assert_eq!(object.fill.map(|fill| fill.used), Some(4), "{:?}", object.fill);
    assert!(object.fill.unwrap().capacity.is_some(), "the publisher waits for it");
    assert_eq!(segment.path.as_ref().map(ToString::to_string), Some(place(&directory, "frames")));
    assert_eq!(segment.host, Some(subscriber.id()), "it was there first");
    let (roster, _) = named(&snapshot, Kind::ShmRoster, "frames").expect("its roster");
    assert!(super::has_link(&snapshot, roster, object, LinkKind::PartOf));
    let text = said(&snapshot, &format!("shm:{}", place(&directory, "frames")));
    assert!(text.contains(&format!("{} publishes to the topic frames, 5 messages so far", publisher.id())), "{text}");
    assert!(text.contains("by 4 messages, and the publisher waits for it"), "{text}");
    assert!(text.contains("subscribes, 4 behind; is waited for; holds 1 loan"), "{text}");
    assert!(said(&snapshot, "shm:frames").contains(&text), "by its name alone, too");

    // It goes on, takes all, and sleeps until there is more.
    subscriber.say("go on");
    let waits = until("it sleeps for a message", || {
        let snapshot = Scan::new().waits(true).take().unwrap();
        let (object, segment) = named(&snapshot, Kind::ShmTopic, "frames")?;
        let reading = member(segment, subscriber.id())?.reading?;
        let is_its = |wait: &&tieline_observe::model::Wait| snapshot.process(wait.process).pid == subscriber.id();
        let wait = snapshot.waits().iter().filter(is_its).find(|wait| wait.object == Some(object.reference))?;
        (reading.lag == 0 && reading.held == 0).then(|| wait.reason.clone())
    });
    assert_eq!(waits, WaitReason::Read);

    // One that stands still is told of, and by what: not by the call in which it was stopped.
    subscriber.stop();
    let snapshot = Scan::new().waits(true).take().unwrap();
    let of_it = |wait: &&tieline_observe::model::Wait| snapshot.process(wait.process).pid == subscriber.id();
    assert_eq!(snapshot.waits().iter().find(of_it), None, "it waits for nothing but SIGCONT");
    let text = said(&snapshot, "shm:frames");
    assert!(text.contains(&format!("{} is stopped, until SIGCONT.", subscriber.id())), "{text}");
    assert!(text.contains("is waited for; is stopped, until SIGCONT |"), "{text}");
    let text = said(&snapshot, &subscriber.id().to_string());
    assert!(text.contains("It is stopped, until SIGCONT."), "{text}");

    // The name's socket is called by where it lies, and who publishes does not listen to itself.
    let socket = place(&directory, "frames.sock");
    let text = said(&snapshot, &socket);
    assert!(text.contains(&format!("listens at the Unix socket at {socket}.")), "{text}");
    let name = |pid: u32| format!("{} {pid}", snapshot.process_with_pid(pid).expect("it is there").name);
    let selection = Selection { kinds: vec![Kind::ShmTopic], ..Selection::default() };
    let list = View::new(&snapshot, Users::default()).list(&selection, &[Field::Who], Order::default());
    let ends = format!("{} > {}", name(publisher.id()), name(subscriber.id()));
    assert!(list.grid.rows.iter().any(|row| row.cells[0] == ends), "no {ends} in {:?}", list.grid.rows);
    let text = said(&snapshot, &publisher.id().to_string());
    let row = text.lines().find(|line| line.contains("| shm-topic | frames |")).expect("its topic");
    assert!(row.ends_with(&format!("| {}", name(subscriber.id()))), "{row}");

    // Whoever would notice its end is stopped: it is told as not cleared away.
    publisher.stop();
    subscriber.kill();
    let text = until("only the stopped one is left", || {
        let snapshot = look();
        let (object, segment) = named(&snapshot, Kind::ShmTopic, "frames")?;
        let is_it = |finding: &&tieline_observe::model::Finding| {
            finding.kind == FindingKind::HeldByStopped && finding.object == Some(object.reference)
        };
        let finding = snapshot.findings().iter().find(is_it)?;
        assert_eq!(finding.evidence, [Evidence::Stopped { pid: publisher.id() }]);
        (segment.stale().count() == 1).then(|| said(&snapshot, "shm:frames"))
    });
    assert!(text.contains("not cleared away"), "{text}");
    publisher.signal(Signal::CONT);
    until("it was cleared away", || {
        let snapshot = look();
        let (_, segment) = named(&snapshot, Kind::ShmTopic, "frames")?;
        segment.members().is_empty().then_some(())
    });
    publisher.kill();
}

#[test]
fn what_a_killed_worker_had_is_seen_with_it_and_without_it() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let (_kept, directory) = directory();
    let queue = Queue::<u64>::open_or_create(place(&directory, "jobs")).unwrap();
    for number in 0..3 {
        queue.send(&number).unwrap();
    }
    let mut worker = worker(test_name!(), &directory, "jobs");
    let snapshot = look();
    let (object, segment) = named(&snapshot, Kind::ShmQueue, "jobs").expect("a queue");
    let Live::Queue(live) = &segment.told.as_ref().expect("read").live else { panic!("{segment:?}") };
    assert_eq!((live.ready, member(segment, worker.id()).unwrap().items), (2, (1, 0)));
    assert_eq!(object.fill.map(|fill| fill.used), Some(3));
    assert_eq!(segment.told.as_ref().unwrap().layout.to_string(), "u64");
    let text = said(&snapshot, "shm:jobs");
    assert!(text.contains("2 items wait to be taken") && text.contains(" has taken 1 item."), "{text}");
    worker.kill();
    let text = until("it is delivered again", || {
        let snapshot = look();
        let (_, segment) = named(&snapshot, Kind::ShmQueue, "jobs")?;
        let Live::Queue(live) = &segment.told.as_ref()?.live else { return None };
        ((live.ready, live.redelivered, live.orphaned) == (3, 1, 1)).then(|| said(&snapshot, "shm:jobs"))
    });
    assert!(text.contains("1 of them again after a consumer failed"), "{text}");
    assert!(text.contains("1 delivery ended with the consumer's death"), "{text}");
}

#[test]
fn who_has_a_lock_and_who_waits_for_it_are_seen_also_after_a_death() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    // Who asks by name is told of all of that name.
    let name = format!("books-{}", std::process::id());
    let query = format!("shm:{name}");
    let mutex = RawMutex::anonymous(&MutexOptions::new().name(&name)).unwrap();
    let lock_of = |snapshot: &Snapshot, pid: u32| {
        let (object, _) = named(snapshot, Kind::ShmLocks, &name)?;
        let lock = |how: &How| match how {
            How::Lock(lock) => Some(lock.clone()),
            _ => None,
        };
        let holds = snapshot.holders(object.reference);
        holds.filter(|hold| snapshot.process(hold.process).pid == pid).find_map(|hold| lock(&hold.how))
    };
    let fd = || mutex.as_fd().unwrap().try_clone_to_owned().unwrap();
    let mut holder = Peer::of(test_name!()).role("locker").stdin(fd()).spawn();
    holder.wait_for("locked");
    let mut waiter = Peer::of(test_name!()).role("locker").stdin(fd()).spawn();
    let (held, waited) = until("one waits", || {
        let snapshot = Scan::new().waits(true).take().unwrap();
        Some((lock_of(&snapshot, holder.id())?, lock_of(&snapshot, waiter.id())?))
    });
    assert_eq!((held.kind, held.is_exclusive, held.is_waiting), (LockKind::Shm, true, false));
    assert_eq!((waited.kind, waited.number, waited.is_waiting), (LockKind::Shm, held.number, true));
    let snapshot = Scan::new().waits(true).take().unwrap();
    let view = View::new(&snapshot, Users::default());
    let sets = view.locks(Some(&Query::parse(query.as_bytes()).unwrap()));
    let behind: Vec<u32> =
        sets.iter().flat_map(|set| &set.behind).map(|process| snapshot.process(*process).pid).collect();
    assert_eq!((sets.len(), behind), (2, vec![holder.id()]));

    holder.kill();
    waiter.wait_for("inherited");
    waiter.succeeds();
    // The last owner was told and gave it back unrepaired: nobody takes it again.
    let text = said(&look(), &query);
    assert!(text.contains("nobody will take it again"), "{text}");
}

#[test]
fn the_files_of_a_dead_name_are_a_leak() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let (_kept, directory) = directory();
    let queue = Queue::<u64>::open_or_create(place(&directory, "chores")).unwrap();
    queue.send(&1).unwrap();
    let mut worker = worker(test_name!(), &directory, "chores");
    // The first leaves in good order, the last does not.
    drop(queue);
    let name = |finding: &tieline_observe::model::Finding, snapshot: &Snapshot| {
        let object = snapshot.object(finding.object?);
        let is_here = object.name.as_ref()?.to_string().starts_with(directory.to_str()?);
        is_here.then_some(finding.kind)
    };
    let found = || {
        let snapshot = Scan::new().socket_files(true).take().unwrap();
        snapshot.findings().iter().filter_map(|finding| name(finding, &snapshot)).collect::<Vec<_>>()
    };
    assert_eq!(found(), [], "it is in use");
    worker.kill();
    assert_eq!(found(), [FindingKind::DeadName]);

    let mut rules = Rules::new();
    rules.minimum_age = std::time::Duration::ZERO;
    let plan = || {
        let snapshot = Scan::new().waits(true).socket_files(true).take().unwrap();
        let is_here = |step: &clean::Step| step.name().to_string().starts_with(directory.to_str().unwrap());
        clean::plan(&snapshot, &rules).into_iter().filter(is_here).collect::<Vec<_>>()
    };
    let steps = plan();
    let [step] = &steps[..] else { panic!("{steps:?}") };
    let (socket, lock) = (place(&directory, "chores.sock"), place(&directory, "chores.lock"));
    assert_eq!(step.call(), format!("unlink(\"{socket}\"), unlink(\"{lock}\")"));

    // Whoever is about to join locks the third byte: then the files stay.
    let joining = std::fs::File::options().read(true).write(true).open(&lock).unwrap();
    let joining = RangeLock::try_lock(joining, RangeKind::Shared, 2..3).unwrap();
    let became = clean::perform(&steps).unwrap();
    assert!(matches!(became[..], [clean::Outcome::Changed]), "{became:?}");
    drop(joining);
    // Somebody has it anew: then, too.
    let again = Queue::<u64>::open_or_create(place(&directory, "chores")).unwrap();
    let became = clean::perform(&steps).unwrap();
    assert!(matches!(became[..], [clean::Outcome::Gone]), "the dead socket is: {became:?}");
    assert!(plan().is_empty(), "it is in use");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
    drop(again);
}

#[test]
fn the_files_of_a_dead_name_are_removed() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let (_kept, directory) = directory();
    let mut owner = peer(test_name!(), "owner", &directory);
    owner.wait_for("made");
    owner.kill();
    let mut rules = Rules::new();
    rules.minimum_age = std::time::Duration::ZERO;
    let snapshot = Scan::new().waits(true).socket_files(true).take().unwrap();
    rules.under = Some(directory.join("elsewhere"));
    assert_eq!(clean::plan(&snapshot, &rules), []);
    rules.under = Some(directory.clone());
    let steps = clean::plan(&snapshot, &rules);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
    let became = clean::perform(&steps).unwrap();
    assert!(matches!(became[..], [clean::Outcome::Removed]), "{became:?}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    Queue::<u64>::create(place(&directory, "errands")).unwrap();
}

#[test]
fn calls_streams_values_events_and_own_logs_are_seen() {
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let (_kept, directory) = directory();
    let at = |name: &str| place(&directory, name);
    // Each in two processes: what we do is seen beside what the peer does.
    let server = Server::<u32, [u8]>::bind(at("sums")).unwrap();
    let listener = Listener::bind(at("line")).unwrap();
    let topic = Topic::<u32>::open_or_create(at("prices")).unwrap();
    let publisher = topic.publisher_options().depth(16).open().unwrap();
    let mut writer = Latest::<u32>::at(at("pose")).unwrap().writer().unwrap();
    let event = Event::open_or_create(at("bell")).unwrap();
    writer.write(&7).unwrap();
    let mut caller = peer(test_name!(), "caller", &directory);
    let request = server.recv().unwrap();
    let mut stream = listener.accept().unwrap();
    stream.write_all(b"seven!!").unwrap();
    caller.wait_for("waits");
    until("it subscribes", || (publisher.subscribers() == 1).then_some(()));
    for number in 0..20 {
        publisher.publish(&number).unwrap();
    }

    let snapshot = until("it sleeps for its answer", || {
        let snapshot = Scan::new().waits(true).take().unwrap();
        let (object, _) = calls_with_client(&snapshot)?;
        let is_its = |wait: &&tieline_observe::model::Wait| snapshot.process(wait.process).pid == caller.id();
        let waits = snapshot.waits().iter().filter(is_its).any(|wait| wait.object == Some(object.reference));
        waits.then_some(snapshot)
    });
    let (_, segment) = calls_with_client(&snapshot).unwrap();
    let Live::Calls(calls) = &segment.told.as_ref().unwrap().live else { panic!("{segment:?}") };
    assert_eq!((calls.in_flight(), calls.in_work, calls.requests.received), (1, 1, 1), "{calls:?}");
    assert!(calls.client_sleeps && calls.requests.entries == 64, "{calls:?}");
    let text = said(&snapshot, "shm:sums");
    assert!(text.contains("1 call is in flight: 0 wait for the server, 1 are in its work."), "{text}");
    let text = said(&snapshot, "shm:line");
    assert!(text.contains("7 bytes from the listening side wait to be read."), "{text}");
    let text = said(&snapshot, "shm:pose");
    assert!(text.contains("It has had 1 value so far."), "{text}");
    let text = said(&snapshot, "shm:bell");
    assert!(text.contains("2 notifications were made of its 64 events."), "{text}");
    // The subscriber keeps the first messages, and has lost the last.
    let (_, segment) = named_topics(&snapshot, "prices")
        .into_iter()
        .find(|(_, segment)| matches!(segment.told.as_ref().unwrap().live, Live::Log(_)))
        .expect("the publisher's log");
    let reading = member(segment, caller.id()).expect("a subscriber").reading.expect("it reads");
    assert_eq!((reading.policy, reading.lag, reading.lost), (Policy::DropNewest, 4, 16));
    let text = said(&snapshot, "shm:prices");
    assert!(text.contains("loses the newest") && text.contains("4 behind"), "{text}");
    assert!(!text.contains("the log of one subscriber"), "it is folded: {text}");

    // A large answer is a loan until it is let go.
    request.respond(&[1; 4096]).unwrap();
    caller.wait_for("answered");
    let snapshot = look();
    let (_, segment) = calls_with_client(&snapshot).unwrap();
    let Live::Calls(calls) = &segment.told.as_ref().unwrap().live else { panic!("{segment:?}") };
    assert_eq!((calls.in_flight(), calls.responses.held), (0, 1), "{calls:?}");
    let text = said(&snapshot, "shm:sums");
    assert!(text.contains("The client holds 1 of 4 large answers."), "{text}");
    drop(event);
    caller.kill();
}

fn named_topics<'s>(snapshot: &'s Snapshot, name: &str) -> Vec<(&'s Object, &'s Segment)> {
    let is_it = |object: &&Object| {
        let is_called = object.name.as_ref().is_some_and(|own| own.to_string() == name);
        object.kind == Kind::ShmTopic && is_called && is_ours(snapshot, object)
    };
    let detail = |object: &'s Object| match &object.detail {
        Detail::Segment(segment) => Some((object, &**segment)),
        _ => None,
    };
    snapshot.objects().iter().filter(is_it).filter_map(detail).collect()
}

/// The connection, beside the place where the server sleeps.
fn calls_with_client(snapshot: &Snapshot) -> Option<(&Object, &Segment)> {
    let mut calls =
        snapshot.objects().iter().filter(|object| object.kind == Kind::ShmCalls && is_ours(snapshot, object));
    calls.find_map(|object| match &object.detail {
        Detail::Segment(segment) => match &segment.told.as_ref()?.live {
            Live::Calls(calls) if calls.requests.entries > 0 => Some((object, &**segment)),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn bytes_that_are_no_segment_are_damage_and_nothing_else() {
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let memory = Memfd::fixed("tieline:log:evil", 64 * 1024).unwrap();
    let mapping = memory.map(&MapOptions::new()).unwrap();
    for seed in 0..32_u8 {
        let noise: Vec<u8> = (0..64 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
        mapping.write(0, &noise).unwrap();
        if seed % 2 == 0 {
            // The rest of a true first page is nonsense.
            mapping.write(0, b"TIELINE\x01\x01\0\0\0\x01\0\0\0\0\0\x01\0\0\0\0\0").unwrap();
        }
        let snapshot = look();
        let (object, segment) = named(&snapshot, Kind::ShmTopic, "evil").expect("by its memory's name");
        assert!(segment.damage.is_some() && segment.told.is_none(), "{segment:?}");
        assert_eq!(object.fill, None);
    }
    mapping.write(0, &[0; 64 * 1024]).unwrap();
    let text = said(&look(), "shm:evil");
    assert!(text.contains("What it says of itself makes no sense"), "{text}");
}

#[test]
fn another_user_is_told_that_memory_was_not_seen() {
    const USER: u32 = 65_533;
    if as_peer() {
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    if !can_run_as(USER) {
        skip!("this needs the right to change the user");
    }
    let (_kept, directory) = directory();
    let _queue = Queue::<u64>::open_or_create(place(&directory, "private")).unwrap();
    let mut viewer = Peer::of(test_name!()).role("viewer").user(USER).env("PLACE", "").spawn();
    viewer.wait_for("hidden");
    viewer.succeeds();
}
