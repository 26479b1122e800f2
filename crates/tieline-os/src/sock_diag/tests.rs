//! Dumps of bytes that no kernel would send, and of some that it does.

use proptest::collection::vec;
use proptest::prelude::*;

use super::inet::Protocol;
use super::*;

fn reply(bodies: &[Vec<u8>]) -> Reply {
    let mut bytes = Vec::new();
    for body in bodies {
        bytes.extend(u32::try_from(netlink::HEADER + body.len()).unwrap().to_ne_bytes());
        bytes.extend(BY_FAMILY.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(netlink::ALIGNMENT), 0);
    }
    Reply { bytes, is_consistent: true }
}

fn attribute(number: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + content.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(netlink::ALIGNMENT), 0);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn a_listener_of_unix_sockets_is_read_whole() {
    let mut body = vec![1, 1, 10, 0];
    body.extend(words(&[77, 0, 0]));
    body.extend(attribute(0, b"\0odd\0name\n"));
    body.extend(attribute(1, &words(&[5, 8 << 20 | 3])));
    body.extend(attribute(3, &words(&[91, 92])));
    body.extend(attribute(4, &words(&[3, 2])));
    body.extend(attribute(5, &words(&[0, 1000, 0, 2000, 0, 0, 0, 0, 4])));
    body.extend(attribute(7, &words(&[1234])));
    body.extend(attribute(999, b"from a later kernel"));
    let dump = UnixDump::new(reply(&[body]));
    let sockets: Vec<UnixSocket<'_>> = dump.iter().collect();
    let [socket] = sockets.as_slice() else { panic!("{sockets:?}") };
    assert_eq!((socket.kind, socket.state, socket.inode), (UnixKind::Stream, State::Listen, 77));
    assert_eq!(socket.name, Some(b"\0odd\0name\n".as_slice()));
    assert_eq!(socket.file, Some((rustix::fs::makedev(8, 3), 5)));
    assert_eq!(socket.pending.iter().collect::<Vec<_>>(), [91, 92]);
    assert_eq!((socket.receive_queue, socket.send_queue, socket.uid), (Some(3), Some(2), Some(1234)));
    let memory = socket.memory.unwrap();
    assert_eq!((memory.receive_max, memory.send_max, memory.drops), (1000, 2000, 4));
}

#[test]
fn a_minor_number_of_twenty_bits_is_kept() {
    let mut body = vec![1, 1, 10, 0];
    body.extend(words(&[77, 0, 0]));
    body.extend(attribute(1, &words(&[5, 0x3_4567])));
    let dump = UnixDump::new(reply(&[body]));
    assert_eq!(dump.iter().next().unwrap().file, Some((rustix::fs::makedev(0, 0x3_4567), 5)));
}

proptest! {
    #[test]
    fn any_message_gives_a_socket_or_none(
        bodies in vec(vec(any::<u8>(), 0..200), 0..5),
        family in prop_oneof![Just(1_u8), Just(2), Just(10)],
        kind in 0..7_u8,
    ) {
        let shaped: Vec<Vec<u8>> = bodies.into_iter().map(|body| [vec![family, kind], body].concat()).collect();
        let count = shaped.len();
        for socket in UnixDump::new(reply(&shaped)).iter() {
            prop_assert!(socket.pending.iter().count() < 60);
        }
        prop_assert!(InetDump::of_netlink(reply(&shaped), Protocol::Tcp).iter().count() <= count);
        prop_assert!(VsockDump::new(reply(&shaped)).iter().count() <= count);
    }

    #[test]
    fn any_bytes_end(bytes in vec(any::<u8>(), 0..500)) {
        let reply = || Reply { bytes: bytes.clone(), is_consistent: true };
        prop_assert!(UnixDump::new(reply()).iter().count() <= bytes.len());
        prop_assert!(InetDump::of_netlink(reply(), Protocol::Udp).iter().count() <= bytes.len());
    }
}

