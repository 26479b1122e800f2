//! File locks: who holds them, and who waits behind whom.
//!
//! `/proc/locks` lists every lock of the machine with the process that took it and the file's device and inode, but
//! neither the file's name nor, for a lock of an open file description, who has it: that one says pid -1, and a `flock`
//! names the process that called, which may have ended while its children keep the lock. Who really holds a lock is
//! told by the `lock:` lines in the `fdinfo` of each descriptor that carries it. So the descriptors of ordinary files
//! that were met on the way are compared with the locked files, and only those of locked files are read closely.
//!
//! Who waits for the lock of an open file description is in none of these places: only the sleeping thread itself tells
//! ([`waits`](super::waits)).

use std::collections::{HashMap, HashSet};
use std::fs;

use crate::model::{
    Builder, How, Identity, Kind, Lock, LockKind, ObjectRef, OpenFile, ProcessRef, Text, UnseenWhat, UnseenWhy,
};

/// The most locks that are taken in. A process may hold millions of record locks, and the list is one line for each.
const LOCKS_MAX: usize = 100_000;

/// A lock that is waited for, and the list does not say by whom.
pub(crate) struct Nobodys {
    pub(crate) object: ObjectRef,
    pub(crate) lock: Lock,
}

/// Counts the waiting locks whose processes nothing told.
pub(crate) fn count(builder: &mut Builder, nobodys: &[Nobodys]) {
    builder.unseen(UnseenWhat::LockHolders, UnseenWhy::NotSupported, nobodys.len() as u64);
}

/// Gives back the waiting locks whose processes are yet to be found.
pub(crate) fn look(builder: &mut Builder) -> Vec<Nobodys> {
    let mut nobodys = Vec::new();
    let files = builder.take_files();
    let list = match fs::read_to_string("/proc/locks") {
        Ok(list) => list,
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::PermissionDenied => UnseenWhy::NoPermission,
                std::io::ErrorKind::NotFound => UnseenWhy::NotSupported,
                _ => UnseenWhy::Failed,
            };
            builder.unseen(UnseenWhat::LockHolders, why, 1);
            return nobodys;
        }
    };
    let mut locks: Vec<Listed> = list.lines().filter_map(Listed::parse).collect();
    if locks.is_empty() {
        return nobodys;
    }
    if locks.len() > LOCKS_MAX {
        builder.unseen(UnseenWhat::LockHolders, UnseenWhy::TooMany, (locks.len() - LOCKS_MAX) as u64);
        locks.truncate(LOCKS_MAX);
    }
    let locked: HashSet<Identity> = locks.iter().map(|lock| lock.file).collect();
    let carriers = carriers(builder, &files, &locked);
    let mut alike: HashMap<Listed, Alike> = HashMap::new();
    for carrier in &carriers {
        for lock in &carrier.locks {
            alike.entry(lock.without_number()).or_default().carried_by(carrier.process);
        }
    }
    for lock in locks.iter().filter(|lock| !lock.lock.is_waiting) {
        alike.entry(lock.without_number()).and_modify(|alike| alike.locks += 1);
    }
    let mut objects: HashMap<Identity, ObjectRef> = HashMap::new();
    for lock in &locks {
        let object = *objects.entry(lock.file).or_insert_with(|| builder.object(lock.file, Kind::File));
        if lock.lock.is_waiting && lock.pid.is_none() {
            nobodys.push(Nobodys { object, lock: lock.lock.clone() });
            continue;
        }
        let Some(holders) = holders(builder, lock, &mut alike) else {
            builder.unseen(UnseenWhat::LockHolders, UnseenWhy::NoPermission, 1);
            continue;
        };
        for holder in holders {
            builder.hold(holder, object, How::Lock(lock.lock.clone()));
        }
    }
    for carrier in &carriers {
        let Some(&object) = objects.get(&carrier.file) else { continue };
        if builder.object_at(object).name.is_none() {
            let name = name_of(builder, carrier);
            let namespace = builder.processes()[carrier.process.index()].namespaces.mnt;
            let object = builder.object_mut(object);
            (object.name, object.namespace) = (name, namespace);
        }
    }
    nobodys
}

/// Locks that nothing in the list tells apart, such as shared ones of several open file descriptions, and who has them.
#[derive(Default)]
struct Alike {
    /// How many the list has that were not given to a holder yet.
    locks: usize,
    /// How many descriptors carry one.
    descriptors: usize,
    /// The processes that were not given a lock yet, each once.
    processes: Vec<ProcessRef>,
}

impl Alike {
    fn carried_by(&mut self, process: ProcessRef) {
        self.descriptors += 1;
        // The descriptors come process by process.
        if self.processes.last() != Some(&process) {
            self.processes.push(process);
        }
    }

    /// The holders of the next of them: one process for each lock, and the last lock for all that are left. Which lock is
    /// whose cannot be told, and makes no difference. `None` if there are more locks than descriptors that carry one.
    fn next(&mut self) -> Option<Vec<ProcessRef>> {
        self.locks = self.locks.saturating_sub(1);
        self.descriptors = self.descriptors.checked_sub(1)?;
        let count = if self.locks == 0 { self.processes.len() } else { self.processes.len().min(1) };
        Some(self.processes.drain(..count).collect())
    }
}

