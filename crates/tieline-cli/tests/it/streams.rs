//! 64 MiB through every path that carries bytes, in both directions, with ourselves and with foreign programs.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_testkit::{has_command, pause, skip, until};

use crate::support::{
    Job, Object, Place, ask, assert_same, code_of, data, key, run, run_with, shell, stranger, tieline, unique,
};

const LEN: usize = 64 << 20;

/// The same 64 MiB for all, as bytes and as a file.
fn large() -> (&'static [u8], &'static Path) {
    static LARGE: OnceLock<(TempDir, Vec<u8>, std::path::PathBuf)> = OnceLock::new();
    let (_, bytes, path) = LARGE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a directory");
        let (bytes, path) = (data(LEN), place.path().join("large"));
        fs::write(&path, &bytes).expect("room for 64 MiB");
        (place, bytes, path)
    });
    (bytes, path)
}

/// A program with its standard input and output in files.
fn with_files(mut command: Command, input: Option<&Path>, output: Option<&Path>) -> Quiet {
    command.stdin(input.map_or_else(Stdio::null, |path| File::open(path).expect("readable").into()));
    command.stdout(output.map_or_else(Stdio::null, |path| File::create(path).expect("writable").into()));
    Quiet(command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}")))
}

struct Quiet(std::process::Child);

impl Quiet {
    #[track_caller]
    fn ends_well(mut self) {
        let status = until("the process ends", || self.0.try_wait().expect("waitable"));
        assert_eq!(code_of(status), 0);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A receiver of ours whose output is a file; it has said where it waits.
struct Receiver {
    job: Job,
    at: String,
}

impl Receiver {
    /// Through a shell, so that standard output is the file itself and the kernel's fast paths are taken.
    fn start(address: &str, output: &Path) -> Self {
        let line = format!("exec tieline recv -v '{address}' > '{}'", output.display());
        let mut job = Job::start(shell(&line));
        let at = if address.starts_with("fifo:") { address.to_owned() } else { job.waits_at() };
        Self { job, at }
    }

    #[track_caller]
    fn got(self, output: &Path) -> Vec<u8> {
        let said = self.job.end();
        assert_eq!(said.code, 0, "{}", said.err);
        fs::read(output).expect("readable")
    }
}

/// One of these tests after the other: each keeps processors, memory and disk busy, and waits only so long for its turn.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listening_addresses(place: &Place) -> [String; 3] {
    [place.at("unix", "socket"), format!("unix:@{}", unique("tieline-cli")), "tcp:127.0.0.1:0".to_owned()]
}

#[test]
fn ours_to_ours() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    run(&["mk", "fifo", &place.text("fifo")]).well();
    for address in listening_addresses(&place).into_iter().chain([place.at("fifo", "fifo")]) {
        let receiver = Receiver::start(&address, &out);
        with_files(tieline(["send", &receiver.at]), Some(file), None).ends_well();
        assert_same(&receiver.got(&out), bytes);
    }
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a socket's file stayed: {left:?}");
}

/// The listener sends, the caller receives.
#[test]
fn the_other_way_round() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    for address in listening_addresses(&place) {
        let line = format!("exec tieline send -v --listen '{address}' < '{}'", file.display());
        let mut sender = Job::start(shell(&line));
        let at = sender.waits_at();
        let out = place.path("out");
        with_files(tieline(["recv", "--connect", &at]), None, Some(&out)).ends_well();
        assert_same(&fs::read(&out).unwrap(), bytes);
        assert_eq!(sender.end().code, 0);
    }
}

