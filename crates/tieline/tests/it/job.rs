//! Job control, end to end: the example shell in a pseudo-terminal, and the terminal calls from a process in one.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tieline::os::ErrorKind;
use tieline::os::job::{self, Size, Terminal};
use tieline::os::process::{self, Changes, Children, Pid, WaitStatus};
use tieline::os::signal::{self, Signal};
use tieline_testkit::{Isolation, Namespace, Pty, eventually, role, sleeps, test_name, until, usual_signals};

#[path = "../../examples/jobs/parse.rs"]
mod parse;

const PROMPT: &str = "jobs> ";

/// The example shell, which `cargo test` builds beside the tests.
fn shell() -> PathBuf {
    crate::example("jobs")
}

/// The example shell at a terminal, after its first prompt.
fn terminal() -> Pty {
    let mut terminal = Pty::spawn(Command::new(shell()));
    terminal.expect(PROMPT);
    terminal
}

/// Runs lines without a terminal.
fn without_terminal(lines: &str, input: Stdio) -> Output {
    let mut setsid = Command::new("setsid");
    // What was ignored when a script begins stays so, and here an interrupt is to end one.
    usual_signals(&mut setsid).arg("--wait").arg(shell()).args(["-c", lines]).stdin(input);
    // A directory of the path that may not be searched would turn "not found" into "not permitted".
    setsid.env("PATH", "/usr/bin:/bin").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_pipeline_shows_its_output_and_the_shell_keeps_the_terminal() {
    let mut terminal = terminal();
    terminal.send("echo one two | tr a-z A-Z | tr ' ' _\n");
    terminal.expect("ONE_TWO");
    terminal.expect(PROMPT);
    assert_eq!(terminal.foreground(), terminal.id());
    terminal.send("exit 7\n");
    assert_eq!(terminal.exit_status().code(), Some(7));
}

#[test]
fn a_command_may_read_from_the_terminal_at_once() {
    let mut terminal = terminal();
    for word in ["first", "second", "third"] {
        terminal.send("head -n 1 | tr a-z A-Z\n");
        eventually("the pipeline has the terminal", || terminal.foreground() != terminal.id());
        terminal.send(&format!("{word}\n"));
        terminal.expect(&word.to_uppercase());
        terminal.expect(PROMPT);
    }
}

#[test]
fn the_interrupt_key_kills_the_foreground_pipeline_only() {
    let mut terminal = terminal();
    terminal.send("sleep 300 &\n");
    terminal.expect("[1] ");
    terminal.expect(PROMPT);
    terminal.send("sleep 301 | cat\n");
    eventually("the pipeline has the terminal", || terminal.foreground() != terminal.id());
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.send("jobs\n");
    let jobs = terminal.expect(PROMPT);
    assert!(jobs.contains("[1]  Running") && jobs.contains("sleep 300"), "{jobs}");
    assert!(!jobs.contains("301"), "{jobs}");

    // At the prompt it throws away the line, and the shell lives.
    terminal.send("exit 9\x03");
    terminal.expect(PROMPT);
    terminal.send("kill %1\n");
    terminal.expect(PROMPT);
    terminal.send("wait\n");
    terminal.expect(PROMPT);
    terminal.send("exit 4\n");
    assert_eq!(terminal.exit_status().code(), Some(4));
}

#[test]
fn the_stop_key_stops_bg_continues_and_fg_brings_back() {
    let mut terminal = terminal();
    terminal.send("sleep 302 | cat\n");
    eventually("the pipeline has the terminal", || terminal.foreground() != terminal.id());
    let group = Pid::new(terminal.foreground().cast_signed()).unwrap();
    terminal.send("\x1a");
    terminal.expect("[1]  Stopped");
    terminal.expect(PROMPT);
    assert_eq!(terminal.foreground(), terminal.id());
    assert_eq!(states(group), ['T', 'T']);

    terminal.send("bg\n");
    terminal.expect("[1]  sleep 302 | cat &");
    terminal.expect(PROMPT);
    eventually("both go on, and sleep", || states(group) == ['S', 'S']);
    assert_eq!(terminal.foreground(), terminal.id());

    terminal.send("fg %1\n");
    terminal.expect("sleep 302 | cat");
    // The shell hands the terminal over, then continues the job, then waits: a stop before the second is undone by it.
    eventually("the job has the terminal, and the shell waits", || {
        terminal.foreground() == group.as_raw().cast_unsigned() && sleeps(terminal.id())
    });
    terminal.send("\x1a");
    terminal.expect("[1]  Stopped");
    terminal.expect(PROMPT);

    // A stopped job is not left behind without a word.
    terminal.send("exit\n");
    terminal.expect("there are stopped jobs");
    terminal.expect(PROMPT);
    terminal.send("fg\n");
    eventually("the job has the terminal", || terminal.foreground() == group.as_raw().cast_unsigned());
    terminal.send("\x03");
    terminal.expect(PROMPT);
    assert_eq!(states(group), []);
    terminal.send("exit\n");
    assert_eq!(terminal.exit_status().code(), Some(130));
}

/// The states of the processes of a group, as in `/proc/PID/stat`.
fn states(group: Pid) -> Vec<char> {
    let mut states = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        // State, parent, group.
        if fields.get(2).is_some_and(|field| *field == group.to_string()) {
            states.extend(fields[0].chars());
        }
    }
    states
}

