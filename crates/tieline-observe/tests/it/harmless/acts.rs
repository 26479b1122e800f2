//! What another process does while scans run: each act gives an answer that depends on nothing but how things work.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use tieline_os::eventfd::EventFd;
use tieline_os::lock::{FileLock, LockKind, RangeLock};
use tieline_os::memfd::{Memfd, MemfdOptions};
use tieline_os::pipe::{PipeReader, PipeWriter, pipe};
use tieline_os::posix::mq::{Attributes, MessageQueue as PosixQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::{MessageQueue, MessageType, Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{Access, Mode, Result, fifo};
use tieline_testkit::{PATIENCE, Role};

pub(super) const NAMES: [&str; 8] =
    ["eventfd", "locks", "posix-queue", "posix-semaphore", "sockets", "sysv-queue", "sysv-semaphores", "threads"];
pub(super) const ENDS: [&str; 4] = ["pipe-eof", "pipe-epipe", "fifo-eof", "fifo-epipe"];

/// How often each act is played for one answer.
const ROUNDS: usize = 40;
const ENDS_ROUNDS: u32 = 300;

/// Plays the acts that the parent names, until it has enough.
pub(super) fn play(me: &Role) {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let directory = PathBuf::from(me.env("DIRECTORY"));
    for act in std::io::stdin().lines().map_while(std::io::Result::ok) {
        let path = directory.join(&act);
        if act.ends_with("-eof") || act.ends_with("-epipe") {
            me.say(&ends(&act, &path).to_string());
            continue;
        }
        let mut answers = String::new();
        for _ in 0..ROUNDS {
            let answer = match act.as_str() {
                "eventfd" => eventfd(),
                "locks" => locks(&path),
                "posix-queue" => posix_queue(),
                "posix-semaphore" => posix_semaphore(),
                "sockets" => sockets(),
                "sysv-queue" => sysv_queue(),
                "sysv-semaphores" => sysv_semaphores(),
                "threads" => threads(),
                other => panic!("no act {other}"),
            };
            let _ = write!(answers, "{}; ", answer.unwrap_or_else(|error| format!("{error:?}")));
        }
        me.say(&answers);
    }
}

fn unique(what: &str) -> String {
    format!("/tieline-{what}-{}", std::process::id())
}

/// The value, or what kind of error came.
fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |value| format!("{value:?}"))
}

fn eventfd() -> Result<String> {
    let counter = EventFd::new(3)?;
    counter.add(4)?;
    Ok(format!("{} {}", told(counter.try_read()), told(counter.try_read())))
}

/// Each kind of lock on each kind of file that has no name of its own in a scan: refused while it is held, had when it
/// is not.
fn locks(path: &std::path::Path) -> Result<String> {
    let mut answer = String::new();
    let memory = Memfd::create("locked", &MemfdOptions::new())?;
    let memory_path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_fd().as_raw_fd()));
    let name = unique("locked");
    let shared = SharedMemory::create(&name, 4096, Mode::OWNER)?;
    let shared_path = PathBuf::from(format!("/dev/shm{name}"));
    for path in [path, &memory_path, &shared_path] {
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let (ours, theirs) = (open(), open());
        let held = FileLock::try_lock(&ours, LockKind::Exclusive)?;
        answer += &told(FileLock::try_lock(&theirs, LockKind::Shared).map(drop));
        drop(held);
        answer += &told(FileLock::try_lock(&theirs, LockKind::Exclusive).map(drop));
        let held = RangeLock::try_lock(&ours, LockKind::Exclusive, 3..9)?;
        answer += &told(RangeLock::try_lock(&theirs, LockKind::Shared, 8..).map(drop));
        drop(held);
        // Whoever closes the last descriptor gives up its locks at once.
        std::mem::forget(RangeLock::try_lock(&ours, LockKind::Exclusive, 3..9)?);
        drop(ours);
        answer += &told(RangeLock::try_lock(&theirs, LockKind::Exclusive, ..).map(drop));
    }
    drop(shared);
    SharedMemory::unlink(&name)?;
    Ok(answer)
}

fn posix_queue() -> Result<String> {
    let name = unique("queue");
    let size = Attributes { capacity: 4, message_size: 16 };
    let queue = PosixQueue::create(&name, size, Access::ReadWrite, Mode::OWNER)?;
    let mut answer = String::new();
    for (text, priority) in [(b"b", 1), (b"c", 0), (b"a", 2), (b"d", 0)] {
        queue.send(text, priority)?;
    }
    let _ = write!(answer, "{} {} ", told(queue.try_send(b"e", 9)), told(queue.depth()));
    let mut buffer = [0; 16];
    for _ in 0..5 {
        answer += &told(queue.try_receive(&mut buffer));
        answer.push(char::from(buffer[0]));
    }
    PosixQueue::unlink(&name)?;
    Ok(answer)
}

fn posix_semaphore() -> Result<String> {
    let name = unique("semaphore");
    let semaphore = NamedSemaphore::create(&name, 2, Mode::OWNER)?;
    let mut answer = String::new();
    for _ in 0..3 {
        answer += &told(semaphore.try_wait());
    }
    semaphore.post()?;
    let _ = write!(answer, "{}", semaphore.value());
    NamedSemaphore::unlink(&name)?;
    Ok(answer)
}

