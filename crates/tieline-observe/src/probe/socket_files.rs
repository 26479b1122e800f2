//! Files of Unix sockets that no socket is bound to any more.
//!
//! The kernel removes no such file: a server that was killed leaves it, and the next one cannot bind to the path.
//!
//! Whether one is dead is asked of the kernel by the [file itself](crate::folder::File::has_socket), and what may not be asked is not
//! called dead. The numbers by which the list of sockets names a file are not enough: a union of file systems (of which
//! every container is one) and btrfs have other numbers for `stat`, and the list has only half of a long one.
//!
//! The directories may be anybody's. So each is held while it is looked at, links are not followed, and nothing is asked of
//! a file system that may not answer.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Stat, StatxFlags, fstat, makedev, statx};
use rustix::io::Errno;

use super::mounts::Mounts;
use crate::folder::Folder;
use crate::model::{Builder, Detail, Identity, Kind, Owner, Text, UnseenWhat, UnseenWhy};

/// How deep below each directory, and how many entries in all: what a server keeps is near the top, and the directories
/// may be anybody's.
const DEPTH_MAX: usize = 3;
const ENTRIES_MAX: usize = 50_000;

pub(crate) fn look(builder: &mut Builder) {
    let mut walk = Walk {
        bound: bound(builder),
        mounts: Mounts::own(),
        found: Vec::new(),
        seen: HashSet::new(),
        left: ENTRIES_MAX,
        refused: 0,
    };
    for directory in directories() {
        walk.start(&directory);
    }
    builder.unseen(UnseenWhat::SocketFolders, UnseenWhy::NoPermission, walk.refused);
    if walk.left == 0 {
        builder.unseen(UnseenWhat::SocketFolders, UnseenWhy::TooMany, 1);
    }
    let mount = builder.viewer().namespaces.mnt;
    for (path, stat, lock) in walk.found {
        let reference = builder.object(Identity::File { device: stat.st_dev, inode: stat.st_ino }, Kind::SocketFile);
        let object = builder.object_mut(reference);
        object.name = Some(Text::from(path.as_os_str().as_bytes()));
        object.namespace = mount;
        object.owner = Some(Owner { uid: stat.st_uid, gid: stat.st_gid });
        object.mode = Some(stat.st_mode & 0o777);
        object.changed = changed(&stat);
        object.detail = Detail::SocketFile { lock };
    }
}

/// The files that sockets of the snapshot are surely bound to, which are not asked.
fn bound(builder: &Builder) -> HashSet<(u64, u64)> {
    let file = |object: &crate::model::Object| match &object.detail {
        Detail::Unix(socket) => socket.file,
        _ => None,
    };
    builder.objects().iter().filter_map(file).collect()
}

fn directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = vec!["/run".into(), "/tmp".into()];
    let named = ["XDG_RUNTIME_DIR", "TIELINE_RUNTIME_DIR"].into_iter().filter_map(std::env::var_os);
    directories.extend(named.map(PathBuf::from).filter(|path| path.is_absolute()));
    directories
}

/// Device and inode of the lock file beside a socket, if there is one.
type Beside = Option<(u64, u64)>;

struct Walk {
    bound: HashSet<(u64, u64)>,
    mounts: Mounts,
    /// The dead ones.
    found: Vec<(PathBuf, Stat, Beside)>,
    /// Directories by device and inode: one may lie below another.
    seen: HashSet<(u64, u64)>,
    left: usize,
    /// Directories that may not be listed, and sockets that may not be asked for.
    refused: u64,
}

impl Walk {
    /// Walks one of the places where sockets are kept. It was chosen by who set up the machine, and may be a link.
    fn start(&mut self, directory: &Path) {
        let Ok(path) = directory.canonicalize() else { return };
        if let Ok(folder) = Folder::open(&path)
            && let Ok(stat) = fstat(&folder)
            && self.seen.insert((stat.st_dev, stat.st_ino))
        {
            self.folder(&folder, &path, stat.st_dev, DEPTH_MAX);
        }
    }

