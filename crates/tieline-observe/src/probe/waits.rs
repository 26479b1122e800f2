//! What sleeping threads wait for.
//!
//! `/proc/PID/task/TID/syscall` gives the system call a thread sleeps in and its arguments: the descriptor it reads,
//! the queue it receives from, the semaphores it wants (whose list lies in its memory). Each thread is asked twice, at
//! the two ends of the look: one that is in the same call with the same arguments and the same stack both times is said
//! to wait. One that came and went in between may be taken for it; it was waiting both times.

use std::collections::HashMap;
use std::fs;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use tieline_os::process_memory::ProcessMemory;

use super::locks::Nobodys;
use crate::model::{
    Builder, How, Identity, Kind, ObjectRef, ProcessRef, ProcessState, Text, UnseenWhat, UnseenWhy, Wait, WaitReason,
};

/// The most operations of one `semop` that are read; the kernel's own default limit is 500.
const OPERATIONS_MAX: usize = 512;
/// The commands of `fcntl` that wait for a lock.
const F_SETLKW: i32 = 7;
const F_OFD_SETLKW: i32 = 38;
/// The longest path that is read out of another process.
const PATH_MAX: usize = 4096;

/// Looks, and finds the processes of `nobodys` locks among those that wait; what is left of them has none that was found.
pub(crate) fn look(builder: &mut Builder, nobodys: &mut Vec<Nobodys>) {
    let first = asleep(builder);
    if first.is_empty() {
        return;
    }
    let descriptors = descriptors(builder);
    let memories = Memories::default();
    let mut places = Places { descriptors, memories, maps: HashMap::new() };
    for thread in first {
        let pid = pid_of(builder, thread.process);
        if Call::of(pid, thread.tid).ok().flatten().as_ref() != Some(&thread.call) {
            continue;
        }
        if let Some((object, reason)) = places.reason(builder, &thread) {
            if let (Some(object), WaitReason::Lock) = (object, &reason) {
                places.claim(builder, &thread, object, nobodys);
            }
            builder.wait(Wait { process: thread.process, thread: thread.tid, object, reason });
        }
    }
}

/// A thread that sleeps in a system call.
struct Thread {
    process: ProcessRef,
    tid: u32,
    call: Call,
}

fn asleep(builder: &mut Builder) -> Vec<Thread> {
    let mut threads = Vec::new();
    let mut refused = 0;
    let viewer = builder.viewer().pid;
    let processes: Vec<(ProcessRef, u32)> = builder
        .processes()
        .iter()
        .filter(|process| !process.is_kernel_thread && process.state != ProcessState::Zombie && process.pid != viewer)
        .map(|process| (process.reference, process.pid))
        .collect();
    for (process, pid) in processes {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for tid in tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()) {
            match Call::of(pid, tid) {
                Ok(Some(call)) => threads.push(Thread { process, tid, call }),
                Ok(None) => {}
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => refused += 1,
                // Ended meanwhile.
                Err(_) => {}
            }
        }
    }
    builder.unseen(UnseenWhat::Waits, UnseenWhy::NoPermission, refused);
    threads
}

/// A system call in which a thread sleeps.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Call {
    number: i64,
    arguments: [u64; 6],
    stack: u64,
}

impl Call {
    /// The call in which the thread sleeps; `None` if it runs, or sleeps outside of one.
    fn of(pid: u32, tid: u32) -> std::io::Result<Option<Self>> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))?))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?.parse().ok().filter(|&number: &i64| number >= 0)?;
        let mut hexadecimal = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = hexadecimal()?;
        }
        Some(Self { number, arguments, stack: hexadecimal()? })
    }

    /// An argument that is an `int`: its upper half is whatever the register held.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel looks at the lower half only")]
    fn int(&self, index: usize) -> i32 {
        (self.arguments[index] as u32).cast_signed()
    }
}

