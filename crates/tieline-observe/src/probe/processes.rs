//! Every process: who it is, what it runs, where it lives.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw};
use rustix::io::Errno;

use super::container;
use super::mounts::{Mount, own_table, table};
use super::procfs::{self, FOLDER, Folders, Listing};
use crate::findings::FIRST_PID_NAMESPACE;
use crate::model::{Builder, Namespaces, Process, ProcessRef, ProcessState, Text, UnseenWhat, UnseenWhy};
use crate::{Result, Scan};

/// Room for `/proc/PID/stat`, which has 52 numbers and a name of 64 bytes at most.
pub(super) const STAT_BYTES: usize = 2048;
/// How much of a command line is kept. What is longer is cut.
const COMMAND_BYTES: usize = 4096;
/// `PF_KTHREAD` of the kernel's `sched.h`, part of what `stat` tells.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Finds every process, and keeps the folders of those that may hold something.
pub(crate) fn look(builder: &mut Builder, _scan: &Scan) -> Result<Folders> {
    let mut folders = Folders::new()?;
    let mut listing = Listing::new();
    let there_before = machine_wide(&folders);
    let mut found = Found::default();
    let listed = list(&folders, &mut listing, &mut found);
    if listed.is_err() {
        builder.unseen(UnseenWhat::Processes, UnseenWhy::Failed, 1);
    }
    let mut buffer = vec![0; COMMAND_BYTES];
    let mut refused = 0;
    for &pid in &found.pids {
        match examine(builder, &mut folders, pid, &mut buffer) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(_) => refused += 1,
        }
    }
    builder.unseen(UnseenWhat::Processes, UnseenWhy::NoPermission, refused);
    let there_after = machine_wide(&folders);
    let there = there_before.min(there_after).saturating_sub(2 + found.folders);
    let hidden = there.saturating_sub(found.pids.len() as u64);
    // A procfs of processes only (`subset=pid`) has the links of its other folders, but lists none of them.
    let hidden = if found.folders == 0 { hidden.min(1) } else { hidden };
    // The count is a little off now and then, for processes come and go while they are listed. It is believed only where
    // there is a reason for processes to be hidden.
    let is_enclosed = builder.viewer().namespaces.pid.is_some_and(|namespace| namespace != FIRST_PID_NAMESPACE);
    if is_enclosed {
        builder.unseen(UnseenWhat::Processes, UnseenWhy::Outside, hidden);
    } else if hidden > 0 && hides_processes() {
        builder.unseen(UnseenWhat::Processes, UnseenWhy::NoPermission, hidden);
    }
    Ok(folders)
}

/// The links of `/proc` itself: two, one for each folder that is no process, and one for each process of the whole
/// machine, also those that are hidden from the viewer.
fn machine_wide(folders: &Folders) -> u64 {
    #[allow(clippy::useless_conversion, reason = "the width differs between machines")]
    fstat(folders.proc()).map_or(0, |stat| u64::from(stat.st_nlink))
}

/// Whether `hidepid` leaves processes out.
fn hides_processes() -> bool {
    table(&own_table()).any(|mount| is_hiding_proc(&mount))
}

/// Whether it is a procfs at `/proc` whose option `hidepid` leaves out whole processes.
fn is_hiding_proc(mount: &Mount<'_>) -> bool {
    let hiding = [b"hidepid=2".as_slice(), b"hidepid=invisible", b"hidepid=4", b"hidepid=ptraceable"];
    mount.point == b"/proc"
        && mount.kind == b"proc"
        && mount.options.split(|&byte| byte == b',').any(|option| hiding.contains(&option))
}

/// What a listing of `/proc` gave.
#[derive(Default)]
struct Found {
    pids: Vec<u32>,
    /// Folders that are no processes.
    folders: u64,
}

fn list(folders: &Folders, listing: &mut Listing, found: &mut Found) -> Result<(), Errno> {
    let mut entries = RawDir::new(folders.proc(), listing.room());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if let Some(pid) = procfs::parse(name) {
            found.pids.push(pid);
        } else if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            found.folders += 1;
        }
    }
    Ok(())
}

