//! Who has what memory in common: the shared mappings of every process.
//!
//! What counts is memory that one process writes and others see: System V segments, POSIX shared memory and semaphores,
//! memfds, shared memory without a name, and files that at least one process maps shared and writable. Programs and
//! libraries, which are mapped private or read-only, are not communication. Shared memory without a name is listed also
//! while a single process maps it: it was asked for to be shared, with a child that is not there yet or no more.
//!
//! Linux 6.11 and newer is asked for shared mappings only; from an older kernel the whole text of `maps` is read, and the
//! few lines wanted are picked out.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, makedev, openat, statx};
use rustix::io::Errno;
use tieline_os::address_space::{AddressSpace, Area};

use super::descriptors::{is_nameless, name_of};
use super::kernel_files::{KernelFiles, without_deleted};
use super::procfs::{self, Folder, Folders, parse, parse_base};
use crate::model::{
    Access, Builder, Detail, How, Identity, Kind, MappedSegment, Memory, ObjectRef, Owner, ProcessRef, Text,
    UnseenWhat, UnseenWhy,
};

/// How much of the text of `maps` is read: half a million lines.
const MAPS_BYTES: usize = 64 << 20;

/// Adds every shared mapping of every process, and what it is a mapping of.
pub(crate) fn look(builder: &mut Builder, folders: &Folders) {
    let mut walk = Walk::new(builder);
    for folder in folders.iter() {
        match walk.process(folders, folder) {
            // Its memory has gone with it.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(Errno::ACCESS | Errno::PERM) => {
                walk.builder.unseen(UnseenWhat::Mappings, UnseenWhy::NoPermission, 1);
            }
            Err(_) => walk.builder.unseen(UnseenWhat::Mappings, UnseenWhy::Failed, 1),
        }
    }
}

struct Walk<'s> {
    builder: &'s mut Builder,
    kernel: KernelFiles,
    /// Whether the kernel answers questions for shared mappings.
    by_question: bool,
    /// For the text of `maps`, to be used again.
    content: Vec<u8>,
    /// For the name of one mapping, to be used again.
    name: Vec<u8>,
    /// What the file of a mapping turned out to be, by the numbers that the mapping tells.
    files: HashMap<((u32, u32), u64), Option<File>, crate::model::Quick>,
    /// Who maps a file shared that nobody has been seen to write to so far.
    readers: HashMap<Identity, Vec<(ProcessRef, Access, u64)>, crate::model::Quick>,
    /// The mappings of one process.
    mapped: Vec<(ObjectRef, Access, u64)>,
}

/// A file that is mapped.
#[derive(Clone, Copy)]
enum File {
    /// An object, whoever maps it.
    Object(ObjectRef),
    /// A file that is an object only if somebody writes to it.
    Plain(Identity),
}

impl<'s> Walk<'s> {
    fn new(builder: &'s mut Builder) -> Self {
        Self {
            builder,
            kernel: KernelFiles::new(),
            by_question: true,
            content: Vec::new(),
            name: Vec::new(),
            files: HashMap::default(),
            readers: HashMap::default(),
            mapped: Vec::new(),
        }
    }