    fn folder(&mut self, folder: &Folder, path: &Path, device: u64, depth: usize) {
        let listed = folder.listable().and_then(Dir::new);
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => {
                self.refused += u64::from(errno == Errno::ACCESS);
                return;
            }
        };
        for entry in entries {
            let Ok(entry) = entry else { return };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            // The type as the directory has it; file systems that do not tell it there are rare and left out.
            match entry.file_type() {
                FileType::Socket => self.socket(folder, path, name),
                FileType::Directory if depth > 1 => self.below(folder, path, name, device, depth - 1),
                _ => {}
            }
        }
    }

    fn below(&mut self, folder: &Folder, path: &Path, name: &OsStr, device: u64, depth: usize) {
        // What is at hand, before anything is opened: it may be where a file system begins that never answers.
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let Ok(there) = statx(folder, name, flags, StatxFlags::INO) else { return };
        let there = makedev(there.stx_dev_major, there.stx_dev_minor);
        if there != device && !self.mounts.is_quick(there) {
            return;
        }
        let Ok(below) = folder.below(name) else { return };
        // It may be another one by now.
        if let Ok(flags) = statx(&below, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)
            && makedev(flags.stx_dev_major, flags.stx_dev_minor) == there
            && self.seen.insert((there, flags.stx_ino))
        {
            self.folder(&below, &path.join(name), there, depth);
        }
    }

    fn socket(&mut self, folder: &Folder, path: &Path, name: &OsStr) {
        let Ok(file) = folder.file(name) else { return };
        let Ok(stat) = file.stat() else { return };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || self.bound.contains(&(stat.st_dev, stat.st_ino))
        {
            return;
        }
        match file.has_socket() {
            Some(true) => {}
            Some(false) => {
                let lock = lock_beside(folder, name);
                self.found.push((path.join(name), stat, lock));
            }
            None => self.refused += 1,
        }
    }
}

/// `NAME.lock` beside `NAME.sock`, as `tieline-shm` has them.
fn lock_beside(folder: &Folder, name: &OsStr) -> Beside {
    let name = name.as_bytes().strip_suffix(b".sock")?;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let lock = [name, b".lock"].concat();
    let stat = statx(folder, OsStr::from_bytes(&lock), flags, StatxFlags::INO | StatxFlags::TYPE).ok()?;
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    is_file.then(|| (makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

fn changed(stat: &Stat) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(stat.st_mtime).ok()?, u32::try_from(stat.st_mtime_nsec).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn fresh() -> Walk {
        Walk {
            bound: HashSet::new(),
            mounts: Mounts::own(),
            found: Vec::new(),
            seen: HashSet::new(),
            left: ENTRIES_MAX,
            refused: 0,
        }
    }

    #[test]
    fn a_socket_that_no_list_tells_of_is_not_dead() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        let _living = UnixListener::bind(path.join("living")).expect("bound");
        drop(UnixListener::bind(path.join("dead")).expect("bound"));
        let mut walk = fresh();
        walk.start(&path);
        let found: Vec<&Path> = walk.found.iter().map(|(path, ..)| path.as_path()).collect();
        assert_eq!(found, [path.join("dead")]);
    }

    #[test]
    fn links_are_not_followed_and_depth_and_number_have_an_end() {
        let outside = tempfile::tempdir().expect("a folder");
        drop(UnixListener::bind(outside.path().join("dead")).expect("bound"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        std::os::unix::fs::symlink(outside.path(), path.join("link")).expect("made");
        std::fs::create_dir_all(path.join("a/b/c")).expect("made");
        for place in ["a", "a/b", "a/b/c"] {
            drop(UnixListener::bind(path.join(place).join("dead")).expect("bound"));
        }
        let mut walk = fresh();
        walk.start(&path);
        let mut found: Vec<&Path> = walk.found.iter().map(|(path, ..)| path.as_path()).collect();
        found.sort();
        assert_eq!(found, [path.join("a/b/dead"), path.join("a/dead")]);
        let mut walk = Walk { left: 2, ..fresh() };
        walk.start(&path);
        assert_eq!((walk.left, walk.found.len() < 2), (0, true));
    }
}
