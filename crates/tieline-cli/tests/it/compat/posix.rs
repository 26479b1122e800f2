//! What util-linux 2.43 has and 2.38 has not: POSIX objects. Here on every machine; beside the tools of 2.43 themselves,
//! where they are, in [`super::removing`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tieline_testkit::{Isolation, Namespace, Pty, has_command, skip, test_name};

use super::removing::MOUNTS;
use crate::support::{Job, Said, code_of, run, shell, tieline};

fn mounted() -> bool {
    Command::new("sh").args(["-c", MOUNTS]).status().is_ok_and(|status| status.success())
}

fn ipcmk(words: &[&str]) -> Said {
    run(&[&["ipcmk", "--compat=2.43"], words].concat())
}

fn ipcrm(words: &[&str]) -> Said {
    run(&[&["ipcrm", "--compat=2.43"], words].concat())
}

#[track_caller]
fn refused(said: &Said, message: &str) {
    assert_eq!((said.code, said.err.as_str()), (1, message));
}

#[test]
fn posix_objects_are_made_and_removed_by_name() {
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if !mounted() {
        skip!("this machine does not let us mount file systems of our own");
    }
    // As theirs, it leaves the umask to be taken off.
    let made =
        Job::start(shell("umask 022; exec tieline ipcmk --compat=2.43 -m 5K -q -s -n /jobs -p 640")).end().well();
    let lines =
        ["POSIX shared memory name: /jobs\n", "POSIX message queue name: /jobs\n", "POSIX semaphore name: /jobs\n"];
    assert_eq!(made.text(), lines.concat());
    let memory = fs::metadata("/dev/shm/jobs").unwrap();
    assert_eq!((memory.len(), memory.permissions().mode() & 0o777), (5120, 0o640));
    assert!(fs::metadata("/dev/shm/sem.jobs").is_ok() && fs::metadata("/dev/mqueue/jobs").is_ok());
    // What is there is taken, and memory gets the new size.
    ipcmk(&["--posix-shmem", "1", "--name", "jobs"]).well();
    assert_eq!(fs::metadata("/dev/shm/jobs").unwrap().len(), 1);
    let removed =
        ipcrm(&["-v", "--posix-shmem", "/jobs", "--posix-mqueue", "/jobs", "--posix-semaphore", "jobs"]).well();
    let lines = [
        "removing POSIX shared memory `/jobs'\n",
        "removing POSIX message queue `/jobs'\n",
        "removing POSIX semaphore `jobs'\n",
    ];
    assert_eq!(removed.text(), lines.concat());
    refused(&ipcrm(&["--posix-shmem", "/jobs"]), "ipcrm: name `/jobs' not found\n");
    refused(&ipcrm(&["--posix-mqueue", "jobs"]), "ipcrm: name failed: Invalid argument\n");
    let long = "x".repeat(256);
    refused(&ipcrm(&["--posix-shmem", &long]), &format!("ipcrm: name `{long}' too long\n"));
    refused(&ipcmk(&["-q"]), "ipcmk: name is required for POSIX IPC\nTry 'ipcmk --help' for more information.\n");
    refused(&ipcmk(&["-s", "-n", "/a/b"]), "ipcmk: create POSIX semaphore failed: Invalid argument\n");
    refused(&ipcmk(&["-Q", "-p", "10000"]), "ipcmk: failed to parse mode: '10000': Numerical result out of range\n");
    refused(&ipcrm(&[]), "ipcrm: bad usage\nTry 'ipcrm --help' for more information.\n");
}

/// Whoever makes an object chooses its name; the terminal of who removes it does not obey it. Elsewhere the bytes are
/// those of the original.
#[test]
fn a_name_does_not_write_to_the_terminal() {
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if !(mounted() && has_command("setsid") && Path::new("/dev/ptmx").exists()) {
        skip!("this machine does not let us mount file systems of our own, or has no pseudo-terminals");
    }
    let name = "\u{1b}[2Jhello";
    fs::write(format!("/dev/shm/{name}"), "").unwrap();
    let mut terminal = Pty::spawn(tieline(["ipcrm", "--compat=2.43", "-v", "-apshm", "--posix-shmem", name]));
    assert_eq!(code_of(terminal.exit_status()), 0, "{}", terminal.output());
    assert!(terminal.output().contains("`\\x1b[2Jhello'"), "{:?}", terminal.output());
    assert!(!terminal.output().contains('\u{1b}'), "{:?}", terminal.output());
    let mut terminal = Pty::spawn(tieline(["ipcrm", "--compat=2.43", "--posix-shmem", name]));
    assert_eq!(code_of(terminal.exit_status()), 1);
    assert!(!terminal.output().contains('\u{1b}'), "{:?}", terminal.output());
    refused(&ipcrm(&["--posix-shmem", name]), &format!("ipcrm: name `{name}' not found\n"));
}

#[test]
fn all_of_a_posix_family_are_removed() {
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    if !mounted() {
        skip!("this machine does not let us mount file systems of our own");
    }
    let left = || {
        let names = |folder: &str| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = names("/dev/shm").chain(names("/dev/mqueue")).collect();
        left.sort();
        left.into_iter().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    for name in ["/a", "/b"] {
        ipcmk(&["-m", "1", "-q", "-s", "-n", name]).well();
    }
    // No semaphore, and so not taken for one.
    fs::write("/dev/shm/sem.junk", "junk").unwrap();
    assert_eq!(ipcrm(&["-apshm"]).well().text(), "");
    assert_eq!(left(), ["a", "b", "sem.a", "sem.b", "sem.junk"]);
    ipcrm(&["-a=psem"]).well();
    assert_eq!(left(), ["a", "b", "sem.junk"]);
    assert!(ipcrm(&["-v", "--all=pmsg"]).well().text().contains("removing POSIX message queue `/a'\n"));
    assert_eq!(left(), ["sem.junk"]);
    refused(&ipcrm(&["--all=foo"]), "ipcrm: unknown argument: foo\n");
    // The older one has none of it.
    refused(&run(&["ipcrm", "-apshm"]), "ipcrm: unknown argument: pshm\n");
    ipcmk(&["-m", "1", "-q", "-s", "-n", "/c", "-Q", "-M", "1", "-S", "1"]).well();
    ipcrm(&["-a"]).well();
    assert_eq!(left(), ["sem.junk"]);
    assert!(run(&["ipcs", "-u"]).well().text().contains("allocated queues = 0\n"));
}
