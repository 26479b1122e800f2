//! Segments that outlive their users: a file, mapped.
//!
//! The invariant: a file that can be seen by its name has a complete header, and whoever opens it is told whether all
//! its users had closed it. For that the header counts those who have it open, and two ranges of the file are locked:
//! byte 0 while somebody opens or closes it, byte 1 (shared) by all who have it open. The kernel gives up the locks of
//! the dead, the count does not; so a count above zero while nobody holds byte 1 tells of a death.

use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tieline_os::lock::{LockKind, RangeLock};
use tieline_os::mapping::{MapOptions, Mapping};

use super::header::{GROWABLE, HEADER_BYTES, Header, PERSISTENT};
use super::options::{Obtained, SegmentOptions};
use super::resize::no_room;
use super::{Expected, Kind, Purpose, Segment, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::Ordering;
use crate::raw::{process, step};

const CREATE: &str = "create the segment file";
const OPEN: &str = "open the segment file";
const CLOSE: &str = "close the segment file";
const SYNC: &str = "write the segment file to storage";

/// Opening and closing take microseconds, unless the disk is slow or a process was stopped in the middle.
const GATE_PATIENCE: Duration = Duration::from_secs(10);

/// How a [`PersistentSegment`] was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// It was not there; it is zeroed.
    Created,
    /// All its users had closed it.
    Clean,
    /// A user died while the system went on: every store of the dead is there, up to one moment; a change may be half
    /// done.
    ProcessDied,
    /// The system stopped while it was in use: pages may be old or new, each for itself, except what was
    /// [synced](PersistentSegment::sync).
    SystemStopped,
    /// Others have it open now. A death among them was told, or will be, to whoever comes first after all have gone.
    Joined,
}

/// A [`Segment`] in a file, for data that outlives all its users, and the system if synced.
///
/// Only the file's owner may open it, and only while nobody else may write it: whoever could write the file could also
/// cut it shorter, which raises `SIGBUS` in all who have it open. The file system should be a local one; on `tmpfs` the
/// data lives as long as the system runs.
///
/// A handle inherited by `fork` neither closes nor counts; open the file again in the child.
///
/// ```
/// use tieline_shm::{Opened, SegmentOptions};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("state");
/// let options = SegmentOptions::new("state");
/// let state = options.open_or_create_file(&path, 4096)?;
/// assert_eq!(state.opened(), Opened::Created);
/// state.write(0, b"kept")?;
/// state.close()?;
///
/// let state = options.open_file(&path)?;
/// assert_eq!(state.opened(), Opened::Clean);
/// assert_eq!(state.load::<[u8; 4]>(0)?, *b"kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PersistentSegment {
    segment: Segment,
    path: PathBuf,
    opened: Opened,
    /// Byte 1, shared, for as long as we have it open; taken out by `close`.
    in_use: Option<RangeLock<Arc<File>>>,
    file: Arc<File>,
    /// The process that opened it.
    generation: u32,
}

impl SegmentOptions {
    /// Makes a file with a segment of `len_bytes`, zeroed, that only its owner may read and write. It appears under its
    /// name when it is complete; a process that dies before leaves nothing.
    ///
    /// Wishes for pages and nodes are ignored: they are the file system's.
    ///
    /// # Errors
    /// * `AlreadyExists`: something has this name. `NotFound`, `PermissionDenied`: of the folder.
    /// * `LimitReached`: the file system is full. `Unsupported`: it has no nameless files (`O_TMPFILE`), as most
    ///   networked ones.
    pub fn create_file(&self, path: impl AsRef<Path>, len_bytes: usize) -> Result<PersistentSegment> {
        let (purpose, _) = self.purpose();
        create(path.as_ref(), &purpose, len_bytes, self, |segment| self.describe(segment))
    }

