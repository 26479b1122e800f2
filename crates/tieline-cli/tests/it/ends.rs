//! How things end: in order, by a dead peer, a signal, a closed output; what is told, and what stays behind.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use tieline_os::signal::Signal;
use tieline_testkit::{Isolation, Missing, alone, eventually, has_command, pretend_missing, skip, sleeps, test_name};

use crate::support::{
    Job, Object, Place, assert_same, code_of, data, key, path_with_tieline, run, run_out_of_time, run_with, shell,
    tieline, unique,
};

/// The reader is killed in the middle of a flood: one sentence, code 8, and not a hang.
#[test]
fn a_killed_reader_is_told() {
    for address in ["unix", "tcp", "fifo", "seqpacket"] {
        let place = Place::new();
        let address = match address {
            "tcp" => "tcp:127.0.0.1:0".to_owned(),
            "fifo" => {
                run(&["mk", "fifo", &place.text("fifo")]).well();
                place.at("fifo", "fifo")
            }
            "seqpacket" => place.at("unix-seqpacket", "s"),
            _ => place.at("unix", "s"),
        };
        // Its output is a pipe that nobody empties, so that it holds still when it is full.
        let mut reader = shell(&format!("exec tieline recv -v '{address}'"));
        let mut reader = reader.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let at = if address.starts_with("fifo") { address.clone() } else { first_line(&mut reader) };
        let sender = Job::start(shell(&format!("yes | tieline send '{at}'")));
        let stdout = reader.stdout.take().unwrap();
        eventually("the flood has reached the reader", || sleeps(reader.id()) && waiting(&stdout) > 0);
        reader.kill().unwrap();
        reader.wait().unwrap();
        let said = sender.end().failed(8, &["any more"]);
        assert!(said.err.contains(" went to "), "{}", said.err);
    }
}

/// How many bytes wait in a pipe.
fn waiting(pipe: &std::process::ChildStdout) -> u64 {
    use std::os::fd::AsFd;
    let reader = tieline_os::pipe::PipeReader::from_fd(pipe.as_fd().try_clone_to_owned().unwrap()).unwrap();
    reader.available().unwrap() as u64
}

fn first_line(child: &mut std::process::Child) -> String {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().rsplit("waiting at ").next().unwrap().to_owned()
}

/// A sender that is killed leaves what it had sent; the receiver ends in order.
#[test]
fn a_killed_writer_leaves_what_it_sent() {
    let place = Place::new();
    let out = place.path("out");
    let mut receiver =
        Job::start(shell(&format!("exec tieline recv -v {} > {}", place.at("unix", "s"), out.display())));
    let at = receiver.waits_at();
    let mut sender = Job::start(tieline(["send", &at]));
    let content = data(100_000);
    sender.write(&content);
    eventually("it arrives", || fs::metadata(&out).unwrap().len() == 100_000);
    sender.signal("KILL");
    assert_eq!(receiver.end().code, 0);
    assert_same(&fs::read(&out).unwrap(), &content);
}

/// Ctrl-C and friends: what was accepted is delivered, a sentence says how much, the code is 128+N.
#[test]
fn signals_end_in_order() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let place = Place::new();
        let out = place.path("out");
        let mut receiver =
            Job::start(shell(&format!("exec tieline recv -v {} > {}", place.at("unix", "s"), out.display())));
        let at = receiver.waits_at();
        let mut sender = Job::start(tieline(["send", &at]));
        let content = data(100_000);
        sender.write(&content);
        eventually("it arrives", || fs::metadata(&out).unwrap().len() == 100_000);
        sender.signal(signal);
        let code_of_sender = sender.wait();
        assert_eq!(code_of(code_of_sender), code);
        sender.end().failed(code, &[&format!("ended by SIG{signal}"), "100000 bytes (97.66 KiB) went to unix:"]);
        assert_eq!(receiver.end().code, 0);
        assert_same(&fs::read(&out).unwrap(), &content);
    }
}

/// Also while nobody has come yet; and the name of the socket does not stay.
#[test]
fn a_signal_while_waiting_for_a_peer() {
    let place = Place::new();
    let mut receiver = Job::start(tieline(["recv", "-v", &place.at("unix", "s")]));
    receiver.waits_at();
    receiver.signal("INT");
    let said = receiver.end();
    assert_eq!(said.code, 130);
    assert!(said.err.contains("ended by SIGINT while waiting"), "{}", said.err);
    assert!(!place.path("s").exists(), "the name stayed");
    run(&["mk", "fifo", &place.text("fifo")]).well();
    let sender = Job::start(tieline(["send", &place.at("fifo", "fifo")]));
    eventually("it waits for a reader", || sender.catches(Signal::TERM) && sleeps(sender.id()));
    sender.signal("TERM");
    sender.end().failed(143, &["SIGTERM", "fifo:"]);
}

