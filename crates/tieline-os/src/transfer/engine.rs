//! How bytes get from one descriptor to another: which call, what is kept in between, what to try next.
//!
//! The engine makes one attempt at a time and never waits on a source; it waits on a sink (a socket or terminal in
//! blocking mode) only if it is allowed to. What it cannot do now it says as a [`Halt`], and the copier one level up
//! waits. Counters change in the same breath as the bytes move, so they are right at every return.

use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags, Stat, copy_file_range, fcntl_getfl, fstat, major, minor, sendfile};
use rustix::io::{Errno, read, write};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketType, getpeername, getsockname, recv, send,
    sockopt::socket_type,
};
use rustix::param::page_size;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use crate::pipe::Unwaiting;
use crate::wait::{Wait, wait_for};

/// The kernel's way by which bytes are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// `copy_file_range`: from file to file, inside the file system if it can.
    CopyFileRange,
    /// `sendfile`: from a file to something else.
    Sendfile,
    /// `splice`, because one side is a pipe.
    Splice,
    /// `splice` twice, through a pipe of our own.
    SpliceThroughPipe,
    /// `read` and `write` with a large buffer.
    ReadWrite,
}

/// One of the two descriptors of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one bytes are taken from.
    Source,
    /// The one bytes are given to.
    Sink,
}

/// What sort of descriptor it is, as far as the ways of copying differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A regular file, or a device that is as quick as one: never waits.
    File,
    /// A pipe or FIFO: never waits if asked not to, whatever its flags.
    Pipe,
    /// A stream socket: `send` and `recv` need not wait, but `splice` and `sendfile` do as its flags say.
    Stream,
    /// A Unix stream socket: the same, but bytes are spliced from it without waiting if asked so.
    UnixStream,
    /// The same, connected by TCP to this very host. Pages spliced into one arrive as many small fragments, which costs
    /// the receiver more than a copy costs us: measured, half the rate of plain writes.
    LocalTcp,
    /// A terminal, a device: waits as its flags say.
    Other,
}

/// Why an attempt moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    Blocked(Side),
    Failed(Errno),
}

/// The result of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Moved { accepted: u64, delivered: u64 },
    Done,
}

/// Bytes per call of splice and sendfile: enough to make the call's own cost vanish, little enough to report progress
/// and look at a deadline every fraction of a millisecond.
const CHUNK: usize = 1 << 20;
/// Bytes per call of `copy_file_range`, which may cost nothing (shared blocks) or a few milliseconds.
const FILE_CHUNK: usize = 16 << 20;
/// The buffer of the last resort. Larger ones leave the processor's second-level cache and get slower.
const BUFFER: usize = 256 << 10;
/// Bytes at once to a device that says it is writable but might wait in the middle.
const CAUTIOUS: usize = 4096;
/// So many pages fill a pipe whose capacity nobody has chosen: pipe(7).
const USUAL_PAGES: usize = 16;
/// The capacity of a pipe that was made wider and whose pages are moved.
const WIDE: usize = 1 << 20;
/// The same of one that is copied from or to: what the buffer takes in one call.
const WIDE_TO_COPY: usize = BUFFER;
/// Fewer bytes than this at once are a message more likely than a part of something large. Copying them costs less than
/// moving their page twice, and its sender will hardly have sent the next one yet.
const FEW: usize = 16 << 10;

/// What the two descriptors are, how far the copy is, and what is kept in between.
pub(super) struct Engine {
    source: Sort,
    sink: Sort,
    /// The way to try next.
    how: How,
    /// The way the last bytes went.
    went: How,
    limit: Option<u64>,
    /// Whether the source and the sink, if pipes of the usual capacity, are still to be made wider.
    widen: [bool; 2],
    accepted: u64,
    delivered: u64,
    /// Whether the source had but few bytes when it was asked last.
    few: bool,
    ended: bool,
    store: Store,
    /// Whether splice and sendfile to the sink return at once even if it is full, as far as it is known.
    sink_cannot_wait: Option<bool>,
    source_unwaiting: Unwaiting,
    sink_unwaiting: Unwaiting,
}

