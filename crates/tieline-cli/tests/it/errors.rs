//! Bad input: one clear sentence, the right code, nothing raw on the terminal.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;

use tieline_testkit::{can_run_as, skip};

use crate::support::{Job, Object, Place, run, run_with, shell, tieline, unique};

/// Each line: words, exit code, what the sentence must contain.
#[test]
fn one_sentence_and_its_code() {
    let place = Place::new();
    let missing = place.at("unix", "missing");
    let nowhere = unique("/tieline-no-such");
    let given: &[(&[&str], i32, &[&str])] = &[
        (&["send", "foo:bar"], 2, &["no scheme \"foo\"", "unix, unix-dgram"]),
        (&["send", "foo:bar"], 2, &["the schemes are shm, unix, ", "cannot open, inproc, tls"]),
        (&["send", "--timeout", "1s", "inproc:x"], 10, &["cannot open inproc:x: this build"]),
        (&["recv", "ws:localhost:80"], 10, &["cannot open ws:localhost:80: this build"]),
        (&["rm", "shm:/s1"], 2, &["posix-shm:/s1"]),
        (&["mk", "unix", "@abs"], 2, &["@abs", "only while"]),
        (&["mk", "shm", "", "--size", "1"], 2, &["empty", "/jobs"]),
        (&["signal", "-9", "1"], 2, &["\"-9\""]),
        (&["send", "tpc:h:1"], 2, &["did you mean tcp"]),
        (&["send", "localhost:80"], 2, &["tcp:localhost:80"]),
        (&["send", "tcp:localhost"], 2, &["no port"]),
        (&["send", "mq:/x?prority=3"], 2, &["did you mean priority"]),
        (&["send", "--listen", "mq:/x"], 2, &["listen", "mq:/x"]),
        (&["recv", "mq:jobs"], 2, &["mq:/NAME"]),
        (&["connect", "-", "stdio:"], 2, &["both sides"]),
        (&["send", "ws:localhost:80"], 10, &["this build", "unix"]),
        (&["send", &missing], 3, &[&missing["unix:".len()..]]),
        (&["send", &format!("mq:{nowhere}")], 3, &[&nowhere, "`tieline mk mq /"]),
        (&["recv", &format!("posix-shm:{nowhere}")], 3, &[&nowhere, "`tieline mk posix-shm /", "--size"]),
        (&["recv", "sysv-mq:0x7fedcba1"], 3, &["message queue", "`tieline mk sysv-mq 0x7fedcba1`"]),
        (&["recv", &place.at("fifo", "missing")], 3, &["missing", "`tieline mk fifo /"]),
        (&["rm", &place.at("fifo", "missing")], 3, &["missing", "--force"]),
        (&["recv", &place.at("file", "missing")], 3, &["create=yes"]),
        (&["send", "tcp:no-such-host.invalid:80"], 3, &["no-such-host.invalid"]),
        (&["recv", "--connect", &format!("unix:@{}", unique("nobody"))], 8, &["refused"]),
        (&["recv", &place.at("unix", "no/such/folder")], 3, &["directory"]),
        (&["mk", "fifo", "/proc/tieline"], 3, &["/proc/tieline"]),
        (&["mk", "shm", "no-slash", "--size", "1"], 2, &["/no-slash"]),
        (&["mk", "mq", "/a/b"], 2, &["slash"]),
        (&["mk", "sem", "/x", "--value", "4000000000"], 2, &["4000000000"]),
        (&["rm", "mq:/tieline-gone"], 3, &["/tieline-gone", "--force"]),
        (&["sem", "get", "/tieline-gone"], 3, &["`tieline mk sem /tieline-gone`"]),
        (&["signal", "TERM", "999999999"], 3, &["999999999", "ended"]),
        (&["signal", "NOPE", "1"], 2, &["\"NOPE\""]),
        (&["recv", "fd:99"], 2, &["99"]),
        (&["send", "pipe:"], 2, &["pipe:", "anybody else", "fd:N"]),
        (&["connect", "pipe:", "-"], 2, &["pipe:", "fd:N"]),
        (&["rm", "sysv-sem:-5"], 2, &["\"-5\" is no key", "0xfffffffb"]),
        (&["sem", "get", "sysv-sem:-5"], 2, &["no sign"]),
        (&["recv", &place.at("file", "")], 2, &["directory"]),
    ];
    for (words, code, sentence) in given {
        run_with(words, b"input\n").failed(*code, sentence);
    }
}