/// What a limit leaves is left in the queue.
#[test]
fn messages_of_a_stopped_receiver_are_not_lost() {
    let queue = Object::mq(&["--messages", "10"]);
    for _ in 0..3 {
        run_with(&["send", &queue.0], b"1\n2\n3\n").well();
        // The limit ends it; what it did not take stays in the queue.
        assert_eq!(run(&["recv", "--count", "2", &queue.0]).well().text(), "1\n2\n");
        assert_eq!(run(&["recv", "--timeout", "0", &queue.0]).well().text(), "3\n");
    }
}

/// Background jobs of a shell ignore SIGINT; so do we then.
#[test]
fn ignored_signals_stay_ignored() {
    let place = Place::new();
    let (begun, go) = (place.path("begun"), place.path("go"));
    let command =
        format!("exec:: > {}; until [ -e {} ]; do sleep 0.01; done; echo done", begun.display(), go.display());
    let ignoring = Job::start(shell(&format!("trap '' INT; exec tieline recv '{command}'")));
    eventually("the command runs", || begun.exists());
    ignoring.signal("INT");
    fs::write(go, "").unwrap();
    let said = ignoring.end();
    assert_eq!((said.code, said.text()), (0, "done\n"), "{}", said.err);
}

#[test]
fn a_closed_output_ends_quietly() {
    if !has_command("bash") {
        skip!("bash is not installed");
    }
    let place = Place::new();
    let file = place.write("lines", "line\n".repeat(1 << 20).as_bytes());
    let lines = [
        "tieline recv exec:yes | head -1; echo ${PIPESTATUS[0]}".to_owned(),
        format!("tieline recv file:{} | head -1; echo ${{PIPESTATUS[0]}}", file.display()),
        "tieline connect --one-way exec:yes - | head -1; echo ${PIPESTATUS[0]}".to_owned(),
    ];
    for line in lines {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &line]).env("PATH", path_with_tieline());
        let said = Job::start(bash).end().well();
        assert_eq!(said.text().lines().last(), Some("141"), "{line}");
    }
    for verb in [&["signal", "--list"][..], &["completions", "bash"], &["man"], &["bench", "os", "--list"]] {
        let mut command = tieline(verb);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((code_of(output.status), output.stderr.len()), (141, 0), "{verb:?}");
    }
}

/// Messages that were taken from a queue and cannot be written are counted aloud.
#[test]
fn lost_messages_are_not_passed_over_in_silence() {
    let queue = Object::mq(&[]);
    run_with(&["send", &queue.0], b"1\n2\n3\n").well();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut recv = tieline(["recv", "--timeout", "0", &queue.0]);
    let output = recv.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(code_of(output.status), 141);
    let err = String::from_utf8(output.stderr).unwrap();
    let left = run(&["recv", "--timeout", "0", &queue.0]).text().lines().count();
    assert_eq!(left == 3, err.is_empty(), "{left} are left, and it said {err:?}");
    if left < 3 {
        assert!(err.contains(&format!("{} messages", 3 - left)), "{left} are left, and it said {err:?}");
    }
}

/// A full queue: what does not fit within the time is told, what was in it stays.
#[test]
fn a_full_queue() {
    for object in
        [Object::mq(&["--messages", "2", "--message-size", "8"]), Object::make(&["sysv-mq", &key(), "--size", "2"])]
    {
        run_with(&["send", &object.0], b"1\n2\n").well();
        run_with(&["send", "--timeout", "0", &object.0], b"3\n").failed(6, &["takes nothing more", "1 message"]);
        run_out_of_time("send", &[&object.0], b"3\n").failed(7, &["takes nothing more", "1 message"]);
        assert_eq!(run(&["recv", "--timeout", "0", &object.0]).well().text(), "1\n2\n");
        // Room comes in time.
        run_with(&["send", &object.0], b"1\n2\n").well();
        let mut sender = Job::start(tieline(["send", "--timeout", "20s", &object.0]));
        sender.write(b"3\n");
        sender.close_stdin();
        assert_eq!(run(&["recv", "--count", "3", "--timeout", "20s", &object.0]).well().text(), "1\n2\n3\n");
        sender.end().well();
    }
}