/// The calls that are understood, by what their arguments mean. Numbers of the 64-bit system call tables; a 32-bit
/// program on a 64-bit kernel has numbers of its own, whose arguments seldom fit and are then left out.
enum Meaning {
    Read,
    Write,
    Accept,
    Connect,
    Open { path: usize },
    Control,
    Flock,
    Semaphores,
    MessageReceive,
    MessageSend,
    QueueReceive,
    QueueSend,
    Futex,
}

#[cfg(target_arch = "x86_64")]
fn meaning(number: i64) -> Option<Meaning> {
    Some(match number {
        0 | 17 | 19 | 45 | 47 | 295 | 299 | 327 => Meaning::Read,
        1 | 18 | 20 | 44 | 46 | 296 | 307 | 328 => Meaning::Write,
        2 | 85 => Meaning::Open { path: 0 },
        257 | 437 => Meaning::Open { path: 1 },
        42 => Meaning::Connect,
        43 | 288 => Meaning::Accept,
        65 | 220 => Meaning::Semaphores,
        69 => Meaning::MessageSend,
        70 => Meaning::MessageReceive,
        72 => Meaning::Control,
        73 => Meaning::Flock,
        202 => Meaning::Futex,
        242 => Meaning::QueueSend,
        243 => Meaning::QueueReceive,
        _ => return None,
    })
}

#[cfg(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
fn meaning(number: i64) -> Option<Meaning> {
    Some(match number {
        63 | 65 | 67 | 69 | 207 | 212 | 243 | 286 => Meaning::Read,
        64 | 66 | 68 | 70 | 206 | 211 | 269 | 287 => Meaning::Write,
        56 | 437 => Meaning::Open { path: 1 },
        203 => Meaning::Connect,
        202 | 242 => Meaning::Accept,
        192 | 193 => Meaning::Semaphores,
        189 => Meaning::MessageSend,
        188 => Meaning::MessageReceive,
        25 => Meaning::Control,
        32 => Meaning::Flock,
        98 => Meaning::Futex,
        182 => Meaning::QueueSend,
        183 => Meaning::QueueReceive,
        _ => return None,
    })
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "loongarch64"
)))]
fn meaning(_number: i64) -> Option<Meaning> {
    None
}

/// Ways from the arguments of a call to an object of the snapshot.
struct Places {
    descriptors: HashMap<(ProcessRef, i32), ObjectRef>,
    memories: Memories,
    maps: HashMap<ProcessRef, Vec<Mapped>>,
}

impl Places {
    /// What the thread waits for; `None` for a call that is not about an object, as reading from a terminal.
    fn reason(&mut self, builder: &mut Builder, thread: &Thread) -> Option<(Option<ObjectRef>, WaitReason)> {
        let call = &thread.call;
        let by_fd = |places: &Self| places.descriptors.get(&(thread.process, call.int(0))).copied();
        match meaning(call.number)? {
            Meaning::Read | Meaning::QueueReceive => Some((Some(by_fd(self)?), WaitReason::Read)),
            Meaning::Write | Meaning::QueueSend => Some((Some(by_fd(self)?), WaitReason::Write)),
            Meaning::Accept => Some((Some(by_fd(self)?), WaitReason::Accept)),
            Meaning::Connect => Some((by_fd(self), WaitReason::Connect)),
            Meaning::Open { path } => self.open(builder, thread, path),
            Meaning::Flock => Some((self.locked(builder, thread), WaitReason::Lock)),
            Meaning::Control => {
                // No other command sleeps.
                matches!(call.int(1), F_SETLKW | F_OFD_SETLKW).then(|| (self.locked(builder, thread), WaitReason::Lock))
            }
            Meaning::Semaphores => {
                let object = system_v(builder, thread.process, Kind::SysvSem, call.int(0));
                Some((object, WaitReason::Semaphores(self.operations(builder, thread))))
            }
            Meaning::MessageReceive => {
                let object = system_v(builder, thread.process, Kind::SysvMq, call.int(0));
                Some((object, WaitReason::Message { message_type: call.arguments[3].cast_signed() }))
            }
            Meaning::MessageSend => {
                let object = system_v(builder, thread.process, Kind::SysvMq, call.int(0));
                Some((object, WaitReason::Room { bytes: call.arguments[2] }))
            }
            Meaning::Futex => self.futex(builder, thread),
        }
    }

