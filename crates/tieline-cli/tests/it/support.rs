//! Small things every test here needs: the binary, bounded runs of it, names nobody else has, foreign peers.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use tempfile::TempDir;
pub(crate) use tieline_testkit::{assert_same, data};
use tieline_testkit::{unique_number, until};

/// The command under test.
pub(crate) const TIELINE: &str = env!("CARGO_BIN_EXE_tieline");

/// A command line of `tieline`, by words.
pub(crate) fn tieline<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(TIELINE);
    command.args(arguments).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// A command line for `sh`, in which `tieline` is the command under test.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("TERM", "xterm").env_remove("NO_COLOR").env("PATH", path_with_tieline());
    command
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
    let mut command = Command::new("timeout");
    command.args(["120", TIELINE]).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("coreutils");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { code: code_of(output.status), out: output.stdout, err }
}

/// Runs `tieline` with `input` on standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Said {
    let mut job = Job::start(tieline(arguments));
    job.write(input);
    job.end()
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
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
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

    /// Waits for a line on standard error that contains `word`.
    pub(crate) fn expect_err(&mut self, word: &str) -> String {
        until(&format!("{word:?} on standard error"), || {
            let so_far = self.err_so_far();
            let line = so_far.lines().find(|line| line.contains(word)).map(str::to_owned);
            let ended = line.is_none() && self.child.try_wait().expect("waitable").is_some();
            assert!(!ended || self.err_so_far().contains(word), "it ended and said: {}", self.err_so_far());
            line
        })
    }

    /// Waits for "waiting at ADDRESS" and returns the address.
    pub(crate) fn waits_at(&mut self) -> String {
        let line = self.expect_err("waiting at ");
        line.rsplit("waiting at ").next().expect("it is there").to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
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
        Self(tempfile::tempdir().expect("a directory"))
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

    /// With another name than anybody's.
    pub(crate) fn mq(arguments: &[&str]) -> Self {
        let name = unique("/tieline-cli");
        Self::make(&[&["mq", &name], arguments].concat())
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
