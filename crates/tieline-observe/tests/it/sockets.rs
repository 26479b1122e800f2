//! Sockets: peers, listeners, names, addresses, of this network namespace and of others.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener, UnixStream};
use std::process::Command;

use tieline_observe::Snapshot;
use tieline_observe::model::{
    Detail, Identity, InetSocket, Kind, LinkKind, NamespaceKind, Object, SocketState, Unit, UnixSocket, UnseenWhat,
    UnseenWhy,
};
use tieline_testkit::{
    Isolation, Namespace, Peer, can_run_as, eventually, has_command, role, skip, tells_true_devices, test_name,
};

use super::{has_link, look, namespace, namespace_of, object};

fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

fn socket(snapshot: &Snapshot, socket: impl AsFd) -> &Object {
    object(snapshot, Identity::Socket { inode: inode(socket) })
}

fn unix_detail(object: &Object) -> &UnixSocket {
    let Detail::Unix(detail) = &object.detail else { panic!("{object:?}") };
    detail
}

fn inet_detail(object: &Object) -> &InetSocket {
    let Detail::Inet(detail) = &object.detail else { panic!("{object:?}") };
    detail
}

fn is_peer(snapshot: &Snapshot, one: &Object, other: &Object) -> bool {
    let (low, high) = if one.reference < other.reference { (one, other) } else { (other, one) };
    has_link(snapshot, low, high, LinkKind::Peer)
}

/// Whether the kernel could be asked for the peers of Unix sockets here.
fn has_monitor() -> bool {
    tieline_os::sock_diag::Monitor::open().and_then(|mut monitor| monitor.unix()).is_ok()
}

fn set_up_loopback() -> bool {
    Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success())
}

#[test]
fn the_ends_of_a_stream_are_joined_and_what_waits_is_told() {
    if !has_monitor() {
        skip!("this kernel has no socket monitoring");
    }
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.write_all(&[7; 5000]).unwrap();
    let snapshot = look();
    let (from, to) = (socket(&snapshot, &writer), socket(&snapshot, &reader));
    assert_eq!((from.kind, unix_detail(from).state), (Kind::UnixStream, SocketState::Connected));
    assert!(is_peer(&snapshot, from, to));
    assert_eq!(snapshot.peer(from.reference), Some(to.reference));
    assert_eq!((unix_detail(to).receive_queue, unix_detail(from).receive_queue), (5000, 0));
    let fill = to.fill.unwrap();
    assert!(fill.used >= 5000 && fill.capacity.unwrap() > fill.used && fill.unit == Unit::Bytes, "{fill:?}");
    assert_eq!(from.fill.unwrap().used, 0);
    assert_eq!(to.owner.unwrap().uid, rustix::process::geteuid().as_raw());
    assert_eq!(to.namespace, Some(namespace_of(std::process::id(), "net")));
}