/// Bytes taken from the source and not yet given to the sink: in the pipe or in the buffer, never in both.
#[derive(Default)]
struct Store {
    pipe: Option<Inner>,
    in_pipe: usize,
    buffer: Vec<u8>,
    in_buffer: Range<usize>,
}

/// A pipe of our own, made as large as we may.
struct Inner {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

impl Engine {
    pub(super) fn new(source: Sort, sink: Sort) -> Self {
        let how = match (source, sink) {
            (_, Sort::LocalTcp) => How::ReadWrite,
            (Sort::Pipe, _) | (_, Sort::Pipe) => How::Splice,
            (Sort::File, Sort::File) => How::CopyFileRange,
            (Sort::File, _) => How::Sendfile,
            (Sort::Stream | Sort::UnixStream | Sort::LocalTcp, Sort::Stream | Sort::UnixStream | Sort::File) => {
                How::SpliceThroughPipe
            }
            (Sort::Stream | Sort::UnixStream | Sort::LocalTcp | Sort::Other, _) => How::ReadWrite,
        };
        Self {
            source,
            sink,
            how,
            went: how,
            limit: None,
            widen: [false; 2],
            accepted: 0,
            delivered: 0,
            few: true,
            ended: false,
            store: Store::default(),
            sink_cannot_wait: None,
            source_unwaiting: Unwaiting::default(),
            sink_unwaiting: Unwaiting::default(),
        }
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(super) fn set_widen(&mut self, source: bool, sink: bool) {
        self.widen = [source && self.source == Sort::Pipe, sink && self.sink == Sort::Pipe];
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn went(&self) -> How {
        self.went
    }

    /// Whether the next attempt would probably find the source empty: it gave few bytes, fewer than it was asked for. A
    /// file that gives few has ended.
    pub(super) fn source_seems_empty(&self) -> bool {
        let may_take = !self.ended && self.store.held() == 0 && self.limit.is_none_or(|limit| self.accepted < limit);
        self.few && self.accepted > 0 && may_take && self.source != Sort::File
    }

    /// What the sink shows, while we wait for the source, when nothing can be given to it any more.
    pub(super) fn sink_death(&self) -> PollFlags {
        match self.sink {
            Sort::Pipe => PollFlags::ERR,
            Sort::Stream | Sort::UnixStream | Sort::LocalTcp => PollFlags::ERR | PollFlags::HUP,
            Sort::File | Sort::Other => PollFlags::empty(),
        }
    }

    /// Makes one attempt to move bytes. If `may_wait` is false, it does not wait on either side.
    pub(super) fn attempt(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        may_wait: bool,
    ) -> Result<Progress, Halt> {
        let answer = self.attempt_once(from, to, may_wait);
        if let Err(Halt::Blocked(_)) = answer {
            self.sink_cannot_wait = None;
        }
        answer
    }

    fn attempt_once(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, may_wait: bool) -> Result<Progress, Halt> {
        if self.store.held() > 0 {
            let delivered = self.deliver(to, may_wait)?;
            return Ok(Progress::Moved { accepted: 0, delivered });
        }
        loop {
            let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.accepted));
            if self.ended || left == 0 {
                return Ok(Progress::Done);
            }
            let at_most = |chunk: usize| usize::try_from(left).map_or(chunk, |left| left.min(chunk));
            // A way that the sink's flags could make wait is replaced for this attempt, not for ever.
            let how = if may_wait || self.how == How::ReadWrite || self.sink_cannot_wait(to) {
                self.how
            } else {
                How::ReadWrite
            };
            let answer = match how {
                How::CopyFileRange => copy_file_range(from, None, to, None, at_most(FILE_CHUNK)),
                How::Sendfile => sendfile(to, from, None, at_most(CHUNK)),
                How::Splice => {
                    // The flag below is heeded by pipes and Unix sockets; of the others we ask first.
                    if let Sort::Stream | Sort::LocalTcp | Sort::Other = self.source {
                        ready(from, Side::Source)?;
                    }
                    splice(from, None, to, None, at_most(CHUNK), SpliceFlags::NONBLOCK)
                }
                How::SpliceThroughPipe if self.few => {
                    let accepted = self.fill_buffer(from, at_most(FEW))?;
                    return self.staged(to, accepted, may_wait);
                }
                How::SpliceThroughPipe => match self.fill_pipe(from, at_most(CHUNK))? {
                    Some(accepted) => return self.staged(to, accepted, may_wait),
                    None => continue,
                },
                How::ReadWrite => {
                    let accepted = self.fill_buffer(from, at_most(BUFFER))?;
                    self.widen_pipes(from, to, WIDE_TO_COPY);
                    return self.staged(to, accepted, may_wait);
                }
            };
            match answer {
                // These two answer 0 also of files that have contents only when read; the plain way knows.
                Ok(0) if matches!(how, How::CopyFileRange | How::Sendfile) => self.how = How::ReadWrite,
                Ok(0) => self.ended = true,
                Ok(count) => {
                    let count = self.took(count, how);
                    self.delivered += count;
                    self.widen_pipes(from, to, WIDE);
                    return Ok(Progress::Moved { accepted: count, delivered: count });
                }
                Err(Errno::AGAIN) if self.source == Sort::File => return Err(Halt::Blocked(Side::Sink)),
                Err(Errno::AGAIN) => return Err(which_blocks(from)),
                Err(errno) if this_way_is_closed(errno) => {
                    self.how = if how == How::CopyFileRange { How::Sendfile } else { How::ReadWrite };
                }
                Err(errno) => return Err(Halt::Failed(errno)),
            }
        }
    }

