//! `ipcmk`: makes System V objects with random keys, and from 2.43 on POSIX objects.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use tieline_os::Mode;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::{HugePage, SegmentOptions};
use tieline_os::sysv::{Id, Key};

use super::getopt::{Options, Takes};
use super::number::{NoNumber, i32_or_err, size_or_err, u64_or_err, unsigned_wrapping};
use super::posix::{self, Object};
use super::program::{Block, Compat, Entries, Exit, Help, Program, errno};

#[derive(Clone, Copy, PartialEq)]
enum Flag {
    Help,
    Mode,
    Name,
    PosixQueue,
    PosixSemaphore,
    PosixShmem,
    Queue,
    Semaphore,
    Shmem,
    Version,
}

const OPTIONS: Options<Flag> = Options {
    short: &[
        (b'h', Takes::Nothing, Flag::Help),
        (b'M', Takes::Value, Flag::Shmem),
        (b'Q', Takes::Nothing, Flag::Queue),
        (b'S', Takes::Value, Flag::Semaphore),
        (b'p', Takes::Value, Flag::Mode),
        (b'V', Takes::Nothing, Flag::Version),
    ],
    long: &[
        ("shmem", Takes::Value, Flag::Shmem),
        ("semaphore", Takes::Value, Flag::Semaphore),
        ("queue", Takes::Nothing, Flag::Queue),
        ("mode", Takes::Value, Flag::Mode),
        ("version", Takes::Nothing, Flag::Version),
        ("help", Takes::Nothing, Flag::Help),
    ],
};

const OPTIONS_2_43: Options<Flag> = Options {
    short: &[
        (b'h', Takes::Nothing, Flag::Help),
        (b'M', Takes::Value, Flag::Shmem),
        (b'm', Takes::Value, Flag::PosixShmem),
        (b'Q', Takes::Nothing, Flag::Queue),
        (b'q', Takes::Nothing, Flag::PosixQueue),
        (b'S', Takes::Value, Flag::Semaphore),
        (b's', Takes::Nothing, Flag::PosixSemaphore),
        (b'p', Takes::Value, Flag::Mode),
        (b'n', Takes::Value, Flag::Name),
        (b'V', Takes::Nothing, Flag::Version),
    ],
    long: &[
        ("shmem", Takes::Value, Flag::Shmem),
        ("posix-shmem", Takes::Value, Flag::PosixShmem),
        ("semaphore", Takes::Value, Flag::Semaphore),
        ("posix-semaphore", Takes::Nothing, Flag::PosixSemaphore),
        ("queue", Takes::Nothing, Flag::Queue),
        ("posix-mqueue", Takes::Nothing, Flag::PosixQueue),
        ("mode", Takes::Value, Flag::Mode),
        ("name", Takes::Value, Flag::Name),
        ("version", Takes::Nothing, Flag::Version),
        ("help", Takes::Nothing, Flag::Help),
    ],
};

const SYNOPSIS: &[&str] = &["{} [options]"];
const ABOUT: &str = "Create various IPC resources.";
const PAGE: &str = "ipcmk(1)";

const GENERAL: Block = Block::Entries(Entries {
    width: 25,
    rows: &[("-h, --help", "display this help"), ("-V, --version", "display version")],
});

const HELP: Help = Help {
    synopsis: SYNOPSIS,
    about: ABOUT,
    blocks: &[
        Block::Table {
            heading: "Options:",
            entries: Entries {
                width: 25,
                rows: &[
                    ("-M, --shmem <size>", "create shared memory segment of size <size>"),
                    ("-S, --semaphore <number>", "create semaphore array with <number> elements"),
                    ("-Q, --queue", "create message queue"),
                    ("-p, --mode <mode>", "permission for the resource (default is 0644)"),
                ],
            },
        },
        GENERAL,
        Block::Table {
            heading: "Arguments:",
            entries: Entries {
                width: 0,
                rows: &[
                    ("<size> arguments may be followed by the suffixes for", ""),
                    ("  GiB, TiB, PiB, EiB, ZiB, and YiB (the \"iB\" is optional)", ""),
                ],
            },
        },
    ],
    page: PAGE,
};

