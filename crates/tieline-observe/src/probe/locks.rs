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

use std::collections::HashMap;
use std::fmt::Write as _;

use rustix::fs::{CWD, readlinkat};
use rustix::io::Errno;

use super::procfs::{self, End, Folder, Folders};
use crate::model::{
    Builder, How, Identity, Kind, Lock, LockKind, ObjectRef, OpenFile, ProcessRef, Text, UnseenWhat, UnseenWhy,
};

/// The most locks that are taken in, and how much of their list is read. A process may hold millions of record locks,
/// and the list is one line for each.
const LOCKS_MAX: usize = 100_000;
const LIST_BYTES: usize = 16 << 20;
/// How much is read of what descriptors tell of their locks, for all of them together. Each descriptor of a file tells all
/// its locks, so that a process with many of both could keep us busy for hours.
const CARRIED_BYTES: usize = 64 << 20;

/// A lock that is waited for, and the list does not say by whom.
pub(crate) struct Ownerless {
    pub(crate) object: ObjectRef,
    pub(crate) lock: Lock,
}

/// Counts the waiting locks whose processes nothing told, though those that wait were looked at.
pub(crate) fn count(builder: &mut Builder, ownerless: &[Ownerless]) {
    let may_be_hidden = builder.has_unseen(UnseenWhat::Waits, UnseenWhy::NoPermission);
    let why = if may_be_hidden { UnseenWhy::NoPermission } else { UnseenWhy::NotSupported };
    builder.unseen(UnseenWhat::LockHolders, why, ownerless.len() as u64);
}

/// Gives back the waiting locks whose processes are yet to be found.
pub(crate) fn look(builder: &mut Builder, folders: &Folders) -> Vec<Ownerless> {
    let mut ownerless = Vec::new();
    let files = builder.take_files();
    let mut list = Vec::new();
    match read_twice(&mut list, |list| procfs::read_lines(CWD, c"/proc/locks", list, End::Nothing, LIST_BYTES)) {
        Ok(true) => {}
        Ok(false) => builder.unseen(UnseenWhat::LockHolders, UnseenWhy::TooMany, 1),
        Err(errno) => {
            let why = match errno {
                Errno::ACCESS | Errno::PERM => UnseenWhy::NoPermission,
                Errno::NOENT => UnseenWhy::NotSupported,
                _ => UnseenWhy::Failed,
            };
            builder.unseen(UnseenWhat::LockHolders, why, 1);
            return ownerless;
        }
    }
    let mut locks: Vec<Listed> = lines(&list).filter_map(Listed::parse).collect();
    if locks.is_empty() {
        return ownerless;
    }
    if locks.len() > LOCKS_MAX {
        builder.unseen(UnseenWhat::LockHolders, UnseenWhy::TooMany, (locks.len() - LOCKS_MAX) as u64);
        locks.truncate(LOCKS_MAX);
    }
    let mut locks_of: HashMap<Identity, usize> = HashMap::new();
    for lock in &locks {
        *locks_of.entry(lock.file).or_default() += 1;
    }
    // Those with few locks first, so that one file with very many costs nobody else its answer.
    let mut carriers: Vec<OpenFile> = files.into_iter().filter(|open| locks_of.contains_key(&open.file)).collect();
    carriers.sort_by_key(|open| (locks_of[&open.file], open.file, open.process));
    let mut alike = carried(builder, folders, &carriers);
    for lock in locks.iter().filter(|lock| !lock.lock.is_waiting) {
        alike.entry(lock.without_number()).and_modify(|alike| alike.locks += 1);
    }
    let mut objects: HashMap<Identity, ObjectRef> = HashMap::new();
    for lock in &locks {
        let object = *objects.entry(lock.file).or_insert_with(|| builder.object(lock.file, Kind::File));
        if lock.lock.is_waiting && lock.pid.is_none() {
            ownerless.push(Ownerless { object, lock: lock.lock.clone() });
            continue;
        }
        let Some(holders) = holders(builder, lock, &mut alike) else {
            // Whoever is not there though everybody may be seen has ended since.
            let hiding = if lock.pid.is_some() { UnseenWhat::Processes } else { UnseenWhat::Descriptors };
            let may_be_hidden = builder.has_unseen(hiding, UnseenWhy::NoPermission);
            let why = if may_be_hidden { UnseenWhy::NoPermission } else { UnseenWhy::Vanished };
            builder.unseen(UnseenWhat::LockHolders, why, 1);
            continue;
        };
        for holder in holders {
            builder.hold(holder, object, How::Lock(lock.lock.clone()));
        }
    }
    let by_process = by_process(folders);
    for carrier in &carriers {
        let Some(&object) = objects.get(&carrier.file) else { continue };
        if builder.object_at(object).name.is_some() {
            continue;
        }
        let Some(opened) = by_process.get(&carrier.process).and_then(|folder| folders.open(folder).ok()) else {
            continue;
        };
        let Ok(link) = readlinkat(&opened, format!("fd/{}", carrier.fd), Vec::new()) else { continue };
        let namespace = builder.processes()[carrier.process.index()].namespaces.mnt;
        let object = builder.object_mut(object);
        (object.name, object.namespace) = (Some(Text::from(link.as_bytes())), namespace);
    }
    ownerless
}

