//! Everything that keeps message boundaries, with programs in C and Python at the other end.

use std::process::Command;

use tieline_testkit::{has_command, skip};

use crate::support::{
    Job, Object, Place, ask, assert_same, data, key, run, run_with, shell, stranger, tieline, unique,
};

#[test]
fn a_posix_queue_with_c() {
    let Some(program) = stranger() else { skip!("no C compiler") };
    let queue = Object::mq(&["--messages", "4", "--message-size", "64"]);
    let name = queue.0.strip_prefix("mq:").unwrap();
    run_with(&["send", &format!("{}?priority=3", queue.0)], b"from us\n").well();
    assert_eq!(ask(program, &["mq-receive", name]).well().text(), "3 from us\n");
    ask(program, &["mq-send", name, "1", "low"]).well();
    ask(program, &["mq-send", name, "9", "two\nlines"]).well();
    assert_eq!(run(&["recv", "--count", "1", &queue.0]).text(), "two\nlines\n");
    assert_eq!(run(&["recv", "--timeout", "0", &queue.0]).well().text(), "low\n");
}

#[test]
fn a_system_v_queue_with_c() {
    let Some(program) = stranger() else { skip!("no C compiler") };
    let key = key();
    let queue = Object::make(&["sysv-mq", &key]);
    run_with(&["send", &format!("{}?type=5", queue.0)], b"from us\n").well();
    assert_eq!(ask(program, &["msg-receive", &key]).well().text(), "5 from us\n");
    ask(program, &["msg-send", &key, "7", "seven"]).well();
    ask(program, &["msg-send", &key, "2", "two"]).well();
    assert_eq!(run(&["recv", "--count", "1", &format!("{}?type=2", queue.0)]).well().text(), "two\n");
    assert_eq!(run(&["recv", "--timeout", "0", &queue.0]).well().text(), "seven\n");
    run(&["recv", "--timeout", "0", &queue.0]).failed(6, &["nothing came"]);
}

/// Many messages, each of them once and in order.
#[test]
fn ten_thousand_lines_through_each() {
    let lines: String = (0..10_000).map(|number| format!("line {number} of many\n")).collect();
    let place = Place::new();
    let objects = [Object::mq(&[]), Object::make(&["sysv-mq", &key()])];
    let listening = [place.at("unix-seqpacket", "seqpacket"), place.at("unix-dgram", "dgram")];
    for address in objects.iter().map(|object| object.0.clone()).chain(listening) {
        // Who can tell that a receiver has gone does not take it for a success, so there the sender ends it.
        let count: &[&str] = if address.starts_with("unix-seqpacket") { &[] } else { &["--count", "10000"] };
        let mut receiver = Job::start(tieline([&["recv", "-v"], count, &[&address]].concat()));
        if address.starts_with("unix") {
            receiver.waits_at();
        }
        run_with(&["send", &address], lines.as_bytes()).well();
        let said = receiver.end();
        assert_eq!((said.code, said.text() == lines), (0, true), "{address}: {}", said.err);
        assert!(said.err.contains("10000 messages"), "{}", said.err);
    }
}

/// Datagrams may be lost, so the sender waits for each answer.
const UDP_ECHO: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
host, port = sys.argv[1].split(':')[1:]
for word in (b'one', b'two', b'three'):
    s.sendto(word, (host, int(port)))
    assert s.recv(100) == word.upper(), word
";

#[test]
fn udp_with_python() {
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    let mut server = Job::start(tieline([
        "connect",
        "-v",
        "--count",
        "3",
        "udp:127.0.0.1:0?listen=yes",
        "exec:stdbuf -oL tr a-z A-Z",
    ]));
    let at = server.waits_at();
    let mut python = Command::new("python3");
    python.args(["-c", UDP_ECHO, &at]);
    Job::start(python).end().well();
    assert_eq!(server.end().code, 0);

    let mut receiver = Job::start(tieline(["recv", "-v", "--count", "2", "udp:127.0.0.1:0"]));
    let at = receiver.waits_at();
    run_with(&["send", &at], b"a\nb\n").well();
    assert_eq!(receiver.end().text(), "a\nb\n");
}

const UNIX_PEER: &str = "
import socket, sys
kind, path = getattr(socket, sys.argv[1]), sys.argv[2]
s = socket.socket(socket.AF_UNIX, kind); s.bind(path)
if kind == socket.SOCK_SEQPACKET: s.listen()
print('waiting at ' + path, file=sys.stderr, flush=True)
is_stream = kind == socket.SOCK_SEQPACKET
if is_stream: s, _ = s.accept()
print([s.recv(100) for _ in range(2)])
assert not is_stream or s.recv(100) == b''
";

const UNIX_SENDER: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[1])); s.connect(sys.argv[2])
s.send(b'one'); s.send(b'two\\nlines'); s.send(b'x' * 1000)
";

