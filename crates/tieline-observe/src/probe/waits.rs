//! What sleeping threads wait for.
//!
//! `/proc/PID/task/TID/syscall` gives the system call a thread sleeps in and its arguments: the descriptor it reads,
//! the queue it receives from, the semaphores it wants (whose list lies in its memory). Each thread is asked twice, at
//! the two ends of the look: one that is in the same call with the same arguments and the same stack both times is said
//! to wait. One that came and went in between may be taken for it; it was waiting both times.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;
use tieline_os::process_memory::ProcessMemory;

use super::at_hand;
use super::kernel_files::KernelFiles;
use super::locks::Ownerless;
use super::mounts::Mounts;
use super::procfs::{self, End, FOLDER, Folder, Folders, Listing, parse, parse_base};
use crate::model::{
    Builder, How, Identity, Kind, ObjectRef, ProcessRef, ProcessState, Text, UnseenWhat, UnseenWhy, Wait, WaitReason,
};

/// The most operations of one `semop` that are read; the kernel's own default limit is 500.
const OPERATIONS_MAX: usize = 512;
/// The most words that a thread can sleep on; the kernel's own limit.
const FUTEXES_MAX: usize = 128;
/// The commands of `fcntl` that wait for a lock.
const F_SETLKW: i32 = 7;
const F_OFD_SETLKW: i32 = 38;
/// The longest path that is read out of another process.
const PATH_MAX: usize = 4096;
/// The place of a folder's descriptor that stands for the working directory.
const AT_FDCWD: i32 = -100;
/// How much of the text of `maps` is read: half a million lines.
const MAPS_BYTES: usize = 64 << 20;

/// Looks, and finds the processes of `ownerless` locks among those that wait; what is left of them has none that was found.
pub(crate) fn look(builder: &mut Builder, folders: &Folders, ownerless: &mut Vec<Ownerless>) {
    let first = asleep(builder, folders);
    if first.is_empty() {
        return;
    }
    let descriptors = descriptors(builder);
    let mut places = Places { descriptors, mounts: Mounts::own(), kernel: KernelFiles::new(), asked: None };
    for (folder, threads) in first {
        let Ok(opened) = folders.open(folder) else { continue };
        let Ok(tasks) = tasks(folders, folder, opened.as_fd()) else { continue };
        places.asked = None;
        for thread in threads {
            if Call::of(tasks.as_fd(), thread.tid).ok().flatten().as_ref() != Some(&thread.call) {
                continue;
            }
            let at = At { folder: opened.as_fd(), pid: folder.pid };
            if let Some((object, reason)) = places.reason(builder, at, &thread) {
                if let (Some(object), WaitReason::Lock) = (object, &reason) {
                    places.claim(builder, at, &thread, object, ownerless);
                }
                builder.wait(Wait { process: thread.process, thread: thread.tid, object, reason });
            }
        }
    }
}

/// A thread that sleeps in a system call.
struct Thread {
    process: ProcessRef,
    tid: u32,
    call: Call,
}

/// The process that is looked at. Its folder fails once it has ended; the number may be another's then.
#[derive(Clone, Copy)]
struct At<'f> {
    folder: BorrowedFd<'f>,
    pid: u32,
}

fn asleep<'f>(builder: &mut Builder, folders: &'f Folders) -> Vec<(&'f Folder, Vec<Thread>)> {
    let mut all = Vec::new();
    let mut refused = 0;
    let mut foreign = 0;
    let viewer = builder.viewer().pid;
    let mut listing = Listing::new();
    for folder in folders.iter().filter(|folder| folder.pid != viewer) {
        // Of one that is stopped the kernel tells the call that it was in: it waits for nothing but to go on.
        let state = builder.processes()[folder.process.index()].state;
        if matches!(state, ProcessState::Zombie | ProcessState::Stopped | ProcessState::Traced) {
            continue;
        }
        let Ok(opened) = folders.open(folder) else { continue };
        let Ok(tasks) = tasks(folders, folder, opened.as_fd()) else { continue };
        let mut threads = Vec::new();
        // It may have ended in the middle; what was listed until then is tried.
        let _ = procfs::numbers(&tasks, &mut listing, |_, tid| match Call::of(tasks.as_fd(), tid) {
            Ok(Some(call)) if call.is_of_32_bits() => foreign += 1,
            Ok(Some(call)) => threads.push(Thread { process: folder.process, tid, call }),
            Ok(None) => {}
            Err(Errno::ACCESS | Errno::PERM) => refused += 1,
            // Ended meanwhile.
            Err(_) => {}
        });
        if !threads.is_empty() {
            all.push((folder, threads));
        }
    }
    builder.unseen(UnseenWhat::Waits, UnseenWhy::NoPermission, refused);
    builder.unseen(UnseenWhat::Waits, UnseenWhy::NotSupported, foreign);
    all
}

