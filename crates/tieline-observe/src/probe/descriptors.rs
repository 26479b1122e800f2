//! Who has what open: every descriptor of every process that is a means of communication.
//!
//! The link `/proc/PID/fd/N` says what a descriptor is. Pipes and sockets are named by the link itself; a file has to be
//! asked for its type, by `statx` through the link, which opens nothing. What the kernel tells of the rest stands in
//! `fdinfo`.
//!
//! # Why looking is harmless
//! Opening `/proc/PID/fd/N` of a pipe or FIFO would make a new reader or writer, whose coming and going the others
//! notice; opening a device may do anything. So nothing is ever opened by such a path. How full a pipe is can be asked
//! only through a descriptor: one end is duplicated (`pidfd_getfd`), which makes no new reader or writer but one more
//! reference to the same open file, and closed again after two or three calls that change nothing. What remains: if its
//! owner closes the last end in just these microseconds, the other side learns of it when our reference is closed, a few
//! microseconds later. Only pipes, FIFOs, message queues and memfds are duplicated, for which closing has no other
//! effect; never a socket, a terminal, a device or a file of a disk. Nor anything that the viewer has open itself, whose
//! record locks and notification would end with any descriptor of it that it closes. Between the look at the link and the
//! duplication the number may come to mean something else, so what came is checked before it is asked anything.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, RawDir, SeekFrom, Statx, StatxFlags, fcntl_getfl, fstat, getxattr, makedev, openat,
    readlinkat_raw, seek, statat, statx,
};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::fcntl_getpipe_size;
use tieline_os::description;
use tieline_os::pidfd::PidFd;
use tieline_os::posix::mq::MessageQueue;

use super::fdinfo::{self, FdInfo, Watched};
use super::kernel_files::{KernelFiles, from_kernel, without_deleted};
use super::procfs::{self, End, FOLDER, Folder, Folders, Listing, NumberIn, parse};
use super::remembered;
use crate::Scan;
use crate::model::{
    Access, Builder, Detail, Epoll, Fill, How, Identity, Kind, LinkKind, Memory, ObjectRef, OpenFile, OtherSocket,
    Owner, PosixMq, Quick, Text, Unit, UnseenWhat, UnseenWhy,
};

/// The longest link: a path, which the kernel cuts at `PATH_MAX`.
const LINK_BYTES: usize = 4096;
/// How many numbers that are not open are tried before the rest is listed.
const MISSES: u32 = 8;
/// How much of `fdinfo` is read. An epoll set needs some hundred bytes for each descriptor that it watches.
const FDINFO_BYTES: usize = 4 << 20;
/// How much of it may be read of one process beyond the usual few lines for each descriptor. All of them may be one great
/// epoll set: each tells the whole set, which stands still meanwhile.
const FDINFO_BYTES_OF_PROCESS: usize = 16 << 20;
/// What is usual.
const FDINFO_USUAL_BYTES: usize = 4096;
/// How often two descriptors are compared in one scan, at less than a microsecond each.
const COMPARISONS: u32 = 50_000;

/// Adds every descriptor that is a means of communication, and what it is a descriptor of.
pub(crate) fn look(builder: &mut Builder, scan: &Scan, folders: &Folders) {
    let mut walk = Walk {
        builder,
        fill: scan.fill,
        kernel: KernelFiles::new(),
        content: Vec::new(),
        twins: Twins { known: HashMap::new(), left: COMPARISONS },
        anonymous: HashMap::default(),
        sets: Vec::new(),
        unfilled: HashMap::new(),
        own: HashSet::default(),
    };
    let mut listing = Listing::new();
    // The viewer's own first: what it has open itself is never duplicated.
    let viewer = walk.builder.viewer().pid;
    let is_own = |folder: &&Folder| folder.pid == viewer;
    let (own, others) = (folders.iter().filter(is_own), folders.iter().filter(|folder| !is_own(folder)));
    for folder in own.chain(others) {
        match walk.process(folders, folder, &mut listing) {
            // Its descriptors have gone with it.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(Errno::ACCESS | Errno::PERM) => {
                walk.builder.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 1);
            }
            Err(_) => walk.builder.unseen(UnseenWhat::Descriptors, UnseenWhy::Failed, 1),
        }
    }
    walk.finish();
}