const HELP_2_43: Help = Help {
    synopsis: SYNOPSIS,
    about: ABOUT,
    blocks: &[
        Block::Table {
            heading: "Options:",
            entries: Entries {
                width: 25,
                rows: &[
                    ("-M, --shmem <size>", "create shared memory segment of size <size>"),
                    ("-m, --posix-shmem <size>", "create POSIX shared memory segment of size <size>"),
                    ("-S, --semaphore <number>", "create semaphore array with <number> elements"),
                    ("-s, --posix-semaphore", "create POSIX semaphore"),
                    ("-Q, --queue", "create message queue"),
                    ("-q, --posix-mqueue", "create POSIX message queue"),
                    ("-p, --mode <mode>", "permission for the resource (default is 0644)"),
                    ("-n, --name <name>", "name of the POSIX resource"),
                ],
            },
        },
        GENERAL,
        Block::Table {
            heading: "Arguments:",
            entries: Entries {
                width: 0,
                rows: &[
                    ("Values for <size> may be followed by a suffix: KiB, MiB,", ""),
                    ("GiB, TiB, PiB, EiB, ZiB, or YiB (where the \"iB\" is optional).", ""),
                ],
            },
        },
        Block::Entries(Entries { width: 0, rows: &[("-n, --name <name> option is required for POSIX IPC", "")] }),
    ],
    page: PAGE,
};

/// What is wanted.
#[derive(Default)]
struct Wanted {
    permission: i32,
    /// Of whichever segment; the last one said counts.
    size: u64,
    segment: bool,
    queue: bool,
    semaphores: Option<i32>,
    name: Option<OsString>,
    posix_shared_memory: bool,
    posix_queue: bool,
    posix_semaphore: bool,
}

pub(crate) fn run(program: &mut Program) -> Result<Exit, Exit> {
    let options = if program.compat() == Compat::V2_38 { OPTIONS } else { OPTIONS_2_43 };
    let mut wanted = Wanted { permission: 0o644, ..Wanted::default() };
    program.options(options, |program, flag, value| take(program, &mut wanted, flag, value.unwrap_or_default()))?;
    let any_posix = wanted.posix_shared_memory || wanted.posix_queue || wanted.posix_semaphore;
    if !(wanted.segment || wanted.queue || wanted.semaphores.is_some() || any_posix) {
        program.warnx("bad usage");
        return Err(program.try_help());
    }
    if any_posix && wanted.name.is_none() {
        program.warnx("name is required for POSIX IPC");
        return Err(program.try_help());
    }
    make(program, &wanted)?;
    Ok(Exit::SUCCESS)
}

fn take(program: &mut Program, wanted: &mut Wanted, flag: Flag, value: &OsStr) -> Result<(), Exit> {
    match flag {
        Flag::Shmem => {
            wanted.size = size_or_err(program, value, "failed to parse size")?;
            wanted.segment = true;
        }
        Flag::PosixShmem => {
            wanted.size = size_or_err(program, value, "failed to parse size")?;
            wanted.posix_shared_memory = true;
        }
        Flag::Queue => wanted.queue = true,
        Flag::PosixQueue => wanted.posix_queue = true,
        Flag::Semaphore => wanted.semaphores = Some(i32_or_err(program, value, "failed to parse elements")?),
        Flag::PosixSemaphore => wanted.posix_semaphore = true,
        Flag::Mode => wanted.permission = permission(program, value)?,
        Flag::Name => wanted.name = Some(value.to_owned()),
        Flag::Help => {
            let help = if program.compat() == Compat::V2_38 { &HELP } else { &HELP_2_43 };
            return Err(program.help(help));
        }
        Flag::Version => return Err(program.version()),
    }
    Ok(())
}