#[test]
fn a_family_without_a_module_is_not_supported() {
    assert!(refused(-libc::ENOENT).is_unsupported());
    assert!(refused(-libc::EOPNOTSUPP).is_unsupported());
    assert_eq!(refused(-libc::ENOMEM).kind(), ErrorKind::OutOfMemory);
    assert_eq!(refused(i32::MIN).errno(), Some(libc::EIO));
}

/// A monitor whose kernel is the other end of a pair of sockets.
fn monitor_of(script: impl FnOnce(&std::os::unix::net::UnixDatagram) + Send + 'static) -> Monitor {
    let (ours, kernel) = std::os::unix::net::UnixDatagram::pair().unwrap();
    std::thread::spawn(move || script(&kernel));
    Monitor { fd: ours.into(), sequence: 0 }
}

/// The number of the next question.
fn asked(kernel: &std::os::unix::net::UnixDatagram) -> u32 {
    let mut question = [0; 256];
    let len = kernel.recv(&mut question).unwrap();
    netlink::u32_at(&question[..len], 8).unwrap()
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(netlink::HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(netlink::ALIGNMENT), 0);
    bytes
}

fn unix_body(inode: u32) -> Vec<u8> {
    [vec![1, 1, 7, 0], words(&[inode, 0, 0])].concat()
}

#[test]
fn a_dump_that_was_interrupted_is_asked_for_again() {
    let mut monitor = monitor_of(|kernel| {
        let first = asked(kernel);
        kernel.send(&message(BY_FAMILY, netlink::DUMP_INTERRUPTED, first, &unix_body(1))).unwrap();
        kernel.send(&message(netlink::DONE, netlink::DUMP_INTERRUPTED, first, &words(&[0]))).unwrap();
        let second = asked(kernel);
        assert_ne!(first, second);
        kernel.send(&message(netlink::DONE, 0, first, &words(&[0]))).unwrap();
        kernel.send(&message(BY_FAMILY, 0, second, &unix_body(2))).unwrap();
        kernel.send(&message(BY_FAMILY, 0, second, &unix_body(3))).unwrap();
        kernel.send(&message(netlink::DONE, 0, second, &words(&[0]))).unwrap();
    });
    let dump = monitor.unix().unwrap();
    assert!(dump.is_consistent());
    assert_eq!(dump.iter().map(|socket| socket.inode).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_dump_that_is_interrupted_each_time_is_taken_and_said_to_be() {
    let mut monitor = monitor_of(|kernel| {
        for _ in 0..ATTEMPTS_MAX {
            let sequence = asked(kernel);
            let answer = message(BY_FAMILY, netlink::DUMP_INTERRUPTED, sequence, &unix_body(1));
            let end = message(netlink::DONE, 0, sequence, &words(&[0]));
            kernel.send(&[answer, end].concat()).unwrap();
        }
    });
    let dump = monitor.unix().unwrap();
    assert!(!dump.is_consistent());
    assert_eq!(dump.iter().count(), 1);
}

#[test]
fn a_refusal_is_an_error_wherever_it_comes() {
    let mut monitor = monitor_of(|kernel| {
        let sequence = asked(kernel);
        kernel
            .send(&message(netlink::ERROR, 0, sequence, &words(&[libc::ENOENT.wrapping_neg().cast_unsigned()])))
            .unwrap();
        let sequence = asked(kernel);
        kernel.send(&message(BY_FAMILY, 0, sequence, &unix_body(1))).unwrap();
        kernel
            .send(&message(netlink::DONE, 0, sequence, &words(&[libc::ENOMEM.wrapping_neg().cast_unsigned()])))
            .unwrap();
    });
    assert!(monitor.unix().unwrap_err().is_unsupported());
    assert_eq!(monitor.unix().unwrap_err().kind(), ErrorKind::OutOfMemory);
}

#[test]
fn an_answer_longer_than_the_room_for_it_is_an_error() {
    let mut monitor = monitor_of(|kernel| {
        let sequence = asked(kernel);
        kernel.send(&message(BY_FAMILY, 0, sequence, &vec![1; 2 * ANSWER_BYTES])).unwrap();
    });
    assert_eq!(monitor.unix().unwrap_err().kind(), ErrorKind::TooLarge);
}