/// Looks at one process. `SRCH` if it has ended meanwhile.
fn examine(builder: &mut Builder, folders: &mut Folders, pid: u32, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut name = [0; 16];
    let folder = openat(folders.proc(), procfs::number(pid, &mut name), FOLDER, Mode::empty()).map_err(procfs::gone)?;
    let stat = procfs::read(&folder, c"stat", buffer).map_err(procfs::gone)?;
    let stat = Stat::parse(stat).ok_or(Errno::SRCH)?;
    let mut process = Process {
        // The builder fills it in.
        reference: ProcessRef::at(0),
        pid,
        parent: stat.parent,
        start_ticks: stat.start_ticks,
        name: Text::from(stat.name),
        command: Vec::new(),
        // The kernel keeps this one folder in the hands of the effective user, also where it gives everything in it to
        // root because the process must not be looked into.
        uid: fstat(&folder).ok().map(|stat| stat.st_uid),
        state: stat.state,
        is_kernel_thread: stat.flags & KERNEL_THREAD != 0,
        namespaces: Namespaces::default(),
        container: None,
        descriptors: None,
        descriptor_limit: None,
    };
    let (start_ticks, threads) = (stat.start_ticks, stat.threads);
    if process.is_kernel_thread {
        builder.process(process);
        return Ok(());
    }
    let is_dead = process.state == ProcessState::Zombie;
    if !is_dead {
        process.command = procfs::read(&folder, c"cmdline", buffer).map(arguments).unwrap_or_default();
        process.namespaces = namespaces(&folder);
        if differs(process.namespaces, builder.viewer().namespaces) {
            process.container = procfs::read(&folder, c"cgroup", buffer).ok().and_then(container::name).map(Text::from);
        }
        let reference = builder.process(process);
        folders.add(reference, pid, start_ticks, folder);
    } else {
        let reference = builder.process(process);
        // When its first thread has ended before the others, the process looks dead but holds all it ever had.
        if threads > 1
            && let Some(thread) = living_thread(&folder)
        {
            folders.add(reference, pid, start_ticks, thread);
        }
    }
    Ok(())
}

/// The folder of a thread that has not ended.
fn living_thread(folder: impl AsFd) -> Option<std::os::fd::OwnedFd> {
    let tasks = openat(folder, c"task", FOLDER, Mode::empty()).ok()?;
    let mut living = None;
    let mut stat = [0; STAT_BYTES];
    let each = |name: &std::ffi::CStr, _| {
        if living.is_none()
            && let Ok(thread) = openat(&tasks, name, FOLDER, Mode::empty())
            && procfs::read(&thread, c"stat", &mut stat)
                .is_ok_and(|stat| Stat::parse(stat).is_some_and(|stat| stat.state != ProcessState::Zombie))
        {
            living = Some(thread);
        }
    };
    procfs::numbers(&tasks, &mut Listing::new(), each).ok()?;
    living
}

/// The namespaces of the process whose folder this is.
pub(super) fn namespaces(folder: impl AsFd) -> Namespaces {
    let Ok(folder) = openat(folder, c"ns", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return Namespaces::default();
    };
    let inode = |name| {
        let mut buffer = [0; 64];
        let length = readlinkat_raw(&folder, name, &mut buffer).ok()?;
        // `ipc:[4026531839]`
        let digits = buffer[..length].strip_suffix(b"]")?.split(|&byte| byte == b'[').nth(1)?;
        procfs::parse(digits)
    };
    Namespaces { ipc: inode(c"ipc"), net: inode(c"net"), mnt: inode(c"mnt"), pid: inode(c"pid"), user: inode(c"user") }
}

/// Whether two processes are known to live in different namespaces of some kind.
fn differs(one: Namespaces, other: Namespaces) -> bool {
    let kinds = |all: Namespaces| [all.ipc, all.net, all.mnt, all.pid, all.user];
    kinds(one).into_iter().zip(kinds(other)).any(|pair| matches!(pair, (Some(one), Some(other)) if one != other))
}

/// The arguments of a process that ended each with a NUL, or wrote something else over them, as servers do: then the
/// NULs that are left at the end are not arguments.
fn arguments(command: &[u8]) -> Vec<Text> {
    let end = command.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return Vec::new();
    }
    command[..end].split(|&byte| byte == 0).map(Text::from).collect()
}

/// What `/proc/PID/stat` tells.
pub(super) struct Stat<'b> {
    name: &'b [u8],
    state: ProcessState,
    parent: u32,
    flags: u64,
    threads: u32,
    pub(super) start_ticks: u64,
}