struct Walk<'s> {
    builder: &'s mut Builder,
    fill: bool,
    kernel: KernelFiles,
    /// For `fdinfo`, to be used again.
    content: Vec<u8>,
    twins: Twins,
    /// What each process has open that shares its inode with others: only the number tells an epoll set's entries.
    anonymous: HashMap<(u32, i32), ObjectRef, Quick>,
    /// The epoll sets, for when everything is known.
    sets: Vec<(ObjectRef, u32, Vec<Watched>)>,
    /// Pipes and FIFOs whose fill was asked for in vain, and why.
    unfilled: HashMap<ObjectRef, UnseenWhy>,
    /// What the viewer has open itself. Closing any descriptor of a file ends the locks that its own process has on it,
    /// and of a queue the notification that it asked for; a duplicate of another's descriptor would do so too.
    own: HashSet<ObjectRef, Quick>,
}

/// One process whose descriptors are looked at.
struct Holder<'f> {
    folder: &'f Folder,
    opened: BorrowedFd<'f>,
    fds: BorrowedFd<'f>,
    process: Duplicator,
    /// Whether it is this process.
    is_viewer: bool,
    /// How much of `fdinfo` beyond the usual may still be read.
    left: usize,
    /// Whether a descriptor was left out for that.
    is_cut: bool,
}

/// One descriptor.
struct Descriptor<'n> {
    fd: i32,
    name: &'n CStr,
}