/// The folder of a process's threads.
fn tasks(folders: &Folders, folder: &Folder, opened: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(opened, c"task", FOLDER, Mode::empty()).or_else(|_| {
        // What is kept of a process whose first thread has ended is the folder of another one, and while that one lives
        // the number is nobody else's.
        let tasks = openat(folders.proc(), path(format_args!("{}/task", folder.pid)), FOLDER, Mode::empty())?;
        procfs::read(opened, c"stat", &mut [0; 64]).map(|_| tasks)
    })
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
    fn of(tasks: BorrowedFd<'_>, tid: u32) -> Result<Option<Self>, Errno> {
        // A number of ten digits and eight more of 18 each fit.
        let mut buffer = [0; 256];
        let line = procfs::read(tasks, &path(format_args!("{tid}/syscall")), &mut buffer)?;
        Ok(std::str::from_utf8(line).ok().and_then(Self::parse))
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

    /// Whether it is one of a 32-bit program, as all its numbers tell. Its call has another number and a meaning of its
    /// own, so that nobody can say what it does not wait for.
    fn is_of_32_bits(&self) -> bool {
        const HIGH: u64 = 1 << 32;
        cfg!(target_pointer_width = "64") && self.stack < HIGH && self.arguments.iter().all(|&one| one < HIGH)
    }

    /// Whether it is one of those calls of `futex` that sleep: others, which wake, may be seen under way.
    fn sleeps_on_futex(&self) -> bool {
        const PRIVATE_AND_CLOCK: i32 = 128 | 256;
        const WAIT: i32 = 0;
        const LOCK_PI: i32 = 6;
        const WAIT_BITSET: i32 = 9;
        const WAIT_REQUEUE_PI: i32 = 11;
        const LOCK_PI2: i32 = 13;
        matches!(self.int(1) & !PRIVATE_AND_CLOCK, WAIT | LOCK_PI | WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2)
    }

    /// An argument that is an `int`: its upper half is whatever the register held.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel looks at the lower half only")]
    fn int(&self, index: usize) -> i32 {
        (self.arguments[index] as u32).cast_signed()
    }
}

/// A path in `/proc/PID`, of our own making.
fn path(text: fmt::Arguments<'_>) -> CString {
    CString::new(text.to_string()).expect("words and numbers have no NUL")
}

/// The calls that are understood, by what their arguments mean. Numbers of the 64-bit system call tables.
enum Meaning {
    Read,
    Write,
    Accept,
    Connect,
    /// The place of the path among the arguments; the folder that it starts from, if any, is the one before.
    Open {
        path: usize,
    },
    Control,
    Flock,
    Semaphores,
    MessageReceive,
    MessageSend,
    QueueReceive,
    QueueSend,
    Futex,
    /// A list of words.
    Futexes,
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
        449 => Meaning::Futexes,
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
        449 => Meaning::Futexes,
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
    mounts: Mounts,
    kernel: KernelFiles,
    /// What was opened of the one process that is looked at.
    asked: Option<Asked>,
}

/// What is opened of a process when it is first wanted, and closed before the next one's.
#[derive(Default)]
struct Asked {
    memory: Option<Option<ProcessMemory>>,
    areas: Option<Vec<Area>>,
}

impl Places {
    /// What the thread waits for; `None` for a call that is not about an object, as reading from a terminal.
    fn reason(
        &mut self,
        builder: &mut Builder,
        at: At<'_>,
        thread: &Thread,
    ) -> Option<(Option<ObjectRef>, WaitReason)> {
        let call = &thread.call;
        let by_fd = |places: &Self| places.descriptors.get(&(thread.process, call.int(0))).copied();
        match meaning(call.number)? {
            Meaning::Read | Meaning::QueueReceive => Some((Some(by_fd(self)?), WaitReason::Read)),
            Meaning::Write | Meaning::QueueSend => Some((Some(by_fd(self)?), WaitReason::Write)),
            Meaning::Accept => Some((Some(by_fd(self)?), WaitReason::Accept)),
            Meaning::Connect => Some((by_fd(self), WaitReason::Connect)),
            Meaning::Open { path } => self.open(builder, at, thread, path),
            Meaning::Flock => Some((locked(builder, at, call), WaitReason::Lock)),
            Meaning::Control => {
                // No other command sleeps.
                matches!(call.int(1), F_SETLKW | F_OFD_SETLKW).then(|| (locked(builder, at, call), WaitReason::Lock))
            }
            Meaning::Semaphores => {
                let object = system_v(builder, thread.process, Kind::SysvSem, call.int(0));
                Some((object, WaitReason::Semaphores(self.operations(at, call))))
            }
            Meaning::MessageReceive => {
                let object = system_v(builder, thread.process, Kind::SysvMq, call.int(0));
                Some((object, WaitReason::Message { message_type: call.arguments[3].cast_signed() }))
            }
            Meaning::MessageSend => {
                let object = system_v(builder, thread.process, Kind::SysvMq, call.int(0));
                Some((object, WaitReason::Room { bytes: call.arguments[2] }))
            }
            Meaning::Futex if call.sleeps_on_futex() => self.futex(builder, at, thread.process, call.arguments[0]),
            Meaning::Futex => None,
            Meaning::Futexes => self.futexes(builder, at, thread),
        }
    }

    /// The operations of a `semop`, out of the waiting thread's memory; empty if that may not be read.
    fn operations(&mut self, at: At<'_>, call: &Call) -> Vec<(u16, i16)> {
        let count = usize::try_from(call.arguments[2]).unwrap_or(usize::MAX).min(OPERATIONS_MAX);
        let mut bytes = vec![0; count * size_of::<[u16; 3]>()];
        if !self.read(at, call.arguments[1], &mut bytes) {
            return Vec::new();
        }
        bytes
            .chunks_exact(6)
            .map(|raw| (u16::from_ne_bytes([raw[0], raw[1]]), i16::from_ne_bytes([raw[2], raw[3]])))
            .collect()
    }

    /// The FIFO that a thread sleeps in opening; nothing for any other file.
    fn open(
        &mut self,
        builder: &mut Builder,
        at: At<'_>,
        thread: &Thread,
        path: usize,
    ) -> Option<(Option<ObjectRef>, WaitReason)> {
        let name = self.string(at, thread.call.arguments[path])?;
        let is_absolute = name.first() == Some(&b'/');
        let from = match path.checked_sub(1).map(|folder| thread.call.int(folder)) {
            _ if is_absolute => self::path(format_args!("root")),
            None | Some(AT_FDCWD) => self::path(format_args!("cwd")),
            Some(folder) => self::path(format_args!("fd/{folder}")),
        };
        let stat = stat_at_hand(at.folder, &from, &name, is_absolute)?;
        if !rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_fifo() {
            return None;
        }
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let object = builder.object(Identity::File { device, inode: stat.stx_ino }, Kind::Fifo);
        let name = Text::from(&name);
        if builder.object_at(object).name.is_none() && is_absolute {
            let namespace = builder.processes()[thread.process.index()].namespaces.mnt;
            let object = builder.object_mut(object);
            (object.name, object.namespace) = (Some(name.clone()), namespace);
        }
        Some((Some(object), WaitReason::Open(name)))
    }

    /// Gives a waiting lock of the file to the thread that asked for it, by what it asked for.
    fn claim(
        &mut self,
        builder: &mut Builder,
        at: At<'_>,
        thread: &Thread,
        object: ObjectRef,
        ownerless: &mut Vec<Ownerless>,
    ) {
        let is_it = matches!(meaning(thread.call.number), Some(Meaning::Control)) && thread.call.int(1) == F_OFD_SETLKW;
        if ownerless.is_empty() || !is_it {
            return;
        }
        let mut bytes = [0; 24];
        let is_read = self.read(at, thread.call.arguments[2], &mut bytes);
        let asked = is_read.then(|| WantedLock::parse(&bytes));
        let fits = |one: &Ownerless| one.object == object && asked.as_ref().is_none_or(|asked| asked.is_for(one));
        if let Some(place) = ownerless.iter().position(fits) {
            builder.hold(thread.process, object, How::Lock(ownerless.swap_remove(place).lock));
        }
    }

    /// The shared object in which the word lies that a thread sleeps on; nothing for a word of its own memory.
    fn futex(
        &mut self,
        builder: &Builder,
        at: At<'_>,
        process: ProcessRef,
        address: u64,
    ) -> Option<(Option<ObjectRef>, WaitReason)> {
        let found = *self.area(at, address).filter(|area| area.is_shared)?;
        let identity = match found.system_v {
            Some(id) => {
                let namespace = builder.processes()[process.index()].namespaces.ipc?;
                Identity::SystemV { kind: Kind::SysvShm, namespace, id }
            }
            None => Identity::File { device: found.device, inode: found.inode },
        };
        let object = builder.find(identity)?;
        let offset = found.offset.checked_add(address - found.start);
        Some((Some(object), WaitReason::Futex { address, offset }))
    }

    /// The same of one who sleeps on several words (`futex_waitv`): the first of them that lies in a segment of
    /// `tieline-shm`, or else that others share.
    fn futexes(&mut self, builder: &Builder, at: At<'_>, thread: &Thread) -> Option<(Option<ObjectRef>, WaitReason)> {
        let count = usize::try_from(thread.call.arguments[1]).unwrap_or(usize::MAX).min(FUTEXES_MAX);
        // Each is a value of 64 bits, an address, and two numbers of 32 bits.
        let mut bytes = vec![0; count * 24];
        if !self.read(at, thread.call.arguments[0], &mut bytes) {
            return None;
        }
        let mut shared = None;
        for one in bytes.chunks_exact(24) {
            let address = u64::from_ne_bytes(std::array::from_fn(|index| one[8 + index]));
            let Some((Some(object), reason)) = self.futex(builder, at, thread.process, address) else { continue };
            if builder.object_at(object).kind.is_segment() {
                return Some((Some(object), reason));
            }
            shared = shared.or(Some((Some(object), reason)));
        }
        shared
    }

    fn asked(&mut self) -> &mut Asked {
        self.asked.get_or_insert_default()
    }

    /// The mapping in which an address lies.
    fn area(&mut self, at: At<'_>, address: u64) -> Option<&Area> {
        let areas = self.asked().areas.get_or_insert_with(|| Area::all_of(at.folder));
        let place = areas.partition_point(|area| area.end <= address);
        areas.get(place).filter(|area| area.start <= address)
    }

    /// Copies memory of the process, if that is sure to be quick.
    ///
    /// A page that is not there yet is fetched from its file, and a file of a user's own file system (FUSE) is fetched
    /// when that user pleases: reading it would stop us for good. So only memory of no file, of the kernel's own and of
    /// file systems that answer at once is read. What remains: another thread of the process can map such a file there in
    /// the moment between the two calls.
    fn read(&mut self, at: At<'_>, address: u64, into: &mut [u8]) -> bool {
        let Some(end) = address.checked_add(into.len() as u64) else { return false };
        let Some(&area) = self.area(at, address) else { return false };
        let is_quick = (area.device == 0 && area.inode == 0)
            || self.kernel.is_memory(area.device)
            || self.mounts.is_quick(area.device);
        if end > area.end || !is_quick {
            return false;
        }
        let Ok(address) = usize::try_from(address) else { return false };
        let memory = self.asked().memory.get_or_insert_with(|| {
            let memory = ProcessMemory::open(at.pid).ok()?;
            // The number meant this process if it lives still.
            let mut stat = [0; 64];
            procfs::read(at.folder, c"stat", &mut stat).is_ok().then_some(memory)
        });
        memory.as_ref().is_some_and(|memory| memory.read_exact(address, into).is_ok())
    }

    /// A string that ends with NUL, read in steps that never cross into a page that may not be there.
    fn string(&mut self, at: At<'_>, address: u64) -> Option<Vec<u8>> {
        const STEP: u64 = 256;
        let mut string = Vec::new();
        let mut next = address;
        while string.len() < PATH_MAX {
            let step = STEP - next % STEP;
            let mut bytes = vec![0; usize::try_from(step).ok()?];
            if !self.read(at, next, &mut bytes) {
                return None;
            }
            if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&bytes[..end]);
                return Some(string);
            }
            string.extend_from_slice(&bytes);
            next = next.checked_add(step)?;
        }
        None
    }
}

