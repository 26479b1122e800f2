//! On a terminal: the progress bar, Ctrl-C, no colours where none are wanted.

use std::path::PathBuf;
use std::process::Command;

use tieline_testkit::{Pty, skip};

use crate::support::{Place, code_of, shell, tieline};

fn can() -> bool {
    tieline_testkit::has_command("setsid") && std::path::Path::new("/dev/ptmx").exists()
}

fn is_coloured(text: &str) -> bool {
    text.contains("\x1b[3") || text.contains("\x1b[1m") || text.contains("\x1b[4m")
}

/// What a command waits for until the test has seen enough.
struct Gate(PathBuf);

impl Gate {
    fn new(place: &Place) -> Self {
        Self(place.path("gate"))
    }

    /// In the words of a shell.
    fn wait(&self) -> String {
        format!("until [ -e {} ]; do sleep 0.01; done", self.0.display())
    }

    fn open(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

/// A transfer of more than a second shows how far it is, on standard error, and takes the bar away in the end.
#[test]
fn a_bar_shows_and_goes() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    for no_color in [false, true] {
        let place = Place::new();
        let (file, gate) = (place.text("file"), Gate::new(&place));
        let reader = format!("head -c 1048576 >/dev/null; {}; cat >/dev/null", gate.wait());
        let line = format!("head -c 3145728 /dev/zero > {file}; exec tieline send 'exec:{reader}' < {file}");
        let mut command = shell(&line);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let mut terminal = Pty::spawn(command);
        let shown = terminal.expect("of 3.00 MiB");
        assert!(shown.contains('%') && shown.contains('['), "{shown:?}");
        gate.open();
        assert_eq!(code_of(terminal.exit_status()), 0);
        assert!(!is_coloured(&terminal.output()), "{:?}", terminal.output());
    }
}

/// Where there are few columns every line fits them, and the end leaves nothing.
#[test]
fn a_narrow_terminal_is_not_littered() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    for flags in ["--bytes 4M", "--count 1000000 --lines", ""] {
        let place = Place::new();
        let gate = Gate::new(&place);
        let source = format!("head -c 2097152 /dev/zero | tr \\\\0 \\\\n; {}; sleep 1", gate.wait());
        let line = format!("exec tieline recv --progress=always {flags} 'exec:{source}' > /dev/null");
        let mut terminal = Pty::spawn_sized(shell(&line), 10, 25);
        terminal.expect(if flags.is_empty() { "MiB" } else { "%" });
        gate.open();
        assert_eq!(code_of(terminal.exit_status()), 0, "{}", terminal.output());
        let output = terminal.output();
        assert!(!output.contains('\n'), "{flags}: it went to a new line: {output:?}");
        // Each drawing begins where the line begins.
        for drawn in output.split(['\r', '\x1b']) {
            assert!(drawn.trim_start_matches("[2K").chars().count() <= 25, "{flags}: {drawn:?} is too wide");
        }
        assert!(output.ends_with("\x1b[2K") || output.ends_with("\x1b[0J"), "{flags}: the end leaves {output:?}");
        assert!(flags.is_empty() || output.contains('%'), "{flags}: {output:?}");
    }
}

/// Without a known length it shows what has gone; a dumb terminal and --progress never show nothing.
#[test]
fn a_bar_without_an_end_and_no_bar() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    let place = Place::new();
    let gate = Gate::new(&place);
    let source = format!("head -c 2097152 /dev/zero; {}", gate.wait());
    let mut terminal = Pty::spawn(shell(&format!("exec tieline recv --progress=always 'exec:{source}' > /dev/null")));
    terminal.expect("2.00 MiB");
    gate.open();
    assert_eq!(code_of(terminal.exit_status()), 0);

    let mut quiet = shell("exec tieline recv 'exec:head -c 2097152 /dev/zero; sleep 1.5' > /dev/null");
    quiet.env("TERM", "dumb");
    let mut terminal = Pty::spawn(quiet);
    assert_eq!(code_of(terminal.exit_status()), 0);
    assert_eq!(terminal.output(), "");
    let mut never = Pty::spawn(shell("exec tieline recv --progress=never 'exec:sleep 1.5' > /dev/null"));
    assert_eq!(code_of(never.exit_status()), 0);
    assert_eq!(never.output(), "");
}

/// Data on the terminal is not disturbed by a bar.
#[test]
fn data_on_the_terminal_is_alone_there() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    let mut terminal = Pty::spawn(tieline(["recv", "exec:echo one; sleep 1.5; echo two"]));
    assert_eq!(code_of(terminal.exit_status()), 0);
    assert_eq!(terminal.output(), "one\r\ntwo\r\n");
}

#[test]
fn control_c_ends_in_order() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    let mut terminal = Pty::spawn(tieline(["recv", "exec:echo hello; sleep 60"]));
    terminal.expect("hello\r\n");
    terminal.send("\x03");
    terminal.expect("ended by SIGINT: 6 bytes went to standard output");
    assert_eq!(code_of(terminal.exit_status()), 130);
}

/// What is typed is sent line by line; the end of the typing ends it.
#[test]
fn typing_is_sent() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    let mut terminal = Pty::spawn(tieline(["connect", "-", "exec:sed -u s/^/got:/"]));
    terminal.send("hello\n");
    terminal.expect("got:hello");
    terminal.send("\x04");
    assert_eq!(code_of(terminal.exit_status()), 0);
}

#[test]
fn help_has_colours_only_where_they_are_wanted() {
    if !can() {
        skip!("no pseudo-terminals");
    }
    let shown = |command: Command| {
        let mut terminal = Pty::spawn_sized(command, 200, 100);
        assert_eq!(code_of(terminal.exit_status()), 0);
        terminal.output()
    };
    assert!(is_coloured(&shown(tieline(["--help"]))));
    let mut plain = tieline(["--help"]);
    plain.env("NO_COLOR", "1");
    assert!(!is_coloured(&shown(plain)));
    assert!(!is_coloured(crate::support::run(&["--help"]).well().text()));
}
