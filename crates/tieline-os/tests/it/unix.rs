//! Unix sockets beyond the corner lines: binding among rivals, deaths, deadlines, foreign programs.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_os::unix::{
    Address, BindOptions, Credentials, Datagram, RecvOptions, SendOptions, SeqPacket, SeqPacketListener, Stream,
    StreamListener,
};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{PATIENCE, Peer, directory, eventually, has_command, role, skip, test_name, until};

const SHORT: Duration = Duration::from_millis(30);

fn place() -> (TempDir, PathBuf, Address) {
    let dir = directory();
    let path = dir.path().join("socket");
    let address = Address::path(&path).unwrap();
    (dir, path, address)
}

/// Waits until nobody has the socket: a process that another test starts has a copy until it runs its program.
fn is_dead(address: &Address) {
    eventually("the socket is dead", || Stream::connect(address).is_err_and(|error| error.is_peer_dead()));
}

/// Given a dead file and several processes that all bind it at once, then exactly one wins, the others are told that a
/// live process has it, and no lock file is left; again and again.
#[test]
fn of_many_binders_exactly_one_wins() {
    const PROCESSES: usize = 6;
    const ROUNDS: usize = 15;
    if let Some(me) = role() {
        for round in 0..ROUNDS {
            let address = Address::path(format!("{}/{round}", me.env("DIR"))).unwrap();
            me.wait_for("go");
            match StreamListener::bind_with(&address, BindOptions::new().keep_file(true)) {
                Ok(listener) => {
                    me.say("won");
                    me.wait_for("next");
                    drop(listener.try_accept().expect("the parent connected to the winner"));
                }
                Err(error) => {
                    me.say(&format!("{:?}", error.kind()));
                    me.wait_for("next");
                }
            }
        }
        return;
    }
    let dir = directory();
    let mut peers: Vec<Peer> =
        (0..PROCESSES).map(|_| Peer::of(test_name!()).role("binder").env("DIR", dir.path()).spawn()).collect();
    for round in 0..ROUNDS {
        let address = Address::path(dir.path().join(round.to_string())).unwrap();
        drop(StreamListener::bind_with(&address, BindOptions::new().keep_file(true)).unwrap());
        is_dead(&address);
        peers.iter_mut().for_each(|peer| peer.say("go"));
        let mut answers: Vec<String> = peers.iter_mut().map(Peer::hear).collect();
        drop(Stream::connect(&address).expect("the winner listens"));
        peers.iter_mut().for_each(|peer| peer.say("next"));
        answers.sort();
        let mut expected = vec!["AlreadyExists".to_owned(); PROCESSES - 1];
        expected.push("won".to_owned());
        assert_eq!(answers, expected, "round {round}");
    }
    peers.into_iter().for_each(Peer::succeeds);
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, ROUNDS, "only the sockets are left, which nobody removed");
}

/// Given a server killed by `kill -9`, then clients read the end at once, the file refuses, and the next bind takes it.
#[test]
fn a_killed_server_leaves_a_file_that_the_next_one_takes() {
    let socket = |me: &tieline_testkit::Role| Address::path(me.env("SOCKET")).unwrap();
    if let Some(me) = role() {
        let listener = StreamListener::bind(&socket(&me)).unwrap();
        me.say("listening");
        let _client = listener.accept().unwrap();
        me.say("accepted");
        me.wait_for("never");
        return;
    }
    let (_dir, path, address) = place();
    let mut server = Peer::of(test_name!()).role("server").env("SOCKET", &path).spawn();
    server.wait_for("listening");
    let client = Stream::connect(&address).unwrap();
    server.wait_for("accepted");
    server.kill();
    assert_eq!(client.recv_timeout(&mut [0; 4], PATIENCE).unwrap(), 0);
    assert_eq!(client.send(b"x").unwrap_err().kind(), ErrorKind::PeerGone);
    assert_eq!(Stream::connect(&address).unwrap_err().kind(), ErrorKind::PeerGone);
    let next = StreamListener::bind(&address).unwrap();
    let _client = Stream::connect(&address).unwrap();
    drop(next.accept().unwrap());
}