/// The commands of a pipeline share a terminal: a line in pieces would mix with theirs. On a datagram socket each write
/// is a message of its own.
#[test]
fn a_sentence_and_a_document_are_written_at_once() {
    for (words, start, end) in
        [(&["send", "foo:bar"][..], "tieline: ", "\n"), (&["send", "--json", "foo:bar"], "{", "}\n")]
    {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let status = tieline(words).stderr(OwnedFd::from(theirs)).stdin(std::process::Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(2));
        let mut buffer = [0; 4096];
        let length = ours.recv(&mut buffer).unwrap();
        let first = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(first.starts_with(start) && first.ends_with(end), "{first:?}");
    }
}

/// What clap refuses has its code too.
#[test]
fn flags_that_make_no_sense() {
    let given: &[&[&str]] = &[
        &["send"],
        &["nonsense"],
        &["send", "--lines", "--raw", "mq:/x"],
        &["send", "--timeout", "5", "mq:/x"],
        &["send", "--count", "many", "mq:/x"],
        &["mk", "shm", "/x", "--size", "1Q"],
        &["mk", "fifo", "/tmp/x", "--mode", "999"],
        &["mk", "sysv-sem", "key"],
        &["recv", "--frame", "u24", "mq:/x"],
        &["signal", "TERM", "-5"],
        &["bench", "os", "--sizes", "4"],
        &["bench", "os", "--only", "no such mechanism"],
        &["bench", "os", "--chart", "report.pdf"],
        &["bench", "shm", "--only", "no such row"],
    ];
    for words in given {
        let said = run(words);
        assert_eq!(said.code, 2, "{words:?}: {}", said.err);
        assert!(!said.err.is_empty() && said.out.is_empty());
    }
    assert!(run(&["send", "--timeout", "5", "mq:/x"]).err.contains("5s"));
    // A negative number is a wrong value, not an unknown flag.
    let given: &[&[&str]] = &[
        &["recv", "--count", "-1", "mq:/x"],
        &["recv", "--bytes", "-1", "mq:/x"],
        &["recv", "--timeout", "-5s", "mq:/x"],
        &["mk", "sem", "/x", "--value", "-1"],
        &["mk", "shm", "/x", "--size", "-4K"],
        &["mk", "sysv-sem", "--values", "-1"],
        &["mk", "sysv-sem", "-5"],
        &["mk", "sysv-sem", "--", "-5"],
        &["mk", "sysv-mq", "-5"],
        &["mk", "sysv-shm", "-5", "--size", "1"],
        &["sem", "wait", "/x", "--count", "-1"],
        &["signal", "TERM", "-5"],
        &["bench", "os", "--sizes", "-1"],
    ];
    for words in given {
        let said = run(words);
        assert_eq!(said.code, 2, "{words:?}: {}", said.err);
        assert!(said.err.contains("invalid value '-") && !said.err.contains("tip:"), "{words:?}: {}", said.err);
    }
}

/// What exists stays as it is.
#[test]
fn what_exists_is_not_made_again() {
    let place = Place::new();
    let fifo = place.text("fifo");
    run(&["mk", "fifo", &fifo]).well();
    run(&["mk", "fifo", &fifo]).failed(5, &[&fifo]);
    run(&["mk", "unix", &fifo]).failed(5, &[&fifo]);
    let queue = Object::mq(&[]);
    run(&["mk", "mq", queue.0.strip_prefix("mq:").unwrap()]).failed(5, &["exist", "`tieline rm`"]);
    let mut listener = Job::start(tieline(["recv", "-v", &place.at("unix", "s")]));
    listener.waits_at();
    run(&["recv", &place.at("unix", "s")]).failed(5, &["live process"]);
    listener.signal("TERM");
    listener.end();
}

#[test]
fn names_from_outside_are_not_obeyed_by_the_terminal() {
    let hostile = "fifo:/tmp/\x1b]0;owned\x07\u{202e}gone\u{9b}2J";
    for verb in ["recv", "rm"] {
        let said = run(&[verb, hostile]).failed(3, &["owned"]);
        let raw = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
        assert!(!said.err.contains(raw), "{:?}", said.err);
    }
    let said = run(&["rm", "--json", "--force", hostile]).well();
    assert!(!said.text().contains(|letter: char| letter != '\n' && letter.is_control()), "{:?}", said.text());
}