/// What the shell says before the first prompt that brings `text`; it says nothing in between prompts.
fn news_of(terminal: &mut Pty, text: &str) -> String {
    until("the shell has news", || {
        let news = terminal.expect(PROMPT);
        if news.contains(text) {
            return Some(news);
        }
        terminal.send("\n");
        None
    })
}

#[test]
fn the_end_of_a_background_job_is_told_before_the_next_prompt() {
    let mut terminal = terminal();
    terminal.send("cat fifo-that-is-not-there &\n");
    terminal.expect("[1] ");
    let news = news_of(&mut terminal, "Exit 1");
    assert!(news.contains("[1]  Exit 1 ") && news.contains("cat fifo-that-is-not-there"), "{news}");
    terminal.send("sleep 0.01 &\n");
    news_of(&mut terminal, "[1]  Done ");
    terminal.send("jobs\n");
    assert!(!terminal.expect(PROMPT).contains('['));
}

#[test]
fn a_background_job_that_reads_from_the_terminal_is_stopped() {
    let mut terminal = terminal();
    terminal.send("cat &\n");
    news_of(&mut terminal, "Stopped");
    terminal.send("fg\n");
    eventually("the job has the terminal", || terminal.foreground() != terminal.id());
    terminal.send("typed\n");
    terminal.expect("typed\r\ntyped\r\n");
    terminal.send("\x04");
    terminal.expect(PROMPT);
    // The end of the input ends the shell as well, with the last status.
    terminal.send("\x04");
    assert_eq!(terminal.exit_status().code(), Some(0));
}

#[test]
fn a_job_that_is_killed_or_stopped_leaves_the_terminal_as_it_was() {
    use rustix::termios::LocalModes;
    let echoes = |terminal: &Pty| terminal.modes().local_modes.contains(LocalModes::ECHO);
    let mut terminal = terminal();
    assert!(echoes(&terminal));
    // What comes after stty is built into sh: a sh that is stopped while it starts a program may not be seen to stop.
    terminal.send("sh -c 'stty -echo; echo $((300 + 3)); read line'\n");
    terminal.expect("303");
    assert!(!echoes(&terminal));
    terminal.send("\x1a");
    terminal.expect(PROMPT);
    assert!(echoes(&terminal), "after the stop");
    terminal.send("fg\n");
    // First the modes, then the terminal: before that an interrupt is for the shell.
    eventually("the job has its modes back, and the terminal", || {
        !echoes(&terminal) && terminal.foreground() != terminal.id()
    });
    terminal.send("\x03");
    terminal.expect(PROMPT);
    assert!(echoes(&terminal), "after the kill");
    // What a command sets and leaves by itself stays.
    terminal.send("stty -echo\n");
    terminal.expect(PROMPT);
    assert!(!echoes(&terminal), "after stty");
}