impl Walk<'_> {
    fn process(&mut self, folders: &Folders, folder: &Folder, listing: &mut Listing) -> Result<(), Errno> {
        let opened = folders.open(folder)?;
        let fds = openat(&opened, c"fd", FOLDER, Mode::empty()).map_err(procfs::gone)?;
        let mut holder = Holder {
            folder,
            opened: opened.as_fd(),
            fds: fds.as_fd(),
            process: Duplicator::new(folder.pid, self.fill),
            is_viewer: folder.pid == self.builder.viewer().pid,
            left: FDINFO_BYTES_OF_PROCESS,
            is_cut: false,
        };
        let mut link = [0; LINK_BYTES];
        let mut read = |walk: &mut Self, fd: i32, name: &CStr| match readlinkat_raw(&fds, name, &mut link) {
            Ok(length) => {
                walk.descriptor(&mut holder, &Descriptor { fd, name }, &link[..length]);
                Ok(true)
            }
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => Err(errno),
            // Not open, or closed since it was listed.
            Err(_) => Ok(false),
        };
        // Most processes number their descriptors without large gaps. Trying the numbers costs less than having them
        // listed, while few attempts fail. How many there are is told from Linux 6.2 on; before, this tries nothing.
        let expected = fstat(&fds).map_or(0, |folder| folder.st_size);
        let (mut count, mut missed, mut next) = (0, 0, 0_u32);
        while i64::from(count) < expected && missed < MISSES {
            let mut name = [0; 16];
            let Ok(fd) = i32::try_from(next) else { break };
            if read(self, fd, procfs::number(next, &mut name))? {
                count += 1;
            } else {
                missed += 1;
            }
            next += 1;
        }
        // The rest is listed, also if there should be none: the process may have opened some and closed others meanwhile.
        // A place in this folder is the next number, after `.` and `..`.
        seek(&fds, SeekFrom::Start(u64::from(next) + 2)).map_err(procfs::gone)?;
        let mut entries = RawDir::new(&fds, listing.room());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(procfs::gone)?;
            let name = entry.file_name();
            let Some(fd) = parse(name.to_bytes()).filter(|&fd: &i32| fd.cast_unsigned() >= next) else { continue };
            count += 1;
            read(self, fd, name)?;
        }
        self.builder.unseen(UnseenWhat::Descriptors, UnseenWhy::TooMany, holder.is_cut.into());
        self.builder.process_mut(folder.process).descriptors = Some(count);
        Ok(())
    }

    fn descriptor(&mut self, holder: &mut Holder<'_>, descriptor: &Descriptor<'_>, link: &[u8]) {
        if let Some(inode) = number_in(link, b"pipe:[") {
            self.pipe(holder, descriptor, inode);
        } else if let Some(inode) = number_in(link, b"socket:[") {
            let object = self.socket(holder, descriptor, inode);
            self.hold(holder, descriptor, object, Access::BOTH);
        } else if let Some(name) = link.strip_prefix(b"anon_inode:") {
            self.anonymous(holder, descriptor, name);
        } else if link.starts_with(b"pidfd:[") {
            self.anonymous(holder, descriptor, b"[pidfd]");
        } else if link.starts_with(b"/") {
            self.file(holder, descriptor, link);
        }
    }

    fn hold(&mut self, holder: &Holder<'_>, descriptor: &Descriptor<'_>, object: ObjectRef, access: Access) {
        if holder.is_viewer {
            self.own.insert(object);
        }
        self.builder.hold(holder.folder.process, object, How::Descriptor { fd: descriptor.fd, access });
    }

    fn pipe(&mut self, holder: &mut Holder<'_>, descriptor: &Descriptor<'_>, inode: u64) {
        let object = self.builder.object(Identity::Pipe { inode }, Kind::Pipe);
        let access = self.end_of_pipe(holder, descriptor, object, inode);
        self.hold(holder, descriptor, object, access);
    }

    /// What may be done through this end of a pipe or FIFO, and how full it is, unless that is known.
    fn end_of_pipe(
        &mut self,
        holder: &mut Holder<'_>,
        descriptor: &Descriptor<'_>,
        object: ObjectRef,
        inode: u64,
    ) -> Access {
        let wanted = self.fill
            && self.builder.object_at(object).fill.is_none()
            && (holder.is_viewer || !self.own.contains(&object));
        if !wanted {
            return access_of_link(holder.fds, descriptor.name);
        }
        let (access, fill) = if holder.is_viewer {
            let fill = description::own_pipe_fill(descriptor.fd);
            let fill = fill.map(|(used, size)| Fill { used, capacity: Some(size), unit: Unit::Bytes });
            (None, fill.map_err(|error| why(&error)))
        } else {
            match holder.process.duplicate(descriptor.fd) {
                Ok(end) => fill_of(&end, inode),
                Err(why) => (None, Err(why)),
            }
        };
        match fill {
            Ok(fill) => {
                self.builder.object_mut(object).fill = Some(fill);
                self.unfilled.remove(&object);
            }
            // Another holder may be of more help; if none is, one without the permission is worth more words.
            Err(why) => {
                let there = self.unfilled.entry(object).or_insert(why);
                *there = why.min(*there);
            }
        }
        access.unwrap_or_else(|| access_of_link(holder.fds, descriptor.name))
    }

    /// A socket. If the kernel's lists did not have it (another network namespace, a family that has no list), its own
    /// word for its protocol is asked for.
    fn socket(&mut self, holder: &Holder<'_>, descriptor: &Descriptor<'_>, inode: u64) -> ObjectRef {
        let identity = Identity::Socket { inode };
        if let Some(object) = self.builder.find(identity) {
            self.sent_descriptors(holder, descriptor, object);
            return object;
        }
        let mut word = [0; 64];
        let asked = getxattr(path_of(holder, descriptor).as_str(), c"system.sockprotoname", &mut word);
        let word = asked.map_or(b"".as_slice(), |count| word[..count].trim_ascii_end());
        let word = word.strip_suffix(b"\0").unwrap_or(word);
        let kind = match word {
            b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" => Kind::Tcp,
            b"UDP" | b"UDPv6" => Kind::Udp,
            b"UNIX-STREAM" => Kind::UnixStream,
            b"AF_VSOCK" => Kind::Vsock,
            _ => Kind::OtherSocket,
        };
        let object = self.builder.object(identity, kind);
        let one = self.builder.object_mut(object);
        one.detail = Detail::Socket(OtherSocket { protocol: Text::from(word) });
        let namespace = self.builder.processes()[holder.folder.process.index()].namespaces.net;
        self.builder.object_mut(object).namespace = namespace;
        object
    }

    /// How many descriptors wait in a Unix socket's queue, which only this text tells. An empty queue has none; of a
    /// datagram of no bytes the queue says nothing.
    fn sent_descriptors(&mut self, holder: &Holder<'_>, descriptor: &Descriptor<'_>, object: ObjectRef) {
        let one = self.builder.object_at(object);
        let is_datagram = one.kind == Kind::UnixDatagram;
        let Detail::Unix(socket) = &one.detail else { return };
        if socket.in_flight > 0 || (socket.receive_queue == 0 && !is_datagram) {
            return;
        }
        let mut content = std::mem::take(&mut self.content);
        let path = NumberIn::new("fdinfo/", descriptor.name);
        if procfs::read_lines(holder.opened, path.as_c_str(), &mut content, End::Short, FDINFO_BYTES).is_ok()
            && let Detail::Unix(socket) = &mut self.builder.object_mut(object).detail
        {
            socket.in_flight = FdInfo(&content).sent_descriptors();
        }
        self.content = content;
    }

    /// A file with a path, of which only some kinds are means of communication.
    fn file(&mut self, holder: &mut Holder<'_>, descriptor: &Descriptor<'_>, link: &[u8]) {
        let wanted = StatxFlags::TYPE
            | StatxFlags::MODE
            | StatxFlags::INO
            | StatxFlags::UID
            | StatxFlags::GID
            | StatxFlags::NLINK
            | StatxFlags::SIZE
            | StatxFlags::BLOCKS;
        // Without synchronising: a file of a dead server must not stop us.
        let Ok(file) = statx(holder.fds, descriptor.name, AtFlags::STATX_DONT_SYNC, wanted) else { return };
        let device = makedev(file.stx_dev_major, file.stx_dev_minor);
        let identity = Identity::File { device, inode: file.stx_ino };
        match FileType::from_raw_mode(file.stx_mode.into()) {
            FileType::Fifo => {
                let object = self.builder.object(identity, Kind::Fifo);
                if self.builder.object_at(object).name.is_none() {
                    let (name, _) = name_of(link, &file, holder.opened, !self.kernel.may_never_answer(device));
                    self.named(holder, object, &file, name.map(Text::from));
                }
                let access = self.end_of_pipe(holder, descriptor, object, file.stx_ino);
                self.hold(holder, descriptor, object, access);
            }
            FileType::RegularFile => {
                if let Some((kind, name)) = self.sort(holder, descriptor, device, link) {
                    let object = self.builder.object(identity, kind);
                    match kind {
                        Kind::PosixMq => self.queue(holder, descriptor, object, &file, name),
                        Kind::Memfd => self.memfd(holder, descriptor, object, &file, name),
                        _ => self.shared_file(holder, object, &file, name, link),
                    }
                    let access = access_of_link(holder.fds, descriptor.name);
                    self.hold(holder, descriptor, object, access);
                }
                self.lockable(holder, descriptor, identity);
            }
            FileType::Directory => self.lockable(holder, descriptor, identity),
            _ => {}
        }
    }

    fn lockable(&mut self, holder: &Holder<'_>, descriptor: &Descriptor<'_>, file: Identity) {
        self.builder.file(OpenFile { process: holder.folder.process, fd: descriptor.fd, file });
    }

    /// Which means of communication a regular file is, and its name as one: none, for most.
    fn sort<'l>(
        &mut self,
        holder: &Holder<'_>,
        descriptor: &Descriptor<'_>,
        device: u64,
        link: &'l [u8],
    ) -> Option<(Kind, &'l [u8])> {
        if let Some(name) = link.strip_prefix(b"/memfd:") {
            if self.kernel.is_memory(device) {
                return Some((Kind::Memfd, without_deleted(name).0));
            }
        } else if link == b"/secretmem (deleted)" {
            if KernelFiles::is_secret(&path_of(holder, descriptor)) {
                return Some((Kind::Memfd, b"secretmem"));
            }
        } else if let Some(name) = link.strip_prefix(b"/dev/shm/") {
            return Some(match name.strip_prefix(b"sem.") {
                Some(name) => (Kind::PosixSem, name),
                None => (Kind::PosixShm, name),
            });
        }
        // A queue is told by its name in its own file system, whose root is nowhere to be seen.
        let name = link.strip_prefix(b"/dev/mqueue/").unwrap_or(&link[1..]);
        let is_queue = !name.contains(&b'/') && self.kernel.is_queues(device, &path_of(holder, descriptor));
        is_queue.then_some((Kind::PosixMq, name))
    }

    /// Completes an object that has a name, an owner and a mode.
    fn named(&mut self, holder: &Holder<'_>, object: ObjectRef, file: &Statx, name: Option<Text>) {
        let namespaces = self.builder.processes()[holder.folder.process.index()].namespaces;
        let one = self.builder.object_mut(object);
        one.name = one.name.take().or(name);
        one.owner.get_or_insert(Owner { uid: file.stx_uid, gid: file.stx_gid });
        one.mode.get_or_insert(u32::from(file.stx_mode) & 0o7777);
        if one.namespace.is_none() {
            one.namespace = match one.kind {
                Kind::PosixMq => namespaces.ipc,
                Kind::Memfd => None,
                _ => namespaces.mnt,
            };
        }
    }

    fn shared_file(&mut self, holder: &Holder<'_>, object: ObjectRef, file: &Statx, name: &[u8], link: &[u8]) {
        if self.builder.object_at(object).name.is_some() {
            return;
        }
        let device = makedev(file.stx_dev_major, file.stx_dev_minor);
        let (whole, is_unlinked) = name_of(link, file, holder.opened, !self.kernel.may_never_answer(device));
        // The name ends where the whole path does.
        let name = whole.map(|whole| &name[..name.len().saturating_sub(link.len() - whole.len())]);
        self.named(holder, object, file, name.map(posix_name));
        let one = self.builder.object_mut(object);
        if one.kind == Kind::PosixShm && one.detail == Detail::None {
            one.detail = Detail::Memory(memory(file, is_unlinked));
        }
    }

    fn memfd(
        &mut self,
        holder: &mut Holder<'_>,
        descriptor: &Descriptor<'_>,
        object: ObjectRef,
        file: &Statx,
        name: &[u8],
    ) {
        if self.builder.object_at(object).detail == Detail::None {
            self.named(holder, object, file, Some(Text::from(name)));
            self.builder.object_mut(object).detail = Detail::Memory(memory(file, false));
        }
        let Detail::Memory(Memory { seals: None, .. }) = self.builder.object_at(object).detail else { return };
        if holder.is_viewer || self.own.contains(&object) {
            return;
        }
        let Ok(duplicate) = holder.process.duplicate(descriptor.fd) else { return };
        let seals = rustix::fs::fcntl_get_seals(&duplicate).ok().filter(|_| is_file(&duplicate, file.stx_ino));
        if let Detail::Memory(memory) = &mut self.builder.object_mut(object).detail {
            memory.seals = seals.map(|seals| seals.bits());
        }
    }

    fn queue(
        &mut self,
        holder: &mut Holder<'_>,
        descriptor: &Descriptor<'_>,
        object: ObjectRef,
        file: &Statx,
        name: &[u8],
    ) {
        let one = self.builder.object_at(object);
        if matches!(one.detail, Detail::PosixMq(PosixMq { messages: Some(_), .. })) {
            return;
        }
        if one.name.is_none() {
            let name = if file.stx_nlink == 0 { without_deleted(name).0 } else { name };
            self.named(holder, object, file, Some(posix_name(name)));
        }
        if holder.is_viewer || self.own.contains(&object) {
            return;
        }
        let Ok(duplicate) = holder.process.duplicate(descriptor.fd) else { return };
        if !is_file(&duplicate, file.stx_ino) {
            return;
        }
        // The kernel's text for who reads a queue's file, which moves no offset because it is read at a place.
        let mut text = [0; 128];
        let told = rustix::io::pread(&duplicate, &mut text, 0).ok().and_then(|count| told_of_queue(&text[..count]));
        let (bytes, notify) = told.unwrap_or_default();
        let Ok(queue) = MessageQueue::from_fd(duplicate) else { return };
        let messages = queue.depth().ok().map(|depth| depth as u64);
        let capacity = Some(queue.capacity() as u64);
        let message_size = Some(queue.message_size() as u64);
        let one = self.builder.object_mut(object);
        let mut is_new = false;
        match &mut one.detail {
            Detail::PosixMq(there) => {
                (there.messages, there.capacity, there.message_size) = (messages, capacity, message_size);
            }
            detail => {
                *detail = Detail::PosixMq(PosixMq { bytes, messages, capacity, message_size, notify });
                is_new = true;
            }
        }
        // What blocks a sender is the number of messages.
        if let Some(used) = messages {
            one.fill = Some(Fill { used, capacity, unit: Unit::Messages });
        }
        // Of a queue that was listed, this is known already.
        if let Some((pid, _)) = notify.filter(|_| is_new) {
            remembered::Memory::now().tie_living(self.builder, object, pid, How::Notified);
        }
    }

    /// A descriptor that is no file at all.
    fn anonymous(&mut self, holder: &mut Holder<'_>, descriptor: &Descriptor<'_>, name: &[u8]) {
        let kind = kind_of_anonymous(name);
        // Its own file is opened here, which is text about the descriptor and does not touch it.
        let limit = if kind == Kind::IoUring { FDINFO_USUAL_BYTES } else { FDINFO_BYTES };
        if holder.left == 0 && matches!(kind, Kind::Epoll | Kind::Inotify | Kind::OtherAnonymous) {
            holder.is_cut = true;
            return;
        }
        let mut content = std::mem::take(&mut self.content);
        let path = NumberIn::new("fdinfo/", descriptor.name);
        if procfs::read_lines(holder.opened, path.as_c_str(), &mut content, End::Short, limit).is_ok() {
            holder.left = holder.left.saturating_sub(content.len().saturating_sub(FDINFO_USUAL_BYTES));
            let object = self.anonymous_object(holder, descriptor, kind, name, FdInfo(&content));
            self.hold(holder, descriptor, object, fdinfo::access(FdInfo(&content).flags()));
        }
        self.content = content;
    }

    fn anonymous_object(
        &mut self,
        holder: &Holder<'_>,
        descriptor: &Descriptor<'_>,
        kind: Kind,
        name: &[u8],
        info: FdInfo<'_>,
    ) -> ObjectRef {
        let pid = holder.folder.pid;
        let number = match kind {
            Kind::EventFd => info.eventfd().1,
            Kind::PidFd if self.kernel.pidfds_have_inodes() => info.inode(),
            _ => None,
        };
        let identity = number.map_or_else(
            || {
                // What differs in these cannot be one description; this leaves few to compare.
                let hash = name.iter().fold(info.trait_of(kind), |hash, &byte| hash.rotate_left(9) ^ u64::from(byte));
                let (pid, fd) = self.twins.first_of((kind, info.flags(), hash), (pid, descriptor.fd));
                Identity::Descriptor { pid, fd }
            },
            |number| Identity::Numbered { kind, number },
        );
        let is_new = self.builder.find(identity).is_none();
        let object = self.builder.object(identity, kind);
        self.anonymous.insert((pid, descriptor.fd), object);
        if is_new {
            let detail = self.detail_of_anonymous(object, pid, kind, name, info);
            let one = self.builder.object_mut(object);
            if let Detail::EventFd(counter) = detail {
                one.fill = Some(Fill { used: counter.count, capacity: Some(u64::MAX - 1), unit: Unit::Count });
            }
            one.detail = detail;
        }
        object
    }

    fn detail_of_anonymous(
        &mut self,
        object: ObjectRef,
        pid: u32,
        kind: Kind,
        name: &[u8],
        info: FdInfo<'_>,
    ) -> Detail {
        match kind {
            Kind::EventFd => Detail::EventFd(info.eventfd().0),
            Kind::Epoll => {
                let watched: Vec<Watched> = info.watched().collect();
                let numbers = watched.iter().map(|one| one.fd).collect();
                self.sets.push((object, pid, watched));
                Detail::Epoll(Epoll { watched: numbers })
            }
            Kind::SignalFd => Detail::SignalFd { signals: info.signals() },
            Kind::TimerFd => {
                let (clock, remaining) = info.timer();
                Detail::TimerFd { clock, remaining }
            }
            Kind::PidFd => Detail::PidFd { pid: info.pid() },
            Kind::Inotify => Detail::Inotify { watches: info.watches() },
            Kind::IoUring => Detail::IoUring(info.ring()),
            _ => Detail::Anonymous { name: Text::from(name) },
        }
    }

    /// Ties epoll sets to what they watch, and counts the pipes whose fill nobody could tell.
    fn finish(mut self) {
        for (set, pid, watched) in std::mem::take(&mut self.sets) {
            for one in watched {
                if let Some(object) = self.watched(pid, one) {
                    self.builder.link(set, object, LinkKind::Watches);
                }
            }
        }
        for why in self.unfilled.into_values() {
            self.builder.unseen(UnseenWhat::Fill, why, 1);
        }
    }

    fn watched(&self, pid: u32, one: Watched) -> Option<ObjectRef> {
        let by_number = || self.anonymous.get(&(pid, one.fd)).copied();
        let Some((inode, device)) = one.file else { return by_number() };
        let device = from_kernel(device);
        if self.kernel.is_pipes(device) {
            self.builder.find(Identity::Pipe { inode })
        } else if self.kernel.is_sockets(device) {
            self.builder.find(Identity::Socket { inode })
        } else {
            self.builder.find(Identity::File { device, inode }).or_else(by_number)
        }
    }
}

