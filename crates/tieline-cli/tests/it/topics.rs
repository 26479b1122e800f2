//! Topics and queues in shared memory from the shell, with programs of the library, and with deaths, at the other end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::ShmSafe;
use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::stream::Listener;
use tieline_shm::topic::{Subscriber, Topic};
use tieline_testkit::{PATIENCE, can_run_as, skip, sleeps as is_asleep, until};

use crate::support::{Job, Place, run, run_with, shell, tieline};

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
pub(crate) struct Reading {
    pub(crate) sensor: u32,
    unit: Unit,
    _pad: [u8; 3],
    pub(crate) celsius: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(u8)]
pub(crate) enum Unit {
    Raw,
    Calibrated,
}

pub(crate) fn reading(sensor: u32) -> Reading {
    Reading { sensor, unit: Unit::Calibrated, _pad: [0; 3], celsius: 21.5 }
}

pub(crate) fn lines(count: u32) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

/// The name as the library takes it.
pub(crate) fn bare(address: &str) -> &str {
    address.strip_prefix("shm:").unwrap()
}

/// A publisher that has said that it is there: it publishes its input when it comes.
pub(crate) fn publisher(arguments: &[&str], topic: &str) -> Job {
    let job = Job::start(tieline([&["pub"], arguments, &[topic]].concat()));
    exists(topic);
    job
}

/// Waits until somebody offers the name.
pub(crate) fn exists(address: &str) {
    until("the name is offered", || tieline_shm::untyped::look(bare(address)).ok());
}

/// Waits until so many processes use the name.
pub(crate) fn members(address: &str, count: u32) {
    let enough = || tieline_shm::untyped::look(bare(address)).ok().filter(|found| found.members() == count);
    until("the members are there", enough);
}

#[test]
fn every_line_reaches_every_subscriber() {
    let place = Place::new();
    let topic = place.at("shm", "load");
    let mut publisher = publisher(&["-v", "--subscribers", "2"], &topic);
    let subscribers = [(); 2].map(|()| Job::start(tieline(["sub", "-v", &topic])));
    publisher.write(lines(1000).as_bytes());
    let said = publisher.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("1000 messages of 2893 bytes"), "{}", said.err);
    for subscriber in subscribers {
        let said = subscriber.end();
        assert_eq!((said.code, said.text()), (0, &*lines(1000)), "{}", said.err);
        assert!(said.err.contains("1000 messages"), "{}", said.err);
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0, "a name that nobody uses leaves nothing");
}