/// Small messages take far more memory than they are long: a writer waits though few bytes are in the queue, and the
/// socket is told to be full.
#[test]
fn a_socket_whose_writer_waits_is_full() {
    if !has_monitor() {
        skip!("this kernel has no socket monitoring");
    }
    let (writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while (&writer).write(b"x").is_ok() {}
    let snapshot = look();
    let full = socket(&snapshot, &reader);
    assert!(full.fill.unwrap().used >= full.fill.unwrap().capacity.unwrap(), "{full:?}");
}

#[test]
fn clients_that_wait_at_a_listener_are_tied_to_it() {
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    if !has_monitor() {
        skip!("this kernel has no socket monitoring");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 5).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
    let accepted_client = UnixStream::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    let snapshot = look();
    let bound = socket(&snapshot, &listener);
    assert_eq!(unix_detail(bound).state, SocketState::Listening);
    assert_eq!(unix_detail(bound).backlog, Some((1, 5)));
    let fill = bound.fill.unwrap();
    assert_eq!((fill.used, fill.capacity, fill.unit), (1, Some(5), Unit::Connections));
    assert_eq!(bound.name.as_ref().unwrap().as_bytes(), path.as_os_str().as_encoded_bytes());
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!(unix_detail(bound).file, Some((file.dev(), file.ino())));
    assert_eq!(bound.mode, Some(0o620));
    let client = socket(&snapshot, &waiting);
    assert!(has_link(&snapshot, client, bound, LinkKind::Pending));
    assert_eq!(unix_detail(client).state, SocketState::Connecting);
    let (one, other) = (socket(&snapshot, &accepted_client), socket(&snapshot, &server));
    assert!(is_peer(&snapshot, one, other) && !has_link(&snapshot, one, bound, LinkKind::Pending));
    assert_eq!(other.mode, None, "a connection is not what the file's mode is about");
}

#[test]
fn a_datagram_socket_sends_in_one_direction() {
    if !has_monitor() {
        skip!("this kernel has no socket monitoring");
    }
    let name = [b"tieline\0 odd \n\x1b[2J\xff".as_slice(), std::process::id().to_string().as_bytes()].concat();
    let receiver = UnixDatagram::bind_addr(&unix::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect_addr(&receiver.local_addr().unwrap()).unwrap();
    let (one, other) = UnixDatagram::pair().unwrap();
    let snapshot = look();
    let (from, to) = (socket(&snapshot, &sender), socket(&snapshot, &receiver));
    assert!(has_link(&snapshot, from, to, LinkKind::SendsTo) && !is_peer(&snapshot, from, to));
    assert_eq!(to.name.as_ref().unwrap().as_bytes(), [b"@", name.as_slice()].concat());
    assert!(!to.name.as_ref().unwrap().to_string().contains(['\n', '\x1b']));
    assert_eq!((unix_detail(from).state, unix_detail(to).state), (SocketState::Connected, SocketState::Unconnected));
    assert!(is_peer(&snapshot, socket(&snapshot, &one), socket(&snapshot, &other)));
}

/// Given a server whose file was taken away and whose path a second server bound, then both have the path and differ in
/// their files, and only who can be reached has the file's mode.
#[test]
fn two_servers_of_one_path_are_told_apart() {
    if !tells_true_devices() {
        skip!("files of the temporary directory have other numbers than in the kernel's lists");
    }
    if !has_monitor() {
        skip!("this kernel has no socket monitoring");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    let first = UnixListener::bind(&path).unwrap();
    let kept = directory.path().join("kept");
    std::fs::rename(&path, &kept).unwrap();
    let second = UnixListener::bind(&path).unwrap();
    let snapshot = look();
    let (lost, reached) = (socket(&snapshot, &first), socket(&snapshot, &second));
    assert_eq!(lost.name, reached.name);
    assert_ne!(unix_detail(lost).file, unix_detail(reached).file);
    assert_eq!((lost.mode.is_some(), reached.mode.is_some()), (false, true));
}

#[test]
fn the_ends_of_tcp_are_joined_also_between_the_families() {
    for (bound, reached) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
        let Ok(listener) = TcpListener::bind(bound) else { skip!("this machine has no {bound}") };
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect((reached, port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        let waiting = TcpStream::connect((reached, port)).unwrap();
        client.write_all(b"12345").unwrap();
        eventually("the bytes come", || server.peek(&mut [0; 5]).is_ok_and(|count| count == 5));
        let snapshot = look();
        let (one, other) = (socket(&snapshot, &client), socket(&snapshot, &server));
        assert!(is_peer(&snapshot, one, other), "{one:?} {other:?}");
        assert_eq!(inet_detail(one).local, client.local_addr().unwrap());
        assert_eq!((inet_detail(one).state, inet_detail(other).receive_queue), (SocketState::Connected, 5));
        let served = socket(&snapshot, &listener);
        assert_eq!((inet_detail(served).state, inet_detail(served).remote), (SocketState::Listening, None));
        assert_eq!(served.fill.map(|fill| (fill.used, fill.unit)), Some((1, Unit::Connections)));
        assert!(has_link(&snapshot, socket(&snapshot, &waiting), served, LinkKind::Pending));
        assert!(!has_link(&snapshot, one, served, LinkKind::Pending));
    }
}

#[test]
fn udp_is_joined_in_one_direction_or_both() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    let snapshot = look();
    let (from, to) = (socket(&snapshot, &sender), socket(&snapshot, &receiver));
    assert!(has_link(&snapshot, from, to, LinkKind::SendsTo) && !is_peer(&snapshot, from, to));
    assert_eq!((from.kind, inet_detail(to).state), (Kind::Udp, SocketState::Unconnected));
    assert!(is_peer(&snapshot, socket(&snapshot, &one), socket(&snapshot, &other)));
}

/// Given the same two addresses of the loopback in two network namespaces, then each pair is joined with itself.
#[test]
fn the_loopback_of_another_namespace_is_another() {
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let client = TcpStream::connect("127.0.0.1:5000").unwrap();
        let (server, _) = listener.accept().unwrap();
        // The TCP client's port is the kernel's choice; these two have the very same addresses in both namespaces.
        let one = UdpSocket::bind("127.0.0.1:5001").unwrap();
        one.connect("127.0.0.1:5002").unwrap();
        let other = UdpSocket::bind("127.0.0.1:5002").unwrap();
        other.connect("127.0.0.1:5001").unwrap();
        (listener, client, server, one, other)
    };
    if let Some(me) = role() {
        assert!(set_up_loopback());
        let (_listener, client, server, one, other) = pair();
        me.say(&format!("{} {} {} {}", inode(&client), inode(&server), inode(&one), inode(&other)));
        me.wait_for("end");
        return;
    }
    if !has_command("ip") {
        skip!("it takes the program ip");
    }
    if Namespace::enter(&[Namespace::Net], &test_name!()) == Isolation::Done {
        return;
    }
    assert!(set_up_loopback());
    let (_listener, client, server, one, other) = pair();
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Net]).spawn();
    let inodes: Vec<u64> = peer.hear().split(' ').map(|number| number.parse().unwrap()).collect();
    let snapshot = look();
    let there = |index: usize| object(&snapshot, Identity::Socket { inode: inodes[index] });
    assert!(is_peer(&snapshot, socket(&snapshot, &client), socket(&snapshot, &server)));
    assert!(is_peer(&snapshot, there(0), there(1)));
    assert!(is_peer(&snapshot, socket(&snapshot, &one), socket(&snapshot, &other)));
    assert!(is_peer(&snapshot, there(2), there(3)));
    assert!(!is_peer(&snapshot, socket(&snapshot, &one), there(3)));
    let net = namespace_of(peer.id(), "net");
    assert_eq!(there(0).namespace, Some(net));
    assert!(namespace(&snapshot, NamespaceKind::Net, net).is_listed);
    peer.say("end");
    peer.succeeds();
}