/// Gets duplicates of one process's descriptors.
struct Duplicator {
    pid: u32,
    process: Option<Result<PidFd, UnseenWhy>>,
}

impl Duplicator {
    /// `allowed` is whether the viewer wishes it at all.
    fn new(pid: u32, allowed: bool) -> Self {
        Self { pid, process: (!allowed).then_some(Err(UnseenWhy::NotSupported)) }
    }

    /// A duplicate, to be checked and closed at once.
    fn duplicate(&mut self, fd: i32) -> Result<OwnedFd, UnseenWhy> {
        let process = self.process.get_or_insert_with(|| PidFd::open(self.pid).map_err(|error| why(&error)));
        let duplicate = match process {
            Ok(process) => process.duplicate_fd(fd).map_err(|error| why(&error)),
            Err(why) => return Err(*why),
        };
        if let Err(why @ (UnseenWhy::NoPermission | UnseenWhy::NotSupported)) = duplicate {
            // It will not change for the next descriptor.
            *process = Err(why);
        }
        duplicate
    }
}

fn why(error: &tieline_os::Error) -> UnseenWhy {
    match error.kind() {
        tieline_os::ErrorKind::PermissionDenied => UnseenWhy::NoPermission,
        tieline_os::ErrorKind::NotFound | tieline_os::ErrorKind::InvalidInput => UnseenWhy::Vanished,
        tieline_os::ErrorKind::Unsupported => UnseenWhy::NotSupported,
        _ => UnseenWhy::Failed,
    }
}

