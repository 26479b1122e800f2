//! `ipcrm`: removes System V objects by id or key, and from 2.43 on POSIX objects by name.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stderr, stdout};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use tieline_os::locale::Locale;
use tieline_os::sysv::msg::{self, MessageQueue};
use tieline_os::sysv::sem::{self, SemaphoreSet};
use tieline_os::sysv::shm::{self, Segment};
use tieline_os::sysv::{Id, Key};

use super::getopt::{Options, Takes};
use super::number::{NoNumber, i32_or_err, quoted, unsigned_wrapping};
use super::posix::{self, Object};
use super::program::{Block, Compat, Entries, Exit, Help, Program, errno};
use crate::table::printable;

#[derive(Clone, Copy, PartialEq)]
enum Flag {
    All,
    Help,
    Id(Family),
    Key(Family),
    Name(Object),
    Verbose,
    Version,
}

/// The families of System V.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    Shm,
    Sem,
    Msg,
}

impl Family {
    const ALL: [Self; 3] = [Self::Shm, Self::Sem, Self::Msg];

    /// In messages about one object.
    fn object(self) -> &'static str {
        match self {
            Self::Shm => "shared memory segment",
            Self::Sem => "semaphore",
            Self::Msg => "message queue",
        }
    }

    /// In messages about all.
    fn facility(self) -> &'static str {
        match self {
            Self::Shm => "shared memory",
            Self::Sem => "semaphores",
            Self::Msg => "message queues",
        }
    }

    /// On the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Shm => "shm",
            Self::Sem => "sem",
            Self::Msg => "msg",
        }
    }

    fn named(word: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.word() == word)
    }

    fn find(self, key: Key) -> Result<Id, Errno> {
        let found = match self {
            Self::Shm => Segment::open(key).map(|segment| segment.id()),
            Self::Sem => SemaphoreSet::open(key).map(|set| set.id()),
            Self::Msg => MessageQueue::open(key).map(|queue| queue.id()),
        };
        found.map_err(errno)
    }

    fn remove(self, id: Id) -> Result<(), Errno> {
        let removed = match self {
            Self::Shm => Segment::from_id(id).remove(),
            Self::Sem => SemaphoreSet::from_id(id).remove(),
            Self::Msg => MessageQueue::from_id(id).remove(),
        };
        removed.map_err(errno)
    }

    /// The ids of all objects that may be read, others being passed over. Each is looked at only when it is its turn.
    fn readable(self) -> tieline_os::Result<Box<dyn Iterator<Item = Id>>> {
        Ok(match self {
            Self::Shm => Box::new(shm::readable_segments()?.flatten().map(|segment| segment.id)),
            Self::Sem => Box::new(sem::readable_sets()?.flatten().map(|set| set.id)),
            Self::Msg => Box::new(msg::readable_queues()?.flatten().map(|queue| queue.id)),
        })
    }
}

/// How an object was named.
#[derive(Clone, Copy)]
enum By {
    Id,
    Key,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Key => "key",
        }
    }
}

/// What `-a` removes.
#[derive(Clone, Copy)]
enum Category {
    Everything,
    SystemV(Family),
    Posix(Object),
}

impl Category {
    fn named(word: &OsStr, compat: Compat) -> Option<Self> {
        if let Some(family) = Family::named(word) {
            return Some(Self::SystemV(family));
        }
        let posix = Object::ALL.into_iter().find(|object| object.word() == word)?;
        (compat >= Compat::V2_43).then_some(Self::Posix(posix))
    }
}

const SHORT: &[super::getopt::Short<Flag>] = &[
    (b'q', Takes::Value, Flag::Id(Family::Msg)),
    (b'm', Takes::Value, Flag::Id(Family::Shm)),
    (b's', Takes::Value, Flag::Id(Family::Sem)),
    (b'Q', Takes::Value, Flag::Key(Family::Msg)),
    (b'M', Takes::Value, Flag::Key(Family::Shm)),
    (b'S', Takes::Value, Flag::Key(Family::Sem)),
    (b'a', Takes::OptionalValue, Flag::All),
    (b'v', Takes::Nothing, Flag::Verbose),
    (b'h', Takes::Nothing, Flag::Help),
    (b'V', Takes::Nothing, Flag::Version),
];