/// Makes everything that is wanted, up to the first that fails.
fn make(program: &mut Program, wanted: &Wanted) -> Result<(), Exit> {
    let name = wanted.name.as_deref().unwrap_or_default();
    let mode = mode(wanted.permission);
    if wanted.segment {
        let made = make_segment(wanted.size, wanted.permission);
        report(program, made, "create share memory failed", "Shared memory id")?;
    }
    if wanted.posix_shared_memory {
        let made = posix::make_shared_memory(name, wanted.size, wanted.permission.cast_unsigned());
        report_name(program, made, Object::SharedMemory, name)?;
    }
    if wanted.queue {
        let made = MessageQueue::open_or_create(random_key(), mode).map(|queue| queue.id()).map_err(errno);
        report(program, made, "create message queue failed", "Message queue id")?;
    }
    if wanted.posix_queue {
        report_name(program, posix::make_queue(name, mode), Object::Queue, name)?;
    }
    if let Some(count) = wanted.semaphores {
        report(program, make_set(count, mode), "create semaphore failed", "Semaphore id")?;
    }
    if wanted.posix_semaphore {
        report_name(program, posix::make_semaphore(name, mode), Object::Semaphore, name)?;
    }
    Ok(())
}

/// Octal digits; nothing says that they are only permissions.
fn permission(program: &mut Program, value: &OsStr) -> Result<i32, Exit> {
    const COMPLAINT: &str = "failed to parse mode";
    if program.compat() >= Compat::V2_43 {
        let bits = u64_or_err(program, value, 8, 0o7777, COMPLAINT)?;
        return Ok(i32::try_from(bits).unwrap_or(0o7777));
    }
    match unsigned_wrapping(value, 8) {
        // The type of the variable it is kept in cuts it.
        Ok(bits) => Ok(bits as i32),
        Err(NoNumber::OutOfRange) => Err(program.err(Errno::RANGE, COMPLAINT)),
        // Nobody has set an error, and "Success" is what is said then.
        Err(NoNumber::Malformed) => Err(program.errx(format!("{COMPLAINT}: Success"))),
    }
}

fn report(program: &mut Program, made: Result<Id, Errno>, complaint: &str, what: &str) -> Result<(), Exit> {
    let id = made.map_err(|errno| program.err(errno, complaint))?;
    program.out.put(format!("{what}: {id}\n"));
    Ok(())
}

fn report_name(program: &mut Program, made: Result<(), Errno>, object: Object, name: &OsStr) -> Result<(), Exit> {
    made.map_err(|errno| program.err(errno, format!("create POSIX {} failed", object.name())))?;
    program.out.put([b"POSIX ", object.name().as_bytes(), b" name: ", name.as_bytes(), b"\n"].concat());
    Ok(())
}

/// Where the size of huge pages stands in the flags, as a power of two.
const HUGE_PAGE_SHIFT: u32 = 26;

fn make_segment(size: u64, permission: i32) -> Result<Id, Errno> {
    // Bits beside the nine reach the kernel, which takes some of them for wishes.
    const NO_RESERVE: i32 = 0o10000;
    const HUGE: i32 = 0o4000;
    let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    let mut options = SegmentOptions::new(size).mode(mode(permission)).no_reserve(permission & NO_RESERVE != 0);
    if permission & HUGE != 0 {
        options = options.huge_pages(match permission.cast_unsigned() >> HUGE_PAGE_SHIFT {
            0 => HugePage::Default,
            power => HugePage::Bytes(1_usize.checked_shl(power).ok_or(Errno::INVAL)?),
        });
    }
    options.open_or_create(random_key()).map(|segment| segment.id()).map_err(errno)
}

fn make_set(count: i32, mode: Mode) -> Result<Id, Errno> {
    // The kernel numbers the semaphores of a set with 16 bits.
    let count = u16::try_from(count).map_err(|_| Errno::INVAL)?;
    SemaphoreSet::open_or_create(random_key(), count, mode).map(|set| set.id()).map_err(errno)
}

fn mode(permission: i32) -> Mode {
    let bits = u16::try_from(permission & 0o777).unwrap_or_default();
    Mode::new(bits).unwrap_or_default()
}

/// A key that nobody has agreed on: the id is how the object is found.
fn random_key() -> Key {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(4) => Key::new(i32::from_ne_bytes(bytes)),
        // A private object is found by its id just as well.
        _ => Key::PRIVATE,
    }
}
