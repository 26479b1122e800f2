//! `ls`, `who`, `leaks`, `clean`, `limits`, `locks`: what they say of processes and objects made here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tieline_testkit::{Isolation, Namespace, Pty, can_run_as, has_command, skip, tells_true_devices, test_name, until};

use crate::support::{Job, Object, Place, Said, TIELINE, code_of, may_look_inside, run, shell, tieline, unique};

/// A child of ours, killed and reaped when dropped.
struct Peer(Child);

impl Peer {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn json(arguments: &[&str]) -> Value {
    let said = run(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
    serde_json::from_slice(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The number in `pipe:[N]` behind one of our descriptors.
fn link(pid: u32, fd: i32) -> String {
    fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("a descriptor").display().to_string()
}

/// By a process of its own: a program that we had open for writing could not be run as long as a child of another test,
/// forked meanwhile, has that descriptor too (ETXTBSY).
fn copy_program(from: &str, to: &std::path::Path) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "cp {from}: {status}");
}

/// A System V object of our own IPC namespace: without that, one of the same number elsewhere is an answer too.
fn here(kind: &str, id: &str) -> String {
    let namespace = fs::read_link("/proc/self/ns/ipc").expect("a namespace").display().to_string();
    format!("{kind}:{id}@{}", namespace.trim_matches(|letter: char| !letter.is_ascii_digit()))
}

fn own() -> String {
    std::process::id().to_string()
}

fn can_draw() -> bool {
    has_command("setsid") && std::path::Path::new("/dev/ptmx").exists()
}

/// Question 1, asked in every way: who is on the other end of this pipe?
#[test]
fn who_is_on_the_other_end_of_a_pipe() {
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let mut cat = Peer::start("cat", &[]);
    let pipe = link(cat.id(), 0);
    for question in [format!("{}:0", cat.id()), pipe.clone(), pipe.replace(['[', ']'], "")] {
        let said = run(&["who", &question]).text().to_owned();
        assert!(said.contains(&format!("cat {} (descriptor 0) reads from it", cat.id())), "{question}: {said}");
        assert!(said.contains(&own()), "{question} does not name the writer: {said}");
        assert!(said.contains("It holds 0 of "), "{said}");
    }
    let said = run(&["who", &cat.id().to_string()]);
    assert!(said.text().contains(&pipe), "{}", said.text());
    // Looking took nothing and opened nothing: the end of our writing is the end of its reading.
    cat.0.stdin.take().unwrap().write_all(b"x").unwrap();
    assert!(cat.0.wait().unwrap().success());
}

/// Question 2: the other end of a socket pair, which `/proc` does not tell.
#[test]
fn who_has_the_other_end_of_a_socket() {
    let place = Place::new();
    let path = place.path("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    let text = path.display().to_string();
    let said = run(&["who", &text]);
    assert!(said.text().contains("listens at the Unix socket at") && said.text().contains("1 of "), "{}", said.text());
    let (server, _) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    let said = run(&["who", &text]);
    assert!(said.text().contains("1 connection is open"), "{}", said.text());
    use std::os::fd::AsRawFd;
    let said = run(&["who", &format!("{}:{}", own(), server.as_raw_fd())]);
    assert!(
        said.text().contains(" connected with ") && said.text().contains("5 bytes wait to be read"),
        "{}",
        said.text()
    );
    let found = json(&["who", "--json", &text]);
    assert_eq!(found["answers"].as_array().unwrap().len(), 1, "a listener and its connections are one thing");
    assert_eq!(found["objects"].as_array().unwrap().len(), 3);
}

/// Question 12.
#[test]
fn of_two_servers_at_one_path_the_second_gets_the_connections() {
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    let place = Place::new();
    let path = place.path("twice");
    let _first = UnixListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = UnixListener::bind(&path).unwrap();
    let said = run(&["who", &path.display().to_string()]);
    assert_eq!(said.text().matches("leads to another socket by now").count(), 1, "{}", said.text());
    assert_eq!(said.text().matches("reach this one: the path leads to it").count(), 1, "{}", said.text());
}

#[test]
fn a_port_a_fifo_and_a_lock_are_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    for question in [address.port().to_string(), format!("tcp:{address}"), format!(":{}", address.port())] {
        let said = run(&["who", &question]);
        assert!(said.text().contains(&format!("listens at TCP {address}")), "{question}: {}", said.text());
    }

    let place = Place::new();
    let fifo = place.text("jobs");
    run(&["mk", "fifo", &fifo]).well();
    run(&["who", &fifo]).failed(3, &["nobody has it open"]);
    let _both = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let said = run(&["who", &format!("fifo:{fifo}")]);
    assert!(said.text().contains(&format!("the FIFO {fifo}")), "{}", said.text());

    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    let file = place.write("db", b"data");
    let locked = fs::File::open(&file).unwrap();
    locked.lock().unwrap();
    let said = run(&["locks", &own()]);
    assert!(said.text().contains("exclusive flock"), "{}", said.text());
    let text = file.display().to_string();
    assert_eq!(json(&["locks", "--json", &text])["locks"][0]["lock"]["kind"], "flock");
}

/// Codes and sentences for what is not there.
#[test]
fn what_is_not_there_is_one_sentence() {
    run(&["who", "999999999"]).failed(3, &["there is no process 999999999"]);
    run(&["who", "999999999:1"]).failed(3, &["there is no process 999999999"]);
    run(&["who", &format!("{}:999999", own())]).failed(3, &["descriptor 999999", "is not open"]);
    run(&["who", "pipe:[999999999999]"]).failed(3, &["nobody holds pipe:[999999999999]"]);
    run(&["who", "shm:0x7fabcdef"]).failed(3, &["shm with key 0x7fabcdef", "tieline ls sysv"]);
    run(&["who", "/tieline/no/such"]).failed(3, &["there is no /tieline/no/such"]);
    run(&["who", "@tieline-no-such"]).failed(3, &["no Unix socket is called @tieline-no-such"]);
    run(&["who", "no-such-program"]).failed(3, &["no process is called no-such-program"]);
    run(&["who", "nonsense:1"]).failed(2, &["nonsense:1", "pipe:"]);
    run(&["who", "shm:-x"]).failed(2, &["shm:NAME", "identifier"]);
    run(&["who", "shm:tieline-no-such"]).failed(3, &["called tieline-no-such", "tieline ls shm"]);
    run(&["ls", "--process", "no-such-program"]).failed(3, &["no process is called no-such-program"]);
    run(&["ls", "--namespace", "x"]).failed(2, &["own, other, or a number"]);
    run(&["locks", "999999999"]).failed(3, &["there is no process 999999999"]);
    let said = run(&["ls", "nonsense"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("sysv-shm") && said.err.contains("semaphores"), "not all kinds are named: {}", said.err);
    let said = run(&["ls", "-o", "nonsense"]);
    assert!(said.code == 2 && said.err.contains("holders"), "{}", said.err);
    let mut wrong = tieline(["ls"]);
    wrong.env("TIELINE_ENGINE", "crystal-ball");
    Job::start(wrong).end().failed(2, &["crystal-ball", "use proc"]);
}

#[test]
fn ls_shows_kinds_columns_and_processes() {
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let cat = Peer::start("cat", &[]);
    let pipe = link(cat.id(), 0);
    let listed = |arguments: &[&str]| run(&[&["ls"], arguments].concat()).text().to_owned();
    let row = |text: &str| text.lines().find(|line| line.contains(&pipe)).map(str::to_owned);
    let shown = row(&listed(&["pipe"])).expect("our pipe");
    assert!(shown.starts_with("pipe ") && shown.contains(" 0/"), "{shown}");
    assert!(shown.ends_with(&format!("> cat {}", cat.id())), "{shown}");
    assert!(row(&listed(&["sysv"])).is_none());
    let bare = listed(&["-o", "id,holders", "--noheadings", "pipes"]);
    assert!(!bare.contains("KIND") && !bare.contains("objects of"), "{bare}");
    // A child that another test is about to start has what we have, for a moment.
    until("its two holders are left", || {
        let bare = listed(&["-o", "id,holders", "--noheadings", "pipes"]);
        let row = row(&bare).expect("our pipe");
        row.split_whitespace().eq([pipe.as_str(), "2"]).then_some(())
    });
    let of_cat = listed(&["--process", &cat.id().to_string()]);
    assert!(row(&of_cat).is_some() && of_cat.contains("objects of"), "{of_cat}");
    let tree = listed(&["--tree", "--process", &cat.id().to_string()]);
    let line = tree.lines().find(|line| line.contains(&pipe)).expect("in the tree");
    assert!(line.contains("0 r") && line.contains("< "), "{line}");
    assert!(tree.lines().any(|line| line.trim_end().ends_with(&format!("cat {}", cat.id()))), "{tree}");
    let found = json(&["ls", "--json", "pipe"]);
    let object = found["objects"].as_array().unwrap().iter().find(|object| object["id"] == *pipe).expect("our pipe");
    let holders = object["holders"].as_array().unwrap();
    assert!(holders.iter().any(|holder| holder["pid"] == cat.id() && holder["fd"] == 0 && holder["access"] == "r"));
    assert!(found["processes"].as_array().unwrap().iter().any(|process| process["pid"] == cat.id()));
}

/// System V and POSIX objects, in a namespace of our own: made, listed, asked for, found left behind, removed.
#[test]
fn what_was_left_behind_is_found_and_removed() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let segment = run(&["mk", "sysv-shm", "--size", "4K"]).well().text().trim().to_owned();
    let id = segment.rsplit(':').next().unwrap().to_owned();
    let said = run(&["who", &format!("shm:{id}")]);
    assert!(said.text().contains("Nobody has segment") && said.text().contains("(ended) made it"), "{}", said.text());
    let listed = run(&["ls", "--namespace", "own", "sysv"]);
    assert!(listed.text().contains(&format!("shm:{id}")), "{}", listed.text());
    let said = run(&["leaks", "sysv-shm"]);
    assert!(said.text().contains(&format!("shm:{id}")), "{}", said.text());

    run(&["clean", "sysv-shm"]).failed(2, &["--dry-run", "--yes"]);
    let flags = ["clean", "--unused", "--older-than", "0", "sysv-shm"];
    let said = run(&[&flags[..], &["--dry-run"]].concat());
    assert!(
        said.text().contains(&format!("shmctl({id}, IPC_RMID)")) && said.text().contains("nothing was"),
        "{}",
        said.text()
    );
    assert!(run(&["who", &here("shm", &id)]).code == 0, "a dry run removes nothing");
    let done = json(&[&flags[..], &["--yes", "--json"]].concat());
    let step = done["steps"].as_array().unwrap().iter().find(|step| step["name"] == *id).expect("our segment").clone();
    assert_eq!(step["outcome"], "removed", "{step}");
    run(&["who", &here("shm", &id)]).failed(3, &["there is no shm"]);
}

/// On a terminal it asks, and no is no.
#[test]
fn clean_asks_before_it_removes() {
    if !can_draw() {
        skip!("no pseudo-terminals");
    }
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let segment = Object::make(&["sysv-shm", "--size", "4K"]);
    let id = segment.0.rsplit(':').next().unwrap().to_owned();
    let flags = ["clean", "--unused", "--older-than", "0", "sysv-shm"];
    for (answer, is_left) in [("n\n", true), ("y\n", false)] {
        let mut terminal = Pty::spawn_sized(tieline(flags), 40, 200);
        let shown = terminal.expect("[y/N] ");
        assert!(shown.contains(&format!("shmctl({id}, IPC_RMID)")), "{shown}");
        terminal.send(answer);
        assert_eq!(code_of(terminal.exit_status()), 0, "{}", terminal.output());
        assert_eq!(run(&["who", &here("shm", &id)]).code == 0, is_left, "after {answer:?}");
    }
}

/// Names that want to be obeyed, in every view.
#[test]
fn hostile_names_are_never_raw() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let evil = std::ffi::OsStr::from_bytes(b"a\x1b[2J\n\xff\xe2\x80\xae");
    let path = place.path("x").with_file_name(evil);
    let _bound = UnixDatagram::bind(&path).unwrap();
    let abstract_name = [unique("tieline").as_bytes(), b"\x1b[2J\n\xff"].concat();
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&abstract_name);
    let _hidden = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
    // A program of that name, which sleeps.
    let program = place.path("p").with_file_name(std::ffi::OsStr::from_bytes(b"e\x1b[2J\n\xff"));
    // Not one that is several programs, whose name says which of them it is.
    copy_program(TIELINE, &program);
    let mut command = Command::new(&program);
    command.args(["signal", "--wait", "USR1", "--timeout", "600s"]);
    let mut sleeper = Peer(command.stdin(Stdio::piped()).spawn().unwrap());
    until("it runs", || (fs::read(format!("/proc/{}/comm", sleeper.id())).ok()?.starts_with(b"e\x1b")).then_some(()));