/// Reads until two readings are the same, and says whether it was all.
///
/// The kernel gives out the list a page at a time, and a lock that comes or goes between two pages moves all behind it:
/// one is told twice, or not at all. On a machine whose locks never rest the last reading counts.
fn read_twice(list: &mut Vec<u8>, mut read: impl FnMut(&mut Vec<u8>) -> Result<bool, Errno>) -> Result<bool, Errno> {
    /// What certainly came in one piece: less than a page by more than the longest line.
    const ONE_PIECE_BYTES: usize = 3 << 10;
    /// More takes too long to be read again and again.
    const LONG_BYTES: usize = 1 << 20;
    const READINGS: usize = 8;
    let mut is_whole = read(list)?;
    let mut again = Vec::new();
    for _ in 1..READINGS {
        if !(ONE_PIECE_BYTES..LONG_BYTES).contains(&list.len()) {
            break;
        }
        is_whole = read(&mut again)?;
        std::mem::swap(list, &mut again);
        if *list == again {
            break;
        }
    }
    Ok(is_whole)
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

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn by_process(folders: &Folders) -> HashMap<ProcessRef, &Folder> {
    folders.iter().map(|folder| (folder.process, folder)).collect()
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

/// The locks that these descriptors carry, each with the processes that have such a descriptor.
fn carried(builder: &mut Builder, folders: &Folders, carriers: &[OpenFile]) -> HashMap<Listed, Alike> {
    let by_process = by_process(folders);
    let mut carried: HashMap<Listed, Alike> = HashMap::new();
    let (mut left, mut content, mut path) = (CARRIED_BYTES, Vec::new(), String::new());
    for (index, &OpenFile { process, fd, .. }) in carriers.iter().enumerate() {
        if left == 0 {
            let rest = (carriers.len() - index) as u64;
            builder.unseen(UnseenWhat::LockHolders, UnseenWhy::TooMany, rest);
            break;
        }
        let Some(opened) = by_process.get(&process).and_then(|folder| folders.open(folder).ok()) else { continue };
        path.clear();
        let _ = write!(path, "fdinfo/{fd}\0");
        let Ok(path) = std::ffi::CStr::from_bytes_with_nul(path.as_bytes()) else { continue };
        match procfs::read_lines(&opened, path, &mut content, End::Short, left) {
            Ok(true) => left = left.saturating_sub(content.len()),
            Ok(false) => {
                builder.unseen(UnseenWhat::LockHolders, UnseenWhy::TooMany, 1);
                left = 0;
            }
            Err(_) => continue,
        }
        for lock in lines(&content).filter_map(|line| Listed::parse(line.strip_prefix("lock:")?)) {
            carried.entry(lock.without_number()).or_default().carried_by(process);
        }
    }
    carried
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
    use super::{Identity, Listed, LockKind, read_twice};

    /// What a reading gives whose later pages are moved by a lock that came meanwhile: the last line of the first page
    /// again.
    #[test]
    fn a_list_that_changed_while_it_was_read_is_read_again() {
        let line = |number: u32| format!("{number}: FLOCK  ADVISORY  WRITE 7 08:01:{} 0 EOF\n", 1000 + number);
        let whole: String = (1..200).map(line).collect();
        let moved: String = (1..60).chain(59..200).map(line).collect();
        let few: String = (1..5).map(line).collect();
        for (readings, expected, count) in [
            (vec![&moved, &whole, &whole], &whole, 3),
            (vec![&whole, &whole], &whole, 2),
            (vec![&few], &few, 1),
            // Never twice the same.
            (vec![&whole, &moved, &whole, &moved, &whole, &moved, &whole, &moved], &moved, 8),
        ] {
            let (mut list, mut read) = (Vec::new(), 0);
            let answer = read_twice(&mut list, |list| {
                *list = readings[read].clone().into_bytes();
                read += 1;
                Ok(true)
            });
            assert_eq!((answer, read), (Ok(true), count));
            assert!(list == expected.as_bytes(), "the one that came twice, or the last");
        }
    }

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