#[test]
fn values_of_a_type_are_json() {
    let place = Place::new();
    let topic = place.at("shm", "readings");
    let mut library: Subscriber<Reading> = Topic::open_or_create(bare(&topic)).unwrap().subscriber().unwrap();
    let shown = Job::start(tieline(["sub", "--count", "2", &topic]));
    let bytes = Job::start(tieline(["sub", "--raw", "--count", "2", &topic]));
    members(&topic, 3);
    let values = "{\"sensor\": 7, \"unit\": \"Calibrated\", \"celsius\": 21.5}\n\
                  {\"sensor\": 8, \"unit\": \"Raw\", \"celsius\": -1e3}\n";
    run_with(&["pub", "--subscribers", "3", &topic], values.as_bytes()).well();
    assert_eq!(*library.recv().unwrap(), reading(7));
    assert_eq!(library.recv().unwrap().celsius, -1000.0);
    let said = shown.end().well();
    let expected = "{\"_pad\":[0,0,0],\"celsius\":21.5,\"sensor\":7,\"unit\":\"Calibrated\"}\n\
                    {\"_pad\":[0,0,0],\"celsius\":-1000.0,\"sensor\":8,\"unit\":\"Raw\"}\n";
    assert_eq!(said.text(), expected);
    let said = bytes.end().well();
    assert_eq!((said.out.len(), &said.out[..5]), (32, &[7, 0, 0, 0, 1][..]));

    // What is no value is refused with its line, and those before it were published.
    let bad = [
        (
            "{\"sensor\": 1}",
            "line 3: `unit` should be a value, which is missing; the messages before it were published",
        ),
        ("{\"sensor\": 1,", "line 3 is no JSON: EOF while parsing"),
        ("[]", "line 3: the value should be an object"),
    ];
    for (line, told) in bad {
        let input = format!("{values}{line}\n");
        run_with(&["pub", &topic], input.as_bytes()).failed(1, &[told]);
        assert_eq!(library.recv().unwrap().sensor, 7);
        assert_eq!(library.recv().unwrap().sensor, 8);
    }
    let said = run_with(&["pub", "--json", &topic], b"{\"sensor\": \"x\"}\n");
    let report: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!((said.code, &report["error"]["kind"], &report["messages"]), (1, &"failed".into(), &0.into()));
    assert!(report["error"]["sentence"].as_str().unwrap().starts_with("line 1: "), "{report}");
    // Bytes of another length, and bytes that are no value.
    run_with(&["pub", "--whole", &topic], b"short").failed(1, &["message 1", "a value has 16 bytes, and these are 5"]);
    let wrong = [0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    run_with(&["pub", "--whole", &topic], &wrong).failed(1, &["`unit` should be one of", "and is 9"]);
}

#[test]
fn slices_and_bytes_are_json_if_asked() {
    let place = Place::new();
    let topic = place.at("shm", "slices");
    let publisher = Topic::<[u16]>::create(bare(&topic)).unwrap().publisher().unwrap();
    let shown = Job::start(tieline(["sub", &topic]));
    until("the subscriber is there", || (publisher.subscribers() == 1).then_some(()));
    publisher.publish(&[1, 2, 3]).unwrap();
    publisher.publish(&[]).unwrap();
    drop(publisher);
    assert_eq!(shown.end().well().text(), "[1,2,3]\n[]\n");

    let topic = place.at("shm", "bytes");
    let mut publisher = publisher_of_bytes(&topic);
    let shown = Job::start(tieline(["sub", "--json", &topic]));
    publisher.write(b"hi\n");
    assert_eq!(publisher.end().code, 0);
    let said = shown.end();
    assert_eq!((said.code, said.text()), (0, "[104,105]\n"));
    assert!(said.err.contains("\"schema\":\"tieline.sub/1\"") && said.err.contains("\"lost\":0"), "{}", said.err);
}

fn publisher_of_bytes(topic: &str) -> Job {
    publisher(&["--subscribers", "1"], topic)
}

#[test]
fn a_name_that_nobody_offers_is_told() {
    let place = Place::new();
    let (topic, file) = (place.at("shm", "nobody"), place.text("a.rec"));
    run(&["sub", &topic]).failed(3, &["nobody offers the topic", "tieline pub", "--follow"]);
    run(&["record", &topic, &file]).failed(3, &["nobody offers the topic"]);
    assert!(!Path::new(&file).exists(), "nothing is made for nothing");
    run(&["recv", &topic]).failed(3, &["nobody offers this name", "create=yes"]);
    run(&["sub", "--follow", "--timeout", "100ms", &topic]).failed(7, &["nobody offered the topic", "in time"]);
    run(&["replay", &file]).failed(3, &[&file]);
    let said = run_with(&["pub", "--json", &topic], b"1\n");
    assert_eq!(said.code, 3);
    assert!(said.err.contains("tieline.error/1") && said.err.contains("so no type says"), "{}", said.err);
    for verb in ["sub", "pub"] {
        run(&[verb, "mq:/jobs"]).failed(2, &["write shm:NAME"]);
        run(&[verb, "shm:no/way"]).failed(2, &["begins with /"]);
    }
}

/// The library says what a program is to do about it; here it is a flag.
#[test]
fn a_publisher_that_does_not_wait_for_us_is_heard_with_another_policy() {
    let place = Place::new();
    let (topic, file) = (place.at("shm", "proud"), place.text("a.rec"));
    let offered = Topic::<[u8]>::create(bare(&topic)).unwrap();
    let proud = offered.publisher_options().waits_for_nobody().open().unwrap();
    let told = ["does not wait for subscribers of this user", "--slow drop-oldest"];
    run(&["sub", &topic]).failed(4, &told);
    run(&["record", &topic, &file]).failed(4, &told);
    run(&["recv", &topic]).failed(4, &["`tieline sub --slow drop-oldest` need not be waited for"]);
    assert!(!Path::new(&file).exists(), "nothing is made for nothing");
    let heard = Job::start(tieline(["sub", "--slow", "drop-oldest", "--count", "1", &topic]));
    until("it subscribes", || (proud.subscribers() == 1).then_some(()));
    proud.publish(b"hear").unwrap();
    assert_eq!(heard.end().well().text(), "hear\n");
    // Also if it comes later.
    drop(proud);
    let offered = Topic::<[u8]>::open_or_create(bare(&topic)).unwrap();
    let patient = offered.publisher().unwrap();
    let heard = Job::start(tieline(["sub", &topic]));
    until("it subscribes", || (patient.subscribers() == 1).then_some(()));
    let _proud = offered.publisher_options().waits_for_nobody().open().unwrap();
    heard.end().failed(4, &told);
}

#[test]
fn the_mode_of_a_topic_says_which_other_users_take_part() {
    const NOBODY: u32 = 65534;
    let place = Place::new();
    let topic = place.at("shm", "ours");
    for (senseless, why) in [("640x", "octal"), ("755", "of a topic"), ("606", "of a topic"), ("400", "of a topic")] {
        let said = run(&["pub", "--mode", senseless, &topic]);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(senseless) && said.err.contains(why), "{}", said.err);
    }
    if !can_run_as(NOBODY) {
        skip!("this process cannot become another user");
    }
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = tieline(words);
        command.uid(NOBODY).gid(NOBODY);
        Job::start(command)
    };
    let hear = ["sub", "--count", "1", "--slow", "drop-oldest", &topic];
    let closed = publisher(&[], &topic);
    as_nobody(&hear).end().failed(4, &["denied"]);
    run_with(&["pub", "--mode", "644", &topic], b"").failed(5, &["offered already"]);
    drop(closed);
    until("nobody offers it", || (run(&["sub", "--timeout", "0", &topic]).code == 3).then_some(()));
    let mut open = publisher(&["--mode", "644", "--subscribers", "1"], &topic);
    let heard = as_nobody(&hear);
    open.write(b"for all\n");
    assert_eq!(heard.end().well().text(), "for all\n");
    let said = as_nobody(&["pub", &topic]).end();
    assert_eq!(said.code, 4, "only to subscribe: {}", said.err);
}

