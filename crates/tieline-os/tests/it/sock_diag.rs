//! Socket monitoring, compared with what the sockets themselves say.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use tieline_os::sock_diag::{InetSocket, Monitor, State, UnixDump, UnixKind, UnixSocket, proc_net};
use tieline_testkit::{eventually, skip};

fn inode(socket: impl AsFd) -> u32 {
    rustix::fs::fstat(socket).unwrap().st_ino.try_into().unwrap()
}

fn of<'a>(dump: &'a UnixDump, socket: impl AsFd) -> UnixSocket<'a> {
    let inode = inode(socket);
    dump.iter().find(|told| told.inode == inode).expect("it is listed")
}

macro_rules! monitor {
    () => {
        match Monitor::open() {
            Ok(monitor) => monitor,
            Err(error) => skip!("{error}"),
        }
    };
}

#[test]
fn a_pair_tells_of_each_other_and_of_what_waits() {
    use std::io::Write;
    let mut monitor = monitor!();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(&[0; 5000]).unwrap();
    let dump = monitor.unix().unwrap();
    let (one, other) = (of(&dump, &ours), of(&dump, &theirs));
    assert_eq!((one.kind, one.state, one.name), (UnixKind::Stream, State::Established, None));
    assert_eq!((one.peer, other.peer), (Some(other.inode), Some(one.inode)));
    assert_eq!((one.receive_queue, other.receive_queue), (Some(0), Some(5000)));
    assert!(one.send_queue.unwrap() >= 5000);
    let memory = one.memory.unwrap();
    assert_eq!(memory.send_used, one.send_queue.unwrap());
    assert!(memory.send_max > memory.send_used);
    assert_eq!(one.uid, Some(rustix::process::geteuid().as_raw()));
}

#[test]
fn a_listener_tells_its_file_its_backlog_and_who_waits() {
    let mut monitor = monitor!();
    let directory = tieline_testkit::directory();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 7).unwrap();
    let clients = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
    let dump = monitor.unix().unwrap();
    let told = of(&dump, &listener);
    assert_eq!((told.state, told.receive_queue, told.send_queue), (State::Listen, Some(2), Some(7)));
    assert_eq!(told.name, Some(path.as_os_str().as_encoded_bytes()));
    let file = std::fs::metadata(&path).unwrap();
    #[allow(clippy::cast_possible_truncation, reason = "the kernel tells the low half")]
    let expected = (file.dev(), file.ino() as u32);
    assert_eq!(told.file, Some(expected));
    assert_eq!(told.pending.iter().collect::<Vec<_>>(), clients.each_ref().map(inode));
    let waiting = of(&dump, &clients[0]);
    assert_eq!((waiting.peer, waiting.shut), (Some(0), (false, false)));

    let (accepted, _) = listener.accept().unwrap();
    let dump = monitor.unix().unwrap();
    assert_eq!(of(&dump, &clients[0]).peer, Some(inode(&accepted)));
    assert_eq!(of(&dump, &accepted).name, Some(path.as_os_str().as_encoded_bytes()));
    drop(accepted);
    // A process that another test starts has it until it runs its program.
    eventually("the peer is gone", || {
        let dump = monitor.unix().unwrap();
        let left = of(&dump, &clients[0]);
        (left.peer, left.shut) == (Some(0), (true, true))
    });
}

#[test]
fn an_abstract_name_of_odd_bytes_comes_whole() {
    let mut monitor = monitor!();
    let name = [b"tieline\0\n\x1b[2J\xff".as_slice(), std::process::id().to_string().as_bytes(), b"\0"].concat();
    let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect_addr(&receiver.local_addr().unwrap()).unwrap();
    let dump = monitor.unix().unwrap();
    assert_eq!(of(&dump, &receiver).name, Some([b"\0", name.as_slice()].concat().as_slice()));
    assert_eq!(of(&dump, &receiver).peer, None);
    assert_eq!((of(&dump, &sender).kind, of(&dump, &sender).peer), (UnixKind::Datagram, Some(inode(&receiver))));
}