    /// Opens a segment file, after checking its owner, its header and its layout, and waits up to ten seconds while
    /// another process opens or closes it.
    ///
    /// # Errors
    /// * `NotFound`; `PermissionDenied`: of another owner, writable by others, or a symbolic link.
    /// * `Corrupted`, `Mismatch`: as for [`accept`](Self::accept). `TimedOut`: a process stopped while opening it.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<PersistentSegment> {
        let (_, expected) = self.purpose();
        open(path.as_ref(), Kind::Memory, &expected)
    }

    /// [`open_file`](Self::open_file) if the file is there, else [`create_file`](Self::create_file).
    ///
    /// # Errors
    /// As either.
    pub fn open_or_create_file(&self, path: impl AsRef<Path>, len_bytes: usize) -> Result<PersistentSegment> {
        let (purpose, expected) = self.purpose();
        open_or_create(path.as_ref(), &purpose, &expected, len_bytes, self, |segment| self.describe(segment))
    }
}

/// For structures of other kinds than plain memory; `prepare` writes what must be there before the name is.
pub(crate) fn open_or_create(
    path: &Path,
    purpose: &Purpose<'_>,
    expected: &Expected,
    body_len: usize,
    options: &SegmentOptions,
    prepare: impl Fn(&Segment) -> Result<()>,
) -> Result<PersistentSegment> {
    loop {
        match open(path, purpose.kind, expected) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            answer => return answer,
        }
        match create(path, purpose, body_len, options, &prepare) {
            // Somebody was faster: then it can be opened.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            answer => return answer,
        }
    }
}

fn create(
    path: &Path,
    purpose: &Purpose<'_>,
    body_len: usize,
    options: &SegmentOptions,
    prepare: impl Fn(&Segment) -> Result<()>,
) -> Result<PersistentSegment> {
    let refused = |errno| refuse(CREATE, path, errno);
    let room = options.max_len.unwrap_or(body_len);
    let len = HEADER_BYTES.checked_add(room).filter(|len| isize::try_from(*len).is_ok() && body_len <= room);
    let len = len.ok_or_else(|| Error::new(CREATE, ErrorKind::TooLarge).on(path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).map_err(refused)?);
    rustix::fs::ftruncate(&file, len as u64).map_err(refused)?;
    let committed = (HEADER_BYTES + body_len) as u64;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, committed)
        .map_err(|errno| no_room(CREATE, errno).on(path.display()))?;
    let file = Arc::new(file);
    let segment = map(&file, purpose.kind, options.max_len.is_some())?;
    let flags = if options.max_len.is_some() { PERSISTENT | GROWABLE } else { PERSISTENT };
    let header = segment.header()?;
    header.fill(purpose, len as u64, body_len as u64, flags, 0);
    prepare(&segment)?;
    mark_first(&header, 1);
    let in_use = lock(CREATE, path, &file, LockKind::Shared, IN_USE)?;
    file.sync_all().map_err(|error| storage_failed(CREATE, path, &error))?;
    step("segment-file:before-link");
    link(&file, path).map_err(refused)?;
    step("segment-file:after-link");
    // That the name is durable too; a folder that cannot be opened or synced does without.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(opened(segment, path, Opened::Created, in_use, file))
}

fn open(path: &Path, kind: Kind, expected: &Expected) -> Result<PersistentSegment> {
    let refused = |errno| refuse(OPEN, path, errno);
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = Arc::new(File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(refused)?));
    let len = trusted_len(path, &file)?;
    let _gate = lock(OPEN, path, &file, LockKind::Exclusive, GATE)?;
    // Without growth at first: whether it is growable stands in the header, which is checked before.
    let segment = map(&file, kind, false)?;
    let header = segment.header()?;
    let described = header.check(kind, expected, len).map_err(|error| error.on(path.display()))?;
    let segment = Segment { growable: described.growable, ..segment };
    let how = match RangeLock::try_lock(Arc::clone(&file), LockKind::Exclusive, IN_USE) {
        Ok(mut alone) => {
            let how = match described.openers {
                0 => Opened::Clean,
                _ if described.boot_id == boot_id() => Opened::ProcessDied,
                _ => Opened::SystemStopped,
            };
            mark_first(&header, described.generation.wrapping_add(1));
            sync_header(&segment, path)?;
            // One step for the kernel: nobody can come between.
            alone.try_convert(LockKind::Shared).map_err(|error| Error::system_refused(OPEN, error))?;
            step("segment-file:first");
            return Ok(opened(segment, path, how, alone, file));
        }
        Err(error) if error.kind() == tieline_os::ErrorKind::WouldBlock => Opened::Joined,
        Err(error) => return Err(Error::system_refused(OPEN, error).on(path.display())),
    };
    let in_use = lock(OPEN, path, &file, LockKind::Shared, IN_USE)?;
    // Relaxed: changed only by holders of the gate, which orders them.
    header.openers.fetch_add(1, Ordering::Relaxed);
    step("segment-file:joined");
    Ok(opened(segment, path, how, in_use, file))
}