#[test]
fn fifos_with_cat() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let (fifo, out) = (place.text("fifo"), place.path("out"));
    run(&["mk", "fifo", &fifo]).well();
    let cat = |path: &str| {
        let mut cat = Command::new("cat");
        cat.arg(path);
        cat
    };
    let reader = with_files(cat(&fifo), None, Some(&out));
    with_files(tieline(["send", &format!("fifo:{fifo}")]), Some(file), None).ends_well();
    reader.ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);

    let receiver = Receiver::start(&format!("fifo:{fifo}"), &out);
    let mut writer = shell(&format!("exec cat '{}' > '{fifo}'", file.display()));
    writer.stdin(Stdio::null());
    assert_eq!(code_of(writer.status().unwrap()), 0);
    assert_same(&receiver.got(&out), bytes);
}

#[test]
fn sockets_with_socat() {
    if !has_command("socat") {
        skip!("socat is not installed");
    }
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    let socat = |from: &str, to: &str| {
        let mut socat = Command::new("socat");
        socat.args(["-u", from, to]);
        socat
    };
    let source = format!("OPEN:{}", file.display());
    for address in listening_addresses(&place) {
        let receiver = Receiver::start(&address, &out);
        let to = match receiver.at.split_once(':').unwrap() {
            ("tcp", at) => format!("TCP:{at}"),
            (_, name) => {
                name.strip_prefix('@').map_or(format!("UNIX-CONNECT:{name}"), |name| format!("ABSTRACT-CONNECT:{name}"))
            }
        };
        with_files(socat(&source, &to), None, None).ends_well();
        assert_same(&receiver.got(&out), bytes);
    }
    let path = place.text("theirs");
    let listener = with_files(socat(&format!("UNIX-LISTEN:{path}"), &format!("CREATE:{}", out.display())), None, None);
    tieline_testkit::eventually("socat listens", || Path::new(&path).exists());
    // The file is there a moment before the socket listens.
    until("socat takes a caller", || {
        let said = Job::start(shell(&format!("exec tieline send unix:{path} < '{}'", file.display()))).end();
        (said.code == 0).then_some(())
    });
    listener.ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
}

#[test]
fn sockets_with_nc() {
    // There are several programs of that name.
    let help = Command::new("nc").arg("-h").output();
    let help = help.map_or_else(|_| Vec::new(), |output| [output.stdout, output.stderr].concat());
    if !String::from_utf8_lossy(&help).contains("OpenBSD netcat") {
        skip!("OpenBSD's nc is not installed");
    }
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    let receiver = Receiver::start("tcp:127.0.0.1:0", &out);
    let port = receiver.at.rsplit(':').next().unwrap().to_owned();
    let mut nc = Command::new("nc");
    nc.args(["-N", "127.0.0.1", &port]);
    with_files(nc, Some(file), None).ends_well();
    assert_same(&receiver.got(&out), bytes);

    let receiver = Receiver::start(&place.at("unix", "socket"), &out);
    let mut nc = Command::new("nc");
    nc.args(["-N", "-U", &place.text("socket")]);
    with_files(nc, Some(file), None).ends_well();
    assert_same(&receiver.got(&out), bytes);
}

/// A server in Python that answers with what it was sent, reversed, after the end: half-close both ways.
const ANSWERING: &str = "
import socket
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen()
print('waiting at tcp:127.0.0.1:%d' % server.getsockname()[1], file=__import__('sys').stderr, flush=True)
peer, _ = server.accept()
got = bytearray()
while chunk := peer.recv(1 << 20): got += chunk
got.reverse()
peer.sendall(got)
";

#[test]
fn a_conversation_with_python() {
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let mut server = Command::new("python3");
    server.args(["-c", ANSWERING]);
    let mut server = Job::start(server);
    let at = server.waits_at();
    let out = place.path("out");
    with_files(tieline(["connect", "-", &at]), Some(file), Some(&out)).ends_well();
    server.end();
    let mut got = fs::read(&out).unwrap();
    got.reverse();
    assert_same(&got, bytes);
}

#[test]
fn commands() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    let to = format!("exec:cat > '{}'", out.display());
    with_files(tieline(["send", &to]), Some(file), None).ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
    let from = format!("exec:cat '{}'", file.display());
    with_files(tieline(["recv", &from]), None, Some(&out)).ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
    with_files(tieline(["connect", "-", "exec:cat"]), Some(file), Some(&out)).ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
}