impl<'b> Stat<'b> {
    /// The name stands in parentheses and may hold anything, parentheses and line ends too; after the last one come
    /// only numbers.
    pub(super) fn parse(stat: &'b [u8]) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')').filter(|&close| close > open)?;
        let mut fields = stat.get(close + 2..)?.split(|&byte| byte == b' ');
        // Counted as in the manual, where the state is the third.
        let state = fields.next()?;
        let parent = fields.next()?;
        let flags = fields.nth(9 - 5)?;
        let threads = fields.nth(20 - 10)?;
        let start_ticks = fields.nth(22 - 21)?;
        Some(Self {
            name: &stat[open + 1..close],
            state: match state {
                b"R" => ProcessState::Running,
                b"S" | b"I" => ProcessState::Sleeping,
                b"D" => ProcessState::Uninterruptible,
                b"T" => ProcessState::Stopped,
                b"t" => ProcessState::Traced,
                b"Z" | b"X" => ProcessState::Zombie,
                _ => ProcessState::Other,
            },
            parent: procfs::parse(parent)?,
            flags: procfs::parse(flags)?,
            threads: procfs::parse(threads)?,
            start_ticks: procfs::parse(start_ticks)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stat_of(name: &[u8]) -> Vec<u8> {
        let mut stat = b"4711 (".to_vec();
        stat.extend(name);
        stat.extend(b") S 42 4711 4711 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 10 18446744073709551615 1\n");
        stat
    }

    #[test]
    fn a_name_may_hold_what_stands_around_it() {
        for name in [b"sh".as_slice(), b"", b") S 1 (", b"a) R 2 3\n4 (b", b"\xff\x1b[2J"] {
            let stat = stat_of(name);
            let stat = Stat::parse(&stat).expect("a stat");
            assert_eq!(stat.name, name);
            assert_eq!((stat.parent, stat.flags, stat.threads, stat.start_ticks), (42, 4_194_304, 3, 987_654));
            assert_eq!(stat.state, ProcessState::Sleeping);
        }
    }

    #[test]
    fn our_own_stat_is_understood() {
        let stat = std::fs::read("/proc/self/stat").expect("a /proc");
        let stat = Stat::parse(&stat).expect("a stat");
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert!(stat.threads >= 1 && stat.flags & KERNEL_THREAD == 0 && stat.start_ticks > 0);
    }

    #[test]
    fn arguments_end_where_the_text_ends() {
        let words = |command: &[u8]| arguments(command).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words(b"sh\0-c\0\0x y\0"), ["sh", "-c", "", "x y"]);
        assert_eq!(words(b"postgres: writer\0\0\0\0\0\0"), ["postgres: writer"]);
        assert_eq!(words(b"title without end"), ["title without end"]);
        assert!(words(b"").is_empty() && words(b"\0\0").is_empty());
    }

    #[test]
    fn a_proc_that_hides_is_known_by_its_options() {
        for (line, hides) in [
            ("22 27 0:21 / /proc rw,relatime - proc proc rw", false),
            ("22 27 0:21 / /proc rw,relatime shared:5 master:1 - proc proc rw,hidepid=invisible,gid=5", true),
            ("22 27 0:21 / /proc rw - proc proc rw,hidepid=2", true),
            ("22 27 0:21 / /proc rw - proc proc rw,hidepid=ptraceable", true),
            ("22 27 0:21 / /proc rw - proc proc rw,hidepid=noaccess", false),
            ("22 27 0:21 / /mnt/proc rw - proc proc rw,hidepid=2", false),
            ("22 27 0:21 / /proc rw - tmpfs proc rw,hidepid=2", false),
            ("", false),
        ] {
            assert_eq!(table(line.as_bytes()).any(|mount| is_hiding_proc(&mount)), hides, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_stat_breaks_the_parser(stat in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Stat::parse(&stat);
        }

        #[test]
        fn no_name_changes_what_is_read(name in prop::collection::vec(any::<u8>(), 0..64)) {
            let stat = stat_of(&name);
            let stat = Stat::parse(&stat).expect("a stat");
            prop_assert_eq!(stat.name, name.as_slice());
            prop_assert_eq!((stat.parent, stat.start_ticks), (42, 987_654));
        }

        #[test]
        fn no_damage_to_a_stat_breaks_the_parser(at in 0_usize..100, byte: u8, cut in 0_usize..120) {
            let mut stat = stat_of(b"program");
            if let Some(place) = stat.get_mut(at) { *place = byte; }
            stat.truncate(cut);
            let _ = Stat::parse(&stat);
        }
    }
}
