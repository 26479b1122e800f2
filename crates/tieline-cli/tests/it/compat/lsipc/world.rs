//! Objects of all sorts, made by processes with odd names, and command lines that ask for them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use tieline_os::posix::mq::{Attributes, MessageQueue as PosixQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::{MessageQueue, Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::shm::{Attachment, Segment};
use tieline_os::sysv::{Key, msg, sem, shm};
use tieline_os::{Access, Mode};
use tieline_testkit::{Peer, Role, can_run_as, eventually};

use super::super::Dice;
use super::{Case, is_dangerous};
use crate::support::TIELINE;

/// Another user than the test's, who has no name.
const STRANGER: u32 = 54321;

const PLAIN_NAMES: &[&[u8]] = &[
    b"worker",
    b"a rather long name of a process that will have to be cut in every terminal of a usual width --with=options",
    b"back\\slash \\x41 \"quoted\" 'words' $HOME `date` %s %n",
    b"",
];

const ODD_NAMES: &[&[u8]] = &[
    "größer als 語言 und 😀 e\u{301}".as_bytes(),
    b"line\nfeed\ttab\x1b[31mred\x07",
    b"no \xff\xfe UTF-8 \xc3",
    "\u{200b}\u{202e}\u{85}\u{a0}\u{ad}\u{fffe}\u{e000}\u{1fae8}".as_bytes(),
    "語語語語語語語語語語語語語語語語語語語語語語語語語語語語語語".as_bytes(),
];

/// What the test looks at. Everything ends with it: the peers here, the objects with their namespace.
pub(super) struct World {
    _creators: Vec<Peer>,
    /// Ids of all sorts, each with whether its creator's name is dangerous.
    ids: Vec<(i32, bool)>,
    new: bool,
}

impl World {
    /// Removes what there is in this namespace and makes other objects.
    pub(super) fn make(dice: &mut Dice, test: &str, new: bool) -> Self {
        clear();
        let mut creators = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..dice.below(4) {
            let name = match dice.below(5) {
                0 | 1 => dice.pick(PLAIN_NAMES).to_vec(),
                2 => dice.pick(ODD_NAMES).to_vec(),
                _ => random_name(dice),
            };
            let mut name = OsString::from_vec(name);
            if dice.one_in(6) {
                // More than is ever read of it.
                name.push("x".repeat(9000));
            }
            let stranger = dice.one_in(3) && can_run_as(STRANGER);
            let renamed = dice.one_in(2);
            let peer = Peer::of(test).role("creator").env("CREATOR_SEED", dice.next().to_string());
            let peer = if renamed { peer.env("CREATOR_NAME", &name) } else { peer };
            let mut peer = if stranger { peer.user(STRANGER) } else { peer }.spawn();
            loop {
                match peer.hear().as_str() {
                    "ready" => break,
                    id => ids.push((id.parse().expect("an id"), renamed && is_dangerous(&name))),
                }
            }
            if renamed {
                let words = [name.as_bytes(), b"\0"].concat();
                let seen = format!("/proc/{}/cmdline", peer.id());
                eventually("the peer has its name", || std::fs::read(&seen).is_ok_and(|now| now == words));
            }
            creators.push(peer);
        }
        for _ in 0..dice.below(6) {
            // Its own name says nothing odd. It keeps nothing attached: the programs that it starts would inherit that,
            // let go of it, and change the process that did so last.
            ids.push((make(dice, None), false));
        }
        ids.extend(of_another_group(dice).map(|id| (id, false)));
        if new {
            make_posix_objects(dice);
        }
        Self { _creators: creators, ids, new }
    }

