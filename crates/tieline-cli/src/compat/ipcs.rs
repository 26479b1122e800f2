//! `ipcs`: shows the System V objects of this IPC namespace, their limits, and what is in use.

use std::ffi::OsStr;

use tieline_os::sysv::Permissions;
use tieline_os::sysv::msg::{self, QueueStat};
use tieline_os::sysv::sem::{self, SemaphoreSet, SetStat};
use tieline_os::sysv::shm::{self, SegmentStat};

use super::getopt::{Options, Takes};
use super::names::{Names, padded};
use super::number::{human, i32_or_err};
use super::program::{Block, Compat, Entries, Exit, Help, Program, errno};
use super::time;

#[derive(Clone, Copy, PartialEq)]
enum Flag {
    All,
    Bytes,
    Form(Form),
    Help,
    Human,
    Id,
    Queues,
    Semaphores,
    Shmems,
    Version,
}

/// What is shown of each object, or instead of them.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Usual,
    Limits,
    Summary,
    Creator,
    Time,
    Pid,
}

/// How sizes are shown.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Usual,
    Bytes,
    Kilobytes,
    Human,
}

const OPTIONS: Options<Flag> = Options {
    short: &[
        (b'i', Takes::Value, Flag::Id),
        (b'q', Takes::Nothing, Flag::Queues),
        (b'm', Takes::Nothing, Flag::Shmems),
        (b's', Takes::Nothing, Flag::Semaphores),
        (b'a', Takes::Nothing, Flag::All),
        (b't', Takes::Nothing, Flag::Form(Form::Time)),
        (b'p', Takes::Nothing, Flag::Form(Form::Pid)),
        (b'c', Takes::Nothing, Flag::Form(Form::Creator)),
        (b'l', Takes::Nothing, Flag::Form(Form::Limits)),
        (b'u', Takes::Nothing, Flag::Form(Form::Summary)),
        (b'b', Takes::Nothing, Flag::Bytes),
        (b'V', Takes::Nothing, Flag::Version),
        (b'h', Takes::Nothing, Flag::Help),
    ],
    long: &[
        ("id", Takes::Value, Flag::Id),
        ("queues", Takes::Nothing, Flag::Queues),
        ("shmems", Takes::Nothing, Flag::Shmems),
        ("semaphores", Takes::Nothing, Flag::Semaphores),
        ("all", Takes::Nothing, Flag::All),
        ("time", Takes::Nothing, Flag::Form(Form::Time)),
        ("pid", Takes::Nothing, Flag::Form(Form::Pid)),
        ("creator", Takes::Nothing, Flag::Form(Form::Creator)),
        ("limits", Takes::Nothing, Flag::Form(Form::Limits)),
        ("summary", Takes::Nothing, Flag::Form(Form::Summary)),
        ("human", Takes::Nothing, Flag::Human),
        ("bytes", Takes::Nothing, Flag::Bytes),
        ("version", Takes::Nothing, Flag::Version),
        ("help", Takes::Nothing, Flag::Help),
    ],
};

const SYNOPSIS: &[&str] = &["{} [resource-option...] [output-option]", "{} -m|-q|-s -i <id>"];
const ABOUT: &str = "Show information on IPC facilities.";
const PAGE: &str = "ipcs(1)";

const RESOURCES: Block = Block::Table {
    heading: "Resource options:",
    entries: Entries {
        width: 18,
        rows: &[
            ("-m, --shmems", "shared memory segments"),
            ("-q, --queues", "message queues"),
            ("-s, --semaphores", "semaphores"),
            ("-a, --all", "all (default)"),
        ],
    },
};

const OUTPUT: Block = Block::Table {
    heading: "Output options:",
    entries: Entries {
        width: 18,
        rows: &[
            ("-t, --time", "show attach, detach and change times"),
            ("-p, --pid", "show PIDs of creator and last operator"),
            ("-c, --creator", "show creator and owner"),
            ("-l, --limits", "show resource limits"),
            ("-u, --summary", "show status summary"),
            ("    --human", "show sizes in human-readable format"),
            ("-b, --bytes", "show sizes in bytes"),
        ],
    },
};

