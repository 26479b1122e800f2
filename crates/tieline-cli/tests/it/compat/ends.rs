//! How the tools are reached, and how they end when their output cannot be written.

use std::os::unix::fs::symlink;
use std::process::Command;

use tieline_os::Mode;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_testkit::{Isolation, Namespace, skip, test_name};

use super::Reference;
use super::twins::{AS_NOBODY, Twins};
use crate::support::{Job, Place, TIELINE, run, tieline};

#[test]
fn a_link_and_a_verb_are_the_same_tool() {
    let place = Place::new();
    for tool in ["ipcmk", "ipcrm", "ipcs", "lsipc"] {
        let link = place.path(tool);
        symlink(TIELINE, &link).unwrap();
        for words in [&["--help"][..], &["-V"], &["--no-such"]] {
            let mut linked = Command::new(&link);
            linked.args(words);
            let linked = Job::start(linked).end();
            let verb = run(&[&[tool], words].concat());
            assert_eq!((linked.code, &linked.out), (verb.code, &verb.out), "{tool} {words:?}");
            // Only getopt tells how it was called; all else says the short name.
            let shown = link.display().to_string();
            assert_eq!(linked.err.replace(&format!("{shown}: unrec"), &format!("{tool}: unrec")), verb.err);
        }
        let help = run(&[tool, "--help"]).well();
        assert!(help.text().starts_with(&format!("\nUsage:\n {tool} [")), "{}", help.text());
        assert_eq!(run(&[tool, "-V"]).well().text(), format!("{tool} from util-linux 2.38.1\n"));
    }
    // A hard link as well, where the file systems allow it.
    let hard = place.path("hard").with_file_name("ipcs");
    std::fs::remove_file(&hard).unwrap();
    if std::fs::hard_link(TIELINE, &hard).is_ok() {
        let mut version = Command::new(&hard);
        version.arg("-V");
        assert_eq!(Job::start(version).end().well().text(), "ipcs from util-linux 2.38.1\n");
    }
}

#[test]
fn the_version_to_be_is_said_in_front_or_by_the_environment() {
    let newer = "ipcrm from util-linux 2.43\n";
    assert_eq!(run(&["ipcrm", "--compat=2.43", "-V"]).well().text(), newer);
    assert_eq!(run(&["ipcrm", "--compat=2.38", "--compat=2.43", "-V"]).well().text(), newer);
    let with = |version: &str, words: &[&str]| {
        let mut command = tieline(words);
        command.env("TIELINE_COMPAT", version);
        Job::start(command).end()
    };
    assert_eq!(with("2.43", &["ipcrm", "-V"]).well().text(), newer);
    assert_eq!(with("2.43", &["ipcrm", "--compat=2.38.1", "-V"]).well().text(), "ipcrm from util-linux 2.38.1\n");
    assert_eq!(with("", &["ipcrm", "-V"]).well().text(), "ipcrm from util-linux 2.38.1\n");
    let unknown = with("3", &["ipcrm", "-V"]);
    assert_eq!((unknown.code, unknown.out.len()), (1, 0));
    assert_eq!(unknown.err, "ipcrm: unknown util-linux version, neither 2.38 nor 2.43: 3\n");
    // Behind another word it is an option that nobody knows.
    let late = run(&["ipcrm", "-v", "--compat=2.43"]);
    assert_eq!(late.code, 1);
    assert!(late.err.starts_with("ipcrm: unrecognized option '--compat=2.43'\n"), "{}", late.err);
}

#[test]
fn the_help_of_tieline_lists_them() {
    let help = run(&["--help"]).well();
    let listed = |tool: &&str| help.text().lines().any(|line| line.trim_start().starts_with(&format!("{tool} ")));
    assert!(["ipcmk", "ipcrm", "ipcs", "lsipc"].iter().all(listed), "{}", help.text());
    assert!(run(&["help", "ipcs"]).well().text().contains("ln -s"));
}

/// Descriptor 8 is a pipe that nobody reads any more.
const BROKEN_PIPE: &str = "d=$(mktemp -d); mkfifo $d/f; exec 7<>$d/f 8>$d/f 7<&-; rm -r $d";

/// Output that fits stdio's buffer and output that does not, to nobody, to a full disk, to a closed descriptor.
#[test]
fn output_that_cannot_be_written_ends_as_theirs_does() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    for reference in Reference::all() {
        let reference = match reference {
            Ok(reference) => reference,
            Err(reason) => skip!("{reason}"),
        };
        let twins = Twins::new(&reference);
        let objects: Vec<_> = (0..120)
            .map(|_| RemoveOnDrop::new(MessageQueue::create(Key::PRIVATE, Mode::OWNER).expect("a queue")))
            .collect();
        for words in ["", "-s", "-m -u", "--help", "-q -i 999999", "-x", "-l"] {
            for end in [
                ">&-",
                ">/dev/full",
                "2>&-",
                ">&- 2>&-",
                "2>/dev/full",
                ">/dev/full 2>&1",
                ">&8",
                ">&8 2>&1",
                "2>&8",
                "2>&1 | cat",
                "<&-",
            ] {
                twins.compare(&format!("{BROKEN_PIPE}; ipcs {words} {end}; echo $?"));
                twins.compare(&format!("{BROKEN_PIPE}; trap '' PIPE; ipcs {words} {end}; echo $?"));
            }
        }
        drop(objects);
    }
}

/// Whoever may not read an object is told as much of it as by theirs.
#[test]
fn what_others_may_see_is_what_theirs_lets_them_see() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    let segment = RemoveOnDrop::new(Segment::create(Key::new(5), 4096, Mode::OWNER).unwrap());
    let queue = RemoveOnDrop::new(MessageQueue::create(Key::new(6), Mode::OWNER).unwrap());
    let set = RemoveOnDrop::new(SemaphoreSet::create(Key::new(7), 3, Mode::OWNER).unwrap());
    for reference in Reference::all() {
        let reference = match reference {
            Ok(reference) => reference,
            Err(reason) => skip!("{reason}"),
        };
        let twins = Twins::new(&reference);
        if !twins.other_user {
            skip!("this user cannot run a command as another one");
        }
        for words in [
            "ipcs".to_owned(),
            "ipcs -u".to_owned(),
            format!("ipcs -m -i {}", segment.id()),
            format!("ipcs -q -i {}", queue.id()),
            format!("ipcs -s -i {}", set.id()),
            format!("ipcrm -m {} -q {} -s {}", segment.id(), queue.id(), set.id()),
            "ipcrm -M 5 -Q 6 -S 7".to_owned(),
            format!("ipcrm shm {}", segment.id()),
            "ipcrm -v -a".to_owned(),
        ] {
            twins.compare(&format!("{AS_NOBODY} {words}; echo $?"));
        }
    }
}