const OPTIONS: Options<Flag> = Options {
    short: SHORT,
    long: &[
        ("shmem-id", Takes::Value, Flag::Id(Family::Shm)),
        ("shmem-key", Takes::Value, Flag::Key(Family::Shm)),
        ("queue-id", Takes::Value, Flag::Id(Family::Msg)),
        ("queue-key", Takes::Value, Flag::Key(Family::Msg)),
        ("semaphore-id", Takes::Value, Flag::Id(Family::Sem)),
        ("semaphore-key", Takes::Value, Flag::Key(Family::Sem)),
        ("all", Takes::OptionalValue, Flag::All),
        ("verbose", Takes::Nothing, Flag::Verbose),
        ("version", Takes::Nothing, Flag::Version),
        ("help", Takes::Nothing, Flag::Help),
    ],
};

const OPTIONS_2_43: Options<Flag> = Options {
    short: SHORT,
    long: &[
        ("shmem-id", Takes::Value, Flag::Id(Family::Shm)),
        ("shmem-key", Takes::Value, Flag::Key(Family::Shm)),
        ("posix-shmem", Takes::Value, Flag::Name(Object::SharedMemory)),
        ("queue-id", Takes::Value, Flag::Id(Family::Msg)),
        ("queue-key", Takes::Value, Flag::Key(Family::Msg)),
        ("posix-mqueue", Takes::Value, Flag::Name(Object::Queue)),
        ("semaphore-id", Takes::Value, Flag::Id(Family::Sem)),
        ("semaphore-key", Takes::Value, Flag::Key(Family::Sem)),
        ("posix-semaphore", Takes::Value, Flag::Name(Object::Semaphore)),
        ("all", Takes::OptionalValue, Flag::All),
        ("verbose", Takes::Nothing, Flag::Verbose),
        ("version", Takes::Nothing, Flag::Version),
        ("help", Takes::Nothing, Flag::Help),
    ],
};

const SYNOPSIS: &[&str] = &["{} [options]", "{} shm|msg|sem <id>..."];
const ABOUT: &str = "Remove certain IPC resources.";
const PAGE: &str = "ipcrm(1)";

const GENERAL: Block = Block::Entries(Entries {
    width: 27,
    rows: &[("-h, --help", "display this help"), ("-V, --version", "display version")],
});

const HELP: Help = Help {
    synopsis: SYNOPSIS,
    about: ABOUT,
    blocks: &[
        Block::Table {
            heading: "Options:",
            entries: Entries {
                width: 27,
                rows: &[
                    ("-m, --shmem-id <id>", "remove shared memory segment by id"),
                    ("-M, --shmem-key <key>", "remove shared memory segment by key"),
                    ("-q, --queue-id <id>", "remove message queue by id"),
                    ("-Q, --queue-key <key>", "remove message queue by key"),
                    ("-s, --semaphore-id <id>", "remove semaphore by id"),
                    ("-S, --semaphore-key <key>", "remove semaphore by key"),
                    ("-a, --all[=shm|msg|sem]", "remove all (in the specified category)"),
                    ("-v, --verbose", "explain what is being done"),
                ],
            },
        },
        GENERAL,
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
                width: 30,
                rows: &[
                    ("-m, --shmem-id <id>", "remove shared memory segment by id"),
                    ("-M, --shmem-key <key>", "remove shared memory segment by key"),
                    ("    --posix-shmem <name>", "remove POSIX shared memory segment by name"),
                    ("-q, --queue-id <id>", "remove message queue by id"),
                    ("-Q, --queue-key <key>", "remove message queue by key"),
                    ("    --posix-mqueue <name>", "remove POSIX message queue by name"),
                    ("-s, --semaphore-id <id>", "remove semaphore by id"),
                    ("-S, --semaphore-key <key>", "remove semaphore by key"),
                    ("    --posix-semaphore <name>", "remove POSIX semaphore by name"),
                    ("-a, --all[=shm|pshm|msg|pmsg|sem|psem]", ""),
                    ("", "remove all (in the specified category)"),
                    ("-v, --verbose", "explain what is being done"),
                ],
            },
        },
        GENERAL,
    ],
    page: PAGE,
};