/// Another user's objects: code 4, whatever is tried with them.
#[test]
fn not_permitted() {
    const NOBODY: u32 = 65534;
    if !can_run_as(NOBODY) {
        skip!("this process cannot become another user");
    }
    let queue = Object::mq(&[]);
    let memory = Object::make(&["shm", &unique("/tieline-cli"), "--size", "4K"]);
    let segment = Object::make(&["sysv-shm", "--size", "4K"]);
    let semaphore = Object::make(&["sem", &unique("/tieline-cli")]);
    let as_nobody = |words: &[&str]| {
        let mut command = tieline(words);
        command.uid(NOBODY).gid(NOBODY);
        Job::start(command).end()
    };
    as_nobody(&["recv", "--timeout", "0", &queue.0]).failed(4, &["permission"]);
    as_nobody(&["send", &memory.0]).failed(4, &["permission"]);
    as_nobody(&["recv", &segment.0]).failed(4, &["permission"]);
    as_nobody(&["sem", "get", semaphore.0.strip_prefix("sem:").unwrap()]).failed(4, &["permission"]);
    for object in [&queue, &memory, &segment, &semaphore] {
        let said = as_nobody(&["rm", &object.0]);
        assert_eq!(said.code, 4, "{}: {}", object.0, said.err);
    }
    let us = std::process::id().to_string();
    as_nobody(&["signal", "TERM", &us]).failed(4, &["permitted", &format!("to process {us}: ")]);
    let place = Place::new();
    let forbidden = place.text("fifo");
    as_nobody(&["mk", "fifo", &forbidden]).failed(4, &[&forbidden, "the folder it would be in"]);
}

/// No descriptor is left: a sentence, not a panic.
#[test]
fn too_few_descriptors() {
    // Whatever we were born with ourselves does not count.
    let closed: String = (3..10).map(|number| format!(" {number}>&-")).collect();
    for limit in 3..12 {
        let line = format!("exec{closed}; ulimit -n {limit}; echo x | exec tieline connect - exec:cat");
        let said = Job::start(shell(&line)).end();
        assert!(!said.err.contains("panicked"), "{limit}: {}", said.err);
        assert!([0, 1, 2, 9, 126, 127].contains(&said.code), "{limit}: {} {}", said.code, said.err);
    }
    let said = Job::start(shell(&format!("exec{closed}; ulimit -n 6; exec tieline recv exec:cat"))).end();
    said.failed(9, &["too many open files"]);
}

/// A file larger than the limit of the process: what was written is told.
#[test]
fn a_full_device() {
    if !std::path::Path::new("/dev/full").exists() {
        skip!("no /dev/full");
    }
    let said = Job::start(shell("echo x | tieline send file:/dev/full")).end();
    said.failed(9, &["space", "(ENOSPC)"]);
    for verb in
        ["signal --list", "man", "completions bash", "bench os --list", "recv exec:date", "signal --list --json"]
    {
        let said = Job::start(shell(&format!("tieline {verb} > /dev/full"))).end();
        assert_eq!(said.code, 9, "{verb}: {}", said.err);
        assert!(said.err.contains("no space left on device (ENOSPC)"), "{verb}: {}", said.err);
    }
    // Both sides are named, and each figure stands there once.
    let said = Job::start(shell("tieline recv exec:date > /dev/full")).end();
    said.failed(9, &["cannot copy from exec:date to standard output: no space left on device (ENOSPC): nothing went"]);
    let said = Job::start(shell("tieline recv --lines exec:date > /dev/full")).end();
    said.failed(9, &["cannot write to standard output: no space"]);
}

/// Where JSON was asked for, the parser's refusals are JSON too.
#[test]
fn wrong_usage_is_json_too() {
    let said = run(&["recv", "--json", "--count", "many", "mq:/x"]);
    let error: serde_json::Value = serde_json::from_str(said.err.trim()).unwrap();
    assert_eq!((said.code, &error["error"]["kind"]), (2, &"usage".into()));
    assert!(error["error"]["sentence"].as_str().unwrap().contains("'many'"), "{error}");
    assert!(run(&["recv", "--json", "--help"]).well().text().contains("--count"));
}

/// A private object whose identifier could not be told is not left behind.
#[test]
fn what_cannot_be_told_is_not_kept() {
    if !std::path::Path::new("/dev/full").exists() {
        skip!("no /dev/full");
    }
    for object in ["sysv-shm --size 4K", "sysv-mq", "sysv-sem"] {
        let said = Job::start(shell(&format!("tieline mk {object} > /dev/full"))).end().failed(9, &["removed again"]);
        let address = said.err.split_whitespace().find(|word| word.starts_with("sysv-")).unwrap().to_owned();
        run(&["rm", "--dry-run", &address]).failed(3, &[]);
    }
}

#[test]
fn a_part_that_is_not_there() {
    let place = Place::new();
    place.write("table", &[0; 4096]);
    let table = place.at("file", "table");
    run(&["recv", &format!("{table}?offset=200000")]).failed(2, &["table", "offset 200000 lies outside its 4096"]);
    run(&["recv", &format!("{table}?offset=4000&length=97")]).failed(2, &["table", "length 97 reach outside"]);
}