/// Given a shell that is started with signals ignored, as by a script in the background, when it is used at a terminal,
/// then the keys interrupt and stop its jobs all the same, and it sees how they end.
#[test]
fn a_shell_that_was_started_with_signals_ignored_works_at_a_terminal() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT QUIT TSTP TTIN TTOU CHLD; exec \"$0\""]).arg(shell());
    let mut terminal = Pty::spawn(command);
    terminal.expect(PROMPT);
    terminal.send("cat &\n");
    news_of(&mut terminal, "Stopped");
    terminal.send("fg\n");
    eventually("the job has the terminal, and the shell waits", || {
        terminal.foreground() != terminal.id() && sleeps(terminal.id())
    });
    terminal.send("\x1a");
    terminal.expect("[1]  Stopped");
    terminal.expect(PROMPT);
    terminal.send("fg\n");
    eventually("the job has the terminal", || terminal.foreground() != terminal.id());
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.send("exit\n");
    assert_eq!(terminal.exit_status().code(), Some(130));
}

#[test]
fn without_a_terminal_jobs_work_too() {
    let output =
        without_terminal("sleep 304 & kill -STOP %1; wait; jobs; bg; jobs; kill -KILL %1; wait", Stdio::null());
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["[1] Stopped sleep 304", "[1] sleep 304 &", "[1] Running sleep 304"]);
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn redirections_quotes_and_statuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let lines = format!(
        "cd '{path}'; echo 'a  b' > out; echo \"c\" >> out; cat < out | cat; jobs > list; no-such-command; cat < missing"
    );
    let output = without_terminal(&lines, Stdio::null());
    assert_eq!(stdout(&output), "a  b\nc\n");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("no-such-command: command not found") && errors.contains("missing"), "{errors}");
    assert_eq!(std::fs::read(directory.path().join("list")).unwrap(), b"");
    assert_eq!(without_terminal("no-such-command", Stdio::null()).status.code(), Some(127));
    assert_eq!(without_terminal("false; true", Stdio::null()).status.code(), Some(0));
    assert_eq!(without_terminal("true | false", Stdio::null()).status.code(), Some(1));
    assert_eq!(without_terminal("echo |", Stdio::null()).status.code(), Some(2));
    // The first command does not start, and the pipeline still ends.
    assert_eq!(stdout(&without_terminal("no-such-command | wc -c", Stdio::null())).trim(), "0");
    // A writer without a reader dies of SIGPIPE, which Rust programs ignore and their children must not.
    assert_eq!(stdout(&without_terminal("yes | head -n 1", Stdio::null())), "y\n");
    // An interrupted command ends a script.
    let interrupted = without_terminal("sh -c 'kill -INT 0'; echo still here", Stdio::null());
    assert_eq!((interrupted.status.code(), stdout(&interrupted).as_str()), (Some(130), ""));
}

#[test]
fn a_script_shares_its_input_with_its_commands() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"echo one\nhead -n 1\nfor head\necho two # the end").unwrap();
    drop(writer);
    // A pipe is read ahead by head; a line at a time it is not.
    let shell = Command::new("setsid").arg("--wait").arg(shell()).stdin(reader).output().unwrap();
    assert_eq!(stdout(&shell).lines().next(), Some("one"));
    assert!(stdout(&shell).contains("for head"), "{}", stdout(&shell));
}