/// How far it has come.
#[derive(Default)]
struct Progress {
    verbose: bool,
    failed: bool,
    all: Option<Category>,
}

pub(crate) fn run(program: &mut Program) -> Result<Exit, Exit> {
    let arguments = program.arguments();
    match arguments.split_first() {
        None if program.compat() == Compat::V2_38 => return Ok(Exit::SUCCESS),
        None => {
            program.warnx("bad usage");
            return Err(program.try_help());
        }
        Some((word, ids)) => {
            if let Some(family) = Family::named(word) {
                return remove_list(program, family, ids);
            }
        }
    }
    let options = if program.compat() == Compat::V2_38 { OPTIONS } else { OPTIONS_2_43 };
    let mut progress = Progress::default();
    let operands = program.options(options, |program, flag, value| take(program, &mut progress, flag, value))?;
    if let Some(category) = progress.all {
        progress.failed |= !remove_all(program, category, progress.verbose)?;
    }
    if let Some(operand) = operands.first() {
        program.warnx([b"unknown argument: ", operand.as_bytes()].concat());
        return Err(program.try_help());
    }
    Ok(if progress.failed { Exit::FAILURE } else { Exit::SUCCESS })
}

/// The old form: `shm 1 2 3`.
fn remove_list(program: &mut Program, family: Family, ids: &[OsString]) -> Result<Exit, Exit> {
    if ids.is_empty() {
        program.warnx("not enough arguments");
        return Err(program.try_help());
    }
    let mut failed = false;
    for text in ids {
        // Nothing at all is read as 0.
        let id = if text.is_empty() { Ok(0) } else { unsigned_wrapping(text, 10) };
        match id {
            Ok(number) => failed |= !remove(program, family, By::Id, cut(number), false)?,
            Err(_) => {
                program.warnx([b"invalid id: ", text.as_bytes()].concat());
                failed = true;
            }
        }
    }
    if failed {
        return Err(Exit::FAILURE);
    }
    program.out.put("resource(s) deleted\n");
    Ok(Exit::SUCCESS)
}

fn take(program: &mut Program, progress: &mut Progress, flag: Flag, value: Option<&OsStr>) -> Result<(), Exit> {
    let text = value.unwrap_or_default();
    match flag {
        Flag::Id(family) => {
            let id = i32_or_err(program, text, "failed to parse argument")?;
            progress.failed |= !remove(program, family, By::Id, id, progress.verbose)?;
        }
        Flag::Key(family) => match id_of(program, family, text)? {
            Some(id) => progress.failed |= !remove(program, family, By::Key, id, progress.verbose)?,
            None => progress.failed = true,
        },
        Flag::Name(object) => progress.failed |= !remove_name(program, object, text, progress.verbose)?,
        Flag::All => progress.all = Some(category(program, value)?),
        Flag::Verbose => progress.verbose = true,
        Flag::Help => {
            let help = if program.compat() == Compat::V2_38 { &HELP } else { &HELP_2_43 };
            return Err(program.help(help));
        }
        Flag::Version => return Err(program.version()),
    }
    Ok(())
}

fn category(program: &mut Program, value: Option<&OsStr>) -> Result<Category, Exit> {
    let Some(mut word) = value else { return Ok(Category::Everything) };
    // The newer one reads `-a=shm` too.
    if let Some(rest) = word.as_bytes().strip_prefix(b"=")
        && program.compat() >= Compat::V2_43
    {
        word = OsStr::from_bytes(rest);
    }
    let category = Category::named(word, program.compat());
    category.ok_or_else(|| program.errx([b"unknown argument: ", word.as_bytes()].concat()))
}

