//! `exec:`: what a command inherits, how its end is told, and that it never outlives us.

use std::fs;
use std::path::Path;

use tieline_testkit::{Pty, eventually, skip, until};

use crate::support::{Job, Place, code_of, run, run_with, shell, tieline};

/// The verbs that run a command, each with what else must stand on its line.
fn verbs(command: &str) -> [Vec<&str>; 3] {
    [vec!["send", command], vec!["recv", command], vec!["connect", "-", command]]
}

/// Given a command that fails, by a code or a signal, then every verb fails with 1 and names it, and in JSON stands what
/// became of it.
#[test]
fn the_end_of_a_command_is_told() {
    for (ending, words, code, signal) in
        [("exit 3", "ended with exit code 3", Some(3), None), ("kill -9 $$", "was ended by SIGKILL", None, Some(9))]
    {
        let command = format!("exec:cat; {ending}");
        for verb in verbs(&command) {
            run_with(&verb, b"hello\n").failed(1, &[&command, words]);
            let said = run_with(&[&verb[..], &["--json"]].concat(), b"hello\n");
            let report: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
            let exit = &report["exits"][0];
            assert_eq!((said.code, exit["code"].as_i64(), exit["signal"].as_i64()), (1, code, signal), "{verb:?}");
        }
    }
    let said = run(&["connect", "--json", "exec:exit 4", "exec:cat >/dev/null; exit 5"]);
    let report: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    let codes: Vec<_> = report["exits"].as_array().unwrap().iter().map(|exit| exit["code"].as_i64()).collect();
    assert_eq!((said.code, codes), (1, vec![Some(4), Some(5)]));
}

/// A process, told apart from another that got its number later.
#[derive(Debug, PartialEq)]
struct Process {
    pid: u32,
    begun: String,
}

impl Process {
    /// Field 22 of `proc_pid_stat(5)`: when it was started.
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let begun = stat.rsplit(") ").next()?.split(' ').nth(19)?.to_owned();
        Some(Self { pid, begun })
    }

    /// Not even as a zombie.
    fn is_gone(&self) -> bool {
        Self::of(self.pid).as_ref() != Some(self)
    }
}

/// What the command and what it has started have written about themselves.
fn started(pids: &Path) -> Vec<Process> {
    until("both have written their numbers", || all_started(pids))
}

fn all_started(pids: &Path) -> Option<Vec<Process>> {
    let text = fs::read_to_string(pids).unwrap_or_default();
    let started: Vec<Process> = text.lines().filter_map(|line| Process::of(line.parse().ok()?)).collect();
    (started.len() == 2 && text.ends_with('\n')).then_some(started)
}

/// A shell that starts another process and waits; the end of its input and output tells it nothing.
fn sleepers(pids: &Path) -> String {
    format!("exec:echo $$ >> {0}; sh -c 'echo $$ >> {0}; exec sleep 600' & wait", pids.display())
}

/// Given a signal to us alone, then the command ends with us, and so does what it had started: when we have ended they
/// are gone, and the command is reaped.
#[test]
fn a_command_ends_with_us() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        for verb in 0..3 {
            let place = Place::new();
            let pids = place.path("pids");
            let command = sleepers(&pids);
            let mut job = Job::start(tieline(&verbs(&command)[verb]));
            let started = started(&pids);
            job.signal(signal);
            assert_eq!(code_of(job.wait()), code, "verb {verb}");
            assert!(started[0].is_gone(), "{:?} outlived us or was not reaped", started[0]);
            // Its parent was not we: who adopted it reaps it.
            eventually("what it had started is gone", || is_over(&started[1]));
            job.end().failed(code, &[&format!("ended by SIG{signal}")]);
        }
    }
}

/// Gone, or a zombie whose parent has not looked yet.
fn is_over(process: &Process) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    process.is_gone() || stat.contains(") Z ")
}

