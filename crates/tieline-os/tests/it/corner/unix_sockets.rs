//! Lines 17 to 36: Unix sockets.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_getfd};
use tempfile::TempDir;
use tieline_os::unix::{
    Address, BindOptions, Credentials, Datagram, RecvOptions, SendOptions, SeqPacket, SeqPacketListener, Stream,
    StreamListener,
};
use tieline_os::{ErrorKind, Mode, Packet};
use tieline_testkit::{Peer, directory, eventually, has_command, role, skip, skipped, test_name, unique_number, until};

const SHORT: Duration = Duration::from_millis(30);

/// An abstract name no other test of any process has.
pub(crate) fn unique() -> Address {
    Address::abstract_name(format!("tieline-test-{}", unique_number())).unwrap()
}

fn in_dir(dir: &TempDir, name: &str) -> (PathBuf, Address) {
    let path = dir.path().join(name);
    let address = Address::path(&path).unwrap();
    (path, address)
}

/// A socket file without a socket, as a killed process leaves it.
fn dead_file(address: &Address) {
    drop(StreamListener::bind_with(address, BindOptions::new().keep_file(true)).unwrap());
    // A process that another test starts at this moment has it until it runs its program.
    eventually("nobody has the socket", || Stream::connect(address).is_err_and(|error| error.is_peer_dead()));
}

fn text(buffer: &[u8], len: usize) -> &str {
    std::str::from_utf8(&buffer[..len]).unwrap()
}

fn is_cloexec(fd: impl AsFd) -> bool {
    fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)
}

/// Whether this pipe's read end sees the end, that is no copy of the write end is left anywhere.
fn all_closed(mut reader: &std::io::PipeReader) -> bool {
    rustix::io::ioctl_fionbio(reader, true).unwrap();
    matches!(reader.read(&mut [0]), Ok(0))
}

/// Given a socket file that a dead server left, when a client connects, then `ECONNREFUSED`; when one binds plainly,
/// then `EADDRINUSE`; when one binds as this crate does, the file is replaced; a live one's never.
#[test]
fn line017_a_dead_servers_path_refuses_and_is_replaced_only_if_dead() {
    let dir = directory();
    let (path, address) = in_dir(&dir, "server");
    dead_file(&address);

    let refused = Stream::connect(&address).unwrap_err();
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::PeerGone, Some(libc::ECONNREFUSED)));
    let taken = StreamListener::bind_with(&address, BindOptions::new().replace_dead(false)).unwrap_err();
    assert_eq!((taken.kind(), taken.errno()), (ErrorKind::AlreadyExists, Some(libc::EADDRINUSE)));

    let server = StreamListener::bind(&address).unwrap();
    let client = Stream::connect(&address).unwrap();
    let taken = StreamListener::bind(&address).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    assert!(taken.to_string().contains("a live process has it bound"), "{taken}");
    // The live one has not noticed anything: no connection but the client's.
    drop(server.try_accept().unwrap());
    assert!(server.try_accept().unwrap_err().is_would_block());
    drop((client, server));
    assert!(!path.exists());
}

/// Given a stream closed with bytes unread, when the peer reads, then `ECONNRESET`, not the end.
#[test]
fn line018_closing_with_unread_bytes_resets_the_peer() {
    let (here, there) = Stream::pair().unwrap();
    here.send(b"unread").unwrap();
    drop(there);
    let error = here.recv(&mut [0; 8]).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::ECONNRESET)));

    let (here, there) = Stream::pair().unwrap();
    drop(there);
    assert_eq!(here.recv(&mut [0; 8]).unwrap(), 0, "with nothing unread it is the plain end");
}