    fn process(&mut self, folders: &Folders, folder: &Folder) -> Result<(), Errno> {
        let opened = folders.open(folder)?;
        // Something may be left of a process that ended while it was looked at.
        self.mapped.clear();
        let is_told = self.by_question
            && match self.ask(opened.as_fd(), folder) {
                Ok(is_known) => {
                    self.by_question = is_known;
                    is_known
                }
                // The answer has no room for a path of more than `PATH_MAX`, which anybody can make; the text has.
                Err(Errno::NAMETOOLONG) => false,
                Err(errno) => return Err(errno),
            };
        if !is_told {
            self.mapped.clear();
            self.read(opened.as_fd(), folder)?;
        }
        // A process may have some ten thousand mappings, all of one object or each of another.
        self.mapped.sort_unstable_by_key(|&(object, access, _)| (object, access));
        for same in self.mapped.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (object, access, _) = same[0];
            let bytes = same.iter().map(|(.., bytes)| bytes).sum();
            self.builder.hold(folder.process, object, How::Mapping { access, bytes });
        }
        Ok(())
    }

    /// Asks for each shared mapping. Says whether the kernel knows the question.
    fn ask(&mut self, opened: BorrowedFd<'_>, folder: &Folder) -> Result<bool, Errno> {
        let maps = openat(opened, c"maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(procfs::gone)?;
        let errno = |error: &tieline_os::Error| error.errno().map_or(Errno::IO, Errno::from_raw_os_error);
        let space = AddressSpace::from_fd(maps).map_err(|error| errno(&error))?;
        let mut name = std::mem::take(&mut self.name);
        let mut address = 0;
        let answer = loop {
            match space.next_shared(address, &mut name) {
                // An end that is no further than the question would ask for ever.
                Ok(Some(area)) if area.end > address => {
                    address = area.end;
                    self.area(opened, folder, &area, &name);
                }
                Ok(_) => break Ok(true),
                Err(error) if error.is_unsupported() => break Ok(false),
                Err(error) => break Err(errno(&error)),
            }
        };
        self.name = name;
        answer
    }

    /// Reads all mappings as text.
    fn read(&mut self, opened: BorrowedFd<'_>, folder: &Folder) -> Result<(), Errno> {
        let mut content = std::mem::take(&mut self.content);
        let read =
            procfs::read_lines(opened, c"maps", &mut content, procfs::End::Nothing, MAPS_BYTES).map_err(procfs::gone);
        if read == Ok(false) {
            self.builder.unseen(UnseenWhat::Mappings, UnseenWhy::TooMany, 1);
        }
        for line in content.split(|&byte| byte == b'\n') {
            if let Some((area, name)) = line_of_maps(line).filter(|(area, _)| area.is_shared) {
                self.area(opened, folder, &area, &unescaped(name));
            }
        }
        self.content = content;
        read.map(drop)
    }

    fn area(&mut self, opened: BorrowedFd<'_>, folder: &Folder, area: &Area, name: &[u8]) {
        // A System V identifier is a number of its namespace and no inode number, though it stands in the same place.
        let file = if self.kernel.is_memory(makedev(area.device.0, area.device.1)) && is_sysv(name) {
            self.segment(folder, area, name)
        } else if let Some(file) = self.files.get(&(area.device, area.inode)) {
            *file
        } else {
            let file = self.file(opened, folder, area, name);
            self.files.insert((area.device, area.inode), file);
            file
        };
        let access = Access { read: area.is_readable, write: area.is_writable };
        let bytes = area.end - area.start;
        match file {
            Some(File::Object(object)) => {
                if name.starts_with(b"/memfd:tieline:") && access.read {
                    let (start, end, offset) = (area.start, area.end, area.offset);
                    let mapped = MappedSegment { object, process: folder.process, start, end, offset };
                    self.builder.segment(mapped);
                }
                self.mapped.push((object, access, bytes));
            }
            Some(File::Plain(identity)) if access.write => {
                let object = self.builder.object(identity, Kind::File);
                self.files.insert((area.device, area.inode), Some(File::Object(object)));
                self.describe(object, opened, folder, area, name);
                for (process, access, bytes) in self.readers.remove(&identity).unwrap_or_default() {
                    self.builder.hold(process, object, How::Mapping { access, bytes });
                }
                self.mapped.push((object, access, bytes));
            }
            Some(File::Plain(identity)) => {
                let readers = self.readers.entry(identity).or_default();
                match readers.last_mut() {
                    Some((process, how, sum)) if (*process, *how) == (folder.process, access) => *sum += bytes,
                    _ => readers.push((folder.process, access, bytes)),
                }
            }
            None => {}
        }
    }

    /// What a mapping is a mapping of; `None` for what is no communication.
    fn file(&mut self, opened: BorrowedFd<'_>, folder: &Folder, area: &Area, name: &[u8]) -> Option<File> {
        let device = makedev(area.device.0, area.device.1);
        let identity = Identity::File { device, inode: area.inode };
        if self.kernel.is_memory(device) {
            let (kind, name) = if let Some(name) = name.strip_prefix(b"/memfd:") {
                (Kind::Memfd, Some(Text::from(without_deleted(name).0)))
            } else if let Some(name) = name.strip_prefix(b"[anon_shmem:") {
                (Kind::AnonymousShm, name.strip_suffix(b"]").map(Text::from))
            } else if name.starts_with(b"/dev/zero") || name.starts_with(b"/anon_hugepage") {
                (Kind::AnonymousShm, None)
            } else {
                // Memory of graphics drivers and their like.
                return None;
            };
            let object = self.builder.object(identity, kind);
            let file = map_file(opened, area);
            let one = self.builder.object_mut(object);
            if one.detail == Detail::None {
                one.name = name;
                complete(one, file.as_ref(), false);
            }
            return Some(File::Object(object));
        }
        if let Some(object) = self.builder.find(identity) {
            return Some(File::Object(object));
        }
        // What is neither a path nor memory: a ring of sockets or of the kernel, held by descriptor as well.
        if !name.starts_with(b"/") || name.starts_with(b"/[aio]") {
            return None;
        }
        // Some file systems have one number for mappings and another for `stat`, by which everybody else knows the file.
        let file = self.stat(opened, area, name);
        let identity = match &file {
            Some(file) if FileType::from_raw_mode(file.stx_mode.into()) != FileType::RegularFile => return None,
            Some(file) => {
                Identity::File { device: makedev(file.stx_dev_major, file.stx_dev_minor), inode: file.stx_ino }
            }
            None => identity,
        };
        if let Some(object) = self.builder.find(identity) {
            return Some(File::Object(object));
        }
        if !name.starts_with(b"/dev/shm/") {
            return Some(File::Plain(identity));
        }
        let kind = if name.starts_with(b"/dev/shm/sem.") { Kind::PosixSem } else { Kind::PosixShm };
        let object = self.builder.object(identity, kind);
        self.describe(object, opened, folder, area, name);
        Some(File::Object(object))
    }

    fn segment(&mut self, folder: &Folder, area: &Area, name: &[u8]) -> Option<File> {
        // The segment stays that of the namespace in which it was attached; a process that has moved to another since
        // cannot be told from one that has not.
        let namespaces = self.builder.processes()[folder.process.index()].namespaces;
        let namespace = namespaces.ipc.or(self.builder.viewer().namespaces.ipc)?;
        // The identifier is an `int`, the inode number an unsigned long.
        let id = i32::try_from(area.inode).ok()?;
        let object = self.builder.object(Identity::SystemV { kind: Kind::SysvShm, namespace, id }, Kind::SysvShm);
        let one = self.builder.object_mut(object);
        one.namespace = Some(namespace);
        if one.name.is_none() && one.detail == Detail::None {
            // Its namespace could not be listed. The name of the mapping has the key.
            one.name = name.get(1..13).map(Text::from);
        }
        Some(File::Object(object))
    }

    /// Completes a file with a path.
    fn describe(&mut self, object: ObjectRef, opened: BorrowedFd<'_>, folder: &Folder, area: &Area, name: &[u8]) {
        let namespace = self.builder.processes()[folder.process.index()].namespaces.mnt;
        let file = self.stat(opened, area, name);
        let (path, is_unlinked) = match &file {
            Some(file) => {
                let device = makedev(file.stx_dev_major, file.stx_dev_minor);
                name_of(name, file, opened, !self.kernel.may_never_answer(device))
            }
            None => {
                let (path, is_unlinked) = without_deleted(name);
                ((!is_nameless(path, area.inode)).then_some(path), is_unlinked)
            }
        };
        let one = self.builder.object_mut(object);
        one.name = one.name.take().or_else(|| path.map(|path| own_name(one.kind, path)));
        one.namespace = one.namespace.or(namespace);
        complete(one, file.as_ref(), is_unlinked);
    }

    /// The file of a mapping: by the mapping itself, which needs privilege, else by its path as the process sees it, if
    /// there is the same file still.
    fn stat(&self, opened: BorrowedFd<'_>, area: &Area, name: &[u8]) -> Option<Statx> {
        map_file(opened, area).or_else(|| {
            if self.kernel.may_never_answer(makedev(area.device.0, area.device.1)) {
                return None;
            }
            let mut path = b"root".to_vec();
            path.extend(name);
            let file = statx(opened, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC, WANTED).ok()?;
            (file.stx_ino == area.inode).then_some(file)
        })
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS;

fn complete(object: &mut crate::model::Object, file: Option<&Statx>, is_unlinked: bool) {
    if let Some(file) = file {
        object.owner.get_or_insert(Owner { uid: file.stx_uid, gid: file.stx_gid });
        object.mode.get_or_insert(u32::from(file.stx_mode) & 0o7777);
    }
    if object.detail == Detail::None && object.kind != Kind::PosixSem {
        object.detail = Detail::Memory(Memory {
            size_bytes: file.map(|file| file.stx_size),
            allocated_bytes: file.map(|file| file.stx_blocks * 512),
            seals: None,
            is_unlinked,
        });
    }
}

/// Asks `/proc/PID/map_files/START-END`, which leads to the file even if it was removed.
fn map_file(opened: BorrowedFd<'_>, area: &Area) -> Option<Statx> {
    let path = format!("map_files/{:x}-{:x}", area.start, area.end);
    statx(opened, path, AtFlags::STATX_DONT_SYNC, WANTED).ok()
}

/// A file's path, or the name by which programs open a POSIX object.
fn own_name(kind: Kind, path: &[u8]) -> Text {
    match kind {
        Kind::PosixShm => Text::from(path.strip_prefix(b"/dev/shm").unwrap_or(path)),
        Kind::PosixSem => {
            path.strip_prefix(b"/dev/shm/sem.").map_or(Text::from(path), |name| [b"/", name].concat().into())
        }
        _ => Text::from(path),
    }
}

/// `/SYSVkkkkkkkk`, the key in hexadecimal.
fn is_sysv(name: &[u8]) -> bool {
    name.strip_prefix(b"/SYSV").is_some_and(|rest| rest.get(..8).is_some_and(|key| parse_base(key, 16).is_some()))
}

/// `7f0a-7f0b rw-s 00001000 00:01 1057                       /memfd:x (deleted)`
fn line_of_maps(line: &[u8]) -> Option<(Area, &[u8])> {
    let mut rest = line;
    let mut word = || {
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        word
    };
    let (range, permissions, offset, device, inode) = (word(), word(), word(), word(), word());
    let (start, end) = pair(range, b'-')?;
    let (major, minor) = pair(device, b':')?;
    let [read, write, execute, shared] = *permissions.first_chunk::<4>()?;
    let area = Area {
        start,
        end: Some(end).filter(|&end| end > start)?,
        is_readable: read == b'r',
        is_writable: write == b'w',
        is_executable: execute == b'x',
        is_shared: shared == b's',
        offset: parse_base(offset, 16)?,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode: parse(inode)?,
    };
    let name = rest.iter().position(|&byte| byte != b' ').map_or(b"".as_slice(), |start| &rest[start..]);
    Some((area, name))
}

/// Two numbers in hexadecimal.
fn pair(word: &[u8], between: u8) -> Option<(u64, u64)> {
    let middle = word.iter().position(|&byte| byte == between)?;
    Some((parse_base(&word[..middle], 16)?, parse_base(&word[middle + 1..], 16)?))
}

/// The text of `maps` has a line end of a name as `\012`, and leaves a backslash as it is.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(&byte) = rest.first() {
        if let Some(after) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = &rest[1..];
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tieline_os::mapping::{MapOptions, Mapping};

    #[test]
    fn a_line_of_maps_is_read() {
        let line = b"7f0a1000-7f0a3000 rw-s 00001000 fd:01 1057                       /memfd:a b (deleted)";
        let (area, name) = line_of_maps(line).expect("a line");
        assert_eq!((area.start, area.end, area.offset), (0x7f0a_1000, 0x7f0a_3000, 0x1000));
        assert!(area.is_readable && area.is_writable && !area.is_executable && area.is_shared);
        assert_eq!((area.device, area.inode, name), ((0xfd, 1), 1057, b"/memfd:a b (deleted)".as_slice()));
        let (area, name) = line_of_maps(b"00400000-00401000 ---p 00000000 00:00 0").expect("a line");
        assert!(!area.is_shared && !area.is_readable && name.is_empty());
        assert!(line_of_maps(b"00401000-00400000 ---p 00000000 00:00 0").is_none());
        assert_eq!(unescaped(br"/a\012b\c"), b"/a\nb\\c");
    }

    #[test]
    fn a_segments_name_is_known_by_its_key() {
        assert!(is_sysv(b"/SYSV0000beef (deleted)") && is_sysv(b"/SYSVffffffff"));
        assert!(!is_sysv(b"/SYSV") && !is_sysv(b"/SYSV0000bee") && !is_sysv(b"/SYSVnothexad"));
    }

    /// What a kernel without the question would tell, and one with it, is the same.
    #[test]
    fn the_text_of_maps_tells_what_the_question_tells() {
        let memfd = tieline_os::memfd::Memfd::fixed("twice\nseen", 8192).expect("a memfd");
        let _shared = memfd.map(&MapOptions::new()).expect("mapped");
        let _anonymous = Mapping::anonymous(4096).expect("mapped");
        let told = [true, false].map(|by_question| {
            let mut builder = Builder::new(super::super::viewer().expect("a /proc"));
            let folders = super::super::processes::look(&mut builder, &crate::Scan::new()).expect("a /proc");
            let mut walk = Walk { by_question, ..Walk::new(&mut builder) };
            let own = folders.iter().find(|folder| folder.pid == std::process::id()).expect("this process");
            walk.process(&folders, own).expect("our own");
            let about = |how: &How| matches!(how, How::Mapping { .. }).then(|| how.clone());
            let holds = builder.holds().iter().filter_map(|hold| Some((hold.object, about(&hold.how)?)));
            let named = |object| {
                let object = builder.object_at(object);
                (object.identity, object.kind, object.name.clone(), object.detail.clone())
            };
            holds.map(|(object, how)| (named(object), how)).collect::<Vec<_>>()
        });
        let memfd = told[0].iter().find(|((_, kind, ..), _)| *kind == Kind::Memfd).expect("it was found");
        assert_eq!(memfd.0.2, Some(Text::from("twice\nseen")));
        for one in &told[0] {
            // Other tests map and unmap meanwhile.
            if one.0.1 == Kind::Memfd && one.0.2 == memfd.0.2 {
                assert!(told[1].contains(one), "{one:?} is missing in {:?}", told[1]);
            }
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_parser(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = line_of_maps(&line);
            let _ = unescaped(&line);
            let _ = is_sysv(&line);
        }

        #[test]
        fn no_line_like_a_real_one_breaks_the_parser(line in "[0-9a-f]{0,20}-[0-9a-f]{0,20} [rwxsp-]{0,5} [0-9a-f]{0,20} [0-9a-f]{0,12}:[0-9a-f]{0,12} [0-9]{0,22} {0,9}.{0,40}") {
            if let Some((area, _)) = line_of_maps(line.as_bytes()) {
                prop_assert!(area.end > area.start);
            }
        }
    }
}