#[test]
fn unix_messages_with_python() {
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    for (scheme, kind) in [("unix-dgram", "SOCK_DGRAM"), ("unix-seqpacket", "SOCK_SEQPACKET")] {
        let place = Place::new();
        let mut peer = Command::new("python3");
        peer.args(["-c", UNIX_PEER, kind, &place.text("theirs")]);
        let mut peer = Job::start(peer);
        peer.waits_at();
        run_with(&["send", &place.at(scheme, "theirs")], b"one\ntwo\n").well();
        assert_eq!(peer.end().text(), "[b'one', b'two']\n");

        let mut receiver = Job::start(tieline(["recv", "-v", "--count", "3", &place.at(scheme, "ours")]));
        receiver.waits_at();
        let mut sender = Command::new("python3");
        sender.args(["-c", UNIX_SENDER, kind, &place.text("ours")]);
        Job::start(sender).end().well();
        assert_eq!(receiver.end().text(), format!("one\ntwo\nlines\n{}\n", "x".repeat(1000)));
        assert!(!place.path("ours").exists(), "the name stayed");
    }
}

/// A chunk that is read is one message.
#[test]
fn raw_is_one_message_a_chunk() {
    let place = Place::new();
    let mut receiver = Job::start(tieline(["recv", "-v", "--length-prefixed", &place.at("unix-seqpacket", "s")]));
    receiver.waits_at();
    run_with(&["send", "--raw", &place.at("unix-seqpacket", "s")], b"a\nb\nc").well();
    assert_eq!(receiver.end().out, b"\0\0\0\x05a\nb\nc");
}

/// Nothing is lost for a line feed in it, with or without --lines; that lines are not messages then is told.
#[test]
fn a_line_feed_inside_a_message() {
    let queue = Object::make(&["sysv-mq", &key()]);
    for flags in [&[][..], &["--lines"]] {
        run_with(&["send", "--frame", "nul", &queue.0], b"two\nlines\0plain\0ended\n\0").well();
        let said = run(&[&["recv", "--timeout", "0", &queue.0], flags].concat());
        assert_eq!((said.code, said.text()), (0, "two\nlines\nplain\nended\n"), "{}", said.err);
        said.failed(0, &["1 message holds line feeds", "--length-prefixed"]);
    }
    // One at the end only is what a line has.
    run_with(&["send", "--frame", "nul", &queue.0], b"ended\n\0").well();
    assert_eq!(run(&["recv", "--timeout", "0", "--lines", &queue.0]).well().text(), "ended\n");
    // Who wants to be refused what could not be told apart says so in full.
    run_with(&["send", "--frame", "nul", &queue.0], b"two\nlines\0").well();
    run(&["recv", "--timeout", "0", "--frame", "line", &queue.0]).failed(1, &["message 1", "length framing"]);
}

/// Given a message that the other side's framing cannot express, or that is too large for it, then it is in the error,
/// byte for byte, and those behind it stay in their queue.
#[test]
fn a_refused_message_is_handed_back() {
    let queue = Object::mq(&["--message-size", "300"]);
    let every_byte: Vec<u8> = (0..=255).collect();
    let small = Object::mq(&["--message-size", "64"]);
    let refusing: [(&[&str], i32); 3] = [
        (&["recv", "--frame", "line", &queue.0], 1),
        (&["recv", "--frame", "u8", &queue.0], 9),
        (&["connect", "--timeout", "1s", &queue.0, &small.0], 9),
    ];
    for (words, code) in refusing {
        run_with(&["send", "--whole", &queue.0], &every_byte).well();
        run_with(&["send", &queue.0], b"next\n").well();
        let said = run(words).failed(code, &["is no longer in mq:/", "`printf %b '"]);
        assert!(said.out.is_empty());
        let command = said.err.split('`').rfind(|part| part.starts_with("printf")).unwrap();
        assert_same(&Job::start(shell(command)).end().well().out, &every_byte);
        assert_eq!(run(&["recv", "--timeout", "0", &queue.0]).well().text(), "next\n");
    }
    run_with(&["send", "--whole", &queue.0], b"it's\ntwo").well();
    let said = run(&["recv", "--json", "--frame", "line", &queue.0]);
    let report: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!(report["forward"]["handed_back"], r"it\0047s\ntwo");
    assert!(!said.err.contains("printf"), "told twice: {}", said.err);
    // What came from standard input is the caller's own.
    run_with(&["send", "--whole", &small.0], &every_byte).failed(9, &["256 bytes"]);
    assert!(!run_with(&["send", "--whole", &small.0], &every_byte).err.contains("printf"));
}

/// A limit of bytes inside a message: the message is delivered, because it is in no queue any more.
#[test]
fn a_limit_of_bytes_loses_no_message() {
    let queue = Object::mq(&[]);
    run_with(&["send", &queue.0], b"hello\nyou\nthere\n").well();
    assert_eq!(run(&["recv", "--bytes", "3", &queue.0]).well().text(), "hello\n");
    assert_eq!(run(&["recv", "--bytes", "4", &queue.0]).well().text(), "you\nthere\n");
    assert_eq!(run(&["recv", "--bytes", "0", &queue.0]).well().text(), "");
}

