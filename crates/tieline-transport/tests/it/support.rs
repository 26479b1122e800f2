//! Small things every test here needs: names nobody else has, data that shows a misplaced byte, bounded children.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;
use tieline_testkit::until;
pub(crate) use tieline_testkit::{assert_same, data, unique_number as unique};
use tieline_transport::addr::Address;
use tieline_transport::endpoint::{Direction, Endpoint, Sink, Source};

/// A directory for one test, and addresses in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tieline_testkit::directory())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `SCHEME:/this/directory/NAME` and what follows.
    pub(crate) fn at(&self, scheme: &str, name: &str) -> Address {
        address(&format!("{scheme}:{}/{name}", self.0.path().display()))
    }
}

/// An internet address of this machine that no other test uses, so that nobody else gets a port there that has just been
/// free.
pub(crate) fn own_host() -> String {
    let [_, _, high, low] = unique().to_be_bytes();
    format!("127.77.{high}.{low}")
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn open(address: &Address, direction: Direction) -> Endpoint {
    Endpoint::open(address, direction).unwrap_or_else(|error| panic!("{address}: {error}"))
}

pub(crate) fn receive(text: &str) -> Endpoint {
    open(&address(text), Direction::Receive)
}

pub(crate) fn send(text: &str) -> Endpoint {
    open(&address(text), Direction::Send)
}

pub(crate) fn byte_source(endpoint: &mut Endpoint) -> tieline_transport::endpoint::ByteSource {
    match endpoint.take_source() {
        Some(Source::Bytes(source)) => source,
        other => panic!("no bytes come from it: {other:?}"),
    }
}

pub(crate) fn byte_sink(endpoint: &mut Endpoint) -> tieline_transport::endpoint::ByteSink {
    match endpoint.take_sink() {
        Some(Sink::Bytes(sink)) => sink,
        other => panic!("no bytes go to it: {other:?}"),
    }
}

/// Writes all of `data` from a thread, then ends the stream. A reader that goes away ends it too.
pub(crate) fn feed(mut endpoint: Endpoint, data: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut sink = byte_sink(&mut endpoint);
        if sink.write_all(&data).is_ok() {
            sink.finish().expect("finish");
        }
    })
}

/// Reads until the end from a thread.
pub(crate) fn collect(mut endpoint: Endpoint) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        byte_source(&mut endpoint).read_to_end(&mut all).expect("read to the end");
        all
    })
}

/// A child process of a foreign program; killed and reaped when dropped.
pub(crate) struct Stranger(Child);

impl Stranger {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("start {program}: {error}")))
    }

    pub(crate) fn python(script: &str, argument: &Path) -> Self {
        Self::start("python3", &["-c", script, &argument.display().to_string()])
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().expect("stdin").write_all(bytes).expect("it lives");
    }

    pub(crate) fn close(&mut self) {
        self.0.stdin = None;
    }

    /// All it says until it ends, which must be well.
    pub(crate) fn output(mut self) -> Vec<u8> {
        self.close();
        let mut output = Vec::new();
        let mut stdout = self.0.stdout.take().expect("stdout");
        let reader = std::thread::spawn(move || stdout.read_to_end(&mut output).map(|_| output));
        let status = until("the stranger ends", || self.0.try_wait().expect("waitable"));
        assert!(status.success(), "{status}");
        reader.join().expect("joined").expect("read")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