    let id = sleeper.id().to_string();
    let mut asked = tieline(["who"]);
    asked.arg(&path);
    let outputs = [
        Job::start(asked).end(),
        run(&["ls", "--all", "unix-dgram", "pipe"]),
        run(&["ls", "--tree", "--process", &own()]),
        run(&["who", &id]),
        run(&["who", "--json", &id]),
        run(&["ls", "--json", "unix-dgram", "pipe"]),
        run(&["ls", "-o", "what,who", "--noheadings", "unix-dgram"]),
    ];
    let is_bad = |said: &Said| {
        let text = said.text();
        text.chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{202e}')
    };
    for (index, said) in outputs.iter().enumerate() {
        assert_eq!(said.code, 0, "{index}: {}", said.err);
        assert!(!is_bad(said), "{index}: {:?}", said.text());
    }
    assert!(outputs[0].text().contains(r"a\x1b[2J\n\xff\u{202e}"), "{}", outputs[0].text());
    assert!(outputs[1].text().contains(r"\x1b[2J\n\xff"), "{}", outputs[1].text());
    assert!(outputs[3].text().contains(&format!(r"e\x1b[2J\n\xff {id}")), "{}", outputs[3].text());
    let _: Value = serde_json::from_slice(&outputs[4].out).expect("JSON");
    let _ = sleeper.0.stdin.take();
}