#[test]
fn files_and_standard_streams() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    let address = format!("file:{}?create=new", out.display());
    with_files(tieline(["send", &address]), Some(file), None).ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
    let copy = place.path("copy");
    with_files(tieline(["recv", &format!("file:{}", out.display())]), None, Some(&copy)).ends_well();
    assert_same(&fs::read(&copy).unwrap(), bytes);
    // From pipe to pipe, and by inherited descriptors.
    for verb in ["send -", "recv -", "send fd:1", "recv fd:0", "connect --one-way fd:0 fd:1"] {
        let line = format!("cat '{}' | tieline {verb} | cat > '{}'", file.display(), out.display());
        Job::start(shell(&line)).end().well();
        assert_same(&fs::read(&out).unwrap(), bytes);
    }
}

/// A part of a file is read, and written, and the rest stays.
#[test]
fn a_part_of_a_file() {
    let place = Place::new();
    let file = place.write("file", b"0123456789");
    let at = |options: &str| format!("file:{}?{options}", file.display());
    assert_eq!(run(&["recv", &at("offset=2&length=3")]).well().text(), "234");
    run_with(&["send", &at("offset=4&length=2")], b"xy").well();
    assert_eq!(fs::read(&file).unwrap(), b"0123xy6789");
    run_with(&["send", &at("offset=4&length=2")], b"abc").failed(9, &["full"]);
    assert_eq!(fs::read(&file).unwrap(), b"0123ab6789");
}

#[test]
fn shared_memory() {
    let _turn = alone();
    let (bytes, file) = large();
    let place = Place::new();
    let out = place.path("out");
    // Containers usually have no more than 64 MiB there, for all.
    let room = rustix::fs::statvfs("/dev/shm").map_or(0, |status| status.f_bavail * status.f_frsize);
    let len = LEN.min(usize::try_from(room / 4).unwrap_or(LEN));
    let (part, part_file) = (&bytes[..len], place.write("part", &bytes[..len]));
    let posix = Object::make(&["shm", &unique("/tieline-cli"), "--size", &len.to_string()]);
    with_files(tieline(["send", &posix.0]), Some(&part_file), None).ends_well();
    let seen = posix.0.replace("posix-shm:", "/dev/shm");
    assert_same(&fs::read(seen).unwrap(), part);
    with_files(tieline(["recv", &posix.0]), None, Some(&out)).ends_well();
    assert_same(&fs::read(&out).unwrap(), part);

    let size = LEN.to_string();
    let segment = Object::make(&["sysv-shm", "--size", &size]);
    with_files(tieline(["send", &segment.0]), Some(file), None).ends_well();
    with_files(tieline(["recv", &segment.0]), None, Some(&out)).ends_well();
    assert_same(&fs::read(&out).unwrap(), bytes);
    assert_eq!(run(&["recv", &format!("{}?offset=8&length=8", segment.0)]).well().out, &bytes[8..16]);
    if let Some(program) = stranger() {
        let id = segment.0.strip_prefix("sysv-shm:id:").unwrap();
        assert_same(&ask(program, &["shm-read", id, &size]).well().out, bytes);
        let line = format!("head -c 1M /dev/zero | '{}' shm-write {id}", program.display());
        Job::start(shell(&line)).end().well();
        assert_same(&run(&["recv", &format!("{}?length=1M", segment.0)]).well().out, &vec![0; 1 << 20]);
    }
}