/// Given a full backlog, when one connects without waiting, then `EAGAIN` (not `EINPROGRESS`), and a backlog of 1 lets
/// two wait; when one connects with a deadline, it sleeps in the kernel until there is room or the time is up.
#[test]
fn line019_a_full_backlog_is_would_block_and_backlog_one_takes_two() {
    let name = unique();
    let listener = StreamListener::bind_with(&name, BindOptions::new().backlog(1)).unwrap();
    let _waiting = (Stream::try_connect(&name).unwrap(), Stream::try_connect(&name).unwrap());
    let full = Stream::try_connect(&name).unwrap_err();
    assert_eq!((full.kind(), full.errno()), (ErrorKind::WouldBlock, Some(libc::EAGAIN)));

    let start = Instant::now();
    assert!(Stream::connect_timeout(&name, SHORT).unwrap_err().is_timeout());
    assert!(start.elapsed() >= SHORT);

    std::thread::scope(|scope| {
        let (tell, tid) = std::sync::mpsc::channel();
        let third = scope.spawn(|| {
            let tell = tell;
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            Stream::connect_timeout(&name, tieline_testkit::PATIENCE)
        });
        let tid = tid.recv().unwrap();
        eventually("the third client sleeps", || tieline_testkit::sleeps(tid));
        let first = listener.accept().unwrap();
        let third = third.join().unwrap().unwrap();
        drop(listener.accept().unwrap());
        // The option that made it wait is gone again: a later receive waits as long as it likes.
        let last = listener.accept().unwrap();
        assert_eq!(rustix::net::sockopt::socket_timeout(&third, rustix::net::sockopt::Timeout::Send).unwrap(), None);
        last.send(b"x").unwrap();
        assert_eq!(third.recv(&mut [0; 4]).unwrap(), 1);
        drop(first);
    });
}

