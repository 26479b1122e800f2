//! `mk`, `rm` and `sem`: every named object, as other programs see it too.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tieline_testkit::{has_command, skip, sleeps};

use crate::support::{Job, Object, Place, ask, key, run, run_with, shell, stranger, tieline, unique};

/// A mode is meant exactly, whatever the umask, for every sort of object.
#[test]
fn modes_are_exact_under_any_umask() {
    let place = Place::new();
    let line = format!(
        "umask 077; tieline mk fifo {0}/f --mode 666 && tieline mk unix {0}/s --mode 666 && tieline mk mq {1} --mode 640 \
         && tieline mk shm {1} --size 4K --mode 640 && tieline mk sem {1} --mode 660",
        place.text(""),
        unique("/tieline-modes"),
    );
    let said = Job::start(shell(&line)).end().well();
    let objects: Vec<Object> = said.text().lines().map(|line| Object(line.to_owned())).collect();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.path("f")), mode(&place.path("s"))), (0o666, 0o666));
    let name = objects[3].0.strip_prefix("posix-shm:/").unwrap();
    assert_eq!(mode(format!("/dev/shm/{name}").as_ref()), 0o640);
    assert_eq!(mode(format!("/dev/shm/sem.{name}").as_ref()), 0o660);
    assert_eq!(objects[4].0, format!("sem:/{name}"));
}

