//! POSIX objects as rows, by the files that stand for them.

use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tieline_os::Access;
use tieline_os::posix::mq::MessageQueue;
use tieline_os::posix::sem::NamedSemaphore;

use super::List;
use super::columns::Field;
use super::look::{Look, Shown, number};
use crate::compat::program::Program;

const QUEUES: &str = "/dev/mqueue";
const MEMORY: &str = "/dev/shm";

/// What the name of a semaphore's file begins with.
const SEMAPHORE: &[u8] = b"sem.";

/// An object's file.
struct Object<T> {
    /// Its name, as it is shown and asked for.
    name: OsString,
    file: Metadata,
    state: T,
}

struct QueueState {
    bytes: u64,
    messages: u64,
}

pub(super) fn add_queues(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) {
    let Some(queues) = queues(program, list.request.name.as_deref()) else { return };
    if queues.is_empty() {
        return complain_of_name(program, list, "message queue");
    }
    list.table.name = "posix-messages";
    for queue in queues {
        list.add(|field| match field {
            Field::UsedBytes => look.size(queue.state.bytes),
            Field::Msgs => number(queue.state.messages),
            _ => generic(look, field, &queue),
        });
    }
}

pub(super) fn add_segments(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) {
    let Some(entries) = entries(program, MEMORY) else { return };
    let segments = entries.into_iter().filter_map(|entry| {
        let name = entry.file_name();
        let is_segment = !name.as_bytes().starts_with(SEMAPHORE);
        is_segment.then(|| Some(Object { name, file: metadata(&entry)?, state: () })).flatten()
    });
    let segments = asked_for(segments, list.request.name.as_deref());
    if segments.is_empty() {
        return complain_of_name(program, list, "shared memory segment");
    }
    list.table.name = "posix-sharedmemory";
    for segment in segments {
        list.add(|field| match field {
            Field::Size => look.size(segment.file.len()),
            _ => generic(look, field, &segment),
        });
    }
}

pub(super) fn add_semaphores(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) {
    let Some(entries) = entries(program, MEMORY) else { return };
    let semaphores = entries.into_iter().filter_map(|entry| {
        let name = OsString::from_vec(entry.file_name().as_bytes().strip_prefix(SEMAPHORE)?.to_vec());
        let file = metadata(&entry)?;
        let value = NamedSemaphore::open(rooted(&name)).ok()?.value();
        Some(Object { name, file, state: value })
    });
    let semaphores = asked_for(semaphores, list.request.name.as_deref());
    if semaphores.is_empty() {
        // Not what is looked for, but what is said.
        return complain_of_name(program, list, "message queue");
    }
    list.table.name = "posix-semaphores";
    for semaphore in semaphores {
        list.add(|field| match field {
            Field::Sval => number(semaphore.state),
            _ => generic(look, field, &semaphore),
        });
    }
}

/// How many queues there are, for the limits.
pub(super) fn count_queues(program: &mut Program) -> usize {
    queues(program, None).map_or(0, |queues| queues.len())
}

/// The queues, or the one of this name; `None` after a complaint that none can be seen.
fn queues(program: &mut Program, name: Option<&OsStr>) -> Option<Vec<Object<QueueState>>> {
    if !Path::new(QUEUES).exists() {
        let advice = format!("Use 'mount -t mqueue none {QUEUES}' to mount it.");
        program.warnx(format!("{QUEUES} does not seem to be mounted. {advice}"));
        return None;
    }
    if let Some(name) = name.filter(|name| !name.as_bytes().starts_with(b"/")) {
        program.warnx([b"message queue name must start with '/': ", name.as_bytes()].concat());
        return None;
    }
    let queues = entries(program, QUEUES)?.into_iter().filter_map(|entry| {
        let (name, file) = (rooted(&entry.file_name()), metadata(&entry)?);
        let bytes = queued_bytes(&entry)?;
        let messages = MessageQueue::open(&name, Access::ReadOnly).and_then(|queue| queue.depth()).unwrap_or(0);
        Some(Object { name, file, state: QueueState { bytes, messages: messages as u64 } })
    });
    Some(asked_for(queues, name))
}

/// What a queue's file says of its content. Only as much is read as says it: the directory may hold anything.
fn queued_bytes(entry: &DirEntry) -> Option<u64> {
    let mut start = [0; 64];
    let len = File::open(entry.path()).ok()?.read(&mut start).ok()?;
    let digits = start[..len].strip_prefix(b"QSIZE:")?.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The files of a directory, in its order; `None` after a complaint that it cannot be read.
fn entries(program: &mut Program, directory: &str) -> Option<Vec<DirEntry>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Some(entries.flatten().collect()),
        Err(_) => {
            program.warnx(format!("cannot open {directory}"));
            None
        }
    }
}

/// Of what the entry leads to, through a symbolic link too; nothing if it is gone.
fn metadata(entry: &DirEntry) -> Option<Metadata> {
    std::fs::metadata(entry.path()).ok()
}

fn rooted(name: &OsStr) -> OsString {
    OsString::from_vec([b"/", name.as_bytes()].concat())
}

fn asked_for<T>(objects: impl Iterator<Item = Object<T>>, name: Option<&OsStr>) -> Vec<Object<T>> {
    match name {
        None => objects.collect(),
        Some(name) => objects.filter(|object| object.name == name).take(1).collect(),
    }
}

fn complain_of_name(program: &mut Program, list: &List<'_>, what: &str) {
    if let Some(name) = &list.request.name {
        program.warnx([what.as_bytes(), b" ", name.as_bytes(), b" not found"].concat());
    }
}

/// What every POSIX object has.
fn generic<T>(look: &mut Look<'_>, field: Field, object: &Object<T>) -> Shown {
    let (uid, gid) = (object.file.uid(), object.file.gid());
    match field {
        Field::Name => Some(object.name.as_bytes().to_vec()),
        Field::Owner => look.owner(uid),
        Field::Perms => look.perms(object.file.mode()),
        Field::Cuid => number(uid),
        Field::Cuser => look.user(uid),
        Field::Cgid => number(gid),
        Field::Cgroup => look.group(gid),
        Field::Mtime => look.moment(modified(&object.file)),
        _ => None,
    }
}

/// When it was changed last, in whole seconds; 1970 began with "never".
fn modified(file: &Metadata) -> Option<SystemTime> {
    match file.mtime() {
        0 => None,
        after @ 1.. => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(after.unsigned_abs())),
        before => SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(before.unsigned_abs())),
    }
}
