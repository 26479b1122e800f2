//! Names of POSIX objects, and the files in `/dev/shm` behind two sorts of them.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, CWD, FileType, OFlags};
use rustix::io::Errno;

use crate::error::{During, Error, ErrorKind, Result};
use crate::memfd::proc_path;
use crate::{Access, Mode};

const DIRECTORY: &str = "/dev/shm";

/// Linux bounds one component of a path, and POSIX objects are one.
const NAME_MAX_BYTES: usize = 255;

/// How often a lookup that loses a race against removal and creation is tried again.
const ATTEMPTS_MAX: usize = 64;

/// A checked name: a slash, then 1 to 255 bytes (less the prefix its file gets) without slash or NUL.
#[derive(Clone)]
pub(crate) struct Name {
    text: CString,
    prefix: &'static str,
}

impl Name {
    /// `prefix` is what the file in `/dev/shm` has before the name.
    pub(crate) fn new(operation: &'static str, name: &OsStr, prefix: &'static str) -> Result<Self> {
        let refuse = |why: String| Err(Error::invalid(operation, why).on(name.display()));
        let Some(rest) = name.as_bytes().strip_prefix(b"/") else {
            if name.is_empty() {
                return refuse("the name is empty; write a slash and a word, as in /jobs".to_owned());
            }
            return refuse(format!("the name must begin with a slash, as in /{}", name.display()));
        };
        if rest.is_empty() || rest == b"." || rest == b".." {
            return refuse("a name must follow the slash".to_owned());
        }
        if rest.contains(&b'/') {
            return refuse("the name may have no slash but the first".to_owned());
        }
        let max = NAME_MAX_BYTES - prefix.len();
        if rest.len() > max {
            return refuse(format!("{} bytes follow the slash, and {max} are allowed", rest.len()));
        }
        match CString::new(name.as_bytes()) {
            Ok(text) => Ok(Self { text, prefix }),
            Err(_) => refuse("the name may have no NUL".to_owned()),
        }
    }

    /// As the C library takes it.
    pub(crate) fn as_c_str(&self) -> &std::ffi::CStr {
        &self.text
    }

    fn path(&self) -> Vec<u8> {
        let rest = &self.text.as_bytes()[1..];
        [DIRECTORY.as_bytes(), b"/", self.prefix.as_bytes(), rest].concat()
    }

    /// Opens the file behind the name, which must be a plain one: whatever else lies in that public directory under
    /// our name, a link or a FIFO, is a trap.
    pub(crate) fn open_file(&self, operation: &'static str, access: Access) -> Result<OwnedFd> {
        let access = match access {
            Access::ReadOnly => OFlags::RDONLY,
            Access::WriteOnly => {
                return Err(Error::invalid(operation, "it must be readable: ask for ReadWrite").on(self));
            }
            Access::ReadWrite => OFlags::RDWR,
        };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = rustix::fs::open(self.path(), flags, rustix::fs::Mode::empty()).map_err(|errno| {
            let error = Error::new(operation, errno).on(self);
            if errno == Errno::LOOP { error.hint("a symbolic link lies in its place in /dev/shm") } else { error }
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::new(operation, errno).on(self))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::invalid(operation, "something else than a file lies in its place in /dev/shm").on(self));
        }
        Ok(fd)
    }

    /// Makes the file behind the name, which appears complete or not at all: `fill` works on a file without a name.
    pub(crate) fn create_file(
        &self,
        operation: &'static str,
        mode: Mode,
        fill: impl FnOnce(&OwnedFd) -> Result<()>,
    ) -> Result<OwnedFd> {
        let path = self.path();
        // Filling may be long, so look first; the kernel decides at the end.
        if rustix::fs::lstat(&path).is_ok() {
            return Err(Error::new(operation, Errno::EXIST).on(self));
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(DIRECTORY, flags, mode.into()).map_err(|errno| {
            let error = Error::new(operation, errno).on(self);
            match errno {
                Errno::NOENT | Errno::OPNOTSUPP | Errno::ISDIR => {
                    error.sorted_as(ErrorKind::Unsupported).hint("a tmpfs must be mounted on /dev/shm")
                }
                _ => error,
            }
        })?;
        fill(&fd).map_err(|error| error.on(self))?;
        rustix::fs::linkat(CWD, proc_path(&fd), CWD, &path, AtFlags::SYMLINK_FOLLOW).map_err(|errno| {
            let error = Error::new(operation, errno).on(self);
            if errno == Errno::NOENT { error.hint("/proc must be mounted to give the object its name") } else { error }
        })?;
        Ok(fd)
    }

    pub(crate) fn unlink_file(&self, operation: &'static str) -> Result<()> {
        rustix::fs::unlink(self.path()).map_err(|errno| Error::new(operation, errno).on(self))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OsStr::from_bytes(self.text.as_bytes()).display().fmt(f)
    }
}

/// Opens what is there or else creates it, whoever else does either at the same time.
pub(crate) fn open_or_create<T>(open: impl Fn() -> Result<T>, create: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS_MAX {
        match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            answer => return answer,
        }
        match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            answer => return answer,
        }
    }
    open()
}

/// What the directory says of a POSIX object that is a file there; who made it, and how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The name to open it by, with the slash.
    pub name: OsString,
    /// Its length in bytes; a semaphore has 32.
    pub len_bytes: u64,
    /// How many bytes of memory it takes.
    pub allocated_bytes: u64,
    /// Who may open it.
    pub mode: Mode,
    /// The user id of its owner.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// The plain files of `/dev/shm` for whose names `name_of` gives an object's name.
pub(crate) fn list(operation: &'static str, name_of: impl Fn(&[u8]) -> Option<&[u8]>) -> Result<Vec<Listed>> {
    let entries = std::fs::read_dir(DIRECTORY)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .during(operation)
        .map_err(|error| error.on(DIRECTORY))?;
    let mut listed = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(name) = name_of(file.as_bytes()) else { continue };
        // Gone since, or not for us to see: not in the list.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            listed.push(Listed {
                name: OsString::from_vec([b"/", name].concat()),
                len_bytes: metadata.len(),
                allocated_bytes: metadata.blocks().saturating_mul(512),
                mode: Mode::new((metadata.mode() & 0o777) as u16).unwrap_or_default(),
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_the_kernel_is_asked() {
        let long = |count| format!("/{}", "x".repeat(count));
        for good in ["/a", "/a b", "/...", "/.hidden", "/\u{e9}", long(255).as_str()] {
            assert!(Name::new("test", good.as_ref(), "").is_ok(), "{good:?}");
        }
        for bad in ["", "/", "a", "a/", "//", "//a", "/a/", "/a/b", "/.", "/..", "/a\0b", long(256).as_str()] {
            let error = Name::new("test", bad.as_ref(), "").err().expect(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        assert!(Name::new("test", long(251).as_ref(), "sem.").is_ok());
        assert!(Name::new("test", long(252).as_ref(), "sem.").is_err());
    }

    #[test]
    fn a_lost_race_is_run_again() {
        let attempts = std::cell::Cell::new(0);
        let not_found = || Error::new("open", Errno::NOENT);
        let open = || if attempts.get() == 2 { Ok("opened") } else { Err(not_found()) };
        let create = || {
            attempts.set(attempts.get() + 1);
            Err(Error::new("create", Errno::EXIST))
        };
        assert_eq!(open_or_create(open, create).unwrap(), "opened");
        // One who removes and creates faster than we look gets us to give up, not to hang.
        let error = open_or_create(|| Err::<(), _>(not_found()), || Err(Error::new("create", Errno::EXIST)));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
