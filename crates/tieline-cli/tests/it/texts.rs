//! Help, completions, manual pages: they are valid, and their examples run.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tieline_testkit::{Pty, has_command, skip};

use crate::support::{Job, Place, run, shell, unique};

const VERBS: [&str; 20] = [
    "bench",
    "clean",
    "completions",
    "connect",
    "leaks",
    "limits",
    "locks",
    "ls",
    "man",
    "mk",
    "pub",
    "record",
    "recv",
    "replay",
    "rm",
    "sem",
    "send",
    "signal",
    "sub",
    "who",
];

/// Those that read their command line themselves; their help is another tool's.
const COMPAT_VERBS: [&str; 4] = ["ipcmk", "ipcrm", "ipcs", "lsipc"];

fn all_verbs() -> impl Iterator<Item = &'static str> {
    VERBS.into_iter().chain(COMPAT_VERBS)
}

fn accepts(program: &str, arguments: &[&str], script: &str) {
    let mut shell = Command::new(program);
    let mut shell = shell.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn completions_are_valid_scripts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run(&["completions", shell]).well();
        all_verbs().for_each(|verb| assert!(said.text().contains(verb), "{shell} lacks {verb}"));
        if has_command(shell) && ["bash", "zsh", "fish"].contains(&shell) {
            accepts(shell, &["-n"], said.text());
        }
    }
    run(&["completions", "tcsh"]);
    assert_eq!(run(&["completions", "tcsh"]).code, 2);
}

/// fish really completes by it: verbs, schemes, paths behind them, names of signals, framings.
#[test]
fn fish_completes() {
    if !has_command("fish") {
        skip!("fish is not installed");
    }
    let place = Place::new();
    place.write("words", b"");
    let path = format!("fifo:{}", place.text(""));
    let given = [
        ("con", "connect"),
        ("send fi", "fifo: file:"),
        ("sub sh", "shm:"),
        ("connect - vs", "vsock:"),
        (&format!("recv {path}"), &format!("{path}words")),
        ("rm s", "sem: sysv-mq: sysv-sem: sysv-shm:"),
        ("sem wait s", "sem: sysv-sem:"),
        ("signal TER", "TERM"),
        ("recv --frame u3", "u32 u32le"),
        ("completions z", "zsh"),
        ("bench os --only vm", "vmsplice"),
    ];
    for (typed, completed) in given {
        let mut fish = Command::new("fish");
        let script = format!("tieline completions fish | source; complete -C 'tieline {typed}'");
        fish.args(["--no-config", "-c", &script]).env("PATH", crate::support::path_with_tieline());
        fish.env("HOME", place.path(""));
        let said = Job::start(fish).end();
        let words: Vec<&str> = said.text().lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!((said.code, words.join(" ").as_str()), (0, completed), "{typed}: {}", said.err);
    }
}

/// zsh really completes by it, in a terminal; nothing but an address goes on without a space.
#[test]
fn zsh_completes() {
    if !has_command("zsh") || !has_command("setsid") || !Path::new("/dev/ptmx").exists() {
        skip!("zsh is not installed, or there are no pseudo-terminals");
    }
    let place = Place::new();
    place.write("words", b"");
    let script = place.write("tieline.zsh", run(&["completions", "zsh"]).well().text().as_bytes());
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-i"]).env("TERM", "dumb").env("HOME", place.path(""));
    let mut terminal = Pty::spawn_sized(zsh, 40, 200);
    let setup = format!(
        "autoload -U compinit; compinit -u -D; source {}; tieline() {{ print -r -- \"<${{(j:|:)@}}>\" }}; print rea''dy\n",
        script.display()
    );
    terminal.send(&setup);
    terminal.expect("\nready");
    let path = place.text("");
    let given = [
        ("con\t-", "<connect|->"),
        ("send vso\t3:4", "<send|vsock:3:4>"),
        ("connect - vso\t3:4", "<connect|-|vsock:3:4>"),
        (&format!("recv fif\t{path}wor\t"), &format!("<recv|fifo:{path}words>")),
        ("rm sysv-se\t7", "<rm|sysv-sem:7>"),
        ("sem get se\t/a", "<sem|get|sem:/a>"),
        ("signal TER\t1", "<signal|TERM|1>"),
        ("recv --frame whol\t-", "<recv|--frame|whole|->"),
    ];
    for (typed, ran) in given {
        terminal.send(&format!("tieline {typed}\n"));
        terminal.expect(ran);
    }
    terminal.send("exit\n");
    terminal.exit_status();
}