/// The options of this heading; 2.43 sets them wider.
const fn general(width: usize) -> Block {
    Block::Table {
        heading: "Options:",
        entries: Entries {
            width,
            rows: &[
                ("-i, --id <id>", "print details on resource identified by <id>"),
                ("-h, --help", "display this help"),
                ("-V, --version", "display version"),
            ],
        },
    }
}

const HELP: Help = Help { synopsis: SYNOPSIS, about: ABOUT, blocks: &[general(15), RESOURCES, OUTPUT], page: PAGE };
const HELP_2_43: Help =
    Help { synopsis: SYNOPSIS, about: ABOUT, blocks: &[general(18), RESOURCES, OUTPUT], page: PAGE };

/// What is wanted.
struct Wanted {
    queues: bool,
    segments: bool,
    sets: bool,
    form: Form,
    unit: Unit,
    id: Option<i32>,
}

pub(crate) fn run(program: &mut Program) -> Result<Exit, Exit> {
    let mut wanted =
        Wanted { queues: false, segments: false, sets: false, form: Form::Usual, unit: Unit::Usual, id: None };
    program.options(OPTIONS, |program, flag, value| take(program, &mut wanted, flag, value.unwrap_or_default()))?;
    match wanted.id {
        Some(id) => details(program, &wanted, id),
        None => overview(program, &wanted),
    }
}

fn take(program: &mut Program, wanted: &mut Wanted, flag: Flag, value: &OsStr) -> Result<(), Exit> {
    match flag {
        Flag::Id => wanted.id = Some(i32_or_err(program, value, "failed to parse id argument")?),
        Flag::All => (wanted.queues, wanted.segments, wanted.sets) = (true, true, true),
        Flag::Queues => wanted.queues = true,
        Flag::Shmems => wanted.segments = true,
        Flag::Semaphores => wanted.sets = true,
        Flag::Form(form) => wanted.form = form,
        Flag::Human => wanted.unit = Unit::Human,
        Flag::Bytes => wanted.unit = Unit::Bytes,
        Flag::Help => {
            let help = if program.compat() == Compat::V2_38 { &HELP } else { &HELP_2_43 };
            return Err(program.help(help));
        }
        Flag::Version => return Err(program.version()),
    }
    Ok(())
}

/// Tables of all objects, or what stands in their place.
fn overview(program: &mut Program, wanted: &Wanted) -> Result<Exit, Exit> {
    let all = !(wanted.queues || wanted.segments || wanted.sets);
    let mut names = Names::default();
    program.out.put("\n");
    if wanted.queues || all {
        queues(program, &mut names, wanted.form, wanted.unit);
        program.out.put("\n");
    }
    if wanted.segments || all {
        segments(program, &mut names, wanted.form, wanted.unit);
        program.out.put("\n");
    }
    if wanted.sets || all {
        sets(program, &mut names, wanted.form);
        program.out.put("\n");
    }
    Ok(Exit::SUCCESS)
}

/// Cells with spaces behind each up to its width, and one space between two.
macro_rules! row {
    ($program:expr, $($cell:expr, $width:expr);+) => {{
        let cells = [$(padded(Vec::from($cell), $width)),+];
        $program.out.put(cells.join(&b' '));
        $program.out.put("\n");
    }};
}

fn queues(program: &mut Program, names: &mut Names, form: Form, unit: Unit) {
    let size = if unit == Unit::Human { "size" } else { "used-bytes" };
    match form {
        Form::Limits => return queue_limits(program, unit),
        Form::Summary => return queue_summary(program, unit),
        Form::Creator => {
            program.out.put("------ Message Queues Creators/Owners --------\n");
            creator_heading(program, "msqid");
        }
        Form::Time => {
            program.out.put("------ Message Queues Send/Recv/Change Times --------\n");
            row!(program, "msqid", 8; "owner", 10; "send", 20; "recv", 20; "change", 20);
        }
        Form::Pid => {
            program.out.put("------ Message Queues PIDs --------\n");
            row!(program, "msqid", 10; "owner", 10; "lspid", 10; "lrpid", 10);
        }
        Form::Usual => {
            program.out.put("------ Message Queues --------\n");
            row!(program, "key", 10; "msqid", 10; "owner", 10; "perms", 10; size, 12; "messages", 12);
        }
    }
    for queue in msg::queues().into_iter().flatten().flatten() {
        queue_row(program, names, form, unit, &queue);
    }
}

