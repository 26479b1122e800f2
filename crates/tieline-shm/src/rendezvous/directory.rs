//! The directory a name lies in: found, made if it is the user's own, and verified before anything in it is believed.
//!
//! The invariant: whoever could replace a name in the directory is somebody whose objects are accepted anyway, or the
//! directory is shared and then only objects of this user, of root and of whom the name itself mentions are.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::{geteuid, getuid};

use super::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::private_fd::Private;

const LOOK_UP: &str = "look for names in";

/// A verified directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: Private<OwnedFd>,
    /// Mount, device and inode: what tells one directory, reached in one way, from another as long as it is open. `None`
    /// before Linux 5.8, which does not tell the mount.
    identity: Option<(u64, u64, u64)>,
    path: PathBuf,
    /// Whose names are accepted for being here: the owner's, if nobody else may write.
    trusted_owner: Option<u32>,
    /// Whether users other than the owner can get in at all.
    open_to_others: bool,
}

impl Directory {
    /// The directory of `name`; the user's own is made if `make`.
    pub(super) fn of(name: &Name, make: bool) -> Result<Self> {
        match name.directory() {
            Some(path) => Self::open(path.to_owned(), false),
            None => {
                let path = own_path();
                if make {
                    make_own(&path)?;
                }
                Self::open(path, true)
            }
        }
    }

    /// A path by which system calls reach `file` in this very directory, even if it is renamed meanwhile.
    pub(super) fn reach(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{file}", self.fd.as_raw_fd()))
    }

    /// For messages to people.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this one, as it was found, may stand for the other, as that was found.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        self.identity.is_some()
            && (self.identity, self.trusted_owner, self.open_to_others, &self.path)
                == (other.identity, other.trusted_owner, other.open_to_others, &other.path)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn is_open_to_others(&self) -> bool {
        self.open_to_others
    }

    /// Whether an object in here is accepted from this user.
    pub(super) fn trusts(&self, uid: u32, name: &Name) -> bool {
        uid == geteuid().as_raw() || uid == 0 || Some(uid) == self.trusted_owner || Some(uid) == name.owner()
    }

    fn open(path: PathBuf, own: bool) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| cannot_open(&path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| cannot_open(&path, errno))?;
        let (mode, owner, me) = (stat.st_mode, stat.st_uid, geteuid().as_raw());
        let not_allowed =
            |why: String| Err(Error::new(LOOK_UP, ErrorKind::PermissionDenied).on(path.display()).because(why));
        if own && owner != me {
            return not_allowed(format!(
                "it belongs to user {owner} and you are {me}; set TIELINE_RUNTIME_DIR to a directory of your own"
            ));
        }
        let others_write = mode & 0o022 != 0;
        let sticky = mode & 0o1000 != 0;
        if others_write && (own || !sticky) {
            return not_allowed(format!(
                "its mode is {:04o}, so others could replace names; take away the right to write (chmod go-w)",
                mode & 0o7777
            ));
        }
        Ok(Self {
            identity: mount_of(&fd).map(|mount| (mount, stat.st_dev, stat.st_ino)),
            fd: Private::new(fd),
            path,
            trusted_owner: (!others_write).then_some(owner),
            open_to_others: mode & 0o011 != 0,
        })
    }
}

/// The number of the mount that a descriptor leads to. The same directory may be read-only by another.
fn mount_of(fd: &OwnedFd) -> Option<u64> {
    let told = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (told.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(told.stx_mnt_id)
}

/// Where the user's own names lie. What the environment says does not count for a program that runs with the rights of
/// somebody else.
fn own_path() -> PathBuf {
    let me = geteuid();
    let set = |key| std::env::var_os(key).filter(|value| !value.is_empty() && geteuid() == getuid());
    if let Some(path) = set("TIELINE_RUNTIME_DIR") {
        return path.into();
    }
    if let Some(path) = set("XDG_RUNTIME_DIR") {
        return Path::new(&path).join("tieline");
    }
    if me.is_root() { "/run/tieline".into() } else { format!("/tmp/tieline-{}", me.as_raw()).into() }
}

fn make_own(path: &Path) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // It may be there all the same, on a read-only file system.
        Err(_) if path.is_dir() => Ok(()),
        Err(errno) => {
            let why = match errno {
                Errno::ROFS => "the file system is read-only; set TIELINE_RUNTIME_DIR to a directory you can write to",
                Errno::NOENT => "the directory above it does not exist; make it, or set TIELINE_RUNTIME_DIR",
                _ => "set TIELINE_RUNTIME_DIR to a directory you can write to",
            };
            let error = tieline_os::Error::from_errno("make a directory", errno.raw_os_error());
            Err(Error::system_refused("make the runtime directory", error).on(path.display()).because(why))
        }
    }
}

fn cannot_open(path: &Path, errno: Errno) -> Error {
    let found =
        rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (errno, found) {
        (_, Ok(FileType::Symlink)) => Error::new(LOOK_UP, ErrorKind::PermissionDenied)
            .on(path.display())
            .because("it is a symbolic link, which somebody else could turn; name the directory itself"),
        (Errno::NOTDIR, _) => {
            Error::new(LOOK_UP, ErrorKind::InvalidInput).on(path.display()).because("it is no directory")
        }
        (Errno::NOENT, _) => {
            Error::new(LOOK_UP, ErrorKind::NotFound).on(path.display()).because("there is no such directory")
        }
        _ => Error::system_refused(LOOK_UP, tieline_os::Error::from_errno("open a directory", errno.raw_os_error()))
            .on(path.display()),
    }
}