/// The calls of `job`, by a process of its own that leads a session in a terminal.
#[test]
fn a_terminal_hands_over_its_foreground_keeps_its_modes_and_has_a_size() {
    use std::os::unix::process::CommandExt;
    let Some(role) = role() else {
        assert_eq!(Terminal::of(std::io::pipe().unwrap().0).unwrap_err().kind(), ErrorKind::InvalidInput);
        let mut elsewhere = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args([&test_name!(), "--exact", "--nocapture"]).env("TIELINE_TEST_ROLE", "leader");
        again.env("ELSEWHERE", elsewhere.id().to_string());
        let mut terminal = Pty::spawn_sized(again, 30, 90);
        let status = terminal.exit_status();
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();
        assert!(status.success() && terminal.output().contains("1 passed"), "{}", terminal.output());
        return;
    };
    let terminal = Terminal::open().unwrap();
    let me = process::current();
    assert_eq!(Terminal::of(std::io::stdin()).unwrap().foreground().unwrap(), me);
    assert_eq!((terminal.session().unwrap(), terminal.is_foreground().unwrap()), (me, true));
    assert_eq!(process::session_of(me).unwrap(), me);
    assert_eq!(process::new_session().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(terminal.size().unwrap(), Size { rows: 30, columns: 90 });
    terminal.set_size(Size { rows: 1, columns: 2 }).unwrap();
    assert_eq!(terminal.size().unwrap(), Size { rows: 1, columns: 2 });

    let child = Pid::of(&Command::new("cat").process_group(0).spawn().unwrap());
    assert_eq!(process::group_of(child).unwrap(), child);
    assert_eq!(process::set_group(child, me).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let next = |changes| process::wait(Children::One(child), changes).unwrap().status;
    // In the background its read stops it.
    assert_eq!(next(Changes::STOPPED), WaitStatus::Stopped(Signal::TTIN));
    terminal.set_foreground(child).unwrap();
    assert!(!terminal.is_foreground().unwrap());
    job::resume(child).unwrap();
    assert_eq!(next(Changes::CONTINUED), WaitStatus::Continued);
    {
        // We are in the background now, where changes of the terminal would stop us.
        let _kept = terminal.keep_modes().unwrap();
        let raw = terminal.modes().unwrap().raw();
        terminal.set_modes(&raw).unwrap();
        let now = terminal.modes().unwrap();
        assert!(!now.echoes() && !now.is_by_line());
    }
    assert!(terminal.modes().unwrap().echoes() && terminal.modes().unwrap().is_by_line());
    terminal.set_modes(&terminal.modes().unwrap().with_echo(false)).unwrap();
    assert!(!terminal.modes().unwrap().echoes());
    job::suspend(child).unwrap();
    assert_eq!(next(Changes::STOPPED), WaitStatus::Stopped(Signal::TSTP));
    job::resume(child).unwrap();
    job::stop(child).unwrap();
    assert_eq!(next(Changes::STOPPED), WaitStatus::Stopped(Signal::STOP));
    signal::send_to_group(child, Signal::KILL).unwrap();
    assert_eq!(next(Changes::EXITED), WaitStatus::Killed { signal: Signal::KILL, core_dumped: false });
    terminal.set_foreground(me).unwrap();
    let nobody = terminal.set_foreground(child).unwrap_err();
    assert!(matches!(nobody.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied), "{nobody}");
    // The parent's own group may lie outside this pid namespace, but its next child's does not.
    let elsewhere = Pid::new(role.env("ELSEWHERE").parse().unwrap()).unwrap();
    assert_eq!(terminal.set_foreground(elsewhere).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Given a process whose group, session and terminal come from outside its pid namespace, as with the first process of
/// a container, when it asks for them, then it is told that they have no number here.
#[test]
fn a_group_and_a_session_from_outside_the_namespace_have_no_number() {
    if Namespace::enter(&[Namespace::Pid], &test_name!()) == Isolation::Done {
        return;
    }
    let me = process::current();
    assert_eq!(process::group(), None);
    for error in [process::group_of(me).unwrap_err(), process::session_of(me).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("outside this pid namespace"), "{error}");
    }
    process::set_group(me, me).unwrap();
    assert_eq!((process::group(), process::group_of(me).unwrap()), (Some(me), me));
}
