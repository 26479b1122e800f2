//! Small things every test here needs: the binary, bounded runs of it, names nobody else has, foreign peers.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use tempfile::TempDir;
use tieline_os::description::compare;
use tieline_os::pidfd::PidFd;
use tieline_os::signal::Signal;
pub(crate) use tieline_testkit::{assert_same, data};
use tieline_testkit::{unique_number, until, usual_signals};

/// The command under test.
pub(crate) const TIELINE: &str = env!("CARGO_BIN_EXE_tieline");

/// A command line of `tieline`, by words.
pub(crate) fn tieline<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(TIELINE);
    plain(command.args(arguments));
    command
}

/// A command line for `sh`, in which `tieline` is the command under test.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    plain(command.args(["-c", line]).env("PATH", path_with_tieline()));
    command
}

/// In a terminal with colours, if in one, and with nothing that whoever runs the tests has set for themselves.
fn plain(command: &mut Command) {
    // And where nobody answers for names of hosts, that is found out soon.
    command.env("TERM", "xterm").env("RES_OPTIONS", "timeout:1 attempts:1");
    for theirs in ["CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "NO_COLOR", "TIELINE_COMPAT", "TIELINE_ENGINE"] {
        command.env_remove(theirs);
    }
}

pub(crate) fn path_with_tieline() -> String {
    let folder = Path::new(TIELINE).parent().expect("the binary lies in a folder");
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Said {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    /// It must have gone well and silently on standard error.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert!(self.code == 0 && self.err.is_empty(), "exit code {}: {}", self.code, self.err);
        self
    }

    /// It must have failed with this code, and one line on standard error that contains each of `words`.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "not one sentence: {:?}", self.err);
        assert!(self.err.starts_with("tieline: "), "{}", self.err);
        words.iter().for_each(|word| assert!(self.err.contains(word), "no {word:?} in: {}", self.err));
        self
    }
}

/// Runs `tieline` with nothing on standard input.
pub(crate) fn run(arguments: &[&str]) -> Said {
    Job::start(tieline(arguments)).end()
}

/// Runs `tieline` where it measures, which takes as long as a busy machine needs; two minutes at most.
pub(crate) fn run_measuring(arguments: &[&str]) -> Said {
    run_measuring_under(&[], arguments)
}

/// The same under another program, such as `prlimit --core=0`.
pub(crate) fn run_measuring_under(program: &[&str], arguments: &[&str]) -> Said {
    let mut command = Command::new("timeout");
    plain(command.arg("120").args(program).arg(TIELINE).args(arguments).stdin(Stdio::null()));
    let output = command.output().expect("coreutils");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { code: code_of(output.status), out: output.stdout, err }
}

/// Runs `tieline` with `input` on standard input, where all of it is from the beginning if a pipe can hold it: then it
/// does not depend on the machine how much of it a run finds that ends after a moment.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Said {
    if input.len() <= PIPE_BUF {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(input).expect("it fits");
        drop(writer);
        return Job::start_with(tieline(arguments), reader.into()).end();
    }
    let mut job = Job::start(tieline(arguments));
    job.write(input);
    job.end()
}

/// What fits into every pipe.
const PIPE_BUF: usize = 4096;

/// Runs `tieline` with a `--timeout` that is to pass while it has what it needs but for the other side. What is short
/// costs less time; but a time that is over before it has read its input proves nothing, so it is given more then.
pub(crate) fn run_out_of_time(verb: &str, arguments: &[&str], input: &[u8]) -> Said {
    for timeout in ["50ms", "500ms", "3s"] {
        let said = run_with(&[&[verb, "--timeout", timeout], arguments].concat(), input);
        if !said.err.contains("nothing came from standard input") {
            return said;
        }
    }
    run_with(&[&[verb, "--timeout", "10s"], arguments].concat(), input)
}

/// Whether this machine lets us look into our own children. Some sandboxes refuse the calls for it even to root.
pub(crate) fn may_look_inside() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::piped()).spawn().expect("sleep");
        let duplicate = PidFd::of_child(&child).and_then(|process| process.duplicate_fd(0));
        let may = duplicate.is_ok_and(|ours| {
            compare((child.id(), 0), (std::process::id(), ours.as_raw_fd())).is_ok_and(Ordering::is_eq)
        });
        let _ = (child.kill(), child.wait());
        may
    })
}

/// A process that runs beside the test; killed and reaped when dropped.
pub(crate) struct Job {
    child: Child,
    out: Arc<Mutex<Vec<u8>>>,
    out_reader: Option<JoinHandle<()>>,
    err: Arc<Mutex<Vec<u8>>>,
    err_reader: Option<JoinHandle<()>>,
}

