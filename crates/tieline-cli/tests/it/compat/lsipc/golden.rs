//! What `lsipc` says where no other one is needed to know it: the newer version's ways, and the two ways in which
//! ours differs on purpose.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tieline_os::Mode;
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::Key;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_testkit::{Isolation, Namespace, Peer, Pty, eventually, role, test_name};

use crate::support::{run, tieline, unique};

/// A name that a terminal would obey, and that is no UTF-8.
const ODD: &[u8] = b"red\x1b[31m\nline \xff";

/// Makes a segment in a process called [`ODD`], which stays. Answers it with the segment's id; `None` in the peer's
/// own run of the test.
fn odd_creator(test: &str) -> Option<(Peer, String)> {
    if let Some(role) = role() {
        let segment = Segment::create(Key::PRIVATE, 5000, Mode::OWNER).expect("a segment");
        role.say(&segment.id().to_string());
        panic!("not replaced: {}", Command::new("cat").arg0(OsStr::from_bytes(ODD)).exec());
    }
    if Namespace::enter(&[Namespace::Ipc], test) == Isolation::Done {
        return None;
    }
    let mut peer = Peer::of(test).role("creator").spawn();
    let id = peer.hear();
    let command_line = format!("/proc/{}/cmdline", peer.id());
    eventually("the peer has its name", || std::fs::read(&command_line).is_ok_and(|words| words.starts_with(ODD)));
    Some((peer, id))
}

#[test]
fn details_of_an_object_do_not_command_the_terminal() {
    let Some((peer, id)) = odd_creator(&test_name!()) else { return };
    let mut terminal = Pty::spawn(tieline(["lsipc", "-m", "-i", &id]));
    assert!(terminal.exit_status().success());
    let shown = terminal.output();
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert!(shown.contains(&format!("{:<36}red\\x1b[31m\\x0aline \\xff", "Creator command:")), "{shown}");
    // Through a pipe it is as the process chose it.
    let piped = run(&["lsipc", "-m", "-i", &id]).well();
    assert!(piped.out.windows(ODD.len()).any(|part| part == ODD), "{}", piped.out.escape_ascii());
    drop(peer);
}

#[test]
fn json_is_json_whatever_a_process_is_called() {
    let Some((peer, id)) = odd_creator(&test_name!()) else { return };
    let said = run(&["lsipc", "-m", "-J", "-o", "ID,COMMAND,SIZE"]).well();
    let document: serde_json::Value = serde_json::from_slice(&said.out).expect("JSON");
    let expected = serde_json::json!({ "id": id, "command": "red\u{1b}[31m\nline \u{fffd}", "size": "4.9K" });
    assert_eq!(document["sharedmemory"], serde_json::json!([expected]));
    drop(peer);
}