#[test]
fn deadlines_and_idleness() {
    let queue = Object::mq(&[]);
    run(&["recv", "--timeout", "0", &queue.0]).failed(6, &["nothing came"]);
    run(&["recv", "--timeout", "50ms", &queue.0]).failed(7, &["nothing came"]);
    run(&["recv", "--idle", "50ms", &queue.0]).failed(7, &["nothing came"]);
    run_with(&["send", &queue.0], b"1\n").well();
    assert_eq!(run(&["recv", "--idle", "50ms", &queue.0]).well().text(), "1\n");
    let place = Place::new();
    run(&["recv", "--timeout", "50ms", &place.at("unix", "s")]).failed(7, &["nobody was at unix:"]);
    run(&["mk", "fifo", &place.text("fifo")]).well();
    run(&["recv", "--timeout", "0", &place.at("fifo", "fifo")]).failed(6, &["nobody was at fifo:"]);
    run_with(&["send", "--timeout", "50ms", &place.at("fifo", "fifo")], b"x").failed(7, &["nobody was at fifo:"]);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 1);
}

#[test]
fn a_command_that_fails_fails_the_transfer() {
    run(&["recv", "exec:echo hi; exit 3"]).failed(1, &["exit code 3"]);
    run_with(&["send", "exec:cat >/dev/null; kill -9 $$"], b"x").failed(1, &["SIGKILL"]);
    // One that we cut short is not to blame.
    assert_eq!(run(&["recv", "--count", "1", "exec:yes"]).well().text(), "y\n");
    run(&["recv", "exec:no-such-command-of-tieline 2>/dev/null"]).failed(1, &["exit code 127"]);
}

/// A child gets its three descriptors and nothing of ours; the first is a listener's, so that one could leak.
#[test]
fn no_descriptor_leaks_into_a_command() {
    let at = format!("unix:@{}", unique("tieline-cli"));
    let mut bridge =
        Job::start(tieline(["connect", "-v", &format!("{at}?listen=yes"), "exec:cat >/dev/null; ls /proc/self/fd"]));
    bridge.waits_at();
    let said = run_with(&["connect", "-", &at], b"x").well();
    // What the test runner was born with, every child of it has.
    let usual = Job::start(shell("cat >/dev/null; ls /proc/self/fd")).end().well();
    assert_eq!(said.text(), usual.text());
    assert_eq!(bridge.end().code, 0);
}

/// Every descriptor of a transfer that has begun is one of those it needs.
#[test]
fn few_descriptors_are_open_meanwhile() {
    let mut idle = Job::start(tieline(["connect", "exec:sleep 60", "-"]));
    let proc = format!("/proc/{}", idle.id());
    let children = format!("{proc}/task/{}/children", idle.id());
    eventually("its command runs", || fs::read_to_string(&children).is_ok_and(|list| !list.trim().is_empty()));
    let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
    // What the test runner was born with, every child of it has.
    let usual: usize = Job::start(shell("ls /proc/self/fd | wc -l")).end().well().text().trim().parse().unwrap();
    let open = count(&format!("{proc}/fd")) - usual;
    assert!(open < 20, "{open} descriptors are open");
    idle.signal("TERM");
    let status = idle.wait();
    assert_eq!(code_of(status), 143);
    idle.close_stdin();
    // Its child has gone with it.
    let said = idle.end();
    assert!(said.err.contains("SIGTERM"), "{}", said.err);
}

/// A stream that was cut in the middle of a frame is an error that says where.
#[test]
fn a_torn_frame_is_told() {
    let place = Place::new();
    let file = place.path("torn");
    fs::File::create(&file).unwrap().write_all(b"\0\0\0\x03one\0\0\0\x09tw").unwrap();
    let said = run(&["recv", &format!("file:{}?frame=u32", file.display())]);
    assert_eq!((said.code, said.text()), (1, "one\n"), "{}", said.err);
    assert!(said.err.contains("message 2") && said.err.contains("after 2 of its 9 bytes"), "{}", said.err);
}