    /// Takes out what was accepted and not delivered.
    pub(super) fn take_held(&mut self) -> Result<Vec<u8>, Errno> {
        self.store.unload()?;
        let held = self.store.buffer[self.store.in_buffer.clone()].to_vec();
        self.store.in_buffer = 0..0;
        Ok(held)
    }

    /// Whether splice and sendfile to this sink return at once even if it is full.
    ///
    /// A descriptor is asked again each time it has made us wait, since whoever shares it may change its mode.
    fn sink_cannot_wait(&mut self, to: BorrowedFd<'_>) -> bool {
        let sink = self.sink;
        *self.sink_cannot_wait.get_or_insert_with(|| match sink {
            Sort::File | Sort::Pipe => true,
            Sort::Stream | Sort::UnixStream | Sort::LocalTcp | Sort::Other => {
                fcntl_getfl(to).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
            }
        })
    }

    /// Widens the pipes at both sides, once it has shown that there is more to move than the usual capacity. A refusal
    /// (of too much for one user, or of a pipe that is in use otherwise) leaves them as they are.
    fn widen_pipes(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, width: usize) {
        let usual = USUAL_PAGES * page_size();
        if self.widen == [false; 2] || self.accepted < usual as u64 {
            return;
        }
        for (widen, fd) in std::mem::take(&mut self.widen).into_iter().zip([from, to]) {
            if widen && fcntl_getpipe_size(fd) == Ok(usual) {
                let _ = fcntl_setpipe_size(fd, width);
            }
        }
    }

    /// Bytes have just been stored: gives away what it can. Being blocked there is no fault of this attempt.
    fn staged(&mut self, to: BorrowedFd<'_>, accepted: u64, may_wait: bool) -> Result<Progress, Halt> {
        if accepted == 0 {
            return Ok(Progress::Done);
        }
        match self.deliver(to, may_wait) {
            Ok(delivered) => Ok(Progress::Moved { accepted, delivered }),
            Err(Halt::Blocked(_) | Halt::Failed(Errno::INTR)) => Ok(Progress::Moved { accepted, delivered: 0 }),
            Err(halt) => Err(halt),
        }
    }

    /// Takes bytes into our own pipe; `None` if that way has just proved closed.
    fn fill_pipe(&mut self, from: BorrowedFd<'_>, at_most: usize) -> Result<Option<u64>, Halt> {
        if self.source != Sort::UnixStream {
            ready(from, Side::Source)?;
        }
        let Ok(pipe) = self.store.pipe() else {
            self.how = How::ReadWrite;
            return Ok(None);
        };
        match splice(from, None, &pipe.writer, None, at_most.min(pipe.capacity), SpliceFlags::NONBLOCK) {
            Ok(count) => {
                self.store.in_pipe = count;
                Ok(Some(self.took(count, How::SpliceThroughPipe)))
            }
            Err(errno) if this_way_is_closed(errno) => {
                self.how = How::ReadWrite;
                Ok(None)
            }
            Err(errno) => Err(halt(errno, Side::Source)),
        }
    }