    /// The operations of a `semop`, out of the waiting thread's memory; empty if that may not be read.
    fn operations(&mut self, builder: &Builder, thread: &Thread) -> Vec<(u16, i16)> {
        let count = usize::try_from(thread.call.arguments[2]).unwrap_or(usize::MAX).min(OPERATIONS_MAX);
        let mut bytes = vec![0; count * size_of::<[u16; 3]>()];
        let pid = pid_of(builder, thread.process);
        if !self.memories.read(pid, thread.call.arguments[1], &mut bytes) {
            return Vec::new();
        }
        bytes
            .chunks_exact(6)
            .map(|raw| (u16::from_ne_bytes([raw[0], raw[1]]), i16::from_ne_bytes([raw[2], raw[3]])))
            .collect()
    }

    /// The FIFO that a thread sleeps in opening; nothing for any other file.
    fn open(&mut self, builder: &mut Builder, thread: &Thread, path: usize) -> Option<(Option<ObjectRef>, WaitReason)> {
        let pid = pid_of(builder, thread.process);
        let path = self.memories.string(pid, thread.call.arguments[path])?;
        let from = if path.first() == Some(&b'/') { "root" } else { "cwd" };
        let full = [format!("/proc/{pid}/{from}/").as_bytes(), &path].concat();
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let stat = rustix::fs::statx(CWD, full.as_slice(), flags, StatxFlags::INO | StatxFlags::TYPE).ok()?;
        if !rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_fifo() {
            return None;
        }
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let object = builder.object(Identity::File { device, inode: stat.stx_ino }, Kind::Fifo);
        let name = Text::from(&path);
        if builder.object_at(object).name.is_none() && from == "root" {
            let namespace = builder.processes()[thread.process.index()].namespaces.mnt;
            let object = builder.object_mut(object);
            (object.name, object.namespace) = (Some(name.clone()), namespace);
        }
        Some((Some(object), WaitReason::Open(name)))
    }

    /// The file whose lock a thread waits for.
    fn locked(&self, builder: &Builder, thread: &Thread) -> Option<ObjectRef> {
        let pid = pid_of(builder, thread.process);
        let link = format!("/proc/{pid}/fd/{}", thread.call.int(0));
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let stat = rustix::fs::statx(CWD, link, flags, StatxFlags::INO).ok()?;
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        builder.find(Identity::File { device, inode: stat.stx_ino })
    }

    /// Gives a waiting lock of the file to the thread that asked for it, by what it asked for.
    fn claim(&mut self, builder: &mut Builder, thread: &Thread, object: ObjectRef, nobodys: &mut Vec<Nobodys>) {
        let pid = pid_of(builder, thread.process);
        let asked = Asked::read(&mut self.memories, pid, thread.call.arguments[2]);
        let fits = |one: &Nobodys| one.object == object && asked.as_ref().is_none_or(|asked| asked.is_for(one));
        if !nobodys.is_empty()
            && matches!(meaning(thread.call.number), Some(Meaning::Control))
            && thread.call.int(1) == F_OFD_SETLKW
            && let Some(place) = nobodys.iter().position(fits)
        {
            builder.hold(thread.process, object, How::Lock(nobodys.swap_remove(place).lock));
        }
    }

    /// The shared object in which the word lies that a thread sleeps on; nothing for a word of its own memory.
    fn futex(&mut self, builder: &Builder, thread: &Thread) -> Option<(Option<ObjectRef>, WaitReason)> {
        let pid = pid_of(builder, thread.process);
        let address = thread.call.arguments[0];
        let mapped = self.maps.entry(thread.process).or_insert_with(|| Mapped::all_of(pid));
        let found = mapped.iter().find(|mapped| mapped.start <= address && address < mapped.end)?;
        let identity = match found.system_v {
            Some(id) => {
                let namespace = builder.processes()[thread.process.index()].namespaces.ipc?;
                Identity::SystemV { kind: Kind::SysvShm, namespace, id }
            }
            None => Identity::File { device: found.device, inode: found.inode },
        };
        let object = builder.find(identity)?;
        let offset = Some(found.offset + (address - found.start));
        Some((Some(object), WaitReason::Futex { address, offset }))
    }
}