/// A socket that is bound and does not listen yet, or is of another type, counts as live; other files are left alone.
#[test]
fn only_dead_sockets_are_replaced() {
    let (_dir, path, address) = place();
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM);
    let bound = rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&bound, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    assert_eq!(StreamListener::bind(&address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    rustix::net::listen(&bound, 1).expect("its file is still there");
    drop(Stream::connect(&address).expect("and its own"));
    drop(bound);
    // A process that another test starts has a copy until it runs its program.
    let datagram = until("the socket is dead", || Datagram::bind(&address).ok());
    assert_eq!(StreamListener::bind(&address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(SeqPacketListener::bind(&address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(Stream::connect(&address).unwrap_err().errno(), Some(libc::EPROTOTYPE));
    drop(datagram);
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let error = StreamListener::bind(&address).unwrap_err();
    assert!(error.to_string().contains("no socket and is left alone"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert_eq!(StreamListener::bind(&address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let error = StreamListener::bind(&Address::path("/no/such/directory/socket").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/directory/socket"), "{error}");
}

/// The file is removed by drop only if it is the one that was made; the descriptor alone keeps it.
#[test]
fn drop_removes_its_own_file_only() {
    let (_dir, path, address) = place();
    let listener = StreamListener::bind(&address).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody else's").unwrap();
    drop(listener);
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();

    let fd = OwnedFd::from(StreamListener::bind(&address).unwrap());
    assert!(path.exists());
    let listener = StreamListener::from_fd(fd).unwrap();
    let _client = Stream::connect(&address).unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    assert!(path.exists(), "a listener taken over does not own the file");
}

/// The mode holds from the first moment: a watcher that looks as fast as it can never sees another.
#[test]
fn the_mode_holds_from_the_first_moment() {
    let dir = directory();
    for (name, mode) in [("a", Mode::OWNER), ("b", Mode::new(0o200).unwrap()), ("c", Mode::new(0o600).unwrap())] {
        let path = dir.path().join(name);
        let address = Address::path(&path).unwrap();
        let (seen, listener) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let start = Instant::now();
                loop {
                    match std::fs::symlink_metadata(&path) {
                        Ok(metadata) => break metadata.mode() & 0o777,
                        Err(_) => assert!(start.elapsed() < PATIENCE),
                    }
                }
            });
            let listener = StreamListener::bind_with(&address, BindOptions::new().mode(mode)).unwrap();
            (watcher.join().unwrap(), listener)
        });
        assert_eq!(seen, u32::from(mode.bits()));
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, u32::from(mode.bits()));
        drop(listener);
    }
}

/// A send with a deadline returns how much went; together with the rest, nothing is lost or doubled.
#[test]
fn deadlines_neither_lose_nor_double_bytes() {
    let (here, there) = Stream::pair().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut sent = 0;
    let mut timeouts = 0;
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut all = Vec::new();
            let mut buffer = vec![0; 70_001];
            loop {
                match there.recv_timeout(&mut buffer, SHORT) {
                    Ok(0) => break all,
                    Ok(len) => all.extend_from_slice(&buffer[..len]),
                    Err(error) => assert!(error.is_timeout(), "{error}"),
                }
            }
        });
        while sent < bytes.len() {
            match here.send_timeout(&bytes[sent..], Duration::from_micros(50)) {
                Ok(len) => sent += len,
                Err(error) => {
                    assert!(error.is_timeout(), "{error}");
                    timeouts += 1;
                }
            }
        }
        drop(here);
        reader.join().unwrap()
    });
    assert!(received == bytes, "{} of {} bytes, {timeouts} timeouts", received.len(), bytes.len());
}

/// The three faces do what their names say, also on a descriptor that somebody made non-blocking.
#[test]
fn faces_do_not_depend_on_the_shared_flag() {
    let (here, there) = Stream::pair().unwrap();
    let mut buffer = [0; 4];
    for nonblocking in [false, true] {
        rustix::io::ioctl_fionbio(&there, nonblocking).unwrap();
        assert!(there.try_recv(&mut buffer).unwrap_err().is_would_block());
        let start = Instant::now();
        assert!(there.recv_timeout(&mut buffer, SHORT).unwrap_err().is_timeout());
        assert!(start.elapsed() >= SHORT);
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| there.recv(&mut [0; 4]));
            here.send(b"x").unwrap();
            assert_eq!(receiving.join().unwrap().unwrap(), 1);
        });
        let flags = rustix::fs::fcntl_getfl(&there).unwrap();
        assert_eq!(flags.contains(rustix::fs::OFlags::NONBLOCK), nonblocking, "the flag is as it was");
    }
    let (one, _other) = SeqPacket::pair().unwrap();
    assert!(one.recv_timeout(&mut buffer, SHORT).unwrap_err().is_timeout());
    while one.try_send(&[0; 1000]).is_ok() {}
    assert!(one.send_timeout(&[0; 1000], SHORT).unwrap_err().is_timeout());
    let listener = StreamListener::bind(&Address::UNNAMED).unwrap();
    assert!(listener.accept_timeout(SHORT).unwrap_err().is_timeout());
    assert!(listener.try_accept().unwrap_err().is_would_block());
}

