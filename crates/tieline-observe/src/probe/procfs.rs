//! Reading `/proc` with as few calls as it takes: relative to a process's own folder, into buffers that are used again.
//!
//! The invariant: an open folder of `/proc` stays with its process. When that has ended, every call through the folder
//! fails, also if the number belongs to another process by then.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::processes;
use crate::model::ProcessRef;
use crate::{Error, Result};

/// Room for what one call lists of a folder: some thousand descriptors.
const LISTING_BYTES: usize = 64 * 1024;

/// The folders of the processes that a scan has found, for the probes that look into them.
pub(crate) struct Folders {
    proc: OwnedFd,
    folders: Vec<Folder>,
    /// How many more may be kept open.
    keep: usize,
}

/// One process.
pub(crate) struct Folder {
    pub(crate) process: ProcessRef,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    kept: Option<OwnedFd>,
}

impl Folders {
    /// None yet.
    pub(crate) fn new() -> Result<Self> {
        let proc = rustix::fs::open("/proc", FOLDER, Mode::empty()).map_err(|errno| Error::NoProc(errno.into()))?;
        // Folders are kept open to spare a look whether the number still belongs to the same process; but most of the
        // descriptors that this process may have are not ours to take.
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(1 << 16);
        Ok(Self { proc, folders: Vec::new(), keep: usize::try_from(allowed / 4).unwrap_or(1 << 14) })
    }

    /// `/proc` itself.
    pub(crate) fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// Keeps what was opened for one process.
    pub(crate) fn add(&mut self, process: ProcessRef, pid: u32, start_ticks: u64, folder: OwnedFd) {
        let kept = (self.folders.len() < self.keep).then_some(folder);
        self.folders.push(Folder { process, pid, start_ticks, kept });
    }

    /// Those of processes that have descriptors and memory of their own.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter()
    }

    /// The folder of a process, which is the one that was found at first.
    ///
    /// # Errors
    /// `SRCH` if it has ended.
    pub(crate) fn open<'a>(&'a self, folder: &'a Folder) -> Result<Opened<'a>, Errno> {
        if let Some(kept) = &folder.kept {
            return Ok(Opened::Kept(kept.as_fd()));
        }
        let mut name = [0; 16];
        let opened = openat(&self.proc, number(folder.pid, &mut name), FOLDER, Mode::empty()).map_err(gone)?;
        let mut stat = [0; processes::STAT_BYTES];
        let stat = read(&opened, c"stat", &mut stat).map_err(gone)?;
        match processes::Stat::parse(stat) {
            Some(stat) if stat.start_ticks == folder.start_ticks => Ok(Opened::Anew(opened)),
            _ => Err(Errno::SRCH),
        }
    }
}

/// For a folder of `/proc`: opening it without `O_PATH` asks no more of the kernel, and it can be listed.
pub(crate) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A process's folder.
pub(crate) enum Opened<'a> {
    Kept(BorrowedFd<'a>),
    Anew(OwnedFd),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(folder) => *folder,
            Self::Anew(folder) => folder.as_fd(),
        }
    }
}

/// A process that ends gives different answers, depending on how far it is: no folder, no file, no such process.
pub(crate) fn gone(errno: Errno) -> Errno {
    if errno == Errno::NOENT { Errno::SRCH } else { errno }
}

/// The start of a file, as much as one read gives of it and `buffer` holds. The kernel makes such a file anew for each
/// reader, so that one read gives what belongs together.
pub(crate) fn read<'b>(folder: impl AsFd, name: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    Ok(&buffer[..count])
}

/// When a file has been read to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// When a read gives less than fits: the kernel makes the whole of the file at once, as for `fdinfo`.
    Short,
    /// When a read gives nothing: the kernel makes the file piece by piece, as for `maps`.
    Nothing,
}

/// A file of several lines from its start to its end, but no more than `limit` bytes and never half a line. Says
/// whether it was all.
pub(crate) fn read_lines(
    folder: impl AsFd,
    name: &CStr,
    content: &mut Vec<u8>,
    end: End,
    limit: usize,
) -> Result<bool, Errno> {
    const STEP: usize = 4096;
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // The room is made by doubling and kept from read to read: the kernel gives some files a page at a time, and making
    // room anew for each page would take the square of the length.
    content.clear();
    let mut filled = 0;
    let answer = loop {
        if filled >= limit {
            filled = content[..filled].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            break Ok(false);
        }
        if content.len() - filled < STEP {
            content.resize(filled + STEP.max(filled), 0);
        }
        let room = content.len() - filled;
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut content[filled..])) {
            Ok(0) => break Ok(true),
            Ok(count) => {
                filled += count;
                if end == End::Short && count < room {
                    break Ok(true);
                }
            }
            Err(errno) => break Err(errno),
        }
    };
    content.truncate(filled);
    answer
}