/// Finds descriptors that are one open file description, where nothing but the kernel's comparison tells.
struct Twins {
    /// For each sort the first descriptor of each description, in the kernel's order of descriptions.
    known: HashMap<(Kind, u32, u64), Vec<(u32, i32)>>,
    /// How many more comparisons may be made.
    left: u32,
}

impl Twins {
    /// The first descriptor that was met of the same description, which may be `this`. What cannot be compared, and what
    /// comes when too much was compared already, is taken for one of its own.
    fn first_of(&mut self, sort: (Kind, u32, u64), this: (u32, i32)) -> (u32, i32) {
        let known = self.known.entry(sort).or_default();
        let (mut low, mut high) = (0, known.len());
        while low < high {
            if self.left == 0 {
                return this;
            }
            self.left -= 1;
            let middle = low.midpoint(high);
            match description::compare(this, known[middle]) {
                Ok(std::cmp::Ordering::Equal) => return known[middle],
                Ok(std::cmp::Ordering::Less) => high = middle,
                Ok(std::cmp::Ordering::Greater) => low = middle + 1,
                Err(_) => return this,
            }
        }
        known.insert(low, this);
        this
    }
}

/// What may be done through a descriptor, as the permissions of its link in `/proc` tell.
fn access_of_link(fds: BorrowedFd<'_>, name: &CStr) -> Access {
    let mode = statat(fds, name, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |link| link.st_mode);
    Access { read: mode & 0o400 != 0, write: mode & 0o200 != 0 }
}