/// Given a number of a descriptor that was not inherited, when it is given as an address, then it is refused, even if
/// the command itself has a descriptor of that number by then.
#[test]
fn only_inherited_descriptors_are_used() {
    // Whatever this test, or who started it, has left open is closed first; a shell knows numbers of one digit.
    let closed: String = (3..10).map(|number| format!(" {number}>&-")).collect();
    for number in 3..10 {
        for verb in ["send", "recv"] {
            let line = format!("exec{closed}; echo lost | tieline {verb} --timeout 20s fd:{number}");
            Job::start(shell(&line)).end().failed(2, &["not inherited", &number.to_string()]);
        }
    }
    Job::start(shell("tieline connect exec:true fd:4294967295")).end().failed(2, &["4294967295"]);
    let said = Job::start(shell("echo kept | { tieline recv fd:5 5<&0; }")).end().well();
    assert_eq!(said.text(), "kept\n");
}

/// Given a sandbox that lets nobody duplicate descriptors of processes, as containers usually are, then one's own are used
/// all the same.
#[test]
fn an_inherited_descriptor_is_used_in_a_sandbox() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    if !pretend_missing(&[Missing::Pidfd]) {
        skip!("this machine lets us pretend nothing");
    }
    let said = Job::start(shell("echo kept | { tieline recv fd:5 5<&0; }")).end().well();
    assert_eq!(said.text(), "kept\n");
}

/// Given a standard stream that was closed, when it would be used, then it is an error and nothing has been taken.
#[test]
fn a_closed_standard_stream_is_an_error() {
    let place = Place::new();
    let mark = place.text("started");
    let line = format!("tieline recv exec:'touch {mark}; seq 3' >&-");
    Job::start(shell(&line)).end().failed(2, &["standard output", "closed"]);
    assert!(!place.path("started").exists(), "nothing was started for nothing");
    Job::start(shell("tieline send exec:cat <&-")).end().failed(2, &["standard input", "closed"]);
    // An answer that nobody gets is no success, and nothing is made of which nobody would learn.
    for verb in ["signal --list", "man", "completions zsh", "bench os --list", &format!("mk fifo {mark}")] {
        Job::start(shell(&format!("tieline {verb} >&-"))).end().failed(2, &["standard output", "closed"]);
    }
    assert!(!place.path("started").exists(), "it was made");
    Job::start(shell(&format!("tieline mk fifo {mark} && tieline rm fifo:{mark} >&-"))).end().well();
    // A null device that somebody gave is not a closed descriptor, whichever way it was opened.
    for null in [">/dev/null", "1<>/dev/null"] {
        Job::start(shell(&format!("tieline recv exec:'seq 3' {null}"))).end().well();
    }
    let said = Job::start(shell("tieline recv exec:'seq 3' > /dev/null && tieline send exec:cat < /dev/null")).end();
    said.well();
}

/// Given a signal to the whole process group, as the keyboard sends it, when the end of the command is seen before our
/// own signal, then the end is told as if it had been the other way round.
#[test]
fn a_signal_to_the_group_has_one_outcome() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // What has been waited for is not there any more, not even as a zombie: its end was seen.
        let seen = "while kill -0 $$; do :; done";
        let line = format!("exec:echo hello; ({seen}; kill -{signal} $PPID) >/dev/null 2>&1 & kill -{signal} $$");
        let said = run(&["recv", &line]);
        assert_eq!(said.text(), "hello\n");
        said.failed(code, &[&format!("ended by SIG{signal}: 6 bytes went to standard output")]);
    }
    // Only the command got it.
    run(&["recv", "exec:kill -INT $$"]).failed(1, &["was ended by SIGINT"]);
}

/// A TCP peer that dies with unread data has not got what was sent, though all of it had left us.
#[test]
fn a_tcp_peer_that_dies_with_data_unread_is_told() {
    use std::net::TcpListener;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp:{}", listener.local_addr().unwrap());
    for flags in [&["send"][..], &["send", "--lines", "--count", "1"], &["send", "--timeout", "20s"]] {
        let mut sender = Job::start(tieline(flags.iter().chain(&[at.as_str()])));
        let (stream, _) = listener.accept().unwrap();
        sender.write(b"never read\n");
        sender.close_stdin();
        let mut seen = [0];
        eventually("it is here", || stream.peek(&mut seen).is_ok_and(|count| count > 0));
        drop(stream);
        sender.end().failed(8, &["nobody reads from tcp:"]);
    }
    // Who reads and ends is heard at once, and who stays is not waited for long.
    let mut sender = Job::start(tieline(["send", &at]));
    let (mut stream, _) = listener.accept().unwrap();
    sender.write(b"read\n");
    sender.close_stdin();
    stream.write_all(b"an answer nobody wants").unwrap();
    assert_eq!(std::io::read_to_string(&stream).unwrap(), "read\n");
    sender.end().well();
}
