//! `ipcs`, over random objects, with every combination of flags.

use std::fs;
use std::process::Command;

use tieline_testkit::{Isolation, Namespace, skip, test_name};

use super::objects::World;
use super::{Dice, Reference, rounds};

/// Command lines for each world.
const LINES: u64 = 45;

#[test]
fn ipcs_is_theirs_to_the_byte() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let mut dice = Dice::new("ipcs_is_theirs_to_the_byte");
    for reference in Reference::all() {
        let reference = match reference {
            Ok(reference) => reference,
            Err(reason) => skip!("{reason}"),
        };
        for _ in 0..rounds() {
            let world = World::random(&mut dice);
            set_limits(&mut dice);
            for _ in 0..LINES {
                let words = line(&mut dice, &world);
                let zone = *dice.pick(&["", "UTC", "Asia/Kolkata", "America/St_Johns", "XYZ-3:30", "no/such/zone"]);
                let posix = dice.one_in(6);
                reference.compare("ipcs", &words, |command| {
                    command.env("TZ", zone);
                    if posix {
                        command.env("POSIXLY_CORRECT", "1");
                    }
                });
            }
        }
    }
}

/// Every subset of the flags that say what, with each that says how: the combinations that the dice may miss.
#[test]
fn ipcs_is_theirs_for_all_flags() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let mut dice = Dice::new("ipcs_is_theirs_for_all_flags");
    for reference in Reference::all() {
        let reference = match reference {
            Ok(reference) => reference,
            Err(reason) => skip!("{reason}"),
        };
        let _world = World::random(&mut dice);
        for resources in ["", "-m", "-q", "-s", "-mq", "-qs", "-sm", "-a"] {
            for form in ["", "-t", "-p", "-c", "-l", "-u"] {
                for unit in ["", "-b", "--human"] {
                    let words: Vec<&str> =
                        [resources, form, unit].into_iter().filter(|word| !word.is_empty()).collect();
                    reference.compare("ipcs", &words, |_: &mut Command| {});
                }
            }
        }
    }
}

/// Limits around the borders of the arithmetic. They are those of our own namespace; where it does not let us, the
/// system's stay.
fn set_limits(dice: &mut Dice) {
    let outer = fs::read_link(format!("/proc/{}/ns/ipc", rustix::process::getppid().expect("a parent").as_raw_pid()));
    assert_ne!(outer.ok(), fs::read_link("/proc/self/ns/ipc").ok(), "these are the machine's own limits");
    let pages = ["0", "1", "1000", "4503599627370495", "4503599627370496", "18014398509481983", "18446744073709551615"];
    let bytes = ["1073741824", "999999999999", "1125899906842623", "18446744073709551615"];
    let _ = fs::write("/proc/sys/kernel/shmall", dice.pick(&pages));
    let _ = fs::write("/proc/sys/kernel/shmmax", dice.pick(&bytes));
    let _ = fs::write("/proc/sys/kernel/msgmax", dice.pick(&["8192", "1500", "1048575", "2000000"]));
    let _ = fs::write("/proc/sys/kernel/msgmnb", dice.pick(&["16384", "65536", "1572864"]));
}

/// A command line: mostly of known flags, sometimes of anything.
fn line(dice: &mut Dice, world: &World) -> Vec<String> {
    const FLAGS: &[&str] = &[
        "-m",
        "-q",
        "-s",
        "-a",
        "-t",
        "-p",
        "-c",
        "-l",
        "-u",
        "-b",
        "--human",
        "--shmems",
        "--queues",
        "--semaphores",
        "--all",
        "--time",
        "--pid",
        "--creator",
        "--limits",
        "--summary",
        "--bytes",
        "--hum",
        "--sh",
        "--tim",
        "-mt",
        "-qp",
        "-sc",
        "-bm",
        "-lu",
    ];
    const ODD: &[&str] = &[
        "-h",
        "--help",
        "-V",
        "--version",
        "--s",
        "--se",
        "--su",
        "--h",
        "--b",
        "--",
        "-",
        "",
        "-x",
        "-mx",
        "-\u{e9}",
        "--foo",
        "--foo=bar",
        "--time=now",
        "--al=",
        "--id",
        "-i",
        "--i",
        "--=",
        "operand",
        "--shmem=1",
        "---",
        "-:",
        "-;",
    ];
    let mut words = Vec::new();
    for _ in 0..dice.below(4) {
        words.push((*dice.pick(FLAGS)).to_owned());
    }
    if dice.one_in(8) {
        words.push((*dice.pick(ODD)).to_owned());
    }
    if dice.one_in(3) {
        let id = id(dice, world);
        // One resource, most of the time, or all that is seen is the complaint about it.
        if dice.one_in(2) {
            words = vec![(*dice.pick(&["-m", "-q", "-s", "--shmems", "--queues", "--semaphores"])).to_owned()];
            if dice.one_in(3) {
                words.push((*dice.pick(&["-b", "--human"])).to_owned());
            }
        }
        match dice.below(4) {
            0 => words.extend(["-i".to_owned(), id]),
            1 => words.push(format!("-i{id}")),
            2 => words.push(format!("--id={id}")),
            _ => words.extend(["--i".to_owned(), id]),
        }
    }
    // In any order.
    for last in (1..words.len()).rev() {
        words.swap(last, dice.below(last as u64 + 1) as usize);
    }
    words
}

fn id(dice: &mut Dice, world: &World) -> String {
    const ODD: &[&str] = &[
        "0",
        "1",
        "-1",
        "-5",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "99999999999999999999",
        "x",
        "1x",
        "0x1",
        " 1",
        "1 ",
        "+1",
        "",
        "-",
        "\t7",
        "1.0",
        "007",
        "٣",
    ];
    let ids = world.ids();
    if ids.is_empty() || dice.one_in(3) { (*dice.pick(ODD)).to_owned() } else { dice.pick(&ids).to_string() }
}