/// Given a bind without a name, then the kernel gives an abstract one of five hex digits; abstract names are counted by
/// length, NULs and all.
#[test]
fn line020_binding_no_name_gives_five_hex_digits_and_nul_bytes_count() {
    let listener = StreamListener::bind(&Address::UNNAMED).unwrap();
    let name = listener.local_address().unwrap();
    let digits = name.as_abstract().expect("an abstract name");
    assert_eq!(digits.len(), 5, "{name}");
    assert!(digits.iter().all(u8::is_ascii_hexdigit), "{name}");
    drop(Stream::connect(&name).unwrap());

    let base = unique();
    let with = |end: &[u8]| Address::abstract_name([base.as_abstract().unwrap(), end].concat()).unwrap();
    let (plain, one, two) = (with(b""), with(b"\0"), with(b"\0\0"));
    let listeners = [&plain, &one, &two].map(|name| StreamListener::bind(name).unwrap());
    for (name, listener) in [&plain, &one, &two].into_iter().zip(&listeners) {
        assert_eq!(&listener.local_address().unwrap(), name);
        let client = Stream::connect(name).unwrap();
        assert_eq!(&client.peer_address().unwrap(), name);
        drop(listener.try_accept().expect("the client is at this very listener"));
    }
    assert_eq!(StreamListener::bind(&one).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

/// Runs this test again, alone, under `unshare` with these options; `false` if the machine does not let us.
fn again_under(options: &[&str], test: &str, word: &str) -> bool {
    let mut options = options.to_vec();
    if !rustix::process::geteuid().is_root() && !options.contains(&"--user") {
        options.extend(["--user", "--map-root-user"]);
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(&options);
        command
    };
    if !has_command("unshare") || !unshare().arg("true").output().is_ok_and(|out| out.status.success()) {
        return false;
    }
    let me = std::env::current_exe().unwrap();
    let mut again = unshare();
    again.arg(me).args([test, "--exact", "--nocapture"]).env(INSIDE, word);
    // A second report of the same test would only be miscounted, or come in the middle of a line of the first.
    let status = again.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "failed inside: {status}");
    true
}

/// What [`again_under`] said, in the process it started.
fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

const INSIDE: &str = "TIELINE_TEST_UNIX_INSIDE";

/// Given an abstract name, when connected to from another network namespace, then `ECONNREFUSED`, while a path is
/// reached from there; and an abstract name has no permissions: fchmod of its socket keeps nobody out.
#[test]
fn line021_abstract_names_stay_in_their_network_namespace() {
    if let Some(file) = inside() {
        let name = Address::abstract_name(&file).unwrap();
        assert_eq!(Stream::connect(&name).unwrap_err().errno(), Some(libc::ECONNREFUSED));
        drop(Stream::connect(&Address::path(&file).unwrap()).unwrap());
        // The same name is free here.
        drop(StreamListener::bind(&name).unwrap());
        return;
    }
    let dir = directory();
    let (path, address) = in_dir(&dir, "s");
    let name = Address::abstract_name(path.to_str().unwrap()).unwrap();
    let at_path = StreamListener::bind(&address).unwrap();
    let at_name = StreamListener::bind_with(&name, BindOptions::new().mode(Mode::new(0).unwrap())).unwrap();
    drop(Stream::connect(&name).unwrap());
    drop(at_name.try_accept().unwrap());
    if !again_under(&["--net"], &test_name!(), path.to_str().unwrap()) {
        skip!("this machine does not let us make a network namespace");
    }
    assert!(at_name.try_accept().unwrap_err().is_would_block());
    drop(at_path.try_accept().unwrap());
}

/// Given a path longer than 107 bytes, then binding and connecting work all the same, by way of `/proc/self/fd`; only a
/// file name that is itself too long is refused, clearly.
#[test]
fn line022_long_directories_work_and_long_file_names_are_refused() {
    let dir = directory();
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join("socket");
    let address = Address::path(&path).unwrap();
    let listener = StreamListener::bind_with(&address, BindOptions::new().mode(Mode::OWNER)).unwrap();
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let client = Stream::connect(&address).unwrap();
    let server = listener.accept().unwrap();
    client.send(b"far").unwrap();
    assert_eq!(server.recv(&mut [0; 8]).unwrap(), 3);
    assert_eq!(StreamListener::bind(&address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(listener);
    assert!(!path.exists());
    dead_file(&address);
    let receiver = Datagram::bind(&address).expect("the dead file is replaced here, too");
    Datagram::unbound().unwrap().send_to(b"far", &address).unwrap();
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap().len, 3);

    let name = dir.path().join("n".repeat(200));
    let error = StreamListener::bind(&Address::path(&name).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("last part of this path has 200"), "{error}");
    // The longest name the kernel takes directly, and one more.
    for len in [107, 108] {
        let Some(padding) = usize::checked_sub(len, dir.path().as_os_str().len() + 2).filter(|left| *left > 10) else {
            return skipped(&test_name!(), "temporary files are so deep here that no socket in them has a short name");
        };
        let path = dir.path().join("p".repeat(padding - 10)).join("123456789");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let path = path.with_file_name("1".repeat(len - path.parent().unwrap().as_os_str().len() - 1));
        assert_eq!(path.as_os_str().len(), len);
        let address = Address::path(&path).unwrap();
        let listener = StreamListener::bind(&address).unwrap();
        drop(Stream::connect(&address).unwrap());
        drop(listener.accept().unwrap());
    }
}

/// Given a message longer than the buffer, when received, then the rest is dropped, this is told, and the next receive
/// gets the next message.
#[test]
fn line023_a_short_buffer_cuts_one_message_only() {
    let (here, there) = SeqPacket::pair().unwrap();
    here.send(b"long message").unwrap();
    here.send(b"next").unwrap();
    let mut buffer = [0; 4];
    let cut = there.recv(&mut buffer).unwrap().unwrap();
    assert_eq!((cut, cut.is_truncated(), text(&buffer, cut.len)), (Packet { len: 4, full_len: 12 }, true, "long"));
    assert_eq!(there.recv(&mut buffer).unwrap(), Some(Packet { len: 4, full_len: 4 }));
    assert_eq!(text(&buffer, 4), "next");

    let (here, there) = Datagram::pair().unwrap();
    here.send(b"long message").unwrap();
    here.send(b"again too long").unwrap();
    here.send(b"next").unwrap();
    let cut = there.recv(&mut buffer).unwrap();
    assert_eq!((cut, cut.is_truncated()), (Packet { len: 4, full_len: 12 }, true));
    let cut = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new()).unwrap();
    assert_eq!((cut.len, cut.truncated), (4, true));
    assert_eq!(there.recv(&mut buffer).unwrap(), Packet { len: 4, full_len: 4 });
}

/// Given a sequenced-packet socket, when an empty message or the end comes, then both are 0 bytes and Linux sets no
/// flag (not even `MSG_EOR`, measured on 6.18, against what the list says); our answer tells them apart nevertheless,
/// by the credentials that only messages have: also for a foreign sender that never asked for any.
#[test]
fn line024_an_empty_message_is_not_the_end() {
    let ends = |receiver: &SeqPacket, after: &mut dyn FnMut()| {
        let mut buffer = [0; 4];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), Some(Packet { len: 0, full_len: 0 }));
        assert_eq!(receiver.recv(&mut []).unwrap(), Some(Packet { len: 0, full_len: 0 }));
        after();
        let last = receiver.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new()).unwrap();
        assert_eq!(last.expect("the third empty message").len, 0);
        assert_eq!(receiver.recv(&mut buffer).unwrap(), None);
        assert_eq!(receiver.try_recv(&mut buffer).unwrap(), None, "the end stays the end");
    };
    let (here, there) = SeqPacket::pair().unwrap();
    for _ in 0..3 {
        here.send(b"").unwrap();
    }
    let mut here = Some(here);
    ends(&there, &mut || drop(here.take()));

    // A sender that knows nothing of credentials: a plain socket.
    let name = unique();
    let listener = SeqPacketListener::bind(&name).unwrap();
    let foreign = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let raw = rustix::net::SocketAddrUnix::new_abstract_name(name.as_abstract().unwrap()).unwrap();
    rustix::net::connect(&foreign, &raw).unwrap();
    for _ in 0..3 {
        rustix::net::send(&foreign, b"", rustix::net::SendFlags::empty()).unwrap();
    }
    let server = listener.accept().unwrap();
    let mut foreign = Some(foreign);
    ends(&server, &mut || drop(foreign.take()));

    // Taken over by descriptor.
    let (one, other) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    for _ in 0..3 {
        rustix::net::send(&one, b"", rustix::net::SendFlags::empty()).unwrap();
    }
    let mut one = Some(one);
    ends(&SeqPacket::from_fd(other).unwrap(), &mut || drop(one.take()));
}

