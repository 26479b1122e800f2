//! `ipcmk`: makes System V objects with random keys.

use std::ffi::OsStr;

use rustix::io::Errno;
use tieline_os::Mode;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::{HugePage, SegmentOptions};
use tieline_os::sysv::{Id, Key};

use super::getopt::{Options, Takes};
use super::number::{NoNumber, i32_or_err, size_or_err, unsigned_wrapping};
use super::program::{Block, Entries, Exit, Help, Program, errno};

#[derive(Clone, Copy, PartialEq)]
enum Flag {
    Help,
    Mode,
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

const HELP: Help = Help {
    synopsis: &["{} [options]"],
    about: "Create various IPC resources.",
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
        Block::Entries(Entries {
            width: 25,
            rows: &[("-h, --help", "display this help"), ("-V, --version", "display version")],
        }),
        Block::Text(
            "Arguments:\n <size> arguments may be followed by the suffixes for\n   GiB, TiB, PiB, EiB, ZiB, and YiB (the \"iB\" is optional)\n",
        ),
    ],
    page: "ipcmk(1)",
};

/// What is wanted.
struct Wanted {
    permission: i32,
    segment: Option<u64>,
    queue: bool,
    semaphores: Option<i32>,
}

pub(crate) fn run(program: &mut Program) -> Result<Exit, Exit> {
    let mut wanted = Wanted { permission: 0o644, segment: None, queue: false, semaphores: None };
    program.options(OPTIONS, |program, flag, value| take(program, &mut wanted, flag, value.unwrap_or_default()))?;
    if wanted.segment.is_none() && !wanted.queue && wanted.semaphores.is_none() {
        program.warnx("bad usage");
        return Err(program.try_help());
    }
    if let Some(size) = wanted.segment {
        let made = make_segment(size, wanted.permission);
        report(program, made, "create share memory failed", "Shared memory id")?;
    }
    if wanted.queue {
        let made = MessageQueue::open_or_create(random_key(), mode(wanted.permission)).map(|queue| queue.id());
        report(program, made.map_err(errno), "create message queue failed", "Message queue id")?;
    }
    if let Some(count) = wanted.semaphores {
        let made = make_set(count, wanted.permission);
        report(program, made, "create semaphore failed", "Semaphore id")?;
    }
    Ok(Exit::SUCCESS)
}

fn take(program: &mut Program, wanted: &mut Wanted, flag: Flag, value: &OsStr) -> Result<(), Exit> {
    match flag {
        Flag::Shmem => wanted.segment = Some(size_or_err(program, value, "failed to parse size")?),
        Flag::Queue => wanted.queue = true,
        Flag::Semaphore => wanted.semaphores = Some(i32_or_err(program, value, "failed to parse elements")?),
        Flag::Mode => wanted.permission = permission(program, value)?,
        Flag::Help => return Err(program.help(&HELP)),
        Flag::Version => return Err(program.version()),
    }
    Ok(())
}

/// Octal digits; nothing says that they are only permissions.
fn permission(program: &mut Program, value: &OsStr) -> Result<i32, Exit> {
    const COMPLAINT: &str = "failed to parse mode";
    match unsigned_wrapping(value, 8) {
        // The type of the variable it is kept in cuts it.
        Ok(bits) => Ok(bits as i32),
        Err(NoNumber::OutOfRange) => Err(program.err(Errno::RANGE, COMPLAINT)),
        // Nobody has set an error, and "Success" is what is said then.
        Err(NoNumber::Malformed) => Err(program.err(Errno::from_raw_os_error(0), COMPLAINT)),
    }
}

fn report(program: &mut Program, made: Result<Id, Errno>, complaint: &str, what: &str) -> Result<(), Exit> {
    let id = made.map_err(|errno| program.err(errno, complaint))?;
    program.out.put(format!("{what}: {id}\n"));
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

fn make_set(count: i32, permission: i32) -> Result<Id, Errno> {
    // The kernel numbers the semaphores of a set with 16 bits.
    let count = u16::try_from(count).map_err(|_| Errno::INVAL)?;
    SemaphoreSet::open_or_create(random_key(), count, mode(permission)).map(|set| set.id()).map_err(errno)
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