impl Job {
    /// With a pipe to its standard input, of which we have the other end.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    fn start_with(mut command: Command, stdin: Stdio) -> Self {
        usual_signals(&mut command);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let out = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&out);
        let out_reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stdout.read(&mut chunk) {
                seen.lock().expect("no panic").extend_from_slice(&chunk[..count]);
            }
        });
        let err = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&err);
        let err_reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk) {
                seen.lock().expect("no panic").extend_from_slice(&chunk[..count]);
            }
        });
        Self { child, out, out_reader: Some(out_reader), err, err_reader: Some(err_reader) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives bytes to its standard input; if it has gone, that is seen at its end.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.child.stdin.as_mut().expect("open").write_all(bytes);
    }

    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// What it has written to standard output.
    pub(crate) fn out_so_far(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().expect("no panic")).into_owned()
    }

    fn err_so_far(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().expect("no panic")).into_owned()
    }

    /// Waits for a whole line on standard error that contains `word`.
    pub(crate) fn expect_err(&mut self, word: &str) -> String {
        until(&format!("{word:?} on standard error"), || {
            // Before the look at what it has said: that is all of it then.
            let is_over = self.err_reader.as_ref().is_some_and(JoinHandle::is_finished);
            let so_far = self.err_so_far();
            let line = so_far.split_inclusive('\n').find(|line| line.contains(word) && line.ends_with('\n'));
            assert!(line.is_some() || !is_over, "it ended and said: {so_far}");
            line.map(|line| line.trim_end_matches('\n').to_owned())
        })
    }

    /// Waits for "waiting at ADDRESS" and returns the address.
    pub(crate) fn waits_at(&mut self) -> String {
        let line = self.expect_err("waiting at ");
        line.rsplit("waiting at ").next().expect("it is there").to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        // The shell has it built in, where the machine may have no program of that name.
        let line = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().expect("sh");
        assert!(status.success(), "{line}");
    }

    /// Whether it has its own answer to a signal by now: before that, the signal would end it without a word.
    pub(crate) fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
        caught & (1 << (signal.number() - 1)) != 0
    }

    /// Ends its input and waits for its end.
    pub(crate) fn end(mut self) -> Said {
        self.close_stdin();
        let status = self.wait();
        self.out_reader.take().expect("once").join().expect("no panic");
        let out = std::mem::take(&mut *self.out.lock().expect("no panic"));
        self.err_reader.take().expect("once").join().expect("no panic");
        Said { code: code_of(status), out, err: self.err_so_far() }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("waitable").is_some()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().expect("waitable"))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a shell counts: 128+N for a signal.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).expect("it ended")
}

/// A directory for one test, and addresses in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        // The address of a socket has room for 107 bytes.
        let is_short = std::env::temp_dir().as_os_str().len() <= 40;
        let place = if is_short { tempfile::tempdir() } else { tempfile::tempdir_in("/tmp") };
        Self(place.expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `SCHEME:/this/directory/NAME`.
    pub(crate) fn at(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}:{}", self.text(name))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("writable");
        path
    }
}

/// An object that `mk` made; removed when dropped.
pub(crate) struct Object(pub(crate) String);

impl Object {
    pub(crate) fn make(arguments: &[&str]) -> Self {
        let said = run(&[&["mk"], arguments].concat()).well();
        Self(said.text().trim_end().to_owned())
    }

    /// With another name than anybody's, and small unless told otherwise: of the usual size a user can have nine of them,
    /// and all the tests that run now are one user.
    pub(crate) fn mq(arguments: &[&str]) -> Self {
        let name = unique("/tieline-cli");
        let is_sized = arguments.contains(&"--message-size");
        let size: &[&str] = if is_sized { &[] } else { &["--message-size", "512"] };
        Self::make(&[&["mq", &name], size, arguments].concat())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        run(&["rm", "--force", &self.0]);
    }
}

/// A name no other test of this run or of another has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", unique_number())
}

/// A key no other test has.
pub(crate) fn key() -> String {
    format!("{:#x}", 0x5449_0000_u32.wrapping_add(unique_number()))
}

/// A program in C that speaks to the queues and memories that no common tool speaks to; `None` without a compiler.
pub(crate) fn stranger() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let place = tempfile::tempdir().ok()?;
        let (source, program) = (place.path().join("stranger.c"), place.path().join("stranger"));
        std::fs::write(&source, include_str!("stranger.c")).ok()?;
        let mut compile = Command::new("cc");
        let status = compile.arg("-o").arg(&program).arg(&source).arg("-lrt").arg("-pthread").status().ok()?;
        status.success().then_some((place, program))
    });
    built.as_ref().map(|(_, program)| program.as_path())
}

/// Runs the program in C.
pub(crate) fn ask(program: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(arguments);
    Job::start(command).end()
}
