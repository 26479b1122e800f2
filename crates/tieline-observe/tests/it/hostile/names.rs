//! Names that are made to deceive: they arrive as the bytes that they are.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tieline_observe::Snapshot;
use tieline_observe::model::{Identity, Kind, Object, ProcessState, Text};
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, MemfdOptions};
use tieline_os::posix::shm::SharedMemory;
use tieline_os::unix::{Address, StreamListener};
use tieline_os::{Mode, fifo};
use tieline_testkit::{Isolation, Namespace, Peer, eventually, role, skip, test_name};

use super::{look, mount};

/// What a terminal would obey, what a table would break at, what is no text, and what the kernel itself appends.
const HOSTILE: [&[u8]; 6] = [
    b"line\nbreak",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xff\xfe invalid \xc3\x28",
    b"real (deleted)",
    b"tab\tand\\134back",
    "\u{202e}reversed\u{200b}".as_bytes(),
];

fn identity(file: impl AsFd) -> Identity {
    let status = File::from(file.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap();
    Identity::File { device: status.dev(), inode: status.ino() }
}

fn named<'s>(snapshot: &'s Snapshot, identity: Identity, kind: Kind, name: &[u8]) -> &'s Object {
    let object = snapshot.object_with(identity).unwrap_or_else(|| panic!("{} was not found", name.escape_ascii()));
    assert_eq!(object.kind, kind, "{}", name.escape_ascii());
    let told = object.name.as_ref().map_or(b"".as_slice(), Text::as_bytes);
    assert_eq!(told.escape_ascii().to_string(), name.escape_ascii().to_string(), "{object:?}");
    object
}

#[test]
fn names_of_objects_are_the_bytes_that_they_are() {
    let test = test_name!();
    if Namespace::enter(&[Namespace::Ipc, Namespace::Mount], &test) == Isolation::Done {
        return;
    }
    if !mount(&["-t", "tmpfs", "none", "/dev/shm"]) {
        skip!("this machine does not let us mount a /dev/shm");
    }
    let directory = tempfile::tempdir().unwrap();
    for hostile in HOSTILE {
        let path = |what: &[u8]| directory.path().join(OsStr::from_bytes(&[what, hostile].concat()));
        let pipe = path(b"fifo ");
        fifo::create(&pipe, Mode::OWNER).unwrap();
        let (pipe_end, _) = fifo::open_both(&pipe).unwrap();
        let mapped = path(b"mapped ");
        let file = File::options().read(true).write(true).create_new(true).open(&mapped).unwrap();
        file.set_len(4096).unwrap();
        let mapping = Mapping::of(&file, &MapOptions::new()).unwrap();
        let listening = path(b"socket ");
        let listener = UnixListener::bind(&listening).unwrap();
        let abstract_name = [b"abstract\0", hostile].concat();
        let address = Address::abstract_name(&abstract_name).unwrap();
        let unreal = StreamListener::bind(&address).unwrap();
        let name = OsString::from_vec([b"/", hostile].concat());
        // As most libraries make it: made under its name, so that the kernel knows that name ever after.
        let shared_path = std::path::Path::new("/dev/shm").join(OsStr::from_bytes(hostile));
        let shared = File::options().read(true).write(true).create_new(true).open(shared_path).unwrap();
        shared.set_len(4096).unwrap();
        let shared_mapping = Mapping::of(&shared, &MapOptions::new()).unwrap();
        let memory_name = String::from_utf8_lossy(hostile).into_owned();
        let memory = Memfd::create(&memory_name, &MemfdOptions::new()).unwrap();
        memory.set_len(4096).unwrap();
        let memory_mapping = memory.map(&MapOptions::new()).unwrap();

        let check = |is_removed: bool| {
            let snapshot = look();
            named(&snapshot, identity(&pipe_end), Kind::Fifo, pipe.as_os_str().as_bytes());
            named(&snapshot, identity(&file), Kind::File, mapped.as_os_str().as_bytes());
            named(&snapshot, identity(&shared), Kind::PosixShm, name.as_bytes());
            named(&snapshot, identity(&memory), Kind::Memfd, memory_name.as_bytes());
            let socket = |file: &dyn AsFd| {
                let Identity::File { inode, .. } = identity(file.as_fd()) else { unreachable!() };
                Identity::Socket { inode }
            };
            named(&snapshot, socket(&listener), Kind::UnixStream, listening.as_os_str().as_bytes());
            let abstract_name = [b"@", abstract_name.as_slice()].concat();
            named(&snapshot, socket(&unreal), Kind::UnixStream, &abstract_name);
            let shared = snapshot.object_with(identity(&shared)).unwrap();
            let tieline_observe::model::Detail::Memory(memory) = &shared.detail else { panic!("{shared:?}") };
            assert_eq!(memory.is_unlinked, is_removed, "{}", hostile.escape_ascii());
        };
        check(false);
        SharedMemory::unlink(&name).unwrap();
        std::fs::remove_file(&pipe).unwrap();
        std::fs::remove_file(&mapped).unwrap();
        check(true);
        drop((mapping, shared_mapping, memory_mapping));
    }
}

#[test]
fn names_of_processes_are_the_bytes_that_they_are() {
    let test = test_name!();
    if let Some(me) = role() {
        std::fs::write("/proc/self/comm", std::env::var_os("COMM").unwrap().as_bytes()).unwrap();
        me.say("renamed");
        me.wait_for("end");
        return;
    }
    for hostile in HOSTILE {
        let mut command = Command::new("sleep");
        command.arg0(OsStr::from_bytes(hostile)).arg("60").stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        eventually("the child is what it becomes", || {
            std::fs::read(format!("/proc/{}/cmdline", child.id())).is_ok_and(|line| line.starts_with(hostile))
        });
        let snapshot = look();
        let process = snapshot.process_with_pid(child.id()).expect("the child was found");
        let command: Vec<&[u8]> = process.command.iter().map(Text::as_bytes).collect();
        assert_eq!(command, [hostile, b"60"]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Names that look like what follows the name in `/proc/PID/stat`.
    for name in [b") R 1 (x".as_slice(), b"x) Z 0 0 0", b"\n\x1b[2J", b"\xff\xfe", b"((((", b"))))", b" "] {
        let mut peer = Peer::of(&test).role("renamed").env("COMM", OsStr::from_bytes(name)).spawn();
        peer.wait_for("renamed");
        let Ok(leader) = std::fs::read(format!("/proc/{}/task/{0}/comm", peer.id())) else { skip!("no comm") };
        let leader = leader.strip_suffix(b"\n").unwrap_or(&leader);
        let snapshot = look();
        let process = snapshot.process_with_pid(peer.id()).expect("the peer was found");
        assert_eq!(process.name.as_bytes().escape_ascii().to_string(), leader.escape_ascii().to_string());
        assert_eq!(process.parent, std::process::id());
        assert!(!matches!(process.state, ProcessState::Zombie | ProcessState::Other), "{process:?}");
        assert_eq!(process.uid, Some(rustix::process::geteuid().as_raw()));
        peer.say("end");
        peer.succeeds();
    }
}