/// Lines on our side, lengths on the wire, and back.
#[test]
fn framings_are_translated() {
    let place = Place::new();
    let out = place.text("out");
    run_with(&["send", &format!("file:{out}?create=new&frame=u32")], b"one\ntwo\n").well();
    assert_eq!(fs::read(&out).unwrap(), b"\0\0\0\x03one\0\0\0\x03two");
    assert_eq!(run(&["recv", &format!("file:{out}?frame=u32")]).well().text(), "one\ntwo\n");
    let words = format!("file:{out}?frame=u32");
    assert_eq!(run(&["recv", "--frame", "nul", &words]).well().out, b"one\0two\0");
    assert_eq!(run(&["recv", "--count", "1", &words]).well().text(), "one\n");
    assert_eq!(run(&["recv", "--raw", &words]).well().text(), "onetwo");
    assert_eq!(run(&["recv", "--bytes", "3", &format!("file:{out}")]).well().out, b"\0\0\0");
    // A key, so that parallel runs do not meet.
    let queue = Object::make(&["sysv-mq", &key()]);
    run_with(&["send", "--length-prefixed", &queue.0], b"\0\0\0\x02a\n\0\0\0\x01b").well();
    assert_eq!(run(&["recv", "--timeout", "0", "--length-prefixed", &queue.0]).well().out, b"\0\0\0\x02a\n\0\0\0\x01b");
}

/// Given two byte streams and a framing flag, then the flag frames the address, and lines are on our side.
#[test]
fn a_framing_flag_frames_a_byte_stream() {
    let place = Place::new();
    let out = place.text("out");
    let framed = b"\0\0\0\x011\0\0\0\x012\0\0\0\x013";
    run_with(&["send", "--length-prefixed", &format!("file:{out}?create=yes")], b"1\n2\n3\n").well();
    assert_eq!(fs::read(&out).unwrap(), framed);
    assert_eq!(run(&["recv", "--length-prefixed", &format!("file:{out}")]).well().text(), "1\n2\n3\n");
    assert_eq!(run(&["recv", "--length-prefixed", "--count", "2", &format!("file:{out}")]).well().text(), "1\n2\n");
    assert_eq!(run(&["recv", "--raw", &format!("file:{out}")]).well().out, framed);
    assert_eq!(run(&["recv", "--length-prefixed", &format!("file:{out}?frame=u32")]).well().out, framed);
    run_with(&["send", "--frame", "nul", &format!("file:{out}")], b"a\nb\n").well();
    assert_eq!(fs::read(&out).unwrap(), b"a\0b\0");
    run_with(&["send", "--raw", &format!("file:{out}")], b"a\nb").well();
    assert_eq!(fs::read(&out).unwrap(), b"a\nb");
}

/// Given a framing flag, or a `frame`, between two byte streams, then messages pass: checked, counted and bounded, also
/// where both sides are framed alike. Without one, and with --raw, the bytes pass as they are.
#[test]
fn who_asks_for_messages_gets_messages() {
    let torn = b"\0\0\0\x01a\0\0\0\x05b";
    let whole = b"\0\0\0\x01a\0\0\0\x02bc";
    for flag in ["--length-prefixed", "--frame=u32"] {
        let said = run_with(&["connect", flag, "-", "exec:cat"], whole).well();
        assert_eq!(said.out, whole);
        // A command would have to be quick: it is ended when the transfer has failed.
        let place = Place::new();
        let file = format!("{}?create=yes", place.at("file", "out"));
        let said = run_with(&["connect", flag, "--one-way", "-", &file], torn);
        let out = fs::read(place.path("out")).unwrap();
        assert_eq!((said.code, &out[..]), (1, &torn[..5]), "{}", said.err);
        assert!(said.err.contains("inside message 2"), "{}", said.err);
    }
    let said = run_with(&["connect", "--json", "--frame", "u32", "-", "exec:cat"], whole);
    let report: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!((&report["forward"]["messages"], &report["backward"]["messages"]), (&2.into(), &2.into()));
    assert_eq!(run_with(&["connect", "--lines", "-", "exec:cat"], b"a\nb").well().text(), "a\nb\n");
    run_with(&["connect", "--lines", "--max-message", "2", "-", "exec:cat"], b"abc\n").failed(9, &["allowed is 2"]);
    run_with(&["send", "--lines", "--max-message", "2", "exec:cat"], b"abc\n").failed(9, &["allowed is 2"]);
    let said = run(&["recv", "--whole", "--max-message", "3", "exec:echo hello"]).failed(9, &["allowed is 3"]);
    assert!(said.out.is_empty(), "one message, all of it or none");
    assert_eq!(run(&["recv", "--whole", "--max-message", "6", "exec:echo hello"]).well().text(), "hello\n");
    for flags in [&["--raw"][..], &[]] {
        let said = run_with(&[&["connect", "-", "exec:cat"], flags].concat(), torn).well();
        assert_eq!(said.out, torn);
    }
}