/// Given a receiver that does not read, when an unconnected sender sends, then `net.unix.max_dgram_qlen` + 1 messages
/// are queued and the next one waits; between a connected pair only the sender's buffer counts. Nothing is dropped.
/// A send with a deadline waits asleep, although the sender cannot be polled for the receiver's queue.
#[test]
fn line025_a_full_datagram_queue_makes_the_sender_wait() {
    let name = unique();
    let receiver = Datagram::bind(&name).unwrap();
    let sender = Datagram::unbound().unwrap();
    let mut queued = 0_u32;
    let error = loop {
        match sender.try_send_to(&queued.to_ne_bytes(), &name) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_would_block(), "{error}");
    let limit: u32 = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    assert_eq!(queued, limit + 1);
    let start = Instant::now();
    let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    assert!(sender.send_to_timeout(b"late", &name, Duration::from_millis(200)).unwrap_err().is_timeout());
    let after = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    assert!(start.elapsed() >= Duration::from_millis(200));
    let used = Duration::try_from(after).unwrap() - Duration::try_from(before).unwrap();
    assert!(used < Duration::from_millis(100), "waited busily: {used:?} of processor time");

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.send_to_timeout(b"late", &name, tieline_testkit::PATIENCE));
        let mut buffer = [0; 8];
        for number in 0..queued {
            assert_eq!(receiver.recv(&mut buffer).unwrap().len, 4);
            assert_eq!(buffer[..4], number.to_ne_bytes());
        }
        waiting.join().unwrap().unwrap();
        assert_eq!(receiver.recv(&mut buffer).unwrap().len, 4);
        assert_eq!(&buffer[..4], b"late");
    });

    let (here, there) = Datagram::pair().unwrap();
    let mut sent = 0_u32;
    while here.try_send(&sent.to_ne_bytes()).is_ok() {
        sent += 1;
    }
    assert!(sent > limit + 1, "{sent} messages");
    let mut buffer = [0; 4];
    for number in 0..sent {
        there.recv(&mut buffer).unwrap();
        assert_eq!(u32::from_ne_bytes(buffer), number);
    }
    assert!(there.try_recv(&mut buffer).unwrap_err().is_would_block());
}

/// Given a message of more than the send buffer less 32 bytes, when sent, then `EMSGSIZE`; a larger buffer takes it, and
/// 1 MiB needs the privilege to pass the system's limit.
#[test]
fn line026_a_message_must_fit_the_send_buffer_less_32_bytes() {
    let (here, there) = Datagram::pair().unwrap();
    let buffer = here.set_send_buffer_bytes(8192).unwrap();
    assert_eq!(buffer, 16384, "the kernel doubles it");
    here.try_send(&vec![1; buffer - 32]).unwrap();
    let error = here.try_send(&vec![1; buffer - 31]).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, Some(libc::EMSGSIZE)));
    assert!(error.to_string().contains("send buffer less 32"), "{error}");
    assert_eq!(there.recv(&mut [0; 32768]).unwrap().len, buffer - 32);

    let (here, there) = SeqPacket::pair().unwrap();
    let mebibyte = vec![7; 1 << 20];
    assert_eq!(here.send(&mebibyte).unwrap_err().kind(), ErrorKind::TooLarge);
    match here.force_send_buffer_bytes(1 << 20) {
        Ok(now) => {
            assert_eq!(now, 2 << 20);
            here.send(&mebibyte).unwrap();
            let mut got = vec![0; 1 << 20];
            assert_eq!(there.recv(&mut got).unwrap().unwrap().len, 1 << 20);
            assert_eq!(got, mebibyte);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            skip!("a send buffer beyond net.core.wmem_max needs CAP_NET_ADMIN");
        }
    }
}

