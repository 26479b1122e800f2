//! POSIX objects as `ipcmk` and `ipcrm` of util-linux 2.43 make, find and remove them: by the C library's rules for names,
//! which allow more than `tieline_os::posix` does (no slash in front, or several), and the kernel's answer for each name
//! that breaks them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tieline_os::posix::mq::MessageQueue;
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::{Access, Mode};

use super::program::{Program, errno};

/// Where shared memory and semaphores are files.
const SHM_DIRECTORY: &str = "/dev/shm";

/// What a semaphore's file has before its name.
const SEM_PREFIX: &str = "sem.";

/// Where queues are files, if it is mounted.
const MQ_DIRECTORY: &str = "/dev/mqueue";

/// The longest name of a file.
const NAME_MAX_BYTES: usize = 255;

/// What the C library has room for; behind that it does not ask the kernel.
const NAME_BUFFER_BYTES: usize = 259;

/// The families of POSIX.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Object {
    SharedMemory,
    Semaphore,
    Queue,
}

impl Object {
    pub(crate) const ALL: [Self; 3] = [Self::SharedMemory, Self::Semaphore, Self::Queue];

    /// In messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SharedMemory => "shared memory",
            Self::Semaphore => "semaphore",
            Self::Queue => "message queue",
        }
    }

    /// On the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::SharedMemory => "pshm",
            Self::Semaphore => "psem",
            Self::Queue => "pmsg",
        }
    }
}

/// Makes shared memory of this size, or gives that size to what there is.
pub(crate) fn make_shared_memory(name: &OsStr, size: u64, permission: u32) -> Result<(), Errno> {
    let path = shm_path(name, "")?;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(permission)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match io_errno(&error) {
        // A directory is no name of shared memory.
        Errno::ISDIR => Errno::INVAL,
        errno => errno,
    })?;
    // A length with the sign bit is negative to the kernel.
    i64::try_from(size).map_err(|_| Errno::INVAL)?;
    file.set_len(size).map_err(|error| io_errno(&error))
}

/// Makes a semaphore with value 0, if there is none.
pub(crate) fn make_semaphore(name: &OsStr, mode: Mode) -> Result<(), Errno> {
    let path = shm_path(name, SEM_PREFIX)?;
    let name = [b"/", &path.file_name().unwrap_or_default().as_bytes()[SEM_PREFIX.len()..]].concat();
    NamedSemaphore::open_or_create(OsString::from_vec(name), 0, mode).map(drop).map_err(errno)
}

/// Makes a queue with the namespace's default limits, if there is none.
pub(crate) fn make_queue(name: &OsStr, mode: Mode) -> Result<(), Errno> {
    check_queue_name(name)?;
    MessageQueue::open_or_create_default(name, Access::ReadWrite, mode).map(drop).map_err(errno)
}

/// Removes the object.
pub(crate) fn unlink(object: Object, name: &OsStr) -> Result<(), Errno> {
    let prefix = match object {
        Object::SharedMemory => "",
        Object::Semaphore => SEM_PREFIX,
        Object::Queue => {
            check_queue_name(name)?;
            return MessageQueue::unlink(name).map_err(errno);
        }
    };
    // What cannot be a name is not there.
    let path = shm_path(name, prefix).map_err(|errno| if errno == Errno::INVAL { Errno::NOENT } else { errno })?;
    fs::remove_file(path).map_err(|error| io_errno(&error))
}

/// The names of all objects, in the directory's order; a message if they cannot be listed.
pub(crate) fn list(program: &mut Program, object: Object) -> Vec<OsString> {
    let directory = if object == Object::Queue { MQ_DIRECTORY } else { SHM_DIRECTORY };
    if object == Object::Queue && fs::metadata(directory).is_err() {
        program.warnx(format!(
            "{directory} does not seem to be mounted. Use 'mount -t mqueue none {directory}' to mount it."
        ));
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(directory) else {
        program.warnx(format!("cannot open {directory}"));
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| listed(object, &entry.path())).collect()
}

/// The name of the object behind this file; `None` if it is of another family or not to be used.
fn listed(object: Object, path: &Path) -> Option<OsString> {
    fs::metadata(path).ok()?;
    let file = path.file_name()?.as_bytes();
    let semaphore = file.strip_prefix(SEM_PREFIX.as_bytes());
    let name = match (object, semaphore) {
        (Object::SharedMemory, None) => file.to_vec(),
        (Object::Semaphore, Some(name)) => {
            let with_slash = [b"/", name].concat();
            NamedSemaphore::open(OsString::from_vec(with_slash)).ok()?;
            name.to_vec()
        }
        (Object::Queue, _) => {
            let mut begin = [0; 6];
            File::open(path).and_then(|mut file| file.read_exact(&mut begin)).ok()?;
            (begin == *b"QSIZE:").then(|| [b"/", file].concat())?
        }
        _ => return None,
    };
    Some(OsString::from_vec(name))
}

/// The file behind a name; slashes in front do not count.
fn shm_path(name: &OsStr, prefix: &str) -> Result<PathBuf, Errno> {
    let bytes = name.as_bytes();
    let rest = &bytes[bytes.iter().take_while(|byte| **byte == b'/').count()..];
    if rest.is_empty() || rest.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    let len = prefix.len() + rest.len();
    if len > NAME_BUFFER_BYTES {
        return Err(Errno::INVAL);
    }
    if len > NAME_MAX_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    let file = [prefix.as_bytes(), rest].concat();
    Ok(Path::new(SHM_DIRECTORY).join(OsStr::from_bytes(&file)))
}

/// What the C library and the kernel say of a queue's name.
fn check_queue_name(name: &OsStr) -> Result<(), Errno> {
    match name.as_bytes() {
        [b'/'] => Err(Errno::NOENT),
        [b'/', b'.'] | [b'/', b'.', b'.'] => Err(Errno::ACCESS),
        [b'/', rest @ ..] if rest.contains(&b'/') => Err(Errno::ACCESS),
        [b'/', rest @ ..] if rest.len() > NAME_MAX_BYTES => Err(Errno::NAMETOOLONG),
        [b'/', ..] => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

fn io_errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