#[test]
fn files_in_the_file_system_are_of_the_right_type() {
    let place = Place::new();
    assert_eq!(run(&["mk", "fifo", &place.text("f")]).well().text().trim(), place.at("fifo", "f"));
    assert!(fs::symlink_metadata(place.path("f")).unwrap().file_type().is_fifo());
    for (kind, scheme) in [("stream", "unix"), ("dgram", "unix-dgram"), ("seqpacket", "unix-seqpacket")] {
        let said = run(&["mk", "unix", &place.text(kind), "--type", kind]).well();
        assert_eq!(said.text().trim(), place.at(scheme, kind));
        assert!(fs::symlink_metadata(place.path(kind)).unwrap().file_type().is_socket());
        run(&["rm", &place.at(scheme, kind)]).well();
    }
    run(&["rm", &place.at("fifo", "f")]).well();
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn system_v_objects_are_those_of_ipcs() {
    if !has_command("ipcs") {
        skip!("ipcs of util-linux is not installed");
    }
    let key = key();
    let shm = Object::make(&["sysv-shm", &key, "--size", "12K", "--mode", "640"]);
    let queue = Object::make(&["sysv-mq", &key, "--size", "4K"]);
    let set = Object::make(&["sysv-sem", &key, "--values", "3,0,7"]);
    assert_eq!(
        (&*shm.0, &*queue.0, &*set.0),
        (&*format!("sysv-shm:{key}"), &*format!("sysv-mq:{key}"), &*format!("sysv-sem:{key}"))
    );
    let listed = |flag: &str| {
        let output = Command::new("ipcs").arg(flag).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find(|line| line.starts_with(&key))
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let memory = listed("-m").expect("a segment of that key");
    assert_eq!((&*memory[3], &*memory[4]), ("640", "12288"));
    assert!(listed("-q").is_some());
    assert_eq!(listed("-s").expect("a set of that key")[4], "3");
    if let Some(program) = stranger() {
        assert_eq!(ask(program, &["semset", &key, "2"]).well().text(), "7\n");
    }
    run(&["rm", &shm.0, &queue.0, &set.0]).well();
    assert_eq!((listed("-m"), listed("-q"), listed("-s")), (None, None, None));
}

/// Without a key an object is found by its identifier only.
#[test]
fn private_objects_are_named_by_their_identifiers() {
    for kind in [&["sysv-shm", "--size", "4K"][..], &["sysv-mq"], &["sysv-sem"]] {
        let object = Object::make(kind);
        assert!(object.0.starts_with(&format!("{}:id:", kind[0])), "{}", object.0);
        run(&["rm", &object.0]).well();
        run(&["rm", &object.0]).failed(3, &["nothing has this id"]);
    }
}

/// What cannot have the size it was asked for is not left behind.
#[test]
fn a_failed_mk_leaves_nothing() {
    let key = key();
    // A segment above all limits is refused to everybody; a queue may have any size where that is allowed.
    let most = u64::MAX.to_string();
    run(&["mk", "sysv-shm", &key, "--size", &most]).failed(2, &["shared memory segment", "kernel.shmmax"]);
    if run(&["mk", "sysv-mq", &key, "--size", "1G"]).code == 0 {
        run(&["rm", &format!("sysv-mq:{key}")]).well();
    }
    run(&["mk", "sysv-sem", &key, "--values", "1,40000"]).failed(9, &["32767"]);
    run(&["rm", &format!("sysv-sem:{key}")]).failed(3, &["--force"]);
    run(&["rm", &format!("sysv-shm:{key}")]).failed(3, &["--force"]);
    run(&["rm", &format!("sysv-mq:{key}")]).failed(3, &[]);
}

#[test]
fn rm_removes_only_what_it_is_for() {
    let place = Place::new();
    let file = place.write("file", b"precious");
    let (fifo, socket) = (place.at("fifo", "file"), place.at("unix", "file"));
    run(&["rm", &fifo]).failed(2, &["regular file"]);
    run(&["rm", &socket]).failed(2, &["not a socket"]);
    run(&["rm", &place.at("file", "file")]).failed(2, &["rm(1)"]);
    run(&["rm", "unix:@abstract"]).failed(2, &["abstract"]);
    run(&["rm", "tcp:localhost:1"]).failed(2, &["no name"]);
    std::os::unix::fs::symlink(&file, place.path("link")).unwrap();
    run(&["rm", &place.at("fifo", "link")]).failed(2, &["symbolic link"]);
    run(&["rm", "--force", &fifo]).failed(2, &["regular file"]);
    assert_eq!(fs::read(file).unwrap(), b"precious");
}

/// All are tried; the first failure decides the exit code; a malformed name stops everything before it begins.
#[test]
fn rm_of_several_goes_on_after_a_failure() {
    let place = Place::new();
    let fifos: Vec<String> = ["a", "b"].map(|name| place.at("fifo", name)).into();
    run(&["mk", "fifo", &place.text("a")]).well();
    run(&["mk", "fifo", &place.text("b")]).well();
    run(&["rm", &fifos[0], "nonsense", &fifos[1]]).failed(2, &["nonsense"]);
    let said = run(&["rm", "--dry-run", &fifos[0], &fifos[1]]).well();
    assert_eq!(said.text(), format!("would remove {}\nwould remove {}\n", fifos[0], fifos[1]));
    assert!(place.path("a").exists() && place.path("b").exists());
    run(&["rm", &fifos[0], &place.at("fifo", "gone"), &fifos[1]]).failed(3, &["gone"]);
    assert!(!place.path("a").exists() && !place.path("b").exists());
    run(&["rm", "--force", &fifos[0], &fifos[1]]).well();
    run(&["rm", &fifos[0]]).failed(3, &["no such file", "--force"]);
    run(&["rm", "--dry-run", &fifos[0]]).failed(3, &["nothing of that name"]);
}

/// A live server keeps its clients when its name is removed.
#[test]
fn a_socket_in_use_only_loses_its_name() {
    let place = Place::new();
    let server = UnixListener::bind(place.path("s")).unwrap();
    let client = std::os::unix::net::UnixStream::connect(place.path("s")).unwrap();
    run(&["rm", &place.at("unix", "s")]).well();
    assert!(!place.path("s").exists());
    server.accept().unwrap();
    drop(client);
}

#[test]
fn semaphores_count() {
    for (object, index) in [
        (Object::make(&["sem", &unique("/tieline-sem"), "--value", "2"]), ""),
        (Object::make(&["sysv-sem", &key(), "--values", "9,2"]), "#1"),
    ] {
        let semaphore = format!("{}{index}", object.0);
        let get = || run(&["sem", "get", &semaphore]).well().text().trim().to_owned();
        assert_eq!(get(), "2");
        run(&["sem", "wait", &semaphore]).well();
        run(&["sem", "post", &semaphore, "--count", "3"]).well();
        assert_eq!(get(), "4");
        run(&["sem", "wait", &semaphore, "--count", "3"]).well();
        // All or nothing.
        run(&["sem", "wait", &semaphore, "--count", "2", "--timeout", "0"]).failed(6, &["no permit"]);
        run(&["sem", "wait", &semaphore, "--count", "2", "--timeout", "50ms"]).failed(7, &["in time"]);
        assert_eq!(get(), "1");
        let answer: Value = serde_json::from_slice(&run(&["sem", "post", &semaphore, "--json"]).well().out).unwrap();
        assert_eq!((&answer["value"], &answer["count"]), (&2.into(), &1.into()));
    }
}

/// One script waits until another posts.
#[test]
fn a_waiter_wakes_by_a_post() {
    let semaphore = Object::make(&["sem", &unique("/tieline-sem")]);
    let waiter = Job::start(tieline(["sem", "wait", &semaphore.0, "--timeout", "20s"]));
    tieline_testkit::eventually("the waiter sleeps", || {
        sleeps(waiter.id()) && json_of(&["sem", "get", &semaphore.0, "--json"])["waiters"] == 1
    });
    run(&["sem", "post", &semaphore.0]).well();
    waiter.end().well();
    assert_eq!(run(&["sem", "get", &semaphore.0]).well().text(), "0\n");
}

/// A signal in the middle of taking several permits gives back those that were taken.
#[test]
fn a_signal_gives_permits_back() {
    let semaphore = Object::make(&["sem", &unique("/tieline-sem"), "--value", "2"]);
    let waiter = Job::start(tieline(["sem", "wait", &semaphore.0, "--count", "3"]));
    tieline_testkit::eventually("two permits are taken", || run(&["sem", "get", &semaphore.0]).text() == "0\n");
    waiter.signal("TERM");
    waiter.end().failed(143, &["SIGTERM", "nothing was taken"]);
    assert_eq!(run(&["sem", "get", &semaphore.0]).well().text(), "2\n");
}

#[test]
fn semaphores_are_those_of_c() {
    let Some(program) = stranger() else { skip!("no C compiler") };
    let semaphore = Object::make(&["sem", &unique("/tieline-sem"), "--value", "1"]);
    let name = semaphore.0.strip_prefix("sem:").unwrap();
    assert_eq!(ask(program, &["sem", name]).well().text(), "2\n");
    assert_eq!(run(&["sem", "get", name]).well().text(), "2\n");
}

#[test]
fn sem_refuses_what_is_no_semaphore() {
    run(&["sem", "get", "mq:/x"]).failed(2, &["no semaphore", "sysv-sem:KEY"]);
    run(&["sem", "get", "/tieline-no-such-semaphore"]).failed(3, &["/tieline-no-such-semaphore"]);
    let set = Object::make(&["sysv-sem", &key()]);
    run(&["sem", "get", &format!("{}#7", set.0)]).failed(2, &["none at 7"]);
    run(&["sem", "get", &format!("{}#x", set.0)]).failed(2, &["\"x\""]);
    let said = run_with(&["sem", "wait", &set.0, "--count", "0"], b"");
    assert_eq!(said.code, 2, "{}", said.err);
}

fn json_of(arguments: &[&str]) -> Value {
    serde_json::from_slice(&run(arguments).well().out).unwrap()
}

/// The option of an address is as exact as the flag of `mk`, and does nothing to what exists.
#[test]
fn the_mode_of_an_address_is_exact() {
    let mode = |path: &Path| fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777).ok();
    let place = Place::new();
    let (queue, memory) = (Object::mq(&[]), unique("/tieline-cli"));
    let memory = Object(format!("posix-shm:{memory}"));
    let memory_file = memory.0.replace("posix-shm:", "/dev/shm");
    let queue_file = queue.0.replace("mq:", "/dev/mqueue");
    run(&["rm", &queue.0]).well();
    let one = |line: &str| Job::start(shell(&format!("umask 077; {line}"))).end();
    for asked in [0o666, 0o640] {
        one(&format!("echo x | tieline send '{}?create=yes&mode={asked:o}'", queue.0)).well();
        one(&format!("echo x | tieline send '{}?create=yes&capacity=4K&mode={asked:o}'", memory.0)).well();
        one(&format!("echo x | tieline send '{}?create=yes&mode={asked:o}'", place.at("file", "file"))).well();
        let fifo = place.at("fifo", "fifo");
        one(&format!("tieline recv --timeout 10ms '{fifo}?create=yes&mode={asked:o}'")).failed(7, &["fifo"]);
        for path in [Path::new(&memory_file), &place.path("file"), &place.path("fifo")] {
            assert_eq!(mode(path), Some(0o666), "{}: made with it, and left alone later", path.display());
        }
        // Not every machine shows its queues.
        assert!(mode(Path::new(&queue_file)).is_none_or(|mode| mode == 0o666));
    }
    for scheme in ["unix", "unix-seqpacket", "unix-dgram"] {
        let at = place.at(scheme, scheme);
        let line = format!("umask 077; exec tieline recv -v --timeout 20s '{at}?listen=yes&mode=666'");
        let mut waiting = Job::start(shell(&line));
        waiting.waits_at();
        assert_eq!(mode(&place.path(scheme)), Some(0o666));
        waiting.signal("TERM");
        assert_eq!(waiting.end().code, 143);
        assert!(!place.path(scheme).exists(), "it was ours");
    }
}

/// What `mk` made for a server is still there after it, with its mode, unless the server says another.
#[test]
fn a_server_takes_over_the_name_that_was_made_for_it() {
    let place = Place::new();
    let path = place.text("s");
    for (kind, scheme) in [("stream", "unix"), ("seqpacket", "unix-seqpacket"), ("dgram", "unix-dgram")] {
        run(&["mk", "unix", &path, "--type", kind, "--mode", "666"]).well();
        for (options, expected) in [("", 0o666), ("?mode=620", 0o620), ("", 0o620)] {
            let at = format!("{scheme}:{path}{options}");
            // A stream ends with its sender, which would call it no success if it was left before.
            let count = if kind == "dgram" { "--count 1" } else { "" };
            let line = format!("umask 022; exec tieline recv -v {count} --timeout 20s '{at}'");
            let mut waiting = Job::start(shell(&line));
            waiting.waits_at();
            let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(), expected);
            run_with(&["send", &format!("{scheme}:{path}")], b"x\n").well();
            assert_eq!(waiting.end().text(), "x\n");
            assert_eq!(mode(), expected, "and afterwards");
        }
        run(&["rm", &format!("{scheme}:{path}")]).well();
    }
}