/// Given descriptors sent in the middle of a stream, then bytes sent before may come in the same receive, bytes sent
/// after never do.
#[test]
fn line027_bytes_before_descriptors_may_merge_and_bytes_after_never() {
    let (here, there) = Stream::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    here.send(b"A").unwrap();
    here.send_with(&[IoSlice::new(b"B")], SendOptions::new().fds(&[null.as_fd()])).unwrap();
    here.send(b"C").unwrap();
    let mut buffer = [0; 8];
    let options = RecvOptions::new().max_fds(4);
    let first = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], options).unwrap();
    assert_eq!((text(&buffer, first.len), first.fds.len()), ("AB", 1));
    let second = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], options).unwrap();
    assert_eq!((text(&buffer, second.len), second.fds.len()), ("C", 0));
    assert!(!first.control_truncated && !second.control_truncated);
}

/// Given descriptors on a stream without a byte, then the kernel takes the call and delivers nothing, so we refuse it;
/// message sockets carry descriptors with an empty message.
#[test]
fn line028_descriptors_on_a_stream_need_a_byte() {
    let (here, there) = Stream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let error = here.send_with(&[], SendOptions::new().fds(&[writer.as_fd()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("at least one byte"), "{error}");
    let empty = [IoSlice::new(b""), IoSlice::new(b"")];
    assert!(here.send_with(&empty, SendOptions::new().fds(&[writer.as_fd()])).is_err());

    // What the kernel does with it, without us.
    let fds = [writer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let sent = rustix::net::sendmsg(&here, &[], &mut control, rustix::net::SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, 0);
    let received = there.try_recv_with(&mut [IoSliceMut::new(&mut [0; 4])], RecvOptions::new().max_fds(4));
    assert!(received.unwrap_err().is_would_block());
    drop(writer);
    eventually("the descriptor is nowhere", || all_closed(&reader));

    let (here, there) = SeqPacket::pair().unwrap();
    here.send_with(&[], SendOptions::new().fds(&[reader.as_fd()])).unwrap();
    let got = there.recv_with(&mut [], RecvOptions::new().max_fds(1)).unwrap().expect("a message");
    assert_eq!((got.len, got.fds.len()), (0, 1));
}

/// Given more descriptors than the receiver asked for, then it gets as many as it asked, this is told, and the surplus
/// is closed: nothing leaks. A plain receive gets the bytes and closes all.
#[test]
fn line029_surplus_descriptors_are_closed_and_told() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (here, there) = Stream::pair().unwrap();
    there.set_pass_credentials(true).unwrap();
    let five = [writer.as_fd(); 5];
    for max_fds in 0..=5 {
        here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&five)).unwrap();
        let mut buffer = [0; 4];
        let options = RecvOptions::new().max_fds(max_fds);
        let got = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], options).unwrap();
        assert_eq!((got.len, got.fds.len(), got.control_truncated), (1, max_fds, max_fds < 5));
        assert_eq!(got.credentials.map(|credentials| credentials.pid), Some(Some(std::process::id())));
        for fd in &got.fds {
            fcntl_getfd(fd).expect("kept descriptors are open");
        }
    }
    here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&five)).unwrap();
    assert_eq!(there.recv(&mut [0; 4]).unwrap(), 1);
    let (one, other) = SeqPacket::pair().unwrap();
    one.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&five)).unwrap();
    assert_eq!(other.recv(&mut [0; 4]).unwrap().map(|packet| packet.len), Some(1));
    drop(writer);
    eventually("no copy of the writer is open", || all_closed(&reader));
}