#[test]
fn another_kind_of_object_is_told() {
    let place = Place::new();
    let queue = place.at("shm", "jobs");
    let _queue = Queue::<[u8]>::create(bare(&queue)).unwrap();
    run(&["sub", &queue]).failed(2, &["it is a queue", "tieline recv"]);
    run_with(&["pub", &queue], b"x\n").failed(2, &["it is a queue", "tieline send"]);
    let stream = place.at("shm", "stream");
    let _listener = Listener::bind(bare(&stream)).unwrap();
    run(&["sub", &stream]).failed(2, &["it is a stream", "`tieline send`, `recv` and `connect` use it"]);
    let calls = place.at("shm", "calls");
    let _server = tieline_shm::reqres::Server::<u32, u32>::bind(bare(&calls)).unwrap();
    run_with(&["send", &calls], b"x\n").failed(2, &["a program of the library uses it"]);
    run_with(&["pub", &calls], b"x\n").failed(2, &["calls are made by programs"]);
    let value = place.at("shm", "value");
    let _writer = Latest::<u32>::at(bare(&value)).unwrap().writer().unwrap();
    run_with(&["send", &value], b"x\n").failed(2, &["`tieline pub` and `tieline sub` use it"]);
    run(&["record", &value, &place.text("a.rec")]).failed(2, &["it is a latest value", "`tieline sub`"]);
    run_with(&["pub", "--subscribers", "1", &value], b"1\n").failed(2, &["are for topics"]);
    // A directory that is not there is told apart from a name that nobody has.
    for verb in ["sub", "recv"] {
        run(&[verb, "shm:/tieline-nowhere/x"]).failed(3, &["/tieline-nowhere", "there is no such directory"]);
    }
    run(&["mk", "shm", "shm:x", "--size", "1"])
        .failed(2, &["tieline send", "tieline pub", "while somebody has it open"]);
    run(&["rm", &queue]).failed(2, &["vanishes with the last process"]);
}