/// Counts ourselves as the only one who has it open.
fn mark_first(header: &Header, generation: u64) {
    // Relaxed: nobody else has it, and who joins takes the gate after us.
    header.openers.store(1, Ordering::Relaxed);
    header.generation.store(generation, Ordering::Relaxed);
    for (word, part) in header.boot_id.iter().zip(boot_id()) {
        word.store(part, Ordering::Relaxed);
    }
}

fn opened(
    segment: Segment,
    path: &Path,
    opened: Opened,
    in_use: RangeLock<Arc<File>>,
    file: Arc<File>,
) -> PersistentSegment {
    let generation = process::generation();
    PersistentSegment { segment, path: path.to_owned(), opened, in_use: Some(in_use), file, generation }
}

impl PersistentSegment {
    /// How it was found. Look before using what is in it.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything to storage, and waits for it: what was stored before survives a power cut.
    ///
    /// # Errors
    /// `System`: the disk's error. Some pages may be on the disk then and others not, and trying again does not tell
    /// the truth: treat the file as lost.
    pub fn sync(&self) -> Result<()> {
        self.segment.memory.sync(..).map_err(|error| Error::system_refused(SYNC, error).on(self.path.display()))?;
        self.file.sync_all().map_err(|error| storage_failed(SYNC, &self.path, &error))
    }

    /// Closes it; the last one to do so writes everything to storage and marks the file as clean.
    ///
    /// Dropping does the same and reports nothing, except while a panic unwinds: then the file stays marked as in use,
    /// because a change may be half done.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); `TimedOut` if a process stopped while opening or closing. The file is then found as
    /// after a death.
    pub fn close(mut self) -> Result<()> {
        self.leave()
    }

    fn leave(&mut self) -> Result<()> {
        let Some(in_use) = self.in_use.take() else { return Ok(()) };
        if self.generation != process::generation() {
            // A forked child shares the open file with its parent, and so its locks; they are the parent's to give up.
            std::mem::forget(in_use);
            return Ok(());
        }
        let _gate = lock(CLOSE, &self.path, &self.file, LockKind::Exclusive, GATE)?;
        let header = self.segment.header()?;
        // Unlocking and locking again under the gate: whoever opens waits at the gate meanwhile.
        drop(in_use);
        let last = RangeLock::try_lock(Arc::clone(&self.file), LockKind::Exclusive, IN_USE).is_ok();
        if last {
            self.sync()?;
        }
        step("segment-file:before-count");
        // Relaxed: under the gate. A count that somebody destroyed stays at zero.
        let left = header.openers.load(Ordering::Relaxed).saturating_sub(1);
        header.openers.store(left, Ordering::Relaxed);
        if last { sync_header(&self.segment, &self.path) } else { Ok(()) }
    }
}

impl Deref for PersistentSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}

impl Drop for PersistentSegment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // What failed is found by whoever opens it next, as after a death.
        let _ = self.leave();
    }
}

/// Held while somebody opens or closes.
const GATE: std::ops::Range<u64> = 0..1;
/// Held, shared, by all who have it open.
const IN_USE: std::ops::Range<u64> = 1..2;

