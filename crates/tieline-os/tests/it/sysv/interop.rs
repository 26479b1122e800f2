//! Objects made by util-linux or by a program on the C library, used by us, and the other way round.

use tieline_os::sysv::msg::{MessageQueue, Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Key, RemoveOnDrop};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{has_command, skip};

use super::{fresh_key, output, segment, set};

/// "Message queue id: 5" ends in the id.
fn made_by_ipcmk(arguments: &[&str]) -> Id {
    let line = output("ipcmk", arguments);
    Id::new(line.trim().rsplit(' ').next().and_then(|id| id.parse().ok()).expect("an id at the end"))
}

#[test]
fn what_ipcmk_makes_we_open_and_what_we_make_ipcrm_removes() {
    if !["ipcmk", "ipcrm", "ipcs"].into_iter().all(has_command) {
        skip!("util-linux's ipcmk, ipcrm and ipcs are not installed");
    }
    let queue = RemoveOnDrop::new(MessageQueue::from_id(made_by_ipcmk(&["-Q", "-p", "0640"])));
    let set = RemoveOnDrop::new(SemaphoreSet::from_id(made_by_ipcmk(&["-S", "3", "-p", "0604"])));
    let segment = RemoveOnDrop::new(Segment::from_id(made_by_ipcmk(&["-M", "5000", "-p", "0600"])));
    let (queue_stat, set_stat, segment_stat) = (queue.stat().unwrap(), set.stat().unwrap(), segment.stat().unwrap());
    assert_eq!(queue_stat.permissions.mode.bits(), 0o640);
    assert_eq!((set_stat.permissions.mode.bits(), set_stat.semaphores), (0o604, 3));
    assert_eq!((segment_stat.permissions.mode, segment_stat.len), (Mode::OWNER, 5000));
    assert_eq!(MessageQueue::open(queue_stat.permissions.key).unwrap(), *queue);
    assert_eq!(SemaphoreSet::open(set_stat.permissions.key).unwrap(), *set);
    assert_eq!(Segment::open(segment_stat.permissions.key).unwrap(), *segment);
    queue.send(1, b"hello").unwrap();
    set.operate(&[Operation::new(2, 9)]).unwrap();
    assert_eq!(segment.attach().unwrap().len(), 5000);

    let details = |family: &str, id: Id| output("ipcs", &[family, "-i", &id.to_string()]);
    let described = details("-q", queue.id());
    assert!(
        described.contains("cbytes=5") && described.contains("qnum=1") && described.contains("mode=0640"),
        "{described}"
    );
    let described = details("-s", set.id());
    assert!(described.contains("nsems = 3") && described.contains("mode=0604"), "{described}");
    let described = details("-m", segment.id());
    assert!(described.contains("bytes=5000") && described.contains("nattch=0"), "{described}");

    output("ipcrm", &["-q", &queue.id().to_string()]);
    output("ipcrm", &["-S", &set_stat.permissions.key.to_string()]);
    output("ipcrm", &["-M", &segment_stat.permissions.key.to_string()]);
    assert_eq!(queue.stat().unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(set.stat().unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(segment.stat().unwrap_err().kind(), ErrorKind::Removed);
}

/// Through the C library, by way of Python's foreign function interface.
#[test]
fn a_c_program_finds_the_same_key_and_exchanges_messages() {
    const PROGRAM: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.msgsnd.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
key, folder, queue, sems, shm = int(sys.argv[1], 16), sys.argv[2], *map(int, sys.argv[3:])
def done(result):
    assert result != -1, os.strerror(ctypes.get_errno())
    return result
assert done(libc.msgget(key, 0)) == queue
message = (42).to_bytes(ctypes.sizeof(ctypes.c_long), sys.byteorder) + b"from C"
done(libc.msgsnd(queue, message, 6, 0))
done(libc.semop(sems, (ctypes.c_short * 6)(0, -1, 0, 1, 4, 0), 2))
address = libc.shmat(shm, None, 0)
assert ctypes.string_at(address + 10, 9) == b"from Rust"
ctypes.memmove(address + 100, b"and back", 8)
print(libc.ftok(folder.encode(), ord("T")))
"#;
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    let key = fresh_key();
    let queue = RemoveOnDrop::new(MessageQueue::create(key, Mode::OWNER).unwrap());
    let (set, segment) = (set(&[1, 0]), segment(200));
    let memory = segment.attach().unwrap();
    memory.write(10, b"from Rust").unwrap();
    let ids = [queue.id(), set.id(), segment.id()].map(|id| id.to_string());
    let printed = output("python3", &["-c", PROGRAM, &key.to_string(), "/usr", &ids[0], &ids[1], &ids[2]]);

    let mut buffer = [0; 16];
    let message = queue.try_receive(Selector::Oldest, Oversized::Refuse, &mut buffer).unwrap();
    assert_eq!((message.message_type, &buffer[..message.len]), (42, &b"from C"[..]));
    assert_eq!(set.values().unwrap(), [0, 4]);
    memory.read(100, &mut buffer[..8]).unwrap();
    assert_eq!(&buffer[..8], b"and back");
    assert_eq!(printed.trim().parse().map(Key::new), Ok(Key::from_path("/usr", b'T').unwrap()));
}