/// Calls `each` with the name of every entry of a folder that is a number, and the number. Stops with the first error.
pub(crate) fn numbers(folder: impl AsFd, buffer: &mut Listing, mut each: impl FnMut(&CStr, u32)) -> Result<(), Errno> {
    let mut entries = RawDir::new(folder, buffer.0.as_mut_slice());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(value) = parse(entry.file_name().to_bytes()) {
            each(entry.file_name(), value);
        }
    }
    Ok(())
}

/// A buffer for [`numbers`], to be used again.
pub(crate) struct Listing(Vec<MaybeUninit<u8>>);

impl Listing {
    pub(crate) fn new() -> Self {
        Self(vec![MaybeUninit::uninit(); LISTING_BYTES])
    }

    /// The room, for who wants entries that are no numbers too.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }
}

/// A number in decimal digits and nothing else.
pub(crate) fn parse<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    // Twenty digits are more than any 64-bit number has.
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    T::try_from(value).ok()
}

/// A number in digits of that base (at most 16) and nothing else.
pub(crate) fn parse_base(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() || digits.len() > 22 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = char::from(digit).to_digit(base)?;
        value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// A path in a buffer on the stack: `folder` and the name of a file in it, which is a number.
pub(crate) struct NumberIn([u8; 32]);

impl NumberIn {
    pub(crate) fn new(folder: &str, name: &CStr) -> Self {
        let mut path = [0; 32];
        let bytes = folder.bytes().chain(name.to_bytes().iter().copied());
        // One byte is left as it is: the NUL at the end. Both parts are ours and shorter than this.
        for (place, byte) in path[..31].iter_mut().zip(bytes) {
            *place = byte;
        }
        Self(path)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("its last byte is NUL")
    }
}

/// A number as the name of a file.
pub(crate) fn number(mut value: u32, buffer: &mut [u8; 16]) -> &CStr {
    let mut start = buffer.len() - 1;
    buffer[start] = 0;
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    CStr::from_bytes_with_nul(&buffer[start..]).expect("ten digits at most, none of them NUL, then one NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_names() {
        for value in [0, 7, 10, 4_194_304, u32::MAX] {
            let mut buffer = [0xff; 16];
            let name = number(value, &mut buffer).to_bytes();
            assert_eq!(name, value.to_string().as_bytes());
            assert_eq!(parse::<u32>(name), Some(value));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [b"".as_slice(), b"-1", b"+1", b" 1", b"1 ", b"self", b"4294967296", b"99999999999999999999999"] {
            assert_eq!(parse::<u32>(text), None, "{text:?}");
        }
        assert_eq!(parse_base(b"1f", 16), Some(31));
        assert_eq!(parse_base(b"0100002", 8), Some(0o100_002));
        assert_eq!(parse_base(b"9", 8), None);
        assert_eq!(parse_base(b"ffffffffffffffffff", 16), None);
    }

    #[test]
    fn a_long_file_is_cut_after_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lines"), "line\n".repeat(10_000)).expect("written");
        let fd = std::fs::File::open(folder.path()).expect("opened");
        let mut content = Vec::new();
        assert_eq!(read_lines(&fd, c"lines", &mut content, End::Nothing, 1 << 20), Ok(true));
        assert_eq!(content.len(), 50_000);
        assert_eq!(read_lines(&fd, c"lines", &mut content, End::Short, 10_001), Ok(false));
        assert_eq!(read_lines(&fd, c"lines", &mut content, End::Short, 1 << 20).map(|_| content.len()), Ok(50_000));
        assert_eq!(read_lines(&fd, c"lines", &mut content, End::Short, 10_001), Ok(false));
        assert!(content.len() < 50_000 && content.ends_with(b"line\n"), "{} bytes", content.len());
    }

    #[test]
    fn a_folder_of_a_process_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let mut buffer = [0; processes::STAT_BYTES];
        let mut folders = Folders::new().expect("a /proc");
        folders.keep = 0;
        let mut name = [0; 16];
        let folder = openat(folders.proc(), number(child.id(), &mut name), FOLDER, Mode::empty()).expect("it lives");
        let stat = read(&folder, c"stat", &mut buffer).expect("it lives");
        let start = processes::Stat::parse(stat).expect("a stat").start_ticks;
        let process = ProcessRef::at(0);
        folders.add(process, child.id(), start, folder);
        // The same number, but what would be another process: it began at another time.
        let other = openat(folders.proc(), number(child.id(), &mut name), FOLDER, Mode::empty()).expect("it lives");
        folders.add(process, child.id(), start + 1, other);
        let answers: Vec<_> = folders.iter().map(|folder| folders.open(folder).map(drop)).collect();
        assert_eq!(answers, [Ok(()), Err(Errno::SRCH)]);
        child.kill().expect("ours");
        child.wait().expect("reaped");
        assert_eq!(folders.iter().map(|folder| folders.open(folder).map(drop)).next(), Some(Err(Errno::SRCH)));
    }
}