fn lock(
    operation: &'static str,
    path: &Path,
    file: &Arc<File>,
    kind: LockKind,
    range: std::ops::Range<u64>,
) -> Result<RangeLock<Arc<File>>> {
    RangeLock::lock_timeout(Arc::clone(file), kind, range, GATE_PATIENCE)
        .map_err(|error| Error::system_refused(operation, error).on(path.display()))
}

/// The length of a file that nobody but us may have written.
fn trusted_len(path: &Path, file: &File) -> Result<u64> {
    let facts = file.metadata().map_err(|error| storage_failed(OPEN, path, &error))?;
    let refuse = |kind, why: String| Err(Error::new(OPEN, kind).on(path.display()).because(why));
    if !facts.is_file() {
        return refuse(ErrorKind::InvalidInput, "it is no regular file".to_owned());
    }
    let own = rustix::process::geteuid().as_raw();
    if facts.uid() != own {
        return refuse(ErrorKind::PermissionDenied, format!("it belongs to user {}, and we are {own}", facts.uid()));
    }
    if facts.mode() & 0o022 != 0 {
        let why = format!("others may write it (mode {:03o}), and could cut it under us", facts.mode() & 0o777);
        return refuse(ErrorKind::PermissionDenied, why);
    }
    if facts.len() < HEADER_BYTES as u64 {
        return refuse(ErrorKind::Corrupted, "it is shorter than a header".to_owned());
    }
    Ok(facts.len())
}

fn map(file: &Arc<File>, kind: Kind, growable: bool) -> Result<Segment> {
    let refused = |error| Error::system_refused("map the segment file", error);
    let memory = Arc::new(Mapping::of(file, &MapOptions::new().no_reserve()).map_err(refused)?);
    let obtained = Obtained::unasked(&memory);
    let copy = file.try_clone().map_err(|error| storage_failed("map the segment file", Path::new(""), &error))?;
    Ok(Segment { store: Arc::new(Store::File(copy)), memory, kind, obtained, growable, front: 0 })
}

fn sync_header(segment: &Segment, path: &Path) -> Result<()> {
    segment.memory.sync(..HEADER_BYTES).map_err(|error| Error::system_refused(SYNC, error).on(path.display()))
}

/// Gives a nameless file its name, if nobody else has it.
fn link(file: &File, path: &Path) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)
}

/// The running system's own number: another one after each start.
fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |from: usize| digits.get(from..from + 16).and_then(|text| u64::from_str_radix(text, 16).ok());
    [half(0).unwrap_or(0), half(16).unwrap_or(0)]
}

fn refuse(operation: &'static str, path: &Path, errno: Errno) -> Error {
    let (kind, why) = match errno {
        Errno::NOENT => (ErrorKind::NotFound, "there is no such file".to_owned()),
        Errno::EXIST => (ErrorKind::AlreadyExists, "something has this name".to_owned()),
        Errno::LOOP => (ErrorKind::PermissionDenied, "it is a symbolic link, which could lead anywhere".to_owned()),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            (ErrorKind::PermissionDenied, std::io::Error::from(errno).to_string())
        }
        Errno::OPNOTSUPP | Errno::ISDIR => {
            (ErrorKind::Unsupported, "this file system has no files without a name (O_TMPFILE)".to_owned())
        }
        Errno::MFILE | Errno::NFILE => (ErrorKind::LimitReached, std::io::Error::from(errno).to_string()),
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => (ErrorKind::LimitReached, std::io::Error::from(errno).to_string()),
        _ => (ErrorKind::System, std::io::Error::from(errno).to_string()),
    };
    Error::new(operation, kind).on(path.display()).because(why)
}

fn storage_failed(operation: &'static str, path: &Path, error: &std::io::Error) -> Error {
    let kind = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE) => ErrorKind::LimitReached,
        _ => ErrorKind::System,
    };
    Error::new(operation, kind).on(path.display()).because(error.to_string())
}