/// Given 254 descriptors in one message, then we refuse before the kernel would say `EINVAL`; 253 go. Given more on
/// their way than `RLIMIT_NOFILE`, an unprivileged sender gets `ETOOMANYREFS`.
#[test]
fn line030_253_descriptors_go_and_254_do_not() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if inside().is_some() {
        // In a user namespace, so without any privilege that the kernel asks for here; alone in this process.
        let limit = Rlimit { current: Some(40), maximum: Some(40) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let (here, there) = SeqPacket::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let many = [null.as_fd(); 30];
        let send = || here.try_send_with(&[], SendOptions::new().fds(&many));
        let error = (0..50).find_map(|_| send().err()).expect("more than 40 cannot be on their way");
        assert_eq!((error.kind(), error.errno()), (ErrorKind::LimitReached, Some(libc::ETOOMANYREFS)), "{error}");
        // Once received they are not on their way any more. More than we may open are cut, and told.
        let got = there.recv_with(&mut [], RecvOptions::new().max_fds(253)).unwrap().expect("a message");
        assert!(!got.fds.is_empty() && got.fds.len() <= 30);
        assert_eq!(got.control_truncated, got.fds.len() < 30);
        return;
    }
    if role().is_none() {
        // In a process of its own, which may open as many as it can.
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    if maximum.is_some_and(|maximum| maximum < 300) {
        skip!("a process may open {maximum:?} descriptors here at most");
    }
    let (here, there) = Stream::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    let many = vec![null.as_fd(); 254];
    let error = here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&many)).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, None));
    assert!(error.to_string().contains("254") && error.to_string().contains("253"), "{error}");
    assert_eq!(SendOptions::MAX_FDS, 253);
    here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&many[..253])).unwrap();
    let options = RecvOptions::new().max_fds(usize::MAX);
    let got = there.recv_with(&mut [IoSliceMut::new(&mut [0; 4])], options).unwrap();
    assert_eq!((got.fds.len(), got.control_truncated), (253, false));
    drop(got);
    if !again_under(&["--user", "--map-current-user"], &test_name!(), "yes") {
        skip!("this machine does not let us make a user namespace, to send without privilege");
    }
}

/// Given descriptors that were received, accepted, paired, cloned or opened, then all are close-on-exec.
#[test]
fn line031_every_descriptor_is_close_on_exec() {
    let name = unique();
    let listener = StreamListener::bind(&name).unwrap();
    let client = Stream::connect(&name).unwrap();
    let server = listener.accept().unwrap();
    client.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&[client.as_fd(), client.as_fd()])).unwrap();
    let got = server.recv_with(&mut [IoSliceMut::new(&mut [0; 4])], RecvOptions::new().max_fds(2)).unwrap();
    assert_eq!(got.fds.len(), 2);
    assert!(got.fds.iter().all(is_cloexec));
    assert!(is_cloexec(&listener) && is_cloexec(&client) && is_cloexec(&server));
    assert!(is_cloexec(client.try_clone().unwrap()));
    let (one, other) = SeqPacket::pair().unwrap();
    assert!(is_cloexec(&one) && is_cloexec(&other));
    assert!(is_cloexec(Datagram::unbound().unwrap()));
    match server.peer_pidfd() {
        Ok(pidfd) => assert!(is_cloexec(&pidfd)),
        Err(error) => assert!(error.is_unsupported(), "{error}"),
    }
}

/// Given descriptors in flight when the only sockets that could receive them are closed, even in a cycle, then the
/// kernel closes them.
#[test]
fn line032_descriptors_in_flight_are_collected_even_in_a_cycle() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (here, there) = Stream::pair().unwrap();
    here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&[writer.as_fd()])).unwrap();
    drop((here, there, writer));
    eventually("the plain one is closed", || all_closed(&reader));

    let (reader, writer) = std::io::pipe().unwrap();
    let (here, there) = Stream::pair().unwrap();
    // Each end lies in the other's queue, and the pipe with them.
    let (to_there, to_here) = ([here.as_fd(), writer.as_fd()], [there.as_fd(), writer.as_fd()]);
    here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&to_there)).unwrap();
    there.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&to_here)).unwrap();
    drop((here, there, writer));
    eventually("the cycle is collected", || {
        // The kernel collects when sockets are closed.
        drop(Stream::pair().unwrap());
        all_closed(&reader)
    });
}

