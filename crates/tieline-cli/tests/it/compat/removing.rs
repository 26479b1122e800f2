//! `ipcmk` and `ipcrm`: the same random script in two new IPC namespaces, one with their tools, one with ours. The kernel
//! gives out ids in the same order in both, so everything that is said must be the same.

use std::process::Command;

use tieline_testkit::{Isolation, Namespace, skip, test_name};

use super::twins::{AS_NOBODY, Twins};
use super::{Dice, Reference, rounds};
use crate::support::TIELINE;

/// Steps of each script.
const STEPS: u64 = 40;

/// POSIX objects are not of the IPC namespace but of file systems: with our own nobody else's can be touched.
pub(crate) const MOUNTS: &str =
    "mount -t tmpfs tmpfs /dev/shm && mkdir -p /dev/mqueue && mount -t mqueue none /dev/mqueue";

#[test]
fn ipcmk_and_ipcrm_are_theirs_to_the_byte() {
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let mounted = Command::new("unshare").args(["--ipc", "--mount", "sh", "-c", MOUNTS]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip!("this machine does not let us mount file systems of our own");
    }
    let mut dice = Dice::new("ipcmk_and_ipcrm_are_theirs_to_the_byte");
    for reference in Reference::all() {
        let reference = match reference {
            Ok(reference) => reference,
            Err(reason) => skip!("{reason}"),
        };
        let posix = reference.compat == "2.43";
        let twins = Twins::new(&reference);
        for _ in 0..rounds().div_ceil(2) {
            let steps: Vec<String> = (0..STEPS).map(|_| step(&mut dice, posix, twins.other_user)).collect();
            twins.compare_in_namespaces(&script(&steps, posix));
        }
    }
}

fn script(steps: &[String], posix: bool) -> String {
    // Objects with keys, which ipcmk cannot make.
    let mut script = format!(
        "{MOUNTS} || exit\n\
         '{TIELINE}' mk sysv-shm 0x77 --size 1000; '{TIELINE}' mk sysv-mq 0x77\n\
         '{TIELINE}' mk sysv-sem 0x77 --values 1,2\n"
    );
    for step in steps {
        let shown = step.replace(['"', '`', '$', '\\'], "_");
        script += &format!("echo \": {shown}\"\n{step}\necho \"exit code $?\"\n");
    }
    // What is left, without the random keys.
    script += "ipcs -c; ipcs -t | cut -c1-20\n";
    if posix {
        script += "ls -lnA --time-style=+ /dev/shm /dev/mqueue\n";
    }
    script
}

/// One command line. Its messages go to standard output, in the order in which stdio gives them out, or stay apart.
fn step(dice: &mut Dice, posix: bool, other_user: bool) -> String {
    let command = match dice.below(if posix { 9 } else { 6 }) {
        0 | 1 => make(dice),
        2 | 3 => remove(dice),
        4 => format!("ipcrm {} {}", dice.pick(&["shm", "msg", "sem"]), ids(dice)),
        5 => odd(dice).to_owned(),
        6 | 7 => make_posix(dice),
        _ => remove_posix(dice),
    };
    let who = if other_user && dice.one_in(6) { AS_NOBODY } else { "" };
    format!("{who}{command}{}", if dice.one_in(2) { " 2>&1" } else { "" })
}

fn make(dice: &mut Dice) -> String {
    const SIZES: &[&str] = &[
        "1",
        "4K",
        "10KiB",
        "2KB",
        "1.5K",
        "0.5MiB",
        "1M",
        "0x1000",
        "010",
        "0",
        "-1",
        "x",
        "1x",
        "1.0",
        "1.",
        ".5K",
        "1.05K",
        "1.00.5K",
        "1.5",
        "9E",
        "17E",
        "1Z",
        "0Y",
        "1Kb",
        "1kib",
        "1 K",
        "+5",
        "18446744073709551615",
        "18446744073709551616",
        "0.0000001G",
        "1.99999999999999999999K",
        "1.123456789012345678K",
        "1.5B",
        "1K1",
        "1KiBx",
        "\"\"",
        "\" 7\"",
    ];
    const MODES: &[&str] = &[
        "600",
        "0",
        "777",
        "666",
        "8",
        "x",
        "-1",
        "7777777777777777777777777",
        "10600",
        "4600",
        "3600",
        "\"\"",
        "+644",
        "0644",
    ];
    const COUNTS: &[&str] =
        &["1", "5", "0", "-1", "32000", "32001", "70000", "x", "4294967297", "99999999999999999999", "\"\""];
    let mut words = vec!["ipcmk".to_owned()];
    for _ in 0..=dice.below(2) {
        words.push(match dice.below(5) {
            0 => format!("-M {}", dice.pick(SIZES)),
            1 => format!("--shmem={}", dice.pick(SIZES)),
            2 => format!("-S {}", dice.pick(COUNTS)),
            3 => format!("--sem {}", dice.pick(COUNTS)),
            _ => (*dice.pick(&["-Q", "--queue"])).to_owned(),
        });
    }
    if dice.one_in(2) {
        words.push(format!("{}{}", dice.pick(&["-p ", "-p", "--mode=", "--mo "]), dice.pick(MODES)));
    }
    words.join(" ")
}