fn queue_row(program: &mut Program, names: &mut Names, form: Form, unit: Unit, queue: &QueueStat) {
    let id = queue.id.to_string();
    match form {
        Form::Creator => creator_row(program, names, &id, &queue.permissions),
        Form::Time => row!(
            program,
            id, 8;
            names.owner(queue.permissions.uid), 10;
            time::short(queue.sent_at), 20;
            time::short(queue.received_at), 20;
            time::short(queue.changed_at), 20
        ),
        Form::Pid => {
            let (sender, receiver) = (queue.last_sender.unwrap_or(0), queue.last_receiver.unwrap_or(0));
            let owner = names.owner(queue.permissions.uid);
            row!(program, id, 8; owner, 10; format!(" {sender:5}     {receiver:5}"), 0);
        }
        _ => {
            let used = match unit {
                Unit::Human => format!("{:>6}      ", human(queue.bytes)),
                _ => queue.bytes.to_string(),
            };
            let (key, perms) = (key(&queue.permissions), perms(&queue.permissions));
            let owner = names.owner(queue.permissions.uid);
            row!(program, key, 10; id, 10; owner, 10; perms, 10; used, 12; queue.messages.to_string(), 12);
        }
    }
}

fn queue_limits(program: &mut Program, unit: Unit) {
    let Ok(limits) = msg::limits() else {
        program.out.put("unable to fetch message limits\n");
        return;
    };
    let unit = if unit == Unit::Usual { Unit::Bytes } else { unit };
    program.out.put("------ Messages Limits --------\n");
    program.out.put(format!("max queues system wide = {}\n", limits.queues_max));
    program.out.put(sized(unit, "max size of message", limits.message_max_bytes as u64));
    program.out.put(sized(unit, "default max size of queue", limits.capacity_max_bytes as u64));
}

fn queue_summary(program: &mut Program, unit: Unit) {
    let Ok(usage) = msg::usage() else {
        program.out.put("kernel not configured for message queues\n");
        return;
    };
    program.out.put("------ Messages Status --------\n");
    program.out.put(format!("allocated queues = {}\n", usage.queues));
    program.out.put(format!("used headers = {}\n", usage.messages));
    match unit {
        Unit::Usual => program.out.put(format!("used space = {} bytes\n", usage.bytes)),
        unit => program.out.put(sized(unit, "used space", usage.bytes as u64)),
    }
}

fn segments(program: &mut Program, names: &mut Names, form: Form, unit: Unit) {
    let size = if unit == Unit::Human { "size" } else { "bytes" };
    match form {
        Form::Limits => return segment_limits(program, unit),
        Form::Summary => return segment_summary(program),
        Form::Creator => {
            program.out.put("------ Shared Memory Segment Creators/Owners --------\n");
            creator_heading(program, "shmid");
        }
        Form::Time => {
            program.out.put("------ Shared Memory Attach/Detach/Change Times --------\n");
            row!(program, "shmid", 10; "owner", 10; "attached", 20; "detached", 20; "changed", 20);
        }
        Form::Pid => {
            program.out.put("------ Shared Memory Creator/Last-op PIDs --------\n");
            row!(program, "shmid", 10; "owner", 10; "cpid", 10; "lpid", 10);
        }
        Form::Usual => {
            program.out.put("------ Shared Memory Segments --------\n");
            row!(program, "key", 10; "shmid", 10; "owner", 10; "perms", 10; size, 10; "nattch", 10; "status", 12);
        }
    }
    for segment in shm::segments().into_iter().flatten().flatten() {
        segment_row(program, names, form, unit, &segment);
    }
}