fn sockets() -> Result<String> {
    let mut answer = String::new();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    ours.write_all(b"stream").unwrap();
    sender.send(b"one").unwrap();
    sender.send(b"two").unwrap();
    drop(ours);
    theirs.read_to_string(&mut answer).unwrap();
    for _ in 0..2 {
        let mut bytes = [0; 16];
        let count = receiver.recv(&mut bytes).unwrap();
        answer += &String::from_utf8_lossy(&bytes[..count]);
    }
    drop(receiver);
    let _ = write!(answer, "{:?}", sender.send(b"three").map_err(|error| error.kind()));
    Ok(answer)
}

fn sysv_queue() -> Result<String> {
    let queue = RemoveOnDrop::new(MessageQueue::create(Key::PRIVATE, Mode::OWNER)?);
    for (kind, text) in [(3, b"c"), (1, b"a"), (3, b"d"), (2, b"b")] {
        queue.send(kind, text)?;
    }
    let mut answer = format!("{} ", queue.stat()?.messages);
    let mut buffer = [0; 8];
    let three: MessageType = 3;
    for selector in
        [Selector::Type(three), Selector::UpToType(three), Selector::Oldest, Selector::Oldest, Selector::Oldest]
    {
        answer += &told(queue.try_receive(selector, Oversized::Refuse, &mut buffer));
        answer.push(char::from(buffer[0]));
    }
    Ok(answer)
}

fn sysv_semaphores() -> Result<String> {
    let set = RemoveOnDrop::new(SemaphoreSet::create(Key::PRIVATE, 2, Mode::OWNER)?);
    set.set_values(&[2, 0])?;
    let mut answer = String::new();
    for change in [-1, -1, -1, 2] {
        answer += &told(set.try_operate(&[Operation::new(0, change)]));
    }
    let _ = write!(answer, "{:?} {:?}", set.values()?, set.waiters_for_increase(0)?);
    Ok(answer)
}

/// A pipe between threads carries every byte, once, in order.
fn threads() -> Result<String> {
    let (reader, writer) = pipe()?;
    let sent: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            let written = writer.write_all(&sent);
            drop(writer);
            written
        });
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while let count @ 1.. = reader.read_timeout(&mut buffer, PATIENCE)? {
            received.extend_from_slice(&buffer[..count]);
        }
        Ok::<_, tieline_os::Error>(received)
    })?;
    Ok((received == sent).to_string())
}

/// How the ends of many pipes came.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) count: u32,
    /// How many did not come at the first look.
    pub(super) late: u32,
    pub(super) longest: Duration,
}

impl std::fmt::Display for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.count, self.late, self.longest.as_nanos())
    }
}

impl Ends {
    pub(super) fn parse(words: &str) -> Self {
        let numbers: Vec<u64> = words.split(' ').map(|word| word.parse().expect("numbers")).collect();
        let [count, late, longest] = numbers[..] else { panic!("{words:?}") };
        let number = |number| u32::try_from(number).expect("a small number");
        Self { count: number(count), late: number(late), longest: Duration::from_nanos(longest) }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let longest = self.longest.max(other.longest);
        Self { count: self.count + other.count, late: self.late + other.late, longest }
    }
}

/// Closes one end of many pipes and looks when the other end notices.
fn ends(act: &str, path: &std::path::Path) -> Ends {
    let mut all = Ends { count: 0, late: 0, longest: Duration::ZERO };
    for _ in 0..ENDS_ROUNDS {
        let (reader, writer) = if act.starts_with("fifo") {
            fifo::create_if_absent(path, Mode::OWNER).unwrap();
            (fifo::try_open_reader(path).unwrap(), fifo::try_open_writer(path).unwrap())
        } else {
            pipe().unwrap()
        };
        // Long enough that some are looked at.
        tieline_testkit::pause(Duration::from_micros(200));
        let (late, after) = if act.ends_with("-eof") { eof(reader, writer) } else { no_reader(reader, writer) };
        all.count += 1;
        all.late += u32::from(late);
        all.longest = all.longest.max(after);
    }
    all
}

fn eof(reader: PipeReader, writer: PipeWriter) -> (bool, Duration) {
    let mut buffer = [0; 8];
    writer.write_all(b"last").unwrap();
    let start = Instant::now();
    drop(writer);
    assert_eq!(reader.try_read(&mut buffer).unwrap(), 4);
    let at_once = reader.try_read(&mut buffer);
    let is_late = at_once.as_ref().is_err_and(tieline_os::Error::is_would_block);
    let end = if is_late { reader.read_timeout(&mut buffer, PATIENCE) } else { at_once };
    assert_eq!(end.unwrap(), 0, "the end of the pipe");
    (is_late, start.elapsed())
}

fn no_reader(reader: PipeReader, writer: PipeWriter) -> (bool, Duration) {
    let start = Instant::now();
    drop(reader);
    let mut is_late = false;
    loop {
        match writer.try_write(b"x") {
            Ok(_) => is_late = true,
            Err(error) if error.kind() == tieline_os::ErrorKind::PeerGone => return (is_late, start.elapsed()),
            // Full, and still somebody's.
            Err(error) => assert!(error.is_would_block(), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "the reader has gone, and the writer is not told");
    }
}