    fn fill_buffer(&mut self, from: BorrowedFd<'_>, at_most: usize) -> Result<u64, Halt> {
        if self.source == Sort::Other {
            ready(from, Side::Source)?;
        }
        let room = self.store.room(at_most);
        let buffer = &mut self.store.buffer[room.clone()];
        let answer = match self.source {
            Sort::Pipe => self.source_unwaiting.read(from, buffer),
            Sort::Stream | Sort::UnixStream | Sort::LocalTcp => {
                recv(from, buffer, RecvFlags::DONTWAIT).map(|(count, _)| count)
            }
            Sort::File | Sort::Other => read(from, buffer),
        };
        let count = answer.map_err(|errno| halt(errno, Side::Source))?;
        self.store.in_buffer = room.start..room.start + count;
        Ok(self.took(count, How::ReadWrite))
    }

    fn took(&mut self, count: usize, how: How) -> u64 {
        self.ended = count == 0;
        self.few = count < FEW;
        if count > 0 {
            self.went = how;
        }
        self.accepted += count as u64;
        count as u64
    }

    /// Gives stored bytes to the sink until nothing is stored or the sink takes no more.
    fn deliver(&mut self, to: BorrowedFd<'_>, may_wait: bool) -> Result<u64, Halt> {
        let before = self.delivered;
        while self.store.held() > 0 {
            match self.deliver_some(to, may_wait) {
                Ok(count) => self.delivered += count as u64,
                // What was given counts; the next attempt meets the obstacle again.
                Err(_) if self.delivered > before => break,
                Err(halt) => return Err(halt),
            }
        }
        Ok(self.delivered - before)
    }

    fn deliver_some(&mut self, to: BorrowedFd<'_>, may_wait: bool) -> Result<usize, Halt> {
        if self.store.in_pipe > 0 && (may_wait || self.sink_cannot_wait(to)) {
            match self.store.splice_out(to) {
                Err(errno) if this_way_is_closed(errno) => self.how = How::ReadWrite,
                answer => return answer.map_err(|errno| halt(errno, Side::Sink)),
            }
        }
        if self.store.in_pipe > 0 {
            self.store.unload().map_err(Halt::Failed)?;
            self.went = How::ReadWrite;
        }
        let bytes = &self.store.buffer[self.store.in_buffer.clone()];
        let answer = match self.sink {
            Sort::Pipe => self.sink_unwaiting.write(to, bytes),
            Sort::Stream | Sort::UnixStream | Sort::LocalTcp if may_wait => send(to, bytes, SendFlags::NOSIGNAL),
            Sort::Stream | Sort::UnixStream | Sort::LocalTcp => {
                send(to, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            }
            Sort::Other if !may_wait => {
                ready(to, Side::Sink)?;
                write(to, &bytes[..bytes.len().min(CAUTIOUS)])
            }
            Sort::File | Sort::Other => write(to, bytes),
        };
        match answer {
            // A sink that takes nothing and gives no reason would be asked for ever.
            Ok(0) => Err(Halt::Failed(Errno::IO)),
            Ok(count) => {
                self.store.in_buffer.start += count;
                Ok(count)
            }
            Err(errno) => Err(halt(errno, Side::Sink)),
        }
    }
}

impl Store {
    fn held(&self) -> usize {
        self.in_pipe + self.in_buffer.len()
    }

    /// Where the empty buffer takes `len` bytes: from the start of a page, because the processor copies to and from there
    /// faster than elsewhere.
    fn room(&mut self, len: usize) -> Range<usize> {
        let slack = page_size();
        if self.buffer.len() < len + slack {
            self.buffer.resize(len + slack, 0);
        }
        let start = self.buffer.as_ptr().align_offset(page_size()).min(slack);
        start..start + len
    }

    /// Our own pipe, made when it is first needed.
    fn pipe(&mut self) -> Result<&Inner, Errno> {
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => Inner::new()?,
        };
        Ok(self.pipe.insert(pipe))
    }

