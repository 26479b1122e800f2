//! System V's three families against the real kernel, and what their tests share.

mod interop;
mod msg;
mod readable;
mod sem;
mod shm;

use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use tieline_os::Mode;
use tieline_os::process::{self, Pid};
use tieline_os::signal::{Flag, Signal, send_to_thread};
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Key, RemoveOnDrop};
use tieline_testkit::{Role, eventually, sleeps, unique_number};

/// Nobody on most systems: another user than the one who runs the tests.
pub(crate) const STRANGER: u32 = 65_534;

/// A queue that nobody else knows.
pub(crate) fn queue() -> RemoveOnDrop<MessageQueue> {
    RemoveOnDrop::new(MessageQueue::create(Key::PRIVATE, Mode::OWNER).expect("a new queue"))
}

/// A set with these values that nobody else knows.
pub(crate) fn set(values: &[u16]) -> RemoveOnDrop<SemaphoreSet> {
    RemoveOnDrop::new(SemaphoreSet::create_initialised(Key::PRIVATE, values, Mode::OWNER).expect("a new set"))
}

/// A segment that nobody else knows.
pub(crate) fn segment(len: usize) -> RemoveOnDrop<Segment> {
    RemoveOnDrop::new(Segment::create(Key::PRIVATE, len, Mode::OWNER).expect("a new segment"))
}

/// A key that no other test uses, and hardly another program.
pub(crate) fn fresh_key() -> Key {
    Key::new(unique_number().cast_signed())
}

/// Writes a limit of this IPC namespace, or answers why not: before Linux 6.9 only root of the first user namespace may,
/// and in many containers nobody.
pub(crate) fn set_limit(file: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/kernel/{file}");
    std::fs::write(&path, value).map_err(|error| format!("{path} cannot be written: {error}"))
}

/// The object whose number the parent has put into the environment.
pub(crate) fn id_from(role: &Role) -> Id {
    Id::new(role.env("ID").parse().expect("a number"))
}

/// A thread that is blocked in the kernel.
pub(crate) struct Blocked<T> {
    thread: JoinHandle<T>,
    tid: Pid,
}

impl<T: Send + 'static> Blocked<T> {
    /// Runs `work` in a thread and waits until it sleeps.
    pub(crate) fn on(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            sender.send(process::current_thread()).expect("the test listens");
            work()
        });
        let blocked = Self { tid: receiver.recv().expect("the thread has begun"), thread };
        blocked.sleeps();
        blocked
    }

    /// Waits until it sleeps (again).
    pub(crate) fn sleeps(&self) {
        eventually("the thread sleeps", || sleeps(self.tid.as_raw().cast_unsigned()));
    }

    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Sends a signal to exactly this thread.
    pub(crate) fn signal(&self, signal: Signal) {
        send_to_thread(process::current(), self.tid, signal).expect("the thread lives");
    }

    /// What it came to.
    pub(crate) fn result(self) -> T {
        eventually("the thread ends", || self.thread.is_finished());
        self.thread.join().expect("the thread did not panic")
    }
}

/// Signals a thread in a plain form three times and sees that it goes on waiting each time. `handled` counts the
/// signal, with `SA_RESTART`.
pub(crate) fn goes_on_after_signals<T: Send + 'static>(blocked: &Blocked<T>, handled: &Flag) {
    for _ in 0..3 {
        let _ = handled.take();
        blocked.signal(Signal::USR1);
        eventually("the handler runs", || handled.is_raised());
        blocked.sleeps();
        assert!(!blocked.is_done());
    }
}

/// Signals a thread in an interruptible form until it ends.
pub(crate) fn ends_by_signal<T: Send + 'static>(blocked: Blocked<T>) -> T {
    eventually("the thread is interrupted", || {
        if !blocked.is_done() {
            blocked.signal(Signal::USR1);
        }
        blocked.is_done()
    });
    blocked.result()
}

/// What a command prints, which must succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {} {problem}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
