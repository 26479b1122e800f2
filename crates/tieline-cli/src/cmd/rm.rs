//! `tieline rm`: removes named objects, and nothing else.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde::Serialize;
use tieline_os::posix::mq::MessageQueue;
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::MessageQueue as SysvMessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::{Access, ErrorKind, fifo, unix};

use crate::exit::{self, Code, Failure, Fault, Outcome};
use crate::flags::Rm;
use crate::name::{Handle, Named};
use crate::output;

/// What was removed, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Removed<'a> {
    schema: &'static str,
    dry_run: bool,
    objects: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    address: &'a str,
    kind: Option<&'static str>,
    outcome: &'static str,
    error: Option<Fault<'a>>,
}

pub(crate) fn run(flags: Rm) -> Outcome {
    // Every name is understood before anything is removed.
    let objects: Vec<Named> = flags.objects.iter().map(|text| Named::parse(text)).collect::<Outcome<_>>()?;
    let attempts: Vec<Outcome<&'static str>> = objects.iter().map(|named| attempt(named, &flags)).collect();
    let failed = attempts.iter().find_map(|attempt| attempt.as_ref().err().map(Failure::code));
    if flags.json {
        let rows = flags.objects.iter().zip(&objects).zip(&attempts);
        let objects = rows.map(|((address, named), attempt)| Object {
            address,
            kind: Some(named.kind()),
            outcome: attempt.as_ref().map_or("failed", |outcome| outcome),
            error: attempt.as_ref().err().map(Failure::fault),
        });
        output::json(&Removed { schema: "tieline.rm/1", dry_run: flags.dry_run, objects: objects.collect() })?;
    } else {
        for (text, attempt) in flags.objects.iter().zip(&attempts) {
            match attempt {
                Ok("would-remove") => output::text(&format!("would remove {}\n", output::plain(text)))?,
                Ok(_) => {}
                Err(failure) => failure.tell(false),
            }
        }
    }
    failed.map_or(Ok(()), |code| Err(Failure::told(code)))
}

/// Removes it, or looks whether it is there; the word is that of the JSON form.
fn attempt(named: &Named, flags: &Rm) -> Outcome<&'static str> {
    let answer = if flags.dry_run { look(named).map(|()| "would-remove") } else { remove(named).map(|()| "removed") };
    match answer {
        Err(failure) if flags.force && failure.code() == Code::NotFound => Ok("absent"),
        Err(failure) => Err(failure
            .advised(Code::NotFound, "with --force that is no error")
            .advised(Code::PermissionDenied, "its owner may, and the administrator")),
        answer => answer,
    }
}

pub(super) fn remove(named: &Named) -> Outcome {
    Ok(match named {
        Named::Fifo(path) => fifo::unlink(path),
        Named::Unix(_, path) => unix::unlink(path),
        Named::Mq(name) => MessageQueue::unlink(name),
        Named::PosixShm(name) => SharedMemory::unlink(name),
        Named::Sem(name) => NamedSemaphore::unlink(name),
        Named::SysvMq(handle) => queue(*handle)?.remove(),
        Named::SysvShm(handle) => segment(*handle)?.remove(),
        Named::SysvSem(handle) => set(*handle)?.remove(),
    }?)
}

/// Whether it is there to be removed. What may not be opened is there.
fn look(named: &Named) -> Outcome {
    let answer = match named {
        Named::Fifo(path) => return of_type(path, "a FIFO", FileTypeExt::is_fifo),
        Named::Unix(_, path) => return of_type(path, "a socket", FileTypeExt::is_socket),
        Named::Mq(name) => MessageQueue::open(name, Access::ReadOnly).map(drop),
        Named::PosixShm(name) => SharedMemory::open(name, Access::ReadOnly).map(drop),
        Named::Sem(name) => NamedSemaphore::open(name).map(drop),
        Named::SysvMq(handle) => queue(*handle).and_then(|queue| queue.stat()).map(drop),
        Named::SysvShm(handle) => segment(*handle).and_then(|segment| segment.stat()).map(drop),
        Named::SysvSem(handle) => set(*handle).and_then(|set| set.stat()).map(drop),
    };
    match answer {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error.into()),
        _ => Ok(()),
    }
}

fn of_type(path: &Path, what: &str, is_it: fn(&fs::FileType) -> bool) -> Outcome {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(meta) if is_it(&meta.file_type()) => Ok(()),
        Ok(_) => Err(Failure::usage(format_args!("will not remove {shown}: it is not {what}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(Code::NotFound, format_args!("cannot remove {shown}: there is nothing of that name")))
        }
        Err(error) => {
            let (code, reason) = exit::reason(&error);
            Err(Failure::new(code, format_args!("cannot look at {shown}: {reason}")))
        }
    }
}

fn queue(handle: Handle) -> tieline_os::Result<SysvMessageQueue> {
    match handle {
        Handle::Key(key) => SysvMessageQueue::open(key),
        Handle::Id(id) => Ok(SysvMessageQueue::from_id(id)),
    }
}

fn segment(handle: Handle) -> tieline_os::Result<Segment> {
    match handle {
        Handle::Key(key) => Segment::open(key),
        Handle::Id(id) => Ok(Segment::from_id(id)),
    }
}

fn set(handle: Handle) -> tieline_os::Result<SemaphoreSet> {
    match handle {
        Handle::Key(key) => SemaphoreSet::open(key),
        Handle::Id(id) => Ok(SemaphoreSet::from_id(id)),
    }
}