#[test]
fn the_newer_version_tells_the_limits_of_posix_queues_too() {
    if Namespace::enter(&[Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    for sizes in [2, 5] {
        SemaphoreSet::create(Key::PRIVATE, sizes, Mode::OWNER).expect("a set");
    }
    let columns = "RESOURCE,DESCRIPTION,LIMIT,USED,USE%";
    let old = run(&["lsipc", "-o", columns]).well();
    let new = run(&["lsipc", "--compat=2.43", "-o", columns]);
    assert_eq!(old.text(), OLD_LIMITS);
    assert_eq!(new.text(), NEW_LIMITS);
    if Path::new("/dev/mqueue").exists() {
        assert_eq!(new.err, "");
    } else {
        let advice = "Use 'mount -t mqueue none /dev/mqueue' to mount it.";
        assert_eq!(new.err, format!("lsipc: /dev/mqueue does not seem to be mounted. {advice}\n"));
    }
}

/// The limits of a new namespace. Of two sets with 2 and 5 semaphores, the second is counted like the first.
const OLD_LIMITS: &str = "\
RESOURCE DESCRIPTION                                              LIMIT USED  USE%
MSGMNI   Number of message queues                                 32000    0 0.00%
MSGMAX   Max size of message (bytes)                                 8K    -     -
MSGMNB   Default max size of queue (bytes)                          16K    -     -
SHMMNI   Shared memory segments                                    4096    0 0.00%
SHMALL   Shared memory pages                       18446744073692774399    0 0.00%
SHMMAX   Max size of shared memory segment (bytes)                  16E    -     -
SHMMIN   Min size of shared memory segment (bytes)                   1B    -     -
SEMMNI   Number of semaphore identifiers                          32000    2 0.01%
SEMMNS   Total number of semaphores                          1024000000    4 0.00%
SEMMSL   Max semaphores per semaphore set.                        32000    -     -
SEMOPM   Max number of operations per semop(2)                      500    -     -
SEMVMX   Semaphore max value                                      32767    -     -
";

const NEW_LIMITS: &str = "\
RESOURCE DESCRIPTION                                               LIMIT USED  USE%
MSGMNI   Number of System V message queues                         32000    0 0.00%
MSGMAX   Max size of System V message (bytes)                         8K    -     -
MSGMNB   Default max size of System V queue (bytes)                  16K    -     -
MQUMNI   Number of POSIX message queues                              256    0 0.00%
MQUMAX   Max size of POSIX message (bytes)                            8K    -     -
MQUMNB   Number of messages in POSIX message queue                    10    -     -
SHMMNI   Shared memory segments                                     4096    0 0.00%
SHMALL   Shared memory pages                        18446744073692774399    0 0.00%
SHMMAX   Max size of shared memory segment (bytes)                   16E    -     -
SHMMIN   Min size of shared memory segment (bytes)                    1B    -     -
SEMMNI   Number of semaphore identifiers                           32000    2 0.01%
SEMMNS   Total number of semaphores                           1024000000    7 0.00%
SEMMSL   Max semaphores per semaphore set.                         32000    -     -
SEMOPM   Max number of operations per semop(2)                       500    -     -
SEMVMX   Semaphore max value                                       32767    -     -
";

#[test]
fn the_newer_version_lists_posix_objects() {
    let name = unique("/tieline-lsipc");
    let bare = name.trim_start_matches('/');
    let mode = Mode::new(0o640).expect("nine bits");
    let memory = SharedMemory::create(&name, 5000, mode).expect("memory");
    let semaphore = NamedSemaphore::create(&name, 3, mode).expect("a semaphore");
    // Whatever the umask has taken off.
    for file in [bare.to_owned(), format!("sem.{bare}")] {
        let exactly = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(Path::new("/dev/shm").join(file), exactly).expect("ours");
    }

    let new = |arguments: &[&str]| run(&[&["lsipc", "--compat=2.43"], arguments].concat());
    let listed = new(&["-M", "-b", "-r", "-l", "--noheadings", "-N", bare]);
    assert_eq!((listed.code, listed.err.as_str()), (1, "lsipc: options --raw and --list cannot be combined\n"));
    let listed = new(&["-M", "-r", "--noheadings", "-N", bare, "-o", "NAME,PERMS"]).well();
    assert_eq!(listed.text(), format!("{bare} rw-r-----\n"));
    let details = new(&["-S", "-N", bare, "-P"]).well();
    let line = |label: &str, value: &str| format!("{label:<36}{value:<36}\n");
    assert!(details.text().starts_with(&line("Owner:", &owner())), "{}", details.text());
    assert!(details.text().contains(&line("Permissions:", "0640")), "{}", details.text());
    assert!(details.text().contains(&line("Name:", bare)), "{}", details.text());
    assert!(details.text().ends_with(&line("Value:", "3")), "{}", details.text());
    assert!(new(&["-M"]).well().text().contains(bare));

    SharedMemory::unlink(&name).expect("unlinked");
    NamedSemaphore::unlink(&name).expect("unlinked");
    let gone = new(&["-M", "-N", bare]);
    let complaint = format!("lsipc: shared memory segment {bare} not found\n");
    assert_eq!((gone.code, gone.text(), gone.err.as_str()), (0, "", complaint.as_str()));
    drop((memory, semaphore));
}

/// Who owns what this test makes.
fn owner() -> String {
    let out = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8(out.stdout).expect("a name").trim_end().to_owned()
}

#[test]
fn the_newer_help_knows_posix_objects_and_the_older_does_not() {
    let (old, new) = (run(&["lsipc", "--help"]).well(), run(&["lsipc", "--compat=2.43", "--help"]).well());
    for line in [
        " -N, --name <name>        POSIX resource identified by <name>\n",
        "\nGeneric POSIX columns:\n           NAME  ",
    ] {
        assert!(new.text().contains(line) && !old.text().contains(line), "{line}");
    }
    assert!(old.text().starts_with("\nUsage:\n lsipc [options]\n"), "{}", old.text());
    let unknown = run(&["lsipc", "-M"]);
    let complaint = "lsipc: invalid option -- 'M'\nTry 'lsipc --help' for more information.\n";
    assert_eq!((unknown.code, unknown.err.as_str()), (1, complaint));
}

#[test]
fn an_object_that_is_not_there_is_told_and_no_failure() {
    for version in ["--compat=2.38", "--compat=2.43"] {
        for kind in ["-m", "-q", "-s"] {
            let said = run(&["lsipc", version, kind, "-i", "2147483647"]);
            assert_eq!((said.code, said.text(), said.err.as_str()), (0, "", "lsipc: id 2147483647 not found\n"));
        }
    }
}