/// At 80 columns every line fits, with the ends cut and nothing wrapped; in a pipe everything stands there.
#[test]
fn lines_fit_the_terminal_and_are_whole_in_a_pipe() {
    if !can_draw() {
        skip!("no pseudo-terminals");
    }
    let place = Place::new();
    let long = place.path(&"long-name-".repeat(5));
    let _bound = UnixListener::bind(&long).unwrap();
    for columns in [40, 80, 200] {
        for verb in [vec!["ls", "unix"], vec!["limits"], vec!["locks"], vec!["who", &own()]] {
            let mut terminal = Pty::spawn_sized(tieline(&verb), 50, columns);
            assert_eq!(code_of(terminal.exit_status()), 0, "{}", terminal.output());
            for line in plain(&terminal.output()).lines() {
                let wide = line.trim_end_matches('\r').chars().count();
                // What may not be cut (figures, kinds) can be wider than forty columns.
                assert!(wide <= usize::from(columns) || columns == 40, "{verb:?}: {wide} of {columns}: {line:?}");
            }
        }
    }
    assert!(run(&["ls", "unix"]).text().contains(&long.display().to_string()), "cut in a pipe");
}

#[test]
fn colours_only_on_a_terminal_that_wants_them() {
    if !can_draw() {
        skip!("no pseudo-terminals");
    }
    let shown = |set: &[(&str, &str)]| {
        let mut command = tieline(["limits"]);
        command.envs(set.iter().copied());
        let mut terminal = Pty::spawn_sized(command, 50, 120);
        assert_eq!(code_of(terminal.exit_status()), 0);
        terminal.output()
    };
    assert!(shown(&[]).contains("\x1b[1m"), "no bold headings");
    assert!(!shown(&[("NO_COLOR", "1")]).contains('\x1b'));
    assert!(!shown(&[("TERM", "dumb")]).contains('\x1b'));
    assert!(!run(&["limits"]).text().contains('\x1b'));
}

fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain += before;
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Who reads no further ends us without a word.
#[test]
fn a_closed_pipe_is_a_quiet_death() {
    for verb in [&["ls", "--all"][..], &["ls", "--all", "--json"], &["limits"], &["locks", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = tieline(verb).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((code_of(output.status), String::from_utf8_lossy(&output.stderr)), (141, "".into()), "{verb:?}");
    }
}

/// Somebody else's processes are counted, not passed over in silence.
#[test]
fn what_may_not_be_seen_is_said() {
    let uid = 65_534;
    if !can_run_as(uid) {
        skip!("not root");
    }
    use std::os::unix::process::CommandExt;
    // The command must lie where that user can execute it.
    let place = Place::new();
    let copy = place.path("tieline");
    copy_program(TIELINE, &copy);
    for path in [&copy, copy.parent().unwrap()] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let probe = Command::new(&copy).arg("--version").uid(uid).gid(uid).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip!("no other user can run a program in our temporary directory");
    }
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(arguments).uid(uid).gid(uid);
        Job::start(command).end()
    };
    let said = as_nobody(&["ls"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.text().contains("could not be seen: run as root."), "{}", said.text());
    let said = as_nobody(&["ls", "--noheadings"]);
    assert!(said.err.contains("could not be seen: run as root"), "{}", said.err);
    let cat = Peer::start("cat", &[]);
    let said = as_nobody(&["who", &format!("{}:0", cat.id())]);
    said.failed(4, &["the descriptors of cat", "may not be seen", "run as root"]);
    // A folder that may not be searched tells nothing of what is in it.
    let hidden = place.path("hidden");
    fs::create_dir(&hidden).unwrap();
    let _bound = UnixListener::bind(hidden.join("sock")).unwrap();
    fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let said = as_nobody(&["who", hidden.join("sock").to_str().unwrap()]);
    assert!(said.text().contains("listens at the Unix socket") && !said.text().contains("exist"), "{}", said.text());
    as_nobody(&["who", hidden.join("other").to_str().unwrap()]).failed(4, &["no object is called", "is unknown"]);
    let found = as_nobody(&["ls", "--json"]);
    let found: Value = serde_json::from_slice(&found.out).unwrap();
    let unseen = found["unseen"].as_array().unwrap();
    assert!(
        unseen.iter().any(|unseen| unseen["what"] == "descriptors" && unseen["why"] == "no-permission"),
        "{unseen:?}"
    );
}