/// bash really completes by it: verbs, schemes, names of signals.
#[test]
fn bash_completes() {
    if !has_command("bash") {
        skip!("bash is not installed");
    }
    let given = [
        ("con", "connect\n"),
        ("send fi", "fifo: file:\n"),
        ("pub sh", "shm:\n"),
        ("recv vso", "vsock:\n"),
        ("signal TER", "TERM\n"),
        ("ls sysv-s", "sysv-shm sysv-sem\n"),
        ("leaks semap", "semaphores\n"),
        ("rm sysv-se", "sysv-sem:\n"),
        ("sem wait se", "sem:\n"),
        ("recv --frame whol", "whole\n"),
    ];
    for (typed, completed) in given {
        let last = typed.rsplit(' ').next().unwrap();
        let count = typed.split(' ').count();
        let before = typed.rsplit(' ').nth(1).unwrap_or("tieline");
        let script = format!(
            "eval \"$(tieline completions bash)\"; COMP_WORDS=(tieline {typed}); COMP_CWORD={count}; \
             _tieline_then tieline {last} {before}; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).env("PATH", crate::support::path_with_tieline());
        assert_eq!(Job::start(bash).end().well().text(), completed, "{typed}");
    }
}

#[test]
fn manual_pages_render() {
    let place = Place::new();
    run(&["man", &place.text("man1")]).well();
    let page = |name: &str| {
        fs::read_to_string(place.path("man1").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    // Others have other options, or are a word in its place on small systems.
    let version = Command::new("man").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let has_man_db = version.starts_with(b"man 2.");
    for name in all_verbs().map(|verb| format!("tieline-{verb}.1")).chain(["tieline.1".to_owned()]) {
        assert!(page(&name).contains(".TH "), "{name} has no head");
        assert!(page(&name).contains(".SH NAME"));
        if has_man_db && has_command("groff") {
            let mut man = Command::new("man");
            man.args(["--warnings", "-l"])
                .arg(place.path("man1").join(&name))
                .env("MANWIDTH", "80")
                .env("LC_ALL", "C.UTF-8");
            let said = Job::start(man).end();
            assert_eq!(said.code, 0, "{name}: {}", said.err);
            assert!(said.text().contains("SYNOPSIS"), "{name}");
        }
    }
    assert!(page("tieline-recv.1").contains("--connect") || page("tieline-recv.1").contains("\\-\\-connect"));
    assert!(!place.path("man1").join("tieline-bench-player.1").exists(), "a hidden verb has a page");
    assert_eq!(run(&["man"]).well().text(), page("tieline.1"));
    run(&["man", "/proc/no/such"]).failed(3, &["/proc/no/such", "(ENOENT)"]);
    let synopsis = page("tieline-send.1").split(".SH ").find(|part| part.starts_with("SYNOPSIS")).unwrap().to_owned();
    assert!(synopsis.contains(r"\fIFRAMING\fR") && synopsis.contains(r"\fIADDRESS\fR"), "{synopsis}");
    let version = format!("\"tieline {}\"", env!("CARGO_PKG_VERSION"));
    assert!(page("tieline-send.1").contains(&version), "the footer names another program");
    // Tables are lists, not prose.
    let whole = page("tieline.1");
    let codes = whole.split(".SH ").find(|part| part.contains("EXIT CODES")).unwrap();
    assert!(codes.contains(".TP\n\\fB0\\fR\ndone\n"), "{codes}");
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in VERBS {
        let said = run(&[verb, "--help"]).well();
        assert!(said.text().contains("Example"), "{verb}");
        assert!(said.text().lines().all(|line| line.chars().count() <= 100), "{verb}: too wide");
    }
    let whole = run(&["--help"]).well();
    for scheme in tieline_transport::addr::Scheme::all().filter(|scheme| scheme.is_available()) {
        assert!(scheme.name() == "pipe" || whole.text().contains(&format!("{scheme}:")), "{scheme} is not in the help");
    }
    assert!(!whole.text().contains(" pipe:"), "a new pipe has no other end here");
    for key in tieline_transport::addr::Key::ALL {
        assert!(whole.text().contains(key.summary()), "{key} is not explained");
    }
    let fifo = whole.text().lines().find(|line| line.starts_with("  fifo:  ") && line.contains("mode")).unwrap();
    assert!(fifo.ends_with("mode, owner, capacity, timeout, create, frame"), "{fifo}");
    assert!(run(&["--version"]).well().text().starts_with("tieline "));
}

/// The examples of the help, with names of our own, run one after another as they stand there.
#[test]
fn examples_of_the_help_run() {
    let place = Place::new();
    let (queue, permits) = (unique("/jobs"), unique("/permits"));
    let number = unique("").trim_start_matches('-').to_owned();
    let key = format!("0x{:x}", 0x5000_0000_u32.wrapping_add(number.parse().unwrap()));
    let mut run_at_all = 0;
    let mut examples = Vec::new();
    for verb in ["mk", "send", "recv", "sem", "rm", "connect"] {
        let help = run(&[verb, "--help"]).well();
        let text = help.text().split("Examples:").nth(1).unwrap().to_owned();
        examples.extend(text.lines().map(str::trim).filter(|line| line.contains("tieline")).map(str::to_owned));
    }
    place.write("big.file", &[7; 100_000]);
    place.write("packet", b"packet");
    let ours = |line: &str| {
        line.replace("/tmp/", &format!("{}/", place.text("")))
            .replace("/run/app.sock", &place.text("app.sock"))
            .replace("mq:/jobs", &format!("mq:{queue}"))
            .replace(" /jobs", &format!(" {queue}"))
            .replace("/permits", &permits)
            .replace("0x1234", &key)
            .replace("0x77", &key)
            .replace("big.file", &place.text("big.file"))
            .replace("packet", &place.text("packet"))
            .replace("&& work", "&& true")
    };
    // Those that need nobody at the other end.
    let alone = |line: &str| {
        [
            "tieline mk fifo",
            "tieline mk mq",
            "tieline mk sem",
            "seq 5 | tieline send 'mq:",
            "tieline recv --count 1 --timeout 5s mq:",
            "tieline recv --timeout 0 mq:",
            "tieline sem wait",
            "tieline sem get",
            "tieline rm fifo:",
            "tieline send --raw udp:",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    };
    for line in examples.iter().filter(|line| alone(line)) {
        let line = ours(line);
        let said = Job::start(shell(&line)).end();
        assert_eq!(said.code, 0, "{line}: {}", said.err);
        run_at_all += 1;
    }
    run(&["rm", "--force", &format!("sem:{permits}"), &format!("mq:{queue}")]).well();
    assert!(run_at_all >= 9, "only {run_at_all} of {} examples were run", examples.len());
}