fn segment_row(program: &mut Program, names: &mut Names, form: Form, unit: Unit, segment: &SegmentStat) {
    let id = segment.id.to_string();
    match form {
        Form::Creator => creator_row(program, names, &id, &segment.permissions),
        Form::Time => row!(
            program,
            id, 10;
            names.owner(segment.permissions.uid), 10;
            time::short(segment.attached_at), 20;
            time::short(segment.detached_at), 20;
            time::short(segment.changed_at), 20
        ),
        Form::Pid => {
            let (creator, last) = (segment.creator.unwrap_or(0), segment.last_user.unwrap_or(0));
            let owner = names.owner(segment.permissions.uid);
            row!(program, id, 10; owner, 10; creator.to_string(), 10; last.to_string(), 10);
        }
        _ => {
            let size = match unit {
                Unit::Human => format!("{:>6}    ", human(segment.len as u64)),
                _ => segment.len.to_string(),
            };
            let (key, perms) = (key(&segment.permissions), perms(&segment.permissions));
            let owner = names.owner(segment.permissions.uid);
            let dest = if segment.removed { "dest" } else { "" };
            let locked = if segment.locked { "locked" } else { "" };
            let attachments = segment.attachments.to_string();
            row!(program, key, 10; id, 10; owner, 10; perms, 10; size, 10; attachments, 10; dest, 6; locked, 6);
        }
    }
}

fn segment_limits(program: &mut Program, unit: Unit) {
    let Ok(limits) = shm::limits() else {
        program.out.put("unable to fetch shared memory limits\n");
        return;
    };
    let page = rustix::param::page_size() as u64;
    program.out.put("------ Shared Memory Limits --------\n");
    program.out.put(format!("max number of segments = {}\n", limits.segments_max));
    let kilobytes = if unit == Unit::Usual { Unit::Kilobytes } else { unit };
    program.out.put(sized(kilobytes, "max seg size", limits.segment_max_bytes));
    if unit == Unit::Usual {
        let total = times(limits.pages_max, page / 1024);
        program.out.put(format!("max total shared memory (kbytes) = {total}\n"));
    } else {
        program.out.put(sized(unit, "max total shared memory", times(limits.pages_max, page)));
    }
    let bytes = if unit == Unit::Usual { Unit::Bytes } else { unit };
    program.out.put(sized(bytes, "min seg size", limits.segment_min_bytes));
}

/// So many pages of so many units; what does not fit is the largest number of whole pages that does.
fn times(pages: u64, page: u64) -> u64 {
    pages.checked_mul(page).unwrap_or(u64::MAX - u64::MAX % page)
}

fn segment_summary(program: &mut Program) {
    let Ok(usage) = shm::usage() else {
        program.out.put("kernel not configured for shared memory\n");
        return;
    };
    program.out.put(format!(
        "------ Shared Memory Status --------\n\
         segments allocated {}\npages allocated {}\npages resident  {}\npages swapped   {}\n\
         Swap performance: {} attempts\t {} successes\n",
        usage.segments,
        usage.pages,
        usage.resident_pages,
        usage.swapped_pages,
        usage.swap_attempts,
        usage.swap_successes
    ));
}

fn sets(program: &mut Program, names: &mut Names, form: Form) {
    match form {
        Form::Limits => return set_limits(program),
        Form::Summary => return set_summary(program),
        Form::Creator => {
            program.out.put("------ Semaphore Arrays Creators/Owners --------\n");
            creator_heading(program, "semid");
        }
        Form::Time => {
            program.out.put("------ Semaphore Operation/Change Times --------\n");
            row!(program, "semid", 8; "owner", 10; "last-op", 26; "last-changed", 26);
        }
        // A set remembers no process; its semaphores do.
        Form::Pid => return,
        Form::Usual => {
            program.out.put("------ Semaphore Arrays --------\n");
            row!(program, "key", 10; "semid", 10; "owner", 10; "perms", 10; "nsems", 10);
        }
    }
    for set in sem::sets().into_iter().flatten().flatten() {
        set_row(program, names, form, &set);
    }
}

fn set_row(program: &mut Program, names: &mut Names, form: Form, set: &SetStat) {
    let id = set.id.to_string();
    match form {
        Form::Creator => creator_row(program, names, &id, &set.permissions),
        Form::Time => {
            let operated = format!(" {}", time::full(set.operated_at));
            let owner = names.owner(set.permissions.uid);
            row!(program, id, 8; owner, 10; operated, 27; time::full(set.changed_at), 26);
        }
        _ => {
            let (key, perms) = (key(&set.permissions), perms(&set.permissions));
            let owner = names.owner(set.permissions.uid);
            row!(program, key, 10; id, 10; owner, 10; perms, 10; set.semaphores.to_string(), 10);
        }
    }
}

