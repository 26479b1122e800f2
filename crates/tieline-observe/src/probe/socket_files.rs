//! Files of Unix sockets that no socket is bound to any more.
//!
//! The kernel removes no such file: a server that was killed leaves it, and the next one cannot bind to the path. A
//! socket that is bound says the device and inode of its file, so a file that no socket says is dead.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::model::{Builder, Detail, Identity, Kind, Owner, Text, UnseenWhat, UnseenWhy};

/// How deep below each directory, and how many entries in all: what a server keeps is near the top, and the directories
/// may be anybody's.
const DEPTH_MAX: usize = 3;
const ENTRIES_MAX: usize = 50_000;

pub(crate) fn look(builder: &mut Builder) {
    let bound = bound(builder);
    let mut walk = Walk { found: Vec::new(), seen: HashSet::new(), left: ENTRIES_MAX, refused: 0 };
    for directory in directories() {
        walk.directory(&directory, DEPTH_MAX);
    }
    builder.unseen(UnseenWhat::Sockets, UnseenWhy::NoPermission, walk.refused);
    if walk.left == 0 {
        builder.unseen(UnseenWhat::Sockets, UnseenWhy::TooMany, 1);
    }
    let mount = builder.viewer().namespaces.mnt;
    for (path, metadata) in walk.found {
        let name = Text::from(path.as_os_str().as_bytes());
        if bound.files.contains(&(metadata.dev(), metadata.ino())) || bound.names.contains(&name) {
            continue;
        }
        let identity = Identity::File { device: metadata.dev(), inode: metadata.ino() };
        let reference = builder.object(identity, Kind::SocketFile);
        let object = builder.object_mut(reference);
        object.name = Some(name);
        object.namespace = mount;
        object.owner = Some(Owner { uid: metadata.uid(), gid: metadata.gid() });
        object.mode = Some(metadata.mode() & 0o777);
        object.changed = metadata.modified().ok();
    }
}

/// To what the sockets of the snapshot are bound.
struct Bound {
    files: HashSet<(u64, u64)>,
    /// Paths of sockets that do not tell their file.
    names: HashSet<Text>,
}

fn bound(builder: &Builder) -> Bound {
    let mut bound = Bound { files: HashSet::new(), names: HashSet::new() };
    for object in builder.objects() {
        match (&object.detail, &object.name) {
            (Detail::Unix(socket), _) if socket.file.is_some() => bound.files.extend(socket.file),
            (_, Some(name)) if object.kind.is_unix() => {
                bound.names.insert(name.clone());
            }
            _ => {}
        }
    }
    bound
}

fn directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = vec!["/run".into(), "/tmp".into()];
    directories.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()));
    directories
}

struct Walk {
    found: Vec<(PathBuf, fs::Metadata)>,
    /// Directories by device and inode: one may lie below another.
    seen: HashSet<(u64, u64)>,
    left: usize,
    refused: u64,
}

impl Walk {
    fn directory(&mut self, path: &Path, depth: usize) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if !metadata.is_dir() || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.refused += u64::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                return;
            }
        };
        for entry in entries.flatten() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            // The type as the directory has it: nothing is opened or followed.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket()
                && let Ok(metadata) = fs::symlink_metadata(entry.path())
            {
                self.found.push((entry.path(), metadata));
            } else if kind.is_dir() && depth > 1 {
                self.directory(&entry.path(), depth - 1);
            }
        }
    }
}