/// From a queue to a command, and from a socket to a queue, without standard input or output.
#[test]
fn joined_without_us_in_between() {
    let queue = Object::mq(&[]);
    let place = Place::new();
    run_with(&["send", &queue.0], b"pear\napple\n").well();
    let sorted = format!("exec:sort > '{}'", place.text("sorted"));
    run(&["connect", "--count", "2", &queue.0, &sorted]).well();
    assert_eq!(std::fs::read(place.path("sorted")).unwrap(), b"apple\npear\n");

    let at = format!("unix:@{}", unique("tieline-cli"));
    let mut bridge = Job::start(tieline(["connect", "-v", &format!("{at}?listen=yes"), &queue.0]));
    bridge.waits_at();
    run_with(&["send", &at], b"through\n").well();
    assert_eq!(bridge.end().code, 0);
    assert_eq!(run(&["recv", "--timeout", "0", &queue.0]).well().text(), "through\n");
}

/// Limits of one object: the largest message that fits goes, one byte more does not and says what to do.
#[test]
fn one_past_the_largest_message() {
    let queue = Object::mq(&["--message-size", "64"]);
    run_with(&["send", &queue.0], &[b'x'; 64]).well();
    let said = run_with(&["send", &queue.0], &[b'x'; 65]);
    said.failed(9, &["65 bytes", "64", "message-size", "nothing went"]);
    let said = run_with(
        &["send", &queue.0],
        b"fits\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    );
    said.failed(9, &["message 2", "1 message of 4 bytes went"]);
    let large = "y".repeat(70_000);
    let mut receiver = Job::start(tieline(["recv", "-v", "udp:127.0.0.1:0"]));
    let at = receiver.waits_at();
    run_with(&["send", &at], large.as_bytes()).failed(9, &["70000 bytes", "65507"]);
    run_with(&["send", "--max-message", "10", &at], b"12345678901\n").failed(9, &["largest allowed is 10"]);
    receiver.signal("TERM");
    assert_eq!(receiver.end().code, 143);
}

/// What was read and did not go is counted in whole messages, and what is torn apart from them.
#[test]
fn what_did_not_go_is_counted_exactly() {
    let queue = Object::mq(&["--messages", "1"]);
    run_with(&["send", &queue.0], b"full\n").well();
    let said = run_with(&["send", "--json", "--timeout", "0", &queue.0], b"11\n22\n33\n44\n55\n66\n77\n88\n99\nto");
    assert_eq!(said.code, 6, "{}", said.err);
    let report: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    let forward = |field: &str| report["forward"][field].as_u64().expect("a number");
    assert_eq!((forward("messages"), forward("undelivered_messages"), forward("undelivered_bytes")), (0, 9, 18));
    assert_eq!(forward("undelivered_part_bytes"), 2);
    run_with(&["send", "--timeout", "0", &queue.0], b"1\n2\nto").failed(6, &["2 messages of 2 bytes and 2 bytes of"]);
}

/// All of standard input is one message, and what is too large for somebody is refused with its size and the limit.
#[test]
fn the_whole_input_is_one_message() {
    let place = Place::new();
    let large = data(150_000);
    let mut receiver = Job::start(tieline(["recv", "-v", "--whole", &place.at("unix-seqpacket", "s")]));
    receiver.waits_at();
    let to = format!("{}?capacity=1M", place.at("unix-seqpacket", "s"));
    let report = run_with(&["send", "--whole", "--json", &to], &large);
    let report: serde_json::Value = serde_json::from_str(&report.err).expect("JSON");
    assert_eq!((report["forward"]["messages"].as_u64(), report["forward"]["bytes"].as_u64()), (Some(1), Some(150_000)));
    assert_same(&receiver.end().out, &large);

    let queue = Object::mq(&["--message-size", "100"]);
    run_with(&["send", "--whole", &queue.0], &large[..101]).failed(9, &["101 bytes", "100"]);
    run_with(&["send", "--whole", "--max-message", "50", &queue.0], &large[..51]).failed(9, &["51 bytes", "50"]);
    run_with(&["send", "--whole", &queue.0], b"two\nlines").well();
    run_with(&["send", "--whole", &queue.0], b"").well();
    assert_eq!(run(&["recv", "--timeout", "0", "--whole", &queue.0]).well().text(), "two\nlines");
    let file = place.at("file", "frames");
    run_with(&["send", "--whole", &format!("{file}?create=yes&frame=u32")], b"a\nb\n").well();
    assert_eq!(std::fs::read(place.path("frames")).unwrap(), b"\0\0\0\x04a\nb\n");
}