/// Every message can bring a pidfd of its sender; the sender's death is readable there.
#[test]
fn a_pidfd_comes_with_each_message() {
    if let Some(me) = role() {
        let stream = Stream::connect(&Address::path(me.env("SOCKET")).unwrap()).unwrap();
        stream.send(b"x").unwrap();
        me.wait_for("never");
        return;
    }
    let (_dir, path, address) = place();
    let listener = StreamListener::bind(&address).unwrap();
    let mut peer = Peer::of(test_name!()).role("client").env("SOCKET", &path).spawn();
    let stream = listener.accept_timeout(PATIENCE).unwrap();
    if let Err(error) = stream.set_pass_pidfd(true) {
        assert!(error.is_unsupported(), "{error}");
        skip!("this kernel has no SO_PASSPIDFD");
    }
    stream.set_pass_credentials(true).unwrap();
    // The message may have come before the options were on; the sender is attached nevertheless, or not at all.
    let mut buffer = [0; 4];
    let first = stream.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new()).unwrap();
    assert_eq!(first.len, 1);
    let (here, there) = Datagram::pair().unwrap();
    there.set_pass_pidfd(true).unwrap();
    here.send_with(&[IoSlice::new(b"y")], None, SendOptions::new().fds(&[here.as_fd()])).unwrap();
    let got = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new().max_fds(1)).unwrap();
    assert_eq!((got.fds.len(), got.control_truncated), (1, false));
    let pidfd = got.pidfd.expect("asked for");
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd)));
    assert!(info.unwrap().contains(&format!("Pid:\t{}\n", std::process::id())));
    peer.kill();
}

/// Peeking leaves the message; waiting for all fills the buffer; std's traits work.
#[test]
fn peek_wait_all_and_std_traits() {
    let (mut here, mut there) = Stream::pair().unwrap();
    here.write_all(b"hello ").unwrap();
    let mut buffer = [0; 11];
    let peeked = there.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new().peek()).unwrap();
    assert_eq!((peeked.len, there.unread_bytes().unwrap()), (6, 6));
    assert!(here.unsent_bytes().unwrap() > 0);
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (first, second) = buffer.split_at_mut(3);
            let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
            there.recv_with(&mut slices, RecvOptions::new().wait_all()).unwrap().len
        });
        assert_eq!(here.send_vectored(&[IoSlice::new(b"wo"), IoSlice::new(b"rld")]).unwrap(), 5);
        assert_eq!(receiving.join().unwrap(), 11);
    });
    assert_eq!(&buffer, b"hello world");
    drop(here);
    let mut rest = String::new();
    there.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let error = there.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// A descriptor of another sort is refused.