#[test]
fn a_latest_value_is_written_and_read_as_json() {
    let place = Place::new();
    let name = place.at("shm", "pose");
    let mut writer = Latest::<Reading>::at(bare(&name)).unwrap().writer().unwrap();
    let mut reader = Latest::<Reading>::at(bare(&name)).unwrap().reader().unwrap();
    writer.write(&reading(7)).unwrap();
    let value = "{\"_pad\":[0,0,0],\"celsius\":21.5,\"sensor\":7,\"unit\":\"Calibrated\"}\n";
    assert_eq!(run(&["sub", "--count", "1", &name]).well().text(), value, "the one that is there");
    run_with(&["pub", &name], value.as_bytes()).failed(5, &["it has a writer, and can have but one"]);
    let shown = Job::start(tieline(["sub", "--count", "2", &name]));
    until("it has read the first", || shown.out_so_far().contains("21.5").then_some(()));
    drop(writer);
    let second = "{\"sensor\": 8, \"unit\": \"Raw\", \"celsius\": 4.0}\n";
    run_with(&["pub", "-v", &name], second.as_bytes());
    assert_eq!(shown.end().well().text().lines().count(), 2);
    let read = reader.changed_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((read.sensor, read.unit), (8, Unit::Raw));
    run_with(&["pub", &name], b"{}\n").failed(1, &["line 1: `sensor` should be a value"]);
}

#[test]
fn events_are_told_and_heard_in_words() {
    let place = Place::new();
    let name = place.at("shm", "doors");
    let event = Event::options().ids(4).create(bare(&name)).unwrap();
    let mut listener = event.listener();
    let plain = Job::start(tieline(["sub", "--count", "2", &name]));
    let json = Job::start(tieline(["sub", "--json", "--count", "2", &name]));
    members(&name, 3);
    // The members are there before they listen.
    let mut fired = Vec::new();
    until("both were told", || {
        run_with(&["pub", &name], b"1\n").well();
        let lines = |job: &Job| job.out_so_far().lines().count();
        (lines(&plain) > 0 && lines(&json) > 0).then_some(())
    });
    listener.try_wait(&mut fired).unwrap();
    assert_eq!(fired[0].id, 1);
    run_with(&["pub", &name], b"3 5\n").well();
    listener.wait_timeout(&mut fired, Duration::from_secs(20)).unwrap();
    assert_eq!((fired[0].id, fired[0].times), (3, 5));
    run_with(&["pub", "--json", &name], b"{\"id\": 2}\n");
    listener.wait_timeout(&mut fired, Duration::from_secs(20)).unwrap();
    assert_eq!((fired[0].id, fired[0].times), (2, 1));
    assert!(plain.end().well().text().starts_with("1 "));
    let said = json.end();
    assert!(said.text().starts_with("{\"id\":1,\"times\":"), "{said:?}");
    for (line, told) in [("9\n", "there are 4, from 0 on"), ("x\n", "\"x\" is no number"), ("1 2 3\n", "how often")] {
        run_with(&["pub", &name], line.as_bytes()).failed(1, &["is no event", told]);
    }
}

/// Whether all threads of a process sleep.
fn rests(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    tasks.flatten().all(|task| task.file_name().to_str().and_then(|tid| tid.parse().ok()).is_some_and(is_asleep))
}

fn threads(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").count() as u64
}

/// How often the threads of a process went to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let of_task = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(|task| of_task(task.expect("listed"))).sum()
}