/// Given a file to write and a transfer that fails before anything was given, then the file is what it was. A transfer of
/// nothing is none that failed.
#[test]
fn a_file_survives_a_transfer_of_nothing() {
    let place = Place::new();
    let path = place.write("kept", b"precious\nwords\n");
    let file = format!("file:{}", path.display());
    let kept = |said: crate::support::Said, code, words: &[&str]| {
        said.failed(code, words);
        assert_eq!(fs::read(&path).unwrap(), b"precious\nwords\n");
    };
    for flags in [&[][..], &["--lines"], &["--count", "9"]] {
        kept(run(&[&["connect", &file, &file], flags].concat()), 2, &["same file"]);
    }
    kept(Job::start(shell(&format!("tieline send --frame nul {file} < {}", path.display()))).end(), 2, &["same file"]);
    kept(Job::start(shell(&format!("tieline send {file} < {}", path.display()))).end(), 2, &["same file"]);
    kept(run(&["connect", "--timeout", "100ms", "exec:sleep 60", &file]), 7, &["the time is up"]);
    kept(run(&["connect", "--length-prefixed", "exec:printf abc", &file]), 1, &["inside the length"]);
    run(&["connect", "exec:true", &file]).well();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

/// The largest message holds for the framing of an address too, unless that says its own.
#[test]
fn the_largest_message_holds_for_an_address() {
    let place = Place::new();
    let file = place.write("file", b"\0\0\0\x06123456");
    let at = |frame: &str| format!("file:{}?frame={frame}", file.display());
    run(&["recv", "--max-message", "5", &at("u32")]).failed(9, &["message 1", "5"]);
    run(&["recv", &at("u32,4")]).failed(9, &["message 1", "4"]);
    assert_eq!(run(&["recv", "--max-message", "6", &at("u32")]).well().text(), "123456\n");
}

/// The rate is that of what flowed, not of the waiting for it; a single move has none.
#[test]
fn a_summary_counts_from_the_first_byte() {
    let seconds =
        |said: &str| -> f64 { said.split(" went in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap() };
    // What is shown has so many digits.
    const ROUNDED: f64 = 0.01;
    let place = Place::new();
    let mut sender = Job::start(tieline(["send", "-v", &format!("{}?create=yes", place.at("file", "out"))]));
    pause(Duration::from_millis(500));
    let begun = Instant::now();
    sender.write(b"one\n");
    until("the first is there", || (fs::metadata(place.path("out")).ok()?.len() == 4).then_some(()));
    pause(Duration::from_millis(100));
    sender.write(b"two\n");
    let said = sender.end();
    let (told, most) = (seconds(&said.err), begun.elapsed().as_secs_f64());
    assert!((0.1 - ROUNDED..most + ROUNDED).contains(&told) && said.err.contains("/s)"), "of {most} s: {}", said.err);

    let mut receiver = Job::start(tieline(["recv", "-v", "-"]));
    pause(Duration::from_millis(500));
    let begun = Instant::now();
    receiver.write(b"one\n");
    let said = receiver.end();
    let most = begun.elapsed().as_secs_f64();
    assert!(said.err.contains("4 bytes went in ") && seconds(&said.err) <= most + ROUNDED, "of {most} s: {}", said.err);
}