/// Given two network namespaces with a cable between them, then a connection through it is joined.
#[test]
fn a_connection_between_namespaces_is_joined() {
    if let Some(me) = role() {
        me.say("here");
        me.wait_for("cable");
        let up = "ip addr add 10.77.0.2/24 dev there && ip link set there up";
        assert!(Command::new("sh").args(["-c", up]).status().unwrap().success());
        let listener = TcpListener::bind("10.77.0.2:5000").unwrap();
        me.say("listening");
        let (server, _) = listener.accept().unwrap();
        me.say(&inode(&server).to_string());
        me.wait_for("end");
        return;
    }
    if !has_command("ip") {
        skip!("it takes the program ip");
    }
    if Namespace::enter(&[Namespace::Net], &test_name!()) == Isolation::Done {
        return;
    }
    let mut peer = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Net]).spawn();
    peer.wait_for("here");
    let cable = format!(
        "ip link add here type veth peer name there netns {} && ip addr add 10.77.0.1/24 dev here && ip link set here up",
        peer.id()
    );
    if !Command::new("sh").args(["-c", &cable]).status().unwrap().success() {
        skip!("this machine has no virtual cables between namespaces");
    }
    peer.say("cable");
    peer.wait_for("listening");
    let address: SocketAddr = "10.77.0.2:5000".parse().unwrap();
    let mut client = None;
    eventually("the link is up", || {
        client = TcpStream::connect(address).ok();
        client.is_some()
    });
    let client = client.unwrap();
    let server = peer.hear().parse().unwrap();
    let snapshot = look();
    let (one, other) = (socket(&snapshot, &client), object(&snapshot, Identity::Socket { inode: server }));
    assert!(is_peer(&snapshot, one, other));
    assert_ne!(one.namespace, other.namespace);
    peer.say("end");
    peer.succeeds();
}

/// A scan's own socket to the kernel is no object of the machine, and no namespace without sockets gets one.
#[test]
fn looking_leaves_no_socket_in_the_picture() {
    if Namespace::enter(&[Namespace::Net], &test_name!()) == Isolation::Done {
        return;
    }
    let own = namespace_of(std::process::id(), "net");
    let snapshot = look();
    let here: Vec<&Object> = snapshot.objects().iter().filter(|object| object.namespace == Some(own)).collect();
    assert!(here.is_empty(), "{here:?}");
}

/// Given no privilege, then all Unix sockets of the own namespace are there, and namespaces that may not be entered are
/// either read from `/proc` or counted.
#[test]
fn without_privilege_sockets_are_seen_and_the_rest_is_counted() {
    const NOBODY: u32 = 65534;
    if let Some(me) = role() {
        if me.name() == "elsewhere" {
            let (one, _other) = UnixStream::pair().unwrap();
            me.say(&inode(&one).to_string());
            me.wait_for("end");
            return;
        }
        let snapshot = look();
        let number = |name| me.env(name).parse::<u64>().unwrap();
        let (one, other) = (number("ONE"), number("OTHER"));
        let pair = [one, other].map(|inode| object(&snapshot, Identity::Socket { inode }));
        assert!(!has_monitor() || is_peer(&snapshot, pair[0], pair[1]));
        assert_eq!(snapshot.holders(pair[0].reference).count(), 0, "the processes of root are hidden");
        let foreign = snapshot.object_with(Identity::Socket { inode: number("ELSEWHERE") });
        assert!(foreign.is_none(), "nothing is known of namespaces of other users: {foreign:?}");
        let hidden = |unseen: &&tieline_observe::model::Unseen| unseen.what == UnseenWhat::Descriptors;
        assert_eq!(snapshot.unseen().iter().find(hidden).unwrap().why, UnseenWhy::NoPermission);
        return;
    }
    if !can_run_as(NOBODY) || !Namespace::can_make(&[Namespace::Net]) {
        skip!("it takes root, and a test binary that everybody may run");
    }
    let (one, other) = UnixStream::pair().unwrap();
    let mut elsewhere = Peer::of(test_name!()).role("elsewhere").namespaces(&[Namespace::Net]).spawn();
    let there = elsewhere.hear();
    Peer::of(test_name!())
        .role("nobody")
        .user(NOBODY)
        .env("ONE", inode(&one).to_string())
        .env("OTHER", inode(&other).to_string())
        .env("ELSEWHERE", there)
        .spawn()
        .succeeds();
    elsewhere.say("end");
    elsewhere.succeeds();
}