/// Access and fill of an end of the pipe or FIFO with that inode; nothing if it is something else by now.
fn fill_of(end: &OwnedFd, inode: u64) -> (Option<Access>, Result<Fill, UnseenWhy>) {
    if !is_fifo(end, inode) {
        return (None, Err(UnseenWhy::Vanished));
    }
    let flags = fcntl_getfl(end).map(|flags| flags.bits()).ok();
    let fill = ioctl_fionread(end).and_then(|used| Ok((used, fcntl_getpipe_size(end)?)));
    let fill = fill.map(|(used, size)| Fill { used, capacity: Some(size as u64), unit: Unit::Bytes });
    (flags.map(fdinfo::access), fill.map_err(|_| UnseenWhy::Failed))
}

fn is_fifo(file: &OwnedFd, inode: u64) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_ino == inode)
}

fn is_file(file: &OwnedFd, inode: u64) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_ino == inode)
}

fn memory(file: &Statx, is_unlinked: bool) -> Memory {
    Memory {
        size_bytes: Some(file.stx_size),
        // `statx` counts in units of 512 bytes, whatever the file system's.
        allocated_bytes: Some(file.stx_blocks * 512),
        seals: None,
        is_unlinked,
    }
}

/// A file's own name, and whether it was removed. The kernel writes ` (deleted)` after a removed name; but a file may be
/// called so, and a removed name may be one of several. A file that was made without a name (`O_TMPFILE`) is called after
/// its inode number, marked as removed, and stays so when it gets a name: none is known then. `may_look` is whether the
/// name may be looked up, which is needed for few.
pub(super) fn name_of<'l>(
    link: &'l [u8],
    file: &Statx,
    process: BorrowedFd<'_>,
    may_look: bool,
) -> (Option<&'l [u8]>, bool) {
    let (name, is_marked) = without_deleted(link);
    if !is_marked {
        return (Some(link), false);
    }
    if file.stx_nlink > 0 && may_look {
        // As the process sees the file system, whatever its root.
        let mut path = b"root".to_vec();
        path.extend(link);
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let really = statx(process, path, flags, StatxFlags::INO);
        let same = |there: &Statx| {
            (there.stx_dev_major, there.stx_dev_minor, there.stx_ino)
                == (file.stx_dev_major, file.stx_dev_minor, file.stx_ino)
        };
        if really.is_ok_and(|there| same(&there)) {
            return (Some(link), false);
        }
    }
    ((!is_nameless(name, file.stx_ino)).then_some(name), file.stx_nlink == 0)
}