/// Given a socket that asks for credentials, then every message has them, unasked by the sender, with the process id as
/// seen in the receiver's pid namespace: none if the sender is not visible there.
#[test]
fn line033_credentials_come_unasked_with_the_receivers_view_of_the_pid() {
    if let Some(path) = inside() {
        // In a pid namespace of our own, from which the sender cannot be seen.
        let server = Stream::connect(&Address::path(path).unwrap()).unwrap();
        server.set_pass_credentials(true).unwrap();
        server.send(b"go").unwrap();
        let got = server.recv_with(&mut [IoSliceMut::new(&mut [0; 8])], RecvOptions::new()).unwrap();
        assert_eq!(got.credentials.expect("always there").pid, None);
        assert_eq!(server.peer_credentials().unwrap().pid, None);
        return;
    }
    let own = Credentials::own();
    let (here, there) = Datagram::pair().unwrap();
    there.set_pass_credentials(true).unwrap();
    for message in [&b"one"[..], b"", b"three"] {
        here.send(message).unwrap();
        let got = there.recv_with(&mut [IoSliceMut::new(&mut [0; 8])], RecvOptions::new()).unwrap();
        assert_eq!((got.len, got.credentials), (message.len(), Some(own)));
    }
    // Claimed ones are checked.
    here.send_with(&[IoSlice::new(b"x")], None, SendOptions::new().credentials(own)).unwrap();
    let got = there.recv_with(&mut [IoSliceMut::new(&mut [0; 8])], RecvOptions::new()).unwrap();
    assert_eq!(got.credentials, Some(own));
    if !rustix::process::geteuid().is_root() {
        let false_ones = Credentials { uid: own.uid + 1, ..own };
        let error = here.send_with(&[IoSlice::new(b"x")], None, SendOptions::new().credentials(false_ones));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    there.set_pass_credentials(false).unwrap();
    here.send(b"x").unwrap();
    let got = there.recv_with(&mut [IoSliceMut::new(&mut [0; 8])], RecvOptions::new()).unwrap();
    assert_eq!(got.credentials, None);

    let dir = directory();
    let (path, address) = in_dir(&dir, "s");
    let listener = StreamListener::bind(&address).unwrap();
    let allowed = std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let client = listener.accept_timeout(tieline_testkit::PATIENCE)?;
            client.recv(&mut [0; 8])?;
            client.send(b"hello")
        });
        let options = ["--pid", "--fork", "--kill-child"];
        let allowed = again_under(&options, &test_name!(), path.to_str().unwrap());
        if !allowed {
            drop(Stream::connect(&address).unwrap());
        }
        let answered = answering.join().unwrap();
        assert!(!allowed || answered.is_ok(), "{answered:?}");
        allowed
    });
    if !allowed {
        skip!("this machine does not let us make a pid namespace");
    }
}

/// Given a connection, then the peer's credentials are those at connect time, whatever became of the process since (it
/// execs, changes its user, dies); its pidfd is no number that could be reused, and tells of its death.
#[test]
fn line034_peer_credentials_are_of_the_moment_of_connecting() {
    if let Some(me) = role() {
        let _stream = Stream::connect(&Address::path(me.env("SOCKET")).unwrap()).unwrap();
        me.say("connected");
        me.wait_for("never");
        return;
    }
    let dir = directory();
    let (path, address) = in_dir(&dir, "s");
    let listener = StreamListener::bind(&address).unwrap();
    let mut peer = Peer::of(test_name!()).role("client").env("SOCKET", &path).spawn();
    peer.wait_for("connected");
    let stream = listener.accept().unwrap();
    let expected = Credentials { pid: Some(peer.id()), ..Credentials::own() };
    assert_eq!(stream.peer_credentials().unwrap(), expected);
    let mut groups = stream.peer_groups().unwrap();
    let mut ours: Vec<u32> =
        rustix::process::getgroups().unwrap().into_iter().map(rustix::process::Gid::as_raw).collect();
    groups.sort_unstable();
    ours.sort_unstable();
    assert_eq!(groups, ours);
    let pidfd = stream.peer_pidfd();
    if let Ok(pidfd) = &pidfd {
        assert!(!readable(pidfd, Duration::ZERO), "the peer lives");
    }
    peer.kill();
    assert_eq!(stream.peer_credentials().unwrap(), expected);
    assert_eq!(stream.recv(&mut [0; 4]).unwrap(), 0, "its death ends the stream");
    if let Ok(pidfd) = &pidfd {
        assert!(readable(pidfd, tieline_testkit::PATIENCE), "the pidfd tells of the death");
    }

    if !has_command("python3") {
        skip!("python3 is not here, which would connect, change its user, and exec");
    }
    let script = "import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.set_inheritable(True)
try:
    if os.geteuid() == 0: os.setuid(65534)
except OSError: pass  # no such user in this sandbox
os.execvp('cat', ['cat'])";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).expect("cat answers, so the exec is done");
    let stream = listener.accept().unwrap();
    assert_eq!(stream.peer_credentials().unwrap(), Credentials { pid: Some(child.id()), ..Credentials::own() });
    drop(child.stdin.take());
    child.wait().unwrap();
    if let Err(error) = pidfd {
        assert!(error.is_unsupported(), "{error}");
        skip!("this kernel has no SO_PEERPIDFD");
    }
}