/// Whom a lock belongs to. A lock that is held: every process whose descriptor carries it, for a forked child shares
/// the lock of an open file description; failing that, the process that took it. One that is waited for: who waits.
/// `None` if that could not be seen.
fn holders(builder: &Builder, lock: &Listed, alike: &mut HashMap<Listed, Alike>) -> Option<Vec<ProcessRef>> {
    if !lock.lock.is_waiting
        && let Some(alike) = alike.get_mut(&lock.without_number())
    {
        return alike.next();
    }
    Some(vec![builder.process_with_pid(lock.pid?)?])
}

/// A descriptor of a locked file, with the locks that it carries.
struct Carrier {
    process: ProcessRef,
    fd: i32,
    file: Identity,
    locks: Vec<Listed>,
}

fn carriers(builder: &Builder, files: &[OpenFile], locked: &HashSet<Identity>) -> Vec<Carrier> {
    let mut carriers = Vec::new();
    for &OpenFile { process, fd, file } in files.iter().filter(|open| locked.contains(&open.file)) {
        let pid = builder.processes()[process.index()].pid;
        let Ok(info) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")) else { continue };
        let locks = info.lines().filter_map(|line| Listed::parse(line.strip_prefix("lock:")?)).collect();
        carriers.push(Carrier { process, fd, file, locks });
    }
    carriers
}

fn name_of(builder: &Builder, carrier: &Carrier) -> Option<Text> {
    let pid = builder.processes()[carrier.process.index()].pid;
    let link = rustix::fs::readlink(format!("/proc/{pid}/fd/{}", carrier.fd), Vec::new()).ok()?;
    Some(Text::from(link.as_bytes()))
}

/// One line of `/proc/locks`, or of a descriptor's `fdinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Listed {
    lock: Lock,
    /// `None` for a lock that belongs to no process.
    pid: Option<u32>,
    file: Identity,
}

impl Listed {
    /// The lock as the list of the machine and that of a descriptor both have it: each counts its lines for itself.
    fn without_number(&self) -> Self {
        Self { lock: Lock { number: 0, ..self.lock.clone() }, ..self.clone() }
    }

    /// Reads `7: -> POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`; `None` for anything else.
    fn parse(line: &str) -> Option<Self> {
        let (number, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        let mut kind = words.next()?;
        let is_waiting = kind == "->";
        if is_waiting {
            kind = words.next()?;
        }
        let kind = match kind {
            "POSIX" | "ACCESS" => LockKind::Posix,
            "OFDLCK" => LockKind::Ofd,
            "FLOCK" => LockKind::Flock,
            "LEASE" | "DELEG" => LockKind::Lease,
            _ => return None,
        };
        let _advisory_or_state = words.next()?;
        let is_exclusive = words.next()? == "WRITE";
        let pid = words.next()?.parse::<i64>().ok().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
        let mut file = words.next()?.split(':');
        let major = u32::from_str_radix(file.next()?, 16).ok()?;
        let minor = u32::from_str_radix(file.next()?, 16).ok()?;
        let inode = file.next()?.parse().ok()?;
        let start = words.next()?.parse().ok()?;
        let end = match words.next()? {
            "EOF" => None,
            end => Some(end.parse().ok()?),
        };
        let lock = Lock { kind, is_exclusive, start, end, number: number.trim().parse().ok()?, is_waiting };
        Some(Self { lock, pid, file: Identity::File { device: rustix::fs::makedev(major, minor), inode } })
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Listed, LockKind};

    #[test]
    fn a_record_lock_has_its_range() {
        let lock =
            Listed::parse("1: POSIX  ADVISORY  WRITE 28902 fe:00:10010727 5 14").expect("a line as the kernel's");
        assert_eq!(lock.pid, Some(28902));
        assert_eq!((lock.lock.kind, lock.lock.start, lock.lock.end), (LockKind::Posix, 5, Some(14)));
        assert_eq!(lock.file, Identity::File { device: rustix::fs::makedev(0xfe, 0), inode: 10_010_727 });
        assert!(lock.lock.is_exclusive && !lock.lock.is_waiting);
    }

    #[test]
    fn who_waits_has_the_number_of_the_lock_it_waits_for() {
        let lock = Listed::parse("3: -> FLOCK  ADVISORY  READ 28946 fe:00:10 0 EOF").expect("a line as the kernel's");
        assert!(lock.lock.is_waiting && !lock.lock.is_exclusive);
        assert_eq!((lock.lock.number, lock.lock.end), (3, None));
    }

    #[test]
    fn a_lock_of_a_description_names_no_process() {
        let lock = Listed::parse("2: OFDLCK ADVISORY  WRITE -1 fe:00:10 0 EOF").expect("a line as the kernel's");
        assert_eq!((lock.lock.kind, lock.pid), (LockKind::Ofd, None));
    }

    #[test]
    fn what_is_no_lock_is_left_out() {
        for line in
            ["", "1:", "x", "1: NEW ADVISORY WRITE 1 1:1:1 0 EOF", "1: POSIX ADVISORY WRITE 1 1:zz:1 0 EOF", "1: ->"]
        {
            assert_eq!(Listed::parse(line), None, "{line:?}");
        }
    }
}