/// Whether a path ends as the kernel calls a file that was made without a name (`O_TMPFILE`): by its number.
pub(super) fn is_nameless(path: &[u8], inode: u64) -> bool {
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    last.strip_prefix(b"#").and_then(parse) == Some(inode)
}

/// `/name`, as programs give it.
fn posix_name(name: &[u8]) -> Text {
    Text::from([b"/", name].concat())
}

/// `/proc/PID/fd/N`, for calls that take no folder. They follow the link without opening it.
fn path_of(holder: &Holder<'_>, descriptor: &Descriptor<'_>) -> String {
    format!("/proc/{}/fd/{}", holder.folder.pid, descriptor.fd)
}

/// The number in `prefix` number `]`.
fn number_in(link: &[u8], prefix: &[u8]) -> Option<u64> {
    parse(link.strip_prefix(prefix)?.strip_suffix(b"]")?)
}

/// The bytes in a queue, and who is to be told of a message by which signal (0 for none):
/// `QSIZE:129 NOTIFY:0 SIGNO:10 NOTIFY_PID:8260`.
fn told_of_queue(text: &[u8]) -> Option<(u64, Option<(u32, u32)>)> {
    let field = |name: &[u8]| {
        let mut words = text.split(u8::is_ascii_whitespace);
        words.find_map(|word| parse::<u64>(word.strip_prefix(name)?))
    };
    let number = |name| field(name).and_then(|number| u32::try_from(number).ok());
    let by_signal = field(b"NOTIFY:") == Some(0);
    let signal = number(b"SIGNO:").filter(|_| by_signal).unwrap_or(0);
    Some((field(b"QSIZE:")?, number(b"NOTIFY_PID:").filter(|&pid| pid != 0).map(|pid| (pid, signal))))
}