/// Given connections over IPv4 and IPv6, then the monitor and the text files tell the same addresses, states and queues.
#[test]
fn tcp_is_told_alike_by_the_monitor_and_by_proc() {
    use std::io::Write;
    let mut monitor = monitor!();
    let me = std::process::id();
    for address in [(Ipv4Addr::LOCALHOST, 0).into(), std::net::SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
        let Ok(listener) = TcpListener::bind(address) else { skip!("this machine has no {address}") };
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"12345").unwrap();
        let find = |sockets: Vec<InetSocket>, wanted| {
            sockets.into_iter().find(|told| told.inode == wanted).expect("it is listed")
        };
        eventually("the bytes come", || {
            find(monitor.tcp().unwrap().iter().collect(), inode(&server)).receive_queue == 5
        });
        let mut told = find(monitor.tcp().unwrap().iter().collect(), inode(&server));
        assert_eq!((told.local, told.remote), (server.local_addr().unwrap(), client.local_addr().ok()));
        assert_eq!((told.state, told.tcp.unwrap().received_bytes), (State::Established, 5));
        assert!(told.memory.unwrap().receive_max > 0);
        assert!(proc_net::tcp_sockets(me).unwrap() >= 3);
        let waiting = find(monitor.tcp().unwrap().iter().collect(), inode(&listener));
        assert_eq!((waiting.state, waiting.remote), (State::Listen, None));
        assert!(waiting.send_queue > 0, "the backlog");

        let text = find(proc_net::tcp(me).unwrap().iter().collect(), inode(&server));
        (told.memory, told.tcp) = (None, None);
        assert_eq!(told, text);
    }
}

#[test]
fn udp_is_told_alike_by_the_monitor_and_by_proc() {
    let mut monitor = monitor!();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let dump = match monitor.udp() {
        Err(error) if error.is_unsupported() => skip!("{error}"),
        dump => dump.unwrap(),
    };
    let text = proc_net::udp(std::process::id()).unwrap();
    for (socket, remote, state) in
        [(&sender, receiver.local_addr().ok(), State::Established), (&receiver, None, State::Close)]
    {
        let mut told = dump.iter().find(|told| told.inode == inode(socket)).unwrap();
        assert_eq!((told.local, told.remote, told.state), (socket.local_addr().unwrap(), remote, state));
        assert_eq!(told.tcp, None);
        let text = text.iter().find(|told| told.inode == inode(socket)).unwrap();
        told.memory = None;
        assert_eq!(told, text);
    }
}

#[test]
fn proc_tells_kind_state_and_name_of_unix_sockets() {
    let directory = tieline_testkit::directory();
    let path = directory.path().join("a name with blanks");
    let listener = UnixListener::bind(&path).unwrap();
    let (one, _other) = UnixDatagram::pair().unwrap();
    let dump = proc_net::unix(std::process::id()).unwrap();
    assert!(!dump.has_peers());
    let told = of(&dump, &listener);
    assert_eq!((told.kind, told.state, told.peer), (UnixKind::Stream, State::Listen, None));
    assert_eq!(told.name, Some(path.as_os_str().as_encoded_bytes()));
    assert_eq!((of(&dump, &one).kind, of(&dump, &one).name), (UnixKind::Datagram, None));
    let nobody = proc_net::unix(u32::MAX).unwrap_err();
    assert_eq!(nobody.kind(), tieline_os::ErrorKind::NotFound);
}

#[test]
fn a_netlink_socket_of_a_program_is_told() {
    use rustix::net::{AddressFamily, SocketType, bind, netlink::SocketAddrNetlink, socket};
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
    let others = proc_net::others(std::process::id()).unwrap();
    let told = others.iter().find(|told| told.inode == u64::from(inode(&socket))).expect("it is listed");
    assert_eq!(told.protocol, "NETLINK_ROUTE");
}