fn pid_of(builder: &Builder, process: ProcessRef) -> u32 {
    builder.processes()[process.index()].pid
}

fn system_v(builder: &Builder, process: ProcessRef, kind: Kind, id: i32) -> Option<ObjectRef> {
    let namespace = builder.processes()[process.index()].namespaces.ipc?;
    builder.find(Identity::SystemV { kind, namespace, id })
}

fn descriptors(builder: &Builder) -> HashMap<(ProcessRef, i32), ObjectRef> {
    let open = |hold: &crate::model::Hold| match hold.how {
        How::Descriptor { fd, .. } => Some(((hold.process, fd), hold.object)),
        _ => None,
    };
    builder.holds().iter().filter_map(open).collect()
}

/// The memories of other processes, opened when first wanted.
#[derive(Default)]
struct Memories(HashMap<u32, Option<ProcessMemory>>);

impl Memories {
    fn read(&mut self, pid: u32, address: u64, into: &mut [u8]) -> bool {
        let Ok(address) = usize::try_from(address) else { return false };
        let memory = self.0.entry(pid).or_insert_with(|| ProcessMemory::open(pid).ok());
        memory.as_ref().is_some_and(|memory| memory.read_exact(address, into).is_ok())
    }

    /// A string that ends with NUL, read in steps that never cross into a page that may not be there.
    fn string(&mut self, pid: u32, address: u64) -> Option<Vec<u8>> {
        const STEP: u64 = 256;
        let mut string = Vec::new();
        let mut at = address;
        while string.len() < PATH_MAX {
            let step = STEP - at % STEP;
            let mut bytes = vec![0; usize::try_from(step).ok()?];
            if !self.read(pid, at, &mut bytes) {
                return None;
            }
            if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&bytes[..end]);
                return Some(string);
            }
            string.extend_from_slice(&bytes);
            at = at.checked_add(step)?;
        }
        None
    }
}

/// What a thread asked `fcntl` for: the fields of the kernel's `struct flock` for 64-bit programs.
struct Asked {
    is_exclusive: bool,
    /// `None` if it counts from the file's position or end, which is not known here.
    range: Option<(i64, i64)>,
}

impl Asked {
    fn read(memories: &mut Memories, pid: u32, address: u64) -> Option<Self> {
        let mut bytes = [0; 24];
        memories.read(pid, address, &mut bytes).then(|| Self::parse(&bytes))
    }

    fn parse(bytes: &[u8; 24]) -> Self {
        const F_WRLCK: i16 = 1;
        const SEEK_SET: i16 = 0;
        let short = |at: usize| i16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| i64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index]));
        let range = (short(2) == SEEK_SET).then(|| (long(8), long(16)));
        Self { is_exclusive: short(0) == F_WRLCK, range }
    }

    /// Whether the waiting lock is the one that was asked for. A length of 0 reaches to the end of the file, a negative
    /// one backwards from the byte before the start.
    fn is_for(&self, nobodys: &Nobodys) -> bool {
        let Nobodys { lock, .. } = nobodys;
        let is_range = self.range.is_none_or(|(start, length)| {
            let first = i128::from(start) + i128::from(length.min(0));
            let last = (length != 0).then(|| i128::from(start) + i128::from(length.max(0)) - 1);
            (first, last) == (i128::from(lock.start), lock.end.map(i128::from))
        });
        self.is_exclusive == lock.is_exclusive && is_range
    }
}

/// One shared mapping of a process.
struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    device: u64,
    inode: u64,
    /// The id of a System V segment.
    system_v: Option<i32>,
}