/// What the kernel has at hand of the file that a process names. A name that a thread sleeps in opening is at hand, and
/// no file system is asked for it, which might never answer. Nothing before Linux 5.12, which cannot be asked so.
fn stat_at_hand(process: BorrowedFd<'_>, from: &CStr, name: &[u8], is_absolute: bool) -> Option<Statx> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from: OwnedFd = openat(process, from, folder, Mode::empty()).ok()?;
    // A link that is absolute means the root of that process, which is known only where the path starts from it.
    let within = if is_absolute { ResolveFlags::IN_ROOT } else { ResolveFlags::NO_SYMLINKS };
    let file = at_hand::open(&from, name, OFlags::empty(), within | ResolveFlags::NO_MAGICLINKS);
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(file.ok()?, c"", flags, StatxFlags::INO | StatxFlags::TYPE).ok()
}

/// The file whose lock a thread waits for.
fn locked(builder: &Builder, at: At<'_>, call: &Call) -> Option<ObjectRef> {
    let link = path(format_args!("fd/{}", call.int(0)));
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let stat = statx(at.folder, &link, flags, StatxFlags::INO).ok()?;
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    builder.find(Identity::File { device, inode: stat.stx_ino })
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

/// What a thread asked `fcntl` for: the fields of the kernel's `struct flock` for 64-bit programs.
struct WantedLock {
    is_exclusive: bool,
    /// `None` if it counts from the file's position or end, which is not known here.
    range: Option<(i64, i64)>,
}

impl WantedLock {
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
    fn is_for(&self, ownerless: &Ownerless) -> bool {
        let Ownerless { lock, .. } = ownerless;
        let is_range = self.range.is_none_or(|(start, length)| {
            let first = i128::from(start) + i128::from(length.min(0));
            let last = (length != 0).then(|| i128::from(start) + i128::from(length.max(0)) - 1);
            (first, last) == (i128::from(lock.start), lock.end.map(i128::from))
        });
        self.is_exclusive == lock.is_exclusive && is_range
    }
}

/// One mapping of a process.
#[derive(Debug, Clone, Copy)]
struct Area {
    start: u64,
    end: u64,
    is_shared: bool,
    offset: u64,
    device: u64,
    inode: u64,
    /// The id of a System V segment.
    system_v: Option<i32>,
}

impl Area {
    /// All of them, by address.
    fn all_of(folder: BorrowedFd<'_>) -> Vec<Self> {
        let mut maps = Vec::new();
        if procfs::read_lines(folder, c"maps", &mut maps, End::Nothing, MAPS_BYTES).is_err() {
            return Vec::new();
        }
        let mut areas: Vec<Self> = maps.split(|&byte| byte == b'\n').filter_map(Self::parse).collect();
        // As the kernel lists them; but it makes the list page by page while the process runs.
        areas.sort_by_key(|area| area.start);
        areas
    }

    /// Reads `start-end perms offset major:minor inode path`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let pair = |word: &[u8], between: u8| {
            let middle = word.iter().position(|&byte| byte == between)?;
            Some((parse_base(&word[..middle], 16)?, parse_base(&word[middle + 1..], 16)?))
        };
        let (start, end) = pair(words.next()?, b'-').filter(|(start, end)| start < end)?;
        let is_shared = words.next()?.ends_with(b"s");
        let offset = parse_base(words.next()?, 16)?;
        let (major, minor) = pair(words.next()?, b':')?;
        let device = rustix::fs::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        let inode: u64 = parse(words.next()?)?;
        let is_system_v = words.next().is_some_and(|path| path.starts_with(b"/SYSV"));
        let system_v = if is_system_v { i32::try_from(inode).ok() } else { None };
        Some(Self { start, end, is_shared, offset, device, inode, system_v })
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Call, WantedLock};
    use crate::model::{Builder, Identity, Kind, Lock, LockKind, Namespaces, Viewer};
    use crate::probe::locks::Ownerless;

    #[test]
    fn a_lock_that_was_asked_for_is_known_by_its_bytes() {
        let asked = |kind: i16, whence: i16, start: i64, length: i64| {
            let mut bytes = [0; 24];
            bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            bytes[2..4].copy_from_slice(&whence.to_ne_bytes());
            bytes[8..16].copy_from_slice(&start.to_ne_bytes());
            bytes[16..].copy_from_slice(&length.to_ne_bytes());
            WantedLock::parse(&bytes)
        };
        let mut builder = Builder::new(Viewer { pid: 1, uid: 0, namespaces: Namespaces::default() });
        let object = builder.object(Identity::File { device: 1, inode: 2 }, Kind::File);
        let ownerless = |is_exclusive, start, end| {
            let lock = Lock { kind: LockKind::Ofd, is_exclusive, start, end, number: 1, is_waiting: true };
            Ownerless { object, lock }
        };
        assert!(asked(1, 0, 10, 5).is_for(&ownerless(true, 10, Some(14))));
        assert!(asked(1, 0, 15, -5).is_for(&ownerless(true, 10, Some(14))));
        assert!(asked(0, 0, 10, 0).is_for(&ownerless(false, 10, None)));
        // From the position: any range may be meant.
        assert!(asked(0, 1, 3, 5).is_for(&ownerless(false, 10, Some(14))));
        assert!(!asked(0, 0, 10, 5).is_for(&ownerless(true, 10, Some(14))));
        assert!(!asked(1, 0, 10, 6).is_for(&ownerless(true, 10, Some(14))));
        assert!(!asked(1, 0, i64::MIN, i64::MIN).is_for(&ownerless(true, 10, Some(14))));
        assert!(!asked(1, 0, i64::MAX, i64::MAX).is_for(&ownerless(true, 10, None)));
    }

    #[test]
    fn a_sleeping_thread_tells_its_call() {
        let call = Call::parse("73 0x6 0x2 0x0 0x7fe920374ad8 0x0 0x0 0x7fff153e3368 0x7fe920916897\n")
            .expect("a line as the kernel's");
        assert_eq!((call.number, call.int(0), call.stack), (73, 6, 0x7fff_153e_3368));
        assert!(!call.is_of_32_bits());
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_call_of_a_32_bit_program_is_known_by_its_numbers() {
        let call = Call::parse("117 0xc 0x0 0x0 0x0 0xffd01234 0x1 0xffd01200 0xf7f12549\n").expect("as the kernel's");
        assert!(call.is_of_32_bits());
    }

    #[test]
    fn one_that_runs_or_faults_waits_for_nobody() {
        for line in ["running\n", "-1 0x7fff153e3368 0x7fe920916897\n", "", "0 0x1 0x2"] {
            assert_eq!(Call::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_line_of_maps_tells_the_mapping() {
        let line = "7f00-7f80 rw-s 00001000 00:01 32769      /SYSV00000000 (deleted)";
        let area = Area::parse(line.as_bytes()).expect("a line as the kernel's");
        assert_eq!((area.start, area.end, area.offset, area.system_v), (0x7f00, 0x7f80, 0x1000, Some(32769)));
        assert!(area.is_shared && !Area::parse(line.replace("rw-s", "rw-p").as_bytes()).expect("as well").is_shared);
        let stack = Area::parse(b"7ffc-7ffe rw-p 00000000 00:00 0       [stack]").expect("a line as the kernel's");
        assert_eq!((stack.device, stack.inode, stack.system_v), (0, 0, None));
        for odd in ["", "7f00-7f80", "7f80-7f00 rw-p 0 00:00 0", "x-y rw-p 0 0:0 0"] {
            assert!(Area::parse(odd.as_bytes()).is_none(), "{odd}");
        }
    }
}