/// The table keeps what the next question is made of, and what a decision is made by.
#[test]
fn at_eighty_columns_names_and_reasons_are_whole() {
    if !can_draw() {
        skip!("no pseudo-terminals");
    }
    // Threads and long commands beside it make every column want room. They end with their input.
    let script = "import os,sys\npipes=[os.pipe() for i in range(6)]\nif os.fork() == 0: os.fork()\n\
        else: print(pipes[0][1], flush=True)\nsys.stdin.read()";
    if !has_command("python3") {
        skip!("no python3");
    }
    let mut peer = Peer::start("python3", &["-c", &format!("{script} # {}", "long ".repeat(20))]);
    let mut line = String::new();
    BufReader::new(peer.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (id, pipe) = (peer.id().to_string(), link(peer.id(), line.trim().parse().unwrap()));
    let at = |columns, verb: &[&str]| {
        let mut terminal = Pty::spawn_sized(tieline(verb), 50, columns);
        assert_eq!(code_of(terminal.exit_status()), 0, "{}", terminal.output());
        plain(&terminal.output())
    };
    for verb in [&["who", &*id][..], &["ls", "--tree", "-p", &id]] {
        let shown = at(80, verb);
        assert!(shown.contains(&pipe), "{verb:?}: {shown}");
    }
    let tree = at(60, &["ls", "--tree", "-p", &id]);
    assert!(tree.lines().any(|line| line.trim_end().ends_with(&format!(" {id}"))), "{tree}");
    peer.0.kill().unwrap();
}

/// What is asked for and is not there is told from what is there and not locked.
#[test]
fn locks_of_nobody_and_nothing_are_not_found() {
    run(&["locks", "no-such-program"]).failed(3, &["no process is called no-such-program", "./no-such-program"]);
    run(&["locks", "/no/such/file"]).failed(3, &["there is no file /no/such/file"]);
    let place = Place::new();
    let file = place.path("free");
    fs::write(&file, "").unwrap();
    let said = run(&["locks", file.to_str().unwrap()]);
    assert!(said.text().starts_with("0 locks are held."), "{}", said.text());
}

/// A lock that a child inherited is one lock.
#[test]
fn an_inherited_lock_is_counted_once() {
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    if !has_command("flock") {
        skip!("no flock");
    }
    let place = Place::new();
    let file = place.path("locked");
    let name = file.to_str().unwrap();
    let _holder = Peer::start("flock", &[name, "cat"]);
    until("flock and its child hold it", || {
        run(&["locks", name]).text().matches(" holds ").count().eq(&2).then_some(())
    });
    let said = run(&["locks", name]);
    assert!(said.text().contains("1 lock is held."), "{}", said.text());
}

/// The kernel's list of locks calls the waiter for an OFD lock -1, as it does the holder.
#[test]
fn who_waits_for_a_lock_of_an_open_file_is_named() {
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    if !has_command("python3") {
        skip!("no python3");
    }
    let place = Place::new();
    let file = place.path("db");
    fs::write(&file, "").unwrap();
    let name = file.to_str().unwrap();
    const LOCK: &str = "import fcntl,struct,sys\nf=open(sys.argv[1],'r+b')\n\
        fcntl.fcntl(f,38,struct.pack('hhqqi',fcntl.F_WRLCK,0,0,100,0))\nprint(flush=True)\ninput()";
    let mut holder = Peer::start("python3", &["-c", LOCK, name]);
    std::io::Read::read_exact(holder.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let waiter = Peer::start("python3", &["-c", LOCK, name]);
    let line = format!(" {} waits for exclusive OFD 0-99", waiter.id());
    // However wide the other number made the column.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    until("the second waits behind the first", || words(run(&["locks", name]).text()).contains(&line).then_some(()));
    let said = run(&["locks", name]);
    assert!(said.text().contains("1 lock is held; 1 waits."), "{}", said.text());
    // `ls` does not ask who waits, which is no fault of the kernel's.
    let listed = json(&["ls", "file", "--json"]);
    let is_blamed = |one: &Value| one["what"] == "lock-holders" && one["why"] == "not-supported";
    assert!(!listed["unseen"].as_array().unwrap().iter().any(is_blamed), "{}", listed["unseen"]);
}

/// Nobody could read the answer: that is no success.
#[test]
fn a_closed_standard_output_is_wrong_usage() {
    for verb in ["ls", "who 1", "leaks", "limits", "locks", "clean --dry-run", "clean --dry-run --json", "ls --json"] {
        let said = Job::start(shell(&format!("tieline {verb} >&-"))).end();
        assert!(
            said.code == 2 && said.err.contains("standard output (descriptor 1): it is closed"),
            "{verb}: {}",
            said.err
        );
    }
}

#[test]
fn limits_are_listed_and_the_near_ones_explained() {
    let said = run(&["limits"]);
    assert!(said.text().contains("msgmni") && said.text().contains("file-max"), "{}", said.text());
    let said = run(&["limits", "--near=0"]);
    assert!(said.text().contains("Raised by: "), "{}", said.text());
    assert_eq!(run(&["limits", "--near=x"]).code, 2);
    assert_eq!(run(&["limits", "--near=101"]).code, 2);
    let all = json(&["limits", "--json"]);
    let ratios: Vec<f64> =
        all["limits"].as_array().unwrap().iter().filter_map(|limit| limit["ratio"].as_f64()).collect();
    assert!(ratios.is_sorted_by(|one, other| one >= other), "{ratios:?}");
}