impl Mapped {
    fn all_of(pid: u32) -> Vec<Self> {
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return Vec::new() };
        maps.split(|&byte| byte == b'\n').filter_map(|line| Self::parse(&String::from_utf8_lossy(line))).collect()
    }

    /// Reads `start-end perms offset major:minor inode path` of a shared mapping.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
        words.next()?.ends_with('s').then_some(())?;
        let offset = hexadecimal(words.next()?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let device =
            rustix::fs::makedev(u32::try_from(hexadecimal(major)?).ok()?, u32::try_from(hexadecimal(minor)?).ok()?);
        let inode: u64 = words.next()?.parse().ok()?;
        let is_system_v = words.next().is_some_and(|path| path.starts_with("/SYSV"));
        let system_v = if is_system_v { Some(i32::try_from(inode).ok()?) } else { None };
        Some(Self { start: hexadecimal(start)?, end: hexadecimal(end)?, offset, device, inode, system_v })
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Call, Mapped};
    use crate::model::{Builder, Identity, Kind, Lock, LockKind, Namespaces, Viewer};
    use crate::probe::locks::Nobodys;

    #[test]
    fn a_lock_that_was_asked_for_is_known_by_its_bytes() {
        let asked = |kind: i16, whence: i16, start: i64, length: i64| {
            let mut bytes = [0; 24];
            bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            bytes[2..4].copy_from_slice(&whence.to_ne_bytes());
            bytes[8..16].copy_from_slice(&start.to_ne_bytes());
            bytes[16..].copy_from_slice(&length.to_ne_bytes());
            Asked::parse(&bytes)
        };
        let mut builder = Builder::new(Viewer { pid: 1, uid: 0, namespaces: Namespaces::default() });
        let object = builder.object(Identity::File { device: 1, inode: 2 }, Kind::File);
        let nobodys = |is_exclusive, start, end| {
            let lock = Lock { kind: LockKind::Ofd, is_exclusive, start, end, number: 1, is_waiting: true };
            Nobodys { object, lock }
        };
        assert!(asked(1, 0, 10, 5).is_for(&nobodys(true, 10, Some(14))));
        assert!(asked(1, 0, 15, -5).is_for(&nobodys(true, 10, Some(14))));
        assert!(asked(0, 0, 10, 0).is_for(&nobodys(false, 10, None)));
        // From the position: any range may be meant.
        assert!(asked(0, 1, 3, 5).is_for(&nobodys(false, 10, Some(14))));
        assert!(!asked(0, 0, 10, 5).is_for(&nobodys(true, 10, Some(14))));
        assert!(!asked(1, 0, 10, 6).is_for(&nobodys(true, 10, Some(14))));
        assert!(!asked(1, 0, i64::MIN, i64::MIN).is_for(&nobodys(true, 10, Some(14))));
        assert!(!asked(1, 0, i64::MAX, i64::MAX).is_for(&nobodys(true, 10, None)));
    }

    #[test]
    fn a_sleeping_thread_tells_its_call() {
        let call = Call::parse("73 0x6 0x2 0x0 0x7fe920374ad8 0x0 0x0 0x7fff153e3368 0x7fe920916897\n")
            .expect("a line as the kernel's");
        assert_eq!((call.number, call.int(0), call.stack), (73, 6, 0x7fff_153e_3368));
    }

    #[test]
    fn one_that_runs_or_faults_waits_for_nobody() {
        for line in ["running\n", "-1 0x7fff153e3368 0x7fe920916897\n", "", "0 0x1 0x2"] {
            assert_eq!(Call::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn only_shared_mappings_count() {
        let shared = "7f00-7f80 rw-s 00001000 00:01 32769 /SYSV00000000 (deleted)";
        let mapped = Mapped::parse(shared).expect("a line as the kernel's");
        assert_eq!((mapped.start, mapped.end, mapped.offset, mapped.system_v), (0x7f00, 0x7f80, 0x1000, Some(32769)));
        assert!(Mapped::parse(&shared.replace("rw-s", "rw-p")).is_none());
    }
}