#[test]
fn who_waits_is_not_woken_until_something_comes() {
    let place = Place::new();
    let at = |name: &str| place.at("shm", name);
    let topic = at("topic");
    let publisher = Topic::<[u8]>::create(bare(&topic)).unwrap().publisher().unwrap();
    let _queue = Queue::<[u8]>::create(bare(&at("queue"))).unwrap();
    let mut writer = Latest::<u32>::at(bare(&at("value"))).unwrap().writer().unwrap();
    writer.write(&1).unwrap();
    let event = Event::create(bare(&at("event"))).unwrap();
    let later = at("later");
    let stream = format!("{}?listen=yes", at("stream"));
    let file = place.text("a.rec");
    let waiting: Vec<Vec<&str>> = vec![
        vec!["sub", &topic],
        vec!["sub", "--slow", "drop-newest", "--timeout", "1h", &topic],
        vec!["sub", "--follow", &topic],
        vec!["sub", "--follow", &later],
        vec!["record", &topic, &file],
        vec!["pub", &topic],
    ];
    let others: Vec<Vec<String>> = vec![
        vec!["recv".into(), at("queue")],
        vec!["sub".into(), at("value")],
        vec!["sub".into(), at("event")],
        vec!["recv".into(), stream],
        vec!["send".into(), topic.clone()],
        // Held up by a subscriber that stands still.
        vec!["pub".into(), at("held")],
    ];
    let held = Topic::<[u8]>::open_or_create(bare(&at("held"))).unwrap();
    let mut still = held.subscriber().unwrap();
    let words = waiting.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).chain(others);
    let mut jobs: Vec<(Vec<String>, Job)> =
        words.map(|words: Vec<String>| (words.clone(), Job::start(tieline(words)))).collect();
    let last = jobs.last_mut().unwrap();
    last.1.write(lines(1000).as_bytes());
    until("all subscribe", || (publisher.subscribers() == 4).then_some(()));
    // What else happens: another name comes and goes in the same directory only before. What others do to a process - to
    // stop or freeze it, to take its memory - may wake it now and then, and so one that does nothing at all; what it does
    // itself would come again and again.
    let idle = Job::start(shell("exec cat"));
    let mut restless: Vec<usize> = (0..jobs.len()).collect();
    for _ in 0..10 {
        let all_rest = || jobs.iter().map(|(_, job)| job).chain([&idle]).all(|job| rests(job.id()));
        until("they have come to rest", || all_rest().then_some(()));
        let before: Vec<u64> = jobs.iter().map(|(_, job)| sleeps(job.id())).collect();
        let idle_before = sleeps(idle.id());
        tieline_testkit::pause(Duration::from_secs(2));
        let by_others = sleeps(idle.id()) - idle_before;
        // Each of its threads, which may have a look before it sleeps again.
        let most = |pid| by_others * 2 * threads(pid);
        restless.retain(|&index| sleeps(jobs[index].1.id()) - before[index] > most(jobs[index].1.id()));
        if restless.is_empty() {
            break;
        }
    }
    let woken: Vec<_> = restless.iter().map(|&index| &jobs[index].0).collect();
    assert!(woken.is_empty(), "{woken:?} are woken in any two seconds");
    // And they do wake.
    publisher.publish(b"hello").unwrap();
    writer.write(&2).unwrap();
    event.notify(1).unwrap();
    let _late = Topic::<[u8]>::create(bare(&later)).unwrap().publisher().unwrap();
    for (words, told) in [(0, "hello"), (1, "hello"), (2, "hello"), (7, "2"), (8, "1 1")] {
        until(&format!("{words} was told"), || jobs[words].1.out_so_far().contains(told).then_some(()));
    }
    members(&later, 2);
    for number in 1..=500 {
        assert_eq!(*still.recv_timeout(PATIENCE).unwrap(), *number.to_string().as_bytes());
    }
    for (words, job) in jobs {
        job.signal("TERM");
        let said = job.end();
        if words[1] == at("held") {
            assert_eq!(said.code, 143, "{said:?}");
            assert!(said.err.contains("ended by SIGTERM: ") && said.err.contains("messages went to"), "{}", said.err);
        }
    }
}