fn readable(fd: impl AsFd, within: Duration) -> bool {
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec::try_from(within).unwrap();
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
}

/// Given a receiver that refuses descriptors, when some are sent, then the sender gets `EPERM`; bytes still go.
#[test]
fn line035_a_receiver_may_refuse_descriptors() {
    let (here, there) = Stream::pair().unwrap();
    if let Err(error) = there.set_pass_rights(false) {
        assert!(error.is_unsupported(), "{error}");
        skip!("this kernel has no SO_PASSRIGHTS: {error}");
    }
    let fds = [here.as_fd()];
    let error = here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&fds)).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PermissionDenied, Some(libc::EPERM)));
    assert!(error.to_string().contains("does not take descriptors"), "{error}");
    here.send(b"x").unwrap();
    assert_eq!(there.recv(&mut [0; 4]).unwrap(), 1);
    there.set_pass_rights(true).unwrap();
    here.send_with(&[IoSlice::new(b"x")], SendOptions::new().fds(&fds)).unwrap();
}

/// Given one direction shut down, then the peer reads the end while the other direction lives; sending there is
/// `PeerGone`, without `SIGPIPE`. Given a datagram receiver that is gone, then sending to it is `ECONNREFUSED`; on a
/// datagram socket `ECONNRESET` comes only when the connected socket turns to another with messages unread (not
/// when it closes: measured on 6.18).
#[test]
fn line036_shutting_down_one_half_leaves_the_other() {
    let (here, there) = Stream::pair().unwrap();
    here.send(b"last").unwrap();
    here.shutdown(Shutdown::Write).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(there.recv(&mut buffer).unwrap(), 4);
    assert_eq!(there.recv(&mut buffer).unwrap(), 0);
    there.send(b"answer").unwrap();
    assert_eq!(here.recv(&mut buffer).unwrap(), 6);
    let error = here.send(b"more").unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::EPIPE)));

    let (here, there) = SeqPacket::pair().unwrap();
    here.shutdown(Shutdown::Write).unwrap();
    assert_eq!(there.recv(&mut buffer).unwrap(), None);
    there.send(b"answer").unwrap();
    assert_eq!(here.recv(&mut buffer).unwrap().map(|packet| packet.len), Some(6));

    let dir = directory();
    let (_, address) = in_dir(&dir, "receiver");
    let receiver = Datagram::bind_with(&address, BindOptions::new().keep_file(true)).unwrap();
    let sender = Datagram::unbound().unwrap();
    sender.connect(&address).unwrap();
    sender.send(b"x").unwrap();
    drop(receiver);
    // As above, a process that is just being started may still have it.
    let refusal = until("the receiver is gone", || sender.try_send(b"x").err().filter(|error| !error.is_would_block()));
    assert_eq!(refusal.errno(), Some(libc::ECONNREFUSED));
    let receiving = unique();
    let _receiving = Datagram::bind(&receiving).unwrap();
    let other = Datagram::unbound().unwrap();
    let error = other.send_to(b"x", &address).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::ECONNREFUSED)));

    let (here, there) = Datagram::pair().unwrap();
    here.send(b"unread").unwrap();
    drop(there);
    let refusal = until("the other end is gone", || here.try_send(b"x").err().filter(|error| !error.is_would_block()));
    assert_eq!(refusal.errno(), Some(libc::ECONNREFUSED));
    assert!(here.try_recv(&mut buffer).unwrap_err().is_would_block(), "receiving does not tell");

    // The reset comes when the other end turns to somebody else.
    let (here, there) = Datagram::pair().unwrap();
    here.send(b"unread").unwrap();
    there.connect(&receiving).unwrap();
    assert_eq!(here.recv_timeout(&mut buffer, tieline_testkit::PATIENCE).unwrap_err().errno(), Some(libc::ECONNRESET));
    assert!(here.try_recv(&mut buffer).unwrap_err().is_would_block(), "it is told once");
}