fn set_limits(program: &mut Program) {
    let Ok(limits) = sem::limits() else {
        program.out.put("unable to fetch semaphore limits\n");
        return;
    };
    program.out.put(format!(
        "------ Semaphore Limits --------\n\
         max number of arrays = {}\nmax semaphores per array = {}\nmax semaphores system wide = {}\n\
         max ops per semop call = {}\nsemaphore max value = {}\n",
        limits.sets_max, limits.semaphores_per_set_max, limits.semaphores_max, limits.operations_max, limits.value_max
    ));
}

fn set_summary(program: &mut Program) {
    let Ok(usage) = sem::usage() else {
        program.out.put("kernel not configured for semaphores\n");
        return;
    };
    program.out.put(format!(
        "------ Semaphore Status --------\nused arrays = {}\nallocated semaphores = {}\n",
        usage.sets, usage.semaphores
    ));
}

fn creator_heading(program: &mut Program, id: &str) {
    row!(program, id, 10; "perms", 10; "cuid", 10; "cgid", 10; "uid", 10; "gid", 10);
}

fn creator_row(program: &mut Program, names: &mut Names, id: &str, who: &Permissions) {
    row!(
        program,
        id, 10;
        perms(who), 10;
        names.user(who.creator_uid), 10;
        names.group(who.creator_gid), 10;
        names.user(who.uid), 10;
        names.group(who.gid), 10
    );
}

fn key(of: &Permissions) -> String {
    format!("0x{:08x}", of.key.number())
}

fn perms(of: &Permissions) -> String {
    format!("{:o}", of.mode.bits())
}

/// A line such as `max seg size (kbytes) = 4`.
fn sized(unit: Unit, what: &str, bytes: u64) -> String {
    match unit {
        Unit::Usual => format!("{what} = {bytes}\n"),
        Unit::Bytes => format!("{what} (bytes) = {bytes}\n"),
        Unit::Kilobytes => format!("{what} (kbytes) = {}\n", bytes / 1024),
        Unit::Human => format!("{what} = {}\n", human(bytes)),
    }
}

/// Everything about one object.
fn details(program: &mut Program, wanted: &Wanted, id: i32) -> Result<Exit, Exit> {
    if [wanted.queues, wanted.segments, wanted.sets].into_iter().filter(|one| *one).count() != 1 {
        return Err(program.errx("when using an ID, a single resource must be specified"));
    }
    // A negative number is no id to look for, and the first object there is is taken, under that number.
    let any = id < 0;
    let found = if wanted.queues {
        find(msg::queues(), |queue| any || queue.id.number() == id)
            .map(|queue| queue_details(program, wanted.unit, id, &queue))
    } else if wanted.segments {
        find(shm::segments(), |segment| any || segment.id.number() == id)
            .map(|segment| segment_details(program, wanted.unit, id, &segment))
    } else {
        match find(sem::sets(), |set| set.id.number() == id) {
            Some(set) => Some(set_details(program, &set)?),
            None => None,
        }
    };
    if found.is_none() {
        program.warnx(format!("id {id} not found"));
    }
    Ok(Exit::SUCCESS)
}

/// The object that is meant. What a security module hides is not there.
fn find<T>(
    all: tieline_os::Result<impl Iterator<Item = tieline_os::Result<T>>>,
    is_it: impl Fn(&T) -> bool,
) -> Option<T> {
    all.into_iter().flatten().flatten().find(is_it)
}

fn queue_details(program: &mut Program, unit: Unit, id: i32, queue: &QueueStat) {
    let who = &queue.permissions;
    // The capacity is told only to those who may read the queue.
    let readable = find(msg::readable_queues(), |readable| readable.id.number() == id);
    let capacity = readable.map_or(0, |readable| readable.capacity_bytes);
    let (used_name, capacity_name) = if unit == Unit::Human { ("csize", "qsize") } else { ("cbytes", "qbytes") };
    program.out.put(format!(
        "\nMessage Queue msqid={id}\nuid={}\tgid={}\tcuid={}\tcgid={}\tmode={}\n",
        who.uid,
        who.gid,
        who.creator_uid,
        who.creator_gid,
        octal(who.mode.bits().into())
    ));
    program.out.put(format!(
        "{used_name}={}\t{capacity_name}={}\tqnum={}\tlspid={}\tlrpid={}\n",
        amount(unit, queue.bytes),
        amount(unit, capacity),
        queue.messages,
        queue.last_sender.unwrap_or(0),
        queue.last_receiver.unwrap_or(0)
    ));
    program.out.put(format!(
        "send_time={:<26}\nrcv_time={:<26}\nchange_time={:<26}\n\n",
        time::full(queue.sent_at),
        time::full(queue.received_at),
        time::full(queue.changed_at)
    ));
}