/// Given a container of an ordinary user, who may not enter it from outside, then its sockets are read from `/proc`, and
/// it is said that their peers are not known.
#[test]
fn without_privilege_ones_own_containers_are_read_from_proc() {
    const NOBODY: u32 = 65534;
    match role() {
        None if rustix::process::geteuid().is_root() => {
            if !can_run_as(NOBODY) {
                skip!("the test binary cannot be run by everybody");
            }
            return Peer::of(test_name!()).role("user").user(NOBODY).spawn().succeeds();
        }
        Some(me) if me.name() == "inside" => {
            let directory = me.env("DIRECTORY");
            let listener = UnixListener::bind(format!("{directory}/server")).unwrap();
            set_up_loopback();
            let tcp = TcpListener::bind("127.0.0.1:5000").ok().map_or(0, |listener| {
                let inode = inode(&listener);
                std::mem::forget(listener);
                inode
            });
            me.say(&format!("{} {tcp}", inode(&listener)));
            me.wait_for("end");
            return;
        }
        _ => {}
    }
    if !Namespace::can_make(&[Namespace::Net]) {
        skip!("this machine lets no ordinary user make namespaces");
    }
    let Ok(directory) = tempfile::tempdir() else { skip!("an ordinary user may make no temporary directory here") };
    let inside = Peer::of(test_name!()).role("inside").env("DIRECTORY", directory.path());
    let mut inside = inside.namespaces(&[Namespace::Net]).spawn();
    let said = inside.hear();
    let inodes: Vec<u64> = said.split(' ').map(|number| number.parse().unwrap()).collect();
    let snapshot = look();
    let net = namespace_of(inside.id(), "net");
    let told = object(&snapshot, Identity::Socket { inode: inodes[0] });
    assert_eq!((told.kind, told.namespace), (Kind::UnixStream, Some(net)));
    assert_eq!((unix_detail(told).state, unix_detail(told).backlog), (SocketState::Listening, None));
    assert!(told.name.as_ref().unwrap().as_bytes().ends_with(b"/server"));
    if inodes[1] != 0 {
        let tcp = object(&snapshot, Identity::Socket { inode: inodes[1] });
        assert_eq!(inet_detail(tcp).local, "127.0.0.1:5000".parse().unwrap());
    }
    let unknown = |unseen: &&tieline_observe::model::Unseen| unseen.what == UnseenWhat::Sockets;
    assert_eq!(snapshot.unseen().iter().find(unknown).unwrap().why, UnseenWhy::NoPermission);
    assert!(namespace(&snapshot, NamespaceKind::Net, net).is_listed);
    let holders: Vec<u32> = snapshot.holders(told.reference).map(|hold| snapshot.process(hold.process).pid).collect();
    assert_eq!(holders, [inside.id()]);
    inside.say("end");
    inside.succeeds();
}

#[test]
fn the_ends_of_vsock_are_joined() {
    use tieline_os::vsock::{Address, Listener, Stream};
    let listener = match Listener::bind(Address::new(Address::ANY, Address::ANY)) {
        Ok(listener) => listener,
        Err(error) => skip!("{error}"),
    };
    let port = listener.local_address().unwrap().port;
    let told = look();
    let told = told.object_with(Identity::Socket { inode: inode(&listener) }).expect("it is held by us");
    let is_listed = tieline_os::sock_diag::Monitor::open().and_then(|mut monitor| monitor.vsock()).is_ok();
    if !is_listed {
        skip!("this kernel does not list vsock sockets");
    }
    assert_eq!(told.kind, Kind::Vsock);
    assert!(told.name.as_ref().unwrap().to_string().ends_with(&format!(":{port}")));
    let client = match Stream::connect_timeout(Address::new(Address::LOCAL, port), tieline_testkit::PATIENCE) {
        Ok(client) => client,
        Err(error) => skip!("{error}"),
    };
    let server = listener.accept_timeout(tieline_testkit::PATIENCE).unwrap();
    let snapshot = look();
    assert!(is_peer(&snapshot, socket(&snapshot, &client), socket(&snapshot, &server)));
}