#[test]
fn foreign_descriptors_are_checked() {
    let (one, other) = SeqPacket::pair().unwrap();
    assert_eq!(Stream::from_fd(one.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Datagram::from_fd(other.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Stream::from_fd(File::open("/dev/null").unwrap().into()).unwrap_err().errno(), Some(libc::ENOTSOCK));
    let (one, _other) = Stream::pair().unwrap();
    assert!(StreamListener::from_fd(one.into()).unwrap_err().to_string().contains("does not listen"));
    let udp = tieline_os::udp::Socket::bind("127.0.0.1:0").unwrap();
    assert_eq!(Datagram::from_fd(udp.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A client and server written in another language: descriptors both ways, and credentials.
#[test]
fn python_understands_us() {
    if !has_command("python3") {
        skip!("python3 is not here");
    }
    let (_dir, path, address) = place();
    let listener = StreamListener::bind(&address).unwrap();
    let script = "import array, os, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.connect(sys.argv[1])
r, w = os.pipe()
socket.send_fds(s, [b'pipe'], [r, w])
data, control, flags, _ = s.recvmsg(64, 1024)
fds = array.array('i')
for level, kind, bytes in control:
    if kind == socket.SCM_RIGHTS: fds.frombytes(bytes)
    if kind == socket.SCM_CREDENTIALS: pid, uid, gid = struct.unpack('3i', bytes)
assert data == b'file', data
assert pid == os.getppid() and uid == os.geteuid(), (pid, uid)
assert os.read(fds[0], 64) == b'from the other process'
os.write(w, b'seen')
assert s.recv(1) == b''";
    let mut child = Command::new("python3").args(["-c", script]).arg(&path).stdin(Stdio::null()).spawn().unwrap();
    let stream = listener.accept_timeout(PATIENCE).unwrap();
    assert_eq!(stream.peer_credentials().unwrap(), Credentials { pid: Some(child.id()), ..Credentials::own() });
    let mut buffer = [0; 16];
    let got = stream.recv_with(&mut [IoSliceMut::new(&mut buffer)], RecvOptions::new().max_fds(2)).unwrap();
    assert_eq!((&buffer[..got.len], got.fds.len()), (&b"pipe"[..], 2));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from the other process").unwrap();
    let options = SendOptions::new().credentials(Credentials::own());
    stream.send_with(&[IoSlice::new(b"file")], options.fds(&[reader.as_fd()])).unwrap();
    let mut pipe = File::from(got.fds.into_iter().next().unwrap());
    let mut seen = [0; 4];
    pipe.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"seen");
    drop(stream);
    eventually("python is content", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}

/// Given a name that was made for a server, when one takes it over, then mode and name are those of the maker; what was
/// not there before is removed as ever.
#[test]
fn a_name_that_is_taken_over_keeps_its_mode_and_stays() {
    let dir = directory();
    let path = dir.path().join("made");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let address = Address::path(&path).unwrap();
    let take = BindOptions::new().take_over(true);
    drop(StreamListener::bind_with(&address, take).unwrap());
    assert!(!path.exists(), "nobody had made it");

    drop(StreamListener::bind_with(&address, BindOptions::new().keep_file(true)).unwrap());
    is_dead(&address);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let listener = StreamListener::bind_with(&address, take).unwrap();
    assert_eq!(mode(), 0o666);
    drop(listener);
    is_dead(&address);
    assert_eq!(mode(), 0o666);
    drop(StreamListener::bind_with(&address, take.mode(Mode::OWNER)).unwrap());
    is_dead(&address);
    assert_eq!(mode(), 0o600, "another mode was asked for");
    drop(StreamListener::bind(&address).unwrap());
    assert!(!path.exists(), "not taken over, but replaced");
}