#[test]
fn a_subscriber_has_all_that_a_killed_publisher_published() {
    let place = Place::new();
    let topic = place.at("shm", "fragile");
    let mut publisher = publisher(&["--subscribers", "3"], &topic);
    let mut reader: Subscriber<[u8]> = Topic::open(bare(&topic)).unwrap().subscriber().unwrap();
    let all = Job::start(tieline(["sub", &topic]));
    let counting = Job::start(tieline(["sub", "--count", "20", &topic]));
    // One line more than is published: the last has no end.
    publisher.write(lines(10).as_bytes());
    publisher.write(b"11");
    for number in 1..=10 {
        let message = reader.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(&*message, number.to_string().as_bytes());
    }
    publisher.signal("KILL");
    let said = all.end().well();
    assert_eq!(said.text(), lines(10));
    let said = counting.end();
    assert_eq!((said.code, said.text()), (8, &*lines(10)));
    assert!(said.err.contains("the last publisher has gone: 10 messages came"), "{}", said.err);
}

#[test]
fn a_publisher_does_not_wait_for_a_killed_subscriber() {
    let place = Place::new();
    let topic = place.at("shm", "fragile");
    let mut publisher = publisher(&["--subscribers", "2"], &topic);
    let mut observer: Subscriber<[u8]> = Topic::open(bare(&topic)).unwrap().subscriber().unwrap();
    let mut subscriber = Job::start(tieline(["sub", "-v", &topic]));
    subscriber.expect_err("listening to");
    // It takes nothing more, so that the publisher has to wait for it soon.
    subscriber.signal("STOP");
    let input = std::thread::spawn(move || {
        publisher.write(lines(5000).as_bytes());
        publisher.end()
    });
    let mut count = 0;
    observer.recv_timeout(Duration::from_secs(20)).unwrap();
    while observer.recv_timeout(Duration::from_millis(300)).is_ok() {
        count += 1;
    }
    assert!(count < 5000 && !input.is_finished(), "{count} came, and no more are kept");
    subscriber.signal("KILL");
    while observer.recv_timeout(Duration::from_secs(20)).is_ok() {
        count += 1;
    }
    assert_eq!(count, 4999, "all after the first");
    input.join().unwrap().well();
}

#[test]
fn what_was_lost_is_told() {
    let place = Place::new();
    let topic = place.at("shm", "fast");
    let mut publisher = publisher(&["--subscribers", "3"], &topic);
    let mut first = Job::start(tieline(["sub", "-v", "--slow", "drop-newest", &topic]));
    let mut lossy = Job::start(tieline(["sub", "-v", "--slow", "drop-oldest", &topic]));
    let mut strict = Job::start(tieline(["sub", "-v", "--slow", "disconnect", &topic]));
    first.expect_err("listening to");
    lossy.expect_err("listening to");
    strict.expect_err("listening to");
    first.signal("STOP");
    lossy.signal("STOP");
    strict.signal("STOP");
    publisher.write(lines(5000).as_bytes());
    publisher.end().well();
    first.signal("CONT");
    lossy.signal("CONT");
    strict.signal("CONT");
    let said = first.end();
    assert_eq!(said.code, 0, "{}", said.err);
    let count = u32::try_from(said.text().lines().count()).unwrap();
    assert!(count < 5000 && said.text() == lines(count), "the oldest are there: {count}");
    let told = format!("{} messages of {topic} were lost", 5000 - count);
    assert!(said.err.contains(&told), "{count} came: {}", said.err);
    let said = lossy.end();
    assert_eq!(said.code, 0, "{}", said.err);
    let count = said.text().lines().count();
    assert!(said.text().ends_with("4999\n5000\n"), "the newest are there");
    let told = format!("{} messages of {topic} were lost", 5000 - count);
    assert!(said.err.contains(&told), "{count} came: {}", said.err);
    let said = strict.end();
    assert_eq!(said.code, 9, "{}", said.err);
    assert!(said.err.contains("too slow"), "{}", said.err);
}