/// The same when the deadline passes.
#[test]
fn a_command_ends_at_the_deadline() {
    // The time runs while they start, too: on some machines more of it is needed.
    for timeout in ["1s", "4s", "15s"] {
        let place = Place::new();
        let pids = place.path("pids");
        let mut job = Job::start(tieline(["recv", "--timeout", timeout, &sleepers(&pids)]));
        let started = until("both have started, or not in time", || {
            let is_over = job.is_over();
            all_started(&pids).map(Some).or(is_over.then_some(None))
        });
        // Its output ends only when nobody holds it any more, so the processes are looked at first.
        assert_eq!(code_of(job.wait()), 7);
        if let Some(started) = started {
            assert!(started[0].is_gone(), "{:?}", started[0]);
            eventually("what it had started is gone", || is_over(&started[1]));
            job.end().failed(7, &["the time is up"]);
            return;
        }
    }
    panic!("two shells did not start in 15 s");
}

/// Ctrl-C goes to the whole group: the command is over, reaped, and told as our own end.
#[test]
fn control_c_leaves_no_command() {
    if !tieline_testkit::has_command("setsid") || !Path::new("/dev/ptmx").exists() {
        skip!("no pseudo-terminals");
    }
    for verb in 0..3 {
        let place = Place::new();
        let pids = place.path("pids");
        let command = sleepers(&pids);
        let mut terminal = Pty::spawn(tieline(&verbs(&command)[verb]));
        let started = started(&pids);
        terminal.send("\x03");
        terminal.expect("ended by SIGINT");
        assert_eq!(code_of(terminal.exit_status()), 130);
        assert!(started[0].is_gone(), "{:?} outlived us or was not reaped", started[0]);
        eventually("what it had started is gone", || is_over(&started[1]));
    }
}

/// A command inherits what any child of a shell does: three descriptors, and no blocked or ignored signals of ours. The
/// other side is a file or a second command, whose descriptors could leak.
#[test]
fn a_command_inherits_nothing_of_ours() {
    let place = Place::new();
    // The last seven digits of each set are the signals 1 to 28; 32 and 33 the C library keeps for itself.
    let look = "ls /proc/self/fd; sed -nE 's/^(SigBlk|SigIgn).*(.{7})$/\\1 \\2/p' /proc/self/status";
    let usual = Job::start(shell(look)).end().well();
    assert_eq!(usual.text().lines().filter(|line| line.starts_with("Sig")).count(), 2);
    let out = place.text("out");
    let (sending, receiving) = (format!("exec:cat >/dev/null; {{ {look}; }} > {out}"), format!("exec:{look}"));
    let input = format!("file:{}", place.write("input", b"x").display());
    run_with(&["send", &sending], b"x").well();
    assert_eq!(fs::read_to_string(&out).unwrap(), usual.text(), "send");
    assert_eq!(run(&["recv", &receiving]).well().text(), usual.text(), "recv");
    run(&["connect", &input, &sending]).well();
    assert_eq!(fs::read_to_string(&out).unwrap(), usual.text(), "connect, to the command");
    run(&["connect", &receiving, &format!("file:{}?create=yes", place.text("other"))]).well();
    assert_eq!(fs::read_to_string(place.path("other")).unwrap(), usual.text(), "connect, from the command");
    // The second of two commands does not hold the pipes of the first.
    run(&["connect", "--one-way", "exec:cat", &sending]).well();
    assert_eq!(fs::read_to_string(&out).unwrap(), usual.text(), "connect, of two commands");
}

/// Both ways means that each reads the other: who did not expect that is told.
#[test]
fn two_commands_are_joined_both_ways_or_one_way() {
    // The input ends when the first has ended, so nobody reads what comes then.
    let said = run(&["connect", "exec:exec <&-; echo one", "exec:cat >/dev/null; yes"]);
    said.failed(1, &["exec:cat", "--one-way"]);
    assert_eq!(run(&["connect", "--one-way", "exec:seq 3", "exec:tac"]).well().text(), "3\n2\n1\n");
}