    fn splice_out(&mut self, to: BorrowedFd<'_>) -> Result<usize, Errno> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let count = splice(&pipe.reader, None, to, None, self.in_pipe, SpliceFlags::NONBLOCK)?;
        self.in_pipe -= count;
        // The pipe holds bytes, so 0 can only mean a sink that takes none.
        if count == 0 { Err(Errno::IO) } else { Ok(count) }
    }

    /// Moves what the pipe holds into the buffer.
    fn unload(&mut self) -> Result<(), Errno> {
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.in_pipe > 0) else { return Ok(()) };
        if self.buffer.len() < self.in_pipe {
            self.buffer.resize(self.in_pipe, 0);
        }
        self.in_buffer = 0..0;
        while self.in_pipe > 0 {
            let end = self.in_buffer.end;
            match read(&pipe.reader, &mut self.buffer[end..end + self.in_pipe]) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    self.in_buffer.end += count;
                    self.in_pipe -= count;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl Inner {
    fn new() -> Result<Self, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused above the user's share; then the default size is what we have.
        let _ = fcntl_setpipe_size(&writer, CHUNK);
        let capacity = fcntl_getpipe_size(&writer)?;
        Ok(Self { reader, writer, capacity })
    }
}

/// What sort of descriptor this is; refuses sockets that carry messages, whose bounds a copy would lose.
pub(super) fn sort_of(fd: BorrowedFd<'_>) -> Result<(Sort, Stat), Errno> {
    let stat = fstat(fd)?;
    let sort = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Sort::File,
        FileType::Fifo => Sort::Pipe,
        FileType::Socket if socket_type(fd)? == SocketType::STREAM => {
            let ours = getsockname(fd)?;
            if ours.address_family() == AddressFamily::UNIX {
                Sort::UnixStream
            } else if is_tcp_to_this_host(fd, ours) {
                Sort::LocalTcp
            } else {
                Sort::Stream
            }
        }
        FileType::Socket => return Err(Errno::PROTOTYPE),
        FileType::Directory => return Err(Errno::ISDIR),
        FileType::CharacterDevice if is_memory_device(&stat) => Sort::File,
        _ => Sort::Other,
    };
    Ok((sort, stat))
}

/// `/dev/null`, `/dev/zero`, `/dev/full`, by the numbers of mem(4), null(4) and full(4): they take and give at once.
fn is_memory_device(stat: &Stat) -> bool {
    major(stat.st_rdev) == 1 && matches!(minor(stat.st_rdev), 3 | 5 | 7)
}

/// Whether both ends of a connection have the same internet address.
fn is_tcp_to_this_host(fd: BorrowedFd<'_>, ours: SocketAddrAny) -> bool {
    let ip = |address: SocketAddrAny| Some(SocketAddr::try_from(address).ok()?.ip());
    let theirs = getpeername(fd).ok().flatten();
    ip(ours).is_some_and(|ours| theirs.and_then(ip) == Some(ours))
}

/// Whether a descriptor shows that it is ready, this moment.
fn ready(fd: BorrowedFd<'_>, side: Side) -> Result<(), Halt> {
    let events = if side == Side::Source { PollFlags::IN } else { PollFlags::OUT };
    match wait_for(fd, events, Wait::Never) {
        Ok(_) => Ok(()),
        Err(errno) => Err(halt(errno, side)),
    }
}

/// After "would block" of a call that has to do with both sides.
fn which_blocks(from: BorrowedFd<'_>) -> Halt {
    match ready(from, Side::Source) {
        Ok(()) => Halt::Blocked(Side::Sink),
        Err(halt) => halt,
    }
}

fn halt(errno: Errno, side: Side) -> Halt {
    if errno == Errno::AGAIN { Halt::Blocked(side) } else { Halt::Failed(errno) }
}

/// Whether an errno means that this call cannot serve these two descriptors, so that a plainer one should be tried. If
/// the fault is the descriptors' own, the plainest one will say so.
fn this_way_is_closed(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::XDEV
            | Errno::BADF
            | Errno::PERM
            | Errno::SPIPE
            | Errno::OVERFLOW
            | Errno::TXTBSY
    )
}