#[test]
fn who_comes_late_gets_the_history_if_asked() {
    let place = Place::new();
    let topic = place.at("shm", "late");
    let mut publisher = publisher(&["--history", "3", "--linger", "60s"], &topic);
    publisher.write(lines(5).as_bytes());
    publisher.close_stdin();
    let oldest = || run(&["sub", "--from", "oldest", "--timeout", "0", &topic]);
    until("the history is there", || (oldest().text() == "3\n4\n5\n").then_some(()));
    oldest().well();
    run(&["sub", "--timeout", "0", &topic]).failed(6, &["0 messages came"]);
    run(&["sub", "--count", "1", "--timeout", "50ms", &topic]).failed(7, &["the time is up"]);
    let started = Instant::now();
    publisher.signal("INT");
    assert_eq!(publisher.end().code, 0, "who stops the lingering stops nothing else");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_signal_ends_each_in_order() {
    let place = Place::new();
    let topic = place.at("shm", "stopped");
    let mut publisher = publisher(&["--subscribers", "2"], &topic);
    let subscriber = Job::start(shell(&format!("exec tieline sub {topic} > {}", place.text("out"))));
    let file = place.text("a.rec");
    let recorder = Job::start(tieline(["record", &topic, &file]));
    publisher.write(b"one\ntwo\n");
    let listed = || run(&["replay", "--list", &file]);
    until("the recorder has both", || listed().text().contains("2 messages").then_some(()));
    let out = || fs::read_to_string(place.path("out")).unwrap_or_default();
    until("the subscriber has both", || (out() == "one\ntwo\n").then_some(()));
    subscriber.signal("INT");
    let said = subscriber.end();
    assert_eq!(said.code, 130, "{}", said.err);
    assert!(said.err.contains("ended by SIGINT: 2 messages came from"), "{}", said.err);
    recorder.signal("TERM");
    let said = recorder.end();
    assert_eq!(said.code, 143, "{}", said.err);
    assert!(said.err.contains("2 messages of"), "{}", said.err);
    assert!(!listed().well().text().contains("no end"), "it was ended in order");
    publisher.signal("HUP");
    // Its input is open: nothing but the signal ends it.
    let status = publisher.wait();
    assert_eq!(crate::support::code_of(status), 129);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    let topic = place.at("shm", "closed");
    let mut publisher = publisher(&["--subscribers", "1"], &topic);
    let line = format!("{{ tieline sub {topic}; echo code $? >&2; }} | head -n 1");
    let reader = Job::start(shell(&line));
    publisher.write(b"one\n");
    // Without another message: an idle subscriber notices, too.
    let said = reader.end();
    assert_eq!((said.code, said.text(), &*said.err), (0, "one\n", "code 141\n"));
}

#[test]
fn a_pace_is_kept() {
    let place = Place::new();
    let topic = place.at("shm", "pace");
    let started = Instant::now();
    let said = run_with(&["pub", "-v", "--rate", "20", "--count", "5", &topic], lines(100).as_bytes());
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("5 messages"), "{}", said.err);
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(run(&["pub", "--rate", "0", &topic]).code, 2);
}

/// The time counts also while messages come without a pause.
#[test]
fn a_flood_does_not_hold_up_the_time() {
    let place = Place::new();
    let topic = place.at("shm", "flood");
    let publisher = Topic::<u64>::create(bare(&topic)).unwrap().publisher().unwrap();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let _ = publisher.publish_timeout(&7, Duration::from_millis(10));
            }
        });
        let said = run(&["sub", "--raw", "--timeout", "300ms", &topic]);
        let recorded = run(&["record", "--duration", "300ms", &topic, &place.text("flood.rec")]);
        done.store(true, Ordering::Relaxed);
        said.failed(7, &["the time is up"]);
        recorded.well();
    });
}