/// Some of these words stand in brackets, and kernels do not agree on which.
fn kind_of_anonymous(name: &[u8]) -> Kind {
    let word = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
    match word {
        b"eventfd" => Kind::EventFd,
        b"eventpoll" => Kind::Epoll,
        b"signalfd" => Kind::SignalFd,
        b"timerfd" => Kind::TimerFd,
        b"pidfd" => Kind::PidFd,
        b"inotify" => Kind::Inotify,
        b"io_uring" => Kind::IoUring,
        _ => Kind::OtherAnonymous,
    }
}

#[cfg(test)]
mod tests {
    use super::told_of_queue;

    #[test]
    fn a_queue_tells_its_bytes_and_who_is_to_be_notified() {
        let told = |text: &str| told_of_queue(text.as_bytes());
        let by_signal = "QSIZE:129        NOTIFY:0     SIGNO:10    NOTIFY_PID:8260  \n";
        assert_eq!(told(by_signal), Some((129, Some((8260, 10)))));
        assert_eq!(told("QSIZE:0 NOTIFY:2 SIGNO:10 NOTIFY_PID:7\n"), Some((0, Some((7, 0)))));
        assert_eq!(told("QSIZE:5 NOTIFY:0 SIGNO:0 NOTIFY_PID:0\n"), Some((5, None)));
        for odd in ["", "QSIZE:", "QSIZE:x NOTIFY:0", "NOTIFY:0 SIGNO:0 NOTIFY_PID:0"] {
            assert_eq!(told(odd), None, "{odd:?}");
        }
    }
}