fn segment_details(program: &mut Program, unit: Unit, id: i32, segment: &SegmentStat) {
    // The kernel keeps these two beside the permissions.
    const DEST: u32 = 0o1000;
    const LOCKED: u32 = 0o2000;
    let who = &segment.permissions;
    let perms = u32::from(who.mode.bits());
    let mode = perms | if segment.removed { DEST } else { 0 } | if segment.locked { LOCKED } else { 0 };
    let size_name = if unit == Unit::Human { "size" } else { "bytes" };
    program.out.put(format!(
        "\nShared memory Segment shmid={id}\nuid={}\tgid={}\tcuid={}\tcgid={}\nmode={}\taccess_perms={}\n",
        who.uid,
        who.gid,
        who.creator_uid,
        who.creator_gid,
        octal(mode),
        octal(perms)
    ));
    program.out.put(format!(
        "{size_name}={}\tlpid={}\tcpid={}\tnattch={}\n",
        amount(unit, segment.len as u64),
        segment.last_user.unwrap_or(0),
        segment.creator.unwrap_or(0),
        segment.attachments
    ));
    program.out.put(format!(
        "att_time={:<26}\ndet_time={:<26}\nchange_time={:<26}\n\n",
        time::full(segment.attached_at),
        time::full(segment.detached_at),
        time::full(segment.changed_at)
    ));
}

fn set_details(program: &mut Program, set: &SetStat) -> Result<(), Exit> {
    let who = &set.permissions;
    let perms = octal(who.mode.bits().into());
    // Asked first: nothing is shown of a set that may not be read.
    let semaphores = semaphores(program, set)?;
    program.out.put(format!(
        "\nSemaphore Array semid={}\nuid={}\t gid={}\t cuid={}\t cgid={}\nmode={perms}, access_perms={perms}\nnsems = {}\n",
        set.id, who.uid, who.gid, who.creator_uid, who.creator_gid, set.semaphores
    ));
    program.out.put(format!(
        "otime = {:<26}\nctime = {:<26}\n",
        time::full(set.operated_at),
        time::full(set.changed_at)
    ));
    row!(program, "semnum", 10; "value", 10; "ncount", 10; "zcount", 10; "pid", 10);
    for (number, cells) in semaphores.iter().enumerate() {
        let [value, increasers, zeroers, pid] = cells.map(|cell| cell.to_string());
        row!(program, number.to_string(), 10; value, 10; increasers, 10; zeroers, 10; pid, 10);
    }
    program.out.put("\n");
    Ok(())
}

/// Of each semaphore its value, how many wait for it to rise and to be zero, and who changed it last.
fn semaphores(program: &mut Program, set: &SetStat) -> Result<Vec<[u64; 4]>, Exit> {
    let handle = SemaphoreSet::from_id(set.id);
    let count = u16::try_from(set.semaphores).unwrap_or(u16::MAX);
    let mut failed = |what: &str, error| program.err(errno(error), format!("semctl({what}) failed"));
    let mut semaphores = Vec::with_capacity(count.into());
    for index in 0..count {
        let value = handle.value(index).map_err(|error| failed("GETVAL", error))?;
        let increasers = handle.waiters_for_increase(index).map_err(|error| failed("GETNCNT", error))?;
        let zeroers = handle.waiters_for_zero(index).map_err(|error| failed("GETZCNT", error))?;
        let pid = handle.last_operator(index).map_err(|error| failed("GETPID", error))?;
        semaphores.push([value.into(), increasers as u64, zeroers as u64, pid.unwrap_or(0).into()]);
    }
    Ok(semaphores)
}

/// A size in the details.
fn amount(unit: Unit, bytes: u64) -> String {
    if unit == Unit::Human { human(bytes) } else { bytes.to_string() }
}

/// Octal as C's `%#o` has it: with a zero in front, and 0 is one digit.
fn octal(bits: u32) -> String {
    if bits == 0 { "0".to_owned() } else { format!("0{bits:o}") }
}