/// The id of the object with the key that `text` says; `None` if it is told that there is none.
fn id_of(program: &mut Program, family: Family, text: &OsStr) -> Result<Option<i32>, Exit> {
    let complaint = quoted("failed to parse argument", text);
    let key = match unsigned_wrapping(text, 0) {
        Ok(number) => Key::new(cut(number)),
        Err(NoNumber::OutOfRange) => return Err(program.err(Errno::RANGE, complaint)),
        Err(NoNumber::Malformed) => return Err(program.errx(complaint)),
    };
    if key == Key::PRIVATE {
        program.warnx([b"illegal key (", text.as_bytes(), b")"].concat());
        return Ok(None);
    }
    let trouble = match family.find(key) {
        Ok(id) => return Ok(Some(id.number())),
        Err(Errno::ACCESS) => "permission denied for key",
        Err(Errno::IDRM) => "already removed key",
        Err(Errno::NOENT) => "invalid key",
        Err(errno) => return Err(program.err(errno, "key failed")),
    };
    program.warnx([trouble.as_bytes(), b" (", text.as_bytes(), b")"].concat());
    Ok(None)
}

/// A number as the variable of 32 bits holds it that it ends up in.
fn cut(number: u64) -> i32 {
    number as i32
}

/// Removes one object. Answers whether that worked, having said why not.
fn remove(program: &mut Program, family: Family, by: By, id: i32, verbose: bool) -> Result<bool, Exit> {
    if verbose {
        program.out.put(format!("removing {} id `{id}'\n", family.object()));
    }
    let word = by.word();
    let trouble = match family.remove(Id::new(id)) {
        Ok(()) => return Ok(true),
        Err(Errno::ACCESS | Errno::PERM) => format!("permission denied for {word}"),
        Err(Errno::INVAL) => format!("invalid {word}"),
        Err(Errno::IDRM) => format!("already removed {word}"),
        Err(errno) => return Err(program.err(errno, format!("{word} failed"))),
    };
    program.warnx(format!("{trouble} ({id})"));
    Ok(false)
}

/// Removes one POSIX object. Answers whether that worked, having said why not.
fn remove_name(program: &mut Program, object: Object, name: &OsStr, verbose: bool) -> Result<bool, Exit> {
    if verbose {
        announce(program, object, name);
    }
    let (before, behind): (&[u8], &[u8]) = match posix::unlink(object, name) {
        Ok(()) => return Ok(true),
        Err(Errno::ACCESS | Errno::PERM) => (b"permission denied for name `", b"'"),
        Err(Errno::NOENT) => (b"name `", b"' not found"),
        Err(Errno::NAMETOOLONG) => (b"name `", b"' too long"),
        Err(errno) => return Err(program.err(errno, "name failed")),
    };
    program.warnx([before, &shown(name, &stderr()), behind].concat());
    Ok(false)
}

fn announce(program: &mut Program, object: Object, name: &OsStr) {
    let name = shown(name, &stdout());
    program.out.put([b"removing POSIX ", object.name().as_bytes(), b" `", &name, b"'\n"].concat());
}

/// The name as it may go there. Whoever makes an object chooses its name, and should not write with it to the terminal of
/// who removes it: what a terminal would obey is escaped, which the original does not do.
fn shown(name: &OsStr, to: &impl IsTerminal) -> Vec<u8> {
    if to.is_terminal() {
        printable(name.as_bytes(), &Locale::from_environment()).into_owned()
    } else {
        name.as_bytes().to_vec()
    }
}

/// Removes all objects of a category. Answers whether that worked, having said why not.
fn remove_all(program: &mut Program, category: Category, verbose: bool) -> Result<bool, Exit> {
    let (families, objects): (&[Family], &[Object]) = match &category {
        Category::SystemV(family) => (std::slice::from_ref(family), &[]),
        Category::Posix(object) => (&[], std::slice::from_ref(object)),
        Category::Everything if program.compat() == Compat::V2_38 => (&Family::ALL, &[]),
        Category::Everything => (&Family::ALL, &Object::ALL),
    };
    let mut well = true;
    // The order is shared memory, semaphores, queues, of each first the System V ones.
    for (family, object) in Family::ALL.into_iter().zip(Object::ALL) {
        if families.contains(&family) {
            let Ok(ids) = family.readable() else {
                return Err(program.errx(format!("kernel not configured for {}", family.facility())));
            };
            for id in ids {
                well &= remove(program, family, By::Id, id.number(), verbose)?;
            }
        }
        if objects.contains(&object) {
            for name in posix::list(program, object) {
                if verbose {
                    announce(program, object, &name);
                }
                well &= remove_name(program, object, &name, verbose)?;
            }
        }
    }
    Ok(well)
}