fn ids(dice: &mut Dice) -> String {
    const ODD: &[&str] =
        &["-1", "99999", "x", "1x", "\"\"", "99999999999999999999999", "4294967296", "+2", "\" 3\"", "2147483648"];
    let one = |dice: &mut Dice| {
        // Ids grow by 32768 each time a slot of the kernel's table is used again.
        if dice.one_in(5) { (*dice.pick(ODD)).to_owned() } else { (dice.below(6) + 32768 * dice.below(3)).to_string() }
    };
    (0..dice.below(4)).map(|_| one(dice)).collect::<Vec<_>>().join(" ")
}

fn remove(dice: &mut Dice) -> String {
    const KEYS: &[&str] =
        &["0x77", "119", "0167", "0", "0x0", "5", "x", "0x", "-1", "4294967415", "99999999999999999999999"];
    const ALL: &[&str] = &["-a", "--all", "-ashm", "-amsg", "--all=sem", "-apshm", "-a=shm", "--all=foo", "--all="];
    let mut words = vec!["ipcrm".to_owned()];
    if dice.one_in(2) {
        words.push((*dice.pick(&["-v", "--verbose", "--verb"])).to_owned());
    }
    for _ in 0..=dice.below(3) {
        let id = ids(dice);
        let id = id.split_once(' ').map_or(id.as_str(), |(first, _)| first);
        let id = if id.is_empty() || id.contains('"') { "3" } else { id };
        words.push(match dice.below(5) {
            0 => format!("-{}{id}", dice.pick(&["m ", "q ", "s ", "m", "q", "s"])),
            1 => format!("--{}={id}", dice.pick(&["shmem-id", "queue-id", "semaphore-id"])),
            2 => format!("-{} {}", dice.pick(&["M", "Q", "S"]), dice.pick(KEYS)),
            3 => format!("--{} {}", dice.pick(&["shmem-key", "queue-key", "semaphore-k"]), dice.pick(KEYS)),
            _ if dice.one_in(3) => (*dice.pick(ALL)).to_owned(),
            _ => (*dice.pick(&["-x", "operand", "--shmem 1", "--q 1", "--", "-m", "-h", "--version"])).to_owned(),
        });
    }
    words.join(" ")
}

fn odd(dice: &mut Dice) -> &'static str {
    const LINES: &[&str] = &[
        "ipcmk",
        "ipcmk -h",
        "ipcmk --version",
        "ipcmk -x",
        "ipcmk --s 1",
        "ipcmk operand",
        "ipcmk -M",
        "ipcmk --queue=1",
        "POSIXLY_CORRECT=1 ipcmk operand -Q",
        "ipcmk operand -Q",
        "ipcmk -- -Q",
        "ipcrm",
        "ipcrm --help",
        "ipcrm -V",
        "ipcrm shm",
        "ipcrm foo 1",
        "ipcrm -- shm 1",
        "ipcrm -v shm 1",
        "ipcrm -q",
        "ipcrm -v -Q 0x77 -Q 0x77",
    ];
    dice.pick::<&str>(LINES)
}

fn make_posix(dice: &mut Dice) -> String {
    let mut words = vec!["ipcmk".to_owned()];
    for _ in 0..=dice.below(2) {
        words.push(
            (*dice.pick(&[
                "-m 5K",
                "-m 0",
                "-m 9E",
                "-m 17E",
                "-q",
                "-s",
                "--posix-shmem=1M",
                "--posix-mq",
                "--posix-s",
            ]))
            .to_owned(),
        );
    }
    if !dice.one_in(6) {
        words.push(format!("-n {}", name(dice)));
    }
    if dice.one_in(2) {
        words.push(format!("-p {}", dice.pick(&["600", "777", "10000", "8", "-1", "0"])));
    }
    words.join(" ")
}

fn remove_posix(dice: &mut Dice) -> String {
    if dice.one_in(4) {
        // Of one each at most: the order in a directory is nobody's promise.
        return format!("ipcrm -v {}", dice.pick(&["-apshm", "-a=psem", "--all=pmsg", "-a=foo"]).replace("-v ", ""));
    }
    format!("ipcrm {} {}", dice.pick(&["--posix-shmem", "-v --posix-mqueue", "--posix-sem"]), name(dice))
}

fn name(dice: &mut Dice) -> String {
    let long = |count| "x".repeat(count);
    match dice.below(10) {
        0 => format!("/{}", long(251 + dice.below(12) as usize)),
        1 => long(251 + dice.below(12) as usize),
        _ => (*dice.pick(&["/a", "/a", "/b", "a", "//a", "/a/b", "/", "\"\"", "/.x"])).to_owned(),
    }
}
