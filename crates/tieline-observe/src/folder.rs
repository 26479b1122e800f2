//! Folders on the way to a file, held open: what lies in them is named relative to them, so that nobody can put another
//! folder or a link in their place between two calls.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Names a folder; asks nothing of its file system.
const NAMED: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder, without the right to list it.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// The folder at the end of an absolute path in which no part is a link, and the name behind it.
    ///
    /// # Errors
    /// `NOTDIR` if a part of the path is a link or no folder; `INVAL` for a path that is not absolute, or has no name.
    pub(crate) fn of_file(path: &Path) -> Result<(Self, OsString), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let mut folder = Self(rustix::fs::open("/", NAMED, Mode::empty())?);
        let mut parts = path.parent().ok_or(Errno::INVAL)?.components();
        if parts.next() != Some(Component::RootDir) {
            return Err(Errno::INVAL);
        }
        for part in parts {
            let Component::Normal(part) = part else { return Err(Errno::INVAL) };
            folder = folder.below(part)?;
        }
        Ok((folder, name))
    }

    /// A folder in this one; never what a link leads to.
    pub(crate) fn below(&self, name: &OsStr) -> Result<Self, Errno> {
        openat(&self.0, name, NAMED, Mode::empty()).map(Self)
    }

    /// The folder of an absolute path, links followed: for paths that an administrator chose.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        rustix::fs::open(path, NAMED.difference(OFlags::NOFOLLOW), Mode::empty()).map(Self)
    }

    /// The same folder, to be listed; without a trace in its access time where we may.
    pub(crate) fn listable(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.0, c".", flags | OFlags::NOATIME, Mode::empty()).or_else(|errno| match errno {
            Errno::PERM => openat(&self.0, c".", flags, Mode::empty()),
            _ => Err(errno),
        })
    }

    /// A hold on a file in it; if it is a link, on the link.
    pub(crate) fn file(&self, name: &OsStr) -> Result<File, Errno> {
        openat(&self.0, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(File)
    }

    /// A file in it that is no link, opened to be locked.
    pub(crate) fn to_lock(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.0, name, flags, Mode::empty())
    }

    /// Removes a name from it.
    pub(crate) fn remove(&self, name: &OsStr) -> Result<(), Errno> {
        unlinkat(&self.0, name, AtFlags::empty())
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A hold on a file that was not opened.
#[derive(Debug)]
pub(crate) struct File(OwnedFd);

impl File {
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.0)
    }

    /// Whether a socket is bound to this file, by the one answer that cannot be wrong: the kernel's own, on the way of a
    /// connection. `None` if it may not be asked.
    ///
    /// The connection is that of a datagram socket, of which nobody learns: a socket of another sort refuses the sort, and
    /// one of the same sort is told of nothing until something is sent. It holds for every network namespace, for
    /// unions of file systems, and wherever the list of sockets has another number for the file than `stat`.
    pub(crate) fn has_socket(&self) -> Option<bool> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let own = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", self.0.as_raw_fd())).ok()?;
        match rustix::net::connect(&own, &address) {
            Err(Errno::CONNREFUSED) => Some(false),
            // Not its sort, or it is connected itself and takes nothing from others.
            Ok(()) | Err(Errno::PROTOTYPE | Errno::PERM) => Some(true),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn a_path_that_leads_through_a_link_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder.path().canonicalize().expect("its path");
        std::fs::create_dir(real.join("a")).expect("made");
        std::fs::write(real.join("a/file"), "").expect("written");
        std::os::unix::fs::symlink("a", real.join("link")).expect("made");
        let (place, name) = Folder::of_file(&real.join("a/file")).expect("no link on the way");
        assert!(place.file(&name).expect("there").stat().is_ok());
        assert_eq!(Folder::of_file(&real.join("link/file")).unwrap_err(), Errno::NOTDIR);
        assert_eq!(Folder::of_file(Path::new("a/file")).unwrap_err(), Errno::INVAL);
        assert_eq!(Folder::of_file(Path::new("/")).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn the_kernel_knows_to_which_files_sockets_are_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = |name: &str| {
            let place = Folder::open(folder.path()).expect("there");
            place.file(OsStr::new(name)).expect("there").has_socket()
        };
        let listener = UnixListener::bind(folder.path().join("stream")).expect("bound");
        let datagram = UnixDatagram::bind(folder.path().join("datagram")).expect("bound");
        assert_eq!((asked("stream"), asked("datagram")), (Some(true), Some(true)));
        // Nobody was told: no connection waits, and no datagram.
        listener.set_nonblocking(true).expect("set");
        datagram.set_nonblocking(true).expect("set");
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(datagram.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop((listener, datagram));
        assert_eq!((asked("stream"), asked("datagram")), (Some(false), Some(false)));
    }
}