    pub(super) fn case(&self, dice: &mut Dice) -> Case {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        let kinds: &[&str] = match self.new {
            false => &["-m", "-m", "-m", "-q", "-q", "-s", "-s", "--shmems", "--queues", "--sem", "-g", "--global"],
            true => &["-m", "-m", "-q", "-s", "-M", "-Q", "-S", "--posix-shm", "--posix-mq", "--posix-sem", "-g"],
        };
        for _ in 0..*dice.pick(&[0, 1, 1, 1, 1, 1, 1, 2]) {
            add(&[*dice.pick(kinds)]);
        }
        for _ in 0..dice.below(4) {
            add(&[*dice.pick(&[
                "-b",
                "--bytes",
                "-c",
                "--creator",
                "-e",
                "--export",
                "-J",
                "--json",
                "-l",
                "--list",
                "-n",
                "--newline",
                "-P",
                "--num",
                "-r",
                "--raw",
                "-t",
                "--time",
                "-y",
                "--shell",
                "--noheadings",
                "--notruncate",
                "-g",
            ])]);
        }
        if dice.one_in(4) {
            add(&["--time-format", *dice.pick(&["short", "full", "iso", "iso", "long"])]);
        }
        if dice.one_in(3) {
            add(&["-o", &self.columns(dice)]);
        }
        if dice.one_in(40) {
            add(&[*dice.pick(&["-z", "--bogus", "--no", "--id", "-o", "--json=1", "operand", "--", "-h", "--time-"])]);
        }
        let mut dangerous = false;
        if dice.one_in(4) {
            let ids: Vec<i32> = self.ids.iter().map(|(id, _)| *id).chain([0, 1, 987_654]).collect();
            let id = *dice.pick(&ids);
            add(&["-i", &id.to_string()]);
            // Names of POSIX objects are as odd.
            dangerous = self.new || self.ids.contains(&(id, true));
        } else if dice.one_in(60) {
            add(&["--id", *dice.pick(&["", "abc", "12x", " 7", "99999999999", "99999999999999999999", "-1", "-5"])]);
            dangerous = true;
        } else if self.new && dice.one_in(6) {
            add(&["-N", *dice.pick(&["/one", "one", "/tieline", "tieline", "", "gone", "/gone"])]);
            dangerous = true;
        }
        if dice.one_in(50) {
            arguments = ["-m"; 7].iter().map(OsString::from).collect();
        }
        let mut environment = vec![("LC_ALL", *dice.pick(&["C.UTF-8", "C.UTF-8", "C", "xx_YY.UTF-8", ""]))];
        environment
            .push(("TZ", *dice.pick(&["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "XYZ3:30"])));
        environment.push(("COLUMNS", *dice.pick(&["", "30", "77", " 90", "x", "-5", "100000"])));
        Case { arguments, environment, dangerous }
    }

    /// A value for `--output`.
    fn columns(&self, dice: &mut Dice) -> String {
        const NAMES: &[&str] = &[
            "KEY",
            "ID",
            "OWNER",
            "PERMS",
            "CUID",
            "CUSER",
            "CGID",
            "CGROUP",
            "UID",
            "USER",
            "GID",
            "GROUP",
            "CTIME",
            "SIZE",
            "NATTCH",
            "STATUS",
            "ATTACH",
            "DETACH",
            "COMMAND",
            "CPID",
            "LPID",
            "USEDBYTES",
            "MSGS",
            "SEND",
            "RECV",
            "LSPID",
            "LRPID",
            "NSEMS",
            "OTIME",
            "RESOURCE",
            "DESCRIPTION",
            "LIMIT",
            "USED",
            "USE%",
            "NAME",
            "MTIME",
            "SVAL",
        ];
        // Neighbours, because those go together.
        let start = dice.below(NAMES.len() as u64) as usize;
        let mut list = if dice.one_in(4) { "+".to_owned() } else { String::new() };
        for place in 0..*dice.pick(&[0, 1, 2, 3, 4, 5, 6, 80]) {
            let near = (start + dice.below(6) as usize) % NAMES.len();
            let near = if dice.one_in(3) { dice.below(13) as usize } else { near };
            let name = if dice.one_in(8) { NAMES[near].to_lowercase() } else { NAMES[near].to_owned() };
            let comma = if place == 0 { "" } else { "," };
            list.push_str(&format!("{comma}{name}"));
        }
        if dice.one_in(20) {
            list += dice.pick::<&str>(&[",", ",,", ",BOGUS,KEY", " "]);
        }
        list
    }
}

/// Characters from anywhere in Unicode, and bytes that are none.
fn random_name(dice: &mut Dice) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..dice.below(40) {
        let end = *dice.pick(&[0x80, 0x800, 0x3000, 0x1_0000, 0x2_0000, 0x11_0000]);
        match char::from_u32(dice.below(end) as u32) {
            Some(letter) if !dice.one_in(30) => name.extend(letter.to_string().into_bytes()),
            _ => name.push(dice.below(256) as u8),
        }
    }
    name.retain(|byte| *byte != 0);
    name
}

fn clear() {
    msg::queues().expect("listed").flatten().for_each(|found| drop(MessageQueue::from_id(found.id).remove()));
    sem::sets().expect("listed").flatten().for_each(|found| drop(SemaphoreSet::from_id(found.id).remove()));
    shm::segments().expect("listed").flatten().for_each(|found| drop(Segment::from_id(found.id).remove()));
}

/// The part of a peer: makes objects and stays; or becomes another program, which lets go of what it has attached, but
/// has any name.
pub(super) fn act(role: &Role) {
    let mut dice = Dice(role.env("CREATOR_SEED").parse().expect("a number"));
    let mut attached = Vec::new();
    for _ in 0..=dice.below(4) {
        role.say(&make(&mut dice, Some(&mut attached)).to_string());
    }
    role.say("ready");
    match std::env::var_os("CREATOR_NAME") {
        // It waits for the end of its input.
        Some(name) => panic!("not replaced: {}", Command::new("cat").arg0(name).exec()),
        None => role.wait_for("never"),
    }
}

/// Makes an object and answers its id. Memory is attached, and perhaps removed, if it can be kept.
fn make(dice: &mut Dice, attached: Option<&mut Vec<Attachment>>) -> i32 {
    let mode = Mode::new(dice.below(0o1000) as u16).expect("nine bits");
    // Others shall be able to own it, where the namespace knows them.
    let owner = dice.one_in(3).then(|| *dice.pick(&[1, 2, 33, 65534, 4_000_000_000]));
    match dice.below(3) {
        0 => {
            let longest = 1 << *dice.pick(&[4, 12, 14, 20, 24, 27]);
            let len = 1 + dice.below(longest);
            let segment = Segment::create(key(dice), len as usize, Mode::OWNER).expect("a segment");
            if dice.one_in(3) {
                let _ = segment.attach().expect("attached").detach();
            }
            if dice.one_in(4) {
                let _ = segment.lock();
            }
            let removes = attached.is_some();
            if let Some(attached) = attached {
                for _ in 0..dice.below(3) {
                    attached.push(segment.attach().expect("attached"));
                }
            }
            let _ = segment.set_owner(owner, owner);
            let _ = segment.set_mode(mode);
            if removes && dice.one_in(3) {
                // Still attached, perhaps; else it is gone, and that is an id too.
                let _ = segment.remove();
            }
            segment.id().number()
        }
        1 => {
            let queue = MessageQueue::create(key(dice), Mode::OWNER).expect("a queue");
            for _ in 0..dice.below(4) {
                let _ = queue.try_send(1, &vec![0; dice.below(4000) as usize]);
            }
            if dice.one_in(2) {
                let _ = queue.try_receive(Selector::Oldest, Oversized::Cut, &mut [0; 8192]);
            }
            let _ = queue.set_owner(owner, owner);
            let _ = queue.set_mode(mode);
            queue.id().number()
        }
        _ => {
            let count = 1 + dice.below(12) as u16;
            let set = SemaphoreSet::create(key(dice), count, Mode::OWNER).expect("a set");
            for index in 0..count {
                match dice.below(4) {
                    0 => set.set_value(index, dice.below(32768) as u16).expect("set"),
                    1 => set.operate(&[Operation::new(index, 3)]).expect("operated"),
                    _ => {}
                }
            }
            if dice.one_in(3) {
                wait_in_a_thread(set);
            }
            let _ = set.set_owner(owner, owner);
            let _ = set.set_mode(mode);
            set.id().number()
        }
    }
}

fn key(dice: &mut Dice) -> Key {
    if dice.one_in(3) { Key::PRIVATE } else { Key::new(dice.next() as i32 | 1) }
}

/// Has a thread of this process wait for the first semaphore, until the set is removed.
fn wait_in_a_thread(set: SemaphoreSet) {
    set.set_value(0, 1).expect("set");
    std::thread::spawn(move || set.wait_for_zero(0));
    eventually("the thread waits", || set.waiters_for_zero(0).is_ok_and(|waiters| waiters == 1));
}

/// An object whose creator's group has another number than its creator, if this process may have another group.
fn of_another_group(dice: &mut Dice) -> Option<i32> {
    let words: &[&str] = dice.pick::<&[&str]>(&[&["-M", "3000"], &["-Q"], &["-S", "3"]]);
    let out = Command::new(TIELINE).arg("ipcmk").args(words).gid(4321).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim_end().rsplit(' ').next()?.parse().ok()
}

/// Gives this mount namespace a `/dev/shm` and, if there is a directory for it, a `/dev/mqueue` of its own.
pub(super) fn mount_places_for_posix_objects() {
    for (kind, place) in [("tmpfs", "/dev/shm"), ("mqueue", "/dev/mqueue")] {
        let out = Command::new("mount").args(["-t", kind, "none", place]).output().expect("mount");
        eprintln!("{place}: {}{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
}

fn make_posix_objects(dice: &mut Dice) {
    for name in ["/one", "/tieline", "/größe 語", "/line\nfeed\x1b[31m"] {
        let mode = Mode::new(dice.below(0o1000) as u16).expect("nine bits");
        let _ = (SharedMemory::unlink(name), NamedSemaphore::unlink(name), PosixQueue::unlink(name));
        if dice.one_in(2) {
            let _ = SharedMemory::create(name, dice.below(1 << 20), mode);
        }
        if dice.one_in(2) {
            let _ = NamedSemaphore::create(name, dice.below(9) as u32, mode);
        }
        if dice.one_in(2)
            && let Ok(queue) =
                PosixQueue::create(name, Attributes { capacity: 5, message_size: 64 }, Access::ReadWrite, mode)
        {
            for _ in 0..dice.below(5) {
                let _ = queue.try_send(b"message", 1);
            }
        }
    }
}
